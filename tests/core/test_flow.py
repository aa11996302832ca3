"""emulator/core/flow.py: may a message with this key be delivered now?"""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.core.flow import (
    ADMITTED,
    FlowUsage,
    Held,
    admit,
    configure,
    count_start,
    pin,
    started_in_period,
    unpin,
)
from emulator.core.model import FlowControl
from emulator.core.resources import FlowKey

few = settings(max_examples=60)

T0 = 1_700_000_000_000  # any instant will do


def a_key(**changes):
    return FlowKey(**{"key": "k"} | changes)


# Admission


def test_a_key_without_limits_admits_everybody():
    """FLC-7."""
    usage = FlowUsage(in_flight=10**6, started=10**6, period_start_ms=T0)

    assert admit(a_key(), usage, T0) == ADMITTED


def test_as_many_may_be_under_way_as_the_parallelism_says():
    """FLC-5."""
    key = a_key(parallelism=2)

    assert admit(key, FlowUsage(in_flight=1), T0) == ADMITTED
    assert admit(key, FlowUsage(in_flight=2), T0) == Held()
    assert admit(key, FlowUsage(in_flight=3), T0) == Held(), "it was lowered"


def test_a_full_window_holds_until_the_period_ends():
    """FLC-6."""
    key = a_key(rate=10, period_s=60)
    usage = FlowUsage(started=10, period_start_ms=T0)

    assert admit(key, usage, T0 + 59_999) == Held(until_ms=T0 + 60_000)
    assert admit(key, usage, T0 + 60_000) == ADMITTED


def test_a_window_with_room_admits():
    """FLC-6."""
    key = a_key(rate=10, period_s=60)

    assert admit(key, FlowUsage(started=9, period_start_ms=T0), T0) == ADMITTED
    assert admit(key, FlowUsage(), T0) == ADMITTED


def test_both_limits_must_admit():
    """FLC-7."""
    key = a_key(parallelism=1, rate=1, period_s=60)
    full = FlowUsage(in_flight=1, started=1, period_start_ms=T0)

    assert admit(key, full, T0) == Held()
    assert admit(key, full, T0 + 60_000) == Held()
    assert admit(key, full._replace(in_flight=0), T0) == Held(until_ms=T0 + 60_000)
    assert admit(key, full._replace(in_flight=0), T0 + 60_000) == ADMITTED


def test_a_paused_key_admits_nobody():
    """FLC-23: and no time changes that."""
    assert admit(a_key(is_paused=True), FlowUsage(), T0) == Held()


# Counting


def test_the_first_start_opens_a_window():
    """FLC-6."""
    assert count_start(a_key(), FlowUsage(), T0) == FlowUsage(
        in_flight=1, started=1, period_start_ms=T0
    )


def test_a_start_within_the_window_leaves_it_where_it_is():
    """FLC-6, Q-24: it doesn't slide."""
    usage = FlowUsage(in_flight=1, started=1, period_start_ms=T0)

    assert count_start(a_key(), usage, T0 + 999) == FlowUsage(
        in_flight=2, started=2, period_start_ms=T0
    )


def test_a_start_after_the_window_opens_a_new_one():
    """FLC-6."""
    usage = FlowUsage(in_flight=1, started=7, period_start_ms=T0)

    assert count_start(a_key(), usage, T0 + 1000) == FlowUsage(
        in_flight=2, started=1, period_start_ms=T0 + 1000
    )


def test_after_a_reset_the_next_start_keeps_the_window_that_the_reset_opened():
    """FLC-27."""
    usage = FlowUsage(started=0, period_start_ms=T0)

    assert count_start(a_key(), usage, T0 + 500).period_start_ms == T0


def test_starts_are_forgotten_once_their_window_has_passed():
    """FLC-30."""
    key = a_key(period_s=60)
    usage = FlowUsage(started=4, period_start_ms=T0)

    assert started_in_period(key, usage, T0) == 4
    assert started_in_period(key, usage, T0 + 59_999) == 4
    assert started_in_period(key, usage, T0 + 60_000) == 0
    assert started_in_period(key, FlowUsage(), T0) == 0


# Configuration


def test_the_first_message_with_a_key_makes_it():
    """FLC-21."""
    wanted = FlowControl(key="k", parallelism=2, rate=5, period_s=60)

    assert configure(None, wanted) == a_key(parallelism=2, rate=5, period_s=60)


def test_the_latest_message_configures_the_key_and_unsets_what_it_lacks():
    """FLC-4."""
    key = a_key(parallelism=2, rate=5, period_s=60, is_paused=True)

    assert configure(key, FlowControl(key="k", rate=1)) == a_key(rate=1, is_paused=True)


def test_a_message_does_not_change_what_is_pinned():
    """FLC-24."""
    key = a_key(parallelism=2, rate=5, period_s=60)
    wanted = FlowControl(key="k", parallelism=9, rate=9, period_s=9)

    assert configure(replace(key, is_pinned_parallelism=True), wanted) == a_key(
        parallelism=2, rate=9, period_s=9, is_pinned_parallelism=True
    )
    assert configure(replace(key, is_pinned_rate=True), wanted) == a_key(
        parallelism=9, rate=5, period_s=60, is_pinned_rate=True
    )


@pytest.mark.parametrize(
    ("given_", "changed"),
    [
        ({"parallelism": 9}, {"parallelism": 9, "is_pinned_parallelism": True}),
        ({"rate": 9}, {"rate": 9, "is_pinned_rate": True}),
        ({"period_s": 9}, {"period_s": 9, "is_pinned_rate": True}),
        (
            {"rate": 8, "period_s": 9},
            {"rate": 8, "period_s": 9, "is_pinned_rate": True},
        ),
        ({}, {}),
    ],
)
def test_only_what_is_given_is_pinned(given_, changed):
    """FLC-24: a period belongs to the rate."""
    key = a_key(parallelism=2, rate=5, period_s=60)
    wanted = {"parallelism": None, "rate": None, "period_s": None} | given_

    assert pin(key, **wanted) == replace(key, **changed)


@pytest.mark.parametrize("parallelism", [False, True])
@pytest.mark.parametrize("rate", [False, True])
def test_what_is_unpinned_keeps_its_values_until_a_message_changes_them(
    parallelism, rate
):
    """FLC-25."""
    pinned = pin(a_key(), parallelism=2, rate=5, period_s=60)
    unpinned = unpin(pinned, parallelism=parallelism, rate=rate)
    wanted = FlowControl(key="k", parallelism=9, rate=9, period_s=9)

    assert unpinned == replace(
        pinned, is_pinned_parallelism=not parallelism, is_pinned_rate=not rate
    )
    assert configure(unpinned, wanted).parallelism == (9 if parallelism else 2)
    assert configure(unpinned, wanted).rate == (9 if rate else 5)


def test_unpinning_what_is_not_pinned_pins_nothing():
    """FLC-25."""
    assert unpin(a_key(), parallelism=False, rate=False) == a_key()
    assert unpin(a_key(), parallelism=True, rate=True) == a_key()


# What holds for all

keys = st.builds(
    a_key,
    parallelism=st.none() | st.integers(1, 5),
    rate=st.none() | st.integers(1, 5),
    period_s=st.integers(1, 5),
    is_paused=st.booleans(),
)
usages = st.builds(
    FlowUsage,
    in_flight=st.integers(0, 6),
    started=st.integers(0, 6),
    period_start_ms=st.none() | st.integers(T0 - 6000, T0),
)


@few
@given(keys, usages)
def test_a_held_delivery_is_admitted_at_the_time_it_was_told(key, usage):
    """FLC-6."""
    match admit(key, usage, T0):
        case Held(until_ms=int(until_ms)):
            assert until_ms > T0
            assert admit(key, usage, until_ms) == ADMITTED
            assert admit(key, usage, until_ms - 1) != ADMITTED


@few
@given(keys, usages)
def test_who_is_held_without_a_time_is_held_until_something_changes(key, usage):
    """FLC-5, FLC-23."""
    if admit(key, usage, T0) == Held():
        assert admit(key, usage, T0 + 10**9) == Held()
        free = replace(key, is_paused=False, parallelism=None)
        assert admit(free, usage, T0 + 10**9) == ADMITTED


@few
@given(
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(1, 3),
    st.lists(st.tuples(st.integers(0, 1500), st.booleans()), min_size=1, max_size=40),
)
def test_no_window_has_more_starts_than_the_rate_and_no_moment_more_than_fit(
    rate, parallelism, period_s, arrivals
):
    """FLC-5, FLC-6: whenever deliveries arrive, and whenever they end."""
    key = a_key(rate=rate, parallelism=parallelism, period_s=period_s)
    usage = FlowUsage()
    now_ms = T0
    starts_of = {}
    for wait_ms, one_ends in arrivals:
        now_ms += wait_ms
        if one_ends and usage.in_flight:
            usage = usage._replace(in_flight=usage.in_flight - 1)
        if admit(key, usage, now_ms) == ADMITTED:
            usage = count_start(key, usage, now_ms)
            starts_of.setdefault(usage.period_start_ms, []).append(now_ms)

        assert usage.in_flight <= parallelism
    assert starts_of[T0 + arrivals[0][0]], "the first is never held"
    windows = sorted(starts_of)
    assert all(len(starts) <= rate for starts in starts_of.values())
    assert all(
        window <= start < window + period_s * 1000
        for window in windows
        for start in starts_of[window]
    )
    assert all(
        later - earlier >= period_s * 1000 for earlier, later in pairwise(windows)
    )
