"""The tenants: one engine for each user, all on one clock and one feed.

Users share nothing else (AUTH-8): isolation by construction, not by filters.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Iterable
from typing import NamedTuple

from emulator.engine.advance import advance
from emulator.engine.clock import VirtualClock
from emulator.engine.engine import Engine
from emulator.engine.faults import FaultScript
from emulator.engine.feed import Feed
from emulator.engine.importing import Imported
from emulator.engine.persistence import NO_JOURNAL, Saved
from emulator.engine.ports import Clock, Journal
from emulator.errors import Conflict

__all__ = ["Access", "Counts", "Tenant", "Tenants"]


class Access(NamedTuple):
    """What a token opens."""

    engine: Engine

    is_read_only: bool


class Tenant(NamedTuple):
    """A user's engine, and the tokens that open it."""

    engine: Engine

    token: str

    read_only_token: str | None = None


class Counts(NamedTuple):
    """How much there is, over all users."""

    pending: int

    dlq: int

    schedules: int


class Tenants:
    """Every user's engine, by token."""

    def __init__(
        self,
        tenants: Iterable[Tenant],
        *,
        clock: Clock,
        feed: Feed,
        faults: FaultScript,
        journal: Journal = NO_JOURNAL,
    ) -> None:
        tenants = tuple(tenants)
        self.engines = tuple(tenant.engine for tenant in tenants)
        """All of them, the default user's first."""
        self._accesses = tuple(
            (token.encode(), Access(tenant.engine, is_read_only))
            for tenant in tenants
            for token, is_read_only in (
                (tenant.token, False),
                (tenant.read_only_token, True),
            )
            if token is not None
        )
        self.clock = clock
        self.feed = feed
        self.faults = faults
        self.journal = journal
        self._turning = asyncio.Lock()
        self._is_held = False

    def access(self, token: str) -> Access | None:
        """Return what a token opens; takes as long for every token."""
        given = token.encode("utf-8", "surrogateescape")
        found = None
        for known, access in self._accesses:
            if hmac.compare_digest(known, given):
                found = access
        return found

    @property
    def pending(self) -> int:
        """How many messages aren't final."""
        return sum(engine.pending for engine in self.engines)

    @property
    def pending_bytes(self) -> int:
        """About how much memory they take."""
        return sum(engine.pending_bytes for engine in self.engines)

    @property
    def log_dropped(self) -> int:
        """How many log entries had to go for others."""
        return sum(engine.log_dropped for engine in self.engines)

    @property
    def dlq_dropped(self) -> int:
        """How many entries of the DLQs had to."""
        return sum(engine.dlq_dropped for engine in self.engines)

    @property
    def in_flight(self) -> int:
        """How many deliveries are under way."""
        return sum(engine.scheduler.in_flight for engine in self.engines)

    def counts(self) -> Counts:
        """Return how much there is."""
        return Counts(
            self.pending,
            sum(engine.dlq.count() for engine in self.engines),
            sum(len(engine.schedules.list()) for engine in self.engines),
        )

    def restore(self) -> None:
        """Let every user have what the journal kept. Raises ``JournalError``."""
        for engine in self.engines:
            engine.restore()

    def suspend(self) -> None:
        """Drop the deliveries under way, and start none until ``resume``."""
        for engine in self.engines:
            engine.scheduler.suspend()

    def resume(self) -> None:
        """After ``restore``: go on where it was left, deliveries cut off included."""
        for engine in self.engines:
            engine.recover()
            engine.scheduler.resume()

    def reset(self) -> None:
        """Make every user's state, and the faults, as they were at the start."""
        self.faults.reset()
        self.feed.forget()
        for engine in self.engines:
            engine.reset()

    def saved(self) -> dict[str, Saved]:
        """Return every user's state of this instant, by name."""
        return {engine.user: engine.saved() for engine in self.engines}

    def replace(self, imported: Imported, *, may_overwrite: bool) -> None:
        """Let users have the states of a file; who isn't in it keeps theirs.

        The journal has all of it, or none. Messages that fell due by the clock are
        delivered at once; so are those whose deliveries were under way. A clock that
        isn't the machine's goes to the file's instant, unless it is beyond it. Nothing
        of it is announced: it is no news.

        Raises ``Conflict`` where that would overwrite something, and ``NotStored``;
        then nothing has changed.
        """
        states = imported.states
        engines = [engine for engine in self.engines if engine.user in states]
        for engine in engines:
            if not (may_overwrite or engine.is_new):
                raise Conflict(
                    f"user {engine.user} has state already, which the import would "
                    "replace: allow it with replace=true"
                )
        self.journal.replace(states)
        self.feed.forget()
        for engine in engines:
            engine.replace(states[engine.user])
        self.clock.begin(imported.time_ms)
        for engine in engines:
            engine.recover()
            engine.scheduler.pump()

    def hold(self) -> None:
        """From now on deliver only while the clock is being turned.

        So that whoever turns it does nothing else meanwhile: a test, for one, whose
        own steps and its app's deliveries would otherwise happen at once.
        """
        self._is_held = True
        for engine in self.engines:
            engine.scheduler.stop()

    async def advance(
        self,
        to_ms: int | None,
        *,
        by_ms: int | None = None,
        grace_s: float | None = None,
        most_jumps: int | None = None,
    ) -> None:
        """Turn the virtual clock to an instant; with ``None`` until all is idle.

        With ``by_ms`` to the instant so much later than when it is this call's turn.
        Returns when all that fell due has settled. A destination that doesn't answer
        is waited for ``grace_s`` real seconds. Raises ``Conflict`` on a real clock,
        for an instant that has passed, and where there is no end to the work.
        """
        clock = self.clock
        if not isinstance(clock, VirtualClock):
            raise Conflict("the clock is real and can't be advanced: use a virtual one")
        # Two that turn one clock would each find that the other has turned it.
        async with self._turning:
            if by_ms is not None:
                to_ms = clock.now_ms() + by_ms
            if to_ms is not None and to_ms < clock.now_ms():
                raise Conflict(
                    f"the clock can't go back: it is at {clock.now_ms()}, after {to_ms}"
                )
            schedulers = [engine.scheduler for engine in self.engines]
            if self._is_held:
                for scheduler in schedulers:
                    scheduler.start()
            try:
                await advance(
                    clock,
                    schedulers,
                    to_ms=to_ms,
                    grace_s=grace_s,
                    most_jumps=most_jumps,
                )
            finally:
                if self._is_held:
                    for scheduler in schedulers:
                        scheduler.stop()
