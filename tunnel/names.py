"""Names of tunnels: what one may be called, and which one a request is meant for.

A name is a DNS label, so that it can stand before the relay's domain. Where there is
no wildcard DNS it stands in the path (``/t/<name>/…``) or in the header
``Qemu-Tunnel`` (tunnel.md, section 4).

Pure. Whether a name is free, and who may have it, ``leases.py`` and ``access.py``
decide; the relay cuts ``Address.prefix`` out of the target.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from tunnel.errors import TunnelError
from tunnel.words import ADJECTIVES, ANIMALS

__all__ = [
    "MAX_NAME_CHARACTERS",
    "PATH_PREFIX",
    "RANDOM_BYTES",
    "RESERVED",
    "Address",
    "NameRefused",
    "address_of",
    "is_random_name",
    "parse_name",
    "public_url",
    "random_name",
]

MAX_NAME_CHARACTERS = 63
"""A DNS label's (RFC 1035, 2.3.4)."""

RANDOM_BYTES = 16
"""How much chance ``random_name`` wants; it uses 42 bits of it, without bias."""

PATH_PREFIX = b"/t/"

RESERVED = frozenset({"admin", "api", "mail", "relay", "status", "www"})
"""Whoever runs a relay has these hosts for other things, or visitors believe so."""

# No vowels: it spells no word. No 0, 1, l: it can be read out.
_SUFFIX_ALPHABET = "23456789bcdfghjkmnpqrstvwxyz"
_SUFFIX_CHARACTERS = 6
_SUFFIX = re.compile(f"[{_SUFFIX_ALPHABET}]{{{_SUFFIX_CHARACTERS}}}")
_ADJECTIVES = frozenset(ADJECTIVES)
_ANIMALS = frozenset(ANIMALS)

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_PORT = re.compile(rb":[0-9]*\Z")

# A domain name has 253 characters, a port five and its colon.
_MAX_HOST_BYTES = 260

# Behind the longest name in a path stands a slash; any other byte makes it too long.
_MAX_PREFIX_BYTES = len(PATH_PREFIX) + MAX_NAME_CHARACTERS + 1

_DEFAULT_PORTS = {"http": 80, "https": 443}


class NameRefused(TunnelError):
    """No tunnel can have this name."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"name {self.name[:80]!a}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Address:
    """The tunnel that a request is meant for, and how it said so."""

    name: str

    prefix: bytes = b""
    """What the target begins with and the app doesn't see: ``/t/<name>``, as written.
    What is left may be empty, which means ``/``."""

    by: Literal["host", "path", "header"] = "host"


def parse_name(text: str) -> str:
    """Return the name in lower case. Raises ``NameRefused``."""
    name = text.lower()
    if not 1 <= len(name) <= MAX_NAME_CHARACTERS:
        raise NameRefused(text, f"it must have 1 to {MAX_NAME_CHARACTERS} characters")
    if not _NAME.fullmatch(name):
        raise NameRefused(
            text,
            "it may contain letters, digits and '-', but no '-' at either end",
        )
    if name[2:4] == "--":
        # RFC 5891, 4.2.3.1: xn-- would be shown as other letters.
        raise NameRefused(text, "'--' in third place is kept for encoded names")
    if name in RESERVED:
        raise NameRefused(text, "it is reserved, choose another one")
    return name


def random_name(token_bytes: bytes) -> str:
    """Make a name of 42 bits out of ``RANDOM_BYTES`` random bytes: two words, a suffix.

    Raises ``ValueError`` for fewer bytes.
    """
    if len(token_bytes) < RANDOM_BYTES:
        raise ValueError(f"a random name needs {RANDOM_BYTES} random bytes")
    number = int.from_bytes(token_bytes[:RANDOM_BYTES])
    number, adjective = divmod(number, len(ADJECTIVES))
    number, animal = divmod(number, len(ANIMALS))
    suffix = []
    for _ in range(_SUFFIX_CHARACTERS):
        number, character = divmod(number, len(_SUFFIX_ALPHABET))
        suffix.append(_SUFFIX_ALPHABET[character])
    return f"{ADJECTIVES[adjective]}-{ANIMALS[animal]}-{''.join(suffix)}"


def is_random_name(name: str) -> bool:
    """Whether ``random_name`` can have made this name."""
    parts = name.split("-", 3)
    return (
        len(parts) == 3
        and parts[0] in _ADJECTIVES
        and parts[1] in _ANIMALS
        and _SUFFIX.fullmatch(parts[2]) is not None
    )


def address_of(
    host: bytes, path: bytes, header: bytes | None, domain: str
) -> Address | None:
    """Say which tunnel a request is meant for, or ``None`` if it names none.

    ``host`` is the Host field as it arrived, ``path`` the target's path or more of the
    target, ``header`` the value of ``Qemu-Tunnel``, ``domain`` the relay's, in lower
    case. A host below the domain decides alone; any other (the domain itself, an IP
    address, a proxy's inner name) leaves it to the path, then to the header.
    """
    if len(host) > _MAX_HOST_BYTES:
        return None
    is_below, address = _address_of_host(host, domain)
    if is_below:
        return address
    if path.startswith(PATH_PREFIX):
        end = path.find(b"/", len(PATH_PREFIX), _MAX_PREFIX_BYTES)
        address = _address_of_path(path[: end if end > 0 else _MAX_PREFIX_BYTES])
        if address is not None:
            return address
    if header is not None and len(header) <= _MAX_HOST_BYTES:
        return _address_of_header(header)
    return None


# What follows is asked for with every request and has few answers. The caches are
# bounded in count and, by the lengths checked above, in bytes.


@lru_cache(maxsize=4096)
def _address_of_host(host: bytes, domain: str) -> tuple[bool, Address | None]:
    """Return whether the host is below the domain, and its tunnel."""
    plain = _PORT.sub(b"", host).removesuffix(b".").lower()
    label, dot, parent = plain.partition(b".")
    if dot and parent == domain.encode():
        name = _name_or_none(label)
        return True, None if name is None else Address(name)
    return plain.endswith(b"." + domain.encode()), None


@lru_cache(maxsize=4096)
def _address_of_path(start: bytes) -> Address | None:
    prefix = start.partition(b"?")[0]
    name = _name_or_none(prefix[len(PATH_PREFIX) :])
    return None if name is None else Address(name, prefix, "path")


@lru_cache(maxsize=4096)
def _address_of_header(value: bytes) -> Address | None:
    name = _name_or_none(value.strip(b" \t"))
    return None if name is None else Address(name, by="header")


def _name_or_none(label: bytes) -> str | None:
    try:
        return parse_name(label.decode("ascii"))
    except (NameRefused, UnicodeDecodeError):
        return None


def public_url(
    name: str, *, scheme: str, domain: str, port: int | None, wildcard: bool
) -> str:
    """Return a tunnel's public URL, without a slash at its end.

    ``wildcard`` says whether every name below the domain leads to the relay. A
    ``port`` of ``None`` is the scheme's own.
    """
    host = f"{name}.{domain}" if wildcard else domain
    if port is not None and port != _DEFAULT_PORTS.get(scheme):
        host = f"{host}:{port}"
    return f"{scheme}://{host}" if wildcard else f"{scheme}://{host}/t/{name}"
