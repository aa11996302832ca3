"""File descriptors: how many connections they allow, and what it looks like without.

Whoever runs out of them waits for ``PAUSE_S`` and tries again: nothing has been sent,
and a destination isn't to blame.
"""

from __future__ import annotations

import errno
import socket

__all__ = ["PAUSE_S", "are_out", "is_out_of_descriptors", "most_connections"]

PAUSE_S = 0.05
"""Nobody tells when a descriptor comes free."""

_MOST_CONNECTIONS = 4_096

_SHARE = 0.75
"""Of the process's descriptors: the rest is for publishers and files."""


def most_connections() -> int:
    """Return how many connections to destinations may be open at once; at least 1."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return _MOST_CONNECTIONS
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MOST_CONNECTIONS
    return max(1, min(_MOST_CONNECTIONS, int(soft * _SHARE)))


def is_out_of_descriptors(error: OSError) -> bool:
    """Whether an error says that no file can be opened, here or in the system."""
    return error.errno in (errno.EMFILE, errno.ENFILE)


def are_out() -> bool:
    """Whether there is none now: not every failure says that this is its reason."""
    try:
        socket.socket().close()
    except OSError as error:
        return is_out_of_descriptors(error)
    return False
