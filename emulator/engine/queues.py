"""The verbs of queues: what may be done with them (contract section 14).

In which order their messages are delivered is decided in ``queue_lines.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from emulator.core import lifecycle, queues
from emulator.core.limits import Limits
from emulator.core.resources import Queue
from emulator.core.transition import Transition
from emulator.engine.ports import Clock
from emulator.engine.store import Store
from emulator.errors import NotFound, QuotaExceeded

__all__ = ["Queues"]


class Queues:
    """The queues of one user."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        commit: Callable[[Transition], None],
        limits: Limits,
    ) -> None:
        self._store = store
        self._clock = clock
        self._commit = commit
        self._limits = limits

    def get(self, name: str) -> tuple[Queue, int]:
        """Return a queue and its lag (QUE-6)."""
        return self._known(name), self._store.lag(name)

    def list(self) -> Sequence[tuple[Queue, int]]:
        """Return every queue and its lag, in order of creation (QUE-5)."""
        return [
            (queue, self._store.lag(name)) for name, queue in self._store.queues.items()
        ]

    def upsert(
        self, name: str, *, parallelism: int | None, is_paused: bool | None
    ) -> Queue:
        """Create or change a queue (QUE-2).

        Without ``parallelism`` it is 1, also for a queue that exists; without
        ``is_paused`` that stays as it is. Raises ``QuotaExceeded`` (QUE-4).
        """
        before = self._store.queues.get(name)
        if before is None:
            self.check_room_for({name})
        queue = queues.upsert(
            before,
            name,
            parallelism=parallelism,
            is_paused=is_paused,
            now_ms=self._clock.now_ms(),
        )
        limit = self._limits.max_queue_parallelism
        if limit is not None and queue.parallelism > limit:
            raise QuotaExceeded("maxParallelism", limit, status=412)
        self._commit(Transition(queues=(queue,)))
        return queue

    def set_paused(self, name: str, is_paused: bool) -> None:
        """Pause or resume a queue; repeating it is harmless (QUE-9, QUE-17)."""
        queue = queues.set_paused(
            self._known(name), is_paused, now_ms=self._clock.now_ms()
        )
        self._commit(Transition(queues=(queue,)))

    def delete(self, name: str) -> None:
        """Delete a queue, if it is there (QUE-7), and cancel its messages (QUE-8)."""
        if name not in self._store.queues:
            return
        now_ms = self._clock.now_ms()
        cancelled = [
            lifecycle.cancel(progress, now_ms=now_ms)
            for progress in self._store.pending_messages()
            if progress.message.queue_name == name and not progress.cancel_requested
        ]
        self._commit(Transition.merge([*cancelled, Transition(queues_removed=(name,))]))

    def check_room_for(self, names: set[str]) -> None:
        """Raise ``QuotaExceeded`` if so many new queues are too many (ENQ-3, LIM-7)."""
        limit = self._limits.max_queues
        if limit is not None:
            new = sum(name not in self._store.queues for name in names)
            if new and len(self._store.queues) + new > limit:
                raise QuotaExceeded("maxQueues", limit, status=412)

    def _known(self, name: str) -> Queue:
        queue = self._store.queues.get(name)
        if queue is None:
            raise NotFound("queue", name)
        return queue
