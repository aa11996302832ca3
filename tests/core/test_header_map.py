"""emulator/core/header_map.py: header maps, and how names are spelled."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.core.header_map import (
    build,
    canonical_name,
    first,
    grouped,
    pack,
    pairs,
    unpack,
)

few = settings(max_examples=50, deadline=None)

names = st.text("aZ09-_.!", min_size=1, max_size=12)
items = st.lists(st.tuples(names, st.text(max_size=5)), max_size=6)


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("bypass-tunnel-reminder", "Bypass-Tunnel-Reminder"),
        ("test-header", "Test-Header"),
        ("x-api-key", "X-Api-Key"),
        ("X-RateLimit-Reset", "X-Ratelimit-Reset"),
        ("CONTENT-TYPE", "Content-Type"),
        ("x--y-", "X--Y-"),
        ("3d-a1b", "3d-A1b"),
        ("", ""),
    ],
)
def test_a_name_is_spelled_as_go_spells_it(name, canonical):
    """FMT-7."""
    assert canonical_name(name) == canonical


@few
@given(names)
def test_spelling_changes_nothing_but_the_case(name):
    """FMT-7, HDR-1."""
    canonical = canonical_name(name)

    assert canonical.lower() == name.lower()
    assert canonical_name(name.upper()) == canonical_name(name.lower()) == canonical


@few
@given(items)
def test_a_header_map_keeps_order_and_repetitions(given_items):
    """HDR-33."""
    header = build(given_items)

    assert list(pairs(header)) == [
        (canonical_name(name), value) for name, value in given_items
    ]


def test_a_header_map_is_flat():
    assert build([("x-a", "1"), ("X-A", "2")]) == ("X-A", "1", "X-A", "2")


def test_a_map_without_headers_is_empty():
    assert build([]) == ()
    assert list(pairs(())) == []
    assert grouped(()) == {}


def test_a_name_without_a_value_is_a_mistake_of_ours():
    with pytest.raises(ValueError):
        list(pairs(("X-A",)))


def test_the_first_value_of_a_name_is_found():
    header = ("X-B", "0", "X-A", "1", "X-A", "2")

    assert first(header, "X-A") == "1"


def test_a_name_that_is_not_there_has_no_first_value():
    assert first(("X-A", "X-B"), "X-B") is None


def test_an_empty_value_is_a_value():
    assert first(("X-A", ""), "X-A") == ""
    assert grouped(("X-A", "")) == {"X-A": [""]}


def test_values_are_grouped_by_name_in_order():
    """FMT-8."""
    header = ("X-B", "1", "X-A", "2", "X-B", "3")

    assert grouped(header) == {"X-B": ["1", "3"], "X-A": ["2"]}
    assert list(grouped(header)) == ["X-B", "X-A"]


@few
@given(items)
def test_grouping_loses_no_value(given_items):
    """FMT-8."""
    header = build(given_items)

    values = [value for values in grouped(header).values() for value in values]

    assert sorted(values) == sorted(value for _, value in given_items)
    for name, of_name in grouped(header).items():
        assert first(header, name) == of_name[0]


# Packed maps

values = st.text("\0ab,", max_size=3)
header_maps = st.lists(st.tuples(st.sampled_from(["X-A", "X-B"]), values), max_size=4)


@few
@given(header_maps.map(build))
def test_what_is_packed_is_unpacked_again(header):
    assert unpack(*pack(header)) == header


@few
@given(header_maps.map(build), header_maps.map(build))
def test_maps_are_packed_equally_if_they_are_equal(one, other):
    assert (pack(one) == pack(other)) == (one == other)


def test_equal_names_are_one_tuple_of_all_packed_maps():
    one, _ = pack(("X-A", "1", "X-B", "2"))
    other, _ = pack(("X-A", "3", "X-B", "4"))

    assert one is other


def test_a_value_that_would_be_taken_apart_is_not_packed():
    header = ("X-A", "a\0b", "X-B", "c")

    assert pack(header) == ((), header)


def test_a_stranger_s_long_names_are_not_kept():
    """They are spelled and packed like others."""
    long_name = "x-" + "a" * 2000
    spelled = "X-A" + "a" * 1999
    header = build([(long_name, "1"), ("x-b", "2")])

    assert header == (spelled, "1", "X-B", "2")
    assert unpack(*pack(header)) == header
    assert pack(header)[0] is not pack(header)[0]
