"""Reframing: an answer's head and body as its visitor gets them.

The body that came through the tunnel has no framing. The visitor's connection gives it
one: what the head promises, chunks, or the connection's end for HTTP/1.0. An answer
that doesn't keep what its head promises isn't passed on: whoever reads behind it would
take the next answer for a part of it.

Pure.
"""

from __future__ import annotations

from tunnel.http import (
    BadMessage,
    ResponseHead,
    check_trailers,
    encode_chunk,
    forward_response,
    last_chunk,
)

__all__ = ["Reframing"]


class Reframing:
    """One answer, for a request of HTTP ``version`` (10 or 11)."""

    __slots__ = ("_answer", "_is_chunking", "_left", "_version", "closes")

    def __init__(self, answer: ResponseHead, version: int) -> None:
        has_no_length = answer.is_chunked or answer.until_close
        self._answer = answer
        self._version = version
        self._is_chunking = has_no_length and version == 11
        self._left = None if has_no_length else answer.length
        self.closes = has_no_length and version == 10
        """Whether the connection's end is the body's."""

    @property
    def status(self) -> int:
        """The answer's."""
        return self._answer.status

    @property
    def is_upgrade(self) -> bool:
        """Whether what follows is no body, but raw bytes."""
        return self._answer.upgrade

    def head(self, *, close: bool) -> bytes:
        """Return the head; ``close``: the connection ends behind this answer."""
        answer = self._answer
        return forward_response(
            answer,
            close=close,
            version=self._version,
            chunk=self._is_chunking and answer.until_close,
            dechunk=answer.is_chunked and not self._is_chunking,
        )

    def lift(self) -> None:
        """Let raw bytes through from now on: an upgrade is made."""
        self._left = None

    def body(self, data: bytes) -> bytes:
        """Frame some of the body. Raises ``BadMessage`` if it is longer than said."""
        if self._is_chunking:
            return encode_chunk(data)
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                raise BadMessage(502, "it is longer than its Content-Length")
        return data

    def end(self, trailers: bytes) -> bytes:
        """Return what ends the body. Raises ``BadMessage`` if some of it is missing."""
        if self._left:
            raise BadMessage(502, "it is shorter than its head says")
        if not self._is_chunking:
            return b""
        if trailers:
            check_trailers(trailers)
        return last_chunk(trailers)
