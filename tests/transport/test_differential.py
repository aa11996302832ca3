"""Our own client against aiohttp's: the same bytes out, the same outcome back.

Both meet the same scripted server over ``http://``. Texts of failures are each
client's own; what is compared is the kind of outcome, every part of an answer, the
requests that arrive and how many connections they took. Where the two differ on
purpose, it is in ``DIFFERENCES``, with the reason.
"""

from __future__ import annotations

import asyncio
import gzip
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.core.model import Outcome, Responded, TimedOut, Unreachable
from emulator.transport.plain import PlainClient
from emulator.transport.request import split_url
from emulator.transport.tls import TlsClient
from tests.transport.bare import OK, a_request, destination

few = settings(max_examples=50, deadline=None)

PATIENCE_S = 0.3
"""How long an outcome is waited for: whoever waits longer hangs."""

HEAD = b"HTTP/1.1 200 OK\r\n"

CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(autouse=True, scope="module")
def _lenient() -> Iterator[None]:
    """aiohttp takes less under PYTHONASYNCIODEBUG: it is compared as users have it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aiohttp._http_parser.DEBUG", False, raising=False)
        patch.setattr("aiohttp.http_parser.DEBUG", False, raising=False)
        yield


@dataclass(frozen=True)
class Seen:
    """What came of a number of calls."""

    outcomes: tuple[Responded | type[Unreachable | TimedOut], ...]

    requests: tuple[bytes, ...]

    connections: int


def bare_of(outcome: Outcome) -> Responded | type[Unreachable | TimedOut]:
    """An outcome without the text of a failure."""
    return outcome if isinstance(outcome, Responded) else type(outcome)


async def seen_by(
    client: PlainClient | TlsClient,
    scripts: Iterable[bytes | list[bytes]],
    *,
    end: str = "close",
    calls: int = 1,
    **changes: Any,
) -> Seen:
    """Have a client call a destination that answers so."""
    async with destination(*scripts, end=end) as bare:
        request = a_request(bare.url(), **changes)
        origin, target = split_url(request.url)
        outcomes = []
        for _ in range(calls):
            outcome: Outcome = TimedOut(0)
            try:
                async with asyncio.timeout(PATIENCE_S):
                    outcome = await client.send(request, origin, target)
            except TimeoutError:
                pass
            outcomes.append(bare_of(outcome))
        await client.close()
        requests = tuple(
            request.replace(b":%d" % bare.port, b":PORT") for request in bare.received
        )
        return Seen(tuple(outcomes), requests, bare.connections)


async def both(*scripts: bytes | list[bytes], **how: Any) -> tuple[Seen, Seen]:
    """What our client sees, and what aiohttp's does."""
    return (
        await seen_by(PlainClient(), scripts, **how),
        await seen_by(TlsClient(), scripts, **how),
    )


def answer(*lines: str, status: str = "200 OK", body: bytes = b"") -> bytes:
    head = [f"HTTP/1.1 {status}", *lines, f"Content-Length: {len(body)}"]
    return ("\r\n".join(head) + "\r\n\r\n").encode("latin-1") + body


GOOD = {
    "with a length": OK,
    "empty": answer(),
    "until the end": HEAD + b"\r\nok",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.0, kept": b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n"
    b"Content-Length: 2\r\n\r\nok",
    "HTTP/1.0 until the end": b"HTTP/1.0 200 OK\r\n\r\nok",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "closing": answer("Connection: close", body=b"ok"),
    "closing among others": answer("Connection: x, Close", body=b"ok"),
    "closing for a proxy": answer("Proxy-Connection: close", body=b"ok"),
    "in chunks": CHUNKED + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
    "in chunks with extensions": CHUNKED + b'2;a="b;c";d\r\nok\r\n0;z=1\r\n\r\n',
    "in chunks with trailers": CHUNKED + b"2\r\nok\r\n0\r\nX: 1\r\nY:\r\n\r\n",
    "in chunks with a folded trailer": CHUNKED + b"2\r\nok\r\n0\r\nX: 1\r\n a\r\n\r\n",
    "in chunks with zeros": CHUNKED + b"0" * 30 + b"A\r\n0123456789\r\n000\r\n\r\n",
    "in chunks with blanks": CHUNKED + b"2 \r\nok\r\n0  \r\n\r\n",
    "chunked twice": HEAD + b"Transfer-Encoding: chunked\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "chunked in capitals": HEAD
    + b"Transfer-Encoding: CHUNKED\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "of a coding until the end": HEAD + b"Transfer-Encoding: gzip\r\n\r\nok",
    "chunked, but not last": HEAD + b"Transfer-Encoding: chunked, gzip\r\n\r\nok",
    "103": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK,
    "100": b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + OK,
    "199": b"HTTP/1.1 199 Odd\r\n\r\n" + OK,
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "204 with a length": b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
    "205": b"HTTP/1.1 205 Reset\r\nContent-Length: 0\r\n\r\n",
    "304 with a length": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    "304 in chunks": b"HTTP/1.1 304 N\r\nTransfer-Encoding: chunked\r\n\r\n",
    "999": answer(status="999 Odd", body=b"ok"),
    "no reason": answer(status="404"),
    "an empty reason": answer(status="404 "),
    "a blank before the reason": answer(status="200  OK "),
    "a reason of bytes": answer(status="200 \xe9\x01\t"),
    "a redirect": answer("Location: /elsewhere", status="302 Found"),
    "lines without a carriage return": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "empty lines before": b"\r\n\n" + OK,
    "folded": answer("X: a\r\n b", "Y: c\r\n\td\r\n  e", body=b"ok"),
    "blanks around values": answer("X: \t a \t ", "Y:", "Z:b", body=b"ok"),
    "bytes in values": answer("X: \xff\xe9\x01\x7f", body=b"ok"),
    "a length with zeros": HEAD + b"Content-Length: 02\r\n\r\nok",
    "a length with a blank": HEAD + b"Content-Length: 2 \r\n\r\nok",
    "headers repeated": answer("X: a", "x: b", "Content-Type: a", "Content-Type: b"),
    "many headers": answer(*["X: a"] * 127, body=b"ok"),
    "a long header": answer("X: " + "a" * 65_534, body=b"ok"),
    "a long reason": answer(status="200 " + "a" * 60_000),
    "an upgrade that isn't one": answer("Connection: upgrade", "Upgrade: h2c"),
    "gzip": answer("Content-Encoding: gzip", body=gzip.compress(b"hello", mtime=0)),
    "gzip in capitals": answer("Content-Encoding: GZIP", body=gzip.compress(b"a")),
    "gzip in name": answer("Content-Encoding: gzip, gzip", body=b"hello"),
    "gzip second": answer("Content-Encoding: a", "Content-Encoding: gzip", body=b"b"),
    "no gzip": answer("Content-Encoding: gzip", body=b"hello"),
    "half of gzip": answer("Content-Encoding: gzip", body=gzip.compress(b"hello")[:-3]),
    "gzip until the end": HEAD
    + b"Content-Encoding: gzip\r\n\r\n"
    + gzip.compress(b"a"),
    "longer than is kept": answer(body=b"0123456789" * 200),
    "longer than is kept, in chunks": CHUNKED
    + (b"a\r\n0123456789\r\n" * 200)
    + b"0\r\n\r\n",
}

BAD = {
    "nothing": b"",
    "half a status line": b"HTTP/1.",
    "half a head": HEAD + b"X: 1\r\n",
    "half of the blank line": HEAD + b"X: 1\r\n\r",
    "a cut body": HEAD + b"Content-Length: 9\r\n\r\nabc",
    "a cut chunk": CHUNKED + b"5\r\nabc",
    "no last chunk": CHUNKED + b"3\r\nabc\r\n",
    "half of the last chunk": CHUNKED + b"3\r\nabc\r\n0\r\n",
    "only 100": b"HTTP/1.1 100 Continue\r\n\r\n",
    "words": b"hello there\r\n\r\n",
    "http in small letters": b"http/1.1 200 OK\r\n\r\n",
    "HTTP/1.2": b"HTTP/1.2 200 OK\r\n\r\n",
    "no blank after the version": b"HTTP/1.1200 OK\r\n\r\n",
    "no blank after the status": b"HTTP/1.1 200OK\r\n\r\n",
    "a tab after the status": b"HTTP/1.1 200\tOK\r\n\r\n",
    "two blanks before the status": b"HTTP/1.1  200 OK\r\n\r\n",
    "two digits": b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
    "four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "no colon": HEAD + b"X\r\nContent-Length: 0\r\n\r\n",
    "a blank before the colon": HEAD + b"X : a\r\nContent-Length: 0\r\n\r\n",
    "a name that is empty": HEAD + b": a\r\nContent-Length: 0\r\n\r\n",
    "a name beyond ASCII": HEAD + b"X\xe9: a\r\nContent-Length: 0\r\n\r\n",
    "a lone carriage return": HEAD + b"X: a\rb\r\nContent-Length: 0\r\n\r\n",
    "a zero byte": HEAD + b"X: a\0b\r\nContent-Length: 0\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    "a list of lengths": HEAD + b"Content-Length: 2, 2\r\n\r\nok",
    "a length with a sign": HEAD + b"Content-Length: +2\r\n\r\nok",
    "a length in words": HEAD + b"Content-Length: two\r\n\r\nok",
    "an empty length": HEAD + b"Content-Length:\r\n\r\nok",
    "a length beyond all": HEAD + b"Content-Length: " + b"9" * 25 + b"\r\n\r\nok",
    "length and chunks": HEAD
    + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": HEAD
    + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
    "a chunk in words": CHUNKED + b"zz\r\nok\r\n0\r\n\r\n",
    "a chunk after a blank": CHUNKED + b" 2\r\nok\r\n0\r\n\r\n",
    "a chunk in C": CHUNKED + b"0x2\r\nok\r\n0\r\n\r\n",
    "a chunk beyond all": CHUNKED + b"f" * 17 + b"\r\nok\r\n0\r\n\r\n",
    "a chunk that is longer": CHUNKED + b"2\r\nokay\r\n0\r\n\r\n",
    "an empty line for a chunk": CHUNKED + b"\r\n2\r\nok\r\n0\r\n\r\n",
    "a trailer that is none": CHUNKED + b"2\r\nok\r\n0\r\nno trailer\r\n\r\n",
    "too many headers": answer(*["X: a"] * 128, body=b"ok"),
    "a header too long": answer("X: " + "a" * 65_536, body=b"ok"),
    "a reason too long": answer(status="200 " + "a" * 66_000),
}


@pytest.mark.parametrize("sent", GOOD.values(), ids=GOOD)
async def test_both_clients_understand_an_answer_alike(sent):
    """DLV-20."""
    ours, theirs = await both(sent)

    assert ours == theirs


@pytest.mark.parametrize("end", ["close", "keep"])
@pytest.mark.parametrize(
    "head", [answer().replace(b": 0", b": 9"), CHUNKED, HEAD + b"\r\n"]
)
async def test_both_clients_wait_for_no_body_of_what_answers_a_head(head, end):
    """RFC 9112, 6.3."""
    ours, theirs = await both(head, method="HEAD", calls=2, end=end)

    assert ours.outcomes == theirs.outcomes
    assert isinstance(ours.outcomes[0], Responded)


@pytest.mark.parametrize("sent", BAD.values(), ids=BAD)
@pytest.mark.parametrize("end", ["close", "reset"])
async def test_both_clients_refuse_what_is_no_answer(sent, end):
    """DLV-16."""
    ours, theirs = await both(sent, end=end)

    assert ours == theirs
    assert ours.outcomes == (Unreachable,)


@dataclass(frozen=True)
class Difference:
    """An answer that our client understands in another way than aiohttp's."""

    sent: bytes

    ours: int | None
    """The status of the outcome; ``None``: unreachable."""

    theirs: int | None

    reason: str


DIFFERENCES = {
    "a change of protocol": Difference(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\n",
        None,
        101,
        "It was never asked for, and the app has had no say yet.",
    ),
    "a status below 100": Difference(
        answer(status="099 Odd"), None, 99, "RFC 9110, 15: it isn't one."
    ),
    "a zero byte in the reason": Difference(
        answer(status="200 O\0K"), None, 200, "Refused in a header as well."
    ),
    "a blank before the first header": Difference(
        HEAD + b" X: a\r\nContent-Length: 0\r\n\r\n",
        None,
        200,
        "RFC 9112, 2.2: refuse it, or leave it out; two readers may disagree.",
    ),
    "a head beyond all limits": Difference(
        answer(*["X: " + "a" * 60_000] * 6),
        None,
        200,
        "aiohttp bounds each line, and so 8 MiB in all.",
    ),
    "more than one answer at once": Difference(
        OK + OK, 200, 200, "aiohttp fails at bytes that aren't HTTP: see the next."
    ),
    "bytes after the answer": Difference(
        OK + b"and more",
        200,
        None,
        "DLV-10: the answer was whole. In a later packet aiohttp lets it count, too.",
    ),
    "a body where none may be": Difference(
        b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok",
        204,
        None,
        "The same: the two bytes come after the answer.",
    ),
    "an extension that isn't one": Difference(
        CHUNKED + b"2;;a\x01\r\nok\r\n0\r\n\r\n",
        200,
        None,
        "Nobody reads extensions; where the line ends is beyond doubt.",
    ),
    "chunks without carriage returns": Difference(
        CHUNKED + b"2\nok\n0\n\n", 200, None, "As in the head, where both take it."
    ),
    "a length among the trailers": Difference(
        CHUNKED + b"2\r\nok\r\n0\r\nContent-Length: 9\r\n\r\n",
        200,
        None,
        "Trailers don't frame anything.",
    ),
    "an old websocket header": Difference(
        answer("Sec-WebSocket-Key1: x"), 200, None, "A header like any other."
    ),
}


@pytest.mark.parametrize("case", DIFFERENCES.values(), ids=DIFFERENCES)
async def test_where_the_clients_differ_it_is_on_purpose(case):
    ours, theirs = await both(case.sent)

    assert case.reason
    assert [getattr(each.outcomes[0], "status", None) for each in (ours, theirs)] == [
        case.ours,
        case.theirs,
    ]


# Requests


METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]

names = st.from_regex(r"X-[A-Za-z0-9!#$%&'*+.^_`|~-]{1,8}", fullmatch=True)
values = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], include_characters="\t"), max_size=12
)


@few
@given(
    method=st.sampled_from(METHODS),
    headers=st.lists(st.tuples(names, values), max_size=6),
    body=st.binary(max_size=40),
    host=st.none() | st.sampled_from(["app.example", "App.example:8443", "[::1]:1"]),
)
async def test_both_clients_send_the_same_request(method, headers, body, host):
    """DLV-1, DLV-2: but for the place of a ``Host`` that isn't the URL's."""
    ours, theirs = await both(
        answer(),
        method=method,
        headers=(("Accept-Encoding", "gzip"), *headers),
        body=body,
        host=host,
    )

    assert split(ours.requests) == split(theirs.requests)
    assert ours.outcomes == theirs.outcomes


def split(requests: tuple[bytes, ...]) -> list[tuple[bytes, list[bytes], bytes]]:
    """The first line, the headers with ``Host`` in front, and the body."""
    parts = []
    for request in requests:
        head, _, body = request.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        lines.sort(key=lambda line: not line.startswith(b"Host: "))
        parts.append((first, lines, body))
    return parts


@pytest.mark.parametrize("size", [65_536, 65_537, 3_000_000])
async def test_both_clients_send_a_large_body_whole(size):
    """PUB-20."""
    ours, theirs = await both(OK, body=bytes(range(256)) * (size // 256) + b"x")

    assert ours == theirs


# Pieces


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """A good answer of any kind."""
    early = draw(st.integers(0, 2)) * b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    status = draw(st.sampled_from(["200 OK", "404", "500 No", "204 None", "304 Same"]))
    body = draw(st.binary(max_size=60))
    lines = [f"HTTP/1.1 {status}", "X-A: 1"]
    if draw(st.booleans()):
        lines.append("Connection: close")
    if draw(st.booleans()):
        lines.append("Content-Encoding: gzip")
        body = gzip.compress(body, mtime=0)
    has_body = status[:3] not in ("204", "304")
    match draw(st.sampled_from(["length", "chunks", "end"])):
        case "length":
            lines.append(f"Content-Length: {len(body)}")
        case "chunks":
            lines.append("Transfer-Encoding: chunked")
            cut = draw(st.integers(0, len(body)))
            pieces = [piece for piece in (body[:cut], body[cut:]) if piece]
            body = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces)
            body += draw(st.sampled_from([b"0\r\n\r\n", b"0;a\r\nX: 1\r\n\r\n"]))
    head = ("\r\n".join(lines) + "\r\n\r\n").encode()
    return early + head + (body if has_body else b"")


@few
@given(answers(), st.data())
async def test_both_clients_understand_an_answer_in_any_pieces(sent, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=4)))
    edges = [0, *cuts, len(sent)]
    pieces = [sent[a:b] for a, b in itertools.pairwise(edges)]

    ours, theirs = await both(pieces)

    assert ours == theirs


@few
@given(answers(), st.data())
async def test_both_clients_judge_an_answer_that_breaks_off_alike(sent, data):
    """DLV-16."""
    cut = data.draw(st.integers(0, len(sent)))
    end = data.draw(st.sampled_from(["close", "reset"]))

    ours, theirs = await both(sent[:cut], end=end)

    # A reset may overtake what was sent before it.
    assert ours.outcomes == theirs.outcomes or end == "reset"
    assert ours.requests == theirs.requests


# Connections


@pytest.mark.parametrize(
    "sent",
    [
        OK,
        GOOD["in chunks"],
        GOOD["204"],
        GOOD["HTTP/1.0"],
        GOOD["HTTP/1.0, kept"],
        GOOD["closing"],
    ],
)
async def test_both_clients_use_a_connection_again_after_the_same_answers(sent):
    ours, theirs = await both(sent, end="keep", calls=3)

    assert ours == theirs


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH"])
async def test_both_clients_repeat_the_same_calls_on_a_stale_connection(method):
    """RFC 9110, 9.2.2: what is no harm to repeat, and only that."""
    seen = []
    for client in (PlainClient(), TlsClient()):
        # The second request ends the connection without an answer.
        scripts = [[OK], ["stale"], [OK]]
        async with destination(*scripts, end="keep") as bare:
            request = a_request(bare.url(), method=method)
            origin, target = split_url(request.url)
            outcomes = [await client.send(request, origin, target) for _ in range(2)]
            await client.close()
            seen.append(([bare_of(each) for each in outcomes], len(bare.received)))

    assert seen[0] == seen[1]
    is_repeated = method in ("GET", "PUT", "DELETE")
    assert isinstance(seen[0][0][1], Responded) == is_repeated
    assert seen[0][1] == (3 if is_repeated else 2)


async def test_both_clients_drop_a_call_that_takes_too_long():
    """DLV-22."""
    ours, theirs = await both([], OK, end="keep", calls=2)

    assert ours == theirs
    assert ours.outcomes[0] is TimedOut
    assert ours.connections == 2
