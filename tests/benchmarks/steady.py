"""A steady load for the soak: so many deliveries per second, some of which go wrong.

Beside the publishes somebody looks at everything, changes resources, empties the DLQ,
follows the feed for a moment, and calls in ways that no client should.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import aiohttp
import rig
from faulty import Faulty

__all__ = ["Steady"]

_BATCH = 20

_MOST_UNDER_WAY = 20

_EVERY_S = 0.2
"""How often somebody looks at something."""


class Steady:
    """Publishes at a rate until it is stopped."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        server: rig.Server,
        *,
        sink_url: str,
        faulty: Faulty,
        deliveries_per_s: float,
        seed: int,
    ) -> None:
        self._session = session
        self._server = server
        self._sink_url = sink_url
        self._faulty = faulty
        self._chance = Random(seed)
        self._numbers = itertools.count(1)
        self.published = 0
        self.batches = 0
        self.held_batches = 0
        """Batches that weren't sent: too much was pending, or unanswered."""
        self._most_pending = 2 * deliveries_per_s
        self._is_held = False
        # By the kinds below: about a third more deliveries than messages.
        self._every_s = _BATCH * 1.35 / deliveries_per_s

    # What is published

    def _item(self) -> dict[str, Any]:
        number = next(self._numbers)
        kind = self._chance.choices(
            ("ok", "flaky", "queue", "flow", "once", "callback", "delay", "busy"),
            weights=(60, 8, 6, 8, 3, 5, 6, 1),
        )[0]
        if number % 50 == 0:
            faults = ("broken", "slow", "hang", "cut", "garbage", "refused")
            kind = faults[number // 50 % len(faults)]
        headers = {"Upstash-Retries": "1", "Upstash-Retry-Delay": "500"}
        item: dict[str, Any] = {"destination": self._sink_url, "headers": headers}
        match kind:
            case "queue":
                item["queue"] = f"queue-{number % 10}"
            case "flow":
                headers["Upstash-Flow-Control-Key"] = f"key-{number % 50}"
                headers["Upstash-Flow-Control-Value"] = "parallelism=20,rate=1000"
            case "once":
                headers["Upstash-Deduplication-Id"] = f"once-{number}"
            case "callback":
                headers["Upstash-Callback"] = self._sink_url
            case "delay":
                headers["Upstash-Delay"] = "2s"
            case "hang":
                headers["Upstash-Timeout"] = "2s"
                headers["Upstash-Retries"] = "0"
                item["destination"] = self._faulty.url(kind)
            case "refused":
                item["destination"] = "http://127.0.0.1:9/"
                headers["Upstash-Failure-Callback"] = self._sink_url
            case "flaky" | "busy" | "broken" | "slow" | "cut" | "garbage":
                item["destination"] = self._faulty.url(kind)
        item["body"] = f"message {number} " + "x" * 200
        return item

    async def publish(self, until_s: float) -> None:
        """Publish a batch at each beat, whether or not the last one is answered.

        On a machine that is too busy the load waits: it isn't overload that is watched.
        """
        next_s = time.time()
        under_way: set[asyncio.Task[Any]] = set()
        while next_s < until_s:
            await asyncio.sleep(max(0.0, next_s - time.time()))
            next_s = max(next_s + self._every_s, time.time() - 1)
            under_way = {task for task in under_way if not task.done()}
            self.batches += 1
            if self._is_held or len(under_way) >= _MOST_UNDER_WAY:
                self.held_batches += 1
            else:
                under_way.add(asyncio.create_task(self._batch()))
        await asyncio.gather(*under_way)

    async def _batch(self) -> None:
        items = [self._item() for _ in range(_BATCH)]
        await self.call("POST", "/v2/batch", json=items)
        self.published += _BATCH

    # What else goes on

    async def look(self, until_s: float) -> None:
        """Do one thing after the other that isn't a publish."""
        things: list[Callable[[], Awaitable[None]]] = [
            self._empty_dlq,
            self._read,
            self._follow,
            self._change,
            self._cancel,
            self._misbehave,
        ]
        for thing in itertools.cycle(things):
            if time.time() > until_s:
                return
            await thing()
            health = await self.call("GET", "/_qemu/health")
            self._is_held = health["pending"] > self._most_pending
            await asyncio.sleep(_EVERY_S)

    async def _empty_dlq(self) -> None:
        entries = (await self.call("GET", "/v2/dlq?count=1"))["messages"]
        for entry in entries:
            await self.call("POST", f"/v2/dlq/retry/{entry['dlqId']}")
        while (await self.call("DELETE", "/v2/dlq?count=100"))["deleted"]:
            pass

    async def _read(self) -> None:
        for path in ("logs?count=50", "queues", "topics", "schedules", "flowControl"):
            await self.call("GET", f"/v2/{path}")

    async def _follow(self) -> None:
        """Read the feed for a moment, and leave in the middle."""
        url = f"{self._server.url}/_qemu/feed"
        async with self._session.get(url) as answer:
            for _ in range(20):
                await answer.content.readany()

    async def _change(self) -> None:
        number = next(self._numbers)
        queue = f"/v2/queues/queue-{number % 10}"
        await self.call("POST", "/v2/queues", json={"queueName": queue[-7:]})
        await self.call("POST", f"{queue}/pause")
        await self.call("POST", f"{queue}/resume")
        group = f"/v2/topics/group-{number % 5}"
        endpoints = {"endpoints": [{"url": self._sink_url}]}
        await self.call("POST", f"{group}/endpoints", json=endpoints)
        await self.call("POST", f"/v2/publish/{group[11:]}")
        await self.call("DELETE", group)
        name = f"schedule-{number % 5}"
        await self.call(
            "POST",
            f"/v2/schedules/{self._sink_url}",
            headers={"Upstash-Cron": "* * * * *", "Upstash-Schedule-Id": name},
        )
        if number % 2:
            await self.call("DELETE", f"/v2/schedules/{name}")
        if number % 25 == 0:  # it warns each time
            await self.call("POST", "/v2/keys/rotate")

    async def _cancel(self) -> None:
        published = await self.call(
            "POST", f"/v2/publish/{self._sink_url}", headers=rig.HOUR
        )
        await self.call("DELETE", f"/v2/messages/{published['messageId']}")

    async def _misbehave(self) -> None:
        """Ask for what isn't there, ask badly, and leave in the middle of a request."""
        for path in ("nothing", "messages/none", "dlq?labeel=x"):
            await self.call("GET", f"/v2/{path}", is_refused=True)
        _, writer = await asyncio.open_connection("127.0.0.1", self._server.port)
        writer.write(b"POST /v2/publish/x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n")
        await writer.drain()
        writer.close()

    async def call(
        self, method: str, path: str, *, is_refused: bool = False, **request: Any
    ) -> Any:
        """Make a call; it must be answered 2xx, or 4xx if ``is_refused``."""
        headers = rig.HEADERS | request.pop("headers", {})
        url = self._server.url + path
        async with self._session.request(
            method, url, headers=headers, **request
        ) as answer:
            text = await answer.text()
            if answer.status // 100 != (4 if is_refused else 2):
                raise rig.BenchmarkError(f"{method} {path}: {answer.status} {text}")
            is_json = answer.content_type == "application/json"
            return await answer.json() if is_json and text else text
