"""tunnel/carriage.py: messages in a websocket's bytes, without a socket."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT
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
        self.carriage = Carriage(protocol, self.write)

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
