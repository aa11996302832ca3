"""emulator/engine/log_pages.py: a log is looked through in slices."""

from __future__ import annotations

import pytest

from emulator.core.filters import LogQuery, parse_log_query
from emulator.core.model import LogEntry, State
from emulator.engine import log_pages
from emulator.engine.log import Log
from emulator.engine.log_pages import look_through
from emulator.engine.slices import at_once
from tests.doubles import T0, a_message


@pytest.fixture(autouse=True)
def slices_of_ten(monkeypatch):
    monkeypatch.setattr(log_pages, "_SLICE", 10)


def entries(first: int, last: int) -> list[LogEntry]:
    return [
        LogEntry(T0 + number, State.ACTIVE, a_message(message_id=f"msg_{number}"))
        for number in range(first, last)
    ]


def a_log(count: int, most: int = 1000) -> Log:
    log = Log(most)
    log.extend(entries(0, count))
    return log


def times(page: list[LogEntry]) -> list[int]:
    return [entry.time_ms - T0 for entry in page]


@pytest.mark.parametrize("count", [0, 9, 10, 11, 20, 35])
@pytest.mark.parametrize("latest_first", [True, False])
def test_all_is_found_however_many_slices_it_takes(count, latest_first):
    """LOG-3."""
    log = a_log(count)
    query = LogQuery(latest_first=latest_first)

    page, cursor = at_once(look_through(lambda: log, query, T0))

    expected = list(range(count))
    assert times(page) == (expected[::-1] if latest_first else expected)
    assert cursor is None


def test_a_page_may_end_within_a_slice():
    """FMT-17."""
    log = a_log(50)

    page, cursor = at_once(look_through(lambda: log, LogQuery(count=15), T0))
    query = parse_log_query({"cursor": [cursor]})
    rest, _ = at_once(look_through(lambda: log, query, T0))

    assert times(page + rest) == list(range(50))[::-1]


def test_each_slice_is_a_pause():
    log = a_log(35)
    query = parse_log_query({"messageId": ["msg_3"]})

    work = look_through(lambda: log, query, T0)

    assert sum(1 for _ in work) == 3


@pytest.mark.parametrize("latest_first", [True, False])
def test_what_is_written_and_dropped_meanwhile_repeats_nothing(latest_first):
    log = a_log(40, most=40)
    work = look_through(lambda: log, LogQuery(latest_first=latest_first), T0)

    next(work)
    log.extend(entries(40, 55))
    page, _ = at_once(work)

    seen = times(page)
    assert seen == sorted(set(seen), reverse=latest_first)
    assert set(range(15, 40)) <= set(seen)


def test_after_a_reset_the_new_log_is_looked_through():
    logs = [a_log(40), a_log(5)]
    work = look_through(lambda: logs[0], LogQuery(), T0)

    next(work)
    del logs[0]
    page, cursor = at_once(work)

    assert times(page)[-5:] == [4, 3, 2, 1, 0]
    assert cursor is None
