"""The verbs of schedules, and what happens when one fires (contract section 16).

What becomes of a schedule is decided in ``core/schedules.py``; the scheduler calls
``fire`` when one is due.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from emulator.core import schedules
from emulator.core.limits import Limits
from emulator.core.model import Publish
from emulator.core.resources import Schedule
from emulator.core.transition import Transition
from emulator.engine.ports import Clock
from emulator.engine.store import Store
from emulator.errors import NotFound, QuotaExceeded, RequestError

__all__ = ["Schedules"]


class Schedules:
    """The schedules of one user.

    ``produce`` makes the messages of a firing, or raises ``RequestError``.
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        commit: Callable[[Transition], None],
        limits: Limits,
        produce: Callable[[Publish, str], Transition],
        new_id: Callable[[], str],
    ) -> None:
        self._store = store
        self._clock = clock
        self._commit = commit
        self._limits = limits
        self._produce = produce
        self._new_id = new_id

    def put(self, publish: Publish, expression: str, schedule_id: str | None) -> str:
        """Create a schedule, or replace the one of that id (SCH-8); return its id.

        Raises ``QuotaExceeded`` (SCH-11).
        """
        now_ms = self._clock.now_ms()
        before = None if schedule_id is None else self._store.schedules.get(schedule_id)
        limit = self._limits.max_schedules
        if before is None and limit is not None and len(self._store.schedules) >= limit:
            raise QuotaExceeded("maxSchedules", limit, status=412)
        schedule = schedules.put(
            before, schedule_id or self._new_id(), publish, expression, now_ms=now_ms
        )
        self._commit(Transition(schedules=(schedule,)))
        return schedule.schedule_id

    def get(self, schedule_id: str) -> Schedule:
        """Return a schedule; of a paused one, ``next_fire_ms`` goes on (SCH-41)."""
        schedule = self._store.schedules.get(schedule_id)
        if schedule is None:
            raise NotFound("schedule", schedule_id)
        return schedules.brought_forward(schedule, now_ms=self._clock.now_ms())

    def list(self) -> Sequence[Schedule]:
        """Return every schedule, in order of creation."""
        return [self.get(schedule_id) for schedule_id in self._store.schedules]

    def set_paused(self, schedule_id: str, is_paused: bool) -> None:
        """Pause or resume; after a resume the next match fires (SCH-40, SCH-41)."""
        schedule = self.get(schedule_id)
        if schedule.is_paused != is_paused:
            after = replace(schedule, is_paused=is_paused)
            self._commit(Transition(schedules=(after,)))

    def delete(self, schedule_id: str) -> None:
        """Delete a schedule, if it is there; its messages go on (SCH-23)."""
        if schedule_id in self._store.schedules:
            self._commit(Transition(schedules_removed=(schedule_id,)))

    def fire(self, schedule_id: str) -> None:
        """Publish what a schedule publishes, and set its next instant (SCH-32)."""
        now_ms = self._clock.now_ms()
        schedule = self._store.schedules[schedule_id]
        try:
            produced = self._produce(schedule.publish, schedule_id)
        except RequestError as error:
            after = schedules.failed(schedule, str(error), now_ms=now_ms)
            self._commit(Transition(schedules=(after,)))
            return
        message_ids = [item.message.message_id for item in produced.progress]
        after = schedules.fired(schedule, message_ids, now_ms=now_ms)
        self._commit(Transition.merge([produced, Transition(schedules=(after,))]))
