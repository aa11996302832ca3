"""Pages of the log: looked for in slices, for a log is long.

Which entries a query selects is decided in ``core/filters.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from emulator.core import ids
from emulator.core.filters import LogQuery
from emulator.core.model import LogEntry
from emulator.engine.log import MAX_PAGE_BYTES, Log
from emulator.engine.slices import Sliced

__all__ = ["look_through"]

_SLICE = 5_000
"""Entries: some milliseconds."""


def look_through(
    log: Callable[[], Log], query: LogQuery, horizon_ms: int
) -> Sliced[tuple[list[LogEntry], str | None]]:
    """Return the entries that a query selects, and the cursor if more follow.

    ``log`` returns the log of the moment; what is dropped from it meanwhile may be
    missing. Entries from before ``horizon_ms`` are forgotten (LIM-6).
    """
    sequence = None if query.cursor is None else query.cursor[1]
    page: list[LogEntry] = []
    room_bytes = MAX_PAGE_BYTES
    last = ""
    while True:
        entries = (
            log().newest_first(sequence)
            if query.latest_first
            else log().oldest_first(sequence)
        )
        looked_at = 0
        for sequence, entry in islice(entries, _SLICE):
            looked_at += 1
            if entry.time_ms < horizon_ms or not query.matches(entry):
                continue
            room_bytes -= entry.size_bytes
            if len(page) == query.count or (page and room_bytes < 0):
                return page, last
            page.append(entry)
            last = ids.stamp(entry.time_ms, sequence)
        if looked_at < _SLICE:
            return page, None
        yield
