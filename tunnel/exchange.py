"""Exchange: one request that came through the tunnel, and what became of it.

Made once for each request, by the inspector, while the request waits: so it keeps the
bytes as they came and parses nothing until somebody looks. What is looked at is
derived from the kept bytes each time, but for the signature's verdict, which is found
once.

Bodies are kept up to a bound; the counters count all of them. Nothing here waits,
sends, or knows what time it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from tunnel.exchange_head import fields_of, header_of, target_of
from tunnel.exchange_json import exchange_json

__all__ = [
    "OVERHEAD_BYTES",
    "Exchange",
    "FailedEnd",
    "Keeper",
    "State",
    "Verdict",
]

OVERHEAD_BYTES = 600
"""What an exchange takes in memory beside its heads and bodies, roughly."""

FailedEnd = Literal["local", "link", "relay", "access"]
"""Whose fault it is that a request had no answer of the app's."""

State = Literal["open", "done", "failed"]

_STATUS = re.compile(rb"HTTP/1\.[0-9] ([0-9]{3})(?![0-9])")
_RETRIED = re.compile("[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a receiver with the app's keys would say of a request's signature."""

    is_valid: bool | None
    """``None``: it can't be told, because the body wasn't kept whole."""

    sentence: str
    """One line, for the terminal."""

    detail: tuple[str, ...] = ()
    """All that is wrong, and what to do about each."""


class Keeper(Protocol):
    """Who keeps exchanges: an ``Inspector``."""

    kept_bytes: int
    """What all that is kept takes in memory."""

    max_bytes: int

    subscribers: Sequence[Callable[[Exchange], None]]
    """Are told of each exchange when it ends."""

    verdict: Callable[[Exchange], Verdict | None] | None

    def trim(self) -> None:
        """Let go of the oldest until ``max_bytes`` are enough."""


class _Unset:
    """The verdict that nobody has asked for yet."""


_UNSET: Final = _Unset()


class Exchange:
    """A request and its answer. Only the tunnel client calls what changes it."""

    __slots__ = (
        "_answer_body",
        "_answer_head",
        "_answer_room",
        "_keeper",
        "_prefix",
        "_request_body",
        "_request_room",
        "_verdict",
        "answer_bytes",
        "error",
        "failed_end",
        "finished_ms",
        "first_byte_at_ms",
        "head",
        "id",
        "is_kept",
        "peer_bytes",
        "replay_of",
        "request_bytes",
        "scheme_bytes",
        "started_ms",
    )

    def __init__(
        self,
        keeper: Keeper,
        id: int,
        peer: bytes,
        scheme: bytes,
        head: bytes,
        public_url_prefix: str,
        started_ms: int,
        max_body_bytes: int,
    ) -> None:
        self._keeper = keeper
        self.id: Final = id
        """1 for the first of a tunnel, then upwards without a gap."""
        self.peer_bytes: Final = peer
        self.scheme_bytes: Final = scheme
        self.head: Final = head
        """The request's head, as it arrived."""
        self._prefix = public_url_prefix
        self.started_ms: Final = started_ms
        """By this machine's clock, in Unix milliseconds; so are all instants here."""
        self._request_room = self._answer_room = max_body_bytes
        self._request_body: bytes | bytearray = b""
        self._answer_head = b""
        self._answer_body: bytes | bytearray = b""
        self.request_bytes = self.answer_bytes = 0
        """Of the bodies, without chunks' framing, kept or not."""
        self.first_byte_at_ms: int | None = None
        self.finished_ms: int | None = None
        self.error: str | None = None
        """Why there is no answer, or not all of it."""
        self.failed_end: FailedEnd | None = None
        self.is_kept = True
        """Whether the inspector still shows it."""
        self.replay_of: int | None = None
        """The exchange that was sent again."""
        self._verdict: Verdict | _Unset | None = _UNSET

    # What the tunnel client says, in this order

    def request_data(self, data: bytes) -> None:
        """Take some of the request's body."""
        self.request_bytes += len(data)
        if self._request_room > 0:
            data = data[: self._request_room]
            self._request_room -= len(data)
            before = self._request_body
            self._request_body = _joined(before, data) if before else data
            self._keeper.kept_bytes += len(data)
            if self._keeper.kept_bytes > self._keeper.max_bytes:
                self._keeper.trim()

    def answer_head(self, raw: bytes, now_ms: int | None = None) -> None:
        """Take the answer's head. That of an interim answer is replaced by the next."""
        before, self._answer_head = self._answer_head, raw
        self.first_byte_at_ms = now_ms
        if self.is_kept:
            self._keeper.kept_bytes += len(raw) - len(before)
            if self._keeper.kept_bytes > self._keeper.max_bytes:
                self._keeper.trim()

    def answer_data(self, data: bytes) -> None:
        """Take some of the answer's body."""
        self.answer_bytes += len(data)
        if self._answer_room > 0:
            data = data[: self._answer_room]
            self._answer_room -= len(data)
            before = self._answer_body
            self._answer_body = _joined(before, data) if before else data
            self._keeper.kept_bytes += len(data)
            if self._keeper.kept_bytes > self._keeper.max_bytes:
                self._keeper.trim()

    def finish(
        self,
        now_ms: int,
        error: str | None = None,
        failed_end: FailedEnd | None = None,
    ) -> None:
        """End it, and tell the subscribers. Only the first call counts."""
        if self.finished_ms is not None:
            return
        self.finished_ms = now_ms
        self.error = error
        self.failed_end = failed_end
        for tell in self._keeper.subscribers:
            tell(self)

    # What the keeper says

    @property
    def kept_bytes(self) -> int:
        """What it takes in memory."""
        return (
            OVERHEAD_BYTES
            + len(self.head)
            + len(self._request_body)
            + len(self._answer_head)
            + len(self._answer_body)
        )

    def let_go(self) -> None:
        """Stop keeping bytes; if it is still under way, forget those of the bodies."""
        self.is_kept = False
        self._request_room = self._answer_room = 0
        if self.finished_ms is None:
            self._request_body = self._answer_body = b""

    # What there is to see

    @property
    def state(self) -> State:
        """``open`` while it is under way, ``failed`` without a whole answer."""
        if self.finished_ms is None:
            return "open"
        return "done" if self.error is None else "failed"

    @property
    def peer(self) -> str:
        """The address of whoever made the request."""
        return self.peer_bytes.decode("latin-1")

    @property
    def scheme(self) -> str:
        """``http`` or ``https``: how the request came to the relay."""
        return self.scheme_bytes.decode("latin-1")

    @property
    def method(self) -> str:
        return self.head.partition(b" ")[0].decode("latin-1")

    @property
    def target(self) -> str:
        """What the request asks the app for: a path and a query, to the letter."""
        return target_of(self.head)

    @property
    def url(self) -> str:
        """The public URL: what a message is published to, and a signature made for."""
        return self._prefix + self.target

    @property
    def request_headers(self) -> list[tuple[str, str]]:
        """The fields as they came: order, case, repeats. One character is one byte."""
        return fields_of(self.head)

    @property
    def status(self) -> int | None:
        """``None``: there is no answer (yet)."""
        match = _STATUS.match(self._answer_head)
        return int(match[1]) if match else None

    @property
    def answer_headers(self) -> list[tuple[str, str]]:
        """As ``request_headers``."""
        return fields_of(self._answer_head)

    @property
    def request_body(self) -> bytes:
        """What was kept of it."""
        return bytes(self._request_body)

    @property
    def answer_body(self) -> bytes:
        """What was kept of it."""
        return bytes(self._answer_body)

    @property
    def is_request_whole(self) -> bool:
        """Whether all that came of the request's body was kept."""
        return self.request_bytes == len(self._request_body)

    @property
    def is_answer_whole(self) -> bool:
        """Whether all that came of the answer's body was kept."""
        return self.answer_bytes == len(self._answer_body)

    @property
    def first_byte_ms(self) -> int | None:
        """From the request to the answer's head, in milliseconds."""
        if self.first_byte_at_ms is None:
            return None
        return max(0, self.first_byte_at_ms - self.started_ms)

    @property
    def duration_ms(self) -> int | None:
        """From the request to the answer's end; ``None`` while it is under way."""
        if self.finished_ms is None:
            return None
        return max(0, self.finished_ms - self.started_ms)

    @property
    def message_id(self) -> str | None:
        """QStash's id of the message that is delivered; ``None``: it isn't QStash's."""
        return self.request_header("Upstash-Message-Id")

    @property
    def retried(self) -> int | None:
        """How many retries QStash had made before this delivery."""
        value = self.request_header("Upstash-Retried") or ""
        return int(value) if _RETRIED.fullmatch(value) else None

    @property
    def verdict(self) -> Verdict | None:
        """What is to be said of the signature; ``None``: there is none, or no keys."""
        if isinstance(self._verdict, _Unset):
            judge = self._keeper.verdict
            self._verdict = judge(self) if judge is not None else None
        return self._verdict

    def request_header(self, name: str) -> str | None:
        """Return the first field of a name, in any case, without parsing the others."""
        return header_of(self.head, name)

    def to_json(self, *, with_bodies: bool = False) -> dict[str, Any]:
        """Render it for programs, as docs/reference/exchanges.md says.

        Fields with secrets are redacted; what isn't known is left out.
        """
        return exchange_json(self, with_bodies=with_bodies)


def _joined(before: bytes | bytearray, data: bytes) -> bytearray:
    # Grows in place, so that a thousand small pieces cost what one large one does.
    body = before if isinstance(before, bytearray) else bytearray(before)
    body += data
    return body
