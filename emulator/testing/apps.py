"""Apps that are called in process: ASGI in a loop of their own, WSGI in threads.

Each runs apart from the emulator, so that a handler that calls the emulator with a
blocking client waits for an answer that can come. httpx makes the environment of a
call and reads its answer.

An exception of the app is a failed delivery, as a server would make of it: 500, or an
answer broken off. It is kept, together with those that a framework catches and logs.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
import traceback
from collections.abc import MutableMapping
from contextlib import suppress
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from emulator.core.model import Outcome, Outgoing, Unreachable
from emulator.testing.lifespan import Lifespan
from emulator.testing.threads import LoopThread
from emulator.testing.translation import (
    foreign_headers,
    outcome_of,
    request_of,
    server_error,
)

__all__ = ["App", "AppError", "AsgiApp", "ErrorLog", "WsgiApp", "is_asgi"]

_caught: ContextVar[list[BaseException] | None] = ContextVar("_caught", default=None)
"""Where the exceptions of the call under way are collected."""


@dataclass(frozen=True, slots=True)
class AppError:
    """An exception that a mounted app raised during a delivery."""

    method: str

    url: str

    exception: BaseException

    @property
    def traceback(self) -> str:
        """The traceback as text, without the frames that only call the app."""
        return "".join(traceback.format_exception(self.exception))

    def __repr__(self) -> str:
        return f"<AppError {self.method} {self.url}: {self.exception!r}>"


class App(Protocol):
    """An app that can be called; ``errors`` grows with what it raises."""

    async def send(self, request: Outgoing) -> Outcome:
        """Call the app once, from the emulator's loop."""

    def stop(self) -> None:
        """End what was started for it. Not from the emulator's loop."""


class ErrorLog(logging.Handler):
    """Collects exceptions that frameworks log instead of raising."""

    def emit(self, record: logging.LogRecord) -> None:
        caught = _caught.get()
        if caught is None or record.exc_info is None:
            return
        exception = record.exc_info[1]
        if exception is not None and exception not in caught:
            caught.append(exception)


class AsgiApp:
    """An ASGI app in an event loop of its own."""

    def __init__(self, app: Any, errors: list[AppError], *, name: str) -> None:
        self._app = app
        self._errors = errors
        self._thread = LoopThread(name)
        self._lifespan = Lifespan(app)
        try:
            self._thread.run(self._lifespan.start())
        except BaseException:
            self._thread.stop()
            raise

    async def send(self, request: Outgoing) -> Outcome:
        call = asyncio.run_coroutine_threadsafe(self._call(request), self._thread.loop)
        return await asyncio.wrap_future(call)

    def stop(self) -> None:
        try:
            self._thread.run(self._lifespan.stop())
        finally:
            self._thread.stop()

    async def _call(self, request: Outgoing) -> Outcome:
        watch = _Watch(self._app, self._lifespan.state)
        _caught.set(watch.caught)
        transport = httpx.ASGITransport(watch, raise_app_exceptions=False)
        response = await transport.handle_async_request(request_of(request))
        await response.aread()
        _note(request, watch.caught, self._errors)
        if watch.raised and watch.has_started and not watch.has_ended:
            return Unreachable(f"the app broke off its answer: {watch.caught[0]!r}")
        if watch.raised and not watch.has_started:
            return server_error()
        return outcome_of(response, request.max_response_bytes)


class _Watch:
    """An ASGI app around another: sees how far an answer came, and what was raised."""

    def __init__(self, app: Any, state: dict[str, Any]) -> None:
        self._app = app
        self._state = state
        self.caught: list[BaseException] = []
        self.raised = False
        self.has_started = False
        self.has_ended = False

    async def __call__(
        self, scope: MutableMapping[str, Any], receive: Any, send: Any
    ) -> None:
        if self._state:
            scope["state"] = dict(self._state)

        async def watched_send(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                self.has_started = True
            elif message["type"] == "http.response.body":
                self.has_ended = not message.get("more_body", False)
            await send(message)

        try:
            await self._app(scope, receive, watched_send)
            if not self.has_ended:
                raise RuntimeError("the app returned without a complete answer")
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # of the app, whatever it is: a failed delivery
            self.raised = True
            if error not in self.caught:
                self.caught.append(error)
            # httpx takes an Exception for the end of the answer.
            raise _AppRaised from None


class _AppRaised(Exception):
    """The app raised, and it has been noted."""


class WsgiApp:
    """A WSGI app; each call has a thread of its own."""

    def __init__(self, app: Any, errors: list[AppError], *, name: str) -> None:
        self._app = app
        self._errors = errors
        self._name = name

    async def send(self, request: Outgoing) -> Outcome:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Outcome] = loop.create_future()

        def deliver(outcome: Outcome) -> None:
            if not answer.done():
                answer.set_result(outcome)

        def call() -> None:
            outcome = self._call(request)
            with suppress(RuntimeError):  # the emulator has gone meanwhile
                loop.call_soon_threadsafe(deliver, outcome)

        threading.Thread(
            # A daemon: a handler that hangs must not keep the process.
            target=copy_context().run,
            args=(call,),
            name=self._name,
            daemon=True,
        ).start()
        return await answer

    def stop(self) -> None:
        """Nothing was started."""

    def _call(self, request: Outgoing) -> Outcome:
        caught: list[BaseException] = []
        _caught.set(caught)

        def app(environ: dict[str, Any], start_response: Any) -> Any:
            # WSGI's texts are bytes in Latin-1 (PEP 3333), which httpx leaves to us.
            environ["PATH_INFO"] = environ["PATH_INFO"].encode().decode("latin-1")
            environ.update(foreign_headers(request))
            return self._app(environ, start_response)

        try:
            transport = httpx.WSGITransport(app)
            response = transport.handle_request(request_of(request, ascii_only=True))
            try:
                response.read()
            finally:
                response.close()
            return outcome_of(response, request.max_response_bytes)
        except BaseException as error:  # of the app, whatever it is: a failed delivery
            if error not in caught:
                caught.append(error)
            return server_error()
        finally:
            _note(request, caught, self._errors)


def is_asgi(app: Any) -> bool:
    """Tell an ASGI app from a WSGI app by how it wants to be called.

    Raises ``TypeError`` where that doesn't show.
    """
    if inspect.isclass(app) or not callable(app):
        raise TypeError(f"{app!r} is no app: give an object that can be called")
    if inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(app.__call__):
        return True
    positional = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    )
    with suppress(TypeError, ValueError):  # of what isn't written in Python
        parameters = inspect.signature(app).parameters.values()
        required = [
            parameter
            for parameter in parameters
            if parameter.kind in positional and parameter.default is parameter.empty
        ]
        if len(required) in (2, 3):
            return len(required) == 3
    raise TypeError(
        f"can't tell whether {app!r} is an ASGI or a WSGI app: say mount(…, asgi=app) "
        "or mount(…, wsgi=app)"
    )


def _note(
    request: Outgoing, caught: list[BaseException], errors: list[AppError]
) -> None:
    errors += [AppError(request.method, request.url, one) for one in caught]
