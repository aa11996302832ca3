"""Who may open a tunnel, under which name: the relay's answer to a HELLO.

A client that comes back with its session goes on where it was. Any other gets a new
session and the name it asks for, if its token grants it; a name without a token's
grant must be one made by chance, which nobody guesses. The newest session has the
name: the one before it ends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tunnel.counters import Counters
from tunnel.errors import RelayRefused, WireError
from tunnel.flow import INITIAL_WINDOW_BYTES, LINK_WINDOW_BYTES
from tunnel.forwarded import TrustedProxies
from tunnel.grant import ANYTHING, Grant
from tunnel.http import RequestHead
from tunnel.leases import Leases, Session
from tunnel.names import (
    RANDOM_BYTES,
    parse_name,
    public_url,
    random_name,
)
from tunnel.networks import parse_networks
from tunnel.policy import Policy
from tunnel.rate import TokenBucket
from tunnel.settings import RelaySettings
from tunnel.tokens import TokenRefused, Verifier
from tunnel.wire import CLOSE_BAD_FRAME, CLOSE_REPLACED, PROTOCOL_VERSION, ResetCode

if TYPE_CHECKING:
    from tunnel.jwks import Jwks
    from tunnel.uplink import Uplink

__all__ = ["Admission"]

_SESSION_BYTES = 16


class Admission:
    """Checks tokens, and makes sessions."""

    def __init__(
        self,
        settings: RelaySettings,
        leases: Leases,
        counters: Counters,
        *,
        token_bytes: Callable[[int], bytes],
    ) -> None:
        self._settings = settings
        self._leases = leases
        self._counters = counters
        self._token_bytes = token_bytes
        self.trusted: TrustedProxies | None = None
        """The proxies whose word is taken."""
        if settings.trusted_proxies:
            networks = parse_networks(settings.trusted_proxies, "trusted_proxies")
            self.trusted = TrustedProxies(networks)
        self._verifier: Verifier | None = None
        self._jwks: Jwks | None = None
        if settings.is_guarded:
            if settings.jwks_url is not None:
                from tunnel.jwks import Jwks  # aiohttp's client: 100 ms

                self._jwks = Jwks(settings.jwks_url)
            self._verifier = Verifier(
                secret=settings.secret,
                keys=settings.public_keys,
                revoked=settings.revoked,
            )

    async def close(self) -> None:
        """Close what is open."""
        if self._jwks is not None:
            await self._jwks.close()

    # Addresses

    def own_url(self, port: int) -> str:
        """Return the relay's own URL, as seen from its machine."""
        scheme = "http" if self._settings.tls is None else "https"
        return f"{scheme}://{self._settings.domain}{_port_part(scheme, port)}"

    def pattern(self, port: int) -> str:
        """Return the form of the public addresses."""
        settings = self._settings
        scheme = "http" if settings.tls is None else "https"
        part = _port_part(scheme, port)
        if settings.wildcard:
            return f"{scheme}://<name>.{settings.domain}{part}"
        return f"{scheme}://{settings.domain}{part}/t/<name>"

    def seen_as(
        self, head: RequestHead, peer: str, scheme: str
    ) -> tuple[str, str, str]:
        """Return address, scheme and host of a request, by trusted proxies' word."""
        host = head.host
        if self.trusted is not None:
            origin = self.trusted.origin(head.raw, peer)
            peer = origin.client
            scheme = origin.scheme or scheme
            host = origin.host or host
        return peer, scheme, host.decode("latin-1")

    # Sessions

    async def grant(self, token: object) -> Grant:
        """Return what a token grants. Raises ``RelayRefused``."""
        verifier = self._verifier
        if verifier is None:
            return ANYTHING
        if not isinstance(token, str) or not token:
            raise RelayRefused("it wants a token: set QEMU_RELAY_TOKEN")
        now_s = int(time.time())
        try:
            if self._jwks is not None:
                return await self._jwks.verify(verifier, token, now_s)
            return verifier.verify(token, now_s)
        except TokenRefused as error:
            raise RelayRefused(str(error)) from error

    async def admit(
        self, hello: dict[str, Any], uplink: Uplink, *, now_s: float
    ) -> tuple[Session, dict[str, Any]]:
        """Return a client's session, and what WELCOME says of it.

        Raises ``RelayRefused`` for a token or name that won't do, and ``WireError``
        for a HELLO that can't be read.
        """
        if hello.get("version") != PROTOCOL_VERSION:
            raise RelayRefused(
                f"it speaks version {PROTOCOL_VERSION} of the link, this client another"
            )
        seen = hello.get("seen", 0)
        if not isinstance(seen, int) or isinstance(seen, bool):
            raise WireError(CLOSE_BAD_FRAME, "seen isn't a number")
        grant = await self.grant(hello.get("token"))
        policy = self._policy(hello.get("policy"), grant)
        session = self._leases.by_id.get(str(hello.get("session")))
        is_resumed = (
            session is not None
            and session.owner == _owner(grant)
            and session.link.can_resume(seen)
        )
        if session is None or not is_resumed:
            session = await self._new(hello.get("name"), grant, policy, uplink, now_s)
            self._counters.links += 1
        else:
            session.grant, session.policy, session.peer = grant, policy, uplink.peer
            self._counters.resumes += 1
        times = self._settings.link
        return session, {
            "version": PROTOCOL_VERSION,
            "session": session.id,
            "resumed": is_resumed,
            "seen": session.link.seen,
            "name": session.name,
            "url": session.url,
            "epoch": session.epoch,
            "window": INITIAL_WINDOW_BYTES,
            "link_window": LINK_WINDOW_BYTES,
            "max_streams": self._settings.max_streams,
            "ping_s": times.ping_s,
            "session_s": times.session_s,
            "time": int(time.time() * 1000),
        }

    def _policy(self, given: object, grant: Grant) -> Policy:
        policy = Policy() if given is None else Policy.from_json(given)
        return policy.narrowed(grant.paths, grant.rate)

    async def _new(
        self,
        wanted: object,
        grant: Grant,
        policy: Policy,
        uplink: Uplink,
        now_s: float,
    ) -> Session:
        leases = self._leases
        name = self._name(wanted, grant)
        before = leases.get(name)
        if before is not None and before.owner != _owner(grant) and grant.names is None:
            raise RelayRefused(f"the name {name!r} is somebody else's")
        if before is None:
            if len(leases) >= self._settings.max_tunnels:
                raise RelayRefused("it has as many tunnels as it may")
            most = grant.max_tunnels
            if most is not None and leases.count_of(_owner(grant)) >= most:
                tunnels = "tunnel" if most == 1 else "tunnels"
                raise RelayRefused(f"the token is for {most} {tunnels} at once")
        epoch = await leases.directory.claim(name)
        session = Session(
            id=self._token_bytes(_SESSION_BYTES).hex(),
            name=name,
            url=public_url(
                name,
                scheme=uplink.scheme,
                domain=self._settings.domain,
                port=_port_of(uplink.host),
                wildcard=self._settings.wildcard,
            ),
            owner=_owner(grant),
            epoch=epoch,
            peer=uplink.peer,
            grant=grant,
            policy=policy,
            bucket=None
            if policy.rate is None
            else TokenBucket(policy.rate, burst=policy.rate),
            gone_s=now_s,
            max_streams=self._settings.max_streams,
            now_s=asyncio.get_running_loop().time,
        )
        before = leases.put(session)
        if before is not None:
            if before.socket is not None:
                before.socket.close(CLOSE_REPLACED, "a newer session has the name")
            before.link.end(ResetCode.LINK, "the tunnel client was started again")
        return session

    def _name(self, wanted: object, grant: Grant) -> str:
        if wanted is None and grant.own_name is not None:
            wanted = grant.own_name
        if wanted is None:
            if grant.names is not None and "*" not in grant.names:
                raise RelayRefused(
                    "the token is for certain names: say which one, with --name"
                )
            while True:
                name = random_name(self._token_bytes(RANDOM_BYTES))
                if self._leases.get(name) is None:
                    return name
        if not isinstance(wanted, str):
            raise WireError(CLOSE_BAD_FRAME, "name isn't a text")
        name = parse_name(wanted)
        if not grant.allows_name(name):
            raise RelayRefused(f"the token isn't for the name {name!r}")
        return name


def _owner(grant: Grant) -> str:
    """Who holds a name: whom the token was made for, or else the token."""
    return grant.subject or grant.jti or ""


def _port_of(host: str) -> int | None:
    """Return the port behind a host; ``None`` for none, and for what can't be one."""
    try:
        return urlsplit(f"//{host}").port
    except ValueError:
        return None


def _port_part(scheme: str, port: int) -> str:
    default = 80 if scheme == "http" else 443
    return "" if port == default else f":{port}"
