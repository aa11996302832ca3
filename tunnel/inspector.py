"""The inspector: the latest exchanges of a tunnel, bounded, and who wants to hear.

Stands in the way of every request, so ``begin`` does little: an exchange is made of
the bytes there are, and parsed when somebody looks. The oldest goes when there are too
many, or when they take too much memory; one that is still under way then keeps its
counters and loses its bodies.

Subscribers are called when an exchange ends, in the loop that carries the traffic:
they must not wait, and must not raise.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from tunnel.errors import SettingsRefused
from tunnel.exchange import OVERHEAD_BYTES, Exchange, State, Verdict

__all__ = ["MAX_BODY_BYTES", "MAX_BYTES", "MAX_EXCHANGES", "Inspector"]

MAX_EXCHANGES = 1000

MAX_BYTES = 64 << 20

MAX_BODY_BYTES = 256 << 10


class Inspector:
    """Keeps the newest exchanges.

    ``max_exchanges`` and ``max_bytes`` bound all that is kept, ``max_body_bytes`` each
    body (0: none is). ``verdict`` judges the signature of a request that has one.
    Raises ``SettingsRefused``.
    """

    def __init__(
        self,
        max_exchanges: int = MAX_EXCHANGES,
        max_bytes: int = MAX_BYTES,
        max_body_bytes: int = MAX_BODY_BYTES,
        verdict: Callable[[Exchange], Verdict | None] | None = None,
    ) -> None:
        if max_exchanges < 1:
            raise SettingsRefused("max_exchanges", "must be at least 1")
        if max_body_bytes < 0:
            raise SettingsRefused("max_body_bytes", "must be at least 0")
        if max_bytes < 2 * max_body_bytes:
            raise SettingsRefused(
                "max_bytes", "must have room for two bodies of max_body_bytes"
            )
        self.max_exchanges = max_exchanges
        self.max_bytes = max_bytes
        self.max_body_bytes = max_body_bytes
        self.verdict = verdict
        self.kept_bytes = 0
        self.subscribers: Sequence[Callable[[Exchange], None]] = ()
        # Ids have no gaps and only the oldest goes: an index is a subtraction.
        self._ring: deque[Exchange] = deque()
        self._next_id = 1

    def begin(
        self,
        peer: bytes,
        scheme: bytes,
        head: bytes,
        public_url_prefix: str,
        started_ms: int,
    ) -> Exchange:
        """Make the exchange of a request that has come.

        ``head`` ends with its blank line; ``public_url_prefix`` stands before its
        target in the public URL; ``started_ms`` is by this machine's clock.
        """
        id = self._next_id
        self._next_id = id + 1
        exchange = Exchange(
            self,
            id,
            peer,
            scheme,
            head,
            public_url_prefix,
            started_ms,
            self.max_body_bytes,
        )
        ring = self._ring
        ring.append(exchange)
        self.kept_bytes += OVERHEAD_BYTES + len(head)
        if len(ring) > self.max_exchanges:
            self._drop_oldest()
        if self.kept_bytes > self.max_bytes:
            self.trim()
        return exchange

    def trim(self) -> None:
        """Let go of the oldest until ``max_bytes`` are enough."""
        while self._ring and self.kept_bytes > self.max_bytes:
            self._drop_oldest()

    def subscribe(self, tell: Callable[[Exchange], None]) -> Callable[[], None]:
        """Hear of every exchange that ends; return what ends that."""
        self.subscribers = (*self.subscribers, tell)

        def unsubscribe() -> None:
            self.subscribers = tuple(one for one in self.subscribers if one is not tell)

        return unsubscribe

    def __len__(self) -> int:
        return len(self._ring)

    def __iter__(self) -> Iterator[Exchange]:
        """Yield what is kept, oldest first."""
        return iter(tuple(self._ring))

    def exchange(self, id: int) -> Exchange | None:
        """Return an exchange by its id; ``None``: it isn't kept (any more)."""
        if not self._ring:
            return None
        index = id - self._ring[0].id
        return self._ring[index] if 0 <= index < len(self._ring) else None

    def list(
        self, *, state: State | None = None, count: int = 100, after: int | None = None
    ) -> list[Exchange]:
        """Return exchanges, oldest first: the newest ``count`` of them.

        With ``after``, an id, the first ``count`` that came after it: whoever asks
        again with the last id seen misses nothing that is still kept.
        """
        fitting = [
            exchange
            for exchange in self._ring
            if (state is None or exchange.state == state)
            and (after is None or exchange.id > after)
        ]
        first = max(0, len(fitting) - count) if after is None else 0
        return fitting[first : first + count]

    def _drop_oldest(self) -> None:
        oldest = self._ring.popleft()
        self.kept_bytes -= oldest.kept_bytes
        oldest.let_go()
