"""One session of a link, without its socket: streams, credit, turns, resume.

Both ends use the same ``Link``; only the relay opens streams. Messages come in by
``receive``, go out by ``take``; whatever there is to say calls ``on_ready`` once, and
whoever holds the socket then takes messages until it is full. A link outlives its
socket: ``resume`` sends again what the other end hasn't seen.

Pure: the present instant is asked of ``now_s``, given at the start. The rules: a
violation (a stream that never was, more than the window, a frame out of turn) raises
``WireError``; frames for a stream that is over are what was under way when it ended,
and are dropped. ``Stream`` and ``Link`` stand in one file: they are one state machine,
and neither makes sense without the other's inside.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from tunnel.errors import WireError
from tunnel.flow import (
    GROWTH_BYTES,
    INITIAL_WINDOW_BYTES,
    LINK_CREDIT_BYTES,
    LINK_RESERVE_BYTES,
    LINK_WINDOW_BYTES,
    MAX_UNACKED_BYTES,
    MAX_WINDOW_BYTES,
    Growth,
    Outflow,
    ReceiveWindow,
    Turns,
)
from tunnel.wire import (
    CLOSE_BAD_FRAME,
    CLOSE_UNKNOWN_STREAM,
    FIN,
    HEADER_BYTES,
    MAX_MESSAGE_BYTES,
    NUMBERED,
    Kind,
    ResetCode,
    decode_frames,
    decode_number,
    decode_ping,
    decode_reset,
    encode_frame,
    encode_header,
    encode_number,
    encode_ping,
    encode_reset,
)

__all__ = ["Link", "Sink", "Stream"]

_ACK_AFTER_BYTES = 1 << 16

_MAX_STREAM = 0xFFFFFFFF

_OPEN, _HEAD, _DATA, _CREDIT = Kind.OPEN, Kind.HEAD, Kind.DATA, Kind.CREDIT
_RESET, _UPGRADED, _PING, _PONG, _ACK = (
    Kind.RESET,
    Kind.UPGRADED,
    Kind.PING,
    Kind.PONG,
    Kind.ACK,
)


class Sink(Protocol):
    """What a stream's own end does with what comes from the other."""

    def on_head(self, payload: bytes, is_last: bool) -> None:
        """An answer's head; the relay's end only."""

    def on_data(self, data: bytes) -> None:
        """Body bytes: to be accepted (``Stream.accept``) when the far socket has."""

    def on_end(self, trailers: bytes) -> None:
        """The body is whole."""

    def on_upgraded(self) -> None:
        """Raw bytes from here on; the relay's end only."""

    def on_reset(self, code: ResetCode, text: str) -> None:
        """The stream is over."""

    def on_room(self) -> None:
        """More may be sent (``Stream.is_full`` is false again)."""


class Stream:
    """A request and its answer, seen from one end."""

    __slots__ = (
        "_closed",
        "_link",
        "_received",
        "_trailers",
        "got_end",
        "id",
        "outflow",
        "sent_end",
        "sink",
    )

    def __init__(self, link: Link, stream: int, sink: Sink | None) -> None:
        self.id = stream
        self.sink = sink
        self.sent_end = False
        self.got_end = False
        self.outflow: Outflow | None = None
        self._link = link
        self._received: ReceiveWindow | None = None
        self._trailers: bytes | None = None
        self._closed = False

    @property
    def is_over(self) -> bool:
        """Whether nothing more can be sent or come."""
        return self._closed

    @property
    def is_full(self) -> bool:
        """Whether its source should stop until ``on_room``."""
        outflow = self.outflow
        return outflow is not None and outflow.buffered >= min(
            outflow.room, INITIAL_WINDOW_BYTES
        )

    def send_head(self, payload: bytes, *, is_last: bool) -> None:
        """Send an answer's head, with its first bytes."""
        self._link._send_ordered(self.id, _HEAD | FIN if is_last else _HEAD, payload)
        if is_last:
            self._end_sent()

    def send_upgraded(self) -> None:
        """Say that raw bytes follow."""
        self._link._send_ordered(self.id, _UPGRADED, b"")

    def send_data(self, data: bytes) -> None:
        """Send body bytes, as window and turns allow; none once the stream is over."""
        if self._closed:
            return
        outflow = self.outflow
        if outflow is None:
            outflow = self.outflow = Outflow(self.id, INITIAL_WINDOW_BYTES)
        outflow.add(data)
        self._link._join(outflow)

    def send_end(self, trailers: bytes = b"") -> None:
        """Say that the body is whole, once all its bytes are sent."""
        if self.outflow is not None and self.outflow.buffered:
            self._trailers = trailers
        else:
            self._link._send_ordered(self.id, _DATA | FIN, trailers)
            self._end_sent()

    def reset(self, code: ResetCode, text: str) -> None:
        """Cut the stream off, and say why."""
        if not self._closed:
            self._link._send_ordered(self.id, _RESET, encode_reset(code, text))
            self._cut()

    def accept(self, count: int) -> None:
        """Say that the far socket has taken ``count`` bytes of those received.

        Also of a stream that has ended. Of one that was cut off nothing is owed.
        """
        link, received = self._link, self._received
        if received is None:
            return
        credit = received.accept(count, link.now_s(), link.round_trip_s)
        if credit and not self.got_end:
            link._send_control(self.id, _CREDIT, encode_number(credit))
        link._accept(count)

    def _end_sent(self) -> None:
        self.sent_end = True
        if self.got_end:
            self._close()

    def _end_received(self) -> None:
        self.got_end = True
        if self.sent_end:
            self._close()

    def _drained(self) -> None:
        """All that waited is on its way."""
        if self._trailers is not None:
            trailers, self._trailers = self._trailers, None
            self._link._send_ordered(self.id, _DATA | FIN, trailers)
            self._end_sent()

    def _close(self) -> None:
        self._closed = True
        # Whoever is told through it knows the stream, too: no circle is left behind.
        self.sink = None
        if self.outflow is not None:
            self.outflow.clear()
        if self._received is not None:
            self._received.close()
        self._link._forget(self.id)

    def _cut(self) -> None:
        """Close at once: whatever had come and was still held is thrown away.

        The link gets its room back here, since nobody will accept those bytes.
        """
        self._close()
        received, self._received = self._received, None
        if received is not None and received.held:
            self._link._accept(received.held)

    def _receive(self, count: int) -> None:
        if self._received is None:
            self._received = ReceiveWindow(
                INITIAL_WINDOW_BYTES, MAX_WINDOW_BYTES, self._link._growth
            )
        self._received.receive(count)


class Link:
    """A session's streams, and what both ends owe each other.

    ``on_ready`` is called when there is something to take and there wasn't before;
    ``on_open`` for each stream that the other end opens (the client's end only: the
    relay's gives ``None``, and an OPEN is then a violation).
    """

    # A relay has thousands of these.
    __slots__ = (
        "_acked",
        "_control",
        "_control_numbered",
        "_growth",
        "_is_ready",
        "_last_stream",
        "_on_open",
        "_on_ready",
        "_ordered",
        "_pinged_us",
        "_received",
        "_resend",
        "_room",
        "_sent",
        "_streams",
        "_told",
        "_turns",
        "_unacked",
        "_unacked_bytes",
        "_untold_bytes",
        "now_s",
        "round_trip_s",
        "seen",
    )

    def __init__(
        self,
        *,
        now_s: Callable[[], float],
        on_ready: Callable[[], None],
        on_open: Callable[[Stream, bytes, bool], None] | None = None,
    ) -> None:
        self.now_s = now_s
        self.round_trip_s = 0.0
        """As measured last; 0 for not yet."""
        self.seen = 0
        """How many numbered frames have come: what a resume tells the other end."""
        self._on_ready = on_ready
        self._on_open = on_open
        self._is_ready = False
        self._streams: dict[int, Stream] = {}
        self._last_stream = 0
        self._control: list[bytes] = []
        self._control_numbered = 0
        self._ordered: deque[bytes] = deque()
        self._turns = Turns()
        self._room = LINK_WINDOW_BYTES
        self._received = ReceiveWindow(
            LINK_WINDOW_BYTES, LINK_WINDOW_BYTES, portion=LINK_CREDIT_BYTES
        )
        self._growth = Growth(GROWTH_BYTES)
        self._sent = 0
        self._acked = 0
        self._unacked: deque[tuple[int, bytes]] = deque()
        self._unacked_bytes = 0
        self._resend: list[bytes] = []
        self._told = 0
        self._untold_bytes = 0
        self._pinged_us = 0

    # Outwards

    @property
    def open_streams(self) -> int:
        """How many requests are under way."""
        return len(self._streams)

    @property
    def is_spent(self) -> bool:
        """Whether all stream numbers have been used: a new session is due."""
        return self._last_stream >= _MAX_STREAM

    def open(self, payload: bytes, sink: Sink, *, is_last: bool) -> Stream:
        """Open a stream for a request; the relay's end only."""
        self._last_stream += 1
        number = self._last_stream
        stream = self._streams[number] = Stream(self, number, sink)
        stream.sent_end = is_last
        self._send_ordered(number, _OPEN | FIN if is_last else _OPEN, payload)
        return stream

    def ping(self) -> None:
        """Ask the other end for a sign of life, and measure the way."""
        self._pinged_us = int(self.now_s() * 1_000_000)
        round_trip_us = int(self.round_trip_s * 1_000_000)
        self._send_control(0, _PING, encode_ping(self._pinged_us, round_trip_us))

    def take(self) -> bytes:
        """Return the next message to send; empty if there is nothing now."""
        if self._resend:
            return self._resend.pop()
        self._is_ready = False
        if not (self._ordered or self._control or self._turns) and (
            self.seen == self._told
        ):
            return b""
        if self.seen > self._told:
            self._told = self.seen
            self._untold_bytes = 0
            self._control.append(encode_frame(0, _ACK, encode_number(self.seen)))
        parts: list[bytes | memoryview] = list(self._control)
        numbered = self._control_numbered
        size = sum(map(len, parts))
        self._control.clear()
        self._control_numbered = 0
        ordered = self._ordered
        while ordered and (not size or size + len(ordered[0]) <= MAX_MESSAGE_BYTES):
            frame = ordered.popleft()
            parts.append(frame)
            size += len(frame)
            numbered += 1
        if self._turns:
            size, count = self._take_bodies(parts, size)
            numbered += count
        if not parts:
            return b""
        message = b"".join(parts)
        if numbered:
            self._sent += numbered
            self._unacked.append((self._sent, message))
            self._unacked_bytes += size
        return message

    def _take_bodies(
        self, parts: list[bytes | memoryview], size: int
    ) -> tuple[int, int]:
        count = 0
        while (
            self._room > 0
            and not self._ordered  # a stream's end came up: it goes in order
            and size < MAX_MESSAGE_BYTES - MAX_MESSAGE_BYTES // 8
            and self._unacked_bytes + size < MAX_UNACKED_BYTES
        ):
            turn = self._turns.next(
                min(self._room, MAX_MESSAGE_BYTES - HEADER_BYTES - size),
                only_short=self._room <= LINK_RESERVE_BYTES,
            )
            if turn is None:
                break
            outflow, piece = turn
            parts.append(encode_header(outflow.stream, len(piece), _DATA))
            parts.append(piece)
            size += HEADER_BYTES + len(piece)
            count += 1
            self._room -= len(piece)
            stream = self._streams[outflow.stream]
            if not outflow.buffered:
                stream._drained()
            if not stream.is_over and not stream.is_full and stream.sink is not None:
                stream.sink.on_room()
        return size, count

    # Inwards

    def receive(self, message: bytes) -> None:
        """Take in a message, whole. Raises ``WireError``; the link is then done for."""
        streams = self._streams
        for number, kind, is_last, payload in decode_frames(message):
            if kind in NUMBERED:
                self.seen += 1
                stream = streams.get(number)
                if kind == _OPEN:
                    self._receive_open(number, payload, is_last)
                elif number == 0 and kind == _CREDIT:
                    self._room += decode_number(payload)
                    self._ready()
                elif stream is None:
                    self._receive_late(number, kind, is_last, payload)
                elif kind == _HEAD:
                    if self._on_open is not None or stream.got_end:
                        raise WireError(CLOSE_BAD_FRAME, "a HEAD frame out of turn")
                    sink = stream.sink
                    if is_last:
                        stream._end_received()
                    if sink is not None:
                        sink.on_head(payload, is_last)
                else:
                    self._receive_on(stream, kind, is_last, payload)
            else:
                self._receive_about_link(kind, payload)
        self._untold_bytes += len(message)
        if self._untold_bytes >= _ACK_AFTER_BYTES and not self._is_ready:
            self._ready()

    def _receive_open(self, number: int, payload: bytes, is_last: bool) -> None:
        if self._on_open is None or number != self._last_stream + 1:
            raise WireError(CLOSE_BAD_FRAME, f"an OPEN frame for stream {number}")
        self._last_stream = number
        stream = self._streams[number] = Stream(self, number, None)
        stream.got_end = is_last
        self._on_open(stream, payload, is_last)

    def _receive_late(
        self, number: int, kind: int, is_last: bool, payload: bytes
    ) -> None:
        """A frame for a stream that is over, or that never was."""
        if not 0 < number <= self._last_stream:
            raise WireError(CLOSE_UNKNOWN_STREAM, f"there is no stream {number}")
        if kind == _DATA and not is_last:
            self._received.receive(len(payload))
            self._accept(len(payload))

    def _receive_on(
        self, stream: Stream, kind: int, is_last: bool, payload: bytes
    ) -> None:
        sink = stream.sink
        if kind == _DATA:
            if stream.got_end:
                raise WireError(CLOSE_BAD_FRAME, "a DATA frame after the last")
            if is_last:
                stream._end_received()
                if sink is not None:
                    sink.on_end(payload)
                return
            stream._receive(len(payload))
            self._received.receive(len(payload))
            if sink is None:
                stream.accept(len(payload))
            else:
                sink.on_data(payload)
        elif kind == _CREDIT:
            outflow = stream.outflow
            if outflow is None:
                raise WireError(CLOSE_BAD_FRAME, "credit for what wasn't sent")
            outflow.room += decode_number(payload)
            self._join(outflow)
            if sink is not None and not stream.is_full:
                sink.on_room()
        elif kind == _RESET:
            code, text = decode_reset(payload)
            stream._cut()
            if sink is not None:
                sink.on_reset(code, text)
        else:
            if self._on_open is not None:
                raise WireError(CLOSE_BAD_FRAME, "an UPGRADED frame from the relay")
            if sink is not None:
                sink.on_upgraded()

    def _receive_about_link(self, kind: int, payload: bytes) -> None:
        if kind == _PING:
            round_trip_us = decode_ping(payload)[1]
            if self._pinged_us == 0 and round_trip_us:
                self.round_trip_s = round_trip_us / 1_000_000
            self._send_control(0, _PONG, payload)
        elif kind == _PONG:
            sent_us = decode_ping(payload)[0]
            # One that was sent again with a resume would measure the break.
            if sent_us == self._pinged_us:
                self.round_trip_s = self.now_s() - sent_us / 1_000_000
        elif kind == _ACK:
            self._acknowledge(decode_number(payload))
        else:
            raise WireError(CLOSE_BAD_FRAME, f"a {Kind(kind).name} frame out of turn")

    def _acknowledge(self, seen: int) -> None:
        if seen > self._sent:
            raise WireError(CLOSE_BAD_FRAME, "an ACK of what wasn't sent")
        unacked = self._unacked
        was_full = self._unacked_bytes >= MAX_UNACKED_BYTES
        while unacked and unacked[0][0] <= seen:
            self._acked, message = unacked.popleft()
            self._unacked_bytes -= len(message)
        if was_full:
            self._ready()

    # A new socket, or the end

    def can_resume(self, seen: int) -> bool:
        """Whether the other end can go on, having seen so many numbered frames."""
        if self.is_spent:
            return False
        return seen == self._acked or any(sent == seen for sent, _ in self._unacked)

    def resume(self, seen: int) -> None:
        """Go on with a new socket: the other end has seen so many numbered frames.

        Raises ``WireError`` if that can't be.
        """
        if not self.can_resume(seen):
            raise WireError(CLOSE_BAD_FRAME, "a resume of what wasn't sent or is gone")
        self._acknowledge(seen)
        self._resend = [message for _, message in reversed(self._unacked)]
        self._ready()

    def cut(self, code: ResetCode, text: str) -> None:
        """Cut all streams off at both ends; the session goes on."""
        for stream in tuple(self._streams.values()):
            sink = stream.sink
            stream.reset(code, text)
            if sink is not None:
                sink.on_reset(code, text)

    def end(self, code: ResetCode, text: str) -> None:
        """Cut all streams off: the session is over."""
        for stream in tuple(self._streams.values()):
            sink = stream.sink
            stream._close()
            if sink is not None:
                sink.on_reset(code, text)
        self._control.clear()
        self._ordered.clear()
        self._unacked.clear()
        self._resend.clear()

    # What streams ask of their link

    def _send_ordered(self, stream: int, kind: int, payload: bytes) -> None:
        self._ordered.append(encode_frame(stream, kind, payload))
        if not self._is_ready:
            self._ready()

    def _send_control(self, stream: int, kind: int, payload: bytes) -> None:
        self._control.append(encode_frame(stream, kind, payload))
        if kind in NUMBERED:
            self._control_numbered += 1
        if not self._is_ready:
            self._ready()

    def _join(self, outflow: Outflow) -> None:
        self._turns.join(outflow)
        if not self._is_ready:
            self._ready()

    def _accept(self, count: int) -> None:
        credit = self._received.accept(count, 0.0, 0.0)
        if credit:
            self._send_control(0, _CREDIT, encode_number(credit))

    def _forget(self, stream: int) -> None:
        self._streams.pop(stream, None)

    def _ready(self) -> None:
        self._is_ready = True
        self._on_ready()
