"""thin: the thinnest honest pipeline on the same stack, to measure against.

aiohttp.web with its router, aiohttp's client as it comes, asyncio as it comes. For
each message: read the request, make an id, store it; sign it (SHA-256 and a JWT),
POST it with eight headers, read the answer, record it. No authentication, no
validation, no retries, no log, no timeouts of its own. It delivers as many at once as
the emulator's default plan does.

It knows two headers: ``Upstash-Delay`` in whole seconds (``3600s``), and
``Upstash-Forward-…``. Run it as ``python tests/benchmarks/thin.py PORT``.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import secrets
import sys
import time
from heapq import heappop, heappush

import aiohttp
import jwt
from aiohttp import web

PARALLELISM = 100
KEY = "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r"
FORWARD = "Upstash-Forward-"


class Thin:
    """The whole pipeline: a dict, a heap of what is delayed, a queue of what is due."""

    def __init__(self) -> None:
        self.messages: dict[str, tuple[str, dict[str, str], bytes]] = {}
        self.statuses: dict[str, int] = {}
        self.due: asyncio.Queue[str] = asyncio.Queue()
        self.delayed: list[tuple[float, int, str]] = []
        self.count = itertools.count()
        self.timer: asyncio.TimerHandle | None = None

    async def health(self, request: web.Request) -> web.Response:
        return web.json_response({"pending": len(self.messages)})

    async def publish(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = {
            name[len(FORWARD) :]: value
            for name, value in request.headers.items()
            if name.startswith(FORWARD)
        }
        headers["Content-Type"] = request.headers.get("Content-Type", "")
        message_id = "msg_" + secrets.token_urlsafe(27)
        self.messages[message_id] = (request.match_info["url"], headers, body)
        delay = request.headers.get("Upstash-Delay")
        if delay is None:
            self.due.put_nowait(message_id)
        else:
            due_s = asyncio.get_running_loop().time() + int(delay.removesuffix("s"))
            heappush(self.delayed, (due_s, next(self.count), message_id))
            self.arm()
        return web.json_response({"messageId": message_id})

    def arm(self) -> None:
        if self.timer is not None:
            if self.timer.when() <= self.delayed[0][0]:
                return
            self.timer.cancel()
        loop = asyncio.get_running_loop()
        self.timer = loop.call_at(self.delayed[0][0], self.release)

    def release(self) -> None:
        self.timer = None
        now_s = asyncio.get_running_loop().time()
        while self.delayed and self.delayed[0][0] <= now_s:
            self.due.put_nowait(heappop(self.delayed)[2])
        if self.delayed:
            self.arm()

    async def deliver_all(self, session: aiohttp.ClientSession) -> None:
        while True:
            await self.deliver(session, await self.due.get())

    async def deliver(self, session: aiohttp.ClientSession, message_id: str) -> None:
        url, headers, body = self.messages[message_id]
        body_hash = base64.urlsafe_b64encode(hashlib.sha256(body).digest()).decode()
        now_s = int(time.time())
        claims = {
            "iss": "Upstash",
            "sub": url,
            "exp": now_s + 300,
            "nbf": 0,
            "iat": now_s,
            "jti": secrets.token_urlsafe(21),
            "body": body_hash,
        }
        headers |= {
            "User-Agent": "Upstash-QStash",
            "Accept-Encoding": "gzip",
            "Upstash-Message-Id": message_id,
            "Upstash-Retried": "0",
            "Upstash-Signature": jwt.encode(claims, KEY, algorithm="HS256"),
            "Upstash-Caller-Ip": "127.0.0.1",
            "Upstash-Region": "EU-CENTRAL-1",
        }
        async with session.post(url, data=body, headers=headers) as response:
            await response.read()
            self.statuses[message_id] = response.status
        del self.messages[message_id]


async def serve(port: int) -> None:
    thin = Thin()
    app = web.Application()
    app.router.add_get("/_qemu/health", thin.health)
    app.router.add_post("/v2/publish/{url:.+}", thin.publish)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        for _ in range(PARALLELISM):
            group.create_task(thin.deliver_all(session))


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
