"""What is ours, under ``/_qemu``: health, reset, clock, live feed.

Needs no token: ``guard.py`` keeps web pages out.
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

from aiohttp import web

from emulator import __version__
from emulator.core import wire
from emulator.core.duration import parse_duration_ms
from emulator.engine.clock import VirtualClock
from emulator.engine.feed import FeedItem
from emulator.errors import InvalidBody, InvalidParameter
from emulator.web.auth import authenticate
from emulator.web.call import RATE_LIMIT, SETTINGS, STARTED_AT_MS, TENANTS
from emulator.web.incoming import raw_target, read_object
from emulator.web.own_headers import add_headers
from emulator.web.rate_limit import KINDS
from emulator.web.responses import json_response

__all__ = [
    "advance_clock",
    "feed",
    "get_clock",
    "get_rate_limit",
    "health",
    "reset",
    "set_rate_limit",
    "welcome",
]

_HEARTBEAT_S = 15.0
_HEARTBEAT = b": still here\n\n"


def welcome() -> web.Response:
    """``GET /``: say to whoever opens the address in a browser what it is."""
    return web.Response(
        text=f"qemu {__version__}: a local QStash.\n"
        "The API is under /v2, and needs a token (qemu env prints it).\n"
        "What is ours is under /_qemu: /_qemu/health, /_qemu/feed, ...\n"
    )


async def health(request: web.Request) -> web.Response:
    """``GET /_qemu/health``."""
    tenants = request.app[TENANTS]
    return json_response(
        {
            "status": "ok",
            "version": __version__,
            "pid": os.getpid(),
            "startedAt": request.app[STARTED_AT_MS],
            "clock": request.app[SETTINGS].clock,
            "pending": tenants.pending,
            "pendingBytes": tenants.pending_bytes,
            "inFlight": tenants.in_flight,
            "dropped": {"log": tenants.log_dropped, "dlq": tenants.dlq_dropped},
        }
    )


async def reset(request: web.Request) -> web.Response:
    """``POST /_qemu/reset``: forget everything, of every user."""
    tenants = request.app[TENANTS]
    discarded = tenants.pending
    tenants.reset()
    request.app[RATE_LIMIT].turn("off")
    return json_response({"discarded": discarded})


async def get_clock(request: web.Request) -> web.Response:
    """``GET /_qemu/clock``."""
    return json_response(_clock(request))


async def advance_clock(request: web.Request) -> web.Response:
    """``POST /_qemu/clock/advance``: answers when all that fell due has settled.

    Takes ``{"by": "2h"}``, ``{"to": <Unix ms>}`` or ``{"until": "idle"}``.
    """
    tenants = request.app[TENANTS]
    order = await read_object(request)
    to_ms: int | None = None
    by_ms: int | None = None
    match order:
        case {"by": str(by)} if len(order) == 1:
            try:
                by_ms = parse_duration_ms(by)
            except ValueError as error:
                raise InvalidParameter("by", by, str(error)) from None
        case {"to": int(to)} if len(order) == 1 and not isinstance(to, bool):
            if not 0 <= to < 2**53:
                raise InvalidParameter("to", str(to), "must be a Unix time in ms")
            to_ms = to
        case {"until": "idle"} if len(order) == 1:
            pass
        case _:
            raise InvalidBody(
                'must be {"by": "2h"}, {"to": <Unix milliseconds>} or {"until": "idle"}'
            )
    await tenants.advance(to_ms, by_ms=by_ms)
    return json_response(_clock(request))


async def get_rate_limit(request: web.Request) -> web.Response:
    """``GET /_qemu/rate-limit``: which limit the API pretends is exceeded."""
    return json_response({"kind": request.app[RATE_LIMIT].kind})


async def set_rate_limit(request: web.Request) -> web.Response:
    """``POST /_qemu/rate-limit`` with ``{"kind": "daily"}`` (``RateLimitSwitch``)."""
    match await read_object(request):
        case {"kind": str(kind), **rest} if not rest:
            request.app[RATE_LIMIT].turn(kind)
        case _:
            raise InvalidBody(f'must be {{"kind": "…"}}, one of {", ".join(KINDS)}')
    return await get_rate_limit(request)


def _clock(request: web.Request) -> dict[str, Any]:
    clock = request.app[TENANTS].clock
    settings = request.app[SETTINGS]
    if isinstance(clock, VirtualClock):
        return {"clock": "virtual", "now": clock.now_ms()}
    return {"clock": "real", "now": clock.now_ms(), "speed": settings.speed}


async def feed(request: web.Request) -> web.StreamResponse:
    """``GET /_qemu/feed``: log entries, live, as server-sent events.

    With a token they are that user's, without one everybody's. Event ids number the
    entries of all users; ``Last-Event-ID`` resumes behind one. An ``event:
    gap`` says how many entries were lost, because they are no longer kept or the
    listener was too slow.
    """
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
    )
    user = _user(request)
    after = _last_event_id(request)
    async with request.app[TENANTS].feed.subscribe(after) as subscription:
        add_headers(request, response)
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        await response.write(b": listening\n\n")
        batches = aiter(subscription)
        while True:
            try:
                items = await asyncio.wait_for(anext(batches), _HEARTBEAT_S)
            except TimeoutError:
                await response.write(_HEARTBEAT)
                continue
            except StopAsyncIteration:
                return response
            dropped = subscription.take_dropped()
            if dropped:
                gap = json.dumps({"dropped": dropped})
                await response.write(f"event: gap\ndata: {gap}\n\n".encode())
            events = [_event(item) for item in items if user in (None, item.user)]
            await response.write(b"".join(events) or _HEARTBEAT)
            await asyncio.sleep(0)  # a write that needn't wait doesn't


def _user(request: web.Request) -> str | None:
    """Return whose token came along; ``None`` if none did."""
    if "Authorization" not in request.headers:
        return None
    target = raw_target(request)
    engine, _ = authenticate(request, target, request.app[TENANTS])
    return engine.user


def _last_event_id(request: web.Request) -> int | None:
    value = request.headers.get("Last-Event-ID", "")
    if not value:
        return None
    if not (value.isascii() and value.isdigit() and len(value) <= 18):
        raise InvalidParameter("Last-Event-ID", value, "must be an event's id")
    return int(value)


def _event(item: FeedItem) -> bytes:
    data = json.dumps(wire.feed_item(item.user, item.entry), separators=(",", ":"))
    return f"id: {item.sequence}\nevent: log\ndata: {data}\n\n".encode()
