"""The link's messages inside a websocket's bytes, in both directions.

Stands on the sans-I/O core of ``websockets`` and does no I/O itself: bytes go in by
``feed``, whatever must be written goes to ``write``. Both ends use it. Knows nothing
of frames (``wire.py``) or streams (``link.py``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from tunnel.wire import CLOSE_BAD_FRAME

__all__ = ["QUIET", "Carriage"]

QUIET = logging.getLogger("tunnel.websocket")
"""What the library would say of every connection."""
QUIET.setLevel(logging.WARNING)

_BINARY, _CONT, _CLOSE, _TEXT = (
    Opcode.BINARY,
    Opcode.CONT,
    Opcode.CLOSE,
    Opcode.TEXT,
)

_MAX_REASON_BYTES = 120


class Carriage:
    """An open websocket, seen as messages."""

    __slots__ = ("_parts", "_protocol", "_write", "close_code", "close_reason")

    def __init__(
        self,
        protocol: ClientProtocol | ServerProtocol,
        write: Callable[[list[bytes]], None],
    ) -> None:
        self._protocol = protocol
        self._write = write
        self._parts: list[bytes] = []
        self.close_code: int | None = None
        """Set once the websocket is closing: the code that came, or was sent."""
        self.close_reason = ""

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return self._protocol.state is OPEN

    def bound(self, max_message_bytes: int) -> None:
        """Refuse messages above a size, from the next one on."""
        self._protocol.max_message_size = max_message_bytes

    def feed(self, data: bytes) -> list[bytes]:
        """Take in bytes, and return the messages that are whole now."""
        protocol = self._protocol
        protocol.receive_data(data)
        messages: list[bytes] = []
        for event in protocol.events_received():
            if not isinstance(event, Frame):
                continue  # the handshake's; whoever made it has seen it
            if event.opcode is _BINARY and event.fin:
                messages.append(bytes(event.data))
            elif event.opcode is _BINARY or event.opcode is _CONT:
                self._parts.append(bytes(event.data))
                if event.fin:
                    messages.append(b"".join(self._parts))
                    self._parts.clear()
            elif event.opcode is _TEXT:
                self.close(CLOSE_BAD_FRAME, "a text message")
            elif event.opcode is _CLOSE and protocol.close_rcvd is not None:
                self.close_code = protocol.close_rcvd.code
                self.close_reason = protocol.close_rcvd.reason
        self._flush()
        if not self.is_open and self.close_code is None:
            sent = protocol.close_sent
            self.close_code = 1006 if sent is None else sent.code
            self.close_reason = "" if sent is None else sent.reason
        return messages

    def send(self, message: bytes) -> None:
        """Send a message. Does nothing once the websocket is closing."""
        if self._protocol.state is OPEN:
            self._protocol.send_binary(message)
            self._flush()

    def close(self, code: int, reason: str) -> None:
        """Close the websocket, and say why."""
        if self.is_open:
            # A close frame has 125 bytes, and the reason may be in any language.
            told = reason.encode()[:_MAX_REASON_BYTES].decode(errors="ignore")
            self._protocol.fail(code, told)
            self.close_code, self.close_reason = code, reason
            self._flush()

    def _flush(self) -> None:
        writes = [data for data in self._protocol.data_to_send() if data]
        if writes:
            self._write(writes)
