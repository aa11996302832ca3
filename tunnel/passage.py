"""A passage: one request through a tunnel, and its answer, at the relay.

Head and body pass as the bytes they are (``http.py``); who may pass, and whose tunnel
it is, ``policy.py`` and ``leases.py`` say. What goes wrong is answered with a status
and the end that failed, or by breaking off if an answer has begun: never with a half
answer that looks whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunnel.http import (
    BadMessage,
    RequestHead,
    error_response,
    forward_request,
    forward_response,
    parse_response_head,
)
from tunnel.leases import Session
from tunnel.link import Stream
from tunnel.names import Address
from tunnel.reframing import Reframing
from tunnel.upload import Upload
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
        "_has_ended",
        "_public",
        "_stream",
        "_unaccepted",
        "_upload",
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
        self._upload: Upload | None = None
        """``None``: the request has no body."""
        self._answer: Reframing | None = None
        self._close = not head.keep_alive
        self._has_ended = False
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
            self._visitor.request_read(rest)
        else:
            self._upload = upload = Upload(head)
            try:
                upload.bound(public.settings.max_body_bytes)
            except BadMessage as error:
                self.fail(error.status, b"relay", error.reason)
                return
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

    @property
    def _is_whole(self) -> bool:
        upload = self._upload
        return upload is None or upload.is_whole

    def body(self, data: bytes) -> None:
        """Take in what may be part of the body."""
        stream = self._stream
        if self.is_raw:
            if stream is not None and not stream.is_over:
                stream.send_data(data)
                if stream.is_full:
                    self._visitor.stop_reading()
            return
        upload = self._upload
        assert upload is not None
        self.is_keeping_back = False
        try:
            body = upload.feed(data)
        except BadMessage as error:
            self.fail(error.status, b"relay", error.reason)
            return
        if upload.is_whole:
            self.wants_body = False
            self._visitor.request_read(upload.rest)
        if stream is None:
            if body:
                upload.keep(body)
            if self.wants_body and upload.more:
                self._visitor.stop_reading()
        elif not stream.is_over:
            if body:
                stream.send_data(body)
            if upload.is_whole:
                stream.send_end(upload.trailers)
            elif stream.is_full:
                self._visitor.stop_reading()

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
        refusal = session.refusal(
            head, self._address.prefix, client, now_s=public.now_s()
        )
        if refusal is not None:
            self.fail(
                refusal.status,
                refusal.end,
                refusal.sentence,
                retry_after_s=refusal.retry_after_s,
                more=refusal.more,
            )
            return
        upload = self._upload
        if upload is not None:
            try:
                upload.bound(session.policy.max_body_bytes)
            except BadMessage as error:
                self.fail(error.status, b"relay", error.reason)
                return
        payload = encode_open(
            forward_request(
                head,
                peer=visitor.peer.encode(),
                scheme=scheme,
                host=host,
                cut_prefix=self._address.prefix,
            ),
            b"" if upload is None else upload.first,
            peer=client.encode()[:255],
            flags=(SECURE if scheme == b"https" else 0)
            | (CHUNKED if head.is_chunked else 0)
            | (UPGRADE if head.upgrade is not None else 0),
            received_ms=public.wall_ms(),
        )
        public.counters.requests += 1
        # An upgrade's request ends with its answer: raw bytes may follow it.
        is_whole = self._is_whole and head.upgrade is None
        if upload is None:
            self._stream = session.link.open(payload, self, is_last=is_whole)
            return
        is_last = is_whole and not upload.more and not upload.trailers
        self._stream = stream = session.link.open(payload, self, is_last=is_last)
        if not is_last:
            for data in upload.more:
                stream.send_data(data)
            upload.more.clear()
            if is_whole:
                stream.send_end(upload.trailers)
            elif not stream.is_full:
                visitor.go_on_reading()

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
        self._answer = reframing = Reframing(answer, request.version)
        if request.upgrade is not None and not answer.upgrade and self._stream:
            self._stream.send_end()  # it stays HTTP
        if reframing.closes or (is_last and not self._is_whole):
            self._close = True
        out = reframing.head(close=self._close or self._public.is_draining)
        if data:
            try:
                out += reframing.body(data)
            except BadMessage as error:
                self._give_back(f"the local server's answer: {error.reason}")
                return
        visitor.transport.write(out)
        if is_last:
            self._end(b"")

    def on_data(self, data: bytes) -> None:
        """Pass body bytes on, and accept them once the visitor's socket has."""
        stream, visitor = self._stream, self._visitor
        assert stream is not None
        if visitor._passage is not self:
            stream.accept(len(data))
            return
        answer = self._answer
        if answer is None:
            self._give_back("an answer's body came before its head")
        else:
            try:
                visitor.transport.write(answer.body(data))
            except BadMessage as error:
                self._give_back(f"the local server's answer: {error.reason}")
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
        if self._answer is None or not self._answer.is_upgrade:
            self._give_back("the local server switched protocols without an answer")
            return
        self._answer.lift()
        self.is_raw = True
        self.wants_body = True
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

    def _end(self, trailers: bytes) -> None:
        visitor = self._visitor
        if self.is_raw:
            if visitor.transport.can_write_eof():
                visitor.transport.write_eof()
            if self._stream is None or self._stream.is_over or not self.wants_body:
                self.written()
                visitor.answered(close=True, is_request_whole=True)
            return
        answer = self._answer
        if answer is None or answer.is_upgrade:
            self._give_back("the local server's answer ended before it began")
            return
        try:
            end = answer.end(trailers)
        except BadMessage as error:
            self._give_back(f"the local server's answer: {error.reason}")
            return
        if end:
            visitor.transport.write(end)
        stream = self._stream
        if stream is not None and not self._is_whole and not stream.is_over:
            stream.reset(ResetCode.VISITOR, "the answer came before the whole request")
        if self._unaccepted:  # what waits now waits for the visitor alone
            self.written()
        self._public.counters.answered(answer.status)
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
