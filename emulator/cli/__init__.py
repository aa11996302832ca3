"""The command line: ``qemu`` and its sub-commands.

Nothing but click is imported here; a command's module is imported when the command
is asked for, and what that needs only inside its functions, so that ``--version``,
``--help`` and completion answer at once.

What commands have in common is decided here: how their help looks, and how an error
of ours ends the process.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, NoReturn

import click

from emulator.cli.exit_codes import CliError, ExitCode
from emulator.errors import SettingsError

__all__ = ["HelpfulCommand", "QemuGroup", "cli", "completion", "main"]

_MODULES = {
    "start": "start",
    "dev": "start",
    "tunnel": "tunnel",
    "relay": "relay",
    "env": "env",
    "publish": "publish",
    "logs": "logs",
    "verify": "verify",
    "export": "transfer",
    "import": "transfer",
    "doctor": "doctor",
    "config": "config",
}
"""Which module of this package has which command; in the order of ``--help``."""

_FUNCTIONS = {"import": "import_"}
"""What commands are there whose names Python keeps for itself."""


class HelpfulCommand(click.Command):
    """A command whose help shows examples first and rare options last."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **attrs: Any) -> None:
        super().__init__(*args, **attrs)
        self.examples = tuple(examples)

    def format_help_text(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """Write what the command does, and its examples."""
        super().format_help_text(ctx, formatter)
        with formatter.section("Examples"):
            for example in self.examples:
                formatter.write(f"{'':{formatter.current_indent}}{example}\n")

    def format_options(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """Write the options; those that are marked so under "Advanced"."""
        for title, is_advanced in (("Options", False), ("Advanced", True)):
            records = [
                param.get_help_record(ctx)
                for param in self.get_params(ctx)
                if isinstance(param, click.Option)
                and getattr(param, "advanced", False) is is_advanced
            ]
            shown_records = [record for record in records if record is not None]
            if shown_records:
                with formatter.section(title):
                    formatter.write_dl(shown_records)


class QemuGroup(HelpfulCommand, click.Group):
    """The command ``qemu``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the sub-commands, the main ones first."""
        return [*_MODULES, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a sub-command."""
        if cmd_name not in _MODULES:
            return super().get_command(ctx, cmd_name)
        module = import_module(f"emulator.cli.{_MODULES[cmd_name]}")
        command = getattr(module, _FUNCTIONS.get(cmd_name, cmd_name))
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the sub-command; for one that there isn't, suggest the nearest."""
        name = args[0]
        if self.get_command(ctx, name) is None and name[:1].isalnum():
            from emulator.cli.suggestions import did_you_mean

            hint = did_you_mean(name, self.list_commands(ctx))
            ctx.fail(f"no such command: {name!r}{hint and f'; {hint}'}")
        return super().resolve_command(ctx, args)

    def format_options(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """Write the options and the sub-commands."""
        HelpfulCommand.format_options(self, ctx, formatter)
        self.format_commands(ctx, formatter)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a sub-command; an error of ours becomes one line and an exit code."""
        try:
            return super().invoke(ctx)
        except SettingsError as error:
            from emulator.lines import printable

            raise CliError(printable(str(error)), code=ExitCode.SETTINGS) from error
        except KeyboardInterrupt:
            ctx.exit(ExitCode.INTERRUPTED)


def _show_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from emulator import __version__

        click.echo(f"qemu {__version__}")
        ctx.exit()


def _help_unless_invoked() -> None:
    ctx = click.get_current_context()
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(ExitCode.USAGE)


cli = QemuGroup(
    "qemu",
    help="A local QStash: publish, deliver, retry and look at messages offline.",
    examples=(
        "qemu start",
        """qemu publish http://localhost:3000/api/hook -d '{"hello":"world"}'""",
        "qemu logs --follow --state FAILED",
    ),
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_show_version,
            help="Show the version and exit.",
        )
    ],
    callback=_help_unless_invoked,
    invoke_without_command=True,
    subcommand_metavar="COMMAND [ARGS]...",
)


@cli.command(
    "completion",
    cls=HelpfulCommand,
    help="Print the script that makes a shell complete qemu's commands.",
    examples=(
        'eval "$(qemu completion bash)"',
        'eval "$(qemu completion zsh)"',
        "qemu completion fish | source",
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print click's script."""
    from click.shell_completion import get_completion_class

    complete = get_completion_class(shell)
    assert complete is not None
    click.echo(complete(cli, {}, "qemu", "_QEMU_COMPLETE").source())


def main() -> NoReturn:
    """Run the command line and end the process."""
    try:
        cli.main(prog_name="qemu")
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
    except OSError as error:
        from emulator.cli.process import cannot_write, give_up_if_broken, is_unwritable

        if not is_unwritable(error):
            raise
        give_up_if_broken(sys.stdout)
        failure = cannot_write(error)
        with suppress(OSError):
            failure.show()
        give_up_if_broken(sys.stderr)
        sys.exit(failure.exit_code)
