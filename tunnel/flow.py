"""Flow of bytes on a link: how many may go, and whose turn it is.

Each stream has a window in each direction, and so has the link as a whole. A sender
spends room; a receiver gives room back (credit) once the *far* socket has accepted the
bytes, so that nobody's memory fills for the sake of a slow reader. A window that its
sender empties within a round trip or two is too small for the way between, and grows.

Turns: short streams first, so that a webhook never waits behind a download; then bulk,
in slices, one stream after the other.

Pure: no clock of its own, no socket.
"""

from __future__ import annotations

from collections import deque

from tunnel.errors import WireError
from tunnel.wire import CLOSE_OVERDRAWN, MAX_PAYLOAD_BYTES

__all__ = [
    "FIRST_BYTES",
    "GROWTH_BYTES",
    "INITIAL_WINDOW_BYTES",
    "LINK_CREDIT_BYTES",
    "LINK_RESERVE_BYTES",
    "LINK_WINDOW_BYTES",
    "MAX_UNACKED_BYTES",
    "MAX_WINDOW_BYTES",
    "SHORT_BYTES",
    "SLICE_BYTES",
    "Growth",
    "Outflow",
    "ReceiveWindow",
    "Turns",
]

INITIAL_WINDOW_BYTES = 1 << 18
"""Of a stream, at its start."""

MAX_WINDOW_BYTES = 1 << 22
"""To which a stream's window grows."""

LINK_WINDOW_BYTES = 1 << 24
"""Of all streams together."""

MAX_UNACKED_BYTES = 1 << 22
"""Kept for a resume. Bodies wait while so much is unacknowledged."""

LINK_RESERVE_BYTES = LINK_WINDOW_BYTES // 4
"""Of the link's window, for short streams alone: stalled downloads can't use it up."""

LINK_CREDIT_BYTES = LINK_WINDOW_BYTES // 16
"""After so much the link gets room again. With half a window, as a stream does, what
slow readers hold and what is owed could use the window up, and it would stay so."""

GROWTH_BYTES = LINK_WINDOW_BYTES // 2
"""By so much all streams' windows together may grow: the rest is for new ones."""

SLICE_BYTES = 1 << 14
"""What one stream sends in one turn while others wait; alone it fills a frame."""

SHORT_BYTES = 1 << 16
"""A stream that has sent less goes before the others."""

FIRST_BYTES = 1 << 14
"""How many body bytes may travel with a head, outside all windows."""

_GROWS_WITHIN_ROUND_TRIPS = 3.0


class Growth:
    """What is left of the bytes by which a link's windows may grow."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left


class ReceiveWindow:
    """How much the other end may still send, and when to give it room again.

    Grows out of what ``growth`` has left, if there is one, up to ``most`` bytes. Gives
    room back in portions of ``portion`` bytes; 0 means of half the window.
    """

    __slots__ = (
        "_accepted",
        "_credited_s",
        "_first",
        "_growth",
        "_most",
        "_portion",
        "_room",
        "size",
    )

    def __init__(
        self, size: int, most: int, growth: Growth | None = None, portion: int = 0
    ) -> None:
        self.size = size
        """In bytes."""
        self._first = size
        self._growth = growth
        self._most = most
        self._portion = portion
        self._room = size
        self._accepted = 0
        self._credited_s = 0.0

    @property
    def held(self) -> int:
        """How many bytes have come and aren't accepted yet."""
        return self.size - self._room - self._accepted

    def receive(self, count: int) -> None:
        """Take in ``count`` bytes. Raises ``WireError`` if there was no room."""
        self._room -= count
        if self._room < 0:
            raise WireError(
                CLOSE_OVERDRAWN,
                f"{-self._room} bytes more than the window had room for",
            )

    def accept(self, count: int, now_s: float, round_trip_s: float) -> int:
        """Note that the far socket took ``count`` bytes; return the credit to give.

        0 as long as less than a portion is to be given back.
        """
        self._accepted += count
        if self._accepted < (self._portion or (self.size + 1) // 2):
            return 0
        credit = self._accepted
        if (
            self.size < self._most
            and now_s - self._credited_s < _GROWS_WITHIN_ROUND_TRIPS * round_trip_s
        ):
            grown = min(self.size, self._most - self.size)
            if self._growth is not None:
                grown = min(grown, self._growth.left)
                self._growth.left -= grown
            self.size += grown
            credit += grown
        self._credited_s = now_s
        self._accepted = 0
        self._room += credit
        return credit

    def close(self) -> None:
        """Give back what it has grown by: its stream is over."""
        if self._growth is not None:
            self._growth.left += self.size - self._first
            self._growth = None


class Outflow:
    """A stream's bytes that wait for room and for their turn."""

    __slots__ = ("_chunks", "_start", "buffered", "in_turns", "room", "sent", "stream")

    def __init__(self, stream: int, room: int) -> None:
        self.stream = stream
        self.room = room
        """What the other end has room for, in bytes."""
        self.sent = 0
        self.buffered = 0
        """How many bytes wait."""
        self.in_turns = False
        self._chunks: deque[bytes] = deque()
        self._start = 0

    def add(self, data: bytes) -> None:
        """Append bytes."""
        self._chunks.append(data)
        self.buffered += len(data)

    def take(self, most: int) -> bytes | memoryview:
        """Return the next bytes: at most so many, all of one chunk, and spend room."""
        chunk = self._chunks[0]
        start = self._start
        count = min(most, self.room, len(chunk) - start)
        if start == 0 and count == len(chunk):
            piece: bytes | memoryview = chunk
        else:
            piece = memoryview(chunk)[start : start + count]
        if start + count == len(chunk):
            self._chunks.popleft()
            self._start = 0
        else:
            self._start = start + count
        self.buffered -= count
        self.room -= count
        self.sent += count
        return piece

    def clear(self) -> None:
        """Forget what waits."""
        self._chunks.clear()
        self._start = 0
        self.buffered = 0


class Turns:
    """The streams that have bytes to send and room for them, in order."""

    __slots__ = ("_bulk", "_short")

    def __init__(self) -> None:
        # Made when there is somebody: most links are idle, and a deque isn't small.
        self._short: deque[Outflow] | None = None
        self._bulk: deque[Outflow] | None = None

    def __bool__(self) -> bool:
        return bool(self._short or self._bulk)

    def join(self, outflow: Outflow) -> None:
        """Let a stream have turns, if it has bytes, and room for them."""
        if outflow.in_turns or not outflow.buffered or outflow.room <= 0:
            return
        outflow.in_turns = True
        if outflow.sent < SHORT_BYTES:
            if self._short is None:
                self._short = deque()
            self._short.append(outflow)
        else:
            if self._bulk is None:
                self._bulk = deque()
            self._bulk.append(outflow)

    def next(
        self, most: int, *, only_short: bool = False
    ) -> tuple[Outflow, bytes | memoryview] | None:
        """Return whose turn it is, and its bytes: at most ``most``, and a slice.

        A stream that nobody waits behind has a whole frame instead of a slice.
        """
        while line := self._short or (None if only_short else self._bulk):
            outflow = line.popleft()
            outflow.in_turns = False
            if outflow.buffered:  # cut off meanwhile otherwise
                slice_bytes = SLICE_BYTES if line else MAX_PAYLOAD_BYTES
                piece = outflow.take(min(most, slice_bytes))
                self.join(outflow)
                return outflow, piece
        return None
