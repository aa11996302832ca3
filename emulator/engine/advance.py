"""Turning a virtual clock: jump to what falls due next, once all has settled.

Settled means: nobody woken has yet to run, and no delivery is under way. It is
computed from the engines each time, not kept as a flag. A destination that doesn't
answer is waited for in real time, for a short grace; then the clock may jump to
whatever comes next, which in the end is that delivery's own timeout.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from emulator.core.model import Outcome
from emulator.engine.clock import VirtualClock
from emulator.engine.scheduler import Scheduler
from emulator.errors import Conflict

__all__ = ["GRACE_S", "advance"]

GRACE_S = 0.25
"""How long a destination may take in real time before the clock goes on."""

_MOST_JUMPS = 100_000


async def advance(
    clock: VirtualClock, schedulers: Iterable[Scheduler], *, to_ms: int | None
) -> None:
    """Turn the clock to an instant; or, with ``None``, until no message can move.

    Whatever falls due on the way happens at its own instant and in order, firings of
    schedules included; they alone are no reason to go on. Raises ``Conflict`` if
    there is no end to it.
    """
    schedulers = tuple(schedulers)
    hanging: set[asyncio.Task[Outcome]] = set()
    jumps = 0
    while True:
        await _settle(clock, schedulers, hanging)
        due_ms = _earliest(scheduler.next_due_ms() for scheduler in schedulers)
        if to_ms is None:
            work_ms = _earliest(scheduler.next_work_ms() for scheduler in schedulers)
            if work_ms is None:
                return
            jumps += 1
            if jumps > _MOST_JUMPS:
                raise Conflict(
                    f"not idle after {_MOST_JUMPS:,} steps of the clock, which is at "
                    f"{clock.now_ms()} now: something makes new work for ever"
                )
        elif due_ms is None or due_ms > to_ms:
            break
        if due_ms is not None and due_ms > clock.now_ms():
            clock.set(due_ms)
        # Not left to the schedulers' own sleepers: one may not have lain down yet.
        for scheduler in schedulers:
            scheduler.pump()
    clock.set(max(to_ms, clock.now_ms()))


def _earliest(instants_ms: Iterable[int | None]) -> int | None:
    return min((ms for ms in instants_ms if ms is not None), default=None)


async def _settle(
    clock: VirtualClock,
    schedulers: tuple[Scheduler, ...],
    hanging: set[asyncio.Task[Outcome]],
) -> None:
    """Wait until all has settled; who had its grace is added to ``hanging``."""
    while True:
        # Who was woken runs within this loop's next turns: nothing to wait for.
        while clock.waking:  # noqa: ASYNC110
            await asyncio.sleep(0)
        tasks = {task for scheduler in schedulers for task in scheduler.tasks}
        # One that has ended, or was told to, no longer hangs: what it comes to is
        # waited for.
        hanging &= {task for task in tasks if not task.done() and not task.cancelling()}
        if not tasks - hanging:
            return
        done, waited_for = await asyncio.wait(
            tasks - hanging, timeout=GRACE_S, return_when=asyncio.FIRST_COMPLETED
        )
        if not done:
            hanging |= waited_for
