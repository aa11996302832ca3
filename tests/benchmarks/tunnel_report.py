"""Figures of several ways, round by round, and what they are held against.

A ratio is the median of the rounds' ratios, each of two ways in one round. Printed as
text, kept as JSON, and summed up in the tables of the docs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

__all__ = ["Goal", "Metric", "tables"]

_OURS = "qemu"


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound of ``qemu``'s figure, or of its ratio to another way's."""

    sign: str
    """``<=`` or ``>=``."""

    bound: float

    against: str | None = None
    """The other way; ``None``: the figure itself is bounded."""

    def is_met(self, value: float) -> bool:
        return value >= self.bound if self.sign == ">=" else value <= self.bound

    def __str__(self) -> str:
        sign = "≥" if self.sign == ">=" else "≤"
        return f"{sign} {self.bound:g}" + (f" x {self.against}" if self.against else "")


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of each round, for each way."""

    title: str

    unit: str

    rounds: list[dict[str, float]]

    goals: Sequence[Goal] = ()

    @property
    def ways(self) -> list[str]:
        return list(self.rounds[0])

    def median(self, way: str) -> float:
        return median(figures[way] for figures in self.rounds)

    def ratios(self, against: str) -> list[float]:
        """Return ``qemu``'s ratio to another way, of each round."""
        return [figures[_OURS] / figures[against] for figures in self.rounds]

    def value(self, goal: Goal) -> float | None:
        """Return what a goal bounds; ``None`` where the other way is left out."""
        if goal.against is None:
            return self.median(_OURS)
        return median(self.ratios(goal.against)) if goal.against in self.ways else None

    def report(self) -> str:
        """Return all rounds, the medians, the ratios, and whether the goals are met."""
        ways = self.ways
        lines = [f"\n{self.title} ({self.unit})"]
        lines.append("   round" + "".join(f"{way:>13}" for way in ways))
        for number, figures in enumerate(self.rounds, 1):
            row = "".join(f"{_shown(figures[way]):>13}" for way in ways)
            lines.append(f"{number:>8}{row}")
        row = "".join(f"{_shown(self.median(way)):>13}" for way in ways)
        lines.append(f"  median{row}")
        if _OURS in ways and len(ways) > 1:
            row = "".join(
                f"{'' if way == _OURS else f'{median(self.ratios(way)):.2f}':>13}"
                for way in ways
            )
            lines.append(f"  qemu x{row}")
        for goal in self.goals:
            value = self.value(goal)
            if value is None:
                lines.append(f"  goal: {goal}: not measured")
            else:
                verdict = "met" if goal.is_met(value) else "NOT met"
                lines.append(f"  goal: {goal}: {_shown(value)}: {verdict}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return all of it, for a file."""
        goals = []
        for goal in self.goals:
            value = self.value(goal)
            is_met = None if value is None else goal.is_met(value)
            goals.append({"goal": str(goal), "value": value, "isMet": is_met})
        return {
            "title": self.title,
            "unit": self.unit,
            "rounds": self.rounds,
            "goals": goals,
        }

    def rows(self) -> list[str]:
        """Return its rows of the docs' table of goals: one for each, or one without."""
        rows = []
        for goal in self.goals or (None,):
            cells = [f"{self.title}, {self.unit}", _shown(self.median(_OURS)), "", ""]
            if goal is None or goal.against is None:
                cells[3] = self._spread([figures[_OURS] for figures in self.rounds])
                if len(self.ways) == 2:
                    (other,) = (way for way in self.ways if way != _OURS)
                    cells[2] = f"{other} {_shown(self.median(other))}"
            elif goal.against in self.ways:
                beside = _shown(self.median(goal.against))
                cells[2] = f"{goal.against} {beside}"
                ratios = self.ratios(goal.against)
                cells[3] = f"{median(ratios):.2f} x, {self._spread(ratios)}"
            value = None if goal is None else self.value(goal)
            if goal is None:
                cells += ["", ""]
            elif value is None:
                cells += [str(goal), "not measured"]
            else:
                cells += [str(goal), "met" if goal.is_met(value) else "not met"]
            rows.append(_row(cells))
        return rows

    @staticmethod
    def _spread(values: Sequence[float]) -> str:
        return f"{_shown(min(values))} to {_shown(max(values))}"


def tables(metrics: Sequence[Metric]) -> str:
    """Return the docs' two tables: all ways side by side, and what was aimed at."""
    several = [metric for metric in metrics if len(metric.ways) > 2]
    lines = []
    if several:
        ways = max((metric.ways for metric in several), key=len)
        lines += [_row(["what", *ways]), _row(["---"] + ["---:"] * len(ways))]
        for metric in several:
            figures = [
                _shown(metric.median(way)) if way in metric.ways else "" for way in ways
            ]
            lines.append(_row([f"{metric.title}, {metric.unit}", *figures]))
        lines.append("")
    lines.append(_row(["what", _OURS, "beside", "rounds", "goal", ""]))
    lines.append(_row(["---"] * 6))
    for metric in metrics:
        if _OURS in metric.ways and (metric.goals or metric not in several):
            lines += metric.rows()
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _shown(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2g}" if value < 1 else f"{value:.3g}"
