"""How a command in the foreground runs and ends, whatever it runs."""

import asyncio
import io
import os
import sys
import threading

import click
import pytest

from emulator.cli import foreground
from emulator.cli.event_screen import EventScreen
from emulator.cli.exit_codes import ExitCode
from emulator.cli.foreground import Foreground, run_in_foreground
from emulator.cli.output import Writer
from emulator.cli.process import Stop
from emulator.lines import Style

OPTIONS = {"quiet": False, "verbose": 0, "json_lines": False, "color": "auto"}


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def nobody_asks(monkeypatch):
    monkeypatch.setattr(foreground, "heed_signals", lambda ask: None)
    monkeypatch.setattr(foreground, "heed_reader", lambda *args: None)
    monkeypatch.setattr(foreground, "configure_logging", lambda *args, **kw: None)


def a_screen(writer, stdout):
    return EventScreen(
        writer,
        line=str,
        event=dict,
        what="line",
        style=Style(),
        stdout=stdout,
        stderr=None,
    )


async def nothing(*args):
    pass


@pytest.mark.parametrize(
    ("stop", "written"), [(Stop.INTERRUPT, "\n"), (Stop.TERMINATE, "")]
)
async def test_the_line_on_which_a_terminal_shows_ctrl_c_is_ended(stop, written):
    stdout, writer = Terminal(), Writer()
    code = await Foreground(a_screen(writer, stdout)).end(stop, nothing, drain_s=1)

    assert code is ExitCode.OK
    assert writer.close(5)
    assert stdout.getvalue() == written


async def test_what_the_work_raises_is_raised():
    writer = Writer()

    async def fail():
        raise LookupError

    with pytest.raises(LookupError):
        await Foreground(a_screen(writer, None)).until_stopped(fail())
    assert writer.close(5)


async def test_work_is_cancelled_at_a_stop_whatever_it_raises_then():
    writer, ends = Writer(), []

    async def work():
        try:
            await asyncio.Event().wait()
        finally:
            ends.append(True)
            raise LookupError

    running = Foreground(a_screen(writer, None))
    asyncio.get_running_loop().call_soon(running._asked.put_nowait, Stop.TERMINATE)

    assert await running.until_stopped(work()) is Stop.TERMINATE
    assert ends == [True]
    assert writer.close(5)


def run(main):
    with click.Context(click.Command("x")) as ctx:
        try:
            run_in_foreground(ctx, OPTIONS, main)
        except click.exceptions.Exit as ending:
            return ending.exit_code


def test_a_terminal_that_takes_nothing_does_not_keep_the_process(monkeypatch):
    release, exits = threading.Event(), []

    def stuck(text, file, **options):
        release.wait(5)

    def leave(code):
        exits.append(code)
        raise SystemExit(code)

    async def main(make_screen):
        make_screen(line=str, event=dict, what="line").say("hello")
        return ExitCode.OK

    monkeypatch.setattr("emulator.cli.output.click.echo", stuck)
    monkeypatch.setattr(foreground, "_FLUSH_S", 0.01)
    monkeypatch.setattr(os, "_exit", leave)
    with pytest.raises(SystemExit):
        run(main)
    release.set()

    assert exits == [0]


@pytest.mark.parametrize("has_uvloop", [True, False])
def test_uvloop_is_used_where_it_is_installed(monkeypatch, has_uvloop):
    if has_uvloop:
        pytest.importorskip("uvloop")
    else:
        monkeypatch.setitem(sys.modules, "uvloop", None)
    loops = []

    async def main(make_screen):
        loops.append(type(asyncio.get_running_loop()).__module__)
        return ExitCode.RELAY

    assert run(main) == 6
    assert loops[0].startswith("uvloop") is has_uvloop
