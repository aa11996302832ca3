"""The wait before the next delivery of a message whose last delivery failed.

Three rules, the first that applies wins (RTY-3):

1. a usable reset header in the destination's response;
2. the message's ``Upstash-Retry-Delay``;
3. the default backoff.

That a header outranks the expression isn't documented: it is the choice of Q-7, and
``next_delay_ms`` is the one place to change it.

The wait counts from the end of the failed delivery (RTY-2). Whether there is a next
delivery at all isn't decided here: a reset header never adds one (RTY-25).
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta

from emulator.core import expression
from emulator.core.duration import ONE_DAY_MS, parse_go_duration_ms
from emulator.core.header_map import HeaderMap, pairs
from emulator.core.model import Message, Outcome, Responded

__all__ = ["RESET_HEADERS", "default_backoff_ms", "next_delay_ms"]

RESET_HEADERS = (
    "Retry-After",
    "X-Ratelimit-Reset",
    "X-Ratelimit-Reset-Requests",
    "X-Ratelimit-Reset-Tokens",
)
"""In order of precedence, spelled as header maps spell them (RTY-20, FMT-7)."""

_RETRIES_TO_ONE_DAY = 5

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_MONTHS = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)

# So many digits that more make no difference: a wait of over a day is ignored.
_WHOLE_SECONDS = re.compile(r"[+-]?[0-9]{1,15}")

# RFC 1123. Any weekday will do: the documented sample has a wrong one (RTY-21).
_DATE = re.compile(
    rf"[A-Za-z]{{3}}, ([0-9]{{1,2}}) ({'|'.join(_MONTHS)}) ([0-9]{{4}}) "
    r"([0-9]{2}):([0-9]{2}):([0-9]{2}) (?:GMT|UTC)"
)


def next_delay_ms(message: Message, outcome: Outcome, retried: int, now_ms: int) -> int:
    """Return how long to wait before the next delivery, in milliseconds.

    ``outcome`` is that of the delivery which failed, and ended at ``now_ms`` (Unix
    milliseconds). ``retried`` counts the retries already made: 0 before the first
    (RTY-13). The result lies between 0, at once, and one day. Never raises.
    """
    if isinstance(outcome, Responded):
        delay_ms = _reset_delay_ms(outcome.header, now_ms)
        if delay_ms is not None:
            return delay_ms

    if message.options.retry_delay is not None:
        delay_ms = expression.delay_ms(message.options.retry_delay, retried)
        if delay_ms is not None:
            return delay_ms

    return default_backoff_ms(retried + 1)


def default_backoff_ms(retry_number: int) -> int:
    """Return the default wait before a retry, in milliseconds, rounded down.

    ``retry_number`` is 1 for the first. ``min(86400, e^(2.5·n))`` seconds (RTY-10),
    so 12.182 s, 2m28s, 30m8s, 6h7m6s, and a day from the fifth on.
    """
    # e^(2.5·5) is over a day, and e^(2.5·300) over any float.
    exponent = 2.5 * min(retry_number, _RETRIES_TO_ONE_DAY)
    return min(ONE_DAY_MS, int(1000 * math.exp(exponent)))


def _reset_delay_ms(header: HeaderMap, now_ms: int) -> int | None:
    """Return what the first usable reset header asks for, or ``None``."""
    for name in RESET_HEADERS:
        for candidate, value in pairs(header):
            if candidate != name:
                continue
            wait_ms = _wait_ms(value.strip(" \t"), now_ms)
            # RTY-24: what can't be read is ignored. RTY-23: so is more than a day,
            # and with it the Unix timestamp that some APIs put here.
            if wait_ms is not None and wait_ms <= ONE_DAY_MS:
                # RTY-22: what lies in the past means at once.
                return max(0, wait_ms)
    return None


def _wait_ms(value: str, now_ms: int) -> int | None:
    """Read a reset header in any format of RTY-21; negative: in the past."""
    if _WHOLE_SECONDS.fullmatch(value):
        return int(value) * 1000

    date = _DATE.fullmatch(value)
    if date is None:
        return parse_go_duration_ms(value)

    day, month, year, hour, minute, second = date.groups()
    try:
        when = datetime(
            int(year),
            _MONTHS.index(month) + 1,
            int(day),
            int(hour),
            int(minute),
            int(second),
            tzinfo=UTC,
        )
    except ValueError:  # 31 February, 25 o'clock
        return None
    return (when - _EPOCH) // timedelta(milliseconds=1) - now_ms
