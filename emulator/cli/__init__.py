"""The command line: ``qemu`` and its sub-commands.

Nothing but click is imported here; a command's module is imported when the command
is asked for, and what that needs only inside its functions, so that ``--version``,
``--help`` and completion answer at once.

What commands have in common is decided here: how their help looks, the options that
make ``Settings``, and how an error of ours ends the process.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

import click

from emulator.cli.config import (
    Configuration,
    InstantType,
    RouteType,
    SettingOption,
    configuration_of,
    use_file,
)
from emulator.cli.exit_codes import CliError, ExitCode
from emulator.errors import SettingsError

if TYPE_CHECKING:
    from emulator.settings import Settings

__all__ = [
    "HelpfulCommand",
    "QemuGroup",
    "cli",
    "completion",
    "default_configuration",
    "main",
    "server_url",
    "setting_options",
    "start_options",
]

_MODULES = {
    "start": "start",
    "dev": "start",
    "env": "tools",
    "publish": "tools",
    "logs": "tools",
    "doctor": "doctor",
}
"""Which module of this package has which command; in the order of ``--help``."""


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
        command = getattr(module, cmd_name)
        assert isinstance(command, click.Command)
        return command

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
            from emulator.cli.output import printable

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


def setting_options(*, is_dev: bool = False) -> list[click.Parameter]:
    """Make the options that decide ``Settings``, and ``--config``.

    ``is_dev`` adds the vendor's variable for the quota (ENV-10).
    """

    def option(name: str, envvar: str, help: str, **attrs: Any) -> SettingOption:
        shown = {"show_default": attrs.get("default") is not None, "show_envvar": True}
        variables = envvar.split()
        return SettingOption(
            name.split(), help=help, envvar=variables, **{**shown, **attrs}
        )

    quota_variables = "QEMU_QUOTA QSTASH_DEV_QUOTA" if is_dev else "QEMU_QUOTA"
    return [
        option("--host", "QEMU_HOST", "The address to listen on.", default="127.0.0.1"),
        option(
            "--port",
            "QEMU_PORT QSTASH_DEV_PORT",
            "The port to listen on; 0 picks any that is free.",
            type=click.IntRange(0, 65535),
            default=8080,
        ),
        option(
            "--route routes",
            "QEMU_ROUTE",
            "Deliver the messages for one origin to another: "
            "https://app.example=http://127.0.0.1:3000. Can be repeated.",
            type=RouteType(),
            multiple=True,
        ),
        option(
            "--config",
            "QEMU_CONFIG",
            "The settings file; else qemu.toml in this directory or above it, up to "
            "the repository's root; else the table tool.qemu of pyproject.toml there.",
            type=click.Path(exists=True, dir_okay=False),
            is_eager=True,
            expose_value=False,
            callback=use_file,
        ),
        option(
            "--quota",
            quota_variables,
            "The plan whose limits apply.",
            type=click.Choice(["free", "payg", "pro"]),
            default="payg",
            advanced=True,
        ),
        option(
            "--strict/--no-strict",
            "QEMU_STRICT",
            "Apply the smallest limit where QStash's own sources disagree.",
            default=False,
            advanced=True,
        ),
        option(
            "--region",
            "QEMU_REGION",
            "What deliveries carry as Upstash-Region.",
            type=click.Choice(["EU-CENTRAL-1", "US-EAST-1"]),
            default="EU-CENTRAL-1",
            advanced=True,
        ),
        option(
            "--clock",
            "QEMU_CLOCK",
            "A virtual clock stands still until it is advanced.",
            type=click.Choice(["real", "virtual"]),
            default="real",
            advanced=True,
        ),
        option(
            "--speed",
            "QEMU_SPEED",
            "How many seconds pass in one real second.",
            type=float,
            default=1.0,
            advanced=True,
        ),
        option(
            "--start-time start_time_ms",
            "QEMU_START_TIME",
            "What the clock shows at the start, as ISO 8601 with a zone or as Unix "
            "milliseconds; else the real time.",
            type=InstantType(),
            advanced=True,
        ),
        option(
            "--seed",
            "QEMU_SEED",
            "Make ids repeatable.",
            type=click.IntRange(0, 2**63 - 1),
            advanced=True,
        ),
    ]


def start_options(*, is_dev: bool = False) -> list[click.Parameter]:
    """Make all options of ``qemu start``, or of ``qemu dev``."""
    options: list[click.Parameter] = [
        *setting_options(is_dev=is_dev),
        click.Option(
            ["--json", "json_lines"],
            is_flag=True,
            help="Print one JSON object per line on stdout; the rest goes to stderr.",
        ),
        click.Option(["-q", "--quiet"], is_flag=True, help="Print errors only."),
        click.Option(
            ["-v", "--verbose"],
            count=True,
            help="Print ACTIVE entries too; -vv: debug logging and tracebacks.",
        ),
        SettingOption(
            ["--color"],
            type=click.Choice(["auto", "always", "never"]),
            default="auto",
            show_default=True,
            envvar="QEMU_COLOR",
            show_envvar=True,
            advanced=True,
            help="When to use colour; auto heeds NO_COLOR and FORCE_COLOR.",
        ),
        SettingOption(
            ["--full-ids/--short-ids"],
            default=False,
            advanced=True,
            help="Print message ids whole.",
        ),
    ]
    if is_dev:
        options += [
            SettingOption(
                ["--log-port"],
                type=click.IntRange(0, 65535),
                envvar="QSTASH_DEV_LOG_PORT",
                show_envvar=True,
                advanced=True,
                help="Understood, but nothing listens there.",
            ),
            SettingOption(
                ["--stop-with-parent"],
                is_flag=True,
                advanced=True,
                help="Stop when the parent process ends. Not on Windows.",
            ),
        ]
    return options


def default_configuration(*args: str) -> Configuration:
    """Return the configuration that ``qemu start`` with these arguments would have.

    Raises ``SettingsError`` or click's ``UsageError``.
    """
    command = click.Command("start", params=setting_options())
    with command.make_context("qemu start", list(args)) as ctx:
        return configuration_of(ctx)


def server_url(settings: Settings) -> str:
    """Return where an emulator with these settings is reached from this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "localhost": "127.0.0.1"}.get(
        settings.host, settings.host
    )
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


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
    cli.main(prog_name="qemu")
