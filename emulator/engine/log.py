"""The log of one user: every change of every message's state, in order.

Bounded by count, by age, and by how long messages and answers are; the oldest go first
(LOG-11). An entry's sequence number never changes, so a cursor made of it is
stable (FMT-17).

Most messages wait long, and what the log says of them meanwhile is that they were
created. The message tells that itself: it stands for its entry here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice, takewhile

from emulator.core.lifecycle import created_entry
from emulator.core.model import LogEntry, Message, State
from emulator.engine.persistence import Told

__all__ = ["MAX_PAGE_BYTES", "Log"]

MAX_PAGE_BYTES = 1 << 24
"""Of bodies, in one page of a listing: making its JSON lets nothing else run."""

_MAX_BYTES = 1 << 29
"""A message counts once for each entry that shows it: about a third is in memory."""


class Log:
    """Log entries, numbered from 0."""

    def __init__(self, max_entries: int, *, max_bytes: int = _MAX_BYTES) -> None:
        self._entries: deque[LogEntry | Message] = deque()
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._bytes = 0
        self._first = 0

    @property
    def first_sequence(self) -> int:
        """The sequence number of the oldest entry; of the next, if there is none."""
        return self._first

    def load(self, first_sequence: int, entries: Iterable[LogEntry]) -> None:
        """Begin with entries that were kept, numbered on from the oldest."""
        self._first = first_sequence
        self.extend(entries)

    def saved(self, from_ms: int) -> tuple[int, Told[LogEntry]]:
        """Return the first entry's sequence number, and the entries as they are now.

        Those at the old end that are older than ``from_ms`` are left out.
        """
        forgotten = sum(
            1 for _ in takewhile(lambda item: _time_ms(item) < from_ms, self._entries)
        )
        entries = tuple(self._entries)[forgotten:]
        return self._first + forgotten, Told(entries, _entry)

    def __len__(self) -> int:
        return len(self._entries)

    def extend(self, entries: Iterable[LogEntry]) -> int:
        """Append entries; drop the oldest above the bounds, and return how many."""
        first = self._first
        for entry in entries:
            message = entry.message
            is_told = (
                entry.state is State.CREATED
                and entry.time_ms == message.created_at_ms
                and entry.next_delivery_ms == message.not_before_ms
            )
            self._entries.append(message if is_told else entry)
            self._bytes += entry.size_bytes
        while len(self._entries) > self._max_entries or (
            self._bytes > self._max_bytes and len(self._entries) > 1
        ):
            self._drop_oldest()
        return self._first - first

    def expire(self, before_ms: int) -> None:
        """Drop the entries at the old end that are older than an instant."""
        while self._entries and _time_ms(self._entries[0]) < before_ms:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        self._bytes -= _entry(self._entries.popleft()).size_bytes
        self._first += 1

    def newest_first(self, below: int | None) -> Iterator[tuple[int, LogEntry]]:
        """Iterate over sequence numbers and entries, from just ``below`` one."""
        end = self._first + len(self._entries)
        start = end if below is None else min(below, end)
        entries = islice(reversed(self._entries), end - start, None)
        return zip(
            range(start - 1, self._first - 1, -1), map(_entry, entries), strict=False
        )

    def oldest_first(self, above: int | None) -> Iterator[tuple[int, LogEntry]]:
        """Iterate over sequence numbers and entries, from just ``above`` one."""
        start = self._first if above is None else max(above + 1, self._first)
        start = min(start, self._first + len(self._entries))
        entries = islice(self._entries, start - self._first, None)
        return zip(
            range(start, self._first + len(self._entries)),
            map(_entry, entries),
            strict=False,
        )


def _entry(item: LogEntry | Message) -> LogEntry:
    return created_entry(item) if isinstance(item, Message) else item


def _time_ms(item: LogEntry | Message) -> int:
    return item.created_at_ms if isinstance(item, Message) else item.time_ms
