"""From a raw request target to a handler of the table in ``routes.py``.

aiohttp's own router decodes and normalises before it matches, and knows one spelling
of a path; QStash's rules (BASE-3, BASE-6 to BASE-8) need the target as it arrived.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Generic, NamedTuple, TypeVar
from urllib.parse import unquote

from aiohttp import web

from emulator.web.call import Call

__all__ = ["Handler", "LocalHandler", "Match", "Router"]

Handler = Callable[[Call], Awaitable[web.StreamResponse]]
LocalHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]

T = TypeVar("T")

_DESTINATION = "{destination}"

_NO_NAMES: Mapping[str, str] = MappingProxyType({})


class Match(NamedTuple, Generic[T]):
    """What the table has for a path."""

    handler: T | None
    """``None``: the path is there, but not for this method."""

    names: Mapping[str, str] = _NO_NAMES

    allowed: tuple[str, ...] = ()
    """The methods that the path is there for, if this one isn't among them."""


@dataclass(frozen=True, slots=True)
class _Pattern(Generic[T]):
    """A path of the table, and its handlers by method."""

    segments: tuple[str, ...]
    takes_rest: bool
    methods: dict[str, T] = field(default_factory=dict)

    def names(self, segments: list[str], target: str) -> dict[str, str] | None:
        """Return what stands in the variable places, or ``None``: no match."""
        count = len(self.segments)
        if len(segments) < count or (len(segments) > count and not self.takes_rest):
            return None
        names: dict[str, str] = {}
        for pattern, segment in zip(self.segments, segments, strict=False):
            if pattern.startswith("{"):
                names[pattern[1:-1]] = unquote(segment, errors="surrogateescape")
            elif pattern != segment.lower():
                return None
        if self.takes_rest:
            # The target itself, not the segments: the query belongs to it.
            is_there = len(segments) > count
            names["destination"] = target.split("/", count + 1)[-1] if is_there else ""
        return names


class Router(Generic[T]):
    """The table, arranged for looking up by the first two segments."""

    def __init__(self, routes: Iterable[tuple[str, str, T]]) -> None:
        self._patterns: dict[tuple[str, str], list[_Pattern[T]]] = {}
        patterns: dict[str, _Pattern[T]] = {}
        for method, path, handler in routes:
            pattern = patterns.get(path)
            if pattern is None:
                segments = tuple(path.removeprefix("/").split("/"))
                takes_rest = segments[-1] == _DESTINATION
                if takes_rest:
                    segments = segments[:-1]
                segments = tuple(
                    segment if segment.startswith("{") else segment.lower()
                    for segment in segments
                )
                pattern = patterns[path] = _Pattern(segments, takes_rest)
                key = (segments[0], segments[1])
                self._patterns.setdefault(key, []).append(pattern)
            pattern.methods[method] = handler
        self._direct = {
            key: patterns[0].methods
            for key, patterns in self._patterns.items()
            if len(patterns) == 1
            and patterns[0].takes_rest
            and key == patterns[0].segments
        }

    def match(self, method: str, target: str) -> Match[T] | None:
        """Find what a raw target asks for; ``None``: the path is unknown.

        The table's order decides between paths that both fit.
        """
        # What names a destination right behind two plain words: nearly every call.
        words = target.split("/", 3)
        if len(words) == 4 and not words[0]:
            methods = self._direct.get((words[1], words[2]))
            if methods is not None and method in methods:
                return Match(methods[method], {"destination": words[3]})
        segments = target.partition("?")[0].removeprefix("/").split("/")
        is_found = False
        allowed: list[str] = []
        key = (segments[0].lower(), segments[1].lower() if len(segments) > 1 else "")
        has_slash = len(segments) > 2 and not segments[-1]
        trimmed = segments[:-1] if has_slash else segments  # BASE-7
        for pattern in self._patterns.get(key, ()):
            names = pattern.names(segments if pattern.takes_rest else trimmed, target)
            if names is None:
                continue
            handler = pattern.methods.get("GET" if method == "HEAD" else method)
            if handler is not None:
                return Match(handler, names)
            is_found = True
            allowed += pattern.methods
        return Match(None, allowed=tuple(allowed)) if is_found else None
