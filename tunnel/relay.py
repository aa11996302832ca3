"""The relay: the public end, whole. Listens, keeps the parts together, and sweeps.

One port takes visitors and links. The parts decide: visitors' connections
(``visitors.py``), links (``uplink.py``), who may have which name (``admission.py``),
who holds it (``leases.py``); the relay's own API is ``relay_api.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from tunnel.admission import Admission
from tunnel.allocation import keep_freed_blocks
from tunnel.counters import Counters
from tunnel.events import RelayEvent, TunnelCame, TunnelWent
from tunnel.grant import Grant
from tunnel.http import RequestHead
from tunnel.leases import Directory, Leases, MemoryDirectory, Session, cut_silent
from tunnel.relay_api import RelayApi
from tunnel.settings import RelaySettings
from tunnel.uplink import Uplink
from tunnel.visitors import Public, Visitor
from tunnel.wire import (
    CLOSE_GOING_AWAY,
    CLOSE_REFUSED,
    CLOSE_SILENT,
    ResetCode,
)

__all__ = ["Relay"]

_BACKLOG = 1024


class Relay:
    """A running relay.

    ``on_event`` is told of each tunnel that comes or goes; ``token_bytes`` is chance.
    ``listener`` is a socket that listens already, in place of host and port: whoever
    keeps it open keeps callers waiting, not failing, while the relay starts again.
    Raises ``SettingsRefused`` if that is open to others and there is no secret.
    Raises ``OSError`` at the start if it can't listen.
    """

    def __init__(
        self,
        settings: RelaySettings = RelaySettings(),  # noqa: B008 - frozen
        *,
        on_event: Callable[[RelayEvent], None] | None = None,
        directory: Directory | None = None,
        token_bytes: Callable[[int], bytes] = os.urandom,
        listener: socket.socket | None = None,
    ) -> None:
        self.settings = settings
        self._listener = listener
        if listener is not None:
            settings.check_host(str(listener.getsockname()[0]))
        self._on_event = on_event
        self.counters = Counters()
        self.uplinks: set[Uplink] = set()
        self.leases = Leases(
            MemoryDirectory() if directory is None else directory,
            max_held=settings.max_held,
        )
        self._admission = Admission(
            settings, self.leases, self.counters, token_bytes=token_bytes
        )
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._public: Public | None = None
        self._api: RelayApi | None = None
        self._port = settings.port

    # Where it is

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._port

    @property
    def url(self) -> str:
        """Its own address, for people."""
        return self._admission.own_url(self._port)

    @property
    def link_url(self) -> str:
        """Where tunnels connect to."""
        return self.url.replace("http", "ws", 1)

    @property
    def pattern(self) -> str:
        """The form of public addresses, with ``<name>`` in it."""
        return self._admission.pattern(self._port)

    @property
    def visitors(self) -> int:
        """How many connections visitors have."""
        return 0 if self._public is None else len(self._public.visitors)

    # Its life

    async def __aenter__(self) -> Relay:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop(drain_s=0.0)

    async def start(self) -> None:
        """Listen."""
        keep_freed_blocks()
        settings = self.settings
        loop = asyncio.get_running_loop()
        self._api = RelayApi(self)
        await self._api.start()
        self._public = public = Public(
            settings=settings,
            leases=self.leases,
            counters=self.counters,
            now_s=loop.time,
            wall_ms=_wall_ms,
            started_s=loop.time(),
            become_link=self._become_link,
            become_api=self._api.take_over,
            trusted=self._admission.trusted,
            is_secure=settings.tls is not None,
        )
        if self._listener is None:
            where: dict[str, Any] = {"host": settings.host, "port": settings.port}
        else:
            where = {"sock": self._listener}
        self._server = await loop.create_server(
            lambda: Visitor(public), **where, ssl=settings.tls, backlog=_BACKLOG
        )
        self._port = self._server.sockets[0].getsockname()[1]
        self._tick_s = max(0.02, min(1.0, settings.hold_s / 10))
        self._sweep()

    async def stop(self, *, drain_s: float | None = None) -> None:
        """Stop: no new connections, clients are asked to go elsewhere, requests under
        way end, for ``drain_s`` at most (the settings' if ``None``)."""
        if self._server is None or self._public is None:
            return
        public, server = self._public, self._server
        self._server = None
        server.close()
        public.is_draining = True
        self.leases.give_up_all(self.now_s())
        for session in self.leases:
            if session.socket is None:
                self._give_up(session)
        for uplink in tuple(self.uplinks):
            uplink.go_away("the relay stops")
        for visitor in tuple(public.visitors):
            visitor.drain()
        limit_s = self.settings.drain_s if drain_s is None else drain_s
        if public.visitors and limit_s > 0:
            public.emptied.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit_s):
                    await public.emptied.wait()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for uplink in tuple(self.uplinks):
            uplink.close(CLOSE_GOING_AWAY, "the relay stops")
        for session in self.leases:
            self._give_up(session)
        for visitor in tuple(public.visitors):
            visitor.transport.abort()
        await self._admission.close()
        if self._api is not None:
            await self._api.stop()
        await asyncio.sleep(0)

    # What links ask of it

    def now_s(self) -> float:
        """Return the present instant, by a clock that never goes back."""
        return asyncio.get_running_loop().time()

    async def grant(self, token: str | None) -> Grant:
        """Return what a token grants. Raises ``RelayRefused``."""
        return await self._admission.grant(token)

    async def admit(
        self, hello: dict[str, Any], uplink: Uplink
    ) -> tuple[Session, dict[str, Any]]:
        """Give a client its session. Raises ``TunnelError``."""
        return await self._admission.admit(hello, uplink, now_s=self.now_s())

    def attached(self, session: Session, is_resumed: bool) -> None:
        """A session has a socket."""
        self._tell(
            TunnelCame(
                session.name,
                session.url,
                session.peer,
                session.owner,
                session.epoch,
                is_resumed,
            )
        )
        self.leases.arrived(session)

    def detached(self, session: Session, reason: str) -> None:
        """A session's socket is gone; the session waits for it to come back."""
        self._tell(TunnelWent(session.name, reason, is_final=False))
        if self._public is not None and self._public.is_draining:
            self._give_up(session)

    def _give_up(self, session: Session) -> None:
        """Answer what is under way: nobody comes back to a relay that stops."""
        session.link.end(ResetCode.RELAY, "the relay stops")

    def _become_link(
        self,
        transport: asyncio.Transport,
        head: RequestHead,
        rest: bytes,
        peer: str,
        *,
        uncount: Callable[[], None],
    ) -> None:
        scheme = "https" if self.settings.tls is not None else "http"
        peer, scheme, host = self._admission.seen_as(head, peer, scheme)
        uplink = Uplink(
            self, transport, peer=peer, scheme=scheme, host=host, uncount=uncount
        )
        transport.set_protocol(uplink)
        uplink.begin(head.raw, rest)

    # What takes too long

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self._sweeper = loop.call_later(self._tick_s, self._sweep)
        now_s = loop.time()
        assert self._public is not None
        for visitor in tuple(self._public.visitors):
            visitor.check(now_s)
        self.leases.give_up(now_s)
        times = self.settings.link
        wall_s = time.time()
        for uplink in tuple(self.uplinks):
            silent_s = now_s - uplink.heard_s
            session = uplink.session
            if session is None:
                # Bytes that say nothing, and reading nothing, don't buy time.
                if now_s - uplink.began_s >= times.hello_s:
                    uplink.give_up(CLOSE_REFUSED, "no HELLO came")
            elif silent_s >= times.silence_s:
                uplink.give_up(CLOSE_SILENT, "nothing was heard from the client")
            elif (
                session.grant.expires_s is not None
                and wall_s >= session.grant.expires_s
            ):
                uplink.close(CLOSE_REFUSED, "the token has expired")
        for session in cut_silent(
            self.leases, now_s, hold_s=self.settings.hold_s, session_s=times.session_s
        ):
            self.leases.drop(session, now_s)
            session.link.end(ResetCode.LINK, "the tunnel didn't come back")
            self._tell(TunnelWent(session.name, "it didn't come back", is_final=True))

    def _tell(self, event: RelayEvent) -> None:
        if self._on_event is not None:
            self._on_event(event)


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
