"""tunnel/carriage.py: messages in a websocket's bytes, without a socket."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, OPEN
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from tunnel.carriage import QUIET, Carriage
from tunnel.wire import CLOSE_BAD_FRAME

few = settings(max_examples=60, deadline=None)


class Side:
    """A carriage and what it has written."""

    def __init__(self, protocol):
        self.protocol = protocol
        self.written = b""
        token_bytes = os.urandom if protocol.side is CLIENT else None
        self.carriage = Carriage(protocol, self.write, token_bytes)

    def write(self, chunks):
        assert all(chunks)
        self.written += b"".join(chunks)

    def drain(self):
        written, self.written = self.written, b""
        return written


def joined(*, max_size=1 << 18):
    """Return both sides of an open websocket, client and server."""
    client = ClientProtocol(
        parse_uri("ws://localhost/"), max_size=max_size, logger=QUIET
    )
    server = ServerProtocol(max_size=max_size, logger=QUIET)
    client.send_request(client.connect())
    server.receive_data(b"".join(client.data_to_send()))
    server.send_response(server.accept(server.events_received()[0]))
    client.receive_data(b"".join(server.data_to_send()))
    sides = Side(client), Side(server)
    assert [side.carriage.feed(b"") for side in sides] == [[], []]
    return sides


def frame(opcode, data=b"", *, fin=True):
    """Make a frame as a client sends it."""
    return Frame(opcode, data, fin=fin).serialize(mask=True)


@few
@given(
    messages=st.lists(st.binary(max_size=200), max_size=5),
    cuts=st.lists(st.integers(1, 50), min_size=1),
    from_client=st.booleans(),
)
def test_messages_come_out_as_they_went_in_however_they_are_cut(
    messages, cuts, from_client
):
    source, target = joined() if from_client else joined()[::-1]
    for message in messages:
        source.carriage.send(message)
    data, found = source.drain(), []
    count = 0
    while data:
        size = cuts[count % len(cuts)]
        found += target.carriage.feed(data[:size])
        data = data[size:]
        count += 1

    assert found == messages


def test_fragments_are_one_message():
    _, server = joined()
    start = frame(Opcode.BINARY, b"ab", fin=False) + frame(
        Opcode.CONT, b"cd", fin=False
    )

    assert server.carriage.feed(start) == []
    assert server.carriage.feed(
        frame(Opcode.CONT, b"e") + frame(Opcode.BINARY, b"f")
    ) == [
        b"abcde",
        b"f",
    ]


def test_a_ping_of_the_websocket_is_answered():
    client, server = joined()

    assert server.carriage.feed(frame(Opcode.PING, b"hi")) == []
    assert client.carriage.feed(server.drain()) == []
    assert server.carriage.is_open


def test_what_was_sent_is_written_at_once():
    client, _ = joined()
    client.carriage.send(b"x")

    assert client.written


# The end


def test_a_text_message_closes_the_websocket_with_the_code_that_names_it():
    client, server = joined()
    messages = server.carriage.feed(frame(Opcode.TEXT, b"hello"))

    assert messages == []
    assert (server.carriage.close_code, server.carriage.close_reason) == (
        CLOSE_BAD_FRAME,
        "a text message",
    )
    client.carriage.feed(server.drain())
    assert client.carriage.close_code == CLOSE_BAD_FRAME
    assert client.carriage.close_reason == "a text message"


def test_the_other_end_hears_why():
    client, server = joined()
    server.carriage.close(4004, "a newer session has the name")
    client.carriage.feed(server.drain())

    assert not server.carriage.is_open
    assert not client.carriage.is_open
    assert client.carriage.close_code == 4004
    assert client.carriage.close_reason == "a newer session has the name"


def test_the_answer_to_a_close_keeps_the_first_reason():
    client, server = joined()
    server.carriage.close(4004, "mine")
    client.carriage.feed(server.drain())
    server.carriage.feed(client.drain())
    server.carriage.close(4000, "another")

    assert (server.carriage.close_code, server.carriage.close_reason) == (4004, "mine")
    assert server.drain() == b""


def test_a_reason_that_is_too_long_for_a_close_frame_is_cut():
    client, server = joined()
    server.carriage.close(4000, "x" * 500)
    client.carriage.feed(server.drain())

    assert client.carriage.close_reason == "x" * 120


def test_a_reason_of_long_characters_is_cut_too():
    client, server = joined()
    server.carriage.close(4000, "é" * 100)
    client.carriage.feed(server.drain())

    assert client.carriage.close_code == 4000
    assert set(client.carriage.close_reason) == {"é"}


def test_nothing_is_sent_once_the_websocket_is_closing():
    client, _ = joined()
    client.carriage.close(1000, "")
    client.drain()
    client.carriage.send(b"too late")

    assert client.written == b""


def test_a_message_above_the_bound_closes_the_websocket():
    _, server = joined()
    server.carriage.bound(10)
    small = server.carriage.feed(frame(Opcode.BINARY, bytes(10)))
    large = server.carriage.feed(frame(Opcode.BINARY, bytes(11)))

    assert (small, large) == ([bytes(10)], [])
    assert server.carriage.close_code == 1009
    assert "10" in server.carriage.close_reason


def test_fragments_count_together_for_the_bound():
    _, server = joined(max_size=10)
    server.carriage.feed(frame(Opcode.BINARY, bytes(6), fin=False))

    assert server.carriage.feed(frame(Opcode.CONT, bytes(6))) == []
    assert server.carriage.close_code == 1009


@pytest.mark.parametrize(
    "data",
    [b"\xf2" + bytes(20), Frame(Opcode.BINARY, b"unmasked").serialize(mask=False)],
    ids=["reserved bits", "not masked"],
)
def test_what_isnt_a_websockets_closes_it(data):
    _, server = joined()

    assert server.carriage.feed(data) == []
    assert server.carriage.close_code == 1002


@few
@given(st.binary(max_size=100))
def test_arbitrary_bytes_raise_nothing(data):
    _, server = joined()
    messages = server.carriage.feed(data)

    assert isinstance(messages, list)
    assert server.carriage.is_open == (server.carriage.close_code is None)


def test_a_websocket_that_never_opened_says_so():
    protocol = ServerProtocol(logger=QUIET)
    side = Side(protocol)
    side.carriage.feed(b"nonsense\r\n\r\n")

    assert not side.carriage.is_open
    assert side.carriage.close_code == 1006
    assert side.carriage.close_reason == ""


def test_the_side_of_a_client_masks_what_it_sends():
    client, _ = joined()
    client.carriage.send(bytes(100))

    assert client.protocol.side is CLIENT
    assert bytes(100) not in client.written


# The library at the other end: what it sends is read, and what is sent it must read

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
            a_protocol(is_client=is_client, most=most),
            self.written.extend,
            os.urandom if is_client else None,
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
