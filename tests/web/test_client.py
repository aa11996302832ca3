"""The client with which the tests of this folder call, and that it keeps its word.

``serve`` runs a real emulator on loopback, with a virtual clock and destinations that
answer from a script. ``Api`` calls it through aiohttp's client, with nothing sent that
a test didn't ask for; ``Api.connect`` is a bare socket, for requests that no client
makes. No call waits for ever: what isn't answered in time fails the test.
"""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from emulator import Emulator, Settings
from emulator.core.model import Responded
from emulator.settings import DEV_USERS
from tests.doubles import T0, Hang, Script, ScriptedTransport

HOOK = "http://localhost:3000/api/hook"

FAILS = Responded(500, ("Content-Type", "text/plain"), b"no", "Internal Server Error")

NOT_RETRYABLE = Responded(489, ("Upstash-Nonretryable-Error", "true"), b"never")
"""Puts a message into the DLQ at once (DLV-13)."""

LONGEST_ANSWER_S = 5.0

Headers = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whole."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body: it must be JSON, say so (BASE-11), and hold no null (BASE-12)."""
        assert self.headers.get("Content-Type") == "application/json"
        value = json.loads(self.body)
        assert not _has_null(value), self.body
        return value

    @property
    def error(self) -> str:
        """The text of an error, which is all that its JSON holds (ERR-1)."""
        assert list(self.json) == ["error"]
        text = self.json["error"]
        assert isinstance(text, str)
        assert text
        return text


class Connection:
    """A bare socket to the emulator."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        """Write bytes as they are."""
        self._writer.write(data)
        async with asyncio.timeout(LONGEST_ANSWER_S):
            await self._writer.drain()

    def send_end(self) -> None:
        """Close our side: nothing more will be sent."""
        self._writer.write_eof()

    def abort(self) -> None:
        """Drop the connection, as a client does that dies."""
        self._writer.transport.abort()

    async def head(self) -> Answer:
        """Read the head of an answer: all there is of one to ``HEAD``."""
        async with asyncio.timeout(LONGEST_ANSWER_S):
            head = await self._reader.readuntil(b"\r\n\r\n")
        status_line, *lines = head[:-4].decode("ascii").split("\r\n")
        headers = CIMultiDict[str]()
        for line in lines:
            name, _, value = line.partition(":")
            headers.add(name, value.strip())
        return Answer(int(status_line.split()[1]), CIMultiDictProxy(headers), b"")

    async def answer(self) -> Answer:
        """Read one answer, and leave what follows. Interim answers are answers too."""
        head = await self.head()
        length = int(head.headers.get("Content-Length", 0))
        async with asyncio.timeout(LONGEST_ANSWER_S):
            return replace(head, body=await self._reader.readexactly(length))

    async def some(self) -> bytes:
        """Read what arrives next; nothing if the emulator closes the connection."""
        async with asyncio.timeout(LONGEST_ANSWER_S):
            return await self._reader.read(65_536)

    async def rest(self) -> bytes:
        """Read until the emulator closes the connection."""
        async with asyncio.timeout(LONGEST_ANSWER_S):
            return await self._reader.read()


class Api:
    """An emulator under test, and how to call it."""

    def __init__(
        self,
        emulator: Emulator,
        transport: ScriptedTransport,
        session: aiohttp.ClientSession,
    ) -> None:
        self.emulator = emulator
        self.transport = transport
        self.session = session

    async def call(
        self,
        method: str,
        target: str,
        *,
        user: int | None = 0,
        headers: Headers = (),
        body: bytes | AsyncIterator[bytes] = b"",
    ) -> Answer:
        """Make one call. The target is sent as it is, but for a ``?`` at its end.

        ``user`` counts the dev users from 0; ``None`` sends no token. A body that is
        iterated over is sent in chunks.
        """
        # As a file: aiohttp warns of large bodies that are bytes.
        data = io.BytesIO(body) if isinstance(body, bytes) else body
        async with self.session.request(
            method,
            self.url(target),
            headers=CIMultiDict([*authorization(user), *headers]),
            data=data if body else None,
            allow_redirects=False,
        ) as response:
            return Answer(response.status, response.headers, await response.read())

    async def get(self, target: str, **options: Any) -> Answer:
        return await self.call("GET", target, **options)

    async def post(self, target: str, **options: Any) -> Answer:
        return await self.call("POST", target, **options)

    async def delete(self, target: str, **options: Any) -> Answer:
        return await self.call("DELETE", target, **options)

    def url(self, target: str) -> URL:
        return URL(self.emulator.url + target, encoded=True)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        """Open a bare connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.emulator.port)
        try:
            yield Connection(reader, writer)
        finally:
            writer.transport.abort()

    async def publish(self, url: str = HOOK, **options: Any) -> str:
        """Publish a message, which must be accepted, and return its id."""
        answer = await self.post(f"/v2/publish/{url}", **options)
        assert answer.status == 200, answer.body
        message_id = answer.json["messageId"]
        assert isinstance(message_id, str)
        return message_id

    async def advance(self, **order: int | str) -> int:
        """Turn the clock, wait until all has settled, and return what it shows."""
        body = json.dumps(order).encode()
        answer = await self.post("/_qemu/clock/advance", user=None, body=body)
        assert answer.status == 200, answer.body
        now_ms = answer.json["now"]
        assert isinstance(now_ms, int)
        return now_ms

    async def settle(self) -> None:
        """Wait until all that is due has settled, without turning the clock."""
        await self.advance(by="0s")

    async def events(self, query: str = "", *, user: int = 0) -> list[dict[str, Any]]:
        """Return the first page of the log, newest first."""
        answer = await self.get(f"/v2/events{query}", user=user)
        assert answer.status == 200, answer.body
        events = answer.json["events"]
        assert isinstance(events, list)
        return events

    async def states(self, message_id: str) -> list[str]:
        """Return the states that a message has been through, oldest first."""
        events = await self.events(f"?messageId={message_id}&order=earliestFirst")
        return [event["state"] for event in events]

    async def dlq(self, query: str = "", *, user: int = 0) -> list[dict[str, Any]]:
        """Return the first page of the DLQ, oldest first."""
        answer = await self.get(f"/v2/dlq{query}", user=user)
        assert answer.status == 200, answer.body
        messages = answer.json["messages"]
        assert isinstance(messages, list)
        return messages

    async def fail(self, url: str = HOOK, **options: Any) -> str:
        """Publish a message that fails for good, and return its DLQ entry's id.

        The script must let it: ``NOT_RETRYABLE`` does.
        """
        known = {entry["dlqId"] for entry in await self.dlq()}
        await self.publish(url, **options)
        await self.settle()
        (new,) = {entry["dlqId"] for entry in await self.dlq()} - known
        assert isinstance(new, str)
        return new

    async def is_untouched(self) -> bool:
        """Whether nothing was published: no message, no log entry, no call."""
        await self.settle()
        health = (await self.get("/_qemu/health", user=None)).json
        is_calm = health["pending"] == 0 and health["inFlight"] == 0
        return is_calm and not self.transport.requests and await self.events() == []


@asynccontextmanager
async def serve(*script: Script | Hang, **settings: Any) -> AsyncIterator[Api]:
    """Run an emulator whose clock stands at T0, and whose destinations answer 200."""
    transport = ScriptedTransport(script or (Responded(200),))
    chosen = {"clock": "virtual", "start_time_ms": T0} | settings
    async with (
        Emulator(Settings(port=0, **chosen), transport=transport) as emulator,
        aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=LONGEST_ANSWER_S),
            # A test says what is sent.
            skip_auto_headers=(
                *("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
            ),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        ) as session,
    ):
        yield Api(emulator, transport, session)


def authorization(user: int | None) -> list[tuple[str, str]]:
    """The header that carries a dev user's token; none for nobody."""
    if user is None:
        return []
    return [("Authorization", f"Bearer {DEV_USERS[user].token}")]


def head(method: str, target: str, *lines: str, user: int | None = 0) -> bytes:
    """The head of a raw request, with ``Host`` and token."""
    named = [f"{name}: {value}" for name, value in authorization(user)]
    request = [f"{method} {target} HTTP/1.1", "Host: localhost", *named, *lines]
    return ("\r\n".join(request) + "\r\n\r\n").encode("utf-8", "surrogateescape")


def fill(path: str) -> str:
    """Put something into the variable places of a path of the route table."""
    return re.sub("{[a-z_]+}", "x", path.replace("{destination}", HOOK))


def _has_null(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_null(item) for item in value.values())
    if isinstance(value, list):
        return any(_has_null(item) for item in value)
    return value is None


@pytest.mark.parametrize("null", [b"null", b'{"a":[{"b":null}]}', b"[null]"])
def test_an_answer_with_a_null_in_it_fails_the_test_that_reads_it(null):
    """BASE-12: every answer that these tests read is searched."""
    headers = CIMultiDictProxy(CIMultiDict({"Content-Type": "application/json"}))

    with pytest.raises(AssertionError):
        _ = Answer(200, headers, null).json


async def test_nothing_is_sent_that_a_test_did_not_ask_for():
    async with serve() as api:
        await api.publish(
            "http://a/%2F//..?x=%7e", headers=[("Upstash-Header-Forward", "true")]
        )
        await api.settle()
        (request,) = api.transport.requests

    sent = {name for name, _ in request.headers if not name.startswith("Upstash-")}
    assert sent == {"User-Agent", "Accept-Encoding"}  # the delivery's own
    assert request.url == "http://a/%2F//..?x=%7e"
