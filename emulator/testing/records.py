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
from emulator.core.model import LogEntry, Responded, State
from emulator.testing.requests import headers_of

__all__ = [
    "Delivery",
    "PublishedMessage",
    "deliveries_of",
    "excerpt",
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


def published_of(entries: Iterable[LogEntry]) -> list[PublishedMessage]:
    """Return what was published, without the callbacks that followed from it."""
    published = []
    for entry in entries:
        message = entry.message
        if entry.state is not State.CREATED or message.callback_of is not None:
            continue
        options = message.options
        published.append(
            PublishedMessage(
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
                callback=options.callback and options.callback.url,
                failure_callback=options.failure_callback
                and options.failure_callback.url,
                flow_control_key=options.flow_control and options.flow_control.key,
            )
        )
    return published


def deliveries_of(entries: Iterable[LogEntry]) -> list[Delivery]:
    """Return every delivery that has ended, callbacks included, in order."""
    deliveries = []
    for entry in entries:
        outcome = entry.outcome
        if entry.state not in (State.DELIVERED, State.ERROR) or outcome is None:
            continue
        answered = isinstance(outcome, Responded)
        deliveries.append(
            Delivery(
                message_id=entry.message.message_id,
                url=entry.message.url,
                time_ms=entry.time_ms,
                duration_ms=entry.duration_ms or 0,
                retried=entry.retried,
                status=outcome.status if answered else None,
                error=None if entry.state is State.DELIVERED else outcome.error,
                response_body=outcome.body if answered else b"",
                is_callback=entry.message.callback_of is not None,
            )
        )
    return deliveries


def excerpt(body: bytes, limit: int = 60) -> str:
    """Return the beginning of a body, on one line."""
    text = repr(body.decode("utf-8", "backslashreplace"))[1:-1]
    return text if len(text) <= limit else text[: limit - 1] + "…"
