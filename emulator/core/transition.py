"""A change of state, as a value: what ``engine.commit`` applies, whole or not."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

from emulator.core.model import (
    Deduplication,
    DlqEntry,
    LogEntry,
    Progress,
    SigningKeys,
)
from emulator.core.resources import FlowKey, Queue, Schedule, UrlGroup

__all__ = ["Transition"]


class Transition(NamedTuple):
    """A change of state, whole: all that one fact brings about.

    The parts are applied together or not at all.
    """

    progress: tuple[Progress, ...] = ()
    """Messages that are new, or moved."""

    log: tuple[LogEntry, ...] = ()
    """In causal order."""

    dlq_added: tuple[DlqEntry, ...] = ()

    dlq_removed: tuple[str, ...] = ()

    deduplications: tuple[Deduplication, ...] = ()

    keys: SigningKeys | None = None

    queues: tuple[Queue, ...] = ()
    """New or changed."""

    queues_removed: tuple[str, ...] = ()

    url_groups: tuple[UrlGroup, ...] = ()
    """New or changed."""

    url_groups_removed: tuple[str, ...] = ()

    flow_keys: tuple[FlowKey, ...] = ()
    """New or changed."""

    schedules: tuple[Schedule, ...] = ()
    """New or changed."""

    schedules_removed: tuple[str, ...] = ()

    reset: bool = False
    """Forget everything first."""

    @classmethod
    def merge(cls, parts: Sequence[Transition]) -> Transition:
        """Make one transition of several, in order.

        Raises ``ValueError`` where one after the first forgets everything.
        """
        if len(parts) == 1:
            return parts[0]
        if any(part.reset for part in parts[1:]):
            raise ValueError("a reset comes first")
        joined = {
            name: tuple(chain.from_iterable(getattr(part, name) for part in parts))
            for name in _JOINED
        }
        keys = next((part.keys for part in reversed(parts) if part.keys), None)
        return cls(keys=keys, reset=any(part.reset for part in parts[:1]), **joined)


_JOINED = tuple(name for name in Transition._fields if name not in ("keys", "reset"))
