"""Measure the emulator against thin, in turns, and print every round.

    python tests/benchmarks/bench_emulator.py [--quick] [NAME …]

Names: publish, deliver, latency, crowded, start, idle, memory. Without names all are
measured, within ten minutes; with ``--quick`` in less than one, which shows that the
benchmark works, not how fast the emulator is. README.md beside this file says what
each of them does.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median, quantiles
from typing import TypeVar

import probe
import rig
from rig import BenchmarkError, Kind, Server

T = TypeVar("T")

_PENDING = 100_000

_LEAST_SHARE = 0.9
"""Of its core, for a server that always has something to do."""

_NOWHERE = "http://destination.test/hook"
"""For messages that are never delivered."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    rounds: int

    scale: float
    """A part of the messages."""

    subject: Kind
    """The emulator, as it is started."""

    def messages(self, count: int) -> int:
        return max(100, int(count * self.scale))


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of each round for the emulator and for what it is measured against."""

    title: str

    unit: str

    peer: str

    pairs: list[tuple[float, float]]

    goal: str
    """The bound of the ratio, as in ``>= 0.75``; empty where none is set."""

    @property
    def ratio(self) -> float:
        return median(ours / theirs for ours, theirs in self.pairs)

    @property
    def is_met(self) -> bool:
        sign, _, bound = self.goal.partition(" ")
        return (
            self.ratio >= float(bound) if sign == ">=" else self.ratio <= float(bound)
        )

    def report(self) -> str:
        lines = [f"\n{self.title} ({self.unit})"]
        lines.append(f"  {'round':>6} {'emulator':>12} {self.peer:>12} {'ratio':>8}")
        for number, (ours, theirs) in enumerate(self.pairs, 1):
            figures = f"{_shown(ours):>12} {_shown(theirs):>12} {ours / theirs:8.2f}"
            lines.append(f"  {number:>6} {figures}")
        ours, theirs = (median(column) for column in zip(*self.pairs, strict=True))
        figures = f"{_shown(ours):>12} {_shown(theirs):>12} {self.ratio:8.2f}"
        lines.append(f"  median {figures}")
        if self.goal:
            verdict = "met" if self.is_met else "NOT met"
            lines.append(f"  goal: ratio {self.goal}: {verdict}")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast a server was that always had something to do, and at what cost."""

    messages: int

    took_s: float

    used_us: float
    """The server's processor time."""

    @property
    def per_second(self) -> float:
        return self.messages / self.took_s

    @property
    def cost_us(self) -> float:
        """Processor time per message: hardly changed by others' load."""
        return self.used_us / self.messages

    @property
    def share(self) -> float:
        """The part of its core that the server got."""
        return self.used_us / 1e6 / self.took_s


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:,.2f}"


def measure_publish(plan: Plan) -> Iterator[Metric]:
    """Publishes acknowledged per second; all are delayed, so nothing is delivered."""
    messages = plan.messages(20_000)

    def measure(kind: Kind) -> Rate:
        with rig.running(kind) as server:
            rig.publish(server, _NOWHERE, messages=messages // 10, headers=rig.HOUR)
            before_us = server.cpu_us()
            load = rig.publish(server, _NOWHERE, messages=messages, headers=rig.HOUR)
            return Rate(load.answered, load.took_s, server.cpu_us() - before_us)

    yield from _rates(_in_turns(plan, measure), "acknowledged publishes", 0.75)


def measure_deliver(plan: Plan) -> Iterator[Metric]:
    """Messages per second from the first publish to the last delivery."""
    messages = plan.messages(10_000)

    def measure(kind: Kind) -> Rate:
        with rig.sink() as sink, rig.running(kind) as server:
            _deliver(server, sink, messages // 10)
            return _deliver(server, sink, messages)

    yield from _rates(_in_turns(plan, measure), "delivered messages", 1.5)


def _deliver(server: Server, sink: rig.Sink, messages: int) -> Rate:
    """Publish, and wait until all is delivered."""
    before, before_us = sink.count(), server.cpu_us()
    begin_s = last_s = time.perf_counter()
    load = rig.publish(server, sink.url, messages=messages)
    asked = delivered = 0
    # wrk leaves while some of its publishes are under way: these are delivered too.
    while time.perf_counter() - last_s < 0.3 or delivered < load.answered:
        asked += 1
        count = sink.count() - before - asked
        if count > delivered:
            delivered, last_s = count, time.perf_counter()
        if time.perf_counter() - last_s > 10:
            raise BenchmarkError(f"{load.answered - delivered} messages are lost")
        time.sleep(0.01)
    used_us = server.cpu_us() - before_us
    if server.pending():
        raise BenchmarkError("delivered, yet pending")
    return Rate(delivered, last_s - begin_s, used_us)


def _rates(
    rounds: list[tuple[Rate, Rate]], title: str, goal: float
) -> Iterator[Metric]:
    rates = [(ours.per_second, theirs.per_second) for ours, theirs in rounds]
    costs = [(ours.cost_us, theirs.cost_us) for ours, theirs in rounds]
    yield Metric(title, "per second", "thin", rates, f">= {goal}")
    # The same goal, for a server that never waits.
    title = f"{title}, processor time"
    yield Metric(title, "us each", "thin", costs, f"<= {1 / goal:.2f}")
    shares = [rate.share for pair in rounds for rate in pair]
    print(f"\nservers' share of their core: {min(shares):.0%} to {max(shares):.0%}")
    if min(shares) < _LEAST_SHARE:
        print("  others were at work on it: trust the processor time, not the rates")


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
                rig.publish(server, _NOWHERE, messages=pending, headers=rig.HOUR)

        def measure(kind: Kind) -> list[float]:
            server = servers[kind]
            return probe.latencies_ms(server, messages=messages, per_second=50)

        rounds = _in_turns(plan, measure)
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

    pairs = _in_turns(plan, measure, peer=rig.MINIMAL)
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

    rounds = _in_turns(plan, measure, peer=rig.MINIMAL)
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
            rig.publish(server, _NOWHERE, messages=pending, headers=headers)
            memory_mib = server.status_kib("VmRSS") / 1024
            return memory_mib, float(Path(folder, "gc").read_text())

    # It repeats to the megabyte: three rounds are enough.
    rounds = _in_turns(replace(plan, rounds=min(plan.rounds, 3)), measure)
    memory = [(ours[0], theirs[0]) for ours, theirs in rounds]
    pauses = [(ours[1], theirs[1]) for ours, theirs in rounds]
    yield Metric(f"memory, {pending:,} pending", "MiB", "thin", memory, "")
    yield Metric("longest pause of the collector meanwhile", "ms", "thin", pauses, "")
    if plan.scale == 1:
        worst_mib = max(ours for ours, _ in memory)
        worst_ms = max(ours for ours, _ in pauses)
        print(f"  goals: <= 95 MiB: {'met' if worst_mib <= 95 else 'NOT met'};", end="")
        print(f" <= 60 ms: {'met' if worst_ms <= 60 else 'NOT met'}")


def _in_turns(
    plan: Plan, measure: Callable[[Kind], T], *, peer: Kind = rig.THIN
) -> list[tuple[T, T]]:
    """Measure A B A B …, and return a pair for each round."""
    return [(measure(plan.subject), measure(peer)) for _ in range(plan.rounds)]


MEASUREMENTS: dict[str, Callable[[Plan], Iterator[Metric]]] = {
    "publish": measure_publish,
    "deliver": measure_deliver,
    "latency": measure_latency,
    "crowded": measure_crowded,
    "start": measure_start,
    "idle": measure_idle,
    "memory": measure_memory,
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
