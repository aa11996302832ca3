"""emulator/transport/response.py and head.py: bytes in, one response out.

What a good and what a bad answer is, test_differential.py says against aiohttp; here
are the rules that hold for all bytes, and the bounds.
"""

from __future__ import annotations

import gzip
import itertools
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from emulator.transport.head import MAX_HEAD_BYTES, BadResponse, parse_head
from emulator.transport.response import BadBody, CutOff, ResponseParser

HEAD = b"HTTP/1.1 200 OK\r\n"

CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"

ANSWERS = [
    HEAD + b"Content-Length: 5\r\n\r\nhello",
    HEAD + b"Content-Length: 0\r\n\r\n",
    HEAD + b"\r\nhello",
    HEAD + b"X: a\r\n b\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
    b"\r\nHTTP/1.1 103 Early\r\nLink: a\r\n\r\n" + HEAD + b"Content-Length: 1\r\n\r\na",
    CHUNKED + b"2\r\nhe\r\n3;a=b\r\nllo\r\n0\r\nX: 1\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"hello", mtime=0),
]


def parsed(*pieces: bytes, limit_bytes: int = 100) -> ResponseParser:
    """A parser that was fed pieces, and then the end of the connection."""
    parser = ResponseParser(max_body_bytes=limit_bytes)
    for piece in pieces:
        parser.feed(piece)
    parser.end()
    return parser


def verdict(*pieces: bytes) -> object:
    """What comes of pieces: the response, or the kind of the problem."""
    try:
        parser = parsed(*pieces)
    except ValueError as error:
        return type(error)
    return parser.head, parser.body, parser.is_kept


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_in_two_pieces_is_the_same_answer(answer):
    whole = verdict(answer)

    assert not isinstance(whole, type)
    for cut in range(len(answer) + 1):
        assert verdict(answer[:cut], answer[cut:]) == whole


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_in_single_bytes_is_the_same_answer(answer):
    pieces = [answer[index : index + 1] for index in range(len(answer))]

    assert verdict(*pieces) == verdict(answer)


hostile = st.builds(
    lambda start, change, answer: (
        answer[: start % len(answer)] + change + answer[start % len(answer) :]
    ),
    st.integers(0, 200),
    st.binary(max_size=6),
    st.sampled_from(ANSWERS),
)


@given(hostile | st.binary(max_size=200), st.lists(st.integers(0, 300), max_size=4))
@example(b"\r", [])
@example(HEAD + b": \r\n\r\n", [3])
def test_any_bytes_are_a_response_or_a_problem_and_the_same_in_any_pieces(data, cuts):
    """DLV-16: nothing else is raised."""
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in itertools.pairwise(edges)]

    assert verdict(*pieces) == verdict(data)


def test_a_response_has_ended_with_its_last_byte():
    for answer in (ANSWERS[0], ANSWERS[6], ANSWERS[7]):
        parser = ResponseParser(max_body_bytes=100)

        assert not parser.feed(answer[:-1])
        assert parser.feed(answer[-1:])


def test_what_comes_after_the_end_is_not_read_and_ends_the_connections_use():
    parser = ResponseParser(max_body_bytes=100)

    assert parser.feed(ANSWERS[0] + b"more")
    assert parser.body == b"hello"
    assert not parser.is_kept


@pytest.mark.parametrize(
    ("answer", "is_kept"),
    [
        (HEAD + b"Content-Length: 0\r\n\r\n", True),
        (HEAD + b"Connection: close\r\nContent-Length: 0\r\n\r\n", False),
        (HEAD + b"\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
        (
            b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
            True,
        ),
        (CHUNKED + b"0\r\n\r\n", True),
    ],
)
def test_a_connection_is_kept_where_the_server_keeps_it(answer, is_kept):
    """RFC 9112, 9.3."""
    assert parsed(answer).is_kept is is_kept


def test_a_body_that_breaks_off_is_told_from_a_head_that_does():
    with pytest.raises(CutOff):
        parsed(HEAD + b"Content-Length: 5\r\n\r\nhell")
    with pytest.raises(CutOff):
        parsed(CHUNKED + b"5\r\nhello\r\n0\r\n")
    with pytest.raises(BadResponse):
        parsed(HEAD)


def test_a_gzip_body_that_is_none_is_told_from_a_response_that_is_none():
    """DLV-7."""
    head = HEAD + b"Content-Encoding: gzip\r\n"

    with pytest.raises(BadBody):
        parsed(head + b"Content-Length: 5\r\n\r\nhello")
    with pytest.raises(BadBody):
        parsed(head + b"\r\n" + gzip.compress(b"hello")[:-1])


@pytest.mark.parametrize("size", [0, 99, 100, 101, 5000])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_of_a_body_its_beginning_is_kept(size, is_chunked):
    """CBK-23; and DLV-20: the rest is read, or the connection couldn't be kept."""
    body = bytes(index % 251 for index in range(size))
    if is_chunked:
        chunk = b"%x\r\n%b\r\n" % (size, body) if size else b""
        answer = CHUNKED + chunk + b"0\r\n\r\n"
    else:
        answer = HEAD + b"Content-Length: %d\r\n\r\n" % size + body

    parser = parsed(answer)

    assert parser.body == body[:100]
    assert parser.is_kept


def test_memory_does_not_grow_with_the_body():
    parser = ResponseParser(max_body_bytes=1000)
    parser.feed(CHUNKED)
    chunk = b"10000\r\n" + bytes(65_536) + b"\r\n"
    tracemalloc.start()
    try:
        for _ in range(300):
            parser.feed(chunk)
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert most_bytes < 1_000_000


ENDLESS = {
    "a status line": (b"HTTP/1.1 200 ", b"a" * 1000),
    "a header": (HEAD + b"X: ", b"a" * 1000),
    "headers": (HEAD, b"X: a\r\n" * 100),
    "a chunk's extension": (CHUNKED + b"2;", b"a" * 1000),
    "a trailer": (CHUNKED + b"0\r\nX: ", b"a" * 1000),
}


@pytest.mark.parametrize(("start", "more"), ENDLESS.values(), ids=ENDLESS)
def test_what_must_be_kept_until_it_ends_is_bounded(start, more):
    times = 2 * MAX_HEAD_BYTES // len(more)

    assert verdict(start, *[more] * times) is BadResponse
    assert verdict(start, more * times) is BadResponse


def test_a_head_of_single_bytes_costs_no_more_than_its_length():
    """Each byte is searched once: this would take minutes otherwise."""
    head = HEAD + b"X: a\r\n" * 100 + b"Y: " + b"y" * 60_000 + b"\r\n\r\n"

    assert verdict(*[head[index : index + 1] for index in range(len(head))]) == verdict(
        head
    )


def test_many_small_chunks_cost_no_more_than_their_length():
    """The same."""
    chunks = b"1\r\na\r\n" * 200_000

    parser = parsed(CHUNKED + chunks + b"0\r\n\r\n")

    assert parser.body == b"a" * 100


@pytest.mark.parametrize(
    "line",
    [
        b"X:" + b" " * 60_000 + b"\0",
        b"X:" + b"\t " * 30_000 + b"\r",
        b" " * 60_000 + b"\0",
        b"x" * 60_000,
    ],
)
def test_a_line_that_is_no_header_is_found_out_in_one_pass(line):
    """The same."""
    with pytest.raises(BadResponse):
        parse_head(HEAD + line + b"\r\nY: 1")


def test_heads_that_are_alike_are_parsed_alike():
    """Those that are short are remembered, those that are long aren't."""
    for length in (1, 3000):
        text = HEAD + b"X: " + b"a" * length

        assert parse_head(text) == parse_head(bytes(bytearray(text)))
        assert parse_head(text).header == ("X", "a" * length)
