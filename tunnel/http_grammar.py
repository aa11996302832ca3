"""What HTTP/1.1 is to the tunnel: limits, characters, header lines, a head's end.

The strict reading of RFC 9110 and 9112, shared by the files that read requests,
answers and bodies. Whatever two servers could read in two ways is refused here, for
that is what request smuggling lives on. Pure; knows neither first lines nor what is
forwarded.
"""

from __future__ import annotations

import re

__all__ = [
    "FIELD_LINE",
    "FIELD_LINES",
    "MAX_HEADERS",
    "MAX_HEAD_BYTES",
    "NO_OPTIONS",
    "TOKEN_CHARACTER",
    "BadMessage",
    "Field",
    "check_coding",
    "check_unfinished_head",
    "does_last",
    "field_problem",
    "find_head_end",
    "first_value",
    "line_problem",
    "parse_content_length",
    "parse_options",
    "split_fields",
]

Field = tuple[bytes, bytes]
"""A header's name, in its own case, and its value."""

MAX_HEAD_BYTES = 65_536
"""Of a head with its blank line. A longer one is refused with 431."""

MAX_HEADERS = 200
"""Lines in one head. More are refused with 431."""

TOKEN_CHARACTER = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"

# field-line = field-name ":" OWS field-value OWS (RFC 9112, 5). No blank before the
# colon, no folding, no control character but HTAB; bytes from 0x80 pass (obs-text).
FIELD_LINE = TOKEN_CHARACTER + rb"++:[^\x00-\x08\x0a-\x1f\x7f]*+\r\n"

FIELD_LINES = rb"(?:%b){0,%d}+" % (FIELD_LINE, MAX_HEADERS)
"""A head's, as many as it may have."""

NO_OPTIONS: frozenset[bytes] = frozenset()
"""What a head without ``Connection`` has."""

_COMMON_OPTIONS = {
    b" keep-alive": frozenset({b"keep-alive"}),
    b" Keep-Alive": frozenset({b"keep-alive"}),
    b" close": frozenset({b"close"}),
}
"""Spares taking apart what nearly all clients and servers send."""

_fields = re.compile(rb"\n(" + TOKEN_CHARACTER + rb"++):([^\r]*+)").findall
_valid_line = re.compile(FIELD_LINE).fullmatch
_named_line = re.compile(TOKEN_CHARACTER + rb"+:").match

# Behind a lone LF or a lone CR, servers disagree about where a line ends.
_misplaced_line_end = re.compile(rb"(?<!\r)\n|\r(?!\n)").search

_hopeless = re.compile(rb"\A\n|[^\r]\n|\r[^\n]|\x00").search


class BadMessage(Exception):
    """What arrived isn't HTTP that may pass.

    ``status`` is what a server answers to such a request: 400, 431, 501 or 505.
    ``reason`` is one sentence without a full stop, for whoever sent it.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


def find_head_end(data: bytes | bytearray, start: int = 0) -> int:
    """Return where a head's blank line ends, or -1 if it hasn't come yet.

    Only CR LF CR LF ends a head. To go on with more data, begin three bytes before
    the end of what was searched.
    """
    end = data.find(b"\r\n\r\n", start)
    return end + 4 if end >= 0 else -1


def check_unfinished_head(data: bytes | bytearray, start: int = 0) -> None:
    """Raise ``BadMessage`` if no blank line can make a valid head of this any more.

    For what ``find_head_end`` finds no end in, so that a client that ends its lines
    with LF alone hears of it at once, and not when its time is up. ``start`` is how
    far an earlier call came.
    """
    if len(data) >= MAX_HEAD_BYTES:
        raise BadMessage(431, f"the head is longer than {MAX_HEAD_BYTES} bytes")
    if _hopeless(data, max(0, start - 1)):
        raise BadMessage(400, "lines must end with CR LF, and contain neither nor NUL")


def split_fields(head: bytes) -> list[Field]:
    """Return a valid head's fields in order, values without the blanks around them."""
    return [(name, value.strip(b" \t")) for name, value in _fields(head)]


def first_value(head: bytes, name_lower: bytes) -> bytes | None:
    """Return the first field of that name, if a valid head has it."""
    start = head.lower().find(b"\r\n%b:" % name_lower)
    if start < 0:
        return None
    start += len(name_lower) + 3
    return head[start : head.index(b"\r", start)].strip(b" \t")


def parse_content_length(value: bytes) -> int:
    """Return the length in bytes. Raises ``BadMessage`` for all but plain digits.

    A list of equal numbers, which RFC 9110, 8.6 lets a recipient accept, is refused.
    """
    # 18 digits fit 64 bits with and without a sign, in whatever reads them next. HTAB
    # around them is allowed, but nobody sends it, and not all servers take it off.
    digits = value.strip(b" ")
    if not digits.isdigit() or len(digits) > 18:
        raise BadMessage(400, "Content-Length must be one number of at most 18 digits")
    return int(digits)


def check_coding(earlier: bytes | None, value: bytes, version: int) -> None:
    """Raise ``BadMessage`` for a ``Transfer-Encoding`` that isn't just ``chunked``.

    ``earlier`` is the value of one before it in the same head.
    """
    if earlier is not None:
        raise BadMessage(400, "Transfer-Encoding is given twice")
    if version == 10:
        # RFC 9112, 6.1: such framing is to be treated as faulty.
        raise BadMessage(400, "HTTP/1.0 has no Transfer-Encoding")
    # No HTAB, as in Content-Length. 501 is what RFC 9112, 6.1 has for other codings.
    if value.strip(b" ").lower() != b"chunked":
        raise BadMessage(501, "Transfer-Encoding must be chunked, and nothing else")


def parse_options(value: bytes) -> frozenset[bytes]:
    """Return the members of a ``Connection`` field's list, in lower case."""
    options = _COMMON_OPTIONS.get(value)
    if options is None:
        parts = value.lower().split(b",")
        options = frozenset([part.strip(b" \t") for part in parts])
    return options


def does_last(options: frozenset[bytes], version: int) -> bool:
    """Whether a connection lasts beyond a message with these options.

    RFC 9112, 9.3: ``close`` beats ``keep-alive``.
    """
    return b"close" not in options and (version == 11 or b"keep-alive" in options)


def line_problem(head: bytes) -> BadMessage | None:
    """Say what is wrong with a head's lines as such, if anything is."""
    if len(head) > MAX_HEAD_BYTES:
        return BadMessage(431, f"the head is longer than {MAX_HEAD_BYTES} bytes")
    if not head.endswith(b"\r\n\r\n"):
        return BadMessage(400, "the head doesn't end with an empty line")
    if _misplaced_line_end(head):
        return BadMessage(400, "lines must end with CR LF, and contain neither")
    if head.count(b"\n") > MAX_HEADERS + 2:
        return BadMessage(431, f"there are more than {MAX_HEADERS} header lines")
    return None


def field_problem(head: bytes) -> BadMessage:
    """Say what is wrong with the header lines of a head whose first line is right."""
    lines = head[:-2].splitlines(keepends=True)[1:]
    bad = next((line for line in lines if not _valid_line(line)), b"")
    if bad.startswith((b" ", b"\t")):
        return BadMessage(400, "a header line begins with a blank")
    if not _named_line(bad):
        return BadMessage(400, "a header line must be a name, a colon, a value")
    return BadMessage(400, "a header's value has a control character")
