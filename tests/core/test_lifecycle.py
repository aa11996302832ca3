"""emulator/core/lifecycle.py: which facts move a message, and where to."""

import json
from itertools import count, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.core.lifecycle import MOVES, accept, activate, cancel, revive, settle
from emulator.core.model import (
    Callback,
    Deduplication,
    Destination,
    DestinationKind,
    DlqEntry,
    FlowControl,
    Options,
    Progress,
    Redaction,
    Responded,
    State,
    TimedOut,
    Unreachable,
)
from emulator.core.resources import Endpoint
from emulator.core.transition import Transition
from tests.doubles import T0, a_message, a_publish

few = settings(max_examples=60, deadline=None)

OK = Responded(200)
ERROR = Responded(500, reason="Internal Server Error")
REFUSED = Responded(489, header=("Upstash-Nonretryable-Error", "true"))
CALLBACK = Callback(url="https://app.example/done")
FAILURE_CALLBACK = Callback(url="https://app.example/failed")

FAILURES = [
    Responded(301),
    Responded(404),
    ERROR,
    TimedOut(timeout_ms=1000),
    Unreachable("connection refused"),
]

WITHOUT_FACTS = {"dlq_id": "1-0", "new_message_id": lambda: "msg_callback"}


def a_progress(state, *, retried=0, due_ms=T0, cancel_requested=False, **message):
    return Progress(a_message(**message), state, due_ms, retried, cancel_requested)


def under_way(*, retried=0, cancel_requested=False, **options):
    """A message whose delivery began at T0."""
    return a_progress(
        State.ACTIVE,
        retried=retried,
        cancel_requested=cancel_requested,
        options=Options(**options),
    )


def settled(progress, outcome, *, now_ms=T0 + 20):
    """What a delivery comes to; ids count on."""
    numbers = count(1)
    return settle(
        progress,
        outcome,
        now_ms=now_ms,
        dlq_id="1700000000020-0",
        new_message_id=lambda: f"msg_callback_{next(numbers)}",
    )


def states(transition, message_id="msg_1"):
    """The states that a transition logs of a message."""
    return [
        entry.state
        for entry in transition.log
        if entry.message.message_id == message_id
    ]


def only_progress(transition):
    (progress,) = transition.progress
    return progress


# The table


def test_every_state_stands_in_the_table_and_is_reached():
    reached = frozenset().union(*MOVES.values())

    assert set(MOVES) == {None, *State}
    assert reached == set(State)


def test_final_states_lead_nowhere_and_all_others_somewhere():
    """LOG-22 to LOG-26."""
    final = {state for state, after in MOVES.items() if not after}

    assert final == {State.DELIVERED, State.FAILED, State.CANCELLED}


def test_the_table_cannot_be_written_to():
    with pytest.raises(TypeError):
        MOVES[State.FAILED] = frozenset({State.ACTIVE})


# Accepted


def test_an_accepted_message_is_created_and_due_at_once():
    """PUB-31."""
    publish = a_publish(body=b"hello", header=("X-A", "1"), options=Options(retries=1))

    transition = accept(publish, message_id="msg_1", now_ms=T0)

    message = a_message(
        body=b"hello", header=("X-A", "1"), options=Options(retries=1), created_at_ms=T0
    )
    assert transition.progress == (Progress(message, State.CREATED, T0),)
    assert states(transition) == [State.CREATED]


@pytest.mark.parametrize(
    ("times", "due_ms"),
    [
        ({}, T0),
        ({"delay_ms": 0}, T0),
        ({"delay_ms": 5000}, T0 + 5000),
        ({"not_before_ms": T0 + 7000}, T0 + 7000),
        ({"not_before_ms": T0 + 7000, "delay_ms": 9000}, T0 + 7000),
        ({"not_before_ms": T0 - 1}, T0),
        ({"not_before_ms": 0, "delay_ms": 9000}, T0),
    ],
    ids=repr,
)
def test_not_before_overrides_the_delay_and_the_past_means_at_once(times, due_ms):
    """HDR-22, HDR-23."""
    transition = accept(a_publish(**times), message_id="msg_1", now_ms=T0)

    progress = only_progress(transition)
    assert progress.due_ms == progress.message.not_before_ms == due_ms
    assert progress.message.created_at_ms == T0


def test_created_names_the_next_delivery():
    """LOG-12."""
    transition = accept(a_publish(delay_ms=5000), message_id="msg_1", now_ms=T0)

    (entry,) = transition.log
    assert (entry.time_ms, entry.next_delivery_ms) == (T0, T0 + 5000)


def test_a_deduplicated_publish_opens_a_window_of_ten_minutes():
    """DED-2: whatever its delay."""
    publish = a_publish(deduplication_id="order-1", delay_ms=3_600_000)

    transition = accept(publish, message_id="msg_1", now_ms=T0)

    assert transition.deduplications == (
        Deduplication("id:order-1", "msg_1", T0 + 600_000),
    )


def test_a_publish_without_deduplication_opens_no_window():
    """DED-1."""
    assert accept(a_publish(), message_id="msg_1", now_ms=T0).deduplications == ()


def test_a_message_of_a_url_group_goes_to_one_endpoint():
    """PUB-33."""
    publish = a_publish(destination=Destination(DestinationKind.URL_GROUP, "a-group"))
    endpoint = Endpoint("https://a.example/hook?x=1", "first")

    transition = accept(publish, message_id="msg_1", now_ms=T0, endpoint=endpoint)

    assert only_progress(transition).message == a_message(
        url="https://a.example/hook?x=1",
        url_group_name="a-group",
        endpoint_name="first",
    )


def test_each_endpoint_of_a_url_group_has_a_window_of_its_own():
    """DED-8."""
    publish = a_publish(
        destination=Destination(DestinationKind.URL_GROUP, "a-group"),
        deduplication_id="order-1",
    )

    windows = {
        accept(publish, message_id="msg_1", now_ms=T0, endpoint=Endpoint(url))
        .deduplications[0]
        .key
        for url in ("https://a.example", "https://b.example")
    }

    assert len(windows) == 2


def test_a_url_group_without_an_endpoint_is_a_mistake_of_ours():
    publish = a_publish(destination=Destination(DestinationKind.URL_GROUP, "a-group"))

    with pytest.raises(RuntimeError):
        accept(publish, message_id="msg_1", now_ms=T0)


def test_a_message_to_the_built_in_api_names_it():
    """PUB-1, MSG-2."""
    publish = a_publish(destination=Destination(DestinationKind.API, "llm"))

    message = only_progress(accept(publish, message_id="msg_1", now_ms=T0)).message

    assert (message.api, message.url) == ("llm", "api/llm")


def test_a_message_keeps_its_queue_and_its_schedule():
    """ENQ-7, SCH-32."""
    publish = a_publish(queue_name="a-queue")

    transition = accept(publish, message_id="msg_1", now_ms=T0, schedule_id="scd_1")

    message = only_progress(transition).message
    assert (message.queue_name, message.schedule_id) == ("a-queue", "scd_1")


# Due


@pytest.mark.parametrize(
    ("state", "retried"), [(State.CREATED, 0), (State.RETRY, 1), (State.RETRY, 3)]
)
def test_a_due_message_becomes_active(state, retried):
    """LOG-25."""
    progress = a_progress(state, retried=retried)

    transition = activate(progress, now_ms=T0 + 7)

    assert only_progress(transition) == Progress(
        progress.message, State.ACTIVE, T0 + 7, retried
    )
    (entry,) = transition.log
    assert (entry.time_ms, entry.state, entry.retried) == (
        T0 + 7,
        State.ACTIVE,
        retried,
    )


# Delivered


@pytest.mark.parametrize("status", [200, 204, 299])
def test_a_2xx_delivers_the_message(status):
    """DLV-10, DLV-11, LOG-22."""
    outcome = Responded(status)

    transition = settled(under_way(), outcome)

    assert only_progress(transition).state is State.DELIVERED
    assert states(transition) == [State.DELIVERED]
    assert transition.dlq_added == ()


def test_delivered_says_what_came_back_and_how_long_it_took():
    """LOG-10."""
    transition = settled(under_way(retried=2), OK, now_ms=T0 + 35)

    (entry,) = transition.log
    assert (entry.outcome, entry.duration_ms, entry.retried) == (OK, 35, 2)


@pytest.mark.parametrize("outcome", FAILURES, ids=repr)
def test_anything_else_is_an_error_and_retried(outcome):
    """DLV-10, DLV-12, DLV-15, DLV-16, LOG-24."""
    transition = settled(under_way(), outcome)

    assert only_progress(transition).state is State.RETRY
    assert states(transition) == [State.ERROR, State.RETRY]
    assert transition.log[0].outcome == outcome
    assert transition.dlq_added == ()


def test_the_wait_starts_when_the_failed_delivery_ends():
    """RTY-2, RTY-10."""
    transition = settled(under_way(), ERROR, now_ms=T0 + 5000)

    assert only_progress(transition).due_ms == T0 + 5000 + 12_182


def test_retry_names_the_next_delivery_and_its_number():
    """LOG-12, RTY-1."""
    transition = settled(under_way(), ERROR)

    entry = transition.log[1]
    progress = only_progress(transition)
    assert entry.next_delivery_ms == progress.due_ms
    assert entry.retried == progress.retried == 1


def test_a_reset_header_wins_over_the_expression_and_that_over_the_default():
    """RTY-3, Q-7."""
    by_header = Responded(429, header=("Retry-After", "10"))

    waits = [
        only_progress(settled(progress, outcome, now_ms=T0)).due_ms - T0
        for progress, outcome in [
            (under_way(retry_delay="5000"), by_header),
            (under_way(retry_delay="5000"), ERROR),
            (under_way(), ERROR),
        ]
    ]

    assert waits == [10_000, 5000, 12_182]


def test_an_expression_counts_the_retries_already_made():
    """RTY-13: 0 before the first."""
    waits = [
        only_progress(
            settled(under_way(retried=n, retry_delay="1000 * retried"), ERROR)
        ).due_ms
        - (T0 + 20)
        for n in range(3)
    ]

    assert waits == [0, 1000, 2000]


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_a_message_fails_after_one_delivery_and_all_its_retries(retries):
    """RTY-1, DLV-14."""
    progress = a_progress(State.CREATED, options=Options(retries=retries))
    deliveries = 0

    while not progress.is_final:
        active = only_progress(activate(progress, now_ms=progress.due_ms))
        assert active.retried == deliveries
        deliveries += 1
        progress = settled(active, ERROR, now_ms=active.due_ms).progress[0]

    assert progress.state is State.FAILED
    assert deliveries == 1 + retries
    assert progress.retried == retries


@pytest.mark.parametrize("outcome", FAILURES, ids=repr)
def test_the_last_failure_goes_to_the_dlq_without_a_retry_entry(outcome):
    """DLV-14, LOG-23, C-16, DLQ-1."""
    progress = under_way(retried=2, retries=2)

    transition = settled(progress, outcome)

    assert only_progress(transition).state is State.FAILED
    assert states(transition) == [State.ERROR, State.FAILED]
    assert transition.dlq_added == (
        DlqEntry(
            dlq_id="1700000000020-0",
            failed_at_ms=T0 + 20,
            message=progress.message,
            retried=2,
            outcome=outcome,
        ),
    )


def test_error_and_failed_both_say_why():
    """LOG-12: error on ERROR and FAILED."""
    error, failed = settled(under_way(retries=0), ERROR).log

    assert error.outcome == failed.outcome == ERROR
    assert error.duration_ms == 20
    assert failed.dlq_id == "1700000000020-0"


def test_a_non_retryable_error_fails_at_once_whatever_retries_remain():
    """DLV-13, CBK-6: the count isn't adjusted."""
    transition = settled(under_way(retried=1, retries=5), REFUSED)

    assert states(transition) == [State.ERROR, State.FAILED]
    assert only_progress(transition).retried == 1
    assert transition.dlq_added[0].retried == 1


@pytest.mark.parametrize(
    "outcome",
    [Responded(489), Responded(500, header=REFUSED.header)],
    ids=["without the header", "another status"],
)
def test_half_of_a_non_retryable_error_is_an_ordinary_failure(outcome):
    """DLV-13."""
    assert states(settled(under_way(), outcome)) == [State.ERROR, State.RETRY]


def test_a_reset_header_adds_no_delivery():
    """RTY-25."""
    outcome = Responded(429, header=("Retry-After", "1"))

    transition = settled(under_way(retried=3, retries=3), outcome)

    assert only_progress(transition).state is State.FAILED


# Callbacks


def created(transition):
    """The URLs of the messages that a transition makes."""
    return [
        progress.message.url
        for progress in transition.progress
        if progress.state is State.CREATED
    ]


@pytest.mark.parametrize("outcome", [OK, *FAILURES], ids=repr)
def test_each_delivery_is_reported_to_the_callback(outcome):
    """CBK-1, CBK-4, DLV-11."""
    transition = settled(under_way(callback=CALLBACK), outcome)

    assert created(transition) == [CALLBACK.url]


@pytest.mark.parametrize("retries", [0, 2])
def test_a_message_that_fails_is_reported_once_for_each_delivery(retries):
    """CBK-1, CBK-2, CBK-3: 1 + R callbacks, and one failure callback, the last."""
    options = Options(
        retries=retries, callback=CALLBACK, failure_callback=FAILURE_CALLBACK
    )
    progress = a_progress(State.CREATED, options=options)
    reported = []

    while not progress.is_final:
        active = only_progress(activate(progress, now_ms=progress.due_ms))
        transition = settled(active, ERROR, now_ms=active.due_ms)
        reported += created(transition)
        progress = transition.progress[0]

    assert reported == [CALLBACK.url] * (1 + retries) + [FAILURE_CALLBACK.url]


def test_a_message_that_succeeds_does_not_trigger_its_failure_callback():
    """CBK-2."""
    transition = settled(under_way(failure_callback=FAILURE_CALLBACK), OK)

    assert created(transition) == []


def test_a_non_retryable_error_triggers_the_failure_callback():
    """CBK-2, DLV-13."""
    progress = under_way(retries=5, failure_callback=FAILURE_CALLBACK)

    assert created(settled(progress, REFUSED)) == [FAILURE_CALLBACK.url]


def test_a_callback_is_a_message_of_its_own_with_its_own_log():
    """CBK-7, LOG-30."""
    transition = settled(under_way(callback=CALLBACK, retries=0), ERROR)

    assert states(transition) == [State.ERROR, State.FAILED]
    assert states(transition, "msg_callback_1") == [State.CREATED]
    callback = transition.progress[1]
    assert (callback.state, callback.due_ms) == (State.CREATED, T0 + 20)
    assert callback.message.callback_of == "msg_1"


def test_the_log_and_the_dlq_entry_come_before_the_callbacks():
    """CBK-25, CBK-26: in one transition, and in this order."""
    progress = under_way(
        retries=0, callback=CALLBACK, failure_callback=FAILURE_CALLBACK
    )

    transition = settled(progress, ERROR)

    assert [(entry.message.message_id, entry.state) for entry in transition.log] == [
        ("msg_1", State.ERROR),
        ("msg_1", State.FAILED),
        ("msg_callback_1", State.CREATED),
        ("msg_callback_2", State.CREATED),
    ]
    (entry,) = transition.dlq_added
    payload = json.loads(transition.progress[2].message.body)
    assert payload["dlqId"] == entry.dlq_id


def test_a_callback_reports_the_count_of_its_delivery():
    """CBK-20: not that of the retry which follows."""
    transition = settled(under_way(retried=1, callback=CALLBACK), ERROR)

    payload = json.loads(transition.progress[1].message.body)

    assert transition.progress[0].retried == 2
    assert (payload["retried"], payload["maxRetries"]) == (1, 3)


# Cancelled


@pytest.mark.parametrize(
    "state", [State.CREATED, State.RETRY], ids=["delayed", "between deliveries"]
)
def test_a_waiting_message_is_cancelled_at_once(state):
    """MSG-11, LOG-26, Q-19."""
    transition = cancel(a_progress(state, due_ms=T0 + 60_000, retried=1), now_ms=T0)

    progress = only_progress(transition)
    assert (progress.state, progress.due_ms) == (State.CANCELLED, T0)
    assert states(transition) == [State.CANCEL_REQUESTED, State.CANCELLED]


def test_a_cancelled_delivery_goes_on():
    """MSG-12."""
    progress = under_way(retried=1)

    transition = cancel(progress, now_ms=T0 + 5)

    assert only_progress(transition) == progress._replace(cancel_requested=True)
    assert states(transition) == [State.CANCEL_REQUESTED]


def test_a_cancelled_delivery_that_succeeds_is_delivered():
    """MSG-12, DLV-11."""
    transition = settled(under_way(cancel_requested=True, callback=CALLBACK), OK)

    assert transition.progress[0].state is State.DELIVERED
    assert states(transition) == [State.DELIVERED]
    assert created(transition) == [CALLBACK.url]


@pytest.mark.parametrize("retries", [0, 3])
@pytest.mark.parametrize("outcome", [*FAILURES, REFUSED], ids=repr)
def test_a_cancelled_delivery_that_fails_is_neither_retried_nor_reported(
    outcome, retries
):
    """MSG-12, MSG-13, CBK-5."""
    progress = under_way(
        cancel_requested=True,
        retries=retries,
        callback=CALLBACK,
        failure_callback=FAILURE_CALLBACK,
    )

    transition = settled(progress, outcome)

    assert only_progress(transition).state is State.CANCELLED
    assert states(transition) == [State.ERROR, State.CANCELLED]
    assert transition.dlq_added == ()


@pytest.mark.parametrize("state", [State.CREATED, State.RETRY])
def test_cancelling_reports_nothing(state):
    """MSG-13, CBK-5."""
    options = Options(callback=CALLBACK, failure_callback=FAILURE_CALLBACK)

    transition = cancel(a_progress(state, options=options), now_ms=T0)

    assert created(transition) == []
    assert transition.dlq_added == ()


# Retried from the DLQ


def an_entry(**message):
    return DlqEntry(
        dlq_id="1-0",
        failed_at_ms=T0 - 1000,
        message=a_message(created_at_ms=T0 - 9000, not_before_ms=T0 - 8000, **message),
        retried=3,
        outcome=ERROR,
    )


def revived(entry, **changes):
    facts = {
        "message_id": "msg_2",
        "now_ms": T0,
        "options": entry.message.options,
        "header": entry.message.header,
        "not_before_ms": T0,
    }
    return revive(entry, **{**facts, **changes})


def test_a_retried_entry_is_a_new_message_and_gone():
    """DLQ-33, LOG-29: full retries, counted from 0."""
    transition = revived(an_entry())

    assert only_progress(transition) == Progress(
        a_message(message_id="msg_2"), State.CREATED, T0
    )
    assert states(transition, "msg_2") == [State.CREATED]
    assert transition.dlq_removed == ("1-0",)


def test_a_retried_entry_keeps_its_body_headers_and_origin():
    """DLQ-33, DLQ-35, DLQ-36: redaction hides nothing from a delivery."""
    kept = {
        "body": b"hello",
        "header": ("X-A", "1"),
        "options": Options(
            retries=1,
            labels=("a", "b"),
            flow_control=FlowControl(key="k", rate=1),
            redaction=Redaction(body=True, all_headers=True),
            callback=CALLBACK,
        ),
        "queue_name": "q",
        "schedule_id": "scd_1",
        "url_group_name": "g",
        "endpoint_name": "e",
        "caller_ip": "10.0.0.1",
    }

    transition = revived(an_entry(**kept))

    assert only_progress(transition).message == a_message(message_id="msg_2", **kept)


def test_a_retried_entry_is_not_deduplicated():
    """DLQ-35, DED-11."""
    assert revived(an_entry()).deduplications == ()


def test_a_retry_call_overrides_options_headers_and_time():
    """DLQ-34."""
    options, header = Options(retries=0), ("X-B", "2")

    transition = revived(
        an_entry(header=("X-A", "1")),
        options=options,
        header=header,
        not_before_ms=T0 + 5000,
    )

    progress = only_progress(transition)
    assert progress.message == a_message(
        message_id="msg_2",
        options=options,
        header=header,
        not_before_ms=T0 + 5000,
    )
    assert progress.due_ms == T0 + 5000


def test_a_retry_call_for_the_past_means_at_once():
    """HDR-23."""
    assert only_progress(revived(an_entry(), not_before_ms=1)).due_ms == T0


# Illegal facts

FACTS = {
    "activate": lambda progress: activate(progress, now_ms=T0),
    "settle with success": lambda progress: settle(
        progress, OK, now_ms=T0, **WITHOUT_FACTS
    ),
    "settle with failure": lambda progress: settle(
        progress, ERROR, now_ms=T0, **WITHOUT_FACTS
    ),
    "cancel": lambda progress: cancel(progress, now_ms=T0),
}

LEGAL = {
    State.CREATED: {"activate", "cancel"},
    State.RETRY: {"activate", "cancel"},
    State.ACTIVE: {"settle with success", "settle with failure", "cancel"},
    State.DELIVERED: set(),
    State.FAILED: set(),
    State.CANCELLED: set(),
}


@pytest.mark.parametrize("fact", FACTS)
@pytest.mark.parametrize("state", LEGAL)
def test_a_fact_that_breaks_the_table_raises_and_changes_nothing(state, fact):
    """MSG-15, DLV-32."""
    progress = a_progress(state)
    before = progress._replace()

    if fact in LEGAL[state]:
        assert FACTS[fact](progress) != Transition()
    else:
        with pytest.raises(RuntimeError):
            FACTS[fact](progress)
    assert progress == before


def test_a_message_is_cancelled_once():
    """MSG-15, MSG-24."""
    with pytest.raises(RuntimeError):
        cancel(under_way(cancel_requested=True), now_ms=T0)


# Every sequence of facts

OUTCOMES = [OK, REFUSED, *FAILURES]

steps = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.one_of(st.just("activate"), st.just("cancel"), st.sampled_from(OUTCOMES)),
        st.integers(0, 100),
    ),
    max_size=40,
)

published = st.builds(
    Options,
    retries=st.integers(0, 3),
    callback=st.sampled_from([None, CALLBACK]),
    failure_callback=st.sampled_from([None, FAILURE_CALLBACK]),
)


class World:
    """Messages, their log and their DLQ entries, by the transitions alone."""

    def __init__(self):
        self.now_ms = T0
        self.progress = {}
        self.log = []
        self.dlq = []
        self._numbers = count(1)

    def new_id(self):
        return f"msg_{next(self._numbers)}"

    def apply(self, transition):
        for progress in transition.progress:
            self.progress[progress.message.message_id] = progress
        self.log += transition.log
        self.dlq += transition.dlq_added

    def take(self, fact, progress):
        """Let a fact happen to a message, be it legal or not."""
        now_ms = self.now_ms
        if fact == "activate":
            return activate(progress, now_ms=now_ms)
        if fact == "cancel":
            return cancel(progress, now_ms=now_ms)
        return settle(
            progress,
            fact,
            now_ms=now_ms,
            dlq_id=f"{now_ms}-{len(self.dlq)}",
            new_message_id=self.new_id,
        )

    def log_of(self, message_id):
        return [e for e in self.log if e.message.message_id == message_id]


@few
@given(st.lists(published, min_size=1, max_size=2), steps)
def test_every_sequence_of_facts_keeps_to_the_table(options, facts):
    """LOG-22 to LOG-26, RTY-1, DLV-14, MSG-13."""
    world = World()
    for each in options:
        world.apply(
            accept(a_publish(options=each), message_id=world.new_id(), now_ms=T0)
        )
    for number, fact, passed_ms in facts:
        world.now_ms += passed_ms
        progress = list(world.progress.values())[number % len(world.progress)]
        try:
            transition = world.take(fact, progress)
        except RuntimeError:
            continue  # illegal: nothing happens
        world.apply(transition)

    failed = []
    for message_id, progress in world.progress.items():
        log = world.log_of(message_id)
        logged = [entry.state for entry in log]
        for before, after in pairwise([None, *logged]):
            assert after in MOVES[before]
        # The log tells the same story as the state.
        expected = State.CANCEL_REQUESTED if progress.cancel_requested else None
        assert logged[-1] is (expected or progress.state)
        deliveries = logged.count(State.ACTIVE)
        assert deliveries <= 1 + progress.message.options.max_retries
        assert progress.retried == logged.count(State.RETRY)
        assert [e.time_ms for e in log] == sorted(e.time_ms for e in log)
        if progress.state is State.FAILED:
            failed.append(message_id)
    assert sorted(entry.message.message_id for entry in world.dlq) == sorted(failed)
