"""Signatures, explained: ``POST /_qemu/verify``.

What is wrong with a signature is decided in ``core/explain.py``; here it learns the
time, by the clock that dates signatures, and the keys of every user.
"""

from __future__ import annotations

from base64 import b64decode
from typing import Any, NamedTuple

from aiohttp import web

from emulator.engine.clock import real_now_ms
from emulator.errors import InvalidBody
from emulator.web.call import SETTINGS, TENANTS
from emulator.web.incoming import read_object
from emulator.web.responses import json_response

__all__ = ["verify"]

_MAX_JSON_BYTES = 32 * 1_048_576
"""A message has up to 10 MB, which JSON can treble."""

_FORM = (
    'must be {"signature": "…", "body": "…"}, with "bodyBase64" instead of "body" '
    'for bytes that aren\'t text, and "url" to check that as well'
)


class _Order(NamedTuple):
    """What is to be verified."""

    signature: str
    body: bytes
    url: str | None


async def verify(request: web.Request) -> web.Response:
    """``POST /_qemu/verify``: verify with the keys that every user has now.

    Where several could be meant, the user is the one whose key signed; a key from
    before a rotation is known as well.
    """
    # Of no use until somebody asks, and 3 ms of the time until the first answer.
    from emulator.core import explain as rules
    from emulator.core.explain_text import explanation_json

    order = _parse_order(await read_object(request, _MAX_JSON_BYTES))
    engines = request.app[TENANTS].engines
    users = {engine.user: engine.keys for engine in engines}
    first = {user.name: user.keys for user in request.app[SETTINGS].users}
    name = rules.signer(order.signature, users) or rules.signer(order.signature, first)
    keys = users[name or engines[0].user]
    former = first[name or engines[0].user]
    explanation = rules.explain(
        signature=order.signature,
        body=order.body,
        url=order.url,
        current_signing_key=keys.current,
        next_signing_key=keys.next,
        now_ms=_now_ms(request),
        known_users=users,
        former_keys=(former.current, former.next),
    )
    user = {} if name is None else {"user": name}
    return json_response(explanation_json(explanation) | user)


def _now_ms(request: web.Request) -> int:
    if request.app[SETTINGS].signature_clock == "virtual":
        return request.app[TENANTS].clock.now_ms()
    return real_now_ms()


def _parse_order(order: dict[str, Any]) -> _Order:
    match order:
        case {"signature": str(signature), "body": str(text), **rest}:
            data = text.encode("utf-8", "surrogatepass")
        case {"signature": str(signature), "bodyBase64": str(text), **rest}:
            try:
                data = b64decode(text, validate=True)
            except ValueError:
                raise InvalidBody("bodyBase64 isn't base64") from None
        case _:
            raise InvalidBody(_FORM)
    url = rest.pop("url", None)
    if rest or not isinstance(url, str | None):
        raise InvalidBody(_FORM)
    return _Order(signature, data, url)
