"""The inspector's API: the exchanges of a tunnel as JSON, on loopback, and replay.

docs/reference/exchanges.md describes it. It needs no token, so two checks keep web
pages out, which can reach loopback as well as any program: names that a stranger could
point here aren't served (DNS rebinding), and a page of another origin may not change
anything (CSRF). No page may read: there are no CORS headers. Bodies are handed out so
that no browser shows them as a page.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from aiohttp import web

from tunnel.exchange import Exchange, State
from tunnel.exchange_json import parse_body
from tunnel.inspector import Inspector
from tunnel.replay import Replayer, ReplayFailed
from tunnel.replay_request import Edits, ReplayRefused

if TYPE_CHECKING:
    import socket

__all__ = ["Handler", "InspectorApi"]

_MAX_COUNT = 1000

_SHUTDOWN_S = 0.05
"""0 would be for ever, to aiohttp, where a caller says nothing."""

_MAX_REQUEST_BYTES = 32 << 20
"""Room for a body of 16 MiB in base64, and the rest of the edits."""

_STATES = ("open", "done", "failed")

_NUMBER = re.compile("[0-9]{1,15}")

_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]]*))(?::[0-9]*)?")

_EDITS = ("method", "path", "headers", "body", "bodyBase64")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class InspectorApi:
    """Serves an inspector on ``host`` and ``port`` (0: any that is free).

    ``replayer`` sends exchanges to the app again; without one that is refused.
    ``listener`` is a socket that listens already, in place of host and port.
    """

    def __init__(
        self,
        inspector: Inspector,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        replayer: Replayer | None = None,
        listener: socket.socket | None = None,
    ) -> None:
        self._inspector = inspector
        self._host = host
        self._port = port
        self._replayer = replayer
        self._listener = listener
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Where it is served, once it is."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    async def start(self) -> None:
        """Listen. Raises ``OSError`` where that can't be."""
        app = web.Application(
            middlewares=[_guarded], client_max_size=_MAX_REQUEST_BYTES
        )
        app.add_routes(
            [
                web.get("/_qemu/exchanges", self._list),
                web.get("/_qemu/exchanges/{id}", self._show),
                web.get("/_qemu/exchanges/{id}/body", self._body),
                web.post("/_qemu/exchanges/{id}/replay", self._replay),
            ]
        )
        # A replay ends with whoever waits for it: an app may never answer.
        self._runner = web.AppRunner(
            app,
            access_log=None,
            shutdown_timeout=_SHUTDOWN_S,
            handler_cancellation=True,
        )
        await self._runner.setup()
        site: web.BaseSite
        if self._listener is None:
            site = web.TCPSite(self._runner, self._host, self._port)
        else:
            site = web.SockSite(self._runner, self._listener)
        try:
            await site.start()
        except OSError:
            await self.stop()
            raise
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Listen no more. Replays under way are given up."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    async def _list(self, request: web.Request) -> web.Response:
        query = request.query
        state = query.get("state")
        if state is not None and state not in _STATES:
            raise _Refused(400, f"state: use one of {', '.join(_STATES)}")
        exchanges = self._inspector.list(
            state=cast(State | None, state),
            count=min(_number(query.get("count", "100"), "count"), _MAX_COUNT),
            after=_number(query["after"], "after") if "after" in query else None,
        )
        shown = []
        for exchange in exchanges:
            shown.append(exchange.to_json())
            # What is wrong with a signature takes a while to find: traffic goes first.
            await asyncio.sleep(0)
        return web.json_response({"exchanges": shown})

    async def _show(self, request: web.Request) -> web.Response:
        return web.json_response(self._found(request).to_json(with_bodies=True))

    async def _body(self, request: web.Request) -> web.Response:
        exchange = self._found(request)
        match request.query.get("of", "request"):
            case "request":
                body, is_whole = exchange.request_body, exchange.is_request_whole
            case "answer":
                body, is_whole = exchange.answer_body, exchange.is_answer_whole
            case _:
                raise _Refused(400, "of: use request or answer")
        if not is_whole:
            raise _Refused(410, "the body wasn't kept whole")
        return web.Response(body=body, content_type="application/octet-stream")

    async def _replay(self, request: web.Request) -> web.Response:
        exchange = self._found(request)
        if self._replayer is None:
            raise _Refused(501, "this inspector has no app to send requests to")
        try:
            edits = _parse_edits(await request.read())
            again = await self._replayer.replay(exchange, edits)
        except (ReplayRefused, ValueError) as error:
            raise _Refused(400, str(error)) from error
        except ReplayFailed as error:
            raise _Refused(502, str(error)) from error
        return web.json_response(again.to_json(with_bodies=True))

    def _found(self, request: web.Request) -> Exchange:
        text = request.match_info["id"]
        exchange = self._inspector.exchange(_number(text, "the id"))
        if exchange is None:
            raise _Refused(404, f"exchange {int(text)} isn't kept, or never was")
        return exchange


class _Refused(Exception):
    """An answer that isn't a good one."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason


@web.middleware
async def _guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    response: web.StreamResponse
    try:
        _check_caller(request)
        response = await handler(request)
    except _Refused as error:
        response = web.json_response({"error": error.reason}, status=error.status)
    except web.HTTPException as error:
        # The router's, and bodies that are too large.
        response = web.json_response({"error": error.reason}, status=error.status)
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response.headers["Cache-Control"] = "no-store"
    return response


def _check_caller(request: web.Request) -> None:
    host = request.headers.get("Host", "")
    if not _is_here(host):
        raise _Refused(403, "this host name isn't served: use 127.0.0.1")
    origin = request.headers.get("Origin")
    if origin is None or request.method in ("GET", "HEAD"):
        return
    try:
        parts = urlsplit(origin)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme != "http" or parts.netloc.lower() != host.lower():
        raise _Refused(403, "a page of another origin may not change anything here")


def _is_here(host: str) -> bool:
    """Whether no stranger can have made a name point here."""
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    name = (match[1] or match[2]).lower().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _number(text: str, name: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise _Refused(400, f"{name}: use a whole number")
    return int(text)


def _parse_edits(data: bytes) -> Edits:
    """Read what shall differ. Raises ``ValueError`` or ``ReplayRefused``."""
    if not data.strip():
        return Edits()
    try:
        written = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError("the edits aren't JSON") from error
    if not isinstance(written, dict):
        raise ValueError("the edits aren't a JSON object")
    unknown = [key for key in written if key not in _EDITS]
    if unknown:
        raise ValueError(f"{unknown[0][:80]!r} is no edit: use {', '.join(_EDITS)}")
    for key in ("method", "path"):
        if not isinstance(written.get(key, ""), str):
            raise ValueError(f"{key}: use a text")
    return Edits(
        method=written.get("method"),
        target=written.get("path"),
        headers=_header_edits(written.get("headers", {})),
        body=parse_body(written),
    )


def _header_edits(written: Any) -> tuple[tuple[str, str | None], ...]:
    if not isinstance(written, dict) or not all(
        value is None or isinstance(value, str) for value in written.values()
    ):
        raise ValueError("headers: use an object of texts; null leaves a header out")
    return tuple(written.items())
