"""Schedules through the official Python SDK: synchronous and asynchronous against the
real process, and what fires against one whose clock is turned."""

import json
import time
from datetime import datetime, timedelta, timezone
from hashlib import sha256

import pytest
from qstash import QStash
from qstash.errors import QStashError
from qstash.message import FlowControlProperties
from qstash.schedule import Schedule, ScheduleState

pytestmark = pytest.mark.system

YEARLY = "0 4 1 1 *"
"""Fires in no test that runs on the real clock."""

IN_INDIA = timezone(timedelta(hours=5, minutes=30))

HALF_AN_HOUR_MS = 1_800_000


def new_year_ms(after_ms, zone):
    """When ``YEARLY`` fires next."""
    after = datetime.fromtimestamp(after_ms / 1000, zone)
    fires = datetime(after.year, 1, 1, 4, tzinfo=zone)
    if fires <= after:
        fires = fires.replace(year=after.year + 1)
    return int(fires.timestamp()) * 1000


def a_schedule(schedule, **changes):
    """What is read back of a schedule that says nothing but when and where."""
    common = {
        "schedule_id": schedule.schedule_id,
        "destination": None,
        "cron": YEARLY,
        "created_at": schedule.created_at,
        "body": None,
        "body_base64": None,
        "method": "POST",
        "headers": None,
        "callback_headers": None,
        "failure_callback_headers": None,
        "retries": 3,
        "retry_delay_expression": None,
        "callback": None,
        "failure_callback": None,
        "queue": None,
        "delay": None,
        "timeout": None,
        "caller_ip": "127.0.0.1",
        "paused": False,
        "flow_control": None,
        "last_schedule_time": None,
        "next_schedule_time": new_year_ms(
            schedule.created_at, timezone(timedelta(hours=0))
        ),
        "last_schedule_states": None,
        "error": None,
        "label": None,
    }
    return Schedule(**(common | changes))


def test_a_schedule_is_read_back_with_every_field(client):
    """SCH-1, SCH-6, SCH-8, SCH-13, SCH-20, SCH-25, SCH-26, CBK-16, RTY-18."""
    before_ms = time.time_ns() // 1_000_000

    schedule_id = client.schedule.create_json(
        destination="http://example.com/a%2Fb//c?x=1&x=2",
        cron=f"CRON_TZ=Asia/Kolkata {YEARLY}",
        body={"hello": "world"},
        method="PUT",
        headers={"x-api-key": "k", "X-Trace": "t"},
        callback="http://localhost:1/callback?a=1",
        callback_headers={"Forward-X-From": "callback", "Retries": "0"},
        failure_callback="http://localhost:1/failed",
        failure_callback_headers={"Forward-X-From": "failure"},
        retries=7,
        retry_delay="1000 * (1 + retried)",
        delay="1m30s",
        timeout=30,
        schedule_id="every.year-1",
        queue="reports",
        flow_control={"key": "k", "parallelism": 2, "rate": 5, "period": "1d"},
        label="first,second",
    )

    schedule = client.schedule.get(schedule_id)
    assert schedule_id == "every.year-1"
    assert before_ms <= schedule.created_at <= time.time_ns() // 1_000_000
    assert schedule == a_schedule(
        schedule,
        destination="http://example.com/a%2Fb//c?x=1&x=2",
        cron=f"CRON_TZ=Asia/Kolkata {YEARLY}",
        body='{"hello": "world"}',
        method="PUT",
        headers={
            "Content-Type": ["application/json"],
            "X-Api-Key": ["k"],
            "X-Trace": ["t"],
        },
        callback="http://localhost:1/callback?a=1",
        callback_headers={"X-From": ["callback"]},
        failure_callback="http://localhost:1/failed",
        failure_callback_headers={"X-From": ["failure"]},
        retries=7,
        retry_delay_expression="1000 * (1 + retried)",
        queue="reports",
        delay=90,
        timeout=30,
        flow_control=FlowControlProperties("k", parallelism=2, rate=5, period=86_400),
        next_schedule_time=new_year_ms(schedule.created_at, IN_INDIA),
        label="first",
    )
    assert client.schedule.list() == [schedule]
    assert client.queue.list() == []  # QUE-10


def test_a_plain_schedule_is_read_back_with_the_defaults(client):
    """SCH-10, SCH-12, SCH-20, SCH-21, SCH-24, FMT-10: for a group that isn't yet."""
    schedule_id = client.schedule.create(
        destination="unknown", cron=YEARLY, body=b"\xff", flow_control={"key": "k"}
    )

    schedule = client.schedule.get(schedule_id)
    assert schedule_id.startswith("scd_")
    assert len(schedule_id) == 32
    assert schedule == a_schedule(
        schedule,
        destination="unknown",
        body_base64="/w==",
        flow_control=FlowControlProperties("k", parallelism=None, rate=None, period=1),
    )


def test_a_schedule_that_is_replaced_keeps_nothing_but_its_age_and_its_pause(client):
    """SCH-8, SCH-9."""
    client.schedule.create_json(
        destination="http://before",
        cron=f"CRON_TZ=Asia/Kolkata {YEARLY}",
        schedule_id="yearly",
        body={"n": 1},
        headers={"X-Trace": "t"},
        method="GET",
        retries=0,
        delay=5,
        queue="reports",
        label="job",
    )
    client.schedule.pause("yearly")
    before = client.schedule.get("yearly")

    client.schedule.create(
        destination="http://after", cron=YEARLY, schedule_id="yearly"
    )

    (after,) = client.schedule.list()
    assert after == a_schedule(before, destination="http://after", paused=True)


def test_schedules_are_listed_paused_resumed_and_deleted(client):
    """SCH-22, SCH-23, SCH-40."""
    assert client.schedule.list() == []
    first, second = (
        client.schedule.create(destination="http://x", cron=YEARLY) for _ in range(2)
    )

    def paused():
        return {each.schedule_id: each.paused for each in client.schedule.list()}

    assert paused() == {first: False, second: False}
    client.schedule.pause(first)
    client.schedule.pause(first)
    assert paused() == {first: True, second: False}
    client.schedule.resume(first)
    client.schedule.resume(second)
    assert paused() == {first: False, second: False}
    client.schedule.delete(first)
    client.schedule.delete(first)
    assert paused() == {second: False}
    for unknown in (client.schedule.get, client.schedule.pause, client.schedule.resume):
        with pytest.raises(QStashError, match="status: 404"):
            unknown(first)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"cron": "0 0 * *"}, "Upstash-Cron"),
        ({"cron": "0 0 4 1 1 *"}, "Upstash-Cron"),
        ({"cron": f"CRON_TZ=Mars/Olympus {YEARLY}"}, "Upstash-Cron"),
        ({"cron": YEARLY, "schedule_id": "a b"}, "Upstash-Schedule-Id"),
        ({"cron": YEARLY, "destination": "ftp://x"}, "invalid destination url"),
    ],
)
def test_a_bad_schedule_is_refused_and_leaves_nothing_behind(client, arguments, text):
    """SCH-2, SCH-4, SCH-6, SCH-8, SCH-12."""
    with pytest.raises(QStashError, match="status: 400") as caught:
        client.schedule.create(**({"destination": "http://x"} | arguments))

    assert text in str(caught.value)
    assert client.schedule.list() == []


def test_redacted_fields_of_a_schedule_are_hidden(client):
    """RED-2 to RED-6."""
    schedule_id = client.schedule.create_json(
        destination="http://x",
        cron=YEARLY,
        body={"card": 42},
        headers={"Authorization": "secret", "X-Open": "1"},
        redact={"body": True, "header": ["authorization"]},
    )

    schedule = client.schedule.get(schedule_id)
    assert client.schedule.list() == [schedule]
    assert schedule.body == "REDACTED:" + sha256(b'{"card": 42}').hexdigest()
    assert schedule.headers == {
        "Content-Type": ["application/json"],
        "Authorization": ["REDACTED:" + sha256(b"secret").hexdigest()],
        "X-Open": ["1"],
    }


# Firing


@pytest.fixture
def virtual_client(virtual_server):
    token = virtual_server.environment["QSTASH_TOKEN"]
    client = QStash(token, base_url=virtual_server.url)
    yield client
    client.http._client.close()  # the SDK never does


def test_a_schedule_publishes_at_each_of_its_instants(
    virtual_client, virtual_server, fastapi_app
):
    """SCH-20, SCH-23, SCH-27, SCH-30 to SCH-32, RED-6, RED-7, LOG-28, DLV-2, DLQ-4."""
    client, url = virtual_client, fastapi_app.new_url(answers="200,500")
    schedule_id = client.schedule.create_json(
        destination=url,
        cron="*/30 * * * *",
        body={"n": 1},
        method="PUT",
        headers={"X-Run": "r"},
        redact={"body": True},
        retries=0,
        label="tick",
    )
    before = client.schedule.get(schedule_id)
    first_ms = before.next_schedule_time
    assert first_ms % HALF_AN_HOUR_MS == 0
    assert before.created_at < first_ms <= before.created_at + HALF_AN_HOUR_MS

    virtual_server.post("/_qemu/clock/advance", to=first_ms)

    (delivery,) = fastapi_app.wait_for(url)
    assert (delivery.method, delivery.body) == ("PUT", b'{"n": 1}')
    assert delivery.headers["upstash-schedule-id"] == schedule_id
    assert delivery.headers["x-run"] == "r"
    message = client.message.get(delivery.message_id)
    assert message.schedule_id == schedule_id
    assert message.created_at == message.not_before == first_ms
    assert message.body == before.body
    assert (message.max_retries, message.label) == (0, "tick")
    after = client.schedule.get(schedule_id)
    assert after.last_schedule_time == first_ms
    assert after.next_schedule_time == first_ms + HALF_AN_HOUR_MS
    assert after.last_schedule_states == {delivery.message_id: ScheduleState.SUCCESS}

    virtual_server.post("/_qemu/clock/advance", by="30m")

    delivery = fastapi_app.wait_for(url, 2)[1]
    assert client.schedule.get(schedule_id).last_schedule_states == {
        delivery.message_id: ScheduleState.FAIL
    }
    (entry,) = client.dlq.list(filter={"schedule_id": schedule_id}).messages
    assert (entry.message_id, entry.schedule_id) == (delivery.message_id, schedule_id)
    assert client.dlq.list(filter={"schedule_id": "other"}).messages == []
    logs = client.log.list(filter={"schedule_id": schedule_id}).logs
    assert [entry.state.value for entry in logs] == [
        *("FAILED", "ERROR", "ACTIVE", "CREATED"),
        *("DELIVERED", "ACTIVE", "CREATED"),
    ]
    assert {entry.schedule_id for entry in logs} == {schedule_id}
    client.schedule.delete(schedule_id)
    virtual_server.post("/_qemu/clock/advance", by="1h")
    assert len(fastapi_app.wait_for(url)) == 2


def test_a_schedule_enqueues_after_a_delay_and_reports_to_its_callback(
    virtual_client, virtual_server, fastapi_app
):
    """SCH-14, SCH-16, SCH-27, QUE-10, CBK-20."""
    client, url = virtual_client, fastapi_app.new_url()
    callback_url = fastapi_app.new_url("callback")
    client.queue.upsert("reports", parallelism=2)
    schedule_id = client.schedule.create(
        destination=url,
        cron="*/30 * * * *",
        delay=90,
        queue="reports",
        flow_control={"key": "k", "rate": 5},
        callback=callback_url,
    )
    fires_ms = client.schedule.get(schedule_id).next_schedule_time

    virtual_server.post("/_qemu/clock/advance", to=fires_ms + 89_999)

    (message_id,) = client.schedule.get(schedule_id).last_schedule_states
    states = [
        entry["state"] for entry in virtual_server.wait_for(message_id, "CREATED")
    ]
    assert states == ["CREATED"]
    assert client.schedule.get(schedule_id).last_schedule_states == {
        message_id: ScheduleState.IN_PROGRESS
    }
    message = client.message.get(message_id)
    assert (message.created_at, message.not_before) == (fires_ms, fires_ms + 90_000)
    assert (message.queue, message.flow_control.key) == ("reports", "k")
    virtual_server.post("/_qemu/clock/advance", by="1s")
    (delivery,) = fastapi_app.wait_for(url)
    assert delivery.message_id == message_id
    (callback,) = fastapi_app.wait_for(callback_url)
    payload = json.loads(callback.body)
    assert (payload["scheduleId"], payload["status"]) == (schedule_id, 200)
    assert "upstash-schedule-id" not in callback.headers  # Q-25
    assert client.schedule.get(schedule_id).last_schedule_states == {
        message_id: ScheduleState.SUCCESS
    }
    queue = client.queue.get("reports")
    assert (queue.parallelism, queue.lag) == (2, 0)


def test_a_paused_schedule_goes_on_without_publishing(
    virtual_client, virtual_server, fastapi_app
):
    """SCH-41."""
    client, url = virtual_client, fastapi_app.new_url()
    schedule_id = client.schedule.create(destination=url, cron="*/30 * * * *")
    first_ms = client.schedule.get(schedule_id).next_schedule_time

    client.schedule.pause(schedule_id)
    virtual_server.post("/_qemu/clock/advance", to=first_ms + 1)

    paused = client.schedule.get(schedule_id)
    assert paused.last_schedule_time is None
    assert paused.next_schedule_time == first_ms + HALF_AN_HOUR_MS
    assert client.log.list().logs == []
    client.schedule.resume(schedule_id)
    virtual_server.post("/_qemu/clock/advance", by="30m")
    assert len(fastapi_app.wait_for(url)) == 1
    assert (
        client.schedule.get(schedule_id).last_schedule_time == paused.next_schedule_time
    )


def test_a_schedule_for_a_url_group_finds_its_endpoints_when_it_fires(
    virtual_client, virtual_server, fastapi_app
):
    """SCH-12, SCH-27, SCH-33, PUB-33."""
    client = virtual_client
    urls = [fastapi_app.new_url("a"), fastapi_app.new_url("b")]
    schedule_id = client.schedule.create(destination="news", cron="*/30 * * * *")

    virtual_server.post("/_qemu/clock/advance", by="30m")

    failed = client.schedule.get(schedule_id)
    assert "topic news not found" in failed.error
    assert not failed.last_schedule_states
    client.url_group.upsert_endpoints("news", [{"url": url} for url in urls])
    virtual_server.post("/_qemu/clock/advance", by="30m")
    deliveries = [fastapi_app.wait_for(url)[0] for url in urls]
    fired = client.schedule.get(schedule_id)
    assert fired.error is None
    assert fired.last_schedule_time == failed.next_schedule_time
    assert fired.last_schedule_states == {
        each.message_id: ScheduleState.SUCCESS for each in deliveries
    }
    assert {each.headers["upstash-topic-name"] for each in deliveries} == {"news"}
