"""emulator/engine/schedules.py: when schedules fire, and what they remember."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator import Emulator, Settings
from emulator.core.bodies import EndpointPattern
from emulator.core.filters import DlqQuery, LogQuery
from emulator.core.headers import Overrides
from emulator.core.model import (
    Destination,
    DestinationKind,
    LogEntry,
    Options,
    Publish,
    Responded,
    State,
)
from emulator.core.resources import Endpoint
from emulator.engine.engine import Engine
from emulator.errors import NotFound, QuotaExceeded
from tests.doubles import T0, Hang, ScriptedTransport, a_publish, quiet

OK = Responded(200)
ERROR = Responded(500)

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

LAST_MINUTE_MS = 253_402_300_740_000  # 9999-12-31T23:59Z

FIRST_MINUTE_MS = T0 + 40_000
"""The first full minute after T0, which is 20 seconds past one."""


def an_emulator(
    start_ms: int = T0, *script: Any, **settings: Any
) -> tuple[Emulator, Engine]:
    """An emulator whose clock stands still, and its first user's engine."""
    emulator = Emulator(
        Settings(clock="virtual", start_time_ms=start_ms, seed=1, **settings),
        transport=ScriptedTransport(script or [OK]),
    )
    engine = emulator.tenants.engines[0]
    engine.scheduler.start()
    return emulator, engine


def utc_ms(text: str) -> int:
    """An instant, as in 2026-03-29T01:30."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


def to_group(name: str = "g", **changes: Any) -> Publish:
    return a_publish(
        destination=Destination(DestinationKind.URL_GROUP, name), **changes
    )


def created(engine: Engine) -> list[LogEntry]:
    """The CREATED entries of the log, oldest first."""
    page, _ = engine.logs(LogQuery(latest_first=False))
    return [entry for entry in page if entry.state is State.CREATED]


def firings(engine: Engine) -> list[int]:
    """When messages were made, in milliseconds."""
    return [entry.time_ms for entry in created(engine)]


def shown(instants_ms: list[int]) -> list[str]:
    return [
        datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        for ms in instants_ms
    ]


# When a schedule fires


async def test_a_schedule_fires_at_second_0_of_each_matching_minute():
    """SCH-30, SCH-31: the first match after its creation is the first."""
    emulator, engine = an_emulator()
    engine.schedules.put(a_publish(), "*/15 * * * *", "s")

    await emulator.tenants.advance(T0 + HOUR_MS)

    assert shown(firings(engine)) == [
        "2023-11-14T22:15:00",
        "2023-11-14T22:30:00",
        "2023-11-14T22:45:00",
        "2023-11-14T23:00:00",
    ]


async def test_a_schedule_made_at_a_matching_minute_first_fires_at_the_next():
    """SCH-31."""
    emulator, engine = an_emulator(FIRST_MINUTE_MS)
    engine.schedules.put(a_publish(), "* * * * *", "s")
    await quiet()
    assert firings(engine) == []

    await emulator.tenants.advance(FIRST_MINUTE_MS + MINUTE_MS)

    assert firings(engine) == [FIRST_MINUTE_MS + MINUTE_MS]


async def test_a_schedule_fires_on_working_days_for_two_weeks():
    """SCH-4, SCH-30: 2026-06-05 is a Friday."""
    emulator, engine = an_emulator(utc_ms("2026-06-05T08:00"), quota="pro")
    engine.schedules.put(a_publish(), "30 9 * * MON-FRI", "s")

    await emulator.tenants.advance(utc_ms("2026-06-15T09:29"))

    assert shown(firings(engine)) == [
        "2026-06-05T09:30:00",
        "2026-06-08T09:30:00",
        "2026-06-09T09:30:00",
        "2026-06-10T09:30:00",
        "2026-06-11T09:30:00",
        "2026-06-12T09:30:00",
    ]


async def test_a_schedule_fires_not_a_millisecond_before_its_minute():
    """SCH-30."""
    emulator, engine = an_emulator()
    engine.schedules.put(a_publish(), "* * * * *", "s")

    await emulator.tenants.advance(FIRST_MINUTE_MS - 1)
    assert firings(engine) == []
    await emulator.tenants.advance(FIRST_MINUTE_MS)

    assert firings(engine) == [FIRST_MINUTE_MS]


@pytest.mark.parametrize(
    ("zone", "start", "expected"),
    [
        # 02:30 on 29 March doesn't exist.
        (
            "Europe/Berlin",
            "2026-03-27T12:00",
            ["2026-03-28T01:30:00", "2026-03-30T00:30:00"],
        ),
        # 02:30 on 25 October exists twice: the first counts, in summer time.
        (
            "Europe/Berlin",
            "2026-10-24T12:00",
            ["2026-10-25T00:30:00", "2026-10-26T01:30:00"],
        ),
        (
            "America/New_York",
            "2026-03-07T12:00",
            ["2026-03-09T06:30:00", "2026-03-10T06:30:00"],
        ),
        # Half an hour of daylight saving: on 4 October, 02:00 to 02:30 is skipped.
        (
            "Australia/Lord_Howe",
            "2026-10-02T12:00",
            ["2026-10-02T16:00:00", "2026-10-03T15:30:00", "2026-10-04T15:30:00"],
        ),
        ("Asia/Kolkata", "2026-03-28T12:00", ["2026-03-28T21:00:00"]),
    ],
)
async def test_a_zone_that_changes_its_clocks_skips_and_repeats_nothing(
    zone, start, expected
):
    """SCH-6, SCH-36."""
    emulator, engine = an_emulator(utc_ms(start))
    engine.schedules.put(a_publish(), f"CRON_TZ={zone} 30 2 * * *", "s")

    end_ms = utc_ms(expected[-1]) + HOUR_MS
    await emulator.tenants.advance(end_ms)

    assert shown(firings(engine)) == expected


@settings(max_examples=25, deadline=None)
@given(
    zone=st.sampled_from(
        [
            "Europe/London",
            "America/Sao_Paulo",
            "America/Santiago",
            "Australia/Sydney",
            "Africa/Casablanca",
            "Pacific/Apia",
        ]
    ),
    day=st.dates(date(2005, 1, 2), date(2035, 1, 1)),
    minute=st.integers(0, 59),
    hour=st.integers(0, 23),
)
def test_every_local_time_that_exists_fires_once(zone, day, minute, hour):
    """SCH-36: a week in a zone, whatever happens to its clocks."""
    tz = ZoneInfo(zone)
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    start_ms = int(start.timestamp()) * 1000
    end_ms = start_ms + 7 * DAY_MS
    expected = []
    for days in range(-2, 10):
        local_day = day + timedelta(days=days)
        local = datetime(
            local_day.year, local_day.month, local_day.day, hour, minute, tzinfo=tz
        )
        instant = local.astimezone(UTC)
        ms = int(instant.timestamp()) * 1000
        exists = instant.astimezone(tz).replace(tzinfo=None) == local.replace(
            tzinfo=None
        )
        if exists and start_ms < ms <= end_ms:
            expected.append(ms)

    async def scenario() -> list[int]:
        emulator, engine = an_emulator(start_ms)
        engine.schedules.put(a_publish(), f"CRON_TZ={zone} {minute} {hour} * * *", "s")
        await emulator.tenants.advance(end_ms)
        return firings(engine)

    assert asyncio.run(scenario()) == expected


async def test_firings_missed_while_nobody_was_awake_are_not_made_up():
    """SCH-35: as after a laptop's sleep; it fires once, late, and goes on."""
    emulator, engine = an_emulator()
    engine.schedules.put(a_publish(), "* * * * *", "s")
    await quiet()
    late_ms = FIRST_MINUTE_MS + 10 * MINUTE_MS + 5000

    emulator.clock.set(late_ms)
    await quiet()
    assert firings(engine) == [late_ms]
    assert engine.schedules.get("s").last_fire_ms == late_ms
    await emulator.tenants.advance(late_ms + MINUTE_MS)

    assert firings(engine) == [late_ms, FIRST_MINUTE_MS + 11 * MINUTE_MS]


async def test_schedules_alone_are_no_reason_to_turn_the_clock():
    """They have no end: an emulator with nothing but schedules is idle."""
    emulator, engine = an_emulator()
    engine.schedules.put(a_publish(), "* * * * *", "s")

    await emulator.tenants.advance(None)

    assert emulator.clock.now_ms() == T0


# What a firing makes


async def test_a_firing_is_a_publish_of_what_was_stored():
    """SCH-32: a new message, with the schedule's id."""
    emulator, engine = an_emulator()
    publish = a_publish(
        "http://localhost/s",
        body=b"hello",
        header=("X-A", "1"),
        options=Options(method="PUT", retries=7, labels=("nightly",)),
        caller_ip="10.1.2.3",
    )
    engine.schedules.put(publish, "* * * * *", "s")

    await emulator.tenants.advance(FIRST_MINUTE_MS + MINUTE_MS)

    first, second = (entry.message for entry in created(engine))
    assert first.message_id != second.message_id
    for message in (first, second):
        assert message.schedule_id == "s"
        assert (message.url, message.body) == ("http://localhost/s", b"hello")
        assert (message.header, message.options) == (publish.header, publish.options)
        assert message.caller_ip == "10.1.2.3"  # DLV-5
    assert first.created_at_ms == first.not_before_ms == FIRST_MINUTE_MS


async def test_a_delay_counts_from_the_firing():
    """SCH-14, SCH-32."""
    emulator, engine = an_emulator()
    engine.schedules.put(a_publish(delay_ms=90_000), "*/5 * * * *", "s")

    await emulator.tenants.advance(T0 + 5 * MINUTE_MS)
    (entry,) = created(engine)
    await emulator.tenants.advance(None)

    fired_ms = entry.time_ms
    assert fired_ms % (5 * MINUTE_MS) == 0
    assert entry.message.not_before_ms == fired_ms + 90_000
    page, _ = engine.logs(LogQuery(latest_first=False))
    assert [(item.time_ms, item.state) for item in page] == [
        (fired_ms, State.CREATED),
        (fired_ms + 90_000, State.ACTIVE),
        (fired_ms + 90_000, State.DELIVERED),
    ]


async def test_firings_do_not_wait_for_earlier_messages():
    """SCH-34."""
    emulator, engine = an_emulator(T0, Hang())
    engine.schedules.put(a_publish(), "* * * * *", "s")
    await quiet()

    for minute in range(4):
        emulator.clock.set(FIRST_MINUTE_MS + minute * MINUTE_MS)
        await quiet()

    assert engine.scheduler.in_flight == 4


async def test_equal_firings_are_no_duplicates():
    """SCH-15, DED-11."""
    emulator, engine = an_emulator()
    publish = a_publish(body=b"the same")
    engine.publish([a_publish(body=b"the same", content_based_deduplication=True)])
    engine.schedules.put(publish, "* * * * *", "s")

    await emulator.tenants.advance(FIRST_MINUTE_MS + MINUTE_MS)

    assert len(firings(engine)) == 3


async def test_every_firing_of_a_schedule_with_a_queue_joins_it():
    """SCH-16: and waits there for the ones before."""
    emulator, engine = an_emulator(T0, Hang())
    engine.schedules.put(a_publish(queue_name="q"), "* * * * *", "s")
    await quiet()

    for minute in range(3):
        emulator.clock.set(FIRST_MINUTE_MS + minute * MINUTE_MS)
        await quiet()

    assert engine.scheduler.in_flight == 1
    assert engine.queues.get("q")[1] == 3


async def test_with_queue_and_delay_a_message_joins_when_it_is_due():
    """SCH-14, SCH-16, QUE-30: the one that was enqueued meanwhile goes first."""
    emulator, engine = an_emulator(T0, Hang())
    engine.schedules.put(
        a_publish("http://localhost/s", queue_name="q", delay_ms=30_000),
        "* * * * *",
        "s",
    )
    await emulator.tenants.advance(FIRST_MINUTE_MS)
    engine.publish([a_publish("http://localhost/e", queue_name="q")])
    await quiet()

    emulator.clock.set(FIRST_MINUTE_MS + 30_000)
    await quiet()

    page, _ = engine.logs(LogQuery())
    assert [e.message.url[-1] for e in page if e.state is State.ACTIVE] == ["e"]
    assert engine.queues.get("q")[1] == 2


async def test_a_schedule_has_no_log_entries_of_its_own():
    """LOG-28."""
    emulator, engine = an_emulator()
    engine.schedules.put(a_publish(delay_ms=MINUTE_MS), "* * * * *", "s")
    engine.schedules.set_paused("s", True)
    engine.schedules.set_paused("s", False)

    await emulator.tenants.advance(FIRST_MINUTE_MS)

    page, _ = engine.logs(LogQuery())
    assert [entry.state for entry in page] == [State.CREATED]
    assert page[0].message.schedule_id == "s"


# URL groups


async def test_a_group_is_resolved_when_the_schedule_fires():
    """SCH-12, PUB-33: it needn't exist before."""
    emulator, engine = an_emulator()
    engine.schedules.put(to_group(), "* * * * *", "s")
    engine.url_groups.upsert_endpoints(
        "g", [Endpoint("http://a.example", "a"), Endpoint("http://b.example")]
    )
    await emulator.tenants.advance(FIRST_MINUTE_MS)
    engine.url_groups.remove_endpoints("g", [EndpointPattern(name="a")])

    await emulator.tenants.advance(FIRST_MINUTE_MS + MINUTE_MS)

    assert [entry.message.url for entry in created(engine)] == [
        "http://a.example",
        "http://b.example",
        "http://b.example",
    ]
    first = created(engine)[0].message
    assert (first.url_group_name, first.endpoint_name) == ("g", "a")


async def test_a_firing_to_a_group_that_is_gone_fails_and_says_why():
    """SCH-33, UGR-13: no message is made, and the schedule goes on."""
    emulator, engine = an_emulator()
    engine.schedules.put(to_group(), "* * * * *", "s")

    await emulator.tenants.advance(FIRST_MINUTE_MS)

    schedule = engine.schedules.get("s")
    assert schedule.error == "topic g not found"
    assert list(schedule.last_states) == []
    assert schedule.next_fire_ms == FIRST_MINUTE_MS + MINUTE_MS
    assert firings(engine) == []


async def test_a_later_success_clears_the_error_and_a_later_failure_sets_it_again():
    """SCH-33."""
    emulator, engine = an_emulator()
    engine.schedules.put(to_group(), "* * * * *", "s")
    await emulator.tenants.advance(FIRST_MINUTE_MS)

    engine.url_groups.upsert_endpoints("g", [Endpoint("http://a.example")])
    await emulator.tenants.advance(FIRST_MINUTE_MS + MINUTE_MS)
    schedule = engine.schedules.get("s")
    assert schedule.error is None
    assert len(schedule.last_states) == 1

    engine.url_groups.delete("g")
    await emulator.tenants.advance(FIRST_MINUTE_MS + 2 * MINUTE_MS)
    assert engine.schedules.get("s").error is not None
    assert len(firings(engine)) == 1


async def test_a_firing_that_needs_a_queue_too_many_fails_and_says_why():
    """SCH-33, LIM-7."""
    emulator, engine = an_emulator(quota="free", strict=True)
    for number in range(10):
        engine.queues.upsert(f"q{number}", parallelism=None, is_paused=None)
    engine.schedules.put(a_publish(queue_name="q"), "* * * * *", "s")

    await emulator.tenants.advance(FIRST_MINUTE_MS)
    assert "maxQueues" in (engine.schedules.get("s").error or "")
    assert firings(engine) == []
    engine.queues.delete("q0")
    await emulator.tenants.advance(FIRST_MINUTE_MS + MINUTE_MS)

    assert engine.schedules.get("s").error is None
    assert len(firings(engine)) == 1


# Last and next


async def test_a_schedule_says_when_it_fired_last_and_when_it_will_next():
    """SCH-20, SCH-30."""
    emulator, engine = an_emulator()
    engine.schedules.put(a_publish(), "*/10 * * * *", "s")
    schedule = engine.schedules.get("s")
    assert schedule.last_fire_ms is None
    assert list(schedule.last_states) == []
    assert shown([schedule.next_fire_ms]) == ["2023-11-14T22:20:00"]

    await emulator.tenants.advance(T0 + 10 * MINUTE_MS)

    schedule = engine.schedules.get("s")
    assert shown([schedule.last_fire_ms or 0]) == ["2023-11-14T22:20:00"]
    assert shown([schedule.next_fire_ms]) == ["2023-11-14T22:30:00"]


async def test_the_states_of_the_last_firing_are_those_of_its_messages():
    """SCH-27: in progress, delivered, failed, cancelled."""
    emulator, engine = an_emulator(T0, ERROR)
    publish = a_publish(options=Options(retries=1, retry_delay="5000"))
    engine.schedules.put(publish, "* * * * *", "s")

    await emulator.tenants.advance(FIRST_MINUTE_MS + 1000)
    ((message_id, state),) = engine.schedules.get("s").last_states
    assert state is None
    assert engine.message(message_id).schedule_id == "s"

    await emulator.tenants.advance(FIRST_MINUTE_MS + 5000)
    assert list(engine.schedules.get("s").last_states) == [(message_id, State.FAILED)]


async def test_a_retry_from_the_dlq_is_no_part_of_the_last_firing():
    """SCH-27, DLQ-33, DLQ-35: it is a new message of the same schedule."""
    emulator, engine = an_emulator(T0, ERROR, OK)
    engine.schedules.put(a_publish(options=Options(retries=0)), "* * * * *", "s")
    await emulator.tenants.advance(FIRST_MINUTE_MS)
    before = engine.schedules.get("s").last_states
    entries, _ = engine.dlq.list(DlqQuery())

    (receipt,) = engine.dlq.retry(entries, Overrides())
    await emulator.tenants.advance(FIRST_MINUTE_MS + 1000)

    assert engine.message(receipt.message_id).schedule_id == "s"
    assert engine.schedules.get("s").last_states == before


# Create and replace


async def test_an_id_is_made_up_where_none_is_given():
    """SCH-10."""
    _, engine = an_emulator()

    ids = [engine.schedules.put(a_publish(), "* * * * *", None) for _ in range(2)]

    assert len(set(ids)) == 2
    for schedule_id in ids:
        prefix, _, rest = schedule_id.partition("_")
        assert (prefix, len(rest)) == ("scd", 28)
    assert [schedule.schedule_id for schedule in engine.schedules.list()] == ids


async def test_a_schedule_of_that_id_is_replaced_whole():
    """SCH-8: nothing of the first is left."""
    emulator, engine = an_emulator()
    engine.schedules.put(
        a_publish(
            "http://localhost/first",
            body=b"body",
            header=("X-A", "1"),
            options=Options(retries=7, labels=("a",)),
            queue_name="q",
            delay_ms=5000,
        ),
        "* * * * *",
        "s",
    )
    await emulator.tenants.advance(FIRST_MINUTE_MS)
    second = a_publish("http://localhost/second")

    assert engine.schedules.put(second, "0 * * * *", "s") == "s"

    (schedule,) = engine.schedules.list()
    assert schedule.publish == second
    assert schedule.cron == "0 * * * *"
    assert shown([schedule.next_fire_ms]) == ["2023-11-14T23:00:00"]
    await emulator.tenants.advance(T0 + HOUR_MS)
    assert [entry.message.url[-6:] for entry in created(engine)] == [
        "/first",
        "second",
    ]


async def test_a_replaced_schedule_keeps_its_creation_time_and_its_pause():
    """SCH-9, Q-15."""
    emulator, engine = an_emulator()
    engine.schedules.put(a_publish(), "* * * * *", "s")
    engine.schedules.set_paused("s", True)
    await emulator.tenants.advance(T0 + HOUR_MS)

    engine.schedules.put(a_publish(), "*/2 * * * *", "s")
    await emulator.tenants.advance(T0 + 2 * HOUR_MS)

    schedule = engine.schedules.get("s")
    assert schedule.created_at_ms == T0
    assert schedule.is_paused
    assert firings(engine) == []


async def test_a_replacement_leaves_messages_alone():
    """SCH-8, SCH-23."""
    emulator, engine = an_emulator()
    engine.schedules.put(
        a_publish("http://a.example", delay_ms=10_000), "* * * * *", "s"
    )
    await emulator.tenants.advance(FIRST_MINUTE_MS)

    engine.schedules.put(a_publish("http://b.example"), "0 0 1 1 *", "s")
    await emulator.tenants.advance(None)

    page, _ = engine.logs(LogQuery())
    assert page[0].state is State.DELIVERED
    assert page[0].message.url == "http://a.example"


async def test_a_schedule_too_many_is_refused_and_replacing_one_never_is():
    """SCH-11, LIM-10."""
    _, engine = an_emulator(quota="free", strict=True)
    for number in range(10):
        engine.schedules.put(a_publish(), "* * * * *", f"s{number}")

    with pytest.raises(QuotaExceeded) as error:
        engine.schedules.put(a_publish(), "* * * * *", "one-more")
    assert error.value.status == 412
    engine.schedules.put(a_publish(), "0 * * * *", "s0")

    assert len(engine.schedules.list()) == 10


async def test_schedules_are_listed_in_the_order_of_their_creation():
    """SCH-22."""
    _, engine = an_emulator()
    for name in ("c", "a", "b"):
        engine.schedules.put(a_publish(), "* * * * *", name)
    engine.schedules.put(a_publish(), "0 * * * *", "a")

    assert [item.schedule_id for item in engine.schedules.list()] == ["c", "a", "b"]


# Pause


async def test_triggers_are_ignored_while_a_schedule_is_paused():
    """SCH-41: nothing is made up afterwards, and the last time doesn't move."""
    emulator, engine = an_emulator()
    engine.schedules.put(a_publish(), "* * * * *", "s")
    await emulator.tenants.advance(FIRST_MINUTE_MS)

    engine.schedules.set_paused("s", True)
    paused_until_ms = FIRST_MINUTE_MS + 10 * MINUTE_MS + 500
    await emulator.tenants.advance(paused_until_ms)
    schedule = engine.schedules.get("s")
    assert schedule.is_paused
    assert schedule.last_fire_ms == FIRST_MINUTE_MS
    assert schedule.next_fire_ms == FIRST_MINUTE_MS + 11 * MINUTE_MS

    engine.schedules.set_paused("s", False)
    await quiet()
    assert firings(engine) == [FIRST_MINUTE_MS]
    await emulator.tenants.advance(FIRST_MINUTE_MS + 11 * MINUTE_MS)
    assert firings(engine) == [FIRST_MINUTE_MS, FIRST_MINUTE_MS + 11 * MINUTE_MS]


async def test_a_schedule_resumed_at_a_matching_minute_fires_at_the_next():
    """SCH-41: that minute passed while it was paused."""
    emulator, engine = an_emulator()
    engine.schedules.put(a_publish(), "* * * * *", "s")
    engine.schedules.set_paused("s", True)
    await emulator.tenants.advance(FIRST_MINUTE_MS)

    engine.schedules.set_paused("s", False)
    await quiet()
    assert firings(engine) == []
    await emulator.tenants.advance(FIRST_MINUTE_MS + MINUTE_MS)

    assert firings(engine) == [FIRST_MINUTE_MS + MINUTE_MS]


@pytest.mark.parametrize("is_paused", [True, False])
async def test_repeating_a_pause_or_a_resume_is_harmless(is_paused):
    """SCH-40: it neither fires twice nor not at all."""
    emulator, engine = an_emulator()
    engine.schedules.put(a_publish(), "* * * * *", "s")

    for _ in range(3):
        engine.schedules.set_paused("s", is_paused)
    await emulator.tenants.advance(FIRST_MINUTE_MS)

    assert engine.schedules.get("s").is_paused is is_paused
    assert firings(engine) == ([] if is_paused else [FIRST_MINUTE_MS])


async def test_a_resume_of_a_schedule_that_is_not_paused_loses_no_firing():
    """SCH-40: though its minute has come, and it hasn't fired yet."""
    emulator, engine = an_emulator()
    engine.schedules.put(a_publish(), "* * * * *", "s")
    await quiet()
    emulator.clock.set(FIRST_MINUTE_MS)

    engine.schedules.set_paused("s", False)
    await quiet()

    assert firings(engine) == [FIRST_MINUTE_MS]


async def test_a_pause_leaves_messages_alone():
    """SCH-42."""
    emulator, engine = an_emulator(T0, ERROR, OK)
    publish = a_publish(options=Options(retry_delay="90000"))
    engine.schedules.put(publish, "* * * * *", "s")
    await emulator.tenants.advance(FIRST_MINUTE_MS)

    engine.schedules.set_paused("s", True)
    await emulator.tenants.advance(None)

    page, _ = engine.logs(LogQuery())
    assert page[0].state is State.DELIVERED
    assert emulator.clock.now_ms() == FIRST_MINUTE_MS + 90_000


@pytest.mark.parametrize("is_paused", [True, False])
async def test_an_unknown_schedule_cannot_be_paused_nor_resumed(is_paused):
    """SCH-40."""
    _, engine = an_emulator()

    with pytest.raises(NotFound):
        engine.schedules.set_paused("s", is_paused)


# Delete


async def test_a_deleted_schedule_fires_no_more_and_is_not_found():
    """SCH-22, SCH-23."""
    emulator, engine = an_emulator()
    engine.schedules.put(a_publish(), "* * * * *", "s")
    await emulator.tenants.advance(FIRST_MINUTE_MS)

    engine.schedules.delete("s")
    await emulator.tenants.advance(FIRST_MINUTE_MS + HOUR_MS)

    assert firings(engine) == [FIRST_MINUTE_MS]
    assert engine.schedules.list() == []
    with pytest.raises(NotFound):
        engine.schedules.get("s")


async def test_deleting_a_schedule_leaves_messages_alone():
    """SCH-23."""
    emulator, engine = an_emulator()
    engine.schedules.put(a_publish(delay_ms=10_000), "* * * * *", "s")
    await emulator.tenants.advance(FIRST_MINUTE_MS)

    engine.schedules.delete("s")
    await emulator.tenants.advance(None)

    page, _ = engine.logs(LogQuery())
    assert [entry.state for entry in page] == [
        State.DELIVERED,
        State.ACTIVE,
        State.CREATED,
    ]


async def test_deleting_an_unknown_schedule_is_harmless():
    """SCH-23, Q-17."""
    _, engine = an_emulator()

    engine.schedules.delete("s")

    assert engine.schedules.list() == []


async def test_a_schedule_made_anew_under_an_old_id_starts_afresh():
    """SCH-8, SCH-23: neither paused, nor with the old times, and fires once."""
    emulator, engine = an_emulator()
    engine.schedules.put(a_publish(), "* * * * *", "s")
    engine.schedules.set_paused("s", True)
    engine.schedules.delete("s")
    await emulator.tenants.advance(T0 + 1000)

    engine.schedules.put(a_publish(), "* * * * *", "s")
    schedule = engine.schedules.get("s")
    assert schedule.created_at_ms == T0 + 1000
    assert not schedule.is_paused
    await emulator.tenants.advance(FIRST_MINUTE_MS)

    assert firings(engine) == [FIRST_MINUTE_MS]


# Borders


async def test_a_schedule_that_fires_at_the_end_of_the_calendar_fires_once():
    """SCH-30, SCH-31: there is no later match, and it doesn't fire for ever."""
    emulator, engine = an_emulator(LAST_MINUTE_MS - 60_000)
    engine.schedules.put(a_publish(), "59 23 * * *", "s")

    await emulator.tenants.advance(LAST_MINUTE_MS + 600_000)

    schedule = engine.schedules.get("s")
    assert schedule.last_fire_ms == LAST_MINUTE_MS
    assert len(schedule.last_states) == 1
    assert schedule.next_fire_ms > LAST_MINUTE_MS


async def test_a_schedule_remembers_the_messages_of_its_last_firing_only():
    """SCH-27: one that an earlier firing made ends later, and changes nothing."""
    emulator, engine = an_emulator()
    engine.schedules.put(a_publish(delay_ms=90_000), "* * * * *", "s")
    fired_ms = engine.schedules.get("s").next_fire_ms

    await emulator.tenants.advance(fired_ms + 60_000)
    states = engine.schedules.get("s").last_states
    await emulator.tenants.advance(fired_ms + 90_000)

    assert [state for _, state in states] == [None]
    assert engine.schedules.get("s").last_states == states
    await emulator.tenants.advance(fired_ms + 119_999)
    assert engine.pending == 1


async def test_each_message_of_a_firing_has_its_own_final_state():
    """SCH-27, PUB-33."""
    emulator, engine = an_emulator()
    engine.url_groups.upsert_endpoints(
        "g", [Endpoint("http://a.example"), Endpoint("http://b.example")]
    )
    engine.schedules.put(to_group(delay_ms=10_000), "* * * * *", "s")
    fired_ms = engine.schedules.get("s").next_fire_ms
    await emulator.tenants.advance(fired_ms)
    (first, _), _ = engine.schedules.get("s").last_states

    engine.cancel(first)
    await emulator.tenants.advance(fired_ms + 10_000)

    states = [state for _, state in engine.schedules.get("s").last_states]
    assert states == [State.CANCELLED, State.DELIVERED]


async def test_a_firing_for_which_there_is_no_room_fails_and_goes_on():
    """SCH-33."""
    emulator, engine = an_emulator(T0, max_pending_bytes=1_000)
    engine.schedules.put(a_publish(), "* * * * *", "s")
    engine.publish([a_publish(delay_ms=90_000)])

    await emulator.tenants.advance(FIRST_MINUTE_MS)
    full = engine.schedules.get("s")
    await emulator.tenants.advance(FIRST_MINUTE_MS + 2 * MINUTE_MS)
    free = engine.schedules.get("s")

    assert "max-pending-bytes" in full.error
    assert list(full.last_states) == []
    assert free.error is None
    assert len(free.last_states) == 1
