"""emulator/engine/entropy.py: chance, from the system or from a seed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.engine.entropy import SeededEntropy, SystemEntropy

few = settings(max_examples=30, deadline=None)


@few
@given(st.integers(), st.lists(st.integers(0, 40), max_size=5))
def test_the_same_seed_gives_the_same_bytes_in_the_order_of_asking(seed, counts):
    one, other = SeededEntropy(seed), SeededEntropy(seed)

    assert [one.token_bytes(count) for count in counts] == [
        other.token_bytes(count) for count in counts
    ]


def test_different_seeds_give_different_bytes():
    drawn = {SeededEntropy(seed).token_bytes(16) for seed in range(100)}

    assert len(drawn) == 100


def test_seeded_entropy_does_not_repeat_itself():
    entropy = SeededEntropy(1)

    drawn = {entropy.token_bytes(16) for _ in range(100)}

    assert len(drawn) == 100


def test_a_seed_shares_no_state_with_another_object():
    """Two emulators may live in one process."""
    alone = SeededEntropy(7)
    expected = [alone.token_bytes(8), alone.token_bytes(8)]

    one, neighbor = SeededEntropy(7), SeededEntropy(7)
    drawn = [one.token_bytes(8)]
    neighbor.token_bytes(8)
    drawn.append(one.token_bytes(8))

    assert drawn == expected


def test_a_seed_that_was_stirred_does_not_give_what_it_would_have_given():
    plain, stirred, elsewhere = (SeededEntropy(1) for _ in range(3))
    stirred.stir(["msg_1", "\ud800"])
    elsewhere.stir(["msg_2"])

    drawn = {entropy.token_bytes(16) for entropy in (plain, stirred, elsewhere)}

    assert len(drawn) == 3


def test_a_seed_that_was_stirred_repeats_itself_all_the_same():
    one, other = SeededEntropy(1), SeededEntropy(1)
    for entropy in (one, other):
        entropy.stir(["msg_1"])

    assert one.token_bytes(16) == other.token_bytes(16)


def test_system_entropy_does_not_repeat_itself():
    drawn = {SystemEntropy().token_bytes(16) for _ in range(100)}

    assert len(drawn) == 100


@pytest.mark.parametrize("entropy", [SystemEntropy(), SeededEntropy(1)], ids=type)
@pytest.mark.parametrize("count", [0, 1, 28, 36])
def test_as_many_bytes_come_as_were_asked_for(entropy, count):
    assert len(entropy.token_bytes(count)) == count
