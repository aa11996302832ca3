"""Emulator: wires clock, chance, transport, engines and web app together.

The only file that knows all parts. It starts them, stops them, and has no rules.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from emulator.core.model import Outcome, Outgoing, SigningKeys
from emulator.core.resources import NOTHING_DECLARED
from emulator.engine.clock import SystemClock, VirtualClock
from emulator.engine.engine import Engine
from emulator.engine.entropy import SeededEntropy, SystemEntropy
from emulator.engine.faults import FaultScript
from emulator.engine.feed import Feed
from emulator.engine.persistence import NO_JOURNAL
from emulator.engine.ports import Clock, Entropy, Journal, Transport
from emulator.engine.tenants import Counts, Tenant, Tenants
from emulator.errors import JournalError
from emulator.settings import Settings
from emulator.transport import HttpTransport
from emulator.web.app import build_server
from emulator.web.request_log import REQUEST_LOGGER, RequestLog

if TYPE_CHECKING:
    from emulator.journal.journal import SqliteJournal
    from emulator.testing.qemu import Qemu

__all__ = ["Emulator"]

logger = logging.getLogger(__name__)

_MAX_HEADER_BYTES = 131_072
"""Of a request, a line at a time: QStash's own limit isn't known (Q-33)."""

_MAX_HEADERS = 1_000

_BACKLOG = 1_024

_ACCEPTED_AT_ONCE = 16
"""New connections in one turn of the event loop.

Without a descriptor left, asyncio fails, and says so, as often; a second later again.
"""

_IDLE_S = 120.0
"""How long a connection may take to its next request's whole head.

Longer than clients keep theirs for the next call: one that is closed just as a call
goes out is a failed call.
"""

_PORT_TRIES = 20


class Emulator:
    """A local QStash: ``async with Emulator(Settings(port=0)) as emulator: …``.

    ``transport`` replaces the way to destinations, for tests.
    """

    def __init__(
        self, settings: Settings | None = None, *, transport: Transport | None = None
    ) -> None:
        self.settings = settings or Settings()
        self.feed = Feed()
        self.clock = _clock(self.settings)
        self._way = _Way(transport or HttpTransport())
        self._journal: SqliteJournal | None = None
        if self.settings.db is not None:
            # SQLite isn't imported for whoever keeps nothing.
            from emulator.journal.journal import SqliteJournal

            self._journal = SqliteJournal(
                self.settings.db, on_failure=self._stand_by, on_recovery=self._go_on
            )
        self._is_restored = True
        self.found: Counts | None = None
        """What ``db`` held at the start."""
        self._entropy = (
            SystemEntropy()
            if self.settings.seed is None
            else SeededEntropy(self.settings.seed)
        )
        self.tenants = _tenants(
            self.settings,
            clock=self.clock,
            entropy=self._entropy,
            transport=self._way,
            feed=self.feed,
            journal=self._journal or NO_JOURNAL,
        )
        self._runner: web.ServerRunner | None = None
        self._port = 0
        self._aborted = asyncio.Event()

    async def __aenter__(self) -> Emulator:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop(drain_s=0)

    @property
    def port(self) -> int:
        """The port that is listened on, once started."""
        return self._port

    @property
    def url(self) -> str:
        """What ``QSTASH_URL`` is set to."""
        return self.settings.url_at(self._port)

    @property
    def transport(self) -> Transport:
        """The way to destinations. May be replaced while no delivery is under way."""
        return self._way.transport

    @transport.setter
    def transport(self, transport: Transport) -> None:
        self._way.transport = transport

    @property
    def keys(self) -> SigningKeys:
        """The signing keys in force of the first user."""
        return self.tenants.engines[0].keys

    @property
    def pending(self) -> int:
        """How many messages aren't final, over all users."""
        return self.tenants.pending

    @property
    def in_flight(self) -> int:
        """How many deliveries are under way, over all users."""
        return self.tenants.in_flight

    async def start(self) -> None:
        """Listen, and begin to deliver; with ``db`` go on where it was left.

        Raises ``OSError`` where it can't listen, ``JournalError`` where that file
        can't be used.
        """
        sockets = _listen(self.settings.host, self.settings.port)
        self._port = sockets[0].getsockname()[1]
        try:
            self._open_journal(self.url)
            await self._serve(sockets)
            for engine in self.tenants.engines:
                engine.recover()
                engine.start()
        except BaseException:
            if self._runner is not None:
                await self.stop(drain_s=0)
            elif self._journal is not None:
                self._journal.close()
            for listener in sockets:
                listener.close()
            raise

    async def _serve(self, sockets: list[socket.socket]) -> None:
        server = build_server(
            self.tenants,
            self.settings,
            started_at_ms=SystemClock().now_ms(),
            access_log=_request_logger(),
            access_log_class=RequestLog,
            logger=_server_logger(),
            # Bodies are stored as they arrive, compressed ones too (PUB-20).
            auto_decompress=False,
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
            max_headers=_MAX_HEADERS,
            keepalive_timeout=_IDLE_S,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=1.0)
        await self._runner.setup()
        for listener in sockets:
            site = web.SockSite(self._runner, listener, backlog=_ACCEPTED_AT_ONCE)
            await site.start()
            listener.listen(_BACKLOG)  # one number for both, to asyncio

    @asynccontextmanager
    async def at_rest(self) -> AsyncIterator[Tenants]:
        """Have what ``db`` holds, and neither serve nor deliver.

        What is changed meanwhile is kept. Raises ``JournalError``.
        """
        self._open_journal("")
        try:
            yield self.tenants
        finally:
            if self._journal is not None:
                self._journal.close(self.clock.now_ms())

    def _open_journal(self, url: str) -> None:
        if self._journal is None:
            return
        self._journal.open(url)
        try:
            self.clock.begin(self._journal.last_instant_ms())
            if isinstance(self._entropy, SeededEntropy):
                self._entropy.begin(self._journal.run)
            self.tenants.restore()
        except JournalError:
            self._journal.close()
            raise
        self.found = self.tenants.counts()

    def _stand_by(self) -> None:
        """The journal failed: have what it holds, and deliver nothing."""
        self.tenants.suspend()
        self._is_restored = False
        with suppress(JournalError):  # what is in memory can be read until then
            self._restore()

    def _go_on(self) -> None:
        """The journal works again."""
        self._restore()
        self.tenants.resume()

    def _restore(self) -> None:
        if not self._is_restored:
            self.tenants.restore()
            self._is_restored = True

    async def stop(self, *, drain_s: float = 5.0) -> None:
        """Stop accepting, let deliveries under way finish, and close everything.

        Deliveries that take longer than ``drain_s`` real seconds are cut off, and so
        are all of them when ``abort`` is called meanwhile.
        """
        runner, self._runner = self._runner, None
        if runner is None:
            return
        for site in tuple(runner.sites):
            await site.stop()
        schedulers = [engine.scheduler for engine in self.tenants.engines]
        for scheduler in schedulers:
            scheduler.stop()
        tasks = [task for scheduler in schedulers for task in scheduler.tasks]
        if tasks and drain_s > 0:
            abortion = asyncio.ensure_future(self._aborted.wait())
            deliveries = asyncio.ensure_future(asyncio.wait(tasks))
            await asyncio.wait(
                (abortion, deliveries),
                timeout=drain_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
            abortion.cancel()
            deliveries.cancel()
        for scheduler in schedulers:
            scheduler.cut_off()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.feed.close()
        await runner.cleanup()
        await self.transport.close()
        if self._journal is not None:
            self._journal.close(self.clock.now_ms())

    def abort(self) -> None:
        """Make a ``stop`` that waits for deliveries wait no longer."""
        self._aborted.set()

    def in_thread(self) -> Qemu:
        """Run in a thread: ``with Emulator(Settings(port=0)).in_thread() as qemu: …``.

        For tests and for callers without an event loop. What comes back is the test
        kit's object, which the pytest fixture gives as well.
        """
        from emulator.testing.qemu import Qemu

        return Qemu(self)


class _Way(Transport):
    """The transport that the engines have for good; it asks the one of the moment."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    def send(self, request: Outgoing) -> Coroutine[Any, Any, Outcome]:
        return self.transport.send(request)

    async def close(self) -> None:
        await self.transport.close()


def _request_logger() -> logging.Logger | None:
    """Return where requests are logged; ``None``, which costs nothing, if nowhere."""
    requests = logging.getLogger(REQUEST_LOGGER)
    return requests if requests.isEnabledFor(logging.INFO) else None


class _OurMistakes(logging.Filter):
    """Passes over broken HTTP: it was the caller's mistake, and has been answered."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, HttpProcessingError)


_OUR_MISTAKES = _OurMistakes()


def _server_logger() -> logging.Logger:
    server = logging.getLogger("emulator.web.server")
    server.addFilter(_OUR_MISTAKES)
    return server


def _clock(settings: Settings) -> SystemClock | VirtualClock:
    if settings.clock == "virtual":
        return VirtualClock(settings.start_time_ms)
    return SystemClock(speed=settings.speed, start_ms=settings.start_time_ms)


def _tenants(
    settings: Settings,
    *,
    clock: Clock,
    entropy: Entropy,
    transport: Transport,
    feed: Feed,
    journal: Journal,
) -> Tenants:
    stamp = clock if settings.signature_clock == "virtual" else SystemClock()
    faults = FaultScript(settings.faults, entropy)
    tenants = [
        Tenant(
            Engine(
                user=user.name,
                keys=user.keys,
                limits=settings.limits,
                clock=clock,
                stamp=stamp,
                entropy=entropy,
                transport=transport,
                feed=feed,
                region=settings.region,
                routes=settings.routes,
                llm_upstream=settings.llm_upstream,
                declared=settings.declared if index == 0 else NOTHING_DECLARED,
                faults=faults,
                grace_ms=settings.grace_ms,
                max_log_entries=settings.max_log_entries,
                max_dlq_entries=settings.max_dlq_entries,
                max_pending_bytes=settings.max_pending_bytes,
                journal=journal,
            ),
            user.token,
            user.read_only_token,
        )
        for index, user in enumerate(settings.users)
    ]
    return Tenants(tenants, clock=clock, feed=feed, faults=faults, journal=journal)


def _listen(host: str, port: int) -> list[socket.socket]:
    """Bind to a host and port; to both loopback addresses for the usual host.

    ``localhost`` may mean ``::1`` (BASE-1). Where that address doesn't exist it is
    left out; where somebody else has the port on it, that is an error: half of the
    clients would reach them.
    """
    if host not in ("127.0.0.1", "localhost"):
        return [_bind(host, port)]
    for _ in range(_PORT_TRIES):
        first = _bind("127.0.0.1", port)
        try:
            return [first, _bind("::1", first.getsockname()[1])]
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return [first]
            first.close()
            if port != 0:
                raise
    raise OSError(errno.EADDRINUSE, f"no port free on 127.0.0.1 and ::1 ({host})")


def _bind(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # elsewhere it lets two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and host != "::":
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, error.strerror, f"{host}:{port}") from error
    return listener
