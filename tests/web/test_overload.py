"""What is more than the emulator can take harms nobody else, and is said."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from emulator import Emulator, Settings
from emulator import emulator as emulator_module
from emulator.engine import cancelling, dlq, log_pages
from emulator.engine.engine import Engine
from emulator.web import responses
from tests.web.test_client import HOOK, NOT_RETRYABLE, Api, head, serve

PUBLISH = f"/v2/publish/{HOOK}"

# A start that fails


def is_listened_on(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("where", "name"), [(emulator_module, "build_server"), (Engine, "start")]
)
async def test_a_start_that_fails_leaves_nothing_open(
    where: Any, name: str, monkeypatch, tmp_path
):
    emulator = Emulator(Settings(port=0, db=str(tmp_path / "qemu.db")))

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("broken")

    with monkeypatch.context() as patch:
        patch.setattr(where, name, broken)
        with pytest.raises(RuntimeError):
            await emulator.start()

    assert not is_listened_on(emulator.port)
    await emulator.start()  # nor is the file locked
    await emulator.stop(drain_s=0)


# Slow readers


async def fill_with_bodies(api: Api, *, count: int, body_bytes: int) -> None:
    for _ in range(count):
        await api.publish(body=bytes(body_bytes))
    await api.settle()


async def test_a_listener_that_reads_nothing_delays_no_delivery_and_holds_little():
    async with serve() as api, api.connect() as stalled:
        await stalled.send(head("GET", "/_qemu/feed", user=None))
        await stalled.head()
        assert b": listening" in await stalled.some()

        await fill_with_bodies(api, count=60, body_bytes=1_000_000)

        assert len(api.transport.requests) == 60
        (listener,) = api.emulator.feed._subscriptions
        held = sum(item.entry.size_bytes for item in listener._items)
        assert held <= 1 << 26
        # Sixty messages have 180 entries: most of them are gone for who reads nothing.
        listener.take_dropped()
        assert 180 - len(listener._items) > 100


async def test_a_log_reader_that_reads_nothing_delays_no_delivery():
    async with serve() as api:
        await fill_with_bodies(api, count=10, body_bytes=1_000_000)
        async with api.connect() as stalled:
            for _ in range(5):
                await stalled.send(head("GET", "/v2/events"))
            await fill_with_bodies(api, count=20, body_bytes=10)

            assert len(api.transport.requests) == 30


@pytest.mark.parametrize("target", ["/v2/events?host=none", "/v2/events", "/v2/dlq"])
async def test_others_run_while_a_page_is_made(target: str, monkeypatch):
    monkeypatch.setattr(log_pages, "_SLICE", 10)
    monkeypatch.setattr(dlq, "_LOOKED_AT_IN_A_SLICE", 10)
    monkeypatch.setattr(responses, "_PAUSE_EVERY_BYTES", 1000)
    async with serve(NOT_RETRYABLE) as api:
        for _ in range(100):
            await api.publish()
        await api.settle()
        pauses = count_pauses(monkeypatch)

        assert (await api.get(target)).status == 200
        assert len(pauses) >= 10


async def test_others_run_while_messages_are_cancelled(monkeypatch):
    monkeypatch.setattr(cancelling, "_SLICE", 10)
    async with serve() as api:
        for _ in range(100):
            await api.publish(headers=[("Upstash-Delay", "1h")])
        pauses = count_pauses(monkeypatch)

        assert (await api.delete("/v2/messages")).json == {"cancelled": 100}
        assert len(pauses) >= 10


def count_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list that gets an item whenever something lets others run."""
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def counted(delay_s: float) -> None:
        pauses.append(delay_s)
        await sleep(delay_s)

    monkeypatch.setattr(asyncio, "sleep", counted)
    return pauses


# Slow senders


async def test_a_head_that_never_ends_loses_its_connection(monkeypatch):
    monkeypatch.setattr(emulator_module, "_IDLE_S", 0.05)
    async with serve() as api, api.connect() as dribbling:
        await dribbling.send(b"POST /v2/publish/http://a.example HTTP/1.1\r\nHost: l")

        assert await dribbling.rest() == b""


async def test_a_body_that_dribbles_holds_up_nobody_else():
    async with serve() as api, api.connect() as dribbling:
        await dribbling.send(head("POST", PUBLISH, "Content-Length: 4"))
        for byte in (b"s", b"l", b"o"):
            await dribbling.send(byte)
            await api.publish()
        await dribbling.send(b"w")

        assert (await dribbling.answer()).status == 200
        await api.settle()
        assert len(api.transport.requests) == 4
