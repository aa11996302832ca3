"""``qemu env``: the four values that an SDK needs, for every shell."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from emulator.cli import HelpfulCommand
from emulator.cli.configuration import configuration_of
from emulator.cli.exit_codes import CliError
from emulator.cli.options import setting_options

if TYPE_CHECKING:
    from emulator.settings import User

__all__ = ["env", "format_env"]

_MATTERING = ("host", "port", "config")


def format_env(url: str, user: User, format: str = "dotenv") -> str:
    """Write the four values that an SDK needs, as a shell or a file takes them.

    ``format`` is dotenv, shell, fish, powershell or json.
    """
    values = {
        "QSTASH_URL": url,
        "QSTASH_TOKEN": user.token,
        "QSTASH_CURRENT_SIGNING_KEY": user.keys.current,
        "QSTASH_NEXT_SIGNING_KEY": user.keys.next,
    }
    if format == "json":
        import json

        return json.dumps(values, indent=2)
    # How a line begins, which characters need what before them, and the quote.
    template, special, escape, quote = {
        "dotenv": ("{}=", r'["$\\`]', r"\\\g<0>", '"'),
        "shell": ("export {}=", "'", r"'\\''", "'"),
        "fish": ("set -gx {} ", r"['\\]", r"\\\g<0>", "'"),
        "powershell": ("$env:{} = ", "'", "''", "'"),
    }[format]
    return "\n".join(
        template.format(name) + quote + re.sub(special, escape, value) + quote
        for name, value in values.items()
    )


@click.pass_context
def _print_env(ctx: click.Context, /, format: str, **settings: Any) -> None:
    chosen = configuration_of(ctx).settings
    if chosen.port == 0:
        raise CliError(
            "port 0 is any that is free: only the running qemu knows which",
            "Use the lines that it printed.",
        )
    click.echo(format_env(chosen.url_at(chosen.port), chosen.users[0], format))


def _setting_options() -> list[click.Parameter]:
    """Make the options: all of ``qemu start``, but only those that matter are shown."""
    options = setting_options()
    for option in options:
        if isinstance(option, click.Option) and option.name not in _MATTERING:
            option.hidden = True
    return options


env = HelpfulCommand(
    "env",
    help="Print the four lines that an SDK needs, for the settings in force.",
    examples=(
        "qemu env >> .env",
        'eval "$(qemu env --format shell)"',
        "qemu env --port 8081 --format json",
    ),
    params=[
        click.Option(
            ["--format"],
            type=click.Choice(["dotenv", "shell", "fish", "powershell", "json"]),
            default="dotenv",
            show_default=True,
            help="Who is to read them.",
        ),
        *_setting_options(),
    ],
    callback=_print_env,
)
