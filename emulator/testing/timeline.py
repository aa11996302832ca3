"""What happened in an emulator, as text for a failure's report.

The same lines as the terminal's, at virtual times, with the day where it changes; then
what the mounted apps raised.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC
from typing import TYPE_CHECKING

from emulator.engine.feed import FeedItem
from emulator.lines import Style, format_line, line_of_entry, printable
from emulator.testing.instants import datetime_of

if TYPE_CHECKING:
    from emulator.testing.apps import AppError

__all__ = ["timeline"]

_STYLE = Style(zone=UTC)

_MOST_LINES = 200
"""Of a long story, the end tells what went wrong."""


def timeline(
    items: Sequence[FeedItem], now_ms: int, app_errors: Iterable[AppError] = ()
) -> str:
    """Write the log of all users up to now, and the tracebacks of apps."""
    lines = []
    if len(items) > _MOST_LINES:
        lines.append(f"… {len(items) - _MOST_LINES:,} earlier lines not shown")
    day = ""
    for item in items[-_MOST_LINES:]:
        line = line_of_entry(item.entry)
        if (today := _day(line.time_ms)) != day:
            lines.append(day := today)
        lines.append(format_line(line, _STYLE))
    if not items:
        lines.append("nothing was published")
    lines.append(f"now: {_instant(now_ms)}")
    for error in app_errors:
        lines += ["", f"{error.method} {printable(error.url)} raised:"]
        lines.append(error.traceback.rstrip())
    return "\n".join(lines)


def _day(instant_ms: int) -> str:
    try:
        return f"{datetime_of(instant_ms):%Y-%m-%d} UTC"
    except OverflowError:
        return "beyond the year 9999"


def _instant(instant_ms: int) -> str:
    try:
        return datetime_of(instant_ms).isoformat(timespec="milliseconds")
    except OverflowError:
        return f"{instant_ms} ms"
