"""emulator/transport/plain.py and connection.py: one call, from beginning to end.

That an answer is understood as aiohttp understands it, test_differential.py says.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.core.model import Outcome, Responded, Unreachable
from emulator.transport.plain import PlainClient
from emulator.transport.request import split_url
from tests.transport.bare import (
    LONGEST_S,
    OK,
    a_request,
    all_closed,
    destination,
    let_others_read,
)

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

MUCH = bytes(8 * 1024 * 1024)
"""More than any socket buffers."""


@asynccontextmanager
async def a_client() -> AsyncIterator[PlainClient]:
    client = PlainClient()
    try:
        yield client
    finally:
        async with asyncio.timeout(LONGEST_S):
            await client.close()
        assert client.pool.open == 0


async def send(client: PlainClient, url: str, **changes: Any) -> Outcome:
    request = a_request(url, **changes)
    async with asyncio.timeout(LONGEST_S):
        return await client.send(request, *split_url(url))


@asynccontextmanager
async def handled_by(handler: Handler) -> AsyncIterator[str]:
    """A server that leaves each connection to a handler, and closes it afterwards."""

    async def handle(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await handler(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"


@pytest.mark.parametrize("framing", [b"Content-Length: 2\r\n", b""])
async def test_an_answer_counts_before_the_request_is_read(framing):
    """A server that refuses a body needn't read it."""
    is_over = asyncio.Event()

    async def refuse(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\n" + framing + b"\r\nno")
        writer.write_eof()
        await is_over.wait()

    async with handled_by(refuse) as url, a_client() as client:
        outcome = await send(client, url, body=MUCH)
        is_over.set()

        assert isinstance(outcome, Responded)
        assert (outcome.status, outcome.body) == (413, b"no")
        assert client.pool.idle == 0


async def test_a_server_that_ends_without_an_answer_is_not_waited_for():
    """DLV-16: though it doesn't read what is sent."""
    is_over = asyncio.Event()

    async def end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write_eof()
        await is_over.wait()

    async with handled_by(end) as url, a_client() as client:
        outcome = await send(client, url, body=MUCH)
        is_over.set()

        assert isinstance(outcome, Unreachable)
        assert "without an answer" in outcome.error


async def test_a_large_body_waits_for_a_slow_reader():
    """PUB-20; only a part of it is in memory twice."""
    received = bytearray()

    async def read_slowly(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"Content-Length: %d\r\n" % len(MUCH) in head
        while len(received) < len(MUCH):
            for _ in range(5):
                await asyncio.sleep(0)
            received.extend(await reader.read(100_000))
        writer.write(OK)
        await writer.drain()
        await reader.read()

    async with handled_by(read_slowly) as url, a_client() as client:
        outcome = await send(client, url, body=MUCH)

        assert isinstance(outcome, Responded)
        assert received == MUCH
        assert client.pool.idle == 1


async def test_a_connection_on_which_something_comes_unasked_is_closed():
    async with destination() as bare, a_client() as client:
        await send(client, bare.url())
        for writer in bare.open:
            writer.write(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        await all_closed(bare)

        assert client.pool.open == 0
        assert isinstance(await send(client, bare.url()), Responded)


async def test_a_request_that_is_no_http_is_not_sent():
    async with destination() as bare, a_client() as client:
        outcome = await send(client, bare.url(), headers=(("X", "a\r\nY: b"),))

        assert outcome == Unreachable(
            "can't send the request: a header has a line end or a zero byte in it"
        )
        assert bare.connections == 0


@pytest.mark.parametrize(
    ("sent", "end", "error"),
    [
        (b"", "close", "the destination closed the connection without an answer"),
        (b"", "reset", "connection reset by the destination"),
        (b"hello\r\n\r\n", "keep", "the destination's answer isn't HTTP: it doesn't"),
        (OK[:-1], "close", "the destination broke off its answer: it ended early"),
        (OK[:-1], "reset", "the destination broke off its answer: connection reset"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\na",
            "keep",
            "the destination's answer can't be read: ",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n",
            "keep",
            "the destination broke off its answer: a chunk doesn't begin",
        ),
    ],
)
async def test_a_failure_says_what_it_was(sent, end, error):
    """DLV-17."""
    async with destination(sent, end=end) as bare, a_client() as client:
        outcome = await send(client, bare.url())

    assert isinstance(outcome, Unreachable)
    assert outcome.error.startswith(error)


async def test_a_name_that_leads_nowhere_is_unresolved(monkeypatch):
    """DLV-16."""

    async def refuse(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "nothing known")

    async with a_client() as client:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", refuse)
        outcome = await send(client, "http://nowhere.test/")

    assert outcome == Unreachable("can't resolve host nowhere.test")


async def test_a_name_is_tried_at_each_of_its_addresses(monkeypatch):
    """The first of them may be one at which nothing listens."""
    async with destination() as bare, a_client() as client:

        async def resolve(host: str, port: int, **_: object) -> list[Any]:
            tcp = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
            return [(*tcp, ("127.0.0.2", port)), (*tcp, ("127.0.0.1", port))]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
        outcome = await send(client, f"http://app.test:{bare.port}/")

        assert isinstance(outcome, Responded)
        assert b"\r\nHost: app.test:%d\r\n" % bare.port in bare.received[0]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=6))
async def test_calls_that_are_cancelled_at_any_moment_leave_nothing_open(turns):
    """DLV-22."""
    async with destination([OK[:20], OK[20:]]) as bare:
        async with a_client() as client:
            for count in turns:
                task = asyncio.create_task(send(client, bare.url(), body=b"x" * 100))
                for _ in range(count):
                    await asyncio.sleep(0)
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            outcome = await send(client, bare.url())
            await let_others_read()

            assert isinstance(outcome, Responded)
            assert client.pool.open == client.pool.idle
        await all_closed(bare)
