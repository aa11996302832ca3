"""Answers: JSON as QStash writes it, and errors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from aiohttp import web

from emulator.core import wire
from emulator.errors import LimitExceeded, RequestError

__all__ = ["empty", "error", "json_response", "method_not_allowed", "page_response"]

T = TypeVar("T")

_PAUSE_EVERY_BYTES = 500_000
"""Of JSON: some milliseconds."""

_JSON = {"Content-Type": "application/json"}

# json.dumps makes a new encoder for each call with separators of one's own.
_encode = json.JSONEncoder(separators=(",", ":")).encode


def json_response(value: Any, status: int = 200) -> web.Response:
    """Answer with JSON (BASE-11)."""
    return web.Response(
        body=_encode(value).encode(),
        status=status,
        headers=_JSON,
    )


async def page_response(
    key: str, entries: Iterable[T], render: Callable[[T], Any], cursor: str | None
) -> web.Response:
    """Answer with a page of a listing (FMT-17), and let others run meanwhile."""
    head, tail = _encode(wire.page(key, [], cursor)).split("[]", 1)
    parts: list[bytes] = []
    unpaused_bytes = 0
    for entry in entries:
        part = _encode(render(entry)).encode()
        parts.append(part)
        unpaused_bytes += len(part)
        if unpaused_bytes >= _PAUSE_EVERY_BYTES:
            unpaused_bytes = 0
            await asyncio.sleep(0)
    body = b"%b[%b]%b" % (head.encode(), b",".join(parts), tail.encode())
    return web.Response(body=body, headers=_JSON)


def empty() -> web.Response:
    """Answer 200 without a body, where no SDK reads one (BASE-11)."""
    return web.Response()


def error(error: RequestError) -> web.Response:
    """Answer with a caller's mistake (ERR-1)."""
    response = json_response(wire.error(str(error)), error.status)
    if isinstance(error, LimitExceeded):
        response.headers.update(error.headers)
    return response


def method_not_allowed(allowed: tuple[str, ...]) -> web.Response:
    """Answer 405 in plain text, as QStash does (BASE-9)."""
    return web.Response(
        text="Method Not Allowed",
        status=405,
        headers={"Allow": ", ".join(sorted(set(allowed)))},
    )
