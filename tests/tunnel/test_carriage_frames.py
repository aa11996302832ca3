"""tunnel/carriage.py: messages in a websocket's bytes, as the library has them.

The library is the other end: what it sends is read, and what is sent it must read.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from tunnel.carriage import Carriage
from tunnel.wire import CLOSE_BAD_FRAME

MOST = 70_000
"""Bytes of a message: all three forms of a frame's length are below."""

SIZES = st.sampled_from([0, 1, 2, 125, 126, 127, 4096, 4097, 65_535, 65_536, MOST])


def a_protocol(*, is_client, most=MOST):
    """Return the library's protocol, past its handshake."""
    if is_client:
        uri = parse_uri("ws://localhost/")
        return ClientProtocol(uri, state=OPEN, max_size=most)
    return ServerProtocol(state=OPEN, max_size=most)


class Ends:
    """A carriage, and the library at the other end of it."""

    def __init__(self, *, is_client, most=MOST):
        self.written = []
        self.carriage = Carriage(
            a_protocol(is_client=is_client, most=most), self.written.extend
        )
        self.other = a_protocol(is_client=not is_client, most=None)

    def sent_by_other(self):
        return b"".join(self.other.data_to_send())

    def seen_by_other(self):
        """Return the frames that the carriage has written."""
        self.other.receive_data(b"".join(self.written))
        self.written.clear()
        return [
            (frame.opcode, bytes(frame.data)) for frame in self.other.events_received()
        ]


def in_pieces(data, sizes):
    """Cut bytes up: the pieces have these sizes, again and again."""
    position = turn = 0
    while position < len(data):
        size = sizes[turn % len(sizes)]
        yield data[position : position + size]
        position += size
        turn += 1


either_end = pytest.mark.parametrize("is_client", [True, False])


@st.composite
def saying(draw):
    """Make what the other end says: messages, whole or in parts, and pings between."""
    said = []
    for number in range(draw(st.integers(1, 4))):
        size = draw(SIZES)
        message = bytes([number + 1]) * size
        parts = draw(st.sampled_from([1, 1, 1, 2, 3]))
        step = size // parts + 1
        said.append([message[start : start + step] for start in range(0, size, step)])
    return [parts or [b""] for parts in said], draw(st.booleans())


@either_end
@settings(max_examples=60, deadline=None)
@given(saying(), st.lists(st.integers(1, 9_000), min_size=1, max_size=4))
def test_all_messages_come_whole_and_in_order_wherever_the_bytes_are_cut(
    is_client, said, sizes
):
    ends = Ends(is_client=is_client)
    messages, has_pings = said
    for parts in messages:
        if has_pings:
            ends.other.send_ping(b"there?")
        *first, last = parts
        if first:
            ends.other.send_binary(first[0], fin=False)
            for part in first[1:]:
                ends.other.send_continuation(part, fin=False)
            ends.other.send_continuation(last, fin=True)
        else:
            ends.other.send_binary(last)
    came = []
    for piece in in_pieces(ends.sent_by_other(), sizes):
        came += ends.carriage.feed(piece)

    assert came == [b"".join(parts) for parts in messages]
    assert all(type(message) is bytes for message in came)
    pongs = [(Opcode.PONG, b"there?")] * len(messages) if has_pings else []
    assert ends.seen_by_other() == pongs
    assert ends.carriage.is_open


@either_end
@given(st.lists(SIZES, min_size=1, max_size=4))
def test_the_library_reads_all_that_is_sent(is_client, sizes):
    ends = Ends(is_client=is_client)
    messages = [bytes([number + 1]) * size for number, size in enumerate(sizes)]
    for message in messages:
        ends.carriage.send(message)

    assert ends.seen_by_other() == [(Opcode.BINARY, message) for message in messages]


def test_no_two_frames_of_a_client_have_the_same_mask():
    ends = Ends(is_client=True)
    for _ in range(64):
        ends.carriage.send(bytes(100))

    assert len({frame[2:6] for frame in ends.written}) > 60


@either_end
def test_masks_must_be_right(is_client):
    ends = Ends(is_client=is_client)
    frame = Frame(Opcode.BINARY, b"message").serialize(mask=is_client)

    assert ends.carriage.feed(frame) == []
    assert ends.carriage.close_code == 1002
    assert not ends.carriage.is_open


@either_end
def test_a_message_above_the_bound_is_refused_before_it_is_there(is_client):
    ends = Ends(is_client=is_client, most=100)
    frame = Frame(Opcode.BINARY, bytes(101)).serialize(mask=not is_client)

    assert ends.carriage.feed(frame[:8]) == []
    assert ends.carriage.close_code == 1009


@either_end
def test_a_message_in_parts_is_bounded_as_a_whole(is_client):
    ends = Ends(is_client=is_client, most=100)
    ends.other.send_binary(bytes(60), fin=False)
    ends.other.send_continuation(bytes(60), fin=True)

    assert ends.carriage.feed(ends.sent_by_other()) == []
    assert ends.carriage.close_code == 1009


def test_the_bound_can_be_set_anew():
    ends = Ends(is_client=False, most=100)
    ends.carriage.bound(200)
    ends.other.send_binary(bytes(200))

    assert ends.carriage.feed(ends.sent_by_other()) == [bytes(200)]


@either_end
def test_a_message_between_the_parts_of_another_is_refused(is_client):
    ends = Ends(is_client=is_client)
    ends.other.send_binary(b"begun", fin=False)
    data = ends.sent_by_other()
    data += Frame(Opcode.BINARY, b"message").serialize(mask=not is_client)

    assert ends.carriage.feed(data) == []
    assert ends.carriage.close_code == 1002


@either_end
@pytest.mark.parametrize("first", [0xC2, 0xA2, 0x92, 0x83, 0x8B])
def test_reserved_bits_and_kinds_are_refused(is_client, first):
    ends = Ends(is_client=is_client)
    frame = Frame(Opcode.BINARY, b"message").serialize(mask=not is_client)

    assert ends.carriage.feed(bytes([first]) + frame[1:]) == []
    assert ends.carriage.close_code == 1002


@either_end
def test_text_is_refused(is_client):
    ends = Ends(is_client=is_client)
    ends.other.send_text(b"message")

    assert ends.carriage.feed(ends.sent_by_other()) == []
    assert ends.carriage.close_code == CLOSE_BAD_FRAME


@either_end
def test_what_came_before_the_close_counts_and_nothing_after_it(is_client):
    ends = Ends(is_client=is_client)
    ends.other.send_binary(b"last")
    ends.other.send_close(1001, "the relay stops")
    data = ends.sent_by_other()
    data += Frame(Opcode.BINARY, b"late").serialize(mask=not is_client)

    assert ends.carriage.feed(data) == [b"last"]
    assert (ends.carriage.close_code, ends.carriage.close_reason) == (
        1001,
        "the relay stops",
    )
    assert ends.carriage.feed(data) == []
    ends.written.clear()
    ends.carriage.send(b"nobody hears")
    assert ends.written == []
