"""Exit codes, and the errors that carry one.

Every way in which a command of ours can end is a member here; the reference page
lists the same ones.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from emulator.settings import Settings

__all__ = ["CliError", "ExitCode", "cannot_listen"]


class ExitCode(IntEnum):
    """What a command's end means to the shell."""

    OK = 0
    """Done, or stopped by the first Ctrl-C or by SIGTERM."""

    FAILURE = 1
    """Anything not listed here; ``qemu doctor`` found a problem."""

    USAGE = 2
    """A bad command line. click's own."""

    SETTINGS = 3
    """A bad value in the settings file or in the environment."""

    ADDRESS_IN_USE = 4
    """Can't listen: the address is taken, forbidden, or not this machine's."""

    INTERRUPTED = 130
    """Stopped at once, by the second Ctrl-C."""


class CliError(click.ClickException):
    """Ends a command: one line of fact, then lines that say what to do."""

    def __init__(
        self, fact: str, *advice: str, code: ExitCode = ExitCode.FAILURE
    ) -> None:
        super().__init__("\n  ".join((fact, *advice)))
        # click declares it for the class; ours differs by error.
        self.exit_code = int(code)  # type: ignore[misc]


def cannot_listen(error: OSError, settings: Settings, command: str) -> CliError:
    """Explain why an address can't be listened on, and say what to do."""
    import errno
    import socket

    from emulator.cli.output import plural, printable
    from emulator.cli.tools import ask_health

    # The address is taken on 127.0.0.1, or on ::1 alone: the error knows.
    host = str(error.filename or "").rpartition(":")[0] or settings.host
    address = f"{f'[{host}]' if ':' in host else host}:{settings.port}"
    other_port = settings.port + 1 if settings.port < 65535 else 0
    elsewhere = f"start on another port: {command} --port {other_port}"
    advice = ["Listen on an address of this machine, such as 127.0.0.1."]
    if isinstance(error, socket.gaierror):
        fact = f"unknown host name: {printable(settings.host)}"
    elif error.errno == errno.EADDRINUSE:
        fact = f"address already in use: {address}"
        health = ask_health(f"http://{address}", timeout_s=1.0)
        if health is None:
            advice = ["Another program is listening there."]
            advice.append(f"Stop it, or {elsewhere}")
        else:
            pending = plural(health["pending"], "message")
            advice = [
                f"Another qemu {health['version']} is serving there "
                f"({pending} pending).",
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
