"""Many idle tunnels in one process, to see what they cost their relay.

    python tests/benchmarks/many_tunnels.py LINK_URL NUMBER

Opens the first 50, prints ``warm`` and waits for a line on stdin; then opens the rest,
prints ``ready``, and keeps them until stdin ends.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

from tunnel import Tunnel, TunnelSettings

_WARM = 50
_AT_ONCE = 100


async def main() -> None:
    relay, number = sys.argv[1], int(sys.argv[2])
    gate = asyncio.Semaphore(_AT_ONCE)

    async def opened(index: int) -> Tunnel:
        async with gate:
            tunnel = Tunnel(TunnelSettings(9, relay=relay, name=f"idle-{index}"))
            await tunnel.start()
            return tunnel

    kept = [await opened(index) for index in range(_WARM)]
    print("warm", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    kept += await asyncio.gather(*(opened(_WARM + index) for index in range(number)))
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await asyncio.gather(*(tunnel.stop() for tunnel in kept))


if __name__ == "__main__":
    uvloop.run(main())
