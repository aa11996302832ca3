"""Measure the emulator against thin, in turns, and print every round.

    python tests/benchmarks/bench_emulator.py [--quick] [NAME …]

Names: publish, deliver, latency, crowded, growth, stuck, stalled, db, db-start, start,
idle, memory, virtual. Without names all are measured, within half an hour; with
``--quick`` in three minutes, which shows that the benchmark works, not how fast the
emulator is. README.md beside this file says what each of them does.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median, quantiles

import loads
import probe
import rig
from kept import measure_db, measure_db_start
from pending import measure_growth
from report import Metric, Plan, Rate, in_turns, rates
from rig import BenchmarkError, Kind
from stuck import measure_stalled, measure_stuck
from virtual import measure_virtual

_PENDING = 100_000


def measure_publish(plan: Plan) -> Iterator[Metric]:
    """Publishes acknowledged per second; all are delayed, so nothing is delivered."""
    messages = plan.messages(20_000)

    def measure(kind: Kind) -> Rate:
        with rig.running(kind) as server:
            loads.publish(server, messages // 10)
            return loads.publish(server, messages)

    yield from rates(in_turns(plan, measure), "acknowledged publishes", 0.75)


def measure_deliver(plan: Plan) -> Iterator[Metric]:
    """Messages per second from the first publish to the last delivery."""
    messages = plan.messages(10_000)

    def measure(kind: Kind) -> Rate:
        with rig.sink() as sink, rig.running(kind) as server:
            loads.deliver(server, sink, messages // 10)
            return loads.deliver(server, sink, messages)

    yield from rates(in_turns(plan, measure), "delivered messages", 1.5)


def measure_latency(plan: Plan) -> Iterator[Metric]:
    """From publish to delivery at 50 messages per second."""
    yield from _latency(plan, pending=0, title="publish to delivery at 50/s")


def measure_crowded(plan: Plan) -> Iterator[Metric]:
    """The same while 100,000 others are pending."""
    pending = plan.messages(_PENDING)
    title = f"publish to delivery at 50/s, {pending:,} pending"
    yield from _latency(plan, pending=pending, title=title)


def _latency(plan: Plan, *, pending: int, title: str) -> Iterator[Metric]:
    messages = plan.messages(400)
    with ExitStack() as stack:
        kinds = (plan.subject, rig.THIN)
        servers = {kind: stack.enter_context(rig.running(kind)) for kind in kinds}
        for server in servers.values():
            probe.latencies_ms(server, messages=50, per_second=50)
            if pending:
                rig.publish(server, loads.NOWHERE, messages=pending, headers=rig.HOUR)

        def measure(kind: Kind) -> list[float]:
            server = servers[kind]
            return probe.latencies_ms(server, messages=messages, per_second=50)

        rounds = in_turns(plan, measure)
    halves = [(median(ours), median(theirs)) for ours, theirs in rounds]
    tails = [(_p99(ours), _p99(theirs)) for ours, theirs in rounds]
    yield Metric(f"{title}, p50", "ms", "thin", halves, "" if pending else "<= 0.8")
    yield Metric(f"{title}, p99", "ms", "thin", tails, "")
    # A round is too short for a p99 that means something: four messages decide it.
    pooled = [[ms for pair in rounds for ms in pair[side]] for side in (0, 1)]
    tails = [(_p99(pooled[0]), _p99(pooled[1]))]
    goal = "<= 1.25" if pending else ""
    yield Metric(f"{title}, p99 of all rounds", "ms", "thin", tails, goal)


def _p99(values: list[float]) -> float:
    return quantiles(values, n=100, method="inclusive")[98]


def measure_start(plan: Plan) -> Iterator[Metric]:
    """From the start of the process to its first 200, bytecode cached."""
    for kind in (plan.subject, rig.MINIMAL):
        with rig.running(kind):
            pass  # writes the bytecode

    def measure(kind: Kind) -> float:
        times_ms = []
        for _ in range(3 if plan.scale == 1 else 1):
            with rig.running(kind) as server:
                times_ms.append(server.start_s * 1000)
        return min(times_ms)

    pairs = in_turns(plan, measure, peer=rig.MINIMAL)
    yield Metric("start to first 200", "ms", "minimal", pairs, "<= 1.2")


def measure_idle(plan: Plan) -> Iterator[Metric]:
    """Memory and wake-ups of a server that nobody asks for anything."""
    watch_s = 3.0 if plan.scale == 1 else 1.0

    def measure(kind: Kind) -> tuple[float, float]:
        with rig.running(kind) as server:
            time.sleep(0.5)
            before = server.wake_ups()
            time.sleep(watch_s)
            wake_ups = (server.wake_ups() - before) / watch_s
            return server.status_kib("VmRSS") / 1024, wake_ups

    rounds = in_turns(plan, measure, peer=rig.MINIMAL)
    memory = [(ours[0], theirs[0]) for ours, theirs in rounds]
    yield Metric("idle memory", "MiB", "minimal", memory, "<= 1.3")
    wake_ups = ", ".join(f"{ours[1]:.1f}" for ours, _ in rounds)
    print(f"\nidle wake-ups per second\n  emulator: {wake_ups}\n  goal: < 5")


def measure_memory(plan: Plan) -> Iterator[Metric]:
    """Memory with 100,000 pending messages of 256 B and four forwarded headers."""
    pending = plan.messages(_PENDING)
    headers = rig.HOUR | {
        f"Upstash-Forward-X-{name}": "value %N"
        for name in ("Request-Id", "Tenant", "Trace", "Version")
    }

    def measure(kind: Kind) -> tuple[float, float]:
        with (
            tempfile.TemporaryDirectory() as folder,
            rig.running(kind, gc_report=Path(folder, "gc")) as server,
        ):
            rig.publish(server, loads.NOWHERE, messages=pending, headers=headers)
            memory_mib = server.status_kib("VmRSS") / 1024
            return memory_mib, float(Path(folder, "gc").read_text())

    # It repeats to the megabyte: three rounds are enough.
    rounds = in_turns(replace(plan, rounds=min(plan.rounds, 3)), measure)
    memory = [(ours[0], theirs[0]) for ours, theirs in rounds]
    pauses = [(ours[1], theirs[1]) for ours, theirs in rounds]
    yield Metric(f"memory, {pending:,} pending", "MiB", "thin", memory, "")
    yield Metric("longest pause of the collector meanwhile", "ms", "thin", pauses, "")
    if plan.scale == 1:
        worst_mib = max(ours for ours, _ in memory)
        worst_ms = max(ours for ours, _ in pauses)
        print(f"  goals: <= 95 MiB: {'met' if worst_mib <= 95 else 'NOT met'};", end="")
        print(f" <= 60 ms: {'met' if worst_ms <= 60 else 'NOT met'}")


MEASUREMENTS: dict[str, Callable[[Plan], Iterator[Metric]]] = {
    "publish": measure_publish,
    "deliver": measure_deliver,
    "latency": measure_latency,
    "crowded": measure_crowded,
    "growth": measure_growth,
    "stuck": measure_stuck,
    "stalled": measure_stalled,
    "db": measure_db,
    "db-start": measure_db_start,
    "start": measure_start,
    "idle": measure_idle,
    "memory": measure_memory,
    "virtual": measure_virtual,
}

SUBJECTS = {kind.name: kind for kind in (rig.START, rig.QUIET, rig.LIBRARY)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=", ".join(MEASUREMENTS)
    )
    parser.add_argument("--quick", action="store_true", help="a trial run")
    parser.add_argument("--rounds", type=int, help="how many; 5, or 2 with --quick")
    parser.add_argument(
        "--subject",
        choices=SUBJECTS,
        default=rig.START.name,
        help="qemu start (its log goes nowhere), the same with --quiet, or Emulator",
    )
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(MEASUREMENTS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    plan = Plan(
        rounds=arguments.rounds or (2 if arguments.quick else 5),
        scale=0.1 if arguments.quick else 1,
        subject=SUBJECTS[arguments.subject],
    )
    try:
        rig.require_tools()
        server_core, other_core = rig.cores()
        print(f"{platform.platform()}, CPython {platform.python_version()}")
        print(f"server on core {server_core}, everything else on core {other_core}")
        print(f"emulator: {' '.join(plan.subject.command[1:])}")
        for name in arguments.names or MEASUREMENTS:
            begin_s = time.perf_counter()
            for metric in MEASUREMENTS[name](plan):
                print(metric.report(), flush=True)
            print(f"  ({name} took {time.perf_counter() - begin_s:.0f} s)", flush=True)
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
