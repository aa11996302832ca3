"""A request to publish: its headers, parameters and body, read and checked.

Decides what each header is: configuration, to be forwarded, or of no concern (section
6 of the contract); which source wins; and whether the plan allows it. Nothing is
stored before everything has been checked (PUB-30).

A header counts before a query parameter of the same name, and that before a default
of the URL group (HDR-3). Empty configuration is no configuration (HDR-7). Names come
in any case (HDR-1); unknown ``Upstash-*`` names have no effect (HDR-6).

What the options mean is read in ``options.py``, and where to publish in
``destination.py``. Schedules and workflows aren't there yet: their headers are
refused, never silently dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import lru_cache
from typing import NamedTuple

from emulator.core.destination import parse_destination
from emulator.core.header_map import HeaderMap, canonical_name, pairs
from emulator.core.header_values import (
    is_header_name,
    parse_boolean,
    parse_deduplication_id,
    parse_duration,
    parse_integer,
)
from emulator.core.limits import Limits
from emulator.core.model import Incoming, Options, Publish
from emulator.core.options import (
    Setting,
    check_retries,
    configure,
    is_option,
    is_protected,
    merge_header,
    parse_options,
    split_callback,
)
from emulator.errors import InvalidHeader, NotSupported, QuotaExceeded, shown

__all__ = [
    "CONFIGURATION_HEADERS",
    "ConfigurationHeader",
    "Overrides",
    "parse_overrides",
    "parse_publish",
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
    """Whether a message with it is accepted. If not, it is refused here or, if flow
    control is asked for, by the engine."""


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
    ConfigurationHeader("Upstash-Flow-Control-Key", "a key", "PEBS", "FLC-1", False),
    ConfigurationHeader("Upstash-Flow-Control-Value", "limits", "PEBS", "FLC-2", False),
    ConfigurationHeader("Upstash-Redact-Fields", "a comma list", "PEBS", "RED-1"),
    ConfigurationHeader("Upstash-Telemetry-<Name>", "any", "PEBS", "ENV-13"),
    ConfigurationHeader("Upstash-Cron", "a cron", "PS", "SCH-3", False),
    ConfigurationHeader("Upstash-Schedule-Id", "a name", "S", "SCH-8", False),
    ConfigurationHeader("Upstash-Queue-Name", "a name", "S", "SCH-16", False),
    ConfigurationHeader("Upstash-Workflow-<Name>", "any", "PEB", "HDR-6", False),
)
"""Every configuration header that QStash has, for the documentation."""

_NOT_SUPPORTED = {
    "Cron": "Upstash-Cron",
    "Workflow-Init": "Upstash Workflow",
    "Workflow-Runid": "Upstash Workflow",
}

# Settings of one publish, which messages don't keep.
_OF_PUBLISH = (
    "Content-Based-Deduplication",
    "Deduplication-Id",
    "Delay",
    "Header-Forward",
    "Not-Before",
)

# Whatever arrives in JSON must not end a header on its way out, or be no text at all:
# U+DC80 to U+DCFF stand for bytes that aren't UTF-8, other surrogates for nothing.
_UNSENDABLE = re.compile("[\x00-\x08\x0a-\x1f\x7f\ud800-\udc7f\udd00-\udfff]")

_SHARED_CHARACTERS = 128

_LAST_SECOND = 253_402_300_799
"""Of the year 9999: beyond it, somebody mistook milliseconds for seconds."""


class _Kind(Enum):
    IGNORED = auto()
    PLAIN = auto()
    CONTENT_TYPE = auto()
    FORWARDED = auto()
    OPTION = auto()
    CALLBACK_FORWARDED = auto()
    OF_PUBLISH = auto()
    NOT_SUPPORTED = auto()


def parse_publish(
    incoming: Incoming, *, limits: Limits, now_ms: int, defaults: HeaderMap = ()
) -> Publish:
    """Read what a publisher asks for, whole, or raise ``RequestError``.

    ``now_ms`` (Unix milliseconds) is what ``Upstash-Not-Before`` is measured from;
    ``defaults`` are the default headers of a URL group (UGR-19). A publish without
    configuration shares one ``Options`` with all of its kind.
    """
    destination = parse_destination(incoming.destination)
    if len(incoming.body) > limits.max_message_bytes:
        raise QuotaExceeded("maxMessageSize", limits.max_message_bytes)

    given = _read(incoming.headers)
    if incoming.parameters:
        given.fall_back(_read(incoming.parameters))
    if defaults:
        given.fall_back(_read(pairs(defaults)))

    options = parse_options(tuple(given.options))
    check_retries(options, limits.max_retries)
    of_publish = given.of_publish
    if not of_publish:
        return Publish(
            destination=destination,
            body=incoming.body,
            header=_header(given, forward_all=False),
            options=options,
            caller_ip=incoming.caller_ip,
        )

    delay_ms, not_before_ms = _times(of_publish, limits, now_ms)
    deduplication_id = of_publish.get("Deduplication-Id")
    if deduplication_id is not None:
        parse_deduplication_id("Upstash-Deduplication-Id", deduplication_id)
    return Publish(
        destination=destination,
        body=incoming.body,
        header=_header(given, forward_all=_flag(of_publish, "Header-Forward")),
        options=options,
        delay_ms=delay_ms,
        not_before_ms=not_before_ms,
        deduplication_id=deduplication_id,
        content_based_deduplication=_flag(of_publish, "Content-Based-Deduplication"),
        caller_ip=incoming.caller_ip,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """Configuration for messages that exist already (DLQ-34). It has been checked."""

    settings: tuple[Setting, ...] = ()

    delay_ms: int = 0

    not_before_ms: int | None = None
    """Overrides the delay (HDR-23)."""

    def apply(self, options: Options, header: HeaderMap) -> tuple[Options, HeaderMap]:
        """Return a message's options and header map with what is given changed.

        A setting of a callback changes that, and leaves its other settings alone.
        """
        return configure(self.settings, options, header)


def parse_overrides(incoming: Incoming, *, limits: Limits, now_ms: int) -> Overrides:
    """Read the configuration of a call that retries messages (DLQ-34).

    Its content type and its body are of no concern, and it has no destination.
    Nor is there deduplication (DLQ-35). Raises ``RequestError``.
    """
    given = _read(incoming.headers)
    given.fall_back(_read(incoming.parameters))

    forwarded = [(f"Forward-{name}", value) for name, value in given.forwarded]
    settings = (*given.options, *forwarded)
    check_retries(configure(settings)[0], limits.max_retries)
    delay_ms, not_before_ms = _times(given.of_publish, limits, now_ms)
    return Overrides(settings=settings, delay_ms=delay_ms, not_before_ms=not_before_ms)


@dataclass(slots=True)
class _Given:
    """The headers of one source, by what they are."""

    content_type: str = ""

    options: list[Setting] = field(default_factory=list)

    of_publish: dict[str, str] = field(default_factory=dict)

    forwarded: list[Setting] = field(default_factory=list)
    """With ``Upstash-Forward-``, which isn't in the names."""

    plain: list[Setting] = field(default_factory=list)
    """Without: forwarded if all are (HDR-34)."""

    def fall_back(self, other: _Given) -> None:
        """Take from a source of lower rank what isn't here (HDR-3)."""
        self.content_type = self.content_type or other.content_type
        self.of_publish = other.of_publish | self.of_publish
        self.options = _with_missing(self.options, other.options)
        self.forwarded = _with_missing(self.forwarded, other.forwarded)


def _with_missing(higher: list[Setting], lower: list[Setting]) -> list[Setting]:
    names = {name for name, _ in higher}
    return higher + [pair for pair in lower if pair[0] not in names]


def _read(headers: Iterable[tuple[str, str]]) -> _Given:
    given = _Given()
    for raw_name, raw_value in headers:
        kind, name = _classify(raw_name)
        if kind is _Kind.IGNORED:
            continue
        if kind is _Kind.PLAIN:
            given.plain.append((name, raw_value))
            continue

        _check_value(raw_name, raw_value)
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


@lru_cache(maxsize=4096)
def _classify(raw_name: str) -> tuple[_Kind, str]:
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


def _check_value(name: str, value: str) -> None:
    if value.isascii() and value.isprintable():
        return
    if _UNSENDABLE.search(value):
        reason = "a header can't contain this character"
        raise InvalidHeader(canonical_name(name), value, reason)


def _header(given: _Given, *, forward_all: bool) -> HeaderMap:
    """Return the header map that the destination will see (FMT-9)."""
    header: HeaderMap = ()
    if given.content_type:
        header = ("Content-Type", given.content_type)
    if forward_all:
        for name, value in given.plain:
            _check_value(name, value)
        header = merge_header(header, given.plain)
    elif not given.forwarded and len(given.content_type) <= _SHARED_CHARACTERS:
        # The header map of most messages: one object for all of them.
        return _shared(header)
    return merge_header(header, given.forwarded)


@lru_cache(maxsize=64)
def _shared(header: HeaderMap) -> HeaderMap:
    return header


def _times(
    of_publish: dict[str, str], limits: Limits, now_ms: int
) -> tuple[int, int | None]:
    """Return delay and not-before, each in milliseconds and within LIM-3."""
    delay_ms, not_before_ms = 0, None
    longest_ms = 0
    if "Delay" in of_publish:
        delay_ms = longest_ms = parse_duration("Upstash-Delay", of_publish["Delay"])
    if "Not-Before" in of_publish:
        value = of_publish["Not-Before"]
        not_before_s = parse_integer("Upstash-Not-Before", value)
        if not_before_s > _LAST_SECOND:
            reason = "is later than the year 9999: it counts seconds"
            raise InvalidHeader("Upstash-Not-Before", value, reason)
        not_before_ms = not_before_s * 1000
        longest_ms = not_before_ms - now_ms

    if limits.max_delay_s is not None and longest_ms > limits.max_delay_s * 1000:
        raise QuotaExceeded("maxDelay", limits.max_delay_s)
    return delay_ms, not_before_ms


def _flag(of_publish: dict[str, str], name: str) -> bool:
    value = of_publish.get(name)
    return value is not None and parse_boolean(f"Upstash-{name}", value)
