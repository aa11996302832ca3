"""emulator/core/records.py: values as text, and back."""

import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.core import records
from emulator.core.last_states import LastStates
from emulator.core.model import (
    Callback,
    Destination,
    DestinationKind,
    FlowControl,
    Message,
    Options,
    Publish,
    Redaction,
    Responded,
    SigningKeys,
    State,
    TimedOut,
    Unreachable,
)
from emulator.core.resources import Endpoint, FlowKey, Queue, Schedule, UrlGroup
from tests.doubles import T0, a_message, a_publish

few = settings(max_examples=60, deadline=None)

# Lone surrogates included: JSON can bring them, and UTF-8 has none.
texts = st.text(st.characters(codec=None), max_size=8)
numbers = st.integers()
flags = st.booleans()
headers = st.lists(st.tuples(texts, texts), max_size=3).map(
    lambda pairs: tuple(part for pair in pairs for part in pair)
)


def maybe(strategy):
    return st.none() | strategy


flow_controls = st.builds(
    FlowControl,
    key=texts,
    parallelism=maybe(numbers),
    rate=maybe(numbers),
    period_s=numbers,
)
redactions = st.builds(
    Redaction,
    body=flags,
    all_headers=flags,
    header_names=st.frozensets(texts, max_size=3),
)


def options_with(callbacks):
    return st.builds(
        Options,
        method=texts,
        retries=maybe(numbers),
        retry_delay=maybe(texts),
        timeout_ms=maybe(numbers),
        callback=callbacks,
        failure_callback=callbacks,
        labels=st.lists(texts, max_size=2).map(tuple),
        flow_control=maybe(flow_controls),
        redaction=maybe(redactions),
    )


callbacks = st.builds(
    Callback, url=texts, header=headers, options=options_with(st.none())
)
options = options_with(maybe(callbacks))
messages = st.builds(
    lambda **fields: Message(**fields),  # not what Hypothesis takes for its fields
    message_id=texts,
    url=texts,
    created_at_ms=numbers,
    not_before_ms=numbers,
    body=st.binary(max_size=8),
    header=headers,
    options=options,
    caller_ip=texts,
    url_group_name=maybe(texts),
    endpoint_name=maybe(texts),
    queue_name=maybe(texts),
    schedule_id=maybe(texts),
    api=maybe(texts),
    callback_of=maybe(texts),
)
outcomes = st.one_of(
    st.builds(
        Responded,
        status=numbers,
        header=headers,
        body=st.binary(max_size=8),
        reason=texts,
    ),
    st.builds(TimedOut, timeout_ms=numbers),
    st.builds(Unreachable, error=texts),
)
publishes = st.builds(
    Publish,
    destination=st.builds(
        Destination, kind=st.sampled_from(DestinationKind), text=texts
    ),
    body=st.binary(max_size=8),
    header=headers,
    options=options,
    delay_ms=numbers,
    not_before_ms=maybe(numbers),
    deduplication_id=maybe(texts),
    content_based_deduplication=flags,
    queue_name=maybe(texts),
    caller_ip=texts,
)
schedules = st.builds(
    Schedule,
    schedule_id=texts,
    cron=texts,
    publish=publishes,
    created_at_ms=numbers,
    is_paused=flags,
    next_fire_ms=numbers,
    last_fire_ms=maybe(numbers),
    last_states=st.dictionaries(texts, maybe(st.sampled_from(State)), max_size=3).map(
        lambda states: LastStates(states.items())
    ),
    error=maybe(texts),
)
queues = st.builds(
    Queue,
    name=texts,
    created_at_ms=numbers,
    updated_at_ms=numbers,
    parallelism=numbers,
    is_paused=flags,
)
groups = st.builds(
    UrlGroup,
    name=texts,
    created_at_ms=numbers,
    updated_at_ms=numbers,
    endpoints=st.lists(
        st.builds(Endpoint, url=texts, name=maybe(texts)), min_size=1, max_size=3
    ).map(tuple),
    defaults=headers,
)
flow_keys = st.builds(
    FlowKey,
    key=texts,
    parallelism=maybe(numbers),
    rate=maybe(numbers),
    period_s=numbers,
    is_paused=flags,
    is_pinned_parallelism=flags,
    is_pinned_rate=flags,
)


def reread_message(text, **changes):
    beside = {"message_id": "msg_1", "created_at_ms": T0, "body": b""}
    return records.read_message(text, **{**beside, **changes})


def test_a_record_that_was_parsed_with_something_larger_is_read_as_it_is():
    text = records.write_message(a_message())

    assert reread_message(json.loads(text)) == reread_message(text)


@few
@given(messages)
def test_a_message_is_read_as_it_was_written(message):
    assert message == reread_message(
        records.write_message(message),
        message_id=message.message_id,
        created_at_ms=message.created_at_ms,
        body=message.body,
    )


@few
@given(outcomes)
def test_an_outcome_is_read_as_it_was_written(outcome):
    read = records.read_outcome(*records.write_outcome(outcome))

    assert (type(read), read) == (type(outcome), outcome)


@few
@given(schedules)
def test_a_schedule_is_read_as_it_was_written(schedule):
    assert records.read_schedule(*records.write_schedule(schedule)) == schedule


@few
@given(queues, groups, flow_keys)
def test_resources_are_read_as_they_were_written(queue, group, key):
    assert records.read_queue(records.write_queue(queue)) == queue
    assert records.read_url_group(records.write_url_group(group)) == group
    assert records.read_flow_key(records.write_flow_key(key)) == key


@few
@given(texts, texts)
def test_keys_are_read_as_they_were_written(current, following):
    keys = SigningKeys(current, following)

    assert records.read_keys(records.write_keys(keys)) == keys


@few
@given(st.lists(numbers, max_size=3).map(tuple))
def test_numbers_are_read_as_they_were_written(several):
    text = records.write_numbers(several)

    assert records.read_numbers(text, len(several)) == several


@few
@given(texts | st.just('"quoted"'))
def test_a_name_is_read_as_it_was_written_and_can_be_stored_as_utf_8(name):
    text = records.write_name(name)

    assert records.read_name(text) == name
    assert text.isascii()


def test_a_name_that_is_ascii_stands_as_it_is():
    assert records.write_name("emails") == "emails"


@pytest.mark.parametrize("state", State)
def test_a_state_is_read_by_its_word_on_the_wire(state):
    assert records.read_state(state.value) is state


def test_what_has_its_usual_value_is_left_out():
    message = a_message(caller_ip="")

    assert json.loads(records.write_message(message)) == {
        "url": message.url,
        "not_before_ms": T0,
    }


def test_the_usual_values_are_those_of_the_model():
    """A file's meaning must not change with the code: then the defaults stay here."""
    plain = {"message_id": "msg_1", "created_at_ms": T0}

    message = reread_message('{"url":"http://a","not_before_ms":0}')
    schedule = records.read_schedule(
        '{"schedule_id":"s","cron":"* * * * *","created_at_ms":1,"next_fire_ms":2,'
        '"publish":{"destination":{"kind":"url","text":"http://a"}}}',
        b"",
    )

    assert message == Message(url="http://a", not_before_ms=0, **plain)
    assert schedule.publish == Publish(
        destination=Destination(DestinationKind.URL, "http://a")
    )
    assert schedule == Schedule(
        schedule_id="s",
        cron="* * * * *",
        publish=schedule.publish,
        created_at_ms=1,
        next_fire_ms=2,
    )


@few
@given(messages)
def test_a_message_is_written_by_hand_as_its_shape_would_write_it(message):
    assert json.loads(records.write_message(message)) == json.loads(
        json.dumps(records._MESSAGE.write(message))
    )


def test_names_of_headers_are_shared_between_messages():
    text = records.write_message(a_message(header=("X-Shared-Name", "1")))

    first, second = reread_message(text), reread_message(text)

    assert first.header[0] is second.header[0]


LACKING = '{"not_before_ms":1}'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "a record is not a text"),
        (b"{}", "a record is not a text"),
        ("{", "a record is not JSON"),
        ("[" * 100_000, "a record is nested too deeply"),
        ("[]", "a record is not an object"),
        (LACKING, "url is missing"),
        ('{"url":1}', "url: not a text"),
        ('{"colour":1}', "no record has a field 'colour'"),
        ('{"not_before_ms":"1"}', "not_before_ms: not a number"),
        ('{"not_before_ms":true}', "not_before_ms: not a number"),
        ('{"header":["a"]}', "header: a name without a value"),
        ('{"header":{"a":"b"}}', "header: not a list"),
        ('{"header":["a",1]}', "header: not a list of texts"),
        ('{"options":{"redaction":{"body":1}}}', "options: redaction: body: neither"),
        ('{"options":[]}', "options: a record is not an object"),
    ],
)
def test_a_message_that_was_not_written_here_is_refused(text, problem):
    with pytest.raises(ValueError, match=problem):
        reread_message(text)


@pytest.mark.parametrize(
    ("beside", "problem"),
    [
        ({"message_id": 1}, "not a text"),
        ({"created_at_ms": "1"}, "not a number"),
        ({"body": "text"}, "a body is not bytes"),
    ],
)
def test_what_stands_beside_a_message_is_checked_too(beside, problem):
    with pytest.raises(ValueError, match=problem):
        reread_message(records.write_message(a_message()), **beside)


A_SCHEDULE = Schedule(
    schedule_id="s",
    cron="* * * * *",
    publish=a_publish(),
    created_at_ms=1,
    next_fire_ms=2,
)


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("last_states", [], "last_states: not an object"),
        ("last_states", {"msg_1": "GONE"}, "last_states: not a state"),
        ("publish", {"destination": {"kind": "x"}}, "kind: not a kind of destination"),
        ("publish", None, "a record is not an object"),
    ],
)
def test_a_schedule_that_was_not_written_here_is_refused(field, value, problem):
    text, body = records.write_schedule(A_SCHEDULE)

    with pytest.raises(ValueError, match=problem):
        records.read_schedule(json.dumps(json.loads(text) | {field: value}), body)


@pytest.mark.parametrize("text", ["{}", "[]", "1"])
def test_a_schedule_without_a_publish_is_refused(text):
    with pytest.raises(ValueError, match="publish is missing"):
        records.read_schedule(text, b"")


@pytest.mark.parametrize(
    ("read", "problem"),
    [
        (lambda: records.read_state("GONE"), "not a state"),
        (lambda: records.read_state(["GONE"]), "not a state"),
        (lambda: records.read_outcome("[]", b""), "a record is not an object"),
        (lambda: records.read_outcome('{"status":200}', None), "a body is not bytes"),
        (lambda: records.read_outcome("{}", b""), "error is missing"),
        (lambda: records.read_numbers("[1]", 2), "not 2 numbers"),
        (lambda: records.read_numbers("{}", 0), "not 0 numbers"),
        (lambda: records.read_name(1), "not a text"),
        (lambda: records.read_name('"'), "a record is not JSON"),
        (
            lambda: records.read_url_group(
                '{"name":"g","created_at_ms":1,"updated_at_ms":1,"endpoints":[]}'
            ),
            "endpoints: not a list of endpoints",
        ),
    ],
)
def test_whatever_was_not_written_here_is_refused(read, problem):
    with pytest.raises(ValueError, match=problem):
        read()


json_values = st.recursive(
    st.none() | flags | numbers | st.floats() | texts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["url", "options", "callback", "header", "status", "error"])
            | texts,
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@few
@given(json_values.map(json.dumps) | texts)
def test_reading_raises_nothing_but_value_errors(text):
    for read in (
        reread_message,
        records.read_queue,
        records.read_url_group,
        records.read_flow_key,
        records.read_keys,
        records.read_name,
        lambda text: records.read_outcome(text, b""),
        lambda text: records.read_schedule(text, b""),
    ):
        with suppress(ValueError):
            read(text)
