"""A delivery as httpx takes it, and its answer as the engine wants it."""

from __future__ import annotations

from http import HTTPStatus

import httpx

from emulator.core.header_map import build
from emulator.core.model import Outcome, Outgoing, Responded

__all__ = ["foreign_headers", "outcome_of", "request_of", "server_error"]


def foreign_headers(request: Outgoing) -> dict[str, str]:
    """Return the headers that aren't ASCII, as a WSGI environment has them."""
    return {
        "HTTP_" + name.upper().replace("-", "_"): value.encode(
            "utf-8", "surrogateescape"
        ).decode("latin-1")
        for name, value in request.headers
        if not value.isascii()
    }


def request_of(request: Outgoing, *, ascii_only: bool = False) -> httpx.Request:
    """Return a delivery's request; ``foreign_headers`` has what is left out."""
    headers = [
        (name.encode("latin-1"), value.encode("utf-8", "surrogateescape"))
        for name, value in request.headers
        if name.lower() != "host" and (value.isascii() or not ascii_only)
    ]
    if request.host is not None:
        headers.append((b"Host", request.host.encode()))
    return httpx.Request(
        request.method, request.url, headers=headers, content=request.body
    )


def outcome_of(response: httpx.Response, limit_bytes: int) -> Outcome:
    """Return what an answer, read to its end, is for the engine (CBK-23, DLV-7)."""
    items = [
        (name.decode("latin-1"), value.decode("utf-8", "surrogateescape"))
        for name, value in response.headers.raw
    ]
    return Responded(
        status=response.status_code,
        header=build(items),
        body=response.content[:limit_bytes],
        reason=_phrase(response.status_code),
    )


def server_error() -> Outcome:
    """Return what a server answers for an app that raises."""
    phrase = _phrase(500)
    return Responded(
        500, build([("Content-Type", "text/plain")]), phrase.encode(), phrase
    )


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
