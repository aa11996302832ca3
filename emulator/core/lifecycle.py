"""The life of a message: which facts move it, and where to.

All that moves a message's state lives here. Each function takes a fact (accepted,
due, delivered, cancelled, retried from the DLQ) and the present instant, and
returns the ``Transition`` that follows; nothing here applies it, waits, or knows
that an engine exists.

``MOVES`` is the table of legal moves, in the order in which a message's log shows
them (LOG-22 to LOG-26). A fact that would break it is a mistake of ours, raises
``RuntimeError``, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType

from emulator.core import backoff, callbacks, dedup
from emulator.core.header_map import HeaderMap, pack
from emulator.core.model import (
    Deduplication,
    DestinationKind,
    DlqEntry,
    LogEntry,
    Message,
    Options,
    Outcome,
    Progress,
    Publish,
    Responded,
    State,
)
from emulator.core.resources import Endpoint
from emulator.core.transition import Transition

__all__ = [
    "MOVES",
    "accept",
    "activate",
    "cancel",
    "created_entry",
    "created_progress",
    "revive",
    "settle",
]

MOVES: Mapping[State | None, frozenset[State]] = MappingProxyType(
    {
        None: frozenset({State.CREATED}),
        State.CREATED: frozenset({State.ACTIVE, State.CANCEL_REQUESTED}),
        State.ACTIVE: frozenset({State.DELIVERED, State.ERROR, State.CANCEL_REQUESTED}),
        State.ERROR: frozenset({State.RETRY, State.FAILED, State.CANCELLED}),
        State.RETRY: frozenset({State.ACTIVE, State.CANCEL_REQUESTED}),
        State.CANCEL_REQUESTED: frozenset(
            {State.CANCELLED, State.DELIVERED, State.ERROR}
        ),
        State.DELIVERED: frozenset(),
        State.FAILED: frozenset(),
        State.CANCELLED: frozenset(),
    }
)
"""What may follow what. ``None``: the message doesn't exist yet."""


def accept(
    publish: Publish,
    *,
    message_id: str,
    now_ms: int,
    endpoint: Endpoint | None = None,
    schedule_id: str | None = None,
) -> Transition:
    """Make a message of a publish, and remember it for deduplication.

    For a publish to a URL group, ``endpoint`` is the member that the message goes to
    (PUB-33). That it isn't a duplicate must have been established before; what a
    schedule produces never is one (SCH-15), having no deduplication in its publish.
    """
    destination = publish.destination
    url_group_name = None
    api = None
    if destination.kind is DestinationKind.URL_GROUP:
        if endpoint is None:
            raise RuntimeError(f"no endpoint of {destination.text} given")
        url, url_group_name = endpoint.url, destination.text
    elif destination.kind is DestinationKind.API:
        url, api = f"api/{destination.text}", destination.text
    else:
        url = destination.text
    not_before_ms = publish.not_before_ms
    if not_before_ms is None:
        not_before_ms = now_ms + publish.delay_ms
    message = Message(
        message_id=message_id,
        url=url,
        body=publish.body,
        header=publish.header,
        options=publish.options,
        created_at_ms=_shared(now_ms),
        # HDR-23: an instant in the past means at once.
        not_before_ms=_shared(max(now_ms, not_before_ms)),
        caller_ip=publish.caller_ip,
        url_group_name=url_group_name,
        endpoint_name=None if endpoint is None else endpoint.name,
        queue_name=publish.queue_name,
        schedule_id=schedule_id,
        api=api,
    )
    created = _create(message)
    key = dedup.key(publish, endpoint)
    if key is None:
        return created
    window = Deduplication(key, message_id, now_ms + dedup.WINDOW_MS)
    return created._replace(deduplications=(window,))


def activate(progress: Progress, *, now_ms: int) -> Transition:
    """Start a delivery of a waiting message (LOG-25)."""
    _check(progress, State.ACTIVE)
    return Transition(
        progress=(Progress(progress.message, State.ACTIVE, now_ms, progress.retried),),
        log=(LogEntry(now_ms, State.ACTIVE, progress.message, progress.retried),),
    )


def settle(
    progress: Progress,
    outcome: Outcome,
    *,
    now_ms: int,
    dlq_id: str,
    new_message_id: Callable[[], str],
) -> Transition:
    """Say what a finished delivery makes of its message.

    ``dlq_id`` is for the entry, should the message fail for good. The delivery took
    as long as the message was active.
    """
    message, retried = progress.message, progress.retried
    duration_ms = now_ms - progress.due_ms
    succeeded = isinstance(outcome, Responded) and outcome.is_success
    first_state = State.DELIVERED if succeeded else State.ERROR
    _check(progress, first_state)
    first_entry = LogEntry(
        now_ms,
        first_state,
        message,
        retried,
        outcome=outcome,
        duration_ms=duration_ms,
    )

    if not succeeded and progress.cancel_requested:
        # MSG-12: no retry; MSG-13, CBK-5: no DLQ entry and no callback.
        return Transition(
            progress=(Progress(message, State.CANCELLED, now_ms, retried),),
            log=(first_entry, LogEntry(now_ms, State.CANCELLED, message, retried)),
        )

    if succeeded:
        after = Progress(message, State.DELIVERED, now_ms, retried)
        log: tuple[LogEntry, ...] = (first_entry,)
        dlq: tuple[DlqEntry, ...] = ()
    elif _may_retry(message, outcome, retried):
        # RTY-2: the wait starts when the failed delivery ends.
        due_ms = now_ms + backoff.next_delay_ms(message, outcome, retried, now_ms)
        after = Progress(message, State.RETRY, due_ms, retried + 1)
        log = (
            first_entry,
            LogEntry(
                now_ms, State.RETRY, message, retried + 1, next_delivery_ms=due_ms
            ),
        )
        dlq = ()
    else:
        after = Progress(message, State.FAILED, now_ms, retried)
        # LOG-23: no RETRY on the last failure.
        log = (
            first_entry,
            LogEntry(
                now_ms,
                State.FAILED,
                message,
                retried,
                outcome=outcome,
                dlq_id=dlq_id,
            ),
        )
        dlq = (
            DlqEntry(
                dlq_id=dlq_id,
                failed_at_ms=now_ms,
                message=message,
                retried=retried,
                outcome=outcome,
            ),
        )

    settled = Transition(progress=(after,), log=log, dlq_added=dlq)
    reports = callbacks.messages_for(
        message,
        outcome,
        retried=retried,
        dlq_id=dlq_id if dlq else None,
        now_ms=now_ms,
        new_message_id=new_message_id,
    )
    if not reports:
        return settled
    # CBK-25, CBK-26: the entry and the log come before the callbacks.
    return Transition.merge([settled, *map(_create, reports)])


def cancel(progress: Progress, *, now_ms: int) -> Transition:
    """Cancel a message that isn't final and wasn't cancelled before.

    Waiting: it is removed at once, and both log entries are written (MSG-11, Q-19).
    Under way: the delivery goes on, and there will be no retry (MSG-12).
    """
    message, retried = progress.message, progress.retried
    if progress.cancel_requested:
        raise RuntimeError(f"{message.message_id} is cancelled already")
    _check(progress, State.CANCEL_REQUESTED)
    requested = LogEntry(now_ms, State.CANCEL_REQUESTED, message, retried)
    if progress.state is State.ACTIVE:
        return Transition(
            progress=(progress._replace(cancel_requested=True),), log=(requested,)
        )
    return Transition(
        progress=(Progress(message, State.CANCELLED, now_ms, retried),),
        log=(requested, LogEntry(now_ms, State.CANCELLED, message, retried)),
    )


def revive(
    entry: DlqEntry,
    *,
    message_id: str,
    now_ms: int,
    options: Options,
    header: HeaderMap,
    not_before_ms: int,
) -> Transition:
    """Make a new message of a DLQ entry, and take the entry out (DLQ-33).

    ``options`` and ``header`` are the entry's own, or what the retry call overrides
    (DLQ-34). The message keeps its queue, schedule, URL group and caller (DLQ-35).
    """
    header_names, header_values = pack(header)
    message = entry.message._replace(
        message_id=message_id,
        options=options,
        header_names=header_names,
        header_values=header_values,
        created_at_ms=now_ms,
        not_before_ms=max(now_ms, not_before_ms),
    )
    return _create(message)._replace(dlq_removed=(entry.dlq_id,))


def created_progress(message: Message) -> Progress:
    """Return how far a message is that has only been created."""
    return Progress(message, State.CREATED, message.not_before_ms)


def created_entry(message: Message) -> LogEntry:
    """Return what the log says of a message's creation."""
    return LogEntry(
        message.created_at_ms,
        State.CREATED,
        message,
        next_delivery_ms=message.not_before_ms,
    )


def _create(message: Message) -> Transition:
    return Transition(
        progress=(created_progress(message),), log=(created_entry(message),)
    )


@lru_cache(maxsize=64)
def _shared(instant_ms: int) -> int:
    """Return one number for all messages of an instant: they wait in great numbers."""
    return instant_ms


def _may_retry(message: Message, outcome: Outcome, retried: int) -> bool:
    if isinstance(outcome, Responded) and not outcome.is_retryable:
        return False  # DLV-13
    return retried < message.options.max_retries


def _check(progress: Progress, after: State) -> None:
    if after not in MOVES[progress.state]:
        raise RuntimeError(
            f"{progress.message.message_id} can't go from {progress.state} to {after}"
        )
