"""Scripted destinations on loopback: they answer as told, and record what they got.

One server for all endpoints of an emulator, in the emulator's own loop. A delay runs
on the emulator's clock; a hang ends when the delivery does.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from emulator.engine.ports import Clock
from emulator.testing.requests import ReceivedRequest, headers_of

__all__ = ["Answer", "Endpoint", "EndpointServer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How an endpoint answers one request."""

    status: int = 200

    headers: Mapping[str, str] = field(default_factory=dict)

    body: bytes = b""

    delay_ms: int = 0
    """How long it takes, on the emulator's clock."""

    hangs: bool = False
    """It never answers."""

    breaks_off: bool = False
    """The connection is reset in the middle of the answer."""


class Endpoint:
    """A destination: give ``url`` to whoever publishes; read ``requests`` after."""

    def __init__(self, url: str, answers: Sequence[Answer]) -> None:
        self.url = url
        self._answers = list(answers)
        self._requests: list[ReceivedRequest] = []

    @property
    def requests(self) -> list[ReceivedRequest]:
        """The requests so far, oldest first."""
        return list(self._requests)

    def __repr__(self) -> str:
        return f"<Endpoint {self.url}, {len(self._requests)} requests>"

    def take(self, request: ReceivedRequest) -> Answer:
        """Record a request, and say how to answer it; the last answer repeats."""
        self._requests.append(request)
        if len(self._answers) > 1:
            return self._answers.pop(0)
        return self._answers[0]


class EndpointServer:
    """Serves the endpoints of one emulator. Lives in its loop."""

    def __init__(
        self, clock: Clock, verify: Callable[[str, bytes, str], Mapping[str, Any]]
    ) -> None:
        self._clock = clock
        self._verify = verify
        self._endpoints: dict[str, Endpoint] = {}
        self._runner: web.AppRunner | None = None
        self._origin = ""
        self._refusing: socket.socket | None = None

    async def add(self, path: str, answers: Sequence[Answer]) -> Endpoint:
        """Make the endpoint of a path, or replace it."""
        await self._start()
        if not path.startswith("/"):
            raise ValueError(f"an endpoint's path starts with '/': {path!r}")
        endpoint = Endpoint(self._origin + path, answers)
        self._endpoints[path] = endpoint
        return endpoint

    def add_refusing(self, path: str) -> Endpoint:
        """Make an endpoint where nothing listens: connections to it are refused."""
        if self._refusing is None:
            # Bound, so that nobody else gets the port, and never listening.
            self._refusing = socket.socket()
            self._refusing.bind(("127.0.0.1", 0))
        port = self._refusing.getsockname()[1]
        return Endpoint(f"http://127.0.0.1:{port}{path}", [])

    async def close(self) -> None:
        """Stop serving."""
        if self._runner is not None:
            await self._runner.cleanup()
        if self._refusing is not None:
            self._refusing.close()

    async def _start(self) -> None:
        if self._runner is not None:
            return
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=0.1,
            auto_decompress=False,
        )
        await self._runner.setup()
        listener = socket.create_server(("127.0.0.1", 0))
        self._origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
        await web.SockSite(self._runner, listener).start()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.raw_path.partition("?")[0]
        endpoint = self._endpoints.get(path)
        if endpoint is None:
            return web.Response(status=404, text=f"no endpoint at {path}")
        body = await request.read()
        url = self._origin + request.raw_path
        signature = request.headers.get("Upstash-Signature", "")
        answer = endpoint.take(
            ReceivedRequest(
                url=url,
                method=request.method,
                headers=headers_of(request.headers.items()),
                body=body,
                claims=self._verify(signature, body, url),
            )
        )
        if answer.hangs:
            await asyncio.Event().wait()
        if answer.delay_ms:
            await self._clock.sleep_until(self._clock.now_ms() + answer.delay_ms)
        if answer.breaks_off:
            return await _break_off(request, answer)
        return web.Response(
            status=answer.status, headers=answer.headers, body=answer.body
        )


async def _break_off(request: web.Request, answer: Answer) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.content_length = len(answer.body) + 1
    await response.prepare(request)
    await response.write(answer.body or b" ")
    if request.transport is not None:
        request.transport.abort()
    return response
