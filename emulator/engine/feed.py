"""The feed: log entries to whoever listens, as they are written.

One feed for all users of an emulator. It never blocks and never grows: each
listener has a bounded queue, and what a slow one misses is counted. The last
entries stay for a listener that comes back (``Last-Event-ID``).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from types import TracebackType
from typing import NamedTuple

from emulator.core.model import LogEntry

__all__ = ["Feed", "FeedItem", "Subscription"]

_QUEUE_LENGTH = 20_000
_KEPT = 5_000

_MAX_BATCH = 200
_MAX_BATCH_BYTES = 1 << 20
"""Whoever makes text of a batch lets nothing else run."""

_MAX_BYTES = 1 << 26
"""Of what waits for one listener, and of what is kept."""


class FeedItem(NamedTuple):
    """A log entry, numbered over all users of the emulator."""

    sequence: int

    user: str

    entry: LogEntry

    size_bytes: int
    """The entry's, told once for all who ask."""


class Subscription:
    """One listener's queue. Iterate over it for lists of items, oldest first.

    What a listener hasn't asked for stays here, within the bounds. Whoever writes
    without having to wait lets others run in between.
    """

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._items: deque[FeedItem] = deque()
        self._bytes = 0
        self._dropped = 0
        self._arrived = asyncio.Event()
        self._is_closed = False

    async def __aenter__(self) -> Subscription:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __aiter__(self) -> AsyncIterator[list[FeedItem]]:
        return self

    async def __anext__(self) -> list[FeedItem]:
        while not self._items:
            if self._is_closed:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        items: list[FeedItem] = []
        room_bytes = _MAX_BATCH_BYTES
        while self._items and len(items) < _MAX_BATCH and room_bytes > 0:
            items.append(self._items.popleft())
            room_bytes -= items[-1].size_bytes
        self._bytes -= _MAX_BATCH_BYTES - room_bytes
        return items

    def take_dropped(self) -> int:
        """Return how many items were lost since the last call: this one is slow."""
        dropped, self._dropped = self._dropped, 0
        return dropped

    def close(self) -> None:
        """Stop listening. What has arrived can still be read."""
        self._is_closed = True
        self._feed.remove(self)
        self._arrived.set()

    def put(self, item: FeedItem) -> None:
        """Take an item in; drop the oldest if there is no room."""
        self._bytes += item.size_bytes
        while self._items and (
            len(self._items) >= _QUEUE_LENGTH or self._bytes > _MAX_BYTES
        ):
            self._bytes -= self._items.popleft().size_bytes
            self._dropped += 1
        self._items.append(item)
        self._arrived.set()

    def note_missed(self, count: int) -> None:
        """Count items that were gone before they could be put."""
        self._dropped += count


class Feed:
    """Where log entries are announced."""

    def __init__(self) -> None:
        self._subscriptions: set[Subscription] = set()
        self._kept: deque[FeedItem] = deque()
        self._kept_bytes = 0
        self._next = 1

    def emit(self, user: str, entries: Iterable[LogEntry]) -> None:
        """Announce entries of a user, in order."""
        for entry in entries:
            item = FeedItem(self._next, user, entry, entry.size_bytes)
            self._next += 1
            self._keep(item)
            for subscription in self._subscriptions:
                subscription.put(item)

    def _keep(self, item: FeedItem) -> None:
        self._kept_bytes += item.size_bytes
        while self._kept and (
            len(self._kept) >= _KEPT or self._kept_bytes > _MAX_BYTES
        ):
            self._kept_bytes -= self._kept.popleft().size_bytes
        self._kept.append(item)

    def subscribe(self, after: int | None = None) -> Subscription:
        """Listen from now on; or from just ``after`` a sequence number.

        What is no longer kept counts as dropped.
        """
        subscription = Subscription(self)
        if after is not None and after >= self._next:
            after = 0  # a number of another emulator's, or of this one's last life
        if after is not None and after < self._next - 1:
            oldest_kept = self._kept[0].sequence if self._kept else self._next
            subscription.note_missed(max(0, oldest_kept - after - 1))
            for item in self._kept:
                if item.sequence > after:
                    subscription.put(item)
        self.add(subscription)
        return subscription

    def add(self, subscription: Subscription) -> None:
        """Announce to a listener of one's own making, from now on."""
        self._subscriptions.add(subscription)

    def forget(self) -> None:
        """Keep nothing of what was announced. Whoever listens has it already."""
        self._kept.clear()
        self._kept_bytes = 0

    def remove(self, subscription: Subscription) -> None:
        """Announce nothing more to a listener."""
        self._subscriptions.discard(subscription)

    def close(self) -> None:
        """End every subscription."""
        for subscription in tuple(self._subscriptions):
            subscription.close()
