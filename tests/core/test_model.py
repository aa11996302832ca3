"""emulator/core/model.py: the values, and what they say of themselves."""

import pytest

from emulator.core.model import (
    Callback,
    DlqEntry,
    LogEntry,
    Options,
    Progress,
    Responded,
    State,
    TimedOut,
    Unreachable,
)
from tests.doubles import T0, a_message


def a_refusal(status=489, value="true"):
    """A response that asks for no more deliveries."""
    return Responded(status, header=("Upstash-Nonretryable-Error", value))


def test_the_states_are_the_eight_that_the_sdks_know():
    """LOG-20: Python's SDK raises on any other word."""
    assert {state.value for state in State} == {
        "CREATED",
        "ACTIVE",
        "RETRY",
        "ERROR",
        "DELIVERED",
        "FAILED",
        "CANCEL_REQUESTED",
        "CANCELED",
    }


def test_cancelled_has_one_l_on_the_wire():
    """LOG-21, C-2."""
    assert str(State.CANCELLED) == "CANCELED"


@pytest.mark.parametrize(("retries", "applies"), [(None, 3), (0, 0), (7, 7)])
def test_three_retries_apply_unless_something_else_is_said(retries, applies):
    """HDR-5, C-9, MSG-3."""
    assert Options(retries=retries).max_retries == applies


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_success_is_any_status_from_200_to_299(status):
    """DLV-10."""
    assert Responded(status).is_success


@pytest.mark.parametrize("status", [100, 199, 300, 301, 307, 404, 429, 489, 500, 599])
def test_every_other_status_is_a_failure(status):
    """DLV-10, DLV-15: redirects too."""
    assert not Responded(status).is_success


@pytest.mark.parametrize("value", ["true", "True", " true "])
def test_489_with_its_header_is_not_retryable(value):
    """DLV-13."""
    assert not a_refusal(value=value).is_retryable


@pytest.mark.parametrize(
    "outcome",
    [
        Responded(489),
        Responded(489, header=("X-Upstash-Nonretryable-Error", "true")),
        a_refusal(value="false"),
        a_refusal(value=""),
        a_refusal(status=488),
        a_refusal(status=500),
        Responded(500),
    ],
    ids=repr,
)
def test_489_alone_or_its_header_alone_is_retryable(outcome):
    """DLV-13."""
    assert outcome.is_retryable


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (Responded(404, reason="Not Found"), "404 Not Found"),
        (Responded(599), "599"),
        (Unreachable("connection refused"), "connection refused"),
    ],
)
def test_an_outcome_says_what_went_wrong(outcome, error):
    """DLV-17."""
    assert outcome.error == error


def test_a_timeout_s_error_has_go_s_words_and_the_limit():
    """DLV-17."""
    error = TimedOut(timeout_ms=1500).error

    assert "context deadline exceeded" in error
    assert "1500 ms" in error


@pytest.mark.parametrize("state", list(State))
def test_a_message_is_waiting_between_deliveries_and_final_at_the_end(state):
    """LOG-22 to LOG-26."""
    progress = Progress(a_message(), state, T0)

    assert progress.is_waiting == (state in {State.CREATED, State.RETRY})
    assert progress.is_final == (
        state in {State.DELIVERED, State.FAILED, State.CANCELLED}
    )


@pytest.mark.parametrize(
    ("value", "attribute"),
    [
        (a_message(), "url"),
        (Progress(a_message(), State.CREATED, T0), "state"),
        (Options(), "retries"),
        (Responded(200), "status"),
    ],
    ids=lambda item: type(item).__name__,
)
def test_values_never_change(value, attribute):
    with pytest.raises(AttributeError):
        setattr(value, attribute, None)


def test_a_message_tells_what_it_was_made_of():
    header = ("Content-Type", "text/plain", "X-A", "1", "X-A", "2")
    message = a_message(
        header=header,
        url_group_name="g",
        endpoint_name="e",
        queue_name="q",
        schedule_id="scd_1",
        api="llm",
        callback_of="msg_0",
    )

    assert message.header == header
    assert message.url_group_name == "g"
    assert message.endpoint_name == "e"
    assert message.queue_name == "q"
    assert message.schedule_id == "scd_1"
    assert message.api == "llm"
    assert message.callback_of == "msg_0"


def test_messages_of_one_origin_share_it():
    """They wait in great numbers."""
    one, other = a_message(queue_name="q"), a_message(queue_name="q", body=b"x")

    assert one.origin is other.origin
    assert one.origin != a_message().origin


# How much a log entry and a DLQ entry hold


def test_all_that_a_publisher_may_make_long_counts():
    """Memory is bounded by it."""
    callback = Callback(url="http://b.example", header=("X-A", "1234"))
    plain = a_message(url="12345678")
    header = ("X-A", "12", "X-B", "345")

    assert plain.size_bytes == 8
    assert plain._replace(body=b"12345").size_bytes == 13
    assert a_message(url="1", header=header).size_bytes == 1 + 6
    assert a_message(url="1", header=header[:2]).size_bytes == 1 + len("X-A12")
    for name in ("callback", "failure_callback"):
        options = Options(**{name: callback})
        assert plain._replace(options=options).size_bytes == 8 + len("X-A1234")


def test_an_entry_of_the_log_is_as_long_as_the_message_and_the_answer():
    """What listings, the log and the feed are bounded by."""
    message = a_message(url="12", body=b"345")
    answered = Responded(500, ("X-A", "1"), body=b"123")

    assert LogEntry(T0, State.CREATED, message).size_bytes == 5
    assert LogEntry(T0, State.ERROR, message, outcome=answered).size_bytes == 12
    assert LogEntry(T0, State.ERROR, message, outcome=TimedOut(1)).size_bytes == 5


def test_an_entry_of_the_dlq_is_as_long_as_the_message_and_the_answer():
    entry = DlqEntry(
        dlq_id="1-0",
        failed_at_ms=T0,
        message=a_message(url="12", body=b"345"),
        retried=0,
        outcome=Responded(500, body=b"123"),
    )

    assert entry.size_bytes == 8
