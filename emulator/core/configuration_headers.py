"""Configuration headers: which there are, and which of a request's headers are some.

Sorts the headers of one source by what they are: configuration, to be forwarded, or
of no concern (section 6 of the contract). Names come in any case (HDR-1); empty
configuration is no configuration (HDR-7); unknown ``Upstash-*`` names have no effect
(HDR-6). Workflows aren't there yet: their headers are refused, never silently
dropped.

Which of several sources wins is ``Given.fall_back`` (HDR-3). What the settings mean
is decided in ``headers.py`` and ``options.py``. The table is for the documentation,
which says of each header whether qemu supports it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import lru_cache
from typing import NamedTuple

from emulator.core.header_map import canonical_name
from emulator.core.header_values import is_header_name
from emulator.core.options import Setting, is_option, is_protected, split_callback
from emulator.errors import InvalidHeader, NotSupported, shown

__all__ = [
    "CONFIGURATION_HEADERS",
    "ConfigurationHeader",
    "Given",
    "check_value",
    "read_headers",
    "unknown_configuration",
]


class ConfigurationHeader(NamedTuple):
    """A line of the table of HDR-4."""

    name: str

    value: str
    """Its form, in words."""

    scope: str
    """P: publish. E: enqueue. B: batch entry. S: schedule."""

    clause: str
    """Where the contract says what it does."""

    is_supported: bool = True
    """Whether what it asks for is done. If not, it is refused."""


CONFIGURATION_HEADERS = (
    ConfigurationHeader("Content-Type", "any", "PEBS", "HDR-20"),
    ConfigurationHeader("Upstash-Method", "a method", "PEBS", "HDR-21"),
    ConfigurationHeader("Upstash-Delay", "a duration", "PEBS", "HDR-22"),
    ConfigurationHeader("Upstash-Not-Before", "Unix seconds", "PEB", "HDR-23"),
    ConfigurationHeader("Upstash-Retries", "an integer", "PEBS", "HDR-5"),
    ConfigurationHeader("Upstash-Retry-Delay", "an expression", "PEBS", "RTY-12"),
    ConfigurationHeader("Upstash-Timeout", "a duration", "PEBS", "DLV-21"),
    ConfigurationHeader("Upstash-Callback", "a URL", "PEBS", "CBK-1"),
    ConfigurationHeader("Upstash-Callback-<option>", "per option", "PEBS", "CBK-10"),
    ConfigurationHeader("Upstash-Failure-Callback", "a URL", "PEBS", "CBK-2"),
    ConfigurationHeader(
        "Upstash-Failure-Callback-<option>", "per option", "PEBS", "CBK-10"
    ),
    ConfigurationHeader("Upstash-Forward-<Name>", "any", "PEBS", "HDR-30"),
    ConfigurationHeader("Upstash-Header-Forward", "a boolean", "PEBS", "HDR-34"),
    ConfigurationHeader("Upstash-Deduplication-Id", "an id", "PEB", "DED-4"),
    ConfigurationHeader(
        "Upstash-Content-Based-Deduplication", "a boolean", "PEB", "DED-6"
    ),
    ConfigurationHeader("Upstash-Label", "a comma list", "PEBS", "FMT-12"),
    ConfigurationHeader("Upstash-Flow-Control-Key", "a key", "PEBS", "FLC-1"),
    ConfigurationHeader("Upstash-Flow-Control-Value", "limits", "PEBS", "FLC-2"),
    ConfigurationHeader("Upstash-Redact-Fields", "a comma list", "PEBS", "RED-1"),
    ConfigurationHeader("Upstash-Telemetry-<Name>", "any", "PEBS", "ENV-13"),
    ConfigurationHeader("Upstash-Cron", "a cron", "PS", "SCH-3"),
    ConfigurationHeader("Upstash-Schedule-Id", "a name", "S", "SCH-8"),
    ConfigurationHeader("Upstash-Queue-Name", "a name", "S", "SCH-16"),
    ConfigurationHeader("Upstash-Workflow-<Name>", "any", "PEB", "HDR-6", False),
)
"""Every configuration header that QStash has, for the documentation."""

# By their names without ``Upstash-``. What ends in a hyphen may go on in any way.
_BY_LEAF = {
    header.name.removeprefix("Upstash-").partition("<")[0]: header.name
    for header in CONFIGURATION_HEADERS
}

_PREFIXES = tuple(leaf for leaf in _BY_LEAF if leaf.endswith("-"))

# Of workflows (HDR-6), and not in the table.
_OF_WORKFLOWS = ("Feature-Set",)

_REMEMBERED_CHARACTERS = 256
"""Of a name: what strangers send must not fill a cache. No real one is longer."""

_NEAR = 0.7
"""How alike two names are of which one may be meant for the other."""

_NOT_SUPPORTED = {
    "Workflow-Init": "Upstash Workflow",
    "Workflow-Runid": "Upstash Workflow",
}

# Settings of one publish or of one schedule, which messages don't keep.
_OF_PUBLISH = (
    "Content-Based-Deduplication",
    "Cron",
    "Deduplication-Id",
    "Delay",
    "Header-Forward",
    "Not-Before",
    "Queue-Name",
    "Schedule-Id",
)

# Whatever arrives in JSON must not end a header on its way out, or be no text at all.
# Lone surrogates stand for bytes that aren't UTF-8: the client would drop them.
_UNSENDABLE = re.compile("[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")


class _Kind(Enum):
    IGNORED = auto()
    PLAIN = auto()
    CONTENT_TYPE = auto()
    FORWARDED = auto()
    OPTION = auto()
    CALLBACK_FORWARDED = auto()
    OF_PUBLISH = auto()
    NOT_SUPPORTED = auto()


@dataclass(slots=True)
class Given:
    """The headers of one source, by what they are."""

    content_type: str = ""

    options: list[Setting] = field(default_factory=list)

    of_publish: dict[str, str] = field(default_factory=dict)

    forwarded: list[Setting] = field(default_factory=list)
    """With ``Upstash-Forward-``, which isn't in the names."""

    plain: list[Setting] = field(default_factory=list)
    """Without: forwarded if all are (HDR-34)."""

    def fall_back(self, other: Given) -> None:
        """Take from a source of lower rank what isn't here (HDR-3)."""
        self.content_type = self.content_type or other.content_type
        self.of_publish = other.of_publish | self.of_publish
        self.options = _with_missing(self.options, other.options)
        self.forwarded = _with_missing(self.forwarded, other.forwarded)


def _with_missing(higher: list[Setting], lower: list[Setting]) -> list[Setting]:
    names = {name for name, _ in higher}
    return higher + [pair for pair in lower if pair[0] not in names]


def read_headers(headers: Iterable[tuple[str, str]]) -> Given:
    """Sort headers, or parameters, by what they are; drop what is of no concern.

    Raises ``InvalidHeader`` for a name that can't be one, and for a value that can't
    be sent; ``NotSupported`` for what qemu doesn't do yet.
    """
    given = Given()
    for raw_name, raw_value in headers:
        kind, name = (
            _classify(raw_name)
            if len(raw_name) <= _REMEMBERED_CHARACTERS
            else _classify_anew(raw_name)
        )
        if kind is _Kind.IGNORED:
            continue
        if kind is _Kind.PLAIN:
            given.plain.append((name, raw_value))
            continue

        check_value(raw_name, raw_value)
        if kind is _Kind.FORWARDED:
            given.forwarded.append((name, raw_value))
            continue
        if kind is _Kind.CALLBACK_FORWARDED:
            given.options.append((name, raw_value))
            continue

        value = raw_value.strip(" \t")
        if not value:
            continue
        if kind is _Kind.CONTENT_TYPE:
            given.content_type = given.content_type or raw_value
        elif kind is _Kind.OPTION:
            given.options.append((name, value))
        elif kind is _Kind.OF_PUBLISH:
            given.of_publish.setdefault(name, value)
        else:
            raise NotSupported(name)
    return given


def _classify_anew(raw_name: str) -> tuple[_Kind, str]:
    """Return what a header is, and the part of its name that matters then.

    Raises ``InvalidHeader`` for what can't be a header's name: a batch entry's is any
    text, and so is a parameter's.
    """
    if not is_header_name(raw_name):
        sentence = f"invalid header name {shown(raw_name)}"
        raise InvalidHeader(raw_name, "", "invalid name", sentence=sentence)

    name = canonical_name(raw_name)
    if not name.startswith("Upstash-"):
        if name == "Content-Type":
            return _Kind.CONTENT_TYPE, name
        return (_Kind.IGNORED if is_protected(name) else _Kind.PLAIN), name

    name = name.removeprefix("Upstash-")
    if name.startswith("Forward-"):
        return _Kind.FORWARDED, canonical_name(name.removeprefix("Forward-"))
    if name in _OF_PUBLISH:
        return _Kind.OF_PUBLISH, name
    if name in _NOT_SUPPORTED:
        return _Kind.NOT_SUPPORTED, _NOT_SUPPORTED[name]
    if not is_option(name):
        return _Kind.IGNORED, name

    leaf, callback = name, split_callback(name)
    while callback is not None:
        _, leaf = callback
        callback = split_callback(leaf)
    if leaf.startswith("Forward-"):
        return _Kind.CALLBACK_FORWARDED, name
    return _Kind.OPTION, name


_classify = lru_cache(maxsize=4096)(_classify_anew)


def unknown_configuration(
    headers: Iterable[tuple[str, str]],
) -> tuple[tuple[str, str | None], ...]:
    """Return the ``Upstash-*`` names that QStash doesn't know, each with the nearest.

    Most likely they are misspelt: they have no effect (HDR-6). ``None``: none that is
    known resembles it.
    """
    found = {}
    for name, _ in headers:
        if name[:8].lower() == "upstash-" and len(name) <= _REMEMBERED_CHARACTERS:
            unknown = _unknown(name)
            if unknown is not None:
                found[unknown[0]] = unknown[1]
    return tuple(found.items())


@lru_cache(maxsize=1024)
def _unknown(raw_name: str) -> tuple[str, str | None] | None:
    name = canonical_name(raw_name)
    if is_protected(name):
        return None  # of deliveries: whoever forwards one may pass it on
    above, leaf = "", name.removeprefix("Upstash-")
    while (callback := split_callback(leaf)) is not None:
        above += f"{callback[0]}-"
        leaf = callback[1]
    is_known = leaf in _BY_LEAF or leaf.startswith(_PREFIXES)
    # A callback's content type is spelled like its other options, a message's isn't.
    if leaf == "Content-Type" and not above:
        is_known = False
    if is_known or leaf in ("", *_OF_WORKFLOWS):
        return None
    from difflib import get_close_matches  # only when something is misspelt

    near = get_close_matches(leaf, _BY_LEAF, n=1, cutoff=_NEAR)
    if not near:
        return name, None
    header = _BY_LEAF[near[0]]
    if above:
        header = f"Upstash-{above}{header.removeprefix('Upstash-')}"
    return name, header


def check_value(name: str, value: str) -> None:
    """Raise ``InvalidHeader`` if a header can't have this value on its way out."""
    if value.isascii() and value.isprintable():
        return
    if _UNSENDABLE.search(value):
        reason = "a header contains text in UTF-8, without control characters"
        raise InvalidHeader(canonical_name(name), value, reason)
