"""One request on the laptop: from the link to the local server, and its answer back.

The request's head goes to the server as it came; its body is framed again as the head
says. The answer's head goes back as it came, its body without framing. Whatever breaks
is told as what it is: the local server refused, or broke off.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tunnel.exchange import Exchange
from tunnel.flow import FIRST_BYTES
from tunnel.http import (
    BadMessage,
    BodyReader,
    ResponseHead,
    check_unfinished_head,
    encode_chunk,
    error_response,
    find_head_end,
    last_chunk,
    parse_response_head,
)
from tunnel.link import Stream
from tunnel.local import LocalConnection, LocalServer
from tunnel.wire import CHUNKED, UPGRADE, ResetCode, encode_head

__all__ = ["Call", "Calls", "Verify"]

Verify = Callable[[bytes, bytes, str], str | None]
"""Head, body, public URL of a request -> why it may not reach the app, or ``None``."""

_SAFE_TWICE = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})
"""Methods that may be sent again when a kept connection turns out closed (RFC 9110)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """What all calls share."""

    server: LocalServer
    now_ms: Callable[[], int]
    finished: Callable[[Exchange], None]
    verify: Verify | None
    max_verified_bytes: int


class Call:
    """A stream's sink at the client, and the occupant of a local connection."""

    __slots__ = (
        "_answer",
        "_body",
        "_buffer",
        "_calls",
        "_connection",
        "_exchange",
        "_has_local_ended",
        "_head",
        "_is_chunked",
        "_is_done",
        "_is_raw",
        "_is_request_whole",
        "_is_upgrade",
        "_method",
        "_pending",
        "_reader",
        "_stream",
        "_unaccepted",
        "_url",
        "_was_reused",
        "until_s",
    )

    def __init__(
        self, calls: Calls, stream: Stream, head: bytes, flags: int, exchange: Exchange
    ) -> None:
        self._calls = calls
        self._stream = stream
        self._head = head
        self._exchange = exchange
        self._method = head[: head.index(b" ")]
        self._is_chunked = bool(flags & CHUNKED)
        self._is_upgrade = bool(flags & UPGRADE)
        self._has_local_ended = False
        self._connection: LocalConnection | None = None
        self._pending: list[bytes] = []
        self._buffer = b""
        self._answer: ResponseHead | None = None
        self._reader: BodyReader | None = None
        self._is_request_whole = False
        self._is_raw = False
        self._is_done = False
        self._was_reused = False
        self._unaccepted = 0
        self._body: list[bytes] | None = None if calls.verify is None else []
        self._url = ""
        self.until_s = 0.0
        """How long it waits for the local server to come back."""

    # The request

    def begin(self, body: bytes, *, is_last: bool, url: str) -> None:
        """Start with the first body bytes; ``url`` is the public one."""
        self._url = url
        is_last = is_last or self._is_upgrade  # what may follow isn't the request's
        if body:
            self._exchange.request_data(body)
        if self._body is not None:
            self._body.append(body)
            if is_last:
                self._verify(b"")
            return
        self._is_request_whole = is_last
        self._pending.append(self._head)
        if body:
            self._pending.append(encode_chunk(body) if self._is_chunked else body)
        if is_last and self._is_chunked:
            self._pending.append(last_chunk())
        self._calls.server.connect(self)

    def _verify(self, trailers: bytes) -> None:
        """The whole body is there: let the request pass, or answer it here."""
        assert self._calls.verify is not None
        assert self._body is not None
        body = b"".join(self._body)
        self._body = None
        why = self._calls.verify(self._head, body, self._url)
        if why is not None:
            self._refuse(401, why)
            return
        self._is_request_whole = True
        self._pending.append(self._head)
        if self._is_chunked:
            if body:
                self._pending.append(encode_chunk(body))
            self._pending.append(last_chunk(trailers))
        else:
            self._pending.append(body)
        self._calls.server.connect(self)

    def _refuse(self, status: int, why: str) -> None:
        """Answer in the app's place."""
        self._body = None
        answer = error_response(
            status,
            error=b"access",
            sentence=why,
            close=False,
            head_only=self._method == b"HEAD",
        )
        end = find_head_end(answer)
        if not self._stream.is_over:
            payload = encode_head(answer[:end], answer[end:])
            self._exchange.answer_head(answer[:end])
            self._stream.send_head(payload, is_last=True)
        self._finish(why, "access")

    def on_data(self, data: bytes) -> None:
        """Pass more of the request's body on."""
        if self._is_done:
            self._stream.accept(len(data))
            return
        self._exchange.request_data(data)
        if self._body is not None:
            self._body.append(data)
            self._stream.accept(len(data))
            most = self._calls.max_verified_bytes
            if self._exchange.request_bytes > most:
                self._refuse(
                    413, f"a body whose signature is checked has {most} bytes at most"
                )
            return
        framed = encode_chunk(data) if self._is_chunked else data
        connection = self._connection
        if connection is None:
            self._pending.append(framed)
            self._unaccepted += len(data)
            return
        connection.transport.write(framed)
        if connection.is_writable:
            self._stream.accept(len(data))
        else:
            self._unaccepted += len(data)

    def on_end(self, trailers: bytes) -> None:
        """The request is whole."""
        if self._is_done:
            return
        if self._body is not None:
            self._verify(trailers)
            return
        self._is_request_whole = True
        connection = self._connection
        if self._is_raw:
            if connection is not None and connection.transport.can_write_eof():
                connection.transport.write_eof()
            if self._has_local_ended:
                self._raw_ended()
            return
        if self._is_chunked:
            if connection is None:
                self._pending.append(last_chunk(trailers))
            else:
                connection.transport.write(last_chunk(trailers))

    def on_reset(self, code: ResetCode, text: str) -> None:
        """Nobody waits for the answer any more."""
        self._calls.server.give_up(self)
        self._finish(text, "relay" if code == ResetCode.RELAY else "link")

    def on_room(self) -> None:
        """The link has room for more of the answer."""
        if self._connection is not None:
            self._connection.go_on_reading()

    def on_head(self, payload: bytes, is_last: bool) -> None:
        """The relay answers nothing: ``Link`` lets no HEAD come here."""

    def on_upgraded(self) -> None:
        """Nor does it switch protocols."""

    # The local connection

    def connected(self, connection: LocalConnection) -> None:
        """Send what waits."""
        if self._is_done:
            connection.release(is_reusable=True)
            return
        self._connection = connection
        self._was_reused = connection.uses > 1
        pending = self._pending
        transport = connection.transport
        transport.write(pending[0] if len(pending) == 1 else b"".join(pending))
        if self._was_reused and self._is_request_whole:
            self._pending = pending  # kept: it may have to be sent again
        else:
            self._pending = []
        if self._unaccepted and connection.is_writable:
            self.written()

    def refused(self, reason: str) -> None:
        """There is no local server."""
        self._cut(ResetCode.LOCAL_REFUSED, reason)

    def written(self) -> None:
        """The local server has taken what was sent."""
        count, self._unaccepted = self._unaccepted, 0
        if count:
            self._stream.accept(count)

    def received(self, data: bytes) -> None:
        """Take in some of the answer."""
        if self._is_raw:
            self._send(data)
            return
        if self._answer is not None:
            self._answer_body(data)
            return
        self._buffer = data = self._buffer + data if self._buffer else data
        while self._answer is None:
            end = find_head_end(data)
            if end < 0:
                self._buffer = data
                try:
                    check_unfinished_head(data)
                except BadMessage as error:
                    self._broke(f"its answer isn't HTTP: {error.reason}")
                return
            raw, data = data[:end], data[end:]
            try:
                answer = parse_response_head(raw, self._method)
            except BadMessage as error:
                self._broke(f"its answer isn't HTTP: {error.reason}")
                return
            if answer.is_interim:
                self._stream.send_head(encode_head(raw, b""), is_last=False)
                continue
            self._answer = answer
        self._pending = []
        self._buffer = b""
        self._answer_begins(answer, raw, data)

    def _answer_begins(self, answer: ResponseHead, raw: bytes, data: bytes) -> None:
        stream, exchange = self._stream, self._exchange
        exchange.answer_head(raw, self._calls.now_ms())
        if answer.upgrade:
            self._is_raw = True
            stream.send_head(encode_head(raw, b""), is_last=False)
            stream.send_upgraded()
            if data:
                self._send(data)
            return
        reader = BodyReader(answer.length, answer.is_chunked, answer.until_close)
        try:
            body = reader.feed(data)
        except BadMessage as error:
            self._broke(error.reason)
            return
        if body:
            exchange.answer_data(body)
        if reader.is_finished and len(body) <= FIRST_BYTES and not reader.trailers:
            stream.send_head(encode_head(raw, body), is_last=True)
            self._release(answer, reader)
            return
        self._reader = reader
        stream.send_head(encode_head(raw, body[:FIRST_BYTES]), is_last=False)
        if len(body) > FIRST_BYTES:
            stream.send_data(body[FIRST_BYTES:])
        if reader.is_finished:
            stream.send_end(reader.trailers)
            self._release(answer, reader)
        else:
            self._mind_room()

    def _answer_body(self, data: bytes) -> None:
        reader, answer = self._reader, self._answer
        assert reader is not None
        assert answer is not None
        try:
            body = reader.feed(data)
        except BadMessage as error:
            self._broke(error.reason)
            return
        if body:
            self._send(body)
        if reader.is_finished:
            self._stream.send_end(reader.trailers)
            self._release(answer, reader)

    def _send(self, data: bytes) -> None:
        self._exchange.answer_data(data)
        if not self._stream.is_over:
            self._stream.send_data(data)
            self._mind_room()

    def _mind_room(self) -> None:
        if self._stream.is_full and self._connection is not None:
            self._connection.stop_reading()

    def _release(self, answer: ResponseHead, reader: BodyReader) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.release(
                is_reusable=answer.keep_alive
                and self._is_request_whole
                and not reader.rest
            )
        self._finish(None, None)

    def ended(self) -> None:
        """The local server sends nothing more."""
        if self._is_raw:
            self._has_local_ended = True
            self._stream.send_end()
            if self._stream.got_end:
                self._raw_ended()
            return
        reader, answer = self._reader, self._answer
        if reader is not None and answer is not None and answer.until_close:
            reader.end()
            self._stream.send_end()
            self._release(answer, reader)
        else:
            if self._connection is not None:
                self._connection.release(is_reusable=False)
            self.lost(None)

    def lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self._connection = None
        if self._is_done:
            return
        if self._is_raw:
            self._stream.reset(ResetCode.LOCAL_BROKE, "local closed the connection")
            self._finish(None, None)
        elif (
            self._pending
            and not self._buffer
            and self._was_reused
            and self._method in _SAFE_TWICE
        ):
            self._calls.server.connect(self, fresh=True)
        else:
            begun = "in its answer" if self._answer else "before it answered"
            self._broke(f"it closed the connection {begun}")

    def _raw_ended(self) -> None:
        """Both sides have ended: close, but not before all is written."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.occupant = None
            connection.transport.close()
        self._finish(None, None)

    def _broke(self, text: str) -> None:
        self._cut(ResetCode.LOCAL_BROKE, f"local broke off: {text}")

    def _cut(self, code: ResetCode, text: str) -> None:
        if not self._is_done:
            self._stream.reset(code, text)
            self._finish(text, "local")

    def _finish(
        self,
        error: str | None,
        failed_end: Literal["local", "link", "relay", "access"] | None,
    ) -> None:
        """Close what is open, and say what became of the exchange, once."""
        if self._is_done:
            return
        self._is_done = True
        if self._unaccepted:
            self.written()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.release(is_reusable=False)
        self._exchange.finish(self._calls.now_ms(), error, failed_end)
        self._calls.finished(self._exchange)
