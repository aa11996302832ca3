"""One delivery: build the request, sign it, send it; an ``Outcome`` comes back.

Decides nothing about when, how often, or what follows.
"""

from __future__ import annotations

from collections.abc import Callable

from emulator.core import ids
from emulator.core.destination import host_of
from emulator.core.forgery import Variant, sign_variant
from emulator.core.header_map import pairs
from emulator.core.model import (
    Message,
    Outcome,
    Outgoing,
    Progress,
    SigningKeys,
    Unreachable,
)
from emulator.core.reroute import Route, reroute
from emulator.core.signature import sign
from emulator.engine.ports import Clock, Entropy, Transport

__all__ = ["Delivery"]


_DEFAULTS = (("User-Agent", "Upstash-QStash"), ("Accept-Encoding", "gzip"))
"""Unless the message says otherwise."""


class Delivery:
    """Delivers messages of one user.

    ``stamp`` is the clock that dates signatures: the machine's, whatever clock
    schedules, or every app's verifier would refuse them after a jump.
    """

    def __init__(
        self,
        *,
        transport: Transport,
        entropy: Entropy,
        stamp: Clock,
        keys: Callable[[], SigningKeys],
        region: str,
        routes: tuple[Route, ...],
        llm_upstream: str | None,
        max_response_bytes: int,
    ) -> None:
        self._transport = transport
        self._entropy = entropy
        self._stamp = stamp
        self._keys = keys
        self._region = region
        self._routes = routes
        self._llm_upstream = llm_upstream
        self._max_response_bytes = max_response_bytes

    async def deliver(
        self, progress: Progress, variant: Variant | None = None
    ) -> Outcome:
        """Call the destination once (DLV-1); ``variant`` makes the signature wrong."""
        message = progress.message
        if message.api is None:
            url = reroute(message.url, self._routes)
        elif self._llm_upstream is None:
            # LLM-1: there is no model here.
            return Unreachable(f"nothing answers {message.url}: set llm_upstream")
        else:
            url = self._llm_upstream
        return await self._transport.send(
            Outgoing(
                method=message.options.method,
                url=url,
                host=None
                if url is message.url or message.api is not None
                else host_of(message.url),
                headers=self._headers(message, progress.retried, variant),
                body=message.body,
                max_response_bytes=self._max_response_bytes,
            )
        )

    def _headers(
        self, message: Message, retried: int, variant: Variant | None
    ) -> tuple[tuple[str, str], ...]:
        """Return what a delivery carries (DLV-2), and no more (DLV-3).

        The message's own headers hold nothing that only the server may set (HDR-32).
        """
        own = message.header
        headers = [pair for pair in _DEFAULTS if pair[0] not in own[::2]]
        headers += pairs(own)
        headers += (
            ("Upstash-Message-Id", message.message_id),
            ("Upstash-Retried", str(retried)),
            ("Upstash-Signature", self._sign(message, variant)),
            ("Upstash-Caller-Ip", message.caller_ip),
            ("Upstash-Region", self._region),
        )
        if message.url_group_name is not None:
            headers.append(("Upstash-Topic-Name", message.url_group_name))
        if message.schedule_id is not None:
            headers.append(("Upstash-Schedule-Id", message.schedule_id))
        return tuple(headers)

    def _sign(self, message: Message, variant: Variant | None) -> str:
        """Make a fresh signature, with the keys of this moment (SIG-7, SIG-17)."""
        keys = self._keys()
        now_ms = self._stamp.now_ms()
        jwt_id = ids.jwt_id(self._entropy.token_bytes(ids.JWT_ID_BYTES))
        body, url = message.body, message.url
        if variant is not None:
            return sign_variant(
                variant, body=body, url=url, keys=keys, now_ms=now_ms, jwt_id=jwt_id
            )
        return sign(body=body, url=url, key=keys.current, now_ms=now_ms, jwt_id=jwt_id)
