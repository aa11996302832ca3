"""What a handler is given: the request, the caller's engine, the names in the path.

Also the typed keys of what the application carries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from aiohttp import web

from emulator.engine.engine import Engine
from emulator.engine.tenants import Tenants
from emulator.settings import Settings
from emulator.web.ignored import IgnoredHeaders
from emulator.web.rate_limit import RateLimitSwitch

__all__ = [
    "IGNORED_HEADERS",
    "RATE_LIMIT",
    "SETTINGS",
    "STARTED_AT_MS",
    "TENANTS",
    "Call",
]

SETTINGS = web.AppKey("settings", Settings)
TENANTS = web.AppKey("tenants", Tenants)
STARTED_AT_MS = web.AppKey("started_at_ms", int)
RATE_LIMIT = web.AppKey("rate_limit", RateLimitSwitch)
IGNORED_HEADERS = web.AppKey("ignored_headers", IgnoredHeaders)


class Call(NamedTuple):
    """An authenticated call of QStash's API."""

    request: web.Request

    engine: Engine
    """The caller's."""

    target: str
    """The raw request target: path and query as they arrived."""

    names: Mapping[str, str]
    """What stands in the path's variable places, decoded; a destination is raw."""

    token_is_header: bool
    """Whether ``Authorization`` carried the token, or belongs to somebody else."""
