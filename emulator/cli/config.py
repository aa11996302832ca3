"""Where a setting's value comes from: flag > environment > file > default.

click resolves the order: a typed option, its ``envvar``, the ``default_map`` that
the settings file fills, the default. This module declares the options, finds and
checks the file, reads the credentials from the environment, and builds
``Settings`` of it all. What a value may be is decided in ``emulator/settings.py``;
here every complaint gets the name of the place where the value was written.

A mistake on the command line is click's usage error; one in the file or in the
environment is a ``SettingsError``. An empty variable counts as one that isn't set.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from emulator.errors import SettingsError

if TYPE_CHECKING:
    from emulator.core.reroute import Route
    from emulator.settings import Settings, User

__all__ = [
    "ConfigFile",
    "Configuration",
    "InstantType",
    "RouteType",
    "SettingOption",
    "configuration_of",
    "credentials",
    "find_file",
    "read_file",
    "shown_path",
    "use_file",
]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_META_KEY = "emulator.cli.config"

_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "host": ((str,), "a string"),
    "port": ((int,), "an integer"),
    "quota": ((str,), "a string"),
    "strict": ((bool,), "true or false"),
    "region": ((str,), "a string"),
    "clock": ((str,), "a string"),
    "speed": ((int, float), "a number"),
    "start-time": ((str, int, datetime), "a date with time and zone"),
    "seed": ((int,), "an integer"),
    "routes": ((list,), "tables: [[routes]] with from and to"),
    "max-log-entries": ((int,), "an integer"),
    "grace-ms": ((int,), "an integer"),
    "color": ((str,), "a string"),
    "full-ids": ((bool,), "true or false"),
}
"""What a settings file may say: the key, the types it may have, and their name."""

_CREDENTIALS = (
    "QSTASH_TOKEN",
    "QSTASH_CURRENT_SIGNING_KEY",
    "QSTASH_NEXT_SIGNING_KEY",
)

_FILE_ONLY = ("max_log_entries", "grace_ms")
"""Settings without an option of their own."""


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A settings file that was read and checked."""

    path: Path

    values: Mapping[str, Any]
    """By the name that the option, or the field of ``Settings``, has in Python."""

    lines: Mapping[str, int]
    """Where each of them stands; lines count from 1."""

    def source(self, name: str) -> str:
        """Say where a value stands, for an error."""
        return f"{shown_path(self.path)}, line {self.lines[name]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """The settings in force, and what the banner says of their origin."""

    settings: Settings

    file: Path | None
    """The settings file that was used."""

    own_credentials: tuple[str, ...]
    """Environment variables that replace a published credential (ENV-11)."""


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
            raise _blamed(ctx, self, error.message) from error


class InstantType(click.ParamType):  # type: ignore[type-arg]
    """An instant as ISO 8601 with a zone, or as Unix milliseconds; becomes the latter.

    A ``datetime`` is what TOML makes of a date.
    """

    name = "instant"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return Unix milliseconds."""
        if isinstance(value, int):
            return value
        if isinstance(value, str) and re.fullmatch("[0-9]{1,17}", value):
            return int(value)
        try:
            moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        except ValueError:
            self.fail(
                f"{value!r} is neither ISO 8601, such as 2027-03-28T00:30:00Z, "
                "nor Unix milliseconds"
            )
        if moment.tzinfo is None:
            self.fail(f"{str(value)!r} lacks a time zone, such as Z or +02:00")
        return int((moment - _EPOCH) // timedelta(milliseconds=1))


class RouteType(click.ParamType):  # type: ignore[type-arg]
    """A route: the messages for one origin are delivered to another."""

    name = "route"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Return what ``--help`` shows for a value."""
        return "URL=URL"

    def split_envvar_value(self, rv: str) -> Sequence[str]:
        """Split at white space and commas: no origin contains any."""
        return re.split(r"[\s,]+", rv.strip(" ,\t\r\n"))

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Route:
        """Parse what was typed. What came from the file has been parsed."""
        from emulator.core.reroute import Route, parse_route

        if isinstance(value, Route):
            return value
        try:
            return parse_route(value)
        except ValueError as error:
            self.fail(str(error))


def configuration_of(ctx: click.Context) -> Configuration:
    """Build the configuration of a command that has ``setting_options``.

    Raises ``SettingsError``, or click's ``BadParameter`` for what was typed.
    """
    from emulator.settings import Settings

    users, own_credentials = credentials(os.environ)
    file: ConfigFile | None = ctx.meta.get(_META_KEY)
    # By field; the option of `start_time_ms` has the field's name as well.
    chosen = {
        name: ctx.params[name]
        for name in Settings.__dataclass_fields__
        if name in ctx.params
    }
    if file is not None:
        chosen |= {
            name: file.values[name] for name in _FILE_ONLY if name in file.values
        }
    try:
        settings = Settings(users=users, **chosen)
    except SettingsError as error:
        raise _located(ctx, file, error) from error
    return Configuration(
        settings=settings,
        file=None if file is None else file.path,
        own_credentials=own_credentials,
    )


def credentials(
    environ: Mapping[str, str],
) -> tuple[tuple[User, ...], tuple[str, ...]]:
    """Return the users, and the variables that replaced a published credential.

    ``QSTASH_TOKEN`` replaces the first user's token, or puts that one of the
    published users first whose token it is. The two signing keys go together. Raises
    ``SettingsError``.
    """
    from emulator.core.model import SigningKeys
    from emulator.settings import DEV_USERS, User

    token_name, *key_names = _CREDENTIALS
    given = {name: environ[name] for name in _CREDENTIALS if environ.get(name)}
    for name, value in given.items():
        if not re.fullmatch("[!-~]+", value):
            # The value is a secret: it isn't quoted.
            reason = "must be printable ASCII without spaces"
            raise SettingsError(name, reason, source="environment")
    missing = [name for name in key_names if name not in given]
    if len(missing) == 1:
        reason = "the two signing keys go together, and the other one is set"
        raise SettingsError(missing[0], reason, source="environment")

    default = DEV_USERS[0]
    token = given.get(token_name, default.token)
    user = next((user for user in DEV_USERS if user.token == token), default)
    keys = user.keys if missing else SigningKeys(*(given[name] for name in key_names))
    users = (
        User(name=user.name, token=token, keys=keys),
        *(other for other in DEV_USERS if other is not user),
    )
    published = (default.token, default.keys.current, default.keys.next)
    own = [
        name
        for name, value in zip(_CREDENTIALS, published, strict=True)
        if given.get(name, value) != value
    ]
    return users, tuple(own)


def find_file(directory: Path) -> Path | None:
    """Find the settings file that applies in a directory, or ``None``.

    ``qemu.toml`` there or above it, up to the repository's root; else a
    ``pyproject.toml`` with a table ``tool.qemu``. Outside a repository nothing above
    the directory is looked at: it may be anybody's.
    """
    folders = [directory, *directory.parents]
    roots = (index for index, folder in enumerate(folders) if _is_root(folder))
    folders = folders[: next(roots, 0) + 1]
    candidates = [folder / "qemu.toml" for folder in folders]
    candidates += [folder / "pyproject.toml" for folder in folders]
    return next((path for path in candidates if _applies(path)), None)


def read_file(path: Path) -> ConfigFile:
    """Read and check a settings file. Raises ``SettingsError`` with file and line."""
    import tomllib

    try:
        text = path.read_bytes().decode()
        table = tomllib.loads(text)
    except OSError as error:
        reason = error.strerror or str(error)
        raise SettingsError("file", reason, source=shown_path(path)) from error
    except (ValueError, RecursionError) as error:
        raise SettingsError("TOML", str(error), source=shown_path(path)) from error
    if path.name == "pyproject.toml":
        table = table.get("tool", {}).get("qemu", {})

    values: dict[str, Any] = {}
    lines: dict[str, int] = {}
    for key, value in table.items():
        line = _line_of(text, key)
        source = f"{shown_path(path)}, line {line}"
        _check_key(key, _TYPES, source)
        types, description = _TYPES[key]
        # `type() in`, since True is an int to isinstance().
        if type(value) not in types:
            raise SettingsError(key, f"must be {description}", source=source)
        name = "start_time_ms" if key == "start-time" else key.replace("-", "_")
        lines[name] = line
        values[name] = _routes(value, source) if key == "routes" else value
    return ConfigFile(path, values, lines)


def shown_path(path: Path) -> str:
    """Write a path as short as it can be without getting ambiguous."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def use_file(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    """Let the settings file stand in for what is neither typed nor in a variable."""
    if ctx.resilient_parsing:
        return
    try:
        path = find_file(Path.cwd()) if value is None else Path(value)
    except OSError:
        return  # the working directory is gone
    if path is not None:
        file = ctx.meta[_META_KEY] = read_file(path)
        ctx.default_map = dict(file.values)


def _is_root(folder: Path) -> bool:
    return (folder / ".git").exists()


def _applies(path: Path) -> bool:
    if not path.is_file():
        return False
    # Other tools' broken files are none of our business.
    return path.name == "qemu.toml" or b"[tool.qemu" in path.read_bytes()


def _routes(tables: list[Any], source: str) -> tuple[Route, ...]:
    from emulator.core.reroute import make_route

    routes: list[Route] = []
    for index, table in enumerate(tables):
        name = f"routes[{index}]"
        if not isinstance(table, dict):
            raise SettingsError(name, "must be a table: [[routes]]", source=source)
        for key in table:
            _check_key(key, ("from", "to"), source, prefix=f"{name}.")
        try:
            routes.append(make_route(table.get("from"), table.get("to")))
        except ValueError as error:
            raise SettingsError(name, str(error), source=source) from error
    return tuple(routes)


def _check_key(
    key: str, known: Collection[str], source: str, *, prefix: str = ""
) -> None:
    from difflib import get_close_matches

    if key not in known:
        nearest = get_close_matches(key, known, n=1, cutoff=0.0)[0]
        raise SettingsError(
            f"{prefix}{key}", f"unknown key; did you mean {nearest!r}?", source=source
        )


def _line_of(text: str, key: str) -> int:
    """Return the line on which a key stands. ``tomllib`` doesn't say."""
    start = max(text.find("[tool.qemu"), 0)
    name = re.escape(key)
    found = re.compile(
        rf"""^[ \t]*(?:\[+[ \t]*(?:tool\.qemu\.)?)?["']?{name}["']?[ \t]*[=.\]]""", re.M
    ).search(text, start)
    return text.count("\n", 0, found.start() if found else start) + 1


def _source(ctx: click.Context, param: click.Parameter) -> str:
    """Say where a parameter's value was written; empty if it was typed."""
    assert param.name is not None
    match ctx.get_parameter_source(param.name):
        case ParameterSource.ENVIRONMENT:
            variables = param.envvar or ()
            names = [variables] if isinstance(variables, str) else variables
            return next(name for name in names if os.environ.get(name))
        case ParameterSource.DEFAULT_MAP:
            file: ConfigFile = ctx.meta[_META_KEY]
            return file.source(param.name)
        case _:
            return ""


def _blamed(ctx: click.Context, param: click.Parameter, reason: str) -> Exception:
    """Make the error that belongs to the place where a value was written."""
    source = _source(ctx, param)
    if not source:
        return click.BadParameter(reason, ctx=ctx, param=param)
    return SettingsError(param.opts[0].removeprefix("--"), reason, source=source)


def _located(
    ctx: click.Context, file: ConfigFile | None, error: SettingsError
) -> Exception:
    """Give an error of ``Settings`` the place where the value was written."""
    if file is not None and error.setting in _FILE_ONLY:
        name = error.setting.replace("_", "-")
        return SettingsError(name, error.reason, source=file.source(error.setting))
    field = {"start_time": "start_time_ms"}.get(error.setting, error.setting)
    param = next(param for param in ctx.command.params if param.name == field)
    return _blamed(ctx, param, error.reason)
