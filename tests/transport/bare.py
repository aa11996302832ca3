"""A bare server on loopback: records every byte, and answers with bytes of a test's.

What several tests of the transport share.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from emulator.core.model import Outgoing

LONGEST_S = 5.0

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

DLV_2 = (("User-Agent", "Upstash-QStash"), ("Accept-Encoding", "gzip"))


class Destination:
    """A bare server: answers each request with the next script, and keeps what came.

    A script is a list of byte strings, each sent once the client has read the one
    before; the last script answers all that follow. ``end`` says what comes after
    it: the connection is kept (``keep``), closed (``close``) or reset (``reset``).
    """

    def __init__(self, scripts: Iterable[list[bytes]], end: str) -> None:
        self.scripts = list(scripts)
        self.end = end
        self.received: list[bytes] = []
        self.connections = 0
        self.open: set[asyncio.StreamWriter] = set()
        self.port = 0

    def url(self, rest: str = "/hook") -> str:
        return f"http://127.0.0.1:{self.port}{rest}"

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        self.open.add(writer)
        try:
            # The client, or the test, may break the connection off at any time.
            with contextlib.suppress(asyncio.IncompleteReadError, OSError):
                await self._answer(reader, writer)
        finally:
            self.open.discard(writer)
            writer.close()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        is_kept = True
        while is_kept:
            self.received.append(await read_request(reader))
            script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
            for part in script:
                writer.write(part)
                await writer.drain()
                await let_others_read()
            if self.end == "reset":
                reset(writer)
            is_kept = self.end == "keep"


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return head + await reader.readexactly(length)


async def let_others_read() -> None:
    """Give the client, which runs on the same loop, turns to read what was sent."""
    for _ in range(20):
        await asyncio.sleep(0)


async def all_closed(bare: Destination) -> None:
    """Wait until no connection is open any more."""
    async with asyncio.timeout(LONGEST_S):
        while bare.open:
            await let_others_read()


def reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the other side gets a reset."""
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@asynccontextmanager
async def destination(
    *scripts: bytes | list[bytes], end: str = "keep", host: str = "127.0.0.1"
) -> AsyncIterator[Destination]:
    parts = [[each] if isinstance(each, bytes) else each for each in scripts or (OK,)]
    bare = Destination(parts, end)
    server = await asyncio.start_server(bare.serve, host, 0, limit=1024 * 1024)
    bare.port = server.sockets[0].getsockname()[1]
    async with server:
        try:
            yield bare
        finally:
            for writer in tuple(bare.open):
                writer.transport.abort()
            await all_closed(bare)


def a_request(url: str, **changes: Any) -> Outgoing:
    fields: dict[str, Any] = {
        "method": "POST",
        "url": url,
        "headers": DLV_2,
        "body": b"hi",
        "max_response_bytes": 1000,
    }
    return Outgoing(**{**fields, **changes})
