"""Flow control: may a message with this key be delivered now, and if not, when?

A key carries two limits that are independent of each other: *parallelism* (how many
deliveries may be under way at once, FLC-5) and *rate* (how many may start within a
period, FLC-6). Both are decided here and nowhere else, from the key's limits, its
counters and the present instant.

The period is a fixed window that opens with its first delivery; it doesn't slide
(Q-24). A burst across a window's boundary is therefore possible.

Nothing here waits, counts or stores: it answers. The gate holds the counters.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from emulator.core.model import FlowControl
from emulator.core.resources import FlowKey

__all__ = [
    "ADMITTED",
    "NO_USAGE",
    "Admitted",
    "FlowUsage",
    "Held",
    "admit",
    "configure",
    "count_start",
    "pin",
    "started_in_period",
    "unpin",
]


class FlowUsage(NamedTuple):
    """What of a key's limits is used."""

    in_flight: int = 0
    """Deliveries under way."""

    started: int = 0
    """Deliveries that started since the window opened."""

    period_start_ms: int | None = None
    """When the window opened. ``None``: none has."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """It may start now."""


class Held(NamedTuple):
    """It may not start now."""

    until_ms: int | None = None
    """When to ask again. ``None``: when something about the key has changed."""


ADMITTED = Admitted()

NO_USAGE = FlowUsage()
"""Of a key that nobody has used."""


def admit(key: FlowKey, usage: FlowUsage, now_ms: int) -> Admitted | Held:
    """Say whether a delivery may start: both limits must allow it (FLC-7, FLC-23)."""
    if key.is_paused:
        return Held()
    if key.parallelism is not None and usage.in_flight >= key.parallelism:
        return Held()
    if key.rate is not None and started_in_period(key, usage, now_ms) >= key.rate:
        return Held(until_ms=_period_end_ms(key, usage))
    return ADMITTED


def started_in_period(key: FlowKey, usage: FlowUsage, now_ms: int) -> int:
    """Return the starts of the window still open; 0 once it has passed (FLC-30)."""
    return usage.started if now_ms < (_period_end_ms(key, usage) or 0) else 0


def count_start(key: FlowKey, usage: FlowUsage, now_ms: int) -> FlowUsage:
    """Return the counters after a start: it may open a new window (FLC-6)."""
    is_open = now_ms < (_period_end_ms(key, usage) or 0)
    return FlowUsage(
        in_flight=usage.in_flight + 1,
        started=usage.started + 1 if is_open else 1,
        period_start_ms=usage.period_start_ms if is_open else now_ms,
    )


def configure(key: FlowKey | None, wanted: FlowControl) -> FlowKey:
    """Return a key as the latest message configures it (FLC-4).

    A limit that the message lacks is unset; what is pinned stays (FLC-24).
    """
    if key is None:
        key = FlowKey(key=wanted.key)
    if not key.is_pinned_parallelism:
        key = replace(key, parallelism=wanted.parallelism)
    if not key.is_pinned_rate:
        key = replace(key, rate=wanted.rate, period_s=wanted.period_s)
    return key


def pin(
    key: FlowKey, *, parallelism: int | None, rate: int | None, period_s: int | None
) -> FlowKey:
    """Pin what is given; a period belongs to the rate (FLC-24)."""
    if parallelism is not None:
        key = replace(key, parallelism=parallelism, is_pinned_parallelism=True)
    if rate is not None or period_s is not None:
        key = replace(
            key,
            rate=key.rate if rate is None else rate,
            period_s=key.period_s if period_s is None else period_s,
            is_pinned_rate=True,
        )
    return key


def unpin(key: FlowKey, *, parallelism: bool, rate: bool) -> FlowKey:
    """Let messages change what was pinned; its values stay until then (FLC-25)."""
    return replace(
        key,
        is_pinned_parallelism=key.is_pinned_parallelism and not parallelism,
        is_pinned_rate=key.is_pinned_rate and not rate,
    )


def _period_end_ms(key: FlowKey, usage: FlowUsage) -> int | None:
    if usage.period_start_ms is None:
        return None
    return usage.period_start_ms + key.period_s * 1000
