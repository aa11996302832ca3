"""Queues, URL groups and schedules through the official JavaScript SDK, against the
real process; schedules fire on one whose clock is turned."""

from datetime import datetime, timedelta, timezone
from hashlib import sha256

import pytest

pytestmark = [pytest.mark.system, pytest.mark.javascript]

HALF_AN_HOUR_MS = 1_800_000


def by_name(reports):
    return {report.pop("name"): report for report in reports}


def answers_of(reports):
    return {report["name"]: report["answer"] for report in reports}


def test_queues_are_changed_read_and_used(scenario, fastapi_app):
    """QUE-1, QUE-2, QUE-5 to QUE-7, QUE-9, QUE-11, QUE-17, QUE-21, ENQ-2, ENQ-5 to
    ENQ-7, BAT-3, BAT-5, SDK-6."""
    url = fastapi_app.new_url()
    endpoint_urls = [fastapi_app.new_url("a"), fastapi_app.new_url("b")]

    answers = answers_of(scenario("queues.mjs", url, endpoint_urls))

    assert answers["list, none"] == []
    created = answers["get"]
    assert created == {
        "name": "emails",
        "createdAt": created["createdAt"],
        "updatedAt": created["createdAt"],
        "parallelism": 3,
        "paused": True,
        "lag": 0,
    }
    updated = answers["get, upserted again"]
    assert updated["updatedAt"] >= created["updatedAt"]
    assert updated == created | {
        "updatedAt": updated["updatedAt"],
        "parallelism": 2,
        "paused": False,
    }
    paused = answers["get, paused"]
    assert (paused["paused"], paused["parallelism"], paused["lag"]) == (True, 1, 2)

    deliveries = fastapi_app.wait_for(url, 3)
    first, second, fourth = (
        next(each for each in deliveries if each.body == body)
        for body in (b"one", b'{"n":2}', b"four")
    )
    assert (first.method, second.headers["x-n"]) == ("PUT", "2")
    assert answers["enqueue"] == [
        {"messageId": first.message_id},
        {"messageId": second.message_id},
    ]
    message = answers["message"]
    assert message == {
        "messageId": second.message_id,
        "url": url,
        "method": "POST",
        "maxRetries": 3,
        "notBefore": message["createdAt"],
        "createdAt": message["createdAt"],
        "callerIP": "127.0.0.1",
        "header": {
            "Content-Type": ["application/json"],
            "X-Client": ["scenario"],
            "X-N": ["2"],
        },
        "body": '{"n":2}',
        "queueName": "emails",
        "label": "mail",
        "labels": ["mail"],
    }
    assert answers["logs"] == [
        [second.message_id, "emails", "DELIVERED"],
        [second.message_id, "emails", "ACTIVE"],
        [first.message_id, "emails", "DELIVERED"],
        [first.message_id, "emails", "ACTIVE"],
        [second.message_id, "emails", "CREATED"],
        [first.message_id, "emails", "CREATED"],
    ]

    arrived = {
        (url, each.body): {"messageId": each.message_id, "url": url}
        for url in endpoint_urls
        for each in fastapi_app.wait_for(url, 4)
    }
    three, five, six, seven = (
        [arrived[url, body] for url in endpoint_urls]
        for body in (b"three", b"five", b"six", b'{"n":7}')
    )
    assert answers["enqueue(urlGroup)"] == three
    assert answers["batch"] == [{"messageId": fourth.message_id}, five, six]
    assert answers["batchJSON"] == [seven]
    assert answers["get, paused again"]["lag"] == 6
    emails, on_the_fly = answers["list"]
    assert (emails["name"], emails["paused"], emails["lag"]) == ("emails", False, 0)
    assert (on_the_fly["name"], on_the_fly["parallelism"]) == ("on-the-fly", 1)
    assert answers["delete, again"] == "nothing"
    assert answers["get(unknown)"] == {"name": "QstashError", "status": 404}
    assert answers["pause(unknown)"] == {"name": "QstashError", "status": 404}
    assert answers["list, deleted"] == ["on-the-fly"]


def test_url_groups_are_changed_read_and_published_to(scenario, fastapi_app):
    """UGR-1 to UGR-3, UGR-5, UGR-6, UGR-8 to UGR-10, PUB-9, PUB-33, PUB-41,
    DED-8, MSG-2, LOG-12."""
    urls = [fastapi_app.new_url("a?x=%2F"), fastapi_app.new_url("b")]

    reports = by_name(scenario("url_groups.mjs", urls))

    first, second = {"url": "http://a.example/x?a=%2F"}, {"url": "http://b"}
    group = reports["get"]["answer"]
    assert reports["list, none"]["answer"] == []
    assert group == {
        "name": "news",
        "createdAt": group["createdAt"],
        "updatedAt": group["createdAt"],
        "endpoints": [first | {"name": "First one"}, second],
    }
    assert reports["list"]["answer"] == [group]
    changed = {"name": "First one", "url": "http://a2"}
    assert reports["addEndpoints, again"]["answer"] == [
        changed,
        second,
        {"name": "c", "url": "http://c"},
    ]
    assert reports["removeEndpoints"]["answer"] == [changed]
    assert reports["get(emptied)"]["status"] == 404

    deliveries = [fastapi_app.wait_for(url)[0] for url in urls]
    published = [
        {"messageId": delivery.message_id, "url": url}
        for delivery, url in zip(deliveries, urls, strict=True)
    ]
    assert reports["publishJSON"]["answer"] == published
    assert reports["publishJSON, again"]["answer"] == [
        each | {"deduplicated": True} for each in published
    ]
    for index, message in enumerate(reports["messages"]["answer"]):
        assert message == published[index] | {
            "method": "POST",
            "maxRetries": 3,
            "notBefore": message["createdAt"],
            "createdAt": message["createdAt"],
            "callerIP": "127.0.0.1",
            "header": {"Content-Type": ["application/json"]},
            "body": '{"n":1}',
            "topicName": "news",
            "urlGroup": "news",
            "endpointName": f"end-{index}",
        }
    assert sorted(reports["logs"]["answer"]) == [
        ["news", "news", "end-0"],
        ["news", "news", "end-1"],
    ]
    assert {each.headers["upstash-topic-name"] for each in deliveries} == {"news"}
    assert reports["publish(unknown)"]["status"] == 404
    assert reports["delete, again"]["answer"] == "nothing"
    assert reports["list, deleted"]["answer"] == []


def new_year_ms(after_ms, offset):
    """When ``0 4 1 1 *`` fires next."""
    after = datetime.fromtimestamp(after_ms / 1000, timezone(offset))
    fires = datetime(after.year, 1, 1, 4, tzinfo=after.tzinfo)
    if fires <= after:
        fires = fires.replace(year=after.year + 1)
    return int(fires.timestamp()) * 1000


def redacted(value):
    return "REDACTED:" + sha256(value).hexdigest()


def test_schedules_are_changed_read_and_fire(scenario, fastapi_app, virtual_server):
    """SCH-1, SCH-2, SCH-5, SCH-6, SCH-8, SCH-9, SCH-13, SCH-17, SCH-20 to SCH-27,
    SCH-30 to SCH-32, SCH-40, SCH-41, RED-2 to RED-6, MSG-2, LOG-28, SDK-6."""
    url = fastapi_app.new_url()

    reports = by_name(scenario("schedules.mjs", url, **virtual_server.environment))

    assert reports["list, none"]["answer"] == []
    assert reports["create"]["answer"] == {"scheduleId": "every.year-1"}
    schedule = reports["get"]["answer"]
    created_ms = schedule["createdAt"]
    callers = {"callerIP": "127.0.0.1", "callerIp": "127.0.0.1"}
    assert schedule == {
        "scheduleId": "every.year-1",
        "cron": "CRON_TZ=Asia/Kolkata 0 4 1 1 *",
        "destination": "http://example.com/a%2Fb//c?x=1&x=2",
        "createdAt": created_ms,
        "method": "PUT",
        "isPaused": False,
        "retries": 7,
        **callers,
        "nextScheduleTime": new_year_ms(created_ms, timedelta(hours=5, minutes=30)),
        "header": {
            "Content-Type": ["application/json"],
            "X-Api-Key": ["k"],
            "X-Client": ["scenario"],
        },
        "body": '{"hello":"world"}',
        "delay": 90,
        "timeout": 30,
        "queueName": "reports",
        "callback": "http://localhost:1/callback?a=1",
        "callbackHeader": {"X-From": ["callback"]},
        "failureCallback": "http://localhost:1/failed",
        "failureCallbackHeader": {"X-From": ["failure"]},
        "retryDelayExpression": "1000 * (1 + retried)",
        "label": "first",
        "labels": ["first", "second"],
        "flowControlKey": "k",
        "parallelism": 2,
        "rate": 5,
        "ratePerSecond": 5,
        "period": 86_400,
    }
    assert reports["list"]["answer"] == [schedule]
    plain = {
        "scheduleId": "every.year-1",
        "cron": "0 4 1 1 *",
        "destination": "http://x",
        "createdAt": created_ms,
        "method": "POST",
        "isPaused": True,
        "retries": 3,
        **callers,
        "nextScheduleTime": new_year_ms(created_ms, timedelta()),
        "header": {"Content-Type": ["application/json"], "X-Client": ["scenario"]},
    }
    assert reports["get, replaced"]["answer"] == plain
    assert reports["get, resumed"]["answer"] == plain | {"isPaused": False}
    assert reports["delete, again"]["answer"] == "nothing"
    for name in ("get(unknown)", "pause(unknown)"):
        assert reports[name]["answer"] == {"name": "QstashError", "status": 404}
    assert reports["create(bad cron)"]["answer"]["status"] == 400
    hidden = reports["get, redacted"]["answer"]
    assert hidden == plain | {
        "scheduleId": hidden["scheduleId"],
        "isPaused": False,
        "body": redacted(b"secret"),
        "header": {
            "Content-Type": ["text/plain"],
            "X-Client": ["scenario"],
            "Authorization": [redacted(b"secret")],
        },
    }

    first, second = fastapi_app.wait_for(url, 2)
    schedule_id = reports["get, fired"]["scheduleId"]
    fires_ms = reports["get, fired"]["nextScheduleTime"]
    assert fires_ms % HALF_AN_HOUR_MS == 0
    assert created_ms < fires_ms <= created_ms + HALF_AN_HOUR_MS
    for delivery in (first, second):
        assert delivery.headers["upstash-schedule-id"] == schedule_id
        assert delivery.headers["x-client"] == "scenario"
        assert delivery.body == b"tick"
    tick = {
        "method": "POST",
        "createdAt": created_ms,
        "callerIP": "127.0.0.1",
        "header": {"Content-Type": ["text/plain"], "X-Client": ["scenario"]},
        "body": "tick",
        "label": "tick",
        "labels": ["tick"],
        "flowControlKey": "k",
        "rate": 5,
        "ratePerSecond": 5,
        "period": 1,
        "scheduleId": schedule_id,
    }
    fired = tick | {
        "cron": "*/30 * * * *",
        "destination": url,
        "callerIp": "127.0.0.1",
        "retries": 3,
        "isPaused": False,
        "lastScheduleTime": fires_ms,
        "nextScheduleTime": fires_ms + HALF_AN_HOUR_MS,
        "lastScheduleStates": {first.message_id: "SUCCESS"},
    }
    assert reports["get, fired"]["answer"] == fired
    assert reports["logs"]["answer"] == [
        [state, schedule_id] for state in ("DELIVERED", "ACTIVE", "CREATED")
    ]
    assert reports["messages.get"]["answer"] == tick | {
        "messageId": first.message_id,
        "url": url,
        "maxRetries": 3,
        "createdAt": fires_ms,
        "notBefore": fires_ms,
    }
    assert reports["get, paused"]["answer"] == fired | {
        "isPaused": True,
        "nextScheduleTime": fires_ms + 3 * HALF_AN_HOUR_MS,
    }
    assert reports["get, fired again"]["answer"] == fired | {
        "lastScheduleTime": fires_ms + 3 * HALF_AN_HOUR_MS,
        "nextScheduleTime": fires_ms + 4 * HALF_AN_HOUR_MS,
        "lastScheduleStates": {second.message_id: "SUCCESS"},
    }
