"""Importing: what isn't an export, or contradicts itself, is refused by its line."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.core.model import (
    Callback,
    Deduplication,
    DlqEntry,
    LogEntry,
    Options,
    Progress,
    Responded,
    SigningKeys,
    State,
)
from emulator.core.resources import Endpoint, FlowKey, Queue, Schedule, UrlGroup
from emulator.engine import importing
from emulator.engine.exporting import PAUSE, export
from emulator.engine.importing import Imported, StateReader
from emulator.engine.persistence import Saved
from emulator.errors import InvalidState
from tests.doubles import T0, a_message, a_publish

NO = Responded(500, ("X-A", "é"), b"\xff", "Bad")
RETRIED = Options(retry_delay="1000", callback=Callback(url="http://c"))

WAITING = a_message(message_id="msg_waiting", options=RETRIED, body="é".encode())
ACTIVE = a_message(message_id="msg_active", callback_of="msg_done")
DONE = a_message(message_id="msg_done", body=b"{}")
FAILED = a_message(message_id="msg_failed")
LONG_AGO = a_message(message_id="msg_long_ago")

A_STATE = Saved(
    progress=(
        Progress(WAITING, State.RETRY, T0 + 2, 1),
        Progress(ACTIVE, State.ACTIVE, T0 + 1, cancel_requested=True),
    ),
    first_log_sequence=7,
    log=(
        LogEntry(T0, State.ACTIVE, DONE),
        LogEntry(T0 + 1, State.DELIVERED, DONE, 0, None, Responded(200), 1),
        LogEntry(T0, State.ERROR, FAILED, 0, None, NO, 3),
        LogEntry(T0, State.FAILED, FAILED, 0, None, NO, None, f"{T0}-1"),
        LogEntry(T0, State.RETRY, WAITING, 1, T0 + 2),
        LogEntry(T0, State.ACTIVE, ACTIVE),
        LogEntry(T0 + 1, State.CANCEL_REQUESTED, ACTIVE),
    ),
    dlq=(
        DlqEntry(f"{T0}-0", T0 - 1, LONG_AGO, 3, NO),
        DlqEntry(f"{T0}-1", T0, FAILED, 0, NO),
    ),
    windows=(Deduplication("key", "msg_done", T0 + 9),),
    keys=SigningKeys("sig_b", "sig_c"),
    keys_before=SigningKeys("sig_a", "sig_b"),
    queues=(Queue(name="q", created_at_ms=T0, updated_at_ms=T0),),
    url_groups=(
        UrlGroup(
            name="g",
            created_at_ms=T0,
            updated_at_ms=T0,
            endpoints=(Endpoint("http://a"),),
        ),
    ),
    flow_keys=(FlowKey(key="f", rate=1),),
    periods=(("f", 1, T0),),
    schedules=(
        Schedule(
            schedule_id="s",
            cron="* * * * *",
            publish=a_publish(body=b"x"),
            created_at_ms=T0,
            next_fire_ms=T0,
        ),
    ),
    today=(19_000, 4),
)


def lines_of(**changes):
    """The lines of a user's state, as objects."""
    states = {"u": A_STATE._replace(**changes)}
    lines = export(states, now_ms=T0, version="0.1.0")
    return [json.loads(line) for line in lines if line is not PAUSE]


def read(lines):
    """Read lines, which are objects or bytes."""
    reader = StateReader(["u", "v"])
    for line in lines:
        reader.take(line if isinstance(line, bytes) else json.dumps(line).encode())
    return reader.finish()


def place_of(lines, kind, **fields):
    """Where the first line is that is of a type and has these fields."""
    return next(
        place
        for place, line in enumerate(lines)
        if line["type"] == kind and fields.items() <= line.items()
    )


def refusal_of(lines):
    with pytest.raises(InvalidState) as caught:
        read(lines)
    return caught.value


def test_what_was_exported_is_read_back():
    imported = read(lines_of())
    state = imported.states["u"]
    again = [*export(imported.states, now_ms=imported.time_ms, version="0.1.0")]

    assert imported.time_ms == T0
    assert [json.loads(line) for line in again if line] == lines_of()
    assert state._replace(progress=(), log=(), sources=()) == A_STATE._replace(
        progress=(), log=(), dlq=state.dlq, windows=state.windows
    )
    assert state.log == list(A_STATE.log)
    assert list(state.dlq) == list(A_STATE.dlq)


def test_final_messages_are_told_by_the_dlq_and_the_log():
    state = read(lines_of()).states["u"]

    assert [tuple(item)[1:] for item in state.progress[:3]] == [
        (State.FAILED, T0 - 1, 3, False),
        (State.FAILED, T0, 0, False),
        (State.DELIVERED, T0 + 1, 0, False),
    ]


def test_final_messages_whose_callbacks_are_pending_are_sources():
    state = read(lines_of()).states["u"]

    assert list(state.sources) == [DONE]


def test_an_answer_that_several_lines_have_is_in_memory_once():
    state = read(lines_of()).states["u"]

    assert state.dlq[1].outcome is state.log[2].outcome is state.log[3].outcome


@pytest.mark.parametrize(
    ("kind", "changes", "problem"),
    [
        ("qemu-state", {"type": "user"}, "doesn't begin like an export"),
        ("qemu-state", {"format": 2}, 'written by a newer qemu, "0.1.0"'),
        ("qemu-state", {"format": 0}, "never written"),
        ("qemu-state", {"time": -1}, "never written"),
        ("qemu-state", {"time": 2**60}, "never written"),
        ("qemu-state", {"more": 1}, 'no such line has a field "more"'),
        ("user", {"user": "w"}, 'there is no user "w" here'),
        ("user", {"user": 1}, "user: not a text"),
        ("user", {"logBegins": -1}, "logBegins: not between 0 and"),
        ("user", {"logBegins": 10**16}, "logBegins: not between 0 and"),
        ("user", {"logBegins": True}, "logBegins: not a number"),
        ("user", {"today": 3}, "today: not a day and a count"),
        ("user", {"today": [1, "2"]}, "today: not a day and a count"),
        ("user", {"keys": None}, "keys and keysBefore: one without the other"),
        ("user", {"keys": {"current": "a"}}, "next is missing"),
        ("queue", {"user": "v"}, 'no line of type user is about "v"'),
        ("queue", {"type": "topic"}, 'there is no type "topic"'),
        ("queue", {"record": "q"}, "record: not an object"),
        ("flow-period", {"started": 2**63}, "started: too large a number"),
        ("message", {"messageId": ""}, "messageId: not an id"),
        ("message", {"messageId": "a\ud800"}, "messageId: not an id"),
        ("message", {"state": "ERROR"}, "ERROR is a state of the log alone"),
        ("message", {"state": "LOST"}, "state: not a state"),
        ("message", {"cancelRequested": True}, "no delivery is under way"),
        ("message", {"cancelRequested": 1}, "cancelRequested: not true or false"),
        ("message", {"body": "\ud800"}, "body: not a text that UTF-8 can write"),
        ("message", {"bodyBase64": "???"}, "bodyBase64: not base64"),
        ("message", {"due": 1.5}, "due: not a number"),
        ("log", {"messageId": "msg_x"}, 'no message "msg_x" comes before'),
        ("log", {"outcome": {"error": "x"}}, "outcome: ERROR, DELIVERED and FAILED"),
        ("log", {"dlqId": "1-1"}, "dlqId: FAILED entries have one"),
        ("log", {"responseBody": "x"}, "responseBody: there is no outcome"),
        ("log", {"durationMs": None}, "durationMs: not a number"),
        ("dlq", {"dlqId": "01-1"}, "dlqId: not an id of the DLQ"),
        ("dlq", {"outcome": None, "responseBodyBase64": ""}, "outcome is missing"),
        ("dlq", {"messageId": "msg_done"}, "the message hasn't failed"),
        ("dlq", {"messageId": "msg_failed"}, "the log gives the message another"),
        ("end", {"lines": 3}, "lines are missing"),
    ],
)
def test_a_line_that_no_export_has_is_refused(kind, changes, problem):
    lines = lines_of()
    place = place_of(lines, kind)
    lines[place] |= changes
    refusal = refusal_of(lines)

    assert problem in refusal.reason
    assert refusal.line == place + 1
    assert str(refusal).startswith(f"line {place + 1} of the state: ")


@pytest.mark.parametrize(
    "kind",
    [
        *("user", "queue", "url-group", "flow-key", "flow-period", "schedule"),
        *("message", "dlq", "deduplication"),
    ],
)
def test_nothing_is_there_twice(kind):
    lines = lines_of()
    place = place_of(lines, kind)
    lines.insert(place + 1, lines[place])
    refusal = refusal_of(lines)

    assert refusal.line == place + 2
    assert "before" in refusal.reason


@pytest.mark.parametrize(
    ("kind", "name", "value", "problem"),
    [
        ("queue", "parallelism", 0, "parallelism: must be at least 1"),
        ("flow-key", "rate", 0, "rate: must be at least 1"),
        ("flow-key", "period_s", 0, "period_s: must be at least 1"),
        ("schedule", "cron", "61 * * * *", "minute"),
        ("message", "not_before_ms", 2**63, "not_before_ms: too large"),
        ("message", "options", {"retry_delay": "1 +"}, "Upstash-Retry-Delay"),
        (
            "message",
            "options",
            {"flow_control": {"key": "a", "parallelism": 0}},
            "parallelism: must be at least 1",
        ),
        (
            "message",
            "options",
            {"callback": {"url": "a", "options": {"retry_delay": "("}}},
            "Upstash-Retry-Delay",
        ),
    ],
)
def test_what_could_not_be_delivered_or_fired_is_refused(kind, name, value, problem):
    lines = lines_of()
    place = place_of(lines, kind)
    lines[place]["record"][name] = value
    refusal = refusal_of(lines)

    assert (refusal.line, problem in refusal.reason) == (place + 1, True)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "it isn't JSON"),
        (b"[]", "it isn't a JSON object"),
        (b"\xff", "it isn't JSON"),
        (b"9" * 5_000, "it isn't JSON"),
        (b"[" * 100_000, "it is nested too deeply"),
        (b"{}", "type is missing"),
    ],
)
def test_a_line_that_is_no_object_is_refused(text, problem):
    lines = lines_of()
    refusal = refusal_of([*lines[:1], text])

    assert refusal.line == 2
    assert problem in refusal.reason


def test_a_line_that_is_too_long_is_not_even_parsed(monkeypatch):
    monkeypatch.setattr(importing, "MAX_LINE_BYTES", 100)
    refusal = refusal_of([b"x" * 101])

    assert "more than 100 bytes" in refusal.reason


def test_options_that_are_nested_too_deeply_are_refused():
    lines = lines_of()
    place = place_of(lines, "message")
    text = '{"url":"a","options":{"callback":' * 400 + "{}" + "}}" * 400
    lines[place] = json.dumps(lines[place] | {"record": 0}).replace(
        '"record": 0', f'"record":{{"url":"a","options":{{"callback":{text}}}}}'
    )
    refusal = refusal_of([*lines[:place], lines[place].encode()])

    assert refusal.line == place + 1


@pytest.mark.parametrize("kept", range(len(lines_of())))
def test_a_file_without_its_end_is_not_whole(kept):
    refusal = refusal_of(lines_of()[:kept])

    assert refusal.line == kept + 1
    assert "isn't whole" in refusal.reason


def test_nothing_follows_the_end():
    lines = lines_of()
    refusal = refusal_of([*lines, lines[-1]])

    assert "nothing may follow the end" in refusal.reason


def test_a_message_stands_where_the_log_ends():
    lines = lines_of()
    place = place_of(lines, "message", messageId="msg_waiting")
    lines[place]["state"] = "CREATED"
    refusal = refusal_of(lines)

    assert (refusal.line, refusal.reason) == (
        place + 1,
        "state: it is CREATED, and the log says RETRY",
    )


def test_a_final_message_is_shown_by_the_log_or_the_dlq():
    lines = lines_of()
    place = place_of(lines, "message", messageId="msg_waiting")
    lines.insert(place, lines[place] | {"messageId": "msg_x", "state": "DELIVERED"})
    lines[-1]["lines"] += 1
    refusal = refusal_of(lines)

    assert refusal.line == place + 1
    assert "neither the log nor the DLQ has it" in refusal.reason


def test_the_log_says_once_how_a_message_ended():
    lines = lines_of()
    place = place_of(lines, "log", state="DELIVERED")
    lines.insert(place + 1, lines[place])
    refusal = refusal_of(lines)

    assert refusal.line == place + 2
    assert "how the message ended" in refusal.reason


def test_ids_of_the_dlq_rise_in_the_log():
    lines = lines_of()
    place = place_of(lines, "log", state="FAILED")
    other = lines[place] | {"messageId": "msg_done", "dlqId": "1-1"}
    lines[place_of(lines, "log", state="DELIVERED")] = other
    lines[place] = lines[place] | {"dlqId": "1-1"}
    refusal = refusal_of(lines)

    assert (refusal.line, refusal.reason) == (
        place + 1,
        "dlqId: not above the one before",
    )


def test_the_dlq_has_no_more_entries_without_a_log_than_the_log_has_lost():
    lines = lines_of(first_log_sequence=0)
    refusal = refusal_of(lines)

    assert refusal.line == place_of(lines, "dlq") + 1
    assert "the log should tell of it" in refusal.reason


def test_entries_that_the_log_has_lost_come_first_in_the_dlq():
    lines = lines_of()
    first = place_of(lines, "dlq")
    lines[first], lines[first + 1] = (
        lines[first + 1] | {"dlqId": f"{T0}-1"},
        lines[first] | {"dlqId": f"{T0}-2"},
    )
    refusal = refusal_of(lines)

    assert refusal.line == first + 2
    assert "the log tells of the one before" in refusal.reason


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["msg_done", "FAILED", f"{T0}-1", "u"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)


def attempt(lines):
    """Read lines; return what came of it."""
    try:
        return read(lines)
    except InvalidState as error:
        return error


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_whatever_stands_in_a_field_it_is_read_or_refused_by_its_line(data):
    lines = lines_of()
    place = data.draw(st.integers(0, len(lines) - 1))
    name = data.draw(st.sampled_from(sorted(lines[place])))
    lines[place][name] = data.draw(values)
    result = attempt(lines)

    assert isinstance(result, Imported) or 1 <= result.line <= len(lines) + 1


@settings(max_examples=100, deadline=None)
@given(st.permutations(lines_of()))
def test_lines_in_another_order_are_read_or_refused(lines):
    result = attempt(lines)

    assert isinstance(result, Imported) or 1 <= result.line <= len(lines) + 1
