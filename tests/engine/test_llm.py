"""The built-in API ``api/llm``, which has no model here: where it is delivered to."""

from __future__ import annotations

from typing import Any

import pytest

from emulator import Emulator, Settings
from emulator.core.filters import DlqQuery, LogQuery
from emulator.core.headers import parse_publish, parse_schedule
from emulator.core.model import Incoming, Publish, Responded, State
from emulator.engine.engine import Engine
from emulator.errors import InvalidHeader
from tests.doubles import T0, ScriptedTransport, a_publish

CALLBACK_URL = "http://localhost/callback"

CALLBACK = ("Upstash-Callback", CALLBACK_URL)

UPSTREAM = "http://127.0.0.1:11434/v1/chat/completions"


def an_emulator(**settings: Any) -> tuple[Emulator, Engine, ScriptedTransport]:
    """An emulator at T0 whose destinations succeed, and its first user's engine."""
    transport = ScriptedTransport([Responded(200, body=b"answer")])
    emulator = Emulator(
        Settings(clock="virtual", start_time_ms=T0, seed=1, **settings),
        transport=transport,
    )
    engine = emulator.tenants.engines[0]
    engine.start()
    return emulator, engine, transport


def to_llm(engine: Engine, *headers: tuple[str, str]) -> Publish:
    """What a request to publish to the API asks for."""
    incoming = Incoming(
        destination="api/llm",
        headers=(
            *headers,
            ("Upstash-Retries", "1"),
            ("Upstash-Retry-Delay", "1000"),
        ),
        body=b'{"model":"m"}',
    )
    return parse_publish(incoming, limits=engine.limits, now_ms=engine.now_ms)


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("Upstash-Callback", ""),),
        (("Upstash-Failure-Callback", CALLBACK_URL),),
        (("Upstash-Callback-Method", "PUT"),),
    ],
    ids=["none", "empty", "of failures only", "options only"],
)
async def test_the_llm_api_needs_a_callback(headers):
    """LLM-1: or the answer would be lost; a schedule needs it, too."""
    _, engine, _ = an_emulator(llm_upstream=UPSTREAM)
    incoming = Incoming(
        destination="api/llm", headers=(*headers, ("Upstash-Cron", "* * * * *"))
    )

    with pytest.raises(InvalidHeader) as error:
        to_llm(engine, *headers)
    assert error.value.status == 400
    assert "Upstash-Callback" in str(error.value)

    with pytest.raises(InvalidHeader, match="Upstash-Callback"):
        parse_schedule(incoming, limits=engine.limits, now_ms=engine.now_ms)


async def test_a_message_to_the_llm_api_is_delivered_to_the_upstream():
    """LLM-1: and its callback says it was the API's."""
    emulator, engine, transport = an_emulator(llm_upstream=UPSTREAM)

    ((receipt,),) = engine.publish([to_llm(engine, CALLBACK)])
    await emulator.tenants.advance(None)

    call, callback = transport.requests
    assert (call.url, call.body, call.method) == (UPSTREAM, b'{"model":"m"}', "POST")
    assert callback.url == CALLBACK_URL
    assert b'"url":"api/llm"' in callback.body
    message = engine.message(receipt.message_id)
    assert (message.api, message.url) == ("llm", "api/llm")


async def test_without_an_upstream_the_llm_api_is_like_an_unreachable_host():
    """LLM-1, DLV-16: it is retried, fails, and is reported."""
    emulator, engine, transport = an_emulator()

    ((receipt,),) = engine.publish([to_llm(engine, CALLBACK)])
    await emulator.tenants.advance(None)

    page, _ = engine.logs(LogQuery(latest_first=False))
    assert [
        (entry.time_ms - T0, entry.state)
        for entry in page
        if entry.message.message_id == receipt.message_id
    ] == [
        (0, State.CREATED),
        (0, State.ACTIVE),
        (0, State.ERROR),
        (0, State.RETRY),
        (1000, State.ACTIVE),
        (1000, State.ERROR),
        (1000, State.FAILED),
    ]
    assert [call.url for call in transport.requests] == [CALLBACK_URL] * 2
    assert b'"status":0' in transport.requests[0].body
    (entry,), _ = engine.dlq.list(DlqQuery())
    assert "api/llm" in entry.outcome.error


async def test_a_message_to_the_llm_api_can_be_queued():
    """LLM-1, ENQ-1, QUE-13: the next one waits for the answer's callback."""
    emulator, engine, transport = an_emulator(llm_upstream=UPSTREAM)

    first = to_llm(engine, CALLBACK)._replace(queue_name="q")
    engine.publish([first, a_publish(queue_name="q")])
    await emulator.tenants.advance(None)

    assert [call.url for call in transport.requests] == [
        UPSTREAM,
        CALLBACK_URL,
        "http://localhost:3000/api/hook",
    ]


async def test_a_schedule_to_the_llm_api_fires_to_the_upstream():
    """LLM-1, SCH-12."""
    emulator, engine, transport = an_emulator(llm_upstream=UPSTREAM)
    engine.schedules.put(to_llm(engine, CALLBACK), "* * * * *", "s")

    await emulator.tenants.advance(T0 + 60_000)

    assert [call.url for call in transport.requests] == [UPSTREAM, CALLBACK_URL]
    assert engine.schedules.get("s").error is None
