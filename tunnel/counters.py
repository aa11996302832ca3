"""What a relay counts, whether or not somebody collects it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

__all__ = ["Counters"]


@dataclass(slots=True)
class Counters:
    """Since the relay's start."""

    requests: int = 0
    """That went into a tunnel."""

    answers: Counter[int] = field(default_factory=Counter)
    """By the hundreds of their status: 2 for 2xx."""

    failures: Counter[str] = field(default_factory=Counter)
    """By the end that failed: relay, link, local, access."""

    links: int = 0
    """Sessions begun."""

    resumes: int = 0
    """Sessions that went on with a new socket."""

    def answered(self, status: int) -> None:
        """Count an answer of a local server."""
        self.answers[status // 100] += 1

    def failed(self, end: bytes) -> None:
        """Count an answer that the relay made itself."""
        self.failures[end.decode()] += 1
