"""Values that come in JSON from somebody else, each of its type and within bounds.

Pure. Every function returns the value or raises ``SettingsRefused`` for ``setting``;
``None`` stays ``None`` where a value may be left out.
"""

from __future__ import annotations

from tunnel.errors import SettingsRefused

__all__ = ["line_or_none", "texts", "whole_or_none"]


def whole_or_none(
    setting: str, value: object, *, most: int, least: int = 1
) -> int | None:
    """Return a whole number; ``true`` is none."""
    if value is None:
        return None
    if type(value) is not int or not least <= value <= most:
        raise SettingsRefused(
            setting, f"must be a whole number between {least} and {most}"
        )
    return value


def line_or_none(setting: str, value: object, *, most: int) -> str | None:
    """Return a text that can be shown on a line, of ``most`` characters."""
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > most or not value.isprintable():
        raise SettingsRefused(
            setting, f"must be printable text of at most {most} characters"
        )
    return value


def texts(setting: str, value: object, *, most: int) -> list[str]:
    """Return a list of texts."""
    if not isinstance(value, list) or not all(isinstance(t, str) for t in value):
        raise SettingsRefused(setting, "must be a list of texts")
    if len(value) > most:
        raise SettingsRefused(setting, f"has more than {most} entries")
    return value
