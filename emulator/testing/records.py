"""What happened in an emulator, as plain values for assertions.

Read off the log, which has one entry for each change of each message: nothing is
recorded a second time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from emulator.core.header_map import pairs
from emulator.core.model import DlqEntry, LogEntry, Message, Responded, State
from emulator.testing.requests import headers_of

__all__ = [
    "Delivery",
    "FailedMessage",
    "PendingMessage",
    "PublishedMessage",
    "QueueView",
    "deliveries_of",
    "excerpt",
    "failed_of",
    "pending_of",
    "published_of",
]


@dataclass(frozen=True, slots=True)
class PublishedMessage:
    """A message that was accepted."""

    message_id: str

    url: str

    method: str

    headers: Mapping[str, str]
    """Content type and forwarded headers, read in any case."""

    body: bytes

    retries: int

    delay_ms: int
    """From the publish to the first possible delivery."""

    queue: str | None

    schedule_id: str | None

    url_group: str | None

    labels: tuple[str, ...]

    callback: str | None

    failure_callback: str | None

    flow_control_key: str | None

    @property
    def text(self) -> str:
        """The body as UTF-8 text."""
        return self.body.decode()

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)

    def __repr__(self) -> str:
        return f"<{self.method} {self.url} {excerpt(self.body)}>"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One call to a destination, and what came of it."""

    message_id: str

    url: str

    time_ms: int
    """When it ended."""

    duration_ms: int

    retried: int
    """How many retries were made before it."""

    status: int | None
    """``None``: there was no answer."""

    error: str | None
    """``None``: it succeeded."""

    response_body: bytes

    is_callback: bool

    @property
    def is_success(self) -> bool:
        """The destination answered 2xx."""
        return self.error is None

    def __repr__(self) -> str:
        return f"<{self.url} {self.status or self.error}, retried {self.retried}>"


@dataclass(frozen=True, slots=True)
class PendingMessage:
    """A message that isn't final."""

    message: PublishedMessage

    state: str
    """``CREATED``, ``ACTIVE``, ``RETRY`` or ``CANCEL_REQUESTED``."""

    due_ms: int | None
    """When its next delivery may start; ``None`` while one is under way."""

    retried: int

    @property
    def message_id(self) -> str:
        return self.message.message_id

    @property
    def url(self) -> str:
        return self.message.url

    def __repr__(self) -> str:
        return f"<{self.message.method} {self.url} {self.state}>"


@dataclass(frozen=True, slots=True)
class FailedMessage:
    """A message in the DLQ."""

    dlq_id: str

    message: PublishedMessage

    failed_at_ms: int

    retried: int

    status: int | None
    """What the last delivery was answered; ``None``: not at all."""

    error: str

    response_body: bytes

    @property
    def message_id(self) -> str:
        return self.message.message_id

    @property
    def url(self) -> str:
        return self.message.url

    def __repr__(self) -> str:
        return (
            f"<{self.message.method} {self.url}: {self.error}, retried {self.retried}>"
        )


@dataclass(frozen=True, slots=True)
class QueueView:
    """A queue, and how many of its messages aren't final."""

    name: str

    parallelism: int

    is_paused: bool

    lag: int


def published_of(entries: Iterable[LogEntry]) -> list[PublishedMessage]:
    """Return what was published, without the callbacks that followed from it."""
    return [
        _published(entry.message)
        for entry in entries
        if entry.state is State.CREATED and entry.message.callback_of is None
    ]


def pending_of(last_entries: Iterable[LogEntry]) -> list[PendingMessage]:
    """Return messages by the last entry of each."""
    return [
        PendingMessage(
            _published(entry.message),
            entry.state.value,
            entry.next_delivery_ms,
            entry.retried,
        )
        for entry in last_entries
    ]


def failed_of(entries: Iterable[DlqEntry]) -> list[FailedMessage]:
    """Return what is in the DLQ."""
    failed = []
    for entry in entries:
        outcome = entry.outcome
        response = outcome if isinstance(outcome, Responded) else None
        failed.append(
            FailedMessage(
                dlq_id=entry.dlq_id,
                message=_published(entry.message),
                failed_at_ms=entry.failed_at_ms,
                retried=entry.retried,
                status=None if response is None else response.status,
                error=outcome.error,
                response_body=b"" if response is None else response.body,
            )
        )
    return failed


def deliveries_of(entries: Iterable[LogEntry]) -> list[Delivery]:
    """Return every delivery that has ended, callbacks included, in order."""
    deliveries = []
    for entry in entries:
        outcome = entry.outcome
        if entry.state not in (State.DELIVERED, State.ERROR) or outcome is None:
            continue
        response = outcome if isinstance(outcome, Responded) else None
        deliveries.append(
            Delivery(
                message_id=entry.message.message_id,
                url=entry.message.url,
                time_ms=entry.time_ms,
                duration_ms=entry.duration_ms or 0,
                retried=entry.retried,
                status=None if response is None else response.status,
                error=None if entry.state is State.DELIVERED else outcome.error,
                response_body=b"" if response is None else response.body,
                is_callback=entry.message.callback_of is not None,
            )
        )
    return deliveries


def _published(message: Message) -> PublishedMessage:
    options = message.options
    callback, failure_callback = options.callback, options.failure_callback
    flow_control = options.flow_control
    return PublishedMessage(
        message_id=message.message_id,
        url=message.url,
        method=options.method,
        headers=headers_of(pairs(message.header)),
        body=message.body,
        retries=options.max_retries,
        delay_ms=message.not_before_ms - message.created_at_ms,
        queue=message.queue_name,
        schedule_id=message.schedule_id,
        url_group=message.url_group_name,
        labels=options.labels,
        callback=None if callback is None else callback.url,
        failure_callback=None if failure_callback is None else failure_callback.url,
        flow_control_key=None if flow_control is None else flow_control.key,
    )


def excerpt(body: bytes, limit: int = 60) -> str:
    """Return the beginning of a body, on one line."""
    text = repr(body.decode("utf-8", "backslashreplace"))[1:-1]
    return text if len(text) <= limit else text[: limit - 1] + "…"
