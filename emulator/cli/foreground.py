"""A tunnel or a relay in the foreground: how it runs, and how it ends.

As with ``qemu start``: the first Ctrl-C or SIGTERM lets what is under way finish, the
second ends at once; a closed terminal or a broken pipe ends it without a word. What
runs, and what is said of it, is the command's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

import click

from emulator.cli.exit_codes import ExitCode
from emulator.cli.output import Writer, wants_color
from emulator.cli.process import (
    Stop,
    cannot_write,
    configure_logging,
    give_up_if_broken,
    heed_reader,
    heed_signals,
    is_unwritable,
)
from emulator.lines import Style

if TYPE_CHECKING:
    import asyncio

    from emulator.cli.event_screen import EventScreen

__all__ = ["Foreground", "run_in_foreground"]

_PATIENCE_S = 0.2
"""How long an end may take before a word about it."""

_ABORT_S = 0.5
"""How long the end may take that comes at once."""

_FLUSH_S = 0.5
"""How long the end waits for a terminal that doesn't read: first for the last lines,
then for the last words.
"""


class Foreground:
    """Who asks a running command to stop. Made in the running event loop."""

    def __init__(self, screen: EventScreen) -> None:
        import asyncio

        self.screen = screen
        self._asked: asyncio.Queue[Stop] = asyncio.Queue()
        self._failures: list[OSError] = []
        heed_signals(self._asked.put_nowait)
        heed_reader(screen.main_stream, self._asked.put_nowait)
        self._printing = asyncio.create_task(self._print())

    async def _print(self) -> None:
        try:
            await self.screen.follow()
        except OSError as error:
            if is_unwritable(error):
                self._failures.append(error)
            self._asked.put_nowait(Stop.UNREAD)

    async def until_stopped(
        self, work: Coroutine[Any, Any, object] | None = None
    ) -> Stop:
        """Wait until somebody asks to stop; raise what the work raises before.

        The work has no other end; it is cancelled at a stop.
        """
        import asyncio

        if work is None:
            return await self._asked.get()
        working = asyncio.create_task(work)
        asking = asyncio.create_task(self._asked.get())
        try:
            await asyncio.wait((working, asking), return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                await working
            return await asking
        finally:
            await _cancelled(working)
            await _cancelled(asking)

    async def end(
        self, stop: Stop, finish: Callable[[float], Awaitable[None]], *, drain_s: float
    ) -> ExitCode:
        """Finish what is under way; at once if asked again.

        ``finish`` ends whatever runs, and waits for it for so many seconds at most.
        """
        import asyncio

        screen = self.screen
        if stop is Stop.INTERRUPT and screen.is_terminal:
            screen.say("")  # ends the line on which the terminal shows ^C
        screen.tell(type="stopping")
        is_patient = stop in (Stop.INTERRUPT, Stop.TERMINATE)

        async def finished() -> None:
            await finish(drain_s if is_patient else 0.0)

        finishing = asyncio.create_task(finished())
        again = asyncio.create_task(self._asked.get())
        both = (finishing, again)
        first = asyncio.FIRST_COMPLETED
        await asyncio.wait(both, timeout=_PATIENCE_S, return_when=first)
        if not finishing.done() and not again.done():
            screen.say("stopping: requests are under way (Ctrl-C again to stop now)")
            await asyncio.wait(both, return_when=first)
        is_hurried = not finishing.done()
        if is_hurried:
            await _cancelled(finishing)
            await asyncio.wait((asyncio.ensure_future(finish(0.0)),), timeout=_ABORT_S)
            if again.result() in (Stop.INTERRUPT, Stop.TERMINATE):
                return ExitCode.INTERRUPTED
        else:
            await finishing
        await _cancelled(again)
        await self.last_lines()
        screen.tell(type="stopped")
        return ExitCode.OK

    async def last_lines(self) -> None:
        """Print what is left. Raises ``CliError`` if it can't be written."""
        import asyncio

        self.screen.close()
        await asyncio.wait((self._printing,), timeout=_FLUSH_S)
        if self._failures:
            raise cannot_write(self._failures[0])


async def _cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel a task unless it is done, wait for its end, and take note of it."""
    import asyncio

    task.cancel()
    await asyncio.wait((task,))
    if not task.cancelled():
        task.exception()  # so that nobody is told that nobody has asked


def run_in_foreground(
    ctx: click.Context,
    options: Mapping[str, Any],
    main: Callable[[Callable[..., EventScreen]], Coroutine[Any, Any, ExitCode]],
) -> None:
    """Run a command until it ends, and end the process.

    ``options`` are those of ``link_options.output_options``, and ``full_ids``.
    ``main`` is given what makes its screen, but for ``line``, ``event`` and ``what``.
    """
    from functools import partial

    if options["quiet"] and options["verbose"]:
        raise click.UsageError("--quiet and --verbose exclude each other")
    configure_logging(options["verbose"], quiet=options["quiet"])
    people = sys.stderr if options["json_lines"] else sys.stdout
    style = Style(
        color=wants_color(options["color"], people, os.environ),
        full_ids=options.get("full_ids", False),
    )
    import asyncio

    from emulator.cli.event_screen import EventScreen

    writer = Writer()
    make_screen = partial(
        EventScreen,
        writer,
        style=style,
        stdout=sys.stdout,
        stderr=sys.stderr,
        json_lines=options["json_lines"],
        quiet=options["quiet"],
    )
    code = ExitCode.OK
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            code = runner.run(main(make_screen))
    finally:
        is_written = writer.close(_FLUSH_S)
        if is_written:
            for stream in (sys.stdout, sys.stderr):
                give_up_if_broken(stream)
    if not is_written:
        os._exit(code)  # the interpreter would wait for the stream as well
    ctx.exit(code)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's where that is installed: half as much again per second."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
