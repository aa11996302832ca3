"""tunnel/http.py, and llhttp's opinion of what it lets pass.

Whatever we take for HTTP, llhttp (httptools) in its strict setting takes for the same
HTTP: the same method, target, fields and body, with the same end. Where the two
disagree otherwise, we are the stricter ones; ``STRICTER`` lists what is known. Two
things are different: llhttp knows a list of methods, we pass any token; and where a
request with a body asks for an upgrade, it leaves HTTP before the body, while we take
out the upgrade, so that it agrees again about what goes on.
"""

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tunnel.heads import head_of
from tunnel import http
from tunnel.http import (
    BadMessage,
    BodyReader,
    encode_chunk,
    find_head_end,
    forward_request,
    forward_response,
    last_chunk,
    parse_request_head,
    parse_response_head,
)
from tunnel.http_grammar import split_fields

many = settings(max_examples=300)

HOST = b"Host: a.dev"
CHUNKED = b"Transfer-Encoding: chunked"


class Heard:
    """What llhttp finds in a message; httptools calls the methods."""

    def __init__(self):
        self.target = b""
        self.fields = []
        self.trailers = []
        self.body = b""
        self.messages = 0
        self._is_head_over = False

    def on_url(self, url):
        self.target += url

    def on_header(self, name, value):
        fields = self.trailers if self._is_head_over else self.fields
        fields.append((name, value.strip(b" \t")))

    def on_headers_complete(self):
        self._is_head_over = True

    def on_body(self, body):
        self.body += body

    def on_message_complete(self):
        self.messages += 1


def by_llhttp(data):
    """Return what llhttp makes of one request: ``None`` if it refuses."""
    heard = Heard()
    parser = httptools.HttpRequestParser(heard)
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError:
        return None
    if heard.messages != 1:
        return None
    return (
        parser.get_method(),
        heard.target,
        parser.get_http_version(),
        heard.fields,
        heard.body,
        heard.trailers,
    )


def by_us(data):
    """The same by our own files: one whole request and nothing behind it."""
    end = find_head_end(data, 0 if data[:2] != b"\r\n" else 2)
    if end < 0:
        return None
    try:
        head = parse_request_head(data[:end])
        reader = BodyReader(head.length, head.is_chunked)
        body = reader.feed(data[end:])
    except BadMessage:
        return None
    if not reader.is_finished or reader.rest:
        return None
    return (
        head.method,
        head.target,
        "1.1" if head.version == 11 else "1.0",
        head.headers,
        body,
        split_fields(b"\r\n" + reader.trailers),
    )


METHODS = st.sampled_from([b"GET", b"POST", b"PUT", b"OPTIONS", b"M-SEARCH", b"QUERY"])
TARGETS = st.sampled_from(
    [b"/", b"/a?b=%zz;c", b"//a", b"/?", b'/"<>\\^`{|}', b"http://a.dev/b", b"*"]
)
ODD_TARGETS = st.sampled_from(
    [b"/\xff", b"/#", b"a", b"http://a.dev?x", b"http://a.dev", b"/a b", b"/\x00"]
) | st.binary(max_size=6).map(lambda tail: b"/" + tail)
VERSIONS = st.sampled_from([b"HTTP/1.1"] * 4 + [b"HTTP/1.0"])
ODD_VERSIONS = st.sampled_from([b"HTTP/1.2", b"http/1.1", b"HTTP/2.0", b"HTTP/1.1 "])
LINES = st.sampled_from(
    [
        *(b"A: b", b"A:", b"a:\tb ", b"A: \xff", b"Connection: close", b"TE: trailers"),
        *(b"Connection: upgrade", b"Upgrade: websocket", b"Expect: 100-continue"),
    ]
)
ODD_LINES = st.sampled_from(
    [
        *(b"A : b", b" A: b", b"A: \x01", b"A", b"Host: b", HOST, b"Content-Length: 0"),
        *(b"Content-Length: +5", b"Content-Length: 5, 5", b"Content-Length:\t5"),
        *(b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: identity"),
        *(b"Transfer-Encoding : chunked", b"Content-Length: 6", CHUNKED),
    ]
) | st.binary(max_size=8).map(lambda value: b"A: " + value)
COUNTED = st.tuples(
    st.sampled_from([b"Content-Length: 5", b"content-length:05 "]),
    st.sampled_from([b"hello", b"hello", b"hell", b"hello!"]),
)
IN_CHUNKS = st.tuples(
    st.sampled_from([CHUNKED, b"transfer-encoding:Chunked "]),
    st.sampled_from(
        [
            *(b"5\r\nhello\r\n0\r\n\r\n", b"0\r\n\r\n", b"05\r\nhello\r\n00\r\n\r\n"),
            b"5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\n",
            b'5;a="b\\"";c\r\nhello\r\n1\r\n \r\n0\r\nA: b\r\nC:\r\n\r\n',
            *(b"5 \r\nhello\r\n0\r\n\r\n", b"5\nhello\r\n0\r\n\r\n", b"0x5\r\nhello"),
            *(b"5\r\nhello\n0\r\n\r\n", b"5\r\nhello\r\n0\r\n A: b\r\n\r\n"),
        ]
    ),
)


def mostly(usual, odd):
    """Draw what is odd once in eight times, lest nearly all messages be refused."""
    return st.integers(0, 7).flatmap(lambda roll: usual if roll else odd)


REQUESTS = st.builds(
    lambda method, target, version, lines, framed: (
        head_of(b" ".join((method, target, version)), HOST, *lines, *framed[:-1])
        + framed[-1]
    ),
    METHODS,
    mostly(TARGETS, ODD_TARGETS),
    mostly(VERSIONS, ODD_VERSIONS),
    st.lists(mostly(LINES, ODD_LINES), max_size=3),
    COUNTED | IN_CHUNKS | st.just((b"",)),
)


@many
@given(REQUESTS)
def test_what_we_let_pass_is_the_same_to_llhttp(data):
    assert has_one_meaning(data)


@many
@given(REQUESTS, st.integers(0, 200), st.binary(min_size=1, max_size=3), st.booleans())
def test_a_changed_byte_gives_no_message_two_meanings(data, at, change, is_insert):
    at = min(at, len(data))
    data = data[:at] + change + data[at + (0 if is_insert else len(change)) :]

    assert has_one_meaning(data)


def has_one_meaning(data):
    """Whether we refuse, or llhttp agrees, or may disagree as the docstring says."""
    ours = by_us(data)
    if ours is None or ours == by_llhttp(data):
        return True
    method, _, _, fields, _, _ = ours
    has_upgrade = any(name.lower() == b"upgrade" for name, _ in fields)
    return has_upgrade or by_llhttp(method + b" / HTTP/1.1\r\n\r\n") is None


@many
@given(REQUESTS)
def test_what_goes_on_means_to_llhttp_what_arrived_meant_to_us(data):
    ours = by_us(data)
    if ours is None:
        return
    method, _, _, fields, body, _ = ours
    head = parse_request_head(data[: find_head_end(data)])

    out = forward_request(head, peer=b"::1", scheme=b"http")
    out += encode_chunk(body) + last_chunk() if head.is_chunked else body

    again = by_llhttp(out)
    assert again is not None
    assert (again[0], again[4]) == (method, body)
    assert [each for each in again[3] if each[0] == b"A"] == [
        each for each in fields if each[0] == b"A"
    ]
    assert by_us(out) == again


@pytest.mark.parametrize(
    "data",
    [
        head_of(b"POST / HTTP/1.1", HOST) + b"",
        head_of(b"GET / HTTP/1.0"),
        head_of(b"POST / HTTP/1.1", HOST, b"Content-Length: 5") + b"hello",
        head_of(b"POST / HTTP/1.1", HOST, b"Transfer-Encoding: chunked")
        + b'5;a;b=c;d="e\\" "\r\nhello\r\n0\r\nA: b\r\nC:\td \r\n\r\n',
        b"\r\n" + head_of(b"GET /a?b HTTP/1.1", HOST, b"A: \xff"),
        head_of(b"GET / HTTP/1.1", HOST, b"Connection: Upgrade", b"Upgrade: websocket"),
    ],
)
def test_both_find_the_same_in_what_both_let_pass(data):
    """Without it, a parser that refuses everything would satisfy the rule above."""
    ours = by_us(data)

    assert ours is not None
    assert ours == by_llhttp(data)


STRICTER = {
    "blanks in the first line": head_of(b"GET  / HTTP/1.1", HOST),
    "a fragment": head_of(b"GET /#a HTTP/1.1", HOST),
    "asterisk for GET": head_of(b"GET * HTTP/1.1", HOST),
    "many empty lines": b"\r\n\r\n\r\n" + head_of(b"GET / HTTP/1.1", HOST),
    "no Host": head_of(b"GET / HTTP/1.1"),
    "two Hosts": head_of(b"GET / HTTP/1.1", HOST, HOST),
    "a Host that is a list": head_of(b"GET / HTTP/1.1", b"Host: a, b"),
    "another host in the target": head_of(b"GET http://b.dev/ HTTP/1.1", HOST),
    "userinfo": head_of(b"GET http://u:p@a.dev/ HTTP/1.1", b"Host: u:p@a.dev"),
    "a tab before a length": head_of(b"POST / HTTP/1.1", HOST, b"Content-Length:\t5")
    + b"hello",
    "a length of 19 digits": head_of(
        b"POST / HTTP/1.1", HOST, b"Content-Length: 0000000000000000005"
    )
    + b"hello",
    "a coding besides chunked": head_of(
        b"POST / HTTP/1.1", HOST, b"Transfer-Encoding: gzip, chunked"
    )
    + b"0\r\n\r\n",
    "an underscore": head_of(b"POST / HTTP/1.1", HOST, b"Content_Length: 5"),
    "chunks in HTTP/1.0": head_of(b"POST / HTTP/1.0", HOST, CHUNKED) + b"0\r\n\r\n",
    "a size of 17 digits": head_of(b"POST / HTTP/1.1", HOST, CHUNKED)
    + b"00000000000000005\r\nhello\r\n0\r\n\r\n",
    "a long extension": head_of(b"POST / HTTP/1.1", HOST, CHUNKED)
    + b"5;%b\r\nhello\r\n0\r\n\r\n" % (b"a" * 300),
    "a framing field as a trailer": head_of(b"POST / HTTP/1.1", HOST, CHUNKED)
    + b"0\r\nContent-Type: a/b\r\n\r\n",
    "201 lines": head_of(b"GET / HTTP/1.1", HOST, *[b"A: b"] * 200),
}


@pytest.mark.parametrize("data", STRICTER.values(), ids=STRICTER.keys())
def test_we_are_stricter_than_llhttp(data):
    assert by_us(data) is None
    assert by_llhttp(data) is not None


def test_an_upgrade_with_a_body_goes_on_without_the_upgrade():
    lines = (b"Connection: upgrade", b"Upgrade: websocket", b"Content-Length: 5")
    data = head_of(b"POST / HTTP/1.1", HOST, *lines) + b"hello"
    assert by_us(data)[4] == b"hello"
    assert by_llhttp(data)[4] == b""

    head = parse_request_head(data[:-5])
    out = forward_request(head, peer=b"::1", scheme=b"http") + b"hello"

    assert by_llhttp(out)[4] == b"hello"


def test_we_pass_methods_that_llhttp_does_not_know():
    data = head_of(b"FROB / HTTP/1.1", HOST)

    assert by_us(data)[0] == b"FROB"
    assert by_llhttp(data) is None


# Answers

STATUSES = st.sampled_from(
    [b"200 OK", b"204 No Content", b"304 Not Modified", b"404 ", b"500 \xff", b"299"]
)
ANSWER_LINES = st.sampled_from(
    [
        *(b"A: b", b"A:", b"Content-Length: 5", b"Content-Length: 0", CHUNKED),
        *(b"Connection: close", b"Keep-Alive: timeout=5", b"Content-Length: 5,5"),
        *(b"Transfer-Encoding: gzip", b"Trailer: A", b"A: \x01", b"A : b"),
    ]
)
ANSWERS = st.builds(
    lambda version, status, lines: head_of(b"HTTP/%b %b" % (version, status), *lines),
    st.sampled_from([b"1.1", b"1.1", b"1.0"]),
    STATUSES,
    st.lists(ANSWER_LINES, max_size=4),
)


@many
@given(ANSWERS, st.sampled_from([b"GET", b"HEAD"]))
def test_an_answer_that_we_write_is_the_same_answer_to_llhttp(raw, method):
    try:
        head = parse_response_head(raw, method)
    except BadMessage:
        return
    body = b"" if head.length == 0 else b"hello"
    is_chunked = head.is_chunked or head.until_close

    out = forward_response(head, close=False, version=11, chunk=head.until_close)
    written = encode_chunk(body) + last_chunk() if is_chunked else body

    heard = Heard()
    parser = httptools.HttpResponseParser(heard)
    parser.feed_data(out)
    if method == b"GET":
        parser.feed_data(written)
        assert heard.messages == 1
        assert heard.body == body
    assert parser.get_status_code() == head.status
    again = parse_response_head(out, method)
    assert again.keep_alive
    assert (again.status, again.length) == (
        head.status,
        None if is_chunked else head.length,
    )


# The names


def test_every_name_is_there_for_both_ends_of_the_tunnel():
    assert all(hasattr(http, name) for name in http.__all__)
    assert list(http.__all__) == sorted(
        http.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name)
    )
