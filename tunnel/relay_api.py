"""The relay's own API, on its own host: health, metrics, and the tunnels there are.

Served by aiohttp on connections that visitors have opened; tunnels' hosts never come
here. Health is for everybody; the rest wants a token with the claim ``admin``, unless
the relay asks for no tokens at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tunnel.errors import RelayRefused
from tunnel.http import RequestHead
from tunnel.wire import CLOSE_REFUSED, ResetCode

if TYPE_CHECKING:
    from tunnel.relay import Relay

__all__ = ["Metrics", "RelayApi"]

_MAX_BODY_BYTES = 4096


class RelayApi:
    """Answers what is under ``/_qemu/``."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self.app = app = web.Application(client_max_size=_MAX_BODY_BYTES)
        app.router.add_get("/_qemu/health", self._health)
        app.router.add_get("/_qemu/metrics", self._metrics)
        app.router.add_get("/_qemu/tunnels", self._tunnels)
        app.router.add_delete("/_qemu/tunnels/{name}", self._close_tunnel)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)

    async def start(self) -> None:
        """Be ready for connections."""
        await self._runner.setup()

    async def stop(self) -> None:
        """Close the connections that were taken over."""
        await self._runner.cleanup()

    def take_over(
        self,
        transport: asyncio.Transport,
        head: RequestHead,
        rest: bytes,
        peer: str,
        *,
        uncount: Callable[[], None],
    ) -> None:
        """Serve a connection from now on, beginning with what was read of it."""
        server = self._runner.server
        assert server is not None
        protocol = _Counted(server(), uncount)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(head.raw + rest)

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response(
            {"status": "ok", "version": version("qstash-qemu"), "role": "relay"}
        )

    async def _metrics(self, request: web.Request) -> web.Response:
        if (refusal := await self._refusal(request)) is not None:
            return refusal
        try:
            from prometheus_client import CollectorRegistry, generate_latest
        except ImportError:
            return web.json_response(
                {
                    "error": "metrics need the extra: pip install 'qstash-qemu[relay]'",
                },
                status=501,
            )
        registry = CollectorRegistry()
        registry.register(Metrics(self._relay))
        return web.Response(
            body=generate_latest(registry),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )

    async def _tunnels(self, request: web.Request) -> web.Response:
        if (refusal := await self._refusal(request)) is not None:
            return refusal
        now_s = self._relay.now_s()
        return web.json_response(
            [
                {
                    "name": session.name,
                    "url": session.url,
                    "peer": session.peer,
                    "owner": session.owner,
                    "epoch": session.epoch,
                    "isConnected": session.socket is not None,
                    "awayS": 0.0
                    if session.socket is not None
                    else round(now_s - session.gone_s, 3),
                    "underWay": session.link.open_streams,
                    "roundTripMs": round(session.link.round_trip_s * 1000, 3),
                }
                for session in self._relay.leases
            ]
        )

    async def _close_tunnel(self, request: web.Request) -> web.Response:
        if (refusal := await self._refusal(request)) is not None:
            return refusal
        name = request.match_info["name"]
        session = self._relay.leases.get(name)
        if session is None:
            return web.json_response(
                {"error": f"there is no tunnel {name!r} here"}, status=404
            )
        if session.socket is not None:
            session.socket.close(CLOSE_REFUSED, "the relay's owner closed the tunnel")
        self._relay.leases.drop(session, self._relay.now_s())
        session.link.end(ResetCode.RELAY, "the relay's owner closed the tunnel")
        return web.Response(status=204)

    async def _refusal(self, request: web.Request) -> web.Response | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        try:
            grant = await self._relay.grant(
                token.strip() if scheme.lower() == "bearer" else None
            )
        except RelayRefused as error:
            return web.json_response(
                {"error": error.reason},
                status=401,
                headers={"WWW-Authenticate": "Bearer"},
            )
        if not grant.is_admin:
            return web.json_response(
                {"error": "the token isn't an admin's: it lacks the claim admin"},
                status=403,
            )
        return None


class _Counted(asyncio.Protocol):
    """A connection to the API, which counts as a visitor's until it is closed."""

    def __init__(self, inner: asyncio.Protocol, uncount: Callable[[], None]) -> None:
        self._inner = inner
        self._uncount = uncount

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._inner.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._uncount()
        self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()


class Metrics:
    """What Prometheus collects: read when it asks."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def collect(self) -> Iterator[Any]:
        """Yield the metrics as they are now."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        counters, leases = self._relay.counters, self._relay.leases
        sessions = tuple(leases)
        for name, text, value in (
            (
                "tunnels",
                "Tunnels with a link.",
                sum(session.socket is not None for session in sessions),
            ),
            ("sessions", "Tunnels, those that are away included.", len(sessions)),
            ("held", "Requests that wait for their tunnel.", leases.held),
            (
                "under_way",
                "Requests in tunnels.",
                sum(session.link.open_streams for session in sessions),
            ),
            ("visitors", "Connections of visitors.", self._relay.visitors),
        ):
            yield GaugeMetricFamily(f"qemu_relay_{name}", text, value=value)
        for name, text, value in (
            ("requests", "Requests that went into a tunnel.", counters.requests),
            ("links", "Sessions begun.", counters.links),
            ("resumes", "Sessions that went on with a new link.", counters.resumes),
        ):
            yield CounterMetricFamily(f"qemu_relay_{name}", text, value=value)
        answers = CounterMetricFamily(
            "qemu_relay_answers", "Answers of local servers.", labels=["status"]
        )
        for hundreds, count in sorted(counters.answers.items()):
            answers.add_metric([f"{hundreds}xx"], count)
        yield answers
        failures = CounterMetricFamily(
            "qemu_relay_failures", "Answers the relay made itself.", labels=["end"]
        )
        for end, count in sorted(counters.failures.items()):
            failures.add_metric([end], count)
        yield failures
