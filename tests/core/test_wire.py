"""emulator/core/wire.py: QStash's JSON, out and in."""

import json
from base64 import b64decode, b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.core import wire
from emulator.core.model import (
    Callback,
    DlqEntry,
    FlowControl,
    LogEntry,
    Message,
    Options,
    Receipt,
    Redaction,
    Responded,
    SigningKeys,
    State,
    TimedOut,
    Unreachable,
)
from emulator.core.redaction import redact_value
from emulator.core.wire import BatchEntry, parse_batch, parse_selection
from emulator.errors import InvalidBody, InvalidDestination, RequestError

few = settings(max_examples=50, deadline=None)

T0 = 1_700_000_000_000

NOT_FOUND = Responded(
    404, ("Content-Type", "text/plain"), b"404 Not Found", "Not Found"
)

EVERYTHING = Options(
    method="PUT",
    retries=0,
    retry_delay="1000 * retried",
    timeout_ms=30_000,
    callback=Callback(url="http://a.example/cb?foo=bar", header=("X-Trace", "1")),
    failure_callback=Callback(url="http://a.example/failed", header=("X-F", "2")),
    labels=("a", "b"),
    flow_control=FlowControl(key="k", parallelism=2, rate=5, period_s=60),
)


def a_message(**changes):
    fields = {
        "message_id": "msg_1",
        "url": "http://127.0.0.1:3000/api/hook?x=1",
        "created_at_ms": T0,
        "not_before_ms": T0 + 60_000,
        "caller_ip": "127.0.0.1",
    }
    return Message(**fields | changes)


def a_full_message(**changes):
    fields = {
        "body": b'{"hello":"world"}',
        "header": ("Content-Type", "application/json", "X-A", "1", "X-A", "2"),
        "options": EVERYTHING,
        "url_group_name": "g",
        "endpoint_name": "First endpoint",
        "queue_name": "q",
        "schedule_id": "scd_1",
        "api": "llm",
    }
    return a_message(**fields | changes)


def a_dlq_entry(outcome=NOT_FOUND, message=None):
    return DlqEntry(
        dlq_id=f"{T0}-0",
        failed_at_ms=T0,
        message=message or a_message(),
        retried=3,
        outcome=outcome,
    )


def a_log_entry(state=State.CREATED, message=None, **changes):
    return LogEntry(T0, state, message or a_message(), **changes)


# Messages


def test_a_plain_message_shows_what_is_always_present_and_no_more():
    """MSG-2, MSG-3, BASE-12."""
    assert wire.message(a_message()) == {
        "messageId": "msg_1",
        "url": "http://127.0.0.1:3000/api/hook?x=1",
        "method": "POST",
        "maxRetries": 3,
        "notBefore": T0 + 60_000,
        "createdAt": T0,
        "callerIP": "127.0.0.1",
    }


def test_a_message_shows_all_that_was_configured():
    """MSG-2, MSG-4, FMT-8, FMT-12, CBK-16, RTY-18."""
    assert wire.message(a_full_message()) == {
        "messageId": "msg_1",
        "url": "http://127.0.0.1:3000/api/hook?x=1",
        "method": "PUT",
        "maxRetries": 0,
        "notBefore": T0 + 60_000,
        "createdAt": T0,
        "callerIP": "127.0.0.1",
        "header": {"Content-Type": ["application/json"], "X-A": ["1", "2"]},
        "body": '{"hello":"world"}',
        "topicName": "g",
        "endpointName": "First endpoint",
        "queueName": "q",
        "scheduleId": "scd_1",
        "callback": "http://a.example/cb?foo=bar",
        "callbackHeader": {"X-Trace": ["1"]},
        "failureCallback": "http://a.example/failed",
        "failureCallbackHeader": {"X-F": ["2"]},
        "retryDelayExpression": "1000 * retried",
        "timeout": 30_000,
        "label": "a",
        "labels": ["a", "b"],
        "flowControlKey": "k",
        "parallelism": 2,
        "rate": 5,
        "period": 60,
        "api": "llm",
    }


def test_the_message_id_comes_first():
    assert next(iter(wire.message(a_full_message()))) == "messageId"


def test_a_flow_control_key_brings_its_period_along_and_nothing_else():
    """MSG-4."""
    options = Options(flow_control=FlowControl(key="k"))
    shown = wire.message(a_message(options=options))

    assert shown["flowControlKey"] == "k"
    assert shown["period"] == 1
    assert not {"rate", "parallelism"} & shown.keys()


def test_a_callback_without_headers_has_no_header_map():
    options = Options(callback=Callback(url="http://a.example/"))
    shown = wire.message(a_message(options=options))

    assert shown["callback"] == "http://a.example/"
    assert "callbackHeader" not in shown


@few
@given(st.binary(max_size=60))
def test_a_body_is_text_or_base64_never_both_and_never_empty(body):
    """FMT-10."""
    shown = wire.message(a_message(body=body))
    text, base64 = shown.get("body"), shown.get("bodyBase64")

    assert (text or "").encode() + b64decode(base64 or "") == body
    assert text is None or base64 is None
    assert "" not in (text, base64)


def test_a_redacted_message_shows_hashes_but_its_callbacks_headers():
    """MSG-5, RED-5, RED-9."""
    redaction = Redaction(body=True, all_headers=True)
    options = Options(
        redaction=redaction,
        callback=Callback(url="http://a.example/", header=("X-Trace", "1")),
    )
    shown = wire.message(
        a_message(body=b"\xff", header=("X-A", "secret"), options=options)
    )

    assert shown["body"] == redact_value(b"\xff")
    assert shown["header"] == {"X-A": [redact_value("secret")]}
    assert shown["callbackHeader"] == {"X-Trace": ["1"]}


def test_header_bytes_that_are_not_utf_8_are_shown_as_replacement_characters():
    header = ("X-A", b"caf\xe9".decode("utf-8", "surrogateescape"), "X-B", "caf\u00e9")

    assert wire.message(a_message(header=header))["header"] == {
        "X-A": ["caf\ufffd"],
        "X-B": ["caf\u00e9"],
    }


# Dead letter queue


def test_a_dlq_entry_is_its_message_and_the_last_response():
    """DLQ-2, DLQ-3, DLQ-4."""
    assert wire.dlq_entry(a_dlq_entry(message=a_full_message())) == wire.message(
        a_full_message()
    ) | {
        "dlqId": f"{T0}-0",
        "responseStatus": 404,
        "responseHeader": {"Content-Type": ["text/plain"]},
        "responseBody": "404 Not Found",
    }


@pytest.mark.parametrize("outcome", [TimedOut(5000), Unreachable("refused")])
def test_a_dlq_entry_without_a_response_has_status_0(outcome):
    """DLQ-2, DLV-16, Q-5."""
    assert wire.dlq_entry(a_dlq_entry(outcome)) == wire.message(a_message()) | {
        "dlqId": f"{T0}-0",
        "responseStatus": 0,
    }


def test_a_response_that_is_not_text_is_shown_as_base64():
    """FMT-10."""
    shown = wire.dlq_entry(a_dlq_entry(Responded(500, (), b"\xff\xfe")))

    assert shown["responseBodyBase64"] == "//4="
    assert not {"responseBody", "responseHeader"} & shown.keys()


def test_a_response_is_not_redacted():
    """RED-9."""
    message = a_message(options=Options(redaction=Redaction(body=True)))
    shown = wire.dlq_entry(a_dlq_entry(message=message))

    assert shown["responseBody"] == "404 Not Found"


# Log


def test_a_log_entry_repeats_what_is_known_of_its_message():
    """LOG-12, LOG-13, LOG-14, CBK-16, FMT-11."""
    entry = a_log_entry(message=a_full_message(), next_delivery_ms=T0 + 60_000)

    assert wire.log_entry(entry) == {
        "time": T0,
        "messageId": "msg_1",
        "state": "CREATED",
        "url": "http://127.0.0.1:3000/api/hook?x=1",
        "method": "PUT",
        "maxRetries": 0,
        "header": {"Content-Type": ["application/json"], "X-A": ["1", "2"]},
        "body": "eyJoZWxsbyI6IndvcmxkIn0=",
        "topicName": "g",
        "endpointName": "First endpoint",
        "queueName": "q",
        "scheduleId": "scd_1",
        "nextDeliveryTime": T0 + 60_000,
        "callback": "http://a.example/cb?foo=bar",
        "callbackHeaders": {"X-Trace": ["1"]},
        "failureCallback": "http://a.example/failed",
        "failureCallbackHeaders": {"X-F": ["2"]},
        "retryDelayExpression": "1000 * retried",
        "retryDelayExpr": "1000 * retried",
        "timeout": 30_000,
        "label": "a",
        "labels": ["a", "b"],
        "flowControlKey": "k",
        "parallelism": 2,
        "rate": 5,
        "period": 60,
    }


def test_a_plain_log_entry_shows_what_is_always_present_and_no_more():
    """LOG-12, BASE-12."""
    assert wire.log_entry(a_log_entry(State.ACTIVE)) == {
        "time": T0,
        "messageId": "msg_1",
        "state": "ACTIVE",
        "url": "http://127.0.0.1:3000/api/hook?x=1",
        "method": "POST",
        "maxRetries": 3,
    }


def test_an_error_shows_the_response_under_both_spellings():
    """LOG-12, LOG-15, FMT-11."""
    plain = wire.log_entry(a_log_entry(State.ERROR))
    shown = wire.log_entry(a_log_entry(State.ERROR, outcome=NOT_FOUND))

    assert shown == plain | {
        "error": "404 Not Found",
        "responseStatus": 404,
        "responseHeader": {"Content-Type": ["text/plain"]},
        "responseHeaders": {"Content-Type": ["text/plain"]},
        "responseBody": "NDA0IE5vdCBGb3VuZA==",
    }


@pytest.mark.parametrize("outcome", [TimedOut(5000), Unreachable("refused \udce9")])
def test_an_error_without_a_response_shows_its_text_only(outcome):
    """LOG-12, DLV-16."""
    plain = wire.log_entry(a_log_entry(State.ERROR))
    shown = wire.log_entry(a_log_entry(State.ERROR, outcome=outcome))

    assert shown == plain | {"error": outcome.error.replace("\udce9", "\ufffd")}


def test_a_failure_shows_the_error_but_not_the_response():
    """LOG-12."""
    plain = wire.log_entry(a_log_entry(State.FAILED))
    shown = wire.log_entry(a_log_entry(State.FAILED, outcome=NOT_FOUND))

    assert shown == plain | {"error": "404 Not Found"}


def test_a_delivery_shows_neither_error_nor_response():
    """LOG-12."""
    plain = wire.log_entry(a_log_entry(State.DELIVERED))
    shown = wire.log_entry(
        a_log_entry(State.DELIVERED, outcome=Responded(200, ("X-A", "1"), b"ok"))
    )

    assert shown == plain


@pytest.mark.parametrize("state", [State.CREATED, State.RETRY])
def test_a_waiting_message_shows_when_it_is_delivered(state):
    """LOG-12."""
    entry = a_log_entry(state, next_delivery_ms=T0 + 1)

    assert wire.log_entry(entry)["nextDeliveryTime"] == T0 + 1


def test_no_state_has_a_name_that_clients_refuse():
    """LOG-20, LOG-21: Python raises for any other word."""
    shown = {wire.log_entry(a_log_entry(state))["state"] for state in State}

    assert shown == {
        "CREATED",
        "ACTIVE",
        "RETRY",
        "ERROR",
        "DELIVERED",
        "FAILED",
        "CANCEL_REQUESTED",
        "CANCELED",
    }


def test_the_log_redacts_a_body_and_then_encodes_it():
    """LOG-16, RED-4."""
    message = a_message(body=b"secret", options=Options(redaction=Redaction(body=True)))
    shown = wire.log_entry(a_log_entry(message=message))

    assert b64decode(shown["body"]).decode() == redact_value(b"secret")


# Answers


def test_a_receipt_for_a_url_is_the_id_alone():
    """PUB-40."""
    receipt = Receipt("msg_1", "http://a.example/")

    assert wire.receipt(receipt) == {"messageId": "msg_1"}


def test_a_duplicate_says_so():
    """PUB-42."""
    receipt = Receipt("msg_1", "http://a.example/", deduplicated=True)

    assert wire.receipt(receipt) == {"messageId": "msg_1", "deduplicated": True}


def test_a_group_of_one_still_gets_an_array_and_each_message_its_url():
    """PUB-41, PUB-42."""
    first = Receipt("msg_1", "http://a.example/")
    second = Receipt("msg_2", "http://b.example/", deduplicated=True)

    assert wire.group_receipt([first]) == [
        {"messageId": "msg_1", "url": "http://a.example/"}
    ]
    assert wire.group_receipt((first, second))[1] == {
        "messageId": "msg_2",
        "url": "http://b.example/",
        "deduplicated": True,
    }


def test_signing_keys_are_current_and_next():
    """KEY-1."""
    assert wire.keys(SigningKeys("sig_1", "sig_2")) == {
        "current": "sig_1",
        "next": "sig_2",
    }


def test_an_error_has_exactly_one_key():
    """ERR-1."""
    assert wire.error("message \udcff not found") == {
        "error": "message \ufffd not found"
    }


def test_a_page_has_a_cursor_only_when_more_follows():
    """FMT-17, DLQ-5, LOG-2."""
    assert wire.page("events", [{"time": 1}], "1-0") == {
        "events": [{"time": 1}],
        "cursor": "1-0",
    }
    assert wire.page("messages", [], None) == {"messages": []}


# Callbacks


def test_a_callback_tells_of_the_delivery_and_its_source():
    """CBK-20, CBK-21, CBK-22."""
    payload = wire.callback_payload(a_full_message(), NOT_FOUND, 2, None)

    assert payload == {
        "status": 404,
        "header": {"Content-Type": ["text/plain"]},
        "body": "NDA0IE5vdCBGb3VuZA==",
        "retried": 2,
        "maxRetries": 0,
        "sourceMessageId": "msg_1",
        "topicName": "g",
        "endpointName": "First endpoint",
        "url": "http://127.0.0.1:3000/api/hook?x=1",
        "method": "PUT",
        "sourceHeader": {"Content-Type": ["application/json"], "X-A": ["1", "2"]},
        "sourceBody": "eyJoZWxsbyI6IndvcmxkIn0=",
        "notBefore": T0 + 60_000,
        "createdAt": T0,
        "scheduleId": "scd_1",
        "callerIP": "127.0.0.1",
    }


@pytest.mark.parametrize("outcome", [TimedOut(5000), Unreachable("refused")])
def test_a_callback_without_a_response_shows_its_empty_parts(outcome):
    """CBK-20, DLV-16, Q-5."""
    assert wire.callback_payload(a_message(), outcome, 0, f"{T0}-0") == {
        "status": 0,
        "header": {},
        "body": "",
        "retried": 0,
        "maxRetries": 3,
        "dlqId": f"{T0}-0",
        "sourceMessageId": "msg_1",
        "url": "http://127.0.0.1:3000/api/hook?x=1",
        "method": "POST",
        "notBefore": T0 + 60_000,
        "createdAt": T0,
        "callerIP": "127.0.0.1",
    }


def test_a_callback_carries_originals_of_what_is_redacted():
    """CBK-24, Q-11."""
    redaction = Redaction(body=True, all_headers=True)
    message = a_full_message(options=Options(redaction=redaction))
    payload = wire.callback_payload(message, NOT_FOUND, 0, None)

    assert b64decode(payload["sourceBody"]) == b'{"hello":"world"}'
    assert payload["sourceHeader"]["X-A"] == ["1", "2"]


# What holds for all

header_values = st.binary(max_size=8).map(
    lambda value: value.decode("utf-8", "surrogateescape")
)
header_maps = st.lists(header_values, max_size=2).map(
    lambda values: tuple(part for value in values for part in ("X-A", value))
)
outcomes = (
    st.builds(
        Responded, st.integers(100, 599), header_maps, st.binary(max_size=8), st.text()
    )
    | st.builds(TimedOut, st.integers(1, 99))
    | st.builds(Unreachable, header_values)
)
options = st.builds(
    Options,
    retries=st.none() | st.integers(0, 3),
    retry_delay=st.sampled_from([None, "1000"]),
    timeout_ms=st.none() | st.integers(0, 9),
    callback=st.none()
    | st.builds(Callback, url=st.just("http://a/"), header=header_maps),
    labels=st.lists(header_values.filter(bool), max_size=2).map(tuple),
    flow_control=st.none()
    | st.builds(
        FlowControl,
        key=header_values.filter(bool),
        rate=st.none() | st.integers(1, 9),
    ),
    redaction=st.none() | st.builds(Redaction, body=st.booleans()),
)
messages = st.builds(
    a_message, body=st.binary(max_size=8), header=header_maps, options=options
)


def all_values(value):
    yield value
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from all_values(each)


@few
@given(message=messages, outcome=outcomes, state=st.sampled_from(State))
def test_nothing_rendered_is_null_or_beyond_utf_8(message, outcome, state):
    """BASE-12."""
    rendered = [
        wire.message(message),
        wire.dlq_entry(a_dlq_entry(outcome, message)),
        wire.log_entry(a_log_entry(state, message, outcome=outcome)),
        wire.callback_payload(message, outcome, 0, None),
    ]

    assert None not in all_values(rendered)
    text = json.dumps(rendered, ensure_ascii=False)
    assert json.loads(text.encode("utf-8")) == rendered


# Batches


def test_a_batch_is_read_entry_by_entry():
    """BAT-1, BAT-2: one value or several, and null for what isn't there."""
    body = json.dumps(
        [
            {
                "destination": "https://a.example/?x=1",
                "headers": {"Upstash-Retries": "3", "x-a": ["1", "2"], "x-b": []},
                "body": "h\u00e9",
                "queue": "q",
            },
            {"destination": "g", "headers": None, "body": None, "queue": None},
            {"destination": "api/llm", "queue": ""},
        ]
    ).encode()

    assert parse_batch(body) == [
        BatchEntry(
            destination="https://a.example/?x=1",
            headers=(("Upstash-Retries", "3"), ("x-a", "1"), ("x-a", "2")),
            body="h\u00e9".encode(),
            queue_name="q",
        ),
        BatchEntry(destination="g"),
        BatchEntry(destination="api/llm"),
    ]


def test_an_empty_batch_has_no_entries():
    """BAT-9."""
    assert parse_batch(b" [] ") == []


def test_unknown_keys_of_an_entry_are_ignored():
    """FMT-20."""
    assert parse_batch(b'[{"destination":"g","paused":[1.5e999,{"a":null}]}]') == [
        BatchEntry(destination="g")
    ]


@few
@given(
    st.lists(
        st.builds(
            BatchEntry,
            destination=st.text(min_size=1, max_size=8),
            headers=st.lists(st.text(max_size=4), max_size=3, unique=True).map(
                lambda names: tuple((name, name + "!") for name in names)
            ),
            body=st.text(max_size=8).map(str.encode),
            queue_name=st.none() | st.text(min_size=1, max_size=4),
        ),
        max_size=3,
    )
)
def test_a_batch_reads_back_as_what_was_written(entries):
    body = json.dumps(
        [
            {
                "destination": entry.destination,
                "headers": dict(entry.headers),
                "body": entry.body.decode(),
                "queue": entry.queue_name,
            }
            for entry in entries
        ]
    )

    assert parse_batch(body.encode()) == entries


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("{}", "it must be an array, not an object"),
        ("null", "it must be an array, not null"),
        ('["a"]', "[0] must be an object, not a string"),
        ('[{"destination":"g"},7]', "[1] must be an object, not a number"),
        ('[{"destination":5}]', "[0].destination must be a string, not a number"),
        (
            '[{"destination":"g","headers":[]}]',
            "[0].headers must be an object, not an array",
        ),
        (
            '[{"destination":"g","headers":{"X-A\\n":true}}]',
            '[0].headers["X-A\\n"] must be a string, not a boolean',
        ),
        (
            '[{"destination":"g","headers":{"X-A":["1",null]}}]',
            '[0].headers["X-A"] must be a string, not null',
        ),
        (
            '[{"destination":"g","body":{"a":1}}]',
            "[0].body must be a string, not an object",
        ),
        ('[{"destination":"g","queue":0}]', "[0].queue must be a string, not a number"),
        ('[{"destination":"g","queue":"a","queue":""}]', '"queue" appears twice'),
        ('[{"destination":"g","body":"\\ud800"}]', "[0].body has half of a surrogate"),
        (
            '[{"destination":"g","headers":{"\\udfff":"1"}}]',
            'the name of [0].headers["\\udfff"] has half of a surrogate',
        ),
    ],
)
def test_a_wrong_entry_is_named_by_index_and_key(body, reason):
    """BAT-7, ERR-3."""
    with pytest.raises(InvalidBody) as caught:
        parse_batch(body.encode())

    assert str(caught.value).startswith(f"invalid body: {reason}")


@pytest.mark.parametrize("entry", ["{}", '{"destination":""}', '{"destination":null}'])
def test_an_entry_needs_a_destination(entry):
    """BAT-7, with the words of ERR-4."""
    with pytest.raises(InvalidDestination) as caught:
        parse_batch(f'[{{"destination":"g"}},{entry}]'.encode())

    assert str(caught.value) == (
        "a non-empty destination must be provided: [1].destination"
    )


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not valid JSON: Expecting value"),
        (b"[", "not valid JSON: Expecting value"),
        (b"[{}]]", "not valid JSON: Extra data"),
        (b"[NaN]", "not valid JSON: NaN"),
        (b"[-Infinity]", "not valid JSON: -Infinity"),
        (b"\xef\xbb\xbf[]", "not valid JSON: Expecting value"),
        (b'["\xff"]', "not UTF-8 at byte 2"),
        ("[]".encode("utf-16"), "not UTF-8 at byte 0"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 200_000, "nested too deeply"),
        (b"[" + b"9" * 100_000 + b"]", "[0] must be an object, not a number"),
    ],
)
def test_a_body_that_is_not_json_is_refused(body, reason):
    """BAT-7: whatever it is, it is the caller's mistake and no crash."""
    with pytest.raises(InvalidBody) as caught:
        parse_batch(body)

    assert reason in str(caught.value)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=5)
    | st.just("\ud800"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["destination", "headers", "body", "queue", "x"]), inner
        )
    ),
    max_leaves=12,
)
hostile = st.binary(max_size=40) | json_values.map(
    lambda value: json.dumps(value).encode()
)


@few
@given(hostile)
def test_no_batch_raises_anything_but_a_request_error(body):
    try:
        entries = parse_batch(body)
    except RequestError:
        return

    assert all(entry.destination for entry in entries)


# Selections


def test_a_selection_is_read_like_a_query():
    """BASE-18, MSG-21, DLQ-21."""
    body = b'{"messageIds":["a","b"],"queueName":"q","fromDate":1700000000000,"x":[]}'

    assert parse_selection(body) == {
        "messageIds": ["a", "b"],
        "queueName": ["q"],
        "fromDate": ["1700000000000"],
        "x": [],
    }


@pytest.mark.parametrize("body", [b"", b" \r\n", b"{}"])
def test_an_empty_selection_selects_nothing_in_particular(body):
    """MSG-23."""
    assert parse_selection(body) == {}


@pytest.mark.parametrize("number", ["0", "-1", "1.50", "1e400", "9" * 5000])
def test_a_number_is_kept_as_it_is_written(number):
    selection = parse_selection(f'{{"count":[{number}]}}'.encode())

    assert selection == {"count": [number]}
    assert type(selection["count"][0]) is str


@few
@given(st.dictionaries(st.text(max_size=5), st.lists(st.text(max_size=5), max_size=3)))
def test_a_selection_reads_back_as_what_was_written(selection):
    assert parse_selection(json.dumps(selection).encode()) == selection


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("null", "it must be an object, not null"),
        ('["a"]', "it must be an object, not an array"),
        ('{"label":null}', '"label" must be a string, not null'),
        ('{"label":{}}', '"label" must be a string, not an object'),
        ('{"label":["a",false]}', '"label" must be a string, not a boolean'),
        ('{"label":[["a"]]}', '"label" must be a string, not an array'),
        ('{"label":"\\udc00"}', '"label" has half of a surrogate pair'),
        ('{"messageIds":["a"],"messageIds":[]}', '"messageIds" appears twice'),
    ],
)
def test_anything_else_selects_nothing_at_all(body, reason):
    """MSG-21: a selection that isn't understood must not cancel everything."""
    with pytest.raises(InvalidBody) as caught:
        parse_selection(body.encode())

    assert str(caught.value).startswith(f"invalid body: {reason}")


@few
@given(hostile)
def test_no_selection_raises_anything_but_a_request_error(body):
    try:
        selection = parse_selection(body)
    except RequestError:
        return

    assert all(type(value) is str for values in selection.values() for value in values)


def test_bodies_in_the_log_are_standard_base64():
    """FMT-11: not the alphabet of URLs."""
    shown = wire.log_entry(a_log_entry(message=a_message(body=b"\xff\xef\xfe")))

    assert shown["body"] == b64encode(b"\xff\xef\xfe").decode() == "/+/+"
