"""Messages: read one, cancel one or many (contract section 17)."""

from __future__ import annotations

from aiohttp import web

from emulator.core import wire
from emulator.core.bodies import parse_selection
from emulator.core.filters import parse_message_selection
from emulator.engine.slices import with_pauses
from emulator.web.call import Call
from emulator.web.incoming import parameters_of, read_body
from emulator.web.responses import json_response

__all__ = ["cancel_message", "cancel_messages", "get_message", "read_selection"]


async def get_message(call: Call) -> web.Response:
    """``GET /v2/messages/{id}`` (MSG-1)."""
    return json_response(wire.message(call.engine.message(call.names["message_id"])))


async def cancel_message(call: Call) -> web.Response:
    """``DELETE /v2/messages/{id}`` (MSG-10)."""
    call.engine.cancel(call.names["message_id"])
    return json_response({"cancelled": 1})


async def cancel_messages(call: Call) -> web.Response:
    """``DELETE /v2/messages`` (MSG-20)."""
    selection = parse_message_selection(await read_selection(call))
    cancelled = await with_pauses(call.engine.cancel_in_slices(selection))
    return json_response({"cancelled": cancelled})


async def read_selection(call: Call) -> dict[str, list[str]]:
    """Read what a bulk action selects: from the query, else from a JSON body (MSG-21).

    The body is read either way, so that a broken one is never taken for "all".
    """
    body = parse_selection(await read_body(call.request))
    return parameters_of(call) or body
