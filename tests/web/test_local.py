"""emulator/web/local.py: what is ours, under ``/_qemu``; the guard is elsewhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from emulator.settings import DEV_USERS
from tests.doubles import T0, Hang
from tests.web.test_client import FAILS, HOOK, NOT_RETRYABLE, Answer, Api, head, serve

HOUR_MS = 3_600_000


async def call(
    api: Api, method: str, target: str, *, body: bytes = b"", **headers: str
) -> Answer:
    """Call without a token; ``Last_Event_ID`` is the header ``Last-Event-ID``."""
    pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return await api.call(method, target, user=None, headers=pairs, body=body)


async def advance(api: Api, body: bytes | str) -> Answer:
    if isinstance(body, str):
        body = body.encode()
    return await call(api, "POST", "/_qemu/clock/advance", body=body)


async def test_no_token_is_needed_and_none_is_asked_for():
    async with serve() as api:
        answer = await call(api, "GET", "/_qemu/health", Authorization="Bearer x")

    assert answer.status == 200


# Health


async def test_health_tells_what_is_going_on():
    async with serve(Hang()) as api:
        await api.publish()
        await api.publish(user=1, headers=[("Upstash-Delay", "1h")])
        health = (await call(api, "GET", "/_qemu/health")).json

    assert set(health) == {
        *("status", "version", "pid", "startedAt", "clock"),
        *("pending", "pendingBytes", "inFlight", "dropped"),
    }
    assert health["status"] == "ok"
    assert health["clock"] == "virtual"
    assert (health["pending"], health["inFlight"]) == (2, 1)
    assert health["pendingBytes"] > 0
    assert health["dropped"] == {"log": 0, "dlq": 0}


# Clock


async def test_the_clock_says_what_time_it_is():
    async with serve() as api:
        answer = await call(api, "GET", "/_qemu/clock")

    assert answer.json == {"clock": "virtual", "now": T0}


async def test_a_real_clock_says_how_fast_it_runs():
    async with serve(clock="real", speed=60.0) as api:
        clock = (await call(api, "GET", "/_qemu/clock")).json

    assert clock["clock"] == "real"
    assert clock["speed"] == 60
    assert clock["now"] >= T0


@pytest.mark.parametrize(
    ("order", "now_ms"),
    [
        ('{"by":"2h"}', T0 + 2 * HOUR_MS),
        ('{"by":"1d1h1m1s"}', T0 + 25 * HOUR_MS + 61_000),
        ('{"by":"0s"}', T0),
        (f'{{"to":{T0 + 5}}}', T0 + 5),
        (f'{{"to":{T0}}}', T0),
        ('{"until":"idle"}', T0),
    ],
)
async def test_the_clock_is_turned(order, now_ms):
    async with serve() as api:
        answer = await advance(api, order)
        clock = await call(api, "GET", "/_qemu/clock")

    assert answer.status == 200
    assert answer.json == {"clock": "virtual", "now": now_ms}
    assert clock.json == answer.json


async def test_all_that_fell_due_has_settled_when_the_clock_has_turned():
    """At its own instant, and in order."""
    async with serve(FAILS, FAILS, FAILS) as api:
        first = await api.publish(headers=[("Upstash-Retry-Delay", "1000")])
        await api.publish(headers=[("Upstash-Delay", "2h")])
        await api.advance(by="1h")
        events = await api.events(f"?messageId={first}&state=ACTIVE,FAILED")
        states = [event["state"] for event in await api.events("?order=earliestFirst")]

    assert [event["time"] - T0 for event in events] == [3000, 3000, 2000, 1000, 0]
    assert states.count("DELIVERED") == 0


async def test_until_idle_stops_at_the_last_thing_that_happens():
    async with serve() as api:
        await api.publish(headers=[("Upstash-Delay", "2h")])
        now_ms = await api.advance(until="idle")
        health = (await call(api, "GET", "/_qemu/health")).json

    assert now_ms == T0 + 2 * HOUR_MS
    assert health["pending"] == 0


async def test_the_clock_turns_for_every_user():
    async with serve() as api:
        for user in range(4):
            await api.publish(user=user, headers=[("Upstash-Delay", "1m")])
        await api.advance(by="1m")

    assert len(api.transport.requests) == 4


async def test_two_who_turn_the_clock_at_once_take_turns():
    async with serve() as api:
        await api.publish(headers=[("Upstash-Delay", "90m")])
        answers = await asyncio.gather(*[advance(api, '{"by":"1h"}') for _ in range(2)])

    assert sorted(answer.json["now"] for answer in answers) == [
        T0 + HOUR_MS,
        T0 + 2 * HOUR_MS,
    ]
    assert len(api.transport.requests) == 1


BROKEN_ORDERS = {
    "nothing": b"",
    "no JSON": b"{",
    "no UTF-8": b'{"by":"\xff"}',
    "an array": b"[]",
    "a string": b'"2h"',
    "an empty object": b"{}",
    "two orders": b'{"by":"1h","until":"idle"}',
    "an order too many": b'{"by":"1h","x":1}',
    "a number": b'{"by":3600}',
    "a bare number": b'{"by":"3600"}',
    "a negative duration": b'{"by":"-1h"}',
    "too long a duration": b'{"by":"99999999d"}',
    "a fraction": b'{"to":1.5}',
    "infinity": b'{"to":1e999}',
    "a flag": b'{"to":true}',
    "a negative instant": b'{"to":-1}',
    "too late an instant": b'{"to":9007199254740993}',
    "an instant beyond all": b'{"to":' + b"9" * 5000 + b"}",
    "a text": b'{"to":"1700000000000"}',
    "an unknown end": b'{"until":"done"}',
    "null": b'{"by":null}',
    "too deep": b"[" * 60_000,
}


@pytest.mark.parametrize("body", BROKEN_ORDERS.values(), ids=BROKEN_ORDERS)
async def test_an_order_that_cannot_be_followed_turns_nothing(body):
    async with serve() as api:
        answer = await advance(api, body)
        now = (await call(api, "GET", "/_qemu/clock")).json["now"]

    assert answer.status == 400
    assert answer.error
    assert now == T0


async def test_an_order_of_any_size_is_not_read():
    async with serve() as api:
        answer = await advance(api, b" " * (16 * 1_048_576))

    assert answer.status == 413


async def test_the_clock_does_not_go_back():
    async with serve() as api:
        answer = await advance(api, f'{{"to":{T0 - 1}}}')

    assert answer.status == 409
    assert str(T0) in answer.error


async def test_a_real_clock_cannot_be_turned():
    async with serve(clock="real") as api:
        answer = await advance(api, '{"by":"1h"}')

    assert answer.status == 409
    assert "virtual" in answer.error


# Reset


async def test_a_reset_forgets_everything_of_every_user():
    once = [("Upstash-Deduplication-Id", "once")]
    delayed = [("Upstash-Delay", "1h")]
    async with serve(NOT_RETRYABLE) as api:
        await api.fail()
        old = await api.publish(headers=[*once, *delayed])
        for user in (1, 2, 3):
            await api.publish(user=user, headers=delayed)
        answer = await call(api, "POST", "/_qemu/reset")
        events = [await api.events(user=user) for user in range(4)]
        read = await api.get(f"/v2/messages/{old}")
        new = await api.publish(headers=[*once, *delayed])

        assert answer.status == 200
        assert answer.json == {"discarded": 4}
        assert events == [[], [], [], []]
        assert await api.dlq() == []
        assert read.status == 404
        assert new != old


async def test_a_reset_drops_deliveries_under_way():
    """They settle nothing, and what was due never happens."""
    async with serve(Hang()) as api:
        await api.publish()
        await api.publish(headers=[("Upstash-Delay", "1h")])
        await call(api, "POST", "/_qemu/reset")
        await api.advance(by="3h")
        health = (await call(api, "GET", "/_qemu/health")).json
        events = await api.events()

    assert (health["pending"], health["inFlight"]) == (0, 0)
    assert events == []
    assert api.transport.in_flight == 0
    assert len(api.transport.requests) == 1


async def test_after_a_reset_all_works_as_before():
    async with serve(Hang()) as api:
        for _ in range(3):
            await api.publish()
        await call(api, "POST", "/_qemu/reset")
        api.transport.script = [lambda request: FAILS]
        message_id = await api.publish(headers=[("Upstash-Retries", "0")])
        await api.settle()
        states = await api.states(message_id)

    assert states == ["CREATED", "ACTIVE", "ERROR", "FAILED"]


async def test_a_reset_leaves_the_clock_alone():
    async with serve() as api:
        await api.advance(by="1h")
        await call(api, "POST", "/_qemu/reset")
        now = (await call(api, "GET", "/_qemu/clock")).json["now"]

    assert now == T0 + HOUR_MS


# Feed


@dataclass(frozen=True, slots=True)
class Event:
    """A server-sent event."""

    id: int | None
    kind: str
    data: dict[str, Any]


class Listener:
    """An open feed."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def block(self) -> bytes:
        """Read up to the next blank line."""
        async with asyncio.timeout(5):
            return await self.response.content.readuntil(b"\n\n")

    async def event(self) -> Event:
        """Read the next event; comments are passed over."""
        while True:
            block = await self.block()
            if not block.startswith(b":"):
                break
        fields = dict(
            line.split(": ", 1) for line in block.decode("ascii").splitlines() if line
        )
        sequence = int(fields["id"]) if "id" in fields else None
        return Event(sequence, fields["event"], json.loads(fields["data"]))

    async def events(self, count: int) -> list[Event]:
        return [await self.event() for _ in range(count)]


@asynccontextmanager
async def listen(api: Api, last_event_id: str | None = None) -> AsyncIterator[Listener]:
    """Listen from now on; what happens once this has been entered isn't missed."""
    headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
    async with api.session.get(api.url("/_qemu/feed"), headers=headers) as response:
        listener = Listener(response)
        assert await listener.block() == b": listening\n\n"
        yield listener


async def test_the_feed_tells_what_the_log_tells_as_it_happens():
    async with serve() as api, listen(api) as feed:
        message_id = await api.publish(body=b"x")
        events = await feed.events(3)
        logged = await api.events("?order=earliestFirst")

    assert feed.response.headers["Content-Type"].startswith("text/event-stream")
    assert feed.response.headers["Cache-Control"] == "no-store"
    assert [event.kind for event in events] == ["log"] * 3
    # The feed knows more: see `wire.feed_item`.
    ours = {"user", "retried", "status", "durationMs"}
    assert [
        {name: value for name, value in event.data.items() if name not in ours}
        for event in events
    ] == logged
    assert {event.data["user"] for event in events} == {DEV_USERS[0].name}
    assert events[-1].data["status"] == 200
    assert {event.data["messageId"] for event in events} == {message_id}


async def test_with_a_token_the_feed_is_that_users_alone():
    headers = {"Authorization": f"Bearer {DEV_USERS[1].token}"}
    async with (
        serve() as api,
        api.session.get(api.url("/_qemu/feed"), headers=headers) as response,
    ):
        listener = Listener(response)
        for user in (0, 1, 2, 1):
            await api.publish(user=user, headers=[("Upstash-Delay", "1h")])
        events = [await listener.event() for _ in range(2)]

    assert [event.data["user"] for event in events] == [DEV_USERS[1].name] * 2
    assert [event.id for event in events] == [2, 4]


async def test_a_token_that_nobody_has_gets_no_feed():
    headers = {"Authorization": "Bearer x"}
    async with serve() as api:
        url = api.url("/_qemu/feed")
        async with api.session.get(url, headers=headers) as response:
            assert response.status == 401


async def test_events_are_numbered_without_gaps_over_all_users():
    async with serve() as api, listen(api) as feed:
        for user in (0, 3, 1):
            await api.publish(user=user, headers=[("Upstash-Delay", "1h")])
        events = await feed.events(3)

    assert [event.data["user"] for event in events] == [
        DEV_USERS[user].name for user in (0, 3, 1)
    ]
    first = events[0].id
    assert first is not None
    assert [event.id for event in events] == [first, first + 1, first + 2]


async def test_a_listener_hears_only_what_comes_after_it():
    async with serve() as api:
        await api.publish()
        await api.settle()
        async with listen(api) as feed:
            message_id = await api.publish()
            event = await feed.event()

    assert event.data["messageId"] == message_id


async def test_a_listener_that_comes_back_misses_nothing():
    async with serve() as api:
        async with listen(api) as feed:
            await api.publish()
            last = (await feed.events(3))[-1]
        missed = await api.publish()
        await api.settle()
        async with listen(api, str(last.id)) as feed:
            events = await feed.events(3)
            new = await api.publish()
            events += await feed.events(3)

    ids = [event.id for event in events]
    assert [event.data["messageId"] for event in events] == [missed] * 3 + [new] * 3
    assert last.id is not None
    assert ids == list(range(last.id + 1, last.id + 7))


async def test_a_listener_that_has_heard_everything_hears_nothing_twice():
    async with serve() as api:
        async with listen(api) as feed:
            await api.publish()
            last = (await feed.events(3))[-1]
        async with listen(api, str(last.id)) as feed:
            message_id = await api.publish()
            event = await feed.event()

    assert event.data["messageId"] == message_id


async def test_a_gap_is_told_to_a_listener_that_comes_back_too_late():
    """What is no longer kept is counted, and what is kept follows."""
    batch = json.dumps(
        [{"destination": HOOK, "headers": {"Upstash-Delay": "1h"}}] * 3000
    ).encode()
    async with serve() as api:
        async with listen(api) as feed:
            await api.publish(headers=[("Upstash-Delay", "1h")])
            last = await feed.event()
        for _ in range(2):
            await api.post("/v2/batch", body=batch)
        async with listen(api, str(last.id)) as feed:
            gap = await feed.event()
            following = await feed.event()

    assert last.id is not None
    assert following.id is not None
    assert (gap.kind, gap.id) == ("gap", None)
    assert gap.data == {"dropped": following.id - last.id - 1}
    assert gap.data["dropped"] > 0
    assert following.kind == "log"


@pytest.mark.parametrize("value", ["x", "-1", "1.5", "1 2", "9" * 400, "\u0661"])
async def test_an_id_that_is_none_is_refused(value):
    async with serve() as api:
        answer = await call(api, "GET", "/_qemu/feed", Last_Event_ID=value)

    assert answer.status == 400
    assert "Last-Event-ID" in answer.error


async def test_every_listener_hears_everything():
    async with serve() as api, listen(api) as one, listen(api) as other:
        await api.publish()
        heard = [await feed.events(3) for feed in (one, other)]

    assert heard[0] == heard[1]


async def test_a_listener_that_leaves_disturbs_nobody(caplog):
    async with serve() as api, listen(api) as stays:
        async with listen(api):
            pass
        for _ in range(5):
            await api.publish()
        events = await stays.events(15)

    assert len(events) == 15
    assert caplog.text == ""


async def test_whoever_asks_for_the_head_of_the_feed_is_not_kept():
    async with serve() as api, api.connect() as connection:
        await connection.send(head("HEAD", "/_qemu/feed"))
        answer = await connection.head()
        await connection.send(head("GET", "/v2/keys"))
        served = await connection.answer()

    assert answer.status in (200, 405)
    assert served.status == 200


async def test_the_feed_ends_when_the_emulator_stops():
    """And doesn't keep it from stopping."""
    async with serve() as api, listen(api) as feed:
        async with asyncio.timeout(5):
            await api.emulator.stop(drain_s=0)
            rest = await feed.response.content.read()

    assert rest == b""


async def test_the_feed_is_redacted_like_the_log():
    """RED-6, LOG-16."""
    async with serve() as api, listen(api) as feed:
        await api.publish(
            body=b"secret", headers=[("Upstash-Redact-Fields", "body,header")]
        )
        event = await feed.event()
        (created,) = await api.events("?state=CREATED")

    assert event.data["body"] == created["body"]
    assert "c2VjcmV0" not in json.dumps(event.data)
