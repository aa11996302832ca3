"""Answers' heads: status, framing, and whether they may be passed on.

Read like requests (``http_request.py``), and as strictly where framing is concerned;
otherwise with the patience that local servers need, which are often small scripts.
What is refused here is answered with 502. Pure.
"""

from __future__ import annotations

import re
from functools import lru_cache

from tunnel.http_grammar import (
    FIELD_LINES,
    MAX_HEAD_BYTES,
    NO_OPTIONS,
    BadMessage,
    Field,
    check_coding,
    does_last,
    field_problem,
    first_value,
    line_problem,
    parse_content_length,
    parse_options,
    split_fields,
)

__all__ = ["ResponseHead", "parse_response_head"]

# status-line = HTTP-version SP status-code SP [ reason-phrase ] (RFC 9112, 4)
# Many servers leave out the second blank with the phrase.
_response = re.compile(
    rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: [^\x00-\x08\x0a-\x1f\x7f]*+)?+\r\n"
    + FIELD_LINES
    + rb"\r\n"
).fullmatch

_response_marks = re.compile(
    rb"\n(connection|content-length|transfer-encoding|upgrade|keep-alive"
    rb"|proxy-connection|proxy-authenticate|trailer):([^\r]*)",
    re.IGNORECASE,
).findall


class ResponseHead:
    """The head of an answer that may pass."""

    __slots__ = (
        "is_chunked",
        "is_interim",
        "keep_alive",
        "length",
        "marks",
        "options",
        "raw",
        "status",
        "until_close",
        "upgrade",
        "version",
    )

    raw: bytes
    """As it arrived, with its blank line."""

    status: int
    """100 to 999."""

    version: int
    """10 or 11."""

    length: int | None
    """The body's, in bytes: 0 if there is none, ``None`` if the head doesn't say."""

    is_chunked: bool

    until_close: bool
    """Whether the body lasts until the connection ends."""

    keep_alive: bool
    """Whether the connection lasts beyond this answer."""

    is_interim: bool
    """Whether another head follows: 1xx, but not 101."""

    upgrade: bool
    """101: from here on the connection isn't HTTP."""

    options: frozenset[bytes]
    """What ``Connection`` lists, in lower case."""

    marks: list[Field]
    """The lines that concern framing and hops: the name, and all that follows the
    colon, blanks included, as they arrived."""

    def __init__(
        self,
        raw: bytes,
        status: int,
        version: int,
        length: int | None,
        is_chunked: bool,
        until_close: bool,
        keep_alive: bool,
        is_interim: bool,
        upgrade: bool,
        options: frozenset[bytes],
        marks: list[Field],
    ) -> None:
        self.raw = raw
        self.status = status
        self.version = version
        self.length = length
        self.is_chunked = is_chunked
        self.until_close = until_close
        self.keep_alive = keep_alive
        self.is_interim = is_interim
        self.upgrade = upgrade
        self.options = options
        self.marks = marks

    @property
    def headers(self) -> list[Field]:
        """All fields, in order: name, and value without the blanks around it."""
        return split_fields(self.raw)

    def header(self, name_lower: bytes) -> bytes | None:
        """Return the first field of that name, which is given in lower case."""
        return first_value(self.raw, name_lower)


# An app under load gives the same head again and again, until its Date changes. Found
# here it costs a hundredth; otherwise the search is a fiftieth of the reading.
@lru_cache(maxsize=16)
def parse_response_head(head: bytes, method: bytes) -> ResponseHead:
    """Read an answer's head, from its first byte to its blank line.

    Those read last are remembered: what is returned may be somebody else's, too.

    ``method`` is that of the request. Raises ``BadMessage``: the answer can't be
    passed on, its status is of no use then.
    """
    match = _response(head) if len(head) <= MAX_HEAD_BYTES else None
    if match is None:
        raise _response_problem(head)

    minor, digits = match.groups()
    version = 11 if minor == b"1" else 10
    status = int(digits)
    length = coding = connection = None
    marks = _response_marks(head)
    for name, value in marks:
        name = name.lower()
        if name == b"content-length":
            number = parse_content_length(value)
            if length is not None and length != number:
                raise BadMessage(400, "Content-Length is given twice, and differs")
            length = number
        elif name == b"connection":
            connection = value if connection is None else connection + b"," + value
        elif name == b"transfer-encoding":
            check_coding(coding, value, version)
            coding = value

    if coding is not None and length is not None:
        raise BadMessage(400, "Content-Length and Transfer-Encoding exclude each other")
    options = NO_OPTIONS if connection is None else parse_options(connection)
    keep_alive = does_last(options, version)
    is_interim = status < 200 and status != 101
    is_chunked = coding is not None
    until_close = False
    if status < 200 or status == 204:
        # No body (RFC 9110, 15.2 and 15.3.5). Who announces one may send it, too.
        keep_alive = keep_alive and not length and not is_chunked
        length, is_chunked = 0, False
    elif method == b"HEAD" or status == 304:
        length, is_chunked = 0, False
    elif not is_chunked and length is None:
        until_close, keep_alive = True, False
    return ResponseHead(
        head,
        status,
        version,
        length,
        is_chunked,
        until_close,
        keep_alive,
        is_interim,
        status == 101,
        options,
        marks,
    )


def _response_problem(head: bytes) -> BadMessage:
    problem = line_problem(head)
    if problem is not None:
        return problem
    first = head[: head.index(b"\n") + 1] + b"\r\n"
    if not _response(first):
        return BadMessage(400, "the first line must be HTTP/1.1, a status, a phrase")
    return field_problem(head)
