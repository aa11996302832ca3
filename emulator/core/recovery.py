"""Recovery: what becomes of state that was read back after an interruption.

Deliveries that were under way have nobody who waits for their answers, and firings of
schedules may have been missed. What follows is a ``Transition`` like any other, so the
log tells of it. Who reads the state, and from where, isn't known here.
"""

from __future__ import annotations

from collections.abc import Iterable

from emulator.core import schedules
from emulator.core.model import LogEntry, Progress, State, Unreachable
from emulator.core.resources import Schedule
from emulator.core.transition import Transition

__all__ = ["INTERRUPTED", "recover"]

INTERRUPTED = Unreachable("qemu ended while the delivery was under way")
"""What such a delivery came to, as far as anybody knows."""


def recover(
    active: Iterable[Progress], known: Iterable[Schedule], *, now_ms: int
) -> Transition:
    """Return what an interruption makes of deliveries under way, and of schedules.

    An interrupted delivery doesn't count as a retry: it is made again at once, with
    the same number (at least once). One of a cancelled message isn't (MSG-12).
    Firings that were missed aren't made up (SCH-35).
    """
    parts = [_interrupted(progress, now_ms) for progress in active]
    ahead = tuple(
        after
        for schedule in known
        if (after := schedules.brought_forward(schedule, now_ms=now_ms)) is not schedule
    )
    return Transition.merge([*parts, Transition(schedules=ahead)])


def _interrupted(progress: Progress, now_ms: int) -> Transition:
    message, retried = progress.message, progress.retried
    error = LogEntry(now_ms, State.ERROR, message, retried, outcome=INTERRUPTED)
    if progress.cancel_requested:
        return Transition(
            progress=(Progress(message, State.CANCELLED, now_ms, retried),),
            log=(error, LogEntry(now_ms, State.CANCELLED, message, retried)),
        )
    again = LogEntry(now_ms, State.RETRY, message, retried, next_delivery_ms=now_ms)
    return Transition(
        progress=(Progress(message, State.RETRY, now_ms, retried),),
        log=(error, again),
    )
