"""Who calls: the token of a request, and what it opens."""

from __future__ import annotations

from aiohttp import web

from emulator.core.destination import token_in_query
from emulator.engine.engine import Engine
from emulator.engine.tenants import Access, Tenants
from emulator.errors import Forbidden, Unauthorized

__all__ = ["authenticate"]


def authenticate(
    request: web.Request, target: str, tenants: Tenants
) -> tuple[Engine, bool]:
    """Return the caller's engine, and whether ``Authorization`` carried the token.

    The header wins over the query (AUTH-3). One that holds no token of ours is the
    webhook sender's own when there is a token in the query (HDR-34). Raises
    ``Unauthorized`` (AUTH-6), or ``Forbidden`` for a read-only token that would
    change something (AUTH-9).
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        access = tenants.access(token.strip())
        if access is not None:
            return _permitted(access, request), True
    token_of_query = token_in_query(target)
    if token_of_query is not None:
        access = tenants.access(token_of_query)
        if access is not None:
            return _permitted(access, request), False
    raise Unauthorized


def _permitted(access: Access, request: web.Request) -> Engine:
    if access.is_read_only and request.method not in ("GET", "HEAD"):
        raise Forbidden("unauthorized: token is read-only")
    return access.engine
