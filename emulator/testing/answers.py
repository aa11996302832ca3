"""How a scripted destination answers: one value for each request, as told."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from emulator.testing.instants import Duration, parse_duration

__all__ = ["UNSET", "Answer", "script"]

UNSET: Any = object()
"""Tells an argument that wasn't given from ``None``, which is a JSON value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How an endpoint answers one request."""

    status: int = 200

    headers: Mapping[str, str] = field(default_factory=dict)

    body: bytes = b""

    delay_ms: int = 0
    """How long it takes, on the emulator's clock."""

    hangs: bool = False
    """It never answers."""

    breaks_off: bool = False
    """The connection is reset in the middle of the answer."""


def script(
    *,
    status: int | Sequence[int],
    headers: Mapping[str, str] | None,
    body: bytes | str,
    json_body: Any,
    delay: Duration,
    hang: bool,
    reset: bool,
) -> list[Answer]:
    """Make the answers of an endpoint: one for each status, alike in the rest."""
    statuses = [status] if isinstance(status, int) else list(status)
    if not statuses:
        raise ValueError("an endpoint needs at least one status")
    fields = dict(headers or {})
    content = body.encode() if isinstance(body, str) else body
    if json_body is not UNSET:
        if content:
            raise ValueError("give an endpoint's answer as body or as json, not both")
        content = json.dumps(json_body).encode()
        if not any(name.lower() == "content-type" for name in fields):
            fields["Content-Type"] = "application/json"
    delay_ms = parse_duration(delay)
    return [
        Answer(
            status=one,
            headers=fields,
            body=content,
            delay_ms=delay_ms,
            hangs=hang,
            breaks_off=reset,
        )
        for one in statuses
    ]
