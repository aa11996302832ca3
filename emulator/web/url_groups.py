"""URL groups, which the paths call topics (contract section 15)."""

from __future__ import annotations

from aiohttp import web

from emulator.core import wire
from emulator.core.bodies import (
    parse_endpoints_removal,
    parse_endpoints_upsert,
    parse_group_headers,
)
from emulator.core.names import parse_resource_name
from emulator.web.call import Call
from emulator.web.incoming import read_body
from emulator.web.responses import empty, json_response

__all__ = [
    "delete_url_group",
    "get_url_group",
    "list_url_groups",
    "remove_endpoints",
    "set_group_headers",
    "upsert_endpoints",
]


async def list_url_groups(call: Call) -> web.Response:
    """``GET /v2/topics`` (UGR-8)."""
    return json_response(
        [wire.url_group(group) for group in call.engine.url_groups.list()]
    )


async def get_url_group(call: Call) -> web.Response:
    """``GET /v2/topics/{group}`` (UGR-8)."""
    return json_response(wire.url_group(call.engine.url_groups.get(_name(call))))


async def delete_url_group(call: Call) -> web.Response:
    """``DELETE /v2/topics/{group}`` (UGR-9)."""
    call.engine.url_groups.delete(_name(call))
    return empty()


async def set_group_headers(call: Call) -> web.Response:
    """``PATCH /v2/topics/{group}`` (UGR-19)."""
    defaults = parse_group_headers(
        await read_body(call.request),
        limits=call.engine.limits,
        now_ms=call.engine.now_ms,
    )
    call.engine.url_groups.set_defaults(_name(call), defaults)
    return empty()


async def upsert_endpoints(call: Call) -> web.Response:
    """``POST /v2/topics/{group}/endpoints`` (UGR-2)."""
    endpoints = parse_endpoints_upsert(await read_body(call.request))
    call.engine.url_groups.upsert_endpoints(_name(call), endpoints)
    return empty()


async def remove_endpoints(call: Call) -> web.Response:
    """``DELETE /v2/topics/{group}/endpoints`` (UGR-6)."""
    patterns = parse_endpoints_removal(await read_body(call.request))
    call.engine.url_groups.remove_endpoints(_name(call), patterns)
    return empty()


def _name(call: Call) -> str:
    return parse_resource_name("topicName", call.names["group"])
