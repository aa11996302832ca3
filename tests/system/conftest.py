"""A real qemu process, and real apps for it to deliver to.

An app's URL says how the app answers: ``…/hook?answers=500,500,200`` answers the
third call, and all that follow, with 200; ``489-final`` also says that no retry will
help (DLV-13). Each app verifies every delivery with its own language's SDK before it
answers, and says no to one that doesn't verify.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import json
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from base64 import b64decode, urlsafe_b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from threading import Condition, Lock, Thread
from typing import IO, Any, Generic, TypeVar
from urllib.parse import parse_qs, urlsplit

import flask
import httpx
import jwt
import pytest
import uvicorn
from fastapi import FastAPI, Request, Response
from qstash import AsyncQStash, QStash, Receiver
from qstash.errors import SignatureError
from werkzeug.serving import make_server

JAVASCRIPT = Path(__file__).parent / "javascript"

PATIENCE_S = 20
"""How long to wait for what must happen."""

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]

# The first of the public dev users (ENV-11).
TOKEN = "eyJVc2VySUQiOiJkZWZhdWx0VXNlciIsIlBhc3N3b3JkIjoiZGVmYXVsdFBhc3N3b3JkIn0="
CURRENT_KEY = "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r"
NEXT_KEY = "sig_5ZB6DVzB1wjE8S6rZ7eenA8Pdnhs"

T = TypeVar("T")


class Arrivals(Generic[T]):
    """What comes in on another thread, in order."""

    def __init__(self) -> None:
        self._items: list[T] = []
        self._changed = Condition()
        self._is_closed = False

    def put(self, item: T) -> None:
        with self._changed:
            self._items.append(item)
            self._changed.notify_all()

    def close(self) -> None:
        """Say that nothing more will come: who waits need not wait any longer."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def wait_for(
        self,
        matches: Callable[[T], bool],
        count: int = 1,
        patience_s: float = PATIENCE_S,
    ) -> list[T]:
        """Wait for so many that match, and return all of them that have come."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_closed or len(self._matching(matches)) >= count,
                patience_s,
            )
            found = self._matching(matches)
        assert len(found) >= count, f"{count} awaited, came: {self._items[-5:]}"
        return found

    def _matching(self, matches: Callable[[T], bool]) -> list[T]:
        return [item for item in self._items if matches(item)]


def read_json_lines(
    stream: IO[str],
    take: Callable[[dict[str, Any]], None],
    end: Callable[[], None],
) -> None:
    """Hand over what a process prints, on a thread that ends with it."""

    def read() -> None:
        with stream:
            for line in stream:
                take(json.loads(line))
        end()

    Thread(target=read, daemon=True).start()


def read_deliveries(
    stream: IO[str],
) -> tuple[Arrivals[dict[str, Any]], Arrivals[Delivery]]:
    """Hand over what an app that is a process prints: its ready line, and the calls."""
    ready: Arrivals[dict[str, Any]] = Arrivals()
    deliveries: Arrivals[Delivery] = Arrivals()

    def take(line: dict[str, Any]) -> None:
        if line.pop("type") == "ready":
            ready.put(line)
        else:
            body = b64decode(line.pop("body"))
            refusal = line.pop("refusal", None)
            deliveries.put(Delivery(**line, body=body, refusal=refusal))

    def end() -> None:
        ready.close()
        deliveries.close()

    read_json_lines(stream, take, end)
    return ready, deliveries


def clean_environment(**variables: str) -> dict[str, str]:
    """Return this process's environment without what the JavaScript SDK also reads."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("UPSTASH_", "NODE_"))
    }
    return kept | variables


# The emulator


@dataclass
class Server:
    """A running qemu, and what it prints."""

    url: str

    lines: Arrivals[dict[str, Any]]

    @property
    def environment(self) -> dict[str, str]:
        """What an app's environment holds to use this server."""
        return {
            "QSTASH_URL": self.url,
            "QSTASH_TOKEN": TOKEN,
            "QSTASH_CURRENT_SIGNING_KEY": CURRENT_KEY,
            "QSTASH_NEXT_SIGNING_KEY": NEXT_KEY,
        }

    def post(self, path: str, **body: Any) -> Any:
        """Call what is qemu's own, under ``/_qemu``."""
        response = httpx.post(self.url + path, json=body, timeout=PATIENCE_S)
        response.raise_for_status()
        return response.json()

    def wait_for(self, message_id: str, state: str) -> list[dict[str, Any]]:
        """Wait until a message's log shows a state; return the log, oldest first."""
        self.lines.wait_for(
            lambda line: (
                (line.get("messageId"), line.get("state")) == (message_id, state)
            )
        )
        return self.lines.wait_for(lambda line: line.get("messageId") == message_id)


@contextmanager
def run_server(folder: Path, *arguments: str) -> Iterator[Server]:
    """Run ``qemu start`` until it isn't needed any more; nothing in it may break."""
    command = [sys.executable, "-m", "emulator", "start", "--port", "0", "--json"]
    errors = folder / "stderr.txt"
    with errors.open("wb") as stderr:
        process = subprocess.Popen(
            [*command, *arguments],
            cwd=folder,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    assert process.stdout is not None
    try:
        lines: Arrivals[dict[str, Any]] = Arrivals()
        read_json_lines(process.stdout, lines.put, lines.close)
        (ready,) = lines.wait_for(lambda line: line["type"] == "ready")
        yield Server(ready["url"], lines)
    except BaseException as error:
        error.add_note(errors.read_text())
        raise
    finally:
        process.terminate()
        exit_code = process.wait(PATIENCE_S)
    output = errors.read_text()
    broken = re.search("^(error: |Traceback)", output, re.MULTILINE)
    assert (exit_code, broken) == (0, None), output


@pytest.fixture(scope="session")
def running_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with run_server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def server(running_server: Server) -> Server:
    """A qemu that knows nothing of earlier tests."""
    running_server.post("/_qemu/reset")
    return running_server


@pytest.fixture
def virtual_server(tmp_path: Path) -> Iterator[Server]:
    """A qemu whose clock stands still until it is advanced."""
    with run_server(tmp_path, "--clock", "virtual") as server:
        yield server


# The apps


@dataclass(frozen=True)
class Delivery:
    """A call to an app."""

    url: str
    """As the app saw it: escapes, slashes and query raw."""

    method: str

    headers: dict[str, str]
    """By lower-case name."""

    body: bytes

    refusal: str | None
    """Why it didn't verify."""

    @property
    def message_id(self) -> str:
        return self.headers["upstash-message-id"]

    @property
    def retried(self) -> str:
        return self.headers["upstash-retried"]


class App:
    """An app on localhost that QStash delivers to."""

    _numbers = itertools.count(1)

    def __init__(self, url: str, deliveries: Arrivals[Delivery] | None = None) -> None:
        self._url = url
        self._deliveries: Arrivals[Delivery] = deliveries or Arrivals()
        self._calls: Counter[str] = Counter()
        self._calls_lock = Lock()

    def new_url(self, path: str = "hook", answers: str = "200") -> str:
        """Return a URL that no other test uses. ``path`` may have a query."""
        mark = "&" if "?" in path else "?"
        return f"{self._url}/{next(self._numbers)}/{path}{mark}answers={answers}"

    def wait_for(
        self, url: str, count: int = 1, patience_s: float = PATIENCE_S
    ) -> list[Delivery]:
        """Wait for calls of a URL; return all that have come. They must verify."""
        found = self._deliveries.wait_for(
            lambda each: each.url == url, count, patience_s
        )
        assert [each.refusal for each in found if each.refusal] == []
        return found

    def receive(
        self, method: str, target: str, headers: dict[str, str], body: bytes
    ) -> tuple[str, int, dict[str, str]]:
        """Take a call, and return the answer: text, status, headers."""
        headers = {name.lower(): value for name, value in headers.items()}
        url = self._url + target
        refusal = why_refused(headers.get("upstash-signature", ""), body, url)
        with self._calls_lock:
            query = parse_qs(urlsplit(url).query)
            answers = query.get("answers", ["404"])[0].split(",")
            answer = answers[min(self._calls[url], len(answers) - 1)]
            self._calls[url] += 1
        status, _, is_final = answer.partition("-")
        if refusal is not None:
            status = "401"
        self._deliveries.put(Delivery(url, method, headers, body, refusal))
        answer_headers = {
            "Content-Type": "text/plain; charset=utf-8",
            "X-Answer": status,
        }
        if is_final:
            answer_headers["Upstash-NonRetryable-Error"] = "true"
        return f"answer {status}", int(status), answer_headers


def why_refused(signature: str, body: bytes, url: str) -> str | None:
    """Verify as an app does; where the SDK can't, because the body isn't UTF-8, by
    hand (SIG-15)."""
    try:
        try:
            text = body.decode()
        except UnicodeDecodeError:
            claims = jwt.decode(signature, CURRENT_KEY, ["HS256"], issuer="Upstash")
            assert claims["sub"] == url
            assert claims["body"] == urlsafe_b64encode(sha256(body).digest()).decode()
        else:
            receiver = Receiver(CURRENT_KEY, NEXT_KEY)
            receiver.verify(signature=signature, body=text, url=url)
    except (SignatureError, jwt.InvalidTokenError, AssertionError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def fastapi_server(app: App) -> uvicorn.Server:
    """Make the server of a FastAPI app."""
    asgi = FastAPI()

    @asgi.api_route("/{path:path}", methods=METHODS)
    async def receive(request: Request) -> Response:
        path, query = request.scope["raw_path"], request.scope["query_string"]
        body = await request.body()
        target = b"?".join((path, query) if query else (path,)).decode()
        return Response(
            *app.receive(request.method, target, dict(request.headers), body)
        )

    config = uvicorn.Config(asgi, lifespan="off", ws="none", log_level="warning")
    return uvicorn.Server(config)


@pytest.fixture(scope="session")
def fastapi_app() -> Iterator[App]:
    """A FastAPI app under uvicorn."""
    listener = socket.create_server(("127.0.0.1", 0))
    app = App(f"http://localhost:{listener.getsockname()[1]}")
    uvicorn_server = fastapi_server(app)
    thread = Thread(
        target=uvicorn_server.run, kwargs={"sockets": [listener]}, daemon=True
    )
    thread.start()
    yield app
    uvicorn_server.should_exit = True
    thread.join(PATIENCE_S)


@pytest.fixture(scope="session")
def flask_app() -> Iterator[App]:
    """A Flask app under its own server."""
    wsgi = flask.Flask("destination")
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    with make_server("127.0.0.1", 0, wsgi, threaded=True) as flask_server:
        app = App(f"http://localhost:{flask_server.server_port}")

        @wsgi.route("/<path:_>", methods=METHODS)
        def receive(_: str) -> flask.Response:
            call = flask.request
            target = call.environ["RAW_URI"]
            return flask.Response(
                *app.receive(call.method, target, dict(call.headers), call.get_data())
            )

        thread = Thread(target=flask_server.serve_forever, daemon=True)
        thread.start()
        yield app
        flask_server.shutdown()
        thread.join(PATIENCE_S)


@pytest.fixture(scope="session")
def node_app(node: str, running_server: Server) -> Iterator[App]:
    """A Node.js app."""
    process = subprocess.Popen(
        [node, "destination.mjs"],
        cwd=JAVASCRIPT,
        env=clean_environment(**running_server.environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        ready, deliveries = read_deliveries(process.stdout)
        yield App(ready.wait_for(lambda line: True)[0]["url"], deliveries)
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


@pytest.fixture(
    params=[
        "fastapi_app",
        "flask_app",
        pytest.param("node_app", marks=pytest.mark.javascript),
    ]
)
def app(request: pytest.FixtureRequest) -> App:
    """Each of the apps."""
    app: App = request.getfixturevalue(request.param)
    return app


# The SDKs


class Awaiting:
    """An asynchronous client whose calls are awaited at once, so that tests read
    alike for both clients."""

    def __init__(self, target: object, runner: asyncio.Runner) -> None:
        self._target = target
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if inspect.iscoroutinefunction(value):
            return lambda *args, **kwargs: self._runner.run(value(*args, **kwargs))
        return Awaiting(value, self._runner)


@pytest.fixture(params=["sync", "async"])
def client(request: pytest.FixtureRequest, server: Server) -> Iterator[Any]:
    """Each client of the Python SDK."""
    if request.param == "sync":
        synchronous = QStash(TOKEN, base_url=server.url)
        yield synchronous
        synchronous.http._client.close()  # the SDK never does
    else:
        with asyncio.Runner() as runner:
            asynchronous = AsyncQStash(TOKEN, base_url=server.url)
            yield Awaiting(asynchronous, runner)
            runner.run(asynchronous.http._client.aclose())


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The command ``node``, with the JavaScript SDK installed where scenarios are."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("needs Node.js and npm")
    installed = JAVASCRIPT / "node_modules" / ".package-lock.json"
    if not installed.exists():
        # Workers of pytest-xdist share the parent of this folder.
        _install(npm, tmp_path_factory.getbasetemp().parent / "npm-ci", installed)
    return node


def _install(npm: str, lock: Path, installed: Path) -> None:
    """Run ``npm ci`` in one worker; the others wait for it."""
    try:
        lock.mkdir()
    except FileExistsError:
        deadline_s = time.monotonic() + 3 * PATIENCE_S
        while not installed.exists() and time.monotonic() < deadline_s:
            time.sleep(0.1)
        assert installed.exists(), "npm ci, in another worker, came to nothing"
    else:
        command = [npm, "ci", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=JAVASCRIPT, check=True, capture_output=True)


@pytest.fixture
def scenario(node: str, server: Server) -> Callable[..., list[dict[str, Any]]]:
    """Run a file of ``javascript/`` to its end, and return the JSON lines it prints.

    Arguments are handed over as JSON; keywords are environment variables.
    """

    def run(
        file: str, *arguments: Any, stdin: str = "", **variables: str
    ) -> list[dict[str, Any]]:
        process = subprocess.Popen(
            [node, file, *map(json.dumps, arguments)],
            cwd=JAVASCRIPT,
            env=clean_environment(**(server.environment | variables)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            stdout, stderr = process.communicate(stdin, PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # what it has started, too
            stdout, stderr = process.communicate()
        assert process.returncode == 0, stderr
        return [json.loads(line) for line in stdout.splitlines()]

    return run
