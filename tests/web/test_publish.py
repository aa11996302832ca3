"""emulator/web/publish.py: one message (contract sections 6, 7 and 24)."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.doubles import T0
from tests.web.test_client import HOOK, NOT_RETRYABLE, Answer, Api, head, serve

few = settings(max_examples=40, deadline=None)

INVALID_SCHEME = (
    "invalid destination url: endpoint has invalid scheme, add http:// or https://"
)


async def in_chunks(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def publish_raw(api: Api, rest: str, *lines: str) -> Answer:
    """Publish to what a client would normalize."""
    async with api.connect() as connection:
        await connection.send(head("POST", f"/v2/publish/{rest}", *lines))
        return await connection.answer()


# The answer


async def test_the_answer_is_an_id_and_nothing_else():
    """PUB-40, PUB-43, BASE-11, FMT-1."""
    async with serve() as api:
        answer = await api.post(f"/v2/publish/{HOOK}")

    assert answer.status == 200
    assert list(answer.json) == ["messageId"]
    assert re.fullmatch("msg_[1-9A-HJ-NP-Za-km-z]{20,}", answer.json["messageId"])


async def test_ids_differ():
    async with serve() as api:
        ids = {await api.publish() for _ in range(20)}

    assert len(ids) == 20


async def test_a_message_is_there_as_soon_as_the_answer_is():
    """MSG-6, BASE-15, PUB-31."""
    async with serve() as api:
        message_id = await api.publish(headers=[("Upstash-Delay", "1m")])
        message = (await api.get(f"/v2/messages/{message_id}")).json
        (created,) = await api.events(f"?messageId={message_id}")

    assert message["createdAt"] == T0
    assert message["notBefore"] == T0 + 60_000
    assert created["state"] == "CREATED"
    assert created["nextDeliveryTime"] == T0 + 60_000


async def test_a_due_message_is_delivered_without_waiting():
    """PUB-31: the clock stands still meanwhile."""
    async with serve() as api:
        message_id = await api.publish()
        await api.settle()
        states = await api.states(message_id)

    assert states == ["CREATED", "ACTIVE", "DELIVERED"]


# The destination


@pytest.mark.parametrize(
    "url",
    [
        "https://ex.com/a%2Fb//c?u=https://z.com/?q=1",
        "http://example.com",
        "http://example.com/",
        "HTTP://Example.COM:80/A",
        "http://a/./b/../c//",
        "http://a/?x=%20+&&=&x",
        "http://a?",
        "http://a/b?",
        "http://user:pw@a:1/b;c=d/(e)'!$*,",
        "http://[::1]:3000/%7e~",
        "http://a/%C3%A9%ff?%zz=%",
        "http://127.0.0.1:3000/upstash-retries=3/qstash_token=x",
        "http://a/?b=http://c/?d",
    ],
)
async def test_the_destination_is_taken_to_the_letter(url):
    """BASE-3, BASE-4, PUB-4, PUB-6."""
    async with serve() as api:
        answer = await publish_raw(api, url)
        message = (await api.get(f"/v2/messages/{answer.json['messageId']}")).json
        await api.settle()
        (request,) = api.transport.requests

    assert message["url"] == url
    assert request.url == url


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("upstash-retries=1", ""),
        ("UPSTASH-Retries=1&a=1", "?a=1"),
        ("b=2&upstash%2Dretries=1&a=%31&b=2&", "?b=2&a=%31&b=2&"),
        ("upstash=1&upstashretries=2", "?upstash=1&upstashretries=2"),
        ("upstash-unknown=1&x", "?x"),
    ],
)
async def test_configuration_in_the_query_is_not_the_destinations(query, kept):
    """HDR-2, PUB-3: the rest keeps its order and spelling, or the ``?`` goes too."""
    async with serve() as api:
        message_id = await api.publish(f"http://a/b?{query}")
        message = (await api.get(f"/v2/messages/{message_id}")).json

    assert message["url"] == f"http://a/b{kept}"


async def test_configuration_may_stand_in_the_query():
    """HDR-2."""
    query = "upstash-retries=7&upstash-delay=1h30m&upstash-label=a,b&upstash-method=put"
    async with serve() as api:
        message_id = await api.publish(f"{HOOK}?{query}&upstash-forward-x-y=a%20b+c")
        message = (await api.get(f"/v2/messages/{message_id}")).json

    assert message["maxRetries"] == 7
    assert message["notBefore"] == T0 + 5_400_000
    assert message["labels"] == ["a", "b"]
    assert message["method"] == "PUT"
    assert message["header"] == {"X-Y": ["a b c"]}


async def test_a_header_wins_over_the_query():
    """HDR-3."""
    async with serve() as api:
        message_id = await api.publish(
            f"{HOOK}?upstash-retries=7&upstash-method=PUT",
            headers=[("Upstash-Retries", "2")],
        )
        message = (await api.get(f"/v2/messages/{message_id}")).json

    assert message["maxRetries"] == 2
    assert message["method"] == "PUT"


# Headers


async def test_header_names_come_in_any_case():
    """HDR-1, FMT-7, FMT-8, HDR-33."""
    async with serve() as api:
        message_id = await api.publish(
            headers=[
                ("uPSTASH-rETRIES", "1"),
                ("upstash-forward-x-api-key", "k"),
                ("UPSTASH-FORWARD-BYPASS-tunnel-REMINDER", "1"),
                ("upstash-forward-x-api-key", "l"),
            ]
        )
        message = (await api.get(f"/v2/messages/{message_id}")).json

    assert message["maxRetries"] == 1
    assert message["header"] == {
        "X-Api-Key": ["k", "l"],
        "Bypass-Tunnel-Reminder": ["1"],
    }


async def test_the_header_map_holds_what_was_forwarded_and_no_more():
    """FMT-9, ENV-13, HDR-6."""
    async with serve() as api:
        message_id = await api.publish(
            headers=[
                ("Content-Type", "text/plain"),
                ("Upstash-Forward-Test-Header", "test-value"),
                ("Upstash-Forward-Upstash-Label", "kept"),  # HDR-31
                ("Upstash-Telemetry-Sdk", "py-1,js-2"),
                ("Upstash-Something-New", "1"),
                ("User-Agent", "curl"),
                ("Accept", "*/*"),
                ("Cookie", "a=b"),
            ]
        )
        message = (await api.get(f"/v2/messages/{message_id}")).json

    assert message["header"] == {
        "Content-Type": ["text/plain"],
        "Test-Header": ["test-value"],
        "Upstash-Label": ["kept"],
    }


async def test_no_content_type_is_invented():
    """HDR-20, PUB-21."""
    async with serve() as api:
        message_id = await api.publish(body=b"{}")
        message = (await api.get(f"/v2/messages/{message_id}")).json
        await api.settle()
        (request,) = api.transport.requests

    assert "header" not in message
    assert "Content-Type" not in dict(request.headers)


async def test_empty_configuration_is_none_at_all():
    """HDR-7."""
    names = ("Retries", "Delay", "Method", "Callback", "Deduplication-Id", "Label")
    async with serve() as api:
        message_id = await api.publish(
            headers=[(f"Upstash-{name}", "") for name in names]
        )
        message = (await api.get(f"/v2/messages/{message_id}")).json

    assert message["maxRetries"] == 3
    assert message["method"] == "POST"
    assert message["notBefore"] == T0
    assert not {"callback", "labels"} & set(message)


async def test_the_callers_address_is_the_connections():
    """PUB-32: what a header claims isn't believed."""
    async with serve() as api:
        message_id = await api.publish(
            headers=[("X-Forwarded-For", "1.2.3.4"), ("Forwarded", "for=1.2.3.4")]
        )
        message = (await api.get(f"/v2/messages/{message_id}")).json

    assert message["callerIP"] == "127.0.0.1"


async def test_header_bytes_that_are_no_text_are_refused():
    """HDR-30, ERR-3: never silently dropped on the way out."""
    async with serve() as api:
        answer = await publish_raw(api, HOOK, "Upstash-Forward-X: a\udcffb")

    assert answer.status == 400
    assert answer.json["error"].startswith("invalid Upstash-Forward-X ")


# The body


@few
@given(st.binary(max_size=300))
async def test_a_body_is_delivered_byte_for_byte(body):
    """PUB-20."""
    async with serve() as api:
        await api.publish(body=body)
        await api.settle()
        (request,) = api.transport.requests

    assert request.body == body


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_a_body_is_sent_with_every_method(method):
    """HDR-21."""
    async with serve() as api:
        await api.publish(headers=[("Upstash-Method", method)], body=b"x")
        await api.settle()
        (request,) = api.transport.requests

    assert (request.method, request.body) == (method, b"x")


@pytest.mark.parametrize("body", [b"null", b"{broken", b'{"a": 1.0, "a": 2}'])
async def test_a_body_is_not_looked_into(body):
    """PUB-20, PUB-21."""
    async with serve() as api:
        await api.publish(body=body, headers=[("Content-Type", "application/json")])
        await api.settle()
        (request,) = api.transport.requests

    assert request.body == body


async def test_a_body_may_come_in_chunks():
    """BASE-2."""
    async with serve() as api:
        await api.publish(body=in_chunks(b"a", b"bc" * 5000, b"", b"\x00"))
        await api.settle()
        (request,) = api.transport.requests

    assert request.body == b"a" + b"bc" * 5000 + b"\x00"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "identity"])
async def test_an_encoded_body_is_stored_as_it_is(encoding):
    """PUB-20: valid or not, nobody here decodes it."""
    body = gzip.compress(b"hello", mtime=0)
    async with serve() as api:
        await api.publish(body=body, headers=[("Content-Encoding", encoding)])
        await api.settle()
        (request,) = api.transport.requests

    assert request.body == body


async def test_a_body_of_the_largest_size_is_accepted():
    """LIM-2, LIM-12, PUB-22."""
    body = b"x" * 1_048_576
    async with serve(quota="free") as api:
        await api.publish(body=body)
        await api.publish(body=in_chunks(body))
        await api.settle()
        sizes = [len(request.body) for request in api.transport.requests]

    assert sizes == [1_048_576, 1_048_576]


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_larger_body_exceeds_the_quota(is_chunked):
    """LIM-2, PUB-22, ERR-4."""
    body = b"x" * 1_048_577
    async with serve(quota="free") as api:
        answer = await api.post(
            f"/v2/publish/{HOOK}", body=in_chunks(body) if is_chunked else body
        )

        assert answer.status == 400
        assert answer.error == "quota maxMessageSize exceeded, current limit: 1048576"
        assert await api.is_untouched()


# What is refused

REFUSED = {
    "no destination": ("", [], "a non-empty destination must be provided"),
    "only a query": ("?a=1", [], "a non-empty destination must be provided"),
    "no scheme": ("ex.com/a", [], INVALID_SCHEME),
    "another scheme": ("ftp://x", [], INVALID_SCHEME),
    "a base URL too many": ("v2/batch", [], INVALID_SCHEME),  # ENV-5
    "an encoded URL": ("https%3A%2F%2Fex.com", [], INVALID_SCHEME),  # BASE-5
    "a cleaned path": ("https:/ex.com", [], "invalid destination url: *"),
    "no host": ("http://", [], "invalid destination url: *"),  # PUB-7
    "a broken port": ("http://a:b/", [], "invalid destination url: *"),
    "a broken address": ("http://[::1/", [], "invalid destination url: *"),
    "a colon in the id": (
        HOOK,
        [("Upstash-Deduplication-Id", "a:b")],
        "DeduplicationId cannot contain ':'",
    ),
    "a delay beyond the plan": (
        HOOK,
        [("Upstash-Delay", "8d")],
        "quota maxDelay exceeded, current limit: 604800",
    ),
    "an instant beyond the plan": (
        HOOK,
        [("Upstash-Not-Before", str(T0 // 1000 + 604_801))],
        "quota maxDelay exceeded, current limit: 604800",
    ),
    "retries beyond the limit": (
        HOOK,
        [("Upstash-Retries", "1000")],
        "quota maxRetries exceeded, current limit: 999",
    ),
    "negative retries": (HOOK, [("Upstash-Retries", "-1")], "*Upstash-Retries*"),
    "retries in words": (HOOK, [("Upstash-Retries", "two")], "*Upstash-Retries*"),
    "a delay without a unit": (HOOK, [("Upstash-Delay", "10")], "*Upstash-Delay*"),
    "a broken timeout": (HOOK, [("Upstash-Timeout", "1x")], "*Upstash-Timeout*"),
    "milliseconds for seconds": (
        HOOK,
        [("Upstash-Not-Before", str(T0))],
        "*Upstash-Not-Before*",
    ),
    "an unknown method": (HOOK, [("Upstash-Method", "HEAD")], "*Upstash-Method*"),
    "a broken expression": (
        HOOK,
        [("Upstash-Retry-Delay", "1000 *")],
        "*Upstash-Retry-Delay*",
    ),
    "an unknown name": (
        HOOK,
        [("Upstash-Retry-Delay", "__import__")],
        "*Upstash-Retry-Delay*",
    ),
    "a callback elsewhere": (
        HOOK,
        [("Upstash-Callback", "ftp://x")],
        "*Upstash-Callback*",
    ),
    "a broken callback option": (
        HOOK,
        [("Upstash-Failure-Callback-Retries", "x")],
        "*Upstash-Failure-Callback-Retries*",
    ),
    "a delayed callback": (
        HOOK,
        [("Upstash-Callback", HOOK), ("Upstash-Callback-Delay", "1s")],
        "callback delay is not supported",  # CBK-12, Q-9
    ),
    "a broken flag": (
        HOOK,
        [("Upstash-Content-Based-Deduplication", "yes")],
        "*Upstash-Content-Based-Deduplication*",
    ),
    "an unknown field to redact": (
        HOOK,
        [("Upstash-Redact-Fields", "body,url")],
        "*Upstash-Redact-Fields*",
    ),
    "a broken parameter": (f"{HOOK}?upstash-retries=x", [], "*Upstash-Retries*"),
}


@pytest.mark.parametrize(("rest", "headers", "text"), REFUSED.values(), ids=REFUSED)
async def test_what_cannot_be_published_is_refused_and_leaves_nothing_behind(
    rest, headers, text
):
    """ERR-3, ERR-4, PUB-30, DED-9. A ``*`` stands for words that are ours to choose."""
    pattern = re.escape(text).replace(r"\*", ".*")
    once = [("Upstash-Deduplication-Id", "once")]
    async with serve(quota="free") as api:
        answer = await api.post(
            f"/v2/publish/{rest}", headers=[*headers, *once], body=b"x"
        )

        assert answer.status == 400
        assert re.fullmatch(pattern, answer.error, re.IGNORECASE), answer.error
        assert await api.is_untouched()
        assert (await api.post(f"/v2/publish/{HOOK}", headers=once)).status == 200


async def test_an_unknown_url_group_is_named_and_leaves_nothing_behind():
    """PUB-9, Q-18."""
    async with serve() as api:
        answer = await api.post("/v2/publish/no-such_group.1?a=1", body=b"x")

        assert answer.status == 404
        assert answer.error == "topic no-such_group.1 not found"
        assert await api.is_untouched()


async def test_strict_quotas_allow_five_retries():
    """LIM-4, C-22."""
    async with serve(strict=True) as api:
        allowed = await api.post(
            f"/v2/publish/{HOOK}", headers=[("Upstash-Retries", "5")]
        )
        refused = await api.post(
            f"/v2/publish/{HOOK}", headers=[("Upstash-Retries", "6")]
        )

    assert allowed.status == 200
    assert refused.error == "quota maxRetries exceeded, current limit: 5"


@pytest.mark.parametrize("call", ["publish", "enqueue/q", "schedules"])
async def test_this_machine_is_no_destination_if_loopback_is_refused(call):
    """PUB-6, ERR-4."""
    cron = [("Upstash-Cron", "* * * * *")] if call == "schedules" else []
    async with serve(refuse_loopback=True) as api:
        refused = await api.post(f"/v2/{call}/http://localhost:3000/", headers=cron)
        untouched = await api.is_untouched()
        accepted = await api.post(f"/v2/{call}/https://ex.com/", headers=cron)

    assert refused.status == 400
    assert refused.error == (
        "invalid destination url: endpoint resolves to a loopback address: ::1"
    )
    assert untouched
    assert accepted.status == 200


async def test_a_batch_with_a_destination_on_this_machine_is_refused_whole():
    """BAT-7, PUB-6."""
    entries = [{"destination": "https://ex.com"}, {"destination": "http://127.0.0.1"}]
    async with serve(refuse_loopback=True) as api:
        answer = await api.post("/v2/batch", body=json.dumps(entries).encode())

        assert answer.status == 400
        assert await api.is_untouched()


# Deduplication


async def test_a_duplicate_is_accepted_and_makes_no_message():
    """DED-1, PUB-42, PUB-43, LOG-27."""
    once = [("Upstash-Deduplication-Id", "once")]
    async with serve() as api:
        first = await api.publish(headers=once, body=b"1")
        answer = await api.post("/v2/publish/http://b/", headers=once, body=b"2")
        await api.settle()
        events = await api.events()

        assert answer.status == 202
        assert answer.json == {"messageId": first, "deduplicated": True}
        assert {event["messageId"] for event in events} == {first}
        assert len(api.transport.requests) == 1


async def test_the_window_ends_ten_minutes_after_the_first_message():
    """DED-2: a duplicate doesn't extend it."""
    once = [("Upstash-Deduplication-Id", "once")]
    async with serve() as api:
        first = await api.publish(headers=once)
        await api.advance(to=T0 + 5 * 60_000)
        early = await api.post(f"/v2/publish/{HOOK}", headers=once)
        await api.advance(to=T0 + 10 * 60_000 - 1)
        late = await api.post(f"/v2/publish/{HOOK}", headers=once)
        await api.advance(to=T0 + 10 * 60_000)
        second = await api.publish(headers=once)

    assert (early.status, late.status) == (202, 202)
    assert second != first


async def test_the_first_messages_end_does_not_end_the_window():
    """DED-3, Q-31."""
    async with serve(NOT_RETRYABLE) as api:
        failing = [("Upstash-Deduplication-Id", "fails")]
        cancelled = [("Upstash-Deduplication-Id", "cancelled")]
        await api.fail(headers=failing)
        waiting = await api.publish(headers=[*cancelled, ("Upstash-Delay", "1h")])
        await api.delete(f"/v2/messages/{waiting}")
        statuses = [
            (await api.post(f"/v2/publish/{HOOK}", headers=headers)).status
            for headers in (failing, cancelled)
        ]

    assert statuses == [202, 202]


@pytest.mark.parametrize("true", ["1", "t", "T", "true", "True", "TRUE"])
async def test_equal_content_is_a_duplicate_if_asked_for(true):
    """DED-6, FMT-5: Python's SDK sends ``True``."""
    asked = [("Upstash-Content-Based-Deduplication", true), ("Content-Type", "a/b")]
    async with serve() as api:
        await api.publish(headers=[*asked, ("Upstash-Retries", "1")], body=b"x")
        same = await api.post(
            f"/v2/publish/{HOOK}",
            headers=[*asked, ("Upstash-Method", "PUT"), ("Upstash-Delay", "1m")],
            body=b"x",
        )
        others = [
            await api.post(f"/v2/publish/{HOOK}?a", headers=asked, body=b"x"),
            await api.post(f"/v2/publish/{HOOK}", headers=asked, body=b"y"),
            await api.post(f"/v2/publish/{HOOK}", headers=asked[:1], body=b"x"),
            await api.post(
                f"/v2/publish/{HOOK}",
                headers=[*asked, ("Upstash-Forward-X", "1")],
                body=b"x",
            ),
        ]

    assert same.status == 202
    assert [answer.status for answer in others] == [200, 200, 200, 200]


@pytest.mark.parametrize("false", ["0", "f", "F", "false", "False", "FALSE"])
async def test_equal_content_is_no_duplicate_if_not_asked_for(false):
    """FMT-5: Python's SDK sends ``False``."""
    headers = [("Upstash-Content-Based-Deduplication", false)]
    async with serve() as api:
        ids = {await api.publish(headers=headers) for _ in range(2)}

    assert len(ids) == 2


async def test_an_id_counts_before_the_content():
    """DED-7."""
    content = ("Upstash-Content-Based-Deduplication", "true")
    async with serve() as api:
        ids = {
            await api.publish(headers=[content, ("Upstash-Deduplication-Id", name)])
            for name in ("a", "b")
        }

    assert len(ids) == 2


@pytest.mark.parametrize("value", ["a b", "a\tb"])
async def test_an_id_has_no_white_space(value):
    """DED-5."""
    async with serve() as api:
        answer = await publish_raw(api, HOOK, f"Upstash-Deduplication-Id: {value}")

        assert answer.status == 400
        assert "Upstash-Deduplication-Id" in answer.error
        assert await api.is_untouched()
