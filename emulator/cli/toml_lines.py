"""Where in a TOML file something stands: ``tomllib`` doesn't say.

Looked for in the text of a file that has been parsed, so what is looked for is there;
where its spelling is unusual the answer may be wrong, and is a line all the same.
Lines count from 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

__all__ = ["line_of", "line_of_header", "lines_in"]

_IS_TABLE = re.compile(r"[ \t]*\[\[")


def line_of_header(text: str, key: str) -> int:
    """Return the line of a command's table: other tables may have a key of its name."""
    name = rf"""(?:tool\.qemu\.)?["']?{re.escape(key)}["']?"""
    found = re.search(rf"^[ \t]*\[[ \t]*{name}[ \t]*\]", text, re.M)
    if found is None:
        return line_of(text, key)
    return text.count("\n", 0, found.start()) + 1


def line_of(text: str, key: str, index: int | None = None) -> int:
    """Return the line of a key, or of one of its tables; 1 if it can't be found."""
    start = text.rfind("\n", 0, max(text.find("[tool.qemu"), 0)) + 1
    name = rf"""(?:tool\.qemu\.)?["']?{re.escape(key)}["']?[ \t]*"""
    if index is not None:
        tables = re.finditer(rf"^[ \t]*\[\[[ \t]*{name}\]\]", text[start:], re.M)
        for number, table in enumerate(tables):
            if number == index:
                return text.count("\n", 0, start + table.start()) + 1
    found = re.search(rf"^[ \t]*(?:\[+[ \t]*)?{name}[=.\]]", text[start:], re.M)
    return text.count("\n", 0, start + found.start() if found else 0) + 1


def lines_in(text: str, first: int, values: Any) -> Iterator[tuple[str, int]]:
    """Find the lines of the keys of a table that begins in a line, at any depth.

    A guess, where one key stands at several depths: the first counts.
    """
    lines = text.split("\n")[first - 1 :]
    end = next(
        (index for index, line in enumerate(lines) if index and _IS_TABLE.match(line)),
        len(lines),
    )
    for key in _keys(values):
        name = re.compile(
            rf"""(?:^|[\s{{,.\[])["']?{re.escape(key)}["']?[ \t]*[=.\]]"""
        )
        for index, line in enumerate(lines[:end]):
            if name.search(line):
                yield key, first + index
                break


def _keys(values: Any) -> Iterator[str]:
    for each in values if isinstance(values, list) else [values]:
        if isinstance(each, dict):
            yield from each
            for value in each.values():
                yield from _keys(value)
