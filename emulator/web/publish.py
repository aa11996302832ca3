"""Publishing: one message, one to a queue, or a batch (contract sections 7 to 9)."""

from __future__ import annotations

from aiohttp import web

from emulator.core import wire
from emulator.core.bodies import parse_batch
from emulator.core.destination import parse_destination
from emulator.core.headers import has_cron, parse_publish
from emulator.core.model import DestinationKind, Incoming, Publish
from emulator.web.call import IGNORED_HEADERS, Call
from emulator.web.incoming import read_body, read_incoming
from emulator.web.responses import json_response
from emulator.web.schedules import create_schedule_from

__all__ = ["batch", "enqueue", "publish"]


async def publish(call: Call) -> web.Response:
    """``POST /v2/publish/{destination}`` (PUB); with a cron, a schedule (PUB-44)."""
    incoming = await read_incoming(call)
    if has_cron(incoming):
        return create_schedule_from(call, incoming)
    return _accept(call, _parse(call, incoming))


async def enqueue(call: Call) -> web.Response:
    """``POST /v2/enqueue/{queue}/{destination}`` (ENQ)."""
    incoming = await read_incoming(call)
    return _accept(call, _parse(call, incoming, call.names["queue_name"]))


async def batch(call: Call) -> web.Response:
    """``POST /v2/batch`` (BAT). All entries are accepted, or none (BAT-7)."""
    caller_ip = call.request.remote or ""
    requests = []
    for entry in parse_batch(await read_body(call.request)):
        incoming = Incoming(
            destination=entry.destination,
            headers=entry.headers,
            body=entry.body,
            caller_ip=caller_ip,
        )
        requests.append(_parse(call, incoming, entry.queue_name))
    receipts = call.engine.publish(requests)
    return json_response(
        [
            wire.group_receipt(own) if _is_group(request) else wire.receipt(own[0])
            for request, own in zip(requests, receipts, strict=True)
        ]
    )


def _parse(call: Call, incoming: Incoming, queue_name: str | None = None) -> Publish:
    request = parse_publish(
        incoming,
        limits=call.engine.limits,
        now_ms=call.engine.now_ms,
        defaults=call.engine.defaults_of(parse_destination(incoming.destination)),
        queue_name=queue_name,
    )
    call.request.app[IGNORED_HEADERS].look_at(incoming)
    return request


def _accept(call: Call, request: Publish) -> web.Response:
    (receipts,) = call.engine.publish([request])
    # PUB-43: 202 when all of it was a duplicate.
    status = 202 if all(receipt.deduplicated for receipt in receipts) else 200
    if _is_group(request):
        return json_response(wire.group_receipt(receipts), status)
    return json_response(wire.receipt(receipts[0]), status)


def _is_group(request: Publish) -> bool:
    return request.destination.kind is DestinationKind.URL_GROUP
