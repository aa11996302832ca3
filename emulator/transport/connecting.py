"""Making connections: names to addresses, addresses to sockets.

Decides which addresses are tried, and tells a destination that can't be reached from a
process that has no descriptor left: the former is an outcome, the latter is worth
waiting for (``pool.py``).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from functools import partial

from aiohappyeyeballs import AddrInfoType, start_connection

from emulator.core.model import Unreachable
from emulator.transport import descriptors, reasons
from emulator.transport.connection import Connection
from emulator.transport.request import Place

__all__ = ["OutOfDescriptors", "connect"]

_HEAD_START_S = 0.25
"""How long an address is tried alone before the next is tried beside it."""


class OutOfDescriptors(Exception):
    """The process, or the system, can't open one file more for now."""


async def connect(
    place: Place, on_lost: Callable[[Connection], None]
) -> Connection | Unreachable:
    """Connect to a place. Raises ``OutOfDescriptors``."""
    loop = asyncio.get_running_loop()
    host, port = place
    try:
        groups = await _addresses(place)
    except (OSError, UnicodeError):
        # The lookup reads files and asks servers, and doesn't say that it couldn't.
        if descriptors.are_out():
            raise OutOfDescriptors from None
        return reasons.unresolved(host)
    failure = reasons.unresolved(host)
    for group in groups:
        sockets = _Sockets()
        try:
            connected = await start_connection(
                group,
                happy_eyeballs_delay=_HEAD_START_S,
                loop=loop,
                socket_factory=sockets.open,
            )
        except OSError as error:
            if sockets.are_out:
                raise OutOfDescriptors from None
            failure = Unreachable(f"{host}:{port}: {reasons.os_reason(error)}")
            continue
        _, connection = await loop.create_connection(
            partial(Connection, place, connected, on_lost), sock=connected
        )
        return connection
    return failure


class _Sockets:
    """Opens sockets, and remembers whether one could not be opened."""

    def __init__(self) -> None:
        self.are_out = False

    def open(self, address: AddrInfoType) -> socket.socket:
        family, kind, protocol, *_ = address
        try:
            return socket.socket(family, kind, protocol)
        except OSError as error:
            self.are_out |= descriptors.is_out_of_descriptors(error)
            raise


async def _addresses(place: Place) -> Sequence[Sequence[AddrInfoType]]:
    """Return the addresses of a host, in groups that are tried one after the other.

    Those of ``localhost``, and of names below it such as a local relay's tunnels, are
    known without asking (RFC 6761, 6.3), and a refusal comes at once: a name server
    that hangs can't hold up what is on this machine.
    """
    host, port = place
    if f".{host.lower().removesuffix('.')}".endswith(".localhost"):
        return [_literal("::1", port), _literal("127.0.0.1", port)]
    if literal := _literal(host, port):
        return [literal]
    loop = asyncio.get_running_loop()
    return [await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _literal(host: str, port: int) -> list[AddrInfoType]:
    """Return the address that a host is; none if it is a name."""
    for family, rest in ((socket.AF_INET, ()), (socket.AF_INET6, (0, 0))):
        with contextlib.suppress(OSError):
            socket.inet_pton(family, host)
            kind, protocol = socket.SOCK_STREAM, socket.IPPROTO_TCP
            return [(family, kind, protocol, "", (host, port, *rest))]
    return []
