"""Replay: a request that came through the tunnel is sent to the local app again.

``replay_request.py`` says what goes out. Here it is sent: one call over a connection
of its own, without any HTTP library, because they re-write heads. There is no time
limit: an app may be stopped in a debugger.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from tunnel.errors import TunnelError
from tunnel.exchange import Exchange
from tunnel.http import (
    MAX_HEAD_BYTES,
    BadMessage,
    BodyReader,
    ResponseHead,
    find_head_end,
    parse_response_head,
)
from tunnel.inspector import Inspector
from tunnel.reasons import reason_of
from tunnel.record import record_of
from tunnel.replay_request import NO_EDITS, Edits, ReplayRefused, Signer, build_request

__all__ = ["MAX_ANSWER_BYTES", "Answer", "ReplayFailed", "Replayer", "send"]

MAX_ANSWER_BYTES = 16 << 20
"""Of an answer's body; the rest is neither read nor kept."""

_MAX_INTERIM = 100

_PIECE_BYTES = 1 << 16


class ReplayFailed(TunnelError):
    """The app couldn't be called, or its answer isn't HTTP."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url = url
        self.reason = reason

    def __str__(self) -> str:
        return f"can't call {self.url}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What an app answered."""

    status: int

    head: bytes
    """As it came."""

    body: bytes

    is_whole: bool
    """Whether that is all of the body."""


async def send(request: bytes, to: str, *, method: str) -> Answer:
    """Send a request to the server of an ``http://`` or ``https://`` URL, once.

    Waits for the answer as long as it takes. Raises ``ReplayFailed``.
    """
    try:
        parts = urlsplit(to)
        secure = {"http": False, "https": True}[parts.scheme]
        host, port = parts.hostname, parts.port or (443 if secure else 80)
        if not host:
            raise ValueError("it has no host")
    except (KeyError, ValueError) as error:
        raise ReplayFailed(to, "use a URL such as http://localhost:3000") from error
    try:
        reader, writer = await asyncio.open_connection(
            host, port, ssl=_tls(host) if secure else None, limit=_PIECE_BYTES
        )
    except OSError as error:
        reason = f"{reason_of(error)}; is your app running?"
        raise ReplayFailed(to, reason) from error
    try:
        writer.write(request)
        # Not drained: an app may answer before it has read all, and then no more.
        return await _read_answer(reader, method.encode("latin-1"))
    except (OSError, BadMessage) as error:
        raise ReplayFailed(to, str(error)) from error
    finally:
        writer.transport.abort()


class Replayer:
    """Sends what an inspector has kept to the app again, and lets it keep that too.

    ``to`` is the app's URL, ``now_ms`` this machine's clock.
    """

    def __init__(
        self,
        inspector: Inspector,
        to: str,
        *,
        now_ms: Callable[[], int],
        sign: Signer | None = None,
    ) -> None:
        self._inspector = inspector
        self._to = to
        self._now_ms = now_ms
        self._sign = sign

    async def replay(self, exchange: Exchange, edits: Edits = NO_EDITS) -> Exchange:
        """Send a request again; return the exchange that comes of it.

        Raises ``ReplayRefused``, or ``ReplayFailed``.
        """
        record = record_of(exchange)
        if exchange.state == "open":
            raise ReplayRefused("it is still under way: wait for its end")
        request = build_request(record, edits=edits, sign=self._sign)
        head_end = find_head_end(request)
        again = self._inspector.begin(
            exchange.peer_bytes,
            exchange.scheme_bytes,
            request[:head_end],
            record.public_url_prefix,
            self._now_ms(),
        )
        again.replay_of = exchange.id
        again.request_data(request[head_end:])
        try:
            answer = await send(request, self._to, method=again.method)
        except ReplayFailed as error:
            again.finish(self._now_ms(), error.reason, "local")
            raise
        except asyncio.CancelledError:
            again.finish(self._now_ms(), "cancelled", "local")
            raise
        again.answer_head(answer.head, self._now_ms())
        again.answer_data(answer.body)
        again.finish(
            self._now_ms(),
            None if answer.is_whole else "its answer goes on: the rest wasn't read",
        )
        return again


def _tls(host: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if _is_this_machine(host):
        # Its certificate is made by whoever runs it.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


async def _read_answer(reader: asyncio.StreamReader, method: bytes) -> Answer:
    buffer = bytearray()
    for _ in range(_MAX_INTERIM):
        head = await _read_head(reader, buffer, method)
        if not head.is_interim:
            break
    else:
        raise BadMessage(502, "it sends interim answers without end")
    if head.upgrade:
        return Answer(head.status, head.raw, b"", is_whole=True)
    body = BodyReader(head.length, head.is_chunked, head.until_close)
    pieces = [body.feed(bytes(buffer))]
    size = len(pieces[0])
    while not body.is_finished and size <= MAX_ANSWER_BYTES:
        data = await reader.read(_PIECE_BYTES)
        if not data:
            body.end()
            break
        pieces.append(body.feed(data))
        size += len(pieces[-1])
    whole = b"".join(pieces)
    return Answer(
        head.status,
        head.raw,
        whole[:MAX_ANSWER_BYTES],
        is_whole=len(whole) <= MAX_ANSWER_BYTES,
    )


async def _read_head(
    reader: asyncio.StreamReader, buffer: bytearray, method: bytes
) -> ResponseHead:
    """Take a head off the front of a buffer, which is filled as far as needed."""
    searched = 0
    while (end := find_head_end(buffer, searched)) < 0:
        if len(buffer) > MAX_HEAD_BYTES:
            raise BadMessage(502, "the head of its answer is too long")
        searched = max(0, len(buffer) - 3)
        data = await reader.read(_PIECE_BYTES)
        if not data:
            raise BadMessage(502, "it closed the connection without an answer")
        buffer += data
    raw = bytes(buffer[:end])
    del buffer[:end]
    return parse_response_head(raw, method)
