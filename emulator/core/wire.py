"""Wire: QStash's JSON, and what of it stands for which part of the model.

Decides names, presence, order and units of every field that the API shows, and
what a JSON request body may look like. The functions take and return plain
values: writing JSON, HTTP statuses and headers belong to ``web/``. What a value
means is decided elsewhere: filters in ``filters.py``, an entry's headers in
``headers.py``, what is hidden in ``redaction.py``.

Nothing rendered is ever ``None``; what is unset, empty or zero is left out, but
for the fields that a clause calls *always present*, which come first (BASE-12).
Bytes that a header carried and that aren't UTF-8 are shown as U+FFFD.

Request bodies are hostile: numbers are kept as they are written, and neither
depth nor duplicate keys nor lone surrogates get past ``_parse_json``.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from emulator.core.header_map import grouped
from emulator.core.model import (
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
from emulator.errors import InvalidBody, InvalidDestination, shown

__all__ = [
    "BatchEntry",
    "JsonObject",
    "callback_payload",
    "dlq_entry",
    "error",
    "group_receipt",
    "keys",
    "log_entry",
    "message",
    "page",
    "parse_batch",
    "parse_selection",
    "receipt",
]

JsonObject = dict[str, Any]

_T = TypeVar("_T")

_SURROGATE = re.compile("[\ud800-\udfff]")


# What the API shows


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


# What a request's body says


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchEntry:
    """One message of a batch: its complete configuration (BAT-1, BAT-2)."""

    destination: str
    """Not empty; otherwise as it arrived."""

    headers: tuple[tuple[str, str], ...] = ()
    """In order, in any case; an array of values is as many pairs."""

    body: bytes = b""

    queue_name: str | None = None
    """``None``: publish, don't enqueue."""


def parse_batch(body: bytes) -> list[BatchEntry]:
    """Read the body of a batch request (BAT-1); unknown keys are ignored (FMT-20).

    Raises ``InvalidBody`` or ``InvalidDestination``, naming the entry by its index
    and the key. Anything wrong with any entry refuses the whole batch (BAT-7).
    """
    entries = _check("it", _parse_json(body), list)
    return [_batch_entry(f"[{index}]", entry) for index, entry in enumerate(entries)]


def _batch_entry(place: str, entry: Any) -> BatchEntry:
    _check(place, entry, dict)
    destination = _field(entry, place, "destination")
    if not destination:
        # ERR-4, and where.
        sentence = f"a non-empty destination must be provided: {place}.destination"
        raise InvalidDestination("", "empty", sentence=sentence)
    return BatchEntry(
        destination=destination,
        headers=tuple(_entry_headers(place + ".headers", entry.get("headers"))),
        body=_field(entry, place, "body").encode("utf-8"),
        queue_name=_field(entry, place, "queue") or None,
    )


def _entry_headers(place: str, headers: Any) -> Iterator[tuple[str, str]]:
    if headers is None:
        return
    for name, values in _check(place, headers, dict).items():
        header = f"{place}[{shown(name)}]"
        _string(f"the name of {header}", name)
        for value in values if isinstance(values, list) else (values,):
            yield name, _string(header, value)


def parse_selection(body: bytes) -> dict[str, list[str]]:
    """Read the JSON body of a bulk action, as if it were a query (MSG-21, DLQ-21).

    An object of name to string, number, or array of those; numbers are returned as
    they are written. An empty body selects nothing in particular: ``{}``. Raises
    ``InvalidBody`` for anything else.
    """
    if not body.strip():
        return {}
    selection = _check("it", _parse_json(body), dict)
    return {
        name: [
            str(value) if isinstance(value, _Number) else _string(shown(name), value)
            for value in (values if isinstance(values, list) else (values,))
        ]
        for name, values in selection.items()
    }


class _Number(str):
    """A JSON number as it is written: never converted, so never too large."""

    __slots__ = ()


_KINDS = {
    type(None): "null",
    bool: "a boolean",
    _Number: "a number",
    str: "a string",
    list: "an array",
    dict: "an object",
}


def _refuse_constant(constant: str) -> NoReturn:
    raise InvalidBody(f"not valid JSON: {constant}")


def _unique(pairs: list[tuple[str, Any]]) -> JsonObject:
    # Readers disagree on which of two counts. A bulk action must not guess.
    result: JsonObject = {}
    for name, value in pairs:
        if name in result:
            raise InvalidBody(f"{shown(name)} appears twice in one object")
        result[name] = value
    return result


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique,
    parse_int=_Number,
    parse_float=_Number,
    parse_constant=_refuse_constant,
)


def _parse_json(body: bytes) -> Any:
    try:
        return _DECODER.decode(body.decode("utf-8"))
    except UnicodeDecodeError as problem:
        raise InvalidBody(f"not UTF-8 at byte {problem.start}") from None
    except json.JSONDecodeError as problem:
        raise InvalidBody(f"not valid JSON: {problem}") from None
    except RecursionError:
        raise InvalidBody("nested too deeply") from None


def _check(place: str, value: Any, expected: type[_T]) -> _T:
    if type(value) is not expected:  # A _Number is not a str here.
        kinds = f"{_KINDS[expected]}, not {_KINDS[type(value)]}"
        raise InvalidBody(f"{place} must be {kinds}")
    return value


def _string(place: str, value: Any) -> str:
    text = _check(place, value, str)
    if not text.isascii() and _SURROGATE.search(text):
        raise InvalidBody(f"{place} has half of a surrogate pair, which isn't text")
    return text


def _field(entry: JsonObject, place: str, name: str) -> str:
    value = entry.get(name)
    return "" if value is None else _string(f"{place}.{name}", value)
