"""A passage: one request through a tunnel, and its answer, at the relay.

Head and body pass as the bytes they are (``http.py``); who may pass, and whose tunnel
it is, ``policy.py`` and ``leases.py`` say. What goes wrong is answered with a status
and the end that failed, or by breaking off if an answer has begun: never with a half
answer that looks whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunnel.flow import FIRST_BYTES
from tunnel.http import (
    BadMessage,
    BodyReader,
    RequestHead,
    ResponseHead,
    check_trailers,
    encode_chunk,
    error_response,
    forward_request,
    forward_response,
    last_chunk,
    parse_response_head,
)
from tunnel.leases import Session
from tunnel.link import Stream
from tunnel.names import Address
from tunnel.wire import (
    CHUNKED,
    SECURE,
    UPGRADE,
    ResetCode,
    decode_head,
    encode_open,
)

if TYPE_CHECKING:
    from tunnel.visitors import Public, Visitor

__all__ = ["Passage"]

_RESETS = {
    ResetCode.RELAY: (503, b"relay"),
    ResetCode.LINK: (503, b"link"),
    ResetCode.LOCAL_REFUSED: (502, b"local"),
    ResetCode.LOCAL_BROKE: (502, b"local"),
    ResetCode.VISITOR: (400, b"relay"),
    ResetCode.ACCESS: (403, b"access"),
}


class Passage:
    """A request on its way, and its answer: a stream's sink at the relay."""

    __slots__ = (
        "_address",
        "_answer",
        "_close",
        "_extra",
        "_first",
        "_has_ended",
        "_is_chunking",
        "_is_whole",
        "_left",
        "_most",
        "_public",
        "_reader",
        "_stream",
        "_taken",
        "_trailers",
        "_unaccepted",
        "_visitor",
        "head",
        "is_keeping_back",
        "is_raw",
        "until_s",
        "wants_body",
    )

    def __init__(
        self, visitor: Visitor, public: Public, head: RequestHead, address: Address
    ) -> None:
        self._visitor = visitor
        self._public = public
        self._address = address
        self._stream: Stream | None = None
        self._reader: BodyReader | None = None
        self._first = b""
        self._extra: list[bytes] = []
        self._trailers = b""
        self._taken = 0
        self._most = public.settings.max_body_bytes
        self._answer: ResponseHead | None = None
        self._close = not head.keep_alive
        self._has_ended = False
        self._is_chunking = False
        self._is_whole = False
        self._left: int | None = None
        self._unaccepted = 0
        self.head = head
        self.is_keeping_back = head.expects_continue
        """Whether the visitor may wait for a 100 before it sends the body."""
        self.is_raw = False
        """Whether both sides exchange what they like, after an upgrade."""
        self.until_s = 0.0
        self.wants_body = False

    @property
    def name(self) -> str:
        """Of the tunnel that it is meant for."""
        return self._address.name

    # The request

    def begin(self, rest: bytes) -> None:
        """Start with the head, and what has come after it."""
        head, public = self.head, self._public
        if head.length == 0:
            self._is_whole = True
            self._visitor.request_read(rest)
        else:
            if self._most is not None and (head.length or 0) > self._most:
                self._too_large()
                return
            self._reader = BodyReader(head.length, head.is_chunked)
            self.wants_body = True
            if rest:
                self.body(rest)
                if self._visitor._passage is not self:
                    return  # it broke the rules
        leases = public.leases
        session = leases.get(self._address.name)
        if session is not None and session.socket is not None:
            self.start(session)
        else:
            self._hold(session is not None)

    def body(self, data: bytes) -> None:
        """Take in what may be part of the body."""
        stream = self._stream
        if self.is_raw:
            if stream is not None and not stream.is_over:
                stream.send_data(data)
                if stream.is_full:
                    self._visitor.stop_reading()
            return
        reader = self._reader
        assert reader is not None
        self.is_keeping_back = False
        try:
            body = reader.feed(data)
        except BadMessage as error:
            self.fail(error.status, b"relay", error.reason)
            return
        if body:
            self._taken += len(body)
            if self._most is not None and self._taken > self._most:
                self._too_large()
                return
        if reader.is_finished:
            self._is_whole = True
            self.wants_body = False
            self._trailers = reader.trailers
            self._visitor.request_read(reader.rest)
        if stream is None:
            if body:
                room = FIRST_BYTES - len(self._first)
                if self._extra or len(body) > room:
                    self._extra.append(body)
                else:
                    self._first += body
            if self.wants_body and self._extra:
                self._visitor.stop_reading()
        elif not stream.is_over:
            if body:
                stream.send_data(body)
            if self._is_whole:
                stream.send_end(self._trailers)
            elif stream.is_full:
                self._visitor.stop_reading()

    def _too_large(self) -> None:
        self.fail(413, b"relay", f"a body has {self._most} bytes at most here")

    def visitor_done(self) -> bool:
        """The visitor sends nothing more; return whether the connection stays."""
        self._has_ended = True
        if self.is_raw:
            return self._raw_done()
        if not self._is_whole:
            self._reset("the visitor broke off")
            return False
        self._close = True
        return True

    def _raw_done(self) -> bool:
        """Pass on that the visitor ends; return whether the app still goes on."""
        stream = self._stream
        self.wants_body = False
        if stream is None or stream.is_over:
            return False
        stream.send_end()
        return not stream.got_end

    def visitor_gone(self) -> None:
        """The connection is closed."""
        stream = self._stream
        if not (self.is_raw and self._has_ended and stream and stream.got_end):
            self._reset("the visitor is gone")

    def _reset(self, text: str) -> None:
        if self._stream is None:
            self._public.leases.let_go(self)
        elif not self._stream.is_over:
            self._stream.reset(ResetCode.VISITOR, text)

    # Its tunnel

    def _hold(self, is_known: bool) -> None:
        public = self._public
        now_s = public.now_s()
        hold_s = public.settings.hold_s
        is_new = now_s < public.started_s + hold_s  # tunnels are still coming back
        if not (is_known or is_new or public.leases.is_known(self.name)):
            self.fail(404, b"relay", f"there is no tunnel {self.name!r} here")
            return
        self.until_s = now_s + hold_s
        if public.is_draining or not public.leases.hold(self):
            self.fail(
                503,
                b"relay",
                "too many requests wait for tunnels that are away",
                retry_after_s=10,
            )

    def give_up(self, away_s: float | None) -> None:
        """The tunnel didn't come back in time."""
        if away_s is None:
            self.fail(404, b"relay", f"there is no tunnel {self.name!r} here")
            return
        self.fail(
            503,
            b"link",
            f"the tunnel {self.name!r} is away: is `qemu tunnel` running?",
            retry_after_s=min(300, max(10, round(away_s))),
        )

    def start(self, session: Session) -> None:
        """Send the request into its tunnel."""
        head, visitor, public = self.head, self._visitor, self._public
        scheme = b"https" if public.is_secure else b"http"
        client, host = visitor.peer, None
        if public.trusted is not None:
            origin = public.trusted.origin(head.raw, client)
            client, host = origin.client, origin.host
            if origin.scheme is not None:
                scheme = origin.scheme.encode()
        if not self._may_pass(session, client):
            return
        if session.link.open_streams >= public.settings.max_streams:
            self.fail(
                503,
                b"relay",
                "too many requests are under way in this tunnel",
                retry_after_s=1,
            )
            return
        payload = encode_open(
            forward_request(
                head,
                peer=visitor.peer.encode(),
                scheme=scheme,
                host=host,
                cut_prefix=self._address.prefix,
            ),
            self._first,
            peer=client.encode()[:255],
            flags=(SECURE if scheme == b"https" else 0)
            | (CHUNKED if head.is_chunked else 0)
            | (UPGRADE if head.upgrade is not None else 0),
            received_ms=public.wall_ms(),
        )
        public.counters.requests += 1
        # An upgrade's request ends with its answer: raw bytes may follow it.
        is_whole = self._is_whole and head.upgrade is None
        is_last = is_whole and not self._extra and not self._trailers
        self._stream = stream = session.link.open(payload, self, is_last=is_last)
        self._first = b""
        if not is_last:
            for data in self._extra:
                stream.send_data(data)
            self._extra.clear()
            if is_whole:
                stream.send_end(self._trailers)
            elif not stream.is_full:
                visitor.go_on_reading()

    def _may_pass(self, session: Session, client: str) -> bool:
        policy, bucket = session.policy, session.bucket
        if not policy.is_open:
            path = self.head.path[len(self._address.prefix) :] or b"/"
            authorization = self.head.header(b"authorization")
            refusal = policy.check(client, path, authorization)
            if refusal is not None:
                self.fail(
                    refusal.status, b"access", refusal.sentence, more=refusal.more
                )
                return False
        if policy.max_body_bytes is not None:
            self._most = min(self._most or policy.max_body_bytes, policy.max_body_bytes)
            if max(self._taken, self.head.length or 0) > self._most:
                self._too_large()
                return False
        if bucket is not None:
            wait_s = bucket.take(self._public.now_s())
            if wait_s > 0:
                self.fail(
                    429,
                    b"access",
                    "the tunnel's rate is used up",
                    retry_after_s=max(1, round(wait_s + 0.5)),
                )
                return False
        return True

    # The answer

    def on_head(self, payload: bytes, is_last: bool) -> None:
        """Pass the answer's head on."""
        head, data = decode_head(payload)
        request = self.head
        try:
            answer = parse_response_head(head, request.method)
        except BadMessage as error:
            self._give_back(f"the local server's answer isn't HTTP: {error.reason}")
            return
        visitor = self._visitor
        if self._answer is not None:
            self._give_back("the local server answered twice")
            return
        if answer.is_interim:
            self.is_keeping_back = False
            if is_last:
                self._give_back("the local server's answer ended before it began")
            elif request.version == 11 and visitor.is_writable:
                # No window bounds heads: who reads none gets none.
                visitor.transport.write(
                    forward_response(answer, close=False, version=11)
                )
            return
        if answer.upgrade and (request.upgrade is None or is_last or data):
            self._give_back("the local server switched protocols, unasked")
            return
        self._answer = answer
        if request.upgrade is not None and not answer.upgrade and self._stream:
            self._stream.send_end()  # it stays HTTP
        is_old = request.version == 10
        self._is_chunking = (answer.is_chunked or answer.until_close) and not is_old
        self._left = None if answer.is_chunked or answer.until_close else answer.length
        if (answer.is_chunked or answer.until_close) and is_old:
            self._close = True
        if not self._is_whole and not answer.upgrade and is_last:
            self._close = True
        out = forward_response(
            answer,
            close=self._close or self._public.is_draining,
            version=request.version,
            chunk=self._is_chunking and answer.until_close,
            dechunk=is_old and answer.is_chunked,
        )
        if is_last and not data and not self._is_chunking:
            visitor.transport.write(out)  # the common case without a body
            self._end(b"")
            return
        if not data:
            visitor.transport.write(out)
        elif self._is_chunking:
            visitor.transport.write(out + encode_chunk(data))
        else:
            if not self._counts(len(data)):
                return
            visitor.transport.write(out + data)
        if is_last:
            self._end(b"")

    def on_data(self, data: bytes) -> None:
        """Pass body bytes on, and accept them once the visitor's socket has."""
        stream, visitor = self._stream, self._visitor
        assert stream is not None
        if visitor._passage is not self:
            stream.accept(len(data))
            return
        if self._answer is None:
            self._give_back("an answer's body came before its head")
        elif self._is_chunking:
            visitor.transport.write(encode_chunk(data))
        elif self.is_raw or self._counts(len(data)):
            visitor.transport.write(data)
        if visitor.is_writable:
            stream.accept(len(data))
        else:
            self._unaccepted += len(data)

    def written(self) -> None:
        """The visitor's socket has room again."""
        count, self._unaccepted = self._unaccepted, 0
        if count and self._stream is not None:
            self._stream.accept(count)

    def on_end(self, trailers: bytes) -> None:
        """The answer is whole."""
        if self._visitor._passage is self:
            self._end(trailers)

    def on_upgraded(self) -> None:
        """Let both sides exchange what they like."""
        visitor = self._visitor
        if self._answer is None or not self._answer.upgrade:
            self._give_back("the local server switched protocols without an answer")
            return
        self.is_raw = True
        self.wants_body = True
        self._is_chunking, self._left = False, None
        rest, visitor._buffer = visitor._buffer, b""
        visitor.go_on_reading()
        if rest:
            self.body(rest)
        if self._has_ended:
            self._raw_done()

    def on_room(self) -> None:
        """The tunnel has room for more of the request."""
        self._visitor.go_on_reading()

    def on_reset(self, code: ResetCode, text: str) -> None:
        """The answer won't come, or not all of it."""
        if self._visitor._passage is not self:
            return
        status, error = _RESETS[code]
        retry_after_s = 10 if status == 503 else None
        self.fail(status, error, text, retry_after_s=retry_after_s)

    def _counts(self, count: int) -> bool:
        """Count body bytes; false if there are more than the head has promised."""
        if self._left is None:
            return True
        self._left -= count
        if self._left >= 0:
            return True
        self._give_back("the local server's answer is longer than its Content-Length")
        return False

    def _end(self, trailers: bytes) -> None:
        visitor = self._visitor
        if self.is_raw:
            if visitor.transport.can_write_eof():
                visitor.transport.write_eof()
            if self._stream is None or self._stream.is_over or not self.wants_body:
                self.written()
                visitor.answered(close=True, is_request_whole=True)
            return
        if self._left:
            self._give_back("the local server's answer is shorter than its head says")
            return
        if self._answer is None or self._answer.upgrade:
            self._give_back("the local server's answer ended before it began")
            return
        if self._is_chunking:
            if trailers:
                try:
                    check_trailers(trailers)
                except BadMessage as error:
                    self._give_back(f"the local server's answer: {error.reason}")
                    return
            visitor.transport.write(last_chunk(trailers))
        stream = self._stream
        if stream is not None and not self._is_whole and not stream.is_over:
            stream.reset(ResetCode.VISITOR, "the answer came before the whole request")
        if self._unaccepted:  # what waits now waits for the visitor alone
            self.written()
        self._public.counters.answered(self._answer.status)
        visitor.answered(
            close=self._close or not self._is_whole, is_request_whole=self._is_whole
        )

    def _give_back(self, text: str) -> None:
        """The client sends what can't be passed on."""
        if self._stream is not None:
            self._stream.reset(ResetCode.LOCAL_BROKE, text)
        self.fail(502, b"local", text)

    def fail(
        self,
        status: int,
        error: bytes,
        sentence: str,
        *,
        retry_after_s: int | None = None,
        more: bytes = b"",
    ) -> None:
        """Answer with what went wrong; or break off, if an answer has begun."""
        visitor = self._visitor
        if visitor._passage is not self:
            return
        self._public.counters.failed(error)
        stream = self._stream
        if stream is not None and not stream.is_over:
            stream.reset(ResetCode.VISITOR, sentence)
        if self._answer is not None:
            # Never a half answer that looks whole.
            visitor.transport.abort()
            return
        close = self._close or not self._is_whole or self._public.is_draining
        visitor.transport.write(
            error_response(
                status,
                error=error,
                sentence=sentence,
                retry_after_s=retry_after_s,
                version=self.head.version,
                close=close,
                head_only=self.head.method == b"HEAD",
                more=more,
            )
        )
        visitor.answered(close=close, is_request_whole=self._is_whole)
