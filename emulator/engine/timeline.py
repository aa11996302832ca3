"""The timeline: what falls due, and when. A data structure; it waits for nothing.

A heap of instants and keys. Equal instants come out in the order in which they went
in. Taking something out before its time is lazy: whoever made the timeline says
which entries still hold (``is_live``), the others are passed over when they come up,
and the heap is rebuilt when most of it is stale.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush

__all__ = ["Timeline", "earliest"]

_WORTH_REBUILDING = 64


def earliest(*instants_ms: int | None) -> int | None:
    """Return the first of some instants; ``None`` where there is none."""
    return min((ms for ms in instants_ms if ms is not None), default=None)


class Timeline:
    """Keys by the instant at which they fall due."""

    def __init__(self, is_live: Callable[[str, int], bool]) -> None:
        self._is_live = is_live
        self._heap: list[tuple[int, int, str]] = []
        self._count = 0
        self._stale = 0

    def __len__(self) -> int:
        """Return the number of entries, stale ones included."""
        return len(self._heap)

    def push(self, key: str, due_ms: int) -> None:
        """Let a key fall due at an instant."""
        self._count += 1
        heappush(self._heap, (due_ms, self._count, key))

    def note_stale(self) -> None:
        """Say that one entry no longer holds. Keeps the heap from filling with them."""
        self._stale += 1
        if self._stale > _WORTH_REBUILDING and self._stale * 2 > len(self._heap):
            self._heap = [
                entry for entry in self._heap if self._is_live(entry[2], entry[0])
            ]
            heapify(self._heap)
            self._stale = 0

    def next_due_ms(self) -> int | None:
        """Return the instant at which the next live key falls due."""
        heap = self._heap
        while heap and not self._is_live(heap[0][2], heap[0][0]):
            heappop(heap)
            self._stale = max(0, self._stale - 1)
        return heap[0][0] if heap else None

    def pop_due(self, now_ms: int) -> str | None:
        """Take out the first live key that has fallen due, if there is one."""
        heap = self._heap
        while heap and heap[0][0] <= now_ms:
            due_ms, _, key = heappop(heap)
            if self._is_live(key, due_ms):
                return key
            self._stale = max(0, self._stale - 1)
        return None
