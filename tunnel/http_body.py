"""Bodies: where one ends, and what of the bytes that arrive belongs to it.

Three kinds: counted (Content-Length), chunked, and until the connection ends. The
reader takes them apart as they come; a chunked body leaves it without its chunks,
and is chunked anew where it goes on, so that an odd but lawful spelling of a chunk
reaches nobody. Keeps no body: what was found is returned at once. Pure.
"""

from __future__ import annotations

import re

from tunnel.http_grammar import FIELD_LINE, TOKEN_CHARACTER, BadMessage

__all__ = [
    "MAX_CHUNK_LINE_BYTES",
    "MAX_TRAILER_BYTES",
    "BodyReader",
    "check_trailers",
    "encode_chunk",
    "last_chunk",
]

MAX_CHUNK_LINE_BYTES = 256
"""A chunk's size with its extensions, which are dropped."""

MAX_TRAILER_BYTES = 8192
"""All trailer lines of a body."""

# chunk     = chunk-size [ chunk-ext ] CRLF (RFC 9112, 7.1)
# chunk-ext = *( ";" chunk-ext-name [ "=" ( token / quoted-string ) ] )
# Up to 16 digits: 64 bits. The blanks that a recipient may forgive are refused.
_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*+"'
_TOKEN = TOKEN_CHARACTER + rb"++"
_chunk_line = re.compile(
    rb"([0-9A-Fa-f]{1,16}+)(?:;%b(?:=(?:%b|%b))?+)*+\r\n" % (_TOKEN, _TOKEN, _QUOTED)
).match

# What may become such a line.
_chunk_line_start = re.compile(
    rb"[0-9A-Fa-f]{1,16}+(?:;[^\x00-\x08\x0a-\x1f\x7f]*+)?+\r?"
).fullmatch

_trailer_lines = re.compile(rb"(?:" + FIELD_LINE + rb")++").fullmatch

# Whoever merges trailers into the header would be framed, routed, let in or misled
# by these (RFC 9110, 6.5.1).
_forbidden_trailer = re.compile(
    rb"(?:^|\n)((?:content[-_](?:length|encoding|range|type)|transfer[-_]encoding|host"
    rb"|connection|keep-alive|proxy-[^:]*|te|trailer|upgrade|expect|authorization"
    rb"|cookie|set-cookie|cache-control|max-forwards|x-forwarded-[^:]*|forwarded)):",
    re.IGNORECASE,
).search


class BodyReader:
    """Reads one message's body.

    ``length`` is in bytes, and doesn't count if the body is chunked or lasts until
    the connection ends.
    """

    __slots__ = ("_chunks", "_left", "_until_close", "is_finished", "rest", "trailers")

    is_finished: bool
    """Whether the body is whole."""

    rest: bytes
    """What came behind the body."""

    trailers: bytes
    """The trailer lines of a chunked body, as they arrived; mostly empty."""

    def __init__(
        self, length: int | None, is_chunked: bool, until_close: bool = False
    ) -> None:
        self.rest = self.trailers = b""
        self._until_close = until_close
        if is_chunked:
            self._chunks: _ChunkReader | None = _ChunkReader()
            self._left = 0
            self.is_finished = False
        else:
            self._chunks = None
            self._left = 0 if until_close else length or 0
            self.is_finished = not self._left and not until_close

    def feed(self, data: bytes) -> bytes:
        """Take bytes that arrived; return those of the body among them.

        Raises ``BadMessage`` where a chunked body breaks its rules.
        """
        left = self._left
        if left:
            size = len(data)
            if size < left:
                self._left = left - size
                return data
            self._left = 0
            self.is_finished = True
            if size == left:
                return data
            self.rest = data[left:]
            return data[:left]
        if self.is_finished:
            self.rest += data
            return b""
        chunks = self._chunks
        if chunks is None:
            return data
        body = chunks.feed(data)
        if chunks.is_finished:
            self.is_finished = True
            self.rest = chunks.rest
            self.trailers = chunks.trailers
        return body

    def end(self) -> None:
        """Say that the connection has ended: so does a body that lasts until then.

        Raises ``BadMessage`` if any other isn't whole.
        """
        if self._until_close:
            self.is_finished = True
        elif not self.is_finished:
            raise BadMessage(400, "the connection ended before the body did")


class _ChunkReader:
    """The chunked coding of one body."""

    __slots__ = ("_held", "_in_trailers", "_left", "is_finished", "rest", "trailers")

    def __init__(self) -> None:
        self._left = 0
        """Of the chunk under way, with the two bytes that end it; 0 between chunks."""
        self._held = b""
        """The beginning of a line that isn't whole: bounded, as lines are."""
        self._in_trailers = False
        self.is_finished = False
        self.rest = self.trailers = b""

    def feed(self, data: bytes) -> bytes:
        if self._held:
            data = self._held + data
            self._held = b""
        left = self._left
        position, end = 0, len(data)
        found: list[bytes] = []
        while position < end:
            if left:
                stop = position + left
                if stop <= end:
                    if left > 2:
                        found.append(data[position : stop - 2])
                        position = stop - 2
                    if data[position:stop] != b"\r\n"[-(stop - position) :]:
                        raise _bad_chunk_end()
                    position, left = stop, 0
                    continue
                # The chunk goes on: all is body but a CR, should that be the last.
                left = stop - end
                if left < 2 and data[-1] != 0x0D:
                    raise _bad_chunk_end()
                whole = end - (left < 2)
                if whole > position:
                    found.append(data[position:whole])
                break
            if self._in_trailers:
                self._read_trailers(data, position)
                break
            line = _chunk_line(data, position)
            if line is None or line.end() - position > MAX_CHUNK_LINE_BYTES:
                self._held = _line_start(data, position)
                break
            position = line.end()
            left = int(line[1], 16)
            if left:
                left += 2
            else:
                self._in_trailers = True
        self._left = left
        return found[0] if len(found) == 1 else b"".join(found)

    def _read_trailers(self, data: bytes, position: int) -> None:
        """Finish the body if its empty line has come; else keep what has."""
        if data.startswith(b"\r\n", position):
            self._finish(b"", data[position + 2 :])
            return
        end = data.find(b"\r\n\r\n", position, position + MAX_TRAILER_BYTES + 2)
        if end >= 0:
            self._finish(data[position : end + 2], data[end + 4 :])
            return
        held = data[position:]
        if len(held) > MAX_TRAILER_BYTES + 1:  # with half of the empty line
            raise BadMessage(431, f"trailers are longer than {MAX_TRAILER_BYTES} bytes")
        self._held = held

    def _finish(self, trailers: bytes, rest: bytes) -> None:
        if trailers:
            check_trailers(trailers)
        self.trailers = trailers
        self.rest = rest
        self.is_finished = True


def check_trailers(trailers: bytes) -> None:
    """Raise ``BadMessage`` if these aren't whole lines that may stand behind a body."""
    if not _trailer_lines(trailers):
        raise BadMessage(400, "a trailer must be a name, a colon, a value")
    forbidden = _forbidden_trailer(trailers)
    if forbidden:
        raise BadMessage(400, f"{forbidden[1].decode()} can't be a trailer")


def _bad_chunk_end() -> BadMessage:
    return BadMessage(400, "a chunk must end with CR LF where its size says")


def _line_start(data: bytes, position: int) -> bytes:
    """Return what has come of a chunk's first line, if it may yet become one."""
    if len(data) - position <= MAX_CHUNK_LINE_BYTES and _chunk_line_start(
        data, position
    ):
        return data[position:]
    raise BadMessage(
        400,
        "a chunk must begin with its size in hexadecimal and CR LF,"
        f" in at most {MAX_CHUNK_LINE_BYTES} bytes",
    )


def encode_chunk(data: bytes) -> bytes:
    """Make a chunk of it; of nothing nothing, since an empty chunk is the last."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def last_chunk(trailers: bytes = b"") -> bytes:
    """Make a chunked body's end. ``trailers`` are whole lines."""
    return b"0\r\n%b\r\n" % trailers
