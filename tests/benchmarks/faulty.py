"""A destination where everything goes wrong that can, by the path that is called.

``/ok``, ``/flaky`` (500, then 200), ``/busy`` (503 with Retry-After, then 200),
``/broken`` (always 500), ``/slow`` (a body in pieces), ``/hang`` (no answer), ``/cut``
(the connection ends in the middle of the answer), ``/garbage`` (no HTTP at all).
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

__all__ = ["Faulty", "faulty"]

_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_ERROR = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\nno"
_BUSY = b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
_CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf of it"

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_RETRIED = re.compile(rb"\r\nupstash-retried: *(\d+)", re.IGNORECASE)

_SLOW_PIECES = 5
_SLOW_S = 0.1
_HANG_S = 30.0


class Faulty:
    """Answers, and counts the calls of each path."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.port = 0

    def url(self, path: str) -> str:
        """Return where something goes wrong."""
        return f"http://127.0.0.1:{self.port}/{path}"

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answer the calls of one connection."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._answer(reader, writer):
                await writer.drain()
        writer.close()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer one call; return whether the connection stays."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        await reader.readexactly(int(length[1]) if length else 0)
        retried = _RETRIED.search(head)
        is_first = retried is None or retried[1] == b"0"
        path = head.split(b" ", 2)[1].decode().strip("/")
        self.calls[path] += 1
        match path:
            case "broken":
                writer.write(_ERROR)
            case "flaky" if is_first:
                writer.write(_ERROR)
            case "busy" if is_first:
                writer.write(_BUSY)
            case "slow":
                writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                for _ in range(_SLOW_PIECES):
                    writer.write(b"4\r\nslow\r\n")
                    await writer.drain()
                    await asyncio.sleep(_SLOW_S)
                writer.write(b"0\r\n\r\n")
            case "hang":
                # Until the other side gives up.
                with suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(1), _HANG_S)
                return False
            case "cut":
                writer.write(_CUT)
                return False
            case "garbage":
                writer.write(b"\x00\xff no HTTP\r\n\r\n")
                return False
            case _:
                writer.write(_OK)
        return True


@asynccontextmanager
async def faulty() -> AsyncIterator[Faulty]:
    """Serve on a free port until the block ends."""
    found = Faulty()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0, backlog=1000)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
