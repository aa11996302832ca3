"""emulator/web/schedules.py: schedules over HTTP (contract section 16)."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from emulator.core.model import Responded, Unreachable
from tests.doubles import T0, Hang
from tests.web.test_client import FAILS, HOOK, NOT_RETRYABLE, Answer, Api, serve

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

FIRST_MS = T0 - T0 % MINUTE_MS + MINUTE_MS
"""The first full minute after T0, which is 22:13:20."""

EVERY_MINUTE = ("Upstash-Cron", "* * * * *")

JSON = ("Content-Type", "application/json")


async def create(
    api: Api, destination: str = HOOK, *headers: tuple[str, str], **options: Any
) -> str:
    """Create a schedule that fires every minute unless told otherwise."""
    given = {name for name, _ in headers}
    cron = [] if "Upstash-Cron" in given else [EVERY_MINUTE]
    answer = await api.post(
        f"/v2/schedules/{destination}", headers=[*cron, *headers], **options
    )
    assert answer.status == 200, answer.body
    schedule_id = answer.json["scheduleId"]
    assert isinstance(schedule_id, str)
    return schedule_id


async def read(api: Api, schedule_id: str) -> dict[str, Any]:
    answer = await api.get(f"/v2/schedules/{schedule_id}")
    assert answer.status == 200, answer.body
    schedule = answer.json
    assert isinstance(schedule, dict)
    return schedule


async def listed(api: Api, **options: Any) -> list[str]:
    schedules = (await api.get("/v2/schedules", **options)).json
    return [schedule["scheduleId"] for schedule in schedules]


async def next_ms(api: Api, cron: str, at: str) -> int:
    """Turn the clock to an instant in UTC, and say when a new schedule would fire."""
    to_ms = int(datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp()) * 1000
    await api.advance(to=to_ms)
    schedule = await read(api, await create(api, HOOK, ("Upstash-Cron", cron)))
    value = schedule["nextScheduleTime"]
    assert isinstance(value, int)
    return value


def utc(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


def calls(api: Api) -> int:
    return len(api.transport.requests)


async def messages_of(api: Api, schedule_id: str) -> list[dict[str, Any]]:
    """Return the messages that a schedule has made, oldest first."""
    events = await api.events(
        f"?scheduleId={schedule_id}&state=CREATED&order=earliestFirst"
    )
    answers = [await api.get(f"/v2/messages/{each['messageId']}") for each in events]
    return [answer.json for answer in answers]


# Create


async def test_a_new_schedule_is_answered_with_its_id():
    """SCH-1, SCH-10, FMT-1, FMT-2."""
    async with serve() as api:
        answer = await api.post(f"/v2/schedules/{HOOK}", headers=[EVERY_MINUTE])

    assert answer.status == 200
    assert list(answer.json) == ["scheduleId"]
    assert re.fullmatch("scd_[1-9A-HJ-NP-Za-km-z]{28}", answer.json["scheduleId"])


async def test_the_plainest_schedule_has_ten_fields():
    """SCH-20, SCH-21, SCH-26, SCH-30, BASE-12: no state of a firing before the
    first."""
    async with serve() as api:
        schedule_id = await create(api)
        schedule = await read(api, schedule_id)

    assert schedule == {
        "scheduleId": schedule_id,
        "cron": "* * * * *",
        "destination": HOOK,
        "createdAt": T0,
        "method": "POST",
        "isPaused": False,
        "retries": 3,
        "callerIP": "127.0.0.1",
        "callerIp": "127.0.0.1",
        "nextScheduleTime": FIRST_MS,
    }


async def test_a_schedule_shows_all_that_was_configured():
    """SCH-16, SCH-20, SCH-24, SCH-25, CBK-16, Q-16: delay and timeout in seconds."""
    async with serve() as api:
        schedule_id = await create(
            api,
            HOOK,
            JSON,
            ("Upstash-Schedule-Id", "nightly.job_1-a"),
            ("Upstash-Method", "put"),
            ("Upstash-Retries", "0"),
            ("Upstash-Delay", "1h10s"),
            ("Upstash-Timeout", "1m30s"),
            ("Upstash-Retry-Delay", "1000 * retried"),
            ("Upstash-Forward-Test-Header", "test-value"),
            ("Upstash-Callback", "http://localhost/cb"),
            ("Upstash-Callback-Forward-X", "1"),
            ("Upstash-Failure-Callback", "http://localhost/failed"),
            ("Upstash-Failure-Callback-Forward-X", "2"),
            ("Upstash-Queue-Name", "q"),
            ("Upstash-Flow-Control-Key", "k"),
            ("Upstash-Flow-Control-Value", "parallelism=2, rate=3, period=1d"),
            ("Upstash-Label", "a,b"),
            body=b'{"hello":"world"}',
        )
        schedule = await read(api, schedule_id)

    assert schedule == {
        "scheduleId": "nightly.job_1-a",
        "cron": "* * * * *",
        "destination": HOOK,
        "createdAt": T0,
        "method": "PUT",
        "isPaused": False,
        "retries": 0,
        "callerIP": "127.0.0.1",
        "callerIp": "127.0.0.1",
        "nextScheduleTime": FIRST_MS,
        "header": {
            "Content-Type": ["application/json"],
            "Test-Header": ["test-value"],
        },
        "body": '{"hello":"world"}',
        "delay": 3_610,
        "timeout": 90,
        "retryDelayExpression": "1000 * retried",
        "callback": "http://localhost/cb",
        "callbackHeader": {"X": ["1"]},
        "failureCallback": "http://localhost/failed",
        "failureCallbackHeader": {"X": ["2"]},
        "queueName": "q",
        "flowControlKey": "k",
        "parallelism": 2,
        "rate": 3,
        "period": 86_400,
        "label": "a",
        "labels": ["a", "b"],
    }


@pytest.mark.parametrize(
    ("value", "fields"),
    [
        ("parallelism=5", {"parallelism": 5, "period": 1}),
        ("rate=23, period=1h30m3s", {"rate": 23, "period": 5_403}),
        ("", {"period": 1}),
    ],
)
async def test_a_limit_that_is_not_configured_is_left_out(value, fields):
    """SCH-24, HDR-7."""
    async with serve() as api:
        schedule_id = await create(
            api,
            HOOK,
            ("Upstash-Flow-Control-Key", "k"),
            ("Upstash-Flow-Control-Value", value),
        )
        schedule = await read(api, schedule_id)

    limits = ("flowControlKey", "parallelism", "rate", "period")
    assert {name: schedule[name] for name in limits if name in schedule} == {
        "flowControlKey": "k"
    } | fields


async def test_a_body_that_is_no_text_is_shown_as_base64():
    """SCH-20, FMT-10."""
    async with serve() as api:
        schedule = await read(api, await create(api, body=b"\xff\x00"))

    assert schedule["bodyBase64"] == "/wA="
    assert "body" not in schedule


@pytest.mark.parametrize("headers", [[], [JSON]])
async def test_the_content_type_is_what_was_sent_even_without_a_body(headers):
    """SCH-17, HDR-20."""
    async with serve() as api:
        schedule = await read(api, await create(api, HOOK, *headers))

    expected = {"Content-Type": ["application/json"]} if headers else None
    assert schedule.get("header") == expected


async def test_a_destinations_query_belongs_to_it():
    """SCH-12, SCH-13, HDR-2."""
    url = "http://ex.com?a=1&b=%20&a=2"
    async with serve() as api:
        answer = await api.post(
            f"/v2/schedules/{url}&upstash-cron=*+*+*+*+*&upstash-retries=1"
        )
        schedule = await read(api, answer.json["scheduleId"])
        await api.advance(by="1m")

        assert schedule["destination"] == url
        assert schedule["retries"] == 1
        assert [request.url for request in api.transport.requests] == [url]


@pytest.mark.parametrize(
    ("destination", "status", "error"),
    [
        ("", 400, "a non-empty destination must be provided"),
        (
            "ex.com/a",
            400,
            "invalid destination url: endpoint has invalid scheme, "
            "add http:// or https://",
        ),
    ],
)
async def test_a_destination_follows_the_rules_of_publish(destination, status, error):
    """SCH-12, PUB-8."""
    async with serve() as api:
        answer = await api.post(f"/v2/schedules/{destination}", headers=[EVERY_MINUTE])

        assert (answer.status, answer.error) == (status, error)
        assert await listed(api) == []


async def test_a_url_group_may_be_made_after_its_schedule():
    """SCH-12, SCH-33: it is looked up when the schedule fires."""
    endpoints = json.dumps({"endpoints": [{"url": HOOK}]}).encode()
    async with serve() as api:
        schedule_id = await create(api, "g")
        await api.advance(by="1m")
        failed = await read(api, schedule_id)
        await api.post("/v2/topics/g/endpoints", body=endpoints)
        await api.advance(by="1m")
        fine = await read(api, schedule_id)

        assert failed["destination"] == "g"
        assert failed["error"] == "topic g not found"
        assert failed["lastScheduleTime"] == FIRST_MS
        assert "lastScheduleStates" not in failed
        assert "error" not in fine
        assert list(fine["lastScheduleStates"].values()) == ["SUCCESS"]
        assert calls(api) == 1


async def test_a_firing_that_fails_leaves_no_states_of_an_earlier_one():
    """SCH-27, SCH-33: they are those of the last firing."""
    endpoints = json.dumps({"endpoints": [{"url": HOOK}]}).encode()
    async with serve() as api:
        await api.post("/v2/topics/g/endpoints", body=endpoints)
        schedule_id = await create(api, "g")
        await api.advance(to=FIRST_MS)
        fine = await read(api, schedule_id)
        await api.delete("/v2/topics/g")
        await api.advance(by="1m")
        failed = await read(api, schedule_id)

    assert list(fine["lastScheduleStates"].values()) == ["SUCCESS"]
    assert failed["error"] == "topic g not found"
    assert failed["lastScheduleTime"] == FIRST_MS + MINUTE_MS
    assert "lastScheduleStates" not in failed


# The cron


@pytest.mark.parametrize(
    "headers", [[], [("Upstash-Cron", "")], [("Upstash-Cron", " \t")]]
)
async def test_a_schedule_needs_a_cron(headers):
    """SCH-2, HDR-7, ERR-3."""
    async with serve() as api:
        answer = await api.post(f"/v2/schedules/{HOOK}", headers=headers)

        assert answer.status == 400
        assert "Upstash-Cron" in answer.error
        assert await listed(api) == []


@pytest.mark.parametrize(
    "cron",
    [
        "x",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "*/0 * * * *",
        "5-1 * * * *",
        "* * * * FUN",
        "@nightly",
        "0 0 30 2 *",
        "CRON_TZ=Nowhere/City * * * * *",
        "CRON_TZ= * * * * *",
        "CRON_TZ=UTC",
        "TZ=../UTC * * * * *",
    ],
)
@pytest.mark.parametrize("path", ["/v2/schedules/", "/v2/publish/"])
async def test_a_cron_that_is_none_is_refused(path, cron):
    """SCH-2, SCH-3, SCH-4, SCH-6: and named."""
    async with serve() as api:
        answer = await api.post(path + HOOK, headers=[("Upstash-Cron", cron)])

        assert answer.status == 400
        assert "Upstash-Cron" in answer.error
        assert await listed(api) == []
        assert await api.is_untouched()


@pytest.mark.parametrize(
    ("cron", "shown"),
    [
        ("*/10 * * * * ", "*/10 * * * *"),
        ("\t @hourly", "@hourly"),
        (
            "CRON_TZ=America/New_York 0 4 * * *",
            "CRON_TZ=America/New_York 0 4 * * *",
        ),
        ("TZ=Asia/Tokyo 0 4 * * *", "TZ=Asia/Tokyo 0 4 * * *"),
    ],
)
async def test_a_cron_is_shown_as_it_came_without_the_space_around_it(cron, shown):
    """SCH-5, SCH-6."""
    async with serve() as api:
        schedule = await read(api, await create(api, HOOK, ("Upstash-Cron", cron)))

    assert schedule["cron"] == shown


@pytest.mark.parametrize(
    ("cron", "at", "fires"),
    [
        ("*/10 * * * *", "2027-01-01T10:07:30", "2027-01-01T10:10"),
        ("0 4 * * *", "2027-01-01T10:07:30", "2027-01-02T04:00"),
        ("0 12 * * mon,Wed", "2027-01-01T10:00:00", "2027-01-04T12:00"),
        ("0 0 1 JAN-mar/2 *", "2027-01-01T10:00:00", "2027-03-01T00:00"),
        ("30 6 13 * 5", "2027-01-01T06:30:00", "2027-01-08T06:30"),
        ("0 0 * * 7", "2027-01-01T00:00:00", "2027-01-03T00:00"),
        ("@daily", "2027-01-01T10:00:00", "2027-01-02T00:00"),
        ("0 0 29 2 *", "2027-01-01T00:00:00", "2028-02-29T00:00"),
        # New York is 5 hours behind in winter, and 4 in summer.
        (
            "CRON_TZ=America/New_York 0 4 * * *",
            "2027-01-01T00:00:00",
            "2027-01-01T09:00",
        ),
        (
            "CRON_TZ=America/New_York 0 4 * * *",
            "2027-07-01T00:00:00",
            "2027-07-01T08:00",
        ),
        # Berlin has no 02:30 on 28 March 2027, and 02:30 twice on 31 October.
        (
            "CRON_TZ=Europe/Berlin 30 2 * * *",
            "2027-03-27T12:00:00",
            "2027-03-29T00:30",
        ),
        (
            "CRON_TZ=Europe/Berlin 30 2 * * *",
            "2027-10-30T12:00:00",
            "2027-10-31T00:30",
        ),
        (
            "CRON_TZ=Europe/Berlin 30 2 * * *",
            "2027-10-31T00:30:00",
            "2027-11-01T01:30",
        ),
    ],
)
async def test_a_schedule_says_when_it_fires_next(cron, at, fires):
    """SCH-4, SCH-6, SCH-7, SCH-30, SCH-31, SCH-36."""
    async with serve() as api:
        assert await next_ms(api, cron, at) == utc(fires)


# A publish with a cron


async def test_a_publish_with_a_cron_creates_a_schedule():
    """SCH-3, PUB-44, Q-29: and no message."""
    async with serve() as api:
        answer = await api.post(f"/v2/publish/{HOOK}?a=1", headers=[EVERY_MINUTE])
        schedule = await read(api, answer.json["scheduleId"])

        assert answer.status == 200
        assert list(answer.json) == ["scheduleId"]
        assert schedule["destination"] == f"{HOOK}?a=1"
        assert await api.is_untouched()


@pytest.mark.parametrize("target", [f"/v2/enqueue/q/{HOOK}", "/v2/batch"])
async def test_a_cron_is_refused_where_it_would_be_ignored(target):
    """HDR-4: its scope is schedules, and publish."""
    entry = {"destination": HOOK, "headers": dict([EVERY_MINUTE])}
    async with serve() as api:
        answer = await api.post(
            target, headers=[EVERY_MINUTE], body=json.dumps([entry]).encode()
        )

        assert answer.status == 400
        assert "Upstash-Cron" in answer.error
        assert await listed(api) == []


# The id


@pytest.mark.parametrize("schedule_id", ["a b", "a/b", "é", "a:b", "x" * 513])
async def test_an_id_that_none_can_be_is_refused(schedule_id):
    """SCH-8, FMT-19."""
    async with serve() as api:
        answer = await api.post(
            f"/v2/schedules/{HOOK}",
            headers=[EVERY_MINUTE, ("Upstash-Schedule-Id", schedule_id)],
        )

        assert answer.status == 400
        assert "Upstash-Schedule-Id" in answer.error
        assert await listed(api) == []


async def test_a_schedule_of_the_same_id_is_replaced_whole():
    """SCH-8, SCH-9, Q-15: nothing is merged but creation time and pause."""
    async with serve() as api:
        await create(
            api,
            HOOK,
            JSON,
            ("Upstash-Schedule-Id", "s"),
            ("Upstash-Retries", "7"),
            ("Upstash-Method", "PUT"),
            ("Upstash-Label", "l"),
            ("Upstash-Queue-Name", "q"),
            ("Upstash-Forward-X", "1"),
            ("Upstash-Flow-Control-Key", "k"),
            ("Upstash-Callback", HOOK),
            ("Upstash-Delay", "1m"),
            body=b"x",
        )
        await api.post("/v2/schedules/s/pause")
        await api.advance(by="1h")
        await create(
            api,
            "http://localhost/other",
            ("Upstash-Schedule-Id", "s"),
            ("Upstash-Cron", "0 * * * *"),
        )
        schedule = await read(api, "s")

        assert schedule == {
            "scheduleId": "s",
            "cron": "0 * * * *",
            "destination": "http://localhost/other",
            "createdAt": T0,
            "method": "POST",
            "isPaused": True,
            "retries": 3,
            "callerIP": "127.0.0.1",
            "callerIp": "127.0.0.1",
            "nextScheduleTime": utc("2023-11-15T00:00"),
        }
        assert await listed(api) == ["s"]


async def test_a_replaced_schedule_fires_by_its_new_cron_only():
    """SCH-8."""
    async with serve() as api:
        await create(api, HOOK, ("Upstash-Schedule-Id", "s"))
        await create(
            api,
            "http://localhost/other",
            ("Upstash-Schedule-Id", "s"),
            ("Upstash-Cron", "30 * * * *"),
        )
        await api.advance(by="1h")

        urls = [request.url for request in api.transport.requests]
        assert urls == ["http://localhost/other"]


async def test_a_schedule_cannot_take_over_an_id_of_another_user():
    """AUTH-8, SCH-8."""
    async with serve() as api:
        await create(api, HOOK, ("Upstash-Schedule-Id", "s"))
        await create(
            api, "http://localhost/other", ("Upstash-Schedule-Id", "s"), user=1
        )
        theirs = await listed(api, user=2)
        await api.delete("/v2/schedules/s", user=1)

        assert theirs == []
        assert (await read(api, "s"))["destination"] == HOOK


async def test_too_many_schedules_are_refused_with_412():
    """SCH-11, LIM-10, ERR-2, ERR-5: a replacement isn't one more."""
    async with serve(quota="free", strict=True) as api:
        for number in range(10):
            await create(api, HOOK, ("Upstash-Schedule-Id", f"s{number}"))
        one_more = await api.post(f"/v2/schedules/{HOOK}", headers=[EVERY_MINUTE])
        by_publish = await api.post(f"/v2/publish/{HOOK}", headers=[EVERY_MINUTE])
        await create(api, HOOK, ("Upstash-Schedule-Id", "s3"))

        assert one_more.status == by_publish.status == 412
        assert one_more.error == "quota maxSchedules exceeded, current limit: 10"
        assert len(await listed(api)) == 10


# List, read, delete


async def test_schedules_are_listed_whole_in_order_of_creation():
    """SCH-22, BASE-7: a replacement doesn't move one."""
    async with serve() as api:
        empty = await api.get("/v2/schedules")
        for schedule_id in ("b", "a", "b"):
            await create(api, HOOK, ("Upstash-Schedule-Id", schedule_id))
        listed_ = await api.get("/v2/schedules/")

        assert empty.json == []
        assert listed_.json == [await read(api, "b"), await read(api, "a")]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/schedules/s"),
        ("POST", "/v2/schedules/s/pause"),
        ("PATCH", "/v2/schedules/s/pause"),
        ("POST", "/v2/schedules/s/resume"),
        ("PATCH", "/v2/schedules/s/resume"),
    ],
)
async def test_an_unknown_schedule_is_not_found(method, path):
    """SCH-22, SCH-40."""
    async with serve() as api:
        answer = await api.call(method, path)

    assert answer.status == 404
    assert answer.error == "schedule s not found"


async def test_a_schedule_can_be_deleted_whether_it_is_there_or_not():
    """SCH-23, Q-17: and fires no more."""
    async with serve() as api:
        schedule_id = await create(api)
        answers = [await api.delete(f"/v2/schedules/{schedule_id}") for _ in (1, 2)]
        await api.advance(by="10m")

        assert [(each.status, each.body) for each in answers] == [(200, b"")] * 2
        assert await listed(api) == []
        assert calls(api) == 0


async def test_messages_outlive_their_schedule():
    """SCH-23."""
    async with serve() as api:
        schedule_id = await create(api, HOOK, ("Upstash-Delay", "10m"))
        await api.advance(by="1m")
        await api.delete(f"/v2/schedules/{schedule_id}")
        await api.advance(by="1h")

        assert calls(api) == 1


# Firing


async def test_a_schedule_fires_at_every_full_minute():
    """SCH-30, SCH-31, SCH-32: what it makes is a message like others."""
    async with serve(grace_ms=HOUR_MS) as api:
        schedule_id = await create(api, HOOK, JSON, body=b"{}")
        await api.advance(to=FIRST_MS - 1)
        before = calls(api)
        await api.advance(to=FIRST_MS + 2 * MINUTE_MS)
        made = await messages_of(api, schedule_id)
        schedule = await read(api, schedule_id)

        assert before == 0
        assert [each["createdAt"] for each in made] == [
            FIRST_MS,
            FIRST_MS + MINUTE_MS,
            FIRST_MS + 2 * MINUTE_MS,
        ]
        assert made[0] == {
            "messageId": made[0]["messageId"],
            "url": HOOK,
            "method": "POST",
            "maxRetries": 3,
            "notBefore": FIRST_MS,
            "createdAt": FIRST_MS,
            "callerIP": "127.0.0.1",
            "header": {"Content-Type": ["application/json"]},
            "body": "{}",
            "scheduleId": schedule_id,
        }
        assert len({each["messageId"] for each in made}) == 3
        assert schedule["lastScheduleTime"] == FIRST_MS + 2 * MINUTE_MS
        assert schedule["nextScheduleTime"] == FIRST_MS + 3 * MINUTE_MS


async def test_a_scheduled_delivery_names_its_schedule_and_its_creator():
    """DLV-2, DLV-5: the caller is who created it, not the server."""
    async with serve() as api:
        schedule_id = await create(api)
        await api.advance(by="1m")
        (request,) = api.transport.requests

    assert ("Upstash-Schedule-Id", schedule_id) in request.headers
    assert ("Upstash-Caller-Ip", "127.0.0.1") in request.headers


async def test_a_delay_shifts_the_delivery_and_not_the_firing():
    """SCH-14, SCH-32."""
    async with serve() as api:
        schedule_id = await create(api, HOOK, ("Upstash-Delay", "10m"))
        await api.advance(to=FIRST_MS)
        (made,) = await messages_of(api, schedule_id)
        await api.advance(to=FIRST_MS + 10 * MINUTE_MS - 1)
        before = calls(api)
        await api.advance(by="1s")

        assert made["createdAt"] == FIRST_MS
        assert made["notBefore"] == FIRST_MS + 10 * MINUTE_MS
        assert (before, calls(api)) == (0, 1)


@pytest.mark.parametrize("value", ["99999999999", "x", "1"])
async def test_not_before_has_no_effect_on_a_schedule(value):
    """SCH-14: whatever it says."""
    async with serve() as api:
        schedule_id = await create(api, HOOK, ("Upstash-Not-Before", value))
        await api.advance(to=FIRST_MS)
        (made,) = await messages_of(api, schedule_id)

        assert made["notBefore"] == FIRST_MS


async def test_schedules_are_not_deduplicated():
    """SCH-15, C-23, DED-11: neither their creation nor what they make."""
    once = ("Upstash-Deduplication-Id", "once")
    content = ("Upstash-Content-Based-Deduplication", "true")
    async with serve() as api:
        first = await create(api, HOOK, once, content)
        second = await create(api, HOOK, once, content)
        await api.advance(to=FIRST_MS + MINUTE_MS)
        delivered = calls(api)
        published = await api.post(f"/v2/publish/{HOOK}", headers=[once])

        assert first != second
        assert delivered == 4
        assert published.status == 200


async def test_what_a_schedule_makes_joins_its_queue():
    """SCH-16, QUE-10: which it makes when it fires, and otherwise leaves alone."""
    async with serve(Hang()) as api:
        schedule_id = await create(api, HOOK, ("Upstash-Queue-Name", "q"))
        before = await api.get("/v2/queues/q")
        await api.advance(by="1m")
        made = (await api.get("/v2/queues/q")).json
        body = json.dumps({"queueName": "q", "parallelism": 5}).encode()
        await api.post("/v2/queues", body=body)
        await api.advance(by="1m")
        (first, _) = await messages_of(api, schedule_id)

        assert before.status == 404
        assert (made["parallelism"], made["lag"]) == (1, 1)
        assert first["queueName"] == "q"
        assert (await api.get("/v2/queues/q")).json["parallelism"] == 5


async def test_a_schedule_in_a_paused_queue_fires_and_waits():
    """SCH-16, QUE-17."""
    body = json.dumps({"queueName": "q", "paused": True}).encode()
    async with serve() as api:
        await api.post("/v2/queues", body=body)
        await create(api, HOOK, ("Upstash-Queue-Name", "q"))
        await api.advance(by="3m")

        assert calls(api) == 0
        assert (await api.get("/v2/queues/q")).json["lag"] == 3


@pytest.mark.parametrize("name", ["a b", "é", "a/b"])
async def test_a_queue_name_that_none_can_be_is_refused(name):
    """SCH-16, FMT-19."""
    async with serve() as api:
        answer = await api.post(
            f"/v2/schedules/{HOOK}",
            headers=[EVERY_MINUTE, ("Upstash-Queue-Name", name)],
        )

        assert answer.status == 400
        assert "Upstash-Queue-Name" in answer.error


@pytest.mark.parametrize(
    ("outcome", "retries", "expected"),
    [
        (Hang(), "3", "IN_PROGRESS"),
        (FAILS, "3", "IN_PROGRESS"),
        (Responded(200), "3", "SUCCESS"),
        (FAILS, "0", "FAIL"),
        (NOT_RETRYABLE, "3", "FAIL"),
        (Unreachable("refused"), "0", "FAIL"),
    ],
)
async def test_the_states_of_the_last_firing_are_three(outcome, retries, expected):
    """SCH-27."""
    async with serve(outcome) as api:
        schedule_id = await create(api, HOOK, ("Upstash-Retries", retries))
        await api.advance(to=FIRST_MS)
        (made,) = await messages_of(api, schedule_id)
        schedule = await read(api, schedule_id)

    assert schedule["lastScheduleStates"] == {made["messageId"]: expected}


async def test_a_cancelled_message_of_a_schedule_has_failed():
    """SCH-27."""
    async with serve() as api:
        schedule_id = await create(api, HOOK, ("Upstash-Delay", "1h"))
        await api.advance(to=FIRST_MS)
        (made,) = await messages_of(api, schedule_id)
        await api.delete(f"/v2/messages/{made['messageId']}")
        schedule = await read(api, schedule_id)

    assert schedule["lastScheduleStates"] == {made["messageId"]: "FAIL"}


async def test_the_states_are_those_of_each_endpoint_of_the_last_firing():
    """SCH-27."""
    endpoints = [{"url": "http://localhost/a"}, {"url": "http://localhost/b"}]
    body = json.dumps({"endpoints": endpoints}).encode()
    script = [Responded(200), Responded(200), Responded(200), NOT_RETRYABLE]
    async with serve(*script, grace_ms=HOUR_MS) as api:
        await api.post("/v2/topics/g/endpoints", body=body)
        schedule_id = await create(api, "g")
        await api.advance(to=FIRST_MS + MINUTE_MS)
        made = await messages_of(api, schedule_id)
        schedule = await read(api, schedule_id)

    assert [each["url"] for each in made] == 2 * [
        "http://localhost/a",
        "http://localhost/b",
    ]
    assert schedule["lastScheduleStates"] == {
        made[2]["messageId"]: "SUCCESS",
        made[3]["messageId"]: "FAIL",
    }


async def test_a_schedule_fires_whether_or_not_its_last_message_is_done():
    """SCH-34."""
    async with serve(Hang()) as api:
        await create(api)
        await api.advance(to=FIRST_MS + 2 * MINUTE_MS)

        assert api.transport.in_flight == 3


async def test_a_schedule_itself_has_no_log_entries():
    """LOG-28: its messages have, with its id."""
    async with serve() as api:
        schedule_id = await create(api)
        await api.post(f"/v2/schedules/{schedule_id}/pause")
        await api.post(f"/v2/schedules/{schedule_id}/resume")
        before = await api.events()
        await api.advance(to=FIRST_MS)
        events = await api.events()

    assert before == []
    assert [each["state"] for each in events] == ["DELIVERED", "ACTIVE", "CREATED"]
    assert {each["scheduleId"] for each in events} == {schedule_id}


async def test_a_redacted_schedule_is_hidden_and_delivered():
    """RED-6, RED-7, RED-4, SCH-20."""
    async with serve() as api:
        schedule_id = await create(
            api, HOOK, JSON, ("Upstash-Redact-Fields", "body, headers"), body=b"\xff"
        )
        await api.advance(to=FIRST_MS)
        (made,) = await messages_of(api, schedule_id)
        schedule = await read(api, schedule_id)
        (request,) = api.transport.requests

    for shown in (schedule, made):
        assert re.fullmatch("REDACTED:[0-9a-f]{64}", shown["body"])
        assert shown["header"]["Content-Type"][0].startswith("REDACTED:")
    assert request.body == b"\xff"
    assert ("Content-Type", "application/json") in request.headers


async def test_a_body_copied_from_a_redacted_schedule_is_taken_as_it_stands():
    """RED-8."""
    redact = ("Upstash-Redact-Fields", "body")
    async with serve() as api:
        schedule_id = await create(api, HOOK, redact, body=b"secret")
        copied = (await read(api, schedule_id))["body"]
        await create(
            api, HOOK, ("Upstash-Schedule-Id", schedule_id), body=copied.encode()
        )
        await api.advance(to=FIRST_MS)
        (request,) = api.transport.requests

    assert request.body == copied.encode()
    assert copied.startswith("REDACTED:")


# Pause


@pytest.mark.parametrize("method", ["PATCH", "POST"])
@pytest.mark.parametrize("action", ["pause", "resume"])
async def test_pausing_and_resuming_take_two_methods_and_may_be_repeated(
    method, action
):
    """SCH-40, C-3, BASE-11."""
    async with serve() as api:
        schedule_id = await create(api)
        path = f"/v2/schedules/{schedule_id}/{action}"
        answers: list[Answer] = [await api.call(method, path) for _ in range(2)]
        schedule = await read(api, schedule_id)

    assert [(each.status, each.body) for each in answers] == [(200, b"")] * 2
    assert schedule["isPaused"] is (action == "pause")


async def test_a_paused_schedule_does_not_fire_and_makes_nothing_up():
    """SCH-41: its next time goes on, its last doesn't."""
    async with serve() as api:
        schedule_id = await create(api)
        await api.advance(to=FIRST_MS)
        await api.call("PATCH", f"/v2/schedules/{schedule_id}/pause")
        await api.advance(to=FIRST_MS + HOUR_MS)
        paused = await read(api, schedule_id)
        calls_when_paused = calls(api)
        await api.call("PATCH", f"/v2/schedules/{schedule_id}/resume")
        await api.settle()
        calls_when_resumed = calls(api)
        await api.advance(to=FIRST_MS + HOUR_MS + MINUTE_MS)

        assert paused["lastScheduleTime"] == FIRST_MS
        assert paused["nextScheduleTime"] == FIRST_MS + HOUR_MS + MINUTE_MS
        assert (calls_when_paused, calls_when_resumed, calls(api)) == (1, 1, 2)


async def test_pausing_leaves_messages_alone_that_were_made():
    """SCH-42."""
    async with serve() as api:
        schedule_id = await create(api, HOOK, ("Upstash-Delay", "10m"))
        await api.advance(to=FIRST_MS)
        await api.call("PATCH", f"/v2/schedules/{schedule_id}/pause")
        await api.advance(by="1h")

        assert calls(api) == 1
