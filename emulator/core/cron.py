"""Cron: the five fields of a schedule, and when it fires next.

::

    cron       = [ ( "CRON_TZ=" / "TZ=" ) zone blanks ] ( descriptor / fields )
    descriptor = "@hourly" / "@daily" / "@midnight" / "@weekly" / "@monthly"
               / "@yearly" / "@annually"
    fields     = field 4( blanks field )        minute, hour, day, month, weekday
    field      = item *( "," item )
    item       = ( "*" / value [ "-" value ] ) [ "/" 1*9DIGIT ]
    value      = 1*9DIGIT / three letters of a month or a weekday, in any case

``5/10`` means from 5 to the end in steps of 10; Sunday is 0 or 7. If both the day and
the weekday are restricted, a day that matches either fires (SCH-4). As in other crons,
a field that begins with a star is not restricted: ``*/2`` and a weekday must both
match. A range doesn't wrap around: ``22-4`` is refused.

Which local times match is cronsim's to say. Here it is decided what may be written,
and which instant a local time is: one that doesn't exist in its zone is skipped, one
that occurs twice counts where it occurs first (SCH-36). Without a zone, it is UTC.

cronsim and the zones are imported by who reads a cron: most processes never do.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import takewhile
from typing import NamedTuple

from emulator.errors import shown

__all__ = ["MAX_CHARACTERS", "MAX_YEARS_AHEAD", "NEVER_MS", "next_fire_ms", "parse"]

MAX_CHARACTERS = 1024
"""Of a whole cron: lists of every minute, hour, day and month still fit."""

MAX_YEARS_AHEAD = 50
"""How far to look for a match. The rarest, a leap day that is a Sunday, takes 40."""

NEVER_MS = 253_402_300_799_999
"""Where the calendar ends, with the year 9999: the instant of what never fires."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_MS = timedelta(milliseconds=1)

_DESCRIPTORS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

_FIELDS = {
    "minute": "0-59",
    "hour": "0-23",
    "day of the month": "1-31",
    "month": "1-12 or JAN-DEC",
    "day of the week": "0-7 or SUN-SAT",
}

_BLANKS = re.compile("[ \t]+")
_PREFIX = re.compile("(?:CRON_)?TZ=([^ \t]*)[ \t]*(.*)", re.DOTALL)
_VALUE = "(?:[0-9]{1,9}|[A-Za-z]{3})"
_ITEM = rf"(?:\*|{_VALUE}(?:-{_VALUE})?)(?:/[0-9]{{1,9}})?"
_FIELD = re.compile(f"{_ITEM}(?:,{_ITEM})*")

# A zone's name becomes a path. Besides zones there are other trees and this machine's
# own zone.
_ZONE_NAME = re.compile(
    "(?!posix/|right/|localtime$|posixrules$)"
    "[A-Za-z0-9_+-]{1,32}(?:/[A-Za-z0-9_+-]{1,32}){0,2}"
)


class _Cron(NamedTuple):
    fields: str
    """Five of them, which cronsim has accepted."""

    zone: tzinfo


def parse(text: str) -> str:
    """Return a cron as it is reported: without the blanks around it (SCH-5).

    Raises ``ValueError``, with a reason that follows the text in a sentence, for what
    the grammar doesn't have, an unknown zone (SCH-6), and a day that no month has.
    """
    text = text.strip(" \t")
    _read(text)
    return text


def next_fire_ms(cron: str, after_ms: int) -> int | None:
    """Return the first firing later than an instant, in Unix milliseconds (SCH-31).

    A multiple of 60 000 (SCH-30), unless a zone's offset has seconds: none has had
    since 1972. ``None``: nothing within ``MAX_YEARS_AHEAD``, or before the calendar
    ends with the year 9999. Raises ``ValueError`` for what ``parse`` doesn't return.
    """
    from cronsim import CronSim

    read = _read(cron)
    try:
        after = (_EPOCH + timedelta(seconds=after_ms // 1000)).astimezone(read.zone)
        last_year = after.year + MAX_YEARS_AHEAD
        # Without its zone cronsim has no opinion on daylight saving.
        matches = CronSim(read.fields, after.replace(tzinfo=None))
        for local in takewhile(lambda local: local.year <= last_year, matches):
            fire_ms = _instant_ms(local, read.zone)
            # In an hour that occurs again, the first occurrence may be over.
            if fire_ms is not None and fire_ms > after_ms:
                return fire_ms
    except OverflowError:
        pass
    return None


def _instant_ms(local: datetime, zone: tzinfo) -> int | None:
    """Return when it is that time there, first; ``None``: it never is (SCH-36)."""
    instant = local.replace(tzinfo=zone).astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None) != local:
        return None
    return (instant - _EPOCH) // _MS


@lru_cache(maxsize=1024)
def _read(text: str) -> _Cron:
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"is longer than {MAX_CHARACTERS} characters")

    zone: tzinfo = UTC
    prefixed = _PREFIX.fullmatch(text)
    if prefixed:
        zone = _zone(prefixed[1])
        text = prefixed[2]
    if text.startswith("@"):
        if text not in _DESCRIPTORS:
            raise ValueError(f"descriptors are {', '.join(_DESCRIPTORS)}")
        text = _DESCRIPTORS[text]

    fields = _BLANKS.split(text)
    if len(fields) != len(_FIELDS):
        raise ValueError(f"must have five fields: {', '.join(_FIELDS)}")
    for index, (name, values) in enumerate(_FIELDS.items()):
        alone = ["*"] * len(_FIELDS)
        alone[index] = fields[index]
        if not _FIELD.fullmatch(fields[index]) or not _is_accepted(alone):
            raise ValueError(
                f"{name} can't be {shown(fields[index])}: it takes * and {values}, "
                "in lists, steps, and ranges from low to high"
            )
    if not _is_accepted(fields):
        raise ValueError("never fires: no month in it has such a day")
    return _Cron(" ".join(fields), zone)


def _is_accepted(fields: list[str]) -> bool:
    from cronsim import CronSim, CronSimError

    try:
        CronSim(" ".join(fields), _EPOCH)
    except CronSimError:
        return False
    return True


def _zone(name: str) -> tzinfo:
    from zoneinfo import ZoneInfo

    try:
        if _ZONE_NAME.fullmatch(name):
            return ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        # Not there, a folder, or another file of the database.
        pass
    raise ValueError(f"there is no time zone {shown(name)}")
