"""emulator/lines.py: the log's lines, and the texts in them."""

from base64 import b64encode
from datetime import UTC, timedelta, timezone
from unicodedata import combining

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.core import wire
from emulator.core.model import (
    FlowControl,
    LogEntry,
    Message,
    Options,
    Redaction,
    Responded,
    State,
    TimedOut,
    Unreachable,
)
from emulator.lines import (
    Line,
    Style,
    cut,
    format_line,
    format_wait,
    line_of_entry,
    line_of_json,
    printable,
)

T0 = 1_700_000_000_123  # 22:13:20.123 UTC
ID = "msg_26hZCxZCuWyyTWPmSVBrNB882AH1pVKb9Lp2"
PLAIN = Style(zone=UTC)
BY_KEY = Options(flow_control=FlowControl(key="k", parallelism=1))


def a_message(**changes):
    fields = {
        "message_id": ID,
        "url": "http://localhost:3000/api/hook",
        "created_at_ms": T0,
        "not_before_ms": T0,
    }
    return Message(**(fields | changes))


def an_entry(state, *, message=None, **changes):
    return LogEntry(T0, state, message or a_message(), **changes)


def line(state, **changes):
    """Write the line of an entry, without its time and state."""
    text = format_line(line_of_entry(an_entry(state, **changes)), PLAIN)
    return text[25:]


def test_a_line_shows_time_state_id_and_what_happened():
    entry = an_entry(State.CREATED, next_delivery_ms=T0)

    assert format_line(line_of_entry(entry), PLAIN) == (
        "22:13:20.123  CREATED    msg_26hZ…9Lp2  POST localhost:3000/api/hook"
    )


def test_the_time_is_shown_in_the_given_zone():
    zone = timezone(timedelta(hours=5, minutes=30))
    text = format_line(line_of_entry(an_entry(State.ACTIVE)), Style(zone=zone))

    assert text.startswith("03:43:20.123  ")


def test_a_year_that_no_calendar_knows_is_shown_as_milliseconds():
    far = line_of_entry(an_entry(State.ACTIVE))._replace(time_ms=2**53 - 1)

    assert format_line(far, PLAIN).startswith("9007199254740991  ACTIVE")


def test_an_id_can_be_shown_whole():
    text = format_line(
        line_of_entry(an_entry(State.ACTIVE)), Style(zone=UTC, full_ids=True)
    )

    assert text == f"22:13:20.123  ACTIVE     {ID}"


def test_a_short_id_is_not_shortened():
    message = a_message(message_id="msg_123456789")

    assert line(State.ACTIVE, message=message) == "msg_123456789"


@pytest.mark.parametrize(
    ("origin", "shown"),
    [
        ({"queue_name": "emails"}, "queue emails"),
        ({"url_group_name": "team"}, "URL group team"),
        ({"schedule_id": "scd_1"}, "schedule scd_1"),
        ({"queue_name": "q", "schedule_id": "scd_1"}, "queue q  schedule scd_1"),
        ({"options": BY_KEY}, "key k"),
        ({"queue_name": "q", "options": BY_KEY}, "queue q  key k"),
    ],
)
def test_created_says_what_brought_the_message_about(origin, shown):
    text = line(State.CREATED, message=a_message(**origin))

    assert text == f"msg_26hZ…9Lp2  POST localhost:3000/api/hook  {shown}"


def test_a_long_url_gives_way_to_what_stands_behind_it():
    message = a_message(url="http://localhost/" + "a" * 500, queue_name="emails")
    text = line(State.CREATED, message=message, next_delivery_ms=T0 + 90_000)

    assert text.endswith("aaa…  queue emails  in 1 min 30 s")
    assert len(text) == 100 - 25


def test_created_says_when_a_delayed_message_is_due():
    text = line(State.CREATED, next_delivery_ms=T0 + 90_000)

    assert text == "msg_26hZ…9Lp2  POST localhost:3000/api/hook  in 1 min 30 s"


def test_a_callback_message_names_the_message_that_it_reports():
    message = a_message(url="https://app.example/cb", callback_of=ID)

    assert line(State.CREATED, message=message) == (
        "msg_26hZ…9Lp2  POST https://app.example/cb  callback of msg_26hZ…9Lp2"
    )


def test_a_callback_names_the_whole_id_if_ids_are_shown_whole():
    message = a_message(url="http://a/", callback_of="msg_the_source_of_it")
    text = format_line(
        line_of_entry(an_entry(State.CREATED, message=message)),
        Style(zone=UTC, full_ids=True),
    )

    assert text.endswith("callback of msg_the_source_of_it")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://localhost:3000/a?b=1", "localhost:3000/a?b=1"),
        ("https://a.example/b", "https://a.example/b"),
        ("http://me:secret@localhost/a@b", "localhost/a@b"),
        ("https://me:secret@localhost/", "https://localhost/"),
    ],
)
def test_a_url_is_shown_without_http_and_without_credentials(url, shown):
    assert line(State.CREATED, message=a_message(url=url)).endswith(f"  POST {shown}")


def test_active_says_which_delivery_it_is_from_the_second_on():
    assert line(State.ACTIVE) == "msg_26hZ…9Lp2"
    assert line(State.ACTIVE, retried=1) == "msg_26hZ…9Lp2  delivery 2 of 4"


def test_delivered_says_the_status_and_how_long_it_took():
    outcome = Responded(201, body=b"not shown")
    text = line(State.DELIVERED, outcome=outcome, duration_ms=11)

    assert text == "msg_26hZ…9Lp2  201 in 11 ms"


def test_error_quotes_what_the_destination_answered():
    outcome = Responded(500, body=b"stripe is down")
    text = line(State.ERROR, outcome=outcome, duration_ms=8)

    assert text == 'msg_26hZ…9Lp2  500 in 8 ms: "stripe is down"'


def test_error_without_a_body_quotes_nothing():
    text = line(State.ERROR, outcome=Responded(503), duration_ms=1500)

    assert text == "msg_26hZ…9Lp2  503 in 1 s"


def test_an_answer_is_quoted_up_to_sixty_characters_and_the_lines_end():
    outcome = Responded(500, body=b"x" * 1000)
    text = format_line(
        line_of_entry(an_entry(State.ERROR, outcome=outcome, duration_ms=8)), PLAIN
    )
    unbounded = line(State.ERROR, outcome=outcome._replace(body=b"y" * 61))

    assert len(text) <= 100
    assert text.endswith('xxx…"')
    assert unbounded.count("y") <= 60


def test_an_answer_cannot_move_the_cursor_or_begin_a_line():
    outcome = Responded(500, body="\x1b[2J\r\n\u202e\x9b\u2028é".encode())
    text = line(State.ERROR, outcome=outcome, duration_ms=8)

    assert text.endswith(r'"\x1b[2J\r\n\u202e\x9b\u2028é"')


def test_bytes_that_are_no_text_are_quoted_as_replacement_characters():
    outcome = Responded(500, body=b"\xff\xfea")

    assert line(State.ERROR, outcome=outcome, duration_ms=8).endswith('"\ufffd\ufffda"')


def test_what_may_repeat_redacted_data_is_not_quoted():
    message = a_message(options=Options(redaction=Redaction(body=True)))
    outcome = Responded(500, body=b"you sent me: secret")
    text = line(State.ERROR, message=message, outcome=outcome, duration_ms=8)

    assert text == "msg_26hZ…9Lp2  500 in 8 ms"


def test_error_without_an_answer_says_why():
    refused = Unreachable("localhost:3000: connection refused")

    assert line(State.ERROR, outcome=refused, duration_ms=1).endswith(
        "  localhost:3000: connection refused"
    )
    assert line(State.ERROR, outcome=TimedOut(30_000), duration_ms=1).endswith(
        "  no answer within 30000 ms"
    )


def test_retry_says_which_delivery_comes_when():
    text = line(State.RETRY, retried=1, next_delivery_ms=T0 + 12_182)

    assert text == "msg_26hZ…9Lp2  delivery 2 of 4 in 12 s"


def test_failed_says_where_the_message_is_now():
    text = line(
        State.FAILED, outcome=Responded(500), retried=3, dlq_id="1725323658779-0"
    )

    assert text == "msg_26hZ…9Lp2  in the DLQ as 1725323658779-0"


def test_a_cancelled_message_needs_no_more_words():
    entry = line_of_entry(an_entry(State.CANCEL_REQUESTED))

    assert format_line(entry, PLAIN) == "22:13:20.123  CANCEL_REQUESTED  msg_26hZ…9Lp2"
    assert line(State.CANCELLED) == "msg_26hZ…9Lp2"


def test_colour_changes_nothing_but_colour():
    outcome = Responded(500, body=b"stripe is down")
    entry = line_of_entry(an_entry(State.ERROR, outcome=outcome, duration_ms=8))
    colored = format_line(entry, Style(zone=UTC, color=True))

    assert click.unstyle(colored) == format_line(entry, PLAIN)
    assert click.style("ERROR", fg="red") in colored
    assert click.style("22:13:20.123", dim=True) in colored


@pytest.mark.parametrize(
    ("status", "color"),
    [(200, "green"), (301, "yellow"), (404, "yellow"), (500, "red"), (999, None)],
)
def test_a_status_has_the_colour_of_its_class(status, color):
    entry = an_entry(State.ERROR, outcome=Responded(status), duration_ms=8)
    text = format_line(line_of_entry(entry), Style(zone=UTC, color=True))

    assert click.style(str(status), fg=color, bold=True) in text


ENTRIES = [
    an_entry(State.CREATED, next_delivery_ms=T0 + 2000),
    an_entry(State.ACTIVE, retried=1),
    an_entry(State.DELIVERED, outcome=Responded(200), duration_ms=8),
    an_entry(State.ERROR, outcome=Responded(500, body=b"down"), duration_ms=8),
    an_entry(State.ERROR, outcome=Unreachable("connection refused"), duration_ms=1),
    an_entry(State.RETRY, retried=1, next_delivery_ms=T0 + 12_182),
    an_entry(State.FAILED, outcome=Responded(500), dlq_id="1-0"),
    an_entry(State.CREATED, message=a_message(callback_of=ID, queue_name="emails")),
    an_entry(State.CREATED, message=a_message(options=BY_KEY)),
]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.state.value)
def test_a_line_of_the_feed_is_the_terminals(entry):
    of_feed = line_of_json(wire.feed_item("alice", entry))

    assert format_line(of_feed, PLAIN) == format_line(line_of_entry(entry), PLAIN)


def test_a_line_of_the_api_says_what_the_api_knows():
    lines = [format_line(line_of_json(wire.log_entry(e)), PLAIN) for e in ENTRIES]

    assert [text[40:] for text in lines] == [
        "POST localhost:3000/api/hook  in 2 s",
        "",
        "POST localhost:3000/api/hook",
        '500: "down"',
        "connection refused",
        "again in 12 s",
        "in the DLQ",
        "POST localhost:3000/api/hook  queue emails",
        "POST localhost:3000/api/hook  key k",
    ]


@pytest.mark.parametrize(
    "redaction",
    [Redaction(body=True), Redaction(header_names=frozenset({"X-Secret"}))],
)
def test_redaction_is_recognised_in_what_the_api_shows(redaction):
    message = a_message(
        body=b"secret",
        header=("X-Secret", "secret"),
        options=Options(redaction=redaction),
    )
    entry = an_entry(
        State.ERROR, message=message, outcome=Responded(500, body=b"secret")
    )

    assert line_of_json(wire.log_entry(entry)).is_redacted


def test_a_message_that_is_not_redacted_is_not_taken_for_one():
    data = wire.log_entry(an_entry(State.ACTIVE, message=a_message(body=b"\xff")))

    assert data["body"] == b64encode(b"\xff").decode()
    assert not line_of_json(data).is_redacted


hostile = st.text(max_size=80)


@given(
    state=st.sampled_from([state.value for state in State]),
    texts=st.fixed_dictionaries(
        {
            "message_id": hostile,
            "method": hostile,
            "url": hostile,
            "error": hostile,
            "dlq_id": hostile,
            "callback_of": hostile,
            "origin": hostile,
        }
    ),
    body=st.binary(max_size=300),
    status=st.none() | st.integers(100, 999),
    time_ms=st.integers(0, 2**53),
)
def test_no_text_makes_a_line_break_out_or_get_long(
    state, texts, body, status, time_ms
):
    entry = Line(
        time_ms=time_ms,
        state=state,
        max_retries=3,
        next_delivery_ms=time_ms + 1000,
        status=status,
        response_body=body,
        **texts,
    )
    text = format_line(entry, PLAIN)

    assert text.isprintable()
    assert len(text.splitlines()) == 1
    # The id is ours and 13 long; here it may hold escapes.
    assert len(text) <= 100 + 8 + len(printable(texts["message_id"]))


# Texts


def test_a_cut_text_counts_wide_characters_twice_and_marks_none_at_all():
    assert cut("日本語", 6) == "日本語"
    assert cut("日本語", 5) == "日本…"
    assert cut("e\u0301" * 5, 5) == "e\u0301" * 5
    assert cut("abcdef", 5) == "abcd…"


@given(st.text(max_size=30), st.integers(1, 30))
def test_a_cut_text_is_never_longer_than_it_may_be(text, columns):
    shortened = cut(text, columns)

    assert shortened == text or shortened.endswith("…")
    assert sum(1 for c in shortened if not combining(c)) <= columns


@pytest.mark.parametrize(
    ("wait_ms", "text"),
    [
        (-5, "0 ms"),
        (0, "0 ms"),
        (999, "999 ms"),
        (1000, "1 s"),
        (12_182, "12 s"),
        (148_413, "2 min 28 s"),
        (1_808_042, "30 min 8 s"),
        (3_600_000, "1 h"),
        (22_026_465, "6 h 7 min"),
        (3_605_000, "1 h"),
        (86_400_000, "1 d"),
        (90_000_000, "1 d 1 h"),
    ],
)
def test_a_wait_is_written_as_people_say_it(wait_ms, text):
    assert format_wait(wait_ms) == text
