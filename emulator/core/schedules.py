"""Schedules: what a request, a firing and a finished message make of one.

Contract section 16. When an expression matches is decided in ``cron.py``; who calls
at that instant, and what the messages become, isn't known here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from emulator.core import cron
from emulator.core.last_states import LastStates
from emulator.core.model import Progress, Publish
from emulator.core.resources import Schedule

__all__ = [
    "brought_forward",
    "failed",
    "fired",
    "is_of_last_firing",
    "put",
    "with_final",
]


def put(
    before: Schedule | None,
    schedule_id: str,
    publish: Publish,
    expression: str,
    *,
    now_ms: int,
) -> Schedule:
    """Make a schedule, or what replaces the one of that id (SCH-8).

    A replaced one keeps its creation time and its pause (SCH-9), and nothing else.
    """
    return Schedule(
        schedule_id=schedule_id,
        cron=expression,
        publish=publish,
        created_at_ms=now_ms if before is None else before.created_at_ms,
        is_paused=before is not None and before.is_paused,
        next_fire_ms=_next_fire_ms(expression, now_ms),
    )


def brought_forward(schedule: Schedule, *, now_ms: int) -> Schedule:
    """Return it with a next firing that lies ahead: a paused one's goes on (SCH-41)."""
    if schedule.next_fire_ms > now_ms:
        return schedule
    return replace(schedule, next_fire_ms=_next_fire_ms(schedule.cron, now_ms))


def fired(schedule: Schedule, message_ids: Iterable[str], *, now_ms: int) -> Schedule:
    """Return a schedule that has just made messages (SCH-32); it clears an error."""
    return replace(
        schedule,
        last_fire_ms=now_ms,
        last_states=LastStates((message_id, None) for message_id in message_ids),
        next_fire_ms=_next_fire_ms(schedule.cron, now_ms),
        error=None,
    )


def failed(schedule: Schedule, error: str, *, now_ms: int) -> Schedule:
    """Return a schedule that made no message: it says why, and goes on (SCH-33)."""
    return replace(fired(schedule, (), now_ms=now_ms), error=error)


def is_of_last_firing(schedule: Schedule, message_id: str) -> bool:
    """Whether a message without a final state yet was made by the last firing."""
    return schedule.last_states.is_open(message_id)


def with_final(schedule: Schedule, progress: Progress) -> Schedule:
    """Return a schedule that remembers a message's final state (SCH-27)."""
    states = schedule.last_states
    return replace(
        schedule,
        last_states=states.with_final(progress.message.message_id, progress.state),
    )


def _next_fire_ms(expression: str, after_ms: int) -> int:
    fire_ms = cron.next_fire_ms(expression, after_ms)
    return cron.NEVER_MS if fire_ms is None else fire_ms
