"""The log's lines: one for each entry, from the engine's entries or the feed's JSON.

Lines are values in, text out. What comes from a message or from a destination is
hostile: it passes ``printable``, so that nothing in it can move a cursor or pretend
to be a line of ours. A message's own data never appears, and a response's not if the
message asked for redaction: it may repeat the data.

The time on a line is its entry's own; no clock is read here.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple
from unicodedata import combining, east_asian_width

if TYPE_CHECKING:
    from emulator.core.model import LogEntry

__all__ = [
    "ONLY_VERBOSE",
    "Line",
    "Style",
    "cut",
    "format_line",
    "format_time",
    "format_wait",
    "line_of_entry",
    "line_of_json",
    "paint",
    "printable",
    "short_id",
    "status_color",
]

_DETAIL_COLUMNS = 60
"""Behind time, state and shortened id: 100 columns in all."""

_EXCERPT_CHARACTERS = 60

ONLY_VERBOSE = ("ACTIVE", "CANCEL_REQUESTED")
"""States that tell people little: each is followed by another at once, or by much."""

_STATE_COLORS: dict[str, dict[str, Any]] = {
    "CREATED": {"fg": "cyan"},
    "ACTIVE": {"fg": "blue"},
    "RETRY": {"fg": "yellow"},
    "ERROR": {"fg": "red"},
    "DELIVERED": {"fg": "green"},
    "FAILED": {"fg": "red", "bold": True},
    "CANCEL_REQUESTED": {"fg": "magenta"},
    "CANCELED": {"fg": "magenta"},
}


class Line(NamedTuple):
    """What a line says of a log entry."""

    time_ms: int
    state: str
    message_id: str
    method: str
    url: str
    max_retries: int

    retried: int | None = None
    """Retries made, as ``LogEntry.retried``; ``None``: not known."""

    next_delivery_ms: int | None = None
    status: int | None = None
    duration_ms: int | None = None
    error: str | None = None

    response_body: bytes = b""
    """At least its beginning."""

    is_redacted: bool = False
    dlq_id: str | None = None
    callback_of: str | None = None

    origin: str = ""
    """What brought the message about or holds it: ``queue emails``, ``key k``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How lines look."""

    color: bool = False

    full_ids: bool = False

    zone: tzinfo | None = None
    """``None``: the machine's time zone."""


def line_of_entry(entry: LogEntry) -> Line:
    """Take from a log entry what its line says."""
    message, outcome = entry.message, entry.outcome
    options = message.options
    flow = options.flow_control
    state = entry.state.value
    return Line(
        time_ms=entry.time_ms,
        state=state,
        message_id=message.message_id,
        method=options.method,
        url=message.url,
        max_retries=options.max_retries,
        retried=entry.retried,
        next_delivery_ms=entry.next_delivery_ms,
        # Only an answer has them; asking for its type would import the model.
        status=getattr(outcome, "status", None),
        duration_ms=entry.duration_ms,
        error=None if outcome is None or state != "ERROR" else outcome.error,
        response_body=getattr(outcome, "body", b""),
        is_redacted=options.redaction is not None,
        dlq_id=entry.dlq_id,
        callback_of=message.callback_of,
        origin=_origin(
            message.queue_name,
            message.url_group_name,
            message.schedule_id,
            None if flow is None else flow.key,
        ),
    )


def line_of_json(entry: Mapping[str, Any]) -> Line:
    """Take from an entry of ``/_qemu/feed`` what its line says.

    One of ``/v2/events`` (LOG-12) does as well, and says less. Raises ``KeyError`` if
    it lacks what every entry has.
    """
    header = entry.get("header") or {}
    own = [b64decode(entry.get("body") or "").decode(errors="replace")]
    own += [value for values in header.values() for value in values]
    return Line(
        time_ms=entry["time"],
        state=entry["state"],
        message_id=entry["messageId"],
        method=entry["method"],
        url=entry["url"],
        max_retries=entry["maxRetries"],
        retried=entry.get("retried"),
        next_delivery_ms=entry.get("nextDeliveryTime"),
        status=entry.get("status", entry.get("responseStatus")),
        duration_ms=entry.get("durationMs"),
        error=entry.get("error") if entry["state"] == "ERROR" else None,
        response_body=b64decode(entry.get("responseBody") or ""),
        # RED-3: that is how a redacted value is shown.
        is_redacted=any(value.startswith("REDACTED:") for value in own),
        dlq_id=entry.get("dlqId"),
        callback_of=entry.get("callbackOf"),
        origin=_origin(
            entry.get("queueName"),
            entry.get("topicName"),
            entry.get("scheduleId"),
            entry.get("flowControlKey"),
        ),
    )


def format_line(line: Line, style: Style) -> str:
    """Write a line: time, state, message id, and what happened."""
    message_id = printable(line.message_id)
    if not style.full_ids:
        message_id = short_id(message_id)
    status, detail = _detail(line, style)
    painted = paint if style.color else _unstyled
    text = "  ".join(
        (
            painted(format_time(line.time_ms, style.zone), dim=True),
            _state(line.state, style.color),
            f"{message_id:<13}",
            (painted(status, **status_color(line.status)) if status else "") + detail,
        )
    )
    return text.rstrip()


def printable(text: str) -> str:
    """Escape whatever isn't a visible character or a space."""
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable()
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def cut(text: str, columns: int) -> str:
    """Shorten a text to a width; East Asian characters take two columns."""
    if text.isascii() and len(text) <= columns:
        return text
    widths = [
        0 if combining(character) else 1 + (east_asian_width(character) in "WF")
        for character in text
    ]
    if sum(widths) <= columns:
        return text
    # One column is for the ellipsis.
    fitting = sum(total < columns for total in accumulate(widths))
    return text[:fitting] + "…"


@lru_cache(maxsize=256)
def format_wait(wait_ms: int) -> str:
    """Write a wait as people say it: ``8 ms``, ``12 s``, ``6 min 7 s``, ``1 d 2 h``.

    The two largest units; what is smaller is dropped.
    """
    if wait_ms < 1000:
        return f"{max(wait_ms, 0)} ms"
    units = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s"))
    parts: list[tuple[int, str]] = []
    for unit_ms, name in units:
        count, wait_ms = divmod(wait_ms, unit_ms)
        if count or parts:
            parts.append((count, name))
    return " ".join(f"{count} {name}" for count, name in parts[:2] if count)


def _detail(line: Line, style: Style) -> tuple[str, str]:
    """Return the status, to be coloured, and the rest of what happened."""
    wait_ms = (line.next_delivery_ms or line.time_ms) - line.time_ms
    took = "" if line.duration_ms is None else f" in {format_wait(line.duration_ms)}"
    detail = ""
    match line.state:
        case "CREATED":
            return "", _created(line, wait_ms, style)
        case "ACTIVE" if line.retried:
            detail = _delivery(line)
        case "ERROR" if line.status is not None:
            return str(line.status), took + _excerpt(line, took)
        case "ERROR":
            detail = (line.error or "").removeprefix("context deadline exceeded: ")
        case "RETRY":
            which = "again" if line.retried is None else _delivery(line)
            detail = f"{which} in {format_wait(wait_ms)}"
        case "DELIVERED" if line.status is not None:
            return str(line.status), took
        case "DELIVERED":
            detail = _call(line.method[:20], line.url[:400])
        case "FAILED":
            detail = "in the DLQ" + (f" as {line.dlq_id}" if line.dlq_id else "")
    return "", cut(printable(detail[:400]), _DETAIL_COLUMNS)


@lru_cache(maxsize=64)
def _call(method: str, url: str) -> str:
    """Return method and URL, without ``http://``, and without name and password."""
    if "@" in url:
        url = re.sub(r"^(https?://)[^/?#@]*@", r"\1", url, flags=re.IGNORECASE)
    return printable(f"{method} {url.removeprefix('http://')}")


def _delivery(line: Line) -> str:
    return f"delivery {(line.retried or 0) + 1} of {line.max_retries + 1}"


def _created(line: Line, wait_ms: int, style: Style) -> str:
    extras = "  " + line.origin if line.origin else ""
    if line.callback_of is not None:
        source = line.callback_of if style.full_ids else short_id(line.callback_of)
        extras += f"  callback of {source}"
    if wait_ms > 0:
        extras += f"  in {format_wait(wait_ms)}"
    extras = cut(printable(extras), 36)
    call = _call(line.method[:20], line.url[:400])
    return cut(call, _DETAIL_COLUMNS - len(extras)) + extras


def _excerpt(line: Line, took: str) -> str:
    if line.is_redacted or not line.response_body:
        return ""
    # No more bytes than the characters can have.
    text = line.response_body[: _EXCERPT_CHARACTERS * 4].decode(errors="replace")
    room = _DETAIL_COLUMNS - len(f'{line.status}{took}: ""')
    return f': "{cut(printable(text[:_EXCERPT_CHARACTERS]), room)}"'


def _origin(
    queue: str | None, url_group: str | None, schedule: str | None, key: str | None
) -> str:
    if not (queue or url_group or schedule or key):
        return ""  # as most are
    parts = (
        ("queue", queue),
        ("URL group", url_group),
        ("schedule", schedule),
        ("key", key),
    )
    return "  ".join(f"{word} {name}" for word, name in parts if name)


def format_time(time_ms: int, zone: tzinfo | None) -> str:
    """Write the time of day, ``22:13:20.123``."""
    try:
        return f"{_time_of_day(time_ms // 1000, zone)}.{time_ms % 1000:03}"
    except (ValueError, OverflowError, OSError):
        return f"{time_ms:>12}"  # a virtual clock can show the year 200000


@lru_cache(maxsize=64)
def _time_of_day(time_s: int, zone: tzinfo | None) -> str:
    return f"{datetime.fromtimestamp(time_s, tz=UTC).astimezone(zone):%H:%M:%S}"


@lru_cache(maxsize=64)
def _state(state: str, color: bool) -> str:
    shown = printable(state)
    padding = " " * (9 - len(shown))
    if color:
        shown = paint(shown, **_STATE_COLORS.get(state, {}))
    return shown + padding


def short_id(message_id: str) -> str:
    """Shorten an id to what tells it from others: ``msg_26hZ…9Lp2``."""
    if len(message_id) <= 13:
        return message_id
    return f"{message_id[:8]}…{message_id[-4:]}"


def status_color(status: int | None) -> dict[str, Any]:
    """Return how a status is painted."""
    colors = {2: "green", 3: "yellow", 4: "yellow", 5: "red"}
    return {"fg": colors.get((status or 0) // 100), "bold": True}


def paint(text: str, **styles: Any) -> str:
    """Color a text; whether to, is the caller's decision."""
    import click

    return click.style(text, **styles)


def _unstyled(text: str, **styles: Any) -> str:
    return text
