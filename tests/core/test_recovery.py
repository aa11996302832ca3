"""emulator/core/recovery.py: what an interruption makes of what was read back."""

from itertools import pairwise

from emulator.core.lifecycle import MOVES
from emulator.core.model import LogEntry, Progress, State
from emulator.core.recovery import INTERRUPTED, recover
from emulator.core.resources import Schedule
from tests.doubles import T0, a_message, a_publish

NOW_MS = T0 + 90_000

MESSAGE = a_message()


def under_way(**changes):
    fields = {"message": MESSAGE, "state": State.ACTIVE, "due_ms": T0, "retried": 2}
    return Progress(**{**fields, **changes})


def a_schedule(**changes):
    fields = {
        "schedule_id": "scd_1",
        "cron": "* * * * *",
        "publish": a_publish(),
        "created_at_ms": T0,
        "next_fire_ms": NOW_MS + 1,
    }
    return Schedule(**{**fields, **changes})


def test_an_interrupted_delivery_is_made_again_at_once_and_counts_as_no_retry():
    after = recover([under_way()], [], now_ms=NOW_MS)

    assert after.progress == (Progress(MESSAGE, State.RETRY, NOW_MS, 2),)
    assert after.log == (
        LogEntry(NOW_MS, State.ERROR, MESSAGE, 2, outcome=INTERRUPTED),
        LogEntry(NOW_MS, State.RETRY, MESSAGE, 2, next_delivery_ms=NOW_MS),
    )


def test_an_interrupted_delivery_of_a_cancelled_message_is_not_made_again():
    """MSG-12, MSG-13."""
    after = recover([under_way(cancel_requested=True)], [], now_ms=NOW_MS)

    assert after.progress == (Progress(MESSAGE, State.CANCELLED, NOW_MS, 2),)
    assert [entry.state for entry in after.log] == [State.ERROR, State.CANCELLED]
    assert after.dlq_added == ()


def test_the_log_of_an_interruption_has_legal_moves_alone():
    for cancelled in (False, True):
        after = recover([under_way(cancel_requested=cancelled)], [], now_ms=NOW_MS)
        states = [State.ACTIVE, *(entry.state for entry in after.log)]

        assert all(later in MOVES[earlier] for earlier, later in pairwise(states))


def test_missed_firings_are_not_made_up():
    """SCH-35, SCH-30."""
    missed = a_schedule(next_fire_ms=T0)

    (schedule,) = recover([], [missed], now_ms=NOW_MS).schedules

    assert NOW_MS < schedule.next_fire_ms <= NOW_MS + 60_000
    assert schedule.last_fire_ms is None


def test_a_schedule_whose_next_firing_lies_ahead_is_left_alone():
    assert recover([], [a_schedule()], now_ms=NOW_MS).schedules == ()
