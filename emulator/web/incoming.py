"""Reading a request: the raw target, the parameters, the body within its bounds.

aiohttp's own accessors decode escapes and collapse what QStash takes literally
(BASE-3), so the target is read as it stands in the request line.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import StreamReader, web

from emulator.core.destination import split_target
from emulator.core.model import Incoming
from emulator.errors import (
    InvalidBody,
    InvalidParameter,
    QuotaExceeded,
    TooLarge,
    TooSlow,
)
from emulator.web.call import Call

__all__ = [
    "IDLE_S",
    "headers_of",
    "parameters_of",
    "raw_target",
    "read_body",
    "read_chunks",
    "read_incoming",
    "read_object",
]

_MAX_BODY_BYTES = 100 * 1_048_576
"""A whole request's body (BAT-10)."""

IDLE_S = 30.0
"""How long a body may pause before the request is given up."""

_ORIGIN = re.compile(r"https?://[^/?#]*", re.IGNORECASE)

_MAX_PARAMETERS = 10_000
_MAX_OBJECT_BYTES = 65_536


def raw_target(request: web.BaseRequest) -> str:
    """Return path and query as they arrived; a proxy's absolute form is taken off."""
    target = request.raw_path
    if target.startswith("/"):
        return target
    origin = _ORIGIN.match(target)
    if origin is None:
        return target
    rest = target[origin.end() :]
    return rest if rest.startswith("/") else f"/{rest}"


async def read_body(request: web.Request, limit_bytes: int = _MAX_BODY_BYTES) -> bytes:
    """Read a body. Raises ``TooLarge`` above the limit, without reading on.

    Raises ``TooSlow`` where nothing more comes: who sends has fallen silent, or has
    sent a broken chunk, which aiohttp's parser tells nobody.
    """
    if (request.content_length or 0) > limit_bytes:
        raise TooLarge(limit_bytes)
    content = request.content
    if content.is_eof():
        # It arrived with the head, as most do: aiohttp holds all of it.
        body = content.read_nowait()
        if len(body) > limit_bytes:
            raise TooLarge(limit_bytes)
        return body
    chunks: list[bytes] = []
    size = 0
    while True:
        chunk = content.read_nowait()
        if not chunk:
            if content.at_eof():
                return b"".join(chunks)
            chunk = await _arriving(content)
        size += len(chunk)
        if size > limit_bytes:
            raise TooLarge(limit_bytes)
        chunks.append(chunk)


async def read_chunks(request: web.Request, limit_bytes: int) -> AsyncIterator[bytes]:
    """Read a body piece by piece. Raises as ``read_body`` does."""
    size = 0
    while chunk := await _arriving(request.content):
        size += len(chunk)
        if size > limit_bytes:
            raise TooLarge(limit_bytes)
        yield chunk


async def _arriving(content: StreamReader) -> bytes:
    """Wait for more of a body; at its end there is nothing. Raises ``TooSlow``."""
    try:
        async with asyncio.timeout(IDLE_S):
            return await content.readany()
    except TimeoutError:
        raise TooSlow(IDLE_S) from None


async def read_incoming(call: Call) -> Incoming:
    """Read a request to publish.

    A body beyond the plan's message size is refused as a quota (LIM-2, Q-3).
    """
    target = split_target(call.names["destination"])
    limit_bytes = call.engine.limits.max_message_bytes
    try:
        body = await read_body(call.request, limit_bytes)
    except TooLarge:
        raise QuotaExceeded("maxMessageSize", limit_bytes) from None
    return Incoming(
        destination=target.destination,
        headers=headers_of(call),
        parameters=target.parameters,
        body=body,
        caller_ip=call.request.remote or "",
    )


async def read_object(
    request: web.Request, limit_bytes: int = _MAX_OBJECT_BYTES
) -> dict[str, Any]:
    """Read the JSON object that an endpoint of ours takes."""
    try:
        value = json.loads(await read_body(request, limit_bytes))
    except (ValueError, RecursionError):
        raise InvalidBody("not JSON") from None
    if not isinstance(value, dict):
        raise InvalidBody("must be a JSON object")
    return value


def headers_of(call: Call) -> tuple[tuple[str, str], ...]:
    """Return the headers, without ``Authorization`` where it carries the token."""
    items = call.request.headers.items()
    if not call.token_is_header:
        return tuple(items)
    return tuple([pair for pair in items if pair[0].lower() != "authorization"])


def parameters_of(call: Call) -> dict[str, list[str]]:
    """Return the query's parameters, decoded, without the token (AUTH-2)."""
    query = call.target.partition("?")[2]
    parameters: dict[str, list[str]] = {}
    try:
        items = parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS)
    except ValueError:
        raise InvalidParameter(
            "query", query, f"it has more than {_MAX_PARAMETERS} parameters"
        ) from None
    for name, value in items:
        if name.lower() != "qstash_token":
            parameters.setdefault(name, []).append(value)
    return parameters
