"""A request's body on its way to the tunnel: where it ends, and what it may have.

Takes bytes as they come from the visitor, and gives those of the body. What comes
before the tunnel is there is kept: a little with the head, the rest behind it.

Pure. Whoever reads the socket stops when it is told to.
"""

from __future__ import annotations

from tunnel.flow import FIRST_BYTES
from tunnel.http import BadMessage, BodyReader, RequestHead

__all__ = ["Upload"]


class Upload:
    """The body of a request whose head says that there is one."""

    __slots__ = ("_most", "_promised", "_reader", "_taken", "first", "is_whole", "more")

    def __init__(self, head: RequestHead) -> None:
        self._reader = BodyReader(head.length, head.is_chunked)
        self._promised = head.length or 0
        self._taken = 0
        self._most: int | None = None
        self.is_whole = False
        self.first = b""
        """What goes with the head."""
        self.more: list[bytes] = []
        """What came, before the tunnel was there, beyond that."""

    @property
    def trailers(self) -> bytes:
        """The lines behind the body, once it is whole."""
        return self._reader.trailers

    @property
    def rest(self) -> bytes:
        """What came behind the body, once it is whole."""
        return self._reader.rest

    def bound(self, most: int | None) -> None:
        """Let it have ``most`` bytes; ``None``: whatever. The least bound counts.

        Raises ``BadMessage`` with status 413 if there are more, or will be.
        """
        if most is not None and (self._most is None or most < self._most):
            self._most = most
            self._check(max(self._promised, self._taken))

    def feed(self, data: bytes) -> bytes:
        """Return the body's bytes among those that came. Raises ``BadMessage``."""
        reader = self._reader
        body = reader.feed(data)
        if body:
            self._taken += len(body)
            self._check(self._taken)
        if reader.is_finished:
            self.is_whole = True
        return body

    def _check(self, count: int) -> None:
        if self._most is not None and count > self._most:
            raise BadMessage(413, f"a body has {self._most} bytes at most here")

    def keep(self, body: bytes) -> None:
        """Keep bytes until the tunnel is there."""
        if self.more or len(self.first) + len(body) > FIRST_BYTES:
            self.more.append(body)
        else:
            self.first += body
