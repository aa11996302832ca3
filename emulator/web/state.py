"""The whole state, as one file: taken out, and put in. ``/_qemu/state``.

What the lines say is decided in ``engine/exporting.py`` and ``engine/importing.py``.
Here they are sent and received piece by piece, so that nobody waits meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from urllib.parse import parse_qsl

from aiohttp import web

from emulator import __version__
from emulator.engine.exporting import PAUSE, export
from emulator.engine.importing import MAX_LINE_BYTES, StateReader
from emulator.errors import InvalidParameter
from emulator.web.call import TENANTS
from emulator.web.incoming import raw_target, read_chunks
from emulator.web.own_headers import add_headers
from emulator.web.responses import json_response

__all__ = ["export_state", "import_state"]

_MAX_BYTES = 1 << 32
"""Of a whole file: bodies that the log shows often are in it often."""

_PIECE_BYTES = 1 << 16


async def export_state(request: web.Request) -> web.StreamResponse:
    """``GET /_qemu/state``: every user's state of this instant, as JSON Lines.

    ``?user=`` narrows it to one user.
    """
    tenants = request.app[TENANTS]
    wanted = _parameters(request, "user").get("user")
    states = tenants.saved()
    if wanted is not None:
        if wanted not in states:
            raise InvalidParameter("user", wanted, f"is none of {', '.join(states)}")
        states = {wanted: states[wanted]}
    lines = export(states, now_ms=tenants.clock.now_ms(), version=__version__)
    if not tenants.journal.is_written:
        # Nobody may hear of what a crash could undo.
        await tenants.journal.flushed()
    response = web.StreamResponse(
        headers={"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"}
    )
    add_headers(request, response)
    await response.prepare(request)
    if request.method != "HEAD":
        for piece in _pieces(lines):
            await response.write(piece)
            await asyncio.sleep(0)  # a write that has room doesn't wait
    return response


async def import_state(request: web.Request) -> web.Response:
    """``PUT /_qemu/state``: have what a file holds, for each of the users in it.

    Where they have state already, only with ``?replace=true``. A file is taken whole
    or not at all.
    """
    tenants = request.app[TENANTS]
    replace = _parameters(request, "replace").get("replace", "false")
    if replace not in ("true", "false"):
        raise InvalidParameter("replace", replace, "must be true or false")
    reader = StateReader([engine.user for engine in tenants.engines])
    async for line in _lines(request):
        reader.take(line)
    imported = reader.finish()
    tenants.replace(imported, may_overwrite=replace == "true")
    return json_response(
        {
            "users": list(imported.states),
            "messages": sum(len(saved.progress) for saved in imported.states.values()),
            "pending": sum(
                engine.pending
                for engine in tenants.engines
                if engine.user in imported.states
            ),
        }
    )


def _pieces(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Join lines to pieces of about the same length."""
    piece: list[bytes] = []
    size = 0
    for line in lines:
        piece.append(line)
        size += len(line)
        if size >= _PIECE_BYTES or line == PAUSE:
            yield b"".join(piece)
            piece, size = [], 0
    yield b"".join(piece)


async def _lines(request: web.Request) -> AsyncIterator[bytes]:
    """Split what arrives into lines. One that is too long comes as it is by then."""
    begun: list[bytes] = []
    size = 0
    async for chunk in read_chunks(request, _MAX_BYTES):
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            begun.append(end)
            yield b"".join(begun)
            begun, size = [], 0
        begun.append(rest)
        size += len(rest)
        if size > MAX_LINE_BYTES:
            break
    if size:
        yield b"".join(begun)


def _parameters(request: web.Request, name: str) -> dict[str, str]:
    """Return the query, which may have this parameter, once."""
    pairs = parse_qsl(raw_target(request).partition("?")[2], keep_blank_values=True)
    if len(pairs) > 1 or any(given != name for given, _ in pairs):
        given = next((given for given, _ in pairs if given != name), name)
        raise InvalidParameter(given, "", f"{name} is all that there is, once")
    return dict(pairs)
