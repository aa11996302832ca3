"""The verbs of the dead letter queue (contract section 18).

That a message goes there, and what becomes of an entry that is retried, is decided in
``core/lifecycle.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from emulator.core import ids, lifecycle
from emulator.core.filters import DlqQuery
from emulator.core.headers import Overrides
from emulator.core.model import DlqEntry, LogEntry, Receipt
from emulator.core.transition import Transition
from emulator.engine.log import MAX_PAGE_BYTES
from emulator.engine.ports import Clock
from emulator.engine.slices import Sliced, at_once
from emulator.engine.store import Store
from emulator.errors import NotFound

__all__ = ["Dlq"]

_LOOKED_AT_IN_A_SLICE = 5_000


class Dlq:
    """The failed messages of one user."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        commit: Callable[[Transition], None],
        new_message_id: Callable[[], str],
        check_room_for: Callable[[set[str]], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._commit = commit
        self._new_message_id = new_message_id
        self._check_room_for = check_room_for
        self._last_ms = 0
        self._count = 0

    def next_id(self, now_ms: int) -> str:
        """Return an id for an entry: rising, also when the clock steps back (DLQ-1)."""
        if now_ms > self._last_ms:
            self._last_ms = now_ms
            self._count = 0
        else:
            self._count += 1
        return ids.stamp(self._last_ms, self._count)

    def restore(self, entries: Iterable[DlqEntry], log: Iterable[LogEntry]) -> None:
        """Let the ids go on from those that were given before."""
        given = [entry.dlq_id for entry in entries]
        given += [entry.dlq_id for entry in log if entry.dlq_id is not None]
        stamps = (ids.parse_stamp(dlq_id) for dlq_id in given)
        last = max((stamp for stamp in stamps if stamp is not None), default=(0, 0))
        self._last_ms, self._count = last

    def get(self, dlq_id: str) -> DlqEntry:
        """Return one entry (DLQ-12)."""
        entry = self._store.dlq_entry(dlq_id, self._clock.now_ms())
        if entry is None:
            raise NotFound("dlq entry", dlq_id)
        return entry

    def count(self) -> int:
        """Return how many entries there are."""
        return sum(1 for _ in self._store.dlq_entries(self._clock.now_ms()))

    def list(self, query: DlqQuery) -> tuple[Sequence[DlqEntry], str | None]:
        """Return the entries that a query selects, and the cursor if more follow."""
        return at_once(self.look_through(query))

    def look_through(
        self, query: DlqQuery
    ) -> Sliced[tuple[Sequence[DlqEntry], str | None]]:
        """Do what ``list`` does. What goes meanwhile may be there all the same."""
        entries = tuple(self._store.dlq_entries(self._clock.now_ms()))
        if query.latest_first:
            entries = entries[::-1]
        page: list[DlqEntry] = []
        room_bytes = MAX_PAGE_BYTES
        for number, entry in enumerate(entries, 1):
            if number % _LOOKED_AT_IN_A_SLICE == 0:
                yield
            if not query.is_beyond_cursor(entry) or not query.matches(entry):
                continue
            room_bytes -= entry.size_bytes
            if len(page) == query.count or (page and room_bytes < 0):
                return page, page[-1].dlq_id
            page.append(entry)
        return page, None

    def delete(self, entries: Sequence[DlqEntry]) -> None:
        """Take entries out (DLQ-20 to DLQ-26)."""
        if entries:
            self._commit(
                Transition(dlq_removed=tuple(entry.dlq_id for entry in entries))
            )

    def retry(
        self, entries: Sequence[DlqEntry], overrides: Overrides
    ) -> Sequence[Receipt]:
        """Make a new message of each entry, and take it out (DLQ-33).

        Raises ``QuotaExceeded`` if that made too many queues (QUE-19, LIM-7), and
        ``Overloaded`` where the memory is used up.
        """
        now_ms = self._clock.now_ms()
        names = {entry.message.queue_name for entry in entries}
        self._check_room_for({name for name in names if name is not None})
        not_before_ms = overrides.not_before_ms
        if not_before_ms is None:
            not_before_ms = now_ms + overrides.delay_ms
        transitions: list[Transition] = []
        receipts: list[Receipt] = []
        for entry in entries:
            options, header = overrides.apply(
                entry.message.options, entry.message.header
            )
            message_id = self._new_message_id()
            receipts.append(Receipt(message_id, entry.message.url))
            transitions.append(
                lifecycle.revive(
                    entry,
                    message_id=message_id,
                    now_ms=now_ms,
                    options=options,
                    header=header,
                    not_before_ms=not_before_ms,
                )
            )
        if transitions:
            self._store.check_room_for(transitions)
            self._commit(Transition.merge(transitions))
        return receipts
