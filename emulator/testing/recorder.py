"""What an emulator's feed announced, kept whole for a test to ask about.

The engine's own log forgets what is older than its plan keeps (LIM-6), which a test
that turns the clock by a year reaches; this one forgets nothing until it is told to.
"""

from __future__ import annotations

from collections.abc import Iterator

from emulator.core.model import FINAL_STATES, LogEntry, State
from emulator.engine.feed import Feed, FeedItem, Subscription

__all__ = ["Recorder"]


class Recorder(Subscription):
    """Listens to a feed and keeps every entry. Read it in the emulator's loop."""

    def __init__(self, feed: Feed, user: str) -> None:
        super().__init__(feed)
        self._user = user
        self._everything: list[FeedItem] = []
        self._last: dict[str, LogEntry] = {}
        feed.add(self)

    def put(self, item: FeedItem) -> None:
        """Take an item in; there is always room."""
        self._everything.append(item)
        entry = item.entry
        if item.user == self._user:
            if entry.state in FINAL_STATES:
                self._last.pop(entry.message.message_id, None)
            else:
                self._last[entry.message.message_id] = entry

    @property
    def items(self) -> list[FeedItem]:
        """What was announced for all users, oldest first."""
        return list(self._everything)

    @property
    def entries(self) -> list[LogEntry]:
        """The entries of the one user whom the test is about, oldest first."""
        return [item.entry for item in self._everything if item.user == self._user]

    @property
    def pending(self) -> list[LogEntry]:
        """The last entry of each message that isn't final, oldest message first."""
        return list(self._last.values())

    def broken(self) -> Iterator[LogEntry]:
        """Iterate over the deliveries that broke by a mistake of ours."""
        for item in self._everything:
            entry = item.entry
            error = entry.outcome.error if entry.outcome is not None else ""
            if entry.state is State.ERROR and error.startswith("internal error"):
                yield entry

    def forget(self) -> None:
        """Forget everything."""
        self._everything.clear()
        self._last.clear()
