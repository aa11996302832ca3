"""The command with a file: killed at any moment, and started again."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.request

import pytest

from emulator.settings import DEV_USERS
from tests.system.crash.life import story
from tests.system.test_cli_process import PATIENCE_S, get, qemu

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.name == "nt", reason="POSIX signals"),
]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Start everything in an empty folder: no settings file is near."""
    monkeypatch.chdir(tmp_path)


def publish(url, **headers):
    request = urllib.request.Request(
        f"{url}/v2/publish/http://127.0.0.1:9/",
        data=b"hello",
        headers={"Authorization": f"Bearer {DEV_USERS[0].token}", **headers},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=PATIENCE_S) as answer:
        return json.load(answer)["messageId"]


def test_what_was_acknowledged_before_a_kill_is_there_after_it():
    with qemu("start", "--port", "0", "--db", "qemu.db") as running:
        url = running.url()
        ids = [publish(url, **{"Upstash-Delay": "1h"}) for _ in range(20)]
        running.send(signal.SIGKILL)
        running.code()

    with qemu("start", "--port", "0", "--db", "qemu.db") as again:
        again.line(r"State +qemu\.db: 20 messages pending$")
        url = again.url()
        for message_id in ids:
            assert get(url, f"/v2/messages/{message_id}")["messageId"] == message_id
        again.send(signal.SIGINT)
        assert "20 messages pending, kept in qemu.db" in again.rest()
        assert again.code() == 0


@pytest.mark.parametrize(
    "hows",
    [
        ("load", "start", "load", "burst"),
        ("compaction", "load", "stop"),
    ],
    ids="-".join,
)
def test_nothing_is_lost_or_repeated_without_reason_however_it_is_killed(
    tmp_path, hows
):
    """The long version is tests/benchmarks/soak_crash.py."""

    async def live():
        async with story(tmp_path, seed=7) as told:
            await told.live_on("load", (0.5, 1.0))
            for how in hows:
                await told.live(how, (0.2, 0.8))
            return await told.finish()

    wrong = asyncio.run(live())

    assert wrong == []


def test_people_are_told_of_a_loss_even_if_they_want_it_quiet(tmp_path):
    with qemu("start", "--port", "0", "--db", "qemu.db") as running:
        url = running.url()
        for _ in range(20):
            publish(url, **{"Upstash-Delay": "1h"})
        running.send(signal.SIGKILL)
        running.code()
    log = tmp_path / "qemu.db-wal"
    data = log.read_bytes()
    log.write_bytes(data[: len(data) // 2])

    with qemu("start", "--port", "0", "--db", "qemu.db", "--quiet") as again:
        again.error(r"^error: qemu\.db: the end of its write-ahead log .* is lost$")
        again.send(signal.SIGINT)
        assert again.code() == 0


def test_the_second_process_is_told_who_has_the_file():
    with qemu("start", "--port", "0", "--db", "qemu.db") as running:
        url = running.url()
        command = [sys.executable, "-m", "emulator", "start", "--port", "0"]
        second = subprocess.run(
            [*command, "--db", "qemu.db"], capture_output=True, text=True, check=False
        )

    assert second.returncode == 5
    assert second.stderr.splitlines()[0] == (
        f"Error: qemu.db: in use by process {running.process.pid} ({url})"
    )
    assert second.stdout == ""


def test_a_file_named_in_the_settings_file_lies_beside_it(tmp_path, monkeypatch):
    (tmp_path / "qemu.toml").write_text('db = "state/qemu.db"\n')
    (tmp_path / "state").mkdir()
    (tmp_path / "deeper").mkdir()
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path / "deeper")

    with qemu("start", "--port", "0") as running:
        running.url()

    assert (tmp_path / "state" / "qemu.db").exists()
