"""Export: the state of users as JSON Lines, in an order in which it can be read back.

Each line is an object with a ``type`` and, but for the first and the last, a ``user``.
Times, states and ids have the names that the feed gives them; what a message or an
answer consists of stands in a record of ``core/records.py``. A body is a text where it
is UTF-8 without control characters, else base64.

A message is written once, and what the log says of it refers to its id. The lines are
made one by one, of values that don't change: whoever writes them may pause between any
two of them, however long. ``importing.py`` reads them back.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from itertools import count

from emulator.core import records
from emulator.core.model import DlqEntry, LogEntry, Outcome, Progress, State
from emulator.engine.persistence import Saved

__all__ = ["FORMAT", "PAUSE", "export"]

FORMAT = 1
"""The format's version. Newer ones are refused."""

PAUSE = b""
"""Comes where there is nothing to write yet, so that whoever writes may do others'
work meanwhile.
"""

_PAUSE_EVERY = 1_000
"""Messages and log entries that are looked through in one go."""

# json.dumps makes a new encoder for each call with separators of one's own.
_encode = json.JSONEncoder(separators=(",", ":")).encode
_quote = json.encoder.encode_basestring_ascii
_quote_text = json.encoder.encode_basestring

_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]")
"""What JSON would write with six characters each."""


def export(
    states: Mapping[str, Saved], *, now_ms: int, version: str
) -> Iterator[bytes]:
    """Yield the lines of users' states, and ``PAUSE`` now and then.

    ``now_ms`` is the instant at which the states were so, ``version`` qemu's.
    """
    counter = count()
    head = {"type": "qemu-state", "format": FORMAT, "qemu": version, "time": now_ms}
    yield _line(_encode(head))
    next(counter)
    for user, saved in states.items():
        for line in _user(_quote(user), saved):
            if line:
                next(counter)
            yield line
    yield _line(_encode({"type": "end", "lines": next(counter)}))


def _user(user: str, saved: Saved) -> Iterator[bytes]:
    """Yield one user's lines. ``user`` is quoted; so are all names below."""
    yield _line(_start("user", user) + _facts(saved) + "}")
    for queue in saved.queues:
        yield _line(_resource("queue", user, records.write_queue(queue)))
    for group in saved.url_groups:
        yield _line(_resource("url-group", user, records.write_url_group(group)))
    for key in saved.flow_keys:
        yield _line(_resource("flow-key", user, records.write_flow_key(key)))
    for name, started, since_ms in saved.periods:
        period = f',"key":{_quote(name)},"started":{started},"since":{since_ms}}}'
        yield _line(_start("flow-period", user) + period)
    for schedule in saved.schedules:
        record, body = records.write_schedule(schedule)
        line = _start("schedule", user) + f',"record":{record}'
        yield _line(line + _body("body", body) + "}")
    yield from _messages(user, saved)
    for entry in saved.log:
        yield _line(_log(user, entry))
    for failed in saved.dlq:
        yield _line(_dlq(user, failed))
    for key_of_window, message_id, until_ms in saved.windows:
        names = f',"key":{_quote(key_of_window)},"messageId":{_quote(message_id)}'
        yield _line(_start("deduplication", user) + f'{names},"until":{until_ms}}}')


def _messages(user: str, saved: Saved) -> Iterator[bytes]:
    """Yield the messages: those that are final in the order of their mention."""
    known: set[str] = set()
    for number, item in enumerate(saved.progress):
        if not item.is_final:
            known.add(item.message.message_id)
        if number % _PAUSE_EVERY == 0:
            yield PAUSE
    final: dict[str, Progress] = {}
    for failed in saved.dlq:
        _note_failed(final, failed)
    for number, entry in enumerate(saved.log):
        if entry.message.message_id not in known:
            _note_logged(final, entry)
        if number % _PAUSE_EVERY == 0:
            yield PAUSE
    for item in final.values():
        yield _line(_message(user, item))
    for item in saved.progress:
        if not item.is_final:
            yield _line(_message(user, item))


def _note_failed(final: dict[str, Progress], entry: DlqEntry) -> None:
    final[entry.message.message_id] = Progress(
        entry.message, State.FAILED, entry.failed_at_ms, entry.retried
    )


def _note_logged(final: dict[str, Progress], entry: LogEntry) -> None:
    """Take the last entry of a final message for how it ended."""
    final[entry.message.message_id] = Progress(
        entry.message, entry.state, entry.time_ms, entry.retried
    )


def _line(text: str) -> bytes:
    # Only bodies aren't ASCII, and those were UTF-8.
    return f"{text}\n".encode()


def _start(kind: str, user: str) -> str:
    return f'{{"type":"{kind}","user":{user}'


def _resource(kind: str, user: str, record: str) -> str:
    return f'{_start(kind, user)},"record":{record}}}'


def _facts(saved: Saved) -> str:
    text = f',"logBegins":{saved.first_log_sequence}'
    if saved.today is not None:
        day, messages = saved.today
        text += f',"today":[{day},{messages}]'
    if saved.keys is not None and saved.keys_before is not None:
        text += f',"keys":{records.write_keys(saved.keys)}'
        text += f',"keysBefore":{records.write_keys(saved.keys_before)}'
    return text


def _message(user: str, progress: Progress) -> str:
    message, state, due_ms, retried, cancel_requested = progress
    text = (
        f'{_start("message", user)},"time":{message.created_at_ms},'
        f'"messageId":{_quote(message.message_id)},"state":"{state.value}",'
        f'"retried":{retried},"due":{due_ms}'
    )
    if cancel_requested:
        text += ',"cancelRequested":true'
    text += f',"record":{records.write_message(message)}'
    return f"{text}{_body('body', message.body)}}}"


def _log(user: str, entry: LogEntry) -> str:
    text = (
        f'{_start("log", user)},"time":{entry.time_ms},'
        f'"messageId":{_quote(entry.message.message_id)},'
        f'"state":"{entry.state.value}","retried":{entry.retried}'
    )
    if entry.next_delivery_ms is not None:
        text += f',"nextDeliveryTime":{entry.next_delivery_ms}'
    if entry.duration_ms is not None:
        text += f',"durationMs":{entry.duration_ms}'
    if entry.dlq_id is not None:
        text += f',"dlqId":{_quote(entry.dlq_id)}'
    return f"{text}{_outcome(entry.outcome)}}}"


def _dlq(user: str, entry: DlqEntry) -> str:
    text = (
        f'{_start("dlq", user)},"time":{entry.failed_at_ms},'
        f'"messageId":{_quote(entry.message.message_id)},'
        f'"dlqId":{_quote(entry.dlq_id)},"retried":{entry.retried}'
    )
    return f"{text}{_outcome(entry.outcome)}}}"


def _outcome(outcome: Outcome | None) -> str:
    if outcome is None:
        return ""
    record, body = records.write_outcome(outcome)
    return f',"outcome":{record}{_body("responseBody", body)}'


def _body(name: str, body: bytes) -> str:
    if not body:
        return ""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = None
    if text is None or _CONTROLS.search(text):
        return f',"{name}Base64":"{b64encode(body).decode()}"'
    return f',"{name}":{_quote_text(text)}'
