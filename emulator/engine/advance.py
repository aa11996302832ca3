"""Turning a virtual clock: jump to what falls due next, once all has settled.

Settled means: nobody woken has yet to run, and no delivery is under way. It is
computed from the engines each time, not kept as a flag. A destination that doesn't
answer is waited for in real time, for a short grace; then the clock may jump to
whatever comes next, which in the end is that delivery's own timeout.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from emulator.engine.clock import VirtualClock
from emulator.engine.scheduler import Scheduler
from emulator.errors import Conflict

__all__ = ["GRACE_S", "advance"]

GRACE_S = 0.25
"""How long a destination may take in real time before the clock goes on."""

_MOST_JUMPS = 1_000_000


async def advance(
    clock: VirtualClock, schedulers: Iterable[Scheduler], *, to_ms: int | None
) -> None:
    """Turn the clock to an instant; or, with ``None``, until nothing is left to do.

    Whatever falls due on the way happens at its own instant and in order. Raises
    ``Conflict`` if there is no end to it.
    """
    schedulers = tuple(schedulers)
    hanging: set[asyncio.Task[None]] = set()
    for _ in range(_MOST_JUMPS):
        await _settle(clock, schedulers, hanging)
        due_ms = _next_due_ms(schedulers)
        if due_ms is None or (to_ms is not None and due_ms > to_ms):
            break
        clock.set(max(due_ms, clock.now_ms()))
    else:
        raise Conflict(
            f"still not idle after {_MOST_JUMPS:,} steps of the clock: "
            "something makes new work for ever"
        )
    if to_ms is not None and to_ms > clock.now_ms():
        clock.set(to_ms)


def _next_due_ms(schedulers: tuple[Scheduler, ...]) -> int | None:
    instants = (scheduler.next_due_ms() for scheduler in schedulers)
    return min((ms for ms in instants if ms is not None), default=None)


async def _settle(
    clock: VirtualClock,
    schedulers: tuple[Scheduler, ...],
    hanging: set[asyncio.Task[None]],
) -> None:
    """Wait until all has settled; who had its grace is added to ``hanging``."""
    while True:
        # Who was woken runs within this loop's next turns: nothing to wait for.
        while clock.waking:
            await asyncio.sleep(0)  # noqa: ASYNC110
        tasks = {task for scheduler in schedulers for task in scheduler.tasks}
        hanging &= tasks
        if not tasks - hanging:
            return
        done, waited_for = await asyncio.wait(
            tasks - hanging, timeout=GRACE_S, return_when=asyncio.FIRST_COMPLETED
        )
        if not done:
            hanging |= waited_for
