"""emulator/web/app.py: what holds for every request.

HTTP itself (contract sections 1 and 3), cross-origin calls, paths and methods that
aren't there, and hostile bytes: every request is answered, or its connection closed,
and the next one is served.
"""

from __future__ import annotations

import asyncio
import logging
import re

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from emulator.core.configuration_headers import CONFIGURATION_HEADERS
from emulator.engine.engine import Engine
from emulator.settings import DEV_USERS
from emulator.web import incoming
from emulator.web.routes import LOCAL_ROUTES, ROUTES
from tests.web.test_client import HOOK, Answer, Api, fill, head, serve

fuzz = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

TOKEN = DEV_USERS[0].token

KEYS = {"current": DEV_USERS[0].keys.current, "next": DEV_USERS[0].keys.next}


async def turn(api: Api) -> None:
    """Let the emulator read what has been sent so far: a call of its own does it."""
    assert (await api.get("/_qemu/health", user=None)).status == 200


# Errors


async def test_the_root_says_what_this_is_without_a_token():
    """For whoever opens the address in a browser."""
    async with serve() as api:
        answer = await api.call("GET", "/", user=None)

    assert answer.status == 200
    assert b"a local QStash" in answer.body


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/v2/no/such/path"),
        ("POST", "/v2"),
        ("GET", "/v1/keys"),
        ("GET", "//v2/keys"),
        ("GET", "/v2/./keys"),
        ("GET", "/v2/key%73"),
        ("POST", "/v2/dlq/messages/1-0/republish"),  # DLQ-38
    ],
)
async def test_an_unknown_path_is_named_in_a_json_error(method, target):
    """BASE-10."""
    async with serve() as api:
        answer = await api.call(method, target)

    assert answer.status == 404
    assert answer.error == f"no such endpoint: {method} {target}"


async def test_an_unknown_path_under_qemu_is_named_in_a_json_error():
    """BASE-10."""
    async with serve() as api:
        answer = await api.get("/_qemu/nothing?x=1", user=None)

    assert answer.status == 404
    assert answer.error == "no such endpoint: GET /_qemu/nothing"


@pytest.mark.parametrize(
    ("method", "target", "allowed"),
    [
        ("GET", "/v2/publish/http://a", "POST"),
        ("PUT", "/v2/batch", "POST"),
        ("POST", "/v2/keys", "GET"),
        ("PATCH", "/v2/messages/x", "DELETE, GET"),
        ("POST", "/v2/dlq/x", "DELETE, GET"),
        ("TRACE", "/v2/keys", "GET"),
    ],
)
async def test_a_wrong_method_is_refused_in_plain_text(method, target, allowed):
    """BASE-9."""
    async with serve() as api:
        answer = await api.call(method, target)

    assert answer.status == 405
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert answer.headers["Allow"] == allowed
    assert answer.body == b"Method Not Allowed"


async def test_every_path_of_the_table_refuses_a_method_that_it_lacks():
    """BASE-9."""
    async with serve() as api:
        paths = {path: None for _, path, _ in ROUTES}
        local = {path: None for _, path, _ in LOCAL_ROUTES}
        statuses = {
            path: (await api.call("TRACE", fill(path))).status
            for path in {**paths, **local}
        }

    assert statuses == dict.fromkeys(statuses, 405)


async def test_what_is_not_built_yet_says_so():
    """Never a silent 200."""
    async with serve() as api:
        texts = {
            (method, path): await api.call(method, fill(path))
            for method, path, handler in ROUTES
            if isinstance(handler, str)
        }
        features = {
            (method, path): handler
            for method, path, handler in ROUTES
            if isinstance(handler, str)
        }

    assert {route: answer.status for route, answer in texts.items()} == dict.fromkeys(
        features, 501
    )
    assert {route: answer.error for route, answer in texts.items()} == {
        route: f"{feature} is not supported yet" for route, feature in features.items()
    }


async def test_a_mistake_of_ours_is_answered_and_the_next_request_served(
    monkeypatch, caplog
):
    """ERR-1, ERR-2."""

    def break_down(engine, message_id):
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr(Engine, "message", break_down)
    async with serve() as api, api.connect() as connection:
        await connection.send(head("GET", "/v2/messages/x"))
        broken = await connection.answer()
        await connection.send(head("GET", "/v2/keys"))
        served = await connection.answer()

    assert broken.status == 500
    assert broken.error == "internal error"
    assert served.json == KEYS
    assert "ZeroDivisionError" in caplog.text  # with its traceback


async def test_every_answer_says_that_it_is_ours():
    async with serve() as api:
        answers = [
            await api.get("/v2/keys"),
            await api.get("/v2/keys", user=None),
            await api.get("/_qemu/health", user=None),
        ]

    assert all(answer.headers["Qemu-Version"] for answer in answers)


# Connections


async def test_a_connection_serves_one_request_after_another():
    """BASE-2: after an error, too."""
    async with serve() as api, api.connect() as connection:
        statuses = []
        for target in ("/v2/keys", "/v2/nothing", "/v2/messages/x", "/v2/keys"):
            await connection.send(head("GET", target))
            statuses.append((await connection.answer()).status)

    assert statuses == [200, 404, 404, 200]


async def test_a_body_that_no_handler_reads_does_not_spoil_the_connection():
    """BASE-2, BASE-18."""
    body = b"GET /v2/smuggled HTTP/1.1\r\n\r\n"
    async with serve() as api, api.connect() as connection:
        statuses = []
        for method, target in (("GET", "/v2/keys"), ("POST", "/v2/nothing")):
            length = f"Content-Length: {len(body)}"
            await connection.send(head(method, target, length) + body)
            statuses.append((await connection.answer()).status)
        await connection.send(head("GET", "/v2/keys"))
        last = await connection.answer()

    assert statuses == [200, 404]
    assert last.json == KEYS


async def test_requests_sent_at_once_are_answered_in_order():
    """BASE-2."""
    targets = ["/v2/keys", "/v2/nothing", "/v2/events"]
    async with serve() as api, api.connect() as connection:
        await connection.send(b"".join(head("GET", target) for target in targets))
        answers = [await connection.answer() for _ in targets]

    assert [list(answer.json) for answer in answers] == [
        ["current", "next"],
        ["error"],
        ["events"],
    ]


async def test_a_request_may_arrive_byte_by_byte():
    request = head("POST", f"/v2/publish/{HOOK}", "Content-Length: 2") + b"hi"
    async with serve() as api, api.connect() as connection:
        for index in range(len(request)):
            await connection.send(request[index : index + 1])
            await asyncio.sleep(0)  # a turn of the loop, not a wait
        answer = await connection.answer()

    assert answer.status == 200


@pytest.mark.parametrize("line", ["Content-Length: 0", "X-Nothing: 0"])
async def test_a_request_without_a_body_needs_no_length(line):
    """BASE-2."""
    async with serve() as api, api.connect() as connection:
        await connection.send(head("POST", f"/v2/publish/{HOOK}", line))
        answer = await connection.answer()
        await api.settle()
        (request,) = api.transport.requests

    assert answer.status == 200
    assert request.body == b""


async def test_http_1_0_is_answered_and_the_connection_closed():
    request = head("GET", "/v2/keys").replace(b"HTTP/1.1", b"HTTP/1.0")
    async with serve() as api, api.connect() as connection:
        await connection.send(request)
        answer = await connection.answer()
        rest = await connection.rest()

    assert answer.json == KEYS
    assert rest == b""


async def test_http_1_0_needs_no_host():
    async with serve() as api, api.connect() as connection:
        await connection.send(
            f"POST /v2/publish/{HOOK} HTTP/1.0\r\nAuthorization: Bearer {TOKEN}\r\n"
            "Content-Length: 2\r\n\r\nhi".encode()
        )
        answer = await connection.answer()
        await api.settle()
        (request,) = api.transport.requests

    assert answer.status == 200
    assert request.body == b"hi"


async def test_a_connection_is_closed_when_the_client_asks_for_it():
    async with serve() as api, api.connect() as connection:
        await connection.send(head("GET", "/v2/keys", "Connection: close"))
        answer = await connection.answer()
        rest = await connection.rest()

    assert answer.json == KEYS
    assert rest == b""


@pytest.mark.parametrize(
    ("target", "status"), [("/v2/keys", 200), ("/v2/nothing", 404), ("/v2/batch", 405)]
)
async def test_an_answer_to_head_has_no_body_and_the_next_is_served(target, status):
    async with serve() as api, api.connect() as connection:
        await connection.send(head("HEAD", target))
        answer = await connection.head()
        await connection.send(head("GET", "/v2/keys"))
        served = await connection.answer()

    assert answer.status == status
    assert int(answer.headers["Content-Length"]) > 0
    assert served.json == KEYS


async def test_who_expects_to_continue_is_told_to():
    request = head(
        "POST", f"/v2/publish/{HOOK}", "Content-Length: 2", "Expect: 100-continue"
    )
    async with serve() as api, api.connect() as connection:
        await connection.send(request)
        interim = await connection.answer()
        await connection.send(b"hi")
        final = await connection.answer()
        await api.settle()
        (delivered,) = api.transport.requests

    assert (interim.status, final.status) == (100, 200)
    assert delivered.body == b"hi"


async def test_who_expects_to_continue_without_a_token_is_refused():
    """AUTH-7: whether told to go on or not, it hears 401 without having sent."""
    request = head(
        *("POST", f"/v2/publish/{HOOK}", "Content-Length: 2", "Expect: 100-continue"),
        user=None,
    )
    async with serve() as api, api.connect() as connection:
        await connection.send(request)
        answer = await connection.answer()
        if answer.status == 100:
            answer = await connection.answer()
        await connection.send(b"hi")

    assert answer.status == 401


@pytest.mark.parametrize("value", ["something-else", "\udcff"])
async def test_an_unknown_expectation_is_the_clients_fault(value):
    async with serve() as api, api.connect() as connection:
        await connection.send(head("GET", "/v2/keys", f"Expect: {value}"))
        answer = await connection.answer()

    assert answer.status in (200, 417)


@pytest.mark.parametrize("scheme", ["http", "HTTP", "https"])
async def test_a_proxys_absolute_target_is_understood(scheme):
    """BASE-3: and what follows the host is taken to the letter."""
    target = f"{scheme}://qstash.example:1/v2/publish/{HOOK}/%2F//?a=http://b/"
    async with serve() as api, api.connect() as connection:
        await connection.send(head("POST", target))
        answer = await connection.answer()
        await api.settle()
        (request,) = api.transport.requests

    assert answer.status == 200
    assert request.url == f"{HOOK}/%2F//?a=http://b/"


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("CONNECT", "localhost:1"),
        ("GET", "http://localhost?x=/v2/keys"),
    ],
)
async def test_a_target_that_is_no_path_is_unknown(method, target):
    """BASE-10."""
    async with serve() as api, api.connect() as connection:
        await connection.send(head(method, target))
        answer = await connection.answer()

    assert answer.status == 404
    assert answer.error


async def test_headers_of_64_kb_are_accepted():
    """Q-33."""
    lines = [f"X-{index}: {'v' * 1000}" for index in range(70)]
    async with serve() as api, api.connect() as connection:
        await connection.send(head("GET", "/v2/keys", *lines))
        answer = await connection.answer()

    assert answer.status == 200


# Broken HTTP


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)


BROKEN = {
    "not HTTP": b"hello\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an unknown method": b"FETCH / HTTP/1.1\r\nHost: a\r\n\r\n",
    "bytes in the target": b"GET /v2/\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    "a zero byte": b"GET /v2/keys HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
    "no name": b"GET /v2/keys HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n",
    "a folded header": b"GET /v2/keys HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
    "two lengths": head("POST", "/v2/batch", "Content-Length: 2", "Content-Length: 3"),
    "length and chunks": head(
        *("POST", "/v2/batch", "Content-Length: 2", "Transfer-Encoding: chunked")
    ),
    "a length below 0": head("POST", "/v2/batch", "Content-Length: -1"),
    "a length in words": head("POST", "/v2/batch", "Content-Length: two"),
    "a header beyond all limits": head("GET", "/v2/keys", f"X: {'a' * 300_000}"),
    "a target beyond all limits": head("GET", f"/v2/keys?{'a' * 300_000}"),
    "too many headers": head("GET", "/v2/keys", *["X: a"] * 5_000),
    "no host": head("GET", "/v2/keys").replace(b"Host: localhost\r\n", b""),
    "two hosts": head("GET", "/v2/keys", "Host: b"),
    "a broken first chunk": head(
        "POST", f"/v2/publish/{HOOK}", "Transfer-Encoding: chunked"
    )
    + b"zz\r\nabc\r\n",
}


@pytest.mark.parametrize("request_", BROKEN.values(), ids=BROKEN)
async def test_broken_http_is_refused_and_the_connection_closed(request_):
    async with serve() as api, api.connect() as connection:
        await connection.send(request_)
        received = await connection.rest()
        served = await api.get("/v2/keys")

        assert received.split(b" ")[1] == b"400"
        assert served.status == 200
        assert await api.is_untouched()


@pytest.mark.parametrize("sent", [chunked(), chunked(b"abc")])
async def test_a_body_that_breaks_off_in_a_bad_chunk_is_given_up(sent, monkeypatch):
    """BASE-2: a later packet may be the broken one. aiohttp tells nobody."""
    monkeypatch.setattr(incoming, "IDLE_S", 0.05)
    request = head("POST", f"/v2/publish/{HOOK}", "Transfer-Encoding: chunked")
    async with serve() as api, api.connect() as connection:
        await connection.send(request + sent)
        await turn(api)
        await connection.send(b"zz\r\nabc\r\n")
        received = await connection.some()

        assert received.split(b" ")[1] in (b"400", b"408")
        assert await api.is_untouched()


UNFINISHED = pytest.mark.parametrize(
    "framing", ["Content-Length: 10", "Transfer-Encoding: chunked"]
)


@UNFINISHED
async def test_a_body_that_ends_too_early_publishes_nothing(framing):
    """PUB-30."""
    async with serve() as api, api.connect() as connection:
        await connection.send(head("POST", f"/v2/publish/{HOOK}", framing))
        await connection.send(chunked(b"ab"))
        await turn(api)
        connection.send_end()
        received = await connection.rest()

        assert received == b"" or received.split(b" ")[1] == b"400"
        assert await api.is_untouched()


@UNFINISHED
async def test_a_client_that_dies_in_mid_body_publishes_nothing(framing):
    """PUB-30."""
    async with serve() as api:
        async with api.connect() as connection:
            await connection.send(head("POST", f"/v2/publish/{HOOK}", framing))
            await connection.send(chunked(b"ab"))
            await turn(api)
            connection.abort()

        assert await api.is_untouched()


async def test_a_client_that_dies_in_mid_body_is_not_reported_as_our_mistake(caplog):
    """A user who stops an upload must not read a traceback in the terminal."""
    caplog.set_level(logging.WARNING)
    async with serve() as api:
        async with api.connect() as connection:
            length = "Content-Length: 10"
            await connection.send(head("POST", f"/v2/publish/{HOOK}", length) + b"abc")
            await turn(api)
            connection.abort()
        await turn(api)

    assert caplog.text == ""


async def test_broken_http_is_not_reported_as_our_mistake(caplog):
    """Whoever scans the port must not fill the terminal with tracebacks."""
    caplog.set_level(logging.WARNING)
    async with serve() as api, api.connect() as connection:
        await connection.send(BROKEN["bytes in the target"])
        await connection.rest()

    assert caplog.text == ""


@pytest.mark.parametrize(
    "framing", ["Content-Length: 1048577", "Transfer-Encoding: chunked"]
)
async def test_an_oversized_body_is_answered_before_it_has_been_sent(framing):
    """LIM-2, Q-3: the error comes, and the rest of the body isn't needed for it."""
    limit = 1_048_576
    sent = b"x" * 1000 if "Length" in framing else chunked(b"x" * (limit + 1))
    async with serve(quota="free") as api, api.connect() as connection:
        await connection.send(head("POST", f"/v2/publish/{HOOK}", framing))
        await connection.send(sent)
        answer = await connection.answer()

        assert answer.status == 400
        assert answer.error == f"quota maxMessageSize exceeded, current limit: {limit}"
        assert await api.is_untouched()


async def test_an_oversized_body_that_is_sent_whole_leaves_the_connection_usable():
    """LIM-2, BASE-2."""
    body = b"x" * 1_048_577
    async with serve(quota="free") as api, api.connect() as connection:
        length = f"Content-Length: {len(body)}"
        await connection.send(head("POST", f"/v2/publish/{HOOK}", length) + body)
        refused = await connection.answer()
        await connection.send(head("GET", "/v2/keys"))
        served = await connection.answer()

    assert refused.status == 400
    assert served.json == KEYS


# Hostile bytes


VISIBLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=30)

KNOWN_CALLS = [
    *((method, fill(path)) for method, path, _ in ROUTES),
    *((method, path) for method, path, _ in LOCAL_ROUTES if path != "/_qemu/feed"),
]

METHODS = (
    *("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT"),
    *("TRACE", "QUERY", "PROPFIND"),
)

CALLS = st.one_of(
    st.sampled_from(KNOWN_CALLS),
    st.sampled_from(KNOWN_CALLS),
    st.tuples(st.just("POST"), st.builds("/v2/publish/{}".format, VISIBLE)),
    st.tuples(
        st.sampled_from(METHODS),
        st.sampled_from([target for _, target in KNOWN_CALLS]) | VISIBLE,
    ),
)

PARAMETER_NAMES = (
    *("count", "cursor", "order", "state", "messageId", "messageIds", "dlqIds"),
    *("fromDate", "toDate", "url", "host", "path", "label", "callerIp", "topicName"),
    *("responseStatus", "search", "parallelism", "rate", "period", "a"),
    *("qstash_token", "upstash-retries", "Upstash-Delay", "upstash-forward-x"),
)

PARAMETERS = st.lists(
    st.tuples(
        st.sampled_from(PARAMETER_NAMES),
        st.one_of(
            st.sampled_from(["", "0", "1", "-1", "9" * 400, "1-0", "a,b", "%ff", "%"]),
            VISIBLE,
        ),
    ),
    max_size=3,
)

HEADER_NAMES = (
    *(
        header.name.replace("<option>", "Retries").replace("<Name>", "X")
        for header in CONFIGURATION_HEADERS
    ),
    *("Upstash-", "Upstash-Forward-", "Upstash-Unknown", "Authorization", "Cookie"),
    *("Content-Encoding", "Origin", "Range", "Upgrade", "Connection", "Accept", "X"),
    *("Last-Event-ID", "If-None-Match"),
)

HEADERS = st.lists(
    st.tuples(
        st.sampled_from(HEADER_NAMES),
        st.one_of(
            st.sampled_from(
                ["1", "0s", "1d", "true", "http://a/", "http://[", "* * * * *", "GET"]
            ),
            # What HTTP lets a value have: a tab, and no other control character.
            st.lists(st.sampled_from([9, *range(0x20, 0x7F), *range(0x80, 0x100)])).map(
                lambda codes: bytes(codes).decode("utf-8", "surrogateescape")
            ),
        ),
    ),
    max_size=3,
)

BODIES = st.one_of(
    st.just(b""),
    st.binary(max_size=40),
    st.sampled_from(
        [
            b"[]",
            b"{}",
            b"[" * 10_000,
            b'{"a":' * 5_000,
            b'{"by":"10000d"}',
            b'{"to":1e400}',
            b'{"to":' + b"9" * 5_000 + b"}",
            b'{"dlqIds":[1]}',
            b'{"messageIds":"\\ud800"}',
            b'[{"destination":"http://a/","headers":{"\\u0000":"\\n"}}]',
            b'[{"destination":"http://a/","body":"\\udfff"}]',
            b'{"queueName":"q","parallelism":1e9}',
            b'{"endpoints":[{"url":null}]}',
        ]
    ),
)

FRAMINGS = st.sampled_from(
    [
        "length",
        "chunks",
        "none",
        "length",
        "chunks",
        "none",
        "short",
        "bad chunk",
        "both",
    ]
)

COMPLETE = ("length", "chunks", "none")
"""A server can't wait for more of such a request."""


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, bool]:
    """A request that looks like one, more or less; and whether it is complete."""
    method, target = draw(CALLS)
    parameters = draw(PARAMETERS)
    if parameters:
        target += "?" + "&".join(f"{name}={value}" for name, value in parameters)
    framing = draw(FRAMINGS)
    body = b"" if framing == "none" else draw(BODIES)
    lines = [f"{name}: {value}" for name, value in draw(HEADERS)]
    if framing in ("length", "short", "both"):
        lines.append(f"Content-Length: {len(body) + (framing == 'short')}")
    if framing in ("chunks", "bad chunk", "both"):
        lines.append("Transfer-Encoding: chunked")
        end = b"zz\r\n" if framing == "bad chunk" else b"0\r\n\r\n"
        body = (chunked(body) if body else b"") + end
    user = draw(st.sampled_from([0, 0, 0, None]))
    request = head(method, target, *lines, user=user) + body
    return request, framing in COMPLETE


async def received_for(api: Api, data: bytes) -> bytes:
    """Send bytes, let them be read, end, and return all that comes until the end.

    A server may wait for more of a request that isn't complete, but no longer than
    until the end.
    """
    async with api.connect() as connection:
        await connection.send(data)
        await turn(api)
        connection.send_end()
        return await connection.rest()


def statuses_in(received: bytes) -> list[bytes]:
    return re.findall(rb"HTTP/\d\.\d (\d{3}) ", received)


@fuzz
@given(requests())
@example((head("GET", "/v2/messages/%00%ff", "X: \udcff"), True))
@example((head("POST", "/v2/publish/http://a/", "Upstash-Forward-X: \udcff"), True))
async def test_every_request_is_answered_and_none_is_a_mistake_of_ours(generated):
    request_, is_complete = generated
    async with serve() as api:
        received = await received_for(api, request_)
        served = await api.get("/v2/keys")

    assert received or not is_complete
    assert b"500" not in statuses_in(received), received
    assert served.status == 200


@fuzz
@given(st.binary(max_size=200))
@example(b"\r\n" * 50)
@example(b"GET / HTTP/1.1\r\n" * 2)
async def test_no_bytes_at_all_break_the_server(data):
    async with serve() as api:
        received = await received_for(api, data)
        served = await api.get("/v2/keys")

    assert b"500" not in statuses_in(received), received
    assert served.json == KEYS


@fuzz
@given(st.data())
async def test_no_change_to_a_good_request_breaks_the_server(data):
    good = head(
        *("POST", f"/v2/publish/{HOOK}?a=1", "Upstash-Retries: 3", "Content-Length: 2")
    )
    request = bytearray(good + b"hi")
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(request)))
        end = start + data.draw(st.integers(0, 4))
        request[start:end] = data.draw(st.binary(max_size=4))

    async with serve() as api:
        received = await received_for(api, bytes(request))
        served = await api.get("/v2/keys")

    assert b"500" not in statuses_in(received), received
    assert served.status == 200


async def test_an_answer_is_whole_before_the_connection_ends():
    """A large page arrives complete on a connection that is closed after it."""
    async with serve() as api:
        for _ in range(30):
            await api.publish(body=b"x" * 10_000)
        async with api.connect() as connection:
            await connection.send(head("GET", "/v2/events", "Connection: close"))
            answer: Answer = await connection.answer()
            rest = await connection.rest()

    assert len(answer.json["events"]) >= 30
    assert rest == b""


# What whoever watches the server is told


async def test_a_refused_call_is_told(caplog):
    async with serve() as api:
        await api.call("GET", "/v2/messages/msg_1")

    assert [
        record.getMessage()
        for record in caplog.records
        if record.name == "emulator.web.refused"
    ] == ["GET /v2/messages/msg_1 404 message msg_1 not found"]


async def test_a_base_url_with_a_path_is_pointed_out(caplog):
    """ENV-5: the answer itself has QStash's words."""
    async with serve() as api:
        answer = await api.call("POST", "/v2/publish/v2/batch")

    assert answer.json["error"].startswith("invalid destination url: endpoint has inv")
    assert "(QSTASH_URL must have no path)" in caplog.text


async def test_what_is_told_of_a_refused_call_holds_no_secret(caplog):
    """AUTH-2."""
    async with serve() as api:
        await api.call("GET", "/v2/messages/x?qstash_token=s3cret", user=None)

    assert " 401 unable to authenticate" in caplog.text
    assert "s3cret" not in caplog.text


async def test_what_is_told_of_a_refused_call_is_plain_text(caplog):
    async with serve() as api:
        await api.call("GET", "/v2/messages/%1b%ff")

    assert "\\x1b" in caplog.text
    assert "\x1b" not in caplog.text.replace("\x1b[", "")
