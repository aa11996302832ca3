"""Consequences: what messages change beside themselves.

A new message makes its queue, if that doesn't exist (ENQ-2, QUE-10, QUE-19), and
configures its flow-control key (FLC-4, FLC-21), wherever it comes from: a publish, a
callback, a schedule, the DLQ. A final one is remembered by the schedule whose last
firing made it (SCH-27). That belongs to the same transition.
"""

from __future__ import annotations

from collections.abc import Mapping

from emulator.core import flow, queues, schedules
from emulator.core.model import Progress, State
from emulator.core.resources import FlowKey, Queue, Schedule
from emulator.core.transition import Transition

__all__ = ["with_consequences"]


def with_consequences(
    transition: Transition,
    *,
    queues_now: Mapping[str, Queue],
    flow_keys_now: Mapping[str, FlowKey],
    schedules_now: Mapping[str, Schedule],
    now_ms: int,
) -> Transition:
    """Return a transition with all that its messages bring about."""
    made: dict[str, Queue] = {}
    configured: dict[str, FlowKey] = {}
    remembering: dict[str, Schedule] = {}
    for progress in transition.progress:
        if progress.state is State.CREATED:
            name = progress.message.queue_name
            if name is not None and name not in queues_now:
                made[name] = queues.new_queue(name, now_ms=now_ms)
            _configure(progress, configured, flow_keys_now)
        elif progress.is_final:
            _remember(progress, remembering, schedules_now)
    if not (made or configured or remembering):
        return transition
    return transition._replace(
        queues=(*transition.queues, *made.values()),
        flow_keys=(*transition.flow_keys, *configured.values()),
        schedules=(*transition.schedules, *remembering.values()),
    )


def _configure(
    progress: Progress, configured: dict[str, FlowKey], now: Mapping[str, FlowKey]
) -> None:
    wanted = progress.message.options.flow_control
    if wanted is None:
        return
    known = configured.get(wanted.key) or now.get(wanted.key)
    key = flow.configure(known, wanted)
    if key != known:
        configured[wanted.key] = key


def _remember(
    progress: Progress, remembering: dict[str, Schedule], now: Mapping[str, Schedule]
) -> None:
    schedule_id = progress.message.schedule_id
    if schedule_id is None:
        return
    schedule = remembering.get(schedule_id) or now.get(schedule_id)
    message_id = progress.message.message_id
    if schedule is not None and schedules.is_of_last_firing(schedule, message_id):
        remembering[schedule_id] = schedules.with_final(schedule, progress)
