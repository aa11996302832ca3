"""Clauses that no other file of this folder is about, each by its id."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import suppress
from typing import Any

import aiohttp
import pytest

from emulator import Emulator, Settings
from emulator.core.model import Outgoing, Responded, Unreachable
from emulator.settings import DEV_USERS
from tests.doubles import ScriptedTransport
from tests.web.test_client import (
    FAILS,
    HOOK,
    LONGEST_ANSWER_S,
    NOT_RETRYABLE,
    Api,
    authorization,
    head,
    serve,
)

CALLBACK = "http://localhost:3000/callback"


# What the server is


def loopback_addresses() -> set[str]:
    """Return the loopback addresses that this machine has."""
    found = set()
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with suppress(OSError), socket.socket(family) as attempt:
            attempt.bind((address, 0))
            found.add(address)
    return found


async def test_base_1_every_loopback_address_is_listened_on():
    """BASE-1: ``localhost`` may mean either."""
    addresses = loopback_addresses()
    async with serve() as api:
        answers = {}
        for address in addresses:
            reader, writer = await asyncio.open_connection(address, api.emulator.port)
            writer.write(head("GET", "/v2/keys"))
            answers[address] = await reader.readline()
            writer.transport.abort()

    assert "127.0.0.1" in addresses
    assert answers == dict.fromkeys(addresses, b"HTTP/1.1 200 OK\r\n")


async def test_base_16_a_server_that_is_started_again_has_forgotten_everything():
    """BASE-16: state is in memory, unless it is told where to keep it."""
    async with serve() as api:
        await api.publish(headers=[("Upstash-Delay", "1h")])
        await api.post("/v2/queues", body=b'{"queueName":"q"}')
    async with serve() as api:
        answers = [await api.get(path) for path in ("/v2/events", "/v2/queues")]

    assert [answer.json for answer in answers] == [{"events": []}, []]


async def test_base_17_two_servers_share_nothing():
    """BASE-17: like two regions of the cloud, each has users and state of its own."""
    async with serve(region="EU-CENTRAL-1") as eu, serve(region="US-EAST-1") as us:
        message_id = await eu.publish(headers=[("Upstash-Delay", "1h")])
        await eu.post("/v2/keys/rotate")
        elsewhere = await us.get(f"/v2/messages/{message_id}")
        keys = await us.get("/v2/keys")

    assert elsewhere.status == 404
    assert keys.json["current"] == DEV_USERS[0].keys.current


@pytest.mark.parametrize("user", [0, 3])
async def test_env_12_readiness_can_be_asked_for_inside_and_outside_of_v2(user):
    """ENV-12: the former is what the JavaScript SDK does (ENV-7)."""
    async with serve() as api:
        keys = await api.get("/v2/keys", user=user)
        health = await api.get("/_qemu/health", user=None)

    assert keys.json["current"] == DEV_USERS[user].keys.current
    assert health.json["status"] == "ok"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_llm_3_chat_completions_are_not_there(method):
    """LLM-3: in the form of ERR-1, like any path that isn't."""
    async with serve() as api:
        answer = await api.call(
            method, "/llm/v1/chat/completions", body=b'{"messages":[]}'
        )

        assert answer.status == 404
        assert answer.error
        assert await api.is_untouched()


@pytest.mark.parametrize(
    "path",
    ["/v2/stats", "/v2/statistics", "/v2/usage", "/v2/account", "/v2/qstash/stats/x"],
)
async def test_lim_14_there_are_no_statistics(path):
    """LIM-14: nor anything else of the account API, which is another host's."""
    async with serve() as api:
        answer = await api.get(path)

    assert answer.status == 404
    assert answer.error


# Time


async def test_rty_11_waits_can_be_shortened_and_keep_their_length():
    """RTY-11, RTY-10: at a speed of 100,000 the default 12 s pass in a moment, and are
    12 s by the emulator's clock."""
    is_called_again = asyncio.Event()

    def succeed(request: Outgoing) -> Responded:
        is_called_again.set()
        return Responded(200)

    transport = ScriptedTransport([FAILS, succeed])
    settings = Settings(port=0, speed=100_000)
    async with Emulator(settings, transport=transport) as emulator:
        headers = dict(authorization(0))
        async with aiohttp.ClientSession(headers=headers) as session:
            await session.post(f"{emulator.url}/v2/publish/{HOOK}")
            async with asyncio.timeout(LONGEST_ANSWER_S):
                await is_called_again.wait()
            query = "state=ERROR,RETRY,ACTIVE&order=earliestFirst"
            async with session.get(f"{emulator.url}/v2/logs?{query}") as response:
                logs = (await response.json())["logs"]

    active, error, retry, again, *_ = logs
    assert retry["nextDeliveryTime"] - error["time"] == 12_182
    assert again["time"] >= retry["nextDeliveryTime"]
    assert active["time"] <= error["time"]


async def test_msg_7_a_delivered_message_disappears_in_the_end():
    """MSG-7, MSG-8: shortly after, as QStash says, is a minute here."""
    async with serve() as api:
        message_id = await api.publish()
        await api.settle()
        at_once = await api.get(f"/v2/messages/{message_id}")
        await api.advance(by="61s")
        later = await api.get(f"/v2/messages/{message_id}")

    assert (at_once.status, later.status) == (200, 404)


# Publishing


async def test_bat_8_an_entry_that_cannot_be_delivered_is_no_error_of_the_batch():
    """BAT-8: what fails after validation has a message, and fails like any other."""
    entries = [{"destination": "http://nowhere.invalid"}, {"destination": HOOK}]
    unreachable = Unreachable("can't resolve the host")

    def answer(request: Outgoing) -> Any:
        return unreachable if "nowhere" in request.url else Responded(200)

    async with serve(answer) as api:
        answered = await api.post("/v2/batch", body=json.dumps(entries).encode())
        await api.settle()
        states = [(await api.states(each["messageId"]))[-1] for each in answered.json]

    assert answered.status == 200
    assert [list(each) for each in answered.json] == [["messageId"]] * 2
    assert states == ["RETRY", "DELIVERED"]


async def test_q_2_what_is_accepted_is_answered_with_200():
    """Q-2, PUB-43, C-20: publish, enqueue and schedule."""
    targets = (f"/v2/publish/{HOOK}", f"/v2/enqueue/q/{HOOK}", f"/v2/schedules/{HOOK}")
    async with serve() as api:
        answers = [
            await api.post(
                target,
                headers=[("Upstash-Cron", "* * * * *")]
                if "schedules" in target
                else [],
            )
            for target in targets
        ]

    assert [answer.status for answer in answers] == [200, 200, 200]


@pytest.mark.parametrize(
    ("first", "second", "is_duplicate"),
    [
        ((b"secret", "body"), (b"secret", "body"), True),
        ((b"secret", "body"), (b"secret", ""), True),
        ((b"secret", "body"), (b"other", "body"), False),
        ((b"secret", "header"), (b"secret", "body,header[X]"), True),
    ],
)
async def test_red_10_deduplication_looks_at_the_originals(first, second, is_duplicate):
    """RED-10, DED-6: what is redacted, and whether it is, makes no difference."""
    async with serve() as api:
        answers = [
            await api.post(
                f"/v2/publish/{HOOK}",
                body=body,
                headers=[
                    ("Upstash-Content-Based-Deduplication", "true"),
                    ("Upstash-Redact-Fields", fields),
                    ("Upstash-Forward-X", "1"),
                ],
            )
            for body, fields in (first, second)
        ]

    assert "deduplicated" not in answers[0].json
    assert answers[1].json.get("deduplicated", False) is is_duplicate


# Deliveries and callbacks


@pytest.mark.parametrize("status", [400, 403])
async def test_sig_18_an_app_that_misses_the_signature_has_failed_like_any_other(
    status,
):
    """SIG-18: the SDK's wrappers answer so; the message is retried."""
    async with serve(Responded(status), Responded(200)) as api:
        message_id = await api.publish(headers=[("Upstash-Retry-Delay", "1000")])
        await api.advance(by="1s")
        (error,) = await api.events("?state=ERROR")

        assert error["responseStatus"] == status
        assert (await api.states(message_id))[-1] == "DELIVERED"


async def failed_with_callback(api: Api, *headers: tuple[str, str]) -> list[Outgoing]:
    """Publish a message that fails at once, and return the calls of its callback."""
    await api.publish(headers=[("Upstash-Callback", CALLBACK), *headers])
    await api.advance(until="idle")
    return [request for request in api.transport.requests if request.url == CALLBACK]


async def test_q_10_a_callback_tells_no_configuration_of_its_source():
    """Q-10, CBK-22, FMT-9: only the header map, each name with a list of values."""
    async with serve(NOT_RETRYABLE, Responded(200)) as api:
        (callback,) = await failed_with_callback(
            api,
            ("Content-Type", "text/plain"),
            ("Upstash-Forward-X", "1"),
            ("Upstash-Label", "l"),
            ("Upstash-Flow-Control-Key", "k"),
        )
    payload = json.loads(callback.body)

    assert payload["sourceHeader"] == {"Content-Type": ["text/plain"], "X": ["1"]}


async def test_q_32_a_failed_callback_is_reported_by_its_own_log_and_dlq_only():
    """Q-32, CBK-7: it has no callback of its own."""
    async with serve(NOT_RETRYABLE) as api:
        callbacks = await failed_with_callback(
            api, ("Upstash-Failure-Callback", CALLBACK)
        )
        entries = await api.dlq()
        failed = await api.events("?state=FAILED")

    ids = {entry["messageId"] for entry in entries}
    assert len(callbacks) == 2
    assert {entry["url"] for entry in entries} == {HOOK, CALLBACK}
    assert len(entries) == 3
    assert {event["messageId"] for event in failed} == ids
