"""What messages change beside themselves (ENQ-2, FLC-4, FLC-21, SCH-27)."""

from dataclasses import replace

from emulator.core.consequences import with_consequences
from emulator.core.model import FlowControl, Options, Progress, State
from emulator.core.resources import FlowKey, Queue
from emulator.core.schedules import fired, put
from emulator.core.transition import Transition
from tests.doubles import T0, a_message, a_publish


def transition_of(*items):
    """Make a transition of states and what is special about each message."""
    return Transition(
        progress=tuple(
            Progress(a_message(message_id=f"msg_{number}", **fields), state, T0)
            for number, (state, fields) in enumerate(items)
        )
    )


def consequences(transition, *, queues=(), flow_keys=(), schedules=()):
    return with_consequences(
        transition,
        queues_now={queue.name: queue for queue in queues},
        flow_keys_now={key.key: key for key in flow_keys},
        schedules_now={schedule.schedule_id: schedule for schedule in schedules},
        now_ms=T0,
    )


def keyed(key="k", **limits):
    return {"options": Options(flow_control=FlowControl(key=key, **limits))}


def a_schedule(*message_ids):
    schedule = put(None, "scd_1", a_publish(), "* * * * *", now_ms=T0)
    return fired(schedule, message_ids, now_ms=T0)


def test_a_plain_message_changes_nothing_else():
    transition = transition_of((State.CREATED, {}), (State.DELIVERED, {}))

    assert consequences(transition) is transition


def test_a_new_message_makes_its_queue():
    """ENQ-2, QUE-10, QUE-19."""
    after = consequences(transition_of((State.CREATED, {"queue_name": "q"})))

    assert after.queues == (Queue(name="q", created_at_ms=T0, updated_at_ms=T0),)


def test_a_queue_that_exists_is_left_as_it_is():
    """ENQ-2."""
    queue = Queue(name="q", created_at_ms=0, updated_at_ms=0, parallelism=5)
    transition = transition_of((State.CREATED, {"queue_name": "q"}))

    assert consequences(transition, queues=[queue]).queues == ()


def test_many_new_messages_make_one_queue():
    """ENQ-2."""
    new = (State.CREATED, {"queue_name": "q"})

    assert len(consequences(transition_of(new, new)).queues) == 1


def test_a_message_that_is_not_new_makes_no_queue():
    transition = transition_of((State.RETRY, {"queue_name": "q"}))

    assert consequences(transition) is transition


def test_a_new_message_configures_its_key():
    """FLC-4, FLC-21."""
    after = consequences(transition_of((State.CREATED, keyed(rate=5, period_s=60))))

    assert after.flow_keys == (FlowKey(key="k", rate=5, period_s=60),)


def test_of_two_new_messages_the_later_configures():
    """FLC-4."""
    after = consequences(
        transition_of((State.CREATED, keyed(rate=5)), (State.CREATED, keyed(rate=9)))
    )

    assert after.flow_keys == (FlowKey(key="k", rate=9),)


def test_what_is_pinned_stays():
    """FLC-24."""
    pinned = FlowKey(key="k", rate=1, is_pinned_rate=True)
    transition = transition_of((State.CREATED, keyed(rate=9, parallelism=2)))

    after = consequences(transition, flow_keys=[pinned])

    assert after.flow_keys == (replace(pinned, parallelism=2),)


def test_a_key_that_stays_as_it_is_is_no_change():
    """FLC-4."""
    transition = transition_of((State.CREATED, keyed(rate=5)))

    assert (
        consequences(transition, flow_keys=[FlowKey(key="k", rate=5)]).flow_keys == ()
    )


def test_a_schedule_remembers_the_final_states_of_its_last_firing():
    """SCH-27."""
    transition = transition_of(
        (State.DELIVERED, {"schedule_id": "scd_1"}),
        (State.FAILED, {"schedule_id": "scd_1"}),
    )

    after = consequences(transition, schedules=[a_schedule("msg_0", "msg_1")])

    assert [list(schedule.last_states) for schedule in after.schedules] == [
        [("msg_0", State.DELIVERED), ("msg_1", State.FAILED)]
    ]


def test_a_message_of_an_earlier_firing_is_not_remembered():
    """SCH-27."""
    transition = transition_of((State.DELIVERED, {"schedule_id": "scd_1"}))

    assert consequences(transition, schedules=[a_schedule("msg_9")]) is transition


def test_a_schedule_that_was_deleted_remembers_nothing():
    """SCH-23."""
    transition = transition_of((State.DELIVERED, {"schedule_id": "scd_1"}))

    assert consequences(transition) is transition


def test_what_was_in_the_transition_stays():
    other = Queue(name="other", created_at_ms=T0, updated_at_ms=T0)
    queued = transition_of((State.CREATED, {"queue_name": "q"}))
    transition = queued._replace(queues=(other,))

    assert [queue.name for queue in consequences(transition).queues] == ["other", "q"]
