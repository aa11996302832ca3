r"""Durations as text: QStash's own dialect, and Go's.

Two dialects, told apart by who writes them::

    publisher   = 1*( number ( "d" / "h" / "m" / "s" ) )            FMT-3
    number      = 1*DIGIT [ "." 1*DIGIT ]

    destination = [ "+" / "-" ] ( "0" / 1*( go-number go-unit ) )    RTY-21
    go-number   = 1*DIGIT [ "." *DIGIT ] / "." 1*DIGIT
    go-unit     = "ns" / "us" / "µs" / "ms" / "s" / "m" / "h"

The first stands in configuration headers, the second in the reset headers of a
destination's response. Units may come in any order and repeat, as in Go; a day has
24 hours. Sums are exact, and only then rounded down to whole milliseconds.

What a duration is for, and which plan allows how much, isn't decided here.
"""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = [
    "MAX_DURATION_MS",
    "MAX_LENGTH",
    "ONE_DAY_MS",
    "format_duration",
    "parse_duration_ms",
    "parse_go_duration_ms",
]

ONE_DAY_MS = 86_400_000

MAX_DURATION_MS = 10_000 * 365 * ONE_DAY_MS
"""Ten thousand years: more is a mistake, not a wait."""

MAX_LENGTH = 64
"""In characters: three floats printed in full, each with its unit, still fit."""

_NS_PER_MS = 1_000_000

_UNIT_NS = {
    "d": ONE_DAY_MS * _NS_PER_MS,
    "h": 3_600_000 * _NS_PER_MS,
    "m": 60_000 * _NS_PER_MS,
    "s": 1_000 * _NS_PER_MS,
    "ms": _NS_PER_MS,
    "us": 1_000,
    "\u00b5s": 1_000,  # the micro sign
    "\u03bcs": 1_000,  # the Greek letter, which looks the same: Go takes both
    "ns": 1,
}

_TERM = re.compile(r"([0-9]+)(?:\.([0-9]+))?([dhms])")

# The lookahead asks for a digit on either side of the point.
_GO_TERM = re.compile(
    r"(?=\.?[0-9])([0-9]*)(?:\.([0-9]*))?(ns|us|\u00b5s|\u03bcs|ms|s|m|h)"
)


def parse_duration_ms(text: str) -> int:
    """Parse a duration of a configuration header into milliseconds (FMT-3).

    Fractions of a millisecond are dropped. The result lies between 0 (FMT-4) and
    ``MAX_DURATION_MS``. Raises ``ValueError`` with a reason that can stand behind
    the header's name.
    """
    if len(text) > MAX_LENGTH:
        raise ValueError(f"must be at most {MAX_LENGTH} characters long")

    duration_ms = _total_ms(text, _TERM)
    if duration_ms is None:
        # A bare number lands here as well: FMT-3 wants the unit.
        raise ValueError("must be numbers with units d, h, m or s, such as 1d10h30m")

    if duration_ms > MAX_DURATION_MS:
        raise ValueError("must be at most 10,000 years")
    return duration_ms


def format_duration(duration_ms: int) -> str:
    """Write a duration as a reader likes it: ``6h7m6.465s``, ``1d``, ``0s``.

    The inverse of ``parse_duration_ms``, up to ``MAX_DURATION_MS``; FMT-3 knows no
    milliseconds, so they become a fraction of the seconds. Raises ``ValueError`` for
    a negative duration, which the grammar can't say.
    """
    if duration_ms < 0:
        raise ValueError("a duration can't be negative")

    seconds, milliseconds = divmod(duration_ms, 1_000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)

    terms = ((days, "d"), (hours, "h"), (minutes, "m"))
    text = "".join(f"{number}{unit}" for number, unit in terms if number)
    if seconds or milliseconds or not text:
        text += f"{seconds}.{milliseconds:03}".rstrip("0").rstrip(".") + "s"
    return text


def parse_go_duration_ms(text: str) -> int | None:
    """Parse a duration of a destination's reset header into milliseconds (RTY-21).

    ``None`` if it isn't one (RTY-24). Fractions of a millisecond are dropped. A
    negative duration has a negative result, an instant in the past: what that means
    is the caller's business, and so is one of any size.
    """
    if len(text) > MAX_LENGTH:
        return None

    magnitude = text[1:] if text.startswith(("+", "-")) else text
    # Go lets nought, and nothing else, go without a unit.
    duration_ms = 0 if magnitude == "0" else _total_ms(magnitude, _GO_TERM)
    if duration_ms is None:
        return None
    return -duration_ms if text.startswith("-") else duration_ms


@lru_cache(maxsize=256)
def _total_ms(text: str, term: re.Pattern[str]) -> int | None:
    """Add up a row of terms, or return ``None`` if the text is anything else.

    ``text`` is at most ``MAX_LENGTH`` long, which bounds the integers here.
    """
    if not text:
        return None

    total = 0  # in units of 10 ** -MAX_LENGTH nanoseconds: no fraction is lost
    position = 0
    while position < len(text):
        match = term.match(text, position)
        if match is None:
            return None
        whole, fraction, unit = match.groups(default="")
        scale = 10 ** (MAX_LENGTH - len(fraction))
        total += int(whole + fraction) * _UNIT_NS[unit] * scale
        position = match.end()
    return int(total // (10**MAX_LENGTH * _NS_PER_MS))
