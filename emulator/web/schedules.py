"""Schedules (contract section 16)."""

from __future__ import annotations

from aiohttp import web

from emulator.core import wire
from emulator.core.destination import parse_destination
from emulator.core.headers import parse_schedule
from emulator.core.model import Incoming
from emulator.web.call import IGNORED_HEADERS, Call
from emulator.web.incoming import read_incoming
from emulator.web.responses import empty, json_response

__all__ = [
    "create_schedule",
    "create_schedule_from",
    "delete_schedule",
    "get_schedule",
    "list_schedules",
    "pause_schedule",
    "resume_schedule",
]


async def create_schedule(call: Call) -> web.Response:
    """``POST /v2/schedules/{destination}`` (SCH-1)."""
    return create_schedule_from(call, await read_incoming(call))


def create_schedule_from(call: Call, incoming: Incoming) -> web.Response:
    """Create or replace a schedule; also what a publish with a cron does (SCH-3)."""
    request = parse_schedule(
        incoming,
        limits=call.engine.limits,
        now_ms=call.engine.now_ms,
        defaults=call.engine.defaults_of(parse_destination(incoming.destination)),
    )
    call.request.app[IGNORED_HEADERS].look_at(incoming)
    schedule_id = call.engine.schedules.put(
        request.publish, request.cron, request.schedule_id
    )
    return json_response(wire.schedule_receipt(schedule_id))


async def list_schedules(call: Call) -> web.Response:
    """``GET /v2/schedules`` (SCH-22)."""
    return json_response(
        [wire.schedule(schedule) for schedule in call.engine.schedules.list()]
    )


async def get_schedule(call: Call) -> web.Response:
    """``GET /v2/schedules/{id}`` (SCH-22)."""
    return json_response(
        wire.schedule(call.engine.schedules.get(call.names["schedule_id"]))
    )


async def delete_schedule(call: Call) -> web.Response:
    """``DELETE /v2/schedules/{id}`` (SCH-23)."""
    call.engine.schedules.delete(call.names["schedule_id"])
    return empty()


async def pause_schedule(call: Call) -> web.Response:
    """``PATCH`` or ``POST /v2/schedules/{id}/pause`` (SCH-40)."""
    call.engine.schedules.set_paused(call.names["schedule_id"], True)
    return empty()


async def resume_schedule(call: Call) -> web.Response:
    """``PATCH`` or ``POST /v2/schedules/{id}/resume`` (SCH-40)."""
    call.engine.schedules.set_paused(call.names["schedule_id"], False)
    return empty()
