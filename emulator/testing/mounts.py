"""The way to destinations in a test: to mounted apps in process, else over HTTP."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from emulator.core.model import Outcome, Outgoing
from emulator.engine.ports import Transport

if TYPE_CHECKING:
    from emulator.testing.apps import App, AppError

__all__ = ["Mounts"]

_DEFAULT_PORTS = {"http": 80, "https": 443}


class Mounts(Transport):
    """Delivers to the apps that are mounted, and to all others by ``fallback``."""

    def __init__(self, fallback: Transport) -> None:
        self._fallback = fallback
        self._apps: dict[str, App] = {}
        self._deliveries: dict[str, asyncio.Future[Any]] = {}
        self._error_log: logging.Handler | None = None
        self.errors: list[AppError] = []
        """What the apps raised, oldest first."""

    def mount(self, url: str, app: Any, *, asgi: bool | None = None) -> str:
        """Let an app answer for an origin, and start it; return the origin.

        Not in the emulator's loop. ``asgi`` says which kind it is; ``None``: it shows.
        """
        try:
            from emulator.testing.apps import AsgiApp, ErrorLog, WsgiApp, is_asgi
        except ModuleNotFoundError as error:
            raise ImportError(
                f"mounting an app needs {error.name}: pip install qstash-qemu[test]"
            ) from error

        origin = _origin(url)
        parts = urlsplit(url)
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ValueError(f"an app is mounted at an origin, such as {origin}: {url}")
        if asgi is None:
            asgi = is_asgi(app)
        if self._error_log is None:
            self._error_log = ErrorLog(logging.ERROR)
            logging.getLogger().addHandler(self._error_log)
        name = f"qemu {origin}"
        kind = AsgiApp if asgi else WsgiApp
        started = kind(app, self.errors, name=name)
        former = self._apps.get(origin)
        self._apps[origin] = started
        if former is not None:
            former.stop()
        return url.rstrip("/")

    def is_mounted(self, url: str) -> bool:
        """Whether an app answers for the origin of a URL."""
        return _origin(url) in self._apps

    def delivery_of(self, message_id: str) -> asyncio.Future[Any] | None:
        """Return the delivery of a message that is under way."""
        return self._deliveries.get(message_id)

    async def send(self, request: Outgoing) -> Outcome:
        """Make one call, in process or not."""
        message_id = _message_id(request)
        delivery = asyncio.current_task()
        assert delivery is not None
        self._deliveries[message_id] = delivery
        try:
            app = self._apps.get(_origin(request.url)) if self._apps else None
            return await (app or self._fallback).send(request)
        finally:
            if self._deliveries.get(message_id) is delivery:
                del self._deliveries[message_id]

    async def close(self) -> None:
        """Close the way that isn't ours; the apps are stopped by ``unmount``."""
        await self._fallback.close()

    def unmount(self) -> None:
        """Stop the apps. Not in the emulator's loop: they may be calling it."""
        apps, self._apps = self._apps, {}
        if self._error_log is not None:
            logging.getLogger().removeHandler(self._error_log)
            self._error_log = None
        for app in apps.values():
            app.stop()


def _origin(url: str) -> str:
    """Return scheme, host and port, spelled in one way."""
    parts = urlsplit(url)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ValueError(f"not an http:// or https:// URL: {url}")
    port = parts.port or _DEFAULT_PORTS[parts.scheme]
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    suffix = "" if port == _DEFAULT_PORTS[parts.scheme] else f":{port}"
    return f"{parts.scheme}://{host}{suffix}"


def _message_id(request: Outgoing) -> str:
    return next(
        (value for name, value in request.headers if name == "Upstash-Message-Id"), ""
    )
