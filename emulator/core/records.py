"""Records: how the values of the journal are written as text, and read back.

A record is a JSON object with the names of the fields; what has its usual value is
left out. The defaults stand here and not in the model: a file's meaning must not
change with the code. Bodies aren't in records: they are bytes, and stand beside them.

Reading takes the text, or what JSON makes of it. It trusts nothing. Whatever isn't
exactly what writing makes raises ``ValueError`` with a sentence that names the field,
and nothing else is ever raised. Nothing here knows a table or a file.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import chain
from sys import intern
from typing import Any, Generic, TypeVar

from emulator.core.header_map import HeaderMap
from emulator.core.last_states import LastStates
from emulator.core.model import (
    Callback,
    Destination,
    DestinationKind,
    FlowControl,
    Message,
    Options,
    Origin,
    Outcome,
    Publish,
    Redaction,
    Responded,
    SigningKeys,
    State,
    TimedOut,
    Unreachable,
)
from emulator.core.resources import Endpoint, FlowKey, Queue, Schedule, UrlGroup

__all__ = [
    "read_flow_key",
    "read_keys",
    "read_message",
    "read_name",
    "read_numbers",
    "read_outcome",
    "read_queue",
    "read_schedule",
    "read_state",
    "read_url_group",
    "write_flow_key",
    "write_keys",
    "write_message",
    "write_name",
    "write_numbers",
    "write_outcome",
    "write_queue",
    "write_schedule",
    "write_url_group",
]

T = TypeVar("T")

# json.dumps makes a new encoder for each call with separators of one's own.
_encode = json.JSONEncoder(separators=(",", ":")).encode
_quote = json.encoder.encode_basestring_ascii

_REQUIRED: Any = object()


class _Field:
    """One field of a record: how it is read, how it is written, its usual value."""

    def __init__(
        self,
        read: Callable[[Any], Any],
        default: Any = _REQUIRED,
        write: Callable[[Any], Any] | None = None,
    ) -> None:
        self.read = read
        self.default = default
        self.write = write


class _Shape(Generic[T]):
    """The fields of one type; what ``make`` takes by name."""

    def __init__(self, make: Callable[..., T], **fields: _Field) -> None:
        self._make = make
        self._writers = [
            (name, field.default, field.write) for name, field in fields.items()
        ]
        self._readers = {name: field.read for name, field in fields.items()}
        self._defaults = {
            name: field.default
            for name, field in fields.items()
            if field.default is not _REQUIRED
        }

    def write(self, value: T) -> dict[str, Any]:
        record = {}
        for name, default, write in self._writers:
            part = getattr(value, name)
            # The first question answers most: the usual values are shared.
            if part is not default and part != default:
                record[name] = part if write is None else write(part)
        return record

    def read(self, record: Any, **beside: Any) -> T:
        """Make a value of a record, and of fields that stand beside it."""
        _check(type(record) is dict, "a record is not an object")
        values = self._defaults | beside
        for name, part in record.items():
            read = self._readers.get(name)
            if read is None:
                raise ValueError(f"no record has a field {name!r}")
            try:
                values[name] = read(part)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        missing = self._readers.keys() - values.keys()
        _check(not missing, f"{', '.join(sorted(missing))} is missing")
        return self._make(**values)


def _check(holds: bool, problem: str) -> None:
    if not holds:
        raise ValueError(problem)


def _text(value: Any) -> str:
    if type(value) is not str:
        raise ValueError("not a text")
    return value


def _shared(value: Any) -> str:
    """Read a text that many messages have: in memory it is there once."""
    return intern(_text(value))


def _number(value: Any) -> int:
    if type(value) is not int:
        raise ValueError("not a number")
    return value


def _flag(value: Any) -> bool:
    _check(type(value) is bool, "neither true nor false")
    return bool(value)


def _texts(value: Any) -> tuple[str, ...]:
    _check(type(value) is list, "not a list")
    _check(set(map(type, value)) <= {str}, "not a list of texts")
    return tuple(value)


def _header(value: Any) -> HeaderMap:
    texts = _texts(value)
    _check(len(texts) % 2 == 0, "a name without a value")
    # Names repeat from message to message, and messages wait in great numbers.
    names = map(intern, texts[::2])
    return tuple(chain.from_iterable(zip(names, texts[1::2], strict=True)))


def read_state(value: Any) -> State:
    """Read a state's word (LOG-20)."""
    try:
        return _STATES[value]
    except (KeyError, TypeError):
        raise ValueError("not a state") from None


_STATES = {state.value: state for state in State}


def _kind(value: Any) -> DestinationKind:
    try:
        return DestinationKind(value)
    except ValueError:
        raise ValueError("not a kind of destination") from None


def _last_states(value: Any) -> LastStates:
    _check(type(value) is dict, "not an object")
    return LastStates(
        (id, None if state is None else read_state(state))
        for id, state in value.items()
    )


_FLOW_CONTROL = _Shape(
    FlowControl,
    key=_Field(_text),
    parallelism=_Field(_number, None),
    rate=_Field(_number, None),
    period_s=_Field(_number, 1),
)

_REDACTION = _Shape(
    Redaction,
    body=_Field(_flag, False),
    all_headers=_Field(_flag, False),
    header_names=_Field(
        lambda value: frozenset(_texts(value)), frozenset[str](), sorted
    ),
)


def _read_callback(value: Any) -> Callback:
    return _CALLBACK.read(value)


def _write_callback(value: Callback) -> dict[str, Any]:
    return _CALLBACK.write(value)


_OPTIONS = _Shape(
    Options,
    method=_Field(_shared, "POST"),
    retries=_Field(_number, None),
    retry_delay=_Field(_text, None),
    timeout_ms=_Field(_number, None),
    callback=_Field(_read_callback, None, _write_callback),
    failure_callback=_Field(_read_callback, None, _write_callback),
    labels=_Field(_texts, ()),
    flow_control=_Field(_FLOW_CONTROL.read, None, _FLOW_CONTROL.write),
    redaction=_Field(_REDACTION.read, None, _REDACTION.write),
)

_NO_OPTIONS = _OPTIONS.read({})

_OPTIONS_FIELD = _Field(_OPTIONS.read, _NO_OPTIONS, _OPTIONS.write)

_CALLBACK = _Shape(
    Callback, url=_Field(_text), header=_Field(_header, ()), options=_OPTIONS_FIELD
)

_MESSAGE = _Shape(
    Message,
    url=_Field(_shared),
    not_before_ms=_Field(_number),
    header=_Field(_header, ()),
    options=_OPTIONS_FIELD,
    caller_ip=_Field(_shared, ""),
    url_group_name=_Field(_text, None),
    endpoint_name=_Field(_text, None),
    queue_name=_Field(_text, None),
    schedule_id=_Field(_text, None),
    api=_Field(_text, None),
    callback_of=_Field(_text, None),
)

_NO_ORIGIN = Origin()

_DESTINATION = _Shape(
    Destination,
    kind=_Field(_kind, write=lambda kind: kind.value),
    text=_Field(_text),
)

_PUBLISH = _Shape(
    Publish,
    destination=_Field(_DESTINATION.read, write=_DESTINATION.write),
    header=_Field(_header, ()),
    options=_OPTIONS_FIELD,
    delay_ms=_Field(_number, 0),
    not_before_ms=_Field(_number, None),
    deduplication_id=_Field(_text, None),
    content_based_deduplication=_Field(_flag, False),
    queue_name=_Field(_text, None),
    caller_ip=_Field(_text, ""),
)

_SCHEDULE = _Shape(
    Schedule,
    schedule_id=_Field(_text),
    cron=_Field(_text),
    created_at_ms=_Field(_number),
    is_paused=_Field(_flag, False),
    next_fire_ms=_Field(_number),
    last_fire_ms=_Field(_number, None),
    last_states=_Field(_last_states, LastStates(), dict),
    error=_Field(_text, None),
)

_QUEUE = _Shape(
    Queue,
    name=_Field(_text),
    created_at_ms=_Field(_number),
    updated_at_ms=_Field(_number),
    parallelism=_Field(_number, 1),
    is_paused=_Field(_flag, False),
)

_ENDPOINT = _Shape(Endpoint, url=_Field(_text), name=_Field(_text, None))


def _endpoints(value: Any) -> tuple[Endpoint, ...]:
    _check(type(value) is list and bool(value), "not a list of endpoints")
    return tuple(_ENDPOINT.read(each) for each in value)


_URL_GROUP = _Shape(
    UrlGroup,
    name=_Field(_text),
    created_at_ms=_Field(_number),
    updated_at_ms=_Field(_number),
    endpoints=_Field(_endpoints, write=lambda each: [*map(_ENDPOINT.write, each)]),
    defaults=_Field(_header, ()),
)

_FLOW_KEY = _Shape(
    FlowKey,
    key=_Field(_text),
    parallelism=_Field(_number, None),
    rate=_Field(_number, None),
    period_s=_Field(_number, 1),
    is_paused=_Field(_flag, False),
    is_pinned_parallelism=_Field(_flag, False),
    is_pinned_rate=_Field(_flag, False),
)

_KEYS = _Shape(SigningKeys, current=_Field(_text), next=_Field(_text))

_RESPONDED = _Shape(
    Responded,
    status=_Field(_number),
    header=_Field(_header, ()),
    reason=_Field(_text, ""),
)

_TIMED_OUT = _Shape(TimedOut, timeout_ms=_Field(_number))

_UNREACHABLE = _Shape(Unreachable, error=_Field(_text))


def _parse(text: Any) -> Any:
    if type(text) is dict:
        return text  # it was a part of something, and has been parsed with that
    _check(type(text) is str, "a record is not a text")
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("a record is nested too deeply") from None
    except ValueError:
        raise ValueError("a record is not JSON") from None


def _body(value: Any) -> bytes:
    _check(type(value) is bytes, "a body is not bytes")
    return bytes(value)


def write_message(message: Message) -> str:
    """Write a message without its id, its creation time and its body.

    By hand, as each publish does it: what ``_MESSAGE`` writes, in half the time.
    """
    text = f'{{"url":{_quote(message.url)},"not_before_ms":{message.not_before_ms}'
    header = message.header
    if header:
        text += f',"header":[{",".join(map(_quote, header))}]'
    if message.options != _NO_OPTIONS:
        text += f',"options":{_encode(_OPTIONS.write(message.options))}'
    if message.caller_ip:
        text += f',"caller_ip":{_quote(message.caller_ip)}'
    if message.origin != _NO_ORIGIN:
        for name, value in zip(Origin._fields, message.origin, strict=True):
            if value is not None:
                text += f',"{name}":{_quote(value)}'
    return text + "}"


def read_message(
    text: Any, *, message_id: Any, created_at_ms: Any, body: Any
) -> Message:
    """Read what ``write_message`` writes. Raises ``ValueError``."""
    return _MESSAGE.read(
        _parse(text),
        message_id=_text(message_id),
        created_at_ms=_number(created_at_ms),
        body=_body(body),
    )


def write_outcome(outcome: Outcome) -> tuple[str, bytes]:
    """Write what a delivery came to, and beside it the answer's body."""
    if isinstance(outcome, Responded):
        # By hand, too: each delivery does it.
        text = f'{{"status":{outcome.status}'
        if outcome.header:
            text += f',"header":[{",".join(map(_quote, outcome.header))}]'
        if outcome.reason:
            text += f',"reason":{_quote(outcome.reason)}'
        return text + "}", outcome.body
    if isinstance(outcome, TimedOut):
        return _encode(_TIMED_OUT.write(outcome)), b""
    return _encode(_UNREACHABLE.write(outcome)), b""


def read_outcome(text: Any, body: Any) -> Outcome:
    """Read what ``write_outcome`` writes. Raises ``ValueError``."""
    record = _parse(text)
    _check(type(record) is dict, "a record is not an object")
    if "status" in record:
        return _RESPONDED.read(record, body=_body(body))
    return (_TIMED_OUT if "timeout_ms" in record else _UNREACHABLE).read(record)


def write_queue(queue: Queue) -> str:
    """Write a queue."""
    return _encode(_QUEUE.write(queue))


def read_queue(text: Any) -> Queue:
    """Read what ``write_queue`` writes. Raises ``ValueError``."""
    return _QUEUE.read(_parse(text))


def write_url_group(group: UrlGroup) -> str:
    """Write a URL group."""
    return _encode(_URL_GROUP.write(group))


def read_url_group(text: Any) -> UrlGroup:
    """Read what ``write_url_group`` writes. Raises ``ValueError``."""
    return _URL_GROUP.read(_parse(text))


def write_flow_key(key: FlowKey) -> str:
    """Write a flow-control key."""
    return _encode(_FLOW_KEY.write(key))


def read_flow_key(text: Any) -> FlowKey:
    """Read what ``write_flow_key`` writes. Raises ``ValueError``."""
    return _FLOW_KEY.read(_parse(text))


def write_schedule(schedule: Schedule) -> tuple[str, bytes]:
    """Write a schedule, and beside it the body that it publishes."""
    record = _SCHEDULE.write(schedule)
    record["publish"] = _PUBLISH.write(schedule.publish)
    return _encode(record), schedule.publish.body


def read_schedule(text: Any, body: Any) -> Schedule:
    """Read what ``write_schedule`` writes. Raises ``ValueError``."""
    record = _parse(text)
    _check(type(record) is dict and "publish" in record, "publish is missing")
    publish = _PUBLISH.read(record.pop("publish"), body=_body(body))
    return _SCHEDULE.read(record, publish=publish)


def write_keys(keys: SigningKeys) -> str:
    """Write a user's signing keys."""
    return _encode(_KEYS.write(keys))


def read_keys(text: Any) -> SigningKeys:
    """Read what ``write_keys`` writes. Raises ``ValueError``."""
    return _KEYS.read(_parse(text))


def write_name(name: str) -> str:
    """Write a name so that no two are the same, and each can stand by itself.

    As it is, if it is ASCII; else quoted: not every text can be written as UTF-8.
    """
    return name if name.isascii() and not name.startswith('"') else json.dumps(name)


def read_name(text: Any) -> str:
    """Read what ``write_name`` writes. Raises ``ValueError``."""
    name = _text(text)
    return _text(_parse(name)) if name.startswith('"') else name


def write_numbers(numbers: tuple[int, ...]) -> str:
    """Write some numbers: instants and counts."""
    return _encode(numbers)


def read_numbers(text: Any, count: int) -> tuple[int, ...]:
    """Read so many numbers that ``write_numbers`` wrote. Raises ``ValueError``."""
    numbers = _parse(text)
    _check(type(numbers) is list and len(numbers) == count, f"not {count} numbers")
    return tuple(_number(number) for number in numbers)
