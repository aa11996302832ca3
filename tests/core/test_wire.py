"""emulator/core/wire.py: QStash's JSON."""

import json
from base64 import b64decode, b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.core import wire
from emulator.core.faults import Fault, FaultKind, parse_fault
from emulator.core.flow import FlowUsage
from emulator.core.last_states import LastStates
from emulator.core.model import (
    Callback,
    Destination,
    DestinationKind,
    DlqEntry,
    FlowControl,
    LogEntry,
    Message,
    Options,
    Publish,
    Receipt,
    Redaction,
    Responded,
    SigningKeys,
    State,
    TimedOut,
    Unreachable,
)
from emulator.core.redaction import redact_value
from emulator.core.resources import Endpoint, FlowKey, Queue, Schedule, UrlGroup

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


def a_publish(**changes):
    destination = Destination(DestinationKind.URL, "https://a.example/hook?x=1")
    fields = {"destination": destination, "caller_ip": "127.0.0.1"}
    return Publish(**fields | changes)


def a_schedule(publish=None, **changes):
    fields = {
        "schedule_id": "scd_1",
        "cron": "TZ=Asia/Tokyo 0 4 * * *",
        "publish": publish or a_publish(),
        "created_at_ms": T0,
        "next_fire_ms": T0 + 40_000,
    }
    return Schedule(**fields | changes)


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


def test_bodies_in_the_log_are_standard_base64():
    """FMT-11: not the alphabet of URLs."""
    shown = wire.log_entry(a_log_entry(message=a_message(body=b"\xff\xef\xfe")))

    assert shown["body"] == b64encode(b"\xff\xef\xfe").decode() == "/+/+"


# The feed


def test_the_feed_adds_whose_entry_it_is_and_how_many_retries_were_made():
    entry = a_log_entry(State.ACTIVE)

    assert wire.feed_item("alice", entry) == wire.log_entry(entry) | {
        "user": "alice",
        "retried": 0,
    }


def test_the_feed_adds_the_status_and_the_duration_of_a_delivery():
    entry = a_log_entry(
        State.DELIVERED, retried=2, outcome=Responded(204), duration_ms=0
    )

    assert wire.feed_item("alice", entry) == wire.log_entry(entry) | {
        "user": "alice",
        "retried": 2,
        "status": 204,
        "durationMs": 0,
    }


def test_the_feed_adds_where_a_message_went_and_what_it_reports():
    message = a_message(callback_of="msg_0")
    entry = a_log_entry(
        State.FAILED, message, retried=3, outcome=Unreachable("refused"), dlq_id="1-0"
    )

    assert wire.feed_item("alice", entry) == wire.log_entry(entry) | {
        "user": "alice",
        "retried": 3,
        "dlqId": "1-0",
        "callbackOf": "msg_0",
    }


# Schedules


def test_a_plain_schedule_shows_what_is_always_present_and_no_more():
    """SCH-20, SCH-21, SCH-24, BASE-12."""
    assert wire.schedule(a_schedule()) == {
        "scheduleId": "scd_1",
        "cron": "TZ=Asia/Tokyo 0 4 * * *",
        "destination": "https://a.example/hook?x=1",
        "createdAt": T0,
        "method": "POST",
        "isPaused": False,
        "retries": 3,
        "callerIP": "127.0.0.1",
        "callerIp": "127.0.0.1",
        "nextScheduleTime": T0 + 40_000,
    }


def test_a_schedule_shows_all_that_was_configured():
    """SCH-20, SCH-25, SCH-26, FMT-8, FMT-12."""
    publish = a_publish(
        body=b'{"hello":"world"}',
        header=("Content-Type", "application/json", "X-A", "1", "X-A", "2"),
        options=EVERYTHING,
        delay_ms=10_000,
        queue_name="q",
    )
    schedule = a_schedule(
        publish,
        is_paused=True,
        last_fire_ms=T0 + 20,
        last_states=LastStates([("msg_1", State.DELIVERED)]),
        error="topic g not found",
    )

    assert wire.schedule(schedule) == {
        "scheduleId": "scd_1",
        "cron": "TZ=Asia/Tokyo 0 4 * * *",
        "destination": "https://a.example/hook?x=1",
        "createdAt": T0,
        "method": "PUT",
        "isPaused": True,
        "retries": 0,
        "callerIP": "127.0.0.1",
        "callerIp": "127.0.0.1",
        "nextScheduleTime": T0 + 40_000,
        "header": {"Content-Type": ["application/json"], "X-A": ["1", "2"]},
        "body": '{"hello":"world"}',
        "delay": 10,
        "queueName": "q",
        "callback": "http://a.example/cb?foo=bar",
        "callbackHeader": {"X-Trace": ["1"]},
        "failureCallback": "http://a.example/failed",
        "failureCallbackHeader": {"X-F": ["2"]},
        "retryDelayExpression": "1000 * retried",
        "timeout": 30,
        "label": "a",
        "labels": ["a", "b"],
        "flowControlKey": "k",
        "parallelism": 2,
        "rate": 5,
        "period": 60,
        "lastScheduleTime": T0 + 20,
        "lastScheduleStates": {"msg_1": "SUCCESS"},
        "error": "topic g not found",
    }


def test_the_states_of_the_last_firing_have_words_of_their_own():
    """SCH-27: Python raises for any other word."""
    states = {
        "msg_1": None,
        "msg_2": State.DELIVERED,
        "msg_3": State.FAILED,
        "msg_4": State.CANCELLED,
    }
    shown = wire.schedule(a_schedule(last_states=LastStates(states.items())))

    assert shown["lastScheduleStates"] == {
        "msg_1": "IN_PROGRESS",
        "msg_2": "SUCCESS",
        "msg_3": "FAIL",
        "msg_4": "FAIL",
    }


@pytest.mark.parametrize(
    ("kind", "text", "shown"),
    [
        (DestinationKind.URL, "http://a.example", "http://a.example"),
        (DestinationKind.URL_GROUP, "g", "g"),
        (DestinationKind.API, "llm", "api/llm"),
    ],
)
def test_a_schedules_destination_is_what_it_was_created_with(kind, text, shown):
    """SCH-20, PUB-1."""
    publish = a_publish(destination=Destination(kind, text))

    assert wire.schedule(a_schedule(publish))["destination"] == shown


@pytest.mark.parametrize(("given_ms", "shown_s"), [(1, 1), (1000, 1), (1500, 2)])
def test_parts_of_seconds_are_rounded_up_where_a_schedule_shows_whole_ones(
    given_ms, shown_s
):
    """SCH-20, Q-16: what is set is never shown as unset."""
    publish = a_publish(delay_ms=given_ms, options=Options(timeout_ms=given_ms))
    shown = wire.schedule(a_schedule(publish))

    assert (shown["delay"], shown["timeout"]) == (shown_s, shown_s)


def test_a_redacted_schedule_shows_hashes_but_its_callbacks_headers():
    """RED-4, RED-5, RED-6, RED-9."""
    options = Options(
        redaction=Redaction(body=True, all_headers=True),
        callback=Callback(url="http://a.example/", header=("X-Trace", "1")),
    )
    publish = a_publish(body=b"\xff", header=("X-A", "secret"), options=options)
    shown = wire.schedule(a_schedule(publish))

    assert shown["body"] == redact_value(b"\xff")
    assert shown["header"] == {"X-A": [redact_value("secret")]}
    assert shown["callbackHeader"] == {"X-Trace": ["1"]}


def test_the_creator_of_a_schedule_gets_its_id():
    """SCH-1, SCH-3."""
    assert wire.schedule_receipt("scd_1") == {"scheduleId": "scd_1"}


# Queues, URL groups, flow control


def test_a_queue_shows_all_six_fields_even_if_they_are_zero_or_false():
    """QUE-1."""
    queue = Queue(name="q", created_at_ms=T0, updated_at_ms=T0 + 1)

    assert wire.queue(queue, 0) == {
        "name": "q",
        "createdAt": T0,
        "updatedAt": T0 + 1,
        "parallelism": 1,
        "paused": False,
        "lag": 0,
    }


def test_a_queue_shows_its_configuration_and_its_lag():
    """QUE-1."""
    queue = Queue(
        name="q", created_at_ms=T0, updated_at_ms=T0, parallelism=5, is_paused=True
    )
    shown = wire.queue(queue, 7)

    assert (shown["parallelism"], shown["paused"], shown["lag"]) == (5, True, 7)


def test_a_url_group_shows_its_endpoints_in_order_with_the_names_that_are_set():
    """UGR-1, UGR-20: tests of SDKs compare for equality."""
    group = UrlGroup(
        name="g",
        created_at_ms=T0,
        updated_at_ms=T0 + 1,
        endpoints=(
            Endpoint("https://b.example/?x=1"),
            Endpoint("https://a.example", "First endpoint"),
        ),
        defaults=("Upstash-Retries", "1"),
    )

    assert wire.url_group(group) == {
        "name": "g",
        "createdAt": T0,
        "updatedAt": T0 + 1,
        "endpoints": [
            {"url": "https://b.example/?x=1"},
            {"name": "First endpoint", "url": "https://a.example"},
        ],
    }


def test_a_flow_control_key_shows_all_eleven_fields_even_if_they_are_unset():
    """FLC-20."""
    shown = wire.flow_key(
        FlowKey(key="k"), usage=FlowUsage(), waitlist_size=0, now_ms=T0
    )

    assert shown == {
        "flowControlKey": "k",
        "waitListSize": 0,
        "parallelismMax": 0,
        "parallelismCount": 0,
        "rateMax": 0,
        "rateCount": 0,
        "ratePeriod": 1,
        "ratePeriodStart": 0,
        "isPaused": False,
        "isPinnedParallelism": False,
        "isPinnedRate": False,
    }


def test_a_flow_control_key_shows_its_limits_and_what_of_them_is_used():
    """FLC-20."""
    key = FlowKey(
        key="k \udcff",
        parallelism=3,
        rate=5,
        period_s=60,
        is_paused=True,
        is_pinned_parallelism=True,
        is_pinned_rate=True,
    )
    usage = FlowUsage(in_flight=2, started=4, period_start_ms=T0 + 999)

    assert wire.flow_key(key, usage=usage, waitlist_size=9, now_ms=T0 + 1000) == {
        "flowControlKey": "k \ufffd",
        "waitListSize": 9,
        "parallelismMax": 3,
        "parallelismCount": 2,
        "rateMax": 5,
        "rateCount": 4,
        "ratePeriod": 60,
        "ratePeriodStart": T0 // 1000,
        "isPaused": True,
        "isPinnedParallelism": True,
        "isPinnedRate": True,
    }


def test_a_period_that_has_passed_counts_nothing():
    """FLC-30."""
    key = FlowKey(key="k", rate=5, period_s=60)
    usage = FlowUsage(started=4, period_start_ms=T0)
    counts = [
        wire.flow_key(key, usage=usage, waitlist_size=0, now_ms=T0 + later_ms)[
            "rateCount"
        ]
        for later_ms in (59_999, 60_000)
    ]

    assert counts == [4, 0]


def test_the_global_parallelism_shows_both_numbers_even_if_they_are_zero():
    """FLC-29."""
    assert wire.global_parallelism(100, 0) == {
        "parallelismMax": 100,
        "parallelismCount": 0,
    }


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
schedules = st.builds(
    a_schedule,
    st.builds(
        a_publish,
        body=st.binary(max_size=8),
        header=header_maps,
        options=options,
        delay_ms=st.integers(0, 2000),
    ),
    last_fire_ms=st.none() | st.just(T0),
    error=st.none() | header_values,
)


def all_values(value):
    yield value
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from all_values(each)


@few
@given(
    message=messages,
    outcome=outcomes,
    state=st.sampled_from(State),
    schedule=schedules,
)
def test_nothing_rendered_is_null_or_beyond_utf_8(message, outcome, state, schedule):
    """BASE-12."""
    rendered = [
        wire.message(message),
        wire.dlq_entry(a_dlq_entry(outcome, message)),
        wire.log_entry(a_log_entry(state, message, outcome=outcome)),
        wire.feed_item("alice", a_log_entry(state, message, outcome=outcome)),
        wire.callback_payload(message, outcome, 0, None),
        wire.schedule(schedule),
    ]

    assert None not in all_values(rendered)
    text = json.dumps(rendered, ensure_ascii=False)
    assert json.loads(text.encode("utf-8")) == rendered


# A fault


@pytest.mark.parametrize(
    ("fault", "shown"),
    [
        (Fault(kind=FaultKind.DUPLICATE), {}),
        (Fault(kind=FaultKind.DUPLICATE, times=2), {"times": 2}),
        (Fault(kind=FaultKind.SLOW_START, delay_ms=90_000), {"delay": "1m30s"}),
        (Fault(kind=FaultKind.REORDER, delay_ms=500), {"delay": "0.5s"}),
        (Fault(kind=FaultKind.RATE_LIMIT, retry_after_s=7), {"retry-after": 7}),
    ],
)
def test_a_fault_is_shown_as_it_is_written(fault, shown):
    rendered = wire.fault(fault)

    assert rendered == {
        "kind": fault.kind.value,
        "destination": "*",
        "probability": 1.0,
        **shown,
    }
    assert parse_fault(rendered) == fault
