"""What happens is printed in batches, or counted."""

import asyncio
import io
import json
import threading

import pytest

from emulator.cli import event_screen
from emulator.cli.event_screen import EventScreen
from emulator.cli.output import Writer
from emulator.lines import Style


class Recorder(io.StringIO):
    """Remembers each write, and lets the loop wait for one."""

    def __init__(self):
        super().__init__()
        self.writes = []
        self._wrote = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def write(self, text):
        self.writes.append(text)
        self._loop.call_soon_threadsafe(self._wrote.set)
        return super().write(text)

    async def written(self):
        await asyncio.wait_for(self._wrote.wait(), 5)
        self._wrote.clear()


def a_screen(writer, stdout, **options):
    options = {
        "line": lambda item: f"line {item}",
        "event": lambda item: {"item": item},
        "what": "request",
        "style": Style(),
        "stderr": None,
    } | options
    return EventScreen(writer, stdout=stdout, **options)


async def printed(*items, **options):
    stdout, writer = Recorder(), Writer()
    screen = a_screen(writer, stdout, **options)
    for item in items:
        screen.put(item)
    screen.close()
    await screen.follow()
    assert writer.close(5)
    return stdout


async def test_what_is_put_at_once_is_written_at_once():
    stdout = await printed("a", "b")

    assert stdout.writes == ["line a\nline b\n"]


async def test_a_line_that_is_empty_is_not_printed():
    stdout = await printed("a", "b", line=lambda item: "" if item == "a" else item)

    assert stdout.getvalue() == "b\n"


async def test_programs_get_every_item_and_people_their_lines_beside():
    stderr = io.StringIO()
    stdout = await printed("a", json_lines=True, stderr=stderr)

    assert stdout.getvalue() == '{"item":"a"}\n'
    assert stderr.getvalue() == "line a\n"


async def test_nothing_is_made_for_nobody():
    stdout = await printed("a", quiet=True, line=lambda item: 1 / 0)

    assert stdout.writes == []


async def test_what_is_put_later_is_printed_later():
    stdout, writer = Recorder(), Writer()
    screen = a_screen(writer, stdout)
    following = asyncio.create_task(screen.follow())
    await asyncio.sleep(0)
    screen.put("a")
    await stdout.written()
    screen.put("b")
    screen.close()
    await asyncio.wait_for(following, 5)

    assert stdout.writes == ["line a\n", "line b\n"]
    assert writer.close(5)


async def test_batches_for_people_come_a_pause_apart(monkeypatch):
    monkeypatch.setattr(event_screen, "_PAUSE_S", 3_600)
    stdout, writer = Recorder(), Writer()
    screen = a_screen(writer, stdout)
    following = asyncio.create_task(screen.follow())
    screen.put("a")
    await stdout.written()
    for item in "bc":
        screen.put(item)
        for _ in range(10):
            await asyncio.sleep(0)
    assert stdout.writes == ["line a\n"]

    screen.close()
    await asyncio.wait_for(following, 5)
    assert stdout.writes == ["line a\n", "line b\nline c\n"]
    assert writer.close(5)


async def test_a_pause_ends():
    stdout, writer = Recorder(), Writer()
    screen = a_screen(writer, stdout)
    screen._pause_s = 0.001
    following = asyncio.create_task(screen.follow())
    for item in "ab":
        screen.put(item)
        await stdout.written()

    assert not following.done()
    screen.close()
    await following
    assert writer.close(5)


async def test_what_comes_too_fast_for_people_is_counted_where_it_is_missing():
    stdout = await printed(*range(1_484))
    lines = stdout.getvalue().splitlines()

    assert lines[:2] == ["line 0", "line 1"]
    assert lines[-2:] == [
        "line 249",
        "… 1,234 requests not shown: more than the terminal can take",
    ]


@pytest.mark.parametrize("json_lines", [False, True])
async def test_a_reader_that_is_slow_misses_something_and_is_told(json_lines):
    """The loop goes on while the terminal takes nothing."""
    release = threading.Event()

    class Stuck(Recorder):
        def write(self, text):
            release.wait(5)
            return super().write(text)

    stdout, writer = Stuck(), Writer()
    screen = a_screen(writer, stdout, json_lines=json_lines)
    following = asyncio.create_task(screen.follow())
    screen.put("first")
    for _ in range(5):
        await asyncio.sleep(0)
    for number in range(10_003):
        screen.put(number)
    release.set()
    screen.close()
    await asyncio.wait_for(following, 20)

    assert writer.close(5)
    *_, last = stdout.getvalue().splitlines()
    if json_lines:
        assert json.loads(last) == {"type": "gap", "dropped": 3}
    else:
        assert last == "… 9,753 requests not shown: more than the terminal can take"


async def test_what_comes_after_a_gap_stands_after_it():
    stdout, writer = io.StringIO(), Writer()
    screen = a_screen(writer, stdout)
    for number in range(252):
        screen.put(number)
    screen._print, batches = _into_a_list()
    following = asyncio.create_task(screen.follow())
    await asyncio.sleep(0)
    screen.put("later")
    screen.close()
    await following

    items = [item for batch in batches for item in batch]
    assert items[249] == 249
    assert items[250].count == 2
    assert items[251:] == ["later"]
    assert writer.close(5)


def _into_a_list():
    batches = []

    async def take(items):
        batches.append(items)

    return take, batches


async def test_when_nobody_reads_it_ends():
    class Broken(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    writer = Writer()
    screen = a_screen(writer, Broken())
    screen.put("a")
    with pytest.raises(BrokenPipeError):
        await screen.follow()
    assert writer.close(5)


async def test_what_has_been_put_costs_the_traffic_nothing_but_a_place():
    """No text is made, and no thread is asked, before the loop's next turn."""
    writer = Writer()
    screen = a_screen(writer, Recorder(), line=lambda item: 1 / 0)
    for number in range(100_000):
        screen.put(number)

    assert len(screen._waiting) == 251
    assert writer.close(5)
