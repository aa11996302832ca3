"""emulator/web/dlq.py: the dead letter queue (contract sections 18 and 20)."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import pytest

from emulator.core.model import Responded, Unreachable
from tests.doubles import T0
from tests.web.test_client import FAILS, HOOK, NOT_RETRYABLE, Answer, Api, serve

NO_RETRIES = [("Upstash-Retries", "0")]

NOT_FOUND = Responded(404, ("Content-Type", "text/plain"), b"404 Not Found")

OTHER = "http://localhost:3000/other"


async def read(api: Api, dlq_id: str) -> dict[str, Any]:
    answer = await api.get(f"/v2/dlq/{dlq_id}")
    assert answer.status == 200, answer.body
    value = answer.json
    assert isinstance(value, dict)
    return value


async def ids_of(api: Api, query: str = "") -> list[str]:
    return [entry["dlqId"] for entry in await api.dlq(query)]


async def delete(api: Api, query: str = "", body: bytes = b"") -> Answer:
    return await api.delete(f"/v2/dlq{query}", body=body)


async def retry(api: Api, query: str = "", **options: Any) -> Answer:
    return await api.post(f"/v2/dlq/retry{query}", **options)


async def fill(api: Api, count: int) -> list[str]:
    """Fail messages, a second between them, and return the entries' ids in order."""
    ids = []
    for _ in range(count):
        ids.append(await api.fail())
        await api.advance(by="1s")
    return ids


async def fail_many(api: Api, count: int) -> None:
    """Fail many messages at once."""
    body = json.dumps([{"destination": HOOK}] * count).encode()
    answer = await api.post("/v2/batch", body=body)
    assert answer.status == 200
    await api.settle()


# Read


async def test_an_entry_is_its_message_and_the_last_response():
    """DLQ-1, DLQ-2, DLQ-3, DLQ-5, DLQ-11, DLQ-12, FMT-8."""
    response = Responded(404, ("X-A", "1", "X-A", "2"), b"404 Not Found", "Not Found")
    async with serve(response) as api:
        message_id = await api.publish(
            "http://127.0.0.1:3000/api/hook",
            body=b"{}",
            headers=[*NO_RETRIES, ("Upstash-Method", "GET"), ("Upstash-Label", "a")],
        )
        await api.settle()
        listing = await api.get("/v2/dlq")
        (entry,) = listing.json["messages"]
        single = await read(api, entry["dlqId"])

    assert list(listing.json) == ["messages"]  # FMT-17: no cursor
    assert entry == {
        "dlqId": f"{T0}-0",
        "messageId": message_id,
        "url": "http://127.0.0.1:3000/api/hook",
        "method": "GET",
        "body": "{}",
        "maxRetries": 0,
        "notBefore": T0,
        "createdAt": T0,
        "callerIP": "127.0.0.1",
        "label": "a",
        "labels": ["a"],
        "responseStatus": 404,
        "responseHeader": {"X-A": ["1", "2"]},
        "responseBody": "404 Not Found",
    }
    assert single == entry


async def test_an_entry_without_a_response_has_status_0():
    """DLQ-2, DLV-16, Q-5."""
    async with serve(Unreachable("connection refused")) as api:
        dlq_id = await api.fail(headers=NO_RETRIES)
        entry = await read(api, dlq_id)

    assert entry["responseStatus"] == 0
    assert not {"responseHeader", "responseBody", "responseBodyBase64"} & set(entry)


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"", {}),
        ("né".encode(), {"responseBody": "né"}),
        (b"\xff", {"responseBodyBase64": "/w=="}),
    ],
)
async def test_a_response_body_is_shown_as_text_if_it_is_text(body, fields):
    """FMT-10, DLQ-2."""
    async with serve(Responded(500, (), body)) as api:
        entry = await read(api, await api.fail(headers=NO_RETRIES))

    assert {name: entry[name] for name in entry if "Body" in name} == fields


async def test_an_entry_keeps_what_was_configured():
    """DLQ-4."""
    async with serve(NOT_RETRYABLE) as api:
        message_id = await api.publish(
            headers=[
                ("Upstash-Label", "a,b"),
                ("Upstash-Retry-Delay", "1000"),
                ("Upstash-Timeout", "30s"),
                ("Upstash-Callback", OTHER),
                ("Upstash-Callback-Forward-X", "1"),
            ]
        )
        await api.settle()
        (entry,) = await api.dlq(f"?messageId={message_id}")

    assert entry["labels"] == ["a", "b"]
    assert entry["retryDelayExpression"] == "1000"
    assert entry["timeout"] == 30_000
    assert entry["callback"] == OTHER
    assert entry["callbackHeader"] == {"X": ["1"]}


async def test_an_entry_is_redacted_but_not_its_response():
    """DLQ-4, RED-6, RED-9."""
    async with serve(NOT_RETRYABLE) as api:
        dlq_id = await api.fail(
            body=b"secret",
            headers=[("Upstash-Redact-Fields", "body,header"), ("Content-Type", "a/b")],
        )
        entry = await read(api, dlq_id)

    assert entry["body"] == "REDACTED:" + sha256(b"secret").hexdigest()
    assert entry["header"] == {
        "Content-Type": ["REDACTED:" + sha256(b"a/b").hexdigest()]
    }
    assert entry["responseBody"] == "never"


async def test_an_empty_queue_is_an_empty_array():
    """DLQ-5."""
    async with serve() as api:
        answer = await api.get("/v2/dlq")

    assert answer.body == b'{"messages":[]}'


async def test_an_unknown_entry_is_not_found():
    """DLQ-12, DLQ-20, DLQ-30."""
    async with serve() as api:
        answers = [
            await api.get("/v2/dlq/1-0"),
            await api.delete("/v2/dlq/1-0"),
            await api.post("/v2/dlq/retry/1-0"),
            await api.get("/v2/dlq/nonsense"),
        ]

    assert [answer.status for answer in answers] == [404, 404, 404, 404]
    assert all(answer.error for answer in answers)


async def test_entries_are_listed_oldest_first_unless_asked_otherwise():
    """DLQ-6, C-21."""
    async with serve(NOT_RETRYABLE) as api:
        ids = await fill(api, 3)
        default = await ids_of(api)
        earliest = await ids_of(api, "?order=earliestFirst")
        latest = await ids_of(api, "?order=latestFirst")

    assert default == earliest == ids
    assert latest == ids[::-1]


@pytest.mark.parametrize("order", ["earliestFirst", "latestFirst"])
async def test_pages_follow_one_another_and_the_last_has_no_cursor(order):
    """DLQ-5, FMT-17: a new entry and one that goes don't shift what follows."""
    async with serve(NOT_RETRYABLE) as api:
        ids = await fill(api, 5)
        wanted = ids if order == "earliestFirst" else ids[::-1]
        first = (await api.get(f"/v2/dlq?count=2&order={order}")).json
        await api.delete(f"/v2/dlq/{wanted[1]}")
        newest = await api.fail()
        second = (
            await api.get(f"/v2/dlq?count=2&order={order}&cursor={first['cursor']}")
        ).json
        third = (
            await api.get(f"/v2/dlq?count=9&order={order}&cursor={second['cursor']}")
        ).json

    pages = [[each["dlqId"] for each in page["messages"]] for page in (first, second)]
    rest = [each["dlqId"] for each in third["messages"]]
    assert pages == [wanted[:2], wanted[2:4]]
    assert rest == wanted[4:] + ([newest] if order == "earliestFirst" else [])
    assert list(third) == ["messages"]


async def test_a_page_that_ends_with_the_last_entry_has_no_cursor():
    """FMT-17."""
    async with serve(NOT_RETRYABLE) as api:
        await fill(api, 2)
        answer = await api.get("/v2/dlq?count=2")

    assert list(answer.json) == ["messages"]


async def test_a_page_has_100_entries_at_most():
    """DLQ-7, FMT-18."""
    async with serve(NOT_RETRYABLE) as api:
        await fail_many(api, 101)
        default = (await api.get("/v2/dlq")).json
        clamped = (await api.get("/v2/dlq?count=1000")).json

    assert len(default["messages"]) == len(clamped["messages"]) == 100
    assert "cursor" in default
    assert "cursor" in clamped


FILTERS = {
    "by message": "messageId={message_id}",
    "by several messages": "messageId={message_id},other",
    "by id": "dlqIds={dlq_id}",
    "by several ids": "dlqIds=1-0&dlqIds={dlq_id}",
    "by id, whatever else": "dlqIds={dlq_id}&label=other&responseStatus=1",
    "by URL": "url=http%3A%2F%2Fa.example%2Fb%3Fc%2Cd",
    "by several URLs": "url=http://x&url=http://a.example/b%3Fc,d",
    "by label": "label=y",
    "by several labels": "label=z,x",
    "by caller": "callerIp=127.0.0.1&label=x",
    "by status": "responseStatus=489",
    "by several statuses": "responseStatus=1,489",
    "since": "fromDate={since}",
    "by nothing that counts": "api=llm&label=x",
}


@pytest.mark.parametrize("query", FILTERS.values(), ids=FILTERS)
async def test_entries_are_listed_by_filters(query):
    """DLQ-8, DLQ-9, DLQ-10, FMT-13, FMT-14, FMT-16."""
    async with serve(NOT_FOUND, NOT_RETRYABLE) as api:
        await api.fail(headers=NO_RETRIES)
        await api.advance(by="5s")
        message_id = await api.publish(
            "http://a.example/b?c,d", headers=[("Upstash-Label", "x,y")]
        )
        await api.settle()
        (entry,) = [each for each in await api.dlq() if each["messageId"] == message_id]
        found = await ids_of(
            api,
            "?"
            + query.format(
                message_id=message_id, dlq_id=entry["dlqId"], since=T0 + 5_000
            ),
        )

    assert found == [entry["dlqId"]]


async def test_dates_compare_with_when_the_entry_was_made():
    """DLQ-9: not with when the message was."""
    async with serve(FAILS) as api:
        message_id = await api.publish(
            headers=[("Upstash-Retries", "1"), ("Upstash-Retry-Delay", "60000")]
        )
        await api.advance(until="idle")
        early = await ids_of(api, f"?toDate={T0 + 59_999}")
        late = await ids_of(api, f"?fromDate={T0 + 60_000}&toDate={T0 + 60_000}")
        (entry,) = await api.dlq(f"?messageId={message_id}")

    assert early == []
    assert late == [entry["dlqId"]]


REFUSED = {
    "a typo": "labeel=x",
    "a typo with a count": "labeel=x&count=100",
    "a host": "host=a",
    "a path": "path=/",
    "a state": "state=FAILED",
    "many messages": "messageIds=x",
    "no count": "count=0",
    "a negative count": "count=-1",
    "a count in words": "count=x",
    "a status in words": "responseStatus=x",
    "a date in words": "fromDate=x",
    "a broken cursor": "cursor=x",
    "two cursors": "cursor=1-0&cursor=2-0",
}


@pytest.mark.parametrize("query", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("method", ["GET", "DELETE", "POST"])
async def test_a_doubtful_selection_lists_deletes_and_retries_nothing(method, query):
    """DLQ-10, DLQ-24, DLQ-37, ERR-3, FMT-18."""
    target = "/v2/dlq/retry" if method == "POST" else "/v2/dlq"
    async with serve(NOT_RETRYABLE) as api:
        dlq_id = await api.fail()
        answer = await api.call(method, f"{target}?{query}")
        left = await ids_of(api)

    assert answer.status == 400
    assert query.partition("=")[0] in answer.error
    assert left == [dlq_id]


@pytest.mark.parametrize("order", ["latest", "LATESTFIRST", "latestFirst,"])
async def test_an_unknown_order_is_refused(order):
    """DLQ-6, ERR-3."""
    async with serve() as api:
        answer = await api.get(f"/v2/dlq?order={order}")

    assert answer.status == 400
    assert "order" in answer.error


async def test_entries_are_kept_as_long_as_the_plan_says():
    """DLQ-39, LIM-6."""
    async with serve(NOT_RETRYABLE, quota="free") as api:
        dlq_id = await api.fail()
        await api.advance(to=T0 + 3 * 86_400_000 - 1)
        before = await ids_of(api)
        await api.advance(to=T0 + 3 * 86_400_000)
        after = await ids_of(api)
        answer = await api.get(f"/v2/dlq/{dlq_id}")

    assert (before, after) == ([dlq_id], [])
    assert answer.status == 404


# Delete


async def test_an_entry_is_deleted_once():
    """DLQ-20, BASE-11."""
    async with serve(NOT_RETRYABLE) as api:
        dlq_id = await api.fail()
        first = await api.delete(f"/v2/dlq/{dlq_id}")
        second = await api.delete(f"/v2/dlq/{dlq_id}")
        read_again = await api.get(f"/v2/dlq/{dlq_id}")

    assert (first.status, first.body) == (200, b"")
    assert (second.status, read_again.status) == (404, 404)


@pytest.mark.parametrize("in_body", [False, True])
async def test_entries_are_deleted_by_their_ids(in_body):
    """DLQ-21, DLQ-22: what isn't there is passed over."""
    async with serve(NOT_RETRYABLE) as api:
        first, second, third = await fill(api, 3)
        wanted = [first, "1-0", third, first]
        if in_body:
            body = json.dumps({"dlqIds": wanted}).encode()
            answer = await delete(api, body=body)
        else:
            query = "&".join(f"dlqIds={dlq_id}" for dlq_id in wanted)
            answer = await delete(api, f"?{query}")
        left = await ids_of(api)

    assert answer.status == 200
    assert answer.json == {"deleted": 2}
    assert left == [second]


async def test_more_than_a_page_is_deleted_by_ids():
    """DLQ-22: the page's maximum is for filters."""
    async with serve(NOT_RETRYABLE) as api:
        await fail_many(api, 101)
        first = (await api.get("/v2/dlq")).json
        ids = [entry["dlqId"] for entry in first["messages"]]
        ids += await ids_of(api, f"?cursor={first['cursor']}")
        answer = await delete(api, body=json.dumps({"dlqIds": ids}).encode())

    assert answer.json == {"deleted": 101}


async def test_a_query_wins_over_a_body():
    """DLQ-21, as MSG-21."""
    async with serve(NOT_RETRYABLE) as api:
        first, second = await fill(api, 2)
        body = json.dumps({"dlqIds": [second]}).encode()
        await delete(api, f"?dlqIds={first}", body)
        left = await ids_of(api)

    assert left == [second]


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("?label=x", b""),
        ("", b'{"label":["x"]}'),
        ("?label=x&count=100", b""),
        ("?responseStatus=489&label=x", b""),
    ],
)
async def test_entries_are_deleted_by_filters(query, body):
    """DLQ-23."""
    async with serve(NOT_RETRYABLE) as api:
        other = await api.fail()
        await api.fail(headers=[("Upstash-Label", "x")])
        answer = await delete(api, query, body)
        left = await ids_of(api)

    assert answer.json == {"deleted": 1}
    assert left == [other]


async def test_a_deletion_that_leaves_matches_says_where_to_go_on():
    """DLQ-23, DLQ-25."""
    async with serve(NOT_RETRYABLE) as api:
        ids = await fill(api, 3)
        first = (await delete(api, "?count=2")).json
        left = await ids_of(api)
        second = (await delete(api, f"?count=2&cursor={first['cursor']}")).json

    assert first["deleted"] == 2
    assert left == ids[2:]
    assert second == {"deleted": 1}


@pytest.mark.parametrize(
    ("query", "body"),
    [("", b""), ("", b"{}"), ("", b'{"dlqIds":[]}'), ("?count=100", b"")],
)
async def test_without_a_selection_a_hundred_are_deleted(query, body):
    """DLQ-23, DLQ-26."""
    async with serve(NOT_RETRYABLE) as api:
        await fail_many(api, 101)
        answer = await delete(api, query, body)
        left = await ids_of(api)

    assert answer.json["deleted"] == 100
    assert answer.json["cursor"]
    assert len(left) == 1


@pytest.mark.parametrize("query", ["", "?label=x", "?count=5", "?dlqIds=1-0"])
async def test_a_deletion_that_matches_nothing_has_no_cursor(query):
    """DLQ-25."""
    async with serve() as api:
        answer = await delete(api, query)

    assert answer.status == 200
    assert answer.body == b'{"deleted":0}'


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b'{"dlqId":["1-0"]}', b'{"dlqIds":null}', b'{"label":""}', b"\xff"],
)
async def test_a_doubtful_body_deletes_nothing(body):
    """DLQ-24: it could mean everything."""
    async with serve(NOT_RETRYABLE) as api:
        dlq_id = await api.fail()
        answer = await delete(api, body=body)
        left = await ids_of(api)

    assert answer.status == 400
    assert answer.error
    assert left == [dlq_id]


# Retry


async def test_a_retry_makes_a_new_message_of_an_entry():
    """DLQ-30, DLQ-33, LOG-29."""
    async with serve(NOT_RETRYABLE, Responded(200)) as api:
        dlq_id = await api.fail(
            "http://a/?b=%2F",
            body=b"\xff",
            headers=[("Content-Type", "a/b"), ("Upstash-Forward-X", "1")],
        )
        old = await read(api, dlq_id)
        answer = await api.post(f"/v2/dlq/retry/{dlq_id}")
        await api.settle()
        again = await api.post(f"/v2/dlq/retry/{dlq_id}")
        first, second = api.transport.requests

        assert answer.status == 201
        assert list(answer.json) == ["messageId"]
        assert answer.json["messageId"] != old["messageId"]
        assert again.status == 404
        assert await ids_of(api) == []
        assert await api.states(answer.json["messageId"]) == [
            "CREATED",
            "ACTIVE",
            "DELIVERED",
        ]

    changing = {"Upstash-Message-Id", "Upstash-Signature"}
    before, after = (
        [pair for pair in request.headers if pair[0] not in changing]
        for request in (first, second)
    )
    assert (second.method, second.url, second.body) == (
        "POST",
        "http://a/?b=%2F",
        b"\xff",
    )
    assert after == before
    assert ("Upstash-Retried", "0") in after


async def test_a_retried_message_has_all_its_retries_again():
    """DLQ-33."""
    async with serve(FAILS) as api:
        await api.publish(headers=[("Upstash-Retries", "2")])
        await api.advance(until="idle")
        (dlq_id,) = await ids_of(api)
        answer = await api.post(f"/v2/dlq/retry/{dlq_id}")
        message = (await api.get(f"/v2/messages/{answer.json['messageId']}")).json
        await api.advance(until="idle")
        retried = [
            dict(request.headers)["Upstash-Retried"]
            for request in api.transport.requests
        ]

    assert message["maxRetries"] == 2
    assert retried == ["0", "1", "2", "0", "1", "2"]


async def test_entries_are_retried_by_their_ids():
    """DLQ-31, DLQ-32: what isn't there is passed over."""
    async with serve(*[NOT_RETRYABLE] * 3, Responded(200)) as api:
        first, second, third = await fill(api, 3)
        answer = await retry(api, f"?dlqIds={third},1-0&dlqIds={first}&dlqIds={first}")
        left = await ids_of(api)

    assert answer.status == 201
    assert [list(each) for each in answer.json["responses"]] == [["messageId"]] * 2
    assert not answer.json.get("cursor")
    assert left == [second]


async def test_one_entry_may_be_retried_as_javascript_does_it():
    """DLQ-31, SDK-3."""
    async with serve(NOT_RETRYABLE, Responded(200)) as api:
        dlq_id = await api.fail()
        answer = await retry(api, f"?dlqIds={dlq_id}")

    assert answer.status == 201
    assert len(answer.json["responses"]) == 1


async def test_ids_of_which_none_is_there_are_not_found():
    """DLQ-32."""
    async with serve() as api:
        answer = await retry(api, "?dlqIds=1-0&dlqIds=2-0")

    assert answer.status == 404
    assert answer.error


@pytest.mark.parametrize(
    "name",
    [
        *("messageId", "url", "topicName", "scheduleId", "queueName", "label"),
        *("flowControlKey", "callerIp", "responseStatus", "fromDate", "toDate"),
    ],
)
async def test_filters_that_match_nothing_succeed(name):
    """DLQ-32."""
    value = {"fromDate": T0 + 1, "toDate": 1, "responseStatus": 1}.get(name, "x")
    async with serve(NOT_RETRYABLE) as api:
        await api.fail()
        answer = await retry(api, f"?{name}={value}&count=100")

    assert answer.status == 201
    assert answer.json["responses"] == []


async def test_a_retry_by_filter_takes_the_oldest_and_says_where_to_go_on():
    """DLQ-31, DLQ-37."""
    async with serve(*[NOT_RETRYABLE] * 3, Responded(200)) as api:
        ids = await fill(api, 3)
        first = await retry(api, "?count=2")
        left = await ids_of(api)
        second = await retry(api, f"?count=2&cursor={first.json['cursor']}")

    assert len(first.json["responses"]) == 2
    assert left == ids[2:]
    assert len(second.json["responses"]) == 1
    assert not second.json.get("cursor")


async def test_a_retry_takes_a_hundred_at_most():
    """DLQ-37."""
    async with serve(NOT_RETRYABLE) as api:
        await fail_many(api, 101)
        answer = await retry(api, "?count=1000")

    assert len(answer.json["responses"]) == 100
    assert answer.json["cursor"]


OVERRIDES = {
    "headers": ("", [("Upstash-Retries", "0"), ("Upstash-Delay", "1h")]),
    "parameters": ("upstash-retries=0&Upstash-Delay=1h", []),
}


@pytest.mark.parametrize(("query", "headers"), OVERRIDES.values(), ids=OVERRIDES)
@pytest.mark.parametrize("is_single", [False, True])
async def test_a_retry_call_may_override_the_configuration(query, headers, is_single):
    """DLQ-34, HDR-2: and the rest stays (DLQ-35)."""
    async with serve(NOT_RETRYABLE) as api:
        dlq_id = await api.fail(
            headers=[("Upstash-Label", "a"), ("Upstash-Retries", "5")], body=b"old"
        )
        if is_single:
            target = f"/v2/dlq/retry/{dlq_id}?{query}".removesuffix("?")
        else:
            target = f"/v2/dlq/retry?dlqIds={dlq_id}&{query}".removesuffix("&")
        answer = await api.post(
            target, headers=[*headers, ("Content-Type", "x/y")], body=b"new"
        )
        receipt = answer.json if is_single else answer.json["responses"][0]
        message = (await api.get(f"/v2/messages/{receipt['messageId']}")).json

    assert answer.status == 201
    assert message["maxRetries"] == 0
    assert message["notBefore"] == T0 + 3_600_000
    assert message["labels"] == ["a"]
    assert message["body"] == "old"
    assert "header" not in message


@pytest.mark.parametrize(
    "headers",
    [
        [("Upstash-Retries", "x")],
        [("Upstash-Delay", "1")],
        [("Upstash-Delay", "9999d")],
        [("Upstash-Callback", "x")],
    ],
)
async def test_a_broken_override_retries_nothing(headers):
    """DLQ-34, PUB-30."""
    async with serve(NOT_RETRYABLE) as api:
        dlq_id = await api.fail()
        single = await api.post(f"/v2/dlq/retry/{dlq_id}", headers=headers)
        bulk = await retry(api, headers=headers)
        left = await ids_of(api)

    assert (single.status, bulk.status) == (400, 400)
    assert left == [dlq_id]


async def test_a_retried_message_is_not_deduplicated():
    """DLQ-35, DED-11."""
    async with serve(NOT_RETRYABLE, Responded(200)) as api:
        dlq_id = await api.fail(headers=[("Upstash-Deduplication-Id", "once")])
        answer = await api.post(f"/v2/dlq/retry/{dlq_id}")
        await api.settle()

        assert answer.status == 201
        assert "deduplicated" not in answer.json
        assert len(api.transport.requests) == 2


async def test_a_retry_delivers_the_originals_of_what_is_redacted():
    """DLQ-36, RED-6."""
    async with serve(NOT_RETRYABLE, Responded(200)) as api:
        dlq_id = await api.fail(
            body=b"secret", headers=[("Upstash-Redact-Fields", "body")]
        )
        answer = await api.post(f"/v2/dlq/retry/{dlq_id}")
        message = (await api.get(f"/v2/messages/{answer.json['messageId']}")).json
        await api.settle()

        assert api.transport.requests[1].body == b"secret"
        assert message["body"] == "REDACTED:" + sha256(b"secret").hexdigest()


async def test_a_retry_that_fails_again_makes_another_entry():
    """DLQ-1, DLQ-33."""
    async with serve(NOT_RETRYABLE) as api:
        first = await api.fail()
        await api.post(f"/v2/dlq/retry/{first}")
        await api.settle()
        (second,) = await ids_of(api)

    assert second != first


async def test_a_failure_callback_names_an_entry_that_is_there():
    """CBK-20, CBK-25."""
    async with serve(NOT_RETRYABLE, Responded(200)) as api:
        await api.publish(headers=[("Upstash-Failure-Callback", OTHER)], body=b"x")
        await api.settle()
        (dlq_id,) = await ids_of(api)
        callback = api.transport.requests[1]

    assert callback.url == OTHER
    assert json.loads(callback.body)["dlqId"] == dlq_id
