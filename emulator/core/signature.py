"""Signatures: the JWT by which a destination knows that QStash is calling.

``sign`` decides the claims of contract section 13 and their encoding, for one
delivery: a token is made anew for each, so that a retry hours later carries a
valid one (SIG-7). Which key signs (SIG-16, SIG-17), what the time is and where
the token's id comes from, the caller says.

The token is put together here, by the standard library: its header never
changes and its claims have a fixed order, which leaves one HMAC to compute.
"""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64encode
from functools import lru_cache
from hashlib import sha256

__all__ = ["LIFETIME_S", "sign"]

LIFETIME_S = 300
"""How long a token is valid (SIG-7)."""


_quoted = json.JSONEncoder().encode


def _segment(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


# SIG-2, and the dot behind it.
_HEADER = _segment(b'{"alg":"HS256","typ":"JWT"}') + b"."


def sign(*, body: bytes, url: str, key: str, now_ms: int, jwt_id: str) -> str:
    """Make the value of ``Upstash-Signature`` for one delivery.

    ``url`` is the destination as published, not as connected to (SIG-5); ``key``
    is the whole signing key, its prefix included (SIG-3); ``now_ms`` is the
    receiver's idea of now in Unix milliseconds; ``jwt_id`` comes from ``ids.jwt_id``.
    """
    issued_at_s = now_ms // 1000  # Rounded down: Python refuses the future (SIG-6).
    # Padded, unlike the segments (SIG-10).
    body_hash = urlsafe_b64encode(sha256(body).digest()).decode("ascii")
    # Alphabetical (SIG-12). Only what the caller says can need escaping. A 0 in
    # nbf and an empty aud are what receivers want (SIG-8, SIG-11).
    claims = (
        f'{{"aud":"","body":"{body_hash}","exp":{issued_at_s + LIFETIME_S},'
        f'"iat":{issued_at_s},"iss":"Upstash","jti":{_quoted(jwt_id)},'
        f'"nbf":0,"sub":{_quoted(url)}}}'
    )
    signed = _HEADER + _segment(claims.encode("ascii"))
    code = _prepared(key).copy()
    code.update(signed)
    return (signed + b"." + _segment(code.digest())).decode("ascii")


@lru_cache(maxsize=64)
def _prepared(key: str) -> hmac.HMAC:
    # Setting up the key is a third of the work of an HMAC this short, and a user
    # has one key at a time.
    return hmac.new(key.encode("utf-8"), digestmod=sha256)
