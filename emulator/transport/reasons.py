"""What kept a call from being answered, in one line (DLV-16). Texts, and no rules."""

from __future__ import annotations

import socket

from emulator.core.model import Unreachable

__all__ = [
    "broken_off",
    "first_line",
    "not_http",
    "not_readable",
    "not_sendable",
    "os_reason",
    "unanswered",
    "unresolved",
]


def unanswered() -> Unreachable:
    """Say that the connection was closed before an answer's head was here."""
    return Unreachable("the destination closed the connection without an answer")


def broken_off(detail: str) -> Unreachable:
    """Say that an answer began and didn't end."""
    return Unreachable(f"the destination broke off its answer: {detail}")


def not_http(detail: str) -> Unreachable:
    """Say that what came is no HTTP."""
    return Unreachable(f"the destination's answer isn't HTTP: {detail}")


def not_readable(detail: str) -> Unreachable:
    """Say that an answer's body isn't what its header claims."""
    return Unreachable(f"the destination's answer can't be read: {detail}")


def not_sendable(detail: str) -> Unreachable:
    """Say that the request can't be written as HTTP."""
    return Unreachable(f"can't send the request: {detail}")


def unresolved(host: str) -> Unreachable:
    """Say that a host's name leads to no address."""
    return Unreachable(f"can't resolve host {host}")


def os_reason(error: OSError) -> str:
    """Say in a few words what the operating system said."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ConnectionResetError):
        return "connection reset by the destination"
    if isinstance(error, socket.gaierror):
        return "can't resolve the host"
    return error.strerror or first_line(error)


def first_line(error: Exception) -> str:
    """Return the first line of what an error says, or its name."""
    return str(error).partition("\n")[0] or type(error).__name__
