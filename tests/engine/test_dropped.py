"""emulator/engine/dropped.py: what had to go is counted, and said once."""

from emulator.engine.dropped import Dropped


def test_what_goes_is_counted_and_said_the_first_time(caplog):
    dropped = Dropped("the log is full")

    for count in (0, 3, 0, 4):
        dropped.note(count)

    assert dropped.count == 7
    assert [record.getMessage() for record in caplog.records] == ["the log is full"]


def test_nothing_is_said_of_nothing(caplog):
    Dropped("the log is full").note(0)

    assert caplog.records == []
