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
from functools import partial
from typing import IO, TYPE_CHECKING, Any

import click

from emulator.cli import HelpfulCommand, start_options
from emulator.cli.config import Configuration, configuration_of, shown_path
from emulator.cli.doctor import Remedies
from emulator.cli.exit_codes import (
    ExitCode,
    Stop,
    cannot_listen,
    configure_logging,
    give_up_if_broken,
    heed_signals,
)
from emulator.cli.output import (
    Style,
    Writer,
    format_line,
    line_of_entry,
    plural,
    printable,
    wants_color,
)
from emulator.cli.tools import format_env

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future

    from emulator.emulator import Emulator
    from emulator.engine.feed import FeedItem, Subscription
    from emulator.settings import Settings

__all__ = ["DevCommand", "Screen", "banner", "dev", "start"]

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


class Screen:
    """What ``qemu start`` prints: for people, and with ``--json`` for programs."""

    def __init__(
        self,
        writer: Writer,
        settings: Settings,
        *,
        style: Style,
        stdout: IO[str] | None,
        stderr: IO[str] | None,
        json_lines: bool = False,
        quiet: bool = False,
        verbose: bool = False,
    ) -> None:
        self._writer = writer
        self._style = style
        people = stderr if json_lines else stdout
        self._people = None if quiet else people
        self._programs = stdout if json_lines else None
        self.json_lines = json_lines
        self._verbose = verbose
        self._remedies = Remedies(settings.routes)

    @property
    def is_terminal(self) -> bool:
        """Whether people read at a terminal."""
        return self._people is not None and self._people.isatty()

    def say(self, text: str) -> Future[None]:
        """Print a line for people."""
        return self._writer.write(self._people, lambda: text + "\n")

    def tell(self, **event: Any) -> Future[None]:
        """Print a line for programs."""
        return self._writer.write(self._programs, lambda: _json(event))

    async def follow(self, subscription: Subscription) -> None:
        """Print log entries until the feed ends; raise ``OSError`` if nobody reads."""
        import asyncio

        async for items in subscription:
            dropped = subscription.take_dropped()
            for stream, render in (
                (self._programs, self._render_json),
                (self._people, self._render_lines),
            ):
                if stream is not None:
                    job = self._writer.write(stream, partial(render, items, dropped))
                    await asyncio.wrap_future(job)

    def _render_json(self, items: list[FeedItem], dropped: int) -> str:
        from emulator.core import wire

        gap = _json({"type": "gap", "dropped": dropped}) if dropped else ""
        return gap + "".join(
            _json({"type": "log", **wire.log_entry(item.entry), "user": item.user})
            for item in items
        )

    def _render_lines(self, items: list[FeedItem], dropped: int) -> str:
        lines = []
        if dropped:
            lines.append(
                f"… {plural(dropped, 'line')} not shown: the terminal was too slow"
            )
        for item in items:
            line = line_of_entry(item.entry)
            if not self.json_lines and (line.state != "ACTIVE" or self._verbose):
                lines.append(format_line(line, self._style))
            remedy = self._remedies.remedy(line)
            if remedy:
                lines.append(remedy)
        return "".join(line + "\n" for line in lines)


def _json(event: dict[str, Any]) -> str:
    import json

    return json.dumps(event, separators=(",", ":")) + "\n"


def banner(configuration: Configuration, url: str, *, ready_ms: int) -> str:
    """Write what stands above the log: what runs, where, how, and the env lines."""
    from emulator import __version__

    settings = configuration.settings
    facts = [("API", url), ("State", "in memory")]
    if settings.host not in ("127.0.0.1", "::1", "localhost"):
        facts.append(("Beware", "other machines can reach this address"))
    if configuration.file is not None:
        facts.append(("Config", printable(shown_path(configuration.file))))
    if configuration.own_credentials:
        facts += [
            ("Keys", f"from {', '.join(configuration.own_credentials)}"),
            ("", "QSTASH_DEV=true finds only a server with the published ones"),
        ]
    clock = "virtual: it stands still until it is advanced"
    if settings.clock == "real":
        clock = "" if settings.speed == 1 else f"{settings.speed:g} x real time"
    if settings.start_time_ms is not None:
        clock = f"{clock or 'real'}; started at {_instant(settings.start_time_ms)}"
    if clock:
        facts.append(("Clock", clock))
    for index, route in enumerate(settings.routes):
        facts.append(("" if index else "Routes", f"{route.origin} -> {route.target}"))
    lines = [
        "",
        f"  qemu {__version__}   a local QStash, ready in {ready_ms} ms",
        "",
        *(f"  {label:<8} {value}" for label, value in facts),
        "",
        format_env(url, settings.users[0]),
        "",
        f"qemu is running at {url} (Ctrl-C to stop)",
        "",
    ]
    return "\n".join(lines)


def _instant(time_ms: int) -> str:
    from datetime import UTC, datetime

    try:
        moment = datetime.fromtimestamp(time_ms // 1000, tz=UTC)
    except (ValueError, OverflowError, OSError):
        return f"{time_ms} ms"
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


async def _serve(
    configuration: Configuration,
    screen: Screen,
    *,
    command: str,
    drains: frozenset[Stop],
    parent_pid: int | None,
) -> ExitCode:
    """Run an emulator until something stops it."""
    import asyncio

    asked: asyncio.Queue[Stop] = asyncio.Queue()
    heed_signals(asked.put_nowait)
    # Slow to import: a signal is heeded even now.
    from emulator.emulator import Emulator

    emulator = Emulator(configuration.settings)
    subscription = emulator.feed.subscribe()
    try:
        await emulator.start()
    except OSError as error:
        raise cannot_listen(error, configuration.settings, command) from error
    announcement = _announce(screen, configuration, emulator.url)

    async def print_all() -> None:
        try:
            await asyncio.wrap_future(announcement)
            await screen.follow(subscription)
        except OSError:
            asked.put_nowait(Stop.UNREAD)

    async def watch_parent() -> None:
        while os.getppid() == parent_pid:  # noqa: ASYNC110 (no event tells)
            await asyncio.sleep(_PARENT_POLL_S)
        asked.put_nowait(Stop.ORPHANED)

    printing = asyncio.create_task(print_all())
    watching = asyncio.create_task(watch_parent()) if parent_pid is not None else None
    stop = await asked.get()
    if watching is not None:
        watching.cancel()
    drain_s = _DRAIN_S if stop in drains else 0.0
    return await _stop(emulator, screen, asked, printing, stop, drain_s=drain_s)


def _announce(screen: Screen, configuration: Configuration, url: str) -> Future[None]:
    ready_ms = round((time.perf_counter() - _STARTED_S) * 1000)
    user = configuration.settings.users[0]
    said = screen.say(banner(configuration, url, ready_ms=ready_ms))
    told = screen.tell(
        type="ready",
        url=url,
        token=user.token,
        currentSigningKey=user.keys.current,
        nextSigningKey=user.keys.next,
        pid=os.getpid(),
    )
    return told if screen.json_lines else said


async def _stop(
    emulator: Emulator,
    screen: Screen,
    asked: asyncio.Queue[Stop],
    printing: asyncio.Task[None],
    stop: Stop,
    *,
    drain_s: float,
) -> ExitCode:
    """Stop an emulator, and say what remains; at once if asked again."""
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
    # The feed has ended: what is left of it can still be read.
    await asyncio.wait((printing,), timeout=_FLUSH_S)
    if emulator.pending:
        screen.say(f"{plural(emulator.pending, 'message')} pending, discarded")
    screen.tell(type="stopped")
    return ExitCode.OK


@click.pass_context
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
            )
        )
    finally:
        is_written = writer.close(_FLUSH_S)
    if not is_written:
        os._exit(code)  # the interpreter would wait for the stream as well
    for stream in (sys.stdout, sys.stderr):
        give_up_if_broken(stream)
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
