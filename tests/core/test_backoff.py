"""emulator/core/backoff.py: how long to wait before the next delivery."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.core import header_map
from emulator.core.backoff import RESET_HEADERS, default_backoff_ms, next_delay_ms
from emulator.core.duration import ONE_DAY_MS, format_duration
from emulator.core.model import Message, Options, Responded, TimedOut, Unreachable

few = settings(max_examples=60)

T0 = 1_719_490_584_000  # Thu, 27 Jun 2024 12:16:24 GMT

DEFAULT_MS = 12_182  # before the first retry


def a_message(retry_delay=None):
    return Message(
        message_id="msg_1",
        url="https://example.com",
        options=Options(retry_delay=retry_delay),
        created_at_ms=T0,
        not_before_ms=T0,
    )


def a_failure(*headers):
    return Responded(status=429, header=header_map.build(headers))


def wait_ms(*headers, retry_delay=None, retried=0, now_ms=T0):
    return next_delay_ms(a_message(retry_delay), a_failure(*headers), retried, now_ms)


def rfc_1123(unix_s):
    return datetime.fromtimestamp(unix_s, UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")


@pytest.mark.parametrize(
    ("retry_number", "delay_ms"),
    [
        (1, 12_182),
        (2, 148_413),
        (3, 1_808_042),
        (4, 22_026_465),
        (5, 86_400_000),
        (6, 86_400_000),
        (1000, 86_400_000),
    ],
)
def test_the_default_backoff_follows_the_documented_table(retry_number, delay_ms):
    """RTY-10."""
    assert default_backoff_ms(retry_number) == delay_ms


@pytest.mark.parametrize(
    "outcome", [a_failure(), TimedOut(timeout_ms=1_000), Unreachable("refused")]
)
def test_any_failure_waits_for_the_default_backoff(outcome):
    """RTY-3, RTY-10."""
    waits_ms = [next_delay_ms(a_message(), outcome, n, T0) for n in range(3)]

    assert waits_ms == [12_182, 148_413, 1_808_042]


@pytest.mark.parametrize(
    "outcome", [a_failure(), TimedOut(timeout_ms=1_000), Unreachable("refused")]
)
def test_an_expression_replaces_the_default_backoff(outcome):
    """RTY-3, RTY-13."""
    message = a_message("pow(2, retried) * 1000")

    assert [next_delay_ms(message, outcome, n, T0) for n in range(3)] == [
        1_000,
        2_000,
        4_000,
    ]


def test_an_expression_may_ask_for_no_wait():
    """RTY-13: zero is an answer, not the lack of one."""
    assert wait_ms(retry_delay="1000 * retried") == 0


@pytest.mark.parametrize("expression", ["1 / retried", "sqrt(-1)", "no expression"])
def test_an_expression_without_result_falls_back_to_the_default(expression):
    """RTY-16."""
    assert wait_ms(retry_delay=expression) == DEFAULT_MS


def test_a_reset_header_outranks_the_expression():
    """RTY-3, Q-7."""
    assert wait_ms(("Retry-After", "10"), retry_delay="1000") == 10_000


@pytest.mark.parametrize(
    "name",
    [
        "Retry-After",
        "X-RateLimit-Reset",
        "X-RateLimit-Reset-Requests",
        "X-RateLimit-Reset-Tokens",
        "x-ratelimit-reset-tokens",
    ],
)
def test_each_reset_header_sets_the_wait(name):
    """RTY-20."""
    assert wait_ms((name, "7")) == 7_000


def test_a_header_of_another_name_sets_nothing():
    assert wait_ms(("X-RateLimit-Limit", "7")) == DEFAULT_MS


def test_reset_headers_rank_in_their_documented_order():
    """RTY-20."""
    headers = [(name, str(rank)) for rank, name in enumerate(RESET_HEADERS, 1)]

    while headers:
        assert wait_ms(*reversed(headers)) == int(headers[0][1]) * 1_000
        del headers[0]


def test_an_unusable_header_gives_way_to_the_next():
    """RTY-20, RTY-23, RTY-24."""
    headers = [
        ("Retry-After", "soon"),
        ("X-RateLimit-Reset", "1719490584"),
        ("X-RateLimit-Reset-Tokens", "5s"),
    ]

    assert wait_ms(*headers) == 5_000


def test_of_a_repeated_header_the_first_usable_value_counts():
    assert wait_ms(
        ("Retry-After", "x"), ("Retry-After", "2"), ("Retry-After", "1")
    ) == (2_000)


@pytest.mark.parametrize(
    ("value", "delay_ms"),
    [
        ("10", 10_000),
        ("  10\t", 10_000),
        ("6m5s", 365_000),
        ("1.5s", 1_500),
        ("300ms", 300),
        ("Sun, 27 Jun 2024 12:16:34 GMT", 10_000),
        ("Thu, 27 Jun 2024 12:16:34 GMT", 10_000),
        ("Xyz, 27 Jun 2024 12:16:34 UTC", 10_000),
        ("Mon, 1 Jul 2024 00:00:00 GMT", None),
        ("Fri, 28 Jun 2024 12:16:24 GMT", ONE_DAY_MS),
        ("Fri, 28 Jun 2024 12:16:25 GMT", None),
    ],
)
def test_a_reset_header_has_one_of_three_formats(value, delay_ms):
    """RTY-21; the documented sample date has a wrong weekday."""
    expected_ms = DEFAULT_MS if delay_ms is None else delay_ms

    assert wait_ms(("Retry-After", value)) == expected_ms


def test_a_date_is_read_against_the_time_the_delivery_ended():
    """RTY-2, RTY-21."""
    header = ("Retry-After", "Thu, 27 Jun 2024 12:16:34 GMT")

    assert wait_ms(header, now_ms=T0 + 1) == 9_999
    assert wait_ms(header, now_ms=T0 + 9_999) == 1


@pytest.mark.parametrize(
    "value",
    [
        *("0", "-0", "00", "0s", "-1", "-5m", "-999999999"),
        *("Thu, 27 Jun 2024 12:16:24 GMT", "Thu, 01 Jan 1970 00:00:00 GMT"),
        "Mon, 01 Jan 0001 00:00:00 GMT",
    ],
)
def test_zero_and_the_past_mean_at_once(value):
    """RTY-22."""
    assert wait_ms(("Retry-After", value)) == 0


@pytest.mark.parametrize(
    "value",
    ["86401", "24h1ms", "1719490584", "1719490584000", "9" * 15, "9" * 63 + "h"],
)
def test_more_than_a_day_is_ignored(value):
    """RTY-23; a Unix timestamp is always more than a day."""
    assert wait_ms(("X-RateLimit-Reset", value)) == DEFAULT_MS
    assert wait_ms(("X-RateLimit-Reset", value), retry_delay="1000") == 1_000


@pytest.mark.parametrize("value", ["86400", "24h"])
def test_a_day_is_not_more_than_a_day(value):
    """RTY-23."""
    assert wait_ms(("X-RateLimit-Reset", value)) == ONE_DAY_MS


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", "soon", "10, 20", "1.5", "1d", "0x10", "1e3", "9" * 5_000),
        *("١٠", "10\u00a0", "\ud800"),  # noqa: RUF001
        "Thu, 31 Feb 2024 12:16:24 GMT",
        "Thu, 27 Jun 2024 25:16:24 GMT",
        "Thu, 27 Jun 0000 12:16:24 GMT",
        "Thu, 27 Jun 2024 12:16:24",
        "Thu, 27 Jun 2024 12:16:24 CET",
        "Thu, 27 Juni 2024 12:16:24 GMT",
        "Thursday, 27-Jun-24 12:16:24 GMT",
        "2024-06-27T12:16:34Z",
    ],
)
def test_what_cannot_be_read_is_ignored(value):
    """RTY-24."""
    assert wait_ms(("Retry-After", value)) == DEFAULT_MS


@few
@given(st.integers(0, 86_400), st.integers(0, 253_402_300_799 - 86_400))
def test_a_wait_written_in_any_format_is_waited_for(delay_s, now_s):
    """RTY-21."""
    duration = format_duration(delay_s * 1_000).replace("1d", "24h")

    for value in (str(delay_s), duration, rfc_1123(now_s + delay_s)):
        wait = wait_ms(("Retry-After", value), now_ms=now_s * 1_000)
        assert wait == delay_s * 1_000


@few
@given(
    st.lists(
        st.tuples(
            st.sampled_from(RESET_HEADERS),
            st.text(max_size=40) | st.text("0123456789-.smhun ", max_size=20),
        ),
        max_size=4,
    ),
    st.none() | st.text(max_size=20) | st.just("pow(retried, retried)"),
    st.integers(0, 999),
)
def test_a_wait_is_between_nothing_and_a_day_whatever_was_said(
    headers, retry_delay, retried
):
    """RTY-3."""
    delay_ms = wait_ms(*headers, retry_delay=retry_delay, retried=retried)

    assert isinstance(delay_ms, int)
    assert 0 <= delay_ms <= ONE_DAY_MS
