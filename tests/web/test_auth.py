"""emulator/web/auth.py: who calls (contract section 2), and whose things they see."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from emulator.settings import DEV_USERS
from emulator.web.routes import ROUTES
from tests.web.test_client import HOOK, NOT_RETRYABLE, fill, serve

TOKEN = DEV_USERS[0].token

OTHERS = (1, 2, 3)

REFUSED = b'{"error":"unable to authenticate: invalid token"}'


@pytest.mark.parametrize("user", range(4))
async def test_each_dev_user_is_known_by_token(user):
    """AUTH-1, AUTH-10, ENV-11."""
    async with serve() as api:
        answer = await api.get("/v2/keys", user=user)

    keys = DEV_USERS[user].keys
    assert answer.json == {"current": keys.current, "next": keys.next}


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer x",
        TOKEN,
        f"Basic {TOKEN}",
        f"Bearer{TOKEN}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN.lower()}",
        f"Bearer {TOKEN} {TOKEN}",
        "Bearer é",
    ],
)
async def test_a_token_that_nobody_has_is_refused(value):
    """AUTH-5, AUTH-6."""
    async with serve() as api:
        answer = await api.get(
            "/v2/keys", user=None, headers=[("Authorization", value)]
        )

    assert answer.status == 401
    assert answer.body == REFUSED


async def test_a_call_without_a_token_is_refused():
    """AUTH-1, AUTH-6."""
    async with serve() as api:
        answer = await api.get("/v2/keys", user=None)

    assert answer.status == 401
    assert answer.body == REFUSED
    assert answer.headers["Content-Type"] == "application/json"


async def test_every_endpoint_refuses_a_call_without_a_token():
    """AUTH-1."""
    async with serve() as api:
        statuses = {
            (method, path): (await api.call(method, fill(path), user=None)).status
            for method, path, _ in ROUTES
        }

    assert statuses == dict.fromkeys(statuses, 401)


async def test_every_endpoint_takes_the_token_from_the_query():
    """AUTH-2."""
    async with serve() as api:
        statuses = {
            (method, path): (
                await api.call(method, f"{fill(path)}?qstash_token={TOKEN}", user=None)
            ).status
            for method, path, _ in ROUTES
        }

    assert {route for route, status in statuses.items() if status == 401} == set()


@pytest.mark.parametrize(
    "token", [TOKEN, quote(TOKEN), "".join(f"%{ord(c):02x}" for c in TOKEN)]
)
async def test_a_token_in_the_query_may_be_percent_encoded(token):
    """AUTH-5."""
    async with serve() as api:
        answer = await api.get(f"/v2/keys?qstash_token={token}", user=None)

    assert answer.status == 200


@pytest.mark.parametrize("token", ["", "x", TOKEN + "x", "%ff", "%"])
async def test_a_token_in_the_query_that_nobody_has_is_refused(token):
    """AUTH-6."""
    async with serve() as api:
        answer = await api.get(f"/v2/keys?qstash_token={token}", user=None)

    assert answer.status == 401
    assert answer.body == REFUSED


async def test_the_header_wins_over_the_query():
    """AUTH-3."""
    async with serve() as api:
        answer = await api.get(f"/v2/keys?qstash_token={TOKEN}", user=1)

    assert answer.json["current"] == DEV_USERS[1].keys.current


@pytest.mark.parametrize(
    ("query", "url"),
    [
        (f"qstash_token={TOKEN}", HOOK),
        (f"a=1&qstash_token={TOKEN}&b=%20&a=2", f"{HOOK}?a=1&b=%20&a=2"),
        (f"a&&=&qstash_token={quote(TOKEN, safe='')}", f"{HOOK}?a&&="),
    ],
)
async def test_the_destination_never_sees_the_token_of_the_query(query, url):
    """AUTH-4: the other parameters keep order and spelling."""
    async with serve() as api:
        await api.publish(f"{HOOK}?{query}", user=None)
        await api.settle()
        (request,) = api.transport.requests

    assert request.url == url


async def test_the_destination_never_sees_the_token_of_the_header():
    """HDR-34."""
    async with serve() as api:
        await api.publish(
            headers=[("Upstash-Header-Forward", "true"), ("X-Own", "1")],
        )
        await api.settle()
        (request,) = api.transport.requests

    names = [name for name, _ in request.headers]
    assert "X-Own" in names
    assert "Authorization" not in names


async def test_the_authorization_of_a_webhook_sender_is_forwarded():
    """HDR-34: with the token in the query, ``Authorization`` is the sender's own."""
    async with serve() as api:
        await api.publish(
            f"{HOOK}?qstash_token={TOKEN}",
            user=None,
            headers=[
                ("Upstash-Header-Forward", "true"),
                ("Authorization", "Bearer of-the-sender"),
            ],
        )
        await api.settle()
        (request,) = api.transport.requests

    assert dict(request.headers)["Authorization"] == "Bearer of-the-sender"


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("GET", "/v2/no/such/path", b""),
        ("PUT", "/v2/keys", b""),
        ("POST", "/v2/publish/", b""),
        ("POST", "/v2/publish/ftp://x", b""),
        ("POST", f"/v2/publish/{HOOK}?upstash-retries=x", b""),
        ("POST", "/v2/batch", b"not JSON"),
        ("GET", "/v2/messages/msg_unknown", b""),
        ("DELETE", "/v2/dlq?unknown=1", b""),
        ("GET", "/v2/events?count=0", b""),
    ],
)
async def test_authentication_comes_before_every_other_check(method, target, body):
    """AUTH-7."""
    async with serve() as api:
        answer = await api.call(method, target, user=None, body=body)

    assert answer.status == 401
    assert answer.body == REFUSED


@pytest.mark.parametrize("other", OTHERS)
async def test_a_message_is_invisible_to_other_users(other):
    """AUTH-8."""
    async with serve() as api:
        message_id = await api.publish(headers=[("Upstash-Delay", "1h")])
        read = await api.get(f"/v2/messages/{message_id}", user=other)
        cancelled = await api.delete(f"/v2/messages/{message_id}", user=other)
        own = await api.get(f"/v2/messages/{message_id}")

    assert (read.status, cancelled.status) == (404, 404)
    assert read.error == f"message {message_id} not found"
    assert own.status == 200


@pytest.mark.parametrize("other", OTHERS)
async def test_the_log_is_invisible_to_other_users(other):
    """AUTH-8."""
    async with serve() as api:
        message_id = await api.publish()
        await api.settle()
        foreign = await api.events(f"?messageId={message_id}", user=other)
        everything = await api.events(user=other)
        own = await api.events()

    assert (foreign, everything) == ([], [])
    assert len(own) == 3


@pytest.mark.parametrize("other", OTHERS)
async def test_the_dlq_is_invisible_to_other_users(other):
    """AUTH-8."""
    async with serve(NOT_RETRYABLE) as api:
        dlq_id = await api.fail()
        listed = await api.dlq(user=other)
        statuses = [
            (await api.get(f"/v2/dlq/{dlq_id}", user=other)).status,
            (await api.delete(f"/v2/dlq/{dlq_id}", user=other)).status,
            (await api.post(f"/v2/dlq/retry/{dlq_id}", user=other)).status,
            (await api.post(f"/v2/dlq/retry?dlqIds={dlq_id}", user=other)).status,
        ]
        own = await api.dlq()

    assert listed == []
    assert statuses == [404, 404, 404, 404]
    assert [entry["dlqId"] for entry in own] == [dlq_id]


@pytest.mark.parametrize("other", OTHERS)
async def test_bulk_actions_do_not_reach_other_users(other):
    """AUTH-8."""
    async with serve(NOT_RETRYABLE) as api:
        await api.fail()
        await api.publish(headers=[("Upstash-Delay", "1h")])
        cancelled = await api.delete("/v2/messages", user=other)
        deleted = await api.delete("/v2/dlq", user=other)
        retried = await api.post("/v2/dlq/retry", user=other)
        own_entries = await api.dlq()
        own_cancelled = await api.delete("/v2/messages")

    assert cancelled.json == {"cancelled": 0}
    assert deleted.json == {"deleted": 0}
    assert retried.json["responses"] == []
    assert len(own_entries) == 1
    assert own_cancelled.json == {"cancelled": 1}


async def test_a_deduplication_id_belongs_to_one_user():
    """AUTH-8, DED-4."""
    headers = [("Upstash-Deduplication-Id", "once")]
    async with serve() as api:
        ids = {await api.publish(user=user, headers=headers) for user in range(4)}

    assert len(ids) == 4


@pytest.mark.parametrize("other", OTHERS)
async def test_rotating_keys_leaves_other_users_alone(other):
    """AUTH-8, KEY-3."""
    async with serve() as api:
        before = (await api.get("/v2/keys", user=other)).json
        await api.post("/v2/keys/rotate")
        after = (await api.get("/v2/keys", user=other)).json

    assert after == before


@pytest.mark.parametrize("name", ["qstash_token", "QSTASH_TOKEN", "Qstash_Token"])
async def test_the_token_in_the_query_is_no_filter_however_it_is_spelled(name):
    """AUTH-2, MSG-26, DLQ-24."""
    async with serve() as api:
        for path in ("/v2/messages", "/v2/dlq"):
            answer = await api.delete(f"{path}?{name}={TOKEN}", user=None)

            assert answer.status == 200, answer.body
