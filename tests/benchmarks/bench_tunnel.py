"""Measure relay and tunnel beside their peers, in turns, and print every round.

    python tests/benchmarks/bench_tunnel.py [--quick] [NAME …]

Names: requests, connections, bulk, busy, idle, start, restart, signature. Without names
all are measured, within eight minutes; with ``--quick`` in one round, which shows that
the benchmark works, not how fast the tunnel is. README.md beside this file says what
each of them does.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import tunnel_life
import tunnel_loads as loads
import tunnel_peers as peers
from rig import BenchmarkError
from tunnel_peers import Way
from tunnel_report import Goal, Metric, tables

T = TypeVar("T")

_PEERS = ("direct", "nginx", "qemu", "ssh -R", "localtunnel")

_CONNECTIONS = (1, 16, 64, 256)

_BULK_BYTES = 100 << 20

_LARGE_BYTES = 1 << 30

_WINDOW_MIB = 4
"""The largest of a stream."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured, and where."""

    rounds: int

    for_s: int
    """How long each load lasts."""

    is_quick: bool

    folder: Path
    """For whatever the processes need; removed at the end."""

    modules: Path | None
    """Where localtunnel's packages are."""

    def place(self, name: str) -> Path:
        """Return a folder for one measurement."""
        place = self.folder / name
        place.mkdir()
        return place


def measure_requests(plan: Plan) -> Iterator[Metric]:
    """1 KiB POSTs over 1, 16, 64 and 256 kept connections."""
    place = plan.place("requests")
    seen: dict[int, list[dict[str, loads.Seen]]] = {n: [] for n in _CONNECTIONS}
    with (
        peers.nginx_upstream(place / "upstream") as target,
        peers.ways(_PEERS, target, place, plan.modules) as ways,
    ):
        for way in ways.values():
            loads.wrk(way, connections=64, for_s=1)
        for _ in range(plan.rounds):
            for number in _CONNECTIONS:
                seen[number].append(
                    {
                        name: loads.wrk(way, connections=number, for_s=plan.for_s)
                        for name, way in ways.items()
                    }
                )
    for number, rounds in seen.items():
        _note_failures(f"{number} connections", rounds)
        title = f"1 KiB POSTs, {number} connection{'s' if number > 1 else ''}"
        goals = [Goal(">=", 0.55, "nginx"), Goal(">=", 7, "localtunnel")]
        yield _metric(
            title, "requests/s", rounds, "per_second", goals if number == 64 else []
        )
        yield _metric(f"{title}, p50", "ms", rounds, "p50_ms")
        goals = [Goal("<=", 2, "nginx")] if number == 64 else []
        yield _metric(f"{title}, p99", "ms", rounds, "p99_ms", goals)
        between = [
            {way: one for way, one in figures.items() if way != "direct"}
            for figures in rounds
        ]
        yield _metric(f"{title}, processor time of the way", "µs", between, "cost_us")
    added = [
        {way: (one.p50_ms - figures["direct"].p50_ms) * 1000 for way, one in others}
        for figures in seen[1]
        for others in [[item for item in figures.items() if item[0] != "direct"]]
    ]
    goals = [Goal("<=", 200), Goal("<=", 3, "nginx")]
    yield Metric("p50 added to direct, 1 connection", "µs", added, goals)


def measure_connections(plan: Plan) -> Iterator[Metric]:
    """The same, each request on a new connection, 16 at once."""
    place = plan.place("connections")
    names = ("direct", "nginx", "qemu", "ssh -R")
    with (
        peers.nginx_upstream(place / "upstream") as target,
        peers.ways(names, target, place, None) as ways,
    ):

        def measure(way: Way) -> loads.Seen:
            return loads.wrk(way, connections=16, for_s=plan.for_s, close=True)

        rounds = _in_turns(plan, ways, measure)
    _note_failures("new connections", rounds)
    title = "a new connection for each POST, 16 at once"
    goals = [Goal(">=", 1.5, "ssh -R")]
    yield _metric(title, "requests/s", rounds, "per_second", goals)
    yield _metric(f"{title}, p99", "ms", rounds, "p99_ms")


def measure_bulk(plan: Plan) -> Iterator[Metric]:
    """100 MiB down and up, one connection."""
    place = plan.place("bulk")
    with (
        peers.bulk_server(place / "server") as target,
        peers.ways(_PEERS, target, place, plan.modules) as ways,
    ):

        def measure(way: Way) -> tuple[float, float]:
            down_s = loads.download(way, f"/{_BULK_BYTES}", _BULK_BYTES)
            up_s = loads.upload(way, "/up", _BULK_BYTES)
            return _BULK_BYTES / 1e6 / down_s, _BULK_BYTES / 1e6 / up_s

        for way in ways.values():
            measure(way)
        rounds = _in_turns(plan, ways, measure)
    for index, title in enumerate(("100 MiB down", "100 MiB up")):
        figures = [{way: two[index] for way, two in one.items()} for one in rounds]
        yield Metric(title, "MB/s", figures, [Goal(">=", 0.5, "nginx")])


def measure_busy(plan: Plan) -> Iterator[Metric]:
    """1 KiB POSTs one by one: alone, beside four stalled downloads, beside 1 GiB."""
    place = plan.place("busy")
    first_mib: dict[str, dict[str, float]] = {}
    growth: list[dict[str, dict[str, float]]] = []
    with (
        peers.nginx_upstream(place / "upstream") as target,
        peers.ways(("nginx", "qemu"), target, place, None) as ways,
    ):

        def measure(way: Way) -> dict[str, loads.Seen]:
            def webhooks() -> loads.Seen:
                return loads.wrk(way, connections=1, for_s=plan.for_s)

            # What one round has taken, the next one finds: all count from the first.
            kept_mib = first_mib.setdefault(
                way.name, tunnel_life.memory_mib(way, "VmRSS")
            )
            tunnel_life.forget_peaks(way)
            seen = {"alone": webhooks()}
            with loads.stalled_downloads(way, "/file", 4):
                seen["beside 4 stalled downloads"] = webhooks()
                stalled_mib = tunnel_life.memory_mib(way, "VmHWM")
            tunnel_life.forget_peaks(way)
            with loads.uploading(way, "/up", _LARGE_BYTES):
                seen["beside 1 GiB up"] = webhooks()
            large_mib = tunnel_life.memory_mib(way, "VmHWM")
            if way.name == "qemu":
                growth.append(
                    {
                        part: {
                            "4 stalled downloads": stalled_mib[part] - kept_mib[part],
                            "1 GiB up": large_mib[part] - kept_mib[part],
                        }
                        for part in kept_mib
                    }
                )
            return seen

        for way in ways.values():
            loads.wrk(way, connections=16, for_s=1)
        rounds = _in_turns(plan, ways, measure)
    for what in rounds[0]["qemu"]:
        seen = [{way: one[what] for way, one in figures.items()} for figures in rounds]
        yield _metric(f"POSTs one by one, {what}, p50", "ms", seen, "p50_ms")
        yield _metric(f"POSTs one by one, {what}, p99", "ms", seen, "p99_ms")
        if what != "alone":
            slower = [
                {
                    way: one[what].p99_ms / one["alone"].p99_ms
                    for way, one in figures.items()
                }
                for figures in rounds
            ]
            yield Metric(f"p99 {what}", "x alone", slower, [Goal("<=", 2)])
    for what in growth[0]["relay"]:
        for part in growth[0]:
            figures = [{"qemu": one[part][what]} for one in growth]
            goals = [Goal("<=", 4 * _WINDOW_MIB)] if part == "relay" else []
            yield Metric(f"peak growth of the {part}, {what}", "MiB", figures, goals)


def measure_idle(plan: Plan) -> Iterator[Metric]:
    """Memory and processor time of a relay with 1,000 idle tunnels."""
    rounds = [
        tunnel_life.idle_tunnels(
            plan.place(f"idle{number}"),
            tunnels=200 if plan.is_quick else 1000,
            watch_s=3 if plan.is_quick else 20,
        )
        for number in range(1)  # it repeats to the kibibyte, and takes long
    ]
    memory = [{"qemu": one.kib_per_tunnel} for one in rounds]
    yield Metric("relay's memory for an idle tunnel", "KiB", memory, [Goal("<=", 10)])
    usage = [{"qemu": one.cpu_percent} for one in rounds]
    title = "relay's processor time with 1,000 idle tunnels"
    yield Metric(title, "% of a core", usage, [Goal("<=", 2)])


def measure_start(plan: Plan) -> Iterator[Metric]:
    """From the start of the client's process to the first 200 through it."""
    place = plan.place("start")
    rounds: list[dict[str, float]] = []
    links: list[dict[str, float]] = []
    with peers.nginx_upstream(place / "upstream") as target:
        tunnel_life.start_ms(place / "warm", target)  # writes the bytecode
        for number in range(plan.rounds):
            figures = {"qemu": tunnel_life.start_ms(place / f"{number}", target)}
            try:
                figures["ssh -R"] = tunnel_life.ssh_start_ms(
                    place / f"{number}ssh", target
                )
            except peers.Absent as absent:
                print(f"\nssh -R is left out: {absent}")
            rounds.append(figures)
            links.append({"qemu": tunnel_life.link_ms(target)})
    title = "start of the client to the first 200"
    yield Metric(title, "ms", rounds, [Goal("<=", 250)])
    yield Metric("a link, from connect to address", "ms", links)


def measure_restart(plan: Plan) -> Iterator[Metric]:
    """The relay is stopped and started while calls come, 100 a second."""
    place = plan.place("restart")
    with peers.nginx_upstream(place / "upstream") as target:
        for keeps, how in (
            (True, "its socket kept open"),
            (False, "its socket closed"),
        ):
            away: list[dict[str, float]] = []
            failed: list[dict[str, float]] = []
            for number in range(plan.rounds):
                seen = tunnel_life.restart(
                    place / f"{number}{keeps}", target, keeps_socket=keeps
                )
                away.append({"qemu": seen.away_ms})
                failed.append({"qemu": float(seen.failed)})
            title = f"restart of the relay, {how}"
            yield Metric(
                f"{title}: longest time without an answer",
                "ms",
                away,
                [Goal("<=", 1000)],
            )
            goals = [Goal("<=", 0)] if keeps else []
            yield Metric(f"{title}: failed calls", "calls", failed, goals)


def measure_signature(plan: Plan) -> Iterator[Metric]:
    """A good signature of a 1 KiB body, beside ``jwt.decode`` with the same key."""
    rounds = [tunnel_life.signature_us() for _ in range(plan.rounds)]
    yield Metric("check of a good signature", "µs", rounds, [Goal("<=", 15)])


def _metric(
    title: str,
    unit: str,
    rounds: list[dict[str, loads.Seen]],
    name: str,
    goals: list[Goal] | None = None,
) -> Metric:
    figures = [
        {way: getattr(seen, name) for way, seen in one.items()} for one in rounds
    ]
    return Metric(title, unit, figures, goals or [])


def _in_turns(
    plan: Plan, ways: dict[str, Way], measure: Callable[[Way], T]
) -> list[dict[str, T]]:
    """Measure A B C A B C …, and return the figures of each round."""
    return [
        {name: measure(way) for name, way in ways.items()} for _ in range(plan.rounds)
    ]


def _note_failures(what: str, rounds: list[dict[str, loads.Seen]]) -> None:
    for way in rounds[0]:
        failed = sum(seen[way].failed for seen in rounds)
        if failed:
            print(f"\n{what}: {way} has failed {failed:,} times")


MEASUREMENTS: dict[str, Callable[[Plan], Iterator[Metric]]] = {
    "requests": measure_requests,
    "connections": measure_connections,
    "bulk": measure_bulk,
    "busy": measure_busy,
    "idle": measure_idle,
    "start": measure_start,
    "restart": measure_restart,
    "signature": measure_signature,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=", ".join(MEASUREMENTS)
    )
    parser.add_argument("--quick", action="store_true", help="a trial run")
    parser.add_argument("--rounds", type=int, help="how many; 5, or 1 with --quick")
    parser.add_argument(
        "--localtunnel", type=Path, metavar="FOLDER", help="with its node_modules"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep all rounds")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(MEASUREMENTS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    # The blocks end their processes, however this one ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    metrics: list[Metric] = []
    try:
        _require_tools()
        print(f"{platform.platform()}, CPython {platform.python_version()}")
        with tempfile.TemporaryDirectory(prefix="bench-tunnel-") as folder:
            plan = Plan(
                rounds=arguments.rounds or (1 if arguments.quick else 5),
                for_s=1 if arguments.quick else 2,
                is_quick=arguments.quick,
                folder=Path(folder),
                modules=arguments.localtunnel and arguments.localtunnel.resolve(),
            )
            for name in arguments.names or MEASUREMENTS:
                begin_s = time.perf_counter()
                for metric in MEASUREMENTS[name](plan):
                    print(metric.report(), flush=True)
                    metrics.append(metric)
                took_s = time.perf_counter() - begin_s
                print(f"  ({name} took {took_s:.0f} s)", flush=True)
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        if arguments.json:
            arguments.json.write_text(
                json.dumps([metric.to_json() for metric in metrics], indent=1)
            )
    print(f"\n{tables(metrics)}")
    return 0


def _require_tools() -> None:
    if not sys.platform.startswith("linux"):
        raise BenchmarkError("needs Linux: /proc is read")
    missing = [tool for tool in ("wrk", "nginx") if shutil.which(tool) is None]
    if missing:
        raise BenchmarkError(
            f"not installed: {', '.join(missing)}\n"
            "On Debian or Ubuntu: apt-get install wrk nginx-light openssh-server"
        )
    try:
        import uvloop  # noqa: F401
    except ImportError:
        raise BenchmarkError(
            "not installed: uvloop, which is on wherever it is there\n"
            "Run: .venv/bin/pip install -e . --group test"
        ) from None


if __name__ == "__main__":
    sys.exit(main())
