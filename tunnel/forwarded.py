"""Behind a proxy: who the visitor is, and what it asked for, by the proxy's word.

Only a peer within the trusted networks is believed, and what it says is read from the
right, past the trusted proxies: each appends what it has seen itself, and all that
stands further left is the visitor's to write. What can't be read, or is said twice in
different ways (X-Forwarded-For and RFC 7239's Forwarded: a proxy keeps one of them
and passes the other on as a visitor made it up), makes the visitor's address
``UNKNOWN``, which is in no list of addresses.

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from tunnel.networks import Address, Network, is_within, parse_address

__all__ = ["MAX_ELEMENTS", "UNKNOWN", "Origin", "TrustedProxies", "forwarded"]

_K = TypeVar("_K")
_V = TypeVar("_V")

UNKNOWN = "unknown"
"""RFC 7239's own word (6.2)."""

MAX_ELEMENTS = 64
"""Of a list. A longer one is taken for an attack, and the visitor is unknown."""

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# RFC 7239, 4, and RFC 9110, 5.6.4:
#   forwarded-pair = token "=" ( token / quoted-string )
# followed by ";" within an element, "," between two, or the end.
# Possessive throughout: a long run of spaces costs one pass.
_PAIR = re.compile(
    rb"[ \t]*+(?:(" + _TOKEN + rb")=(?:(" + _TOKEN + rb')|"((?:[^"\\]|\\.)*+)"))?+'
    rb"[ \t]*+([;,]|\Z)"
)
_QUOTED = re.compile(rb"\\(.)")

# address, address:port, [address], [address]:port
_NODE = re.compile(r"\[([^\]]+)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}")
_HOST = re.compile(
    rb"(?:[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
)
_MAX_HOST_BYTES = 260

_MAX_FORWARDED_BYTES = 8192

_FIELDS = re.compile(
    rb"\r\n(forwarded|x-forwarded-(?:for|proto|host)):([^\r\n]*)", re.IGNORECASE
)

_MAX_REMEMBERED = 4096
_MAX_REMEMBERED_BYTES = 512

_NAMES = frozenset(
    {b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"}
)

_SCHEMES = {b"http": "http", b"https": "https", b"ws": "http", b"wss": "https"}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request comes from, as far as it is known."""

    client: str
    """The visitor's IP address, or ``UNKNOWN``."""

    scheme: str | None = None
    """``http`` or ``https``, or ``None`` if no trusted proxy says so."""

    host: bytes | None = None
    """The host that the visitor asked for, as ``scheme``."""


class TrustedProxies:
    """Our own proxies. Remembers what it has found out: visitors come again."""

    def __init__(self, networks: tuple[Network, ...]) -> None:
        self.networks = networks
        self._trusted: dict[str, bool] = {}
        self._origins: dict[tuple[str, tuple[tuple[bytes, bytes], ...]], Origin] = {}

    def trusts(self, peer: str) -> bool:
        """Say whether a connection's other end is one of them."""
        is_trusted = self._trusted.get(peer)
        if is_trusted is None:
            address = parse_address(peer)
            is_trusted = address is not None and is_within(address, self.networks)
            _remember(self._trusted, peer, is_trusted)
        return is_trusted

    def origin(self, head: bytes, peer: str) -> Origin:
        """Say where a request comes from, as ``forwarded`` does.

        ``head`` is as it arrived and has been found valid; ``peer`` the connection's
        other end.
        """
        if not self.trusts(peer):
            return Origin(peer)

        fields = tuple(_FIELDS.findall(head))
        origin = self._origins.get((peer, fields))
        if origin is None:
            origin = forwarded(fields, peer, self.networks)
            if sum(len(value) for _, value in fields) <= _MAX_REMEMBERED_BYTES:
                _remember(self._origins, (peer, fields), origin)
        return origin


def _remember(memory: dict[_K, _V], key: _K, value: _V) -> None:
    if len(memory) >= _MAX_REMEMBERED:
        memory.clear()
    memory[key] = value


def forwarded(
    fields: Iterable[tuple[bytes, bytes]], peer: str, trusted: tuple[Network, ...]
) -> Origin:
    """Say where a request comes from.

    ``fields`` are all header fields in their order, ``peer`` the connection's other
    end, ``trusted`` the networks of our own proxies. Raises nothing, whatever the
    fields say. The proxies must set each field that they name, or take it out: one
    that they pass on untouched is believed, too.
    """
    address = parse_address(peer)
    if address is None or not is_within(address, trusted):
        return Origin(peer)

    lists: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        if (lower := name.lower()) in _NAMES:
            lists.setdefault(lower, []).append(value)
    if not lists:
        return Origin(peer)

    origins = []
    if b"forwarded" in lists:
        origins.append(_by_forwarded(lists.pop(b"forwarded"), peer, trusted))
    if lists:
        origins.append(_by_x_forwarded(lists, peer, trusted))
    one, other = origins[0], origins[-1]
    if one.client != other.client:
        return Origin(UNKNOWN)
    return Origin(
        one.client,
        one.scheme if one.scheme == other.scheme else None,
        one.host if one.host == other.host else None,
    )


def _by_x_forwarded(
    lists: dict[bytes, list[bytes]], peer: str, trusted: tuple[Network, ...]
) -> Origin:
    nodes = _elements(lists.get(b"x-forwarded-for", []))
    if nodes is None:
        return Origin(UNKNOWN)
    client, hops = _client(nodes, peer, trusted)
    return Origin(
        client,
        _scheme(_of_hop(lists.get(b"x-forwarded-proto", []), hops)),
        _host(_of_hop(lists.get(b"x-forwarded-host", []), hops)),
    )


def _by_forwarded(
    values: list[bytes], peer: str, trusted: tuple[Network, ...]
) -> Origin:
    elements = _parse_forwarded(b",".join(values))
    if elements is None:
        return Origin(UNKNOWN)
    nodes = [element.get(b"for", b"") for element in elements]
    client, hops = _client(nodes, peer, trusted)
    element = elements[-1 - hops] if elements else {}
    return Origin(client, _scheme(element.get(b"proto")), _host(element.get(b"host")))


def _client(
    nodes: list[bytes], peer: str, trusted: tuple[Network, ...]
) -> tuple[str, int]:
    """Return the visitor, and how many of the last nodes are our own proxies."""
    if not nodes:
        return peer, 0
    client = UNKNOWN
    for hops, node in enumerate(reversed(nodes)):
        address = _address(node)
        if address is None:
            return UNKNOWN, hops
        client = str(address)
        if not is_within(address, trusted):
            return client, hops
    return client, len(nodes) - 1


def _address(node: bytes) -> Address | None:
    """Return a node's address; ``None`` for ``unknown``, ``_hidden`` and the rest."""
    try:
        text = node.decode("ascii")
    except UnicodeDecodeError:
        return None
    match = _NODE.fullmatch(text)
    return parse_address(match[1] or match[2] if match else text)


def _elements(values: list[bytes]) -> list[bytes] | None:
    """Return the elements of a list in several lines; ``None`` if they are too many."""
    joined = b",".join(values)
    if joined.count(b",") >= MAX_ELEMENTS:
        return None
    return [each for part in joined.split(b",") if (each := part.strip(b" \t"))]


def _of_hop(values: list[bytes], hops: int) -> bytes | None:
    """Return what the proxy said that saw the visitor, ``hops`` from the right.

    A proxy may pass the field on instead of adding to it: then fewer are there.
    """
    elements = _elements(values)
    return elements[max(-1 - hops, -len(elements))] if elements else None


def _parse_forwarded(data: bytes) -> list[dict[bytes, bytes]] | None:
    """Return the elements of ``Forwarded``; ``None`` if it is malformed or too long."""
    if len(data) > _MAX_FORWARDED_BYTES:
        return None
    elements: list[dict[bytes, bytes]] = []
    element: dict[bytes, bytes] = {}
    position = 0
    while match := _PAIR.match(data, position):
        name, token, quoted, end = match.groups()
        if name is not None:
            name = name.lower()
            if name in element:
                return None
            element[name] = _QUOTED.sub(rb"\1", quoted) if token is None else token
        if end != b";":
            if element:
                elements.append(element)
            element = {}
            if not end:
                return elements if len(elements) <= MAX_ELEMENTS else None
        position = match.end()
    return None


def _scheme(value: bytes | None) -> str | None:
    return None if value is None else _SCHEMES.get(value.lower())


def _host(value: bytes | None) -> bytes | None:
    if value is None or len(value) > _MAX_HOST_BYTES or not _HOST.fullmatch(value):
        return None
    return value
