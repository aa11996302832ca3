"""What is printed for people and for programs."""

import asyncio
import io
import json

import pytest

from emulator.cli.output import Writer
from emulator.cli.screen import RequestLines, Screen
from emulator.core import wire
from emulator.core.model import LogEntry, Message, Responded, State
from emulator.engine.feed import Feed
from emulator.lines import Style
from emulator.settings import Settings

T0 = 1_700_000_000_123


def an_entry(state=State.CREATED, **changes):
    message = Message(
        message_id="msg_26hZCxZCuWyyTWPmSVBrNB882AH1pVKb9Lp2",
        url="http://localhost:3000/api/hook",
        created_at_ms=T0,
        not_before_ms=T0,
    )
    return LogEntry(T0, state, message, **changes)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def a_screen(writer, stdout, **options):
    return Screen(
        writer, Settings(), style=Style(), stdout=stdout, stderr=None, **options
    )


@pytest.mark.parametrize(
    ("json_lines", "said"),
    [
        (False, "… 1,234 lines not shown: the terminal was too slow\n"),
        (True, '{"type":"gap","dropped":1234}\n'),
    ],
)
async def test_a_slow_reader_is_told_what_it_missed(json_lines, said):
    stdout, writer, feed = io.StringIO(), Writer(), Feed()
    subscription = feed.subscribe()
    subscription.note_missed(1234)
    feed.emit("defaultUser", [an_entry()])
    feed.close()
    await a_screen(writer, stdout, json_lines=json_lines).follow(subscription)

    assert writer.close(5)
    assert stdout.getvalue().startswith(said)


def test_a_screen_knows_whether_people_read_at_a_terminal():
    writer = Writer()

    assert a_screen(writer, Terminal()).is_terminal
    assert not a_screen(writer, io.StringIO()).is_terminal
    assert not a_screen(writer, Terminal(), quiet=True).is_terminal
    assert not a_screen(writer, None).is_terminal
    assert writer.close(5)


@pytest.mark.parametrize("json_lines", [False, True])
async def test_an_answer_that_gives_a_verifier_away_gets_a_hint(json_lines):
    refusal = Responded(401, (), b"SignatureError: invalid body hash: x")
    stdout, stderr, writer, feed = io.StringIO(), io.StringIO(), Writer(), Feed()
    subscription = feed.subscribe()
    feed.emit("defaultUser", [an_entry(State.ERROR, outcome=refusal, duration_ms=1)])
    feed.close()
    screen = Screen(
        writer,
        Settings(),
        style=Style(),
        stdout=stdout,
        stderr=stderr,
        json_lines=json_lines,
    )
    await screen.follow(subscription)

    assert writer.close(5)
    people = stderr if json_lines else stdout
    hint = people.getvalue().splitlines()[-1].strip()
    assert hint.startswith("the app doesn't verify the raw body")


async def test_programs_get_what_the_feed_has():
    stdout, writer, feed = io.StringIO(), Writer(), Feed()
    subscription = feed.subscribe()
    entry = an_entry(State.DELIVERED, outcome=Responded(200), duration_ms=11)
    feed.emit("alice", [entry])
    feed.close()
    await a_screen(writer, stdout, json_lines=True).follow(subscription)

    assert writer.close(5)
    assert json.loads(stdout.getvalue()) == {
        "type": "log",
        **wire.feed_item("alice", entry),
    }


# Requests


async def printed(lines):
    """Print what has been put, and return the lines."""
    stdout, writer = io.StringIO(), Writer()
    lines.close()
    await a_screen(writer, stdout).follow_requests(lines)
    assert writer.close(5)
    return stdout.getvalue().splitlines()


async def test_requests_stand_below_the_states_of_the_log():
    lines = RequestLines()
    lines.put("GET /v2/keys 200 1 ms")
    lines.put("GET /v2/logs 200 2 ms")

    assert await printed(lines) == [
        "              GET /v2/keys 200 1 ms",
        "              GET /v2/logs 200 2 ms",
    ]


async def test_requests_that_a_terminal_is_too_slow_for_are_counted():
    lines = RequestLines()
    for number in range(1_234):
        lines.put(f"GET /{number}")
    shown = await printed(lines)

    assert shown[0].strip() == "… 234 lines not shown: the terminal was too slow"
    assert shown[1].strip() == "GET /234"
    assert shown[-1].strip() == "GET /1233"


async def test_requests_are_waited_for():
    lines = RequestLines()
    taking = asyncio.create_task(anext(lines))
    await asyncio.sleep(0)
    lines.put("GET /")

    assert await taking == ["GET /"]


async def test_nobody_reads_requests_either():
    class Broken(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    writer, lines = Writer(), RequestLines()
    lines.put("GET /")
    with pytest.raises(OSError):
        await a_screen(writer, Broken()).follow_requests(lines)
    assert writer.close(5)
