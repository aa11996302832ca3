"""What a benchmark has found: figures of rounds, and their ratios, as text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

import rig
from rig import Kind

T = TypeVar("T")

_LEAST_SHARE = 0.9
"""Of its core, for a server that always has something to do."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    rounds: int

    scale: float
    """A part of the messages."""

    subject: Kind
    """The emulator, as it is started."""

    def messages(self, count: int) -> int:
        return max(100, int(count * self.scale))


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of each round for the emulator and for what it is measured against."""

    title: str

    unit: str

    peer: str

    pairs: list[tuple[float, float]]

    goal: str
    """The bound of the ratio, as in ``>= 0.75``; empty where none is set."""

    @property
    def ratio(self) -> float:
        return median(ours / theirs for ours, theirs in self.pairs)

    @property
    def is_met(self) -> bool:
        sign, _, bound = self.goal.partition(" ")
        return (
            self.ratio >= float(bound) if sign == ">=" else self.ratio <= float(bound)
        )

    def report(self) -> str:
        lines = [f"\n{self.title} ({self.unit})"]
        lines.append(f"  {'round':>6} {'emulator':>12} {self.peer:>12} {'ratio':>8}")
        for number, (ours, theirs) in enumerate(self.pairs, 1):
            figures = f"{_shown(ours):>12} {_shown(theirs):>12} {ours / theirs:8.2f}"
            lines.append(f"  {number:>6} {figures}")
        ours, theirs = (median(column) for column in zip(*self.pairs, strict=True))
        figures = f"{_shown(ours):>12} {_shown(theirs):>12} {self.ratio:8.2f}"
        lines.append(f"  median {figures}")
        if self.goal:
            verdict = "met" if self.is_met else "NOT met"
            lines.append(f"  goal: ratio {self.goal}: {verdict}")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast a server was that always had something to do, and at what cost."""

    messages: int

    took_s: float

    used_us: float
    """The server's processor time."""

    @property
    def per_second(self) -> float:
        return self.messages / self.took_s

    @property
    def cost_us(self) -> float:
        """Processor time per message: hardly changed by others' load."""
        return self.used_us / self.messages

    @property
    def share(self) -> float:
        """The part of its core that the server got."""
        return self.used_us / 1e6 / self.took_s


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:,.2f}"


def rates(
    rounds: list[tuple[Rate, Rate]], title: str, goal: float, *, peer: str = "thin"
) -> Iterator[Metric]:
    """Report the rates and the processor times of servers that never wait."""
    speeds = [(ours.per_second, theirs.per_second) for ours, theirs in rounds]
    costs = [(ours.cost_us, theirs.cost_us) for ours, theirs in rounds]
    yield Metric(title, "per second", peer, speeds, f">= {goal}")
    # The same goal, for a server that never waits.
    title = f"{title}, processor time"
    yield Metric(title, "us each", peer, costs, f"<= {1 / goal:.2f}")
    shares = [rate.share for pair in rounds for rate in pair]
    print(f"\nservers' share of their core: {min(shares):.0%} to {max(shares):.0%}")
    if min(shares) < _LEAST_SHARE:
        print("  others were at work on it: trust the processor time, not the rates")


def in_turns(
    plan: Plan, measure: Callable[[Kind], T], *, peer: Kind = rig.THIN
) -> list[tuple[T, T]]:
    """Measure A B A B …, and return a pair for each round."""
    return [(measure(plan.subject), measure(peer)) for _ in range(plan.rounds)]
