"""The store: all state of one user, in memory.

``apply`` is the only way in, and ``engine.commit`` its only caller. Look-ups return
values that don't change. What has had its time (a finished message's grace, a
deduplication window, the plan's retention) is gone for every look-up at that
instant, and is removed for good with the next change.

Memory is bounded. Of log, DLQ and finished messages the oldest go first; of messages
that still have to be delivered none goes, and new ones are refused.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from types import MappingProxyType

from emulator.core.lifecycle import created_progress
from emulator.core.limits import Limits
from emulator.core.model import (
    Deduplication,
    DlqEntry,
    Message,
    Progress,
    SigningKeys,
    State,
)
from emulator.core.resources import FlowKey, Queue, Schedule, UrlGroup
from emulator.core.transition import Transition
from emulator.engine.dropped import Dropped
from emulator.engine.log import Log
from emulator.engine.persistence import Horizon, Saved, Told
from emulator.errors import Overloaded

__all__ = ["Store"]

_MESSAGE_BYTES = 500
"""What a message takes beside all that counts as its size, roughly."""

_MAX_FINISHED_BYTES = 1 << 28

_MAX_DLQ_BYTES = 1 << 29
"""As of the log. What both show is in memory once."""


class Store:
    """Everything that one user has."""

    def __init__(
        self,
        *,
        keys: SigningKeys,
        limits: Limits,
        grace_ms: int,
        max_log_entries: int,
        max_dlq_entries: int,
        max_pending_bytes: int,
    ) -> None:
        self.keys = keys
        self._limits = limits
        self._grace_ms = grace_ms
        self._max_log_entries = max_log_entries
        self._max_dlq_entries = max_dlq_entries
        self._max_pending_bytes = max_pending_bytes
        self.log_dropped = Dropped(
            "the log is full, and loses its oldest entries from now on: "
            f"see max-log-entries, which is {max_log_entries}"
        )
        self.dlq_dropped = Dropped(
            "the DLQ is full, and loses its oldest entries from now on: "
            f"see max-dlq-entries, which is {max_dlq_entries}"
        )
        self._clear()

    def _clear(self) -> None:
        self.log = Log(self._max_log_entries)
        self.pending = 0
        """How many messages aren't final."""
        self.pending_bytes = 0
        """About how much memory they take."""
        self._progress: dict[str, Progress | Message] = {}
        """A message that has only been created stands for its progress."""
        self._finished: deque[tuple[int, str]] = deque()
        self._finished_bytes = 0
        self._dlq: OrderedDict[str, DlqEntry] = OrderedDict()  # its first is at hand
        self._dlq_bytes = 0
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
            self._add_to_dlq(entry)
        for dlq_id in transition.dlq_removed:
            if dlq_id in self._dlq:  # it may have expired meanwhile
                self._remove_from_dlq(dlq_id)
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
        self.log_dropped.note(self.log.extend(transition.log))

    def load(self, saved: Saved) -> None:
        """Have what was kept, and nothing else. ``keys`` aren't touched."""
        self._clear()
        for progress in saved.progress:
            self._put(progress)
        self._finished = deque(sorted(self._finished))
        for entry in saved.dlq:
            self._add_to_dlq(entry)
        for window in saved.windows:
            self._windows[window.key] = (window.message_id, window.until_ms)
            self._window_ends.append((window.until_ms, window.key))
        self._queues |= {queue.name: queue for queue in saved.queues}
        self._url_groups |= {group.name: group for group in saved.url_groups}
        self._flow_keys |= {key.key: key for key in saved.flow_keys}
        self._schedules |= {each.schedule_id: each for each in saved.schedules}
        self.log.load(saved.first_log_sequence, saved.log)

    def saved(self, now_ms: int) -> Saved:
        """Return what there is at an instant, but for the keys."""
        first, log = self.log.saved(self.log_horizon_ms(now_ms))
        windows = [
            Deduplication(key, message_id, until_ms)
            for key, (message_id, until_ms) in self._windows.items()
            if now_ms < until_ms
        ]
        return Saved(
            progress=Told(tuple(self._progress.values()), _progress),
            log=log,
            first_log_sequence=first,
            dlq=tuple(self.dlq_entries(now_ms)),
            windows=sorted(windows, key=lambda each: (each.until_ms, each.key)),
            queues=tuple(self._queues.values()),
            url_groups=tuple(self._url_groups.values()),
            flow_keys=tuple(self._flow_keys.values()),
            schedules=tuple(self._schedules.values()),
        )

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

    def message_ids(self) -> list[str]:
        """Return the ids of the messages that can be read, oldest first (MSG-28)."""
        return list(self._progress)

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

    def dlq_overflow(self, added: Iterable[DlqEntry]) -> tuple[str, ...]:
        """Return which entries of the DLQ have to go for others, the oldest first.

        Some of those may be among them, but not the last.
        """
        added = tuple(added)
        count = len(self._dlq) + len(added)
        size_bytes = self._dlq_bytes + sum(entry.size_bytes for entry in added)
        gone: list[str] = []
        for entry in chain(self._dlq.values(), added):
            if count <= self._max_dlq_entries and (
                size_bytes <= _MAX_DLQ_BYTES or count == 1
            ):
                break
            count -= 1
            size_bytes -= entry.size_bytes
            gone.append(entry.dlq_id)
        return tuple(gone)

    def check_room_for(self, transitions: Iterable[Transition]) -> None:
        """Raise ``Overloaded`` if the new messages would be too much for the memory."""
        size_bytes = sum(
            item.message.size_bytes + _MESSAGE_BYTES
            for transition in transitions
            for item in transition.progress
        )
        if self.pending_bytes + size_bytes > self._max_pending_bytes:
            raise Overloaded(self._max_pending_bytes, self.pending)

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
            self.pending_bytes += message.size_bytes + _MESSAGE_BYTES
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
            size_bytes = message.size_bytes + _MESSAGE_BYTES
            self.pending -= 1
            self.pending_bytes -= size_bytes
            self._finished_bytes += size_bytes
            if queue_name is not None:
                self._lags[queue_name] -= 1
            self._finished.append((progress.due_ms + self._grace_ms, message_id))

    def _is_expired(self, entry: DlqEntry, now_ms: int) -> bool:
        return entry.failed_at_ms + self._limits.dlq_retention_s * 1000 <= now_ms

    def _expire(self, now_ms: int) -> None:
        while self._finished and (
            self._finished[0][0] <= now_ms or self._finished_bytes > _MAX_FINISHED_BYTES
        ):
            finished = self._progress.pop(self._finished.popleft()[1])
            assert isinstance(finished, Progress)  # not one that is only created
            self._finished_bytes -= finished.message.size_bytes + _MESSAGE_BYTES
        while self._window_ends and self._window_ends[0][0] <= now_ms:
            until_ms, key = self._window_ends.popleft()
            # The key may have opened another window since.
            if self._windows.get(key, ("", 0))[1] == until_ms:
                del self._windows[key]
        self.log.expire(self.log_horizon_ms(now_ms))
        while self._dlq and self._is_expired(next(iter(self._dlq.values())), now_ms):
            self._remove_from_dlq(next(iter(self._dlq)))

    def _add_to_dlq(self, entry: DlqEntry) -> None:
        self._dlq[entry.dlq_id] = entry
        self._dlq_bytes += entry.size_bytes

    def _remove_from_dlq(self, dlq_id: str) -> None:
        self._dlq_bytes -= self._dlq.pop(dlq_id).size_bytes


def _progress(item: Progress | Message) -> Progress:
    return created_progress(item) if isinstance(item, Message) else item
