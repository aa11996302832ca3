"""Why a message hasn't been delivered yet: what it waits for, in one line.

Reads what the store and the gate know, and changes nothing. For the listing of a clock
that can't reach idleness, and for whoever looks at a message and wonders.
"""

from __future__ import annotations

from itertools import islice

from emulator.core.duration import format_duration
from emulator.core.flow import Admitted, admit, started_in_period
from emulator.core.model import Message, Progress, State
from emulator.core.resources import FlowKey
from emulator.engine.gate import Gate
from emulator.engine.ports import Clock
from emulator.engine.store import Store
from emulator.errors import NotFound

__all__ = ["Waiting"]

_MOST_LINES = 1_000

_ORDINALS = ("first", "second", "third", "fourth", "fifth")


class Waiting:
    """Explains what the messages of one user wait for."""

    def __init__(self, *, store: Store, gate: Gate, clock: Clock) -> None:
        self._store = store
        self._gate = gate
        self._clock = clock

    def why(self, message_id: str) -> str:
        """Say what a message waits for. Raises ``NotFound`` for an unknown one."""
        progress = self._store.progress(message_id, self._clock.now_ms())
        if progress is None:
            raise NotFound("message", message_id)
        return self._why(progress)

    def lines(self) -> list[str]:
        """Say it of the messages that aren't final, oldest first.

        Of so many that somebody may read them: whoever stands in a line counts those
        before, which takes the longer, the further behind it is.
        """
        lines = [
            f"{progress.message.message_id} to {progress.message.url}: "
            f"{self._why(progress)}"
            for progress in islice(self._store.pending_messages(), _MOST_LINES)
        ]
        left = self._store.pending - len(lines)
        return [*lines, f"and {left} more"] if left else lines

    def for_a_slot(self) -> int | None:
        """Return how many wait while all slots are taken; ``None``: not all are."""
        return self._gate.standing if self._gate.is_full else None

    def _why(self, progress: Progress) -> str:
        now_ms = self._clock.now_ms()
        if progress.is_final:
            return f"waits for nothing: {progress.state.value}"
        if progress.state is State.ACTIVE:
            return (
                "its delivery is under way for "
                f"{format_duration(max(0, now_ms - progress.due_ms))}"
            )
        if progress.due_ms > now_ms:
            which = "retry" if progress.state is State.RETRY else "delivery"
            return f"its {which} is due in {format_duration(progress.due_ms - now_ms)}"
        message = progress.message
        for reason in (self._by_queue, self._by_key, self._by_plan):
            found = reason(message)
            if found:
                return found
        return "it is due now"

    def _by_queue(self, message: Message) -> str:
        name = message.queue_name
        if name is None:
            return ""
        queue = self._store.queues.get(name)
        if queue is not None and queue.is_paused:
            return f"queue {name} is paused"
        ahead = self._gate.ahead_in_queue(message)
        return _position(ahead, f"queue {name}") if ahead else ""

    def _by_key(self, message: Message) -> str:
        flow_control = message.options.flow_control
        if flow_control is None:
            return ""
        name, now_ms = flow_control.key, self._clock.now_ms()
        key = self._store.flow_keys.get(name) or FlowKey(key=name)
        usage = self._gate.usage(name)
        verdict = admit(key, usage, now_ms)
        if key.is_paused:
            return f"key {name} is paused"
        if not isinstance(verdict, Admitted):
            if verdict.until_ms is None:
                return f"key {name}: {usage.in_flight} of {key.parallelism} under way"
            return (
                f"key {name}: {started_in_period(key, usage, now_ms)} of {key.rate} "
                f"this {_period(key.period_s)}, the next in "
                f"{format_duration(verdict.until_ms - now_ms)}"
            )
        ahead = self._gate.ahead_at_key(message)
        return _position(ahead, f"line for key {name}") if ahead else ""

    def _by_plan(self, message: Message) -> str:
        if not self._gate.is_full:
            return ""
        return f"all {self._gate.active} deliveries that the plan allows are under way"


def _position(ahead: list[str], where: str) -> str:
    place = len(ahead)
    ordinal = _ORDINALS[place] if place < len(_ORDINALS) else f"number {place + 1}"
    return f"{ordinal} in {where}, behind {ahead[-1]}"


def _period(period_s: int) -> str:
    names = {1: "second", 60: "minute", 3600: "hour", 86_400: "day"}
    return names.get(period_s) or format_duration(period_s * 1000)
