"""Lines beside the log: requests, refused calls, headers without effect."""

import asyncio
import logging

import pytest

from emulator.cli.notices import SideLines, Warnings

T0 = 1_700_000_000_123


async def test_lines_are_handed_out_in_order_and_waited_for():
    lines = SideLines()
    taking = asyncio.create_task(anext(lines))
    await asyncio.sleep(0)
    lines.put("GET /1")
    lines.put("GET /2")

    assert await taking == ["GET /1", "GET /2"]


async def test_lines_that_a_terminal_is_too_slow_for_are_counted():
    lines = SideLines()
    for number in range(1_234):
        lines.put(f"GET /{number}")
    shown = await anext(lines)

    assert (shown[0], shown[-2]) == ("GET /0", "GET /999")
    assert shown[-1] == "… 234 lines not shown: the terminal was too slow"


async def test_what_was_counted_once_is_not_counted_again():
    lines = SideLines(most=1)
    for line in "abc":
        lines.put(line)
    await anext(lines)
    lines.put("d")

    assert await anext(lines) == ["d"]


async def test_lines_end_when_they_are_closed_and_all_are_handed_out():
    lines = SideLines()
    lines.put("GET /")
    lines.close()

    assert [some async for some in lines] == [["GET /"]]


async def test_lists_come_a_pause_apart_in_which_lines_gather():
    lines = SideLines(pause_s=3_600)
    lines.put("a")
    await anext(lines)
    taking = asyncio.create_task(anext(lines))
    lines.put("b")
    for _ in range(10):
        await asyncio.sleep(0)
    assert not taking.done()

    lines.put("c")
    lines.close()
    assert await asyncio.wait_for(taking, 5) == ["b", "c"]


async def test_an_end_makes_no_pause():
    lines = SideLines(pause_s=3_600)
    lines.put("a")
    await anext(lines)
    taking = asyncio.create_task(anext(lines))
    lines.put("b")
    lines.close()

    assert await asyncio.wait_for(taking, 5) == ["b"]
    with pytest.raises(StopAsyncIteration):
        await anext(lines)


# Warnings


def a_record(text, **extra):
    record = logging.LogRecord("x", logging.WARNING, "", 0, text, None, None)
    record.__dict__.update(extra)
    return record


class Clock:
    now_ms = T0

    def __call__(self):
        return self.now_ms


def some_warnings(clock=None):
    return Warnings(lambda time_ms, text: f"{time_ms} {text}", clock or Clock())


async def printed(warnings):
    warnings.lines.close()
    return [line async for lines in warnings.lines for line in lines]


async def test_a_refused_call_is_a_line_with_its_time():
    warnings = some_warnings()
    warnings.note(a_record("POST /v2/batch 400 invalid body", status=400))

    assert await printed(warnings) == [f"{T0} POST /v2/batch 400 invalid body"]


async def test_a_token_that_nobody_has_gets_a_remedy_once_a_minute():
    """AUTH-6."""
    clock = Clock()
    warnings = some_warnings(clock)
    for wait_ms in (0, 59_999, 1):
        clock.now_ms += wait_ms
        warnings.note(a_record("GET /v2/keys 401 unable", status=401))
    first, second, third = await printed(warnings)
    remedy = "the app's QSTASH_TOKEN isn't one of this server's: see qemu env"

    assert first.splitlines()[1] == f"{'':14}{remedy}"
    assert remedy not in second
    assert remedy in third


async def test_other_warnings_get_no_remedy():
    warnings = some_warnings()
    warnings.note(a_record("Upstash-Retires isn't a header of QStash"))

    assert await printed(warnings) == [f"{T0} Upstash-Retires isn't a header of QStash"]


async def test_ten_warnings_a_second_are_printed_and_the_rest_counted():
    warnings = some_warnings()
    for number in range(12):
        warnings.note(a_record(f"GET /{number} 404 not found", status=404))
    lines = await printed(warnings)

    assert len(lines) == 11
    assert lines[-1] == "… 2 more warnings not shown"


async def test_a_caller_cannot_write_to_the_terminal():
    warnings = some_warnings()
    warnings.note(a_record("GET /\x1b[2J\n" + "x" * 5_000, status=404))
    (line,) = await printed(warnings)

    assert line.isprintable()
    assert len(line) <= 220
