"""The configuration of a command: its settings, and where each was written.

Brings together what ``options.py`` found (flags, variables, the file's values, the
defaults), the users and the declarations. What a value may be is decided in
``emulator/settings.py``; here every complaint gets the name of the place where the
value was written.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emulator.cli.credentials import users_in_force, users_of_file
from emulator.cli.declarations import declared_in
from emulator.cli.file_keys import key_of
from emulator.cli.options import blamed, setting_options, source_of
from emulator.cli.settings_file import ConfigFile, file_of
from emulator.cli.sources import DEFAULT, Origin, Source
from emulator.errors import SettingsError

if TYPE_CHECKING:
    from emulator.cli.client import Server
    from emulator.settings import Settings

__all__ = [
    "Configuration",
    "configuration_of",
    "default_configuration",
    "server_in_force",
]

_DECLARED = ("queues", "url_groups", "schedules")

_COMPOSED = ("users", "declared")
"""Fields whose parts were written in several places."""

_LLM_VARIABLE = "QEMU_LLM_UPSTREAM"


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """The settings in force."""

    settings: Settings

    file: Path | None = None
    """The settings file that was used."""

    sources: Mapping[str, Source] = field(default_factory=dict)
    """Where each field of the settings was written, and each kind of declaration.

    Without ``users`` and ``declared``.
    """

    user_sources: tuple[Source, ...] = (DEFAULT,)
    """Where each user was written."""

    @property
    def is_found_by_dev_mode(self) -> bool:
        """Whether ``QSTASH_DEV=true`` in JavaScript takes us for its server (ENV-7)."""
        from emulator.settings import DEV_USERS

        first = DEV_USERS[0]
        return any(
            (user.token, user.keys) == (first.token, first.keys)
            for user in self.settings.users
        )


def configuration_of(ctx: click.Context) -> Configuration:
    """Build the configuration of a command that has ``setting_options``.

    Raises ``SettingsError``, or click's ``BadParameter`` for what was typed.
    """
    from emulator.core.limits import limits_of
    from emulator.settings import Settings

    file_used = file_of(ctx)
    file = file_used or ConfigFile(Path())
    params = {param.name: param for param in ctx.command.params}
    sources = dict.fromkeys((*Settings.__dataclass_fields__, *_DECLARED), DEFAULT)
    chosen: dict[str, Any] = {}
    for name in Settings.__dataclass_fields__:
        if name in ctx.params:
            chosen[name] = ctx.params[name]
            sources[name] = source_of(ctx, params[name])
        elif name in file.values:
            chosen[name] = file.values[name]
            sources[name] = file.source(name)
    if os.environ.get(_LLM_VARIABLE):
        chosen["llm_upstream"] = os.environ[_LLM_VARIABLE]
        sources["llm_upstream"] = Source(Origin.ENVIRONMENT, _LLM_VARIABLE)
    sources |= {name: file.source(name) for name in _DECLARED if name in file.lines}
    users = users_in_force(os.environ, users_of_file(file.tables.get("users", ())))
    sources["users"] = users[0][1]
    now_ms = chosen["start_time_ms"]
    declared = declared_in(
        file.tables,
        limits=limits_of(
            chosen["quota"],
            strict=chosen["strict"],
            refuse_loopback=chosen["refuse_loopback"],
        ),
        now_ms=time.time_ns() // 1_000_000 if now_ms is None else now_ms,
    )
    try:
        settings = Settings(
            users=tuple(user for user, _ in users), declared=declared, **chosen
        )
    except SettingsError as error:
        raise _located(ctx, sources, error) from error
    return Configuration(
        settings=settings,
        file=None if file_used is None else file_used.path,
        sources={name: sources[name] for name in sources if name not in _COMPOSED},
        user_sources=tuple(source for _, source in users),
    )


def default_configuration(*args: str) -> Configuration:
    """Return the configuration that ``qemu start`` with these arguments would have.

    Raises ``SettingsError`` or click's ``UsageError``.
    """
    command = click.Command("start", params=setting_options())
    with command.make_context("qemu start", list(args)) as ctx:
        return configuration_of(ctx)


def server_in_force(url: str | None, token: str | None) -> Server:
    """Return whom to call: what was given, else what is in force here."""
    from emulator.cli.client import Server

    url = url or _url_of_environment(os.environ)
    source = "from --token"
    if not url or not token:
        settings = default_configuration().settings
        url = url or settings.url_at(settings.port)
        if not token:
            token = settings.users[0].token
            is_set = bool(os.environ.get("QSTASH_TOKEN"))
            source = "from QSTASH_TOKEN" if is_set else "the published first user's"
    return Server(url.rstrip("/"), token, source)


def _url_of_environment(environ: Mapping[str, str]) -> str:
    """Return the origin of ``QSTASH_URL`` if that is on this machine, else nothing.

    Anything else is most likely the cloud: nothing goes there unless it is asked for.
    """
    from ipaddress import ip_address
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(environ.get("QSTASH_URL", "").strip())
        host = parts.hostname or ""
        is_here = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc}" if is_here else ""


def _located(
    ctx: click.Context, sources: Mapping[str, Source], error: SettingsError
) -> Exception:
    """Give an error of ``Settings`` the place where the value was written."""
    name = {"start_time": "start_time_ms"}.get(error.setting, error.setting)
    param = next((param for param in ctx.command.params if param.name == name), None)
    if param is not None:
        return blamed(ctx, param, error.reason)
    return SettingsError(key_of(name), error.reason, source=str(sources[name]))
