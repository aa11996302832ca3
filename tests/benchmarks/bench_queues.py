"""Measure how long queues take under the virtual clock, and print the wall time.

    python tests/benchmarks/bench_queues.py [MESSAGES [QUEUES]]

10,000 messages in 100 queues unless said. Three in ten deliveries fail, and every
message is retried a virtual second later until it succeeds, so all that is measured is
the engine: no network, no waiting. Printed for each round: the seconds to enqueue all,
the seconds until the last is delivered, and deliveries per second.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from emulator import Emulator, Settings
from emulator.core.model import Options, Outcome, Outgoing, Responded
from emulator.engine.entropy import SeededEntropy
from tests.doubles import ScriptedTransport, a_publish

_ROUNDS = 3


async def measure(messages: int, queues: int) -> tuple[float, float, int]:
    """Return the seconds to enqueue, the seconds to deliver, and the deliveries."""
    chance = SeededEntropy(7)

    def answer(request: Outgoing) -> Outcome:
        return Responded(500 if chance.token_bytes(1)[0] < 77 else 200)

    transport = ScriptedTransport([answer])
    emulator = Emulator(Settings(clock="virtual"), transport=transport)
    engine = emulator.tenants.engines[0]
    engine.start()
    options = Options(retries=999, retry_delay="1000")

    started = time.perf_counter()
    for number in range(messages):
        queue = number % queues
        engine.publish(
            [
                a_publish(
                    f"http://localhost/{queue}",
                    queue_name=f"q{queue}",
                    options=options,
                )
            ]
        )
    enqueued = time.perf_counter()
    await emulator.tenants.advance(None)
    delivered = time.perf_counter()

    assert engine.pending == 0
    return enqueued - started, delivered - enqueued, len(transport.requests)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("messages", type=int, nargs="?", default=10_000)
    parser.add_argument("queues", type=int, nargs="?", default=100)
    arguments = parser.parse_args()
    print(f"Python {platform.python_version()}, {platform.machine()}")
    print(f"{arguments.messages:,} messages in {arguments.queues:,} queues")
    for _ in range(_ROUNDS):
        enqueue_s, deliver_s, deliveries = asyncio.run(
            measure(arguments.messages, arguments.queues)
        )
        print(
            f"wall time {enqueue_s + deliver_s:.2f} s: enqueued in {enqueue_s:.2f} s, "
            f"{deliveries:,} deliveries in {deliver_s:.2f} s, "
            f"{deliveries / deliver_s:,.0f} per second"
        )


if __name__ == "__main__":
    main()
