"""What a tunnel's life costs: to start, to be idle, to lose its relay for a while."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median

import jwt
import tunnel_peers as peers
import uvloop
from rig import HERE, ROOT, BenchmarkError, free_port
from tunnel_peers import Way

sys.path.insert(0, str(ROOT))

from emulator.cli.tunnel_signatures import TunnelSignatures
from emulator.core.signature import sign
from emulator.settings import DEV_USERS
from tunnel import Relay, RelaySettings, Tunnel, TunnelSettings

__all__ = [
    "forget_peaks",
    "idle_tunnels",
    "link_ms",
    "memory_mib",
    "restart",
    "signature_us",
    "ssh_start_ms",
    "start_ms",
]

_PATIENCE_S = 30.0

_LINKS = 30

_CALLS_PER_S = 100

_CHECKS = 5_000


def memory_mib(way: Way, name: str) -> dict[str, float]:
    """Return a figure of ``/proc``, such as ``VmRSS``, of each of its processes."""
    return {
        part: _status_kib(process.pid, name) / 1024
        for part, process in way.processes.items()
    }


def forget_peaks(way: Way) -> None:
    """Let ``VmHWM`` begin again at what is in use now."""
    for process in way.processes.values():
        Path(f"/proc/{process.pid}/clear_refs").write_text("5")


def _status_kib(pid: int, name: str) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in text.splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1])


# To be idle


@dataclass(frozen=True, slots=True)
class Idle:
    """What idle tunnels cost their relay."""

    kib_per_tunnel: float

    cpu_percent: float
    """Of a core."""


def idle_tunnels(folder: Path, *, tunnels: int, watch_s: float) -> Idle:
    """Open so many tunnels, none of which is used, and watch the relay."""
    port = free_port()
    with peers.processes(folder) as running:
        relay = running.start(peers.qemu_command("relay", "--port", str(port)))
        peers.wait_for_listener(port, relay)
        way = Way("qemu", port, "localhost", {"relay": relay})
        command = [sys.executable, str(HERE / "many_tunnels.py")]
        command += [f"ws://127.0.0.1:{port}", str(tunnels)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
        ) as opener:
            try:
                assert opener.stdin is not None
                assert opener.stdout is not None
                _expect(opener.stdout.readline(), b"warm")
                before_kib = _status_kib(relay.pid, "VmRSS")
                opener.stdin.write(b"\n")
                opener.stdin.flush()
                _expect(opener.stdout.readline(), b"ready")
                time.sleep(2)
                before_us, before_s = way.cpu_us(), time.perf_counter()
                time.sleep(watch_s)
                used_us = way.cpu_us() - before_us
                took_s = time.perf_counter() - before_s
                grown_kib = _status_kib(relay.pid, "VmRSS") - before_kib
            finally:
                opener.kill()
    return Idle(grown_kib / tunnels, used_us / 1e4 / took_s)


def _expect(line: bytes, word: bytes) -> None:
    if line.strip() != word:
        raise BenchmarkError(f"idle tunnels: {line!r} instead of {word!r}")


# To start


def start_ms(folder: Path, target: int) -> float:
    """Return how long ``qemu tunnel`` takes from its start to the first answer.

    The call comes first, and is held by the relay until its tunnel is there.
    """
    port = free_port()
    with peers.processes(folder) as running:
        relay = running.start(peers.qemu_command("relay", "--port", str(port)))
        peers.wait_for_listener(port, relay)
        seen_s: list[float] = []
        caller = threading.Thread(
            target=lambda: seen_s.append(peers.wait_for_200(port, "bench.localhost"))
        )
        caller.start()
        begin_s = time.perf_counter()
        running.start(
            peers.qemu_command(
                *("tunnel", str(target), "--relay", f"ws://127.0.0.1:{port}"),
                *("--name", "bench"),
            )
        )
        caller.join(_PATIENCE_S)
        if not seen_s:
            raise BenchmarkError("the tunnel doesn't start")
    return (seen_s[0] - begin_s) * 1000


def ssh_start_ms(folder: Path, target: int) -> float:
    """Return the same of ``ssh -R``; the calls before it is there are refused."""
    with peers.processes(folder) as running:
        way = peers.ssh_way(running, target, None)
        begin_s = time.perf_counter()
        return (peers.wait_for_200(way.port, way.host) - begin_s) * 1000


def link_ms(target: int) -> float:
    """Return how long a link takes to be there, both ends in this process."""

    async def measure() -> float:
        times_s = []
        async with Relay(RelaySettings(port=0)) as relay:
            for number in range(_LINKS):
                settings = TunnelSettings(
                    target, relay=relay.link_url, name=f"t{number}"
                )
                begin_s = time.perf_counter()
                async with Tunnel(settings):
                    times_s.append(time.perf_counter() - begin_s)
        return median(times_s) * 1000

    return uvloop.run(measure())


# To lose the relay


@dataclass(slots=True)
class Calls:
    """What callers have seen, each on a connection of its own."""

    answered_s: list[float] = field(default_factory=list)
    """When each answer came."""

    failed: int = 0

    tasks: set[asyncio.Task[None]] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Restart:
    """What callers saw of a relay's restart."""

    away_ms: float
    """The longest time without an answer: 10 without a restart."""

    failed: int


def restart(folder: Path, target: int, *, keeps_socket: bool) -> Restart:
    """Stop the relay and start it again while calls come in.

    ``keeps_socket``: its listening socket stays open, as under systemd; otherwise it
    is ``qemu relay`` on the same port both times.
    """
    with peers.processes(folder) as running, socket.socket() as listener:
        if keeps_socket:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", 0))
            listener.listen(1024)
            port = listener.getsockname()[1]
            script = str(HERE / "relay_on_socket.py")
            command = [sys.executable, script, str(listener.fileno())]
            fds: tuple[int, ...] = (listener.fileno(),)
        else:
            port = free_port()
            command, fds = peers.qemu_command("relay", "--port", str(port)), ()
        relay = running.start(command, pass_fds=fds)
        peers.wait_for_listener(port, relay)
        running.start(
            peers.qemu_command(
                *("tunnel", str(target), "--relay", f"ws://127.0.0.1:{port}"),
                *("--name", "bench"),
            )
        )
        peers.wait_for_200(port, "bench.localhost")

        def again() -> None:
            relay.send_signal(signal.SIGTERM)
            relay.wait(_PATIENCE_S)
            running.start(command, pass_fds=fds)

        return asyncio.run(_called_through(port, again))


async def _called_through(port: int, again: Callable[[], None]) -> Restart:
    loop = asyncio.get_running_loop()
    calls = Calls()
    back = asyncio.Event()
    is_started_again = False

    async def call() -> None:
        is_late = is_started_again
        try:
            async with asyncio.timeout(_PATIENCE_S):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(
                    b"GET / HTTP/1.1\r\nHost: bench.localhost\r\n"
                    b"Connection: close\r\n\r\n"
                )
                answer = await reader.read(65_536)
                writer.close()
        except OSError:
            answer = b""
        if answer.split(b" ", 2)[1:2] == [b"200"]:
            calls.answered_s.append(loop.time())
            if is_late:
                back.set()
        else:
            calls.failed += 1

    async def keep_calling() -> None:
        while True:
            task = asyncio.create_task(call())
            calls.tasks.add(task)
            task.add_done_callback(calls.tasks.discard)
            await asyncio.sleep(1 / _CALLS_PER_S)

    caller = asyncio.create_task(keep_calling())
    await asyncio.sleep(0.3)
    await asyncio.to_thread(again)
    is_started_again = True
    async with asyncio.timeout(_PATIENCE_S):
        await back.wait()
    await asyncio.sleep(0.3)
    caller.cancel()
    await asyncio.gather(*calls.tasks)
    longest_s = max(later - sooner for sooner, later in pairwise(calls.answered_s))
    return Restart(longest_s * 1000, calls.failed)


# Signatures


def signature_us() -> dict[str, float]:
    """Return what the check of a good one takes, and what ``jwt.decode`` takes."""
    keys = DEV_USERS[0].keys
    url, body = "https://bench.relay.example.dev", b"x" * 1024
    token = sign(
        body=body,
        url=f"{url}/api/hook",
        key=keys.current,
        now_ms=time.time_ns() // 1_000_000,
        jwt_id="jwt_bench",
    )
    head = (
        "POST /api/hook HTTP/1.1\r\nHost: bench.relay.example.dev\r\n"
        "Content-Type: application/json\r\nContent-Length: 1024\r\n"
        "Upstash-Message-Id: msg_26hZCxZCuWyyTWPmSVBrNCtiJEtvMttKvUmW\r\n"
        f"Upstash-Retried: 0\r\nUpstash-Signature: {token}\r\n\r\n"
    ).encode()
    signatures = TunnelSignatures(keys)
    if signatures.refusal(head, body, url) is not None:
        raise BenchmarkError("a good signature is refused")
    begin_s = time.process_time()
    for _ in range(_CHECKS):
        signatures.refusal(head, body, url)
    ours_s = time.process_time() - begin_s
    begin_s = time.process_time()
    for _ in range(_CHECKS):
        jwt.decode(token, keys.current, algorithms=["HS256"], issuer="Upstash")
    theirs_s = time.process_time() - begin_s
    return {
        "qemu": ours_s / _CHECKS * 1e6,
        "jwt.decode": theirs_s / _CHECKS * 1e6,
    }
