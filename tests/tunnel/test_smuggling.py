"""Request smuggling, family by family, as raw bytes against a running relay.

What two servers could read in two ways is refused, the connection is closed, and the
app hears nothing of it: not of the request, nor of what hides in it.
"""

import pytest

from tests.tunnel.raw import HOST, a_standing, post, request

SMUGGLED = request(first=b"GET /smuggled HTTP/1.1")
POST = b"POST / HTTP/1.1"
CHUNKED = b"Transfer-Encoding: chunked"


@pytest.fixture(scope="module")
def standing():
    """Run relay, tunnel and app for all attacks."""
    with a_standing() as standing:
        yield standing


# Content-Length and Transfer-Encoding


@pytest.mark.parametrize(
    "lines",
    [
        (b"Content-Length: %d" % len(SMUGGLED), CHUNKED),
        (CHUNKED, b"Content-Length: 5"),
        (b"content-length: 0", b"TRANSFER-ENCODING: Chunked"),
        (CHUNKED, b"X: y", b"Content-Length: 999"),
        (CHUNKED, b"Content_Length: 5"),
        (b"Content-Length: 5", b"Transfer_Encoding: chunked"),
        (b"Transfer-Encoding: identity", b"Content-Length: 5"),
    ],
)
def test_both_lengths_and_chunks_are_refused(standing, lines):
    body = b"0\r\n\r\n" + SMUGGLED
    status, targets = standing.attack(request(*lines, first=POST, body=body))

    assert status in (400, 501)
    assert targets == []


@pytest.mark.parametrize(
    "lines",
    [
        [b"Transfer-Encoding: xchunked"],
        [b"Transfer-Encoding: chunkedx"],
        [b"Transfer-Encoding: chunk"],
        [b"Transfer-Encoding: identity"],
        [b"Transfer-Encoding: gzip"],
        [b"Transfer-Encoding: gzip, chunked"],
        [b"Transfer-Encoding: chunked, gzip"],
        [b"Transfer-Encoding: chunked, chunked"],
        [b"Transfer-Encoding: chunked, identity"],
        [b"Transfer-Encoding: ,chunked"],
        [b"Transfer-Encoding: chunked,"],
        [b"Transfer-Encoding: chunked;q=1"],
        [b'Transfer-Encoding: "chunked"'],
        [b"Transfer-Encoding: 'chunked'"],
        [b"Transfer-Encoding:"],
        [b"Transfer-Encoding:\tchunked"],
        [b"Transfer-Encoding: chunked\t"],
        [b"Transfer-Encoding: \x0bchunked"],
        [b"Transfer-Encoding: \x0cchunked"],
        [b"Transfer-Encoding: \x00chunked"],
        [b"Transfer-Encoding: chunked\x00"],
        [b"Transfer-Encoding: \xa0chunked"],
        [b"Transfer-Encoding: \xffchunked"],
        [b"Transfer-Encoding: ch\xc3\xbcnked"],
        [b"Transfer-Encoding: chun\xe2\x84\xaaed"],
        [b"Transfer-Encoding : chunked"],
        [b"Transfer-Encoding\t: chunked"],
        [b" Transfer-Encoding: chunked"],
        [b"\tTransfer-Encoding: chunked"],
        [b"Transfer-Encoding:\r\n chunked"],
        [b"Transfer-Encoding\r\n: chunked"],
        [b"Transfer-Encoding\n: chunked"],
        [b"X: y\nTransfer-Encoding: chunked"],
        [b"X: y\rTransfer-Encoding: chunked"],
        [b"X: y\r\rTransfer-Encoding: chunked"],
        [b"Transfer-Encoding: chunked\rX: y"],
        [b"Transfer_Encoding: chunked"],
        [b"Transfer\x00-Encoding: chunked"],
        [b"\x00Transfer-Encoding: chunked"],
        [b"Transfer-Encoding;: chunked"],
        [b"Transfer Encoding: chunked"],
        [CHUNKED, CHUNKED],
        [CHUNKED, b"Transfer-Encoding: identity"],
        [b"Transfer-Encoding: x", CHUNKED],
        [CHUNKED, b"transfer-encoding:"],
    ],
)  # fmt: skip
def test_every_disguise_of_chunked_is_refused(standing, lines):
    for more in ([], [b"Content-Length: 5"]):
        body = b"0\r\n\r\n" + SMUGGLED
        status, targets = standing.attack(request(*lines, *more, first=POST, body=body))

        assert status in (400, 501)
        assert targets == []


def test_http_1_0_has_no_chunks(standing):
    body = b"0\r\n\r\n" + SMUGGLED
    data = request(CHUNKED, first=b"POST / HTTP/1.0", body=body)

    assert standing.attack(data) == (400, [])


@pytest.mark.parametrize(
    "lengths",
    [
        [b" 4", b" 4"],
        [b" 4", b" 5"],
        [b" 5", b" 4"],
        [b" 4, 4"],
        [b" 4,4"],
        [b" 4, 5"],
        [b" ,4"],
        [b" 4,"],
        [b""],
        [b" "],
        [b" +4"],
        [b" -4"],
        [b" -0"],
        [b" 0x4"],
        [b" 4 4"],
        [b" 4 0"],
        [b" 4.0"],
        [b" 4e0"],
        [b" 1_0"],
        [b" four"],
        [b" 4;"],
        [b' "4"'],
        [b"\t4"],
        [b" 4\t"],
        [b" 4\x0b"],
        [b" 4\x00"],
        [b" \xa04"],
        [b" \xd9\xa4"],
        [b" \xef\xbc\x94"],
        [b" 4\r\n 4"],
        [b"\r\n 4"],
        [b" 4\n"],
        [b" 4\r"],
        [b" 0000000000000000004"],
        [b" 18446744073709551620"],
        [b" 9" * 400],
    ],
)  # fmt: skip
def test_every_length_but_one_plain_number_is_refused(standing, lengths):
    lines = [b"Content-Length:" + length for length in lengths]
    status, targets = standing.attack(
        request(*lines, first=POST, body=b"four" + SMUGGLED)
    )

    assert (status, targets) == (400, [])


@pytest.mark.parametrize(
    "name",
    [b"Content-Length ", b"Content-Length\t", b" Content-Length", b"Content_Length",
     b"Content-Length\x00", b"\x00Content-Length", b"Content-Length\r",
     b"Content Length", b"Content-Length\xa0", b"Content-Length:\r\n",
     b"Content-L\xc3\xa8ngth"],
)  # fmt: skip
def test_every_disguise_of_the_lengths_name_is_refused(standing, name):
    data = request(name + b": 4", first=POST, body=b"four" + SMUGGLED)

    assert standing.attack(data) == (400, [])


def test_a_request_without_a_length_has_no_body(standing):
    """What could be one is the next request: here it isn't even that."""
    answer, arrived = standing.serve(request(first=POST) + b"body")

    assert answer.body == b"ok"
    assert [one.body for one in arrived] == [b""]


def test_a_request_inside_a_counted_body_is_a_body(standing):
    for more in ((), (b"Expect: 100-continue",), (b"Expect: 100-continue, x",)):
        answer, arrived = standing.serve(post(SMUGGLED, *more))

        assert answer.body == b"ok"
        assert [one.body for one in arrived] == [SMUGGLED]


def test_a_request_inside_a_chunk_is_a_body(standing):
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)
    answer, arrived = standing.serve(request(CHUNKED, first=POST, body=body))

    assert answer.body == b"ok"
    assert [one.body for one in arrived] == [SMUGGLED]


# Chunks

BAD_CHUNKS = [
    b"-1\r\na\r\n",
    b"+1\r\na\r\n",
    b"0x1\r\na\r\n",
    b" 1\r\na\r\n",
    b"1 \r\na\r\n",
    b"1\t\r\na\r\n",
    b"1 ;a\r\na\r\n",
    b"\r\n",
    b";a\r\na\r\n",
    b"g\r\na\r\n",
    b"1g\r\na\r\n",
    b"1_0\r\n0123456789abcdef\r\n",
    b"1,\r\na\r\n",
    b"1.0\r\na\r\n",
    b"1\na\r\n",
    b"1\ra\r\n",
    b"1\r\r\na\r\n",
    b"1\n\na\r\n",
    b"1\r\na\n",
    b"1\r\na\r0\r\n\r\n",
    b"1\r\na0\r\n\r\n",
    b"1\r\nab\r\n",
    b"2\r\na\r\n",
    b"1\r\n\r\na\r\n",
    b"0000000000000000001\r\na\r\n",
    b"ffffffffffffffff1\r\na\r\n",
    b"10000000000000000\r\na\r\n",
    b"1;\r\na\r\n",
    b"1;a=\r\na\r\n",
    b"1;a\nb\r\na\r\n",
    b"1;a\rb\r\na\r\n",
    b"1;a\x00b\r\na\r\n",
    b'1;a="b\na\r\n',
    b'1;a="b\r\na"\r\n',
    b"1;" + b"a" * 300 + b"\r\na\r\n",
    b"1" + b";a=b" * 200 + b"\r\na\r\n",
    b"1;" + b"a" * 70_000,
    b"\xef\xbc\x91\r\na\r\n",
    b"0\n\r\n",
    b"0\r\r\n",
    b"00 \r\n\r\n",
    b"0;\n\r\n",
    b"0\r\nA: b\n\r\n",
    b"0\r\nA: b\r\n c\r\n\r\n",
    b"0\r\nno colon\r\n\r\n",
    b"0\r\nA : b\r\n\r\n",
    b"0\r\n: b\r\n\r\n",
    b"0\r\nA: \x00\r\n\r\n",
    b"0\r\nA: b\rc\r\n\r\n",
    b"0\r\nContent-Length: 5\r\n\r\n",
    b"0\r\ncontent_length: 5\r\n\r\n",
    b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"0\r\nHost: other.localhost\r\n\r\n",
    b"0\r\nA: b\r\nHOST: other.localhost\r\n\r\n",
    b"0\r\nConnection: X-Forwarded-For\r\n\r\n",
    b"0\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n",
    b"0\r\nAuthorization: Bearer x\r\n\r\n",
    b"0\r\nCookie: admin=1\r\n\r\n",
    b"0\r\nUpgrade: websocket\r\n\r\n",
    b"0\r\n" + b"A: b\r\n" * 3000,
    b"0\r\nA: " + b"b" * 9000,
]


@pytest.mark.parametrize("chunks", BAD_CHUNKS, ids=lambda chunks: repr(chunks[:40]))
def test_bad_chunks_are_refused_and_nothing_arrives(standing, chunks):
    data = request(CHUNKED, first=POST, body=chunks)
    status, targets = standing.attack(data + b"0\r\n\r\n" + SMUGGLED)

    assert status in (400, 431)
    assert targets == []


@pytest.mark.parametrize("chunks", BAD_CHUNKS, ids=lambda chunks: repr(chunks[:40]))
def test_bad_chunks_that_come_late_never_make_a_whole_request(standing, chunks):
    app, public = standing.app, standing.public
    app.arrived.clear()

    async def act():
        visitor = await public.visit()
        await visitor.send(request(CHUNKED, first=POST))
        await visitor.send(b"3\r\nabc\r\n")
        await public.ask(request())  # by now the head has gone
        app.arrived.clear()
        await visitor.send(chunks + b"0\r\n\r\n" + SMUGGLED)
        answer = await visitor.answer()
        await visitor.ended()
        await public.ask(request(first=b"GET /later HTTP/1.1"))
        return answer.status

    assert standing.run(act()) in (400, 431)
    assert [one.head.split(b" ")[1] for one in app.arrived] == [b"/later"]


# Lines and characters


def bad_line_ends():
    """Yield heads with a line end that isn't CR LF, in every place."""
    lines = [b"GET / HTTP/1.1", b"Host: " + HOST, b"A: b", b"C: d", b""]
    for end in (b"\n", b"\r", b"\n\r", b"\r\r\n", b"\r\n\n"):
        for place in range(len(lines)):
            ends = [end if i == place else b"\r\n" for i in range(len(lines))]
            data = b"".join(line + end for line, end in zip(lines, ends, strict=True))
            if b"\r\n\r\n" not in data or b"\n\n" not in data:
                yield data


@pytest.mark.parametrize("head", list(bad_line_ends()))
def test_every_other_line_end_is_refused_in_every_place(standing, head):
    assert standing.attack(head + SMUGGLED) == (400, [])


CONTROLS = [*range(0x20), 0x7F]


@pytest.mark.parametrize(
    "place", [b"/a%cb", b"%c/a", b"/a%c", b"/a?b%cc", b"http://demo.localhost/a%c"]
)
def test_no_target_has_a_control_character_a_blank_or_a_high_byte(standing, place):
    for byte in (*CONTROLS, 0x20, 0x23, 0x80, 0xA0, 0xFF):
        if byte != 0x20 or place in (b"/a%cb", b"/a?b%cc"):
            first = b"GET " + place % byte + b" HTTP/1.1"
            assert standing.attack(request(first=first)) == (400, []), byte


@pytest.mark.parametrize("place", [b"%cA: b", b"A%c: b", b"A%cB: c"])
def test_no_name_of_a_header_has_a_control_character_or_a_separator(standing, place):
    for byte in (*CONTROLS, *b' "(),/;<=>?@[\\]{}', 0x80, 0xFF):
        assert standing.attack(request(place % byte)) == (400, []), byte


@pytest.mark.parametrize("place", [b"A:%cb", b"A: b%c", b"A: b%cc"])
def test_no_value_of_a_header_has_a_control_character(standing, place):
    for byte in CONTROLS:
        if byte != 0x09:
            assert standing.attack(request(place % byte)) == (400, []), byte


@pytest.mark.parametrize(
    "line",
    [b" A: b", b"\tA: b", b"A: b\r\n c", b"A: b\r\n\tc", b"A:\r\n b", b"A: b\r\n \r\n",
     b"A", b"A b", b":", b": b", b"", b"A : b", b"A\t: b"],
)  # fmt: skip
def test_folded_lines_and_lines_that_are_none_are_refused(standing, line):
    first, *others = [line, b"X: y"] if line else [b"X y"]

    assert standing.attack(request(first, *others) + SMUGGLED) == (400, [])


@pytest.mark.parametrize(
    ("first", "status"),
    [
        (b"GET /", 400),
        (b"GET  / HTTP/1.1", 400),
        (b"GET /  HTTP/1.1", 400),
        (b"GET / HTTP/1.1 ", 400),
        (b" GET / HTTP/1.1", 400),
        (b"GET\t/ HTTP/1.1", 400),
        (b"GET /\tHTTP/1.1", 400),
        (b"GET / HTTP/1.1\tx", 400),
        (b"GET / http/1.1", 400),
        (b"GET / HTTP/1", 400),
        (b"GET / HTTP/1.10", 400),
        (b"GET / HTTP/01.1", 400),
        (b"GET / HTTP/+1.1", 400),
        (b"GET / HTTP/1.1, HTTP/1.0", 400),
        (b"GET / HTTP/1.2", 505),
        (b"GET / HTTP/0.9", 505),
        (b"GET / HTTP/2.0", 505),
        (b"GET / ICY/1.1", 400),
        (b"GET", 400),
        (b"", 400),
        (b"G\xc3\x89T / HTTP/1.1", 400),
        (b"GET, / HTTP/1.1", 400),
        (b"x" * 33 + b" / HTTP/1.1", 501),
        (b"GET * HTTP/1.1", 400),
        (b"GET a HTTP/1.1", 400),
        (b"GET ?a HTTP/1.1", 400),
        (b"GET \\a HTTP/1.1", 400),
        (b"CONNECT demo.localhost:443 HTTP/1.1", 501),
        (b"CONNECT / HTTP/1.1", 501),
        (b"PRI * HTTP/2.0", 505),
    ],
)
def test_every_other_first_line_is_refused(standing, first, status):
    data = request(first=first) if first else b"\r\n\r\n\r\n" + request()

    assert standing.attack(data + SMUGGLED) == (status, [])


@pytest.mark.parametrize(
    "data",
    [
        b"GET /\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"\x00" * 100,
        b"\r\n" * 40_000,
        b"\n",
    ],
)
def test_what_isnt_http_1_is_refused(standing, data):
    status, targets = standing.attack(data)

    assert status in (400, 505)
    assert targets == []


# Limits of a head


@pytest.mark.parametrize(
    "data",
    [
        request(b"A: " + b"x" * 66_000),
        request(first=b"GET /" + b"x" * 66_000 + b" HTTP/1.1"),
        request(*[b"A: b"] * 201),
        request(b"x" * 66_000 + b": b"),
        b"GET /" + b"x" * 70_000,
        b"x" * 70_000,
    ],
    ids=lambda data: repr(data[:20]),
)
def test_a_head_beyond_the_limits_is_refused(standing, data):
    assert standing.attack(data) == (431, [])


def test_a_head_within_the_limits_passes(standing):
    head = request(*[b"A: b"] * 198, b"B: " + b"x" * 60_000)
    answer, arrived = standing.serve(head)

    assert answer.body == b"ok"
    assert len(arrived[0].lines) == 200 + 3  # of which one is Host
