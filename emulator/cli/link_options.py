"""What ``qemu tunnel`` and ``qemu relay`` have in common on their command lines.

Their values come from flags, the environment and their own tables of the settings
file, as those of ``qemu start`` do; what a value may be is decided in ``tunnel``, whose
complaints get the name of the place here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from emulator.cli.options import SettingOption, blamed
from emulator.cli.settings_file import use_file

if TYPE_CHECKING:
    from tunnel.errors import SettingsRefused

__all__ = ["config_option", "output_options", "refused", "setting_option"]


def setting_option(name: str, envvar: str, help: str, **attrs: Any) -> SettingOption:
    """Make an option whose value may also be in a variable or in the file."""
    shown = {"show_default": attrs.get("default") is not None, "show_envvar": True}
    return SettingOption(name.split(), help=help, envvar=envvar, **{**shown, **attrs})


def config_option(section: str) -> SettingOption:
    """Make ``--config``, for a command that has a table in the settings file."""
    return setting_option(
        "--config",
        "QEMU_CONFIG",
        f"The settings file, whose table [{section}] counts; else qemu.toml in this "
        "directory or above it, up to the repository's root; else the table tool.qemu "
        "of pyproject.toml there.",
        type=click.Path(exists=True, dir_okay=False),
        is_eager=True,
        expose_value=False,
        callback=partial(use_file, section=section),
    )


def output_options() -> list[click.Parameter]:
    """Make the options that say what is printed, and how."""
    return [
        click.Option(
            ["--json", "json_lines"],
            is_flag=True,
            help="Print one JSON object per line on stdout; the rest goes to stderr.",
        ),
        click.Option(["-q", "--quiet"], is_flag=True, help="Print errors only."),
        click.Option(
            ["-v", "--verbose"],
            count=True,
            help="Print more about each line; -vv: debug logging and tracebacks.",
        ),
        setting_option(
            "--color",
            "QEMU_COLOR",
            "When to use colour; auto heeds NO_COLOR and FORCE_COLOR.",
            type=click.Choice(["auto", "always", "never"]),
            default="auto",
            advanced=True,
        ),
    ]


def refused(
    ctx: click.Context, error: SettingsRefused, names: Mapping[str, str]
) -> Exception:
    """Give an error of ``tunnel`` the place where the value was written.

    ``names`` says which option a setting is, where it isn't the one of its name.
    """
    name = names.get(error.setting, error.setting)
    param = next((param for param in ctx.command.params if param.name == name), None)
    if param is None:
        return click.UsageError(str(error), ctx=ctx)
    return blamed(ctx, param, error.reason)
