"""Against web pages: a page that a developer happens to visit can reach loopback too.

The tokens of the dev users are published, so they keep no page out. Two checks do:

* *Host*: a page that lets its own name point here (DNS rebinding) names itself in
  ``Host``. Names that a stranger can't own are fine: addresses, names without a dot,
  the reserved endings, and what the settings allow.
* *Origin*: a page elsewhere may neither change anything (CSRF) nor read an answer
  (CORS). Pages on this machine and the vendor's console may (BASE-14), and what the
  settings allow.

Programs send no ``Origin`` and pass.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp import web

from emulator.errors import Forbidden
from emulator.settings import Settings

__all__ = ["add_cors_headers", "check", "preflight"]

_OURS = (".localhost", ".local", ".internal", ".test", ".home.arpa")
"""Endings that nobody can register (RFC 6761, 6762, 8375)."""

_ADDRESS = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]*)?")
"""An IPv6 address as ``Host`` has it."""

_READING = ("GET", "HEAD", "OPTIONS")


def check(request: web.Request, settings: Settings) -> None:
    """Raise ``Forbidden`` for a stranger's host name, or a write from its page."""
    host = request.headers.get("Host", "")
    name = _hostname(host)
    if not _is_nobodys(name) and name not in (settings.host, *settings.allowed_hosts):
        raise Forbidden(
            f"host {host!r} is not allowed: use localhost or an IP address, "
            f"or start with --allow-host {name}"
        )
    origin = request.headers.get("Origin")
    if (
        origin is not None
        and request.method not in _READING
        and not _is_allowed(origin, host, settings)
    ):
        raise Forbidden(
            f"a page of {origin!r} may not change anything here, "
            f"unless started with --allow-origin {origin}"
        )


def preflight(request: web.Request, settings: Settings) -> web.Response:
    """Tell a browser whether a page may call; ``add_cors_headers`` names the page."""
    origin = request.headers.get("Origin")
    if origin is None:
        return web.Response(status=204)  # a program that asks, not a browser
    if not _is_allowed(origin, request.headers.get("Host", ""), settings):
        raise Forbidden(
            f"a page of {origin!r} may not call this server, "
            f"unless started with --allow-origin {origin}"
        )
    headers = {
        "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE",
        "Access-Control-Max-Age": "600",
        # The vendor's console is a public page that asks for a private address.
        "Access-Control-Allow-Private-Network": "true",
    }
    asked_for = request.headers.get("Access-Control-Request-Headers")
    if asked_for is not None:
        headers["Access-Control-Allow-Headers"] = asked_for
    return web.Response(status=204, headers=headers)


def add_cors_headers(
    request: web.BaseRequest, response: web.StreamResponse, settings: Settings
) -> None:
    """Let a page that may call read the answer."""
    origin = request.headers.get("Origin")
    if origin is None:
        return
    response.headers["Vary"] = "Origin"
    if _is_allowed(origin, request.headers.get("Host", ""), settings):
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = "*"


@lru_cache(maxsize=256)
def _hostname(host: str) -> str:
    address = _ADDRESS.fullmatch(host)
    if address is not None:
        return address[1]
    return host.partition(":")[0].lower().removesuffix(".")


@lru_cache(maxsize=256)
def _is_nobodys(name: str) -> bool:
    """Whether no stranger can make this name point here."""
    return "." not in name or name.endswith(_OURS) or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _is_allowed(origin: str, host: str, settings: Settings) -> bool:
    """Whether pages of an origin may call: this machine's, our own, and the named."""
    if origin in settings.allowed_origins:
        return True
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    if parts.scheme not in ("http", "https"):
        return False  # "null", and what browsers' extensions send
    name = _hostname(parts.netloc)
    if name == "localhost" or name.endswith(".localhost"):
        return True
    return _is_loopback(name) or (bool(host) and parts.netloc.lower() == host.lower())


def _is_loopback(name: str) -> bool:
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
