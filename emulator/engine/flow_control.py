"""The verbs of flow control: what may be done with its keys (contract section 21).

Whether a message may start is decided in ``core/flow.py``, and when it does in
``gate.py``, which holds the counters of what is under way and of the open periods.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from emulator.core import flow
from emulator.core.resources import FlowKey
from emulator.core.transition import Transition
from emulator.engine.gate import Gate
from emulator.engine.ports import Clock
from emulator.engine.scheduler import Scheduler
from emulator.engine.store import Store
from emulator.errors import NotFound

__all__ = ["FlowControl", "FlowKeyView"]


class FlowKeyView(NamedTuple):
    """A key, and how much of it is used."""

    key: FlowKey
    usage: flow.FlowUsage
    waitlist_size: int


class FlowControl:
    """The flow-control keys of one user."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        commit: Callable[[Transition], None],
        gate: Gate,
        scheduler: Scheduler,
    ) -> None:
        self._store = store
        self._clock = clock
        self._commit = commit
        self._gate = gate
        self._scheduler = scheduler

    def get(self, name: str) -> FlowKeyView:
        """Return a key (FLC-22)."""
        key = self._store.flow_keys.get(name)
        if key is None:
            raise NotFound("flow control key", name)
        return self._view(key)

    def list(self, search: str = "") -> Sequence[FlowKeyView]:
        """Return the keys that contain a text (FLC-22)."""
        return [
            self._view(key)
            for name, key in self._store.flow_keys.items()
            if search in name
        ]

    def set_paused(self, name: str, is_paused: bool) -> None:
        """Pause or resume a key (FLC-23). Pausing an unknown one makes it (FLC-28)."""
        key = self._store.flow_keys.get(name)
        if key is None:
            if not is_paused:
                return
            key = FlowKey(key=name)
        self._commit(Transition(flow_keys=(replace(key, is_paused=is_paused),)))

    def pin(
        self,
        name: str,
        *,
        parallelism: int | None,
        rate: int | None,
        period_s: int | None,
    ) -> None:
        """Pin what is given (FLC-24). Makes an unknown key (FLC-28)."""
        key = self._store.flow_keys.get(name) or FlowKey(key=name)
        pinned = flow.pin(key, parallelism=parallelism, rate=rate, period_s=period_s)
        self._gate.reset_rate(name, self._clock.now_ms())
        self._commit(Transition(flow_keys=(pinned,)))

    def unpin(self, name: str, *, parallelism: bool, rate: bool) -> None:
        """Unpin (FLC-25). Does nothing for an unknown key (FLC-28)."""
        key = self._store.flow_keys.get(name)
        if key is not None:
            unpinned = flow.unpin(key, parallelism=parallelism, rate=rate)
            self._commit(Transition(flow_keys=(unpinned,)))

    def reset_rate(self, name: str) -> None:
        """Begin a new period (FLC-27). Does nothing for an unknown key (FLC-28)."""
        if name in self._store.flow_keys:
            self._gate.reset_rate(name, self._clock.now_ms())
            self._scheduler.pump()

    @property
    def active(self) -> int:
        """How many deliveries are under way, with or without a key (FLC-29)."""
        return self._gate.active

    def _view(self, key: FlowKey) -> FlowKeyView:
        return FlowKeyView(
            key, self._gate.usage(key.key), self._gate.waitlist_size(key.key)
        )
