"""Flow control (contract section 21)."""

from __future__ import annotations

from aiohttp import web

from emulator.core import wire
from emulator.core.flow_parameters import parse_pin, parse_unpin
from emulator.engine.flow_control import FlowKeyView
from emulator.errors import InvalidParameter
from emulator.web.call import Call
from emulator.web.incoming import parameters_of
from emulator.web.responses import empty, json_response

__all__ = [
    "get_flow_key",
    "get_global_parallelism",
    "list_flow_keys",
    "pause_flow_key",
    "pin_flow_key",
    "reset_flow_key",
    "resume_flow_key",
    "unpin_flow_key",
]


async def list_flow_keys(call: Call) -> web.Response:
    """``GET /v2/flowControl`` (FLC-22)."""
    search = parameters_of(call).get("search", [""])[-1]
    return json_response(
        [_shown(call, view) for view in call.engine.flow_control.list(search)]
    )


async def get_flow_key(call: Call) -> web.Response:
    """``GET /v2/flowControl/{key}`` (FLC-22)."""
    return json_response(_shown(call, call.engine.flow_control.get(_key(call))))


async def get_global_parallelism(call: Call) -> web.Response:
    """``GET /v2/globalParallelism`` (FLC-29)."""
    return json_response(
        wire.global_parallelism(
            call.engine.limits.global_parallelism, call.engine.flow_control.active
        )
    )


async def pause_flow_key(call: Call) -> web.Response:
    """``POST /v2/flowControl/{key}/pause`` (FLC-23)."""
    call.engine.flow_control.set_paused(_key(call), True)
    return empty()


async def resume_flow_key(call: Call) -> web.Response:
    """``POST /v2/flowControl/{key}/resume`` (FLC-23)."""
    call.engine.flow_control.set_paused(_key(call), False)
    return empty()


async def pin_flow_key(call: Call) -> web.Response:
    """``POST /v2/flowControl/{key}/pin`` (FLC-24)."""
    pin = parse_pin(parameters_of(call))
    call.engine.flow_control.pin(
        _key(call),
        parallelism=pin.parallelism,
        rate=pin.rate,
        period_s=pin.period_s,
    )
    return empty()


async def unpin_flow_key(call: Call) -> web.Response:
    """``POST /v2/flowControl/{key}/unpin`` (FLC-25)."""
    parallelism, rate = parse_unpin(parameters_of(call))
    call.engine.flow_control.unpin(_key(call), parallelism=parallelism, rate=rate)
    return empty()


async def reset_flow_key(call: Call) -> web.Response:
    """``POST /v2/flowControl/{key}/resetRate``, or ``/reset`` (FLC-27)."""
    call.engine.flow_control.reset_rate(_key(call))
    return empty()


def _key(call: Call) -> str:
    """Return the path's key: none is empty (MSG-2), though an action makes it."""
    key = call.names["key"]
    if not key:
        raise InvalidParameter("flowControlKey", "", "must not be empty")
    return key


def _shown(call: Call, view: FlowKeyView) -> wire.JsonObject:
    return wire.flow_key(
        view.key,
        usage=view.usage,
        waitlist_size=view.waitlist_size,
        now_ms=call.engine.now_ms,
    )
