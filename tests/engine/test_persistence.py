"""What passes through the journal's port."""

from emulator.engine.persistence import Told


def test_told_values_are_made_when_they_are_asked_for():
    made = []

    def tell(number):
        made.append(number)
        return -number

    told = Told((1, 2, 3), tell)

    assert made == []
    assert len(told) == 3
    assert list(told) == [-1, -2, -3]
    assert (told[1], told[-1]) == (-2, -3)
    assert list(told[1:]) == [-2, -3]
    assert -2 in told
