"""What an engine gets back at its start, and the journal that keeps nothing.

The journal itself is a port (``ports.py``). Here is what passes through it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from emulator.core.model import (
    Deduplication,
    DlqEntry,
    LogEntry,
    Message,
    Progress,
    SigningKeys,
)
from emulator.core.resources import FlowKey, Queue, Schedule, UrlGroup
from emulator.core.transition import Transition
from emulator.engine.ports import Journal

__all__ = ["NO_JOURNAL", "Horizon", "NoJournal", "Saved"]


class Horizon(NamedTuple):
    """What of a user's state has been forgotten, and needs no keeping."""

    now_ms: int

    first_log_sequence: int
    """The oldest log entry that is kept."""

    dlq_from_ms: int
    """DLQ entries that failed until then have expired (LIM-6)."""

    grace_from_ms: int
    """Messages that have been final since then can't be read any more (MSG-8)."""


class Saved(NamedTuple):
    """A user's state as it was kept."""

    progress: Sequence[Progress] = ()
    """Of the messages that aren't final, and of some that are; oldest first."""

    sources: Sequence[Message] = ()
    """Final messages whose callbacks aren't."""

    log: Sequence[LogEntry] = ()

    first_log_sequence: int = 0

    dlq: Sequence[DlqEntry] = ()
    """Oldest first."""

    windows: Sequence[Deduplication] = ()
    """The first to end comes first."""

    keys: SigningKeys | None = None
    """The signing keys, if they were rotated …"""

    keys_before: SigningKeys | None = None
    """… and those that the user had by configuration then."""

    queues: Sequence[Queue] = ()
    """In order of creation; so are the others."""

    url_groups: Sequence[UrlGroup] = ()

    flow_keys: Sequence[FlowKey] = ()

    schedules: Sequence[Schedule] = ()

    periods: Sequence[tuple[str, int, int]] = ()
    """Flow-control keys, the starts in their last period, and when it began."""

    today: tuple[int, int] | None = None
    """A day, counted from 1970, and how many messages were published on it."""


class NoJournal(Journal):
    """Keeps nothing, and is always done with it."""

    @property
    def is_written(self) -> bool:
        return True

    def attach(self, user: str, horizon: Callable[[], Horizon]) -> None:
        pass

    def append(self, user: str, transition: Transition) -> None:
        pass

    def note_keys(self, user: str, keys: SigningKeys) -> None:
        pass

    def note_period(self, user: str, key: str, started: int, since_ms: int) -> None:
        pass

    def note_today(self, user: str, day: int, messages: int) -> None:
        pass

    def load(self, user: str) -> Saved:
        return Saved()

    async def flushed(self) -> None:
        pass


NO_JOURNAL = NoJournal()
