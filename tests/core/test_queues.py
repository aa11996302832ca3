"""What an upsert and a pause make of a queue (QUE-1, QUE-2, QUE-9, ENQ-2)."""

from emulator.core.queues import new_queue, set_paused, upsert
from emulator.core.resources import Queue
from tests.doubles import T0


def a_queue(**changes):
    fields = {"name": "emails", "created_at_ms": T0, "updated_at_ms": T0}
    return Queue(**{**fields, **changes})


def test_a_queue_made_on_the_fly_takes_one_at_a_time_and_is_not_paused():
    """ENQ-2."""
    assert new_queue("emails", now_ms=T0) == a_queue(parallelism=1, is_paused=False)


def test_an_upsert_creates_what_is_not_there():
    """QUE-2."""
    queue = upsert(None, "emails", parallelism=3, is_paused=True, now_ms=T0)

    assert queue == a_queue(parallelism=3, is_paused=True)


def test_an_upsert_keeps_when_the_queue_was_created():
    """QUE-1: it is an update."""
    queue = upsert(a_queue(), "emails", parallelism=2, is_paused=False, now_ms=T0 + 5)

    assert queue == a_queue(parallelism=2, updated_at_ms=T0 + 5)


def test_an_upsert_without_parallelism_sets_it_to_one():
    """QUE-2."""
    before = a_queue(parallelism=7)

    assert upsert(
        before, "emails", parallelism=None, is_paused=None, now_ms=T0
    ) == a_queue(parallelism=1)


def test_an_upsert_that_does_not_mention_the_pause_keeps_it():
    """QUE-2."""
    before = a_queue(is_paused=True)

    assert upsert(
        before, "emails", parallelism=2, is_paused=None, now_ms=T0
    ) == a_queue(parallelism=2, is_paused=True)


def test_a_pause_and_a_resume_are_updates():
    """QUE-1, QUE-9."""
    paused = set_paused(a_queue(), True, now_ms=T0 + 1)

    assert paused == a_queue(is_paused=True, updated_at_ms=T0 + 1)
    assert set_paused(paused, False, now_ms=T0 + 2) == a_queue(updated_at_ms=T0 + 2)
