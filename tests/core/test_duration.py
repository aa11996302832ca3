"""emulator/core/duration.py: QStash's durations and Go's."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.core.duration import (
    MAX_DURATION_MS,
    MAX_LENGTH,
    ONE_DAY_MS,
    format_duration,
    parse_duration_ms,
    parse_go_duration_ms,
)

few = settings(max_examples=60)

HOSTILE = st.text(max_size=80) | st.text("0123456789.+-dhmsnuµ ", max_size=80)


@pytest.mark.parametrize(
    ("text", "duration_ms"),
    [
        ("50s", 50_000),
        ("3m", 180_000),
        ("10h", 36_000_000),
        ("1d", 86_400_000),
        ("1d10h30m", 123_000_000 + 1_200_000),
        ("1h30m3s", 5_403_000),
        ("3d5h12m", 277_920_000),
        ("1d1h30m", 91_800_000),
    ],
)
def test_the_documented_durations_have_their_length(text, duration_ms):
    """FMT-3."""
    assert parse_duration_ms(text) == duration_ms


@pytest.mark.parametrize(
    ("text", "duration_ms"),
    [("1.5h", 5_400_000), ("0.25d", 21_600_000), ("1.5m1.5s", 91_500)],
)
def test_a_number_may_have_a_fraction(text, duration_ms):
    """FMT-3."""
    assert parse_duration_ms(text) == duration_ms


def test_zero_is_a_duration():
    """FMT-4."""
    assert parse_duration_ms("0s") == 0


def test_a_float_as_the_sdks_render_it_is_a_duration():
    """FMT-4: JavaScript's 0.1 + 0.2, with the unit behind it."""
    assert parse_duration_ms("0.30000000000000004s") == 300


def test_units_may_come_in_any_order_and_repeat():
    assert parse_duration_ms("1s1h1s") == 3_602_000


def test_fractions_of_a_millisecond_are_dropped_after_the_sum():
    assert parse_duration_ms("0.0019s") == 1
    assert parse_duration_ms("0.0005s0.0005s") == 1


@pytest.mark.parametrize(
    "text",
    [
        *("", "10", "s", "1x", "1ms", "10S", "1d10", "s1"),
        *("-1s", "+1s", "1,5h", ".5h", "5.h", "1.2.3s", "1e3s"),
        *(" 1s", "1s ", "1h 5m", "1s\n", "١s", "1s\x00"),  # noqa: RUF001
    ],
)
def test_anything_else_is_refused_a_bare_number_included(text):
    """FMT-3."""
    with pytest.raises(ValueError) as caught:
        parse_duration_ms(text)

    assert str(caught.value) == (
        "must be numbers with units d, h, m or s, such as 1d10h30m"
    )


def test_a_text_that_is_too_long_is_refused():
    longest = "0" * (MAX_LENGTH - 2) + "1s"

    assert parse_duration_ms(longest) == 1_000
    with pytest.raises(ValueError) as caught:
        parse_duration_ms("0" + longest)
    assert str(caught.value) == "must be at most 64 characters long"


def test_more_than_ten_thousand_years_are_refused():
    assert parse_duration_ms("3650000d") == MAX_DURATION_MS
    for text in ("3650000d0.001s", "9" * 63 + "d"):
        with pytest.raises(ValueError) as caught:
            parse_duration_ms(text)
        assert str(caught.value) == "must be at most 10,000 years"


@few
@given(HOSTILE)
def test_any_text_is_a_duration_in_range_or_a_value_error(text):
    try:
        duration_ms = parse_duration_ms(text)
    except ValueError:
        return

    assert 0 <= duration_ms <= MAX_DURATION_MS


@few
@given(st.integers(0, MAX_DURATION_MS) | st.integers(0, 10 * ONE_DAY_MS))
def test_a_formatted_duration_reads_back_as_itself(duration_ms):
    assert parse_duration_ms(format_duration(duration_ms)) == duration_ms


@pytest.mark.parametrize(
    ("duration_ms", "text"),
    [
        (0, "0s"),
        (1, "0.001s"),
        (250, "0.25s"),
        (10_000, "10s"),
        (12_182, "12.182s"),
        (90_000, "1m30s"),
        (148_413, "2m28.413s"),
        (3_600_000, "1h"),
        (3_600_500, "1h0.5s"),
        (22_026_000, "6h7m6s"),
        (86_400_000, "1d"),
        (90_061_000, "1d1h1m1s"),
    ],
)
def test_a_duration_is_written_without_idle_parts(duration_ms, text):
    assert format_duration(duration_ms) == text


def test_a_negative_duration_has_no_text():
    with pytest.raises(ValueError) as caught:
        format_duration(-1)

    assert str(caught.value) == "a duration can't be negative"


@pytest.mark.parametrize(
    ("text", "duration_ms"),
    [
        ("6m5s", 365_000),
        ("1.5s", 1_500),
        ("300ms", 300),
        ("2h", 7_200_000),
        ("1000us", 1),
        ("1000\u00b5s", 1),
        ("1000\u03bcs", 1),
        ("1000000ns", 1),
        ("1m1ms", 60_001),
        ("5.s", 5_000),
        (".5s", 500),
        ("+1s", 1_000),
        ("0", 0),
        ("-0", 0),
    ],
)
def test_go_durations_have_their_length(text, duration_ms):
    """RTY-21."""
    assert parse_go_duration_ms(text) == duration_ms


def test_a_negative_go_duration_lies_in_the_past():
    """RTY-22 gives it its meaning."""
    assert parse_go_duration_ms("-1.5s") == -1_500


def test_fractions_of_a_millisecond_are_dropped_from_go_durations_too():
    assert parse_go_duration_ms("1999us") == 1
    assert parse_go_duration_ms("-1999us") == -1
    assert parse_go_duration_ms("999999ns") == 0


@pytest.mark.parametrize(
    "text",
    [
        *("", "10", "+", "-", "--1s", "-+1s", "00", "1.5", "1 s", " 1s", "1s "),
        *("1d", "1S", "s", ".s", ".", "1.2.3s", "1m5", "5mss", "1e3s", "١s"),  # noqa: RUF001
    ],
)
def test_what_go_would_not_parse_is_no_go_duration(text):
    """RTY-24."""
    assert parse_go_duration_ms(text) is None


def test_a_go_duration_that_is_too_long_is_none():
    longest = "0" * (MAX_LENGTH - 2) + "1s"

    assert parse_go_duration_ms(longest) == 1_000
    assert parse_go_duration_ms("0" + longest) is None


@few
@given(HOSTILE)
def test_any_text_is_a_go_duration_or_none(text):
    duration_ms = parse_go_duration_ms(text)

    assert duration_ms is None or isinstance(duration_ms, int)


@few
@given(st.integers(0, ONE_DAY_MS - 1))
def test_both_dialects_agree_below_a_day(duration_ms):
    text = format_duration(duration_ms)

    assert parse_go_duration_ms(text) == duration_ms
    assert parse_go_duration_ms(f"-{text}") == -duration_ms
    assert parse_go_duration_ms(f"{duration_ms}ms") == duration_ms
