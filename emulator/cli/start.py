"""``qemu start`` and ``qemu dev``: the emulator in the foreground.

Decides what is printed when, and how the process ends. The first Ctrl-C lets
deliveries under way finish, the second stops at once; a closed terminal or a broken
pipe ends it without a word. Everything is written from a thread of its own, so that
a terminal that doesn't read stops neither a delivery nor the end of the process.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from emulator.cli import HelpfulCommand
from emulator.cli.banner import banner
from emulator.cli.client import ask_health
from emulator.cli.configuration import Configuration, configuration_of
from emulator.cli.declarations import undeclared_groups
from emulator.cli.exit_codes import CliError, ExitCode
from emulator.cli.notices import SideLines, Warnings
from emulator.cli.options import start_options
from emulator.cli.output import Writer, plural, wants_color
from emulator.cli.process import (
    Stop,
    cannot_write,
    collector_paused,
    configure_logging,
    give_up_if_broken,
    heed_reader,
    heed_signals,
    is_unwritable,
    say_descriptors_are_out,
    spare_the_collector,
    watch_logger,
)
from emulator.cli.screen import Screen
from emulator.cli.state import cannot_keep
from emulator.errors import JournalError
from emulator.lines import Style, printable

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future

    from emulator.emulator import Emulator
    from emulator.settings import Settings

__all__ = ["DevCommand", "cannot_listen", "dev", "start"]

_STARTED_S = time.perf_counter()

_DRAIN_S = 5.0
"""How long deliveries under way may take after the first Ctrl-C."""

_FLUSH_S = 0.5
"""How long the end waits for a terminal that doesn't read: first for what is left of
the log, then for the last words.
"""

_PARENT_POLL_S = 0.5

_IS_WINDOWS = os.name == "nt"


class DevCommand(HelpfulCommand):
    """``qemu dev``, with the single-dash options of the vendor's server (ENV-10)."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Rewrite ``-port N`` and its like, up to ``--``, and parse the rest."""
        end = args.index("--") if "--" in args else len(args)
        vendor = ("-port", "-log-port", "-quota")
        rewritten = [
            f"-{arg}" if arg.partition("=")[0] in vendor else arg for arg in args[:end]
        ]
        return super().parse_args(ctx, rewritten + args[end:])


def cannot_listen(error: OSError, settings: Settings, command: str) -> CliError:
    """Explain why an address can't be listened on, and say what to do.

    ``command`` is what was typed, such as ``qemu dev``.
    """
    import errno
    import socket

    # The address may be taken on ::1 alone: then the error names it.
    host = str(error.filename or "").rpartition(":")[0] or settings.host
    address = f"{f'[{host}]' if ':' in host else host}:{settings.port}"
    elsewhere = f"start on another port: {command} --port {_next_port(settings.port)}"
    advice = ["Listen on an address of this machine, such as 127.0.0.1."]
    if isinstance(error, socket.gaierror):
        fact = f"unknown host name: {printable(settings.host)}"
    elif error.errno == errno.EADDRINUSE:
        fact = f"address already in use: {address}"
        health = ask_health(f"http://{address}", timeout_s=1.0)
        advice = ["Another program is listening there.", f"Stop it, or {elsewhere}"]
        if health is not None:
            who = f"Another qemu {health['version']} is serving there"
            pending = plural(health["pending"], "message")
            advice = [
                f"{who} ({pending} pending).",
                f"Use it (qemu env), or {elsewhere}",
            ]
    elif error.errno == errno.EADDRNOTAVAIL:
        fact = f"not an address of this machine: {printable(host)}"
    elif error.errno in (errno.EACCES, errno.EPERM):
        fact = f"not allowed to listen on {address}"
        advice = [f"Ports below 1024 need privileges: {command} --port 8080"]
    else:
        fact = f"can't listen on {address}: {error.strerror or error}"
    return CliError(fact, *advice, code=ExitCode.ADDRESS_IN_USE)


def _next_port(port: int) -> int:
    return port + 1 if port < 65535 else 0


async def _serve(
    configuration: Configuration,
    screen: Screen,
    *,
    command: str,
    drains: frozenset[Stop],
    parent_pid: int | None,
    shows_requests: bool,
) -> ExitCode:
    """Run an emulator until something stops it."""
    import asyncio

    asked: asyncio.Queue[Stop] = asyncio.Queue()
    heed_signals(asked.put_nowait)
    say_descriptors_are_out()
    # Slow to import: a signal is heeded even now.
    from emulator.cli.backlog import Backlog
    from emulator.emulator import Emulator

    emulator = Emulator(configuration.settings)
    beside = _watch_web(screen, emulator, shows_requests=shows_requests)
    backlog = Backlog(emulator.tenants, configuration.settings)
    subscription = emulator.feed.subscribe()
    try:
        await emulator.start()
    except OSError as error:
        raise cannot_listen(error, configuration.settings, command) from error
    except JournalError as error:
        raise cannot_keep(error) from error
    heed_reader(screen.main_stream, asked.put_nowait)
    announcement = _announce(screen, configuration, emulator)
    spare_the_collector()

    failures: list[OSError] = []

    async def print_all(follow: Callable[[], Awaitable[None]]) -> None:
        try:
            await asyncio.wrap_future(announcement)
            await follow()
        except OSError as error:
            if is_unwritable(error):
                failures.append(error)
            asked.put_nowait(Stop.UNREAD)

    async def watch_parent() -> None:
        while os.getppid() == parent_pid:  # noqa: ASYNC110 (no event tells)
            await asyncio.sleep(_PARENT_POLL_S)
        asked.put_nowait(Stop.ORPHANED)

    printed = [partial(screen.follow, subscription, backlog.stir)]
    printed += [partial(screen.follow_lines, lines) for lines in beside]
    printing = [asyncio.create_task(print_all(each)) for each in printed]
    watching = []
    if not screen.is_quiet:
        watching.append(asyncio.create_task(backlog.watch(screen.say)))
    if parent_pid is not None:
        watching.append(asyncio.create_task(watch_parent()))
    stop = await asked.get()
    for task in watching:
        task.cancel()
    drain_s = _DRAIN_S if stop in drains else 0.0
    code = await _stop(emulator, screen, asked, stop, drain_s=drain_s)
    if code is ExitCode.INTERRUPTED:
        return code
    # The feed has ended: what is left of it, and of the requests, can still be read.
    for lines in beside:
        lines.close()
    await asyncio.wait(printing, timeout=_FLUSH_S)
    if failures:
        raise cannot_write(failures[0])
    if emulator.pending:
        db = configuration.settings.db
        fate = "discarded" if db is None else f"kept in {printable(db)}"
        screen.say(f"{plural(emulator.pending, 'message')} pending, {fate}")
    screen.tell(type="stopped")
    return code


def _watch_web(
    screen: Screen, emulator: Emulator, *, shows_requests: bool
) -> list[SideLines]:
    """Let what the web layer logs become lines beside the log."""
    from emulator.web.ignored import IGNORED_LOGGER
    from emulator.web.request_log import REFUSED_LOGGER, REQUEST_LOGGER

    if screen.is_quiet:
        return []
    now_ms = emulator.clock.now_ms
    warnings = Warnings(partial(screen.line_beside, color="yellow"), now_ms)
    watch_logger(REFUSED_LOGGER, warnings.note)
    watch_logger(IGNORED_LOGGER, warnings.note)
    if not shows_requests:
        return [warnings.lines]
    requests = SideLines()
    watch_logger(
        REQUEST_LOGGER,
        lambda record: requests.put(screen.line_beside(now_ms(), record.getMessage())),
    )
    return [warnings.lines, requests]


def _announce(
    screen: Screen, configuration: Configuration, emulator: Emulator
) -> Future[None]:
    ready_ms = round((time.perf_counter() - _STARTED_S) * 1000)
    url, keys = emulator.url, emulator.keys
    said = screen.say(
        banner(configuration, url, ready_ms=ready_ms, found=emulator.found, keys=keys)
    )
    told = screen.tell(
        type="ready",
        url=url,
        token=configuration.settings.users[0].token,
        currentSigningKey=keys.current,
        nextSigningKey=keys.next,
        pid=os.getpid(),
    )
    return told if screen.json_lines else said


async def _stop(
    emulator: Emulator,
    screen: Screen,
    asked: asyncio.Queue[Stop],
    stop: Stop,
    *,
    drain_s: float,
) -> ExitCode:
    """Stop an emulator; at once if asked again."""
    import asyncio

    in_flight = emulator.in_flight
    if stop is Stop.INTERRUPT and screen.is_terminal:
        screen.say("")  # ends the line on which the terminal shows ^C
    if in_flight and drain_s:
        deliveries = plural(in_flight, "delivery")
        screen.say(f"stopping: {deliveries} in flight (Ctrl-C again to stop now)")
    screen.tell(type="stopping", inFlight=in_flight, pending=emulator.pending)

    stopping = asyncio.create_task(emulator.stop(drain_s=drain_s))
    again = asyncio.create_task(asked.get())
    await asyncio.wait((stopping, again), return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():
        emulator.abort()
        if again.result() in (Stop.INTERRUPT, Stop.TERMINATE):
            await asyncio.wait((stopping,), timeout=_FLUSH_S)
            return ExitCode.INTERRUPTED
    await stopping
    again.cancel()
    return ExitCode.OK


@click.pass_context
@collector_paused()
def _run(ctx: click.Context, /, **options: Any) -> None:
    is_dev = ctx.info_name == "dev"
    parent_pid = os.getppid() if options.get("stop_with_parent") else None
    if options["quiet"] and options["verbose"]:
        raise click.UsageError("--quiet and --verbose exclude each other")
    if parent_pid is not None and _IS_WINDOWS:
        raise click.UsageError("--stop-with-parent works on POSIX systems only")
    log_port = options.get("log_port")
    if log_port is not None and not options["quiet"]:
        click.echo(
            f"--log-port is understood, but nothing listens on port {log_port}: "
            "the log is on the main port",
            err=True,
        )
    configuration = configuration_of(ctx)
    if not options["quiet"]:
        for schedule_id, group in undeclared_groups(configuration.settings.declared):
            click.echo(
                f"schedule {schedule_id} is for the URL group {group}, which the "
                "settings file doesn't declare: it fails until there is one",
                err=True,
            )
    configure_logging(options["verbose"], quiet=options["quiet"])
    people = sys.stderr if options["json_lines"] else sys.stdout
    style = Style(
        color=wants_color(options["color"], people, os.environ),
        full_ids=options["full_ids"],
    )
    writer = Writer()
    screen = Screen(
        writer,
        configuration.settings,
        style=style,
        stdout=sys.stdout,
        stderr=sys.stderr,
        json_lines=options["json_lines"],
        quiet=options["quiet"],
        verbose=bool(options["verbose"]),
    )
    import asyncio

    try:
        code = asyncio.run(
            _serve(
                configuration,
                screen,
                command=ctx.command_path,
                drains=frozenset(
                    {Stop.INTERRUPT} if is_dev else {Stop.INTERRUPT, Stop.TERMINATE}
                ),
                parent_pid=parent_pid,
                shows_requests=bool(options["verbose"]),
            )
        )
    finally:
        is_written = writer.close(_FLUSH_S)
        if is_written:
            for stream in (sys.stdout, sys.stderr):
                give_up_if_broken(stream)
    if not is_written:
        os._exit(code)  # the interpreter would wait for the stream as well
    ctx.exit(code)


start = HelpfulCommand(
    "start",
    help="Run a local QStash in the foreground.",
    examples=(
        "qemu start",
        "qemu start --port 8081 --json",
        "qemu start --route https://app.example=http://127.0.0.1:3000",
    ),
    params=start_options(),
    callback=_run,
)

dev = DevCommand(
    "dev",
    help=(
        "Run a local QStash as a child process: qemu start, with the options of the "
        "vendor's dev server (-port, -log-port, -quota), and SIGTERM stops at once."
    ),
    examples=(
        "qemu dev",
        "qemu dev -port 8081 -quota pro",
        "qemu dev --port 8081 --stop-with-parent",
    ),
    params=start_options(is_dev=True),
    callback=_run,
)
