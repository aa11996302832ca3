"""Gzip-encoded response bodies, decoded as they arrive (DLV-7).

Keeps what a plan allows and stops there: what a small body blows up to is a
stranger's choice. Which responses are encoded so isn't decided here.
"""

from __future__ import annotations

import zlib

__all__ = ["GzipBody"]

_GZIP = 31  # zlib's way of asking for a gzip header, and the largest window
_STEP_BYTES = 65_536


class GzipBody:
    """Takes encoded bytes, and has the first ``limit_bytes`` of the decoded ones."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._decoder = zlib.decompressobj(_GZIP)
        self._decoded = bytearray()
        self._is_empty = True

    def feed(self, data: bytes) -> None:
        """Take in encoded bytes. Raises ``ValueError`` if they aren't gzip."""
        while data and len(self._decoded) < self._limit_bytes:
            self._is_empty = False
            if self._decoder.eof:
                self._decoder = zlib.decompressobj(_GZIP)  # members may follow
            try:
                self._decoded += self._decoder.decompress(data, _STEP_BYTES)
            except zlib.error as error:
                raise ValueError(f"not gzip: {error}") from None
            data = self._decoder.unused_data or self._decoder.unconsumed_tail

    def finish(self) -> bytes:
        """Return what was kept. Raises ``ValueError`` if the end is missing."""
        if len(self._decoded) >= self._limit_bytes:
            return bytes(self._decoded[: self._limit_bytes])
        if not self._decoder.eof and not self._is_empty:
            raise ValueError("the gzip-encoded body is cut off")
        return bytes(self._decoded)
