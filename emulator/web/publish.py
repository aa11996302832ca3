"""Publishing: one message, or a batch."""

from __future__ import annotations

from aiohttp import web

from emulator.core import wire
from emulator.core.headers import parse_publish
from emulator.core.model import Incoming
from emulator.errors import NotSupported
from emulator.web.call import Call
from emulator.web.incoming import read_body, read_incoming
from emulator.web.responses import json_response

__all__ = ["batch", "publish"]


async def publish(call: Call) -> web.Response:
    """``POST /v2/publish/{destination}`` (PUB)."""
    incoming = await read_incoming(call)
    request = parse_publish(
        incoming, limits=call.engine.limits, now_ms=call.engine.now_ms
    )
    (receipt,) = call.engine.publish([request])
    # PUB-43: 202 when it was a duplicate.
    return json_response(wire.receipt(receipt), 202 if receipt.deduplicated else 200)


async def batch(call: Call) -> web.Response:
    """``POST /v2/batch`` (BAT). All entries are accepted, or none (BAT-7)."""
    entries = wire.parse_batch(await read_body(call.request))
    caller_ip = call.request.remote or ""
    requests = []
    for entry in entries:
        if entry.queue_name is not None:
            raise NotSupported("queue in a batch")
        incoming = Incoming(
            destination=entry.destination,
            headers=entry.headers,
            body=entry.body,
            caller_ip=caller_ip,
        )
        requests.append(
            parse_publish(
                incoming, limits=call.engine.limits, now_ms=call.engine.now_ms
            )
        )
    receipts = call.engine.publish(requests)
    return json_response([wire.receipt(receipt) for receipt in receipts])
