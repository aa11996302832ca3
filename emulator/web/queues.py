"""Queues (contract section 14)."""

from __future__ import annotations

from aiohttp import web

from emulator.core import wire
from emulator.core.bodies import parse_queue_upsert
from emulator.core.names import parse_resource_name
from emulator.web.call import Call
from emulator.web.incoming import read_body
from emulator.web.responses import empty, json_response

__all__ = [
    "delete_queue",
    "get_queue",
    "list_queues",
    "pause_queue",
    "resume_queue",
    "upsert_queue",
]


async def upsert_queue(call: Call) -> web.Response:
    """``POST /v2/queues`` (QUE-2)."""
    upsert = parse_queue_upsert(await read_body(call.request))
    call.engine.queues.upsert(
        upsert.name, parallelism=upsert.parallelism, is_paused=upsert.is_paused
    )
    return empty()


async def list_queues(call: Call) -> web.Response:
    """``GET /v2/queues`` (QUE-5)."""
    return json_response(
        [wire.queue(queue, lag) for queue, lag in call.engine.queues.list()]
    )


async def get_queue(call: Call) -> web.Response:
    """``GET /v2/queues/{name}`` (QUE-6)."""
    queue, lag = call.engine.queues.get(_name(call))
    return json_response(wire.queue(queue, lag))


async def delete_queue(call: Call) -> web.Response:
    """``DELETE /v2/queues/{name}`` (QUE-7)."""
    call.engine.queues.delete(_name(call))
    return empty()


async def pause_queue(call: Call) -> web.Response:
    """``POST /v2/queues/{name}/pause`` (QUE-9)."""
    call.engine.queues.set_paused(_name(call), True)
    return empty()


async def resume_queue(call: Call) -> web.Response:
    """``POST /v2/queues/{name}/resume`` (QUE-9)."""
    call.engine.queues.set_paused(_name(call), False)
    return empty()


def _name(call: Call) -> str:
    return parse_resource_name("queueName", call.names["queue_name"])
