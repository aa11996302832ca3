"""One response, read as its bytes arrive, in pieces of any size.

Decides where head and body end, and keeps of the body what the plan allows (CBK-23),
decoded where it is gzip (DLV-7). Does no I/O and knows no connection: whoever feeds it
asks ``is_kept`` what may become of that.

Memory is bounded by the limits of ``head.py`` and by ``max_body_bytes``, whatever
comes: the rest of a body is read (DLV-20) and dropped.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from emulator.core.gzip_body import GzipBody
from emulator.transport.head import (
    MAX_HEAD_BYTES,
    MAX_LINE_BYTES,
    BadResponse,
    Head,
    parse_head,
)

__all__ = ["BadBody", "CutOff", "ResponseParser"]

_HEAD_END = re.compile(rb"\n\r?\n")

_CHUNK_SIZE = re.compile(rb"0*([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\0\r\n]*)?")

_TRAILER = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:|[ \t])[^\0\r\n]*")


class BadBody(ValueError):
    """A body that says it is gzip, and isn't."""


class CutOff(ValueError):
    """The connection ended within the body."""


class _Cut:
    """A body as it came, the first ``limit_bytes`` of it."""

    __slots__ = ("_kept", "_limit_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._kept = bytearray()

    def feed(self, data: bytes) -> None:
        self._kept += data[: self._limit_bytes - len(self._kept)]

    def finish(self) -> bytes:
        return bytes(self._kept)


class ResponseParser:
    """Takes the bytes of a connection, and has one response.

    ``has_body`` is false for what answers a HEAD.
    """

    __slots__ = (
        "_body",
        "_buffer",
        "_head",
        "_is_done",
        "_is_endless",
        "_is_kept",
        "_left_bytes",
        "_max_body_bytes",
        "_read",
        "body",
        "has_begun",
        "has_body",
    )

    def __init__(self, *, max_body_bytes: int, has_body: bool = True) -> None:
        self.has_body = has_body
        self.has_begun = False
        """Whether anything has come at all."""
        self.body = b""
        """What is kept of the body, once it has ended."""
        self._max_body_bytes = max_body_bytes
        self._body: _Cut | GzipBody | None = None
        self._buffer = bytearray()
        self._head: Head | None = None
        self._left_bytes = 0
        self._is_done = False
        self._is_endless = False  # the body goes on until the connection ends
        self._is_kept = False
        self._read: Callable[[bytes, int], int] = self._read_head

    @property
    def head(self) -> Head:
        """The head. Only once the response has ended."""
        assert self._head is not None
        return self._head

    @property
    def has_head(self) -> bool:
        """Whether the head is here, and was one."""
        return self._head is not None

    @property
    def is_kept(self) -> bool:
        """Whether the connection is good for another response after this one."""
        return self._is_kept

    def feed(self, data: bytes) -> bool:
        """Take in what came; return whether the response has ended.

        What comes after the end is nobody's. Raises ``BadResponse``, or ``BadBody``.
        """
        self.has_begun = True
        position = 0
        while position < len(data) and not self._is_done:
            position = self._read(data, position)
        if position < len(data):
            self._is_kept = False
        return self._is_done

    def end(self) -> None:
        """Take note that the connection has ended.

        Raises ``CutOff`` or ``BadBody``, or ``BadResponse`` if there isn't even a head.
        """
        if self._is_done:
            return
        if self._head is None:
            raise BadResponse("it ends within its head")
        if not self._is_endless:
            raise CutOff("it ended early")
        self._finish()

    # Each reader takes bytes from a position on, and returns the position after what it
    # took: nothing is copied twice, however small the chunks are.

    def _read_head(self, data: bytes, start: int) -> int:
        buffer = self._buffer
        if buffer:
            before = len(buffer)
            buffer += data[start:]
            match = _HEAD_END.search(buffer, max(0, before - 2))
            text = bytes(buffer[: match.start()]) if match else b""
            size = match.start() if match else len(buffer)
            position = start + match.end() - before if match else len(data)
        else:
            while data[start] in b"\r\n":  # empty lines before it (RFC 9112, 2.2)
                start += 1
                if start == len(data):
                    return start
            match = _HEAD_END.search(data, start)
            text = data[start : match.start()] if match else b""
            size = (match.start() if match else len(data)) - start
            position = match.end() if match else len(data)
            if match is None:
                buffer += data[start:]
        if size > MAX_HEAD_BYTES:
            raise BadResponse(f"its head has more than {MAX_HEAD_BYTES} bytes")
        if match is None:
            if buffer[:5] != b"HTTP/"[: len(buffer)]:
                raise BadResponse("it doesn't begin with a status line")
            return position
        buffer.clear()
        head = parse_head(text.removesuffix(b"\r"))
        if head.status == 101:
            raise BadResponse("it switches to another protocol, unasked")
        if head.status >= 200:
            self._begin_body(head)
        elif head.status < 100:
            raise BadResponse(f"{head.status} is no status")
        return position

    def _begin_body(self, head: Head) -> None:
        self._head = head
        self._is_kept = head.is_kept
        if not self.has_body or head.status in (204, 304) or head.length_bytes == 0:
            self._is_done = True
            return
        limit_bytes = self._max_body_bytes
        self._body = GzipBody(limit_bytes) if head.is_gzip else _Cut(limit_bytes)
        if head.is_chunked:
            self._read = self._read_chunk_size
        elif head.length_bytes is None:
            self._is_kept = False
            self._is_endless = True
            self._read = self._read_rest
        else:
            self._left_bytes = head.length_bytes
            self._read = self._read_length

    def _read_length(self, data: bytes, start: int) -> int:
        position = self._keep(data, start)
        if not self._left_bytes:
            self._finish()
        return position

    def _read_rest(self, data: bytes, start: int) -> int:
        self._feed_body(data[start:])
        return len(data)

    def _read_chunk_size(self, data: bytes, start: int) -> int:
        line, position = self._line(data, start)
        if line is not None:
            match = _CHUNK_SIZE.fullmatch(line)
            if match is None:
                raise BadResponse("a chunk doesn't begin with its size")
            self._left_bytes = int(match[1], 16)
            self._read = self._read_chunk if self._left_bytes else self._read_trailer
        return position

    def _read_chunk(self, data: bytes, start: int) -> int:
        position = self._keep(data, start)
        if not self._left_bytes:
            self._read = self._read_chunk_end
        return position

    def _read_chunk_end(self, data: bytes, start: int) -> int:
        line, position = self._line(data, start)
        if line is not None:
            if line:
                raise BadResponse("a chunk is longer than it says")
            self._read = self._read_chunk_size
        return position

    def _read_trailer(self, data: bytes, start: int) -> int:
        """Read a header that stands after the body; nobody asks for them."""
        line, position = self._line(data, start)
        if line is not None:
            if not line:
                self._finish()
            elif not _TRAILER.fullmatch(line):
                raise BadResponse("a line after its last chunk isn't a header")
        return position

    def _line(self, data: bytes, start: int) -> tuple[bytes | None, int]:
        """Return a whole line without its end, or ``None``; and the position after."""
        end = data.find(b"\n", start)
        piece = data[start:] if end < 0 else data[start:end]
        if len(self._buffer) + len(piece) > MAX_LINE_BYTES:
            raise BadResponse(f"a line has more than {MAX_LINE_BYTES} bytes")
        self._buffer += piece
        if end < 0:
            return None, len(data)
        line = bytes(self._buffer).removesuffix(b"\r")
        self._buffer.clear()
        return line, end + 1

    def _keep(self, data: bytes, start: int) -> int:
        """Take what belongs to the body, or to the chunk."""
        piece = data[start : start + self._left_bytes]
        self._left_bytes -= len(piece)
        self._feed_body(piece)
        return start + len(piece)

    def _feed_body(self, data: bytes) -> None:
        assert self._body is not None
        try:
            self._body.feed(data)
        except ValueError as error:
            raise BadBody(str(error)) from None

    def _finish(self) -> None:
        assert self._body is not None
        try:
            self.body = self._body.finish()
        except ValueError as error:
            raise BadBody(str(error)) from None
        self._is_done = True
