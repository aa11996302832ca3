"""emulator/core/callbacks.py: which reports a delivery gives rise to (section 12)."""

import json
from base64 import b64encode
from itertools import count

import pytest

from emulator.core.callbacks import messages_for
from emulator.core.model import (
    Callback,
    FlowControl,
    Options,
    Redaction,
    Responded,
    TimedOut,
    Unreachable,
)
from tests.doubles import T0, a_message

CALLBACK = Callback(url="https://app.example/done?order=1")
FAILURE_CALLBACK = Callback(url="https://app.example/failed")

OK = Responded(200)

NO_RESPONSE = [TimedOut(timeout_ms=1000), Unreachable("connection refused")]


def a_source(callback=CALLBACK, failure_callback=None, message=None, **options):
    """A message that wants its outcome reported."""
    return a_message(
        **(message or {}),
        options=Options(
            callback=callback, failure_callback=failure_callback, **options
        ),
    )


def reports(source, outcome=OK, *, retried=0, dlq_id=None):
    numbers = count(1)
    return messages_for(
        source,
        outcome,
        retried=retried,
        dlq_id=dlq_id,
        now_ms=T0 + 50,
        new_message_id=lambda: f"msg_callback_{next(numbers)}",
    )


def report(source, outcome=OK, **facts):
    """The only report."""
    (message,) = reports(source, outcome, **facts)
    return message


def payload(source, outcome=OK, **facts):
    return json.loads(report(source, outcome, **facts).body)


def urls(*arguments, **facts):
    return [message.url for message in reports(*arguments, **facts)]


# When


@pytest.mark.parametrize("outcome", [OK, Responded(500), *NO_RESPONSE])
def test_a_message_without_callbacks_reports_nothing(outcome):
    assert reports(a_source(callback=None), outcome, dlq_id="1-0") == ()


@pytest.mark.parametrize("outcome", [OK, Responded(500), *NO_RESPONSE])
@pytest.mark.parametrize("retried", [0, 3])
def test_the_callback_reports_each_delivery_successful_or_not(outcome, retried):
    """CBK-1, CBK-4."""
    assert urls(a_source(), outcome, retried=retried) == [CALLBACK.url]


@pytest.mark.parametrize("outcome", [OK, Responded(500), *NO_RESPONSE])
def test_the_failure_callback_is_silent_until_the_message_fails_for_good(outcome):
    """CBK-2."""
    source = a_source(callback=None, failure_callback=FAILURE_CALLBACK)

    assert urls(source, outcome) == []


@pytest.mark.parametrize("outcome", [Responded(500), *NO_RESPONSE])
def test_the_failure_callback_reports_the_final_failure(outcome):
    """CBK-2, CBK-4."""
    source = a_source(callback=None, failure_callback=FAILURE_CALLBACK)

    assert urls(source, outcome, dlq_id="1-0") == [FAILURE_CALLBACK.url]


def test_on_the_final_failure_both_fire():
    """CBK-3."""
    source = a_source(failure_callback=FAILURE_CALLBACK)

    assert urls(source, Responded(500), dlq_id="1-0") == [
        CALLBACK.url,
        FAILURE_CALLBACK.url,
    ]


# The callback is a message


def test_each_report_has_an_id_of_its_own():
    """CBK-7."""
    both = reports(
        a_source(failure_callback=FAILURE_CALLBACK), Responded(500), dlq_id="1-0"
    )

    assert [message.message_id for message in both] == [
        "msg_callback_1",
        "msg_callback_2",
    ]


def test_a_report_is_made_now_and_due_at_once():
    """CBK-7."""
    message = report(a_source(message={"not_before_ms": T0 + 40}))

    assert (message.created_at_ms, message.not_before_ms) == (T0 + 50, T0 + 50)


def test_a_report_is_posted_as_json_unless_configured_otherwise():
    """CBK-8."""
    message = report(a_source())

    assert message.options.method == "POST"
    assert message.header == ("Content-Type", "application/json")


def test_a_configured_content_type_replaces_json():
    """CBK-10: Upstash-Callback-Forward-Content-Type."""
    header = ("X-Trace", "1", "Content-Type", "text/json")

    message = report(a_source(Callback(url=CALLBACK.url, header=header)))

    assert message.header == header


def test_configured_headers_are_forwarded():
    """CBK-10, HDR-33."""
    header = ("X-Trace", "1", "X-Trace", "2")

    message = report(a_source(Callback(url=CALLBACK.url, header=header)))

    assert message.header == ("Content-Type", "application/json", *header)


@pytest.mark.parametrize(
    ("of_source", "of_callback", "applies"),
    [
        (None, None, 3),
        (0, None, 0),
        (7, None, 7),
        (0, 2, 2),
        (7, 0, 0),
    ],
)
def test_a_report_has_the_retries_of_its_source_unless_it_has_its_own(
    of_source, of_callback, applies
):
    """CBK-8, C-24."""
    callback = Callback(url=CALLBACK.url, options=Options(retries=of_callback))

    message = report(a_source(callback, retries=of_source))

    assert message.options.max_retries == applies


def test_a_callback_s_options_are_those_of_its_message():
    """CBK-10: nested callbacks too."""
    options = Options(
        method="PUT",
        retries=1,
        retry_delay="1000",
        timeout_ms=5000,
        labels=("report",),
        flow_control=FlowControl(key="k", rate=1),
        redaction=Redaction(body=True),
        callback=Callback(url="https://app.example/nested"),
        failure_callback=FAILURE_CALLBACK,
    )

    message = report(a_source(Callback(url=CALLBACK.url, options=options)))

    assert message.options == options


def test_a_report_inherits_nothing_else():
    """CBK-9: what it knows of its source's origin stands in the payload."""
    source = a_source(
        failure_callback=FAILURE_CALLBACK,
        labels=("a",),
        flow_control=FlowControl(key="k"),
        redaction=Redaction(body=True),
        method="DELETE",
        retry_delay="1000",
        timeout_ms=1000,
        retries=2,
        message={
            "header": ("Authorization", "Bearer 1"),
            "queue_name": "q",
            "schedule_id": "scd_1",
            "url_group_name": "g",
            "endpoint_name": "e",
            "api": "llm",
        },
    )

    message = report(source)

    assert message == a_message(
        message_id="msg_callback_1",
        url=CALLBACK.url,
        body=message.body,
        header=("Content-Type", "application/json"),
        options=Options(retries=2),
        created_at_ms=T0 + 50,
        not_before_ms=T0 + 50,
        caller_ip=source.caller_ip,
        callback_of=source.message_id,
    )


# Payload


def test_the_payload_has_every_field_of_the_table():
    """CBK-20, CBK-21 (numbers), CBK-22 (arrays)."""
    source = a_source(
        callback=None,
        failure_callback=FAILURE_CALLBACK,
        method="PUT",
        retries=5,
        message={
            "body": b'{"hello":"world"}',
            "header": ("Content-Type", "application/json", "X-A", "1", "X-A", "2"),
            "not_before_ms": T0 + 40,
            "schedule_id": "scd_1",
            "url_group_name": "g",
            "endpoint_name": "e",
        },
    )
    outcome = Responded(
        404, header=("Content-Type", "text/plain"), body=b"404 Not Found"
    )

    shown = payload(source, outcome, retried=5, dlq_id="1700000000123-0")

    assert shown == {
        "status": 404,
        "header": {"Content-Type": ["text/plain"]},
        "body": "NDA0IE5vdCBGb3VuZA==",
        "retried": 5,
        "maxRetries": 5,
        "dlqId": "1700000000123-0",
        "sourceMessageId": source.message_id,
        "topicName": "g",
        "endpointName": "e",
        "url": source.url,
        "method": "PUT",
        "sourceHeader": {"Content-Type": ["application/json"], "X-A": ["1", "2"]},
        "sourceBody": "eyJoZWxsbyI6IndvcmxkIn0=",
        "notBefore": T0 + 40,
        "createdAt": T0,
        "scheduleId": "scd_1",
        "callerIP": "127.0.0.1",
    }


@pytest.mark.parametrize("outcome", NO_RESPONSE)
def test_what_is_always_present_is_there_without_a_response_too(outcome):
    """CBK-4, CBK-20, DLV-16."""
    source = a_source(retries=0)

    assert payload(source, outcome) == {
        "status": 0,
        "header": {},
        "body": "",
        "retried": 0,
        "maxRetries": 0,
        "sourceMessageId": source.message_id,
        "url": source.url,
        "method": "POST",
        "notBefore": T0,
        "createdAt": T0,
        "callerIP": "127.0.0.1",
    }


def test_only_the_failure_callback_names_the_dlq_entry():
    """CBK-20."""
    source = a_source(failure_callback=FAILURE_CALLBACK)

    callback, failure_callback = (
        json.loads(message.body)
        for message in reports(source, Responded(500), dlq_id="1-0")
    )

    assert "dlqId" not in callback
    assert failure_callback.pop("dlqId") == "1-0"
    assert callback == failure_callback


def test_a_non_retryable_failure_reports_the_real_count():
    """CBK-6: neither number is adjusted."""
    refusal = Responded(489, header=("Upstash-Nonretryable-Error", "true"))

    shown = payload(a_source(retries=5), refusal, retried=1)

    assert (shown["retried"], shown["maxRetries"]) == (1, 5)


def test_bodies_are_base64_whatever_they_contain():
    """FMT-11."""
    binary = bytes(range(256))

    shown = payload(a_source(message={"body": binary}), Responded(200, body=binary))

    assert shown["body"] == shown["sourceBody"] == b64encode(binary).decode()


def test_the_source_is_reported_unredacted():
    """CBK-24, Q-11: a callback is a delivery."""
    source = a_source(
        redaction=Redaction(body=True, all_headers=True),
        message={"body": b"secret", "header": ("X-Key", "secret")},
    )

    shown = payload(source)

    assert shown["sourceBody"] == b64encode(b"secret").decode()
    assert shown["sourceHeader"] == {"X-Key": ["secret"]}


def test_the_payload_is_json_whatever_a_destination_sends():
    """CBK-20: header bytes that are no UTF-8 are shown as U+FFFD."""
    value = b"caf\xe9".decode("utf-8", "surrogateescape")

    shown = payload(a_source(), Responded(200, header=("X-A", value)))

    assert shown["header"] == {"X-A": ["caf\ufffd"]}
