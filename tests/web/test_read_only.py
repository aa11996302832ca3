"""Read-only tokens over HTTP: they read everything, and change nothing (AUTH-9)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from emulator.settings import DEV_USERS
from emulator.web.routes import ROUTES
from tests.web.test_client import HOOK, NOT_RETRYABLE, Answer, Api, fill, serve

TOKEN = "a-read-only-token"

USERS = (replace(DEV_USERS[0], read_only_token=TOKEN), *DEV_USERS[1:])

BEARER = [("Authorization", f"Bearer {TOKEN}")]

REFUSED = b'{"error":"unauthorized: token is read-only"}'

READING = [path for method, path, _ in ROUTES if method == "GET"]

CHANGING = [(method, path) for method, path, _ in ROUTES if method != "GET"]


async def call(api: Api, method: str, target: str, **options: Any) -> Answer:
    """Call with the read-only token."""
    headers = [*BEARER, *options.pop("headers", ())]
    return await api.call(method, target, user=None, headers=headers, **options)


async def populate(api: Api) -> list[str]:
    """Make one of everything, and return what there is to read."""
    endpoints = json.dumps({"endpoints": [{"url": HOOK}]}).encode()
    queue = json.dumps({"queueName": "q"}).encode()
    await api.post("/v2/queues", body=queue)
    await api.post("/v2/topics/g/endpoints", body=endpoints)
    await api.post(
        f"/v2/schedules/{HOOK}",
        headers=[("Upstash-Cron", "0 0 1 1 *"), ("Upstash-Schedule-Id", "s")],
    )
    dlq_id = await api.fail(headers=[("Upstash-Flow-Control-Key", "k")])
    message_id = await api.publish(headers=[("Upstash-Delay", "1h")])
    return [
        "/v2/queues",
        "/v2/queues/q",
        "/v2/topics",
        "/v2/topics/g",
        "/v2/schedules",
        "/v2/schedules/s",
        "/v2/flowControl",
        "/v2/flowControl/k",
        "/v2/globalParallelism",
        f"/v2/messages/{message_id}",
        "/v2/dlq",
        f"/v2/dlq/{dlq_id}",
        "/v2/events",
        "/v2/logs?count=1",
        "/v2/keys",
    ]


async def test_it_reads_what_the_full_token_reads():
    """AUTH-9: of its user, and of everything."""
    async with serve(NOT_RETRYABLE, users=USERS) as api:
        targets = await populate(api)
        full = {target: (await api.get(target)).body for target in targets}
        read_only = {target: await call(api, "GET", target) for target in targets}

    assert {answer.status for answer in read_only.values()} == {200}
    assert {target: each.body for target, each in read_only.items()} == full


@pytest.mark.parametrize("path", READING)
async def test_no_endpoint_refuses_to_be_read(path):
    """AUTH-9."""
    async with serve(users=USERS) as api:
        answer = await call(api, "GET", fill(path))
        by_query = await api.get(f"{fill(path)}?qstash_token={TOKEN}", user=None)

    assert answer.status != 403
    assert by_query.status == answer.status


@pytest.mark.parametrize(("method", "path"), CHANGING)
async def test_no_endpoint_can_be_made_to_change_anything(method, path):
    """AUTH-9, Q-1, ERR-2: whether the token is in the header or in the query."""
    target = fill(path)
    async with serve(users=USERS) as api:
        answer = await call(api, method, target, body=b"[]")
        by_query = await api.call(method, f"{target}?qstash_token={TOKEN}", user=None)
        untouched = await api.is_untouched()

    assert (answer.status, answer.body) == (403, REFUSED)
    assert (by_query.status, by_query.body) == (403, REFUSED)
    assert untouched


async def test_nothing_is_changed_by_what_is_refused():
    """AUTH-9."""
    async with serve(NOT_RETRYABLE, users=USERS) as api:
        targets = await populate(api)
        before = {target: (await api.get(target)).body for target in targets}
        message_id = targets[9].rpartition("/")[2]
        dlq_id = targets[11].rpartition("/")[2]
        attempts = [
            await call(api, *attempt)
            for attempt in (
                ("DELETE", f"/v2/messages/{message_id}"),
                ("DELETE", "/v2/messages"),
                ("DELETE", f"/v2/dlq/{dlq_id}"),
                ("POST", f"/v2/dlq/retry/{dlq_id}"),
                ("DELETE", "/v2/queues/q"),
                ("POST", "/v2/queues/q/pause"),
                ("DELETE", "/v2/topics/g"),
                ("PATCH", "/v2/schedules/s/pause"),
                ("DELETE", "/v2/schedules/s"),
                ("POST", "/v2/flowControl/k/pause"),
                ("POST", "/v2/keys/rotate"),
            )
        ]

        assert {answer.status for answer in attempts} == {403}
        assert {target: (await api.get(target)).body for target in targets} == before


async def test_the_header_decides_where_there_are_two_tokens():
    """AUTH-3, AUTH-9."""
    async with serve(users=USERS) as api:
        read_only_first = await api.post(
            f"/v2/publish/{HOOK}?qstash_token={DEV_USERS[0].token}",
            user=None,
            headers=BEARER,
        )
        full_first = await api.post(f"/v2/publish/{HOOK}?qstash_token={TOKEN}")

    assert read_only_first.status == 403
    assert full_first.status == 200


async def test_it_opens_one_user_only():
    """AUTH-8, AUTH-9."""
    async with serve(users=USERS) as api:
        await api.publish(user=1)
        events = await call(api, "GET", "/v2/events")
        keys = await call(api, "GET", "/v2/keys")

    assert events.json == {"events": []}
    assert keys.json["current"] == DEV_USERS[0].keys.current


@pytest.mark.parametrize("token", [TOKEN[:-1], TOKEN + "x", TOKEN.upper()])
async def test_it_is_compared_exactly(token):
    """AUTH-5, AUTH-6."""
    async with serve(users=USERS) as api:
        answer = await api.get(
            "/v2/keys", user=None, headers=[("Authorization", f"Bearer {token}")]
        )

    assert answer.status == 401


async def test_further_users_may_be_configured():
    """AUTH-10: with a token, keys, and a read-only token of their own."""
    further = replace(
        DEV_USERS[0], name="me", token="mine", read_only_token="mine-to-read"
    )
    async with serve(users=(*USERS, further)) as api:
        published = await api.post(
            f"/v2/publish/{HOOK}", user=None, headers=[("Authorization", "Bearer mine")]
        )
        bearer = [("Authorization", "Bearer mine-to-read")]
        mine = await api.get("/v2/events?state=CREATED", user=None, headers=bearer)
        refused = await api.post(f"/v2/publish/{HOOK}", user=None, headers=bearer)

    assert published.status == 200
    assert [each["messageId"] for each in mine.json["events"]] == [
        published.json["messageId"]
    ]
    assert refused.status == 403
