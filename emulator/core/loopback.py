"""Destinations on this machine: which they are, for who wants them refused.

QStash looks a host up and refuses a loopback address (PUB-6). Here the spelling
decides, as nothing is looked up at publish time: addresses in every notation that
resolvers understand, and the names that stand for loopback by definition. A name that
somebody made to lead there isn't known to do so.

Whether they are refused at all, ``Limits.refuses_loopback`` says.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address

from emulator.core.destination import host_of
from emulator.core.model import Destination, DestinationKind, Options
from emulator.errors import InvalidDestination, InvalidHeader

__all__ = ["loopback_problem", "refuse_loopback"]

_BRACKETED = re.compile(r"\[([^\]%]*)")

# A number as resolvers read it: hexadecimal, octal or decimal, of 32 bits at most.
_NUMBER = re.compile(r"0x(?P<hex>[0-9a-f]{1,8})|0(?P<oct>[0-7]{0,11})|[1-9][0-9]{0,9}")

_MOST_PARTS = 4


def loopback_problem(url: str) -> str | None:
    """Say that a URL leads to this machine, in QStash's words (ERR-4), if it does.

    The URL has been checked by ``url_problem``.
    """
    address = _address(host_of(url).lower())
    # What is sent to the unspecified address arrives at loopback.
    if address is None or not (address.is_loopback or address.is_unspecified):
        return None
    return f"endpoint resolves to a loopback address: {address}"


def _address(host_and_port: str) -> IPv4Address | IPv6Address | None:
    """Return the address that a host stands for without being looked up."""
    bracketed = _BRACKETED.match(host_and_port)
    if bracketed:
        address = IPv6Address(bracketed[1])
        return address.ipv4_mapped or address
    name = host_and_port.partition(":")[0].removesuffix(".")
    # RFC 6761, 6.3. QStash's known answer names the IPv6 address.
    if name == "localhost" or name.endswith(".localhost"):
        return IPv6Address("::1")
    return _ipv4(name.split(".", _MOST_PARTS))


def _ipv4(parts: list[str]) -> IPv4Address | None:
    """Read ``127.0.0.1``, ``127.1`` or ``0x7f000001``, split at the dots.

    The last part fills what the others leave.
    """
    numbers = [_number(part) for part in parts]
    total = 0
    for place, number in enumerate(numbers, 1):
        bits = 8 if place < len(parts) else 8 * (_MOST_PARTS + 1 - place)
        if number is None or not bits or number >> bits:
            return None
        total = total << bits | number
    return IPv4Address(total)


def _number(text: str) -> int | None:
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    if match["hex"] is not None:
        return int(match["hex"], 16)
    if match["oct"] is not None:
        return int(match["oct"] or "0", 8)
    return int(text)


def refuse_loopback(destination: Destination | None, options: Options) -> None:
    """Refuse what would be delivered to this machine: a message, or its callbacks.

    Raises ``InvalidDestination`` or ``InvalidHeader``.
    """
    if destination is not None and destination.kind is DestinationKind.URL:
        problem = loopback_problem(destination.text)
        if problem is not None:
            raise InvalidDestination(destination.text, problem)
    for header, callback in (
        ("Upstash-Callback", options.callback),
        ("Upstash-Failure-Callback", options.failure_callback),
    ):
        problem = None if callback is None else loopback_problem(callback.url)
        if callback is not None and problem is not None:
            raise InvalidHeader(header, callback.url, problem)
