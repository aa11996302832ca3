"""The things that QStash knows, as values.

Frozen, and without behaviour beyond properties. Instants are Unix milliseconds
(``_ms``); QStash's own units are converted in ``headers.py`` and ``wire.py``, and
nowhere else.

How they hang together::

    Incoming ──parse──▶ Publish ──accept──▶ Message, and its Progress
    Progress ──activate──▶ delivery: Outgoing ──▶ Outcome ──settle──▶ Progress, DlqEntry

Every change of state is a ``Transition``: whole, and applied in one step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import Enum, StrEnum
from itertools import chain

from emulator.core.header_map import HeaderMap, first

__all__ = [
    "DEFAULT_RETRIES",
    "FINAL_STATES",
    "NOTHING_DECLARED",
    "Callback",
    "Declared",
    "Deduplication",
    "Destination",
    "DestinationKind",
    "DlqEntry",
    "Endpoint",
    "FlowControl",
    "FlowKey",
    "Incoming",
    "LogEntry",
    "Message",
    "Options",
    "Outcome",
    "Outgoing",
    "Progress",
    "Publish",
    "Queue",
    "Receipt",
    "Redaction",
    "Responded",
    "Schedule",
    "SigningKeys",
    "State",
    "TimedOut",
    "Transition",
    "Unreachable",
    "UrlGroup",
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
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


@dataclass(frozen=True, slots=True)
class Destination:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message on its way to one URL. Never changes: ``Progress`` does."""

    message_id: str

    url: str

    body: bytes = b""

    header: HeaderMap = ()

    options: Options = Options()

    created_at_ms: int

    not_before_ms: int
    """No delivery starts before it."""

    caller_ip: str = ""

    url_group_name: str | None = None

    endpoint_name: str | None = None

    queue_name: str | None = None

    schedule_id: str | None = None

    api: str | None = None
    """``llm`` for the built-in API."""

    callback_of: str | None = None
    """The message whose outcome this callback message reports."""


@dataclass(frozen=True, slots=True)
class Responded:
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


@dataclass(frozen=True, slots=True)
class TimedOut:
    """A destination took longer than it may (DLV-22)."""

    timeout_ms: int

    @property
    def error(self) -> str:
        """What the log says (DLV-17)."""
        return f"context deadline exceeded: no answer within {self.timeout_ms} ms"


@dataclass(frozen=True, slots=True)
class Unreachable:
    """No answer: refused, unresolved, broken off, or not HTTP (DLV-16)."""

    error: str


Outcome = Responded | TimedOut | Unreachable


@dataclass(frozen=True, slots=True)
class Progress:
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
        return self.state is State.CREATED or self.state is State.RETRY

    @property
    def is_final(self) -> bool:
        return self.state in FINAL_STATES


FINAL_STATES = frozenset({State.DELIVERED, State.FAILED, State.CANCELLED})


@dataclass(frozen=True, slots=True)
class LogEntry:
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
    def body_bytes(self) -> int:
        """How long the bodies are that it shows: the message's, and the answer's."""
        return _body_bytes(self.message, self.outcome)


@dataclass(frozen=True, slots=True, kw_only=True)
class DlqEntry:
    """A message that failed for good, and why (DLQ-1)."""

    dlq_id: str

    failed_at_ms: int

    message: Message

    retried: int

    outcome: Outcome

    @property
    def body_bytes(self) -> int:
        """How long the bodies are that it shows: the message's, and the answer's."""
        return _body_bytes(self.message, self.outcome)


def _body_bytes(message: Message, outcome: Outcome | None) -> int:
    answer = len(outcome.body) if isinstance(outcome, Responded) else 0
    return len(message.body) + answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A queue (QUE-1). How many messages it has is counted elsewhere."""

    name: str

    created_at_ms: int

    updated_at_ms: int
    """The last upsert, pause or resume."""

    parallelism: int = 1
    """How many messages may be in work at once."""

    is_paused: bool = False


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A member of a URL group."""

    url: str

    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlGroup:
    """A URL group (UGR-1): a publish to it makes a message for each endpoint."""

    name: str

    created_at_ms: int

    updated_at_ms: int

    endpoints: tuple[Endpoint, ...]
    """In order of insertion. Never empty (UGR-10)."""

    defaults: HeaderMap = ()
    """Configuration for every publish to the group (UGR-19)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowKey:
    """A flow-control key and its limits (FLC-20). What is under way isn't here."""

    key: str

    parallelism: int | None = None

    rate: int | None = None

    period_s: int = 1

    is_paused: bool = False

    is_pinned_parallelism: bool = False
    """Messages don't change the parallelism (FLC-24)."""

    is_pinned_rate: bool = False
    """Messages change neither the rate nor its period."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A cron expression, and what is published whenever it fires (SCH-20)."""

    schedule_id: str

    cron: str
    """As it arrived, zone included, without the white space around it (SCH-5)."""

    publish: Publish

    created_at_ms: int

    is_paused: bool = False

    next_fire_ms: int
    """While paused: when it would have fired, had it not been paused."""

    last_fire_ms: int | None = None

    last_states: tuple[tuple[str, State | None], ...] = ()
    """The messages of the last firing; their final state, or ``None`` (SCH-27)."""

    error: str | None = None
    """Why the last firing failed (SCH-33)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What a user has from the start, by configuration."""

    queues: tuple[tuple[str, int, bool], ...] = ()
    """Name, parallelism, and whether it is paused."""

    url_groups: tuple[tuple[str, tuple[Endpoint, ...], HeaderMap], ...] = ()
    """Name, endpoints, and default headers."""

    schedules: tuple[tuple[str, str, Publish], ...] = ()
    """Id, cron, and what is published."""


NOTHING_DECLARED = Declared()


@dataclass(frozen=True, slots=True)
class Deduplication:
    """A publish that was accepted: the same again within the window is a duplicate."""

    key: str

    message_id: str

    until_ms: int


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """A user's signing keys (KEY-1)."""

    current: str

    next: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a publisher gets for one message."""

    message_id: str

    url: str

    deduplicated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One HTTP call to a destination, complete."""

    method: str

    url: str
    """Where to connect and what to ask for."""

    host: str | None = None
    """The ``Host`` to name instead of the URL's: the message was rerouted."""

    headers: tuple[tuple[str, str], ...]

    body: bytes

    max_response_bytes: int
    """The response's body is cut to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """A change of state, whole: all that one fact brings about.

    The parts are applied together or not at all.
    """

    progress: tuple[Progress, ...] = ()
    """Messages that are new, or moved."""

    log: tuple[LogEntry, ...] = ()
    """In causal order."""

    dlq_added: tuple[DlqEntry, ...] = ()

    dlq_removed: tuple[str, ...] = ()

    deduplications: tuple[Deduplication, ...] = ()

    keys: SigningKeys | None = None

    queues: tuple[Queue, ...] = ()
    """New or changed."""

    queues_removed: tuple[str, ...] = ()

    url_groups: tuple[UrlGroup, ...] = ()
    """New or changed."""

    url_groups_removed: tuple[str, ...] = ()

    flow_keys: tuple[FlowKey, ...] = ()
    """New or changed."""

    schedules: tuple[Schedule, ...] = ()
    """New or changed."""

    schedules_removed: tuple[str, ...] = ()

    reset: bool = False
    """Forget everything first."""

    @classmethod
    def merge(cls, parts: Sequence[Transition]) -> Transition:
        """Make one transition of several, in order.

        Raises ``ValueError`` where one after the first forgets everything.
        """
        if len(parts) == 1:
            return parts[0]
        if any(part.reset for part in parts[1:]):
            raise ValueError("a reset comes first")
        joined = {
            name: tuple(chain.from_iterable(getattr(part, name) for part in parts))
            for name in _JOINED
        }
        keys = next((part.keys for part in reversed(parts) if part.keys), None)
        return cls(keys=keys, reset=any(part.reset for part in parts[:1]), **joined)


_JOINED = tuple(
    field.name for field in fields(Transition) if field.name not in ("keys", "reset")
)
