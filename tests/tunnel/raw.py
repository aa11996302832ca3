"""Both ends of a tunnel as raw sockets: visitors and local apps that keep all bytes.

Nothing here uses the tunnel's own reading of HTTP: what is compared with it is read by
an independent, simple-minded one. Every wait is bounded.
"""

import asyncio
import socket
import struct
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field

from tunnel import Relay, Tunnel
from tunnel.settings import RelaySettings, TunnelSettings

LIMIT_S = 5.0
"""Beyond this something hangs: generous, since the machine may be busy."""

NAME = "demo"
HOST = b"demo.localhost"

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class BrokenOff(Exception):
    """The connection ended before the message did."""


@dataclass
class Message:
    """A request or an answer, as it arrived."""

    head: bytes
    body: bytes = b""
    trailers: bytes = b""
    interim: list[bytes] = field(default_factory=list)
    """The heads of 1xx that came before an answer."""

    @property
    def status(self):
        return int(self.head[9:12])

    @property
    def lines(self):
        """The header lines, without the first one."""
        return self.head.split(b"\r\n")[1:-2]

    def values(self, name):
        """The values of all fields of a name, as they stand on the wire."""
        pairs = [line.partition(b":") for line in self.lines]
        return [value.strip() for key, _, value in pairs if key.lower() == name]


class End:
    """One end of a connection."""

    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer

    async def send(self, data):
        """Send bytes, and wait until the socket has taken them."""
        self.writer.write(data)
        async with asyncio.timeout(LIMIT_S):
            await self.writer.drain()

    async def send_in_pieces(self, data, piece_bytes):
        """Send all at once, or the first part of it in pieces of a size."""
        if piece_bytes:
            first, data = data[: piece_bytes * 40], data[piece_bytes * 40 :]
            for start in range(0, len(first), piece_bytes):
                await self.send(first[start : start + piece_bytes])
                await asyncio.sleep(0)
        await self.send(data)

    async def head(self):
        """Return all bytes up to a blank line, with it."""
        with broken_off():
            async with asyncio.timeout(LIMIT_S):
                return await self.reader.readuntil(b"\r\n\r\n")

    async def exactly(self, count):
        """Return so many bytes."""
        with broken_off():
            async with asyncio.timeout(LIMIT_S):
                return await self.reader.readexactly(count)

    async def line(self):
        """Return a line without its end."""
        with broken_off():
            async with asyncio.timeout(LIMIT_S):
                return (await self.reader.readuntil(b"\r\n"))[:-2]

    async def rest(self):
        """Return everything up to the end of the connection."""
        with broken_off():
            async with asyncio.timeout(LIMIT_S):
                return await self.reader.read()

    async def chunk(self):
        """Return the next chunk's bytes; of the last one, none."""
        size = int((await self.line()).partition(b";")[0], 16)
        if size == 0:
            return b""
        data = await self.exactly(size + 2)
        assert data.endswith(b"\r\n")
        return data[:-2]

    async def request(self):
        """Return the next request, whole."""
        return await self._body(Message(await self.head()), has_none=False)

    async def answer(self, method=b"GET"):
        """Return the answer to a request, whole, with the 1xx before it."""
        interim = []
        while True:
            message = Message(await self.head(), interim=interim)
            if message.status >= 200 or message.status == 101:
                break
            interim.append(message.head)
        status = message.status
        has_none = method == b"HEAD" or status < 200 or status in (204, 304)
        return await self._body(message, has_none=has_none, is_answer=True)

    async def _body(self, message, *, has_none, is_answer=False):
        if has_none:
            return message
        codings = message.values(b"transfer-encoding")
        if [coding.lower() for coding in codings] == [b"chunked"]:
            while data := await self.chunk():
                message.body += data
            while line := await self.line():
                message.trailers += line + b"\r\n"
        elif lengths := message.values(b"content-length"):
            message.body = await self.exactly(int(lengths[0]))
        elif is_answer:
            message.body = await self.rest()
        return message

    def is_over(self):
        """Whether the other end has closed, as far as it is known by now."""
        return self.reader.at_eof() or self.reader.exception() is not None

    async def ended(self):
        """Wait until the other end closes; nothing more may come before."""
        try:
            left = await self.rest()
        except BrokenOff:
            return
        assert left == b""

    def finish(self):
        """Send nothing more."""
        self.writer.write_eof()

    def reset(self):
        """Break the connection off, as a process that dies does."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def close(self):
        """Drop the connection."""
        self.writer.transport.abort()


@contextmanager
def broken_off():
    """Tell an end that comes too early as what it is."""
    try:
        yield
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise BrokenOff(str(error)) from error


class App:
    """A local server.

    Answers each request with ``answer`` once it is whole, in pieces of ``piece_bytes``
    unless that is 0, and closes the connection after it if ``closes``; ``arrived`` has
    the requests. With ``by_hand`` a test takes each connection (``called``) and answers
    on it itself.
    """

    def __init__(self, *, by_hand=False):
        self.answer = OK
        self.piece_bytes = 0
        self.closes = False
        self.arrived = []
        self.port = 0
        self.ends = []
        self._by_hand = by_hand
        self._called = asyncio.Queue()
        self._tasks = set()
        self._server = None

    async def start(self, **place):
        place = place or {"host": "127.0.0.1", "port": 0}
        self._server = await asyncio.start_server(self._accept, limit=1 << 20, **place)
        self.port = self._server.sockets[0].getsockname()[1]

    def _accept(self, reader, writer):
        end = End(reader, writer)
        self.ends.append(end)
        if self._by_hand:
            self._called.put_nowait(end)
        else:
            task = asyncio.ensure_future(self._serve(end))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, end):
        # Whoever keeps a connection may send nothing for as long as it likes.
        with suppress(BrokenOff, ConnectionError):
            while True:
                with broken_off():
                    head = await end.reader.readuntil(b"\r\n\r\n")
                self.arrived.append(await end._body(Message(head), has_none=False))
                await end.send_in_pieces(self.answer, self.piece_bytes)
                if self.closes:
                    break
        end.writer.close()
        self.ends.remove(end)

    async def called(self):
        """Return the next connection that was made."""
        async with asyncio.timeout(LIMIT_S):
            return await self._called.get()

    async def stop(self):
        """Close everything."""
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for end in self.ends:
            end.close()
        await asyncio.sleep(0)


@asynccontextmanager
async def an_app(*, by_hand=False, **place):
    """Run an app for a ``with`` block, where ``asyncio.start_server`` is told to."""
    app = App(by_hand=by_hand)
    await app.start(**place)
    try:
        yield app
    finally:
        await app.stop()


class Public:
    """A relay with one tunnel to an app, seen from outside."""

    def __init__(self, relay, tunnel, app):
        self.relay = relay
        self.tunnel = tunnel
        self.app = app
        self._ends = []

    async def visit(self, **options):
        """Connect as a visitor."""
        place = {"host": "127.0.0.1", "port": self.relay.port, "limit": 1 << 20}
        async with asyncio.timeout(LIMIT_S):
            end = End(*await asyncio.open_connection(**place | options))
        self._ends.append(end)
        return end

    async def visit_slowly(self):
        """Connect as a visitor; neither side of the connection holds much unread."""
        for listener in self.relay._server.sockets:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        place = ("127.0.0.1", self.relay.port)
        await asyncio.get_running_loop().sock_connect(sock, place)
        return await self.visit(host=None, port=None, sock=sock, limit=4096)

    async def ask(self, data, method=b"GET", **options):
        """Send bytes on a connection of their own, and return the answer."""
        end = await self.visit(**options)
        await end.send(data)
        answer = await end.answer(method)
        end.close()
        return answer

    def leave(self):
        """Drop all visitors' connections."""
        for end in self._ends:
            end.close()
        self._ends.clear()


@asynccontextmanager
async def a_public(app, *, relay=None, tunnel=None, on_event=None):
    """Run a relay and a tunnel to an app for a ``with`` block.

    ``relay`` and ``tunnel`` are settings. An unknown name is refused after 50 ms.
    """
    relay_settings = RelaySettings(**{"port": 0, "hold_s": 0.05} | (relay or {}))
    async with Relay(relay_settings) as running:
        settings = {"relay": running.link_url, "name": NAME} | (tunnel or {})
        if running.settings.host == "::1":  # not what localhost is everywhere
            settings["relay"] = f"ws://[::1]:{running.port}"
        target = settings.pop("target", app.port)
        own = Tunnel(TunnelSettings(target, **settings), on_event=on_event)
        async with asyncio.timeout(LIMIT_S):
            await own.start()
        public = Public(running, own, app)
        try:
            yield public
        finally:
            public.leave()
            await own.stop()


@asynccontextmanager
async def by_hand(**settings):
    """Run a relay and a tunnel to an app that the test plays itself."""
    async with an_app(by_hand=True) as app, a_public(app, **settings) as public:
        yield public, app


async def until(condition):
    """Let the loop turn until something is so."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            if condition():
                return
            await asyncio.sleep(0)


def request(*lines, first=b"GET / HTTP/1.1", host=HOST, body=b""):
    """Make the bytes of a request."""
    own = () if host is None else (b"Host: " + host,)
    return b"".join(line + b"\r\n" for line in (first, *own, *lines, b"")) + body


def post(body, *lines, first=b"POST / HTTP/1.1", host=HOST):
    """Make the bytes of a request with a body that is counted."""
    length = b"Content-Length: %d" % len(body)
    return request(length, *lines, first=first, host=host, body=body)


class Standing:
    """A relay, a tunnel and an app that stand for many examples, with their loop.

    For tests that aren't coroutines: ``run`` lets all go on until something is done.
    """

    def __init__(self, runner, public):
        self.run = runner.run
        self.public = public
        self.app = public.app

    def attack(self, data):
        """Send bytes; return the status of the only answer, and the targets at the app.

        Whatever got through would be at the app before a request that is sent later.
        """
        self.app.arrived.clear()
        answer = self.run(self._attack(data))
        targets = [one.head.split(b" ")[1] for one in self.app.arrived]

        assert answer.values(b"connection") == [b"close"]
        assert answer.values(b"qemu-error") == [b"relay"]
        assert targets.pop() == b"/later"
        return answer.status, targets

    async def _attack(self, data):
        visitor = await self.public.visit()
        await visitor.send(data)
        answer = await visitor.answer()
        await visitor.ended()
        await self.public.ask(request(first=b"GET /later HTTP/1.1"))
        self.public.leave()
        return answer

    def serve(self, data):
        """Send bytes that may pass; return the answer, and what came to the app."""
        self.app.arrived.clear()
        answer = self.run(self.public.ask(data))
        return answer, self.app.arrived


@contextmanager
def a_standing(**settings):
    """Run relay, tunnel and app for a ``with`` block that isn't in a coroutine."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def start():
            app = await stack.enter_async_context(an_app())
            return await stack.enter_async_context(a_public(app, **settings))

        try:
            yield Standing(runner, runner.run(start()))
        finally:
            runner.run(stack.aclose())
