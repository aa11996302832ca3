"""The settings file: which one applies, and what it may say.

Decides which keys there are and what type their values have; the arrays of tables are
returned as ``Table``, whose values ``credentials.py`` and ``declarations.py`` read.
What a value may be is decided in ``emulator/settings.py`` and ``emulator/core``. Every
complaint names the file, the line and the key.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from emulator.cli.sources import Origin, Source
from emulator.errors import SettingsError

if TYPE_CHECKING:
    from emulator.core.reroute import Route

__all__ = [
    "TABLES",
    "VALUES",
    "ConfigFile",
    "Kind",
    "Table",
    "check_key",
    "file_of",
    "find_file",
    "key_of",
    "read_file",
    "shown_path",
    "use_file",
]

_META_KEY = "emulator.cli.settings_file"


class Kind(NamedTuple):
    """What a key's value may be."""

    types: tuple[type, ...]

    description: str

    is_required: bool = False


_TEXT = Kind((str,), "a string")
_NEEDED_TEXT = Kind((str,), "a string", True)
_TEXTS = Kind((list,), 'strings: ["…", …]')
_INTEGER = Kind((int,), "an integer")
_NUMBER = Kind((int, float), "a number")
_BOOLEAN = Kind((bool,), "true or false")
_INSTANT = Kind((str, int, datetime), "a date with time and zone")
_TABLE = Kind((dict,), "a table")
_HEADERS = Kind((dict,), 'a table: {"Upstash-Retries" = "3"}')
_ENDPOINTS = Kind((list,), 'tables: [{url = "http://…", name = "…"}]', True)

TABLES: dict[str, dict[str, Kind]] = {
    "routes": {"from": _NEEDED_TEXT, "to": _NEEDED_TEXT},
    "users": {
        "name": _NEEDED_TEXT,
        "token": _NEEDED_TEXT,
        "current-signing-key": _NEEDED_TEXT,
        "next-signing-key": _NEEDED_TEXT,
        "read-only-token": _TEXT,
    },
    "queues": {"name": _NEEDED_TEXT, "parallelism": _INTEGER, "paused": _BOOLEAN},
    "url-groups": {
        "name": _NEEDED_TEXT,
        "endpoints": _ENDPOINTS,
        "headers": _HEADERS,
    },
    "schedules": {
        "id": _NEEDED_TEXT,
        "cron": _NEEDED_TEXT,
        "destination": _NEEDED_TEXT,
        "body": _TEXT,
        "headers": _HEADERS,
        "queue": _TEXT,
    },
}
"""The arrays of tables, and the keys of each."""

VALUES: dict[str, Kind] = {
    "host": _TEXT,
    "port": _INTEGER,
    "quota": _TEXT,
    "strict": _BOOLEAN,
    "region": _TEXT,
    "clock": _TEXT,
    "signature-clock": _TEXT,
    "speed": _NUMBER,
    "start-time": _INSTANT,
    "seed": _INTEGER,
    "allowed-hosts": _TEXTS,
    "allowed-origins": _TEXTS,
    "llm-upstream": _TEXT,
    "max-log-entries": _INTEGER,
    "grace-ms": _INTEGER,
    "color": _TEXT,
    "full-ids": _BOOLEAN,
}
"""The other keys."""


_NAMES = {"start-time": "start_time_ms"}
"""Keys that aren't spelled like the field."""


def key_of(name: str) -> str:
    """Return the key of an option or of a field of ``Settings``."""
    keys = {field: key for key, field in _NAMES.items()}
    return keys.get(name) or name.replace("_", "-")


@dataclass(frozen=True, slots=True)
class Table:
    """One of an array of tables. Its keys are known, its values have their types."""

    name: str
    """Such as ``queues[0]``."""

    source: Source

    values: Mapping[str, Any]

    def error(self, key: str, reason: str) -> SettingsError:
        """Make an error about a key; about the table if that is empty."""
        setting = f"{self.name}.{key}" if key else self.name
        return SettingsError(setting, reason, source=str(self.source))


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A settings file that was read and checked."""

    path: Path

    values: Mapping[str, Any] = field(default_factory=dict)
    """By the name that the option, or the field of ``Settings``, has in Python."""

    tables: Mapping[str, tuple[Table, ...]] = field(default_factory=dict)
    """By key. Those of routes are in ``values``, too."""

    lines: Mapping[str, int] = field(default_factory=dict)
    """Where each value, or the first of its tables, stands."""

    def source(self, name: str) -> Source:
        """Say where a value stands."""
        return Source(Origin.FILE, shown_path(self.path), self.lines[name])


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


def file_of(ctx: click.Context) -> ConfigFile | None:
    """Return the settings file that a command uses."""
    file: ConfigFile | None = ctx.meta.get(_META_KEY)
    return file


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


def _is_root(folder: Path) -> bool:
    return (folder / ".git").exists()


def _applies(path: Path) -> bool:
    if not path.is_file():
        return False
    # Other tools' broken files are none of our business.
    return path.name == "qemu.toml" or b"[tool.qemu" in path.read_bytes()


def read_file(path: Path) -> ConfigFile:
    """Read and check a settings file. Raises ``SettingsError`` with file and line."""
    import tomllib

    shown = shown_path(path)
    try:
        text = path.read_bytes().decode()
        document = tomllib.loads(text)
    except OSError as error:
        reason = error.strerror or str(error)
        raise SettingsError("file", reason, source=shown) from error
    except (ValueError, RecursionError) as error:
        raise SettingsError("TOML", str(error), source=shown) from error
    if path.name == "pyproject.toml":
        document = document.get("tool", {}).get("qemu", {})

    values: dict[str, Any] = {}
    tables: dict[str, tuple[Table, ...]] = {}
    lines: dict[str, int] = {}
    for key, value in document.items():
        line = _line_of(text, key)
        source = Source(Origin.FILE, shown, line)
        check_key(key, (*VALUES, *TABLES), source)
        name = _NAMES.get(key) or key.replace("-", "_")
        lines[name] = line
        if key in VALUES:
            _check_value(key, value, VALUES[key], source)
            values[name] = value
        else:
            kind = Kind((list,), f"tables: [[{key}]]")
            _check_value(key, value, kind, source)
            tables[key] = tuple(_tables(key, value, text, source))
    if "routes" in tables:
        values["routes"] = tuple(_route(table) for table in tables["routes"])
    return ConfigFile(path, values, tables, lines)


def _tables(key: str, values: list[Any], text: str, source: Source) -> Iterator[Table]:
    for index, each in enumerate(values):
        place = replace(source, line=_line_of(text, key, index))
        yield _table(f"{key}[{index}]", TABLES[key], each, place)


def _table(name: str, kinds: Mapping[str, Kind], values: Any, source: Source) -> Table:
    _check_value(name, values, _TABLE, source)
    for key, value in values.items():
        check_key(key, kinds, source, prefix=f"{name}.")
        _check_value(f"{name}.{key}", value, kinds[key], source)
    for key, kind in kinds.items():
        if kind.is_required and key not in values:
            raise SettingsError(f"{name}.{key}", "is missing", source=str(source))
    return Table(name, source, values)


def _route(table: Table) -> Route:
    from emulator.core.reroute import make_route

    try:
        return make_route(table.values["from"], table.values["to"])
    except ValueError as error:
        raise table.error("", str(error)) from error


def _check_value(name: str, value: Any, kind: Kind, source: Source) -> None:
    # `type() in`, since True is an int to isinstance().
    is_valid = type(value) in kind.types
    if kind is _TEXTS:
        is_valid = is_valid and all(type(each) is str for each in value)
    if not is_valid:
        raise SettingsError(name, f"must be {kind.description}", source=str(source))


def check_key(
    key: str, known: Collection[str], source: Source, *, prefix: str = ""
) -> None:
    """Refuse a key that isn't known, and name the nearest that is."""
    from difflib import get_close_matches

    if key not in known:
        nearest = get_close_matches(key, known, n=1, cutoff=0.0)[0]
        reason = f"unknown key; did you mean {nearest!r}?"
        raise SettingsError(f"{prefix}{key}", reason, source=str(source))


def _line_of(text: str, key: str, index: int | None = None) -> int:
    """Return the line of a key, or of one of its tables. ``tomllib`` doesn't say."""
    start = text.rfind("\n", 0, max(text.find("[tool.qemu"), 0)) + 1
    name = rf"""(?:tool\.qemu\.)?["']?{re.escape(key)}["']?[ \t]*"""
    if index is not None:
        tables = re.finditer(rf"^[ \t]*\[\[[ \t]*{name}\]\]", text[start:], re.M)
        for number, table in enumerate(tables):
            if number == index:
                return text.count("\n", 0, start + table.start()) + 1
    found = re.search(rf"^[ \t]*(?:\[+[ \t]*)?{name}[=.\]]", text[start:], re.M)
    return text.count("\n", 0, start + found.start() if found else 0) + 1


def shown_path(path: Path) -> str:
    """Write a path as short as it can be without getting ambiguous."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)
