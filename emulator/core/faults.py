"""Fault scripts: what at-least-once delivery really means, on purpose.

A fault says which deliveries it meets (a pattern of URLs, a probability, how often)
and what happens to them. Decides whether a fault meets a delivery; what that then
does stands in ``engine/faults.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from emulator.core.duration import parse_duration_ms
from emulator.errors import InvalidBody, shown

__all__ = ["Fault", "FaultKind", "parse_fault"]

_KEYS = ("kind", "destination", "probability", "times", "delay", "retry-after")

_DEFAULT_DELAY_MS = 5_000
_DEFAULT_RETRY_AFTER_S = 10
_MAX_INTEGER = 86_400


class FaultKind(StrEnum):
    """What happens to a delivery that a fault meets."""

    LOST_ACKNOWLEDGEMENT = "lost-acknowledgement"
    """It is delivered, and its answer is dropped: so it comes again."""

    DUPLICATE = "duplicate"
    """It is delivered twice, the same to the byte, but for the signature's id."""

    REORDER = "reorder"
    """It is held back for a while by chance, so that others overtake it."""

    SLOW_START = "slow-start"
    """It takes a while until the destination is called, as after a cold start."""

    RATE_LIMIT = "rate-limit"
    """The destination isn't called: it is as if it had answered 429, Retry-After."""

    WRONG_SIGNATURE = "wrong-signature"
    """It is signed with a key that nobody has."""

    EXPIRED_SIGNATURE = "expired-signature"
    """Its signature expired a minute ago."""

    NEXT_KEY = "next-key"
    """It is signed with the next key, as after a rotation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault, and which deliveries it meets."""

    kind: FaultKind

    destination: str = "*"
    """A pattern of URLs as published: ``*`` is any text, ``?`` any character."""

    probability: float = 1.0
    """Of meeting a delivery that fits, from 0 to 1."""

    times: int | None = None
    """How many deliveries it meets before it is over. ``None``: no end."""

    delay_ms: int = _DEFAULT_DELAY_MS
    """How long ``slow-start`` takes, and ``reorder`` at the most."""

    retry_after_s: int = _DEFAULT_RETRY_AFTER_S
    """What ``rate-limit`` tells to wait, in seconds."""

    def fits(self, url: str) -> bool:
        """Whether the pattern matches a URL, whole."""
        return fnmatchcase(url, self.destination)


def parse_fault(fields: Mapping[str, Any]) -> Fault:
    """Read a fault, as JSON and the settings file spell it. Raises ``InvalidBody``."""
    for key in fields:
        if key not in _KEYS:
            raise InvalidBody(f"unknown key {key!r}: use {', '.join(_KEYS)}")
    given = fields.get("kind", "")
    try:
        kind = FaultKind(given)
    except ValueError:
        known = ", ".join(FaultKind)
        reason = f"kind must be one of {known}, not {shown(str(given))}"
        raise InvalidBody(reason) from None
    destination = fields.get("destination", "*")
    if not isinstance(destination, str) or not destination:
        raise InvalidBody("destination must be a pattern such as */api/hook")
    probability = fields.get("probability", 1.0)
    if not _is_number(probability) or not 0 <= probability <= 1:
        raise InvalidBody("probability must be a number from 0 to 1")
    return Fault(
        kind=kind,
        destination=destination,
        probability=float(probability),
        times=_integer(fields, "times", None, least=1),
        delay_ms=_delay_ms(fields),
        retry_after_s=_integer(fields, "retry-after", _DEFAULT_RETRY_AFTER_S, least=0)
        or 0,
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _integer(
    fields: Mapping[str, Any], key: str, default: int | None, *, least: int
) -> int | None:
    if key not in fields:
        return default
    match fields[key]:
        case int(value) if (
            not isinstance(value, bool) and least <= value <= _MAX_INTEGER
        ):
            return value
        case _:
            raise InvalidBody(
                f"{key} must be a whole number from {least} to {_MAX_INTEGER}"
            )


def _delay_ms(fields: Mapping[str, Any]) -> int:
    value = fields.get("delay")
    if value is None:
        return _DEFAULT_DELAY_MS
    if not isinstance(value, str):
        raise InvalidBody("delay must be a duration such as 1m30s")
    try:
        return parse_duration_ms(value)
    except ValueError as error:
        raise InvalidBody(f"delay: {error}") from None
