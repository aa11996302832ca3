"""The headers of ours that every answer has, whatever it answers."""

from __future__ import annotations

from aiohttp import web

from emulator import __version__
from emulator.web import guard
from emulator.web.call import SETTINGS

__all__ = ["add_headers"]


def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Name this program, and let a page that may call read the answer.

    A handler that writes its answer bit by bit calls it before the first bit; all
    others need not.
    """
    response.headers["Qemu-Version"] = __version__
    guard.add_cors_headers(request, response, request.app[SETTINGS])
