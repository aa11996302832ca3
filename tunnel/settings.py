"""What can be set on either end, with defaults and bounds. Reads no file.

Durations are in seconds. A value that can't be used raises ``SettingsRefused``, which
names the setting.
"""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tunnel.errors import SettingsRefused
from tunnel.keys import PublicKey
from tunnel.networks import parse_networks
from tunnel.policy import Policy

__all__ = ["LinkTimes", "RelaySettings", "TunnelSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkTimes:
    """How long a link's ends wait for each other, in seconds."""

    ping_s: float = 5.0
    """Between two signs of life that the client asks for."""

    silence_s: float = 15.0
    """Without any byte from the other end, the link is dead."""

    session_s: float = 60.0
    """How long a session outlives its link."""

    hello_s: float = 10.0
    """Within which a new link must say who it is."""

    first_wait_s: float = 0.1
    """Before the first new try; doubled each time …"""

    longest_wait_s: float = 10.0
    """… up to this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaySettings:
    """The public end."""

    host: str = "127.0.0.1"

    port: int = 8000
    """0: any that is free."""

    domain: str = "localhost"
    """Tunnels are at ``<name>.<domain>``, and at ``<domain>/t/<name>``."""

    wildcard: bool = True
    """Whether ``<name>.<domain>`` resolves: else addresses are told by path."""

    secret: bytes | None = field(default=None, repr=False)
    """Signs and checks tokens by HS256. 16 bytes or more."""

    public_keys: tuple[PublicKey, ...] = ()
    """Check tokens by RS256, ES256, EdDSA."""

    jwks_url: str | None = None

    revoked: frozenset[str] = frozenset()
    """Tokens' ``jti`` that are refused."""

    hold_s: float = 30.0
    """How long a request waits for its tunnel to come back."""

    max_held: int = 1000
    """How many wait at most, in all."""

    max_body_bytes: int | None = None
    """Of a request. ``None``: whatever."""

    max_connections: int = 10_000
    """Visitors' connections, in all …"""

    max_connections_per_address: int = 1_000
    """… and from one address, unless it is a trusted proxy's."""

    max_tunnels: int = 10_000

    max_streams: int = 1_024
    """Requests under way in one tunnel."""

    tls: ssl.SSLContext | None = None

    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks whose ``Forwarded`` and ``X-Forwarded-*`` are believed."""

    drain_s: float = 10.0
    """How long requests under way may still take when the relay stops."""

    head_s: float = 15.0
    """Within which a request's head must be whole."""

    idle_s: float = 75.0
    """How long a visitor's connection may wait for its next request."""

    link: LinkTimes = LinkTimes()

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise SettingsRefused("port", f"{self.port} isn't between 0 and 65535")
        if not self.domain or self.domain != self.domain.strip(".").lower():
            raise SettingsRefused(
                "domain", f"{self.domain!r} isn't a host name in lower case"
            )
        if self.secret is not None and len(self.secret) < 16:
            raise SettingsRefused("secret", "use at least 16 bytes, made by chance")
        for name in ("hold_s", "drain_s", "head_s", "idle_s"):
            if getattr(self, name) < 0:
                raise SettingsRefused(name.removesuffix("_s"), "can't be below 0")
        for name in ("max_held", "max_connections", "max_tunnels", "max_streams"):
            if getattr(self, name) < 1:
                raise SettingsRefused(name, "must be at least 1")
        parse_networks(self.trusted_proxies, "trusted_proxies")
        self.check_host(self.host)

    def check_host(self, host: str) -> None:
        """Raise ``SettingsRefused`` if who reaches ``host`` could open tunnels."""
        if not self.is_guarded and not _is_loopback(host):
            raise SettingsRefused(
                "host",
                f"a relay without a secret or keys would let anybody on {host} "
                "open tunnels: give it a secret, or listen on 127.0.0.1",
            )

    @property
    def is_guarded(self) -> bool:
        """Whether tunnels need a token."""
        return bool(self.secret or self.public_keys or self.jwks_url)


@dataclass(frozen=True, slots=True)
class TunnelSettings:
    """The laptop's end."""

    target: int | str
    """A local port, or the local server's URL."""

    relay: str = field(kw_only=True)
    """``ws://`` or ``wss://``."""

    name: str | None = field(default=None, kw_only=True)
    """The name to ask for. ``None``: one by chance."""

    token: str | None = field(default=None, kw_only=True, repr=False)

    policy: Policy = field(default=Policy(), kw_only=True)
    """Who may come in; the relay sees to it."""

    local_hold_s: float = field(default=30.0, kw_only=True)
    """How long a request waits for a local server that has been there before."""

    max_body_bytes: int = field(default=1 << 24, kw_only=True)
    """Of a request whose signature must be checked before it may pass."""

    tls: ssl.SSLContext | None = field(default=None, kw_only=True)
    """For ``wss://``. ``None``: the system's."""

    link: LinkTimes = field(default=LinkTimes(), kw_only=True)

    def __post_init__(self) -> None:
        if isinstance(self.target, int):
            if not 1 <= self.target <= 65535:
                raise SettingsRefused(
                    "target", f"{self.target} isn't a port: use 1 to 65535"
                )
        else:
            schemes = ("http", "https")
            parts = _split("target", self.target, schemes, "a port, or ")
            if parts.path not in ("", "/") or parts.query:
                raise SettingsRefused(
                    "target", "a path can't be added to requests: leave it out"
                )
        _split("relay", self.relay, ("ws", "wss"))
        if _place_of(self.local_url) == _place_of(self.relay):
            raise SettingsRefused(
                "target", "that is the relay itself: each request would come back"
            )

    @property
    def local_url(self) -> str:
        """The local server's URL, without a slash at the end."""
        if isinstance(self.target, int):
            return f"http://localhost:{self.target}"
        return self.target.rstrip("/")


def _split(
    setting: str, url: str, schemes: tuple[str, str], instead: str = ""
) -> _Parts:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for what is none
    except ValueError as error:
        raise SettingsRefused(setting, f"{url!r} isn't a URL: {error}") from error
    if parts.scheme not in schemes:
        raise SettingsRefused(
            setting, f"use {instead}{schemes[0]}://… or {schemes[1]}://…"
        )
    if not parts.hostname:
        raise SettingsRefused(setting, f"{url!r} has no host")
    if parts.username is not None:
        raise SettingsRefused(setting, "leave user and password out")
    return _Parts(parts.path, parts.query)


@dataclass(frozen=True, slots=True)
class _Parts:
    path: str
    query: str


def _place_of(url: str) -> tuple[str, int]:
    """Return host and port; one host for all that mean this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme in ("https", "wss") else 80)
    is_here = _is_loopback(host) or host.endswith(".localhost")
    return "localhost" if is_here else host, port


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
