"""Keys and tokens for tests, made with cryptography and PyJWT."""

from functools import cache

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

NOW_S = 1_700_000_000  # 2023-11-14 22:13:20 UTC

_MAKERS = {
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
    "RSA 1024": lambda: rsa.generate_private_key(65537, 1024),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}

_WRITERS = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}


@cache
def _made(kind, which):
    return _MAKERS[kind]()


def private_key(kind, which=""):
    """Return a key of that kind, always the same; ``which`` tells several apart."""
    return _made(kind, which)


def public_pem(kind, which=""):
    """Return the public half as PEM."""
    return (
        private_key(kind, which)
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )


def private_pem(kind):
    """Return the whole key as PEM."""
    return private_key(kind).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )


def jwk(kind, which="", **members):
    """Return the public half as a member of a JWKS."""
    public = private_key(kind, which).public_key()
    return _WRITERS[kind].to_jwk(public, as_dict=True) | members


def a_token(kind="RS256", which="", *, kid=None, **changes):
    """Return a token signed with that private key."""
    claims = {"aud": "qemu-relay", "sub": "me", "exp": NOW_S + 60} | changes
    headers = None if kid is None else {"kid": kid}
    return jwt.encode(claims, private_key(kind, which), kind, headers)
