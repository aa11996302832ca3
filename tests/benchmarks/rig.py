"""The rig: a server on one core, everything else on the other.

Starts and stops processes, drives wrk, and reads what the kernel says about a
process. Linux only: it pins processes to cores and reads ``/proc``.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TOKEN = "eyJVc2VySUQiOiJkZWZhdWx0VXNlciIsIlBhc3N3b3JkIjoiZGVmYXVsdFBhc3N3b3JkIn0="
HEADERS = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
HOUR = {"Upstash-Delay": "3600s"}

_PATIENCE_S = 30.0
"""How long anything may take that should take a moment."""

_NGINX = """
daemon off; worker_processes 1; pid {folder}/pid; error_log stderr error;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; client_max_body_size 0;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location = /status {{ stub_status; }}
    location / {{ return 200; }}
  }}
}}
"""


class BenchmarkError(Exception):
    """The benchmark can't run here, or what it measured did something else."""


def require_tools() -> None:
    """Raise ``BenchmarkError`` that says what to install, unless all is there."""
    if not sys.platform.startswith("linux"):
        raise BenchmarkError("needs Linux: cores are pinned, /proc is read")
    if len(os.sched_getaffinity(0)) < 2:
        raise BenchmarkError("needs two cores: one for the server, one for the load")
    missing = [tool for tool in ("wrk", "nginx") if shutil.which(tool) is None]
    if missing:
        raise BenchmarkError(
            f"not installed: {', '.join(missing)}\n"
            "On Debian or Ubuntu: apt-get install wrk nginx-light"
        )
    try:
        import jwt  # noqa: F401
    except ImportError:
        raise BenchmarkError(
            "not installed: pyjwt (thin signs with it)\n"
            "Run: .venv/bin/pip install -e . --group test"
        ) from None


def cores() -> tuple[int, int]:
    """Return the server's core, and the one for everything else."""
    server, other, *_ = sorted(ALL_CORES)
    return server, other


ALL_CORES = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def free_port() -> int:
    """Return a port that was free a moment ago, on 127.0.0.1 and ::1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Kind:
    """A server that can be measured: how to start it on a port."""

    name: str

    command: tuple[str, ...]
    """``{port}`` stands for the port."""


THIN = Kind("thin", (sys.executable, str(HERE / "thin.py"), "{port}"))
MINIMAL = Kind("minimal", (sys.executable, str(HERE / "minimal.py"), "{port}"))
LIBRARY = Kind("library", (sys.executable, str(HERE / "serve.py"), "{port}"))
START = Kind("start", (sys.executable, "-m", "emulator", "start", "--port", "{port}"))
QUIET = Kind("quiet", (*START.command, "--quiet"))


class Server:
    """A server's process, and what can be asked of it."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.port = port
        self.start_s = 0.0
        """From the start of the process to its first 200."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def health(self) -> dict[str, Any]:
        """Return what it says of itself."""
        with urlopen(f"{self.url}/_qemu/health", timeout=_PATIENCE_S) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def pending(self) -> int:
        """Return how many messages it says are pending."""
        return int(self.health()["pending"])

    def status_kib(self, name: str) -> int:
        """Return a memory figure of ``/proc``, such as ``VmRSS``, in KiB."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in text.splitlines() if line.startswith(f"{name}:"))
        return int(line.split()[1])

    def wake_ups(self) -> int:
        """Return how often its threads have gone to sleep so far."""
        total = 0
        for status in Path(f"/proc/{self.process.pid}/task").glob("*/status"):
            for line in status.read_text().splitlines():
                if line.startswith("voluntary_ctxt_switches:"):
                    total += int(line.split()[1])
        return total

    def cpu_us(self) -> float:
        """Return how much processor time its threads have used, in microseconds."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1000


@contextmanager
def running(
    kind: Kind, *, gc_report: Path | None = None, task_report: Path | None = None
) -> Iterator[Server]:
    """Run a server on its core until the block ends. It is ready when the block begins.

    With ``gc_report`` it writes the longest pause of its garbage collector there; with
    ``task_report``, at each SIGUSR1, how many tasks it has. Not both.
    """
    port = free_port()
    command = [part.format(port=port) for part in kind.command]
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("QSTASH_", "QEMU_", "PYTHON"))
    }
    environment["PYTHONPATH"] = str(ROOT)
    if gc_report is not None:
        environment["PYTHONPATH"] = f"{HERE / 'gc_watch'}:{ROOT}"
        environment["GC_REPORT"] = str(gc_report)
    elif task_report is not None:
        environment["PYTHONPATH"] = f"{HERE / 'task_watch'}:{ROOT}"
        environment["TASK_REPORT"] = str(task_report)
    process = _start(command, environment, core=cores()[0])
    server = Server(process, port)
    try:
        server.start_s = _wait_until_ready(server)
        yield server
    finally:
        process.terminate()
        process.wait(_PATIENCE_S)


def _start(
    command: list[str], environment: dict[str, str], *, core: int
) -> subprocess.Popen[bytes]:
    os.sched_setaffinity(0, {core})  # a child inherits it
    try:
        # At the root: no settings file of this folder is meant.
        return subprocess.Popen(
            command, env=environment, cwd="/", stdout=subprocess.DEVNULL
        )
    finally:
        os.sched_setaffinity(0, {cores()[1]})


def _wait_until_ready(server: Server) -> float:
    begin_s = time.perf_counter()
    request = (
        b"GET /_qemu/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    while time.perf_counter() - begin_s < _PATIENCE_S:
        if server.process.poll() is not None:
            raise BenchmarkError(f"ended at once: {server.process.args!r}")
        try:
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                connection.sendall(request)
                if connection.recv(65_536).startswith(
                    (b"HTTP/1.0 200", b"HTTP/1.1 200")
                ):
                    return time.perf_counter() - begin_s
        except ConnectionError:
            time.sleep(0.001)
    raise BenchmarkError(f"not ready within {_PATIENCE_S} s: {server.process.args!r}")


class Sink:
    """nginx that answers 200 to everything, and counts."""

    def __init__(self, port: int) -> None:
        self.port = port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def count(self) -> int:
        """Return how many requests have come, this one included."""
        with urlopen(f"http://127.0.0.1:{self.port}/status") as answer:
            return int(answer.read().split()[9])


@contextmanager
def sink() -> Iterator[Sink]:
    """Run nginx on the other core until the block ends."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        configuration = Path(folder, "nginx.conf")
        configuration.write_text(_NGINX.format(folder=folder, port=port))
        command = ["nginx", "-c", str(configuration), "-p", folder, "-e", "stderr"]
        process = _start(command, dict(os.environ), core=cores()[1])
        target = Sink(port)
        try:
            _wait_for_sink(target, process)
            yield target
        finally:
            process.terminate()
            process.wait(_PATIENCE_S)


def _wait_for_sink(target: Sink, process: subprocess.Popen[bytes]) -> None:
    begin_s = time.perf_counter()
    while time.perf_counter() - begin_s < _PATIENCE_S and process.poll() is None:
        try:
            target.count()
        except OSError:
            time.sleep(0.01)
        else:
            return
    raise BenchmarkError("nginx doesn't start")


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk saw."""

    answered: int

    took_s: float


def publish(
    server: Server,
    destination: str,
    *,
    messages: int,
    connections: int = 64,
    body_bytes: int = 256,
    headers: dict[str, str] | None = None,
) -> Load:
    """Publish with wrk until so many are answered. Every answer must be a 2xx."""
    lines = (f"{name}: {value}" for name, value in (HEADERS | (headers or {})).items())
    environment = {
        **os.environ,
        "MESSAGES": str(messages),
        "BODY_BYTES": str(body_bytes),
        "HEADERS": "\n".join(lines),
    }
    command = ["wrk", "-t1", f"-c{connections}", "-d600s"]
    command += ["-s", str(HERE / "publish.lua")]
    command.append(f"{server.url}/v2/publish/{destination}")
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=120
        )
    except subprocess.TimeoutExpired:
        raise BenchmarkError(f"fewer than {messages} publishes are answered") from None
    if done.returncode:
        raise BenchmarkError(f"wrk failed: {done.stderr or done.stdout}")
    result = json.loads(done.stdout.splitlines()[-1])
    if result["refused"]:
        raise BenchmarkError(f"publishes are refused: {result}")
    return Load(result["answered"], result["us"] / 1e6)
