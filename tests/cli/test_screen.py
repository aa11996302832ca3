"""What is printed for people and for programs."""

import io
import json
from datetime import UTC

import pytest

from emulator.cli.notices import SideLines
from emulator.cli.output import Writer
from emulator.cli.screen import Screen
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
    options = {"style": Style()} | options
    return Screen(writer, Settings(), stdout=stdout, stderr=None, **options)


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


async def test_whoever_wants_to_know_is_told_of_entries():
    writer, feed, stirred = Writer(), Feed(), []
    subscription = feed.subscribe()
    feed.emit("defaultUser", [an_entry()])
    feed.close()
    screen = a_screen(writer, io.StringIO())
    await screen.follow(subscription, lambda: stirred.append(True))

    assert writer.close(5)
    assert stirred == [True]


@pytest.mark.parametrize("verbose", [False, True])
async def test_states_that_say_little_are_shown_if_asked_for(verbose):
    stdout, writer, feed = io.StringIO(), Writer(), Feed()
    subscription = feed.subscribe()
    states = (State.ACTIVE, State.CANCEL_REQUESTED, State.CANCELLED)
    feed.emit("defaultUser", [an_entry(state) for state in states])
    feed.close()
    await a_screen(writer, stdout, verbose=verbose).follow(subscription)

    assert writer.close(5)
    shown = [line.split()[1] for line in stdout.getvalue().splitlines()]
    assert shown == [state.value for state in (states if verbose else states[-1:])]


# Beside the log


async def test_lines_beside_the_log_are_printed_until_they_end():
    stdout, writer, lines = io.StringIO(), Writer(), SideLines()
    lines.put("GET /v2/keys 200 1 ms")
    lines.put("GET /v2/logs 200 2 ms")
    lines.close()
    await a_screen(writer, stdout).follow_lines(lines)

    assert writer.close(5)
    assert stdout.getvalue() == "GET /v2/keys 200 1 ms\nGET /v2/logs 200 2 ms\n"


async def test_nobody_reads_lines_beside_the_log_either():
    class Broken(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    writer, lines = Writer(), SideLines()
    lines.put("GET /")
    with pytest.raises(OSError):
        await a_screen(writer, Broken()).follow_lines(lines)
    assert writer.close(5)


def test_a_line_beside_the_log_has_the_time_where_the_log_has_it():
    writer = Writer()
    plain = a_screen(writer, None, style=Style(zone=UTC))
    colored = a_screen(writer, None, style=Style(zone=UTC, color=True))

    assert plain.line_beside(T0, "GET /", color="yellow") == "22:13:20.123  GET /"
    assert colored.line_beside(T0, "GET /", color="yellow") == (
        "\x1b[2m22:13:20.123\x1b[0m  \x1b[33mGET /\x1b[0m"
    )
    assert colored.line_beside(T0, "GET /").endswith("  GET /")
    assert writer.close(5)


def test_a_quiet_screen_tells_people_nothing():
    writer = Writer()

    assert a_screen(writer, io.StringIO(), quiet=True).is_quiet
    assert not a_screen(writer, io.StringIO()).is_quiet
    assert writer.close(5)
