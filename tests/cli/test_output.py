"""Text for the terminal, and the thread that writes it."""

import io
import threading

import pytest

from emulator.cli.output import Writer, plural, wants_color


def test_numbers_of_things_have_their_plural():
    assert plural(1, "delivery") == "1 delivery"
    assert plural(2, "delivery") == "2 deliveries"
    assert plural(1234, "message") == "1,234 messages"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("choice", "environ", "terminal", "pipe"),
    [
        ("auto", {}, True, False),
        ("auto", {"NO_COLOR": "1"}, False, False),
        ("auto", {"NO_COLOR": ""}, True, False),
        ("auto", {"FORCE_COLOR": "1"}, True, True),
        ("auto", {"FORCE_COLOR": "0"}, True, False),
        ("auto", {"CLICOLOR_FORCE": "1", "TERM": "dumb"}, True, True),
        ("auto", {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False, False),
        ("auto", {"TERM": "dumb"}, False, False),
        ("always", {"NO_COLOR": "1"}, True, True),
        ("never", {"FORCE_COLOR": "1"}, False, False),
    ],
)
def test_colour_follows_the_flag_then_the_environment_then_the_stream(
    choice, environ, terminal, pipe
):
    assert wants_color(choice, Terminal(), environ) is terminal
    assert wants_color(choice, io.StringIO(), environ) is pipe
    assert wants_color(choice, None, environ) is pipe


def test_the_writer_writes_in_order():
    stream = io.StringIO()
    writer = Writer()
    for number in range(3):
        writer.write(stream, lambda number=number: f"{number}\n")

    assert writer.close(5)
    assert stream.getvalue() == "0\n1\n2\n"


def test_the_writer_writes_nowhere_if_there_is_no_stream():
    writer = Writer()
    future = writer.write(None, lambda: "lost")

    assert future.result(5) is None
    assert writer.close(5)


def test_the_writer_hands_on_that_nobody_reads():
    class Broken(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    writer = Writer()
    future = writer.write(Broken(), lambda: "lost")

    with pytest.raises(BrokenPipeError):
        future.result(5)
    assert writer.close(5)


def test_the_writer_leaves_out_what_nobody_waits_for_any_more():
    stream, release = io.StringIO(), threading.Event()
    writer = Writer()
    writer.write(stream, lambda: release.wait(5) and "first\n")
    cancelled = writer.write(stream, lambda: "second\n").cancel()
    release.set()

    assert writer.close(5)
    assert cancelled
    assert stream.getvalue() == "first\n"


def test_the_writer_gives_up_on_a_stream_that_does_not_take_anything():
    release = threading.Event()

    class Stuck(io.StringIO):
        def write(self, text):
            release.wait(5)
            return len(text)

    writer = Writer()
    writer.write(Stuck(), lambda: "lost")

    assert not writer.close(0.01)
    release.set()
    assert writer.close(5)
