"""``qemu relay`` at work: the relay, what is printed of it, and how it ends."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from emulator.cli.exit_codes import CliError, ExitCode
from emulator.cli.foreground import Foreground
from emulator.cli.process import spare_the_collector
from emulator.cli.relay import mistake, unguarded
from emulator.cli.settings_file import file_of, shown_path
from emulator.cli.tunnel_lines import (
    event_json,
    format_came,
    format_facts,
    format_went,
)
from emulator.lines import printable

if TYPE_CHECKING:
    from emulator.cli.event_screen import EventScreen
    from tunnel.events import RelayEvent, TunnelCame, TunnelWent
    from tunnel.relay import Relay
    from tunnel.settings import RelaySettings

__all__ = ["serve"]

_FIRST_PASSED = 3
"""SD_LISTEN_FDS_START."""


def _facts(
    ctx: click.Context, relay: Relay, passed: socket.socket | None
) -> list[tuple[str, str]]:
    settings = relay.settings
    facts = [
        ("Public", printable(relay.pattern)),
        ("Tunnels", printable(relay.link_url)),
    ]
    if passed is not None:
        where = f"{printable(_host_of(passed))}, port {relay.port}"
        facts.append(("Listens", f"{where}, as the service manager says"))
    elif settings.host not in ("127.0.0.1", "::1", "localhost"):
        facts.append(("Listens", f"{printable(settings.host)}, port {relay.port}"))
    access = "with a token: qemu relay token"
    if not settings.is_guarded:
        access = "anybody on this machine: there is no secret"
    facts.append(("Access", access))
    file = file_of(ctx)
    if file is not None:
        facts.append(("Config", printable(shown_path(file.path))))
    return facts


async def serve(
    ctx: click.Context,
    settings: RelaySettings,
    make_screen: Callable[..., EventScreen],
    *,
    verbose: bool,
) -> ExitCode:
    """Run a relay until something stops it."""
    from tunnel.errors import SettingsRefused
    from tunnel.events import TunnelCame
    from tunnel.relay import Relay

    def line(item: tuple[int, TunnelCame | TunnelWent]) -> str:
        time_ms, event = item
        if isinstance(event, TunnelCame):
            url = f", {printable(event.url[:300])}" if verbose else ""
            return screen.line_beside(time_ms, format_came(event) + url, color="green")
        color = "red" if event.is_final else "yellow"
        return screen.line_beside(time_ms, format_went(event), color=color)

    def note(event: RelayEvent) -> None:
        screen.put((time.time_ns() // 1_000_000, event))

    screen = make_screen(line=line, event=lambda item: event_json(item[1]), what="line")
    foreground = Foreground(screen)
    passed = _passed_socket()
    try:
        relay = Relay(
            settings,
            on_event=None if screen.main_stream is None else note,
            listener=passed,
        )
        await relay.start()
    except SettingsRefused as error:
        if passed is None or error.setting != "host":
            raise mistake(ctx, error) from error
        with passed:
            raise unguarded(_host_of(passed)) from error
    except OSError as error:
        raise _cannot_listen(error, settings, ctx.command_path) from error
    screen.say(f"\n{format_facts(_facts(ctx, relay, passed))}\n")
    screen.say(f"qemu relay is running at {relay.url} (Ctrl-C to stop)\n")
    screen.tell(
        type="ready",
        url=relay.url,
        linkUrl=relay.link_url,
        pattern=relay.pattern,
        pid=os.getpid(),
    )
    spare_the_collector()

    async def finish(drain_s: float) -> None:
        await relay.stop(drain_s=drain_s)

    stop = await foreground.until_stopped()
    return await foreground.end(stop, finish, drain_s=settings.drain_s)


def _passed_socket() -> socket.socket | None:
    """Return the socket that a service manager listens on for us, if there is one.

    As sd_listen_fds(3) says. While the relay starts again, callers wait in it.
    """
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    count = os.environ.get("LISTEN_FDS", "")
    if count != "1":
        raise CliError(
            f"the service manager passes {printable(count) or 'no'} sockets, not one",
            "Give the .socket unit one ListenStream=.",
            code=ExitCode.SETTINGS,
        )
    return socket.socket(fileno=_FIRST_PASSED)


def _host_of(listener: socket.socket) -> str:
    return str(listener.getsockname()[0])


def _cannot_listen(error: OSError, settings: RelaySettings, command: str) -> CliError:
    from emulator.cli.start import cannot_listen
    from emulator.settings import Settings

    address = Settings(host=settings.host, port=settings.port)
    return cannot_listen(error, address, command)
