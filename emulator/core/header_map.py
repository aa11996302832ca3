"""Header maps: an ordered, flat tuple of names and values.

``("Content-Type", "text/plain", "X-A", "1", "X-A", "2")``: a name, its value, the
next name. Names are canonical (FMT-7), a name may repeat (HDR-33), order is that
of arrival. A flat tuple takes half the memory of a dict.

A message that waits has its header map *packed*: most messages have the same names, so
those are one tuple for all of them, and the values are one text. That takes a third.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from sys import intern

__all__ = [
    "HeaderMap",
    "PackedValues",
    "build",
    "canonical_name",
    "first",
    "grouped",
    "pack",
    "pairs",
    "unpack",
]

HeaderMap = tuple[str, ...]

PackedValues = str | HeaderMap
"""The values of a packed header map; or all of one that isn't worth it, or can't be."""

_SHARED_CHARACTERS = 1024
"""Of all names of a map: what strangers send must not fill a cache."""

_REMEMBERED_CHARACTERS = 128
"""Of a name that is remembered: no header of anybody's is longer."""

_BETWEEN = "\0"
"""Between packed values: no header's value may contain it."""


def canonical_name(name: str) -> str:
    """Spell a header's name as Go does: ``x-api-key`` is ``X-Api-Key`` (FMT-7)."""
    return _remembered(name) if len(name) <= _REMEMBERED_CHARACTERS else _spell(name)


def _spell(name: str) -> str:
    return intern(
        "-".join(part[:1].upper() + part[1:].lower() for part in name.split("-"))
    )


_remembered = lru_cache(maxsize=4096)(_spell)


def build(items: Iterable[tuple[str, str]]) -> HeaderMap:
    """Make a header map of name and value pairs, the names in any case."""
    flat: list[str] = []
    for name, value in items:
        flat += (canonical_name(name), value)
    return tuple(flat)


def pairs(header: HeaderMap) -> Iterator[tuple[str, str]]:
    """Iterate over the names and values, in order."""
    return zip(header[::2], header[1::2], strict=True)


def first(header: HeaderMap, name: str) -> str | None:
    """Return the first value of a name in canonical spelling, or ``None``."""
    for candidate, value in pairs(header):
        if candidate == name:
            return value
    return None


def grouped(header: HeaderMap) -> dict[str, list[str]]:
    """Return the map as the API shows it: name to list of values (FMT-8)."""
    result: dict[str, list[str]] = {}
    for name, value in pairs(header):
        result.setdefault(name, []).append(value)
    return result


def pack(header: HeaderMap) -> tuple[tuple[str, ...], PackedValues]:
    """Return names and values for ``unpack``, which take little memory.

    Equal maps are packed equally.
    """
    if len(header) <= 2:
        return (), header
    names = header[::2]
    if sum(map(len, names)) <= _SHARED_CHARACTERS:
        names = _shared(names)
    values = _BETWEEN.join(header[1::2])
    if values.count(_BETWEEN) != len(names) - 1:
        return (), header
    return names, values


def unpack(names: tuple[str, ...], values: PackedValues) -> HeaderMap:
    """Return the header map that was packed."""
    if not isinstance(values, str):
        return values
    flat = [""] * (2 * len(names))
    flat[::2] = names
    flat[1::2] = values.split(_BETWEEN)
    return tuple(flat)


@lru_cache(maxsize=1024)
def _shared(names: tuple[str, ...]) -> tuple[str, ...]:
    return names
