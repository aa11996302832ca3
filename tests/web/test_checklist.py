"""Where a naive emulator fails: the contract's checklist (section 27), item by item."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Any

import jwt
import pytest
from qstash.log import LogState

from emulator.core.model import Responded
from emulator.engine.clock import real_now_ms
from emulator.settings import DEV_USERS
from tests.doubles import T0, Hang
from tests.web.test_client import FAILS, HOOK, NOT_RETRYABLE, Api, serve

CALLBACK = "http://localhost:3000/callback"

EVERY_MINUTE = ("Upstash-Cron", "* * * * *")

NOT_FOUND = Responded(404, ("Content-Type", "text/plain"), b"404 Not Found")


async def shown(api: Api, target: str) -> dict[str, Any]:
    """Read an object. ``Answer.json`` fails for any null in it."""
    answer = await api.get(target)
    assert answer.status == 200, answer.body
    value = answer.json
    assert isinstance(value, dict)
    return value


async def message(api: Api, message_id: str) -> dict[str, Any]:
    return await shown(api, f"/v2/messages/{message_id}")


async def schedule(api: Api, *headers: tuple[str, str]) -> str:
    """Create a schedule and return its path."""
    answer = await api.post(f"/v2/schedules/{HOOK}", headers=[EVERY_MINUTE, *headers])
    assert answer.status == 200, answer.body
    return f"/v2/schedules/{answer.json['scheduleId']}"


async def add_group(api: Api, *urls: str) -> None:
    body = json.dumps({"endpoints": [{"url": url} for url in urls]}).encode()
    await api.post("/v2/topics/g/endpoints", body=body)


async def batch(api: Api, *entries: dict[str, Any]) -> Any:
    return await api.post("/v2/batch", body=json.dumps(entries).encode())


async def test_01_a_destination_keeps_its_escapes_slashes_and_query():
    """BASE-3."""
    url = "https://ex.com/a%2Fb//c?u=https://z.com/?q=1"
    async with serve() as api:
        message_id = await api.publish(url)
        await api.settle()

        assert (await message(api, message_id))["url"] == url
        assert [request.url for request in api.transport.requests] == [url]


async def test_02_a_url_group_and_a_batch_are_answered_with_arrays():
    """PUB-41, BAT-5."""
    async with serve() as api:
        await add_group(api, HOOK)
        published = (await api.post("/v2/publish/g")).json
        of_one = (await batch(api, {"destination": HOOK})).json
        of_group = (await batch(api, {"destination": "g"})).json

    assert [each["url"] for each in published] == [HOOK]
    assert [list(each) for each in of_one] == [["messageId"]]
    assert [[each["url"] for each in entry] for entry in of_group] == [[HOOK]]


async def test_03_a_cancelled_message_is_spelled_with_one_l():
    """LOG-20, LOG-21: Python's SDK raises for any other word."""
    async with serve() as api:
        message_id = await api.publish(headers=[("Upstash-Delay", "1h")])
        await api.delete(f"/v2/messages/{message_id}")
        states = await api.states(message_id)

    assert states[-1] == "CANCELED"
    assert [LogState(state).value for state in states] == states


async def test_04_what_is_zero_or_false_is_there():
    """MSG-2, DLQ-2, SCH-20, QUE-1."""
    async with serve(Hang()) as api:
        message_id = await api.publish(
            headers=[("Upstash-Retries", "0"), ("Upstash-Timeout", "1s")]
        )
        read = await message(api, message_id)
        await api.advance(by="1s")
        (entry,) = await api.dlq()
        planned = await shown(api, await schedule(api, ("Upstash-Retries", "0")))
        await api.post("/v2/queues", body=b'{"queueName":"q"}')
        queue = await shown(api, "/v2/queues/q")

    assert (read["maxRetries"], read["notBefore"]) == (0, T0)
    assert (entry["maxRetries"], entry["responseStatus"]) == (0, 0)
    assert (planned["retries"], planned["isPaused"]) == (0, False)
    assert (queue["lag"], queue["paused"]) == (0, False)


async def test_05_nothing_is_null_or_empty():
    """BASE-12, SCH-20, MSG-2: Python's SDK asks whether a key is there."""
    async with serve() as api:
        planned = await shown(api, await schedule(api))
        read = await message(api, await api.publish())

    assert "lastScheduleStates" not in planned
    assert "flowControlKey" not in read
    assert [value for value in (planned | read).values() if value in ("", [], {})] == []


@pytest.mark.parametrize("method", ["PATCH", "POST"])
async def test_06_a_schedule_is_paused_by_patch_as_well_as_by_post(method):
    """SCH-40."""
    async with serve() as api:
        path = await schedule(api)
        paused = await api.call(method, path + "/pause")
        was_paused = (await shown(api, path))["isPaused"]
        resumed = await api.call(method, path + "/resume")

        assert (paused.status, resumed.status) == (200, 200)
        assert was_paused is True
        assert (await shown(api, path))["isPaused"] is False


@pytest.mark.parametrize(("value", "count"), [("True", 1), ("False", 2)])
async def test_07_booleans_are_read_as_python_writes_them(value, count):
    """FMT-5."""
    headers = [("Upstash-Content-Based-Deduplication", value)]
    async with serve() as api:
        answers = [await api.post(f"/v2/publish/{HOOK}", headers=headers) for _ in "ab"]

    assert len({answer.json["messageId"] for answer in answers}) == count


async def test_08_a_delivered_message_can_still_be_read():
    """MSG-8."""
    async with serve() as api:
        message_id = await api.publish(headers=[("Upstash-Label", "l")])
        await api.settle()

        assert (await api.states(message_id))[-1] == "DELIVERED"
        assert (await message(api, message_id))["label"] == "l"


async def test_09_what_is_finished_or_cancelled_is_not_cancelled_again():
    """MSG-24."""
    async with serve() as api:
        await api.publish()
        ids = [await api.publish(headers=[("Upstash-Delay", "1h")]) for _ in range(3)]
        await api.settle()
        two = await api.delete(f"/v2/messages?messageIds={ids[0]}&messageIds={ids[1]}")
        rest = await api.delete("/v2/messages")

    assert two.json == {"cancelled": 2}
    assert rest.json == {"cancelled": 1}


async def test_10_a_cancellation_is_answered_with_json():
    """MSG-14."""
    async with serve() as api:
        message_id = await api.publish(headers=[("Upstash-Delay", "1h")])
        answer = await api.delete(f"/v2/messages/{message_id}")

    assert (answer.status, answer.json) == (200, {"cancelled": 1})


async def test_11_there_is_no_cursor_at_the_end():
    """FMT-17, DLQ-25."""
    async with serve(NOT_RETRYABLE) as api:
        await api.fail()
        pages = [
            await api.get("/v2/events"),
            await api.get("/v2/logs"),
            await api.get("/v2/dlq"),
            await api.get("/v2/events?messageId=nobody"),
            await api.delete("/v2/dlq"),
            await api.delete("/v2/dlq?label=nobody"),
        ]

    assert [list(page.json) for page in pages] == [
        ["events"],
        ["logs"],
        ["messages"],
        ["events"],
        ["deleted"],
        ["deleted"],
    ]


async def test_12_a_misspelled_filter_deletes_nothing():
    """DLQ-24."""
    async with serve(NOT_RETRYABLE) as api:
        await api.fail(headers=[("Upstash-Label", "a")])
        answer = await api.delete("/v2/dlq?labeel=b&count=100")

        assert answer.status == 400
        assert "labeel" in answer.error
        assert len(await api.dlq()) == 1


@pytest.mark.parametrize("is_query", [True, False])
async def test_13_a_selection_is_read_from_the_query_and_from_the_body(is_query):
    """MSG-21, DLQ-21."""

    async def delete(path: str, name: str, id: str) -> Any:
        body = json.dumps({name: [id]}).encode()
        if is_query:
            return await api.delete(f"{path}?{name}={id}")
        return await api.delete(path, body=body)

    async with serve(NOT_RETRYABLE) as api:
        dlq_id = await api.fail()
        await api.fail()
        message_id = await api.publish(headers=[("Upstash-Delay", "1h")])
        await api.publish(headers=[("Upstash-Delay", "1h")])
        cancelled = await delete("/v2/messages", "messageIds", message_id)
        deleted = await delete("/v2/dlq", "dlqIds", dlq_id)

        assert cancelled.json == {"cancelled": 1}
        assert deleted.json == {"deleted": 1}
        assert len(await api.dlq()) == 1


async def test_14_the_last_failure_is_followed_by_no_retry():
    """LOG-23: four entries for a message without retries."""
    async with serve(FAILS) as api:
        message_id = await api.publish(headers=[("Upstash-Retries", "0")])
        await api.advance(until="idle")

        assert await api.states(message_id) == ["CREATED", "ACTIVE", "ERROR", "FAILED"]


async def test_15_what_has_two_spellings_is_sent_in_both():
    """LOG-14, LOG-15, SCH-26."""
    async with serve(NOT_FOUND) as api:
        await api.publish(
            headers=[("Upstash-Retries", "0"), ("Upstash-Retry-Delay", "15000")]
        )
        await api.settle()
        (entry,) = await api.events("?state=ERROR")
        planned = await shown(api, await schedule(api))

    assert entry["retryDelayExpr"] == entry["retryDelayExpression"] == "15000"
    assert entry["responseHeader"] == entry["responseHeaders"]
    assert entry["responseHeader"] == {"Content-Type": ["text/plain"]}
    assert planned["callerIP"] == planned["callerIp"] == "127.0.0.1"


@pytest.mark.parametrize(
    ("value", "period"),
    [
        ("", 1),
        ("parallelism=5", 1),
        ("rate=1, period=2", 2),
        ("rate=1, period=1d", 86400),
    ],
)
async def test_16_the_period_is_a_number_and_there_with_every_key(value, period):
    """MSG-4."""
    headers = [
        ("Upstash-Flow-Control-Key", "k"),
        ("Upstash-Flow-Control-Value", value),
        ("Upstash-Delay", "1h"),
    ]
    async with serve() as api:
        read = await message(api, await api.publish(headers=headers))

    assert read["period"] == period


async def test_17_the_header_map_has_canonical_names_and_no_configuration():
    """FMT-7, FMT-9, ENV-13."""
    headers = [
        ("content-type", "text/plain"),
        ("upstash-forward-bypass-tunnel-reminder", "true"),
        ("upstash-retries", "1"),
        ("Upstash-Telemetry-Sdk", "sdk"),
        ("User-Agent", "sdk"),
    ]
    async with serve() as api:
        read = await message(api, await api.publish(headers=headers))

    assert read["header"] == {
        "Content-Type": ["text/plain"],
        "Bypass-Tunnel-Reminder": ["true"],
    }


async def test_18_no_content_type_is_made_up():
    """HDR-20."""
    async with serve() as api:
        message_id = await api.publish(body=b'{"a":1}')
        read = await message(api, message_id)
        await api.settle()
        (request,) = api.transport.requests

    assert "header" not in read
    assert "Content-Type" not in dict(request.headers)


async def test_19_a_signature_has_the_claims_that_receivers_check():
    """SIG-5, SIG-6, SIG-8, SIG-10, SIG-11."""
    url = "HTTP://Localhost:80"
    before_s = real_now_ms() // 1000
    async with serve() as api:
        await api.publish(url, body=b"x")
        await api.settle()
        (request,) = api.transport.requests
    token = dict(request.headers)["Upstash-Signature"]
    claims = jwt.decode(token, DEV_USERS[0].keys.current, ["HS256"], issuer="Upstash")

    assert claims["nbf"] == 0
    assert before_s <= claims["iat"] <= real_now_ms() // 1000
    assert claims["exp"] == claims["iat"] + 300
    assert claims["aud"] == ""
    assert claims["sub"] == url
    assert claims["body"] == urlsafe_b64encode(sha256(b"x").digest()).decode()


async def test_20_retried_is_0_before_the_first_retry():
    """RTY-13: ``1000 * retried`` retries the first time at once."""
    headers = [("Upstash-Retry-Delay", "1000 * retried"), ("Upstash-Retries", "2")]
    async with serve(FAILS) as api:
        message_id = await api.publish(headers=headers)
        await api.advance(until="idle")
        events = await api.events(
            f"?messageId={message_id}&state=RETRY&order=earliestFirst"
        )

    assert [each["nextDeliveryTime"] - each["time"] for each in events] == [0, 1000]


async def test_21_the_keys_are_those_that_dev_mode_expects():
    """ENV-7, ENV-9, ENV-11, KEY-3: until somebody rotates them."""
    async with serve() as api:
        keys = (await api.get("/v2/keys")).json
        rotated = (await api.post("/v2/keys/rotate")).json
        await api.post("/_qemu/reset", user=None)
        restored = (await api.get("/v2/keys")).json

    assert keys == restored
    assert keys == {
        "current": "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r",
        "next": "sig_5ZB6DVzB1wjE8S6rZ7eenA8Pdnhs",
    }
    assert rotated["current"] == keys["next"]


async def test_22_the_dlq_entry_is_there_when_the_failure_callback_is_sent():
    """CBK-25."""
    async with serve(NOT_RETRYABLE, Hang()) as api:
        await api.publish(headers=[("Upstash-Failure-Callback", CALLBACK)])
        await api.settle()
        payload = json.loads(api.transport.requests[-1].body)
        entry = await shown(api, f"/v2/dlq/{payload['dlqId']}")

        assert api.transport.in_flight == 1
        assert entry["messageId"] == payload["sourceMessageId"]


async def test_23_a_queue_waits_for_the_retries_and_the_callbacks_of_its_head():
    """QUE-12, QUE-13."""
    headers = [
        ("Upstash-Retry-Delay", "60000"),
        ("Upstash-Callback", CALLBACK),
        ("Upstash-Callback-Retry-Delay", "60000"),
    ]
    # The head; its callback; the head again; its callback, which fails at first.
    script = [FAILS, Responded(200), Responded(200), FAILS, Responded(200)]
    async with serve(*script) as api:
        await api.post(f"/v2/enqueue/q/{HOOK}", headers=headers, body=b"head")
        await api.post(f"/v2/enqueue/q/{HOOK}", body=b"next")
        await api.advance(by="119s")
        before = [request.url for request in api.transport.requests]
        await api.advance(by="1s")
        *_, last_callback, last = api.transport.requests

    assert before == [HOOK, CALLBACK, HOOK, CALLBACK]
    assert (last_callback.url, last.body) == (CALLBACK, b"next")


async def test_24_deleting_what_is_not_there_is_an_error_of_the_dlq_only():
    """QUE-7, UGR-9, SCH-23, DLQ-20."""
    paths = ("/v2/queues/x", "/v2/topics/x", "/v2/schedules/x", "/v2/dlq/x")
    async with serve() as api:
        statuses = [(await api.delete(path)).status for path in paths]

    assert statuses == [200, 200, 200, 404]


@pytest.mark.parametrize("path", ["/v2/events", "/v2/logs"])
async def test_25_a_page_of_the_log_has_a_thousand_entries(path):
    """LOG-4."""
    entries = [{"destination": HOOK, "headers": {"Upstash-Delay": "1h"}}] * 1001
    async with serve() as api:
        await batch(api, *entries)
        default = (await api.get(path)).json
        most = (await api.get(f"{path}?count=5000")).json

    (key,) = (name for name in default if name != "cursor")
    assert (len(default[key]), len(most[key])) == (1000, 1000)


async def test_26_a_forwarded_name_may_begin_with_upstash():
    """HDR-31: and loses its first prefix only."""
    headers = [("Upstash-Forward-Upstash-Workflow-Step", "1")]
    async with serve() as api:
        message_id = await api.publish(headers=headers)
        await api.settle()
        (request,) = api.transport.requests

        assert ("Upstash-Workflow-Step", "1") in request.headers
        assert (await message(api, message_id))["header"] == {
            "Upstash-Workflow-Step": ["1"]
        }


async def test_27_a_burst_is_not_taken_for_the_end_of_the_day():
    """ERR-9."""
    async with serve() as api:
        await api.post("/_qemu/rate-limit", user=None, body=b'{"kind":"burst"}')
        answer = await api.get("/v2/queues")

    assert answer.status == 429
    assert "Burst-RateLimit-Limit" in answer.headers
    assert "RateLimit-Limit" not in answer.headers


async def test_28_a_batch_with_one_mistake_publishes_nothing():
    """BAT-7."""
    wrong = {"destination": HOOK, "headers": {"Upstash-Retries": "x"}}
    async with serve() as api:
        answer = await batch(api, {"destination": HOOK}, wrong)

        assert answer.status == 400
        assert await api.is_untouched()


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:3000",
        "http://127.0.0.1/a",
        "http://[::1]:3000/",
        "http://10.0.0.1",
        "http://does-not-resolve.invalid",
    ],
)
async def test_29_a_destination_may_be_on_this_machine(url):
    """PUB-6."""
    async with serve() as api:
        await api.publish(url)
        await api.settle()

        assert [request.url for request in api.transport.requests] == [url]


async def test_30_a_schedule_of_a_known_id_is_replaced_not_merged():
    """SCH-8."""
    same = ("Upstash-Schedule-Id", "s")
    async with serve() as api:
        for options, body in (
            ([("Upstash-Retries", "7"), ("Upstash-Label", "l")], b"x"),
            ([], b""),
        ):
            await api.post(
                f"/v2/schedules/{HOOK}",
                headers=[EVERY_MINUTE, same, *options],
                body=body,
            )
        planned = await shown(api, "/v2/schedules/s")

    assert planned["retries"] == 3
    assert "body" not in planned
    assert "label" not in planned
