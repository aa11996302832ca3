"""Ids: how bytes of chance and instants become the texts that name things.

The shapes are QStash's (FMT-1): a prefix and characters of the base58 alphabet,
which can stand in paths and in comma-separated lists; DLQ ids and cursors are
``<ms>-<seq>``. Where the bytes come from, and that a sequence number isn't used
twice in one millisecond, is the engine's concern.

One byte makes one character. 256 isn't a multiple of 58, so the first 24
characters of the alphabet are a fifth likelier than the others (5 bytes in 256
stand for each, not 4). That costs 0.02 bits a character: 36 of them still carry
210 bits, and the table makes an id in a fraction of a microsecond.
"""

from __future__ import annotations

import re

__all__ = [
    "JWT_ID_BYTES",
    "MESSAGE_ID_BYTES",
    "SCHEDULE_ID_BYTES",
    "SIGNING_KEY_BYTES",
    "jwt_id",
    "message_id",
    "parse_stamp",
    "schedule_id",
    "signing_key",
    "stamp",
]

MESSAGE_ID_BYTES = 36
SCHEDULE_ID_BYTES = 28
SIGNING_KEY_BYTES = 28
JWT_ID_BYTES = 28

# FMT-2.
_ALPHABET = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_CHARACTER_OF_BYTE = bytes(_ALPHABET[byte % 58] for byte in range(256))

# Canonical, so that one stamp has one spelling. 16 digits reach beyond 2^53.
_STAMP = re.compile(r"(0|[1-9][0-9]{0,15})-(0|[1-9][0-9]{0,15})")


def message_id(random: bytes) -> str:
    """Make a message's id of ``MESSAGE_ID_BYTES`` random bytes (FMT-1).

    Raises ``ValueError`` for any other number of bytes.
    """
    return "msg_" + _base58(random, MESSAGE_ID_BYTES)


def schedule_id(random: bytes) -> str:
    """Make a schedule's id of ``SCHEDULE_ID_BYTES`` random bytes (SCH-10).

    Raises ``ValueError`` for any other number of bytes.
    """
    return "scd_" + _base58(random, SCHEDULE_ID_BYTES)


def signing_key(random: bytes) -> str:
    """Make a signing key of ``SIGNING_KEY_BYTES`` random bytes (KEY-3).

    Raises ``ValueError`` for any other number of bytes.
    """
    return "sig_" + _base58(random, SIGNING_KEY_BYTES)


def jwt_id(random: bytes) -> str:
    """Make a token's ``jti`` of ``JWT_ID_BYTES`` random bytes (SIG-9).

    Raises ``ValueError`` for any other number of bytes.
    """
    return "jwt_" + _base58(random, JWT_ID_BYTES)


def stamp(ms: int, sequence: int) -> str:
    """Write an instant, and a number within it, as ``<ms>-<seq>`` (FMT-1).

    Both lie between 0 and 10^16 - 1: the range that ``parse_stamp`` reads.
    """
    return f"{ms}-{sequence}"


def parse_stamp(text: str) -> tuple[int, int] | None:
    """Read what ``stamp`` writes: the milliseconds and the sequence number.

    ``None`` for every other text, other spellings of the same numbers included.
    """
    match = _STAMP.fullmatch(text)
    return (int(match[1]), int(match[2])) if match else None


def _base58(random: bytes, count: int) -> str:
    # A short id would collide, and nobody would notice until it did.
    if len(random) != count:
        raise ValueError(f"{count} random bytes are needed, not {len(random)}")
    return random.translate(_CHARACTER_OF_BYTE).decode("ascii")
