"""emulator/core/redaction.py: what the API shows (contract section 20)."""

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.core.model import (
    Destination,
    DestinationKind,
    Message,
    Options,
    Publish,
    Redaction,
)
from emulator.core.redaction import redact_value, shown_body, shown_header

few = settings(max_examples=50, deadline=None)

BODY = b'{"hello":"world"}'
REDACTED_BODY = (
    "REDACTED:93a23971a914e5eacbf0a8d25154cda309c3c1c72fbb9914d47c60f3cb681588"
)
HEADER = ("Content-Type", "text/plain", "X-A", "1", "X-B", "2", "X-A", "")


def a_message(redaction=None, body=BODY, header=HEADER):
    return Message(
        message_id="msg_1",
        url="http://127.0.0.1:3000/",
        body=body,
        header=header,
        options=Options(redaction=redaction),
        created_at_ms=0,
        not_before_ms=0,
    )


@few
@given(st.binary(max_size=100))
def test_a_redacted_value_is_its_hash_in_lower_case_hex(value):
    """RED-3."""
    assert redact_value(value) == "REDACTED:" + sha256(value).hexdigest()


@few
@given(st.binary(max_size=100))
def test_a_header_value_counts_as_the_bytes_it_arrived_in(value):
    """RED-3. Header values are decoded as aiohttp does it."""
    text = value.decode("utf-8", "surrogateescape")

    assert redact_value(text) == redact_value(value)


def test_nothing_is_hidden_unless_asked():
    message = a_message()

    assert shown_body(message) == BODY
    assert shown_header(message) == {
        "Content-Type": ["text/plain"],
        "X-A": ["1", ""],
        "X-B": ["2"],
    }


def test_a_redacted_body_is_shown_as_the_text_of_its_hash():
    """RED-3."""
    assert shown_body(a_message(Redaction(body=True))) == REDACTED_BODY.encode()


def test_a_redacted_binary_body_is_shown_as_text_too():
    """RED-4."""
    shown = shown_body(a_message(Redaction(body=True), body=b"\xff\x00"))

    assert shown.decode("utf-8").startswith("REDACTED:")


def test_an_empty_body_stays_empty():
    """FMT-10: there is nothing to hide, and no field to show it in."""
    assert shown_body(a_message(Redaction(body=True), body=b"")) == b""


def test_redacting_the_body_shows_the_headers_and_the_other_way_round():
    of_body = a_message(Redaction(body=True))
    of_headers = a_message(Redaction(all_headers=True))

    assert shown_header(of_body) == shown_header(a_message())
    assert shown_body(of_headers) == BODY


def test_a_redacted_header_keeps_its_name_and_the_number_of_its_values():
    """RED-5: each value is replaced, an empty one included."""
    redaction = Redaction(header_names=frozenset({"X-A", "X-Absent"}))

    assert shown_header(a_message(redaction)) == {
        "Content-Type": ["text/plain"],
        "X-A": [redact_value("1"), redact_value("")],
        "X-B": ["2"],
    }


def test_all_headers_means_the_content_type_too():
    """RED-5, Q-27."""
    shown = shown_header(a_message(Redaction(all_headers=True)))

    assert shown == {
        "Content-Type": [redact_value("text/plain")],
        "X-A": [redact_value("1"), redact_value("")],
        "X-B": [redact_value("2")],
    }


@pytest.mark.parametrize("redaction", [None, Redaction(all_headers=True)])
def test_no_headers_are_shown_as_none(redaction):
    assert shown_header(a_message(redaction, header=())) == {}


def test_what_a_schedule_publishes_is_shown_like_a_message():
    """RED-6, RED-7."""
    redaction = Redaction(body=True, header_names=frozenset({"X-B"}))
    publish = Publish(
        destination=Destination(DestinationKind.URL_GROUP, "g"),
        body=BODY,
        header=HEADER,
        options=Options(redaction=redaction),
    )

    assert shown_body(publish) == shown_body(a_message(redaction))
    assert shown_header(publish) == shown_header(a_message(redaction))
