"""The destination: takes every delivery, answers as its URL says, and remembers.

It lives in the test's process, and so survives what happens to qemu. The URL of a
delivery is ``/KIND/NAME?failing=…&hang=…``: the first ``failing`` deliveries of a
message, by ``Upstash-Retried``, are answered 500, after ``hang`` milliseconds.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

__all__ = ["REGIONS", "Arrival", "Destination", "destination"]

REGIONS = ("EU-CENTRAL-1", "US-EAST-1")
"""Each process serves in the other region than the one before it: so a delivery says
which of two it comes from, however late it arrives (DLV-2)."""


@dataclass(slots=True)
class Arrival:
    """A delivery, as the destination saw it."""

    at_s: float

    run: int
    """Which process made it, counted from 0."""

    kind: str
    """``message``, ``callback``, ``failure`` or ``schedule``."""

    name: str
    """The token, the id of the callback's source, or the schedule's id."""

    message_id: str

    retried: int

    status: int

    source_retried: int = 0
    """Of a callback: which delivery of its source it reports."""

    signature: str = ""

    body: bytes = b""

    left_s: float | None = None
    """When it was answered; ``None``: never."""


class Destination:
    """What has arrived, in order."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.url = ""
        self.run = 0
        """The process that was started last."""

    async def receive(self, request: web.Request) -> web.Response:
        """Take a delivery."""
        at_s = time.time()
        headers = request.headers
        body = await request.read()
        kind, name = request.match_info["kind"], request.match_info["name"]
        retried, source_retried = int(headers["Upstash-Retried"]), 0
        if kind in ("callback", "failure"):
            report = json.loads(body)
            name, source_retried = report["sourceMessageId"], report["retried"]
        elif kind == "message":
            name = body.partition(b" ")[0].decode()
        status = 500 if retried < int(request.query.get("failing", "0")) else 200
        run = self.run
        if REGIONS[run % 2] != headers["Upstash-Region"]:
            run -= 1
        arrival = Arrival(
            at_s=at_s,
            run=run,
            kind=kind,
            name=name,
            message_id=headers["Upstash-Message-Id"],
            retried=retried,
            status=status,
            source_retried=source_retried,
            signature=headers["Upstash-Signature"],
            body=body,
        )
        self.arrivals.append(arrival)
        hang_ms = int(request.query.get("hang", "0"))
        if hang_ms:
            await asyncio.sleep(hang_ms / 1000)
        if request.transport is not None and not request.transport.is_closing():
            arrival.left_s = time.time()
        return web.Response(status=status)


@asynccontextmanager
async def destination() -> AsyncIterator[Destination]:
    """Serve a destination on a free port."""
    found = Destination()
    app = web.Application(client_max_size=2**24)
    app.router.add_route("*", "/{kind}/{name}", found.receive)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    found.url = f"http://{host}:{port}"
    try:
        yield found
    finally:
        await runner.cleanup()
