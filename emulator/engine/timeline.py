"""The timeline: what falls due, and when. A data structure; it waits for nothing.

A heap of instants, and the keys of each. Equal instants come out in the order in which
they went in. Taking something out before its time is lazy: whoever made the timeline
says which entries still hold (``is_live``), the others are passed over when they come
up, and all is rebuilt when most of it is stale.

Messages wait here in great numbers, and many of them for the same instant. So a key
that is alone at its instant stands for itself, and only the second makes a list: a
third of the memory of an entry each in the heap, and the heap is smaller.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heapify, heappop, heappush

__all__ = ["Timeline", "earliest"]

_WORTH_REBUILDING = 64


def earliest(*instants_ms: int | None) -> int | None:
    """Return the first of some instants; ``None`` where there is none."""
    first_ms = None
    for ms in instants_ms:
        if ms is not None and (first_ms is None or ms < first_ms):
            first_ms = ms
    return first_ms


class Timeline:
    """Keys by the instant at which they fall due."""

    def __init__(self, is_live: Callable[[str, int], bool]) -> None:
        self._is_live = is_live
        self._instants: list[int] = []
        """A heap. Each instant is there once, and has keys."""
        self._keys: dict[int, str | list[str]] = {}
        self._front: deque[str] = deque()
        """The keys of an instant that has left the heap."""
        self._front_ms = 0
        self._length = 0
        self._stale = 0

    def __len__(self) -> int:
        """Return the number of entries, stale ones included."""
        return self._length

    def push(self, key: str, due_ms: int) -> None:
        """Let a key fall due at an instant."""
        self._length += 1
        keys = self._keys.get(due_ms)
        if keys is None:
            self._keys[due_ms] = key
            heappush(self._instants, due_ms)
        elif isinstance(keys, list):
            keys.append(key)
        else:
            self._keys[due_ms] = [keys, key]

    def note_stale(self) -> None:
        """Say that one entry no longer holds. Keeps the memory from filling up."""
        self._stale += 1
        if self._stale > _WORTH_REBUILDING and self._stale * 2 > self._length:
            self._rebuild()

    def next_due_ms(self) -> int | None:
        """Return the instant at which the next live key falls due."""
        while self._length:
            self._bring_to_front()
            if self._is_live(self._front[0], self._front_ms):
                return self._front_ms
            self._drop_first()
        return None

    def pop_due(self, now_ms: int) -> str | None:
        """Take out the first live key that has fallen due, if there is one."""
        while self._length and self._first_ms() <= now_ms:
            self._bring_to_front()
            if self._is_live(self._front[0], self._front_ms):
                self._length -= 1
                return self._front.popleft()
            self._drop_first()
        return None

    def _first_ms(self) -> int:
        """Return the first instant of all; there must be one."""
        if not self._front:
            return self._instants[0]
        if self._instants and self._instants[0] < self._front_ms:
            return self._instants[0]
        return self._front_ms

    def _bring_to_front(self) -> None:
        """Have the keys of the first instant at hand; there must be one."""
        instants = self._instants
        if self._front:
            if not instants or self._front_ms <= instants[0]:
                return
            # Something earlier came since: put back, before what came for this instant.
            later = self._keys.get(self._front_ms, [])
            if not later:
                heappush(instants, self._front_ms)
            later = later if isinstance(later, list) else [later]
            self._keys[self._front_ms] = [*self._front, *later]
        self._front_ms = heappop(instants)
        keys = self._keys.pop(self._front_ms)
        self._front = deque(keys if isinstance(keys, list) else (keys,))

    def _drop_first(self) -> None:
        self._front.popleft()
        self._length -= 1
        self._stale = max(0, self._stale - 1)

    def _rebuild(self) -> None:
        """Keep what holds, in its order."""
        if self._front:
            self._front = deque(
                key for key in self._front if self._is_live(key, self._front_ms)
            )
        length = len(self._front)
        kept: dict[int, str | list[str]] = {}
        for due_ms, keys in self._keys.items():
            keys = keys if isinstance(keys, list) else [keys]
            live = [key for key in keys if self._is_live(key, due_ms)]
            if live:
                kept[due_ms] = live[0] if len(live) == 1 else live
                length += len(live)
        self._keys = kept
        self._instants = list(kept)
        heapify(self._instants)
        self._length = length
        self._stale = 0
