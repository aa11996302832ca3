"""The dead letter queue: list, read, delete, retry (contract section 18)."""

from __future__ import annotations

from aiohttp import web

from emulator.core import wire
from emulator.core.destination import split_target
from emulator.core.filters import parse_dlq_query, parse_dlq_selection
from emulator.core.headers import Overrides, parse_overrides
from emulator.core.model import Incoming
from emulator.engine.slices import with_pauses
from emulator.errors import NotFound
from emulator.web.call import Call
from emulator.web.incoming import headers_of, parameters_of
from emulator.web.messages import read_selection
from emulator.web.responses import empty, json_response, page_response

__all__ = [
    "delete_dlq",
    "delete_dlq_entry",
    "get_dlq_entry",
    "list_dlq",
    "retry_dlq",
    "retry_dlq_entry",
]


async def list_dlq(call: Call) -> web.Response:
    """``GET /v2/dlq`` (DLQ-5)."""
    query = parse_dlq_query(parameters_of(call))
    entries, cursor = await with_pauses(call.engine.dlq.look_through(query))
    return await page_response("messages", entries, wire.dlq_entry, cursor)


async def get_dlq_entry(call: Call) -> web.Response:
    """``GET /v2/dlq/{dlqId}`` (DLQ-12)."""
    return json_response(wire.dlq_entry(call.engine.dlq.get(call.names["dlq_id"])))


async def delete_dlq_entry(call: Call) -> web.Response:
    """``DELETE /v2/dlq/{dlqId}`` (DLQ-20)."""
    call.engine.dlq.delete([call.engine.dlq.get(call.names["dlq_id"])])
    return empty()


async def delete_dlq(call: Call) -> web.Response:
    """``DELETE /v2/dlq`` (DLQ-21)."""
    query = parse_dlq_selection(await read_selection(call))
    entries, cursor = call.engine.dlq.list(query)
    call.engine.dlq.delete(entries)
    answer: dict[str, int | str] = {"deleted": len(entries)}
    if cursor is not None:
        answer["cursor"] = cursor  # DLQ-25: never an empty one
    return json_response(answer)


async def retry_dlq_entry(call: Call) -> web.Response:
    """``POST /v2/dlq/retry/{dlqId}`` (DLQ-30)."""
    entry = call.engine.dlq.get(call.names["dlq_id"])
    (receipt,) = call.engine.dlq.retry([entry], _overrides(call))
    return json_response(wire.receipt(receipt), 201)


async def retry_dlq(call: Call) -> web.Response:
    """``POST /v2/dlq/retry`` (DLQ-31)."""
    query = parse_dlq_selection(parameters_of(call), with_configuration=True)
    entries, cursor = call.engine.dlq.list(query)
    if query.dlq_ids and not entries:
        raise NotFound("dlq entry", ", ".join(query.dlq_ids))  # DLQ-32
    receipts = call.engine.dlq.retry(entries, _overrides(call))
    return json_response(
        wire.page("responses", [wire.receipt(receipt) for receipt in receipts], cursor),
        201,
    )


def _overrides(call: Call) -> Overrides:
    """Read the configuration of a retry call; its body is ignored (DLQ-34)."""
    incoming = Incoming(
        destination="",
        headers=headers_of(call),
        parameters=split_target(call.target).parameters,
    )
    return parse_overrides(
        incoming, limits=call.engine.limits, now_ms=call.engine.now_ms
    )
