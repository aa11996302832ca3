"""The store: all state of one user, in memory.

``apply`` is the only way in, and ``engine.commit`` its only caller. Look-ups return
values that don't change. What has had its time (a finished message's grace, a
deduplication window, the plan's retention) is gone for every look-up at that
instant, and is removed for good with the next change.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from emulator.core.limits import Limits
from emulator.core.model import DlqEntry, Progress, SigningKeys, Transition
from emulator.engine.log import Log

__all__ = ["Store"]


class Store:
    """Messages, log, DLQ, deduplication windows and keys of one user."""

    def __init__(
        self,
        *,
        keys: SigningKeys,
        limits: Limits,
        grace_ms: int,
        max_log_entries: int,
    ) -> None:
        self.keys = keys
        self._limits = limits
        self._grace_ms = grace_ms
        self._max_log_entries = max_log_entries
        self._clear()

    def _clear(self) -> None:
        self.log = Log(self._max_log_entries)
        self.pending = 0
        """How many messages aren't final."""
        self._progress: dict[str, Progress] = {}
        self._finished: deque[tuple[int, str]] = deque()
        self._dlq: dict[str, DlqEntry] = {}
        self._windows: dict[str, tuple[str, int]] = {}
        self._window_ends: deque[tuple[int, str]] = deque()

    def apply(self, transition: Transition, now_ms: int) -> None:
        """Apply a transition, whole."""
        if transition.reset:
            self._clear()
        self._expire(now_ms)
        for progress in transition.progress:
            self._put(progress)
        for entry in transition.dlq_added:
            self._dlq[entry.dlq_id] = entry
        for dlq_id in transition.dlq_removed:
            del self._dlq[dlq_id]
        for window in transition.deduplications:
            self._windows[window.key] = (window.message_id, window.until_ms)
            self._window_ends.append((window.until_ms, window.key))
        if transition.keys is not None:
            self.keys = transition.keys
        self.log.extend(transition.log)

    def progress(self, message_id: str, now_ms: int) -> Progress | None:
        """Return how far a message is: pending, or within its grace (MSG-8)."""
        progress = self._progress.get(message_id)
        if (
            progress is not None
            and progress.is_final
            and progress.due_ms + self._grace_ms <= now_ms
        ):
            return None
        return progress

    def pending_messages(self) -> Iterator[Progress]:
        """Iterate over the messages that aren't final, oldest first (MSG-28)."""
        return (item for item in self._progress.values() if not item.is_final)

    def duplicate_of(self, key: str, now_ms: int) -> str | None:
        """Return the message that opened a deduplication window still open (DED-2)."""
        message_id, until_ms = self._windows.get(key, ("", 0))
        return message_id if now_ms < until_ms else None

    def dlq_entry(self, dlq_id: str, now_ms: int) -> DlqEntry | None:
        """Return an entry of the DLQ."""
        entry = self._dlq.get(dlq_id)
        return None if entry is None or self._is_expired(entry, now_ms) else entry

    def dlq_entries(self, now_ms: int) -> Iterator[DlqEntry]:
        """Iterate over the DLQ, oldest first (DLQ-6)."""
        return (
            entry for entry in self._dlq.values() if not self._is_expired(entry, now_ms)
        )

    def log_horizon_ms(self, now_ms: int) -> int:
        """Return the instant before which the log is forgotten (LIM-6)."""
        return now_ms - self._limits.log_retention_s * 1000

    def _put(self, progress: Progress) -> None:
        message_id = progress.message.message_id
        before = self._progress.get(message_id)
        self._progress[message_id] = progress
        if before is None:
            self.pending += 1
        if progress.is_final:
            self.pending -= 1
            self._finished.append((progress.due_ms + self._grace_ms, message_id))

    def _is_expired(self, entry: DlqEntry, now_ms: int) -> bool:
        return entry.failed_at_ms + self._limits.dlq_retention_s * 1000 <= now_ms

    def _expire(self, now_ms: int) -> None:
        while self._finished and self._finished[0][0] <= now_ms:
            del self._progress[self._finished.popleft()[1]]
        while self._window_ends and self._window_ends[0][0] <= now_ms:
            until_ms, key = self._window_ends.popleft()
            # The key may have opened another window since.
            if self._windows.get(key, ("", 0))[1] == until_ms:
                del self._windows[key]
        self.log.expire(self.log_horizon_ms(now_ms))
        while self._dlq:
            oldest = next(iter(self._dlq.values()))
            if not self._is_expired(oldest, now_ms):
                break
            del self._dlq[oldest.dlq_id]
