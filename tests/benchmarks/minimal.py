"""minimal: the smallest aiohttp server, to measure start-up and idling against.

Run it as ``python tests/benchmarks/minimal.py PORT``.
"""

from __future__ import annotations

import asyncio
import sys

from aiohttp import web


async def health(request: web.Request) -> web.Response:
    return web.json_response({"pending": 0})


async def serve(port: int) -> None:
    app = web.Application()
    app.router.add_get("/_qemu/health", health)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
