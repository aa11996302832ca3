"""Scripted destinations on loopback: they answer as told, and record what they got.

One server for all endpoints of an emulator, in the emulator's own loop. A delay runs
on the emulator's clock; a hang ends when the delivery does. On a virtual clock neither
costs real time: the clock is told that the destination sleeps.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web

from emulator.core.explain_text import Explanation
from emulator.engine.clock import VirtualClock
from emulator.engine.ports import Clock
from emulator.testing.answers import Answer
from emulator.testing.requests import ReceivedRequest, headers_of

__all__ = ["Endpoint", "EndpointServer", "Explain"]

Explain = Callable[[str, bytes, str], Callable[[], Explanation]]
"""Signature, body and URL of a request, to what explains it when asked."""


class Endpoint:
    """A destination: give ``url`` to whoever publishes; read ``requests`` after."""

    def __init__(
        self,
        url: str,
        answers: Sequence[Answer],
        *,
        settle: Callable[[], None] = lambda: None,
    ) -> None:
        self.url = url
        self._answers = list(answers)
        self._requests: list[ReceivedRequest] = []
        self._settle = settle

    @property
    def requests(self) -> list[ReceivedRequest]:
        """The requests so far, oldest first, what is due now included."""
        self._settle()
        return list(self._requests)

    @property
    def last(self) -> ReceivedRequest:
        """The last request. Raises ``AssertionError`` if there is none."""
        requests = self.requests
        assert requests, f"{self.url} has received nothing"
        return requests[-1]

    def __repr__(self) -> str:
        return f"<Endpoint {self.url}, {len(self._requests)} requests>"

    def take(self, request: ReceivedRequest) -> Answer:
        """Record a request, and say how to answer it; the last answer repeats."""
        self._requests.append(request)
        if len(self._answers) > 1:
            return self._answers.pop(0)
        return self._answers[0]


class EndpointServer:
    """Serves the endpoints of one emulator. Lives in its loop.

    ``explain`` says of a request's signature what there is to say; ``delivery_of``
    finds the delivery under way of a message; ``settle`` waits until what is due has
    happened.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        explain: Explain,
        delivery_of: Callable[[str], asyncio.Future[Any] | None] = lambda _: None,
        settle: Callable[[], None] = lambda: None,
    ) -> None:
        self._clock = clock
        self._explain = explain
        self._delivery_of = delivery_of
        self._settle = settle
        self._endpoints: dict[str, Endpoint] = {}
        self._runner: web.AppRunner | None = None
        self._origin = ""
        self._refusing: socket.socket | None = None

    async def add(self, path: str, answers: Sequence[Answer]) -> Endpoint:
        """Make the endpoint of a path, or replace it."""
        _check(path)
        await self._start()
        endpoint = Endpoint(self._origin + path, answers, settle=self._settle)
        self._endpoints[path] = endpoint
        return endpoint

    async def add_refusing(self, path: str) -> Endpoint:
        """Make an endpoint where nothing listens: connections to it are refused."""
        _check(path)
        if self._refusing is None:
            # Bound, so that nobody else gets the port, and never listening.
            self._refusing = socket.socket()
            self._refusing.bind(("127.0.0.1", 0))
        port = self._refusing.getsockname()[1]
        return Endpoint(f"http://127.0.0.1:{port}{path}", [], settle=self._settle)

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
        received = ReceivedRequest(
            url=url,
            method=request.method,
            headers=headers_of(request.headers.items()),
            body=body,
            time_ms=self._clock.now_ms(),
            explain=self._explain(
                request.headers.get("Upstash-Signature", ""), body, url
            ),
        )
        answer = endpoint.take(received)
        if answer.hangs or answer.delay_ms:
            await self._sleep(received.message_id, answer)
        if answer.breaks_off:
            return await _break_off(request, answer)
        return web.Response(
            status=answer.status, headers=answer.headers, body=answer.body
        )

    async def _sleep(self, message_id: str, answer: Answer) -> None:
        clock = self._clock
        when_ms = None if answer.hangs else clock.now_ms() + answer.delay_ms
        delivery = self._delivery_of(message_id)
        if isinstance(clock, VirtualClock) and delivery is not None:
            await clock.sleep_before_answer(delivery, when_ms)
        elif when_ms is None:
            await asyncio.Event().wait()
        else:
            await clock.sleep_until(when_ms)


def _check(path: str) -> None:
    if not path.startswith("/") or "?" in path or "#" in path:
        raise ValueError(
            f"an endpoint's path starts with '/' and has no query: {path!r}"
        )


async def _break_off(request: web.Request, answer: Answer) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.content_length = len(answer.body) + 1
    await response.prepare(request)
    await response.write(answer.body or b" ")
    if request.transport is not None:
        request.transport.abort()
    return response
