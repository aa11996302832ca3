"""The store: all state of one user, in memory.

``apply`` is the only way in, and ``engine.commit`` its only caller. Look-ups return
values that don't change. What has had its time (a finished message's grace, a
deduplication window, the plan's retention) is gone for every look-up at that
instant, and is removed for good with the next change.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from itertools import takewhile
from types import MappingProxyType

from emulator.core.lifecycle import created_progress
from emulator.core.limits import Limits
from emulator.core.model import DlqEntry, Message, Progress, SigningKeys, State
from emulator.core.resources import FlowKey, Queue, Schedule, UrlGroup
from emulator.core.transition import Transition
from emulator.engine.log import Log
from emulator.engine.persistence import Horizon, Saved

__all__ = ["Store"]


class Store:
    """Everything that one user has."""

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
        self._progress: dict[str, Progress | Message] = {}
        """A message that has only been created stands for its progress."""
        self._finished: deque[tuple[int, str]] = deque()
        self._dlq: dict[str, DlqEntry] = {}
        self._windows: dict[str, tuple[str, int]] = {}
        self._window_ends: deque[tuple[int, str]] = deque()
        self._queues: dict[str, Queue] = {}
        self.queues: Mapping[str, Queue] = MappingProxyType(self._queues)
        """By name, in order of creation (QUE-5)."""
        self._lags: Counter[str] = Counter()
        self._url_groups: dict[str, UrlGroup] = {}
        self.url_groups: Mapping[str, UrlGroup] = MappingProxyType(self._url_groups)
        """By name, in order of creation; so are the others."""
        self._flow_keys: dict[str, FlowKey] = {}
        self.flow_keys: Mapping[str, FlowKey] = MappingProxyType(self._flow_keys)
        self._schedules: dict[str, Schedule] = {}
        self.schedules: Mapping[str, Schedule] = MappingProxyType(self._schedules)

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
            self._dlq.pop(dlq_id, None)  # it may have expired meanwhile
        for window in transition.deduplications:
            self._windows[window.key] = (window.message_id, window.until_ms)
            self._window_ends.append((window.until_ms, window.key))
        if transition.keys is not None:
            self.keys = transition.keys
        for queue in transition.queues:
            self._queues[queue.name] = queue
        for name in transition.queues_removed:
            del self._queues[name]
        for group in transition.url_groups:
            self._url_groups[group.name] = group
        for name in transition.url_groups_removed:
            del self._url_groups[name]
        for key in transition.flow_keys:
            self._flow_keys[key.key] = key
        for schedule in transition.schedules:
            self._schedules[schedule.schedule_id] = schedule
        for schedule_id in transition.schedules_removed:
            del self._schedules[schedule_id]
        self.log.extend(transition.log)

    def load(self, saved: Saved) -> None:
        """Have what was kept, and nothing else. ``keys`` aren't touched."""
        self._clear()
        for progress in saved.progress:
            self._put(progress)
        self._finished = deque(sorted(self._finished))
        self._dlq = {entry.dlq_id: entry for entry in saved.dlq}
        for window in saved.windows:
            self._windows[window.key] = (window.message_id, window.until_ms)
            self._window_ends.append((window.until_ms, window.key))
        self._queues |= {queue.name: queue for queue in saved.queues}
        self._url_groups |= {group.name: group for group in saved.url_groups}
        self._flow_keys |= {key.key: key for key in saved.flow_keys}
        self._schedules |= {each.schedule_id: each for each in saved.schedules}
        self.log.load(saved.first_log_sequence, saved.log)

    def lag(self, queue_name: str) -> int:
        """Return how many messages of a queue aren't final (QUE-21)."""
        return self._lags[queue_name]

    def is_waiting(self, message_id: str) -> bool:
        """Whether a message waits for a delivery."""
        progress = self._progress.get(message_id)
        return progress is not None and (
            isinstance(progress, Message) or progress.is_waiting
        )

    def progress(self, message_id: str, now_ms: int) -> Progress | None:
        """Return how far a message is: pending, or within its grace (MSG-8)."""
        progress = self._progress.get(message_id)
        if isinstance(progress, Message):
            return created_progress(progress)
        if (
            progress is not None
            and progress.is_final
            and progress.due_ms + self._grace_ms <= now_ms
        ):
            return None
        return progress

    def pending_messages(self) -> Iterator[Progress]:
        """Iterate over the messages that aren't final, oldest first (MSG-28)."""
        for item in self._progress.values():
            if isinstance(item, Message):
                yield created_progress(item)
            elif not item.is_final:
                yield item

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

    def horizon(self, now_ms: int) -> Horizon:
        """Return what has been forgotten at an instant."""
        return Horizon(
            now_ms=now_ms,
            first_log_sequence=self.log.first_sequence,
            dlq_from_ms=now_ms - self._limits.dlq_retention_s * 1000,
            grace_from_ms=now_ms - self._grace_ms,
        )

    def log_horizon_ms(self, now_ms: int) -> int:
        """Return the instant before which the log is forgotten (LIM-6)."""
        return now_ms - self._limits.log_retention_s * 1000

    def _put(self, progress: Progress) -> None:
        message = progress.message
        message_id, queue_name = message.message_id, message.queue_name
        if message_id not in self._progress:
            self.pending += 1
            if queue_name is not None:
                self._lags[queue_name] += 1
        self._progress[message_id] = (
            message
            if progress.state is State.CREATED
            and progress.due_ms == message.not_before_ms
            and not progress.retried
            else progress
        )
        if progress.is_final:
            self.pending -= 1
            if queue_name is not None:
                self._lags[queue_name] -= 1
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
        if self._dlq:
            self._expire_dlq(now_ms)

    def _expire_dlq(self, now_ms: int) -> None:
        # One walk: the head of a dict is found the slower, the more it has lost there.
        for entry in tuple(
            takewhile(lambda entry: self._is_expired(entry, now_ms), self._dlq.values())
        ):
            del self._dlq[entry.dlq_id]
