"""Signing keys (contract section 22)."""

from __future__ import annotations

import logging

from aiohttp import web

from emulator.core import wire
from emulator.web.call import SETTINGS, Call
from emulator.web.responses import json_response

__all__ = ["get_keys", "rotate_keys"]

logger = logging.getLogger(__name__)


async def get_keys(call: Call) -> web.Response:
    """``GET /v2/keys`` (KEY-1)."""
    return json_response(wire.keys(call.engine.keys))


async def rotate_keys(call: Call) -> web.Response:
    """``POST /v2/keys/rotate`` (KEY-3)."""
    keys = call.engine.rotate_keys()
    if call.engine.user == call.request.app[SETTINGS].users[0].name:
        # ENV-9
        logger.warning(
            "the signing keys of %s were rotated: QSTASH_DEV=true in the JavaScript "
            "SDK no longer recognises this server until it is reset or restarted",
            call.engine.user,
        )
    return json_response(wire.keys(keys))
