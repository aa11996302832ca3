"""Clauses that bind the Python SDK: what it sends, and what it makes of the answers.

The emulator serves in the same process, under a virtual clock; the system tests call
it as a process, and read back every field.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import jwt
import pytest
from qstash import AsyncQStash, QStash, Receiver
from qstash.errors import QStashError, SignatureError

from emulator.core.model import SigningKeys
from emulator.core.signature import sign
from emulator.engine.clock import real_now_ms
from emulator.settings import DEV_USERS
from tests.web.test_client import HOOK, NOT_RETRYABLE, Api, serve

TOKEN = DEV_USERS[0].token
KEYS = DEV_USERS[0].keys
NEW_KEY, NEWER_KEY = ("sig_" + 28 * letter for letter in "nx")

A, B = "http://localhost:3000/a", "http://localhost:3000/b"


@dataclass
class Wire:
    """What an SDK client has sent."""

    requests: list[httpx.Request] = field(default_factory=list)

    @property
    def calls(self) -> list[str]:
        """Method and target of each request."""
        return [
            f"{request.method} {request.url.raw_path.decode()}"
            for request in self.requests
        ]

    @property
    def last_body(self) -> Any:
        """The last request's body, which must be JSON."""
        return json.loads(self.requests[-1].content)

    async def note(self, request: httpx.Request) -> None:
        self.requests.append(request)


@asynccontextmanager
async def a_client(
    url: str, token: str = TOKEN, **options: Any
) -> AsyncIterator[tuple[AsyncQStash, Wire]]:
    """An asynchronous client, and what it sends."""
    client = AsyncQStash(token, base_url=url, **options)
    wire = Wire()
    client.http._client.event_hooks = {"request": [wire.note]}
    try:
        yield client, wire
    finally:
        await client.http._client.aclose()  # the SDK never does


# Every method, on the wire

Used = Callable[[AsyncQStash, dict[str, str]], Awaitable[Any]]

METHODS: list[tuple[str, Used, str, Any]] = [
    (
        "message.publish",
        lambda c, _: c.message.publish(url=A),
        f"POST /v2/publish/{A}",
        None,
    ),
    (
        "message.publish_json",
        lambda c, _: c.message.publish_json(url_group="g", body={}),
        "POST /v2/publish/g",
        {},
    ),
    (
        "message.enqueue",
        lambda c, _: c.message.enqueue(queue="q", url=A),
        f"POST /v2/enqueue/q/{A}",
        None,
    ),
    (
        "message.enqueue_json",
        lambda c, _: c.message.enqueue_json(queue="q", url_group="g", body=[1]),
        "POST /v2/enqueue/q/g",
        [1],
    ),
    (
        "message.batch",
        lambda c, _: c.message.batch([{"url": A}, {"url_group": "g", "queue": "q"}]),
        "POST /v2/batch",
        [
            {"destination": A, "headers": {}, "body": None, "queue": None},
            {"destination": "g", "headers": {}, "body": None, "queue": "q"},
        ],
    ),
    (
        "message.batch_json",
        lambda c, _: c.message.batch_json([{"url": A, "body": {"a": 1}}]),
        "POST /v2/batch",
        [
            {
                "destination": A,
                "headers": {"Content-Type": "application/json"},
                "body": '{"a": 1}',
                "queue": None,
            }
        ],
    ),
    (
        "message.get",
        lambda c, ids: c.message.get(ids["message"]),
        "GET /v2/messages/{message}",
        None,
    ),
    (
        "message.cancel",
        lambda c, ids: c.message.cancel(ids["message"]),
        "DELETE /v2/messages/{message}",
        None,
    ),
    (
        "message.cancel_many",
        lambda c, ids: c.message.cancel_many([ids["message"], "x"]),
        "DELETE /v2/messages",
        {"messageIds": ["{message}", "x"]},
    ),
    (
        "message.cancel_all",
        lambda c, _: c.message.cancel_all(),
        "DELETE /v2/messages",
        None,
    ),
    ("log.list", lambda c, _: c.log.list(count=7), "GET /v2/events?count=7", None),
    ("dlq.list", lambda c, _: c.dlq.list(count=7), "GET /v2/dlq?count=7", None),
    ("dlq.get", lambda c, ids: c.dlq.get(ids["dlq"]), "GET /v2/dlq/{dlq}", None),
    (
        "dlq.delete",
        lambda c, ids: c.dlq.delete(ids["dlq"]),
        "DELETE /v2/dlq/{dlq}",
        None,
    ),
    (
        "dlq.delete_many",
        lambda c, ids: c.dlq.delete_many([ids["dlq"], "x"]),
        "DELETE /v2/dlq",
        {"dlqIds": ["{dlq}", "x"]},
    ),
    (
        "queue.upsert",
        lambda c, _: c.queue.upsert("new", parallelism=2),
        "POST /v2/queues",
        {"queueName": "new", "parallelism": 2, "paused": False},
    ),
    ("queue.get", lambda c, _: c.queue.get("q"), "GET /v2/queues/q", None),
    ("queue.list", lambda c, _: c.queue.list(), "GET /v2/queues", None),
    ("queue.pause", lambda c, _: c.queue.pause("q"), "POST /v2/queues/q/pause", None),
    (
        "queue.resume",
        lambda c, _: c.queue.resume("q"),
        "POST /v2/queues/q/resume",
        None,
    ),
    ("queue.delete", lambda c, _: c.queue.delete("q"), "DELETE /v2/queues/q", None),
    (
        "url_group.upsert_endpoints",
        lambda c, _: c.url_group.upsert_endpoints("g", [{"url": B, "name": "b"}]),
        "POST /v2/topics/g/endpoints",
        {"endpoints": [{"url": B, "name": "b"}]},
    ),
    (
        "url_group.remove_endpoints",
        lambda c, _: c.url_group.remove_endpoints("g", [{"url": B}]),
        "DELETE /v2/topics/g/endpoints",
        {"endpoints": [{"url": B}]},
    ),
    ("url_group.get", lambda c, _: c.url_group.get("g"), "GET /v2/topics/g", None),
    ("url_group.list", lambda c, _: c.url_group.list(), "GET /v2/topics", None),
    (
        "url_group.delete",
        lambda c, _: c.url_group.delete("g"),
        "DELETE /v2/topics/g",
        None,
    ),
    (
        "schedule.create",
        lambda c, _: c.schedule.create(destination=A, cron="* * * * *"),
        f"POST /v2/schedules/{A}",
        None,
    ),
    (
        "schedule.create_json",
        lambda c, _: c.schedule.create_json(
            destination="g", cron="* * * * *", body={"a": 1}
        ),
        "POST /v2/schedules/g",
        {"a": 1},
    ),
    ("schedule.get", lambda c, _: c.schedule.get("s"), "GET /v2/schedules/s", None),
    ("schedule.list", lambda c, _: c.schedule.list(), "GET /v2/schedules", None),
    (
        "schedule.delete",
        lambda c, _: c.schedule.delete("s"),
        "DELETE /v2/schedules/s",
        None,
    ),
    (
        "schedule.pause",
        lambda c, _: c.schedule.pause("s"),
        "PATCH /v2/schedules/s/pause",
        None,
    ),
    (
        "schedule.resume",
        lambda c, _: c.schedule.resume("s"),
        "PATCH /v2/schedules/s/resume",
        None,
    ),
    ("signing_key.get", lambda c, _: c.signing_key.get(), "GET /v2/keys", None),
    (
        "signing_key.rotate",
        lambda c, _: c.signing_key.rotate(),
        "POST /v2/keys/rotate",
        None,
    ),
    (
        "flow_control.get",
        lambda c, _: c.flow_control.get("k"),
        "GET /v2/flowControl/k",
        None,
    ),
    (
        "flow_control.get_global_parallelism",
        lambda c, _: c.flow_control.get_global_parallelism(),
        "GET /v2/globalParallelism",
        None,
    ),
    (
        "flow_control.pause",
        lambda c, _: c.flow_control.pause("k"),
        "POST /v2/flowControl/k/pause",
        None,
    ),
    (
        "flow_control.resume",
        lambda c, _: c.flow_control.resume("k"),
        "POST /v2/flowControl/k/resume",
        None,
    ),
    (
        "flow_control.reset_rate",
        lambda c, _: c.flow_control.reset_rate("k"),
        "POST /v2/flowControl/k/resetRate",
        None,
    ),
    (
        "flow_control.pin",
        lambda c, _: c.flow_control.pin(
            "k", {"parallelism": 1, "rate": 2, "period": 3}
        ),
        "POST /v2/flowControl/k/pin?parallelism=1&rate=2&period=3",
        None,
    ),
    (
        "flow_control.unpin",
        lambda c, _: c.flow_control.unpin("k", {"parallelism": True, "rate": False}),
        "POST /v2/flowControl/k/unpin?parallelism=true&rate=false",
        None,
    ),
]


async def populate(api: Api) -> dict[str, str]:
    """Make one of everything that the methods name."""
    endpoints = json.dumps({"endpoints": [{"url": A}, {"url": B}]}).encode()
    await api.post("/v2/queues", body=b'{"queueName":"q"}')
    await api.post("/v2/topics/g/endpoints", body=endpoints)
    await api.post(
        f"/v2/schedules/{A}",
        headers=[("Upstash-Cron", "* * * * *"), ("Upstash-Schedule-Id", "s")],
    )
    dlq_id = await api.fail(headers=[("Upstash-Flow-Control-Key", "k")])
    message_id = await api.publish(headers=[("Upstash-Delay", "1h")])
    return {"message": message_id, "dlq": dlq_id}


@pytest.mark.parametrize(
    ("use", "call", "body"),
    [pytest.param(*case, id=name) for name, *case in METHODS],
)
async def test_every_method_makes_one_call_and_understands_the_answer(use, call, body):
    """SDK-1: it raises KeyError for a field that it needs and that isn't there."""
    async with (
        serve(NOT_RETRYABLE) as api,
        a_client(api.emulator.url) as (client, wire),
    ):
        ids = await populate(api)
        await use(client, ids)

    assert wire.calls == [call.format(**ids)]
    if body is None:
        assert wire.requests[0].content == b""
    else:
        expected = json.dumps(body)
        for name, id in ids.items():
            expected = expected.replace(f"{{{name}}}", id)
        assert wire.last_body == json.loads(expected)


def test_every_method_of_the_sdk_is_in_the_table():
    """SDK-1."""
    client = QStash(TOKEN)
    methods = {
        f"{resource}.{name}"
        for resource, methods in vars(client).items()
        if resource != "http"
        for name in dir(methods)
        if not name.startswith("_") and callable(getattr(methods, name))
    }
    client.http._client.close()

    assert methods == {name for name, *_ in METHODS}


async def test_a_plain_publish_sends_neither_a_method_nor_telemetry():
    """SDK-2: the default method applies."""
    async with serve() as api, a_client(api.emulator.url) as (client, wire):
        receipt: Any = await client.message.publish_json(url=HOOK, body={"a": 1})
        message = await client.message.get(receipt.message_id)

    names = [name for name in wire.requests[0].headers if name.startswith("upstash-")]
    assert names == []
    assert message.method == "POST"
    assert message.headers == {"Content-Type": ["application/json"]}


# Where it finds the server


@pytest.mark.parametrize("slashes", ["", "/", "//"])
@pytest.mark.parametrize("is_given", [True, False])
async def test_the_sdk_finds_the_server_by_argument_or_variable(
    monkeypatch, slashes, is_given
):
    """ENV-1."""
    async with serve() as api:
        url = api.emulator.url + slashes
        monkeypatch.setenv("QSTASH_URL", "http://127.0.0.1:9" if is_given else url)
        async with a_client(url if is_given else None, retry=False) as (client, wire):
            queues = await client.queue.list()

    assert queues == []
    assert wire.requests[0].url == api.emulator.url + "/v2/queues"


async def test_without_either_the_sdk_calls_the_cloud():
    """ENV-1, BASE-17: which the emulator can't do anything about."""
    sent: list[httpx.URL] = []

    async def refuse(request: httpx.Request) -> None:
        sent.append(request.url)
        raise httpx.ConnectError("not from a test", request=request)

    client = AsyncQStash(TOKEN, retry=False)
    client.http._client.event_hooks = {"request": [refuse]}
    with pytest.raises(httpx.ConnectError):
        await client.queue.list()
    await client.http._client.aclose()

    assert sent == ["https://qstash.upstash.io/v2/queues"]


# What it makes of errors


@pytest.mark.parametrize(
    ("token", "url", "status", "text"),
    [
        ("nobody's", HOOK, 401, "unable to authenticate: invalid token"),
        (TOKEN, "ex.com/a", 400, "invalid destination url"),
    ],
)
async def test_the_sdk_shows_status_and_text_and_tries_once(token, url, status, text):
    """ERR-6, ERR-7: no status makes it try again."""
    async with serve() as api, a_client(api.emulator.url, token) as (client, wire):
        with pytest.raises(QStashError) as caught:
            await client.message.publish(url=url)

    assert f"status: {status}, body: " in str(caught.value)
    assert text in str(caught.value)
    assert len(wire.requests) == 1


async def test_a_mistake_of_ours_is_not_asked_for_again(monkeypatch):
    """ERR-7: not even a 500."""
    from emulator.engine.engine import Engine

    def break_down(engine: Engine, message_id: str) -> None:
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr(Engine, "message", break_down)
    async with serve() as api, a_client(api.emulator.url) as (client, wire):
        with pytest.raises(QStashError, match="status: 500"):
            await client.message.get("x")

    assert len(wire.requests) == 1


async def test_a_connection_that_is_lost_after_acceptance_makes_it_publish_again():
    """ERR-7, DED-1: unless the publish has a deduplication id, it is done twice."""
    async with serve() as api, dropping(api) as url:
        retry: Any = {"retries": 5, "backoff": lambda attempt: 0}
        async with a_client(url, retry=retry) as (client, wire):
            await client.message.publish(url=A)
            once: Any = await client.message.publish(url=B, deduplication_id="once")
        await api.settle()

    assert [request.url for request in api.transport.requests] == [A, A, B]
    assert once.deduplicated
    assert len(wire.requests) == 4


@asynccontextmanager
async def dropping(api: Api) -> AsyncIterator[str]:
    """A way to the emulator that loses every other answer."""
    count = 0

    async def pass_on(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        nonlocal count
        count += 1
        is_lost = count % 2 == 1
        head = await reader.readuntil(b"\r\n\r\n")
        closing = head.replace(b"\r\nConnection: keep-alive", b"\r\nConnection: close")
        async with api.connect() as connection:
            await connection.send(closing)
            answer = await connection.rest()
        if not is_lost:
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(pass_on, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


# What its receiver accepts


def a_token(**changes: Any) -> str:
    """A token for the body ``{}`` at ``HOOK`` as an emulator makes it, with changes."""
    token = sign(
        body=b"{}", url=HOOK, key=KEYS.current, now_ms=real_now_ms(), jwt_id="jwt_1"
    )
    claims = jwt.decode(token, options={"verify_signature": False})
    for name, change in changes.items():
        claims[name] = change(claims) if callable(change) else change
    return jwt.encode(claims, KEYS.current, "HS256")


def verify(token: str, url: str | None = HOOK, tolerance: int = 0) -> None:
    Receiver(KEYS.current, KEYS.next).verify(
        signature=token, body="{}", url=url, clock_tolerance=tolerance
    )


@pytest.mark.parametrize("url", [HOOK, None])
def test_the_receiver_accepts_a_token_as_specified(url):
    """SIG-14."""
    verify(a_token(), url)


@pytest.mark.parametrize(
    ("changes", "url"),
    [
        ({"aud": "x"}, HOOK),
        ({"iat": lambda claims: claims["iat"] + 30}, HOOK),
        ({"exp": lambda claims: claims["iat"] - 10}, HOOK),
        ({"nbf": lambda claims: claims["iat"] + 30}, HOOK),
        ({}, HOOK + "/"),
    ],
    ids=["aud", "iat", "exp", "nbf", "url"],
)
@pytest.mark.parametrize("tolerance", [0, 60])
def test_the_receiver_refuses_what_the_server_must_not_send(changes, url, tolerance):
    """SIG-14: its tolerance changes nothing."""
    with pytest.raises(SignatureError):
        verify(a_token(**changes), url, tolerance)


@pytest.mark.parametrize(
    ("keys", "is_accepted"),
    [
        (SigningKeys(NEW_KEY, KEYS.current), True),
        (SigningKeys(NEW_KEY, NEWER_KEY), False),
    ],
)
def test_the_receiver_tries_the_next_key_after_the_current(keys, is_accepted):
    """SIG-14, KEY-4."""
    receiver = Receiver(keys.current, keys.next)
    token = a_token()

    if is_accepted:
        receiver.verify(signature=token, body="{}", url=HOOK)
    else:
        with pytest.raises(SignatureError):
            receiver.verify(signature=token, body="{}", url=HOOK)
