"""Who calls: the token of a request, and whose engine that is."""

from __future__ import annotations

from aiohttp import web

from emulator.core.destination import token_in_query
from emulator.engine.engine import Engine
from emulator.engine.tenants import Tenants
from emulator.errors import Unauthorized

__all__ = ["authenticate"]


def authenticate(
    request: web.Request, target: str, tenants: Tenants
) -> tuple[Engine, bool]:
    """Return the caller's engine, and whether ``Authorization`` carried the token.

    The header wins over the query (AUTH-3). One that holds no token of ours is the
    webhook sender's own when there is a token in the query (HDR-34). Raises
    ``Unauthorized`` (AUTH-6).
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        engine = tenants.engine_of(token.strip())
        if engine is not None:
            return engine, True
    token_of_query = token_in_query(target)
    if token_of_query is not None:
        engine = tenants.engine_of(token_of_query)
        if engine is not None:
            return engine, False
    raise Unauthorized
