"""Run qemu with a file for half an hour at half its limit, with faults, and watch it.

    python tests/benchmarks/soak.py [--minutes 30] [--rate DELIVERIES_PER_S]

The limit is measured first (what ``deliver`` of bench_emulator.py measures, with
``--db``), then half of it is kept up. Sampled are memory, descriptors, tasks, the file
and its write-ahead log; log and DLQ are kept short, so that they are full long before
the warm-up ends. Ends with 1 unless everything stays flat.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import aiohttp
import loads
import rig
from faulty import faulty
from rig import BenchmarkError, Server
from steady import Steady

_WARM_UP = 0.4
"""The part of the time after which nothing may grow: at half an hour twelve minutes,
as windows of deduplication last ten."""

_WINDOW = 0.2
"""The part of the time at its begin and at its end that is compared."""

_SETTINGS = """
max-log-entries = 20000
grace-ms = 5000
"""

_LIMIT_S = 15.0
_DRAIN_S = 30.0

_HEAD = (
    "   time s  published  delivered  pending  flight    RSS MiB  fds  tasks"
    "   db MB  wal MB  cpu %"
)


@dataclass(frozen=True, slots=True)
class Sample:
    """What was there at one moment."""

    at_s: float
    published: int
    delivered: int
    pending: int
    in_flight: int
    rss_mib: float
    fds: int
    tasks: int
    db_mb: float
    wal_mb: float
    cpu_s: float


class Watch:
    """Takes samples of a server."""

    def __init__(self, server: Server, folder: Path) -> None:
        self._server = server
        self._folder = folder
        self._begin_s = time.time()
        self.samples: list[Sample] = []

    async def take(self, published: int, delivered: int) -> Sample:
        """Take one."""
        loop = asyncio.get_running_loop()
        health = await loop.run_in_executor(None, self._server.health)
        pid = self._server.process.pid
        sample = Sample(
            at_s=time.time() - self._begin_s,
            published=published,
            delivered=delivered,
            pending=health["pending"],
            in_flight=health["inFlight"],
            rss_mib=self._server.status_kib("VmRSS") / 1024,
            fds=len(os.listdir(f"/proc/{pid}/fd")),
            tasks=await self._tasks(),
            db_mb=_size_mb(self._folder / "qemu.db"),
            wal_mb=_size_mb(self._folder / "qemu.db-wal"),
            cpu_s=self._server.cpu_us() / 1e6,
        )
        self.samples.append(sample)
        return sample

    async def _tasks(self) -> int:
        report = self._folder / "tasks"
        report.unlink(missing_ok=True)
        self._server.process.send_signal(signal.SIGUSR1)
        for _ in range(500):
            if report.exists():
                return int(report.read_text())
            await asyncio.sleep(0.01)
        raise BenchmarkError("the server doesn't say how many tasks it has")

    def show(self) -> None:
        """Print the last one."""
        now = self.samples[-1]
        before = self.samples[-2] if len(self.samples) > 1 else now
        took_s = now.at_s - before.at_s or 1.0
        print(
            f"{now.at_s:9.0f}  {(now.published - before.published) / took_s:7.0f}/s  "
            f"{(now.delivered - before.delivered) / took_s:7.0f}/s  {now.pending:7}  "
            f"{now.in_flight:6}  {now.rss_mib:9.1f}  {now.fds:3}  {now.tasks:5}  "
            f"{now.db_mb:6.1f}  {now.wal_mb:6.1f}  "
            f"{(now.cpu_s - before.cpu_s) / took_s * 100:5.0f}",
            flush=True,
        )


def _size_mb(path: Path) -> float:
    return path.stat().st_size / 1e6 if path.exists() else 0.0


def measure_limit(server: Server, sink: rig.Sink) -> float:
    """Return how many messages per second it takes and delivers at most."""
    loads.deliver(server, sink, 500)
    best, begin_s = 0.0, time.time()
    while time.time() - begin_s < _LIMIT_S:
        rate = loads.deliver(server, sink, 5_000)
        best = max(best, rate.per_second)
    return best


async def soak(
    server: Server, sink: rig.Sink, watch: Watch, *, per_s: float, minutes: float
) -> list[str]:
    """Keep the load up; return what didn't stay flat."""
    duration_s = minutes * 60
    async with (
        faulty() as target,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        load = Steady(
            session,
            server,
            sink_url=sink.url,
            faulty=target,
            deliveries_per_s=per_s,
            seed=1,
        )
        asked = 0
        first = sink.count()

        def delivered() -> int:
            nonlocal asked
            asked += 1
            return sink.count() - first - asked + sum(target.calls.values())

        print(_HEAD)
        idle = await watch.take(0, 0)
        watch.show()
        begin_s = time.time()
        until_s = begin_s + duration_s
        work = asyncio.gather(load.publish(until_s), load.look(until_s))
        every_s = max(2.0, min(30.0, duration_s / 60))
        while not work.done():
            await asyncio.wait((work,), timeout=every_s)
            if not work.done():
                await watch.take(load.published, delivered())
                watch.show()
        await work
        print("and when the load is over:")
        loaded = watch.samples[1:]
        deadline_s = time.time() + _DRAIN_S
        while True:
            await asyncio.sleep(1)
            last = await watch.take(load.published, delivered())
            if last.pending == 0 or time.time() > deadline_s:
                break
        watch.show()
        print(
            f"{load.held_batches} of {load.batches} batches held back; "
            f"calls: {dict(target.calls)}"
        )
    after = await _rested(watch, idle)
    watch.show()
    return verdicts(loaded, idle, after)


async def _rested(watch: Watch, idle: Sample) -> Sample:
    """Wait until kept connections are closed and tasks are over, or for long enough."""
    last = watch.samples[-1]
    for _ in range(int(_DRAIN_S)):
        last = await watch.take(last.published, last.delivered)
        if last.fds <= idle.fds and last.tasks <= idle.tasks:
            break
        await asyncio.sleep(1)
    return last


def verdicts(loaded: list[Sample], idle: Sample, after: Sample) -> list[str]:
    """Say what grew. Prints each comparison."""
    end_s = loaded[-1].at_s
    begin_s = loaded[0].at_s
    whole_s = end_s - begin_s
    warm_s = begin_s + _WARM_UP * whole_s
    early = [s for s in loaded if warm_s <= s.at_s < warm_s + _WINDOW * whole_s]
    late = [s for s in loaded if s.at_s > end_s - _WINDOW * whole_s]
    wrong = []

    def compare(
        what: str,
        of: Callable[[Sample], float],
        *,
        share: float,
        more: float = 0.0,
        pick: Callable[[list[float]], float] = median,
    ) -> None:
        before, now = pick([of(s) for s in early]), pick([of(s) for s in late])
        is_flat = now <= before * (1 + share) + more
        growth = (now / before - 1) * 100 if before else 0.0
        word = "flat" if is_flat else "NOT flat"
        line = f"{what}: {before:.1f} -> {now:.1f} ({growth:+.1f} %): {word}"
        print(line)
        if not is_flat:
            wrong.append(line)

    compare("memory, MiB", lambda s: s.rss_mib, share=0.05)
    # What leaks raises the least; the most is what the machine's other work makes it.
    compare("least descriptors", lambda s: s.fds, share=0.1, more=10, pick=min)
    compare("least tasks", lambda s: s.tasks, share=0.1, more=10, pick=min)
    compare("pending", lambda s: s.pending, share=0.25, more=100)
    compare("file, MB", lambda s: s.db_mb, share=0.1, more=1)
    compare("write-ahead log, MB", lambda s: s.wal_mb, share=0.1, more=17)
    for what, before, now in (
        ("descriptors", idle.fds, after.fds),
        ("tasks", idle.tasks, after.tasks),
        ("pending", 0, after.pending),
    ):
        line = f"idle {what}: {before} before, {now} after"
        print(line)
        if now > before:
            wrong.append(line)
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, help="deliveries per second; else half")
    arguments = parser.parse_args()
    try:
        rig.require_tools()
        with tempfile.TemporaryDirectory() as name, rig.sink() as sink:
            folder = Path(name)
            (folder / "qemu.toml").write_text(_SETTINGS)
            kept = ("--db", str(folder / "qemu.db"))
            settings = ("--config", str(folder / "qemu.toml"))
            kind = replace(rig.START, command=(*rig.START.command, *kept, *settings))
            with rig.running(kind, task_report=folder / "tasks") as server:
                limit = measure_limit(server, sink)
                per_s = arguments.rate or limit / 2
                print(f"at most {limit:.0f} messages/s; now {per_s:.0f} deliveries/s")
                watch = Watch(server, folder)
                wrong = asyncio.run(
                    soak(server, sink, watch, per_s=per_s, minutes=arguments.minutes)
                )
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{len(wrong)} that aren't flat" if wrong else "everything stays flat")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
