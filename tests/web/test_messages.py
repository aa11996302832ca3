"""emulator/web/messages.py: read and cancel (contract sections 17 and 20)."""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from typing import Any

import pytest

from tests.doubles import T0, Hang
from tests.web.test_client import FAILS, HOOK, NOT_RETRYABLE, Api, serve

DELAYED = [("Upstash-Delay", "1h")]


async def read(api: Api, message_id: str) -> dict[str, Any]:
    answer = await api.get(f"/v2/messages/{message_id}")
    assert answer.status == 200, answer.body
    value = answer.json
    assert isinstance(value, dict)
    return value


async def cancelled_by(api: Api, query: str = "", body: bytes = b"") -> int:
    answer = await api.delete(f"/v2/messages{query}", body=body)
    assert answer.status == 200, answer.body
    assert list(answer.json) == ["cancelled"]
    count = answer.json["cancelled"]
    assert isinstance(count, int)
    return count


# Read


async def test_the_plainest_message_has_seven_fields():
    """MSG-2, MSG-3, BASE-12, BASE-13."""
    async with serve() as api:
        message_id = await api.publish()
        message = await read(api, message_id)

    assert message == {
        "messageId": message_id,
        "url": HOOK,
        "method": "POST",
        "maxRetries": 3,
        "notBefore": T0,
        "createdAt": T0,
        "callerIP": "127.0.0.1",
    }


async def test_a_message_shows_all_that_was_configured():
    """MSG-2, CBK-16, FMT-12."""
    async with serve() as api:
        message_id = await api.publish(
            "http://127.0.0.1:3000/api/hook?x=1",
            body=b'{"hello":"world"}',
            headers=[
                ("Content-Type", "application/json"),
                ("Upstash-Forward-Test-Header", "test-value"),
                ("Upstash-Method", "patch"),
                ("Upstash-Retries", "0"),
                ("Upstash-Delay", "1m"),
                ("Upstash-Timeout", "1m30s"),
                ("Upstash-Retry-Delay", "1000 * retried"),
                ("Upstash-Callback", "http://127.0.0.1:3000/cb?foo=bar"),
                ("Upstash-Callback-Forward-X-Trace", "1"),
                ("Upstash-Failure-Callback", "http://127.0.0.1:3000/failed"),
                ("Upstash-Failure-Callback-Forward-X-Trace", "2"),
                ("Upstash-Label", "a, b,,"),
            ],
        )
        message = await read(api, message_id)

    assert message == {
        "messageId": message_id,
        "url": "http://127.0.0.1:3000/api/hook?x=1",
        "method": "PATCH",
        "header": {
            "Content-Type": ["application/json"],
            "Test-Header": ["test-value"],
        },
        "body": '{"hello":"world"}',
        "maxRetries": 0,
        "notBefore": T0 + 60_000,
        "createdAt": T0,
        "callerIP": "127.0.0.1",
        "timeout": 90_000,
        "retryDelayExpression": "1000 * retried",
        "callback": "http://127.0.0.1:3000/cb?foo=bar",
        "callbackHeader": {"X-Trace": ["1"]},
        "failureCallback": "http://127.0.0.1:3000/failed",
        "failureCallbackHeader": {"X-Trace": ["2"]},
        "label": "a",
        "labels": ["a", "b"],
    }


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ("é {".encode(), {"body": "é {"}),
        (b"\x00\x01", {"body": "\x00\x01"}),
        (b"\xff\x00", {"bodyBase64": base64.b64encode(b"\xff\x00").decode()}),
        (b"", {}),
    ],
)
async def test_a_body_is_shown_as_text_if_it_is_text(body, fields):
    """FMT-10."""
    async with serve() as api:
        message = await read(api, await api.publish(body=body))

    assert {name: message[name] for name in message if "body" in name} == fields


async def test_an_unknown_message_is_named():
    """MSG-1, ERR-4."""
    async with serve() as api:
        answer = await api.get("/v2/messages/msg_unknown")

    assert answer.status == 404
    assert answer.body == b'{"error":"message msg_unknown not found"}'


async def test_a_delivered_message_can_be_read_for_a_minute_unchanged():
    """MSG-8, MSG-9."""
    async with serve() as api:
        message_id = await api.publish(headers=[("Upstash-Label", "a")])
        before = await read(api, message_id)
        await api.settle()
        await api.advance(to=T0 + 59_999)
        within = await read(api, message_id)
        await api.advance(to=T0 + 60_000)
        after = await api.get(f"/v2/messages/{message_id}")

    assert within == before
    assert after.status == 404


async def test_how_long_a_finished_message_can_be_read_is_a_setting():
    """MSG-8."""
    async with serve(grace_ms=0) as api:
        message_id = await api.publish()
        await api.settle()
        answer = await api.get(f"/v2/messages/{message_id}")

    assert answer.status == 404


async def test_failed_and_cancelled_messages_can_be_read_for_a_minute_too():
    """MSG-8."""
    async with serve(NOT_RETRYABLE) as api:
        failed = await api.publish()
        cancelled = await api.publish(headers=DELAYED)
        await api.delete(f"/v2/messages/{cancelled}")
        await api.settle()
        within = [await read(api, failed), await read(api, cancelled)]
        await api.advance(by="1m")
        after = [
            (await api.get(f"/v2/messages/{message_id}")).status
            for message_id in (failed, cancelled)
        ]

    assert [message["messageId"] for message in within] == [failed, cancelled]
    assert after == [404, 404]


# Redaction


async def test_a_redacted_message_shows_hashes():
    """RED-2, RED-3, RED-4, RED-5, MSG-5."""
    async with serve() as api:
        message_id = await api.publish(
            body=b'{"hello":"world"}',
            headers=[
                ("Upstash-Redact-Fields", "body, header[AUTHORIZATION]"),
                ("Upstash-Forward-Authorization", "secret"),
                ("Upstash-Forward-X", "shown"),
            ],
        )
        message = await read(api, message_id)

    assert message["body"] == (
        "REDACTED:93a23971a914e5eacbf0a8d25154cda309c3c1c72fbb9914d47c60f3cb681588"
    )
    assert message["header"] == {
        "Authorization": ["REDACTED:" + sha256(b"secret").hexdigest()],
        "X": ["shown"],
    }


@pytest.mark.parametrize("token", ["header", "headers"])
async def test_all_headers_means_the_content_type_too(token):
    """RED-2, RED-5, Q-27: but not a callback's (RED-9)."""
    async with serve() as api:
        message_id = await api.publish(
            headers=[
                ("Content-Type", "text/plain"),
                ("Upstash-Redact-Fields", token),
                ("Upstash-Callback", HOOK),
                ("Upstash-Callback-Forward-X", "shown"),
            ],
        )
        message = await read(api, message_id)

    hashed = "REDACTED:" + sha256(b"text/plain").hexdigest()
    assert message["header"] == {"Content-Type": [hashed]}
    assert message["callbackHeader"] == {"X": ["shown"]}


async def test_a_redacted_body_that_is_no_text_is_shown_as_text():
    """RED-4."""
    async with serve() as api:
        message_id = await api.publish(
            body=b"\xff", headers=[("Upstash-Redact-Fields", "body")]
        )
        message = await read(api, message_id)

    assert message["body"] == "REDACTED:" + sha256(b"\xff").hexdigest()
    assert "bodyBase64" not in message


async def test_redaction_never_reaches_the_destination():
    """RED-6, DLV-6."""
    async with serve() as api:
        await api.publish(
            body=b"secret",
            headers=[
                ("Upstash-Redact-Fields", "body,header"),
                ("Upstash-Forward-X", "y"),
            ],
        )
        await api.settle()
        (request,) = api.transport.requests

    assert request.body == b"secret"
    assert dict(request.headers)["X"] == "y"


# Cancel one


async def test_a_waiting_message_is_cancelled_at_once():
    """MSG-10, MSG-11, MSG-13, MSG-14, LOG-26."""
    async with serve() as api:
        message_id = await api.publish(
            headers=[*DELAYED, ("Upstash-Failure-Callback", HOOK)]
        )
        answer = await api.delete(f"/v2/messages/{message_id}")
        states = await api.states(message_id)
        await api.advance(until="idle")

        assert answer.status == 200
        assert answer.body == b'{"cancelled":1}'
        assert states == ["CREATED", "CANCEL_REQUESTED", "CANCELED"]
        assert api.transport.requests == []
        assert await api.dlq() == []


async def test_a_message_that_waits_for_a_retry_is_cancelled_at_once():
    """MSG-11."""
    async with serve(FAILS) as api:
        message_id = await api.publish()
        await api.settle()
        await api.delete(f"/v2/messages/{message_id}")
        await api.advance(until="idle")

        assert (await api.states(message_id))[-2:] == ["CANCEL_REQUESTED", "CANCELED"]
        assert len(api.transport.requests) == 1


async def test_a_message_under_way_is_not_retried():
    """MSG-12: the delivery ends by its timeout, and that is the end of it."""
    async with serve(Hang()) as api:
        message_id = await api.publish(headers=[("Upstash-Timeout", "30s")])
        answer = await api.delete(f"/v2/messages/{message_id}")
        before = await api.states(message_id)
        await api.advance(until="idle")
        after = await api.states(message_id)

        assert answer.json == {"cancelled": 1}
        assert before == ["CREATED", "ACTIVE", "CANCEL_REQUESTED"]
        assert after == [*before, "ERROR", "CANCELED"]
        assert await api.dlq() == []


async def test_a_message_that_is_finished_or_cancelled_cannot_be_cancelled():
    """MSG-15: not even while it can still be read."""
    async with serve() as api:
        delivered = await api.publish()
        cancelled = await api.publish(headers=DELAYED)
        await api.settle()
        await api.delete(f"/v2/messages/{cancelled}")
        answers = [
            await api.delete(f"/v2/messages/{message_id}")
            for message_id in (delivered, cancelled, "msg_unknown")
        ]

    assert [answer.status for answer in answers] == [404, 404, 404]
    assert answers[0].error == f"message {delivered} not found"


async def test_a_message_under_way_is_cancelled_once():
    """MSG-15."""
    async with serve(Hang()) as api:
        message_id = await api.publish()
        statuses = [
            (await api.delete(f"/v2/messages/{message_id}")).status for _ in range(2)
        ]

    assert statuses == [200, 404]


# Cancel many


@pytest.mark.parametrize("in_body", [False, True])
async def test_messages_are_cancelled_by_their_ids(in_body):
    """MSG-20, MSG-21, MSG-22: what isn't there is passed over."""
    async with serve() as api:
        first, second, third = [await api.publish(headers=DELAYED) for _ in range(3)]
        wanted = [first, "msg_unknown", third, first]
        if in_body:
            body = json.dumps({"messageIds": wanted}).encode()
            count = await cancelled_by(api, body=body)
        else:
            query = "&".join(f"messageIds={message_id}" for message_id in wanted)
            count = await cancelled_by(api, f"?{query}")
        left = await cancelled_by(api)
        states = await api.states(second)

    assert count == 2
    assert left == 1
    assert states[-1] == "CANCELED"


async def test_ids_may_be_a_comma_separated_list():
    """FMT-13."""
    async with serve() as api:
        ids = [await api.publish(headers=DELAYED) for _ in range(3)]
        count = await cancelled_by(api, f"?messageIds={ids[0]},{ids[1]}")

    assert count == 2


async def test_with_ids_no_filter_counts():
    """MSG-22."""
    async with serve() as api:
        message_id = await api.publish(headers=DELAYED)
        count = await cancelled_by(
            api, f"?messageIds={message_id}&label=other&fromDate={T0 + 1}"
        )

    assert count == 1


async def test_a_query_wins_over_a_body():
    """MSG-21."""
    async with serve() as api:
        first, second = [await api.publish(headers=DELAYED) for _ in range(2)]
        body = json.dumps({"messageIds": [second]}).encode()
        await cancelled_by(api, f"?messageIds={first}", body)
        states = [await api.states(message_id) for message_id in (first, second)]

    assert [each[-1] for each in states] == ["CANCELED", "CREATED"]


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("", b""),
        ("", b"{}"),
        ("", b" "),
        ("", b'{"messageIds":[]}'),
        ("?count=100", b""),
        ("", b'{"count":100}'),
    ],
)
async def test_without_a_selection_all_pending_messages_are_cancelled(query, body):
    """MSG-23, MSG-27."""
    async with serve() as api:
        await api.publish()  # delivered
        await api.settle()
        for _ in range(3):
            await api.publish(headers=DELAYED)
        count = await cancelled_by(api, query, body)
        again = await cancelled_by(api, query, body)

    assert count == 3
    assert again == 0


async def test_the_token_in_the_query_selects_nothing():
    """AUTH-2, MSG-26."""
    async with serve() as api:
        token = api.emulator.settings.users[0].token
        first = await api.publish(headers=DELAYED)
        await api.publish(headers=DELAYED)
        body = json.dumps({"messageIds": [first]}).encode()
        answer = await api.delete(
            f"/v2/messages?qstash_token={token}", user=None, body=body
        )

    assert answer.json == {"cancelled": 1}


async def test_what_was_cancelled_before_is_not_counted_again():
    """MSG-24."""
    async with serve() as api:
        ids = [await api.publish(headers=DELAYED) for _ in range(3)]
        two = await cancelled_by(api, f"?messageIds={ids[0]}&messageIds={ids[1]}")
        rest = await cancelled_by(api)

    assert (two, rest) == (2, 1)


async def test_a_message_under_way_counts_when_it_is_cancelled():
    """MSG-12, MSG-24."""
    async with serve(Hang()) as api:
        await api.publish()
        counts = [await cancelled_by(api) for _ in range(2)]

    assert counts == [1, 0]


@pytest.mark.parametrize(
    "selection",
    [
        {"url": "http://a.example:81/b?c"},
        {"host": "a.example:81"},
        {"path": "/b"},
        {"label": "y"},
        {"label": ["z", "x"]},
        {"callerIp": "127.0.0.1", "label": "x"},
        {"callerIP": "127.0.0.1", "label": "x"},
        {"fromDate": T0 + 5_000, "toDate": T0 + 5_000},
    ],
)
@pytest.mark.parametrize("in_body", [False, True])
async def test_messages_are_cancelled_by_filters(selection, in_body):
    """MSG-25, FMT-13, FMT-15, FMT-16."""
    async with serve() as api:
        other = await api.publish("http://a.example/", headers=DELAYED)
        await api.advance(by="5s")
        wanted = await api.publish(
            "http://a.example:81/b?c", headers=[*DELAYED, ("Upstash-Label", "x,y")]
        )
        await api.advance(by="5s")
        if in_body:
            count = await cancelled_by(api, body=json.dumps(selection).encode())
        else:
            pairs = [
                f"{name}={value}"
                for name, values in selection.items()
                for value in (values if isinstance(values, list) else [values])
            ]
            count = await cancelled_by(api, "?" + "&".join(pairs))
        states = [(await api.states(each))[-1] for each in (other, wanted)]

    assert count == 1
    assert states == ["CREATED", "CANCELED"]


@pytest.mark.parametrize(
    "query", ["?label=X", "?url=http://a", "?host=a", "?queueName=q", "?label=x&path=/"]
)
async def test_matching_is_exact_and_filters_are_anded(query):
    """FMT-13, FMT-15."""
    async with serve() as api:
        await api.publish("http://a:1/b", headers=[*DELAYED, ("Upstash-Label", "x")])
        count = await cancelled_by(api, query)

    assert count == 0


async def test_with_a_count_the_oldest_go_first():
    """MSG-27, MSG-28."""
    async with serve() as api:
        ids = [await api.publish(headers=DELAYED) for _ in range(3)]
        count = await cancelled_by(api, "?count=2")
        states = [(await api.states(message_id))[-1] for message_id in ids]

    assert count == 2
    assert states == ["CANCELED", "CANCELED", "CREATED"]


async def test_a_count_above_the_maximum_is_clamped():
    """MSG-27, FMT-18."""
    async with serve() as api:
        entry = {"destination": HOOK, "headers": {"Upstash-Delay": "1h"}}
        await api.post("/v2/batch", body=json.dumps([entry] * 501).encode())
        count = await cancelled_by(api, "?count=9999999999999999999999")

    assert count == 500


REFUSED = {
    "a typo": ("?labeel=x", b"", "labeel"),
    "a typo with a count": ("?labeel=x&count=100", b"", "labeel"),
    "a typo in the body": ("", b'{"mesageIds":["a"]}', "mesageIds"),
    "a DLQ's parameter": ("?dlqIds=1-0", b"", "dlqIds"),
    "a log's parameter": ("?state=CREATED", b"", "state"),
    "an empty value": ("?label=", b"", "label"),
    "an empty list": ("?messageIds=,", b"", "messageIds"),
    "no count": ("?count=0", b"", "count"),
    "a negative count": ("?count=-1", b"", "count"),
    "a count in words": ("?count=all", b"", "count"),
    "a date in words": ("?fromDate=yesterday", b"", "fromDate"),
    "two dates": ("?toDate=1&toDate=2", b"", "toDate"),
    "no JSON": ("", b"{", "JSON"),
    "an array": ("", b"[]", "object"),
    "a nested object": ("", b'{"messageIds":{}}', "messageIds"),
    "null": ("", b'{"label":null}', "label"),
    "a name twice": ("", b'{"label":"a","label":"b"}', "label"),
    "a broken body beside a query": ("?count=1", b"{", "JSON"),
    "no UTF-8": ("", b'{"label":"\xff"}', "UTF-8"),
}


@pytest.mark.parametrize(("query", "body", "named"), REFUSED.values(), ids=REFUSED)
async def test_a_doubtful_selection_cancels_nothing(query, body, named):
    """MSG-26, ERR-3: it could mean everything."""
    async with serve() as api:
        message_id = await api.publish(headers=DELAYED)
        answer = await api.delete(f"/v2/messages{query}", body=body)
        states = await api.states(message_id)

    assert answer.status == 400
    assert named in answer.error
    assert states == ["CREATED"]


async def test_callback_messages_are_messages_like_others():
    """MSG-29, CBK-7."""
    callback = "http://localhost:3000/cb"
    async with serve(FAILS, FAILS) as api:
        await api.publish(
            headers=[("Upstash-Callback", callback), ("Upstash-Retries", "1")]
        )
        await api.settle()
        created = await api.events(f"?url={callback}&state=CREATED")
        message = await read(api, created[0]["messageId"])
        count = await cancelled_by(api, f"?url={callback}")

    assert message["url"] == callback
    assert message["header"] == {"Content-Type": ["application/json"]}
    assert message["maxRetries"] == 1
    assert json.loads(message["body"])["status"] == 500
    assert count == 1
