"""What happens at either end, as values, for whoever shows it."""

from __future__ import annotations

from dataclasses import dataclass

from tunnel.exchange import Exchange

__all__ = [
    "Connected",
    "Exchanged",
    "LocalAway",
    "LocalBack",
    "Lost",
    "RelayEvent",
    "Trying",
    "TunnelCame",
    "TunnelEvent",
    "TunnelWent",
]


@dataclass(frozen=True, slots=True)
class TunnelCame:
    """At the relay: a tunnel is there, new or again."""

    name: str
    url: str
    peer: str
    subject: str
    epoch: int
    is_resumed: bool


@dataclass(frozen=True, slots=True)
class TunnelWent:
    """At the relay: a tunnel's link is gone."""

    name: str
    reason: str
    is_final: bool
    """Its session is over, too: nobody waits for it."""


@dataclass(frozen=True, slots=True)
class Connected:
    """At the client: the link is up."""

    url: str
    relay: str
    round_trip_ms: float
    is_again: bool
    is_same_address: bool


@dataclass(frozen=True, slots=True)
class Lost:
    """At the client: the link broke."""

    code: int
    reason: str
    retry_in_s: float


@dataclass(frozen=True, slots=True)
class Trying:
    """At the client: the relay can't be reached; there will be another try."""

    reason: str
    retry_in_s: float


@dataclass(frozen=True, slots=True)
class LocalAway:
    """At the client: the local server has been there and refuses; requests wait."""

    reason: str
    waits_s: float


@dataclass(frozen=True, slots=True)
class LocalBack:
    """At the client: the local server is there again; what has waited goes on."""


@dataclass(frozen=True, slots=True)
class Exchanged:
    """At the client: a request has been answered, or failed."""

    exchange: Exchange


RelayEvent = TunnelCame | TunnelWent
TunnelEvent = Connected | Lost | Trying | LocalAway | LocalBack | Exchanged
