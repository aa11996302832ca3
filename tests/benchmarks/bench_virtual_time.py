"""How fast a virtual clock turns: events per second, with HTTP and without.

Runs ``python tests/benchmarks/bench_virtual_time.py``. Beside it in each round stands
the least that could do the same: an awaited heap, and a loop that posts with aiohttp.
Goals (without HTTP): 100,000 events/s, and 0.3 of the heap; with one POST per event:
1.2 of the bare loop.
"""

from __future__ import annotations

import asyncio
import sys
import time
from heapq import heappop, heappush
from statistics import median

import aiohttp

from emulator import Emulator, Settings
from emulator.core.model import Destination, DestinationKind, Publish, Responded
from emulator.engine.clock import VirtualClock
from emulator.testing.answers import Answer
from emulator.testing.endpoints import EndpointServer

ROUNDS = 5
EVENTS = 20_000
POSTS = 1_000

T0 = 1_700_000_000_000


class Ready:
    """A destination that answers at once, without HTTP."""

    async def send(self, request: object) -> Responded:
        return Responded(200)

    async def close(self) -> None:
        pass


async def heap_rate() -> float:
    """A heap of instants; the loop has a turn for each."""
    heap: list[tuple[int, int]] = []
    for number in range(EVENTS):
        heappush(heap, (number, number))

    began = time.perf_counter()
    while heap:
        heappop(heap)
        await asyncio.sleep(0)
    return EVENTS / (time.perf_counter() - began)


async def virtual_rate() -> float:
    """Messages that are due a virtual second apart; two events each: start and end."""
    emulator = Emulator(
        Settings(clock="virtual", start_time_ms=T0, quota="pro"), transport=Ready()
    )
    engine = emulator.tenants.engines[0]
    destination = Destination(DestinationKind.URL, "http://localhost:3000/hook")
    for number in range(EVENTS):
        engine.publish(
            [Publish(destination=destination, not_before_ms=T0 + 1000 * (number + 1))]
        )
    for each in emulator.tenants.engines:
        each.start()
    began = time.perf_counter()
    await emulator.tenants.advance(None)
    took_s = time.perf_counter() - began
    assert engine.pending == 0
    await stop(emulator)
    return 2 * EVENTS / took_s


async def stop(emulator: Emulator) -> None:
    for engine in emulator.tenants.engines:
        engine.scheduler.stop()
    await emulator.transport.close()
    await asyncio.sleep(0)


async def posts_rate(*, bare: bool) -> float:
    """One POST for each event, one after the other, to the same kind of server."""
    server = EndpointServer(
        VirtualClock(T0),
        explain=lambda *request: lambda: None,  # type: ignore
    )
    hook = await server.add("/hook", [Answer()])
    try:
        if bare:
            async with aiohttp.ClientSession() as session:
                began = time.perf_counter()
                for _ in range(POSTS):
                    async with session.post(hook.url, data=b"{}") as response:
                        await response.read()
                return POSTS / (time.perf_counter() - began)
        emulator = Emulator(Settings(clock="virtual", start_time_ms=T0, quota="pro"))
        engine = emulator.tenants.engines[0]
        destination = Destination(DestinationKind.URL, hook.url)
        for number in range(POSTS):
            due_ms = T0 + 1000 * (number + 1)
            engine.publish(
                [Publish(destination=destination, body=b"{}", not_before_ms=due_ms)]
            )
        for each in emulator.tenants.engines:
            each.start()
        began = time.perf_counter()
        await emulator.tenants.advance(None)
        took_s = time.perf_counter() - began
        assert len(hook.requests) == POSTS
        await stop(emulator)
        return POSTS / took_s
    finally:
        await server.close()


async def main() -> None:
    print(f"{'round':>5} {'heap':>12} {'virtual':>12} {'bare POST':>12} {'POST':>12}")
    ratios: list[tuple[float, float]] = []
    rates: list[tuple[float, float]] = []
    for number in range(1, ROUNDS + 1):
        heap, virtual = await heap_rate(), await virtual_rate()
        bare, posts = await posts_rate(bare=True), await posts_rate(bare=False)
        ratios.append((virtual / heap, posts / bare))
        rates.append((virtual, posts))
        print(f"{number:>5} {heap:>10,.0f}/s {virtual:>10,.0f}/s", end=" ")
        print(f"{bare:>10,.0f}/s {posts:>10,.0f}/s")
    virtual, posts = (median(column) for column in zip(*rates, strict=True))
    of_heap, of_bare = (median(column) for column in zip(*ratios, strict=True))
    print(f"virtual: {virtual:,.0f} events/s, {of_heap:.2f} of the heap")
    print(f"with one POST each: {posts:,.0f} events/s, {of_bare:.2f} of the bare loop")


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
