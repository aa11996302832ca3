"""The options of ``qemu start``, and where each one's value was written.

Flag > environment > file > default: click resolves the order. A typed option comes
first, then its ``envvar``, the ``default_map`` that ``use_file`` fills, the default.

A mistake on the command line is click's usage error; one in the file or in the
environment is a ``SettingsError`` that names the place. An empty variable counts as
one that isn't set.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import click
from click.core import ParameterSource

from emulator.cli.file_keys import key_of
from emulator.cli.option_types import InstantType, NameType, RouteType, WholeNumber
from emulator.cli.settings_file import file_of, use_file
from emulator.cli.sources import DEFAULT, Origin, Source
from emulator.errors import SettingsError

__all__ = [
    "SettingOption",
    "blamed",
    "server_options",
    "setting_options",
    "source_of",
    "start_options",
]


class SettingOption(click.Option):
    """An option whose value may also come from the environment or the file."""

    def __init__(self, *args: Any, advanced: bool = False, **attrs: Any) -> None:
        super().__init__(*args, **attrs)
        self.advanced = advanced
        """Whether ``--help`` lists it under "Advanced"."""

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        """Convert a value; blame the place where it was written."""
        try:
            return super().process_value(ctx, value)
        except click.BadParameter as error:
            raise blamed(ctx, self, error.message) from error


def source_of(ctx: click.Context, param: click.Parameter) -> Source:
    """Say where a parameter's value was written."""
    assert param.name is not None
    match ctx.get_parameter_source(param.name):
        case ParameterSource.COMMANDLINE:
            return Source(Origin.FLAG, param.opts[0])
        case ParameterSource.ENVIRONMENT:
            variables = param.envvar or ()
            names = [variables] if isinstance(variables, str) else variables
            name = next(name for name in names if os.environ.get(name))
            return Source(Origin.ENVIRONMENT, name)
        case ParameterSource.DEFAULT_MAP:
            file = file_of(ctx)
            assert file is not None
            return file.source(param.name)
        case _:
            return DEFAULT


def blamed(ctx: click.Context, param: click.Parameter, reason: str) -> Exception:
    """Make the error that belongs to the place where a value was written."""
    source = source_of(ctx, param)
    if source.origin in (Origin.FLAG, Origin.DEFAULT):
        return click.BadParameter(reason, ctx=ctx, param=param)
    return SettingsError(key_of(param.name or ""), reason, source=str(source))


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
            type=WholeNumber(0, 65535),
            default=8080,
        ),
        option(
            "--db",
            "QEMU_DB",
            "Keep the state in this file, and go on from there at the next start.",
            metavar="FILE",
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
            "Enforce the rest of the plan: messages a day, retries, and how many "
            "queues, URL groups and schedules there are.",
            default=False,
            advanced=True,
        ),
        option(
            "--refuse-loopback/--accept-loopback",
            "QEMU_REFUSE_LOOPBACK",
            "Refuse destinations on this machine, as QStash does: they need a tunnel.",
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
            type=WholeNumber(0, 2**63 - 1),
            advanced=True,
        ),
        option(
            "--allow-host allowed_hosts",
            "QEMU_ALLOW_HOST",
            "A name that requests may give as Host: a web page could have pointed it "
            "here. Addresses and names like localhost are fine. Can be repeated.",
            type=NameType("NAME"),
            multiple=True,
            advanced=True,
        ),
        option(
            "--allow-origin allowed_origins",
            "QEMU_ALLOW_ORIGIN",
            "A web page's origin that may call, besides those of this machine. Can be "
            "repeated; replaces the default.",
            type=NameType("URL"),
            multiple=True,
            default=["https://console.upstash.com"],
            advanced=True,
        ),
    ]


def server_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say whom to call, and as whom."""
    with_token = click.option("--token", help="The token, else the one in force here.")
    with_url = click.option(
        "--url",
        metavar="URL",
        help="The server, else QSTASH_URL if that is on this machine (it is ignored if "
        "not), else where qemu start would listen.",
    )
    return with_url(with_token(command))


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
            help="Print ACTIVE and CANCEL_REQUESTED entries and requests too; -vv: "
            "debug logging and tracebacks.",
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
                type=WholeNumber(0, 65535),
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
