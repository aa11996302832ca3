"""Cancelling many messages: which of them, in which order, how many at a time.

What becomes of each is decided in ``core/lifecycle.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

from emulator.core import lifecycle
from emulator.core.filters import MessageSelection
from emulator.core.model import Progress
from emulator.core.transition import Transition
from emulator.engine.ports import Clock
from emulator.engine.slices import Sliced
from emulator.engine.store import Store

__all__ = ["can_be_cancelled", "cancel_selected"]

_SLICE = 200
"""Messages that are looked at: if all are cancelled, it takes ten milliseconds."""


def can_be_cancelled(progress: Progress) -> bool:
    """MSG-15, MSG-24: not when final, nor when cancelled already."""
    return not progress.is_final and not progress.cancel_requested


def cancel_selected(
    selection: MessageSelection,
    *,
    store: Store,
    clock: Clock,
    commit: Callable[[Transition], None],
) -> Sliced[int]:
    """Cancel the selected messages, oldest first, and return how many (MSG-20).

    Each slice is a change of its own, and messages that come meanwhile are left alone.
    """
    candidates: Iterable[str] = store.message_ids()
    if selection.message_ids and selection.count is None:
        candidates = dict.fromkeys(selection.message_ids)
    left, cancelled = iter(candidates), 0
    while message_ids := tuple(islice(left, _SLICE)):
        now_ms = clock.now_ms()
        transitions: list[Transition] = []
        for message_id in message_ids:
            if cancelled + len(transitions) == selection.count:
                break
            progress = store.progress(message_id, now_ms)
            if (
                progress is not None
                and can_be_cancelled(progress)
                and selection.matches(progress.message)
            ):
                transitions.append(lifecycle.cancel(progress, now_ms=now_ms))
        if transitions:
            commit(Transition.merge(transitions))
            cancelled += len(transitions)
        if cancelled == selection.count:
            break
        yield
    return cancelled
