"""Tokens: who may open which tunnels, by a JSON Web Token's claims.

HS256 by the relay's secret, RS256, ES256 and EdDSA by public keys. A token's header
says which is meant; whether that may be is decided by what the relay has: HS256 is
checked with the secret and nothing else, the others with public keys and nothing else,
and any other algorithm is refused, ``none`` first of all.

The clock isn't read: the caller says what time it is. Signatures are PyJWT's, which is
imported when a token is checked or made (28 ms); claims are judged here.

Claims: ``aud`` (``qemu-relay`` must be among them), ``sub``, ``exp``, ``nbf``,
``jti``, and ours: ``names``, ``paths``, ``rate``, ``max_tunnels``, ``admin``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from tunnel.errors import SettingsRefused, TunnelError
from tunnel.grant import Grant, grant_of, instant_of, parse_patterns
from tunnel.keys import ALGORITHMS, PublicKey

__all__ = [
    "AUDIENCE",
    "MAX_TOKEN_BYTES",
    "MIN_SECRET_BYTES",
    "TokenRefused",
    "UnknownKey",
    "Verifier",
    "make_token",
]

AUDIENCE = "qemu-relay"
"""Must be in ``aud``, or every token of the same issuer would open tunnels."""

MAX_TOKEN_BYTES = 8192

MIN_SECRET_BYTES = 16

# RFC 7519, 4.1.5: the issuer's clock may be ahead.
_LEEWAY_S = 60

# PyJWT warns of HMAC keys below 32 bytes. HMAC itself fills a key up with zeros to
# the hash's block (RFC 2104, 2), so these change nothing.
_PADDED_BYTES = 32


class TokenRefused(TunnelError):
    """The token opens nothing here."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class UnknownKey(TokenRefused):
    """It is signed by a key that the verifier hasn't; fresher keys may have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifier:
    """Tells genuine tokens from others, by what the relay has."""

    secret: bytes | None = field(default=None, repr=False)

    keys: tuple[PublicKey, ...] = ()

    revoked: frozenset[str] = frozenset()
    """The ``jti`` of tokens that hold no longer."""

    audience: str = AUDIENCE

    def __post_init__(self) -> None:
        if self.secret is not None:
            _check_secret(self.secret)

    def with_keys(self, keys: tuple[PublicKey, ...]) -> Verifier:
        """Return a verifier that has these keys, too."""
        return replace(self, keys=(*self.keys, *keys))

    def verify(self, token: str, now_s: int) -> Grant:
        """Return what the token allows.

        Raises ``TokenRefused`` with a sentence for the person who uses it, and
        ``UnknownKey`` if only the key is missing.
        """
        claims = self._claims(token)
        audience = claims.get("aud")
        if self.audience not in (
            audience if isinstance(audience, list) else [audience]
        ):
            raise TokenRefused(
                f"the token isn't for this relay, it lacks the audience {self.audience}"
            )
        try:
            not_before_s = instant_of(claims, "nbf")
            grant = grant_of(claims)
        except SettingsRefused as error:
            raise TokenRefused(
                f"the token's claim {error.setting} can't be used: {error.reason}"
            ) from None
        if not_before_s is not None and now_s + _LEEWAY_S < not_before_s:
            raise TokenRefused(
                f"the token isn't valid yet, it will be from {_shown(not_before_s)} on"
            )
        if grant.expires_s is not None and now_s >= grant.expires_s:
            raise TokenRefused(
                f"the token has expired, it was valid until {_shown(grant.expires_s)}"
            )
        if grant.jti in self.revoked:
            raise TokenRefused("the token has been revoked")
        return grant

    def _claims(self, token: str) -> dict[str, Any]:
        """Return the claims of a token whose signature is right."""
        from jwt import PyJWS
        from jwt.exceptions import PyJWTError

        if len(token) > MAX_TOKEN_BYTES:
            raise TokenRefused(f"the token is longer than {MAX_TOKEN_BYTES} bytes")
        try:
            header = PyJWS().get_unverified_header(token)
            algorithm = header.get("alg")
            if algorithm == "HS256":
                payload = self._payload_by_secret(token)
            elif isinstance(algorithm, str) and algorithm in ALGORITHMS:
                payload = self._payload_by_keys(token, algorithm, header.get("kid"))
            else:
                raise TokenRefused(
                    f"the token's algorithm isn't one of HS256, {', '.join(ALGORITHMS)}"
                )
            claims = json.loads(payload)
        except (PyJWTError, ValueError, RecursionError):
            raise TokenRefused("this isn't a token (JSON Web Token)") from None
        if not isinstance(claims, dict):
            raise TokenRefused("the token has no claims")
        return claims

    def _payload_by_secret(self, token: str) -> bytes:
        if self.secret is None:
            raise TokenRefused(
                f"the relay has no secret, it takes {', '.join(ALGORITHMS)}"
            )
        payload = _payload(token, "HS256", self.secret.ljust(_PADDED_BYTES, b"\0"))
        if payload is None:
            raise TokenRefused(
                "the token is signed with another secret than the relay's"
            )
        return payload

    def _payload_by_keys(self, token: str, algorithm: str, kid: str | None) -> bytes:
        """Try the key that the token names; else all that may be meant."""
        named = [key for key in self.keys if kid is not None and key.kid == kid]
        tried = named or [key for key in self.keys if kid is None or key.kid is None]
        for key in tried:
            if key.algorithm == algorithm:
                payload = _payload(token, algorithm, key.key)
                if payload is not None:
                    return payload
        if named:
            raise TokenRefused("the token's signature is wrong")
        if not self.keys:
            raise UnknownKey(f"the relay has no keys to check {algorithm} with")
        raise UnknownKey("the token is signed by a key that the relay doesn't know")


def _payload(token: str, algorithm: str, key: Any) -> bytes | None:
    """Return the payload, or ``None`` if this key hasn't signed it.

    ``key`` has been chosen by ``algorithm``; PyJWT compares in constant time.
    """
    from jwt import PyJWS
    from jwt.exceptions import InvalidSignatureError

    try:
        payload: bytes = PyJWS([algorithm]).decode(token, key, algorithms=[algorithm])
    except InvalidSignatureError:
        return None
    return payload


def make_token(
    secret: bytes,
    *,
    names: Iterable[str] | None,
    expires_s: int | None,
    issued_s: int,
    jti: str,
    paths: Iterable[str] = (),
    rate: int | None = None,
    max_tunnels: int | None = None,
    subject: str | None = None,
    is_admin: bool = False,
    audience: str = AUDIENCE,
) -> str:
    """Make a token by HS256. The arguments are as in ``Grant``.

    ``issued_s`` is now, in Unix seconds; ``jti`` is by chance. Raises
    ``SettingsRefused``, also for an expiry that has passed.
    """
    from jwt import PyJWS

    _check_secret(secret)
    if expires_s is not None and expires_s <= issued_s:
        raise SettingsRefused("exp", "the token would have expired already")
    claims: dict[str, Any] = {
        "aud": audience,
        "sub": subject,
        "iat": issued_s,
        "exp": expires_s,
        "jti": jti,
        "names": None if names is None else list(parse_patterns(names)),
        "paths": list(paths) or None,
        "rate": rate,
        "max_tunnels": max_tunnels,
        "admin": is_admin or None,
    }
    claims = {claim: value for claim, value in claims.items() if value is not None}
    grant_of(claims)  # What a relay would refuse isn't made.
    payload = json.dumps(claims, separators=(",", ":")).encode("ascii")
    token = PyJWS().encode(payload, secret.ljust(_PADDED_BYTES, b"\0"), "HS256")
    if len(token) > MAX_TOKEN_BYTES:
        raise SettingsRefused("names", "the token would be too long, use prefixes")
    return token


def _check_secret(secret: bytes) -> None:
    if len(secret) < MIN_SECRET_BYTES:
        raise SettingsRefused(
            "secret", f"use at least {MIN_SECRET_BYTES} bytes, made by chance"
        )
    from jwt.algorithms import HMACAlgorithm
    from jwt.exceptions import InvalidKeyError

    try:
        HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(secret)
    except InvalidKeyError:
        raise SettingsRefused(
            "secret", "is a public key: everybody could make tokens with it"
        ) from None


def _shown(instant_s: int) -> str:
    return f"{datetime.fromtimestamp(instant_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
