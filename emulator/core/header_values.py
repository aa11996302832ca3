"""The values of configuration headers: one grammar, one parser each.

Every parser takes the header's name, for the error (ERR-3), and a value that is
neither empty (HDR-7) nor surrounded by blanks. It raises ``InvalidHeader``, and
nothing else, whatever the value. Which headers there are, what limits a plan sets,
and what the values are for isn't decided here.
"""

from __future__ import annotations

import re

from emulator.core import expression
from emulator.core.destination import url_problem
from emulator.core.duration import parse_duration_ms
from emulator.core.header_map import canonical_name
from emulator.core.model import FlowControl, Redaction
from emulator.errors import InvalidExpression, InvalidHeader

__all__ = [
    "MAX_INTEGER",
    "MAX_NAME_CHARACTERS",
    "MAX_PERIOD_S",
    "METHODS",
    "is_header_name",
    "parse_boolean",
    "parse_callback_url",
    "parse_deduplication_id",
    "parse_duration",
    "parse_flow_control_value",
    "parse_integer",
    "parse_labels",
    "parse_method",
    "parse_redaction",
    "parse_retry_delay",
    "parse_timeout",
]

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
"""What ``Upstash-Method`` may say (HDR-21)."""

MAX_INTEGER = 10**18
"""Greater integers are read as this one. It is beyond every limit."""

MAX_NAME_CHARACTERS = 1024
"""Of a header's name; longer ones are refused."""

_TRUE = ("1", "t", "T", "true", "True", "TRUE")
_FALSE = ("0", "f", "F", "false", "False", "FALSE")

MAX_PERIOD_S = 7 * 86_400
"""A flow-control period is at most a week (FLC-2)."""

_DIGITS = re.compile(r"[0-9]+")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_REDACTED_HEADER = re.compile(r"headers?\[([^\[\]]+)\]")


def is_header_name(text: str) -> bool:
    """Whether this can be a header's name: a token of HTTP, and not too long."""
    return len(text) <= MAX_NAME_CHARACTERS and _NAME.fullmatch(text) is not None


# 1*DIGIT
def parse_integer(header: str, value: str) -> int:
    """Parse a plain decimal integer, from 0 to ``MAX_INTEGER`` (FMT-6).

    No sign, no exponent, no other script's digits.
    """
    if not _DIGITS.fullmatch(value):
        raise InvalidHeader(header, value, "must be an integer, at least 0")
    significant = value.lstrip("0")
    # The length is a stranger's choice, and int() takes quadratic time.
    return int(significant or "0") if len(significant) <= 18 else MAX_INTEGER


# "1" / "t" / "T" / "true" / "True" / "TRUE" / "0" / "f" / "F" / "false" / …
def parse_boolean(header: str, value: str) -> bool:
    """Parse a boolean as Go does (FMT-5): Python's SDK sends ``True`` and ``False``."""
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise InvalidHeader(header, value, "must be true or false")


# duration.py has the grammar.
def parse_duration(header: str, value: str) -> int:
    """Parse a duration into milliseconds (FMT-3)."""
    try:
        return parse_duration_ms(value)
    except ValueError as error:
        raise InvalidHeader(header, value, str(error)) from None


def parse_timeout(header: str, value: str) -> int | None:
    """Parse a timeout into milliseconds (DLV-21).

    ``0s`` is ``None``: no timeout but the plan's. As a limit it would let nothing
    through.
    """
    return parse_duration(header, value) or None


# "GET" / "POST" / "PUT" / "PATCH" / "DELETE", in any case
def parse_method(header: str, value: str) -> str:
    """Return the method in upper case (HDR-21)."""
    method = value.upper()
    if method not in METHODS:
        raise InvalidHeader(header, value, f"must be one of {', '.join(METHODS)}")
    return method


# expression.py has the grammar.
def parse_retry_delay(header: str, value: str) -> str:
    """Return the expression as it is, once it has been understood (RTY-17, RTY-18)."""
    try:
        expression.parse(value)
    except InvalidExpression as error:
        reason = f"{error.reason} at position {error.position}"
        raise InvalidHeader(header, value, reason) from None
    return value


# destination.py has the grammar.
def parse_callback_url(header: str, value: str) -> str:
    """Return a callback's URL as it is, once it has been checked (CBK-13)."""
    problem = url_problem(value)
    if problem is not None:
        raise InvalidHeader(header, value, problem)
    return value


# label *( "," label )
def parse_labels(header: str, value: str) -> tuple[str, ...]:
    """Return the labels, without blanks around them and without empty ones (FMT-12)."""
    return tuple(_parts(value))


# Any characters but ":" and white space.
def parse_deduplication_id(header: str, value: str) -> str:
    """Return the id as it is (DED-5)."""
    if ":" in value:
        reason = "cannot contain ':'"
        sentence = f"DeduplicationId {reason}"
        raise InvalidHeader(header, value, reason, sentence=sentence)
    if value.split() != [value]:
        raise InvalidHeader(header, value, "cannot contain white space")
    return value


# field *( "," field )
# field = "body" / "header" / "headers" / ( "header" / "headers" ) "[" name "]"
def parse_redaction(header: str, value: str) -> Redaction | None:
    """Parse what to redact (RED-2); ``None`` if the list is empty."""
    parts = _parts(value)
    names: set[str] = set()
    for part in parts:
        match = _REDACTED_HEADER.fullmatch(part)
        if match and is_header_name(match[1].strip()):
            names.add(canonical_name(match[1].strip()))
        elif part not in ("body", "header", "headers"):
            reason = "fields are body, header and header[Name]"
            raise InvalidHeader(header, value, reason)

    if not parts:
        return None
    return Redaction(
        body="body" in parts,
        all_headers="header" in parts or "headers" in parts,
        header_names=frozenset(names),
    )


# limit *( "," limit )
# limit = ( "parallelism" / "rate" / "ratePerSecond" ) "=" 1*DIGIT
#       / "period" "=" ( duration / 1*DIGIT )
def parse_flow_control_value(header: str, value: str, *, key: str) -> FlowControl:
    """Parse the limits of a flow-control key (FLC-2).

    A period without a unit is in seconds; it lasts from one second to a week.
    """
    limits: dict[str, int] = {}
    for part in _parts(value):
        name, _, text = (side.strip() for side in part.partition("="))
        name = "rate" if name == "ratePerSecond" else name
        if name not in ("parallelism", "rate", "period"):
            reason = "must consist of parallelism=…, rate=… and period=…"
            raise InvalidHeader(header, value, reason)
        if name in limits:
            raise InvalidHeader(header, value, f"{name} is given twice")
        limits[name] = (
            _parse_period_s(header, text)
            if name == "period"
            else parse_integer(header, text)
        )
        if limits[name] < 1:
            raise InvalidHeader(header, value, f"{name} must be at least 1")

    return FlowControl(
        key=key,
        parallelism=limits.get("parallelism"),
        rate=limits.get("rate"),
        period_s=limits.get("period", 1),
    )


def _parse_period_s(header: str, value: str) -> int:
    if _DIGITS.fullmatch(value):
        period_s = parse_integer(header, value)
    else:
        period_s, rest_ms = divmod(parse_duration(header, value), 1000)
        if rest_ms:
            raise InvalidHeader(header, value, "a period has whole seconds")
    if period_s > MAX_PERIOD_S:
        raise InvalidHeader(header, value, "a period is at most a week")
    return period_s


def _parts(value: str) -> list[str]:
    stripped = (part.strip() for part in value.split(","))
    return [part for part in stripped if part]
