"""Public keys that check tokens: read from PEM and from JSON Web Key Sets.

A key belongs to one algorithm, which its kind decides and no token: RS256 for RSA,
ES256 for the curve P-256, EdDSA for Ed25519. So a token can't choose how it is checked.

No I/O. Needs ``cryptography``, the extra ``relay``, and imports it when it is used.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tunnel.errors import SettingsRefused

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    Key = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

__all__ = [
    "ALGORITHMS",
    "MAX_KEYS",
    "MAX_KEY_BYTES",
    "MAX_RSA_BITS",
    "MIN_RSA_BITS",
    "PublicKey",
    "parse_jwks",
    "parse_public_key",
]

ALGORITHMS = ("RS256", "ES256", "EdDSA")

MAX_KEYS = 64
"""Of a set. Each may be tried for a token."""

MAX_KEY_BYTES = 16_384

MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192

_KEY_SETTING = "public_keys"
_JWKS_SETTING = "jwks_url"

# Only these are read: a private key in a set gives its public half (RFC 7518, 6).
_PUBLIC_MEMBERS = frozenset({"kty", "n", "e", "crv", "x", "y"})


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key, and the one algorithm it checks."""

    algorithm: str

    key: Key = field(repr=False)

    kid: str | None = None
    """Its id, by which a token names it. ``None``: it is tried for every token."""


def parse_public_key(pem: bytes) -> PublicKey:
    """Return the key of a PEM file. Raises ``SettingsRefused``."""
    if b"PRIVATE KEY-----" in pem:
        raise SettingsRefused(
            _KEY_SETTING, "this is a private key, give the relay the public one"
        )
    if len(pem) > MAX_KEY_BYTES:
        raise SettingsRefused(_KEY_SETTING, f"is longer than {MAX_KEY_BYTES} bytes")
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError:
        raise _lacking(_KEY_SETTING) from None
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise SettingsRefused(
            _KEY_SETTING, "isn't PEM that begins with -----BEGIN PUBLIC KEY-----"
        ) from None
    algorithm = _algorithm_of(key)
    if algorithm is None:
        raise SettingsRefused(
            _KEY_SETTING,
            f"must be RSA of {MIN_RSA_BITS} to {MAX_RSA_BITS} bits, P-256 or Ed25519",
        )
    return PublicKey(algorithm, key)  # type: ignore[arg-type]  # as _algorithm_of says


def parse_jwks(data: bytes) -> tuple[PublicKey, ...]:
    """Return the keys of a set that can check tokens of ours (RFC 7517, 5).

    Keys of other kinds, for encryption, or malformed are passed over, as the standard
    asks. Raises ``SettingsRefused`` for what is no set, and for one without any key.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise SettingsRefused(_JWKS_SETTING, "the answer isn't JSON") from None
    members = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(members, list):
        raise SettingsRefused(_JWKS_SETTING, 'the answer has no list "keys"')
    if len(members) > MAX_KEYS:
        raise SettingsRefused(_JWKS_SETTING, f"more than {MAX_KEYS} keys")
    keys = tuple(key for each in members if (key := _key_of(each)) is not None)
    if not keys:
        raise SettingsRefused(
            _JWKS_SETTING, f"no key for {', '.join(ALGORITHMS)} in the answer"
        )
    return keys


def _key_of(member: object) -> PublicKey | None:
    """Return the key of one member of a set, or ``None``."""
    if not isinstance(member, dict) or member.get("use", "sig") != "sig":
        return None
    kid = member.get("kid")
    if kid is not None and not isinstance(kid, str):
        return None
    parsed = _jwk({name: member[name] for name in _PUBLIC_MEMBERS.intersection(member)})
    algorithm = _algorithm_of(parsed)
    if algorithm is None or member.get("alg", algorithm) != algorithm:
        return None
    return PublicKey(algorithm, parsed, kid)


def _jwk(public: dict[str, Any]) -> Any:
    """Return the key of a JWK's public members, or ``None``."""
    try:
        from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
    except ImportError:
        raise _lacking(_JWKS_SETTING) from None
    from jwt.exceptions import PyJWTError

    readers: dict[object, Any] = {
        "RSA": RSAAlgorithm,
        "EC": ECAlgorithm,
        "OKP": OKPAlgorithm,
    }
    kind = public.get("kty")
    if not isinstance(kind, str) or kind not in readers:
        return None
    try:
        return readers[kind].from_jwk(public)
    except (PyJWTError, ValueError, TypeError, KeyError, AttributeError):
        # A stranger's members: each of these has been seen for some wrong type.
        return None


def _algorithm_of(key: object) -> str | None:
    from cryptography.hazmat.primitives.asymmetric.ec import (
        SECP256R1,
        EllipticCurvePublicKey,
    )
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    match key:
        case RSAPublicKey() if MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
            return "RS256"
        case EllipticCurvePublicKey() if isinstance(key.curve, SECP256R1):
            return "ES256"
        case Ed25519PublicKey():
            return "EdDSA"
        case _:
            return None


def _lacking(setting: str) -> SettingsRefused:
    return SettingsRefused(
        setting, "needs cryptography: pip install 'qstash-qemu[relay]'"
    )
