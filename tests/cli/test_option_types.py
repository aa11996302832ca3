"""Instants, numbers, states, names and routes."""

from contextlib import suppress

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.cli.option_types import (
    DurationType,
    InstantType,
    NameType,
    NetworkType,
    RouteType,
    SizeType,
    StateType,
    TargetType,
    WholeNumber,
)


@pytest.mark.parametrize(
    ("text", "time_ms"),
    [
        ("0", 0),
        ("1700000000123", 1_700_000_000_123),
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T02:00:00.001+02:00", 1),
        ("1969-12-31T23:59:59.999Z", -1),
        ("99999-01-01T00:00:00Z", None),
        ("2027-03-28", None),
        ("2027-03-28T00:30:00", None),
        ("yesterday", None),
        ("-1", None),
        ("1e3", None),
        ("", None),
        ("٣", None),
    ],
)
def test_an_instant_is_iso_8601_with_a_zone_or_unix_milliseconds(text, time_ms):
    if time_ms is None:
        with pytest.raises(click.BadParameter):
            InstantType().convert(text, None, None)
    else:
        assert InstantType().convert(text, None, None) == time_ms


@given(st.datetimes(timezones=st.timezones()))
def test_every_instant_that_can_be_written_can_be_read(moment):
    time_ms = InstantType().convert(moment.isoformat(), None, None)

    assert time_ms == InstantType().convert(moment, None, None)
    assert abs(time_ms - moment.timestamp() * 1000) <= 1


@given(st.text(max_size=40))
def test_no_text_makes_an_instant_raise_anything_else(text):
    try:
        time_ms = InstantType().convert(text, None, None)
    except click.BadParameter:
        return
    assert isinstance(time_ms, int)


@pytest.mark.parametrize("kind", [RouteType(), NameType("NAME")])
def test_a_variable_holds_several_separated_by_commas_or_white_space(kind):
    split = kind.split_envvar_value(" https://a=http://b,\n https://c=http://d ")

    assert split == ["https://a=http://b", "https://c=http://d"]


@pytest.mark.parametrize("value", ["1", 1, " 3", 9])
def test_a_whole_number_within_its_bounds_is_one(value):
    assert WholeNumber(1, 9).convert(value, None, None) == int(value)


@pytest.mark.parametrize("value", ["0", "10", "x", "1.5", "", 10, "\x1b[2J"])
def test_what_is_no_number_within_bounds_is_told_them(value):
    with pytest.raises(click.BadParameter) as raised:
        WholeNumber(1, 9).convert(value, None, None)

    assert raised.value.message.startswith("must be a whole number from 1 to 9, not ")
    assert raised.value.message.isprintable()


def test_a_number_may_have_no_upper_bound():
    with pytest.raises(click.BadParameter, match='number of at least 0, not "-1"'):
        WholeNumber(min=0).convert("-1", None, None)


def test_a_state_is_taken_in_any_case_and_shown_in_capitals():
    states = StateType(("FAILED", "ERROR"))

    assert states.convert("failed", None, None) == "FAILED"
    with pytest.raises(click.BadParameter, match='"fail" is none of FAILED, ERROR'):
        states.convert("fail", None, None)


@pytest.mark.parametrize(
    ("value", "duration_s"),
    [("30s", 30), ("1m30s", 90), ("0.5s", 0.5), (30.0, 30), ("0s", 0)],
)
def test_a_duration_becomes_seconds(value, duration_s):
    assert DurationType().convert(value, None, None) == duration_s


@pytest.mark.parametrize("value", ["30", "x\x1b", "", "-1s", "1ms"])
def test_what_is_no_duration_is_told_how_one_looks(value):
    with pytest.raises(click.BadParameter) as raised:
        DurationType().convert(value, None, None)

    assert "such as 1d10h30m, not" in raised.value.message
    assert raised.value.message.isprintable()


@pytest.mark.parametrize(
    ("value", "size_bytes"),
    [
        ("1", 1),
        ("10MB", 10_485_760),
        ("10 MiB", 10_485_760),
        ("512k", 524_288),
        ("2g", 2_147_483_648),
        (7, 7),
    ],
)
def test_a_size_becomes_bytes(value, size_bytes):
    assert SizeType().convert(value, None, None) == size_bytes


@pytest.mark.parametrize("value", ["0", "x", "", "10TB", "1.5MB", "-1", "9" * 16 + "g"])
def test_what_is_no_size_is_refused(value):
    with pytest.raises(click.BadParameter):
        SizeType().convert(value, None, None)


@pytest.mark.parametrize("value", ["10.0.0.0/8", "10.1.2.3/8", "::1", "192.0.2.1"])
def test_a_network_stays_as_it_was_written(value):
    assert NetworkType().convert(value, None, None) == value


@pytest.mark.parametrize("value", ["10.0.0.0/33", "localhost", "", "x\x1b"])
def test_what_is_no_network_is_refused(value):
    with pytest.raises(click.BadParameter) as raised:
        NetworkType().convert(value, None, None)

    assert raised.value.message.isprintable()


@given(st.text(max_size=30))
def test_no_text_makes_a_size_a_duration_or_a_network_raise_anything_else(text):
    for kind in (SizeType(), DurationType(), NetworkType()):
        with suppress(click.BadParameter):
            kind.convert(text, None, None)


@pytest.mark.parametrize(
    ("value", "target"),
    [("3000", 3000), (3000, 3000), ("http://app.test", "http://app.test")],
)
def test_a_target_is_a_port_or_a_url(value, target):
    assert TargetType().convert(value, None, None) == target


@pytest.mark.parametrize("value", ["x\x1b", "", "123456", "-1", "localhost:3000", "٣"])
def test_what_is_neither_port_nor_url_is_no_target(value):
    with pytest.raises(click.BadParameter) as raised:
        TargetType().convert(value, None, None)

    assert raised.value.message.isprintable()
