"""The load: everything that an app can ask of QStash, by several callers at once.

Each caller asks for one thing after another, and writes into the books what it asked
and what it was told. What has a state (a queue, a schedule) has one caller only, so
that the last answer says what holds. Chance is a seeded ``Random`` of each caller's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from random import Random
from typing import Any

from tests.system.crash.books import ABSENT, Books, Cancel, Change, Plan, Sent
from tests.system.crash.client import Client, Refused, Unanswered

__all__ = ["FLOW_KEYS", "QUEUES", "Load"]

QUEUES = {"one": 1, "another": 1, "three": 3}
"""Queues, and how many of their messages may be in work at once."""

FLOW_KEYS = {"narrow": 2, "wide": 5}
"""Flow-control keys, and how many of their deliveries may be under way at once."""

_GROUP = "group"

_HOUR = "3600s"

_LARGE_BYTES = 200_000


class Load:
    """Callers who go on until they are stopped, kills or no kills."""

    def __init__(
        self,
        client: Client,
        books: Books,
        *,
        destination_url: str,
        seed: int,
        pause_s: float,
    ) -> None:
        self._client = client
        self._books = books
        self._destination_url = destination_url
        self._seed = seed
        self._pause_s = pause_s
        self._endpoints = 0
        self._is_stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    # Callers

    async def prepare(self) -> None:
        """Make what the callers use. The process must live meanwhile."""
        for name, parallelism in QUEUES.items():
            body = {"queueName": name, "parallelism": parallelism}
            await self._client.call("POST", "/v2/queues", json=body)
            self._books.put("queue", name, (parallelism, False))
        for key in FLOW_KEYS:
            path = f"/v2/flowControl/{key}"
            await self._client.call("POST", f"{path}/pause")
            await self._client.call("POST", f"{path}/resume")
            self._books.put("flow key", key, (False, False))
        # To unpin one that nobody knows does nothing (FLC-28).
        path = "/v2/flowControl/pinned/pin?parallelism=3"
        await self._change("flow key", "pinned", (False, True), "POST", path)
        keys = await self._client.call("GET", "/v2/keys")
        self._books.put("keys", "", (keys["current"], keys["next"]))
        self._books.seen_keys |= {keys["current"], keys["next"]}
        await self.set_endpoints(2)
        for name in ("steady", "paused"):
            await self._put_schedule(name)
        await self._change(
            "schedule", "paused", True, "POST", "/v2/schedules/paused/pause"
        )

    def start(self) -> None:
        """Let all callers begin."""
        callers: list[Callable[[Random], Awaitable[None]]] = [self._publish_anything]
        callers *= 3
        callers += [self._batch, self._dedup, self._cancel, self._dlq, self._configure]
        callers += [self._schedule, self._hold, self._read_log]
        for number, caller in enumerate(callers):
            chance = Random(f"{self._seed} {number}")
            self._tasks.append(asyncio.create_task(self._repeat(caller, chance)))
        for name in QUEUES:
            chance = Random(f"{self._seed} {name}")
            enqueue = self._enqueuing(name)
            self._tasks.append(asyncio.create_task(self._repeat(enqueue, chance)))

    async def stop(self) -> None:
        """Let all callers finish what they are at, and end."""
        self._is_stopping = True
        await asyncio.gather(*self._tasks)

    async def abandon(self) -> None:
        """End all callers at once."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _repeat(
        self, caller: Callable[[Random], Awaitable[None]], chance: Random
    ) -> None:
        while not self._is_stopping:
            self._books.calls += 1
            try:
                await caller(chance)
            except Unanswered:
                self._books.unanswered += 1
            except Refused as refusal:
                self._books.complain(f"refused: {refusal}")
            await asyncio.sleep(chance.uniform(0, 2 * self._pause_s))

    # Messages

    async def _publish_anything(self, chance: Random) -> None:
        kind = chance.choices(
            ("plain", "fails", "calls back", "delayed", "flow", "group", "large"),
            weights=(25, 12, 12, 12, 12, 6, 2),
        )[0]
        if kind == "group":
            await self._publish_to_group()
            return
        failing, retries = chance.choice([(0, 0), (0, 2), (1, 2), (1, 1)])
        if kind == "fails":
            failing, retries = chance.choice([(1, 0), (2, 1), (3, 2)])
        plan = Plan(
            failing=failing,
            retries=retries,
            hang_ms=chance.choice([0, 0, 0, 20, 200]),
            delay_s=chance.choice([1, 2]) if kind == "delayed" else 0,
            is_refused=kind == "fails" and chance.random() < 0.3,
            calls_back=kind == "calls back" or (kind == "fails" and retries == 1),
            flow_key=chance.choice(sorted(FLOW_KEYS)) if kind == "flow" else None,
        )
        padding = b"x" * _LARGE_BYTES if kind == "large" else b""
        await self.publish(plan, padding=padding)

    async def publish(
        self,
        plan: Plan,
        *,
        padding: bytes = b"",
        headers: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """Publish one message, and keep the books."""
        sent = self._books.send(plan, time.time())
        answer: dict[str, Any] = await self._client.call(
            "POST",
            f"/v2/{self._verb(plan)}/{self._url_of(sent)}",
            headers=self._headers(plan) | (headers or {}),
            body=b"%d %s" % (sent.token, padding),
        )
        if not answer.get("deduplicated"):
            self._books.acknowledge(sent, [answer["messageId"]], time.time())
        return answer

    async def _publish_to_group(self) -> None:
        sent = self._books.send(Plan(), time.time(), copies=self._endpoints)
        answers = await self._client.call(
            "POST",
            f"/v2/publish/{_GROUP}",
            headers={"Upstash-Retries": "0"},
            body=b"%d " % sent.token,
        )
        if len(answers) != sent.copies:
            self._books.complain(f"a publish to {sent.copies} went to {answers}")
        ids = [answer["messageId"] for answer in answers]
        self._books.acknowledge(sent, ids, time.time())

    async def set_endpoints(self, count: int) -> None:
        """Give the URL group so many endpoints. Calls to it must not overlap."""
        endpoints = [
            {"url": f"{self._destination_url}/message/{number}"}
            for number in range(count)
        ]
        await self._client.call(
            "POST", f"/v2/topics/{_GROUP}/endpoints", json={"endpoints": endpoints}
        )
        self._endpoints = count
        urls = tuple(endpoint["url"] for endpoint in endpoints)
        self._books.put("URL group", _GROUP, urls)

    async def _batch(self, chance: Random) -> None:
        plans = [
            Plan(failing=chance.choice([0, 0, 1]), retries=1)
            for _ in range(chance.randint(1, 20))
        ]
        batch = [self._books.send(plan, time.time()) for plan in plans]
        body = [
            {
                "destination": self._url_of(sent),
                "headers": self._headers(sent.plan),
                "body": f"{sent.token} ",
            }
            for sent in batch
        ]
        answers = await self._client.call("POST", "/v2/batch", json=body)
        now_s = time.time()
        for sent, answer in zip(batch, answers, strict=True):
            self._books.acknowledge(sent, [answer["messageId"]], now_s)

    async def _dedup(self, chance: Random) -> None:
        """The second publish with an id makes no message (DED-1), kill or no kill."""
        key = f"once-{chance.getrandbits(64)}"
        header = {"Upstash-Deduplication-Id": key}
        first = None
        for _ in range(3):
            try:
                answer = await self.publish(Plan(), headers=header)
            except Unanswered:
                continue
            if first is None:
                first = answer["messageId"]
            elif (answer["messageId"], answer.get("deduplicated")) != (first, True):
                self._books.complain(f"{key}: first {first}, then {answer}")
            await asyncio.sleep(chance.uniform(0, 4 * self._pause_s))

    def _enqueuing(self, name: str) -> Callable[[Random], Awaitable[None]]:
        """Return a caller who enqueues in one queue, one call after the other."""

        async def enqueue(chance: Random) -> None:
            failing, retries = chance.choices(
                [(0, 0), (0, 1), (1, 1), (1, 0)], weights=(6, 6, 2, 1)
            )[0]
            plan = Plan(
                failing=failing,
                retries=retries,
                hang_ms=chance.choice([0, 0, 10, 50]),
                queue=name,
                calls_back=chance.random() < 0.1,
            )
            await self.publish(plan)
            # A queue delivers one after the other: it must not grow without end.
            await asyncio.sleep(0.06 / QUEUES[name])

        return enqueue

    def _verb(self, plan: Plan) -> str:
        return "publish" if plan.queue is None else f"enqueue/{plan.queue}"

    def _url_of(self, sent: Sent) -> str:
        plan = sent.plan
        host = "http://127.0.0.1:9" if plan.is_refused else self._destination_url
        query = f"failing={plan.failing}&hang={plan.hang_ms}"
        return f"{host}/message/{sent.token}?{query}"

    def _headers(self, plan: Plan) -> dict[str, str]:
        headers = {"Upstash-Retries": str(plan.retries), "Upstash-Retry-Delay": "100"}
        if plan.delay_s:
            headers["Upstash-Delay"] = f"{plan.delay_s}s"
        if plan.flow_key is not None:
            headers["Upstash-Flow-Control-Key"] = plan.flow_key
            limit = f"parallelism={FLOW_KEYS[plan.flow_key]}"
            headers["Upstash-Flow-Control-Value"] = limit
        if plan.calls_back:
            headers["Upstash-Callback"] = f"{self._destination_url}/callback/it"
            headers["Upstash-Failure-Callback"] = f"{self._destination_url}/failure/it"
        return headers

    # What is taken back

    async def _cancel(self, chance: Random) -> None:
        plan = Plan(
            delay_s=chance.choice([0, 1, 1]),
            retries=3,
            failing=chance.choice([0, 4]),
            hang_ms=chance.choice([0, 100]),
        )
        message_id = (await self.publish(plan))["messageId"]
        await asyncio.sleep(chance.uniform(0, 0.3))
        await self.cancel(message_id)

    async def cancel(self, message_id: str) -> None:
        """Cancel a message; that it is final already is fine."""
        cancel = self._books.cancels[message_id] = Cancel(time.time())
        try:
            await self._client.call("DELETE", f"/v2/messages/{message_id}")
        except Refused as refusal:
            if refusal.status != 404:
                raise
            del self._books.cancels[message_id]
        else:
            cancel.acknowledged_s = time.time()

    async def _hold(self, chance: Random) -> None:
        """Publish what stays pending all the time, and cancel some of it."""
        held = self._books.names("held")
        if len(held) < 20 or chance.random() < 0.3:
            answer = await self._client.call(
                "POST",
                f"/v2/publish/{self._destination_url}/message/held",
                headers={"Upstash-Delay": _HOUR},
                body=b"0 ",
            )
            self._books.put("held", answer["messageId"], "pending")
        else:
            name = chance.choice(held)
            was_in_doubt = ABSENT in self._books.known("held", name)
            path = f"/v2/messages/{name}"
            try:
                await self._change("held", name, ABSENT, "DELETE", path)
            except Refused as refusal:
                if refusal.status != 404 or not was_in_doubt:
                    raise
                self._books.put("held", name, ABSENT)
        await asyncio.sleep(0.05)

    async def _dlq(self, chance: Random) -> None:
        """Look at the DLQ, and delete or retry something of it."""
        entries = await self.read_dlq()
        if not entries:
            await asyncio.sleep(0.1)
            return
        entry = chance.choice(entries)
        dlq_id = entry["dlqId"]
        if "queueName" in entry or chance.random() < 0.7:
            path = f"/v2/dlq/{dlq_id}"
            await self._change("DLQ entry", dlq_id, ABSENT, "DELETE", path)
            return
        source = self._books.owners.get(entry["messageId"])
        try:
            retried = await self._change(
                "DLQ entry", dlq_id, ABSENT, "POST", f"/v2/dlq/retry/{dlq_id}"
            )
        except Unanswered:
            self._books.in_doubt |= {source.token} if source is not None else set()
            raise
        if source is not None:
            self._books.acknowledge(source, [retried["messageId"]], time.time())

    async def read_dlq(self, client: Client | None = None) -> list[dict[str, Any]]:
        """Read the whole DLQ, and write down what is there."""
        call = (client or self._client).call
        entries: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = await call("GET", f"/v2/dlq?count=100{cursor}")
            entries += page["messages"]
            if not page.get("cursor"):
                break
            cursor = f"&cursor={page['cursor']}"
        for entry in entries:
            seen = self._books.failed.setdefault(entry["messageId"], [])
            if entry["dlqId"] not in seen:
                seen.append(entry["dlqId"])
                self._books.put("DLQ entry", entry["dlqId"], "there")
        return entries

    # What is configured

    async def _change(
        self,
        kind: str,
        name: str,
        state: Hashable,
        method: str,
        path: str,
        **request: Any,
    ) -> Any:
        """Bring a resource into a state."""
        await self._client.ready()
        change = Change(kind, name, state, time.time())
        self._books.changes.append(change)
        try:
            answer = await self._client.call(method, path, **request)
        except Unanswered:
            self._books.doubt(kind, name, state)
            raise
        change.acknowledged_s = time.time()
        self._books.put(kind, name, state)
        return answer

    async def _configure(self, chance: Random) -> None:
        """Pause and resume queues and keys, change the group, rotate the keys."""
        what = chance.choice(
            ["queue", "queue", "flow key", "flow key", "keys", "group", "pin"]
        )
        if what == "keys":
            await self._rotate()
            await asyncio.sleep(0.3)
        elif what == "group":
            await self._change_group(chance)
        elif what == "pin":
            verb, state = chance.choice(
                [("pin?parallelism=3", True), ("unpin?parallelism=true", False)]
            )
            path = f"/v2/flowControl/pinned/{verb}"
            await self._change("flow key", "pinned", (False, state), "POST", path)
        else:
            name = chance.choice(sorted(QUEUES if what == "queue" else FLOW_KEYS))
            await self.set_paused(what, name, True)
            await asyncio.sleep(chance.uniform(0.02, 0.15))
            await self.set_paused(what, name, False)

    async def _change_group(self, chance: Random) -> None:
        """Give a URL group one endpoint more, or remove it."""
        name = f"group-{chance.randrange(3)}"
        path = f"/v2/topics/{name}"
        (urls,) = self._books.known("URL group", name)
        if isinstance(urls, tuple) and chance.random() < 0.5:
            await self._change("URL group", name, ABSENT, "DELETE", path)
            return
        before = urls if isinstance(urls, tuple) else ()
        url = f"{self._destination_url}/message/{len(before)}"
        await self._change(
            "URL group",
            name,
            (*before, url),
            "POST",
            f"{path}/endpoints",
            json={"endpoints": [{"url": url}]},
        )

    async def set_paused(self, kind: str, name: str, is_paused: bool) -> None:
        """Pause or resume a queue or a flow-control key."""
        verb = "pause" if is_paused else "resume"
        if kind == "queue":
            state: Hashable = (QUEUES[name], is_paused)
            path = f"/v2/queues/{name}/{verb}"
        else:
            state, path = (is_paused, False), f"/v2/flowControl/{name}/{verb}"
        await self._change(kind, name, state, "POST", path)

    async def _rotate(self) -> None:
        possible: set[Any] = set(self._books.known("keys", ""))
        try:
            keys = await self._client.call("POST", "/v2/keys/rotate")
        except Unanswered:
            for state in possible:
                self._books.doubt("keys", "", (state[1], "?"))
            raise
        if keys["current"] not in {state[1] for state in possible}:
            self._books.complain(f"keys {keys} come after {possible}")
        self._books.put("keys", "", (keys["current"], keys["next"]))
        self._books.seen_keys |= {keys["current"], keys["next"]}

    async def _schedule(self, chance: Random) -> None:
        """Create, pause, resume and remove schedules."""
        name = f"schedule-{chance.randrange(8)}"
        states = self._books.known("schedule", name)
        path = f"/v2/schedules/{name}"
        if ABSENT in states:
            await self._put_schedule(name)
        elif chance.random() < 0.2:
            await self._change("schedule", name, ABSENT, "DELETE", path)
        elif chance.random() < 0.5:
            await self._change("schedule", name, True, "POST", f"{path}/pause")
        else:
            await self._change("schedule", name, False, "POST", f"{path}/resume")
        await asyncio.sleep(0.05)

    async def _put_schedule(self, name: str) -> None:
        await self._change(
            "schedule",
            name,
            False,
            "POST",
            f"/v2/schedules/{self._destination_url}/schedule/{name}",
            headers={"Upstash-Cron": "* * * * *", "Upstash-Schedule-Id": name},
            body=b"tick",
        )

    async def _read_log(self, chance: Random) -> None:
        """Write down whose end the log shows: it may not begin again."""
        page = await self._client.call("GET", "/v2/logs?count=300")
        now_s = time.time()
        for entry in page["logs"]:
            if entry["state"] in ("DELIVERED", "FAILED", "CANCELED"):
                self._books.finals.setdefault(entry["messageId"], now_s)
        await asyncio.sleep(0.1)
