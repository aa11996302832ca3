"""Tokens that are wrong on purpose: one fault each, and otherwise as QStash makes them.

For tests of an app's verifier, and for fault scripts. What is wrong with each variant
is what ``explain`` says of it, and nothing else.
"""

from __future__ import annotations

import hmac
import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from emulator.core.model import SigningKeys
from emulator.core.signature import LIFETIME_S, sign

__all__ = ["Variant", "forge", "sign_variant"]


class Variant(StrEnum):
    """What is wrong with a token."""

    VALID = "valid"
    """Nothing."""

    NEXT_KEY = "next-key"
    """It is signed with the next key, as after a rotation. Receivers accept it."""

    WRONG_KEY = "wrong-key"
    """It is signed with a key that nobody has."""

    EXPIRED = "expired"
    """A minute ago."""

    NOT_YET_VALID = "not-yet-valid"
    """For another five minutes."""

    WRONG_BODY = "wrong-body"
    """Another body was signed."""

    WRONG_URL = "wrong-url"
    """Another path was signed."""

    WRONG_ISSUER = "wrong-issuer"
    """It isn't Upstash's."""

    MALFORMED = "malformed"
    """The code is missing, and the dot before it."""


_HEADER: Mapping[str, Any] = MappingProxyType({"alg": "HS256", "typ": "JWT"})

_NOBODYS_KEY = "sig_nobodyHasThisKeyItIsForForgery"

_EXPIRED_SINCE_S = 60
_VALID_IN_S = 300


def sign_variant(
    kind: Variant | str,
    *,
    body: bytes,
    url: str,
    keys: SigningKeys,
    now_ms: int,
    jwt_id: str,
) -> str:
    """Make a token with one fault. Raises ``ValueError`` for an unknown kind."""
    kind = Variant(kind)
    key = keys.current
    changes: dict[str, Any] = {}
    match kind:
        case Variant.NEXT_KEY:
            key = keys.next
        case Variant.WRONG_KEY:
            key = _NOBODYS_KEY
        case Variant.EXPIRED:
            now_ms -= (LIFETIME_S + _EXPIRED_SINCE_S) * 1000
        case Variant.NOT_YET_VALID:
            changes["nbf"] = now_ms // 1000 + _VALID_IN_S
            changes["exp"] = changes["nbf"] + LIFETIME_S
        case Variant.WRONG_BODY:
            body += b"\0forged"
        case Variant.WRONG_URL:
            url = _with_another_path(url)
        case Variant.WRONG_ISSUER:
            changes["iss"] = "Downstash"
    token = sign(body=body, url=url, key=key, now_ms=now_ms, jwt_id=jwt_id)
    if kind is Variant.MALFORMED:
        return token.rpartition(".")[0]
    if not changes:
        return token
    return forge(_claims_of(token) | changes, key=key)


def forge(
    claims: Mapping[str, Any], *, key: str, header: Mapping[str, Any] = _HEADER
) -> str:
    """Sign any claims, under any header, with HMAC-SHA256, whatever the header says."""
    signed = f"{_segment(_json(header))}.{_segment(_json(claims))}"
    code = hmac.digest(key.encode("utf-8"), signed.encode("ascii"), "sha256")
    return f"{signed}.{_segment(code)}"


def _claims_of(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    claims: dict[str, Any] = json.loads(
        urlsafe_b64decode(part + "=" * (-len(part) % 4))
    )
    return claims


def _with_another_path(url: str) -> str:
    path = re.split("[?#]", url, maxsplit=1)[0]
    # A slash at the end stays there: one fault is enough.
    other = f"{path}forged/" if path.endswith("/") else f"{path}/forged"
    return other + url[len(path) :]


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(dict(value), separators=(",", ":")).encode("ascii")


def _segment(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
