"""Wire: QStash's JSON, and what of the model it stands for.

Decides names, presence, order and units of every field that the API shows. The
functions take values of the model and return plain ones: writing JSON, HTTP statuses
and headers belong to ``web/``. What a request's body may look like is decided in
``bodies.py``, what is hidden in ``redaction.py``.

Nothing rendered is ever ``None``; what is unset, empty or zero is left out, but
for the fields that a clause calls *always present*, which come first (BASE-12).
Bytes that a header carried and that aren't UTF-8 are shown as U+FFFD.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from typing import Any

from emulator.core.duration import format_duration
from emulator.core.faults import Fault, FaultKind
from emulator.core.flow import FlowUsage, started_in_period
from emulator.core.header_map import grouped
from emulator.core.model import (
    Destination,
    DestinationKind,
    DlqEntry,
    LogEntry,
    Message,
    Options,
    Outcome,
    Receipt,
    Responded,
    SigningKeys,
    State,
)
from emulator.core.redaction import shown_body, shown_header
from emulator.core.resources import FlowKey, Queue, Schedule, UrlGroup

__all__ = [
    "JsonObject",
    "callback_payload",
    "dlq_entry",
    "error",
    "fault",
    "feed_item",
    "flow_key",
    "global_parallelism",
    "group_receipt",
    "keys",
    "log_entry",
    "message",
    "page",
    "queue",
    "receipt",
    "schedule",
    "schedule_receipt",
    "url_group",
]

JsonObject = dict[str, Any]

_SURROGATE = re.compile("[\ud800-\udfff]")

_SCHEDULE_STATES = {
    None: "IN_PROGRESS",
    State.DELIVERED: "SUCCESS",
    State.FAILED: "FAIL",
    State.CANCELLED: "FAIL",
}
"""SCH-27: by the final state of a message. Python's SDK raises for other words."""


def message(message: Message) -> JsonObject:
    """Render a message (MSG-2). Redacted where it asked for it (MSG-5)."""
    options = message.options
    return {
        "messageId": message.message_id,
        "url": message.url,
        "method": options.method,
        "maxRetries": options.max_retries,
        "notBefore": message.not_before_ms,
        "createdAt": message.created_at_ms,
        "callerIP": message.caller_ip,
    } | _present(
        header=_header(shown_header(message)),
        **_body("body", shown_body(message)),
        **_origin(message),
        **_configuration(options, "Header"),
        api=message.api,
    )


def dlq_entry(entry: DlqEntry) -> JsonObject:
    """Render a message that failed, and the last response (DLQ-2, DLQ-3).

    ``responseStatus`` is there without a response too, as 0 (DLV-16).
    """
    response = entry.outcome if isinstance(entry.outcome, Responded) else _NO_RESPONSE
    return (
        {"dlqId": entry.dlq_id}
        | message(entry.message)
        | {"responseStatus": response.status}
        | _present(
            responseHeader=_header(grouped(response.header)),
            **_body("responseBody", response.body),
        )
    )


def log_entry(entry: LogEntry) -> JsonObject:
    """Render one change of state, with all that is known of its message (LOG-12).

    Bodies are base64 (FMT-11). A response is shown on ``ERROR`` only, the error
    on ``FAILED`` too. Two fields have two names: SDKs and documentation disagree
    (LOG-14, LOG-15).
    """
    message = entry.message
    options = message.options
    return {
        "time": entry.time_ms,
        "messageId": message.message_id,
        "state": entry.state.value,
        "url": message.url,
        "method": options.method,
        "maxRetries": options.max_retries,
    } | _present(
        header=_header(shown_header(message)),
        body=_base64(shown_body(message)),
        **_origin(message),
        nextDeliveryTime=entry.next_delivery_ms,
        **_failure(entry),
        **_configuration(options, "Headers"),
        retryDelayExpr=options.retry_delay,
    )


def feed_item(user: str, entry: LogEntry) -> JsonObject:
    """Render a log entry for those who follow the log live, of every user.

    Ours, and more than QStash's log shows: how many retries were made, the status and
    the duration of each delivery, and where a message came from and went to. What
    isn't known is left out; zero is known.
    """
    response = entry.outcome if isinstance(entry.outcome, Responded) else None
    details = {
        "status": None if response is None else response.status,
        "durationMs": entry.duration_ms,
        "dlqId": entry.dlq_id,
        "callbackOf": entry.message.callback_of,
    }
    return (
        log_entry(entry)
        | {"user": user, "retried": entry.retried}
        | {name: value for name, value in details.items() if value is not None}
    )


def schedule(schedule: Schedule) -> JsonObject:
    """Render a schedule (SCH-20). Redacted where it asked for it (RED-6).

    Delay and timeout are in whole seconds, rounded up (Q-16), the caller has two
    spellings (SCH-26), and nothing tells of the last firing before the first.
    """
    publish = schedule.publish
    options = publish.options
    states = {id: _SCHEDULE_STATES[state] for id, state in schedule.last_states}
    configuration = _configuration(options, "Header")
    return {
        "scheduleId": schedule.schedule_id,
        "cron": schedule.cron,
        "destination": _schedule_destination(publish.destination),
        "createdAt": schedule.created_at_ms,
        "method": options.method,
        "isPaused": schedule.is_paused,
        "retries": options.max_retries,
        "callerIP": publish.caller_ip,
        "callerIp": publish.caller_ip,
        "nextScheduleTime": schedule.next_fire_ms,
    } | _present(
        header=_header(shown_header(publish)),
        **_body("body", shown_body(publish)),
        delay=_seconds(publish.delay_ms),
        queueName=publish.queue_name,
        **configuration | {"timeout": _seconds(options.timeout_ms or 0)},
        lastScheduleTime=schedule.last_fire_ms,
        lastScheduleStates=states,
        error=None if schedule.error is None else _text(schedule.error),
    )


def schedule_receipt(schedule_id: str) -> JsonObject:
    """Render what the creator of a schedule gets (SCH-1, SCH-3)."""
    return {"scheduleId": schedule_id}


def queue(queue: Queue, lag: int) -> JsonObject:
    """Render a queue (QUE-1). ``lag`` is how many of its messages aren't final."""
    return {
        "name": queue.name,
        "createdAt": queue.created_at_ms,
        "updatedAt": queue.updated_at_ms,
        "parallelism": queue.parallelism,
        "paused": queue.is_paused,
        "lag": lag,
    }


def url_group(group: UrlGroup) -> JsonObject:
    """Render a URL group (UGR-1). Its default headers aren't part of it (UGR-20)."""
    return {
        "name": group.name,
        "createdAt": group.created_at_ms,
        "updatedAt": group.updated_at_ms,
        "endpoints": [
            _present(name=endpoint.name, url=endpoint.url)
            for endpoint in group.endpoints
        ],
    }


def flow_key(
    key: FlowKey, *, usage: FlowUsage, waitlist_size: int, now_ms: int
) -> JsonObject:
    """Render a flow-control key and its counters (FLC-20).

    An unset limit is 0. The period's start is in seconds: 0 before the first, and
    the last one's once it has passed, when the count is 0 (FLC-30).
    """
    return {
        "flowControlKey": _text(key.key),
        "waitListSize": waitlist_size,
        "parallelismMax": key.parallelism or 0,
        "parallelismCount": usage.in_flight,
        "rateMax": key.rate or 0,
        "rateCount": started_in_period(key, usage, now_ms),
        "ratePeriod": key.period_s,
        "ratePeriodStart": (usage.period_start_ms or 0) // 1000,
        "isPaused": key.is_paused,
        "isPinnedParallelism": key.is_pinned_parallelism,
        "isPinnedRate": key.is_pinned_rate,
    }


def global_parallelism(maximum: int, count: int) -> JsonObject:
    """Render how many deliveries may be under way, and how many are (FLC-29)."""
    return {"parallelismMax": maximum, "parallelismCount": count}


def receipt(receipt: Receipt) -> JsonObject:
    """Render what a publisher gets for a single URL (PUB-40, PUB-42)."""
    return _present(messageId=receipt.message_id, deduplicated=receipt.deduplicated)


def group_receipt(receipts: Iterable[Receipt]) -> list[JsonObject]:
    """Render what a publisher gets for a URL group: an array, even of one (PUB-41)."""
    return [receipt(each) | {"url": each.url} for each in receipts]


def keys(keys: SigningKeys) -> JsonObject:
    """Render a user's signing keys (KEY-1)."""
    return {"current": keys.current, "next": keys.next}


def callback_payload(
    message: Message, outcome: Outcome, retried: int, dlq_id: str | None
) -> JsonObject:
    """Render what a callback tells of one delivery (CBK-20).

    ``retried`` is the delivery's own count; ``dlq_id`` is given to failure
    callbacks only. The source is never redacted: a callback is a delivery (CBK-24).
    """
    response = outcome if isinstance(outcome, Responded) else _NO_RESPONSE
    return {
        "status": response.status,
        "header": _header(grouped(response.header)),
        "body": _base64(response.body),
        "retried": retried,
        "maxRetries": message.options.max_retries,
        "sourceMessageId": message.message_id,
        "url": message.url,
        "method": message.options.method,
        "notBefore": message.not_before_ms,
        "createdAt": message.created_at_ms,
        "callerIP": message.caller_ip,
    } | _present(
        dlqId=dlq_id,
        topicName=message.url_group_name,
        endpointName=message.endpoint_name,
        sourceHeader=_header(grouped(message.header)),
        sourceBody=_base64(message.body),
        scheduleId=message.schedule_id,
    )


def fault(fault: Fault) -> JsonObject:
    """Render a fault as ``/_qemu/faults`` takes it; ``times`` only if it has an end."""
    shown: JsonObject = {
        "kind": fault.kind,
        "destination": fault.destination,
        "probability": fault.probability,
    }
    if fault.times is not None:
        shown["times"] = fault.times
    if fault.kind in (FaultKind.SLOW_START, FaultKind.REORDER):
        shown["delay"] = format_duration(fault.delay_ms)
    if fault.kind is FaultKind.RATE_LIMIT:
        shown["retry-after"] = fault.retry_after_s
    return shown


def error(text: str) -> JsonObject:
    """Render an error (ERR-1)."""
    return {"error": _text(text)}


def page(key: str, items: Sequence[JsonObject], cursor: str | None) -> JsonObject:
    """Render one page of a listing. ``cursor`` is ``None`` at the end (FMT-17)."""
    return {key: items} | _present(cursor=cursor)


_NO_RESPONSE = Responded(0)  # DLV-16, Q-5


def _present(**fields: Any) -> JsonObject:
    return {name: value for name, value in fields.items() if value}


def _text(text: str) -> str:
    # JSON can spell a lone surrogate, but few readers can print what they get.
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def _header(header: dict[str, list[str]]) -> dict[str, list[str]]:
    return {name: [_text(value) for value in values] for name, values in header.items()}


def _base64(data: bytes) -> str:
    return b64encode(data).decode("ascii")


def _body(name: str, body: bytes) -> JsonObject:
    # FMT-10.
    try:
        return {name: body.decode("utf-8")}
    except UnicodeDecodeError:
        return {name + "Base64": _base64(body)}


def _origin(message: Message) -> JsonObject:
    return {
        "topicName": message.url_group_name,
        "endpointName": message.endpoint_name,
        "queueName": message.queue_name,
        "scheduleId": message.schedule_id,
    }


def _schedule_destination(destination: Destination) -> str:
    # The built-in API is called by its path (PUB-1).
    if destination.kind is DestinationKind.API:
        return f"api/{destination.text}"
    return destination.text


def _seconds(duration_ms: int) -> int:
    return -(-duration_ms // 1000)


def _configuration(options: Options, suffix: str) -> JsonObject:
    """What was configured. A callback's headers aren't redacted (RED-9)."""
    fields: JsonObject = {}
    # CBK-16: the suffix is "Headers" in the log, "Header" elsewhere.
    for name, callback in (
        ("callback", options.callback),
        ("failureCallback", options.failure_callback),
    ):
        if callback is not None:
            fields[name] = callback.url
            fields[name + suffix] = _header(grouped(callback.header))
    fields["retryDelayExpression"] = options.retry_delay
    fields["timeout"] = options.timeout_ms
    if options.labels:
        labels = [_text(label) for label in options.labels]
        fields |= {"label": labels[0], "labels": labels}  # FMT-12
    if options.flow_control is not None:
        flow = options.flow_control
        fields["flowControlKey"] = _text(flow.key)
        fields["parallelism"] = flow.parallelism
        fields["rate"] = flow.rate
        fields["period"] = flow.period_s  # MSG-4: whenever the key is there.
    return fields


def _failure(entry: LogEntry) -> JsonObject:
    outcome = entry.outcome
    if outcome is None or entry.state not in (State.ERROR, State.FAILED):
        return {}
    fields: JsonObject = {"error": _text(outcome.error)}
    if entry.state is State.ERROR and isinstance(outcome, Responded):
        fields["responseStatus"] = outcome.status
        fields["responseHeader"] = _header(grouped(outcome.header))
        fields["responseHeaders"] = fields["responseHeader"]
        fields["responseBody"] = _base64(outcome.body)
    return fields
