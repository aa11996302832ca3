"""The tenants: one engine for each user, all on one clock and one feed.

Users share nothing else (AUTH-8): isolation by construction, not by filters.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Iterable

from emulator.engine.advance import advance
from emulator.engine.clock import VirtualClock
from emulator.engine.engine import Engine
from emulator.engine.feed import Feed
from emulator.engine.ports import Clock
from emulator.errors import Conflict

__all__ = ["Tenants"]


class Tenants:
    """Every user's engine, by token."""

    def __init__(
        self, engines: Iterable[tuple[str, Engine]], *, clock: Clock, feed: Feed
    ) -> None:
        self._engines = tuple((token.encode(), engine) for token, engine in engines)
        self.clock = clock
        self.feed = feed
        self._turning = asyncio.Lock()

    def engine_of(self, token: str) -> Engine | None:
        """Return the engine of a token's user; takes as long for every token."""
        given = token.encode("utf-8", "surrogateescape")
        found = None
        for known, engine in self._engines:
            if hmac.compare_digest(known, given):
                found = engine
        return found

    @property
    def engines(self) -> tuple[Engine, ...]:
        """All of them, the default user's first."""
        return tuple(engine for _, engine in self._engines)

    @property
    def pending(self) -> int:
        """How many messages aren't final."""
        return sum(engine.pending for engine in self.engines)

    @property
    def in_flight(self) -> int:
        """How many deliveries are under way."""
        return sum(engine.scheduler.in_flight for engine in self.engines)

    def reset(self) -> None:
        """Make every user's state as it was at the start."""
        for engine in self.engines:
            engine.reset()

    async def advance(self, to_ms: int | None) -> None:
        """Turn the virtual clock to an instant; with ``None`` until all is idle.

        Returns when all that fell due has settled. Raises ``Conflict`` on a real
        clock, for an instant that has passed, and where there is no end to the work.
        """
        clock = self.clock
        if not isinstance(clock, VirtualClock):
            raise Conflict("the clock is real and can't be advanced: use a virtual one")
        # Two that turn one clock would each find that the other has turned it.
        async with self._turning:
            if to_ms is not None and to_ms < clock.now_ms():
                raise Conflict(
                    f"the clock can't go back: it is at {clock.now_ms()}, after {to_ms}"
                )
            schedulers = [engine.scheduler for engine in self.engines]
            await advance(clock, schedulers, to_ms=to_ms)
