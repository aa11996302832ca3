"""How a command ends: its exit code, and the error that explains it.

Every way in which a command of ours can end is a member of ``ExitCode``; the
reference page lists the same ones.
"""

from __future__ import annotations

from enum import IntEnum

import click

__all__ = ["CliError", "ExitCode"]


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

    JOURNAL = 5
    """Can't open, lock or read the file that keeps the state."""

    RELAY = 6
    """The relay refused the tunnel."""

    INTERRUPTED = 130
    """Stopped at once, by the second Ctrl-C; or by the first, where nothing runs."""


class CliError(click.ClickException):
    """Ends a command: one line of fact, then lines that say what to do."""

    def __init__(
        self, fact: str, *advice: str, code: ExitCode = ExitCode.FAILURE
    ) -> None:
        super().__init__("\n  ".join((fact, *advice)))
        # click declares it for the class; ours differs by error.
        self.exit_code = int(code)  # type: ignore[misc]
