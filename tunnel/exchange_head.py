"""Heads as people look at them: the target, a field, or all fields, as text.

For heads that ``http_request.py`` and ``http_response.py`` have let pass; of any other
bytes something is read, too. One character is one byte (Latin-1), so that nothing is
lost. Pure.
"""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["fields_of", "header_of", "target_of"]

_AUTHORITY = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")


def fields_of(head: bytes) -> list[tuple[str, str]]:
    """Return a head's fields as they came. One character is one byte."""
    fields = []
    for line in head.decode("latin-1").split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        if colon:
            fields.append((name, value.strip(" \t")))
    return fields


def target_of(head: bytes) -> str:
    """Return a request's target; of one in absolute form what follows the authority."""
    line = head.partition(b"\r\n")[0].decode("latin-1")
    target = line.partition(" ")[2].partition(" ")[0]
    authority = _AUTHORITY.match(target)
    return (target[authority.end() :] if authority else target) or "/"


def header_of(head: bytes, name: str) -> str | None:
    """Return the first field of a name, in any case, without parsing the others."""
    match = _pattern(name).search(head)
    return match[1].decode("latin-1").strip(" \t") if match else None


@lru_cache(maxsize=64)
def _pattern(name: str) -> re.Pattern[bytes]:
    escaped = re.escape(name.encode("latin-1"))
    return re.compile(rb"\r\n" + escaped + rb":([^\r\n]*)", re.IGNORECASE)
