"""The probe: publishes at a steady rate and notes when each message is delivered.

Publisher and destination are one process, so both instants are of one clock. From the
moment before a publish is written to the moment its delivery has been read.
"""

from __future__ import annotations

import asyncio
import re
import time

from rig import HEADERS, BenchmarkError, Server

_PATIENCE_S = 30.0
_LENGTH = re.compile(rb"(?i)\r\nContent-Length: *(\d+)\r\n")


def latencies_ms(server: Server, *, messages: int, per_second: float) -> list[float]:
    """Publish messages at a rate, and return how long each took to its delivery."""
    return asyncio.run(_probe(server, messages, per_second))


async def _probe(server: Server, messages: int, per_second: float) -> list[float]:
    loop = asyncio.get_running_loop()
    arrivals: dict[int, int] = {}
    all_here = asyncio.Event()

    def note(body: bytes) -> None:
        # At least once: the first delivery counts.
        arrivals.setdefault(int(body), time.perf_counter_ns())
        if len(arrivals) == messages:
            all_here.set()

    sink = await loop.create_server(lambda: _Destination(note), "127.0.0.1", 0)
    sink_port = sink.sockets[0].getsockname()[1]
    transport, _ = await loop.create_connection(_Publisher, "127.0.0.1", server.port)
    head = (
        f"POST /v2/publish/http://127.0.0.1:{sink_port}/hook HTTP/1.1\r\n"
        f"Host: 127.0.0.1:{server.port}\r\n"
        + "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    )
    departures: list[int] = []
    begin_s = loop.time()
    for number in range(messages):
        await asyncio.sleep(begin_s + number / per_second - loop.time())
        body = str(number)
        request = f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()
        departures.append(time.perf_counter_ns())
        transport.write(request)
    try:
        await asyncio.wait_for(all_here.wait(), _PATIENCE_S)
    except TimeoutError:
        raise BenchmarkError(f"{messages - len(arrivals)} messages are lost") from None
    finally:
        transport.close()
        sink.close()
    return [(arrivals[number] - departures[number]) / 1e6 for number in range(messages)]


class _Publisher(asyncio.Protocol):
    """Ignores the answers: a publish that failed is missing among the deliveries."""


class _Destination(asyncio.Protocol):
    """Answers 200 to every request that has a length."""

    def __init__(self, note: object) -> None:
        self._note = note
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            match = _LENGTH.search(self._data, 0, end + 2)
            length = int(match[1]) if match else 0
            if len(self._data) < end + 4 + length:
                return
            self._note(self._data[end + 4 : end + 4 + length])
            self._data = self._data[end + 4 + length :]
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
