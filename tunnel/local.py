"""The way to the local server: its connections, kept alive, and whether it is there.

A connection that has been idle for a while isn't used again: the server may be about
to close it, and what was sent on it would be lost. A server that has been there and
refuses now is being started again: its requests wait for it, in order, and one probe
finds out for all. What a request and its answer are is ``call.py``'s.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from typing import Protocol
from urllib.parse import urlsplit

from tunnel.reasons import reason_of

__all__ = ["LocalConnection", "LocalServer", "Occupant"]

_MAX_IDLE_S = 1.5
"""Below what servers wait before they close: 2 s (gunicorn), 5 s (Node, uvicorn)."""

_MAX_IDLE = 256

_FIRST_PROBE_S = 0.05

_LONGEST_PROBE_S = 0.5

_WRITE_HIGH_BYTES = 1 << 16


class Occupant(Protocol):
    """Who uses a connection: a call."""

    until_s: float
    """How long it waits for the server to come."""

    def connected(self, connection: LocalConnection) -> None:
        """It has a connection."""

    def refused(self, reason: str) -> None:
        """It gets none."""

    def received(self, data: bytes) -> None:
        """The server has sent something."""

    def ended(self) -> None:
        """The server sends nothing more."""

    def lost(self, error: Exception | None) -> None:
        """The connection is gone."""

    def written(self) -> None:
        """The connection has room again."""


class LocalConnection(asyncio.Protocol):
    """A connection to the local server."""

    __slots__ = (
        "_is_reading",
        "_server",
        "idle_since_s",
        "is_writable",
        "occupant",
        "transport",
        "uses",
    )

    def __init__(self, server: LocalServer) -> None:
        self._server = server
        self.occupant: Occupant | None = None
        self.is_writable = True
        self._is_reading = True
        self.idle_since_s = 0.0
        self.uses = 0
        """How many requests it has taken."""

    # No assertion narrows the type: uvloop's transports are of no asyncio class.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        transport.set_write_buffer_limits(high=_WRITE_HIGH_BYTES)
        self._server.connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self.occupant is None:
            self.transport.abort()  # nobody has asked
        else:
            self.occupant.received(data)

    def eof_received(self) -> bool:
        if self.occupant is None:
            return False
        self.occupant.ended()
        return self.occupant is not None  # an upgraded one may still be written to

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        self._server.forget(self)
        occupant, self.occupant = self.occupant, None
        if occupant is not None:
            occupant.lost(exc)

    def pause_writing(self) -> None:
        self.is_writable = False

    def resume_writing(self) -> None:
        self.is_writable = True
        if self.occupant is not None:
            self.occupant.written()

    def stop_reading(self) -> None:
        """Read nothing until there is room for it."""
        if self._is_reading:
            self._is_reading = False
            self.transport.pause_reading()

    def go_on_reading(self) -> None:
        """There is room again."""
        if not self._is_reading:
            self._is_reading = True
            if not self.transport.is_closing():
                self.transport.resume_reading()

    def release(self, *, is_reusable: bool) -> None:
        """Its request is done."""
        self.occupant = None
        self.go_on_reading()  # the next one wants its answer, however full the last was
        if is_reusable and not self.transport.is_closing():
            self._server.keep(self)
        else:
            self.transport.abort()


class LocalServer:
    """The server that the tunnel exposes.

    ``hold_s`` is how long a request waits for a server that has been there before;
    ``on_away`` hears when the first one begins to wait, and why, and of ``None`` when
    the server is back.
    """

    def __init__(
        self, url: str, *, hold_s: float, on_away: Callable[[str | None], None]
    ) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self.url = url
        self.port = parts.port or (443 if parts.scheme == "https" else 80)
        self._hosts = (
            ["127.0.0.1", "::1"] if parts.hostname == "localhost" else [parts.hostname]
        )
        self._tls: ssl.SSLContext | None = None
        if parts.scheme == "https":
            # It is on this machine, and its certificate is made by whoever runs it.
            self._tls = ssl.create_default_context()
            self._tls.check_hostname = False
            self._tls.verify_mode = ssl.CERT_NONE
        self._hold_s = hold_s
        self._on_away = on_away
        self._idle: deque[LocalConnection] = deque()
        self.connections: set[LocalConnection] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._has_been_there = False
        self._waiting: deque[Occupant] = deque()
        self._probe: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def connect(self, occupant: Occupant, *, fresh: bool = False) -> None:
        """Give a call a connection: an idle one at once, else a new one.

        ``fresh``: not one that has been used before.
        """
        idle = self._idle
        if idle and not fresh:
            now_s = asyncio.get_running_loop().time()
            while idle:
                connection = idle.pop()
                if (
                    now_s - connection.idle_since_s < _MAX_IDLE_S
                    and not connection.transport.is_closing()
                ):
                    self._occupy(connection, occupant)
                    return
                connection.transport.abort()
        if self._waiting:
            self._wait(occupant, ConnectionRefusedError())
            return
        task = asyncio.ensure_future(self._connect_new(occupant))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def give_up(self, occupant: Occupant) -> None:
        """A call no longer waits."""
        if occupant in self._waiting:
            self._waiting.remove(occupant)

    def keep(self, connection: LocalConnection) -> None:
        """Take a connection back that may be used again."""
        if len(self._idle) >= _MAX_IDLE:
            connection.transport.abort()
            return
        loop = asyncio.get_running_loop()
        connection.idle_since_s = loop.time()
        self._idle.append(connection)
        if self._sweeper is None:
            self._sweeper = loop.call_later(_MAX_IDLE_S, self._sweep)

    def forget(self, connection: LocalConnection) -> None:
        """A connection is gone."""
        if connection.occupant is None and connection in self._idle:
            self._idle.remove(connection)

    async def close(self) -> None:
        """Close everything; what is under way is lost."""
        for task in (*self._tasks, *((self._probe,) if self._probe else ())):
            task.cancel()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in tuple(self.connections):
            connection.transport.abort()
        await asyncio.sleep(0)

    def _occupy(self, connection: LocalConnection, occupant: Occupant) -> None:
        connection.occupant = occupant
        connection.uses += 1
        occupant.connected(connection)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        while self._idle and now_s - self._idle[0].idle_since_s >= _MAX_IDLE_S:
            self._idle.popleft().transport.abort()
        self._sweeper = (
            loop.call_later(_MAX_IDLE_S, self._sweep) if self._idle else None
        )

    # New connections

    async def _connect_new(self, occupant: Occupant) -> None:
        try:
            connection = await self._open()
        except OSError as error:
            if self._has_been_there and isinstance(error, ConnectionRefusedError):
                self._wait(occupant, error)
            else:
                occupant.refused(self._reason(error))
            return
        self._occupy(connection, occupant)

    async def _open(self) -> LocalConnection:
        loop = asyncio.get_running_loop()
        for index, host in enumerate(self._hosts):
            try:
                _, connection = await loop.create_connection(
                    lambda: LocalConnection(self), host, self.port, ssl=self._tls
                )
            except ConnectionRefusedError:
                if index + 1 == len(self._hosts):
                    raise
            else:
                if index:  # the next one finds it at once
                    self._hosts.insert(0, self._hosts.pop(index))
                self._has_been_there = True
                return connection
        raise ConnectionRefusedError  # there is always a host

    def _reason(self, error: OSError) -> str:
        if isinstance(error, ConnectionRefusedError):
            return f"local refused: is anything on port {self.port}?"
        return f"local can't be reached: {reason_of(error)}"

    def _wait(self, occupant: Occupant, error: OSError) -> None:
        """Let a call wait until the server is back."""
        occupant.until_s = asyncio.get_running_loop().time() + self._hold_s
        self._waiting.append(occupant)
        if self._probe is None:
            self._on_away(self._reason(error))
            self._probe = asyncio.ensure_future(self._await_return())

    async def _await_return(self) -> None:
        loop = asyncio.get_running_loop()
        wait_s = _FIRST_PROBE_S
        try:
            while self._waiting:
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, _LONGEST_PROBE_S)
                try:
                    connection = await self._open()
                except OSError as error:
                    now_s = loop.time()
                    while self._waiting and self._waiting[0].until_s <= now_s:
                        # It isn't coming back: who comes next hears so at once.
                        self._has_been_there = False
                        self._waiting.popleft().refused(self._reason(error))
                    continue
                self._on_away(None)
                waiting, self._waiting = self._waiting, deque()
                if not waiting:
                    self.keep(connection)
                    return
                self._occupy(connection, waiting.popleft())
                for occupant in waiting:
                    self.connect(occupant)
        finally:
            self._probe = None
