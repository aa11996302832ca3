"""``HttpTransport``: the transport port over HTTP, whichever client it takes.

It follows no redirect (DLV-15), signs nothing and watches no clock: the engine cancels
a call that takes too long.
"""

from __future__ import annotations

from emulator.core.model import Outcome, Outgoing, Unreachable
from emulator.transport.plain import PlainClient
from emulator.transport.request import split_url
from emulator.transport.tls import TlsClient

__all__ = ["HttpTransport"]


class HttpTransport:
    """HTTP/1.1 calls over pooled keep-alive connections."""

    def __init__(self) -> None:
        self._plain = PlainClient()
        self._tls = TlsClient()

    async def send(self, request: Outgoing) -> Outcome:
        """Make one call. Whatever a destination does comes back as a value."""
        try:
            origin, target = split_url(request.url)
        except ValueError:
            return Unreachable(f"can't call {request.url}")
        if origin.scheme == "http":
            return await self._plain.send(request, origin, target)
        return await self._tls.send(request, origin, target)

    async def close(self) -> None:
        """Close the pooled connections."""
        await self._plain.close()
        await self._tls.close()
