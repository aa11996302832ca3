"""The stage of ``test_namespaces.py``: a QStash, a relay, and apps behind tunnels.

The emulator and the relay run on the internet's side, the apps and the tunnels on the
laptop. Each app knows itself by its public URL, and verifies what it gets by that, with
its language's SDK.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any
from urllib.parse import urlsplit

from tests.system.conftest import (
    CURRENT_KEY,
    JAVASCRIPT,
    NEXT_KEY,
    PATIENCE_S,
    App,
    Arrivals,
    Server,
    read_deliveries,
    read_json_lines,
)
from tests.system.namespaces import (
    EMULATOR_ADDRESS,
    RELAY_ADDRESS,
    Namespace,
    two_machines,
)

__all__ = [
    "QEMU",
    "Command",
    "Exposed",
    "Failure",
    "Publisher",
    "Relay",
    "Stage",
    "stage",
]

DOMAIN = "relay.test"

NAMES = ("python", "node", "guarded", "path", "away", "killed", "patient")
"""Of tunnels: names that resolve."""

SECRET = "a secret of more than sixteen bytes"

ROOT = Path(__file__).resolve().parents[2]

QEMU = (sys.executable, "-m", "emulator")

PYTHON_APP = (sys.executable, "-m", "tests.system.destination")

Lines = Arrivals[dict[str, Any]]


@dataclass(frozen=True)
class Command:
    """A running command that prints lines of JSON."""

    process: subprocess.Popen[str]

    lines: Lines

    @property
    def ready(self) -> dict[str, Any]:
        """What it prints first."""
        return self.lines.wait_for(lambda line: line["type"] == "ready")[0]

    def kill(self) -> None:
        """End it without a chance to say so."""
        self.process.kill()
        self.process.wait(PATIENCE_S)


@dataclass(frozen=True)
class Exposed:
    """An app, and the tunnel to it."""

    app: App

    port: int
    """Where it listens on the laptop."""

    tunnel: Command


@dataclass(frozen=True)
class Relay:
    """A relay."""

    command: Command

    port: int

    pattern: str
    """Of public URLs, with ``<name>`` in it."""


class Failure(Exception):
    """What the SDK raised, in its own words."""


class Publisher:
    """The official SDK on the internet's side."""

    def __init__(self, server: Server, stdin: IO[str], answers: Lines) -> None:
        self.server = server
        self._stdin = stdin
        self._answers = answers
        self._calls = 0

    def __call__(self, name: str, **arguments: Any) -> Any:
        """Call the SDK; raise ``Failure`` if it does."""
        return self._ask({"sdk": name, "with": arguments})

    def post(self, url: str, **arguments: Any) -> Any:
        """Send a request; return its status, headers and body."""
        return self._ask({"post": url, "with": arguments})

    def publish(self, url: str, **arguments: Any) -> str:
        """Publish a message; return its id."""
        message_id: str = self("message.publish", url=url, **arguments)["message_id"]
        return message_id

    def _ask(self, call: dict[str, Any]) -> Any:
        self._stdin.write(json.dumps(call) + "\n")
        self._stdin.flush()
        self._calls += 1
        answer = self._answers.wait_for(lambda _: True, self._calls)[-1]
        if "error" in answer:
            raise Failure(answer["error"])
        return answer["result"]


@dataclass
class Stage:
    """What runs where. Everything ends when the test does."""

    internet: Namespace
    laptop: Namespace
    folder: Path
    stack: ExitStack
    secret_file: Path
    _apps: dict[str, Exposed] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self.secret_file.write_text(SECRET)
        self.qstash = self.start_qstash()
        self.relay = self.start_relay()

    def start_qstash(self, *options: str) -> Publisher:
        """Start an emulator, and the SDK that calls it."""
        where = ("--host", EMULATOR_ADDRESS, "--port", "0")
        emulator = self._start(
            self.internet,
            *(*QEMU, "start", "--json", "--refuse-loopback", *where, *options),
        )
        server = Server(emulator.ready["url"], emulator.lines)
        sdk = self._start(
            self.internet,
            *(sys.executable, "-m", "tests.system.publisher"),
            folder=ROOT,
            environment=server.environment,
        )
        assert sdk.process.stdin is not None
        return Publisher(server, sdk.process.stdin, sdk.lines)

    def start_relay(self, *options: str, port: int = 0) -> Relay:
        """Start a relay, at any port unless one is given."""
        where = ("--host", RELAY_ADDRESS, "--port", str(port), "--domain", DOMAIN)
        command = self._start(
            self.internet,
            *(*QEMU, "relay", "--json", *where, *self._secret, *options),
        )
        pattern = command.ready["pattern"]
        return Relay(command, port_of(command.ready["url"]), pattern)

    def app(self, name: str) -> Exposed:
        """Return the app of that name, behind a tunnel; ``node`` is in JavaScript."""
        if name not in self._apps:
            self._apps[name] = self.expose(name, self.relay)
        return self._apps[name]

    def expose(self, name: str, relay: Relay, *options: str) -> Exposed:
        """Start an app, and a tunnel to it by a relay."""
        url = relay.pattern.replace("<name>", name)
        is_node = name == "node"
        process = self.stack.enter_context(
            self.laptop.run(
                *(("node", "destination.mjs") if is_node else PYTHON_APP),
                folder=JAVASCRIPT if is_node else ROOT,
                errors=self._errors_file(),
                APP_URL=url,
                QSTASH_CURRENT_SIGNING_KEY=CURRENT_KEY,
                QSTASH_NEXT_SIGNING_KEY=NEXT_KEY,
            )
        )
        assert process.stdout is not None
        started, deliveries = read_deliveries(process.stdout)
        port = port_of(started.wait_for(lambda _: True)[0]["url"])
        tunnel = self.start_tunnel(name, port, relay, *options)
        assert tunnel.ready["url"] == url
        return Exposed(App(url, deliveries), port, tunnel)

    def start_tunnel(
        self, name: str, port: int, relay: Relay, *options: str
    ) -> Command:
        """Start a tunnel to a port of the laptop."""
        url = f"ws://{DOMAIN}:{relay.port}"
        return self._start(
            self.laptop,
            *(*QEMU, "tunnel", str(port), "--json", "--relay", url),
            *("--name", name, *options),
            environment={
                "QEMU_RELAY_TOKEN": self.token(name),
                "QSTASH_CURRENT_SIGNING_KEY": CURRENT_KEY,
                "QSTASH_NEXT_SIGNING_KEY": NEXT_KEY,
            },
        )

    def token(self, name: str) -> str:
        """Make a token for a name, as whoever runs the relay does."""
        with self.internet.run(
            *(*QEMU, "relay", "token", "--name", name, *self._secret),
            folder=self.folder,
            errors=self._errors_file(),
        ) as process:
            output, _ = process.communicate(timeout=PATIENCE_S)
        return output.strip()

    @property
    def _secret(self) -> tuple[str, str]:
        return ("--secret-file", str(self.secret_file))

    def _start(
        self,
        where: Namespace,
        *command: str,
        folder: Path | None = None,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> Command:
        process = self.stack.enter_context(
            where.run(
                *command,
                folder=folder or self.folder,
                errors=self._errors_file(),
                **environment,
            )
        )
        lines: Lines = Arrivals()
        assert process.stdout is not None
        read_json_lines(process.stdout, lines.put, lines.close)
        return Command(process, lines)

    def _errors_file(self) -> Path:
        return self.folder / f"stderr-{next(self._numbers)}.txt"


def port_of(url: str) -> int:
    """Return the port that stands in a URL."""
    port = urlsplit(url).port
    assert port is not None
    return port


@contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    """Set up two machines, a QStash and a relay. Skips where that can't be done."""
    names = (DOMAIN, *(f"{name}.{DOMAIN}" for name in NAMES))
    with two_machines(names) as (internet, laptop), ExitStack() as stack:
        yield Stage(internet, laptop, folder, stack, folder / "secret")
