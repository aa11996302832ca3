"""The documents' code: shown as it stands in the files here, and run for real."""

import asyncio
import os
import re
import shutil
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from emulator.core.model import State
from emulator.emulator import Emulator
from emulator.settings import Settings

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

    async def line_with(self, text: str) -> str:
        """Wait for a line of the app's output."""
        while line := (await self.output.readline()).decode():
            if text in line:
                return line.rstrip()
        raise AssertionError(f"the app ended without saying {text!r}")

    async def post(self, path: str, body: object = None) -> Any:
        async with ClientSession() as session:
            answer = await session.post(self.url + path, json=body)
            assert answer.status == 200, await answer.text()
            return await answer.json(content_type=None)


@asynccontextmanager
async def an_app(*command: str, emulator: Emulator, port: int) -> AsyncIterator[App]:
    """Run a command with an emulator's credentials until it says that it runs."""
    user = emulator.settings.users[0]
    url = f"http://localhost:{port}"
    variables = {
        "APP_URL": url,
        "QSTASH_URL": emulator.url,
        "QSTASH_TOKEN": user.token,
        "QSTASH_CURRENT_SIGNING_KEY": user.keys.current,
        "QSTASH_NEXT_SIGNING_KEY": user.keys.next,
    }
    process = await asyncio.create_subprocess_exec(
        *command, env=os.environ | variables, stdout=PIPE, stderr=STDOUT
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
    for document in DOCUMENTS:
        yield from re.findall(
            rf"^```{language}\n(.*?)^```$", document.read_text(), re.M | re.S
        )


@pytest.mark.parametrize(("language", "suffix"), [("python", "py"), ("js", "mjs")])
def test_code_blocks_and_the_files_here_are_the_same(language, suffix):
    files = {
        path.read_text()
        for path in HERE.glob(f"*.{suffix}")
        if path.name != Path(__file__).name
    }

    assert set(code_blocks(language)) == files


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
