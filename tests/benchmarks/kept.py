"""What it costs to keep the state in a file: ``--db FILE``."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import loads
import rig
from report import Metric, Plan, Rate, rates
from rig import Kind

_KEPT = 100_000


def measure_db(plan: Plan) -> Iterator[Metric]:
    """Publishes and deliveries per second with a file, against without."""
    publishes, deliveries = plan.messages(20_000), plan.messages(10_000)

    def measure(kind: Kind) -> tuple[Rate, Rate]:
        with rig.sink() as sink, rig.running(kind) as server:
            loads.publish(server, publishes // 10)
            published = loads.publish(server, publishes)
            loads.deliver(server, sink, deliveries // 10)
            return published, loads.deliver(server, sink, deliveries)

    rounds = []
    for _ in range(plan.rounds):
        with tempfile.TemporaryDirectory() as folder:
            kept = measure(_with_file(plan.subject, Path(folder, "qemu.db")))
        rounds.append((kept, measure(plan.subject)))
    for index, title in enumerate(("acknowledged publishes", "delivered messages")):
        pairs = [(kept[index], without[index]) for kept, without in rounds]
        yield from rates(pairs, f"{title} with --db", 0.8, peer="without")


def measure_db_start(plan: Plan) -> Iterator[Metric]:
    """From the start of the process to its first 200, with what a file holds."""
    many = plan.messages(_KEPT)
    with tempfile.TemporaryDirectory() as folder:
        full = _with_file(plan.subject, Path(folder, "full.db"))
        empty = _with_file(plan.subject, Path(folder, "empty.db"))
        with rig.running(full) as server:
            loads.publish(server, many)
        rounds = [
            tuple(_start_ms(kind) for kind in (full, empty, plan.subject))
            for _ in range(plan.rounds)
        ]
    title = "start to first 200"
    loaded = [(full_ms, empty_ms) for full_ms, empty_ms, _ in rounds]
    yield Metric(f"{title}, {many:,} messages kept", "ms", "empty file", loaded, "")
    opened = [(empty_ms, without_ms) for _, empty_ms, without_ms in rounds]
    yield Metric(f"{title}, empty file", "ms", "no file", opened, "")


def _with_file(kind: Kind, path: Path) -> Kind:
    return replace(kind, command=(*kind.command, "--db", str(path)))


def _start_ms(kind: Kind) -> float:
    with rig.running(kind) as server:
        return server.start_s * 1000
