"""Durations and instants as a test writes them, to the milliseconds of the engine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from emulator.core.duration import parse_duration_ms

__all__ = ["Duration", "Instant", "datetime_of", "parse_duration", "parse_instant"]

Duration = str | timedelta | float
"""``"1h30m"`` (FMT-3), a ``timedelta``, or seconds."""

Instant = datetime | str | int
"""A ``datetime`` with a time zone, the same in ISO 8601, or Unix milliseconds."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_MILLISECOND = timedelta(milliseconds=1)


def parse_duration(value: Duration) -> int:
    """Return a duration in milliseconds. Raises ``ValueError`` for a negative one."""
    if isinstance(value, str):
        try:
            return parse_duration_ms(value)
        except ValueError as error:
            raise ValueError(f"duration {value!r} {error}") from None
    if isinstance(value, timedelta):
        duration_ms = value // _MILLISECOND
    else:
        duration_ms = round(value * 1000)
    if duration_ms < 0:
        raise ValueError(f"duration {value!r} is negative")
    return duration_ms


def parse_instant(value: Instant) -> int:
    """Return an instant in Unix milliseconds.

    Raises ``ValueError`` where the time zone is missing: it would be somebody's guess.
    """
    if isinstance(value, int):
        return value
    instant = datetime.fromisoformat(value) if isinstance(value, str) else value
    if instant.tzinfo is None:
        raise ValueError(
            f"{value!r} has no time zone: say 2027-03-28T00:30Z, "
            "or datetime(…, tzinfo=UTC)"
        )
    return (instant - _EPOCH) // _MILLISECOND


def datetime_of(instant_ms: int) -> datetime:
    """Return an instant as a ``datetime`` in UTC."""
    return _EPOCH + instant_ms * _MILLISECOND
