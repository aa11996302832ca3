"""The client's end of a link: one websocket to the relay, from handshake to loss.

Connects, says HELLO, waits for WELCOME; from then on carries a session's messages.
What to do when it is lost is ``client.py``'s.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.protocol import OPEN
from websockets.uri import parse_uri

from tunnel.carriage import QUIET, Carriage
from tunnel.errors import RelayRefused, RelayUnreachable, WireError
from tunnel.link import Link
from tunnel.reasons import reason_of
from tunnel.wire import (
    CLOSE_BAD_FRAME,
    CLOSE_REFUSED,
    CLOSE_REPLACED,
    CLOSE_SILENT,
    HEADER_BYTES,
    LINK_PATH,
    MAX_HELLO_BYTES,
    MAX_MESSAGE_BYTES,
    Kind,
    decode_frames,
    decode_json,
    encode_frame,
    encode_json,
)

__all__ = ["Downlink"]

_WRITE_HIGH_BYTES = 1 << 18

_MAX_UNSENT_BYTES = 1 << 17
"""In the system's buffer: what is there already, nothing can overtake."""

_NOTSENT_LOWAT: int | None = getattr(socket, "TCP_NOTSENT_LOWAT", None)

_CONNECT_S = 10.0
"""For the connection, TLS, the websocket's handshake and WELCOME together."""

_REFUSING_STATUSES = frozenset({401, 403})


class Downlink(asyncio.Protocol):
    """A websocket to the relay.

    ``on_goodbye`` is called when the relay asks for another link in this one's place;
    ``token_bytes`` is chance.
    """

    def __init__(
        self,
        relay: str,
        *,
        on_goodbye: Callable[[str], None],
        token_bytes: Callable[[int], bytes],
    ) -> None:
        self._relay = relay.rstrip("/")
        self._on_goodbye = on_goodbye
        self._token_bytes = token_bytes
        self._loop = asyncio.get_running_loop()
        self._protocol = ClientProtocol(
            parse_uri(self._relay + LINK_PATH.decode()),
            max_size=MAX_MESSAGE_BYTES,
            logger=QUIET,
        )
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._welcome: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        self.lost: asyncio.Future[tuple[int, str]] = self._loop.create_future()
        """Done when the link is lost: the close code and reason."""
        self.heard_s = self._loop.time()
        self._carriage: Carriage | None = None
        self._link: Link | None = None
        self._head_end = b""
        """The last bytes of the handshake's answer that have come."""
        self._early: list[bytes] = []
        self._is_paused = False
        self._flush_due = False
        self._transport: asyncio.Transport | None = None

    # To the relay

    async def open(
        self, hello: dict[str, Any], *, tls: ssl.SSLContext | None
    ) -> dict[str, Any]:
        """Connect and introduce ourselves; return what WELCOME says.

        Raises ``RelayUnreachable``, or ``RelayRefused`` if trying again won't help.
        """
        try:
            async with asyncio.timeout(_CONNECT_S):
                return await self._open(hello, tls)
        except TimeoutError as error:
            self.abort()
            raise RelayUnreachable(
                self._relay, f"no answer within {_CONNECT_S:.0f} s"
            ) from error
        except OSError as error:
            self.abort()
            raise RelayUnreachable(self._relay, reason_of(error)) from error
        except BaseException:
            self.abort()
            raise

    async def _open(
        self, hello: dict[str, Any], tls: ssl.SSLContext | None
    ) -> dict[str, Any]:
        parts = urlsplit(self._relay)
        assert parts.hostname is not None
        is_secure = parts.scheme == "wss"
        await self._loop.create_connection(
            lambda: self,
            # `localhost` below a domain of that name: no resolver knows it.
            "localhost" if parts.hostname.endswith(".localhost") else parts.hostname,
            parts.port or (443 if is_secure else 80),
            ssl=(tls or ssl.create_default_context()) if is_secure else None,
            server_hostname=parts.hostname if is_secure else None,
        )
        await self._opened
        assert self._carriage is not None
        message = encode_frame(0, Kind.HELLO, encode_json(hello))
        if len(message) > MAX_HELLO_BYTES:
            raise RelayRefused(
                f"token and access rules have {len(message)} bytes together, and "
                f"{MAX_HELLO_BYTES} are taken: use fewer rules"
            )
        self._carriage.send(message)
        return await self._welcome

    def attach(self, link: Link) -> None:
        """Carry a session's messages from now on."""
        self._link = link
        early, self._early = self._early, []
        try:
            for message in early:
                self._take_in(message)
        except WireError as error:
            self.close(error.code, error.reason)
        self.flush_soon()

    def flush_soon(self) -> None:
        """Send what there is at the end of this turn of the loop."""
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def flush(self) -> bool:
        """Send what there is, now; return whether all of it is on its way."""
        self._flush()
        return not self._is_paused

    def close(self, code: int, reason: str) -> None:
        """Close the websocket, and say why."""
        transport = self._transport
        if transport is not None and not transport.is_closing():
            # One that is gone can't be written to: uvloop's raises an error.
            if self._carriage is not None:
                self._carriage.close(code, reason)
            transport.close()
        self._lose(code, reason)

    def abort(self) -> None:
        """Drop the connection, without a word."""
        self._lose(CLOSE_SILENT, "nothing was heard from the relay")
        if self._transport is not None:
            self._transport.abort()

    def _flush(self) -> None:
        self._flush_due = False
        link, carriage = self._link, self._carriage
        if link is None or carriage is None:
            return
        take, send = link.take, carriage.send
        while not self._is_paused:
            message = take()
            if not message:
                break
            send(message)

    # What asyncio says

    # No assertion narrows the type: uvloop's transports are of no asyncio class.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        transport.set_write_buffer_limits(high=_WRITE_HIGH_BYTES)
        sock = transport.get_extra_info("socket")
        if sock is not None and _NOTSENT_LOWAT is not None:
            sock.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, _MAX_UNSENT_BYTES)
        protocol = self._protocol
        protocol.send_request(protocol.connect())
        transport.writelines([data for data in protocol.data_to_send() if data])

    def data_received(self, data: bytes) -> None:
        self.heard_s = self._loop.time()
        if self._carriage is None:
            self._shake_hands(data)
            return
        self._carry(self._carriage, data)

    def _carry(self, carriage: Carriage, data: bytes) -> None:
        try:
            for message in carriage.feed(data):
                self._take_in(message)
        except WireError as error:
            self.close(error.code, error.reason)
        if carriage.close_code is not None:
            self._lose(carriage.close_code, carriage.close_reason)
            if self._transport is not None:
                self._transport.close()

    def _take_in(self, message: bytes) -> None:
        if self._link is not None:
            if len(message) >= HEADER_BYTES and message[8] == Kind.GOAWAY:
                self._on_goodbye(str(self._told(message).get("why", "")))
            else:
                self._link.receive(message)
        elif self._welcome.done():
            self._early.append(message)  # came with the WELCOME
        else:
            self._welcome.set_result(self._told(message, Kind.WELCOME))

    def _told(self, message: bytes, kind: Kind = Kind.GOAWAY) -> dict[str, Any]:
        frames = list(decode_frames(message))
        if len(frames) != 1 or frames[0][1] != kind:
            raise WireError(CLOSE_BAD_FRAME, f"not a {kind.name} frame")
        return decode_json(frames[0][3])

    def _shake_hands(self, data: bytes) -> None:
        protocol = self._protocol
        # What follows the head of the answer is the carriage's, unless it refuses.
        seen = self._head_end + data
        end = seen.find(b"\r\n\r\n")
        head_bytes = len(data) if end < 0 else end + 4 - len(self._head_end)
        self._head_end = seen[-3:]
        protocol.receive_data(data[:head_bytes])
        rest = data[head_bytes:]
        if rest and protocol.state is not OPEN:
            protocol.receive_data(rest)
        error = protocol.handshake_exc
        if error is not None:
            self._fail(_refusal(self._relay, error))
            return
        if not protocol.events:
            return  # the answer's head isn't whole yet
        assert self._transport is not None
        self._carriage = Carriage(
            protocol, self._transport.writelines, self._token_bytes
        )
        if not self._opened.done():
            self._opened.set_result(None)
        if rest:
            self._carry(self._carriage, rest)

    def connection_lost(self, exc: Exception | None) -> None:
        reason = "connection lost" if exc is None else str(exc)
        if not self._opened.done():
            what = "wss://" if self._relay.startswith("ws:") else "a relay's language"
            reason = f"it hung up at once: does it speak {what}?"
        self._lose(1006, reason)

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._flush()

    def _lose(self, code: int, reason: str) -> None:
        self._link = None
        if code in (CLOSE_REFUSED, CLOSE_REPLACED):
            self._fail(RelayRefused(reason))
        else:
            self._fail(RelayUnreachable(self._relay, reason or f"closed ({code})"))
        if not self.lost.done():
            self.lost.set_result((code, reason))

    def _fail(self, error: Exception) -> None:
        """Whoever waits for the opening hears of it."""
        for future in (self._opened, self._welcome):
            if not future.done():
                future.set_exception(error)
                future.exception()  # it may be that nobody waits: that's all right


def _refusal(relay: str, error: Exception) -> Exception:
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        if status in _REFUSING_STATUSES:
            return RelayRefused(f"it answered with status {status}")
        return RelayUnreachable(relay, f"it answered with status {status}")
    if isinstance(error, InvalidHandshake):
        return RelayUnreachable(relay, f"it isn't a relay: {error}")
    return RelayUnreachable(relay, f"what it said isn't HTTP: {error}")
