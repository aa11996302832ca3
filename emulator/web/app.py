"""The web server: every request comes in here, and leaves with an answer.

One function does what holds for all: it finds out who calls before anything else
(AUTH-7), looks the path up, turns a caller's mistakes into responses, and adds the
headers that every answer has.

It stands on aiohttp's low-level server. An ``Application`` would look the target up
in a router of its own first, which takes a tenth of a publish's time and knows none
of QStash's rules for paths; here it only carries what handlers share.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Any

from aiohttp import web

from emulator.core import wire
from emulator.engine.tenants import Tenants
from emulator.errors import NotSupported, RequestError
from emulator.settings import Settings
from emulator.web import guard, local, responses
from emulator.web.auth import authenticate
from emulator.web.call import (
    IGNORED_HEADERS,
    RATE_LIMIT,
    SETTINGS,
    STARTED_AT_MS,
    TENANTS,
    Call,
)
from emulator.web.ignored import IgnoredHeaders
from emulator.web.incoming import raw_target
from emulator.web.own_headers import add_headers
from emulator.web.rate_limit import RateLimitSwitch
from emulator.web.request_log import REFUSED_LOGGER, escaped, shown_target
from emulator.web.router import Handler, LocalHandler, Router
from emulator.web.routes import LOCAL_ROUTES, ROUTES

__all__ = ["build_server"]

logger = logging.getLogger(__name__)
_refused = logging.getLogger(REFUSED_LOGGER)

_DOUBLED = ("/v2/v2/", "/v2/publish/v2/", "/v2/enqueue/v2/", "/v2/schedules/v2/")
"""What a base URL with a path makes of the SDKs' targets."""

_ROUTER: Router[Handler | str] = Router(ROUTES)
_LOCAL_ROUTER: Router[LocalHandler] = Router(LOCAL_ROUTES)


def build_server(
    tenants: Tenants, settings: Settings, *, started_at_ms: int, **connection: Any
) -> web.Server:
    """Make the server of an emulator's API, in a running event loop.

    ``connection`` is for aiohttp's handler of each connection: its logs, its limits.
    """
    app = web.Application()
    app[TENANTS] = tenants
    app[SETTINGS] = settings
    app[STARTED_AT_MS] = started_at_ms
    app[RATE_LIMIT] = RateLimitSwitch()
    app[IGNORED_HEADERS] = IgnoredHeaders()
    return web.Server(_serve, request_factory=partial(_Request, app), **connection)


class _Request(web.Request):
    """A request that knows what handlers share, without having been routed."""

    ATTRS = web.Request.ATTRS | {"_app"}

    def __init__(
        self,
        app: web.Application,
        message: Any,
        payload: Any,
        protocol: Any,
        writer: Any,
        task: Any,
    ) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(message, payload, protocol, writer, task, loop)
        self._app = app

    @property
    def app(self) -> web.Application:
        return self._app


async def _serve(request: web.BaseRequest) -> web.StreamResponse:
    assert isinstance(request, _Request)  # as the factory makes them
    if "Expect" in request.headers:
        await _expect(request)
    response = await _answer(request)
    if not response.prepared:
        add_headers(request, response)
    return response


async def _expect(request: web.Request) -> None:
    """Tell who asks to go on; what else is expected is passed over."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # Or aiohttp takes the answer for begun.
        request.writer.output_size = 0
        await request.writer.drain()


async def _answer(request: web.Request) -> web.StreamResponse:
    target = raw_target(request)
    try:
        settings = request.app[SETTINGS]
        guard.check(request, settings)
        if request.method == "OPTIONS":
            return guard.preflight(request, settings)
        if target.lower().startswith("/_qemu/"):
            response = await _answer_local(request, target)
        elif target == "/":
            response = local.welcome()
        else:
            response = await _answer_call(request, target)
        journal = request.app[TENANTS].journal
        if not journal.is_written:
            # Nobody may hear of what a crash could undo.
            await journal.flushed()
        return response
    except RequestError as error:
        _log_refusal(request, target, error)
        return responses.error(error)
    except ConnectionError:
        return web.Response(status=400)  # the caller has left: nobody reads it
    except Exception:
        # A mistake of ours: the caller hears of it, and the next request is served.
        logger.exception("%s %s broke", request.method, shown_target(target))
        return responses.json_response(wire.error("internal error"), 500)


def _log_refusal(request: web.Request, target: str, error: RequestError) -> None:
    """Tell whoever watches the server what its caller may have overlooked."""
    if not _refused.isEnabledFor(logging.WARNING):
        return
    hint = ""
    if target.lower().startswith(_DOUBLED):
        hint = " (QSTASH_URL must have no path)"  # ENV-5
    _refused.warning(
        "%s %s %d %s%s",
        escaped(request.method),
        shown_target(target),
        error.status,
        escaped(str(error)),
        hint,
        extra={"status": error.status},
    )


async def _answer_call(request: web.Request, target: str) -> web.StreamResponse:
    engine, token_is_header = authenticate(request, target, request.app[TENANTS])
    request.app[RATE_LIMIT].check(target, engine.now_ms)
    match = _ROUTER.match(request.method, target)
    if match is None:
        return _unknown_path(request, target)
    if match.handler is None:
        return responses.method_not_allowed(match.allowed)
    if isinstance(match.handler, str):
        raise NotSupported(match.handler)
    call = Call(request, engine, target, match.names, token_is_header)
    return await match.handler(call)


async def _answer_local(request: web.Request, target: str) -> web.StreamResponse:
    match = _LOCAL_ROUTER.match(request.method, target)
    if match is None:
        return _unknown_path(request, target)
    if match.handler is None:
        return responses.method_not_allowed(match.allowed)
    return await match.handler(request)


def _unknown_path(request: web.Request, target: str) -> web.Response:
    path = target.partition("?")[0]
    return responses.json_response(
        wire.error(f"no such endpoint: {request.method} {path}"), 404
    )
