"""The link's frames: what relay and tunnel client say to each other.

A binary websocket message carries one or more frames, whole. A frame is a stream
(4 bytes), the length of its payload (4), its kind with flags (1), and the payload.
Stream 0 is the link itself; a request has a stream of its own, numbered upwards from
1 by the relay and never used twice in a session.

Pure: encodes, decodes, bounds. What frames mean for each other (windows, turns,
resume) is in ``flow.py`` and ``link.py``. Described for other languages in
``docs/reference/wire-format.md``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import IntEnum
from struct import Struct
from struct import error as StructError
from typing import Any

from tunnel.errors import WireError

__all__ = [
    "CHUNKED",
    "CLOSE_BAD_FRAME",
    "CLOSE_GOING_AWAY",
    "CLOSE_OVERDRAWN",
    "CLOSE_REFUSED",
    "CLOSE_REPLACED",
    "CLOSE_SILENT",
    "CLOSE_UNKNOWN_STREAM",
    "FIN",
    "HEADER_BYTES",
    "LINK_PATH",
    "MAX_HELLO_BYTES",
    "MAX_MESSAGE_BYTES",
    "MAX_OPEN_BYTES",
    "MAX_PAYLOAD_BYTES",
    "NUMBERED",
    "PROTOCOL_VERSION",
    "SECURE",
    "UPGRADE",
    "Kind",
    "ResetCode",
    "decode_frames",
    "decode_head",
    "decode_json",
    "decode_number",
    "decode_open",
    "decode_ping",
    "decode_reset",
    "encode_frame",
    "encode_head",
    "encode_header",
    "encode_json",
    "encode_number",
    "encode_open",
    "encode_ping",
    "encode_reset",
]

PROTOCOL_VERSION = 1

LINK_PATH = b"/_qemu/link"
"""Where a websocket becomes a link, on any host that the relay answers for."""

MAX_PAYLOAD_BYTES = 1 << 16
"""Of all frames but OPEN and HEAD."""

MAX_OPEN_BYTES = MAX_PAYLOAD_BYTES + (1 << 16) + 4096
"""OPEN and HEAD carry a whole head, with what was added to it, and body bytes."""

MAX_MESSAGE_BYTES = 1 << 18
"""A websocket message, with all its frames."""

MAX_HELLO_BYTES = 1 << 14
"""HELLO comes from somebody who hasn't shown a token yet."""

_HEADER = Struct(">IIB")
HEADER_BYTES = _HEADER.size
_pack_header = _HEADER.pack
_unpack_header = _HEADER.unpack_from
_U64 = Struct(">Q")
_OPEN = Struct(">QBBI")  # received at, flags, length of the peer and of the head
_LENGTH = Struct(">I")
_RESET = Struct(">H")
_PING = Struct(">QI")  # when it was sent, and the round trip that its sender knows

FIN = 0x80
"""The flag of a stream's last frame in this direction."""

SECURE = 0x01
"""A flag of OPEN: the visitor used ``https``."""

CHUNKED = 0x02
"""A flag of OPEN: the body is framed in chunks, as its head says."""

UPGRADE = 0x04
"""A flag of OPEN: the visitor asks to switch protocols."""

_KIND_MASK = 0x7F

_MAX_TEXT_BYTES = 500

CLOSE_GOING_AWAY = 1001
"""The relay stops: come back at once."""

CLOSE_BAD_FRAME = 4000
"""A frame that can't be read, is too large, or comes out of turn."""

CLOSE_UNKNOWN_STREAM = 4001

CLOSE_OVERDRAWN = 4002
"""More bytes than the window had room for."""

CLOSE_SILENT = 4003
"""Three pings without an answer."""

CLOSE_REPLACED = 4004
"""A newer session has the name."""

CLOSE_REFUSED = 4005
"""Token or name refused, or the token has expired: asking again won't help."""


class Kind(IntEnum):
    """What a frame is."""

    HELLO = 1
    WELCOME = 2
    OPEN = 3
    HEAD = 4
    DATA = 5
    CREDIT = 6
    RESET = 7
    UPGRADED = 8
    PING = 9
    PONG = 10
    ACK = 11
    GOAWAY = 12


NUMBERED = frozenset(
    {Kind.OPEN, Kind.HEAD, Kind.DATA, Kind.CREDIT, Kind.RESET, Kind.UPGRADED}
)
"""The kinds that count for ACK, and that a resumed link sends again."""

_KINDS = frozenset(Kind)

_LARGE = frozenset({Kind.OPEN, Kind.HEAD})


class ResetCode(IntEnum):
    """Why a stream was cut off, and which end failed."""

    RELAY = 1
    """The relay: its limits, or it stops."""

    LINK = 2
    """The link was away too long, or too much was lost with it."""

    LOCAL_REFUSED = 3
    """Nothing listens at the local address."""

    LOCAL_BROKE = 4
    """The local server broke off, or answered with what isn't HTTP."""

    VISITOR = 5
    """Whoever made the request is gone, or sent what isn't HTTP."""

    ACCESS = 6
    """The client lets the request not pass."""


def encode_frame(stream: int, kind: int, payload: bytes = b"") -> bytes:
    """Make a frame. ``kind`` may carry ``FIN``."""
    return _pack_header(stream, len(payload), kind) + payload


def encode_header(stream: int, count: int, kind: int) -> bytes:
    """Make the header of a frame whose payload of ``count`` bytes follows."""
    return _pack_header(stream, count, kind)


def decode_frames(message: bytes) -> Iterator[tuple[int, int, bool, bytes]]:
    """Take a message apart: stream, kind, FIN, payload of each frame.

    Raises ``WireError`` where a frame is cut short, unknown, or too large. What came
    before it in the message has been yielded by then.
    """
    position, end = 0, len(message)
    while position < end:
        if end - position < HEADER_BYTES:
            raise WireError(CLOSE_BAD_FRAME, "a frame's header is cut short")
        stream, length, flags = _unpack_header(message, position)
        kind = flags & _KIND_MASK
        position += HEADER_BYTES
        if kind not in _KINDS:
            raise WireError(CLOSE_BAD_FRAME, f"no frame is of kind {kind}")
        if length > MAX_PAYLOAD_BYTES and (
            kind not in _LARGE or length > MAX_OPEN_BYTES
        ):
            raise WireError(CLOSE_BAD_FRAME, f"a frame of {length} bytes is too large")
        stop = position + length
        if stop > end:
            raise WireError(CLOSE_BAD_FRAME, "a frame's payload is cut short")
        yield stream, kind, flags > _KIND_MASK, message[position:stop]
        position = stop


def encode_open(
    head: bytes, body: bytes, *, peer: bytes, flags: int, received_ms: int
) -> bytes:
    """Make OPEN's payload: where a request came from, its head, its first body bytes.

    ``peer`` is the visitor's address (255 bytes at most), ``flags`` is of ``SECURE``,
    ``CHUNKED``, ``UPGRADE``, ``received_ms`` the Unix time at which its head was whole.
    """
    return _OPEN.pack(received_ms, flags, len(peer), len(head)) + peer + head + body


def decode_open(payload: bytes) -> tuple[bytes, bytes, bytes, int, int]:
    """Return head, body, peer, flags, received_ms. Raises ``WireError``."""
    try:
        received_ms, flags, peer_bytes, head_bytes = _OPEN.unpack_from(payload)
    except StructError as error:
        raise WireError(CLOSE_BAD_FRAME, "an OPEN frame is cut short") from error
    head_start = _OPEN.size + peer_bytes
    body_start = head_start + head_bytes
    if body_start > len(payload):
        raise WireError(CLOSE_BAD_FRAME, "an OPEN frame is cut short")
    return (
        payload[head_start:body_start],
        payload[body_start:],
        payload[_OPEN.size : head_start],
        flags,
        received_ms,
    )


def encode_head(head: bytes, body: bytes) -> bytes:
    """Make HEAD's payload: an answer's head, and its first body bytes."""
    return _LENGTH.pack(len(head)) + head + body


def decode_head(payload: bytes) -> tuple[bytes, bytes]:
    """Return head and body. Raises ``WireError``."""
    if len(payload) < _LENGTH.size:
        raise WireError(CLOSE_BAD_FRAME, "a HEAD frame is cut short")
    end = _LENGTH.size + _LENGTH.unpack_from(payload)[0]
    if end > len(payload):
        raise WireError(CLOSE_BAD_FRAME, "a HEAD frame is cut short")
    return payload[_LENGTH.size : end], payload[end:]


def encode_reset(code: int, text: str) -> bytes:
    """Make RESET's payload: which end failed, and how, in one sentence."""
    return _RESET.pack(code) + text.encode()[:_MAX_TEXT_BYTES]


def decode_reset(payload: bytes) -> tuple[ResetCode, str]:
    """Return code and text. Raises ``WireError``."""
    if len(payload) < _RESET.size:
        raise WireError(CLOSE_BAD_FRAME, "a RESET frame is cut short")
    try:
        code = ResetCode(_RESET.unpack_from(payload)[0])
    except ValueError as error:
        raise WireError(CLOSE_BAD_FRAME, str(error)) from error
    return code, payload[_RESET.size :][:_MAX_TEXT_BYTES].decode(errors="replace")


def encode_number(number: int) -> bytes:
    """Make the payload of CREDIT (bytes) or ACK (a frame's number)."""
    return _U64.pack(number)


def decode_number(payload: bytes) -> int:
    """Return the number of CREDIT or ACK. Raises ``WireError``."""
    if len(payload) != _U64.size:
        raise WireError(CLOSE_BAD_FRAME, "a number has 8 bytes")
    number: int = _U64.unpack(payload)[0]
    return number


def encode_ping(sent_us: int, round_trip_us: int) -> bytes:
    """Make the payload of PING; PONG sends it back.

    ``sent_us`` is an instant of the sender's own clock, in microseconds;
    ``round_trip_us`` the last round trip it has measured, 0 for none.
    """
    return _PING.pack(sent_us, min(round_trip_us, 0xFFFFFFFF))


def decode_ping(payload: bytes) -> tuple[int, int]:
    """Return sent_us and round_trip_us. Raises ``WireError``."""
    if len(payload) != _PING.size:
        raise WireError(CLOSE_BAD_FRAME, "a PING or PONG has 12 bytes")
    sent_us, round_trip_us = _PING.unpack(payload)
    return sent_us, round_trip_us


def encode_json(value: dict[str, Any]) -> bytes:
    """Make the payload of HELLO, WELCOME or GOAWAY."""
    return json.dumps(value, separators=(",", ":")).encode()


def decode_json(payload: bytes) -> dict[str, Any]:
    """Return the object of HELLO, WELCOME or GOAWAY. Raises ``WireError``."""
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise WireError(CLOSE_BAD_FRAME, "a payload isn't JSON") from error
    if not isinstance(value, dict):
        raise WireError(CLOSE_BAD_FRAME, "a payload isn't a JSON object")
    return value
