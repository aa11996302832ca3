"""emulator/engine/store.py: all state of one user, changed by transitions alone."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.core.limits import PROFILES
from emulator.core.model import (
    FINAL_STATES,
    Deduplication,
    DlqEntry,
    LogEntry,
    Progress,
    Responded,
    SigningKeys,
    State,
)
from emulator.core.resources import Endpoint, FlowKey, Queue, Schedule, UrlGroup
from emulator.core.transition import Transition
from emulator.engine import store as store_module
from emulator.engine.persistence import Saved
from emulator.engine.store import Store
from emulator.errors import Overloaded
from tests.doubles import T0, a_message, a_publish

few = settings(max_examples=50, deadline=None)

KEYS = SigningKeys("sig_1", "sig_2")
LIMITS = PROFILES["free"]
GRACE_MS = 60_000
RETENTION_MS = 3 * 86_400_000  # LIM-6, of log and DLQ


def a_store(*transitions, now_ms=T0, **changes):
    """A store to which transitions have been applied at T0."""
    fields = {
        "keys": KEYS,
        "limits": LIMITS,
        "grace_ms": GRACE_MS,
        "max_log_entries": 100,
        "max_dlq_entries": 100,
        "max_pending_bytes": 10**6,
    }
    store = Store(**{**fields, **changes})
    for transition in transitions:
        store.apply(transition, now_ms)
    return store


def moved(message_id, state, due_ms=T0):
    """A message has moved to a state."""
    message = a_message(message_id=message_id)
    return Transition(progress=(Progress(message, state, due_ms),))


def an_entry(dlq_id, failed_at_ms=T0):
    return DlqEntry(
        dlq_id=dlq_id,
        failed_at_ms=failed_at_ms,
        message=a_message(),
        retried=3,
        outcome=Responded(500),
    )


def a_window(key="id:1", message_id="msg_1", until_ms=T0 + 600_000):
    return Transition(deduplications=(Deduplication(key, message_id, until_ms),))


def logged(time_ms=T0):
    return Transition(log=(LogEntry(time_ms, State.CREATED, a_message()),))


def pending(store):
    return [item.message.message_id for item in store.pending_messages()]


def dlq(store, now_ms=T0):
    return [entry.dlq_id for entry in store.dlq_entries(now_ms)]


# Messages


def test_a_new_store_has_nothing_but_keys():
    store = a_store()

    assert store.keys == KEYS
    assert store.pending == len(store.log) == 0
    assert (pending(store), dlq(store)) == ([], [])


def test_a_message_is_known_from_its_first_transition_on():
    """MSG-6, BASE-15."""
    store = a_store(moved("msg_1", State.CREATED))

    assert store.progress("msg_1", T0).state is State.CREATED
    assert store.progress("msg_2", T0) is None


def test_the_last_transition_holds():
    store = a_store(moved("msg_1", State.CREATED), moved("msg_1", State.ACTIVE, T0 + 5))

    assert store.progress("msg_1", T0).state is State.ACTIVE
    assert store.pending == 1


def test_pending_messages_come_oldest_first_whatever_has_moved_since():
    """MSG-28."""
    store = a_store(
        moved("msg_1", State.CREATED),
        moved("msg_2", State.CREATED),
        moved("msg_3", State.CREATED),
        moved("msg_1", State.ACTIVE),
        moved("msg_2", State.DELIVERED),
    )

    assert pending(store) == ["msg_1", "msg_3"]
    assert store.pending == 2


@pytest.mark.parametrize("final", [State.DELIVERED, State.FAILED, State.CANCELLED])
def test_a_finished_message_can_be_read_until_its_grace_is_over(final):
    """MSG-8, MSG-9."""
    store = a_store(moved("msg_1", final, T0 + 100))

    assert store.progress("msg_1", T0 + 100 + GRACE_MS - 1).state is final
    assert store.progress("msg_1", T0 + 100 + GRACE_MS) is None


def test_the_grace_is_a_setting():
    """MSG-8."""
    store = a_store(moved("msg_1", State.DELIVERED), grace_ms=0)

    assert store.progress("msg_1", T0) is None


@pytest.mark.parametrize("state", [State.CREATED, State.ACTIVE, State.RETRY])
def test_a_message_that_is_not_final_never_expires(state):
    store = a_store(moved("msg_1", state))

    store.apply(Transition(), T0 + 10**12)

    assert store.progress("msg_1", T0 + 10**12).state is state
    assert pending(store) == ["msg_1"]


def test_a_finished_message_is_removed_for_good_with_the_next_change():
    """Otherwise a clock that is set back would bring it to life again."""
    store = a_store(moved("msg_1", State.DELIVERED))

    store.apply(Transition(), T0 + GRACE_MS)

    assert store.progress("msg_1", T0) is None


# Deduplication


def test_a_window_is_open_until_its_end():
    """DED-2."""
    store = a_store(a_window("id:1", "msg_1", T0 + 600_000))

    assert store.duplicate_of("id:1", T0) == "msg_1"
    assert store.duplicate_of("id:1", T0 + 599_999) == "msg_1"
    assert store.duplicate_of("id:1", T0 + 600_000) is None
    assert store.duplicate_of("id:2", T0) is None


def test_a_new_window_of_a_key_outlives_the_end_of_the_old_one():
    """DED-2."""
    store = a_store(a_window("id:1", "msg_1", T0 + 600_000))

    store.apply(a_window("id:1", "msg_2", T0 + 1_200_000), T0 + 599_999)
    store.apply(Transition(), T0 + 600_000)

    assert store.duplicate_of("id:1", T0 + 600_000) == "msg_2"


def test_the_end_of_a_message_does_not_end_its_window():
    """DED-3, Q-31."""
    store = a_store(
        a_window("id:1", "msg_1"), moved("msg_1", State.CANCELLED), grace_ms=0
    )

    store.apply(Transition(), T0 + 1)

    assert store.duplicate_of("id:1", T0 + 1) == "msg_1"


# DLQ


def test_dlq_entries_come_oldest_first():
    """DLQ-6."""
    store = a_store(
        Transition(dlq_added=(an_entry("1-0"), an_entry("1-1"))),
        Transition(dlq_added=(an_entry("2-0"),)),
    )

    assert dlq(store) == ["1-0", "1-1", "2-0"]
    assert store.dlq_entry("1-1", T0) == an_entry("1-1")


def test_a_dlq_entry_that_was_taken_out_is_gone():
    """DLQ-20, DLQ-33."""
    store = a_store(
        Transition(dlq_added=(an_entry("1-0"), an_entry("2-0"))),
        Transition(dlq_removed=("1-0",)),
    )

    assert dlq(store) == ["2-0"]
    assert store.dlq_entry("1-0", T0) is None


def test_a_dlq_entry_expires_after_its_retention():
    """DLQ-39, LIM-6."""
    store = a_store(
        Transition(dlq_added=(an_entry("1-0", T0), an_entry("2-0", T0 + 1)))
    )
    end_ms = T0 + RETENTION_MS

    assert dlq(store, end_ms - 1) == ["1-0", "2-0"]
    assert dlq(store, end_ms) == ["2-0"]
    assert store.dlq_entry("1-0", end_ms) is None
    assert store.dlq_entry("2-0", end_ms) is not None


def test_an_expired_dlq_entry_is_removed_for_good_with_the_next_change():
    store = a_store(
        Transition(dlq_added=(an_entry("1-0", T0), an_entry("2-0", T0 + 1)))
    )

    store.apply(Transition(), T0 + RETENTION_MS)

    assert dlq(store, T0) == ["2-0"]


def test_taking_out_an_entry_that_has_just_expired_is_harmless():
    """Between a look-up and the change, a millisecond may pass."""
    store = a_store(Transition(dlq_added=(an_entry("1-0"),)))

    store.apply(Transition(dlq_removed=("1-0",)), T0 + RETENTION_MS)

    assert dlq(store, T0) == []


# Queues, URL groups, flow control, schedules

NAMED = {
    "queues": lambda name: Queue(name=name, created_at_ms=T0, updated_at_ms=T0),
    "url_groups": lambda name: UrlGroup(
        name=name,
        created_at_ms=T0,
        updated_at_ms=T0,
        endpoints=(Endpoint("https://a.example"),),
    ),
    "flow_keys": lambda name: FlowKey(key=name),
    "schedules": lambda name: Schedule(
        schedule_id=name,
        cron="* * * * *",
        publish=a_publish(),
        created_at_ms=T0,
        next_fire_ms=T0,
    ),
}


@pytest.mark.parametrize("kind", NAMED)
def test_what_has_a_name_is_kept_in_order_of_creation(kind):
    """QUE-5."""
    one, other = NAMED[kind]("b"), NAMED[kind]("a")

    store = a_store(Transition(**{kind: (one,)}), Transition(**{kind: (other,)}))

    assert dict(getattr(store, kind)) == {"b": one, "a": other}
    assert list(getattr(store, kind)) == ["b", "a"]


@pytest.mark.parametrize("kind", NAMED)
def test_a_change_of_what_has_a_name_replaces_it_in_place(kind):
    first, changed = NAMED[kind]("b"), NAMED[kind]("b")
    other = NAMED[kind]("a")

    store = a_store(
        Transition(**{kind: (first, other)}), Transition(**{kind: (changed,)})
    )

    assert list(getattr(store, kind).values()) == [changed, other]
    assert getattr(store, kind)["b"] is changed


@pytest.mark.parametrize("kind", ["queues", "url_groups", "schedules"])
def test_what_has_a_name_can_be_removed(kind):
    store = a_store(
        Transition(**{kind: (NAMED[kind]("a"), NAMED[kind]("b"))}),
        Transition(**{f"{kind}_removed": ("a",)}),
    )

    assert list(getattr(store, kind)) == ["b"]


@pytest.mark.parametrize("kind", NAMED)
def test_a_reset_forgets_what_has_a_name(kind):
    store = a_store(Transition(**{kind: (NAMED[kind]("a"),)}), Transition(reset=True))

    assert dict(getattr(store, kind)) == {}


@pytest.mark.parametrize("kind", NAMED)
def test_nobody_changes_the_store_through_a_look_up(kind):
    store = a_store()

    with pytest.raises(TypeError):
        getattr(store, kind)["a"] = NAMED[kind]("a")


@pytest.mark.parametrize(
    ("states", "lag"),
    [
        ([State.CREATED], 1),
        ([State.CREATED, State.ACTIVE], 1),
        ([State.CREATED, State.ACTIVE, State.RETRY], 1),
        ([State.CREATED, State.ACTIVE, State.DELIVERED], 0),
        ([State.CREATED, State.ACTIVE, State.FAILED], 0),
        ([State.CREATED, State.CANCELLED], 0),
    ],
)
def test_a_queue_s_lag_counts_its_messages_until_they_are_final(states, lag):
    """QUE-1, QUE-21."""
    message = a_message(queue_name="q")
    store = a_store(
        *(Transition(progress=(Progress(message, state, T0),)) for state in states)
    )

    assert (store.lag("q"), store.lag("another")) == (lag, 0)


@pytest.mark.parametrize("state", [State.CREATED, State.RETRY])
def test_only_a_waiting_message_is_waiting(state):
    store = a_store(moved("msg_1", state), moved("msg_2", State.ACTIVE))

    assert store.is_waiting("msg_1")
    assert not store.is_waiting("msg_2")
    assert not store.is_waiting("msg_3")


# Log, keys, reset


def test_the_log_is_kept_for_its_retention():
    """LIM-6, LOG-11."""
    store = a_store(logged(T0), logged(T0 + 1))

    store.apply(Transition(), T0 + RETENTION_MS + 1)

    assert [entry.time_ms for _, entry in store.log.oldest_first(None)] == [T0 + 1]
    assert store.log_horizon_ms(T0 + RETENTION_MS) == T0


def test_the_log_has_a_largest_size():
    """LOG-11."""
    store = a_store(*[logged(T0 + number) for number in range(7)], max_log_entries=5)

    assert len(store.log) == 5


def test_keys_stay_unless_a_transition_has_new_ones():
    """KEY-3."""
    fresh = SigningKeys("sig_2", "sig_3")
    store = a_store(Transition(keys=fresh), Transition())

    assert store.keys == fresh


def test_a_reset_forgets_everything_and_keeps_the_keys():
    store = a_store(
        moved("msg_1", State.CREATED),
        moved("msg_2", State.DELIVERED),
        a_window("id:1"),
        Transition(dlq_added=(an_entry("1-0"),)),
        logged(),
        Transition(reset=True),
    )

    assert store.keys == KEYS
    assert store.pending == len(store.log) == 0
    assert store.progress("msg_1", T0) is store.progress("msg_2", T0) is None
    assert store.duplicate_of("id:1", T0) is None
    assert (pending(store), dlq(store)) == ([], [])


def test_a_reset_forgets_before_the_rest_of_its_transition_is_applied():
    store = a_store(
        moved("msg_1", State.CREATED),
        Transition(
            reset=True,
            keys=SigningKeys("sig_5", "sig_6"),
            progress=moved("msg_2", State.CREATED).progress,
        ),
    )

    assert pending(store) == ["msg_2"]
    assert store.keys == SigningKeys("sig_5", "sig_6")


def test_what_was_finished_before_a_reset_does_not_disturb_what_comes_after():
    store = a_store(
        moved("msg_1", State.DELIVERED), a_window("id:1"), Transition(reset=True)
    )

    store.apply(moved("msg_1", State.CREATED), T0)
    store.apply(Transition(), T0 + 10**9)

    assert pending(store) == ["msg_1"]


states = st.sampled_from(
    [State.CREATED, State.ACTIVE, State.RETRY, State.DELIVERED, State.CANCELLED]
)
moves = st.lists(
    st.tuples(st.integers(0, 4), states, st.integers(0, 40_000)), max_size=30
)


@few
@given(moves)
def test_the_count_of_pending_messages_is_that_of_the_listing(steps):
    """No final message moves again: the life cycle sees to it."""
    store = a_store()
    now_ms = T0
    final = set()
    for number, state, passed_ms in steps:
        now_ms += passed_ms
        if number in final:
            continue
        progress = moved(f"msg_{number}", state, now_ms)
        store.apply(progress, now_ms)
        if progress.progress[0].is_final:
            final.add(number)

        assert store.pending == len(pending(store))
        assert not {f"msg_{number}" for number in final} & set(pending(store))


@few
@given(
    st.sampled_from([State.CREATED, State.RETRY, State.ACTIVE]),
    st.integers(T0, T0 + 2),
    st.integers(0, 1),
)
def test_progress_is_read_as_it_was_written(state, due_ms, retried):
    """Of a message that has only been created, itself is kept if it tells all."""
    progress = Progress(a_message(), state, due_ms, retried)
    store = a_store(Transition(progress=(progress,)))

    assert store.progress("msg_1", T0) == progress
    assert list(store.pending_messages()) == [progress]
    assert store.is_waiting("msg_1") is progress.is_waiting


# Bounds


def added(*entries):
    return Transition(dlq_added=entries)


def a_long_entry(dlq_id, length):
    outcome = Responded(500, body=bytes(length))
    return an_entry(dlq_id)._replace(outcome=outcome)


def test_the_dlq_says_which_of_its_oldest_have_to_go_for_others():
    store = a_store(added(an_entry("1-0"), an_entry("2-0")), max_dlq_entries=2)

    assert store.dlq_overflow([]) == ()
    assert store.dlq_overflow([an_entry("3-0")]) == ("1-0",)
    assert store.dlq_overflow([an_entry(f"{n}-0") for n in (3, 4, 5)]) == (
        *("1-0", "2-0", "3-0"),
    )


def test_the_dlq_is_bounded_by_how_long_its_entries_are(monkeypatch):
    monkeypatch.setattr(store_module, "_MAX_DLQ_BYTES", 10_000)
    store = a_store(added(a_long_entry("1-0", 4000), a_long_entry("2-0", 4000)))

    assert store.dlq_overflow([a_long_entry("3-0", 1000)]) == ()
    assert store.dlq_overflow([a_long_entry("3-0", 4000)]) == ("1-0",)
    assert store.dlq_overflow([a_long_entry("3-0", 50_000)]) == ("1-0", "2-0")


def test_what_has_left_the_dlq_makes_room(monkeypatch):
    monkeypatch.setattr(store_module, "_MAX_DLQ_BYTES", 10_000)
    store = a_store(
        added(a_long_entry("1-0", 9000)), Transition(dlq_removed=("1-0", "1-0"))
    )

    assert store.dlq_overflow([a_long_entry("2-0", 9000)]) == ()


def a_created(number, length=0):
    message = a_message(message_id=f"msg_{number}", url="u", body=bytes(length))
    return Transition(progress=(Progress(message, State.CREATED, T0),))


def test_new_messages_need_room_beside_those_that_are_pending():
    store = a_store(a_created(1, 6000), max_pending_bytes=10_000)

    store.check_room_for([a_created(2, 2000)])
    with pytest.raises(Overloaded) as raised:
        store.check_room_for([a_created(2, 2000), a_created(3, 2000)])

    assert (raised.value.limit_bytes, raised.value.pending) == (10_000, 1)
    assert "max-pending-bytes" in str(raised.value)


def test_a_message_without_a_body_takes_room_all_the_same():
    store = a_store(*map(a_created, range(15)), max_pending_bytes=10_000)

    store.check_room_for([a_created(15)])
    with pytest.raises(Overloaded):
        store.check_room_for(map(a_created, range(15, 25)))


@pytest.mark.parametrize("final", sorted(FINAL_STATES))
def test_a_finished_message_needs_no_room_any_more(final):
    store = a_store(a_created(1, 6000), max_pending_bytes=10_000)
    (progress,) = store.pending_messages()

    store.apply(Transition(progress=(progress._replace(state=final),)), T0)

    assert store.pending_bytes == 0
    store.check_room_for([a_created(2, 9000)])


def test_a_reset_makes_room():
    store = a_store(a_created(1, 6000), Transition(reset=True))

    assert store.pending_bytes == 0


def test_finished_messages_go_before_their_time_when_they_are_too_long(monkeypatch):
    """MSG-8: and the last of them stay."""
    monkeypatch.setattr(store_module, "_MAX_FINISHED_BYTES", 10_000)
    done = [
        transition._replace(
            progress=(transition.progress[0]._replace(state=State.DELIVERED),)
        )
        for transition in (a_created(number, 4000) for number in range(4))
    ]
    store = a_store(*done, Transition())

    known = [number for number in range(4) if store.progress(f"msg_{number}", T0)]

    assert known == [2, 3]


def test_what_was_kept_counts(monkeypatch):
    monkeypatch.setattr(store_module, "_MAX_DLQ_BYTES", 10_000)
    store = a_store(max_pending_bytes=10_000)

    store.load(
        Saved(progress=a_created(1, 6000).progress, dlq=[a_long_entry("1", 9000)])
    )

    assert store.pending_bytes > 6000
    assert store.dlq_overflow([a_long_entry("2", 9000)]) == ("1",)
