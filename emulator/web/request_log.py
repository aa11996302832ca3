"""A line for each request: what was asked, what was answered, how long it took.

For the eyes of whoever runs the emulator: tokens and passwords are left out, and what
isn't a visible ASCII character is escaped.
"""

from __future__ import annotations

import logging
import re
from urllib.parse import unquote_plus

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from emulator.web.incoming import raw_target

__all__ = [
    "REFUSED_LOGGER",
    "REQUEST_LOGGER",
    "RequestLog",
    "escaped",
    "request_line",
    "shown_target",
]

REQUEST_LOGGER = "emulator.web.access"
"""The logger's name. Whoever wants the lines enables its level INFO."""

REFUSED_LOGGER = "emulator.web.refused"
"""Where each refused call is a warning, whose record has the ``status``."""

_TARGET_CHARACTERS = 60

_USER_INFORMATION = re.compile(r"(https?:/+)[^/?#]*@", re.IGNORECASE)


class RequestLog(AbstractAccessLogger):
    """Logs requests that have been answered."""

    def log(
        self, request: web.BaseRequest, response: web.StreamResponse, time: float
    ) -> None:
        """Log a request; ``time`` is how many seconds it took."""
        line = request_line(
            request.method, raw_target(request), response.status, round(time * 1000)
        )
        self.logger.log(logging.INFO, "%s", line)


def request_line(method: str, target: str, status: int, duration_ms: int) -> str:
    """Write ``POST /v2/publish/https://a.example 200 3 ms``."""
    return f"{escaped(method[:20])} {shown_target(target)} {status} {duration_ms} ms"


def shown_target(target: str) -> str:
    """Write a raw target as it may be logged: without secrets, and never long."""
    shown = escaped(_USER_INFORMATION.sub(r"\1", _without_token(target)))
    if len(shown) > _TARGET_CHARACTERS:
        shown = shown[: _TARGET_CHARACTERS - 1] + "…"
    return shown


def _without_token(target: str) -> str:
    """Mask the values of ``qstash_token``, however its name is written (AUTH-2)."""
    path, mark, query = target.partition("?")
    parts = query.split("&")
    for index, part in enumerate(parts):
        name, equals, _ = part.partition("=")
        if equals and unquote_plus(name).lower() == "qstash_token":
            parts[index] = f"{name}=***"
    return path + mark + "&".join(parts)


def escaped(text: str) -> str:
    """Write a stranger's text so that a terminal and a log take it for text."""
    if text.isascii() and text.isprintable():
        return text
    return text.encode("unicode_escape").decode("ascii")
