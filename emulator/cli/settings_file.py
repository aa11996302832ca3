"""The settings file: which one applies, and what it may say.

Checks keys and types against ``file_keys.py``; the arrays of tables are returned as
``Table``, whose values ``credentials.py`` and ``declarations.py`` read. What a value
may be is decided in ``emulator/settings.py`` and ``emulator/core``. Every complaint
names the file, the line and the key.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emulator.cli.file_keys import (
    PATHS,
    SECTIONS,
    TABLE,
    TABLES,
    TEXT_LISTS,
    VALUES,
    Kind,
    name_of,
)
from emulator.cli.sources import Origin, Source
from emulator.cli.suggestions import did_you_mean
from emulator.cli.toml_lines import line_of, line_of_header, lines_in
from emulator.errors import InvalidBody, SettingsError

if TYPE_CHECKING:
    from emulator.core.faults import Fault
    from emulator.core.reroute import Route

__all__ = [
    "ConfigFile",
    "Table",
    "check_key",
    "file_of",
    "find_file",
    "read_file",
    "shown_path",
    "use_file",
]

_META_KEY = "emulator.cli.settings_file"


@dataclass(frozen=True, slots=True)
class Table:
    """One of an array of tables. Its keys are known, its values have their types."""

    name: str
    """Such as ``queues[0]``."""

    source: Source

    values: Mapping[str, Any]

    lines: Mapping[str, int] = field(default_factory=dict)
    """Where keys stand that have a line of their own."""

    def source_of(self, key: str) -> Source:
        """Say where a key stands."""
        return replace(self.source, line=self.lines.get(key, self.source.line))

    def error(self, key: str, reason: str) -> SettingsError:
        """Make an error about a key; about the table if that is empty."""
        setting = f"{self.name}.{key}" if key else self.name
        return SettingsError(setting, reason, source=str(self.source_of(key)))


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A settings file that was read and checked."""

    path: Path

    values: Mapping[str, Any] = field(default_factory=dict)
    """By the name that the option, or the field of ``Settings``, has in Python."""

    tables: Mapping[str, tuple[Table, ...]] = field(default_factory=dict)
    """By key. What routes and faults become is in ``values``, too."""

    lines: Mapping[str, int] = field(default_factory=dict)
    """Where each value, or the first of its tables, stands."""

    sections: Mapping[str, ConfigFile] = field(default_factory=dict)
    """The tables of commands, each as if it were a file of its own."""

    def source(self, name: str) -> Source:
        """Say where a value stands."""
        return Source(Origin.FILE, shown_path(self.path), self.lines[name])


def use_file(
    ctx: click.Context, param: click.Parameter, value: str | None, section: str = ""
) -> None:
    """Let the settings file stand in for what is neither typed nor in a variable.

    ``section`` is the table that is the command's; none: it is the whole file.
    """
    if ctx.resilient_parsing:
        return
    try:
        path = find_file(Path.cwd()) if value is None else Path(value)
    except OSError:
        return  # the working directory is gone
    if path is not None:
        file = read_file(path)
        if section:
            file = file.sections.get(section, ConfigFile(path))
        ctx.meta[_META_KEY] = file
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
    sections: dict[str, ConfigFile] = {}
    for key, value in document.items():
        line = line_of_header(text, key) if key in SECTIONS else line_of(text, key)
        source = Source(Origin.FILE, shown, line)
        if key == "tool" and path.name != "pyproject.toml":
            reason = "leave out the prefix tool.qemu: it is for pyproject.toml"
            raise SettingsError(key, reason, source=str(source))
        check_key(key, (*VALUES, *TABLES, *SECTIONS), source)
        if key in SECTIONS:
            _check_value(key, value, Kind((dict,), f"a table: [{key}]"), source)
            table = Table(key, source, value, dict(lines_in(text, line, value)))
            sections[key] = _section(path, _checked(table, SECTIONS[key]))
            continue
        name = name_of(key)
        lines[name] = line
        if key in VALUES:
            _check_value(key, value, VALUES[key], source)
            values[name] = value
            if key == "db" and value:
                # Whoever writes it down means a place beside the settings file.
                values[name] = shown_path(path.absolute().parent / value)
        else:
            kind = Kind((list,), f"tables: [[{key}]]")
            _check_value(key, value, kind, source)
            tables[key] = tuple(_tables(key, value, text, source))
    if "routes" in tables:
        values["routes"] = tuple(_route(table) for table in tables["routes"])
    if "faults" in tables:
        values["faults"] = tuple(_fault(table) for table in tables["faults"])
    return ConfigFile(path, values, tables, lines, sections)


def _section(path: Path, table: Table) -> ConfigFile:
    """Make of a command's table what ``use_file`` takes: its options' values."""
    values, lines = {}, {}
    for key, value in table.values.items():
        if SECTIONS[table.name][key] in PATHS:
            given = value if isinstance(value, list) else [value]
            found = [str(path.parent / each) for each in given]
            value = found if isinstance(value, list) else found[0]
        values[name_of(key)] = value
        lines[name_of(key)] = table.source_of(key).line or 1
    return ConfigFile(path, values, lines=lines)


def _tables(key: str, values: list[Any], text: str, source: Source) -> Iterator[Table]:
    for index, each in enumerate(values):
        line = line_of(text, key, index)
        place, name = replace(source, line=line), f"{key}[{index}]"
        _check_value(name, each, TABLE, place)
        lines = dict(lines_in(text, line, each))
        yield _checked(Table(name, place, each, lines), TABLES[key])


def _checked(table: Table, kinds: Mapping[str, Kind]) -> Table:
    for key, value in table.values.items():
        check_key(key, kinds, table.source_of(key), prefix=f"{table.name}.")
        _check_value(f"{table.name}.{key}", value, kinds[key], table.source_of(key))
    for key, kind in kinds.items():
        if kind.is_required and key not in table.values:
            raise table.error(key, "is missing")
    return table


def _route(table: Table) -> Route:
    from emulator.core.reroute import make_route

    try:
        return make_route(table.values["from"], table.values["to"])
    except ValueError as error:
        raise table.error("", str(error)) from error


def _fault(table: Table) -> Fault:
    from emulator.core.faults import parse_fault

    try:
        return parse_fault(table.values)
    except InvalidBody as error:
        raise table.error("", error.reason) from error


def _check_value(name: str, value: Any, kind: Kind, source: Source) -> None:
    # `type() in`, since True is an int to isinstance().
    is_valid = type(value) in kind.types
    if kind in TEXT_LISTS:
        is_valid = is_valid and all(type(each) is str for each in value)
    if not is_valid:
        raise SettingsError(name, f"must be {kind.description}", source=str(source))


def check_key(
    key: str, known: Collection[str], source: Source, *, prefix: str = ""
) -> None:
    """Refuse a key that isn't known, and name the nearest that is."""
    if key not in known:
        hint = did_you_mean(key, known)
        reason = f"unknown key; {hint}" if hint else "unknown key"
        raise SettingsError(f"{prefix}{key}", reason, source=str(source))


def shown_path(path: Path) -> str:
    """Write a path as short as it can be without getting ambiguous."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)
