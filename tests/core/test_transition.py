"""emulator/core/transition.py: a change of state, whole."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.core.model import SigningKeys
from emulator.core.transition import Transition

few = settings(max_examples=30, deadline=None)

TUPLES = [name for name in Transition._fields if name not in ("keys", "reset")]


@st.composite
def transitions(draw):
    """Transitions of placeholders: merging looks at no item."""
    keys = draw(st.sampled_from([None, SigningKeys("a", "b"), SigningKeys("b", "c")]))
    names = draw(st.sets(st.sampled_from(TUPLES), max_size=4))
    parts = {name: tuple(draw(st.lists(st.integers(), max_size=2))) for name in names}
    return Transition(keys=keys, **parts)


def test_a_transition_never_changes():
    with pytest.raises(AttributeError):
        Transition().log = ()


def test_nothing_merged_changes_nothing():
    assert Transition.merge([]) == Transition()


def test_one_transition_is_itself():
    transition = Transition(dlq_removed=("1-0",))

    assert Transition.merge([transition]) is transition


@pytest.mark.parametrize("name", TUPLES)
def test_merged_parts_keep_their_order(name):
    """CBK-25, CBK-26: what comes first is applied first."""
    merged = Transition.merge(
        [Transition(**{name: (1, 2)}), Transition(), Transition(**{name: (3,)})]
    )

    assert merged == Transition(**{name: (1, 2, 3)})


def test_the_last_keys_hold():
    first, second = SigningKeys("a", "b"), SigningKeys("b", "c")
    parts = [Transition(keys=first), Transition(keys=second), Transition()]

    assert Transition.merge(parts).keys == second


def test_a_reset_in_front_stays():
    merged = Transition.merge([Transition(reset=True), Transition(dlq_removed=("1",))])

    assert merged == Transition(reset=True, dlq_removed=("1",))


def test_a_reset_behind_something_is_a_mistake_of_ours():
    """It would forget what the parts before it did."""
    with pytest.raises(ValueError):
        Transition.merge([Transition(), Transition(reset=True)])


@few
@given(transitions(), transitions(), transitions())
def test_how_transitions_are_grouped_makes_no_difference(one, two, three):
    left = Transition.merge([Transition.merge([one, two]), three])
    right = Transition.merge([one, Transition.merge([two, three])])

    assert left == right == Transition.merge([one, two, three])
