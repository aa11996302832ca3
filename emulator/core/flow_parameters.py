"""Flow parameters: what a call pins of a flow-control key, or unpins.

Reads query parameters, decoded, and says which limits are meant; ``flow.py`` knows
what pinning does. Parameters by other names are ignored. One that is empty counts as
absent, as in headers (HDR-7), and one that is given twice is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from emulator.core.filters import Parameters
from emulator.core.header_values import MAX_PERIOD_S, parse_boolean, parse_integer
from emulator.errors import InvalidHeader, InvalidParameter

__all__ = ["Pin", "parse_pin", "parse_unpin"]

_T = TypeVar("_T")


class Pin(NamedTuple):
    """What to pin (FLC-24). ``None``: leave it as it is. Something is given."""

    parallelism: int | None = None
    """At least 1."""

    rate: int | None = None
    """At least 1."""

    period_s: int | None = None
    """From one second to a week."""


def parse_pin(parameters: Parameters) -> Pin:
    """Read what to pin: whole numbers, the period in seconds (FLC-24).

    Raises ``InvalidParameter`` for a value that messages couldn't configure either
    (FLC-2), and if there is nothing to pin (FLC-26).
    """
    pin = Pin(
        parallelism=_limit(parameters, "parallelism"),
        rate=_limit(parameters, "rate"),
        period_s=_limit(parameters, "period"),
    )
    if pin == Pin():
        raise InvalidParameter("pin", "", "it takes parallelism, rate or period")
    if pin.period_s is not None and pin.period_s > MAX_PERIOD_S:
        raise InvalidParameter("period", str(pin.period_s), "is at most a week")
    return pin


def parse_unpin(parameters: Parameters) -> tuple[bool, bool]:
    """Return whether to unpin the parallelism, and whether the rate (FLC-25).

    Both are false unless said: then nothing happens, and that is no error. Raises
    ``InvalidParameter`` for what is no boolean (FMT-5).
    """
    return (
        _parsed(parse_boolean, parameters, "parallelism") or False,
        _parsed(parse_boolean, parameters, "rate") or False,
    )


def _limit(parameters: Parameters, name: str) -> int | None:
    limit = _parsed(parse_integer, parameters, name)
    if limit == 0:
        raise InvalidParameter(name, "0", "must be at least 1")
    return limit


def _parsed(
    parse: Callable[[str, str], _T], parameters: Parameters, name: str
) -> _T | None:
    values = [value for value in parameters.get(name, []) if value]
    if not values:
        return None
    if len(values) > 1:
        raise InvalidParameter(name, values[1], "given more than once")
    try:
        return parse(name, values[0])
    except InvalidHeader as error:
        raise InvalidParameter(name, values[0], error.reason) from None
