"""How many connections may be open, by what the operating system allows."""

from __future__ import annotations

__all__ = ["most_connections"]

_MOST = 4_096

_SHARE = 0.75
"""Of the process's descriptors: the rest is for publishers and files."""


def most_connections() -> int:
    """Return how many connections to destinations may be open at once; at least 1."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return _MOST
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MOST
    return max(1, min(_MOST, int(soft * _SHARE)))
