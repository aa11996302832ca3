"""The lives of qemu: started, killed and started again, with one file all the time.

How it is killed is chosen by a seeded ``Random``, when by the same; what the machine
makes of it isn't repeatable.
"""

from __future__ import annotations

import asyncio
import re
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

from tests.system.crash import checks
from tests.system.crash.books import Books
from tests.system.crash.checks import Run
from tests.system.crash.client import Client, Refused, session
from tests.system.crash.destination import REGIONS, Destination, destination
from tests.system.crash.load import FLOW_KEYS, QUEUES, Load

__all__ = ["HOWS", "Story", "story"]

PATIENCE_S = 60.0

HOWS = {"load": 12, "start": 4, "burst": 4, "compaction": 3, "stop": 2}
"""How a life ends, and how often: killed in the load, while it starts, during a burst
of large messages (and so while the write-ahead log is taken over), while the file is
made smaller; or stopped in an orderly way."""

_READY = re.compile(r"qemu is running at (http://\S+)")

_SETTINGS = """
max-log-entries = 2000
grace-ms = 500
"""

_BALLAST_BYTES = 1_000_000
_BALLAST = 20


class Story:
    """One file, and all that happens to it."""

    def __init__(
        self, folder: Path, target: Destination, client: Client, seed: int
    ) -> None:
        self.books = Books()
        self.runs: list[Run] = []
        self.target = target
        self._folder = folder
        self._client = client
        self._inspector = client.twin()
        self._chance = Random(seed)
        self._process: asyncio.subprocess.Process | None = None
        self._start_s = 1.0
        """How long the last start took."""
        self.load = Load(
            client, self.books, destination_url=target.url, seed=seed, pause_s=0.02
        )

    # A life

    async def begin(self, how: str) -> None:
        """Start a process; it isn't ready yet."""
        self.target.run = len(self.runs)
        region = REGIONS[len(self.runs) % 2]
        self.runs.append(Run(how, time.time()))
        with (
            (self._folder / "stdout.txt").open("wb") as stdout,
            (self._folder / "stderr.txt").open("wb") as stderr,
        ):
            command = ("-m", "emulator", "start", "--port", "0", "--db", "qemu.db")
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *command,
                "--region",
                region,
                cwd=self._folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            )

    async def ready(self) -> None:
        """Wait until it serves, look at what it found, and let the load go on."""
        assert self._process is not None
        run = self.runs[-1]
        while True:
            found = _READY.search((self._folder / "stdout.txt").read_text())
            if found:
                break
            errors = (self._folder / "stderr.txt").read_text()
            assert self._process.returncode is None, f"it didn't start: {errors}"
            assert time.time() - run.started_s < PATIENCE_S, "it doesn't start"
            await asyncio.sleep(0.01)
        run.ready_s = time.time()
        self._start_s = run.ready_s - run.started_s
        self._inspector.up(found[1])
        if len(self.runs) > 1:
            await self._inspect()
        self._client.up(found[1])

    async def end(self, number: int = signal.SIGKILL) -> None:
        """End the process; what it printed must show no mistake of ours."""
        assert self._process is not None
        run = self.runs[-1]
        run.killed_s = time.time()
        self._process.send_signal(number)
        exit_code = await self._process.wait()
        run.ended_s = time.time()
        self._client.down()
        self._inspector.down()
        errors = (self._folder / "stderr.txt").read_text()
        if re.search(r"^(error|Error|Traceback)|is lost", errors, re.MULTILINE):
            self.books.complain(f"run {len(self.runs) - 1} said: {errors}")
        if exit_code != (0 if number == signal.SIGTERM else -signal.SIGKILL):
            self.books.complain(f"run {len(self.runs) - 1} ended with {exit_code}")

    async def live(self, how: str, load_s: tuple[float, float]) -> None:
        """Live through one life that ends in one of the ``HOWS``."""
        chance = self._chance
        await self.begin(how)
        if how == "start":
            await asyncio.sleep(chance.uniform(0, 1.1 * self._start_s))
            await self.end()
            return
        await self.ready()
        await self.live_on(how, load_s)

    async def live_on(self, how: str, load_s: tuple[float, float]) -> None:
        """Live the life that has begun to its end."""
        chance = self._chance
        await asyncio.sleep(chance.uniform(*load_s))
        if how == "burst":
            burst = asyncio.create_task(self._publish_ballast())
            await asyncio.sleep(chance.uniform(0, 0.5))
            await self.end()
            await asyncio.gather(burst, return_exceptions=True)
        elif how == "compaction":
            await self._fatten()
            await self.end()
            # The next start makes the file smaller, unless it is killed.
            await self.begin("start")
            await asyncio.sleep(chance.uniform(0.3, 1.1) * self._start_s)
            await self.end()
        else:
            await self.end(signal.SIGTERM if how == "stop" else signal.SIGKILL)

    async def finish(self) -> list[str]:
        """Start once more, let everything come to its end; return what was wrong."""
        await self.begin("finish")
        await self.ready()
        await self.load.stop()
        for name in QUEUES:
            await self.load.set_paused("queue", name, False)
        for key in FLOW_KEYS:
            await self.load.set_paused("flow key", key, False)
        deadline_s = time.time() + PATIENCE_S
        while time.time() < deadline_s:
            await self.load.read_dlq()
            if not checks.outstanding(self.books, self.target.arrivals):
                break
            await asyncio.sleep(0.2)
        await self._inspect()
        await self.end(signal.SIGTERM)
        return checks.complaints(self.books, self.target.arrivals, self.runs)

    async def abandon(self) -> None:
        """Leave nothing behind, however it went."""
        process = self._process
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()
        await self.load.abandon()

    # What is looked at

    async def _inspect(self) -> None:
        """Hold everything that has a state against the books."""
        call, books = self._inspector.call, self.books
        queues = await call("GET", "/v2/queues")
        books.compare(
            "queue",
            {each["name"]: (each["parallelism"], each["paused"]) for each in queues},
        )
        keys = await call("GET", "/v2/flowControl")
        books.compare(
            "flow key",
            {
                each["flowControlKey"]: (each["isPaused"], each["isPinnedParallelism"])
                for each in keys
            },
        )
        groups = await call("GET", "/v2/topics")
        books.compare(
            "URL group",
            {
                group["name"]: tuple(each["url"] for each in group["endpoints"])
                for group in groups
            },
        )
        schedules = await call("GET", "/v2/schedules")
        books.compare(
            "schedule", {each["scheduleId"]: each["isPaused"] for each in schedules}
        )
        await self._inspect_keys()
        entries = await self.load.read_dlq(self._inspector)
        books.compare("DLQ entry", {each["dlqId"]: "there" for each in entries})
        for message_id in books.names("held"):
            possible = books.known("held", message_id)
            try:
                await call("GET", f"/v2/messages/{message_id}")
            except Refused as refusal:
                if possible == {"pending"}:
                    books.complain(f"a pending message is gone: {refusal}")

    async def _inspect_keys(self) -> None:
        keys: dict[str, Any] = await self._inspector.call("GET", "/v2/keys")
        found = keys["current"], keys["next"]
        if (keys["current"], "?") in self.books.known("keys", ""):
            # A rotation without an answer: nobody knew the new key.
            self.books.put("keys", "", found)
        self.books.compare("keys", {"": found})
        self.books.seen_keys |= set(found)

    def sizes_mb(self) -> tuple[float, float]:
        """Return the size of the file and of its write-ahead log."""
        files = (self._folder / "qemu.db", self._folder / "qemu.db-wal")
        db, wal = (each.stat().st_size if each.exists() else 0 for each in files)
        return db / 1e6, wal / 1e6

    # What makes the file large, and empty again; by another user

    async def _publish_ballast(self) -> None:
        await asyncio.gather(*(self._ballast(b"x" * _BALLAST_BYTES) for _ in range(8)))

    async def _ballast(self, body: bytes) -> None:
        await self._inspector.call(
            "POST",
            "/v2/publish/http://127.0.0.1:9/",
            headers={"Upstash-Delay": "3600s"},
            body=body,
            user=1,
        )

    async def _fatten(self) -> None:
        """Fill the file with what is forgotten then: its pages are free."""
        call = self._inspector.call
        for _ in range(_BALLAST):
            await self._ballast(b"x" * _BALLAST_BYTES)
        await call("DELETE", "/v2/messages", user=1)
        await asyncio.sleep(0.6)  # until they can't be read any more
        small = {"destination": "http://127.0.0.1:9/", "body": "x"}
        small_ones = [small | {"headers": {"Upstash-Delay": "3600s"}}] * 100
        for _ in range(12):
            await call("POST", "/v2/batch", json=small_ones, user=1)
            await call("DELETE", "/v2/messages", user=1)


@asynccontextmanager
async def story(folder: Path, seed: int) -> AsyncIterator[Story]:
    """Begin a story: a process is up, and the load runs."""
    (folder / "qemu.toml").write_text(_SETTINGS)
    (folder / ".git").mkdir(exist_ok=True)
    async with destination() as target, session() as calls:
        client = Client(calls)
        told = Story(folder, target, client, seed)
        try:
            await told.begin("load")
            await told.ready()
            await told.load.prepare()
            told.load.start()
            yield told
        finally:
            await told.abandon()
