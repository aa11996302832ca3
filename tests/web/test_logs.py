"""emulator/web/logs.py: the log (contract sections 19 and 20)."""

from __future__ import annotations

import json
from base64 import b64encode
from hashlib import sha256

import pytest

from emulator.core.model import Responded, TimedOut, Unreachable
from tests.doubles import T0, Hang
from tests.web.test_client import FAILS, HOOK, NOT_RETRYABLE, serve

OTHER = "http://localhost:3000/other"


async def test_the_log_is_served_under_two_names():
    """LOG-1, LOG-2, FMT-17."""
    async with serve() as api:
        await api.publish()
        await api.settle()
        events = (await api.get("/v2/events")).json
        logs = (await api.get("/v2/logs")).json

    assert list(events) == ["events"]
    assert set(logs) in ({"logs"}, {"logs", "events"})
    assert logs["logs"] == events["events"]
    assert len(events["events"]) == 3


async def test_an_empty_log_is_an_empty_array():
    """LOG-2."""
    async with serve() as api:
        events = await api.get("/v2/events")
        logs = await api.get("/v2/logs")

    assert events.body == b'{"events":[]}'
    assert logs.json["logs"] == []


# Entries


async def test_a_delivered_message_has_three_entries_newest_first():
    """LOG-3, LOG-12, LOG-22, LOG-10: exactly these fields."""
    async with serve() as api:
        message_id = await api.publish()
        await api.settle()
        events = await api.events()

    common = {
        "time": T0,
        "messageId": message_id,
        "url": HOOK,
        "method": "POST",
        "maxRetries": 3,
    }
    assert events == [
        {**common, "state": "DELIVERED"},
        {**common, "state": "ACTIVE"},
        {**common, "state": "CREATED", "nextDeliveryTime": T0},
    ]


async def test_a_failed_message_has_four_entries():
    """LOG-12, LOG-14, LOG-15, LOG-23: the response stands on ``ERROR`` only."""
    response = Responded(
        404, ("Content-Type", "text/plain"), b"404 Not Found", "Not Found"
    )
    async with serve(response) as api:
        message_id = await api.publish(
            headers=[
                ("Upstash-Retries", "0"),
                ("Upstash-Label", "a"),
                ("Upstash-Retry-Delay", "15000"),
            ]
        )
        await api.settle()
        events = await api.events()

    common = {
        "time": T0,
        "messageId": message_id,
        "url": HOOK,
        "method": "POST",
        "maxRetries": 0,
        "label": "a",
        "labels": ["a"],
        "retryDelayExpression": "15000",
        "retryDelayExpr": "15000",
    }
    assert events == [
        {**common, "state": "FAILED", "error": "404 Not Found"},
        {
            **common,
            "state": "ERROR",
            "error": "404 Not Found",
            "responseStatus": 404,
            "responseBody": "NDA0IE5vdCBGb3VuZA==",
            "responseHeader": {"Content-Type": ["text/plain"]},
            "responseHeaders": {"Content-Type": ["text/plain"]},
        },
        {**common, "state": "ACTIVE"},
        {**common, "state": "CREATED", "nextDeliveryTime": T0},
    ]


async def test_every_entry_repeats_the_messages_data():
    """LOG-12, LOG-13, DLV-23, FMT-11, CBK-16."""
    async with serve() as api:
        await api.publish(
            body=b"\xffbody",
            headers=[
                ("Content-Type", "a/b"),
                ("Upstash-Timeout", "2s"),
                ("Upstash-Label", "a,b"),
                ("Upstash-Callback", OTHER),
                ("Upstash-Callback-Forward-X", "1"),
                ("Upstash-Failure-Callback", OTHER),
                ("Upstash-Failure-Callback-Forward-X", "2"),
            ],
        )
        await api.settle()
        events = await api.events(f"?url={HOOK}")

    expected = {
        "header": {"Content-Type": ["a/b"]},
        "body": b64encode(b"\xffbody").decode(),
        "timeout": 2000,
        "label": "a",
        "labels": ["a", "b"],
        "callback": OTHER,
        "callbackHeaders": {"X": ["1"]},
        "failureCallback": OTHER,
        "failureCallbackHeaders": {"X": ["2"]},
    }
    assert len(events) == 3
    for event in events:
        assert {name: event.get(name) for name in expected} == expected


async def test_a_retried_failure_says_when_the_next_delivery_is():
    """LOG-24, RTY-10."""
    async with serve(FAILS, Responded(200)) as api:
        message_id = await api.publish()
        await api.settle()
        (retry,) = await api.events("?state=RETRY")
        await api.advance(until="idle")
        states = await api.states(message_id)
        delivered = await api.events("?state=DELIVERED")

    assert retry["nextDeliveryTime"] == T0 + 12_182
    assert "error" not in retry
    assert states == ["CREATED", "ACTIVE", "ERROR", "RETRY", "ACTIVE", "DELIVERED"]
    assert [entry["time"] for entry in delivered] == [T0 + 12_182]


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (Unreachable("connection refused"), "connection refused"),
        (TimedOut(2000), "context deadline exceeded"),
    ],
)
async def test_a_failure_without_a_response_has_an_error_and_no_response(
    outcome, words
):
    """DLV-16, DLV-17, LOG-12."""
    async with serve(outcome) as api:
        await api.publish(headers=[("Upstash-Retries", "0")])
        await api.settle()
        failed, error = await api.events("?state=FAILED,ERROR")

    assert words in error["error"]
    assert words in failed["error"]
    assert not [name for name in (*error, *failed) if name.startswith("response")]


async def test_a_destination_that_never_answers_times_out_on_the_clock():
    """DLV-21, DLV-22."""
    async with serve(Hang()) as api:
        await api.publish(
            headers=[("Upstash-Retries", "0"), ("Upstash-Timeout", "30s")]
        )
        await api.advance(until="idle")
        (error,) = await api.events("?state=ERROR")

    assert error["time"] == T0 + 30_000
    assert "context deadline exceeded" in error["error"]


async def test_the_log_is_redacted():
    """LOG-16, RED-4, RED-5, RED-9."""
    async with serve(NOT_RETRYABLE) as api:
        await api.publish(
            body=b"secret",
            headers=[
                ("Upstash-Redact-Fields", "body,header[X]"),
                ("Upstash-Forward-X", "y"),
            ],
        )
        await api.settle()
        events = await api.events()

    body = "REDACTED:" + sha256(b"secret").hexdigest()
    assert {event["body"] for event in events} == {b64encode(body.encode()).decode()}
    assert {event["header"]["X"][0] for event in events} == {
        "REDACTED:" + sha256(b"y").hexdigest()
    }
    (error,) = [event for event in events if event["state"] == "ERROR"]
    assert error["responseBody"] == b64encode(b"never").decode()


async def test_a_callback_is_logged_under_its_own_id():
    """LOG-30, CBK-26."""
    async with serve() as api:
        message_id = await api.publish(headers=[("Upstash-Callback", OTHER)])
        await api.settle()
        events = await api.events("?order=earliestFirst")

    callback_id = events[3]["messageId"]
    assert [event["messageId"] for event in events] == [message_id] * 3 + [
        callback_id
    ] * 3
    assert callback_id != message_id


async def test_no_state_is_spelled_in_a_way_that_breaks_the_sdks():
    """LOG-20, LOG-21: one L."""
    async with serve() as api:
        message_id = await api.publish(headers=[("Upstash-Delay", "1h")])
        await api.delete(f"/v2/messages/{message_id}")
        states = await api.states(message_id)

    assert states == ["CREATED", "CANCEL_REQUESTED", "CANCELED"]


# Listing


async def test_entries_are_listed_newest_first_unless_asked_otherwise():
    """LOG-3: entries of one millisecond keep their causal order."""
    async with serve() as api:
        first = await api.publish()
        await api.settle()
        await api.advance(by="1s")
        second = await api.publish()
        await api.settle()
        default = await api.events()
        latest = await api.events("?order=latestFirst")
        earliest = await api.events("?order=earliestFirst")

    assert default == latest == earliest[::-1]
    assert [(event["messageId"], event["state"]) for event in earliest] == [
        (message_id, state)
        for message_id in (first, second)
        for state in ("CREATED", "ACTIVE", "DELIVERED")
    ]


@pytest.mark.parametrize("order", ["earliestFirst", "latestFirst"])
async def test_pages_follow_one_another_and_the_last_has_no_cursor(order):
    """FMT-17: entries that appear later don't shift what follows."""
    async with serve() as api:
        for _ in range(2):
            await api.publish()
        await api.settle()
        everything = await api.events(f"?order={order}")
        pages = []
        query = f"?count=4&order={order}"
        first = (await api.get(f"/v2/events{query}")).json
        pages.append(first)
        await api.publish(headers=[("Upstash-Delay", "1h")])
        cursor = first["cursor"]
        last = (await api.get(f"/v2/events{query}&cursor={cursor}")).json
        pages.append(last)

    listed = [event for page in pages for event in page["events"]]
    assert isinstance(first["cursor"], str)
    assert listed[:6] == everything
    assert len(listed) == (7 if order == "earliestFirst" else 6)
    assert list(last) == ["events"]


async def test_pages_of_a_filtered_log_follow_one_another_too():
    """FMT-17, LOG-8."""
    async with serve() as api:
        ids = [await api.publish() for _ in range(5)]
        await api.settle()
        seen = []
        query = "?state=DELIVERED&count=2"
        page = (await api.get(f"/v2/events{query}")).json
        while True:
            seen += [event["messageId"] for event in page["events"]]
            if "cursor" not in page:
                break
            page = (await api.get(f"/v2/events{query}&cursor={page['cursor']}")).json

    assert sorted(seen) == sorted(ids)


async def test_a_page_that_ends_with_the_last_entry_has_no_cursor():
    """FMT-17."""
    async with serve() as api:
        await api.publish()
        await api.settle()
        answer = await api.get("/v2/events?count=3")

    assert list(answer.json) == ["events"]


@pytest.mark.parametrize("path", ["/v2/events", "/v2/logs"])
async def test_a_page_has_1000_entries_at_most(path):
    """LOG-4, C-10, FMT-18."""
    entry = {"destination": HOOK, "headers": {"Upstash-Delay": "1h"}}
    async with serve() as api:
        await api.post("/v2/batch", body=json.dumps([entry] * 1001).encode())
        default = (await api.get(path)).json
        clamped = (await api.get(f"{path}?count=5000")).json

    key = path.rpartition("/")[2]
    assert len(default[key]) == len(clamped[key]) == 1000
    assert "cursor" in default


async def test_entries_are_kept_as_long_as_the_plan_says():
    """LOG-11, LIM-6."""
    async with serve(quota="free") as api:
        await api.publish()
        await api.settle()
        await api.advance(to=T0 + 3 * 86_400_000)
        before = await api.events()
        await api.advance(to=T0 + 3 * 86_400_000 + 1)
        after = await api.events()

    assert len(before) == 3
    assert after == []


async def test_the_oldest_entries_go_when_there_are_too_many():
    """LOG-11."""
    async with serve(max_log_entries=4) as api:
        first = await api.publish()
        await api.settle()
        second = await api.publish()
        await api.settle()
        events = await api.events("?order=earliestFirst")

    assert [(event["messageId"], event["state"]) for event in events] == [
        (first, "DELIVERED"),
        (second, "CREATED"),
        (second, "ACTIVE"),
        (second, "DELIVERED"),
    ]


# Filters

FILTERS = {
    "by message": "messageId={wanted}",
    "by messages": "messageIds={wanted}&messageIds=other",
    "by a list of messages": "messageIds=other,{wanted}",
    "by URL": "url=http%3A%2F%2Fa.example%3A81%2Fb%3Fc%2Cd",
    "by URLs": "url=http://x,http://y&url=http://a.example:81/b?c,d",
    "by host": "host=a.example:81",
    "by path": "path=/b",
    "by label": "label=y",
    "by labels": "label=z,x",
    "by caller": "callerIp=127.0.0.1&host=a.example:81",
    "since": "fromDate={since}",
    "by all at once": "messageId={wanted}&url=http://a.example:81/b?c,d&label=x",
    "by nothing that counts": "api=llm&groupBy=x&unknown=1&messageId={wanted}",
    "by nothing that is there": "label=&state=&messageId={wanted}",
}


@pytest.mark.parametrize("query", FILTERS.values(), ids=FILTERS)
async def test_entries_are_listed_by_filters(query):
    """LOG-5, LOG-6, LOG-9, FMT-13 to FMT-16."""
    async with serve() as api:
        await api.publish("http://a.example/bb", headers=[("Upstash-Label", "X")])
        await api.settle()
        await api.advance(by="5s")
        wanted = await api.publish(
            "http://a.example:81/b?c,d", headers=[("Upstash-Label", "x,y")]
        )
        await api.settle()
        query = query.format(wanted=wanted, since=T0 + 5_000)
        events = await api.events(f"?{query}")

    assert [(event["messageId"], event["state"]) for event in events] == [
        (wanted, "DELIVERED"),
        (wanted, "ACTIVE"),
        (wanted, "CREATED"),
    ]


@pytest.mark.parametrize(
    "query",
    [
        *("messageId=x", "url=http://localhost:3000/api", "host=localhost", "label=A"),
        *("path=/api/hook/", "topicName=t", "queueName=q", "scheduleId=s"),
        *("flowControlKey=k", f"toDate={T0 - 1}", f"fromDate={T0 + 1}"),
        "label=a&path=/other",
    ],
)
async def test_matching_is_exact(query):
    """LOG-5, FMT-15."""
    async with serve() as api:
        await api.publish(headers=[("Upstash-Label", "a")])
        await api.settle()
        events = await api.events(f"?{query}")

    assert events == []


async def test_dates_compare_with_the_entrys_time_and_are_inclusive():
    """LOG-6, FMT-16."""
    async with serve() as api:
        await api.publish(headers=[("Upstash-Delay", "10s")])
        await api.advance(until="idle")
        late = await api.events(f"?fromDate={T0 + 10_000}&toDate={T0 + 10_000}")
        early = await api.events(f"?toDate={T0}")

    assert [event["state"] for event in late] == ["DELIVERED", "ACTIVE"]
    assert [event["state"] for event in early] == ["CREATED"]


@pytest.mark.parametrize(
    ("state", "found"),
    [
        ("DELIVERED", ["DELIVERED"]),
        ("CREATED,DELIVERED", ["DELIVERED", "CREATED"]),
        ("RETRY&state=ERROR", ["RETRY", "ERROR"]),
        ("IN_PROGRESS", ["ACTIVE", "RETRY", "ERROR", "ACTIVE"]),
        ("FAILED", []),
        ("CANCELED", []),
        ("CANCELLED", []),
    ],
)
async def test_entries_are_listed_by_state(state, found):
    """LOG-7, LOG-8."""
    async with serve(FAILS, Responded(200)) as api:
        await api.publish()
        await api.advance(until="idle")
        events = await api.events(f"?state={state}")

    assert [event["state"] for event in events] == found


@pytest.mark.parametrize("spelling", ["CANCELED", "CANCELLED"])
async def test_cancelled_is_found_by_either_spelling(spelling):
    """LOG-21, C-2."""
    async with serve() as api:
        message_id = await api.publish(headers=[("Upstash-Delay", "1h")])
        await api.delete(f"/v2/messages/{message_id}")
        events = await api.events(f"?state={spelling}")

    assert [event["state"] for event in events] == ["CANCELED"]


@pytest.mark.parametrize(
    "query",
    [
        *("state=DONE", "state=delivered", "count=0", "count=-1", "count=x"),
        *("cursor=x", "cursor=1", "order=newest", "fromDate=x", "toDate=1.5"),
        *("count=1&count=2", f"cursor={'9' * 400}-0"),
    ],
)
@pytest.mark.parametrize("path", ["/v2/events", "/v2/logs"])
async def test_a_value_that_cannot_be_used_is_refused_by_name(path, query):
    """LOG-7, FMT-18, ERR-3."""
    async with serve() as api:
        answer = await api.get(f"{path}?{query}")

    assert answer.status == 400
    assert query.partition("=")[0] in answer.error


async def test_a_query_of_very_many_parameters_is_refused():
    async with serve() as api:
        answer = await api.get("/v2/events?" + "a&" * 20_000)

    assert answer.status == 400
    assert answer.error
