"""emulator/core/last_states.py: what became of the messages of a firing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.core.last_states import LastStates
from emulator.core.model import FINAL_STATES, State

few = settings(max_examples=60, deadline=None)

finals = st.sampled_from(sorted(FINAL_STATES))


@few
@given(st.integers(0, 40), st.lists(st.tuples(st.integers(0, 39), finals)))
def test_each_message_has_the_state_that_it_was_given_last(count, changes):
    """SCH-27."""
    expected: dict[str, State | None] = {f"msg_{n}": None for n in range(count)}
    states = LastStates(expected.items())

    for number, state in changes:
        if number < count:
            expected[f"msg_{number}"] = state
            states = states.with_final(f"msg_{number}", state)

    assert dict(states) == expected
    assert list(states) == list(expected.items())
    assert len(states) == count
    for message_id, state in expected.items():
        assert states.is_open(message_id) == (state is None)


def test_a_change_leaves_what_there_was_as_it_is():
    before = LastStates([("msg_1", None), ("msg_2", None)])

    after = before.with_final("msg_2", State.FAILED)

    assert list(before) == [("msg_1", None), ("msg_2", None)]
    assert list(after) == [("msg_1", None), ("msg_2", State.FAILED)]


def test_a_message_of_another_firing_is_unknown():
    states = LastStates([("msg_1", None)])

    assert not states.is_open("msg_2")
    with pytest.raises(KeyError):
        states.with_final("msg_2", State.FAILED)


def test_they_are_equal_by_what_they_hold():
    one = LastStates([("msg_1", State.FAILED)])
    other = LastStates([("msg_1", None)]).with_final("msg_1", State.FAILED)

    assert one == other
    assert hash(one) == hash(other)
    assert one != LastStates()
    assert one != (("msg_1", State.FAILED),)
    assert "msg_1" in repr(one)


def test_a_change_does_not_copy_all_that_there_is():
    """A firing for a group of thousands ends as often."""
    states = LastStates((f"msg_{number}", None) for number in range(10_000))

    after = states.with_final("msg_5000", State.DELIVERED)

    copied = [
        one
        for one, other in zip(after._chunks, states._chunks, strict=True)
        if one is not other
    ]
    assert sum(map(len, copied)) + len(after._chunks) < 300
