"""One connection: a request goes out, the bytes of its response come in.

Decides when an exchange is over and what to say if it failed. Which connection is used
for what, and what becomes of it afterwards, isn't decided here (``pool.py``).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from emulator.core.model import Unreachable
from emulator.transport import reasons
from emulator.transport.head import BadResponse
from emulator.transport.request import Place
from emulator.transport.response import BadBody, CutOff, ResponseParser

__all__ = ["Connection"]

_JOINED_BYTES = 65_536
"""Bodies up to that size go out in one write with the head."""

_STEP_BYTES = 262_144
"""Larger ones in pieces, each once the one before has left our buffer."""


_BUFFER_BYTES = 16_384
"""What is read at once, into a buffer that is there already.

asyncio would make one of 256 KiB for each read, which costs more than all of ours.
"""


class Connection(asyncio.BufferedProtocol):
    """A connection to a destination. ``on_lost`` is called once, when it is closed."""

    __slots__ = (
        "_buffer",
        "_is_paused",
        "_on_lost",
        "_parser",
        "_rest",
        "_result",
        "_socket",
        "_transport",
        "is_reused",
        "place",
    )

    def __init__(
        self,
        place: Place,
        connected: socket.socket,
        on_lost: Callable[[Connection], None],
    ) -> None:
        self.place = place
        self.is_reused = False
        """Whether it has had a response already."""
        self._socket = connected
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._parser: ResponseParser | None = None
        self._result: asyncio.Future[Unreachable | None] | None = None
        self._rest = memoryview(b"")
        self._is_paused = False
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))

    @property
    def is_open(self) -> bool:
        """Whether bytes can still come and go."""
        return self._transport is not None and not self._transport.is_closing()

    def is_quiet(self) -> bool:
        """Whether nothing has come that hasn't been read, not even the end.

        Asks the operating system: the event loop may not have had its turn yet.
        """
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        return False

    async def exchange(
        self, head: bytes, body: bytes, parser: ResponseParser
    ) -> Unreachable | None:
        """Send a request and feed the parser until its response is complete.

        Returns what went wrong, or ``None``. Cancelled, it drops the connection.
        """
        if self._transport is None or self._transport.is_closing():
            return reasons.unanswered()
        self._parser = parser
        self._result = asyncio.get_running_loop().create_future()
        try:
            if len(body) <= _JOINED_BYTES:
                self._transport.write(head + body)
            else:
                self._transport.write(head)
                self._rest = memoryview(body)
                self._write_on()
            return await self._result
        except BaseException:
            self.abort()
            raise
        finally:
            self.is_reused = True
            self._parser = self._result = None

    @property
    def is_idle(self) -> bool:
        """Whether it can be kept: all is sent, and it is open."""
        return (
            self._transport is not None
            and not self._rest
            and not self._transport.is_closing()
            and not self._transport.get_write_buffer_size()
        )

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        self._rest = memoryview(b"")
        if self._transport is not None:
            self._transport.abort()

    def _write_on(self) -> None:
        while self._rest and not self._is_paused and self._transport is not None:
            piece, self._rest = self._rest[:_STEP_BYTES], self._rest[_STEP_BYTES:]
            self._transport.write(piece)

    def _finish(self, failure: Unreachable | None) -> None:
        if failure is not None:
            self.abort()
        if self._result is not None and not self._result.done():
            self._result.set_result(failure)

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._parser is None or self._result is None or self._result.done():
            self.abort()  # nobody asked for it
            return
        try:
            if self._parser.feed(bytes(self._buffer[:nbytes])):
                self._finish(None)
        except BadBody as error:
            self._finish(reasons.not_readable(str(error)))
        except BadResponse as error:
            if self._parser.has_head:
                self._finish(reasons.broken_off(str(error)))
            else:
                self._finish(reasons.not_http(str(error)))

    def eof_received(self) -> None:
        # Left to itself, asyncio would first send what the server won't read.
        if self._parser is not None:
            self._finish(_failure(self._parser, None))
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._rest = memoryview(b"")
        if self._parser is not None:
            self._finish(_failure(self._parser, exc))
        self._on_lost(self)

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._write_on()


def _failure(parser: ResponseParser, error: Exception | None) -> Unreachable | None:
    """Say what the end of the connection means for a response that isn't complete."""
    if error is not None:
        reason = (
            reasons.os_reason(error)
            if isinstance(error, OSError)
            else reasons.first_line(error)
        )
        return reasons.broken_off(reason) if parser.has_head else Unreachable(reason)
    try:
        parser.end()
    except BadBody as problem:
        return reasons.not_readable(str(problem))
    except CutOff as problem:
        return reasons.broken_off(str(problem))
    except BadResponse:
        return reasons.unanswered()
    return None
