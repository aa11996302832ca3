"""Bulk and kill -9 with real processes: memory stays bounded, and names come back.

The visitors are in this process; relay and tunnel are the real commands.
"""

import asyncio
import os
import re
import signal
import sys
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.tunnel.raw import BrokenOff, End, an_app, post, request

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

PATIENCE_S = 60
"""Far more than anything here takes, on a machine that is busy."""

MIB = 1 << 20
NAME = "demo"
HOST = b"demo.localhost"

STALLED = 4
DOWNLOAD_BYTES = 64 * MIB
UPLOAD_BYTES = 256 * MIB
MOST_GROWTH_BYTES = 4 * 4 * MIB + 16 * MIB
"""Four windows, what is kept for a resume at either end of the link, and slack."""

PIECE = bytes(range(256)) * 256

ECHO = """
import sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/hang":
            print("hanging", flush=True)
            threading.Event().wait()
        self.wfile.write(
            b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body
        )

    def log_message(self, *args):
        pass

server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print("port", server.server_port, flush=True)
server.serve_forever()
"""


class Command:
    """A running ``qemu`` command. What it prints is read, whether or not awaited."""

    def __init__(self, process):
        self.process = process
        self._lines = asyncio.Queue()
        self._reading = asyncio.ensure_future(self._read())

    async def _read(self):
        async for line in self.process.stdout:
            self._lines.put_nowait(line.decode())
        self._lines.put_nowait("")

    async def line(self, pattern):
        """Return the match of the next line that matches."""
        async with asyncio.timeout(PATIENCE_S):
            while line := await self._lines.get():
                if match := re.search(pattern, line):
                    return match
        raise AssertionError(f"ended before {pattern!r}")

    async def end(self):
        if self.process.returncode is None:
            await self.kill()
        await self._reading
        self.process._transport.close()

    async def kill(self):
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    def memory_bytes(self):
        """How much of its memory is in use, and how much was at most."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return tuple(
            int(re.search(rf"^{key}:\s+(\d+) kB$", status, re.M)[1]) * 1024
            for key in ("VmRSS", "VmHWM")
        )


@asynccontextmanager
async def running(*args, command=("-m", "emulator")):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        *args,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    command = Command(process)
    try:
        yield command
    finally:
        await command.end()


class Way:
    """A relay and a tunnel to an app, as processes."""

    def __init__(self, stack, app_port):
        self._stack = stack
        self._app_port = app_port
        self.port = 0
        self.ends = []

    async def start_relay(self):
        self.relay = await self._stack.enter_async_context(
            running("relay", "--port", str(self.port))
        )
        url = (await self.relay.line(r"Tunnels +(ws://\S+)"))[1]
        self.port = int(url.rpartition(":")[2])

    async def start_tunnel(self):
        self.tunnel = await self._stack.enter_async_context(
            running(
                "tunnel",
                str(self._app_port),
                *("--relay", f"ws://localhost:{self.port}", "--name", NAME),
            )
        )
        return (await self.tunnel.line(r"Public +(http://\S+)"))[1]

    async def start_app(self):
        self.app = await self._stack.enter_async_context(
            running(str(self._app_port), command=("-c", ECHO))
        )
        self._app_port = int((await self.app.line(r"port (\d+)"))[1])

    async def visit(self, **options):
        end = End(*await asyncio.open_connection("127.0.0.1", self.port, **options))
        self.ends.append(end)
        return end

    async def ask(self, data):
        """Send a request on a connection of its own; return its answer."""
        end = await self.visit()
        await end.send(data)
        answer = await end.answer()
        end.close()
        return answer


@asynccontextmanager
async def a_way(app=None):
    """Run a relay and a tunnel, to a given app or to one in a process of its own."""
    async with AsyncExitStack() as stack:
        way = Way(stack, 0 if app is None else app.port)
        if app is None:
            await way.start_app()
        await way.start_relay()
        await way.start_tunnel()
        try:
            yield way
        finally:
            for end in way.ends:
                end.close()
            await asyncio.sleep(0)


async def serve_bulk(app):
    """Answer the next connections of an app: what is asked says how much comes."""
    while True:
        end = await app.called()
        asyncio.ensure_future(serve_one(end)).add_done_callback(
            lambda task: task.cancelled() or task.exception()
        )


async def serve_one(end):
    while True:
        head = await end.reader.readuntil(b"\r\n\r\n")
        left = int((re.search(rb"Content-Length: (\d+)", head) or [0, 0])[1])
        received = left
        while left:
            left -= len(await end.reader.read(min(left, MIB)))
        if b" /download " in head:
            end.writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % DOWNLOAD_BYTES
            )
            for _ in range(DOWNLOAD_BYTES // len(PIECE)):
                end.writer.write(PIECE)
                await end.writer.drain()
        else:
            body = b"%d" % received
            end.writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            )
            await end.writer.drain()


async def upload(end):
    await end.send(
        request(b"Content-Length: %d" % UPLOAD_BYTES, first=b"POST /up HTTP/1.1")
    )
    for _ in range(UPLOAD_BYTES // len(PIECE)):
        end.writer.write(PIECE)
        await end.writer.drain()
    async with asyncio.timeout(PATIENCE_S):
        return await end.answer()


async def test_bulk_neither_fills_the_memory_nor_holds_webhooks_up():
    async with an_app(by_hand=True) as app, a_way(app) as way:
        serving = asyncio.ensure_future(serve_bulk(app))
        for _ in range(50):
            assert (await way.ask(post(b"warm"))).body == b"4"
        before = [each.memory_bytes()[0] for each in (way.relay, way.tunnel)]

        for _ in range(STALLED):
            stalled = await way.visit(limit=1024)
            await stalled.send(request(first=b"GET /download HTTP/1.1"))
            await stalled.head()  # and then reads no more
        uploading = asyncio.ensure_future(upload(await way.visit()))
        webhooks = 0
        while not uploading.done():
            assert (await way.ask(post(b"webhook"))).body == b"7"
            webhooks += 1
        answer = await uploading
        most = [each.memory_bytes()[1] for each in (way.relay, way.tunnel)]
        serving.cancel()

        growth = [now - then for now, then in zip(most, before, strict=True)]
        for name, then, grown in zip(("relay", "tunnel"), before, growth, strict=True):
            print(f"{name}: {then / MIB:.1f} MiB, and {grown / MIB:.1f} MiB at most")
        print(f"{webhooks} webhooks beside {UPLOAD_BYTES // MIB} MiB")
        assert answer.body == b"%d" % UPLOAD_BYTES
        assert webhooks > 20
        assert max(growth) <= MOST_GROWTH_BYTES


async def test_what_is_killed_and_started_again_has_its_address_and_loses_no_name():
    async with an_app() as app, a_way(app) as way:
        await way.tunnel.kill()
        held = [await way.visit() for _ in range(5)]
        for number, end in enumerate(held):
            await end.send(post(b"%d" % number))
        url = await way.start_tunnel()
        answers = [await end.answer() for end in held]

        assert [answer.body for answer in answers] == [b"ok"] * 5
        assert url == f"http://{NAME}.localhost:{way.port}"

        await way.relay.kill()
        await way.start_relay()
        early = await way.visit()
        await early.send(post(b"before the tunnel is back"))
        answer = await early.answer()

        assert answer.body == b"ok"
        assert len(app.arrived) == 6


async def test_a_killed_app_fails_what_it_had_and_what_follows_waits_for_the_next():
    async with a_way() as way:
        hanging = await way.visit()
        await hanging.send(post(b"1", first=b"POST /hang HTTP/1.1"))
        await way.app.line("hanging")
        await way.app.kill()
        failed = await hanging.answer()
        waiting = await way.visit()
        await waiting.send(post(b"2"))
        await way.start_app()

        assert (failed.status, failed.values(b"qemu-error")) == (502, [b"local"])
        assert (await waiting.answer()).body == b"2"


async def visit_again_and_again(way, visitor, outcomes, calm):
    """Send numbered requests until all is calm and one has gone well."""
    count, end = 0, None
    while True:
        was_calm = calm.is_set()
        body = b"%d-%d " % (visitor, count) * 2_000
        count += 1
        try:
            if end is None:
                end = await way.visit()
            await end.send(post(body))
            answer = await end.answer()
        except (BrokenOff, OSError):
            outcome = "broken"
        else:
            outcome = b"".join(answer.values(b"qemu-error")).decode() or 200
            if outcome == 200:
                assert answer.body == body
        outcomes[outcome] += 1
        if outcome != 200:
            end = None
            await asyncio.sleep(0.01)
        elif was_calm:
            return


async def test_whatever_is_killed_under_load_nobody_gets_anothers_bytes_or_hangs():
    outcomes, calm = Counter(), asyncio.Event()
    async with a_way() as way:
        visitors = [
            asyncio.ensure_future(visit_again_and_again(way, n, outcomes, calm))
            for n in range(8)
        ]
        for name in ("tunnel", "app", "relay", "tunnel"):
            aim = outcomes[200] + 100
            async with asyncio.timeout(PATIENCE_S):
                while outcomes[200] < aim:
                    ended = [each.exception() for each in visitors if each.done()]
                    assert ended == []
                    await asyncio.sleep(0.01)
            await getattr(way, name).kill()
            await getattr(way, f"start_{name}")()
        calm.set()
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*visitors)

    print(dict(outcomes))
    assert set(outcomes) <= {200, "link", "local", "relay", "broken"}
    assert outcomes["link"] <= 2 * 8  # what was in the tunnel when it was killed
    assert outcomes["local"] <= 8
