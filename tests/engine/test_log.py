"""emulator/engine/log.py: the log of one user, bounded, and numbered for cursors."""

import subprocess
import sys
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.core.lifecycle import created_entry
from emulator.core.model import LogEntry, State
from emulator.engine.log import Log
from tests.doubles import T0, a_message

few = settings(max_examples=60, deadline=None)

MESSAGE = a_message()


def an_entry(time_ms=T0):
    return LogEntry(time_ms, State.CREATED, MESSAGE)


def a_log(count=0, max_entries=1000):
    """A log of entries a millisecond apart, the first at T0."""
    log = Log(max_entries)
    log.extend(an_entry(T0 + number) for number in range(count))
    return log


def newest(log, below=None):
    return [(number, entry.time_ms - T0) for number, entry in log.newest_first(below)]


def oldest(log, above=None):
    return [(number, entry.time_ms - T0) for number, entry in log.oldest_first(above)]


def test_an_empty_log_lists_nothing():
    log = a_log()

    assert (len(log), newest(log), oldest(log)) == (0, [], [])
    assert (newest(log, 5), oldest(log, 5)) == ([], [])


def test_entries_are_numbered_and_listed_either_way():
    """LOG-3."""
    log = a_log(3)

    assert oldest(log) == [(0, 0), (1, 1), (2, 2)]
    assert newest(log) == [(2, 2), (1, 1), (0, 0)]


def test_entries_of_one_millisecond_keep_their_causal_order():
    """LOG-3."""
    log = Log(10)
    states = [State.CREATED, State.ACTIVE, State.DELIVERED]
    log.extend(LogEntry(T0, state, MESSAGE) for state in states)

    assert [entry.state for _, entry in log.newest_first(None)] == states[::-1]
    assert [entry.state for _, entry in log.oldest_first(None)] == states


def test_a_page_goes_on_behind_the_last_entry():
    """FMT-17."""
    log = a_log(5)

    assert newest(log, below=2) == [(1, 1), (0, 0)]
    assert oldest(log, above=2) == [(3, 3), (4, 4)]


def test_the_oldest_entries_go_first():
    """LOG-11."""
    log = a_log(5, max_entries=3)

    assert len(log) == 3
    assert oldest(log) == [(2, 2), (3, 3), (4, 4)]


def test_a_number_stays_its_entry_s_when_others_go():
    """FMT-17."""
    log = a_log(3, max_entries=3)
    before = dict(newest(log))

    log.extend([an_entry(T0 + 3), an_entry(T0 + 4)])

    after = dict(newest(log))
    assert after == {2: before[2], 3: 3, 4: 4}


def test_entries_older_than_an_instant_are_dropped():
    """LIM-6."""
    log = a_log(5)

    log.expire(T0 + 3)

    assert oldest(log) == [(3, 3), (4, 4)]


def test_expiry_stops_at_the_first_entry_that_is_young_enough():
    log = Log(10)
    log.extend([an_entry(T0), an_entry(T0 + 9), an_entry(T0 + 1)])

    log.expire(T0 + 5)

    assert oldest(log) == [(1, 9), (2, 1)]


def test_a_log_may_expire_whole_and_goes_on_counting():
    log = a_log(3)

    log.expire(T0 + 100)
    log.extend([an_entry(T0 + 100)])

    assert newest(log) == [(3, 100)]


@pytest.mark.parametrize("cursor", [0, 1])
def test_a_cursor_that_has_been_dropped_goes_on_with_what_is_there(cursor):
    """LOG-11, FMT-17."""
    log = a_log(5, max_entries=3)

    assert oldest(log, above=cursor) == [(2, 2), (3, 3), (4, 4)]
    assert newest(log, below=cursor) == []


def test_a_cursor_beyond_the_end_is_the_end():
    log = a_log(3)

    assert oldest(log, above=100) == []
    assert newest(log, below=100) == [(2, 2), (1, 1), (0, 0)]


def test_a_cursor_far_beyond_the_end_takes_no_longer():
    """FMT-17: cursors come from strangers. In a process, which can be ended."""
    program = (
        "from emulator.engine.log import Log\n"
        "print(list(Log(9).oldest_first(10**16 - 1)))\n"
        "print(list(Log(9).newest_first(10**16 - 1)))\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=5,
        check=True,
    )

    assert done.stdout.split() == ["[]", "[]"]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("extend"), st.integers(0, 4)),
        st.tuples(st.just("expire"), st.integers(0, 40)),
    ),
    max_size=20,
)


@few
@given(steps, st.integers(1, 8), st.none() | st.integers(0, 60))
def test_a_log_lists_what_a_list_would(actions, max_entries, cursor):
    log = Log(max_entries)
    entries = []
    written = 0
    for action, value in actions:
        if action == "extend":
            times = range(written, written + value)
            log.extend(an_entry(T0 + number) for number in times)
            entries = [*entries, *((number, number) for number in times)][-max_entries:]
            written += value
        else:
            log.expire(T0 + value)
            entries = [item for item in entries if item[1] >= value]

    assert len(log) == len(entries)
    assert oldest(log, cursor) == [
        item for item in entries if cursor is None or item[0] > cursor
    ]
    assert newest(log, cursor) == [
        item for item in entries[::-1] if cursor is None or item[0] < cursor
    ]


# How long the bodies are


def an_entry_of(body_bytes):
    return LogEntry(T0, State.CREATED, a_message(body=bytes(body_bytes)))


def test_the_oldest_entries_go_when_the_bodies_are_too_long():
    log = Log(1000, max_bytes=10_000)

    dropped = log.extend([an_entry_of(4000), an_entry_of(5000), an_entry_of(2000)])

    assert dropped == 1
    assert [len(entry.message.body) for _, entry in log.oldest_first(None)] == [
        5000,
        2000,
    ]
    assert [number for number, _ in log.oldest_first(None)] == [1, 2]


def test_the_last_entry_stays_however_long_its_body_is():
    log = Log(1000, max_bytes=10_000)

    log.extend([an_entry_of(4000), an_entry_of(50_000)])

    assert [len(entry.message.body) for _, entry in log.oldest_first(None)] == [50_000]


def test_what_has_gone_makes_room():
    log = Log(1, max_bytes=10_000)
    log.extend([an_entry_of(9000), an_entry_of(9000)])

    log.extend([an_entry_of(1000)])

    assert [len(entry.message.body) for _, entry in log.oldest_first(None)] == [1000]


@few
@given(
    st.integers(T0, T0 + 2),
    st.sampled_from([State.CREATED, State.RETRY]),
    st.sampled_from([None, T0, T0 + 1]),
)
def test_an_entry_is_read_as_it_was_written(time_ms, state, next_delivery_ms):
    """Of a creation the message alone is kept, if it tells all of it."""
    entry = LogEntry(time_ms, state, MESSAGE, next_delivery_ms=next_delivery_ms)
    log = Log(10)
    log.extend([entry])

    assert list(log.oldest_first(None)) == list(log.newest_first(None)) == [(0, entry)]
    assert len(log) == 1


def test_a_creation_takes_no_memory_beside_its_message():
    log = Log(200_000)
    messages = [a_message(message_id=str(number)) for number in range(1000)]
    tracemalloc.start()
    log.extend(map(created_entry, messages))
    used_bytes = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()

    assert used_bytes < 1000 * 16
    assert [entry.message for _, entry in log.oldest_first(None)] == messages


def test_entries_of_creations_expire_like_others():
    log = Log(10)
    log.extend([created_entry(MESSAGE), LogEntry(T0 + 1, State.ACTIVE, MESSAGE)])

    log.expire(T0 + 1)

    assert oldest(log) == [(1, 1)]
