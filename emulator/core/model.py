"""The things that QStash knows, as values.

They never change, and have no behavior beyond properties. What is made for each
message is a named tuple, at a quarter of a dataclass's cost; what messages share is a
dataclass. Named tuples of two types are equal if their fields are: compare like with
like.

Instants are Unix milliseconds (``_ms``); QStash's own units are converted in
``headers.py`` and ``wire.py``, and nowhere else.

How they hang together::

    Incoming ──parse──▶ Publish ──accept──▶ Message, and its Progress
    Progress ──activate──▶ delivery: Outgoing ──▶ Outcome ──settle──▶ Progress, DlqEntry

Queues, URL groups, schedules and flow-control keys stand in ``resources.py``; every
change of state is a ``Transition`` (``transition.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum
from functools import lru_cache
from typing import NamedTuple, Self

from emulator.core.header_map import HeaderMap, PackedValues, first, pack, unpack

__all__ = [
    "DEFAULT_RETRIES",
    "FINAL_STATES",
    "WAITING_STATES",
    "Callback",
    "Deduplication",
    "Destination",
    "DestinationKind",
    "DlqEntry",
    "FlowControl",
    "Incoming",
    "LogEntry",
    "Message",
    "Options",
    "Origin",
    "Outcome",
    "Outgoing",
    "Progress",
    "Publish",
    "Receipt",
    "Redaction",
    "Responded",
    "SigningKeys",
    "State",
    "TimedOut",
    "Unreachable",
]

DEFAULT_RETRIES = 3
"""HDR-5, C-9."""


class State(StrEnum):
    """The states of a message's log (LOG-20). No other word may ever appear."""

    CREATED = "CREATED"
    """Accepted; waits for its first delivery."""

    ACTIVE = "ACTIVE"
    """A delivery is under way."""

    RETRY = "RETRY"
    """The last delivery failed; waits for the next."""

    ERROR = "ERROR"
    """A delivery failed. In the log only: RETRY, FAILED or CANCELLED follows."""

    DELIVERED = "DELIVERED"
    """A destination answered 2xx. Final."""

    FAILED = "FAILED"
    """Given up, and in the DLQ. Final."""

    CANCEL_REQUESTED = "CANCEL_REQUESTED"
    """Somebody cancelled it. In the log only: CANCELLED or DELIVERED follows."""

    CANCELLED = "CANCELED"
    """Cancelled. Final. One L on the wire, or Python's SDK raises (LOG-21, C-2)."""


class Incoming(NamedTuple):
    """A request to publish, as it arrived: nothing is checked yet."""

    destination: str
    """What follows ``/v2/publish/``, raw, without the consumed parameters (PUB-3)."""

    headers: tuple[tuple[str, str], ...] = ()
    """In order, in any case. ``Authorization`` is there unless it carried the token."""

    parameters: tuple[tuple[str, str], ...] = ()
    """The ``upstash-*`` query parameters, decoded (HDR-2)."""

    body: bytes = b""

    caller_ip: str = ""


class DestinationKind(Enum):
    """What a destination's text names (PUB-1)."""

    URL = "url"
    URL_GROUP = "url group"
    API = "api"


class Destination(NamedTuple):
    """Where a publish goes: a URL, a URL group by name, or a built-in API."""

    kind: DestinationKind

    text: str
    """The URL exactly as it arrived (PUB-4), or the name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowControl:
    """A flow-control key and the limits that its latest message asks for (FLC)."""

    key: str

    parallelism: int | None = None

    rate: int | None = None

    period_s: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Redaction:
    """What the API must not show of a message (RED)."""

    body: bool = False

    all_headers: bool = False

    header_names: frozenset[str] = frozenset()
    """Canonical names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to deliver: all that configuration headers say beyond where and what."""

    method: str = "POST"

    retries: int | None = None
    """How many deliveries may follow the first. ``None``: not said."""

    retry_delay: str | None = None
    """The expression of ``Upstash-Retry-Delay``, as it arrived (RTY-18)."""

    timeout_ms: int | None = None
    """How long a destination may take to answer, before the plan's limit."""

    callback: Callback | None = None

    failure_callback: Callback | None = None

    labels: tuple[str, ...] = ()

    flow_control: FlowControl | None = None

    redaction: Redaction | None = None

    @property
    def max_retries(self) -> int:
        """The retries that apply: what was said, else QStash's default."""
        return DEFAULT_RETRIES if self.retries is None else self.retries


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """Where to report a delivery's outcome, and how to deliver the report (CBK)."""

    url: str

    header: HeaderMap = ()
    """Forwarded headers; and a content type if one was configured."""

    options: Options = Options()


_NO_OPTIONS = Options()


class Publish(NamedTuple):
    """What a publisher asks for: parsed, checked, in our units."""

    destination: Destination

    body: bytes = b""

    header: HeaderMap = ()
    """Content type and forwarded headers, as the destination will see them (FMT-9)."""

    options: Options = Options()

    delay_ms: int = 0

    not_before_ms: int | None = None
    """Overrides the delay (HDR-23)."""

    deduplication_id: str | None = None

    content_based_deduplication: bool = False

    queue_name: str | None = None
    """The queue that the message joins; made if it doesn't exist (ENQ-2)."""

    caller_ip: str = ""


class Origin(NamedTuple):
    """What brought a message about, or holds it. Equal ones are one object."""

    url_group_name: str | None = None

    endpoint_name: str | None = None

    queue_name: str | None = None

    schedule_id: str | None = None

    api: str | None = None

    callback_of: str | None = None


_origin = lru_cache(maxsize=1024)(Origin)


class _Message(NamedTuple):
    """A message as it waits: what it has in common with others is shared."""

    message_id: str

    url: str

    created_at_ms: int

    not_before_ms: int
    """No delivery starts before it."""

    body: bytes

    header_names: tuple[str, ...]
    """Packed (``header_map.pack``); so are the values."""

    header_values: PackedValues

    options: Options

    caller_ip: str

    origin: Origin


class Message(_Message):
    """A message on its way to one URL. Never changes: ``Progress`` does."""

    __slots__ = ()

    def __new__(
        cls,
        *,
        message_id: str,
        url: str,
        created_at_ms: int,
        not_before_ms: int,
        body: bytes = b"",
        header: HeaderMap = (),
        options: Options = _NO_OPTIONS,
        caller_ip: str = "",
        url_group_name: str | None = None,
        endpoint_name: str | None = None,
        queue_name: str | None = None,
        schedule_id: str | None = None,
        api: str | None = None,
        callback_of: str | None = None,
    ) -> Self:
        names, values = pack(header)
        origin = _origin(
            url_group_name, endpoint_name, queue_name, schedule_id, api, callback_of
        )
        return tuple.__new__(
            cls,
            (
                message_id,
                url,
                created_at_ms,
                not_before_ms,
                body,
                names,
                values,
                options,
                caller_ip,
                origin,
            ),
        )

    @property
    def header(self) -> HeaderMap:
        return unpack(self.header_names, self.header_values)

    @property
    def size_bytes(self) -> int:
        """How long is what its publisher may make as long as it likes."""
        # Asked for many times on a message's way.
        values, options = self.header_values, self.options
        size_bytes = len(self.body) + len(self.url)
        size_bytes += len(values) if isinstance(values, str) else sum(map(len, values))
        if options.callback is not None:
            size_bytes += sum(map(len, options.callback.header))
        if options.failure_callback is not None:
            size_bytes += sum(map(len, options.failure_callback.header))
        return size_bytes

    @property
    def url_group_name(self) -> str | None:
        return self.origin.url_group_name

    @property
    def endpoint_name(self) -> str | None:
        return self.origin.endpoint_name

    @property
    def queue_name(self) -> str | None:
        return self.origin.queue_name

    @property
    def schedule_id(self) -> str | None:
        return self.origin.schedule_id

    @property
    def api(self) -> str | None:
        """``llm`` for the built-in API."""
        return self.origin.api

    @property
    def callback_of(self) -> str | None:
        """The message whose outcome this callback message reports."""
        return self.origin.callback_of


class Responded(NamedTuple):
    """A destination answered, whatever the status."""

    status: int

    header: HeaderMap = ()

    body: bytes = b""
    """Decoded (DLV-7), and cut to the plan's message size (CBK-23)."""

    reason: str = ""
    """The reason phrase, as it arrived."""

    @property
    def is_success(self) -> bool:
        """2xx (DLV-10)."""
        return 200 <= self.status < 300

    @property
    def is_retryable(self) -> bool:
        """False for 489 together with its header: no retry at all (DLV-13)."""
        return not (
            self.status == 489
            and (first(self.header, "Upstash-Nonretryable-Error") or "").strip().lower()
            == "true"
        )

    @property
    def error(self) -> str:
        """What the log says of a failed delivery (DLV-17)."""
        return f"{self.status} {self.reason}".rstrip()


class TimedOut(NamedTuple):
    """A destination took longer than it may (DLV-22)."""

    timeout_ms: int

    @property
    def error(self) -> str:
        """What the log says (DLV-17)."""
        return f"context deadline exceeded: no answer within {self.timeout_ms} ms"


class Unreachable(NamedTuple):
    """No answer: refused, unresolved, broken off, or not HTTP (DLV-16)."""

    error: str


Outcome = Responded | TimedOut | Unreachable


class Progress(NamedTuple):
    """How far a message has come."""

    message: Message

    state: State

    due_ms: int
    """Waiting: when the next delivery may start. Active or final: since when it is."""

    retried: int = 0
    """How many retries were made. 0 while the first delivery is under way."""

    cancel_requested: bool = False
    """Cancelled while a delivery is under way: there will be no retry (MSG-12)."""

    @property
    def is_waiting(self) -> bool:
        return self.state in WAITING_STATES

    @property
    def is_final(self) -> bool:
        return self.state in FINAL_STATES


WAITING_STATES = frozenset({State.CREATED, State.RETRY})

FINAL_STATES = frozenset({State.DELIVERED, State.FAILED, State.CANCELLED})


class LogEntry(NamedTuple):
    """One change of one message's state (LOG-10)."""

    time_ms: int

    state: State

    message: Message

    retried: int = 0

    next_delivery_ms: int | None = None
    """On CREATED and RETRY."""

    outcome: Outcome | None = None
    """On ERROR, FAILED and DELIVERED: what the delivery came to."""

    duration_ms: int | None = None
    """On ERROR and DELIVERED: how long the delivery took."""

    dlq_id: str | None = None
    """On FAILED."""

    @property
    def size_bytes(self) -> int:
        """How long the message is, and the answer."""
        size_bytes = self.message.size_bytes
        if self.outcome is None:
            return size_bytes
        return size_bytes + _answer_bytes(self.outcome)


class DlqEntry(NamedTuple):
    """A message that failed for good, and why (DLQ-1)."""

    dlq_id: str

    failed_at_ms: int

    message: Message

    retried: int

    outcome: Outcome

    @property
    def size_bytes(self) -> int:
        """How long the message is, and the answer."""
        return self.message.size_bytes + _answer_bytes(self.outcome)


def _answer_bytes(outcome: Outcome) -> int:
    if not isinstance(outcome, Responded):
        return 0
    return len(outcome.body) + sum(map(len, outcome.header))


class Deduplication(NamedTuple):
    """A publish that was accepted: the same again within the window is a duplicate."""

    key: str

    message_id: str

    until_ms: int


class SigningKeys(NamedTuple):
    """A user's signing keys (KEY-1)."""

    current: str

    next: str


class Receipt(NamedTuple):
    """What a publisher gets for one message."""

    message_id: str

    url: str

    deduplicated: bool = False


class Outgoing(NamedTuple):
    """One HTTP call to a destination, complete."""

    method: str

    url: str
    """Where to connect and what to ask for."""

    headers: tuple[tuple[str, str], ...]

    body: bytes

    max_response_bytes: int
    """The response's body is cut to it."""

    host: str | None = None
    """The ``Host`` to name instead of the URL's: the message was rerouted."""
