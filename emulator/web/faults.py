"""``/_qemu/faults``: what goes wrong with deliveries on purpose."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from emulator.core import wire
from emulator.core.faults import parse_fault
from emulator.web.call import TENANTS
from emulator.web.incoming import read_object
from emulator.web.responses import json_response

__all__ = ["add_fault", "clear_faults", "list_faults"]


async def list_faults(request: web.Request) -> web.Response:
    """``GET /_qemu/faults``: those in force; ``times`` says how often each will be."""
    return json_response(_shown(request))


async def add_fault(request: web.Request) -> web.Response:
    """``POST /_qemu/faults`` with one fault: see ``core/faults.py`` for its keys."""
    request.app[TENANTS].faults.add(parse_fault(await read_object(request)))
    return json_response(_shown(request))


async def clear_faults(request: web.Request) -> web.Response:
    """``DELETE /_qemu/faults``: end all of them, the configured ones too."""
    request.app[TENANTS].faults.clear()
    return json_response(_shown(request))


def _shown(request: web.Request) -> list[dict[str, Any]]:
    return [wire.fault(fault) for fault in request.app[TENANTS].faults.faults]
