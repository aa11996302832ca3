"""What an engine gets back at its start, and the journal that keeps nothing.

The journal itself is a port (``ports.py``). Here is what passes through it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, overload

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

__all__ = ["NO_JOURNAL", "Horizon", "NoJournal", "Saved", "Told"]

T = TypeVar("T")


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
    """A user's state as it was kept; or as it is, to be kept elsewhere."""

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


class Told(Sequence[T]):
    """Values that are told by others, and made when somebody asks for them.

    So a state is taken in one go, however much there is of it.
    """

    def __init__(self, items: Sequence[Any], tell: Callable[[Any], T]) -> None:
        self._items = items
        self._tell = tell

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        return map(self._tell, self._items)

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...

    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if isinstance(index, slice):
            return Told(self._items[index], self._tell)
        return self._tell(self._items[index])


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

    def replace(self, states: Mapping[str, Saved]) -> None:
        pass

    async def flushed(self) -> None:
        pass


NO_JOURNAL = NoJournal()
