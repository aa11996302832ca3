"""Request smuggling, family by family, as raw bytes against a running relay.

What two servers could read in two ways is refused, the connection is closed, and the
app hears nothing of it: not of the request, nor of what hides in it.
"""

import pytest

from tests.tunnel.raw import HOST, OK, a_standing, post, request

SMUGGLED = request(first=b"GET /smuggled HTTP/1.1")
POST = b"POST / HTTP/1.1"
CHUNKED = b"Transfer-Encoding: chunked"


@pytest.fixture(scope="module")
def standing():
    """Run relay, tunnel and app for all attacks."""
    with a_standing() as standing:
        yield standing


def attack(standing, data):
    """Send bytes; return the status of the only answer, and the targets at the app.

    Whatever got through would be at the app before a request that is sent later.
    """
    standing.app.arrived.clear()

    async def act():
        visitor = await standing.public.visit()
        await visitor.send(data)
        answer = await visitor.answer()
        await visitor.ended()
        visitor.close()
        await standing.public.ask(request(first=b"GET /later HTTP/1.1"))
        return answer

    answer = standing.run(act())
    assert answer.values(b"connection") == [b"close"]
    assert answer.values(b"qemu-error") == [b"relay"]
    targets = [one.head.split(b" ")[1] for one in standing.app.arrived]
    assert targets.pop() == b"/later"
    return answer.status, targets


def serve(standing, data):
    """Send bytes that may pass; return the answer, and what came to the app."""
    standing.app.arrived.clear()
    answer = standing.run(standing.public.ask(data))
    return answer, standing.app.arrived


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
    status, targets = attack(standing, request(*lines, first=POST, body=body))

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
        status, targets = attack(
            standing, request(*lines, *more, first=POST, body=body)
        )

        assert status in (400, 501)
        assert targets == []


def test_http_1_0_has_no_chunks(standing):
    body = b"0\r\n\r\n" + SMUGGLED
    data = request(CHUNKED, first=b"POST / HTTP/1.0", body=body)

    assert attack(standing, data) == (400, [])


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
    status, targets = attack(
        standing, request(*lines, first=POST, body=b"four" + SMUGGLED)
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

    assert attack(standing, data) == (400, [])


def test_a_request_without_a_length_has_no_body(standing):
    """What could be one is the next request: here it isn't even that."""
    answer, arrived = serve(standing, request(first=POST) + b"body")

    assert answer.body == b"ok"
    assert [one.body for one in arrived] == [b""]


def test_a_request_inside_a_counted_body_is_a_body(standing):
    for more in ((), (b"Expect: 100-continue",), (b"Expect: 100-continue, x",)):
        answer, arrived = serve(standing, post(SMUGGLED, *more))

        assert answer.body == b"ok"
        assert [one.body for one in arrived] == [SMUGGLED]


def test_a_request_inside_a_chunk_is_a_body(standing):
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)
    answer, arrived = serve(standing, request(CHUNKED, first=POST, body=body))

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
    status, targets = attack(standing, data + b"0\r\n\r\n" + SMUGGLED)

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
    assert attack(standing, head + SMUGGLED) == (400, [])


CONTROLS = [*range(0x20), 0x7F]


@pytest.mark.parametrize(
    "place", [b"/a%cb", b"%c/a", b"/a%c", b"/a?b%cc", b"http://demo.localhost/a%c"]
)
def test_no_target_has_a_control_character_a_blank_or_a_high_byte(standing, place):
    for byte in (*CONTROLS, 0x20, 0x23, 0x80, 0xA0, 0xFF):
        if byte != 0x20 or place in (b"/a%cb", b"/a?b%cc"):
            first = b"GET " + place % byte + b" HTTP/1.1"
            assert attack(standing, request(first=first)) == (400, []), byte


@pytest.mark.parametrize("place", [b"%cA: b", b"A%c: b", b"A%cB: c"])
def test_no_name_of_a_header_has_a_control_character_or_a_separator(standing, place):
    for byte in (*CONTROLS, *b' "(),/;<=>?@[\\]{}', 0x80, 0xFF):
        assert attack(standing, request(place % byte)) == (400, []), byte


@pytest.mark.parametrize("place", [b"A:%cb", b"A: b%c", b"A: b%cc"])
def test_no_value_of_a_header_has_a_control_character(standing, place):
    for byte in CONTROLS:
        if byte != 0x09:
            assert attack(standing, request(place % byte)) == (400, []), byte


@pytest.mark.parametrize(
    "line",
    [b" A: b", b"\tA: b", b"A: b\r\n c", b"A: b\r\n\tc", b"A:\r\n b", b"A: b\r\n \r\n",
     b"A", b"A b", b":", b": b", b"", b"A : b", b"A\t: b"],
)  # fmt: skip
def test_folded_lines_and_lines_that_are_none_are_refused(standing, line):
    first, *others = [line, b"X: y"] if line else [b"X y"]

    assert attack(standing, request(first, *others) + SMUGGLED) == (400, [])


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

    assert attack(standing, data + SMUGGLED) == (status, [])


@pytest.mark.parametrize(
    "data",
    [
        b"GET /\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"\x00" * 100,
        b"\n",
    ],
)
def test_what_isnt_http_1_is_refused(standing, data):
    status, targets = attack(standing, data)

    assert status in (400, 505)
    assert targets == []


# Hosts


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [b"Host: demo.localhost", b"Host: demo.localhost"],
        [b"Host: demo.localhost", b"host: other.localhost"],
        [b"Host: demo.localhost", b"Host:"],
        [b"Host: demo.localhost, other.localhost"],
        [b"Host: demo.localhost other.localhost"],
        [b"Host: user@demo.localhost"],
        [b"Host: demo.localhost/x"],
        [b"Host: demo.localhost?x"],
        [b"Host: demo.localhost#x"],
        [b"Host: demo.localhost\\x"],
        [b"Host: demo.localhost:80:80"],
        [b"Host: demo.localhost:http"],
        [b"Host: demo.localhost:-1"],
        [b"Host: demo.localhost:123456"],
        [b"Host: http://demo.localhost"],
        [b"Host: demo%2elocalhost"],
        [b"Host: demo.localhost\x00.evil"],
        [b"Host: d\xc3\xa9mo.localhost"],
        [b"Host: [::1"],
        [b"Host: [demo.localhost]"],
        [b"Host : demo.localhost"],
        [b" Host: demo.localhost"],
        [b"X: y\nHost: demo.localhost"],
    ],
)
def test_more_or_less_than_one_plain_host_is_refused(standing, lines):
    data = request(*lines, host=None)

    assert attack(standing, data + SMUGGLED) == (400, [])


@pytest.mark.parametrize(
    "target",
    [
        b"http://other.localhost/",
        b"http://demo.localhost:81/",
        b"http://demo.localhost@other.localhost/",
        b"http://user:pw@demo.localhost/",
        b"http:///",
        b"http://",
        b"http:/demo.localhost/",
        b"http:demo.localhost",
        b"ftp://demo.localhost/",
        b"ws://demo.localhost/",
        b"file:///etc/passwd",
        b"javascript:x",
        b"demo.localhost:80",
        b"http://demo.localhost\\@other.localhost/",
    ],
)
def test_a_target_with_another_host_than_the_host_is_refused(standing, target):
    first = b"GET " + target + b" HTTP/1.1"

    assert attack(standing, request(first=first) + SMUGGLED) == (400, [])


def test_a_target_with_the_same_host_reaches_the_app_in_origin_form(standing):
    first = b"GET HTTP://DEMO.localhost/a;b?c=%zz HTTP/1.1"
    _, arrived = serve(standing, request(first=first))

    assert arrived[0].head.startswith(b"GET /a;b?c=%zz HTTP/1.1\r\n")


# Upgrades


@pytest.mark.parametrize(
    "lines",
    [
        [b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: x"],
        [b"Connection: Upgrade", b"Upgrade: h2c"],
        [b"Connection: upgrade", b"Upgrade: H2C"],
        [b"Connection: Upgrade", b"Upgrade: websocket, h2c"],
        [b"Connection: Upgrade", b"Upgrade: h2c", b"Upgrade: websocket"],
        [b"Connection: Upgrade", b"Upgrade: TLS/1.2, HTTP/1.1"],
        [b"Connection: Upgrade", b"Upgrade: h2"],
        [b"Upgrade: websocket"],
        [b"Connection: close", b"Upgrade: websocket"],
        [b"HTTP2-Settings: x", b"Upgrade: h2c"],
    ],
)
def test_no_other_version_of_http_is_ever_asked_for(standing, lines):
    _, arrived = serve(standing, request(*lines))

    assert len(arrived) == 1
    for name in (b"upgrade", b"http2-settings", b"connection"):
        assert arrived[0].values(name) == []


def test_an_upgrade_with_a_body_is_no_upgrade(standing):
    lines = (b"Connection: Upgrade", b"Upgrade: websocket")
    answer, arrived = serve(standing, post(SMUGGLED, *lines))

    assert answer.body == b"ok"
    assert [one.body for one in arrived] == [SMUGGLED]
    assert arrived[0].values(b"upgrade") == []


def test_what_an_upgrade_sends_too_early_is_the_next_request_if_it_fails(standing):
    data = request(b"Connection: Upgrade", b"Upgrade: raw")
    app, public = standing.app, standing.public
    app.arrived.clear()

    async def act():
        visitor = await public.visit()
        await visitor.send(data + request(first=b"GET /next HTTP/1.1"))
        await visitor.answer()
        await visitor.answer()

    standing.run(act())
    assert [one.head.split(b" ")[1] for one in app.arrived] == [b"/", b"/next"]


def test_connection_cant_take_out_what_others_have_put_in(standing):
    named = (
        b"host, content-length, transfer-encoding, x-forwarded-for, x-real-ip,"
        b" authorization, upstash-signature, cookie, forwarded, via, expect"
    )
    lines = (
        b"X-Forwarded-For: 203.0.113.1",
        b"X-Real-IP: 203.0.113.1",
        b"Authorization: Bearer x",
        b"Upstash-Signature: x",
        b"Cookie: a",
        b"Forwarded: for=203.0.113.1",
        b"Via: 1.1 x",
    )
    _, arrived = serve(standing, post(b"four", b"Connection: close, " + named, *lines))

    assert arrived[0].body == b"four"
    for line in lines[1:]:
        assert line in arrived[0].lines
    assert b"X-Forwarded-For: 203.0.113.1, 127.0.0.1" in arrived[0].lines


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
        b"\r\n" * 40_000,
    ],
    ids=lambda data: repr(data[:20]),
)
def test_a_head_beyond_the_limits_is_refused(standing, data):
    status, targets = attack(standing, data)

    assert status in (400, 431)
    assert targets == []


def test_a_head_within_the_limits_passes(standing):
    head = request(*[b"A: b"] * 198, b"B: " + b"x" * 60_000)
    answer, arrived = serve(standing, head)

    assert answer.body == b"ok"
    assert len(arrived[0].lines) == 200 + 3  # of which one is Host


# Paths


UPGRADE = (
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
)


@pytest.mark.parametrize(
    "target",
    [b"//_qemu/link", b"/./_qemu/link", b"/x/../_qemu/link", b"/%5fqemu/link",
     b"/_qemu%2flink", b"/_QEMU/link", b"/\\_qemu/link",
     b"/t/", b"/t//demo/", b"/t/-/", b"/T/demo/", b"/t%2fdemo/", b"/%74/demo/",
     b"/t/demo%2f..%2fother", b"/t/demo;x/", b"/t/d%65mo/", b"/./t/demo/",
     b"//t/demo/", b"/t/../t/demo/"],
)  # fmt: skip
def test_paths_that_almost_lead_somewhere_lead_nowhere(standing, target):
    for more in ((), UPGRADE):
        data = request(*more, first=b"GET " + target + b" HTTP/1.1", host=b"localhost")

        assert attack(standing, data) == (404, [])


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        (b"/t/demo", b"/"),
        (b"/t/demo?a=b", b"/?a=b"),
        (b"/t/demo/", b"/"),
        (b"/t/DEMO//", b"//"),
        (b"/t/demo/../../_qemu/health", b"/../../_qemu/health"),
        (b"/t/demo/../other/x", b"/../other/x"),
        (b"/t/demo/%2e%2e%2fother", b"/%2e%2e%2fother"),
        (b"/t/demo/_qemu/tunnels", b"/_qemu/tunnels"),
        (b"/t/demo/t/demo/", b"/t/demo/"),
        (b"http://localhost/t/demo/x", b"/x"),
    ],
)
def test_what_follows_a_name_in_a_path_is_the_apps_affair(standing, target, shown):
    data = request(first=b"GET " + target + b" HTTP/1.1", host=b"localhost")
    _, arrived = serve(standing, data)

    assert [one.head.split(b" ")[1] for one in arrived] == [shown]


def test_only_the_links_own_path_makes_a_link(standing):
    """A websocket of the app at the same path below its name is the app's."""
    standing.app.answer = b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n"
    first = b"GET /t/demo/_qemu/link HTTP/1.1"
    answer, arrived = serve(standing, request(*UPGRADE, first=first, host=b"localhost"))
    standing.app.answer = OK

    assert answer.status == 426
    assert [one.head.split(b" ")[1] for one in arrived] == [b"/_qemu/link"]


def test_an_app_is_never_asked_for_what_is_the_relays_own(standing):
    answer, arrived = serve(
        standing, request(first=b"GET /_qemu/health HTTP/1.1", host=b"localhost")
    )

    assert b'"role": "relay"' in answer.body
    assert arrived == []


def test_a_host_below_the_domain_decides_alone(standing):
    for host in (b"other.localhost", b"a.demo.localhost", b"-.localhost"):
        data = request(b"Qemu-Tunnel: demo", first=b"GET /t/demo/ HTTP/1.1", host=host)
        standing.app.arrived.clear()
        answer = standing.run(standing.public.ask(data))

        assert answer.status == 404
        assert standing.app.arrived == []
