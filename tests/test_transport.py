"""emulator/transport: one HTTP call in, one outcome out.

Against bare servers on loopback that record every byte which arrives and answer with
bytes that a test chooses. Whatever a destination does is a value, never an exception.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import socket
import zlib
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from emulator.core.model import Outcome, Outgoing, Responded, Unreachable
from emulator.transport import HttpTransport
from tests.transport.bare import (
    DLV_2,
    LONGEST_S,
    OK,
    a_request,
    all_closed,
    destination,
    let_others_read,
)

few = settings(max_examples=60, deadline=None)


@asynccontextmanager
async def a_transport() -> AsyncIterator[HttpTransport]:
    transport = HttpTransport()
    try:
        yield transport
    finally:
        await transport.close()


async def send(transport: HttpTransport, request: Outgoing) -> Outcome:
    """Make a call; one that isn't over in time fails the test."""
    async with asyncio.timeout(LONGEST_S):
        return await transport.send(request)


async def outcome_of(
    *scripts: bytes | list[bytes], end: str = "close", **changes: Any
) -> Outcome:
    """Call a destination that answers so."""
    async with destination(*scripts, end=end) as bare, a_transport() as transport:
        return await send(transport, a_request(bare.url(), **changes))


async def received_from(**changes: Any) -> bytes:
    """Return the bytes that a request becomes. ``{port}`` in its URL is filled in."""
    async with destination() as bare, a_transport() as transport:
        url = changes.pop("url", "http://127.0.0.1:{port}/hook")
        request = a_request(url.replace("{port}", str(bare.port)), **changes)
        outcome = await send(transport, request)
        assert isinstance(outcome, Responded), outcome
    (received,) = bare.received
    return received.replace(b":%d" % bare.port, b":PORT")


async def target_of(rest: str) -> str:
    """Return the target that is asked for when a URL goes on like this."""
    received = await received_from(url=f"http://127.0.0.1:{{port}}{rest}")
    return received.split(b" ")[1].decode("ascii")


def answer(*lines: str, status: str = "200 OK", body: bytes = b"") -> bytes:
    """An answer with a length, whatever else its head says."""
    head = [f"HTTP/1.1 {status}", *lines, f"Content-Length: {len(body)}"]
    return ("\r\n".join(head) + "\r\n\r\n").encode("latin-1") + body


# What arrives


async def test_a_request_is_exactly_what_it_says_and_no_more():
    """DLV-1, DLV-2, DLV-3: no client adds anything of its own."""
    received = await received_from()

    assert received == (
        b"POST /hook HTTP/1.1\r\n"
        b"Host: 127.0.0.1:PORT\r\n"
        b"User-Agent: Upstash-QStash\r\n"
        b"Accept-Encoding: gzip\r\n"
        b"Content-Length: 2\r\n"
        b"\r\n"
        b"hi"
    )


async def test_headers_arrive_as_they_are_written():
    """DLV-2, HDR-33: of one that is repeated, the values are in order."""
    headers = (
        ("X-B", "2"),
        ("Content-Type", "text/plain; charset=utf-8"),
        ("X-A", "1"),
        ("X-B", ""),
        ("X-Odd!#$%&'*+.^_`|~", "a\tb"),
        ("Cookie", "a=b; c=d"),
        ("Content-Encoding", "gzip"),
        ("X-Text", "é€"),
    )
    received = await received_from(headers=(*DLV_2, *headers))

    lines = received.split(b"\r\n\r\n")[0].split(b"\r\n")[4:-1]
    sent = [f"{name}: {value}".encode() for name, value in headers]
    assert sorted(lines) == sorted(sent)
    assert [line for line in lines if line.startswith(b"X-B")] == [b"X-B: 2", b"X-B: "]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_a_body_is_sent_with_every_method(method):
    """HDR-21."""
    received = await received_from(method=method, body=b"\x00\xff")

    assert received.startswith(method.encode() + b" /hook HTTP/1.1\r\n")
    assert b"\r\nContent-Length: 2\r\n" in received
    assert received.endswith(b"\r\n\r\n\x00\xff")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
async def test_a_missing_body_has_length_0(method):
    """DLV-2."""
    received = await received_from(method=method, body=b"")

    assert b"\r\nContent-Length: 0\r\n" in received
    assert received.endswith(b"\r\n\r\n")


async def test_a_get_without_a_body_says_nothing_of_one():
    """DLV-2."""
    received = await received_from(method="GET", body=b"")

    assert b"content-length" not in received.lower()
    assert b"transfer-encoding" not in received.lower()


async def test_a_large_body_arrives_whole_and_without_a_warning():
    """PUB-20, LIM-2: warnings are errors here, as in many a user's tests."""
    body = bytes(range(256)) * 4096 * 3
    async with destination() as bare, a_transport() as transport:
        outcome = await send(transport, a_request(bare.url(), body=body))
    (received,) = bare.received

    assert isinstance(outcome, Responded), outcome
    assert received.endswith(b"\r\n\r\n" + body)


@pytest.mark.parametrize(
    "target",
    [
        "/a%2Fb//c?u=https://z.com/?q=1",
        "//",
        "/a/./b/../c/",
        "/%7euser/%zz%",
        "/a;b=c/(d)!$'*,@:",
        "/?x=%20+&&=&x",
        "/a?%C3%A9=%ff",
        "/a?b?c",
        "/a?",
        "/?",
        "/a??",
        '/\\|^`{}"<>[]',
        "/" + "a" * 16_000,
    ],
)
async def test_a_target_is_asked_for_to_the_letter(target):
    """BASE-3, PUB-4, DLV-1: or ``sub`` isn't the URL that the app sees."""
    assert await target_of(target) == target


@pytest.mark.parametrize(
    ("rest", "target"), [("", "/"), ("?a=1", "/?a=1"), ("?", "/?")]
)
async def test_an_empty_path_is_asked_for_as_a_slash(rest, target):
    """PUB-5."""
    assert await target_of(rest) == target


@pytest.mark.parametrize(
    ("rest", "target"), [("/a#b", "/a"), ("/a?b#c?d", "/a?b"), ("#a", "/")]
)
async def test_a_fragment_is_not_sent(rest, target):
    """BASE-4: it belongs to whoever reads the URL."""
    assert await target_of(rest) == target


@pytest.mark.parametrize(
    ("host", "sent"),
    [("app.example", b"app.example"), ("App.example:8443", b"App.example:8443")],
)
async def test_a_rerouted_message_names_the_host_it_was_published_for(host, sent):
    """DLV-2, PUB-4."""
    received = await received_from(host=host)

    assert received.count(b"\r\nHost: ") == 1
    assert b"\r\nHost: " + sent + b"\r\n" in received


@pytest.mark.parametrize(
    ("userinfo", "credentials"),
    [
        ("user:pw", b"user:pw"),
        ("user", b"user:"),
        (":pw", b":pw"),
        ("us%20er:p%40%3Aw", b"us er:p@:w"),
        ("us%3Aer:pw", b"us:er:pw"),
        ("us%C3%A9r:p%FF", b"us\xc3\xa9r:p\xff"),
    ],
)
async def test_user_information_becomes_basic_credentials(userinfo, credentials):
    """As in Go's client: decoded, byte for byte."""
    received = await received_from(url=f"http://{userinfo}@127.0.0.1:{{port}}/hook")

    assert b"\r\nAuthorization: Basic " + b64encode(credentials) + b"\r\n" in received
    assert b"\r\nHost: 127.0.0.1:PORT\r\n" in received


async def test_a_forwarded_authorization_counts_before_user_information():
    """DLV-2."""
    received = await received_from(
        url="http://user:pw@127.0.0.1:{port}/hook",
        headers=(("Authorization", "Bearer x"),),
    )

    assert received.count(b"Authorization") == 1
    assert b"\r\nAuthorization: Bearer x\r\n" in received


@pytest.mark.parametrize("scheme", ["http", "HTTP", "Http"])
async def test_a_scheme_is_understood_in_any_case(scheme):
    """PUB-2."""
    received = await received_from(url=f"{scheme}://127.0.0.1:{{port}}/hook")

    assert received.startswith(b"POST /hook HTTP/1.1\r\n")


async def test_no_header_can_be_smuggled_into_a_request():
    async with destination() as bare, a_transport() as transport:
        request = a_request(bare.url(), headers=(("X-A", "1\r\nX-B: 2"),))
        outcome = await send(transport, request)

    assert isinstance(outcome, Unreachable)
    assert bare.received == []


# What comes back


async def test_an_answer_is_status_headers_body_and_reason():
    """FMT-7, FMT-8, DLQ-3."""
    sent = answer("x-a: 1", "X-B: 2", "X-a:3 ", status="418 Short and stout", body=b"t")

    assert await outcome_of(sent) == Responded(
        418,
        ("X-A", "1", "X-B", "2", "X-A", "3", "Content-Length", "1"),
        b"t",
        "Short and stout",
    )


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        ("200", 200, "OK"),
        ("404 ", 404, "Not Found"),
        ("489", 489, ""),
        ("599 Odd", 599, "Odd"),
        ("999 Odder", 999, "Odder"),
    ],
)
async def test_a_missing_reason_is_the_usual_one(status, code, reason):
    """DLV-17."""
    outcome = await outcome_of(answer(status=status))

    assert isinstance(outcome, Responded)
    assert (outcome.status, outcome.reason) == (code, reason)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_redirect_is_not_followed(status, method):
    """DLV-15, Q-4."""
    async with destination(OK) as target, a_transport() as transport:
        sent = answer(f"Location: {target.url()}", status=f"{status} Elsewhere")
        async with destination(sent) as bare:
            outcome = await send(transport, a_request(bare.url(), method=method))

    assert isinstance(outcome, Responded)
    assert outcome.status == status
    assert outcome.header[:2] == ("Location", target.url())
    assert target.connections == 0


async def test_a_redirect_to_nowhere_is_an_answer_like_others():
    """DLV-15."""
    outcome = await outcome_of(answer("Location: http://[", status="302 Found"))

    assert isinstance(outcome, Responded)
    assert outcome.status == 302


BODIES = {
    "with a length": answer(body=b"hello"),
    "until the end": b"HTTP/1.1 200 OK\r\n\r\nhello",
    "of HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\nhello",
    "in chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nTrailer: 1\r\n\r\n",
    "after early hints": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    + answer(body=b"hello"),
    "after 100s": b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + answer(body=b"hello"),
}


@pytest.mark.parametrize("sent", BODIES.values(), ids=BODIES)
async def test_a_body_is_read_however_it_is_framed(sent):
    """DLV-20."""
    outcome = await outcome_of(sent)

    assert isinstance(outcome, Responded), outcome
    assert (outcome.status, outcome.body) == (200, b"hello")


@pytest.mark.parametrize("sent", BODIES.values(), ids=BODIES)
async def test_an_answer_may_come_byte_by_byte(sent):
    outcome = await outcome_of([sent[index : index + 1] for index in range(len(sent))])

    assert isinstance(outcome, Responded), outcome
    assert (outcome.status, outcome.body) == (200, b"hello")


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
@pytest.mark.parametrize(
    "line", ["X: 1", "Content-Length: 5", "Content-Encoding: gzip"]
)
async def test_some_statuses_have_no_body_whatever_they_claim(status, line):
    """The connection stays open, and nothing is waited for."""
    sent = f"HTTP/1.1 {status}\r\n{line}\r\n\r\n".encode()
    outcome = await outcome_of(sent, end="keep")

    assert isinstance(outcome, Responded), outcome
    assert outcome.status == int(status.split()[0])
    assert outcome.body == b""


async def test_an_answer_counts_though_the_destination_sends_more_than_it_said():
    """DLV-10: what follows in a later packet is nobody's."""
    outcome = await outcome_of([OK, b"and more"])

    assert isinstance(outcome, Responded), outcome
    assert (outcome.status, outcome.body) == (200, b"ok")


@pytest.mark.parametrize("size", [999, 1000, 1001, 300_000])
async def test_a_body_beyond_the_limit_is_cut(size):
    """CBK-23."""
    body = (b"0123456789" * (size // 10 + 1))[:size]
    outcome = await outcome_of(answer(body=body))

    assert isinstance(outcome, Responded), outcome
    assert outcome.body == body[:1000]


async def test_headers_of_an_answer_may_be_large():
    outcome = await outcome_of(answer(f"X: {'a' * 60_000}"))

    assert isinstance(outcome, Responded), outcome
    assert outcome.header[:2] == ("X", "a" * 60_000)


async def test_header_bytes_that_are_no_text_are_kept():
    outcome = await outcome_of(answer("X: \xff\xe9", status="200 \xe9"))

    assert isinstance(outcome, Responded), outcome
    assert outcome.header[:2] == ("X", "\udcff\udce9")


# Encodings


def zipped(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


@pytest.mark.parametrize("spelling", ["gzip", "GZIP"])
async def test_a_gzip_body_is_decoded(spelling):
    """DLV-7."""
    sent = answer(f"Content-Encoding: {spelling}", body=zipped(b"hello"))
    outcome = await outcome_of(sent)

    assert isinstance(outcome, Responded), outcome
    assert outcome.body == b"hello"


async def test_a_gzip_body_of_several_members_is_decoded_whole():
    """DLV-7."""
    sent = answer("Content-Encoding: gzip", body=zipped(b"hel") + zipped(b"lo"))
    outcome = await outcome_of(sent)

    assert isinstance(outcome, Responded), outcome
    assert outcome.body == b"hello"


async def test_an_empty_gzip_body_is_empty():
    """DLV-7."""
    outcome = await outcome_of(answer("Content-Encoding: gzip"))

    assert isinstance(outcome, Responded), outcome
    assert outcome.body == b""


async def test_a_gzip_body_that_explodes_is_cut_at_the_limit():
    """DLV-7, CBK-23: decoded and cut, not cut and decoded."""
    sent = answer("Content-Encoding: gzip", body=zipped(b"a" * 20_000_000))
    outcome = await outcome_of(sent)

    assert isinstance(outcome, Responded), outcome
    assert outcome.body == b"a" * 1000


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("deflate", zlib.compress(b"hello")),
        ("br", b"\x0b\x02\x80hello\x03"),
        ("zstd", b"(\xb5/\xfd\x04hello"),
        ("x-unknown", b"hello"),
        ("identity", b"hello"),
        ("br", b"not brotli at all"),
        ("deflate", b"not deflate at all"),
    ],
)
async def test_any_other_encoding_is_stored_as_it_came(encoding, body):
    """DLV-7, DLV-10: only gzip was asked for, and a success is a success."""
    outcome = await outcome_of(answer(f"Content-Encoding: {encoding}", body=body))

    assert isinstance(outcome, Responded), outcome
    assert (outcome.status, outcome.body) == (200, body)


BROKEN_GZIP = {
    "no gzip at all": b"hello",
    "cut off": zipped(b"hello" * 100)[:-9],
    "cut off in its head": zipped(b"hello")[:5],
    "damaged": zipped(bytes(range(256)))[:40] + b"\xff" * 300,
}


@pytest.mark.parametrize("body", BROKEN_GZIP.values(), ids=BROKEN_GZIP)
async def test_a_body_that_claims_to_be_gzip_and_is_not_is_a_broken_answer(body):
    """DLV-16."""
    outcome = await outcome_of(answer("Content-Encoding: gzip", body=body))

    assert isinstance(outcome, Unreachable), outcome


# What isn't an answer


async def test_a_refused_connection_is_unreachable():
    """DLV-16, DLV-17."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and doesn't listen
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        async with a_transport() as transport:
            outcome = await send(transport, a_request(url))

    assert isinstance(outcome, Unreachable)
    assert "connection refused" in outcome.error


@pytest.mark.parametrize(
    "url",
    [
        "http://a..b/",
        f"http://{'a' * 64}.example/",
        "http://256.1.1.1/",
        "http://127.0.0.1:70000/",
        "http://[::1/",
        "http:///",
        "http://",
        "nonsense",
        "",
        "http://\udcff/",
    ],
)
async def test_a_url_that_cannot_be_called_is_unreachable(url):
    """DLV-16, PUB-6: none of these is looked up anywhere."""
    async with a_transport() as transport:
        outcome = await send(transport, a_request(url))

    assert isinstance(outcome, Unreachable)
    assert outcome.error


async def test_tls_to_a_server_without_tls_is_unreachable():
    """DLV-16."""

    async def refuse(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server, a_transport() as transport:
        port = server.sockets[0].getsockname()[1]
        outcome = await send(transport, a_request(f"https://127.0.0.1:{port}/"))

    assert isinstance(outcome, Unreachable)
    assert "TLS" in outcome.error


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

BROKEN = {
    "nothing": [b""],
    "half a head": [b"HTTP/1.1 200 OK\r\nX: 1\r\n"],
    "only 100": [b"HTTP/1.1 100 Continue\r\n\r\n"],
    "a short body": [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"],
    "a short body in a later packet": [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
        b"abc",
    ],
    "a short chunk": [CHUNKED + b"5\r\nabc"],
    "no last chunk": [CHUNKED + b"3\r\nabc\r\n"],
    "a bad chunk": [CHUNKED + b"zz\r\nabc\r\n"],
    "a bad chunk in a later packet": [CHUNKED + b"3\r\nabc\r\n", b"zz\r\nabc\r\n"],
    "a bad first chunk in a later packet": [CHUNKED, b"zz\r\nabc\r\n"],
    "no HTTP": [b"hello there\r\n\r\n"],
    "no HTTP in two packets": [b"hel", b"lo\r\n\r\n"],
    "SSH": [b"SSH-2.0-OpenSSH_9.6\r\n"],
    "TLS": [b"\x15\x03\x01\x00\x02\x02\x46"],
    "no status": [b"HTTP/1.1 OK\r\n\r\n"],
    "a status of two digits": [b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"],
    "a status of four digits": [b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"],
    "a head beyond all limits": [answer(f"X: {'a' * 2_000_000}")],
    "headers beyond all limits": [answer(*["X: a"] * 50_000)],
    "a zero byte in a header": [answer("X: a\x00b")],
    "a blank in a name": [answer("X y: a")],
    "two lengths": [answer("Content-Length: 7", body=b"hello")],
    "a length in words": [b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok"],
}


@pytest.mark.parametrize("sent", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("end", ["close", "reset"])
async def test_a_broken_answer_is_unreachable(sent, end):
    """DLV-16: at once, not when the delivery's time is up."""
    outcome = await outcome_of(sent, end=end)

    assert isinstance(outcome, Unreachable), outcome
    assert outcome.error
    assert "\n" not in outcome.error


async def test_an_answer_cut_off_by_a_reset_says_so():
    """DLV-17."""
    sent = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"
    outcome = await outcome_of(sent, end="reset")

    assert isinstance(outcome, Unreachable)
    assert "broke off" in outcome.error or "reset" in outcome.error


async def test_a_call_that_is_cancelled_drops_its_connection():
    """DLV-22."""
    async with destination([]) as bare, a_transport() as transport:
        call = asyncio.create_task(transport.send(a_request(bare.url())))
        async with asyncio.timeout(LONGEST_S):
            while not bare.received:
                await let_others_read()
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call
        bare.scripts = [[OK]]
        outcome = await send(transport, a_request(bare.url()))

    assert call.cancelled()
    assert isinstance(outcome, Responded), outcome
    assert bare.connections == 2


@few
@given(st.lists(st.binary(max_size=60), max_size=3))
@example([CHUNKED + b"1\r\na\r\n", b"\xff"])
@example([b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n", b"\x1f\x8b\x08\x00"])
async def test_no_bytes_make_an_exception(parts):
    """DLV-16."""
    outcome = await outcome_of(parts)

    assert isinstance(outcome, Responded | Unreachable)


@few
@given(st.data())
async def test_no_change_to_a_good_answer_makes_an_exception(data):
    """DLV-16."""
    good = data.draw(
        st.sampled_from(
            [
                answer("X: 1", body=b"hello"),
                answer("Content-Encoding: gzip", body=zipped(b"hello")),
                CHUNKED + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
            ]
        )
    )
    sent = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(sent)))
        sent[start : start + data.draw(st.integers(0, 3))] = data.draw(
            st.binary(max_size=3)
        )
    cut = data.draw(st.integers(0, len(sent)))

    outcome = await outcome_of([bytes(sent[:cut]), bytes(sent[cut:])])

    assert isinstance(outcome, Responded | Unreachable)


# Connections


async def test_a_connection_is_used_again():
    """DLV-1: deliveries don't pay for a new one each."""
    async with destination() as bare, a_transport() as transport:
        for _ in range(3):
            await send(transport, a_request(bare.url()))

    assert len(bare.received) == 3
    assert bare.connections == 1


async def test_an_answer_without_a_body_leaves_the_connection_usable():
    sent = b"HTTP/1.1 204 No Content\r\n\r\n"
    async with destination(sent) as bare, a_transport() as transport:
        for _ in range(2):
            await send(transport, a_request(bare.url()))

    assert bare.connections == 1


async def test_a_body_that_is_cut_leaves_the_connection_usable():
    """CBK-23."""
    sent = answer(body=b"x" * 100_000)
    async with destination(sent) as bare, a_transport() as transport:
        outcomes = [await send(transport, a_request(bare.url())) for _ in range(2)]

    assert outcomes[0] == outcomes[1]
    assert bare.connections == 1


async def test_a_connection_that_its_server_has_closed_is_not_used_again():
    """A failed delivery that no production system would see."""
    sent = answer("Connection: close", body=b"ok")
    async with destination(sent, end="close") as bare, a_transport() as transport:
        outcomes = [await send(transport, a_request(bare.url())) for _ in range(3)]

    assert all(isinstance(outcome, Responded) for outcome in outcomes)
    assert bare.connections == 3


async def test_calls_at_once_have_a_connection_each():
    async with destination() as bare, a_transport() as transport:
        outcomes = await asyncio.gather(
            *[send(transport, a_request(bare.url())) for _ in range(20)]
        )

    assert all(isinstance(outcome, Responded) for outcome in outcomes)
    assert len(bare.received) == 20


async def test_cookies_are_neither_kept_nor_sent():
    """DLV-2, DLV-3."""
    sent = answer("Set-Cookie: a=b; Path=/", "Set-Cookie: c", "Set-Cookie: \xff=;;")
    async with destination(sent) as bare, a_transport() as transport:
        outcomes = [await send(transport, a_request(bare.url())) for _ in range(2)]

    assert isinstance(outcomes[0], Responded)
    assert outcomes[0].header.count("Set-Cookie") == 3
    assert not [received for received in bare.received if b"ookie" in received]


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
async def test_proxies_of_the_environment_are_ignored(monkeypatch, name):
    """Destinations are local; a proxy couldn't reach them."""
    async with destination() as proxy, destination() as bare:
        monkeypatch.setenv(name, proxy.url(""))
        async with a_transport() as transport:
            outcome = await send(transport, a_request(bare.url()))

    assert isinstance(outcome, Responded)
    assert len(bare.received) == 1
    assert proxy.connections == 0


async def test_a_netrc_of_the_users_is_ignored(monkeypatch, tmp_path):
    """DLV-2: no credentials that the publisher didn't give."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password pw\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))

    assert b"Authorization" not in await received_from()


async def test_closing_closes_the_connections():
    async with destination() as bare:
        transport = HttpTransport()
        await send(transport, a_request(bare.url()))
        assert len(bare.open) == 1

        await transport.close()

        await all_closed(bare)


async def test_a_transport_that_never_sent_can_be_closed():
    await HttpTransport().close()


async def test_a_json_body_comes_through_unchanged():
    """DLQ-3: nothing is parsed on the way."""
    body = json.dumps({"a": [1, "é"]}).encode()
    outcome = await outcome_of(answer("Content-Type: application/json", body=body))

    assert isinstance(outcome, Responded), outcome
    assert outcome.body == body
