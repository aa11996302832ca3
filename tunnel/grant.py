"""What a token allows: names, paths, rate, number of tunnels, and until when.

Pure: reads claims and answers. Whether the token is genuine, ``tokens.py`` has found
out before; whether a name is taken, ``leases.py`` knows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tunnel.bounds import line_or_none, texts, whole_or_none
from tunnel.errors import SettingsRefused
from tunnel.names import NameRefused, is_random_name, parse_name
from tunnel.paths import parse_prefix
from tunnel.policy import MAX_PATHS, MAX_RATE

__all__ = [
    "ANYTHING",
    "LAST_S",
    "MAX_LINE_CHARACTERS",
    "MAX_PATTERNS",
    "MAX_TUNNELS",
    "Grant",
    "grant_of",
    "instant_of",
    "parse_patterns",
]

MAX_PATTERNS = 64

MAX_TUNNELS = 1_000_000

MAX_LINE_CHARACTERS = 256

LAST_S = 253_402_300_799
"""The end of the year 9999: the last instant that can be shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a token allows whoever has it."""

    subject: str = ""
    """Whom it was made for, printable; empty if it doesn't say."""

    names: tuple[str, ...] | None = None
    """Exact names, ``prefix-*``, or ``*``. ``None``: only names made by chance."""

    paths: tuple[str, ...] = ()
    """Only what is below these prefixes may be served. Empty: all."""

    rate: int | None = None
    """Requests per second, in each tunnel."""

    max_tunnels: int | None = None
    """How many tunnels may be open at once for this subject."""

    expires_s: int | None = None
    """Unix time from which it holds no longer, in seconds."""

    jti: str | None = None
    """Its id, by which it can be revoked."""

    is_admin: bool = False
    """Whether it opens the relay's own API."""

    def allows_name(self, name: str) -> bool:
        """Whether a tunnel may have this name, as ``parse_name`` returns it."""
        if self.names is None:
            return is_random_name(name)
        return any(
            name.startswith(pattern[:-1]) if pattern[-1] == "*" else name == pattern
            for pattern in self.names
        )

    @property
    def own_name(self) -> str | None:
        """The name for who asks for none: the only one that is allowed, if so."""
        if self.names is not None and len(self.names) == 1 and "*" not in self.names[0]:
            return self.names[0]
        return None


ANYTHING = Grant(names=("*",), is_admin=True)
"""What everybody may at a relay that asks for no token (loopback only)."""


def parse_patterns(patterns: Iterable[str]) -> tuple[str, ...]:
    """Return names and ``prefix-*`` in lower case. Raises ``SettingsRefused``."""
    parsed = []
    for pattern in texts("names", list(patterns), most=MAX_PATTERNS):
        if pattern == "*":
            parsed.append(pattern)
            continue
        stem = pattern.removesuffix("-*")
        try:
            parsed.append(parse_name(stem) + pattern[len(stem) :])
        except NameRefused as error:
            raise SettingsRefused("names", f"{error}") from None
    return tuple(dict.fromkeys(parsed))


def grant_of(claims: dict[str, Any]) -> Grant:
    """Read a genuine token's claims. Raises ``SettingsRefused`` with the claim's name.

    ``names`` and ``paths`` are lists; claims that mean nothing to us are passed over.
    """
    names = claims.get("names")
    paths = texts("paths", claims.get("paths", []), most=MAX_PATHS)
    prefixes = tuple(dict.fromkeys(parse_prefix(each, "paths") for each in paths))
    return Grant(
        subject=line_or_none("sub", claims.get("sub"), most=MAX_LINE_CHARACTERS) or "",
        names=None
        if names is None
        else parse_patterns(texts("names", names, most=MAX_PATTERNS)),
        paths=() if "" in prefixes else prefixes,
        rate=whole_or_none("rate", claims.get("rate"), most=MAX_RATE),
        max_tunnels=whole_or_none(
            "max_tunnels", claims.get("max_tunnels"), most=MAX_TUNNELS
        ),
        expires_s=instant_of(claims, "exp"),
        jti=line_or_none("jti", claims.get("jti"), most=MAX_LINE_CHARACTERS),
        is_admin=claims.get("admin") is True,
    )


def instant_of(claims: dict[str, Any], claim: str) -> int | None:
    """Return a NumericDate (RFC 7519, 2) in whole seconds, or ``None``.

    Raises ``SettingsRefused`` for what is no number, or after the year 9999.
    """
    value = claims.get(claim)
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 <= value <= LAST_S:
        raise SettingsRefused(claim, "must be a Unix time in seconds")
    return int(value)
