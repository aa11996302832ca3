"""A way between two ends that fails when a test says so, and what stands on it."""

import asyncio
from contextlib import asynccontextmanager, suppress

from tests.tunnel.raw import NAME, Public
from tunnel import Relay, Tunnel
from tunnel.settings import LinkTimes, RelaySettings, TunnelSettings

QUICK = LinkTimes(
    ping_s=0.05, silence_s=1.0, first_wait_s=0.01, longest_wait_s=0.05, session_s=60.0
)
"""Ends that notice and come back soon, so that tests needn't wait."""

_PIECE_BYTES = 1 << 16


class Wire:
    """A TCP proxy to a local port, which listens on one of its own.

    ``down`` refuses new connections and cuts all, ``up`` ends that; ``stall`` lets
    nothing pass, and loses nothing, until ``go_on``; ``cut_after`` cuts once so many
    bytes have passed; ``piece_bytes`` is how many are written at once.
    """

    def __init__(self, to_port):
        self.to_port = to_port
        self.port = 0
        self.passed = 0
        self.piece_bytes = _PIECE_BYTES
        self.cuts = 0
        self.accepted = 0
        self._left = None
        self._flows = asyncio.Event()
        self._flows.set()
        self._writers = set()
        self._tasks = set()
        self._server = None

    async def start(self):
        await self.up()

    async def up(self):
        """Accept connections (again)."""
        self._server = await asyncio.start_server(self._join, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def down(self):
        """Cut everything, and refuse new connections."""
        self._server.close()
        self.cut()

    def cut(self):
        """Reset all connections: what is on its way is lost."""
        self.cuts += 1
        self._left = None
        for writer in self._writers:
            writer.transport.abort()

    def cut_after(self, count):
        """Cut once so many more bytes have passed, in both directions together."""
        self._left = count

    def stall(self):
        self._flows.clear()

    def go_on(self):
        self._flows.set()

    async def stop(self):
        self.down()
        self.go_on()
        for _ in range(5):  # connections that were accepted a moment ago come late
            await asyncio.sleep(0)
            self.cut()
            await asyncio.gather(*self._tasks)

    async def _join(self, reader, writer):
        task = asyncio.current_task()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.accepted += 1
        self._writers.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection(
                "127.0.0.1", self.to_port
            )
        except OSError:
            self._writers.discard(writer)
            writer.transport.abort()
            return
        self._writers.add(far_writer)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, far_writer))
                both.create_task(self._pump(far_reader, writer))
        finally:
            for end in (writer, far_writer):
                self._writers.discard(end)
                end.transport.abort()

    async def _pump(self, reader, writer):
        with suppress(OSError):
            while data := await reader.read(_PIECE_BYTES):
                await self._flows.wait()
                if self._left is not None:
                    passing, self._left = data[: self._left], self._left - len(data)
                    if self._left <= 0:
                        await self._write(writer, passing)
                        self.cut()
                        return
                await self._write(writer, data)
            writer.write_eof()

    async def _write(self, writer, data):
        size = self.piece_bytes
        for start in range(0, len(data), size):
            writer.write(data[start : start + size])
            await writer.drain()
            if size < _PIECE_BYTES:
                await asyncio.sleep(0)  # for the reader to see them apart
        self.passed += len(data)


@asynccontextmanager
async def a_wire(to_port):
    """Run a wire for a ``with`` block."""
    wire = Wire(to_port)
    await wire.start()
    try:
        yield wire
    finally:
        await wire.stop()


class Journal:
    """What an end has told, and waiting for it to tell more."""

    def __init__(self):
        self.events = []
        self._changed = asyncio.Event()

    def __call__(self, event):
        self.events.append(event)
        self._changed.set()

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    async def wait_for(self, kind, count=1, *, limit_s=15.0):
        """Wait until so many events of a kind have been told; return the last."""
        async with asyncio.timeout(limit_s):
            while len(found := self.of(kind)) < count:
                self._changed.clear()
                await self._changed.wait()
        return found[count - 1]


@asynccontextmanager
async def a_fragile_public(app, *, relay=None, tunnel=None):
    """Run relay and tunnel with a wire between them, as ``public.wire``.

    ``public.came`` and ``public.told`` are the journals of relay and tunnel.
    """
    settings = {"port": 0, "hold_s": 10.0, "link": QUICK} | (relay or {})
    came, told = Journal(), Journal()
    async with (
        Relay(RelaySettings(**settings), on_event=came) as running,
        a_wire(running.port) as wire,
    ):
        settings = {
            "relay": f"ws://localhost:{wire.port}",
            "name": NAME,
            "link": QUICK,
            "local_hold_s": 5.0,
        } | (tunnel or {})
        async with Tunnel(TunnelSettings(app.port, **settings), on_event=told) as own:
            public = Public(running, own, app)
            public.wire, public.came, public.told = wire, came, told
            try:
                yield public
            finally:
                public.leave()
