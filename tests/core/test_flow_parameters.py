"""emulator/core/flow_parameters.py: what to pin of a flow-control key, or unpin."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.core.flow_parameters import Pin, parse_pin, parse_unpin
from emulator.core.header_values import MAX_INTEGER
from emulator.errors import InvalidParameter

few = settings(max_examples=60)


def given_once(**values):
    return {name: [value] for name, value in values.items()}


def refusal(parse, parameters):
    with pytest.raises(InvalidParameter) as caught:
        parse(parameters)
    assert caught.value.status == 400
    return str(caught.value)


def test_all_of_a_key_may_be_pinned():
    """FLC-24."""
    parameters = given_once(parallelism="3", rate="20", period="120", x="y")

    assert parse_pin(parameters) == Pin(parallelism=3, rate=20, period_s=120)


@pytest.mark.parametrize(
    ("name", "pin"),
    [
        ("parallelism", Pin(parallelism=7)),
        ("rate", Pin(rate=7)),
        ("period", Pin(period_s=7)),
    ],
)
def test_what_is_not_given_is_not_pinned(name, pin):
    """FLC-24: an empty value is none."""
    empty = {"parallelism": [""], "rate": ["", ""], "period": []}

    assert parse_pin(given_once(**{name: "7"})) == pin
    assert parse_pin(empty | {name: ["", "7"]}) == pin


@pytest.mark.parametrize("parameters", [{}, {"rate": [""]}, {"Rate": ["1"]}])
def test_there_must_be_something_to_pin(parameters):
    """FLC-26."""
    assert refusal(parse_pin, parameters) == (
        'invalid pin "": it takes parallelism, rate or period'
    )


@pytest.mark.parametrize("name", ["parallelism", "rate", "period"])
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("0", "must be at least 1"),
        ("-1", "must be an integer, at least 0"),
        ("1.5", "must be an integer, at least 0"),
        ("60s", "must be an integer, at least 0"),
        (" 1", "must be an integer, at least 0"),
        ("\u0661", "must be an integer, at least 0"),
    ],
)
def test_a_number_that_cannot_be_pinned_is_refused(name, value, reason):
    """FLC-26."""
    message = refusal(parse_pin, given_once(**{name: value}))

    assert message.startswith(f"invalid {name} ")
    assert message.endswith(reason)


def test_a_period_lasts_a_week_at_most():
    """FLC-2, FLC-26."""
    assert parse_pin(given_once(period="604800")) == Pin(period_s=604_800)
    assert refusal(parse_pin, given_once(period="604801")) == (
        'invalid period "604801": is at most a week'
    )
    assert refusal(parse_pin, given_once(period="9" * 5000)).endswith("at most a week")


def test_a_huge_limit_is_read_in_no_time():
    assert parse_pin(given_once(rate="9" * 5000)) == Pin(rate=MAX_INTEGER)


@pytest.mark.parametrize("parse", [parse_pin, parse_unpin])
def test_of_two_values_none_counts(parse):
    """FLC-26."""
    assert refusal(parse, {"rate": ["1", "2"]}) == (
        'invalid rate "2": given more than once'
    )


@pytest.mark.parametrize(
    ("parameters", "unpinned"),
    [
        (given_once(parallelism="true", rate="true"), (True, True)),
        (given_once(parallelism="True"), (True, False)),
        (given_once(rate="1", parallelism="f"), (False, True)),
        ({}, (False, False)),
        (given_once(rate="", x="true"), (False, False)),
    ],
)
def test_each_half_of_a_key_is_unpinned_if_it_says_so(parameters, unpinned):
    """FLC-25, FMT-5: by default, neither is."""
    assert parse_unpin(parameters) == unpinned


@pytest.mark.parametrize("name", ["parallelism", "rate"])
def test_what_is_no_boolean_is_refused(name):
    """FMT-5."""
    assert refusal(parse_unpin, given_once(**{name: "yes"})) == (
        f'invalid {name} "yes": must be true or false'
    )


numbers = st.integers(1, 604_800)


@few
@given(st.none() | numbers, st.none() | numbers, numbers)
def test_a_pin_written_out_is_the_same_pin(parallelism, rate, period_s):
    """FLC-24, SDK-3."""
    pin = Pin(parallelism=parallelism, rate=rate, period_s=period_s)
    written = {"parallelism": parallelism, "rate": rate, "period": period_s}

    assert pin == parse_pin(
        {name: [str(value)] for name, value in written.items() if value}
    )


@few
@given(
    st.sampled_from([parse_pin, parse_unpin]),
    st.dictionaries(
        st.sampled_from(["parallelism", "rate", "period", "x"]),
        st.lists(st.text("0123456789truefalse. ", max_size=6), max_size=2),
    ),
)
def test_no_parameters_raise_anything_but_an_error_that_names_one(parse, parameters):
    """FLC-26."""
    with suppress(InvalidParameter):
        assert parse(parameters) != Pin()
