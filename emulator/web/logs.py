"""The log (contract section 19)."""

from __future__ import annotations

from aiohttp import web

from emulator.core import wire
from emulator.core.filters import parse_log_query
from emulator.engine.slices import with_pauses
from emulator.web.call import Call
from emulator.web.incoming import parameters_of
from emulator.web.responses import page_response

__all__ = ["list_events", "list_logs"]


async def list_events(call: Call) -> web.Response:
    """``GET /v2/events``: what every SDK calls (LOG-1)."""
    return await _page(call, "events")


async def list_logs(call: Call) -> web.Response:
    """``GET /v2/logs``: the same under the documented name (LOG-1)."""
    return await _page(call, "logs")


async def _page(call: Call, key: str) -> web.Response:
    query = parse_log_query(parameters_of(call))
    entries, cursor = await with_pauses(call.engine.look_through_log(query))
    return await page_response(key, entries, wire.log_entry, cursor)
