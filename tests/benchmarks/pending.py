"""What a message costs while few or very many others are pending."""

from __future__ import annotations

from collections.abc import Iterator

import loads
import rig
from report import Metric, Plan
from rig import Server

_FEW = 1_000
_MANY = 1_000_000

_AT_ONCE = 200_000
"""Of the messages that are pending: a load has to end within two minutes."""


def measure_growth(plan: Plan) -> Iterator[Metric]:
    """Processor time per message with 1,000,000 others pending, against 1,000.

    Both servers live through all rounds, on the same core, and take turns.
    """
    many = plan.messages(_MANY)
    messages = plan.messages(5_000)
    published: list[tuple[float, float]] = []
    delivered: list[tuple[float, float]] = []
    with (
        rig.sink() as sink,
        rig.running(plan.subject) as crowded,
        rig.running(plan.subject) as calm,
    ):
        _fill(crowded, many)
        _fill(calm, _FEW)
        for server in (crowded, calm):
            loads.deliver(server, sink, messages // 10)
        for _ in range(plan.rounds):
            one, other = (
                loads.publish(server, messages).cost_us for server in (crowded, calm)
            )
            published.append((one, other))
            one, other = (
                loads.deliver(server, sink, messages).cost_us
                for server in (crowded, calm)
            )
            delivered.append((one, other))
    peer = f"{_FEW:,} pending"
    title = f"processor time with {many:,} pending"
    yield Metric(f"{title}, a publish", "us each", peer, published, "<= 1.3")
    yield Metric(f"{title}, end to end", "us each", peer, delivered, "<= 1.3")


def _fill(server: Server, messages: int) -> None:
    for done in range(0, messages, _AT_ONCE):
        loads.publish(server, min(_AT_ONCE, messages - done))
