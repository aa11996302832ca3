"""What is printed for people and for programs."""

import io

import pytest

from emulator.cli.lines import Style
from emulator.cli.output import Writer
from emulator.cli.screen import Screen
from emulator.core.model import LogEntry, Message, State
from emulator.engine.feed import Feed
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
