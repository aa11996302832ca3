"""Flow control (contract section 21)."""

from __future__ import annotations

from aiohttp import web

from emulator.core import wire
from emulator.core.flow_parameters import parse_pin, parse_unpin
from emulator.engine.flow_control import FlowKeyView
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
    return json_response(_shown(call, call.engine.flow_control.get(call.names["key"])))


async def get_global_parallelism(call: Call) -> web.Response:
    """``GET /v2/globalParallelism`` (FLC-29)."""
    return json_response(
        wire.global_parallelism(
            call.engine.limits.global_parallelism, call.engine.flow_control.active
        )
    )


async def pause_flow_key(call: Call) -> web.Response:
    """``POST /v2/flowControl/{key}/pause`` (FLC-23)."""
    call.engine.flow_control.set_paused(call.names["key"], True)
    return empty()


async def resume_flow_key(call: Call) -> web.Response:
    """``POST /v2/flowControl/{key}/resume`` (FLC-23)."""
    call.engine.flow_control.set_paused(call.names["key"], False)
    return empty()


async def pin_flow_key(call: Call) -> web.Response:
    """``POST /v2/flowControl/{key}/pin`` (FLC-24)."""
    pin = parse_pin(parameters_of(call))
    call.engine.flow_control.pin(
        call.names["key"],
        parallelism=pin.parallelism,
        rate=pin.rate,
        period_s=pin.period_s,
    )
    return empty()


async def unpin_flow_key(call: Call) -> web.Response:
    """``POST /v2/flowControl/{key}/unpin`` (FLC-25)."""
    parallelism, rate = parse_unpin(parameters_of(call))
    call.engine.flow_control.unpin(
        call.names["key"], parallelism=parallelism, rate=rate
    )
    return empty()


async def reset_flow_key(call: Call) -> web.Response:
    """``POST /v2/flowControl/{key}/resetRate``, or ``/reset`` (FLC-27)."""
    call.engine.flow_control.reset_rate(call.names["key"])
    return empty()


def _shown(call: Call, view: FlowKeyView) -> wire.JsonObject:
    return wire.flow_key(
        view.key,
        usage=view.usage,
        waitlist_size=view.waitlist_size,
        now_ms=call.engine.now_ms,
    )
