"""tunnel/http_body.py: where bodies end, and how chunks are read and written."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunnel.http_body import (
    MAX_CHUNK_LINE_BYTES,
    MAX_TRAILER_BYTES,
    BodyReader,
    encode_chunk,
    last_chunk,
)
from tunnel.http_grammar import BadMessage

few = settings(max_examples=100)

BAD_LINE = (
    "a chunk must begin with its size in hexadecimal and CR LF, in at most 256 bytes"
)
BAD_END = "a chunk must end with CR LF where its size says"


def read(reader, *pieces):
    return b"".join([reader.feed(piece) for piece in pieces])


def one_by_one(data):
    return [data[at : at + 1] for at in range(len(data))]


def refusal_of(data, *, pieces=None):
    reader = BodyReader(None, True)
    with pytest.raises(BadMessage) as caught:
        read(reader, *(pieces or [data]))
    return caught.value.status, caught.value.reason


# Counted


def test_no_body_is_whole_at_once():
    reader = BodyReader(0, False)

    assert reader.is_finished
    assert (reader.rest, reader.trailers) == (b"", b"")


def test_a_counted_body_ends_with_its_last_byte():
    reader = BodyReader(5, False)

    assert reader.feed(b"hel") == b"hel"
    assert not reader.is_finished
    assert reader.feed(b"lo") == b"lo"
    assert reader.is_finished
    assert reader.rest == b""


def test_what_follows_a_counted_body_is_kept_apart():
    reader = BodyReader(5, False)

    assert reader.feed(b"helloGET") == b"hello"
    assert reader.feed(b" /") == b""
    assert reader.rest == b"GET /"


def test_bytes_of_a_body_are_not_copied():
    data = bytes(1000)

    assert BodyReader(1000, False).feed(data) is data
    assert BodyReader(5000, False).feed(data) is data
    assert BodyReader(None, False, until_close=True).feed(data) is data
    chunked = BodyReader(None, True)
    chunked.feed(b"5000\r\n")
    assert chunked.feed(data) is data


# Until the end


def test_a_body_may_last_until_the_connection_ends():
    reader = BodyReader(None, False, until_close=True)

    assert read(reader, b"a", b"", b"b") == b"ab"
    assert not reader.is_finished
    reader.end()
    assert reader.is_finished


@pytest.mark.parametrize(
    ("length", "is_chunked", "data"),
    [(5, False, b"hell"), (None, True, b"5\r\nhello\r\n0\r\n"), (None, True, b"")],
)
def test_any_other_body_must_be_whole_by_then(length, is_chunked, data):
    reader = BodyReader(length, is_chunked)
    reader.feed(data)

    with pytest.raises(BadMessage) as caught:
        reader.end()

    assert caught.value.reason == "the connection ended before the body did"
    assert not reader.is_finished


def test_the_connection_may_end_behind_a_whole_body():
    reader = BodyReader(None, True)
    reader.feed(b"0\r\n\r\n")
    reader.end()

    assert reader.is_finished


# Chunks

WHOLE = b'5\r\nhello\r\n1;a;b=c;d="\\"e ;"\r\n \r\n00A\r\n0123456789\r\n000\r\n\r\n'


def test_chunks_leave_their_bytes_and_nothing_else():
    reader = BodyReader(None, True)

    assert reader.feed(WHOLE + b"GET") == b"hello 0123456789"
    assert reader.is_finished
    assert (reader.trailers, reader.rest) == (b"", b"GET")


def test_what_follows_the_end_of_the_chunks_is_kept_apart():
    reader = BodyReader(None, True)

    assert read(reader, b"0\r\n\r\n0", b"\r\n\r\n") == b""
    assert reader.rest == b"0\r\n\r\n"


@pytest.mark.parametrize("cut", range(1, len(WHOLE)))
def test_chunks_may_be_cut_anywhere(cut):
    reader = BodyReader(None, True)

    assert read(reader, WHOLE[:cut], WHOLE[cut:]) == b"hello 0123456789"
    assert reader.is_finished
    assert reader.rest == b""


def test_chunks_may_come_byte_by_byte():
    reader = BodyReader(None, True)

    assert read(reader, *one_by_one(WHOLE)) == b"hello 0123456789"
    assert reader.is_finished


@pytest.mark.parametrize(
    "line",
    [
        *(
            b"",
            b"x",
            b"+5",
            b"-5",
            b" 5",
            b"5 ",
            b"\t5",
            b"0x5",
            b"5,",
            b"5g",
            b"5\x00",
        ),
        *(
            b"5;",
            b"5 ;a",
            b"5; a",
            b"5;a ",
            b"5;a =b",
            b"5;a=",
            b"5;=b",
            b'5;a="',
            b";a",
        ),
        *(b"5;a\x00", b"5;a=b\x7f", b'5;a="b"c', b'5;a="\x01"', b"0" * 17, b"5\r"),
        *(b"5;" + b"a" * (MAX_CHUNK_LINE_BYTES - 3), b"5;" + b"a" * 100_000),
    ],
)
def test_any_other_first_line_of_a_chunk_is_refused(line):
    data = line + b"\r\nhello\r\n0\r\n\r\n"

    assert refusal_of(data) == (400, BAD_LINE)
    assert refusal_of(data, pieces=one_by_one(data)) == (400, BAD_LINE)


@pytest.mark.parametrize(
    "data", [b"5\nhello", b"5\rhello", b"5;a\nhello", b"\n", b"5\r5"]
)
def test_a_size_ends_with_cr_lf(data):
    assert refusal_of(data) == (400, BAD_LINE)
    assert refusal_of(data, pieces=one_by_one(data)) == (400, BAD_LINE)


def test_a_size_line_may_have_its_most_bytes():
    longest = b"5;" + b"a" * (MAX_CHUNK_LINE_BYTES - 4) + b"\r\n"

    assert len(longest) == MAX_CHUNK_LINE_BYTES
    for pieces in ([longest], one_by_one(longest)):
        assert read(BodyReader(None, True), *pieces, b"hello\r\n") == b"hello"


def test_a_line_that_can_not_become_a_size_is_not_waited_for():
    assert refusal_of(b"5;" + b"a" * MAX_CHUNK_LINE_BYTES) == (400, BAD_LINE)
    assert refusal_of(b"hello") == (400, BAD_LINE)


@pytest.mark.parametrize("end", [b"!!", b"\n\n", b"\r\r", b"\n\r", b"0\r", b"\r0"])
def test_a_chunk_ends_where_its_size_says(end):
    data = b"5\r\nhello" + end + b"0\r\n\r\n"

    assert refusal_of(data) == (400, BAD_END)
    assert refusal_of(data, pieces=one_by_one(data)) == (400, BAD_END)
    assert refusal_of(data, pieces=[data[:9], data[9:]]) == (400, BAD_END)


@pytest.mark.parametrize("size", [b"ffffffffffffffff", b"00000000000000F0"])
def test_a_size_has_up_to_16_digits(size):
    reader = BodyReader(None, True)

    assert reader.feed(size + b"\r\nhello") == b"hello"
    assert not reader.is_finished


# Trailers


@pytest.mark.parametrize("is_cut", [False, True])
def test_trailers_are_kept_as_they_arrived(is_cut):
    trailers = b"Grpc-Status: 0\r\nx:\ty \xff\r\n"
    data = b"1\r\na\r\n0\r\n" + trailers + b"\r\n"
    reader = BodyReader(None, True)

    assert read(reader, *(one_by_one(data) if is_cut else [data]), b"GET") == b"a"
    assert reader.is_finished
    assert (reader.trailers, reader.rest) == (trailers, b"GET")


@pytest.mark.parametrize(
    "line", [b" A: b", b"A : b", b"A", b"A: \x00", b": b", b"A\n: b"]
)
def test_a_trailer_is_a_header_line(line):
    assert refusal_of(b"0\r\nB: c\r\n" + line + b"\r\n\r\n") == (
        400,
        "a trailer must be a name, a colon, a value",
    )


@pytest.mark.parametrize(
    "name",
    [
        *("Content-Length", "content_length", "Transfer-Encoding", "transfer_encoding"),
        *("Host", "TE", "Trailer", "Connection", "Keep-Alive", "Upgrade", "Expect"),
        *("Authorization", "Proxy-Authorization", "Cookie", "Set-Cookie", "Forwarded"),
        *("Content-Encoding", "Content-Type", "Content-Range", "Cache-Control"),
        *("X-Forwarded-For", "x-forwarded-anything", "Max-Forwards"),
    ],
)
@pytest.mark.parametrize("before", [b"", b"A: b\r\n"])
def test_a_trailer_can_not_be_what_heads_are_for(name, before):
    """RFC 9110, 6.5.1."""
    data = b"0\r\n" + before + name.encode() + b": 5\r\n\r\n"

    assert refusal_of(data) == (400, f"{name} can't be a trailer")


def test_a_trailer_may_look_like_one_of_these():
    data = b"0\r\nA-Host: b\r\nHosts: c\r\nX: Host: d\r\n\r\n"
    reader = BodyReader(None, True)
    reader.feed(data)

    assert reader.trailers == data[3:-2]


def test_trailers_have_bounds():
    longest = b"A: " + b"a" * (MAX_TRAILER_BYTES - 5) + b"\r\n"
    for pieces in ([longest + b"\r\n"], [longest, b"\r\n"], [longest + b"\r", b"\n"]):
        reader = BodyReader(None, True)
        read(reader, b"0\r\n", *pieces)
        assert reader.trailers == longest

    too_long = b"0\r\nA" + longest
    reason = "trailers are longer than 8192 bytes"
    assert refusal_of(too_long + b"\r\n") == (431, reason)
    assert refusal_of(b"", pieces=[too_long[:-1], b"\n\r\n"]) == (431, reason)
    assert refusal_of(b"0\r\nA: " + b"a" * 100_000) == (431, reason)


# Work


def test_the_work_does_not_grow_with_what_was_read_before():
    """Each byte is looked at a bounded number of times, and none is kept."""
    reader = BodyReader(None, True)
    piece = b"1\r\na\r\n" * 1000

    for _ in range(50):
        assert reader.feed(piece) == b"a" * 1000
        assert reader._chunks._held == b""
    for part in one_by_one(piece):
        reader.feed(part)
        assert len(reader._chunks._held) <= 2


# Writing


def test_a_chunk_has_its_size_in_front():
    assert encode_chunk(b"0123456789ab") == b"c\r\n0123456789ab\r\n"


def test_an_empty_chunk_is_not_written_since_it_would_be_the_last():
    assert encode_chunk(b"") == b""


def test_the_last_chunk_carries_the_trailers():
    assert last_chunk() == b"0\r\n\r\n"
    assert last_chunk(b"A: b\r\n") == b"0\r\nA: b\r\n\r\n"


@few
@given(
    st.lists(st.binary(max_size=300), max_size=8),
    st.lists(st.integers(0, 3000), max_size=12),
    st.sampled_from([b"", b"A: b\r\n", b"A: b\r\nC:\r\n"]),
    st.binary(max_size=20),
)
def test_what_is_written_in_chunks_is_read_the_same_however_it_is_cut(
    bodies, cuts, trailers, rest
):
    written = b"".join(map(encode_chunk, bodies)) + last_chunk(trailers) + rest
    edges = [0, *sorted(min(cut, len(written)) for cut in cuts), len(written)]
    reader = BodyReader(None, True)

    pieces = [written[a:b] for a, b in pairwise(edges)]

    assert read(reader, *pieces) == b"".join(bodies)
    assert reader.is_finished
    assert (reader.trailers, reader.rest) == (trailers, rest)


@few
@given(
    st.binary(max_size=60) | st.text('0159aF;="x\r\n\n', max_size=60).map(str.encode)
)
def test_hostile_chunks_are_read_alike_whole_and_byte_by_byte(data):
    def outcome(pieces):
        reader = BodyReader(None, True)
        try:
            body = read(reader, *pieces)
        except BadMessage:
            return None
        return body, reader.is_finished, reader.rest, reader.trailers

    assert outcome([data]) == outcome(one_by_one(data))
