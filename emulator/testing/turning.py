"""Turning the clock of an emulator, from a test that has a loop or none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from emulator.engine.clock import VirtualClock
from emulator.errors import Conflict, NotIdle
from emulator.testing.instants import (
    Duration,
    Instant,
    datetime_of,
    parse_duration,
    parse_instant,
)

if TYPE_CHECKING:
    from emulator.testing.running import RunningEmulator

__all__ = ["GRACE_S", "AsyncTurning", "Turning"]

T = TypeVar("T")

GRACE_S = 2.0
"""How long an app may take in real time before the clock goes on without its answer.

Longer than a server's: a scripted destination that hangs costs nothing at all, so what
is waited for here is an app on a busy machine.
"""

_MOST_JUMPS = 10_000


class Turning:
    """To be inherited by what has a running emulator."""

    _running: RunningEmulator
    _grace_s: float = GRACE_S
    _is_turning = False
    _has_blocked_a_loop = False
    """The clock was turned from within an event loop, which stood still meanwhile."""

    @property
    def is_virtual(self) -> bool:
        """Whether the clock stands still until it is turned."""
        return isinstance(self._running.emulator.clock, VirtualClock)

    @property
    def now_ms(self) -> int:
        """The emulator's present, in Unix milliseconds."""
        return self._running.emulator.clock.now_ms()

    @property
    def now(self) -> datetime:
        """The emulator's present, in UTC."""
        return datetime_of(self.now_ms)

    @property
    def aio(self) -> AsyncTurning:
        """The same for ``await``: the test's own loop goes on meanwhile."""
        return AsyncTurning(self)

    def advance(self, by: Duration) -> None:
        """Turn the clock on: ``"1h30m"``, a ``timedelta``, or seconds.

        Returns when all that fell due on the way has happened, in order, each thing
        at its own instant. Raises ``Conflict`` on a real clock.
        """
        self._turn(by_ms=parse_duration(by))

    def advance_to(self, instant: Instant) -> None:
        """Turn the clock to a ``datetime``, the same in ISO 8601, or Unix ms.

        Raises ``Conflict`` for an instant that has passed.
        """
        self._turn(to_ms=parse_instant(instant))

    def settle(self) -> None:
        """Let happen what is due at this very instant. The clock stays where it is.

        Does nothing on a real clock, where nothing waits to be let.
        """
        if self._may_settle():
            self._turn(by_ms=0)

    def run_until_idle(
        self, *, within: Duration = "30s", allow_waiting: bool = False
    ) -> None:
        """Turn the clock until no message is pending.

        A schedule alone is no work. Raises ``NotIdle``, and says for each message
        what it waits for, where that never comes (a paused queue, a held flow-control
        key: unless ``allow_waiting``), or where the work has no end. On a real clock
        this waits for real, ``within`` that at the most.
        """
        if self.is_virtual:
            try:
                self._turn()
            except Conflict as error:
                raise self._not_idle(str(error)) from None
        else:
            timeout_s = parse_duration(within) / 1000
            try:
                self._running.run(self._wait_until_idle(timeout_s))
            except TimeoutError:
                if not allow_waiting:
                    raise self._not_idle(f"not idle after {timeout_s:g} s") from None
        if not allow_waiting and self._running.emulator.pending:
            raise self._not_idle("not idle, and time alone changes nothing")

    def _turn(self, to_ms: int | None = None, by_ms: int | None = None) -> None:
        tenants = self._running.emulator.tenants
        self._is_turning = True
        with suppress(RuntimeError):
            asyncio.get_running_loop()
            self._has_blocked_a_loop = True
        try:
            self._running.run(
                tenants.advance(
                    to_ms, by_ms=by_ms, grace_s=self._grace_s, most_jumps=_MOST_JUMPS
                )
            )
        finally:
            self._is_turning = False

    def _may_settle(self) -> bool:
        running = self._running
        # A destination that asks while the clock is being turned would wait for
        # itself.
        return (
            self.is_virtual
            and running.is_running
            and not running.is_own_thread
            and not self._is_turning
        )

    async def _wait_until_idle(self, timeout_s: float) -> None:
        emulator = self._running.emulator
        async with emulator.feed.subscribe() as entries, asyncio.timeout(timeout_s):
            while emulator.pending:
                await anext(entries)

    def _not_idle(self, reason: str) -> NotIdle:
        engines = self._running.emulator.tenants.engines
        lines = self._running.call(
            lambda: [line for engine in engines for line in engine.waiting.lines()]
        )
        return NotIdle(reason, tuple(lines))


class AsyncTurning:
    """Turns a clock without blocking the caller's loop, under asyncio or trio."""

    def __init__(self, turning: Turning) -> None:
        self._turning = turning

    async def advance(self, by: Duration) -> None:
        """Turn the clock on."""
        await _in_worker(partial(self._turning.advance, by))

    async def advance_to(self, instant: Instant) -> None:
        """Turn the clock to an instant."""
        await _in_worker(partial(self._turning.advance_to, instant))

    async def settle(self) -> None:
        """Let happen what is due at this very instant."""
        await _in_worker(self._turning.settle)

    async def run_until_idle(
        self, *, within: Duration = "30s", allow_waiting: bool = False
    ) -> None:
        """Turn the clock until no message is pending."""
        await _in_worker(
            partial(
                self._turning.run_until_idle,
                within=within,
                allow_waiting=allow_waiting,
            )
        )


async def _in_worker(function: Callable[[], T]) -> T:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        from anyio import to_thread  # trio's own loop

        return await to_thread.run_sync(function)
    return await asyncio.to_thread(function)
