"""emulator/testing/instants.py: durations and instants as tests write them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.testing.instants import datetime_of, parse_duration, parse_instant


@pytest.mark.parametrize(
    ("written", "duration_ms"),
    [
        ("1h30m", 5_400_000),
        ("1d", 86_400_000),
        (timedelta(minutes=10), 600_000),
        (timedelta(microseconds=1500), 1),
        (90, 90_000),
        (0.25, 250),
        (0, 0),
    ],
)
def test_a_duration_is_text_a_timedelta_or_seconds(written, duration_ms):
    assert parse_duration(written) == duration_ms


@pytest.mark.parametrize("written", ["", "ten", "10", "-1h", -1, timedelta(seconds=-1)])
def test_what_is_no_duration_is_refused_by_name(written):
    with pytest.raises(ValueError, match="duration"):
        parse_duration(written)


@pytest.mark.parametrize(
    "written",
    [
        "2027-03-28T00:30:00Z",
        "2027-03-28T00:30Z",
        "2027-03-28T02:30+02:00",
        datetime(2027, 3, 28, 0, 30, tzinfo=UTC),
        datetime(2027, 3, 28, 2, 30, tzinfo=timezone(timedelta(hours=2))),
        1_806_193_800_000,
    ],
)
def test_an_instant_is_a_datetime_the_same_in_text_or_unix_milliseconds(written):
    assert parse_instant(written) == 1_806_193_800_000


@pytest.mark.parametrize(
    "written",
    ["2027-03-28T00:30", "2027-03-28", datetime(2027, 3, 28)],  # noqa: DTZ001
)
def test_an_instant_without_a_time_zone_is_refused(written):
    with pytest.raises(ValueError, match="time zone"):
        parse_instant(written)


@given(st.integers(0, 253_402_300_799_999))
def test_an_instant_survives_the_way_through_a_datetime(instant_ms):
    assert parse_instant(datetime_of(instant_ms)) == instant_ms
    assert parse_instant(datetime_of(instant_ms).isoformat()) == instant_ms
