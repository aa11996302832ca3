"""The stage of ``test_namespaces.py``: a QStash, a relay, and apps behind tunnels.

The emulator and the relay run on the internet's side, the apps and the tunnels on the
laptop. Each app knows itself by its public URL, and verifies what it gets by that, with
its language's SDK.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
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

__all__ = ["Exposed", "Failure", "Publisher", "Stage", "stage"]

DOMAIN = "relay.test"

NAMES = ("python", "node", "guarded", "path")
"""Of tunnels: names that resolve."""

SECRET = "a secret of more than sixteen bytes"

ROOT = Path(__file__).resolve().parents[2]

QEMU = (sys.executable, "-m", "emulator")

Lines = Arrivals[dict[str, Any]]


class Failure(Exception):
    """What the SDK raised, in its own words."""


class Publisher:
    """The official SDK on the internet's side."""

    def __init__(self, server: Server, stdin: Any, answers: Lines) -> None:
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


@dataclass(frozen=True)
class Exposed:
    """An app, and the tunnel to it."""

    app: App

    port: int
    """Where it listens on the laptop."""

    public_url: str

    tunnel: Lines
    """What the tunnel prints."""


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
        self.relay, self.relay_port, self.pattern = self.start_relay()

    def start_qstash(self, *options: str) -> Publisher:
        """Start an emulator, and the SDK that calls it."""
        lines, _ = self._start(
            *(self.internet, *QEMU, "start", "--refuse-loopback", "--json"),
            *("--host", EMULATOR_ADDRESS, "--port", "0", *options),
        )
        server = Server(ready(lines)["url"], lines)
        answers, stdin = self._start(
            *(self.internet, sys.executable, "-m", "tests.system.publisher"),
            folder=ROOT,
            **server.environment,
        )
        return Publisher(server, stdin, answers)

    def start_relay(self, *options: str) -> tuple[Lines, int, str]:
        """Start a relay; return what it prints, its port, and its public pattern."""
        lines, _ = self._start(
            *(self.internet, *QEMU, "relay", "--json", "--host", RELAY_ADDRESS),
            *(
                "--port",
                "0",
                "--domain",
                DOMAIN,
                "--secret-file",
                str(self.secret_file),
            ),
            *options,
        )
        event = ready(lines)
        return lines, urlsplit(event["url"]).port or 0, event["pattern"]

    def app(self, name: str) -> Exposed:
        """Return the app of that name, behind a tunnel; ``node`` is in JavaScript."""
        if name not in self._apps:
            self._apps[name] = self.expose(name, self.relay_port, self.pattern)
        return self._apps[name]

    def expose(self, name: str, port: int, pattern: str, *options: str) -> Exposed:
        """Start an app, and a tunnel to it by the relay at a port."""
        url = pattern.replace("<name>", name)
        command: tuple[str, ...] = (sys.executable, "-m", "tests.system.destination")
        if name == "node":
            command = ("node", "destination.mjs")
        process = self.stack.enter_context(
            self.laptop.run(
                *command,
                folder=JAVASCRIPT if name == "node" else ROOT,
                errors=self._errors_file(),
                APP_URL=url,
                QSTASH_CURRENT_SIGNING_KEY=CURRENT_KEY,
                QSTASH_NEXT_SIGNING_KEY=NEXT_KEY,
            )
        )
        assert process.stdout is not None
        started, deliveries = read_deliveries(process.stdout)
        app_port = urlsplit(started.wait_for(lambda _: True)[0]["url"]).port or 0
        tunnel, _ = self._start(
            *(self.laptop, *QEMU, "tunnel", str(app_port), "--json"),
            *("--relay", f"ws://{DOMAIN}:{port}", "--name", name, *options),
            QEMU_RELAY_TOKEN=self.token(name),
            QSTASH_CURRENT_SIGNING_KEY=CURRENT_KEY,
            QSTASH_NEXT_SIGNING_KEY=NEXT_KEY,
        )
        assert ready(tunnel)["url"] == url
        return Exposed(App(url, deliveries), app_port, url, tunnel)

    def token(self, name: str) -> str:
        """Make a token for a name, as whoever runs the relay does."""
        with self.internet.run(
            *(*QEMU, "relay", "token", "--name", name),
            *("--secret-file", str(self.secret_file)),
            folder=self.folder,
            errors=self._errors_file(),
        ) as process:
            output, _ = process.communicate(timeout=PATIENCE_S)
        return output.strip()

    def _start(
        self,
        where: Namespace,
        *command: str,
        folder: Path | None = None,
        **variables: str,
    ) -> tuple[Lines, Any]:
        process = self.stack.enter_context(
            where.run(
                *command,
                folder=folder or self.folder,
                errors=self._errors_file(),
                **variables,
            )
        )
        lines: Lines = Arrivals()
        assert process.stdout is not None
        read_json_lines(process.stdout, lines.put, lines.close)
        return lines, process.stdin

    def _errors_file(self) -> Path:
        return self.folder / f"stderr-{next(self._numbers)}.txt"


def ready(lines: Lines) -> dict[str, Any]:
    """Return what a command prints first."""
    return lines.wait_for(lambda line: line["type"] == "ready")[0]


@contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    """Set up two machines, a QStash and a relay. Skips where that can't be done."""
    names = (DOMAIN, *(f"{name}.{DOMAIN}" for name in NAMES))
    with two_machines(names) as (internet, laptop), ExitStack() as stack:
        yield Stage(internet, laptop, folder, stack, folder / "secret")
