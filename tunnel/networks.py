"""Addresses and networks: read from text, compared as one family.

An IPv4 address that comes in IPv6's clothes (``::ffff:10.0.0.1``) is the IPv4
address, in what a visitor has and in what a list names: a list that names one would
be passed by the other.

Pure; resolves no names.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from tunnel.errors import SettingsRefused

__all__ = [
    "Address",
    "Network",
    "is_within",
    "parse_address",
    "parse_network",
    "parse_networks",
]

Address = IPv4Address | IPv6Address

Network = IPv4Network | IPv6Network

# Longer than any address with its zone and prefix length.
_MAX_CHARACTERS = 64

_MAPPED_BITS = 96


def parse_address(text: str) -> Address | None:
    """Return the address that the text is, without its zone, or ``None``."""
    if len(text) > _MAX_CHARACTERS:
        return None
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def parse_network(text: str, setting: str) -> Network:
    """Return the network of ``10.0.0.0/8``, or of one address.

    Bits beyond the prefix are dropped. Raises ``SettingsRefused`` for ``setting``.
    """
    try:
        if len(text) > _MAX_CHARACTERS or "%" in text:
            raise ValueError
        network = ip_network(text, strict=False)
    except ValueError:
        shown = f"{text[:_MAX_CHARACTERS]!a}"
        raise SettingsRefused(
            setting, f"{shown} is no network, write 10.0.0.0/8 or 2001:db8::1"
        ) from None
    if isinstance(network, IPv6Network) and network.prefixlen >= _MAPPED_BITS:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))
    return network


def parse_networks(texts: Iterable[str], setting: str) -> tuple[Network, ...]:
    """Return the networks of several texts. Raises ``SettingsRefused``."""
    return tuple(parse_network(text, setting) for text in texts)


def is_within(address: Address, networks: tuple[Network, ...]) -> bool:
    """Whether one of the networks has the address."""
    return any(address in network for network in networks)
