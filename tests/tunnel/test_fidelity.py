"""Requests and answers pass the tunnel byte for byte: raw sockets at both ends."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tunnel.raw import HOST, OK, Message, a_standing, request

_HOPS = {
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"proxy-authorization",
    b"proxy-authenticate",
    b"te",
    b"upgrade",
    b"http2-settings",
}


@pytest.fixture(scope="module")
def standing():
    """Run relay, tunnel and app for all examples."""
    with a_standing(relay={"max_connections": 5000}) as standing:
        yield standing


# What must become of heads, said in the simplest way


def name_of(line):
    return line.partition(b":")[0].lower()


def options_of(lines):
    values = [
        line.partition(b":")[2] for line in lines if name_of(line) == b"connection"
    ]
    return {option.strip().lower() for value in values for option in value.split(b",")}


def shown_to_app(head):
    """Return the head that the app must get for a visitor's."""
    first, *lines = head.split(b"\r\n")[:-2]
    options = options_of(lines)
    lines = [
        line
        for line in lines
        if (name_of(line) not in _HOPS or line == b"TE: trailers")
        and name_of(line) not in options
    ]
    for name, value in (
        (b"X-Forwarded-For", b"127.0.0.1"),
        (b"X-Forwarded-Proto", b"http"),
        (b"X-Forwarded-Host", HOST),
    ):
        own = [i for i, line in enumerate(lines) if name_of(line) == name.lower()]
        if not own:
            lines.append(name + b": " + value)
            continue
        written, _, before = lines[own[-1]].partition(b":")
        hops = before.strip().split(b",")
        if name == b"X-Forwarded-For" or hops[-1].strip() != value:
            list_of = before.strip() + b", " + value if before.strip() else value
            lines[own[-1]] = written + b": " + list_of
    first = first.replace(b" HTTP/1.0", b" HTTP/1.1")
    return b"\r\n".join([first, *lines, b"", b""])


def shown_to_visitor(head, *, version, closes, chunks=False, dechunks=False):
    """Return the head that a visitor must get for the app's."""
    first, *lines = head.split(b"\r\n")[:-2]
    first = b"HTTP/1.1" + first[8:]
    if len(first) == 12:
        first += b" "
    status = int(first[9:12])
    cut = set(_HOPS) - {b"te"} | options_of(lines)
    if status < 200 or status == 204:
        cut |= {b"content-length", b"transfer-encoding"}
    if dechunks:
        cut |= {b"transfer-encoding", b"trailer"}
    lines = [line for line in lines if name_of(line) not in cut]
    if chunks:
        lines.append(b"Transfer-Encoding: chunked")
    if closes and status >= 200:
        lines.append(b"Connection: close")
    elif version == b"1.0":
        lines.append(b"Connection: keep-alive")
    return b"\r\n".join([first, *lines, b"", b""])


# Requests and answers

_TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

targets = st.one_of(
    st.sampled_from(
        [
            b"/",
            b"/?",
            b"//",
            b"/a;b=1/c?d;e=%zz&f",
            b"/%",
            b"/%2e%2E/..%2f../x",
            b"/a/../../b?..",
            b"/%28%29?%C3%A9=%c3%a9",
            b'/"<>\\^`{|}?"<>\\^`{|}',
            b"/t/other/x",
            b"/_qemu/health",
            b"/x?a=b?c=d//",
            b"*",
        ]
    ),
    st.text(st.characters(codec="ascii", min_codepoint=0x21, max_codepoint=0x7E))
    .map(lambda text: b"/" + text.replace("#", "%23").encode()),
)  # fmt: skip

values = st.one_of(
    st.sampled_from([b"", b" ", b" a", b"a", b"\ta\t", b"  two  blanks  ", b" a,b"]),
    st.binary(max_size=30).map(
        lambda raw: b" " + bytes(c for c in raw if c == 9 or (c >= 0x20 and c != 0x7F))
    ),
)

# Underscores may not hide a framing field; what is the tunnel's own affair is below.
plain_names = st.one_of(
    st.sampled_from(["Accept", "x-a", "X-A", "COOKIE", "upstash-Signature", "Date"]),
    st.text(_TOKEN, min_size=1, max_size=12),
).filter(
    lambda name: (
        name.lower().replace("_", "-")
        not in {
            "host",
            "te",
            "expect",
            "upgrade",
            "trailer",
            "connection",
            "keep-alive",
        }
    )
)

plain_lines = st.builds(
    lambda name, value: name.encode() + b":" + value, plain_names, values
)

request_lines = st.lists(
    st.one_of(
        plain_lines,
        st.sampled_from(
            [
                b"Content-Type: application/octet-stream",
                b"X-Forwarded-For: 203.0.113.9",
                b"x-forwarded-for:",
                b"X-FORWARDED-PROTO: https",
                b"X-Forwarded-Proto: http",
                b"X-Forwarded-Host: a, b",
                b"TE: trailers",
                b"te: gzip",
                b"Keep-Alive: timeout=5",
                b"Proxy-Connection: keep-alive",
                b"Proxy-Authorization: Basic eA==",
                b"Upgrade: h2c",
                b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA",
                b"Connection: keep-alive, hop",
                b"Hop: by-hop",
                b"hOP:\x80\xff",
            ]
        ),
    ),
    max_size=12,
)

answer_lines = st.lists(
    st.one_of(
        plain_lines,
        st.sampled_from(
            [
                b"Set-Cookie: a=1",
                b"set-cookie:b=2",
                b"Connection: keep-alive, Hop",
                b"HOP: by-hop",
                b"Keep-Alive: timeout=5",
                b"Proxy-Authenticate: Basic",
                b"Upgrade: websocket",
            ]
        ),
    ),
    max_size=10,
)

bodies = st.one_of(
    st.binary(max_size=100),
    st.integers(0, 90_000).map(lambda size: bytes(range(256)) * (size // 256)),
)


@st.composite
def chunked(draw, body, trailers):
    """Frame a body in chunks, as oddly as is allowed."""
    cuts = draw(st.lists(st.integers(0, len(body)), max_size=4))
    edges = sorted({0, *cuts, len(body)})
    spell = draw(st.sampled_from(["%x", "%X", "%05x"]))
    extension = draw(st.sampled_from(["", ";a", ";a=b;c", ';a="q \\" ;\x80"']))
    framed = b""
    for start, end in pairwise(edges):
        size = (spell % (end - start) + extension).encode("latin-1")
        framed += size + b"\r\n" + body[start:end] + b"\r\n"
    return framed + b"0" + extension.encode("latin-1") + b"\r\n" + trailers + b"\r\n"


_TRAILERS = st.sampled_from([b"", b"X-Sum: 1\r\n", b"a:\r\nA: \xff\r\n"])


@st.composite
def a_request(draw):
    """Return method, version, whether it closes, head, framed body, body, trailers."""
    method = draw(
        st.sampled_from([b"GET", b"POST", b"PUT", b"HEAD", b"!x~", b"OPTIONS"])
    )
    target = draw(targets if method == b"OPTIONS" else targets.filter(b"*".__ne__))
    version = draw(st.sampled_from([b"1.1", b"1.1", b"1.0"]))
    lines = [b"Host: " + HOST, *draw(request_lines)]
    kind = draw(st.sampled_from(["none", "none", "counted", "chunked"]))
    body = framed = trailers = b""
    if kind == "counted":
        body = framed = draw(bodies)
        lines.append(b"content-LENGTH:%d" % len(body))
    elif kind == "chunked" and version == b"1.1":
        body, trailers = draw(bodies), draw(_TRAILERS)
        framed = draw(chunked(body, trailers))
        lines.append(b"Transfer-encoding: Chunked")
    if draw(st.integers(0, 4)) == 0:
        lines.append(b"Connection: close")
    elif version == b"1.0" and draw(st.booleans()):
        lines.append(b"connection: Keep-Alive")
    lines = draw(st.permutations(lines))
    options = options_of(lines)
    closes = b"close" in options or (version == b"1.0" and b"keep-alive" not in options)
    first = b"%b %b HTTP/%b" % (method, target, version)
    head = b"\r\n".join([first, *lines, b"", b""])
    return method, version, closes, head, framed, body, trailers


@st.composite
def an_answer(draw, method, version):
    """Return what the app sends, whether it closes, and what the visitor must get."""
    status = draw(st.sampled_from([200, 200, 200, 201, 204, 304, 404, 500, 999]))
    own = draw(st.sampled_from([b"1.1", b"1.1", b"1.0"]))
    reason = draw(st.sampled_from([b"", b" ", b" OK", b" so l\xe4la", b"  two "]))
    lines = draw(answer_lines)
    has_none = method == b"HEAD" or status in (204, 304)
    kind = draw(st.sampled_from(["counted", "counted", "chunked", "until close"]))
    body = framed = trailers = b""
    if kind == "counted":
        body = framed = draw(bodies)
        lines.append(b"Content-Length: %d" % len(body))
    elif kind == "chunked" and own == b"1.1":
        body, trailers = draw(bodies), draw(_TRAILERS)
        framed = draw(chunked(body, trailers))
        lines += [b"Transfer-Encoding:  chunked", b"Trailer: X-Sum, a"]
    else:
        kind = "until close"
        body = framed = draw(bodies)
    if has_none:
        body = framed = trailers = b""
    app_closes = kind == "until close" or draw(st.booleans())
    if app_closes and kind != "until close":
        lines.append(b"connection: close")
    lines = draw(st.permutations(lines))
    head = b"\r\n".join([b"HTTP/%b %d%b" % (own, status, reason), *lines, b"", b""])
    interim = draw(
        st.lists(
            st.sampled_from(
                [
                    b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n",
                    b"HTTP/1.1 102\r\nConnection: close\r\nlink:\xff\r\n\r\n",
                    b"HTTP/1.1 100 Continue\r\n\r\n",
                ]
            ),
            max_size=3,
        )
    )
    is_open = not has_none and kind != "counted"  # its length isn't known at first
    expected = {
        "interim": interim if version == b"1.1" else [],
        "head": head,
        "body": body,
        "trailers": trailers if version == b"1.1" else b"",
        "chunks": is_open and kind == "until close" and version == b"1.1",
        "dechunks": is_open and kind == "chunked" and version == b"1.0",
        "closes": is_open and version == b"1.0",
    }
    return b"".join(interim) + head + framed, app_closes, expected


@st.composite
def an_exchange(draw):
    asked = draw(a_request())
    return asked, draw(an_answer(asked[0], asked[1]))


pieces = st.sampled_from([0, 0, 1, 7, 1400])


@settings(max_examples=200, deadline=None)
@given(exchange=an_exchange(), asked_in=pieces, answered_in=pieces)
def test_every_request_and_every_answer_pass_as_they_are(
    standing, exchange, asked_in, answered_in
):
    asked, (answer, app_closes, expected) = exchange
    method, version, closes, head, framed, body, trailers = asked
    app, public = standing.app, standing.public
    app.answer, app.piece_bytes, app.closes = answer, answered_in, app_closes
    app.arrived.clear()
    closes = closes or expected["closes"]

    async def ask():
        end = await public.visit()
        await end.send_in_pieces(head + framed, asked_in)
        got = await end.answer(method)
        if closes:
            await end.ended()
        else:  # what comes next on the connection is the answer to what is sent next
            app.answer, app.closes = OK, False
            await end.send(request(b"After: it"))
            assert (await end.answer()).body == b"ok"
        end.close()
        return got

    got = standing.run(ask())

    assert app.arrived[0] == Message(shown_to_app(head), body, trailers)
    assert (
        app.arrived[1:] == []
        if closes
        else [name_of(app.arrived[1].lines[1])] == [b"after"]
    )
    assert got.head == shown_to_visitor(
        expected["head"],
        version=version,
        closes=closes,
        chunks=expected["chunks"],
        dechunks=expected["dechunks"],
    )
    assert got.body == expected["body"]
    assert got.trailers == expected["trailers"]
    assert got.interim == [
        shown_to_visitor(one, version=b"1.1", closes=False)
        for one in expected["interim"]
    ]


@settings(max_examples=60, deadline=None)
@given(
    requests=st.lists(
        a_request().filter(lambda asked: asked[0] != b"HEAD" and not asked[2]),
        min_size=2,
        max_size=5,
    ),
    cuts=st.lists(st.floats(0, 1), max_size=6),
)
def test_pipelined_requests_pass_wherever_their_bytes_are_parted(
    standing, requests, cuts
):
    app, public = standing.app, standing.public
    app.answer, app.piece_bytes, app.closes = OK, 0, False
    app.arrived.clear()
    data = b"".join(head + framed for _, _, _, head, framed, _, _ in requests)
    edges = sorted({0, *(int(cut * len(data)) for cut in cuts), len(data)})

    async def ask():
        end = await public.visit()
        for start, stop in pairwise(edges):
            end.writer.write(data[start:stop])
            await asyncio.sleep(0)
        answers = [await end.answer() for _ in requests]
        end.close()
        return answers

    assert [one.body for one in standing.run(ask())] == [b"ok"] * len(requests)
    assert app.arrived == [
        Message(shown_to_app(head), body, trailers)
        for _, _, _, head, _, body, trailers in requests
    ]
