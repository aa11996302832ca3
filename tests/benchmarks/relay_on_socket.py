"""A relay on a socket that listens already, whose opener outlives it.

    python tests/benchmarks/relay_on_socket.py FD

As ``qemu relay`` would run under whoever keeps the socket open. Ends on SIGTERM like
it: what is under way is let finish.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys

import uvloop

from tunnel.relay import Relay
from tunnel.settings import RelaySettings


async def main() -> None:
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
    with socket.socket(fileno=int(sys.argv[1])) as listener:
        relay = Relay(RelaySettings(), listener=listener)
        await relay.start()
        await asked.wait()
        await relay.stop()


if __name__ == "__main__":
    uvloop.run(main())
