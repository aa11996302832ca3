"""The command with too little of what it needs: descriptors, and room on the disk."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from urllib.error import HTTPError

import pytest

from emulator.settings import DEV_USERS
from tests.system.commands import PATIENCE_S, qemu

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.name == "nt", reason="POSIX limits"),
]

resource = pytest.importorskip("resource")

TOKEN = {"Authorization": f"Bearer {DEV_USERS[0].token}"}

FEW = 96
"""Descriptors. A qemu with a file has about 20 open."""


def call(url, path, *, body=None, method=None, **headers):
    request = urllib.request.Request(
        url + path, data=body, method=method, headers=TOKEN | headers
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=PATIENCE_S) as answer:
        return json.load(answer)


def pending(url):
    return call(url, "/_qemu/health")["pending"]


async def until(holds):
    """Wait until something holds, which is asked in a thread."""
    async with asyncio.timeout(PATIENCE_S):
        while not await asyncio.to_thread(holds):
            await asyncio.sleep(0.05)


class Slow:
    """A destination that takes a while for each answer, and counts."""

    def __init__(self):
        self.ids = []

    async def serve(self, reader, writer):
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                headers = dict(
                    line.split(": ", 1) for line in head.decode().split("\r\n")[1:-2]
                )
                await reader.readexactly(int(headers["Content-Length"]))
                self.ids.append(headers["Upstash-Message-Id"])
                await asyncio.sleep(0.02)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def slow_destinations(count):
    """Yield a destination, and its URLs at so many ports."""
    slow = Slow()
    servers = [
        await asyncio.start_server(slow.serve, "127.0.0.1", 0) for _ in range(count)
    ]
    try:
        yield (
            slow,
            [
                f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
                for server in servers
            ],
        )
    finally:
        for server in servers:
            server.close()


def publish_many(url, destinations, count):
    """Publish a batch; return the ids."""
    batch = [
        {"destination": destinations[number % len(destinations)], "body": "x"}
        for number in range(count)
    ]
    receipts = call(url, "/v2/batch", body=json.dumps(batch).encode())
    return [receipt["messageId"] for receipt in receipts]


def starved_qemu(folder):
    """Run a qemu that may open few files."""
    return qemu(
        *("start", "--port", "0", "--db", "qemu.db", "--json"),
        cwd=folder,
        preexec_fn=partial(resource.setrlimit, resource.RLIMIT_NOFILE, (FEW, FEW)),
    )


def used_s(process):
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def test_without_descriptors_all_is_delivered_once_and_nothing_fails(tmp_path):
    async with slow_destinations(4) as (slow, destinations):
        with starved_qemu(tmp_path) as running:
            url = ready(running)
            ids = []
            for _ in range(4):
                ids += await asyncio.to_thread(publish_many, url, destinations, 500)
            await until(lambda: pending(url) == 0)
            failures = await asyncio.to_thread(call, url, "/v2/logs?state=ERROR")
            running.send(signal.SIGINT)
            running.code()

    assert failures == {"logs": []}
    assert sorted(slow.ids) == sorted(ids)


async def test_connections_beyond_the_descriptors_wait_and_keep_nobody_busy(tmp_path):
    async with slow_destinations(1) as (slow, destinations):
        with starved_qemu(tmp_path) as running:
            url = ready(running)
            with connections(int(url.rpartition(":")[2]), 150):
                warning = await asyncio.to_thread(warned, running)
                before_s = used_s(running.process)
                await asyncio.sleep(2)
                busy_s = used_s(running.process) - before_s
            ids = await asyncio.to_thread(publish_many, url, destinations, 20)
            await until(lambda: pending(url) == 0)
            running.send(signal.SIGINT)
            running.code()
            said = running.all_errors()

    assert "ulimit -n" in warning
    assert busy_s < 0.5
    assert [line for line in said if "Traceback" in line or "descriptor" in line] == []
    assert sorted(slow.ids) == sorted(ids)


@contextmanager
def connections(port, count):
    """Open so many connections, and say nothing on them."""
    with ExitStack() as opened:
        for _ in range(count):
            opened.enter_context(socket.create_connection(("127.0.0.1", port)))
        yield


def warned(running):
    """Wait for the warning that there is no descriptor left, behind the first lines."""
    lines = [running.errors.get(timeout=PATIENCE_S)]
    while "no file descriptor is left" not in lines[-1]:
        assert len(lines) < 30, lines
        lines.append(running.errors.get(timeout=PATIENCE_S))
    return lines[-1]


def ready(running):
    """Wait for the ready line of a qemu that prints JSON; return the URL."""
    return json.loads(running.line('"type": ?"ready"').string)["url"]


# A full disk


@contextmanager
def small_disk(folder, size):
    """Make a folder a disk of its own, which is soon full."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "qemu-test", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs root, to mount a disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def try_to_publish(url, body):
    """Publish a message for later; return its id, or why it is refused."""
    try:
        return call(
            url, "/v2/publish/http://127.0.0.1:9/", body=body, **{"Upstash-Delay": "1h"}
        )["messageId"], None
    except HTTPError as refused:
        with refused:
            return None, f"{refused.code}: {json.load(refused)['error']}"


def test_a_full_disk_refuses_what_it_cannot_keep_and_keeps_what_it_took(tmp_path):
    disk = tmp_path / "disk"
    with small_disk(disk, "4m"):
        filler = disk / "filler"
        filler.write_bytes(bytes(2_000_000))
        db = str(disk / "qemu.db")
        with qemu("start", "--port", "0", "--db", db) as running:
            url = running.url()
            kept = []
            refusal = None
            while refusal is None:
                message_id, refusal = try_to_publish(url, b"x" * 20_000)
                kept += [message_id] * (message_id is not None)
            second = try_to_publish(url, b"x")
            readable = [call(url, f"/v2/messages/{each}") for each in kept]
            filler.unlink()
            deadline_s = time.monotonic() + PATIENCE_S
            after = None
            while after is None and time.monotonic() < deadline_s:
                after, _ = try_to_publish(url, b"x")
                time.sleep(0.1)
            running.send(signal.SIGKILL)
            running.code()

        with qemu("start", "--port", "0", "--db", db) as again:
            url = again.url()
            found = [call(url, f"/v2/messages/{each}") for each in (*kept, after)]
            left = pending(url)

    assert refusal.startswith("503: ")
    assert db in refusal
    assert "make room" in refusal
    assert second[0] is None
    assert len(kept) > 10
    assert len(readable) == len(kept)
    assert [each["messageId"] for each in found] == [*kept, after]
    assert left >= len(found)
