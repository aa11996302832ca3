"""What is more than the emulator can take harms nobody else, and is said."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from emulator import Emulator, Settings
from emulator import emulator as emulator_module
from emulator.engine.engine import Engine
from tests.web.test_client import HOOK, head, serve

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
