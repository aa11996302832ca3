"""The link's messages inside a websocket's bytes, in both directions.

Stands on the sans-I/O core of ``websockets`` and does no I/O itself: bytes go in by
``feed``, whatever must be written goes to ``write``. Both ends use it. Knows nothing
of frames (``wire.py``) or streams (``link.py``).

A message that is one whole frame, as all of ours are, is read and written here, which
costs a tenth of what the library takes for it. Everything else (messages in parts,
pings, the close, and whatever breaks the rules) is the library's, frame by frame.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from struct import Struct

from websockets import frames
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

_WHOLE_BINARY = 0x80 | Opcode.BINARY
"""The first byte of a frame that is a binary message (RFC 6455, 5.2)."""

_MASKED = 0x80
"""In the second byte: the client's frames are."""

_LENGTH_16, _LENGTH_64 = 126, 127
"""In the second byte: the length stands in the next two bytes, or eight."""

_U16 = Struct(">H").unpack_from
_U64 = Struct(">Q").unpack_from
_short_head = Struct(">BB").pack
_head_16 = Struct(">BBH").pack
_head_64 = Struct(">BBQ").pack

# The library's choice: in C, where that could be compiled.
_apply_mask: Callable[[bytes | memoryview, bytes], bytes] = frames.apply_mask  # type: ignore[attr-defined]

_JOINED_BYTES = 1 << 12
"""A message above this isn't copied for the sake of a single write."""


class Carriage:
    """An open websocket, seen as messages.

    ``token_bytes`` is chance, for the masks of a client's frames; a relay's have none.
    """

    __slots__ = (
        "_chunks",
        "_held",
        "_mask",
        "_most",
        "_needed",
        "_parts",
        "_protocol",
        "_token_bytes",
        "_write",
        "close_code",
        "close_reason",
    )

    def __init__(
        self,
        protocol: ClientProtocol | ServerProtocol,
        write: Callable[[list[bytes]], None],
        token_bytes: Callable[[int], bytes] | None = None,
    ) -> None:
        self._protocol = protocol
        self._write = write
        self._token_bytes = token_bytes
        self._mask = 0 if token_bytes is None else _MASKED
        """Of the frames that are sent; those that come have the opposite."""
        self._most = protocol.max_message_size or 0
        self._parts: list[bytes] = []
        self._chunks: list[bytes | memoryview] = []
        """The beginning of a frame."""
        self._held = 0
        self._needed = 0
        """How many bytes there must be before it is worth looking at them again."""
        self.close_code: int | None = None
        """Set once the websocket is closing: the code that came, or was sent."""
        self.close_reason = ""

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return self._protocol.state is OPEN

    def bound(self, max_message_bytes: int) -> None:
        """Refuse messages above a size, from the next one on."""
        self._protocol.max_message_size = self._most = max_message_bytes

    def feed(self, data: bytes) -> list[bytes]:
        """Take in bytes, and return the messages that are whole now."""
        messages: list[bytes] = []
        position = 0
        while self._chunks:  # a frame has begun
            stop = position + self._needed - self._held
            if stop > len(data):
                self._chunks.append(memoryview(data)[position:])
                self._held += len(data) - position
                return messages
            self._chunks.append(memoryview(data)[position:stop])
            begun = b"".join(self._chunks)
            self._chunks.clear()
            self._read(begun, 0, messages)
            position = stop
        self._read(data, position, messages)
        return messages

    def _read(self, data: bytes, position: int, messages: list[bytes]) -> None:
        """Read frames; keep the beginning of one that isn't whole."""
        protocol = self._protocol
        end = len(data)
        while position < end and protocol.state is OPEN:
            start = stop = position + 2
            if start <= end:
                second = data[position + 1]
                length = second & 0x7F
                if length == _LENGTH_16:
                    start = stop = start + 2
                    if start <= end:
                        length = _U16(data, start - 2)[0]
                elif length == _LENGTH_64:
                    start = stop = start + 8
                    if start <= end:
                        length = _U64(data, start - 8)[0]
                if start <= end:
                    if length > self._most:
                        break  # the library refuses it, and doesn't wait for all of it
                    if second & _MASKED:
                        start += 4
                    stop = start + length
            if stop > end:
                self._chunks.append(memoryview(data)[position:])
                self._held = end - position
                self._needed = stop - position
                return
            if (
                data[position] != _WHOLE_BINARY
                or second & _MASKED == self._mask
                or self._parts
            ):
                self._feed_library(data[position:stop], messages)
            elif self._mask:
                messages.append(data[start:stop])
            else:
                payload = memoryview(data)[start:stop]
                messages.append(_apply_mask(payload, data[start - 4 : start]))
            position = stop
        if position < end:
            self._feed_library(data[position:], messages)

    def _feed_library(self, data: bytes, messages: list[bytes]) -> None:
        """Let the library take in a frame; append the message that is whole now."""
        protocol = self._protocol
        protocol.receive_data(data)
        for event in protocol.events_received():
            if not isinstance(event, Frame):
                continue  # the handshake's; whoever made it has seen it
            if event.opcode is _BINARY or event.opcode is _CONT:
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

    def send(self, message: bytes) -> None:
        """Send a message. Does nothing once the websocket is closing."""
        if self._protocol.state is not OPEN:
            return
        mask, length = self._mask, len(message)
        if length < _LENGTH_16:
            head = _short_head(_WHOLE_BINARY, mask | length)
        elif length < 1 << 16:
            head = _head_16(_WHOLE_BINARY, mask | _LENGTH_16, length)
        else:
            head = _head_64(_WHOLE_BINARY, mask | _LENGTH_64, length)
        if self._token_bytes is not None:
            key = self._token_bytes(4)  # RFC 6455, 5.3: nobody may foresee it
            head += key
            message = _apply_mask(message, key)
        self._write([head + message] if length <= _JOINED_BYTES else [head, message])

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
