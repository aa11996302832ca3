"""``qemu config``: every setting, its value, and where it was written.

Tokens and signing keys are masked unless asked for; the published ones are no secret.
So are user name and password of a URL. The tunnel's token and the relay's secret are
never shown, only where they come from.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from emulator.cli import HelpfulCommand
from emulator.cli.configuration import Configuration, configuration_of
from emulator.cli.file_keys import SECTIONS, key_of, name_of
from emulator.cli.options import source_of, start_options
from emulator.cli.output import format_instant
from emulator.cli.settings_file import file_of
from emulator.cli.sources import DEFAULT, Origin, Source
from emulator.lines import printable

if TYPE_CHECKING:
    from emulator.core.resources import Declared
    from emulator.settings import User

__all__ = ["Row", "config", "format_rows", "rows_of", "section_rows"]

_MASK = "********"

_OUTPUT = ("color", "full_ids")
"""Options of ``qemu start`` that a file may set, too."""

_DURATIONS = ("hold", "drain")
"""Options that become seconds."""


@dataclass(frozen=True, slots=True)
class Row:
    """A setting; of the users, one."""

    setting: str
    """As the file spells it."""

    value: Any
    """What JSON has for it."""

    source: Source


def rows_of(configuration: Configuration, *, shows_secrets: bool) -> Iterator[Row]:
    """Yield every setting, in the order of their documentation."""
    from emulator.core import wire

    settings, sources = configuration.settings, configuration.sources
    declared = _declared(settings.declared, shows_secrets)
    for name, source in sources.items():
        value: Any = declared[name] if name in declared else getattr(settings, name)
        if name == "routes":
            value = [str(route) for route in value]
        elif name == "faults":
            value = [wire.fault(fault) for fault in value]
        elif name == "llm_upstream" and value is not None:
            value = _url(value, shows_secrets)
        elif isinstance(value, tuple):
            value = list(value)
        yield Row(key_of(name), value, source)
    users = zip(settings.users, configuration.user_sources, strict=True)
    for user, source in users:
        yield Row("users", _user(user, shows_secrets), source)


def _user(user: User, shows_secrets: bool) -> dict[str, str]:
    from emulator.settings import DEV_USERS

    published = {
        secret
        for known in DEV_USERS
        for secret in (known.token, known.keys.current, known.keys.next)
    }
    secrets = {
        "token": user.token,
        "current-signing-key": user.keys.current,
        "next-signing-key": user.keys.next,
        "read-only-token": user.read_only_token,
    }
    return {"name": user.name} | {
        key: secret if shows_secrets or secret in published else _MASK
        for key, secret in secrets.items()
        if secret is not None
    }


def _declared(declared: Declared, shows_secrets: bool) -> dict[str, list[Any]]:
    """Return what is declared, by the field's name; headers and bodies are left out."""
    return {
        "queues": [
            {"name": name, "parallelism": parallelism, "paused": is_paused}
            for name, parallelism, is_paused in declared.queues
        ],
        "url_groups": [
            {
                "name": name,
                "endpoints": [_url(each.url, shows_secrets) for each in endpoints],
            }
            for name, endpoints, _ in declared.url_groups
        ],
        "schedules": [
            {
                "id": schedule_id,
                "cron": cron,
                "destination": _url(publish.destination.text, shows_secrets),
            }
            for schedule_id, cron, publish in declared.schedules
        ],
    }


def _url(url: str, shows_secrets: bool) -> str:
    if shows_secrets:
        return url
    return re.sub(
        r"^((?:http|ws)s?://)[^/?#@]*@", rf"\1{_MASK}@", url, flags=re.IGNORECASE
    )


def section_rows(ctx: click.Context, *, shows_secrets: bool) -> Iterator[Row]:
    """Yield what ``qemu tunnel`` and ``qemu relay`` would have without options.

    Raises ``SettingsError`` for what they would refuse to read.
    """
    from emulator.cli.relay import SECRET_VARIABLE, relay
    from emulator.cli.tunnel import TOKEN_VARIABLE, tunnel

    file = file_of(ctx)
    args = [] if file is None else ["--config", str(file.path)]
    for command, secret, variable in (
        (tunnel, "token", TOKEN_VARIABLE),
        (relay, "secret", SECRET_VARIABLE),
    ):
        section = str(command.name)
        # Without the part of the command that insists on a port.
        params = [_optional(param) for param in command.params]
        with click.Command(section, params=params).make_context(section, args) as own:
            named = {param.name: param for param in params}
            for key in SECTIONS[section]:
                name = name_of(key)
                value = own.params[name]
                if isinstance(value, str):
                    value = _url(value, shows_secrets)
                elif isinstance(value, tuple):
                    value = list(value)
                elif name in _DURATIONS:
                    value = f"{value:g}s"
                yield Row(f"{section}.{key}", value, source_of(own, named[name]))
        is_set = bool(os.environ.get(variable))
        yield Row(
            f"{section}.{secret}",
            _MASK if is_set else None,
            Source(Origin.ENVIRONMENT, variable) if is_set else DEFAULT,
        )


def _optional(param: click.Parameter) -> click.Parameter:
    param = copy(param)
    param.required = False
    return param


def format_rows(rows: Iterable[Row]) -> str:
    """Write rows as aligned text: setting, place, value; a line for each of several."""
    lines = [("SETTING", "FROM", "VALUE")]
    for row in rows:
        values = row.value if isinstance(row.value, list) and row.value else [row.value]
        source = printable(str(row.source))
        lines += [(row.setting, source, _text(row.setting, value)) for value in values]
    first, second = (max(len(line[column]) for line in lines) for column in (0, 1))
    return "\n".join(
        f"{setting:<{first}}  {source:<{second}}  {value}".rstrip()
        for setting, source, value in lines
    )


def _text(setting: str, value: Any) -> str:
    match value:
        case None | []:
            return "-"
        case bool():
            return str(value).lower()
        case int() if setting == "start-time":
            return format_instant(value)
        case dict():
            return "  ".join(f"{key}={_text(setting, value[key])}" for key in value)
        case list():
            return ",".join(_text(setting, each) for each in value)
        case _:
            return printable(str(value))


def _options() -> list[click.Parameter]:
    """Make the options: what ``qemu start`` was given can be given here, too."""
    own: list[click.Parameter] = [
        click.Option(
            ["--json", "json_lines"], is_flag=True, help="Print one object per line."
        ),
        click.Option(
            ["--show-secrets"], is_flag=True, help="Don't mask tokens and signing keys."
        ),
    ]
    options = [option for option in start_options() if option.name != "json_lines"]
    for option in options:
        if isinstance(option, click.Option) and option.name != "config":
            option.hidden = True
    return own + options


@click.pass_context
def _print_config(
    ctx: click.Context, /, json_lines: bool, show_secrets: bool, **options: Any
) -> None:
    params = {param.name: param for param in ctx.command.params}
    rows = [
        *rows_of(configuration_of(ctx), shows_secrets=show_secrets),
        *(
            Row(key_of(name), options[name], source_of(ctx, params[name]))
            for name in _OUTPUT
        ),
        *section_rows(ctx, shows_secrets=show_secrets),
    ]
    if not json_lines:
        click.echo(format_rows(rows))
        return
    import json

    for row in rows:
        source = {"from": row.source.origin} | {
            key: value
            for key, value in (("name", row.source.name), ("line", row.source.line))
            if value
        }
        line = {"setting": row.setting, "value": row.value} | source
        click.echo(json.dumps(line, default=str))


config = HelpfulCommand(
    "config",
    help="Print every setting, its value, and where that was written, given the "
    "options of qemu start; then those of qemu tunnel and qemu relay.",
    examples=(
        "qemu config",
        "qemu config --port 8081 --json",
        "qemu config --config staging.toml --show-secrets",
    ),
    params=_options(),
    callback=_print_config,
)
