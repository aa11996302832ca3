"""What the engine asks of the world. Nothing else is in this file."""

from __future__ import annotations

from typing import Protocol

from emulator.core.model import Outcome, Outgoing

__all__ = ["Clock", "Entropy", "Transport"]


class Clock(Protocol):
    """Time, in Unix milliseconds. Absolute: no relative waits, no drift."""

    def now_ms(self) -> int:
        """Return the present instant."""

    async def sleep_until(self, when_ms: int) -> None:
        """Return once ``now_ms()`` has reached ``when_ms``."""


class Entropy(Protocol):
    """Chance."""

    def token_bytes(self, count: int) -> bytes:
        """Return ``count`` bytes that nobody can foretell, or that a seed decides."""


class Transport(Protocol):
    """The way to destinations."""

    async def send(self, request: Outgoing) -> Outcome:
        """Make one HTTP call. Never raises for what a destination does.

        Doesn't watch the time: the engine cancels a call that takes too long.
        """

    async def close(self) -> None:
        """Close what is open. No call may be under way."""
