"""Request smuggling, at the parser: each known family ends in a refusal.

Smuggling needs two servers that see a request's end in two places. Here it is checked
that whatever could be seen so doesn't get past the grammar; that the connection is
closed after a refusal is the relay's part.
"""

import pytest

from tests.tunnel.heads import head_of
from tunnel.http import (
    BadMessage,
    BodyReader,
    encode_chunk,
    find_head_end,
    forward_request,
    last_chunk,
    parse_request_head,
)

POST = b"POST / HTTP/1.1"
HOST = b"Host: a.dev"
LENGTH = b"Content-Length: 5"
CHUNKED = b"Transfer-Encoding: chunked"
HIDDEN = head_of(b"GET /admin HTTP/1.1", HOST)
"""What somebody would like the second server to see as a request."""


def is_refused(data):
    """Whether reading a first request from a connection's bytes ends in a refusal."""
    end = find_head_end(data)
    assert end > 0
    try:
        head = parse_request_head(data[:end])
        reader = BodyReader(head.length, head.is_chunked)
        reader.feed(data[end:])
        reader.end()
    except BadMessage as error:
        return error.status in (400, 431, 501, 505)
    return False


def test_a_clean_request_is_let_pass():
    """Without it, all that follows would hold for a parser that refuses everything."""
    assert not is_refused(head_of(POST, HOST, LENGTH) + b"hello")
    assert not is_refused(head_of(POST, HOST, CHUNKED) + b"5\r\nhello\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([LENGTH, CHUNKED], id="CL.TE"),
        pytest.param([CHUNKED, LENGTH], id="TE.CL"),
        pytest.param([b"Content-Length: 0", CHUNKED], id="TE.0"),
        pytest.param([LENGTH, b"Content-Length: 6"], id="CL.CL"),
        pytest.param([LENGTH, LENGTH], id="CL.CL, equal"),
        pytest.param([b"Content-Length: 5, 6"], id="CL list"),
        pytest.param([b"Content-Length: 5, 5"], id="CL list, equal"),
        pytest.param([CHUNKED, CHUNKED], id="TE.TE"),
        pytest.param([CHUNKED, b"Transfer-Encoding: x"], id="TE.TE, unknown last"),
        pytest.param([b"Transfer-Encoding: x", CHUNKED], id="TE.TE, unknown first"),
    ],
)
def test_a_second_way_to_frame_a_body_is_refused(lines):
    body = b"0\r\n\r\n" + HIDDEN

    assert is_refused(head_of(POST, HOST, *lines) + body)


@pytest.mark.parametrize(
    "line",
    [
        *(b"Transfer-Encoding: xchunked", b"Transfer-Encoding: chunkedx"),
        *(b"Transfer-Encoding : chunked", b"Transfer-Encoding\t: chunked"),
        *(b" Transfer-Encoding: chunked", b"\tTransfer-Encoding: chunked"),
        *(b"Transfer-Encoding:\tchunked", b"Transfer-Encoding:\x0bchunked"),
        *(b"Transfer-Encoding:\x0cchunked", b"Transfer-Encoding: \x00chunked"),
        *(b"Transfer-Encoding: chunked\x00", b"Transfer-Encoding: chun\x00ked"),
        *(b"Transfer-Encoding: \xa0chunked", b"Transfer-Encoding: chunked\xa0"),
        *(b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding: identity"),
        *(b"Transfer-Encoding: identity, chunked", b"Transfer-Encoding: gzip"),
        *(b"Transfer-Encoding: chunked, chunked", b"Transfer-Encoding: gzip, chunked"),
        *(b"Transfer-Encoding: chunked;a=b", b'Transfer-Encoding: "chunked"'),
        *(b"Transfer-Encoding: 'chunked'", b"Transfer-Encoding: cow", CHUNKED + b","),
        *(b"Transfer-Encoding:", b"Transfer-Encoding: ,chunked", b"Transfer-Encoding"),
        *(b"Transfer_Encoding: chunked", b"Transfer-Encoding\x00: chunked"),
        *(b"Transfer-Encoding\r: chunked", b"Transfer-Encoding\n: chunked"),
        *(b"Transfer-Encoding:\n chunked", b"Transfer-Encoding:\r\n chunked"),
        *(b"Transfer-Encoding:\r\n\tchunked", b"Transfer\xadEncoding: chunked"),
        *(b"A: b\nTransfer-Encoding: chunked", b"A: b\rTransfer-Encoding: chunked"),
        *(b"A: b\n\rTransfer-Encoding: chunked", b"\x00Transfer-Encoding: chunked"),
        *(b"A: b\x00\r\nTransfer-Encoding: chunked", b"[Transfer-Encoding]: chunked"),
        *(b"(Transfer-Encoding): chunked", b"Transfer Encoding: chunked"),
    ],
)
@pytest.mark.parametrize("other", [[], [LENGTH]])
def test_a_disguised_coding_is_refused(line, other):
    assert is_refused(head_of(POST, HOST, line, *other) + b"0\r\n\r\n" + HIDDEN)


@pytest.mark.parametrize(
    "value",
    [
        *(b"+5", b"-5", b"-0", b"0x5", b"05h", b"5e0", b"5.0", b"5 5", b"5\t", b"\t5"),
        *(
            b"5\x0b",
            b"\x005",
            b"5\x00",
            b'"5"',
            b"5;",
            b"",
            b" ",
            b"\xb5",
            b"0b1",
            b"0o5",
        ),
        *(b"18446744073709551621", b"9223372036854775813", b"4294967301e0", b"1" * 400),
        *(b"\xd9\xa5", b"5\r\n 6", b"5\n6", b"5\r6", b"\r\n 5"),
    ],
)
def test_a_length_that_servers_read_in_two_ways_is_refused(value):
    assert is_refused(head_of(POST, HOST, b"Content-Length:" + value) + b"hello")
    assert is_refused(head_of(POST, HOST, b"Content-Length: " + value) + b"hello")


@pytest.mark.parametrize(
    "line",
    [
        *(b"Content-Length : 5", b" Content-Length: 5", b"Content-Length\x00: 5"),
        *(b"Content_Length: 5", b"content_length: 5", b"Content-Length\t: 5"),
        *(b"A: b\nContent-Length: 5", b"A: b\rContent-Length: 5", b"Content Length: 5"),
    ],
)
def test_a_disguised_length_is_refused(line):
    """0.CL: the body would be the next request."""
    assert is_refused(head_of(POST, HOST, line) + HIDDEN)


@pytest.mark.parametrize(
    "first",
    [
        *(b"GET /\n HTTP/1.1", b"GET /\r HTTP/1.1", b"GET / HTTP/1.1\nA: b"),
        *(
            b"GET /\r\nA: b HTTP/1.1",
            b"GET / HTTP/1.1\r\n\tA: b",
            b"GET /\x00 HTTP/1.1",
        ),
        *(b"GET /a b HTTP/1.1", b"GET  / HTTP/1.1", b"GET /  HTTP/1.1", b"GET\x0b/"),
        *(b"GET / HTTP/1.1 HTTP/1.1", b"GET / HTTP/1.1\x00", b"GET /\xa0HTTP/1.1"),
        *(b"GET /", b"\x00GET / HTTP/1.1", b" GET / HTTP/1.1", b"GET / HTTP/1,1"),
        *(
            b"GET / HTTP/1.10",
            b"GET / HTTP/01.1",
            b"GET / HTTP/1.1\x0b",
            b"GET HTTP/1.1",
        ),
        *(
            b"GET / HTTP /1.1",
            b"GET / HTTPS/1.1",
            b"PRI * HTTP/2.0",
            b"\nGET / HTTP/1.1",
        ),
    ],
)
def test_a_first_line_that_servers_cut_in_two_ways_is_refused(first):
    assert is_refused(head_of(first, HOST) + HIDDEN)


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([HOST, b"Host: b.dev"], id="twice"),
        pytest.param([HOST, HOST], id="twice, equal"),
        pytest.param([b"Host: a.dev, b.dev"], id="list"),
        pytest.param([b"Host: a.dev b.dev"], id="blank"),
        pytest.param([b"Host: b.dev@a.dev"], id="userinfo"),
        pytest.param([b"Host: a.dev/b"], id="path"),
        pytest.param([b"Host : a.dev"], id="blank before the colon"),
        pytest.param([b" Host: a.dev"], id="folded"),
        pytest.param([HOST, b" Host: b.dev"], id="folded second"),
        pytest.param([b"A: b\nHost: b.dev", HOST], id="bare LF"),
        pytest.param([b"Host: a.dev\x00.b.dev"], id="NUL"),
        pytest.param([], id="none"),
    ],
)
def test_a_request_for_two_hosts_is_refused(lines):
    assert is_refused(head_of(b"GET / HTTP/1.1", *lines))
    assert is_refused(head_of(b"GET http://b.dev/ HTTP/1.1", *lines))


def test_a_target_for_another_host_than_host_is_refused():
    assert is_refused(head_of(b"GET http://b.dev/ HTTP/1.1", HOST))
    assert is_refused(head_of(b"GET http://a.dev:81/ HTTP/1.1", HOST))
    assert is_refused(head_of(b"GET http://b.dev@a.dev/ HTTP/1.1", HOST))


@pytest.mark.parametrize(
    "chunk",
    [
        pytest.param(b"0x5\r\nhello\r\n", id="prefix"),
        pytest.param(b"+5\r\nhello\r\n", id="plus"),
        pytest.param(b"-5\r\nhello\r\n", id="minus"),
        pytest.param(b"5 \r\nhello\r\n", id="blank behind"),
        pytest.param(b" 5\r\nhello\r\n", id="blank before"),
        pytest.param(b"5\t\r\nhello\r\n", id="tab behind"),
        pytest.param(b"5_\r\nhello\r\n", id="underscore"),
        pytest.param(b"5,5\r\nhello\r\n", id="list"),
        pytest.param(b"\r\n5\r\nhello\r\n", id="empty line before"),
        pytest.param(b"5\nhello\r\n", id="size ends with LF"),
        pytest.param(b"5\rhello\r\n", id="size ends with CR"),
        pytest.param(b"5\r\r\nhello\r\n", id="size ends with CR CR LF"),
        pytest.param(b"5\r\nhello\n", id="data ends with LF"),
        pytest.param(b"5\r\nhello\r", id="data ends with CR"),
        pytest.param(b"5\r\nhello", id="data has no end"),
        pytest.param(b"5\r\nhelloXX", id="data ends with other bytes"),
        pytest.param(b"5\r\nhello!\r\n", id="data is longer"),
        pytest.param(b"6\r\nhello\r\n", id="data is shorter"),
        pytest.param(b"5;\nhello\r\n", id="TERM.EXT: LF in an extension"),
        pytest.param(b"5;a\nhello\r\n", id="TERM.EXT: LF behind an extension"),
        pytest.param(b"5;a\rb\r\nhello\r\n", id="CR in an extension"),
        pytest.param(b'5;a="\r\n"\r\nhello\r\n', id="CR LF in a quoted extension"),
        pytest.param(b"5;a\x00\r\nhello\r\n", id="NUL in an extension"),
        pytest.param(b"10000000000000005\r\nhello\r\n", id="beyond 64 bits"),
        pytest.param(b"00000000000000005\r\nhello\r\n", id="zeros without end"),
        pytest.param(b"\xff5\r\nhello\r\n", id="a byte beyond ASCII"),
    ],
)
def test_a_chunk_that_servers_cut_in_two_ways_is_refused(chunk):
    assert is_refused(head_of(POST, HOST, CHUNKED) + chunk + b"0\r\n\r\n" + HIDDEN)


@pytest.mark.parametrize(
    "end",
    [
        *(b"0\n\n", b"0\r\n\n", b"0\r\n\r", b"0\r\r\n", b"0\r\n", b"0"),
        *(b"0\r\nA : b\r\n\r\n", b"0\r\n A: b\r\n\r\n", b"0\r\nA: b\n\r\n\r\n"),
        *(b"0\r\nContent-Length: 5\r\n\r\n", b"0\r\n" + CHUNKED + b"\r\n\r\n"),
        *(b"0\r\n" + HOST + b"\r\n\r\n", b"0\r\n" + HIDDEN),
    ],
)
def test_the_end_of_the_chunks_is_unmistakable(end):
    assert is_refused(head_of(POST, HOST, CHUNKED) + b"5\r\nhello\r\n" + end)


@pytest.mark.parametrize("name", [b"Content-Length", b"Transfer-Encoding", b"Host"])
def test_connection_takes_no_framing_out_on_the_way(name):
    """Else the app would see no body, and the relay one."""
    lines = {b"Content-Length": [LENGTH], b"Transfer-Encoding": [CHUNKED], b"Host": []}
    head = parse_request_head(
        head_of(POST, HOST, *lines[name], b"Connection: close, " + name)
    )

    forwarded = forward_request(head, peer=b"::1", scheme=b"http")

    again = parse_request_head(forwarded)
    assert (again.length, again.is_chunked) == (head.length, head.is_chunked)
    assert again.host == b"a.dev"


@pytest.mark.parametrize(
    "lines",
    [
        [
            b"Upgrade: h2c",
            b"Connection: Upgrade, HTTP2-Settings",
            b"HTTP2-Settings: AA",
        ],
        [b"Upgrade: websocket, h2c", b"Connection: Upgrade"],
        [b"Upgrade: websocket", b"Connection: Upgrade", LENGTH],
    ],
)
def test_a_tunnel_through_an_upgrade_is_not_opened(lines):
    """h2c smuggling; and a body that would be read as what follows the upgrade."""
    head = parse_request_head(head_of(POST, HOST, *lines))

    forwarded = forward_request(head, peer=b"::1", scheme=b"http").lower()

    assert head.upgrade is None
    for name in (b"upgrade", b"http2-settings", b"connection"):
        assert b"\r\n" + name + b":" not in forwarded


def test_an_odd_chunk_is_not_passed_on_as_it_was():
    reader = BodyReader(None, True)
    body = reader.feed(b'0005;a=b;c="d"\r\nhello\r\n000\r\n\r\n')

    assert encode_chunk(body) + last_chunk() == b"5\r\nhello\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    "first",
    [
        head_of(POST, HOST),
        head_of(POST, HOST, LENGTH) + b"hello",
        head_of(POST, HOST, CHUNKED) + b"5\r\nhello\r\n0\r\nA: b\r\n\r\n",
    ],
)
def test_a_pipelined_request_begins_right_behind_the_one_before(first):
    data = first + HIDDEN
    end = find_head_end(data)
    head = parse_request_head(data[:end])
    reader = BodyReader(head.length, head.is_chunked)

    reader.feed(data[end:])

    assert reader.is_finished
    # Without a body nothing has to be fed, and nothing is taken of what is.
    assert reader.rest == HIDDEN
