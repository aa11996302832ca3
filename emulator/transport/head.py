"""The head of a response: status line and headers, parsed and judged.

Decides what is an HTTP/1.x head and what isn't, how the body after it is framed, and
whether the connection may be used again. Takes what servers in the wild send, as
browsers do: a line may end without its carriage return, a reason may be missing. What
would make two readers disagree about where the body ends is refused.

Heads are hostile: a line, their number and their sum are bounded.
"""

from __future__ import annotations

import re
from functools import lru_cache
from http import HTTPStatus
from typing import NamedTuple

from emulator.core.header_map import HeaderMap, build

__all__ = ["MAX_HEAD_BYTES", "MAX_LINE_BYTES", "BadResponse", "Head", "parse_head"]

MAX_HEAD_BYTES = 262_144
"""Of a response in all; the cloud states no limit (Q-33)."""

MAX_LINE_BYTES = 65_536
"""Of a header, name and value; of any other line, too."""

_MAX_HEADERS = 128

_STATUS_LINE = re.compile(rb"HTTP/(0\.9|1\.0|1\.1|2\.0) ([0-9]{3})(?: ([^\0\r\n]*))?")

_HEADER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([^\0\r\n]*)")

_FOLD = re.compile(rb"\r?\n(?=[ \t])")
"""Where a header's value goes on in another line (RFC 9112, 5.2)."""

_LENGTH = re.compile(rb"[0-9]{1,18}")

_CACHED_BYTES = 1_024
"""Heads up to that size are worth remembering: a server's resemble each other."""


class BadResponse(ValueError):
    """What came isn't an HTTP response."""


class Head(NamedTuple):
    """A response without its body."""

    status: int

    reason: str
    """The usual one where the server gave none."""

    header: HeaderMap

    length_bytes: int | None
    """Of the body; ``None``: it is in chunks, or goes on until the connection ends."""

    is_chunked: bool

    is_gzip: bool

    is_kept: bool
    """Whether the server keeps the connection open after the body."""


def parse_head(text: bytes) -> Head:
    """Parse a head, from the status line to the last header.

    The blank line after it isn't part of ``text``. Raises ``BadResponse``.
    """
    return _remembered(text) if len(text) <= _CACHED_BYTES else _parse(text)


def _parse(text: bytes) -> Head:
    first, _, rest = text.partition(b"\n")
    status_line = _STATUS_LINE.fullmatch(first.removesuffix(b"\r"))
    if status_line is None:
        raise BadResponse("it doesn't begin with a status line")
    if len(first) > MAX_LINE_BYTES:
        raise BadResponse(f"its first line has more than {MAX_LINE_BYTES} bytes")
    lines = _FOLD.sub(b"", rest).split(b"\n") if rest else []
    if len(lines) > _MAX_HEADERS:
        raise BadResponse(f"it has more than {_MAX_HEADERS} headers")
    status = int(status_line[2])
    items: list[tuple[str, str]] = []
    lengths: list[bytes] = []
    encodings: list[bytes] = []
    options: list[bytes] = []
    content_encoding = b""
    for line in lines:
        match = _HEADER.fullmatch(line.removesuffix(b"\r"))
        if match is None:
            raise BadResponse("a line in its head isn't a header")
        name, value = match[1], match[2].strip(b" \t")
        if len(name) + len(value) > MAX_LINE_BYTES:
            raise BadResponse(f"a header has more than {MAX_LINE_BYTES} bytes")
        items.append((name.decode("ascii"), value.decode("utf-8", "surrogateescape")))
        match name.lower():
            case b"content-length":
                lengths.append(value)
            case b"transfer-encoding":
                encodings += _elements(value)
            case b"connection" | b"proxy-connection":
                options += _elements(value)
            case b"content-encoding" if not content_encoding:
                content_encoding = value.lower()
    length_bytes, is_chunked = _framing(lengths, encodings)
    return Head(
        status=status,
        reason=_reason(status, status_line[3]),
        header=build(items),
        length_bytes=length_bytes,
        is_chunked=is_chunked,
        is_gzip=content_encoding == b"gzip",
        is_kept=b"close" not in options
        and (status_line[1] == b"1.1" or b"keep-alive" in options),
    )


_remembered = lru_cache(maxsize=256)(_parse)


def _elements(value: bytes) -> list[bytes]:
    return [element.strip(b" \t") for element in value.lower().split(b",")]


def _framing(lengths: list[bytes], encodings: list[bytes]) -> tuple[int | None, bool]:
    """Return the body's length, and whether it is in chunks."""
    if encodings:
        if lengths:
            raise BadResponse("it has both Content-Length and Transfer-Encoding")
        return None, encodings[-1] == b"chunked"
    if not lengths:
        return None, False
    if len(lengths) > 1:
        raise BadResponse("it has more than one Content-Length")
    if not _LENGTH.fullmatch(lengths[0]):
        raise BadResponse("its Content-Length isn't a number")
    return int(lengths[0]), False


def _reason(status: int, given: bytes | None) -> str:
    if given:
        return given.decode("utf-8", "surrogateescape")
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
