"""The scheduler: starts what is due, as far as the gate lets it, and ends what hangs.

Nothing polls. Messages that wait for an instant and schedules are on timelines; one
sleeper waits for the earliest of all instants; whatever ends lets the next through.
What a delivery means for its message isn't decided here (``core/lifecycle.py``), nor
what a schedule publishes (``schedules.py``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any

from emulator.core import cron, lifecycle
from emulator.core.model import Message, Outcome, Progress, State, TimedOut, Unreachable
from emulator.core.transition import Transition
from emulator.engine.gate import Gate
from emulator.engine.persistence import Saved
from emulator.engine.ports import Clock
from emulator.engine.store import Store
from emulator.engine.timeline import Timeline, earliest

__all__ = ["Scheduler"]

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Flight:
    """A delivery under way."""

    message: Message
    deadline_ms: int
    timeout_ms: int
    context: Context
    """Of whoever started it: what follows from it isn't to see its own."""
    task: asyncio.Task[Outcome] = field(init=False)
    is_late: bool = False


class Scheduler:
    """Runs the deliveries of one user."""

    def __init__(
        self,
        *,
        clock: Clock,
        store: Store,
        gate: Gate,
        deliver: Callable[[Progress], Coroutine[Any, Any, Outcome]],
        settle: Callable[[Progress, Outcome], None],
        commit: Callable[[Transition], None],
        fire: Callable[[str], None],
        max_response_ms: int,
    ) -> None:
        self._clock = clock
        self._store = store
        self._gate = gate
        self._deliver = deliver
        self._settle = settle
        self._commit = commit
        self._fire = fire
        self._max_response_ms = max_response_ms
        self._due = Timeline(self._is_due)
        self._deadlines = Timeline(self._is_deadline)
        self._firings = Timeline(self._is_firing)
        self._flights: dict[str, _Flight] = {}
        self._sleeper: asyncio.Task[None] | None = None
        self._wakes_ms = 0
        self._is_turned = False
        self._is_outrun = False
        """Whether something falls due before the sleeper wakes, for all it knows."""
        self._is_running = False
        self._is_suspended = False
        self._is_pumping = False

    @property
    def in_flight(self) -> int:
        """How many deliveries are under way."""
        return len(self._flights)

    @property
    def tasks(self) -> tuple[asyncio.Task[Outcome], ...]:
        """The deliveries under way."""
        return tuple(flight.task for flight in self._flights.values())

    def oldest_delivery(self) -> tuple[Message, int] | None:
        """Return the message whose delivery is under way longest, and since when."""
        for flight in self._flights.values():
            return flight.message, flight.deadline_ms - flight.timeout_ms
        return None

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits for an instant, and no delivery is under way.

        Cheap. False also where there is only what holds no longer.
        """
        return not (
            self._due
            or self._deadlines
            or self._firings
            or self._flights
            or self._gate.has_openings
        )

    def next_due_ms(self) -> int | None:
        """Return the next instant at which something happens by itself."""
        return earliest(self.next_work_ms(), self.next_firing_ms())

    def next_firing_ms(self) -> int | None:
        """Return when the next schedule fires."""
        if self._is_suspended:
            return None
        return self._firings.next_due_ms()

    def next_work_ms(self) -> int | None:
        """Return the same without the schedules, which have no end."""
        if self._is_suspended:
            return None
        return earliest(
            self._due.next_due_ms(),
            self._deadlines.next_due_ms(),
            self._gate.next_opening_ms(),
        )

    def start(self) -> None:
        """Begin to start deliveries. Needs a running event loop."""
        self._is_running = True
        self.pump()

    def stop(self) -> None:
        """Start nothing more. Deliveries under way go on."""
        self._is_running = False
        if self._sleeper is not None:
            self._sleeper.cancel()
            self._sleeper = None

    def begin_turning(self) -> None:
        """Leave it to whoever turns the clock to ``pump`` whenever something is due."""
        self._is_turned = True

    def end_turning(self) -> None:
        """Wake up by itself again."""
        self._is_turned = False
        self._is_outrun = True
        self.pump()

    def suspend(self) -> None:
        """Drop the deliveries under way, and start nothing until ``resume``."""
        self._is_suspended = True
        self.cut_off()

    def resume(self) -> None:
        """Go on after ``suspend``, as far as it is started."""
        self._is_suspended = False
        self.pump()

    def restore(self, saved: Saved) -> None:
        """Begin with what was kept. No delivery may be under way."""
        self._gate.clear()
        pending = [item for item in saved.progress if not item.is_final]
        self._gate.restore(pending, saved.sources, saved.periods)
        self._due = Timeline(self._is_due)
        self._deadlines = Timeline(self._is_deadline)
        self._firings = Timeline(self._is_firing)
        for item in pending:
            if item.is_waiting:
                self._due.push(item.message.message_id, item.due_ms)
        for schedule in saved.schedules:
            self._firings.push(schedule.schedule_id, schedule.next_fire_ms)
        self._is_outrun = True

    def cut_off(self) -> None:
        """Drop the deliveries under way: they settle nothing (Q-34)."""
        flights = tuple(self._flights.values())
        self._flights.clear()
        for flight in flights:
            self._gate.leave(flight.message)
            flight.task.cancel()

    def note(self, transition: Transition) -> None:
        """Take note of what changed, and start what may start now."""
        if len(transition.progress) == 1:
            item = transition.progress[0]
            if item.state is State.ACTIVE:
                return  # begun by pump, or cancelled: that lets nothing else start
            if self._is_for_later(item, transition):
                self._due.push(item.message.message_id, item.due_ms)
                self._outrun(item.due_ms)
                if self._is_outrun or self._sleeper is None:
                    self.pump()
                return
        if transition.reset:
            self._gate.clear()
        self._gate.note(transition.progress)
        if transition.progress:
            now_ms = self._clock.now_ms()
            # What fell due before must not be overtaken by what arrives now.
            self._let_arrive(now_ms)
            for item in transition.progress:
                if item.is_waiting:
                    if item.due_ms <= now_ms:
                        self._gate.arrive(item.message)
                    else:
                        self._due.push(item.message.message_id, item.due_ms)
                        self._outrun(item.due_ms)
                elif item.state is State.CANCELLED:
                    self._due.note_stale()
        for queue in transition.queues:
            self._gate.queue_changed(queue.name)
        for key in transition.flow_keys:
            self._gate.key_changed(key.key)
        for schedule in transition.schedules:
            self._firings.push(schedule.schedule_id, schedule.next_fire_ms)
            self._firings.note_stale()
            self._outrun(schedule.next_fire_ms)
        self.pump()

    def _is_for_later(self, item: Progress, transition: Transition) -> bool:
        """Whether all that changed is that one message has come, to start later.

        Then nothing else may start because of it.
        """
        return (
            item.state is State.CREATED
            and item.due_ms > self._clock.now_ms()
            and item.message.callback_of is None
            and not (
                transition.queues
                or transition.flow_keys
                or transition.schedules
                or transition.reset
            )
        )

    def pump(self) -> None:
        """Start what is due and let through, and arm the sleeper for what comes."""
        if not self._is_running or self._is_suspended or self._is_pumping:
            return
        self._is_pumping = True
        try:
            now_ms = self._clock.now_ms()
            while (message_id := self._deadlines.pop_due(now_ms)) is not None:
                flight = self._flights[message_id]
                flight.is_late = True
                flight.task.cancel()
            self._let_arrive(now_ms)
            while (schedule_id := self._firings.pop_due(now_ms)) is not None:
                self._fire(schedule_id)
            while (message := self._gate.take(now_ms)) is not None:
                self._launch(message, now_ms)
        finally:
            self._is_pumping = False
        self._arm()

    def _let_arrive(self, now_ms: int) -> None:
        """Hand to the gate what has fallen due."""
        while (message_id := self._due.pop_due(now_ms)) is not None:
            progress = self._store.progress(message_id, now_ms)
            if progress is not None:
                self._gate.arrive(progress.message)

    def _launch(self, message: Message, now_ms: int) -> None:
        message_id = message.message_id
        progress = self._store.progress(message_id, now_ms)
        assert progress is not None  # the gate lets only waiting ones through
        transition = lifecycle.activate(progress, now_ms=now_ms)
        self._commit(transition)
        # DLV-21: what the message says, up to what the plan allows.
        timeout_ms = min(
            message.options.timeout_ms or self._max_response_ms,
            self._max_response_ms,
        )
        deadline_ms = now_ms + timeout_ms
        flight = _Flight(message, deadline_ms, timeout_ms, copy_context())
        task = asyncio.create_task(
            self._fly(flight, transition.progress[0]), name=message_id
        )
        # A task that is cancelled before its first step never runs, but it is done.
        task.add_done_callback(self._crash)
        flight.task = task
        self._flights[message_id] = flight
        self._deadlines.push(message_id, deadline_ms)
        self._outrun(deadline_ms)

    async def _fly(self, flight: _Flight, progress: Progress) -> Outcome:
        """Deliver, and settle at once, in the turn in which the answer has come."""
        outcome = await self._deliver(progress)
        flight.task.remove_done_callback(self._crash)
        if self._flights.get(flight.message.message_id) is flight:
            flight.context.run(self._land, flight, outcome)
        return outcome  # of one that was cut off: whatever it still says is ignored

    def _crash(self, task: asyncio.Task[Outcome]) -> None:
        """Settle a delivery that was cancelled or broke, unless it was cut off."""
        message_id = task.get_name()
        error = None if task.cancelled() else task.exception()
        flight = self._flights.get(message_id)
        if flight is None or flight.task is not task:
            return
        outcome: Outcome
        if error is None:
            if flight.is_late:
                outcome = TimedOut(flight.timeout_ms)
            elif task.cancelling():
                return  # the event loop is closing
            else:
                # Nobody asked for it: the transport, or an app in this process, did
                # so by itself. Left alone, the message would be under way for ever.
                outcome = Unreachable("the call was cancelled")
        else:
            # A mistake of ours must not stop the others, nor lose the message.
            logger.error("delivery of %s broke", message_id, exc_info=error)
            outcome = Unreachable(f"internal error: {error!r}")
        self._land(flight, outcome)

    def _land(self, flight: _Flight, outcome: Outcome) -> None:
        """Settle a delivery that has ended."""
        message_id = flight.message.message_id
        del self._flights[message_id]
        self._deadlines.note_stale()
        self._gate.leave(flight.message)
        current = self._store.progress(message_id, self._clock.now_ms())
        if current is not None:
            self._settle(current, outcome)

    def _outrun(self, due_ms: int) -> None:
        """Take note of an instant at which something falls due."""
        if due_ms < self._wakes_ms:
            self._is_outrun = True

    def _arm(self) -> None:
        if self._is_turned:
            return
        if self._sleeper is not None and not self._is_outrun:
            # The usual case: whatever was added comes later, and what was there did.
            opening_ms = self._gate.next_opening_ms()
            if opening_ms is None or self._wakes_ms <= opening_ms:
                return
        self._is_outrun = False
        due_ms = self.next_due_ms()
        if due_ms is None:
            return
        if self._sleeper is not None:
            if self._wakes_ms <= due_ms:
                return
            self._sleeper.cancel()
        self._wakes_ms = due_ms
        self._sleeper = asyncio.create_task(self._sleep(due_ms))

    async def _sleep(self, due_ms: int) -> None:
        await self._clock.sleep_until(due_ms)
        self._sleeper = None
        self.pump()

    def _is_due(self, message_id: str, due_ms: int) -> bool:
        progress = self._store.progress(message_id, due_ms)
        return (
            progress is not None and progress.is_waiting and progress.due_ms == due_ms
        )

    def _is_firing(self, schedule_id: str, fire_ms: int) -> bool:
        schedule = self._store.schedules.get(schedule_id)
        return (
            schedule is not None
            and not schedule.is_paused
            and schedule.next_fire_ms == fire_ms
            and fire_ms != cron.NEVER_MS
        )

    def _is_deadline(self, message_id: str, deadline_ms: int) -> bool:
        flight = self._flights.get(message_id)
        return (
            flight is not None
            and flight.deadline_ms == deadline_ms
            and not flight.is_late
        )
