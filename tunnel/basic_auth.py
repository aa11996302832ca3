"""Basic authentication by salted hashes: the relay is told who may pass, not how.

The client hashes the lines of a file and sends salt and hashes in HELLO; the relay
compares (RFC 7617). Pure: the file and the salt's chance come from the caller.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from typing import Any

from tunnel.errors import SettingsRefused

__all__ = ["MAX_USERS", "SALT_BYTES", "BasicAuth"]

MAX_USERS = 64

SALT_BYTES = 16
"""A salt's length."""

_SETTING = "basic_auth"
_HASH_BYTES = 32
_MAX_PAIR_BYTES = 512
_MAX_AUTHORIZATION_BYTES = 1024


@dataclass(frozen=True, slots=True)
class BasicAuth:
    """Who may pass by name and password: HMAC-SHA256 of ``user:password`` by a salt.

    A fast hash on purpose. The relay computes it for every request, also for those of
    strangers; and it sees the password itself in each that is right.
    """

    salt: bytes = field(repr=False)

    hashes: tuple[bytes, ...] = field(repr=False)

    @classmethod
    def of_lines(cls, text: str, salt: bytes) -> BasicAuth:
        """Hash a file's lines ``user:password``; empty ones and ``# …`` don't count.

        ``salt`` is ``SALT_BYTES`` of chance. Raises ``SettingsRefused``, which names
        the line's number and shows nothing of it.
        """
        if len(salt) != SALT_BYTES:
            raise ValueError(f"a salt has {SALT_BYTES} bytes")
        hashes: list[bytes] = []
        for number, line in enumerate(text.split("\n"), 1):
            pair = line.removesuffix("\r")
            if not pair.strip() or pair.startswith("#"):
                continue
            user, colon, password = pair.partition(":")
            if not user or not colon or not password:
                raise SettingsRefused(_SETTING, f"line {number} isn't user:password")
            data = pair.encode("utf-8", "surrogateescape")
            if len(data) > _MAX_PAIR_BYTES:
                raise SettingsRefused(
                    _SETTING, f"line {number} is longer than {_MAX_PAIR_BYTES} bytes"
                )
            hashes.append(hmac.digest(salt, data, "sha256"))
        if not hashes:
            raise SettingsRefused(_SETTING, "has no line user:password")
        if len(hashes) > MAX_USERS:
            raise SettingsRefused(_SETTING, f"more than {MAX_USERS} users")
        return cls(salt, tuple(hashes))

    def has(self, authorization: bytes | None) -> bool:
        """Whether an ``Authorization`` field carries one of the pairs."""
        if authorization is None or len(authorization) > _MAX_AUTHORIZATION_BYTES:
            return False
        scheme, _, encoded = authorization.partition(b" ")
        if scheme.lower() != b"basic":
            return False
        try:
            pair = b64decode(encoded.strip(b" \t"), validate=True)
        except binascii.Error:
            return False
        wanted = hmac.digest(self.salt, pair, "sha256")
        found = False
        for known in self.hashes:  # All of them: how long it takes tells nothing.
            found |= hmac.compare_digest(known, wanted)
        return found

    def to_json(self) -> dict[str, Any]:
        """Return what ``from_json`` reads."""
        return {
            "salt": b64encode(self.salt).decode("ascii"),
            "hashes": [b64encode(each).decode("ascii") for each in self.hashes],
        }

    @classmethod
    def from_json(cls, data: object) -> BasicAuth:
        """Read what came in HELLO. Raises ``SettingsRefused``."""
        match data:
            case {"salt": str(salt), "hashes": list(hashes), **rest} if (
                not rest and 1 <= len(hashes) <= MAX_USERS
            ):
                return cls(
                    _decoded(salt, SALT_BYTES),
                    tuple(_decoded(each, _HASH_BYTES) for each in hashes),
                )
        raise SettingsRefused(
            _SETTING, f"must be a salt and 1 to {MAX_USERS} hashes, and nothing else"
        )


def _decoded(text: object, size_bytes: int) -> bytes:
    if isinstance(text, str):
        try:
            data = b64decode(text, validate=True)
        except ValueError:
            data = b""
        if len(data) == size_bytes:
            return data
    raise SettingsRefused(_SETTING, f"needs {size_bytes} bytes in base64")
