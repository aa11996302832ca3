"""What a request, a firing and a finished message make of a schedule (SCH)."""

from dataclasses import replace

from emulator.core import cron
from emulator.core.model import Progress, State
from emulator.core.schedules import (
    brought_forward,
    failed,
    fired,
    is_of_last_firing,
    put,
    with_final,
)
from tests.doubles import T0, a_message, a_publish

MINUTE_MS = 60_000
NEXT_MS = T0 // MINUTE_MS * MINUTE_MS + MINUTE_MS
EVERY_MINUTE = "* * * * *"


def a_schedule(before=None, *, publish=None, expression=EVERY_MINUTE, now_ms=T0):
    return put(before, "scd_1", publish or a_publish(), expression, now_ms=now_ms)


def final(message_id, state):
    return Progress(a_message(message_id=message_id), state, T0)


def test_a_new_schedule_fires_first_at_the_next_match():
    """SCH-31."""
    schedule = a_schedule()

    assert schedule.next_fire_ms == NEXT_MS
    assert schedule.created_at_ms == T0
    assert not schedule.is_paused
    assert schedule.last_fire_ms is None


def test_a_replaced_schedule_keeps_its_creation_and_its_pause():
    """SCH-9."""
    before = replace(a_schedule(), is_paused=True)

    after = a_schedule(before, now_ms=T0 + 5_000)

    assert (after.created_at_ms, after.is_paused) == (T0, True)


def test_nothing_else_of_a_replaced_schedule_is_kept():
    """SCH-8."""
    before = failed(a_schedule(publish=a_publish(body=b"old")), "gone", now_ms=T0)

    after = a_schedule(before, publish=a_publish(body=b""), expression="0 * * * *")

    assert after == a_schedule(publish=a_publish(body=b""), expression="0 * * * *")


def test_the_next_firing_of_a_paused_schedule_goes_on():
    """SCH-41."""
    paused = replace(a_schedule(), is_paused=True)

    later = brought_forward(paused, now_ms=NEXT_MS + 10 * MINUTE_MS)

    assert later.next_fire_ms == NEXT_MS + 11 * MINUTE_MS
    assert brought_forward(paused, now_ms=T0) is paused


def test_a_firing_remembers_its_messages_and_sets_the_next():
    """SCH-27, SCH-32."""
    schedule = fired(a_schedule(), ["msg_1", "msg_2"], now_ms=NEXT_MS)

    assert schedule.last_fire_ms == NEXT_MS
    assert list(schedule.last_states) == [("msg_1", None), ("msg_2", None)]
    assert schedule.next_fire_ms == NEXT_MS + MINUTE_MS


def test_a_firing_that_fails_says_why_and_goes_on():
    """SCH-33."""
    schedule = failed(a_schedule(), "topic g not found", now_ms=NEXT_MS)

    assert schedule.error == "topic g not found"
    assert list(schedule.last_states) == []
    assert schedule.next_fire_ms == NEXT_MS + MINUTE_MS


def test_a_success_clears_the_error():
    """SCH-33."""
    schedule = failed(a_schedule(), "topic g not found", now_ms=NEXT_MS)

    assert fired(schedule, ["msg_1"], now_ms=NEXT_MS + MINUTE_MS).error is None


def test_a_final_state_is_remembered_for_its_message_only():
    """SCH-27."""
    schedule = fired(a_schedule(), ["msg_1", "msg_2"], now_ms=NEXT_MS)

    after = with_final(schedule, final("msg_2", State.FAILED))

    assert list(after.last_states) == [("msg_1", None), ("msg_2", State.FAILED)]


def test_only_a_message_of_the_last_firing_is_waited_for():
    """SCH-27."""
    schedule = fired(a_schedule(), ["msg_1", "msg_2"], now_ms=NEXT_MS)
    after = with_final(schedule, final("msg_1", State.DELIVERED))

    assert is_of_last_firing(after, "msg_2")
    assert not is_of_last_firing(after, "msg_1")
    assert not is_of_last_firing(after, "msg_3")


def test_beyond_the_last_match_a_schedule_never_fires():
    """SCH-30: cron expressions end with the year 9999."""
    end_ms = cron.NEVER_MS

    assert a_schedule(now_ms=end_ms).next_fire_ms == cron.NEVER_MS
