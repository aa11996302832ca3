"""tunnel/inspector_door.py: the inspector's port, before and after the first call."""

import asyncio
import json
import socket
import subprocess
import sys
import urllib.request
from contextlib import suppress

import pytest

from tests.tunnel.exchanges import an_exchange
from tunnel.inspector import Inspector
from tunnel.inspector_door import InspectorDoor

LIMIT_S = 30.0

PROGRAM = """
import asyncio, sys
from tunnel.inspector import Inspector
from tunnel.inspector_door import InspectorDoor

import tunnel.client

async def main():
    door = InspectorDoor(Inspector())
    await door.start()
    print("aiohttp" in sys.modules)
    await door.stop()

asyncio.run(main())
"""


def fetch(url):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{url}/_qemu/exchanges", timeout=LIMIT_S) as answer:
        return json.load(answer)


async def test_the_first_callers_are_all_answered():
    door = InspectorDoor(Inspector())
    await door.start()
    try:
        async with asyncio.timeout(LIMIT_S):
            answers = await asyncio.gather(
                *(asyncio.to_thread(fetch, door.url) for _ in range(4))
            )
            later = await asyncio.to_thread(fetch, door.url)
    finally:
        await door.stop()

    assert [*answers, later] == [{"exchanges": []}] * 5


async def test_a_caller_sees_what_came_before_the_first_call():
    inspector = Inspector()
    an_exchange(inspector=inspector)
    door = InspectorDoor(inspector)
    await door.start()
    try:
        async with asyncio.timeout(LIMIT_S):
            answer = await asyncio.to_thread(fetch, door.url)
    finally:
        await door.stop()

    assert len(answer["exchanges"]) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="there it is loaded at once")
def test_nothing_is_loaded_before_somebody_calls():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stdout == "False\n"


async def test_a_port_that_is_taken_is_said_at_the_start():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        door = InspectorDoor(Inspector(), port=taken.getsockname()[1])

        with pytest.raises(OSError):
            await door.start()


async def test_a_closed_door_takes_no_calls():
    door = InspectorDoor(Inspector())
    await door.start()
    await door.stop()
    await door.stop()
    host, port = door.url.removeprefix("http://").split(":")

    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(host, int(port))


async def test_it_can_be_closed_while_the_first_caller_waits():
    door = InspectorDoor(Inspector())
    await door.start()
    host, port = door.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    async with asyncio.timeout(LIMIT_S):
        await door.stop()
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
    writer.close()

    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(host, int(port))


def test_an_address_of_ipv6_is_written_as_such():
    assert InspectorDoor(Inspector(), host="::1", port=5).url == "http://[::1]:5"
