"""emulator/web/rate_limit.py: too many calls, simulated and real (ERR-8 to ERR-13)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from qstash import AsyncQStash
from qstash.errors import DailyMessageLimitExceededError, RateLimitExceededError

from emulator.settings import DEV_USERS
from emulator.web.routes import ROUTES
from tests.doubles import T0
from tests.web.test_client import HOOK, Answer, Api, fill, serve

MIDNIGHT_S = 1_700_006_400  # 2023-11-15 00:00 UTC, the first after T0

DAILY = {
    "RateLimit-Limit": "1000",
    "RateLimit-Remaining": "0",
    "RateLimit-Reset": str(MIDNIGHT_S),
}

BURST = {
    "Burst-RateLimit-Limit": "100",
    "Burst-RateLimit-Remaining": "0",
    "Burst-RateLimit-Reset": str(T0 // 1000 + 1),
}

CHAT = {
    "x-ratelimit-limit-requests": "100",
    "x-ratelimit-limit-tokens": "100000",
    "x-ratelimit-remaining-requests": "0",
    "x-ratelimit-remaining-tokens": "0",
    "x-ratelimit-reset-requests": str(T0 // 1000 + 60),
    "x-ratelimit-reset-tokens": str(T0 // 1000 + 60),
}

PUBLISHING = ("/v2/publish/{destination}", "/v2/batch")
ENQUEUE = "/v2/enqueue/{queue_name}/{destination}"


async def turn(api: Api, kind: str) -> Answer:
    body = json.dumps({"kind": kind}).encode()
    return await api.post("/_qemu/rate-limit", user=None, body=body)


def limits_in(answer: Answer) -> dict[str, str]:
    return {
        name: value
        for name, value in answer.headers.items()
        if "ratelimit" in name.lower()
    }


@asynccontextmanager
async def sdk(api: Api) -> AsyncIterator[AsyncQStash]:
    client = AsyncQStash(DEV_USERS[0].token, base_url=api.emulator.url, retry=False)
    try:
        yield client
    finally:
        await client.http._client.aclose()  # the SDK never does


async def statuses(api: Api) -> dict[tuple[str, str], int]:
    """Call every endpoint that is done."""
    return {
        (method, path): (await api.call(method, fill(path))).status
        for method, path, handler in ROUTES
        if callable(handler)
    }


# The switch


async def test_the_switch_is_off_until_it_is_turned():
    """ERR-12: 300 calls within one second of the clock."""
    async with serve() as api:
        kind = await api.get("/_qemu/rate-limit", user=None)
        answers = [await api.get("/v2/queues") for _ in range(300)]

    assert kind.json == {"kind": "off"}
    assert {answer.status for answer in answers} == {200}


@pytest.mark.parametrize("kind", ["daily", "burst", "chat", "off"])
async def test_the_switch_says_how_it_stands(kind):
    async with serve() as api:
        answer = await turn(api, kind)
        read = await api.get("/_qemu/rate-limit", user=None)

    assert answer.status == 200
    assert answer.json == read.json == {"kind": kind}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'"daily"',
        b'{"kind":"hourly"}',
        b'{"kind":null}',
        b'{"kind":["daily"]}',
        b'{"kind":"Daily"}',
        b'{"kind":"daily","limit":5}',
        b"{",
    ],
)
async def test_what_the_switch_does_not_have_turns_nothing(body):
    async with serve() as api:
        await turn(api, "burst")
        answer = await api.post("/_qemu/rate-limit", user=None, body=body)
        kind = await api.get("/_qemu/rate-limit", user=None)

    assert answer.status == 400
    assert answer.error
    assert kind.json == {"kind": "burst"}


# What it makes of the API


@pytest.mark.parametrize("target", ["/v2/publish/", "/v2/enqueue/q/", "/V2/Publish/"])
async def test_the_daily_limit_concerns_messages(target):
    """ERR-8, ERR-11: nothing is published; the reset is the next midnight, in
    seconds."""
    async with serve() as api:
        await turn(api, "daily")
        answer = await api.post(target + HOOK)
        untouched = await api.is_untouched()

    assert answer.status == 429
    assert answer.error
    assert limits_in(answer) == DAILY
    assert untouched


async def test_the_daily_limit_concerns_publishing_only():
    """ERR-8."""
    async with serve() as api:
        await turn(api, "daily")
        answered = await statuses(api)

    limited = {path for (_, path), status in answered.items() if status == 429}
    assert limited == {*PUBLISHING, ENQUEUE}


async def test_the_burst_limit_concerns_everything_else():
    """ERR-9, ERR-12: publish, enqueue and batch have none."""
    async with serve() as api:
        await turn(api, "burst")
        answered = await statuses(api)

    free = {path for (_, path), status in answered.items() if status != 429}
    assert free == {*PUBLISHING, ENQUEUE}


async def test_a_burst_is_told_by_its_headers_alone():
    """ERR-9, ERR-11: a RateLimit-Limit would make the SDKs take it for the day's."""
    async with serve() as api:
        await turn(api, "burst")
        answer = await api.get("/v2/queues")

    assert answer.status == 429
    assert answer.error
    assert limits_in(answer) == BURST


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_the_chat_limit_concerns_chat_completions(method):
    """ERR-10."""
    async with serve() as api:
        await turn(api, "chat")
        answer = await api.call(method, "/llm/v1/chat/completions")
        others = await statuses(api)

    assert answer.status == 429
    assert limits_in(answer) == CHAT
    assert 429 not in others.values()


@pytest.mark.parametrize("kind", ["daily", "burst"])
async def test_chat_completions_have_a_limit_of_their_own(kind):
    """ERR-10."""
    async with serve() as api:
        await turn(api, kind)
        answer = await api.post("/llm/v1/chat/completions")

    assert answer.status == 404


@pytest.mark.parametrize("kind", ["daily", "burst", "chat"])
async def test_who_has_no_token_is_told_that_first(kind):
    """AUTH-7."""
    targets = {
        "daily": ("POST", f"/v2/publish/{HOOK}"),
        "burst": ("GET", "/v2/queues"),
        "chat": ("POST", "/llm/v1/chat/completions"),
    }
    async with serve() as api:
        await turn(api, kind)
        answer = await api.call(*targets[kind], user=None)

    assert answer.status == 401


@pytest.mark.parametrize("kind", ["daily", "burst"])
async def test_what_is_ours_is_never_limited(kind):
    async with serve() as api:
        await turn(api, kind)
        health = await api.get("/_qemu/health", user=None)
        off = await turn(api, "off")
        served = await api.get("/v2/queues"), await api.post(f"/v2/publish/{HOOK}")

    assert health.status == off.status == 200
    assert [answer.status for answer in served] == [200, 200]


async def test_a_successful_answer_carries_no_limit():
    """ERR-13."""
    async with serve() as api:
        answers = [await api.get("/v2/queues"), await api.post(f"/v2/publish/{HOOK}")]

    assert [limits_in(answer) for answer in answers] == [{}, {}]


# As an SDK sees it


async def test_the_sdk_raises_for_a_day_that_is_used_up():
    """ERR-8, ERR-11."""
    async with serve() as api, sdk(api) as client:
        await turn(api, "daily")
        with pytest.raises(DailyMessageLimitExceededError) as caught:
            await client.message.publish(url=HOOK)

    error: Any = caught.value
    assert [error.limit, error.remaining, error.reset] == list(DAILY.values())


async def test_the_sdk_raises_for_a_burst():
    """ERR-9, ERR-11."""
    async with serve() as api, sdk(api) as client:
        await turn(api, "burst")
        with pytest.raises(RateLimitExceededError) as caught:
            await client.queue.list()

    error: Any = caught.value
    assert [error.limit, error.remaining, error.reset] == list(BURST.values())


# The plan's own limit


def a_batch(size: int) -> bytes:
    return json.dumps([{"destination": HOOK}] * size).encode()


async def test_a_day_has_as_many_messages_as_the_plan():
    """ERR-5, ERR-8, LIM-11, BAT-7: if it is enforced; one too many refuses the whole
    batch."""
    async with serve(quota="free", strict=True) as api:
        first = await api.post("/v2/batch", body=a_batch(998))
        refused = await api.post("/v2/batch", body=a_batch(3))
        last = [await api.post(f"/v2/publish/{HOOK}") for _ in range(2)]
        over = await api.post(f"/v2/enqueue/q/{HOOK}")
        queues = await api.get("/v2/queues")

    assert first.status == 200
    assert refused.status == 429
    assert [answer.status for answer in last] == [200, 200]
    assert over.status == 429
    assert over.error == "quota maxRequestsPerDay exceeded, current limit: 1000"
    assert limits_in(over) == DAILY
    assert queues.json == []


async def test_a_new_day_begins_at_midnight():
    """ERR-11, LIM-11."""
    async with serve(quota="free", strict=True) as api:
        await api.post("/v2/batch", body=a_batch(1000))
        await api.advance(to=MIDNIGHT_S * 1000 - 1)
        before = await api.post(f"/v2/publish/{HOOK}")
        await api.advance(to=MIDNIGHT_S * 1000)
        after = await api.post("/v2/batch", body=a_batch(1000))

    assert (before.status, after.status) == (429, 200)


async def test_a_day_belongs_to_one_user():
    """AUTH-8, LIM-11."""
    async with serve(quota="free", strict=True) as api:
        await api.post("/v2/batch", body=a_batch(1000))
        other = await api.post(f"/v2/publish/{HOOK}", user=1)

    assert other.status == 200


async def test_messages_are_not_counted_unless_asked():
    """LIM-11, LIM-13."""
    async with serve(quota="free") as api:
        answers = [await api.post("/v2/batch", body=a_batch(1000)) for _ in range(2)]

    assert [answer.status for answer in answers] == [200, 200]
