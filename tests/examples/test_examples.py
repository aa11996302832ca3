"""The documents' code: shown as it stands in the files here, and run for real."""

import asyncio
import json
import os
import re
import shlex
import shutil
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import ClientSession

from emulator.cli import cli
from emulator.cli.configuration import configuration_of
from emulator.core.faults import FaultKind, parse_fault
from emulator.core.model import State
from emulator.emulator import Emulator
from emulator.settings import DEV_USERS, Settings
from emulator.web.rate_limit import KINDS

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "tests" / "examples"
NODE_MODULES = ROOT / "tests" / "system" / "javascript" / "node_modules"
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

PATIENCE_S = 30

TEA = {"item": "tea"}
COFFEE = {"item": "coffee"}


@dataclass
class App:
    """An example that runs."""

    url: str
    output: asyncio.StreamReader

    async def lines_until(self, text: str) -> list[str]:
        """Wait for a line of the app's output; return it, and all before it."""
        lines = []
        while line := (await self.output.readline()).decode():
            lines.append(line.rstrip())
            if text in line:
                return lines
        raise AssertionError(f"the app ended without saying {text!r}")

    async def line_with(self, text: str) -> str:
        """Wait for a line of the app's output."""
        return (await self.lines_until(text))[-1]

    async def post(self, path: str, body: object = None) -> Any:
        async with ClientSession() as session:
            answer = await session.post(self.url + path, json=body)
            assert answer.status == 200, await answer.text()
            return await answer.json(content_type=None)


def environment(emulator: Emulator, app_url: str) -> dict[str, str]:
    user = emulator.settings.users[0]
    return os.environ | {
        "APP_URL": app_url,
        "QSTASH_URL": emulator.url,
        "QSTASH_TOKEN": user.token,
        "QSTASH_CURRENT_SIGNING_KEY": user.keys.current,
        "QSTASH_NEXT_SIGNING_KEY": user.keys.next,
    }


@asynccontextmanager
async def an_app(*command: str, emulator: Emulator, port: int) -> AsyncIterator[App]:
    """Run a command with an emulator's credentials until it says that it runs."""
    url = f"http://localhost:{port}"
    process = await asyncio.create_subprocess_exec(
        *command, env=environment(emulator, url), stdout=PIPE, stderr=STDOUT
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE_S):
            app = App(url, process.stdout)
            await app.line_with("running")
            yield app
    finally:
        process.kill()
        await process.communicate()


async def run(*command: str, **where: Any) -> tuple[int, str]:
    """Run a command to its end; return its exit code and all that it said."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=PIPE, stderr=STDOUT, **where
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


def uvicorn(app: str, port: int) -> tuple[str, ...]:
    folder = str(HERE)
    return (sys.executable, "-m", "uvicorn", app, "--app-dir", folder, f"--port={port}")


async def call(emulator: Emulator, method: str, path: str, **body: object) -> Any:
    headers = {"Authorization": f"Bearer {emulator.settings.users[0].token}"}
    async with ClientSession(headers=headers) as session:
        answer = await session.request(method, emulator.url + path, json=body or None)
        return await answer.json()


async def states_until_final(emulator: Emulator, message_id: str) -> list[str]:
    """Wait until a message is final, and return all its states."""
    states = []
    async with emulator.feed.subscribe(after=0) as subscription:
        async for items in subscription:
            for entry in (item.entry for item in items):
                if entry.message.message_id == message_id:
                    states.append(entry.state)
                    if entry.state in (State.DELIVERED, State.FAILED):
                        return states
    return states


def code_blocks(language: str) -> Iterator[str]:
    """Yield the documents' blocks in a language; of those without any if empty."""
    for document in DOCUMENTS:
        text = document.read_text()
        for name, block in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S):
            if name == language:
                yield block


def commands(*words: str) -> Iterator[list[str]]:
    """Yield the documents' commands that contain all of some words."""
    for block in code_blocks(""):
        for line in block.splitlines():
            if all(word in line for word in words):
                yield shlex.split(line)


FILES = {
    "python": "*.py",
    "js": "*.mjs",
    "sh": "*.sh",
    "yaml": "*.yml",
    "nginx": "*.nginx.conf",
    "caddyfile": "*.Caddyfile",
    "dockerfile": "*.Dockerfile",
    "ini": "qemu-relay.s*",
}


@pytest.mark.parametrize(("language", "pattern"), FILES.items())
def test_code_blocks_and_the_files_here_are_the_same(language, pattern):
    files = {
        path.read_text()
        for path in HERE.glob(pattern)
        if not path.name.startswith("test_")
    }

    assert set(code_blocks(language)) == files


def test_every_fault_that_a_document_adds_can_be_added():
    faults = [
        parse_fault(json.loads(command[command.index("-d") + 1]))
        for command in commands("curl", "/_qemu/faults", " -d ")
    ]

    assert faults


def test_every_kind_of_fault_is_explained():
    page = (ROOT / "docs" / "how-to" / "simulate-failures.md").read_text()

    assert re.findall(r"^\| `([a-z-]+)` \|", page, re.M) == list(FaultKind)


def test_every_rate_limit_that_a_document_switches_on_exists():
    orders = [
        json.loads(command[command.index("-d") + 1])
        for command in commands("curl", "/_qemu/rate-limit", " -d ")
    ]

    assert orders
    assert all(order["kind"] in KINDS for order in orders)


@pytest.fixture
def nobodys_settings(monkeypatch, tmp_path):
    """Neither a settings file nor a variable."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith(("QEMU_", "QSTASH_")):
            monkeypatch.delenv(name)


def settings_of(arguments: list[str]) -> Settings:
    """Return what ``qemu start`` with these arguments would start."""
    command = cli.get_command(cli.make_context("qemu", ["start"]), "start")
    assert command is not None
    with command.make_context("start", arguments) as ctx:
        return configuration_of(ctx).settings


@pytest.mark.usefixtures("nobodys_settings")
def test_every_qemu_start_in_the_documents_can_be_started():
    starts = [
        command[command.index("start") + 1 :]
        for command in commands("qemu start")
        if "[OPTIONS]" not in command
    ]

    assert starts
    for arguments in starts:
        settings_of(list(takewhile(lambda word: word not in ("&", "&&"), arguments)))


@pytest.mark.usefixtures("nobodys_settings")
async def test_containers_reach_each_other_as_the_compose_file_says():
    services = yaml.safe_load((HERE / "compose.yml").read_text())["services"]
    qemu, app = services["qemu"], services["app"]
    start, *arguments = shlex.split(qemu["command"])
    settings = settings_of(arguments)
    async with Emulator(Settings(port=0)) as emulator, ClientSession() as session:
        answer = await session.get(
            f"{emulator.url}/v2/keys",
            headers={
                "Host": app["environment"]["QSTASH_URL"].removeprefix("http://"),
                "Authorization": f"Bearer {app['environment']['QSTASH_TOKEN']}",
            },
        )
        keys = await answer.json()

    assert (start, settings.host) == ("start", "0.0.0.0")
    assert qemu["ports"] == [f"127.0.0.1:{settings.port}:{settings.port}"]
    assert app["environment"] == {
        "APP_URL": "http://app:3000",
        "QSTASH_URL": f"http://qemu:{settings.port}",
        "QSTASH_TOKEN": DEV_USERS[0].token,
        "QSTASH_CURRENT_SIGNING_KEY": keys["current"],
        "QSTASH_NEXT_SIGNING_KEY": keys["next"],
    }


def beside_this_python(port: int) -> dict[str, str]:
    """The environment of a shell that finds ``qemu``, and nobody's settings."""
    ours = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("QEMU_", "QSTASH_"))
    }
    path = f"{Path(sys.executable).parent}{os.pathsep}{ours['PATH']}"
    return ours | {"PATH": path, "QEMU_PORT": str(port)}


def lines_of(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


@pytest.mark.system
async def test_the_shell_script_runs_a_command_beside_a_qemu(unused_tcp_port, tmp_path):
    publish = "qemu publish http://127.0.0.1:9/hook --retries 0 && exit 7"
    code, output = await run(
        *("sh", str(HERE / "with-qemu.sh"), "sh", "-c", publish),
        env=beside_this_python(unused_tcp_port),
        cwd=tmp_path,
    )
    log = lines_of(tmp_path / "qemu.ndjson")

    assert code == 7, output
    assert (log[0]["type"], log[-1]["type"]) == ("ready", "stopped")
    assert "CREATED" in [line.get("state") for line in log]


@pytest.mark.system
async def test_the_workflow_starts_qemu_for_the_steps_that_follow(
    unused_tcp_port, tmp_path
):
    workflow = yaml.safe_load((HERE / "ci.yml").read_text())
    steps = {step.get("name"): step for step in workflow["jobs"]["test"]["steps"]}
    shell = ("bash", "-e", "-c")
    where: dict[str, Any] = {"cwd": tmp_path}
    variables = tmp_path / "variables"
    env = beside_this_python(unused_tcp_port) | {"GITHUB_ENV": str(variables)}
    await run(*shell, steps["Set what the SDK needs"]["run"], env=env, **where)
    env |= dict(line.split("=", 1) for line in variables.read_text().splitlines())
    # As a step's, its processes go on; here the last of them is ended at the end.
    start = steps["Start qemu"]["run"] + 'qemu publish "$QSTASH_URL/health"; kill %1'
    code, output = await run(*shell, start, env=env, **where)
    log = lines_of(tmp_path / steps["Keep qemu's log"]["with"]["path"])

    assert code == 0, output
    assert log[0]["url"] == env["QSTASH_URL"]
    assert log[0]["token"] == env["QSTASH_TOKEN"]


@pytest.mark.system
async def test_the_python_app_takes_an_order_and_confirms_it(unused_tcp_port):
    command = uvicorn("app:app", unused_tcp_port)
    async with (
        Emulator(Settings(port=0)) as emulator,
        an_app(*command, emulator=emulator, port=unused_tcp_port) as app,
    ):
        receipt = await app.post("/order", TEA)
        said = await app.line_with("confirmed")
        states = await states_until_final(emulator, receipt["message_id"])

    assert said == 'confirmed {"item": "tea"}'
    assert states == ["CREATED", "ACTIVE", "DELIVERED"]


@pytest.mark.system
@pytest.mark.javascript
@pytest.mark.skipif(
    shutil.which("node") is None or not NODE_MODULES.is_dir(),
    reason="needs Node.js, and `npm ci` in tests/system/javascript",
)
async def test_the_javascript_app_does_the_same(unused_tcp_port, tmp_path):
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    shutil.copy(HERE / "app.mjs", tmp_path)
    command = ("node", str(tmp_path / "app.mjs"))
    async with (
        Emulator(Settings(port=0)) as emulator,
        an_app(*command, emulator=emulator, port=unused_tcp_port) as app,
    ):
        receipt = await app.post("/order", TEA)
        said = await app.line_with("confirmed")
        states = await states_until_final(emulator, receipt["messageId"])

    assert said == 'confirmed {"item":"tea"}'
    assert states == ["CREATED", "ACTIVE", "DELIVERED"]


@pytest.mark.system
async def test_the_tutorial_fails_an_order_and_retries_it_from_the_dlq(unused_tcp_port):
    command = uvicorn("shop:app", unused_tcp_port)
    async with (
        Emulator(Settings(port=0, clock="virtual")) as emulator,
        an_app(*command, emulator=emulator, port=unused_tcp_port) as app,
    ):
        receipt = await app.post("/order", COFFEE)
        await call(emulator, "POST", "/_qemu/clock/advance", until="idle")
        states = await states_until_final(emulator, receipt["message_id"])
        (failed,) = (await call(emulator, "GET", "/v2/dlq"))["messages"]

        await app.post("/stock/coffee")
        again = await call(emulator, "POST", f"/v2/dlq/retry/{failed['dlqId']}")
        states_again = await states_until_final(emulator, again["messageId"])

    failure = ["ACTIVE", "ERROR"]
    assert states == ["CREATED", *[*failure, "RETRY"] * 2, *failure, "FAILED"]
    assert failed["responseBody"] == '{"detail":"no coffee in stock"}'
    assert states_again == ["CREATED", "ACTIVE", "DELIVERED"]


@pytest.mark.system
@pytest.mark.parametrize("script", ["publish.py", "publish_async.py"])
async def test_the_python_scripts_publish(script):
    async with Emulator(Settings(port=0, clock="virtual")) as emulator:
        code, output = await run(
            *(sys.executable, str(HERE / script)),
            env=environment(emulator, "http://localhost:9"),
        )
        said, message_id = output.split()
        message = await call(emulator, "GET", f"/v2/messages/{message_id}")

    assert (code, said) == (0, "published")
    assert message["url"] == "http://localhost:9/confirm"


@pytest.mark.system
@pytest.mark.javascript
@pytest.mark.skipif(
    shutil.which("node") is None or not NODE_MODULES.is_dir(),
    reason="needs Node.js, and `npm ci` in tests/system/javascript",
)
async def test_the_javascript_script_publishes(tmp_path):
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    shutil.copy(HERE / "publish.mjs", tmp_path)
    async with Emulator(Settings(port=0, clock="virtual")) as emulator:
        code, output = await run(
            *("node", str(tmp_path / "publish.mjs")),
            env=environment(emulator, "http://localhost:9"),
        )
        schedules = await call(emulator, "GET", "/v2/schedules")
        queues = await call(emulator, "GET", "/v2/queues")

    assert code == 0, output
    assert "CREATED http://localhost:9/confirm" in output
    assert [schedule["scheduleId"] for schedule in schedules] == ["nightly"]
    assert [queue["name"] for queue in queues] == ["orders"]


@pytest.mark.system
@pytest.mark.parametrize("kind", ["lost-acknowledgement", "duplicate"])
async def test_the_app_that_is_told_twice_charges_once(unused_tcp_port, kind):
    command = uvicorn("charge:app", unused_tcp_port)
    async with (
        Emulator(Settings(port=0, clock="virtual")) as emulator,
        an_app(*command, emulator=emulator, port=unused_tcp_port) as app,
    ):
        await call(emulator, "POST", "/_qemu/faults", kind=kind, times=1)
        for order in ("order-7", "order-8"):
            destination = f"{app.url}/charge"
            await call(emulator, "POST", f"/v2/publish/{destination}", id=order)
            await call(emulator, "POST", "/_qemu/clock/advance", until="idle")
        said = await app.lines_until("charged order-8")

    assert said.count("charged order-7") == 1
    assert sum('"POST /charge' in line for line in said) == 2


PYTEST_EXAMPLES = {
    "retries.py": 4,
    "schedules.py": 3,
    "callbacks.py": 2,
    "with_fastapi.py": 6,
    "with_flask.py": 3,
    "with_django.py": 3,
    "with_relay.py": 1,
    "without_pytest.py": 1,
}
"""Examples that are tests, and how many."""


@pytest.mark.system
@pytest.mark.parametrize(("name", "count"), PYTEST_EXAMPLES.items())
async def test_tests_in_the_documents_pass(name, count, tmp_path):
    shutil.copy(HERE / name, tmp_path)
    shutil.copy(HERE / "conftest_with_settings.py", tmp_path / "conftest.py")
    code, output = await run(
        *(sys.executable, "-m", "pytest", "-q", name, "-o", "asyncio_mode=auto"),
        cwd=tmp_path,
    )

    assert code == 0, output
    assert f"{count} passed" in output
