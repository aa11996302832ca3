"""Path prefixes: does a request stay below one of them, whoever reads its path?

Servers read a path in different ways: they decode it once, twice or not at all, take
a backslash for a slash, merge slashes, cut ``;`` parameters off. A path passes only if
none of that can lead it out of the prefix (tunnel.md, section 4): it begins with the
prefix, ends there or goes on with ``/``, and no segment begins with two dots in any
spelling. Clients resolve ``..`` before they send (RFC 3986, 5.2.4), so nothing that
is meant well is lost.

Pure, and never changes a path: the app gets it as it arrived.
"""

from __future__ import annotations

import re

from tunnel.errors import SettingsRefused

__all__ = ["MAX_PREFIX_CHARACTERS", "is_path_below", "parse_prefix"]

MAX_PREFIX_CHARACTERS = 256

# Encoded once or more often (%2e, %252e, …), or overlong, as old decoders take it.
_DOT = rb"(?:\.|%(?:25)*(?:2e|u002e|c0(?:%(?:25)*)ae))"
_SLASH = rb"(?:[/\\]|%(?:25)*(?:2f|5c|u002f|u005c|c0(?:%(?:25)*)af|c1(?:%(?:25)*)9c))"
_LEADS_UP = re.compile(rb"(?:\A|" + _SLASH + rb")" + _DOT + _DOT, re.IGNORECASE)

_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
)
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~!$&'()+,;=:@%-]+)*/?")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def parse_prefix(text: str, setting: str) -> str:
    """Return a prefix in its normal form: no slash at its end, ``""`` for all paths.

    Raises ``SettingsRefused`` for ``setting`` where it isn't an absolute path of
    plain or percent-encoded characters, or leads up.
    """
    shown = f"{text[:80]!a}"
    if len(text) > MAX_PREFIX_CHARACTERS:
        raise SettingsRefused(
            setting, f"{shown} is longer than {MAX_PREFIX_CHARACTERS} characters"
        )
    if not text.startswith("/"):
        raise SettingsRefused(setting, f"{shown} must begin with '/'")
    if "*" in text:
        raise SettingsRefused(
            setting, f"{shown} has a '*': leave it out, all that is below is meant"
        )
    if not _PREFIX.fullmatch(text) or _BAD_ESCAPE.search(text):
        raise SettingsRefused(
            setting, f"{shown} is no path, percent-encode what URLs may not contain"
        )
    prefix = text.encode("ascii")
    if _LEADS_UP.search(prefix):
        raise SettingsRefused(setting, f"{shown} leads up, write where it ends")
    return _normalized(prefix).decode("ascii").rstrip("/")


def is_path_below(path: bytes, beginnings: tuple[bytes, ...]) -> bool:
    """Whether the path is one of the prefixes, or below one.

    ``path`` is without its query; an empty one means ``/``. ``beginnings`` are
    prefixes as ``parse_prefix`` returns them, each with a slash behind it.
    """
    if b"%" in path or b".." in path or b"\\" in path:
        if _LEADS_UP.search(path):
            return False
        path = _normalized(path)
    # The slash makes "/api" pass and "/apis" not.
    return (path + b"/").startswith(beginnings)


def _normalized(path: bytes) -> bytes:
    """Decode what needs no escape, write the other escapes in upper case.

    Both mean the same to every reader (RFC 3986, 6.2.2).
    """
    return _ESCAPE.sub(_decoded, path)


def _decoded(match: re.Match[bytes]) -> bytes:
    code = int(match[1], 16)
    return bytes((code,)) if code in _UNRESERVED else match[0].upper()
