"""Running out of file descriptors: a process of its own, with few of them."""

from __future__ import annotations

import asyncio
import errno
import subprocess
import sys
from pathlib import Path

import pytest

from emulator.transport import descriptors
from tests.transport.bare import destination

CLOSING = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

ROOT = Path(__file__).resolve().parents[2]

FEW_DESCRIPTORS = """
import asyncio, resource, socket, sys
from emulator.core.model import Outgoing, Responded
from emulator.transport.plain import PlainClient
from emulator.transport.request import split_url
from emulator.transport.tls import TlsClient

async def main():
    client = {"plain": PlainClient, "tls": TlsClient}[sys.argv[3]]()
    port = int(sys.argv[1])
    request = Outgoing(
        method="POST",
        url=f"http://{sys.argv[2]}:{port}/",
        headers=(),
        body=b"",
        max_response_bytes=100,
    )
    parts = split_url(request.url)
    await client.send(request, *parts)  # all that is imported late is
    await client.close()
    taken = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    try:
        while True:
            taken.append(socket.socket())
    except OSError:
        pass
    calls = [asyncio.create_task(client.send(request, *parts)) for _ in range(20)]
    await asyncio.wait(calls, timeout=0.3)
    waited = sum(not call.done() for call in calls)
    for each in taken[:3]:
        each.close()
    outcomes = await asyncio.gather(*calls)
    await client.close()
    print(waited, sum(isinstance(each, Responded) for each in outcomes), outcomes[0])

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limit")
@pytest.mark.parametrize("client", ["plain", "tls"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_without_descriptors_calls_wait_and_do_not_fail(host, client):
    async with destination(CLOSING, end="close") as bare:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            FEW_DESCRIPTORS,
            str(bare.port),
            host,
            client,
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        async with asyncio.timeout(30):
            printed, _ = await process.communicate()

    assert printed.startswith(b"20 20 "), printed


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limit")
def test_connections_take_a_part_of_the_descriptors(monkeypatch):
    resource = pytest.importorskip("resource")
    found = []
    for soft in (1, 256, 1_024, 1_000_000, resource.RLIM_INFINITY):
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, soft))
        found.append(descriptors.most_connections())

    assert found == [1, 192, 768, 4_096, 4_096]


def test_a_system_without_such_a_limit_has_a_bound_all_the_same(monkeypatch):
    monkeypatch.setitem(sys.modules, "resource", None)

    assert descriptors.most_connections() == 4_096


@pytest.mark.parametrize(
    ("number", "is_out"),
    [(errno.EMFILE, True), (errno.ENFILE, True), (errno.ECONNREFUSED, False)],
)
def test_a_lack_of_descriptors_is_told_from_a_failure(number, is_out):
    assert descriptors.is_out_of_descriptors(OSError(number, "")) is is_out


def test_with_descriptors_left_none_is_lacking():
    assert not descriptors.are_out()
