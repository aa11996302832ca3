"""emulator/core/resources.py: the values, and what they are unless told otherwise."""

from dataclasses import FrozenInstanceError

import pytest

from emulator.core.resources import (
    NOTHING_DECLARED,
    Declared,
    Endpoint,
    FlowKey,
    Queue,
    Schedule,
    UrlGroup,
)
from tests.doubles import T0, a_publish

QUEUE = Queue(name="q", created_at_ms=T0, updated_at_ms=T0)
KEY = FlowKey(key="k")
GROUP = UrlGroup(
    name="g", created_at_ms=T0, updated_at_ms=T0, endpoints=(Endpoint("http://a"),)
)
SCHEDULE = Schedule(
    schedule_id="scd_1",
    cron="* * * * *",
    publish=a_publish(),
    created_at_ms=T0,
    next_fire_ms=T0,
)


@pytest.mark.parametrize(
    "value",
    [QUEUE, KEY, GROUP, SCHEDULE, NOTHING_DECLARED],
    ids=lambda v: type(v).__name__,
)
def test_values_never_change(value):
    name = type(value).__dataclass_fields__.copy().popitem()[0]

    with pytest.raises(FrozenInstanceError):
        setattr(value, name, None)


def test_a_queue_takes_one_message_at_a_time_and_is_not_paused():
    """ENQ-2."""
    assert (QUEUE.parallelism, QUEUE.is_paused) == (1, False)


def test_a_key_has_no_limits_and_a_period_of_a_second():
    """FLC-20, MSG-4."""
    assert (KEY.parallelism, KEY.rate, KEY.period_s) == (None, None, 1)
    assert not any((KEY.is_paused, KEY.is_pinned_parallelism, KEY.is_pinned_rate))


def test_an_endpoint_needs_no_name():
    """UGR-1."""
    assert GROUP.endpoints[0].name is None


def test_a_new_schedule_has_not_fired_and_has_no_error():
    """SCH-20."""
    assert SCHEDULE.last_fire_ms is None
    assert list(SCHEDULE.last_states) == []
    assert SCHEDULE.error is None


def test_nothing_is_declared_unless_somebody_does():
    assert Declared(queues=(), url_groups=(), schedules=()) == NOTHING_DECLARED
