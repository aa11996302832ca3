"""Visitors' connections: where each request begins, one after the other.

A ``Visitor`` is one connection from the public side; each request on it is a
``Passage`` (``passage.py``). Reads no more than there is room for; answers what can't
be understood itself, and closes what takes too long when ``check`` is called (there
are no timers here: a relay has thousands of these).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from tunnel.counters import Counters
from tunnel.forwarded import TrustedProxies
from tunnel.http import (
    BadMessage,
    RequestHead,
    check_unfinished_head,
    error_response,
    find_head_end,
    parse_request_head,
)
from tunnel.leases import Leases
from tunnel.names import address_of
from tunnel.passage import Passage
from tunnel.settings import RelaySettings
from tunnel.wire import LINK_PATH

__all__ = ["HandOver", "Public", "Visitor"]

_MAX_AHEAD_BYTES = 1 << 16
"""Of requests that are sent before the one before them is answered."""

_LEAST_BYTES_PER_S = 100
"""Of a body, over ``_RATE_WINDOW_S``."""

_RATE_WINDOW_S = 30.0

_LINGER_S = 5.0
"""How long the rest of a body is read and dropped, after an early answer."""

_WRITE_HIGH_BYTES = 1 << 16

_OWN_PREFIX = b"/_qemu/"


class HandOver(Protocol):
    """Takes a connection over, with what has been read of it.

    The connection counts as a visitor's until ``uncount`` is called.
    """

    def __call__(
        self,
        transport: asyncio.Transport,
        head: RequestHead,
        rest: bytes,
        peer: str,
        *,
        uncount: Callable[[], None],
    ) -> None: ...


@dataclass(slots=True, kw_only=True)
class Public:
    """What all visitors share."""

    settings: RelaySettings
    leases: Leases
    counters: Counters
    now_s: Callable[[], float]
    wall_ms: Callable[[], int]
    started_s: float
    become_link: HandOver
    become_api: HandOver
    trusted: TrustedProxies | None
    """The proxies whose word is taken."""
    is_secure: bool
    visitors: set[Visitor] = field(default_factory=set)
    connections: int = 0
    """Of visitors, and of those who were handed over and still count …"""
    by_address: dict[str, int] = field(default_factory=dict)
    """… and how many of them each address has."""
    is_draining: bool = False
    emptied: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever the last visitor has gone."""


class Visitor(asyncio.Protocol):
    """A connection from the public side."""

    __slots__ = (
        "_buffer",
        "_deadline_s",
        "_is_counted",
        "_is_lingering",
        "_is_next_asked",
        "_passage",
        "_public",
        "_rate_bytes",
        "_rate_since_s",
        "_searched",
        "_unsent",
        "is_reading",
        "is_writable",
        "peer",
        "transport",
    )

    def __init__(self, public: Public) -> None:
        self._public = public
        self._buffer = b""
        self._searched = 0
        """How much of the buffer is known to be no whole head."""
        self._unsent = 0
        """How many bytes of answers waited for the visitor when last looked at."""
        self._passage: Passage | None = None
        self._deadline_s = 0.0
        self._is_counted = False
        self._rate_bytes = 0
        self._rate_since_s = 0.0
        self._is_lingering = False
        self._is_next_asked = False
        self.is_reading = True
        self.is_writable = True
        self.peer = ""

    # What asyncio says

    # No assertion narrows the type: uvloop's transports are of no asyncio class.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        public = self._public
        self.transport = transport
        name = transport.get_extra_info("peername")
        self.peer = name[0] if isinstance(name, tuple) else ""
        transport.set_write_buffer_limits(high=_WRITE_HIGH_BYTES)
        count = public.by_address.get(self.peer, 0) + 1
        public.by_address[self.peer] = count
        public.connections += 1
        self._is_counted = True
        public.visitors.add(self)
        self._deadline_s = public.now_s() + public.settings.head_s
        if public.is_draining:
            transport.close()  # accepted a moment before the relay stopped listening
        elif self._is_one_too_many(count):
            self.refuse(
                503, b"relay", "the relay has too many connections", retry_after_s=5
            )

    def _is_one_too_many(self, count: int) -> bool:
        """Whether its address, which has so many, or all visitors have too many."""
        public, settings = self._public, self._public.settings
        if public.connections > settings.max_connections:
            return True
        if count <= settings.max_connections_per_address:
            return False
        # A proxy of ours has everybody's connections.
        return public.trusted is None or not public.trusted.trusts(self.peer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        self._uncount()
        passage, self._passage = self._passage, None
        if passage is not None:
            passage.visitor_gone()

    def _leave(self) -> None:
        public = self._public
        if self in public.visitors:
            public.visitors.discard(self)
            if not public.visitors:
                public.emptied.set()

    def _uncount(self) -> None:
        public = self._public
        if self._is_counted:
            self._is_counted = False
            public.connections -= 1
            count = public.by_address[self.peer] - 1
            if count:
                public.by_address[self.peer] = count
            else:
                del public.by_address[self.peer]

    def data_received(self, data: bytes) -> None:
        passage = self._passage
        if passage is None:
            if self._is_lingering:
                return
            self._buffer = self._buffer + data if self._buffer else data
            if self.is_writable:
                self._next()
            elif len(self._buffer) > _MAX_AHEAD_BYTES:
                self.stop_reading()
        elif passage.wants_body:
            self._rate_bytes += len(data)
            passage.body(data)
        else:
            self._buffer += data
            if len(self._buffer) > _MAX_AHEAD_BYTES:
                self.stop_reading()

    def eof_received(self) -> bool:
        passage = self._passage
        if passage is None:
            return False
        return passage.visitor_done()

    def pause_writing(self) -> None:
        self.is_writable = False

    def resume_writing(self) -> None:
        self.is_writable = True
        if self._passage is not None:
            self._passage.written()
        elif not self._is_lingering and not self.transport.is_closing():
            self._go_on()

    # One request after the other

    def _next(self) -> None:
        """Begin with what the buffer holds."""
        if self._is_next_asked:
            return  # whoever is at it further up goes on
        self._is_next_asked = True
        try:
            while (
                self._passage is None
                and self._buffer
                and not self._is_lingering
                and self.is_writable  # who reads no answers gets no more
            ):
                buffer = self._buffer
                end = find_head_end(buffer, max(0, self._searched - 3))
                if end < 0:
                    self._check_unfinished(buffer)
                    return
                self._buffer = buffer[end:]
                self._searched = 0
                try:
                    head = parse_request_head(buffer[:end])
                except BadMessage as error:
                    self.refuse(error.status, b"relay", error.reason)
                    return
                self._begin(head)
        finally:
            self._is_next_asked = False

    def _check_unfinished(self, buffer: bytes) -> None:
        """Refuse a head that can't become a good one, before it is whole."""
        if self._searched == 0:  # it has just begun
            public = self._public
            self._deadline_s = public.now_s() + public.settings.head_s
        try:
            check_unfinished_head(buffer, self._searched)
            self._searched = len(buffer)
        except BadMessage as error:
            self.refuse(error.status, b"relay", error.reason)

    def _begin(self, head: RequestHead) -> None:
        public = self._public
        if head.path == LINK_PATH and head.upgrade == b"websocket":
            self._hand_over(public.become_link, head)
            return
        domain = public.settings.domain
        address = address_of(head.host, head.path, None, domain)
        if address is None:  # asked for the header last: looking for it costs
            address = address_of(
                head.host, head.path, head.header(b"qemu-tunnel"), domain
            )
        if address is None:
            if head.path.startswith(_OWN_PREFIX):
                self._hand_over(public.become_api, head)
            else:
                self.refuse(
                    404,
                    b"relay",
                    f"no tunnel is meant: use <name>.{domain}, /t/<name>/ or the "
                    "header Qemu-Tunnel",
                    head=head,
                )
            return
        rest, self._buffer = self._buffer, b""
        self._rate_bytes, self._rate_since_s = len(rest), public.now_s()
        self._passage = passage = Passage(self, public, head, address)
        passage.begin(rest)

    def _hand_over(self, become: HandOver, head: RequestHead) -> None:
        self._leave()
        become(self.transport, head, self._buffer, self.peer, uncount=self._uncount)

    def request_read(self, rest: bytes) -> None:
        """The request's body is whole; ``rest`` belongs to the next one."""
        if rest:
            self._buffer = rest

    def answered(self, *, close: bool, is_request_whole: bool) -> None:
        """The answer is out; go on, or close."""
        self._passage = None
        public = self._public
        if not is_request_whole:
            self._linger()
        elif close or public.is_draining:
            self.transport.close()
        else:
            self._deadline_s = public.now_s() + public.settings.idle_s
            if self.is_writable:
                self._go_on()

    def _go_on(self) -> None:
        self.go_on_reading()
        if self._buffer:
            self._next()

    def refuse(
        self,
        status: int,
        error: bytes,
        sentence: str,
        *,
        head: RequestHead | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        """Answer that the request can't be served, and close."""
        self._public.counters.failed(error)
        self.transport.write(
            error_response(
                status,
                error=error,
                sentence=sentence,
                retry_after_s=retry_after_s,
                version=11 if head is None else head.version,
                close=True,
                head_only=head is not None and head.method == b"HEAD",
            )
        )
        self._linger()

    def _linger(self) -> None:
        """Close, but not before the other end has read the answer.

        Closing at once, with bytes unread, would reset the connection, and the answer
        with it (RFC 9112, 9.6).
        """
        self._passage = None
        self._buffer = b""
        self._is_lingering = True
        self._deadline_s = self._public.now_s() + _LINGER_S
        self.go_on_reading()
        # TLS can't be closed by halves: there the other end closes, or its time is up.
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def stop_reading(self) -> None:
        """Read nothing until there is room for it."""
        if self.is_reading:
            self.is_reading = False
            self.transport.pause_reading()

    def go_on_reading(self) -> None:
        """There is room again."""
        if not self.is_reading:
            self.is_reading = True
            # What was read while nobody wanted it doesn't count for the rate.
            self._rate_bytes, self._rate_since_s = 0, self._public.now_s()
            if not self.transport.is_closing():
                self.transport.resume_reading()

    def check(self, now_s: float) -> None:
        """Close what takes too long: a head, a body, the next request."""
        passage = self._passage
        if passage is None:
            unsent = self.transport.get_write_buffer_size()
            if unsent and unsent != self._unsent:
                # The last answer is still being read, as slowly as may be.
                self._unsent = unsent
                self._deadline_s = now_s + self._public.settings.idle_s
            elif now_s >= self._deadline_s:
                if self._buffer and not unsent:
                    self.refuse(408, b"relay", "the request's head took too long")
                elif self._is_lingering and not self.transport.is_closing():
                    self._deadline_s = now_s + _LINGER_S
                    self.transport.close()
                else:
                    self.transport.abort()
        elif passage.is_keeping_back:
            self._rate_since_s = now_s
        elif (
            passage.wants_body
            and self.is_reading
            and not passage.is_raw
            and now_s - self._rate_since_s >= _RATE_WINDOW_S
        ):
            elapsed_s = now_s - self._rate_since_s
            if self._rate_bytes < _LEAST_BYTES_PER_S * elapsed_s:
                passage.fail(408, b"relay", "the request's body came too slowly")
            else:
                self._rate_bytes, self._rate_since_s = 0, now_s

    def drain(self) -> None:
        """Close as soon as no request is under way."""
        if self._passage is None and not self._is_lingering:
            self.transport.close()
