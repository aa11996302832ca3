"""The client for ``http://``: our own, for speed.

One write for each request, connections used again, responses parsed as they arrive.
It follows no redirect (DLV-15), takes no proxy, signs nothing and watches no clock.

It repeats a call in one case only, as aiohttp does: the connection had been used
before, it ended without a byte of an answer, and the method is one that may be
repeated (RFC 9110, 9.2.2). A POST isn't: the app may have had it, and whoever counts
its calls would find one too many.
"""

from __future__ import annotations

from emulator.core.model import Outcome, Outgoing, Responded, Unreachable
from emulator.transport import reasons
from emulator.transport.descriptors import most_connections
from emulator.transport.pool import Pool
from emulator.transport.request import Origin, build_head
from emulator.transport.response import ResponseParser

__all__ = ["PlainClient"]

_REPEATABLE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})


class PlainClient:
    """HTTP/1.1 calls over pooled keep-alive connections."""

    def __init__(self) -> None:
        most = most_connections()
        self._pool = Pool(most=most, most_each=max(1, most // 2))

    @property
    def pool(self) -> Pool:
        """The connections."""
        return self._pool

    async def send(self, request: Outgoing, origin: Origin, target: str) -> Outcome:
        """Make one call. Whatever a destination does comes back as a value."""
        try:
            head = build_head(request, origin, target)
        except ValueError as error:
            return reasons.not_sendable(reasons.first_line(error))
        may_repeat = request.method in _REPEATABLE_METHODS
        is_fresh = False
        while True:
            connection = await self._pool.take(origin.place, is_fresh=is_fresh)
            if isinstance(connection, Unreachable):
                return connection
            is_reused = connection.is_reused
            parser = ResponseParser(
                max_body_bytes=request.max_response_bytes,
                has_body=request.method != "HEAD",
            )
            failure = await connection.exchange(head, request.body, parser)
            if failure is None:
                break
            if not (may_repeat and is_reused and not parser.has_begun):
                return failure
            may_repeat, is_fresh = False, True
        if parser.is_kept:
            self._pool.give_back(connection)
        else:
            connection.abort()
        response = parser.head
        return Responded(
            status=response.status,
            header=response.header,
            body=parser.body,
            reason=response.reason,
        )

    async def close(self) -> None:
        """Close the pooled connections."""
        await self._pool.close()
