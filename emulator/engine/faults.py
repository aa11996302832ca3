"""Faults at work: deliveries that go wrong as a fault script says.

``FaultScript`` holds the faults in force, of all users of an emulator;
``FaultyDelivery`` stands before a user's ``Delivery`` and does to it what the fault
that meets it says. Without any fault it is out of the way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace

from emulator.core.faults import Fault, FaultKind
from emulator.core.forgery import Variant
from emulator.core.model import Outcome, Progress, Responded, Unreachable
from emulator.engine.clock import VirtualClock
from emulator.engine.delivery import Delivery
from emulator.engine.ports import Clock, Entropy

__all__ = ["FaultScript", "FaultyDelivery"]

_VARIANTS = {
    FaultKind.WRONG_SIGNATURE: Variant.WRONG_KEY,
    FaultKind.EXPIRED_SIGNATURE: Variant.EXPIRED,
    FaultKind.NEXT_KEY: Variant.NEXT_KEY,
}

_CHANCE_BYTES = 6


class FaultScript:
    """The faults in force, in order: the first that meets a delivery counts.

    Starts with ``configured``, and returns to it on a reset.
    """

    def __init__(self, configured: Iterable[Fault], entropy: Entropy) -> None:
        self._configured = tuple(configured)
        self._entropy = entropy
        self._faults = list(self._configured)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What is in force; ``times`` counts down."""
        return tuple(self._faults)

    def add(self, fault: Fault) -> None:
        """Put a fault behind the others."""
        self._faults.append(fault)

    def clear(self) -> None:
        """End every fault."""
        self._faults.clear()

    def reset(self) -> None:
        """Have the configured faults again, and no others."""
        self._faults = list(self._configured)

    def draw(self, url: str) -> Fault | None:
        """Say which fault meets a delivery to a URL, and count it."""
        for index, fault in enumerate(self._faults):
            if not fault.fits(url) or self.chance() >= fault.probability:
                continue
            if fault.times is not None:
                if fault.times == 1:
                    del self._faults[index]
                else:
                    self._faults[index] = replace(fault, times=fault.times - 1)
            return fault
        return None

    def chance(self) -> float:
        """Return a number from 0 to below 1."""
        drawn = int.from_bytes(self._entropy.token_bytes(_CHANCE_BYTES), "big")
        return float(drawn / 256**_CHANCE_BYTES)


class FaultyDelivery:
    """Delivers as ``Delivery`` does, but for what the script says."""

    def __init__(self, delivery: Delivery, script: FaultScript, clock: Clock) -> None:
        self._delivery = delivery
        self._script = script
        self._clock = clock

    async def deliver(self, progress: Progress) -> Outcome:
        """Call the destination once; or twice, later, or not at all."""
        fault = self._script.draw(progress.message.url) if self._script.faults else None
        if fault is None:
            return await self._delivery.deliver(progress)
        match fault.kind:
            case FaultKind.LOST_ACKNOWLEDGEMENT:
                await self._delivery.deliver(progress)
                return Unreachable("fault: delivered, and the answer was lost")
            case FaultKind.DUPLICATE:
                outcome = await self._delivery.deliver(progress)
                await self._delivery.deliver(progress)
                return outcome
            case FaultKind.REORDER:
                await self._wait(int(self._script.chance() * fault.delay_ms))
                return await self._delivery.deliver(progress)
            case FaultKind.SLOW_START:
                await self._wait(fault.delay_ms)
                return await self._delivery.deliver(progress)
            case FaultKind.RATE_LIMIT:
                header = ("Retry-After", str(fault.retry_after_s))
                return Responded(429, header, b"", "Too Many Requests")
            case kind:
                return await self._delivery.deliver(progress, _VARIANTS[kind])

    async def _wait(self, delay_ms: int) -> None:
        when_ms = self._clock.now_ms() + delay_ms
        task = asyncio.current_task()
        if isinstance(self._clock, VirtualClock) and task is not None:
            # Whoever turns the clock need not wait for this delivery before then.
            await self._clock.sleep_before_answer(task, when_ms)
        else:
            await self._clock.sleep_until(when_ms)
