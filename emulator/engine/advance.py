"""Turning a virtual clock: jump to what falls due next, once all has settled.

Settled means: nobody woken has yet to run, and no delivery is under way. It is
computed from the engines each time, not kept as a flag. A destination that doesn't
answer is waited for in real time, for a short grace; then the clock may jump to
whatever comes next, which in the end is that delivery's own timeout. One that sleeps
on this very clock before it answers, and says so, isn't waited for at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from emulator.core.model import Outcome
from emulator.engine.clock import VirtualClock
from emulator.engine.scheduler import Scheduler
from emulator.engine.timeline import earliest
from emulator.errors import Conflict

__all__ = ["GRACE_S", "advance"]

GRACE_S = 0.25
"""How long a destination may take in real time before the clock goes on."""

_MOST_JUMPS = 100_000

_QUICK_TURNS = 4


async def advance(
    clock: VirtualClock,
    schedulers: Iterable[Scheduler],
    *,
    to_ms: int | None,
    grace_s: float | None = None,
    most_jumps: int | None = None,
) -> None:
    """Turn the clock to an instant; or, with ``None``, until no message can move.

    Whatever falls due on the way happens at its own instant and in order, firings of
    schedules included; they alone are no reason to go on. Raises ``Conflict`` if
    there is no end to it.
    """
    schedulers = tuple(schedulers)
    for scheduler in schedulers:
        scheduler.begin_turning()
    try:
        await _turn(
            clock,
            schedulers,
            to_ms,
            GRACE_S if grace_s is None else grace_s,
            _MOST_JUMPS if most_jumps is None else most_jumps,
        )
    finally:
        for scheduler in schedulers:
            scheduler.end_turning()


async def _turn(
    clock: VirtualClock,
    schedulers: tuple[Scheduler, ...],
    to_ms: int | None,
    grace_s: float,
    most_jumps: int,
) -> None:
    hanging: set[asyncio.Future[Outcome]] = set()
    jumps = 0
    while True:
        answers_ms = await _settle(clock, schedulers, hanging, grace_s)
        work_ms = earliest(*answers_ms)
        firing_ms = None
        busy = []
        for scheduler in schedulers:
            if scheduler.is_idle:
                continue
            own_work_ms = scheduler.next_work_ms()
            own_firing_ms = scheduler.next_firing_ms()
            if own_work_ms is not None or own_firing_ms is not None:
                busy.append(scheduler)
                work_ms = earliest(work_ms, own_work_ms)
                firing_ms = earliest(firing_ms, own_firing_ms)
        due_ms = earliest(work_ms, firing_ms)
        if to_ms is None:
            if work_ms is None:
                return
            jumps += 1
            if jumps > most_jumps:
                raise Conflict(
                    f"not idle after {most_jumps:,} steps of the clock, which is at "
                    f"{clock.now_ms()} now: something makes new work for ever"
                )
        elif due_ms is None or due_ms > to_ms:
            break
        if due_ms is not None and due_ms > clock.now_ms():
            clock.set(due_ms)
        for scheduler in busy:
            scheduler.pump()
    clock.set(max(to_ms, clock.now_ms()))


async def _settle(
    clock: VirtualClock,
    schedulers: tuple[Scheduler, ...],
    hanging: set[asyncio.Future[Outcome]],
    grace_s: float,
) -> list[int | None]:
    """Wait until all has settled; who had its grace is added to ``hanging``.

    Returns when the destinations that sleep on the clock will answer.
    """
    for _ in range(_QUICK_TURNS):
        # Most deliveries to what runs in this loop end at once.
        if not clock.waking and not _are_under_way(schedulers):
            return []
        await asyncio.sleep(0)
    while True:
        # Who was woken runs within this loop's next turns: nothing to wait for.
        while clock.waking:  # noqa: ASYNC110
            await asyncio.sleep(0)
        tasks: set[asyncio.Future[Outcome]] = set()
        # One that has ended, or was told to, neither hangs nor waits for an answer:
        # what it comes to is waited for.
        patient: set[asyncio.Future[Outcome]] = set()
        for scheduler in schedulers:
            for task in scheduler.tasks:
                tasks.add(task)
                if not task.done() and not task.cancelling():
                    patient.add(task)
        hanging &= patient
        owed = {
            task: when_ms
            for task, when_ms in clock.owed_answers().items()
            if task in patient
        }
        awaited = tasks - hanging - owed.keys()
        if not awaited:
            return list(owed.values())
        watched: set[asyncio.Future[Any]] = {*awaited, clock.next_doze()}
        done, _ = await asyncio.wait(
            watched, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED
        )
        if not done:
            hanging |= awaited


def _are_under_way(schedulers: tuple[Scheduler, ...]) -> bool:
    # A loop: this is asked twice for each jump of the clock.
    for scheduler in schedulers:  # noqa: SIM110
        if scheduler.in_flight:
            return True
    return False
