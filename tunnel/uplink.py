"""The relay's end of a link: the websocket that a tunnel client has opened.

Says who it is (HELLO), gets its name and session (WELCOME), and from then on carries
the session's messages. One write for all that was said within a turn of the loop. The
link's rules are ``link.py``'s, whose name it is ``leases.py`` knows; what a client may
have is decided by ``admission.py``.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Protocol

from websockets.http11 import Request
from websockets.server import ServerProtocol

from tunnel.carriage import QUIET, Carriage
from tunnel.errors import RelayRefused, TunnelError, WireError
from tunnel.leases import Session
from tunnel.wire import (
    CLOSE_BAD_FRAME,
    CLOSE_REFUSED,
    MAX_HELLO_BYTES,
    MAX_MESSAGE_BYTES,
    Kind,
    decode_frames,
    decode_json,
    encode_frame,
    encode_json,
)

__all__ = ["Uplink", "UplinkOwner"]

_WRITE_HIGH_BYTES = 1 << 18

_MAX_UNSENT_BYTES = 1 << 17
"""In the system's buffer: what is there already, nothing can overtake."""

_NOTSENT_LOWAT: int | None = getattr(socket, "TCP_NOTSENT_LOWAT", None)


class UplinkOwner(Protocol):
    """The relay, as far as a link's end needs it."""

    uplinks: set[Uplink]

    def now_s(self) -> float:
        """Return the present instant, by a clock that never goes back."""

    async def admit(
        self, hello: dict[str, Any], uplink: Uplink
    ) -> tuple[Session, dict[str, Any]]:
        """Return the session and what WELCOME says. Raises ``TunnelError``."""

    def attached(self, session: Session, is_resumed: bool) -> None:
        """A session has a socket."""

    def detached(self, session: Session, reason: str) -> None:
        """A session's socket is gone."""


class Uplink(asyncio.Protocol):
    """A client's websocket."""

    __slots__ = (
        "_carriage",
        "_flush_due",
        "_greeting",
        "_has_heard",
        "_is_paused",
        "_owner",
        "_protocol",
        "_uncount",
        "began_s",
        "heard_s",
        "host",
        "peer",
        "scheme",
        "session",
        "transport",
    )

    def __init__(
        self,
        owner: UplinkOwner,
        transport: asyncio.Transport,
        *,
        peer: str,
        scheme: str,
        host: str,
        uncount: Callable[[], None],
    ) -> None:
        self._owner = owner
        self._uncount = uncount
        """Until its client is admitted, it counts as a visitor's connection."""
        self.transport = transport
        self.peer = peer
        self.scheme = scheme
        """How the client reached the relay: its visitors will, too."""
        self.host = host
        """The host and port it asked for."""
        self.session: Session | None = None
        self.began_s = self.heard_s = owner.now_s()
        self._protocol = ServerProtocol(max_size=MAX_HELLO_BYTES, logger=QUIET)
        self._carriage = Carriage(self._protocol, transport.writelines)
        self._greeting: asyncio.Task[None] | None = None
        self._has_heard = False
        self._is_paused = False
        self._flush_due = False

    def begin(self, head: bytes, rest: bytes) -> None:
        """Answer the websocket's handshake, and take in what came after it."""
        self._owner.uplinks.add(self)
        self.transport.set_write_buffer_limits(high=_WRITE_HIGH_BYTES)
        sock = self.transport.get_extra_info("socket")
        if sock is not None and _NOTSENT_LOWAT is not None:
            sock.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, _MAX_UNSENT_BYTES)
        protocol = self._protocol
        protocol.receive_data(head)
        for event in protocol.events_received():
            if isinstance(event, Request):
                protocol.send_response(protocol.accept(event))
        self.transport.writelines([data for data in protocol.data_to_send() if data])
        if not self._carriage.is_open:
            self.transport.close()
        elif rest:
            self.data_received(rest)

    # What asyncio says

    def data_received(self, data: bytes) -> None:
        self.heard_s = self._owner.now_s()
        try:
            for message in self._carriage.feed(data):
                if self.session is not None:
                    self.session.link.receive(message)
                elif not self._has_heard:
                    self._hear(message)
                else:
                    raise WireError(CLOSE_BAD_FRAME, "a message before the WELCOME")
        except WireError as error:
            self.close(error.code, error.reason)
        if self._carriage.close_code is not None:
            self._detach()
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._owner.uplinks.discard(self)
        if self._greeting is not None:
            self._greeting.cancel()
        self._uncount()
        self._detach()

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._flush()

    # Who it is

    def _hear(self, message: bytes) -> None:
        frames = list(decode_frames(message))
        if len(frames) != 1 or frames[0][1] != Kind.HELLO:
            raise WireError(CLOSE_BAD_FRAME, "a link begins with HELLO")
        hello = decode_json(frames[0][3])
        self._has_heard = True
        self._greeting = asyncio.ensure_future(self._greet(hello))
        self._greeting.add_done_callback(self._greeted)

    def _greeted(self, task: asyncio.Task[None]) -> None:
        self._greeting = None
        if not task.cancelled():
            task.result()  # a mistake of ours: let the loop's handler say so

    async def _greet(self, hello: dict[str, Any]) -> None:
        try:
            session, welcome = await self._owner.admit(hello, self)
        except WireError as error:
            self.close(error.code, error.reason)
            return
        except RelayRefused as error:
            self.close(CLOSE_REFUSED, error.reason)
            return
        except TunnelError as error:
            self.close(CLOSE_REFUSED, str(error))
            return
        if not self._carriage.is_open or self.transport.is_closing():
            return
        self._uncount()
        self._carriage.bound(MAX_MESSAGE_BYTES)
        self._carriage.send(encode_frame(0, Kind.WELCOME, encode_json(welcome)))
        before, session.socket = session.socket, self
        if isinstance(before, Uplink):
            before.session = None
            before.close(CLOSE_BAD_FRAME, "the session has a newer link")
        self.session = session
        session.is_cut = False
        is_resumed = bool(welcome["resumed"])
        if is_resumed:
            try:
                session.link.resume(hello.get("seen", 0))
            except WireError as error:
                self.close(error.code, error.reason)
                return
        self._owner.attached(session, is_resumed)
        self.flush_soon()

    # What it carries

    def flush_soon(self) -> None:
        """Send what there is at the end of this turn of the loop."""
        if not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        session = self.session
        if session is None:
            return
        take, send = session.link.take, self._carriage.send
        while not self._is_paused:
            message = take()
            if not message:
                break
            send(message)

    def go_away(self, reason: str) -> None:
        """Ask the client to open another link."""
        self._carriage.send(encode_frame(0, Kind.GOAWAY, encode_json({"why": reason})))

    def close(self, code: int, reason: str) -> None:
        """Close the websocket, and say why."""
        # One that is gone can't be written to: uvloop's raises an error.
        if not self.transport.is_closing():
            self._carriage.close(code, reason)
        self._detach()
        self.transport.close()

    def give_up(self, code: int, reason: str) -> None:
        """Close the websocket, and the connection though it may not be heard."""
        self.close(code, reason)
        self.transport.abort()

    def _detach(self) -> None:
        session, self.session = self.session, None
        if session is not None and session.socket is self:
            session.socket = None
            session.gone_s = self._owner.now_s()
            code = self._carriage.close_code or 1006
            self._owner.detached(
                session, self._carriage.close_reason or f"connection lost ({code})"
            )
