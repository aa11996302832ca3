"""The books: what was acknowledged, and what therefore must be so after a crash.

A call that got a 2xx has happened. One that got no answer, because the process was
killed, may have happened or not: both are right until somebody looks, and then what is
seen is what holds. Nothing here calls anybody.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ABSENT", "Books", "Cancel", "Change", "Plan", "Sent"]

ABSENT = None
"""The state of what isn't there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to become of a message."""

    failing: int = 0
    """How many of its deliveries the destination refuses, from the first."""

    retries: int = 0

    delay_s: float = 0.0

    hang_ms: int = 0
    """How long the destination takes to answer."""

    is_refused: bool = False
    """Nobody listens at its URL: no delivery arrives, and all fail."""

    queue: str | None = None

    flow_key: str | None = None

    calls_back: bool = False
    """Whether callback and failure callback are wanted."""

    @property
    def fails(self) -> bool:
        """Whether it ends in the DLQ."""
        return self.is_refused or self.failing > self.retries

    @property
    def last_retried(self) -> int:
        """The number of its last delivery."""
        return self.retries if self.is_refused else min(self.retries, self.failing)


@dataclass(slots=True, kw_only=True)
class Sent:
    """A call that publishes, and the messages that it was told of."""

    token: int
    """What its body says: tokens grow in the order of the calls."""

    plan: Plan

    sent_s: float

    copies: int = 1
    """How many messages it makes: of a URL group's endpoints each gets one."""

    acknowledged_s: float | None = None

    message_ids: list[str] = field(default_factory=list)
    """Empty: there was no answer."""


@dataclass(slots=True)
class Cancel:
    """A call that cancels a message."""

    asked_s: float

    acknowledged_s: float | None = None


@dataclass(slots=True)
class Change:
    """A call that brings something into a state."""

    kind: str

    name: str

    state: Hashable

    asked_s: float

    acknowledged_s: float | None = None


class Books:
    """Everything that was asked for, and what came of it."""

    def __init__(self) -> None:
        self.sent: dict[int, Sent] = {}
        self.owners: dict[str, Sent] = {}
        """Whose each acknowledged message is, by message id."""
        self.cancels: dict[str, Cancel] = {}
        self.changes: list[Change] = []
        self.in_doubt: set[int] = set()
        """Tokens of which a DLQ retry without an answer may have made another."""
        self.failed: dict[str, list[str]] = {}
        """The DLQ entries that were ever seen of each message."""
        self.finals: dict[str, float] = {}
        """Messages whose end was seen in the log, and when."""
        self.seen_keys: set[str] = set()
        """Signing keys that were in force at some time."""
        self.complaints: list[str] = []
        """What was wrong already while the load ran."""
        self.calls = 0
        self.unanswered = 0
        self._resources: dict[tuple[str, str], set[Hashable]] = {}

    def complain(self, text: str) -> None:
        """Write down what must not be."""
        self.complaints.append(text)

    # Messages

    def send(self, plan: Plan, now_s: float, *, copies: int = 1) -> Sent:
        """Open an entry for a call that is about to publish."""
        token = len(self.sent) + 1
        sent = Sent(token=token, plan=plan, sent_s=now_s, copies=copies)
        self.sent[sent.token] = sent
        return sent

    def acknowledge(self, sent: Sent, message_ids: Iterable[str], now_s: float) -> None:
        """Note the messages that a call's answer names."""
        sent.acknowledged_s = now_s
        for message_id in message_ids:
            sent.message_ids.append(message_id)
            if message_id in self.owners:
                self.complain(f"{message_id} was given to two publishes")
            self.owners[message_id] = sent

    def expected(self) -> Iterable[tuple[str, Sent]]:
        """Yield the messages that must have been delivered, cancelled ones aside."""
        for message_id, sent in self.owners.items():
            if message_id not in self.cancels:
                yield message_id, sent

    # Everything that has a state

    def put(self, kind: str, name: str, state: Hashable) -> None:
        """Note an acknowledged state."""
        self._resources[kind, name] = {state}

    def doubt(self, kind: str, name: str, state: Hashable) -> None:
        """Note a state that a call without an answer may have brought about."""
        self._resources.setdefault((kind, name), {ABSENT}).add(state)

    def known(self, kind: str, name: str) -> set[Hashable]:
        """Return the states that are possible."""
        return self._resources.get((kind, name), {ABSENT})

    def names(self, kind: str) -> list[str]:
        """Return what of a kind may be there."""
        return [
            name
            for (each, name), states in self._resources.items()
            if each == kind and states != {ABSENT}
        ]

    def compare(self, kind: str, found: dict[str, Any]) -> None:
        """Hold what is there against the books; what was in doubt is settled now."""
        expected = {name for each, name in self._resources if each == kind}
        for name in sorted(expected | found.keys()):
            state, possible = found.get(name, ABSENT), self.known(kind, name)
            if state not in possible:
                self.complain(f"{kind} {name} is {state}, not {_listed(possible)}")
            self.put(kind, name, state)


def _listed(states: set[Hashable]) -> str:
    return " or ".join(sorted(map(str, states)))
