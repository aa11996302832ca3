"""The types of options that click doesn't know, or words otherwise."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from emulator.core.reroute import Route

from emulator.errors import shown

__all__ = [
    "DurationType",
    "InstantType",
    "NameType",
    "NetworkType",
    "RouteType",
    "SizeType",
    "StateType",
    "TargetType",
    "WholeNumber",
]

_UNIT_BYTES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}

_MAX_SIZE_BYTES = 1 << 50

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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


class WholeNumber(click.IntRange):
    """A whole number within bounds, whose error says which."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return the number."""
        try:
            number = super().convert(value, param, ctx)
        except click.BadParameter:
            bounds = f"from {self.min} to {self.max}"
            if self.max is None:
                bounds = f"of at least {self.min}"
            self.fail(f"must be a whole number {bounds}, not {shown(str(value))}")
        assert isinstance(number, int)
        return number


class DurationType(click.ParamType):  # type: ignore[type-arg]
    """A duration such as ``30s`` or ``1m30s``; becomes seconds."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return seconds."""
        from emulator.core.duration import parse_duration_ms

        if isinstance(value, float):
            return value
        try:
            return parse_duration_ms(value) / 1000
        except ValueError as error:
            self.fail(f"{error}, not {shown(value)}")


class SizeType(click.ParamType):  # type: ignore[type-arg]
    """A size such as ``10MB``; becomes bytes. A kilobyte has 1,024 of them."""

    name = "size"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return bytes."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"([0-9]{1,16}) ?([kmg]?)i?b?", value.lower())
        if match is None:
            self.fail(f"{shown(value)} isn't a size, such as 10MB or 512KB")
        size_bytes = int(match[1]) * _UNIT_BYTES[match[2]]
        if not 0 < size_bytes <= _MAX_SIZE_BYTES:
            self.fail(f"{shown(value)} isn't between one byte and a petabyte")
        return size_bytes


class StateType(click.Choice[str]):
    """A state of messages, in any case, and shown in capitals as the log has it."""

    def __init__(self, states: Sequence[str]) -> None:
        super().__init__(states, case_sensitive=False)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Return what ``--help`` shows for a value."""
        return "STATE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return the state in capitals."""
        state = str(value).upper()
        if state not in self.choices:
            self.fail(f"{shown(str(value))} is none of {', '.join(self.choices)}")
        return state


class _ListedType(click.ParamType):  # type: ignore[type-arg]
    """A value of which a variable may hold several: none contains what splits them."""

    def split_envvar_value(self, rv: str) -> Sequence[str]:
        """Split at white space and commas."""
        return re.split(r"[\s,]+", rv.strip(" ,\t\r\n"))


class NameType(_ListedType):
    """A host's name, or an origin: ``metavar`` is what ``--help`` shows."""

    name = "name"

    def __init__(self, metavar: str) -> None:
        self._metavar = metavar

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Return what ``--help`` shows for a value."""
        return self._metavar


class NetworkType(_ListedType):
    """An address, or a network such as ``10.0.0.0/8``; stays as it was written."""

    name = "cidr"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Check it."""
        from ipaddress import ip_network

        text = str(value)
        try:
            ip_network(text, strict=False)
        except ValueError:
            self.fail(f"{shown(text)} is no address, and no network like 10.0.0.0/8")
        return text


class RouteType(_ListedType):
    """A route: the messages for one origin are delivered to another."""

    name = "route"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Return what ``--help`` shows for a value."""
        return "URL=URL"

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


class TargetType(click.ParamType):  # type: ignore[type-arg]
    """A local port, or a URL; becomes a number, or stays a text.

    ``instead`` are words that may stand in its place: they complete.
    """

    name = "target"

    def __init__(self, *, instead: Sequence[str] = ()) -> None:
        self._instead = tuple(instead)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str:
        """Return the port, or the URL. What either may be, isn't decided here."""
        text = str(value)
        if text.isascii() and text.isdigit() and len(text) <= 5:
            return int(text)
        if "://" in text:
            return text
        self.fail(f"{shown(text)} is neither a port nor a URL like http://app.test")

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Complete the words that may stand in its place."""
        from click.shell_completion import CompletionItem

        words = (word for word in self._instead if word.startswith(incomplete))
        return [CompletionItem(word) for word in words]
