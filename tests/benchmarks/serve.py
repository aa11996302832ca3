"""The emulator without its command line: what ``Emulator`` costs by itself.

Run it as ``python tests/benchmarks/serve.py PORT``.
"""

from __future__ import annotations

import asyncio
import sys

from emulator import Emulator, Settings


async def serve(port: int) -> None:
    async with Emulator(Settings(port=port)):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
