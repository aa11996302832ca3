"""The clocks. The only file that reads the machine's.

``SystemClock`` shows the machine's time, possibly shifted and faster.
``VirtualClock`` stands still until it is told otherwise: ``engine/advance.py``
turns it.
"""

from __future__ import annotations

import asyncio
import time
from heapq import heappop, heappush
from typing import Any

from emulator.engine.ports import Clock

__all__ = ["SystemClock", "VirtualClock", "real_now_ms"]

_LONGEST_SLEEP_S = 30.0
"""A laptop's sleep stops the event loop's clock, not the calendar: look again."""


def real_now_ms() -> int:
    """Return the machine's time in Unix milliseconds."""
    return time.time_ns() // 1_000_000


class SystemClock(Clock):
    """The machine's time; or one that starts at ``start_ms`` and runs ``speed`` fast.

    ``speed`` is how many of its seconds pass in one real second, above 0.
    """

    def __init__(self, *, speed: float = 1.0, start_ms: int | None = None) -> None:
        self.speed = speed
        self._is_shifted = speed != 1.0 or start_ms is not None
        self._real_start_ms = real_now_ms()
        self._start_ms = self._real_start_ms if start_ms is None else start_ms

    def now_ms(self) -> int:
        if not self._is_shifted:
            return time.time_ns() // 1_000_000
        passed_ms = real_now_ms() - self._real_start_ms
        return self._start_ms + int(passed_ms * self.speed)

    def begin(self, at_ms: int) -> None:
        """Let a shifted clock begin at an instant, if it would begin before."""
        if self._is_shifted and at_ms > self.now_ms():
            self._real_start_ms = real_now_ms()
            self._start_ms = at_ms

    async def sleep_until(self, when_ms: int) -> None:
        while (left_ms := when_ms - self.now_ms()) > 0:
            left_s = left_ms / 1000 / self.speed
            await asyncio.sleep(min(left_s, _LONGEST_SLEEP_S))


class VirtualClock(Clock):
    """A clock that moves only when ``set`` is called, and never backwards."""

    def __init__(self, start_ms: int | None = None) -> None:
        self._now_ms = real_now_ms() if start_ms is None else start_ms
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._count = 0
        self.waking = 0
        """How many sleepers have been woken and haven't run yet."""
        self._answering: list[tuple[asyncio.Future[Any], int | None]] = []
        self._dozing: asyncio.Future[None] | None = None

    def now_ms(self) -> int:
        return self._now_ms

    def begin(self, at_ms: int) -> None:
        """Move to an instant, unless it has passed."""
        self.set(max(at_ms, self._now_ms))

    async def sleep_until(self, when_ms: int) -> None:
        if when_ms <= self._now_ms:
            return
        future = asyncio.get_running_loop().create_future()
        # Equal instants wake in the order of falling asleep.
        self._count += 1
        heappush(self._sleepers, (when_ms, self._count, future))
        try:
            await future
        finally:
            # A sleeper cancelled after it was woken has run as well.
            if future.done() and not future.cancelled():
                self.waking -= 1

    async def sleep_before_answer(
        self, delivery: asyncio.Future[Any], when_ms: int | None
    ) -> None:
        """Sleep for a destination that owes a delivery its answer.

        Whoever turns the clock need not wait for that delivery before ``when_ms``;
        ``None`` is a destination that never answers.
        """
        owed = (delivery, when_ms)
        self._answering.append(owed)
        if self._dozing is not None and not self._dozing.done():
            self._dozing.set_result(None)
        try:
            if when_ms is None:
                await asyncio.get_running_loop().create_future()
            else:
                await self.sleep_until(when_ms)
        finally:
            self._answering.remove(owed)

    def owed_answers(self) -> dict[asyncio.Future[Any], int | None]:
        """Return the deliveries whose destinations sleep, and until when they do."""
        return dict(self._answering)

    def next_doze(self) -> asyncio.Future[None]:
        """Return what is done once the next destination goes to sleep."""
        if self._dozing is None or self._dozing.done():
            self._dozing = asyncio.get_running_loop().create_future()
        return self._dozing

    def set(self, now_ms: int) -> None:
        """Move to an instant, and wake whoever sleeps until then.

        Raises ``ValueError`` for an instant that has passed.
        """
        if now_ms < self._now_ms:
            raise ValueError("a clock doesn't run backwards")
        self._now_ms = now_ms
        while self._sleepers and self._sleepers[0][0] <= now_ms:
            future = heappop(self._sleepers)[2]
            if not future.done():
                self.waking += 1
                future.set_result(None)
