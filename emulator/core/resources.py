"""What a user sets up beside messages: queues, URL groups, schedules, flow keys.

Values, as in ``model.py``: frozen, in our units, without behavior. What requests and
firings make of them is decided in the module of each.
"""

from __future__ import annotations

from dataclasses import dataclass

from emulator.core.header_map import HeaderMap
from emulator.core.last_states import LastStates
from emulator.core.model import Publish

__all__ = [
    "NOTHING_DECLARED",
    "Declared",
    "Endpoint",
    "FlowKey",
    "Queue",
    "Schedule",
    "UrlGroup",
]

_NO_STATES = LastStates()


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A queue (QUE-1). How many messages it has is counted elsewhere."""

    name: str

    created_at_ms: int

    updated_at_ms: int
    """The last upsert, pause or resume."""

    parallelism: int = 1
    """How many messages may be in work at once."""

    is_paused: bool = False


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A member of a URL group."""

    url: str

    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlGroup:
    """A URL group (UGR-1): a publish to it makes a message for each endpoint."""

    name: str

    created_at_ms: int

    updated_at_ms: int

    endpoints: tuple[Endpoint, ...]
    """In order of insertion. Never empty (UGR-10)."""

    defaults: HeaderMap = ()
    """Configuration for every publish to the group (UGR-19)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowKey:
    """A flow-control key and its limits (FLC-20). What is under way isn't here."""

    key: str

    parallelism: int | None = None

    rate: int | None = None

    period_s: int = 1

    is_paused: bool = False

    is_pinned_parallelism: bool = False
    """Messages don't change the parallelism (FLC-24)."""

    is_pinned_rate: bool = False
    """Messages change neither the rate nor its period."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A cron expression, and what is published whenever it fires (SCH-20)."""

    schedule_id: str

    cron: str
    """As it arrived, zone included, without the white space around it (SCH-5)."""

    publish: Publish

    created_at_ms: int

    is_paused: bool = False

    next_fire_ms: int
    """While paused: when it would have fired, had it not been paused."""

    last_fire_ms: int | None = None

    last_states: LastStates = _NO_STATES
    """The messages of the last firing; their final state, or ``None`` (SCH-27)."""

    error: str | None = None
    """Why the last firing failed (SCH-33)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What a user has from the start, by configuration."""

    queues: tuple[tuple[str, int, bool], ...] = ()
    """Name, parallelism, and whether it is paused."""

    url_groups: tuple[tuple[str, tuple[Endpoint, ...], HeaderMap], ...] = ()
    """Name, endpoints, and default headers."""

    schedules: tuple[tuple[str, str, Publish], ...] = ()
    """Id, cron, and what is published."""


NOTHING_DECLARED = Declared()
