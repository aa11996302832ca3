"""Import: lines that ``exporting.py`` made, or somebody else, become users' states.

Reading trusts nothing: a line that isn't exactly such a line, or that contradicts
another, raises ``InvalidState`` with its number. Everything is checked here, since what
comes of it is taken as it is, by the store as by the journal: that no name occurs
twice, that whatever is named is there, that the log ends, for a message, where the
message stands.

A line is taken at a time; nobody's state changes here.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from emulator.core import records
from emulator.core.model import (
    FINAL_STATES,
    WAITING_STATES,
    Deduplication,
    DlqEntry,
    LogEntry,
    Message,
    Outcome,
    Progress,
    State,
)
from emulator.core.resources import FlowKey, Queue, Schedule, UrlGroup
from emulator.engine.exporting import FORMAT
from emulator.engine.import_fields import (
    Fields,
    check_limits,
    check_number,
    check_options,
    check_positive,
    check_schedule,
    read_line,
    read_stamp,
    read_today,
)
from emulator.engine.persistence import Saved
from emulator.errors import InvalidExpression, InvalidState, shown

__all__ = ["MAX_LINE_BYTES", "Imported", "StateReader"]

MAX_LINE_BYTES = 1 << 27
"""The longest message of any plan, written as its worst, still fits."""

_MAX_SEQUENCE = 10**15
"""Of the log: cursors have 16 digits (``ids.stamp``)."""

_STATES = WAITING_STATES | FINAL_STATES | {State.ACTIVE}

_WITH_OUTCOME = (State.ERROR, State.DELIVERED, State.FAILED)


class Imported(NamedTuple):
    """What a file holds."""

    time_ms: int
    """The instant at which it was so."""

    states: dict[str, Saved]
    """By user."""


class StateReader:
    """Reads an export line by line, for an emulator with these users."""

    def __init__(self, users: Collection[str]) -> None:
        self._users = users
        self._number = 0
        self._time_ms: int | None = None
        self._readings: dict[str, _Reading] = {}
        self._is_whole = False

    def take(self, line: bytes) -> None:
        """Take the next line. Raises ``InvalidState``: then the file is of no use."""
        self._number += 1
        try:
            if len(line) > MAX_LINE_BYTES:
                raise ValueError(f"it has more than {MAX_LINE_BYTES:,} bytes")
            self._take(Fields(read_line(line)))
        except RecursionError:
            raise InvalidState(self._number, "it is nested too deeply") from None
        except (ValueError, InvalidExpression) as error:
            raise InvalidState(self._number, str(error)) from None

    def finish(self) -> Imported:
        """Return what was read, after the last line. Raises ``InvalidState``."""
        if not self._is_whole or self._time_ms is None:
            raise InvalidState(
                self._number + 1, "the end is missing: the file isn't whole"
            )
        return Imported(
            self._time_ms,
            {user: reading.finish() for user, reading in self._readings.items()},
        )

    def _take(self, fields: Fields) -> None:
        if self._is_whole:
            raise ValueError("nothing may follow the end")
        kind = fields.text("type")
        if self._time_ms is None:
            self._time_ms = _read_head(kind, fields)
        elif kind == "end":
            if fields.number("lines") != self._number - 1:
                raise ValueError("lines: lines are missing before it")
            self._is_whole = True
        elif kind == "user":
            self._begin(fields)
        else:
            user = fields.text("user")
            reading = self._readings.get(user)
            if reading is None:
                raise ValueError(f"user: no line of type user is about {shown(user)}")
            reading.take(kind, fields, self._number)
        fields.finish()

    def _begin(self, fields: Fields) -> None:
        user = fields.text("user")
        if user not in self._users:
            raise ValueError(
                f"user: there is no user {shown(user)} here; "
                "start with that user, or export one that is"
            )
        if user in self._readings:
            raise ValueError(f"user: {shown(user)} was there before")
        self._readings[user] = _Reading(fields)


class _Reading:
    """What has been read of one user."""

    def __init__(self, fields: Fields) -> None:
        first = fields.number("logBegins")
        if not 0 <= first <= _MAX_SEQUENCE:
            raise ValueError(f"logBegins: not between 0 and {_MAX_SEQUENCE}")
        today = fields.optional("today")
        keys, before = fields.optional("keys"), fields.optional("keysBefore")
        if (keys is None) is not (before is None):
            raise ValueError("keys and keysBefore: one without the other")
        self._facts = Saved(
            first_log_sequence=first,
            today=None if today is None else read_today(today),
            keys=None if keys is None else records.read_keys(keys),
            keys_before=None if before is None else records.read_keys(before),
        )
        self._queues: dict[str, Queue] = {}
        self._url_groups: dict[str, UrlGroup] = {}
        self._flow_keys: dict[str, FlowKey] = {}
        self._periods: dict[str, tuple[str, int, int]] = {}
        self._schedules: dict[str, Schedule] = {}
        self._progress: dict[str, Progress] = {}
        self._lines: dict[str, int] = {}
        """Of messages."""
        self._log: list[LogEntry] = []
        self._last: dict[str, State] = {}
        """What the log says last of a message."""
        self._outcomes: dict[str, Outcome] = {}
        """What the last delivery came to; an answer is in memory once."""
        self._failed: dict[str, str] = {}
        """Messages by the DLQ entry that the log gives them."""
        self._last_stamp = self._last_logged_stamp = (-1, -1)
        self._dlq: list[DlqEntry] = []
        self._unlogged: set[str] = set()
        """Messages in the DLQ that the log doesn't tell of any more."""
        self._windows: dict[str, Deduplication] = {}

    def take(self, kind: str, fields: Fields, line: int) -> None:
        match kind:
            case "message":
                self._take_message(fields, line)
            case "log":
                self._take_log(fields)
            case "dlq":
                self._take_dlq(fields)
            case "deduplication":
                window = Deduplication(
                    fields.text("key"), fields.id("messageId"), fields.number("until")
                )
                _add(self._windows, window.key, window, "key")
            case "queue":
                queue = records.read_queue(fields.record())
                check_positive("parallelism", queue.parallelism)
                _add(self._queues, queue.name, queue, "record")
            case "url-group":
                group = records.read_url_group(fields.record())
                _add(self._url_groups, group.name, group, "record")
            case "flow-key":
                key = records.read_flow_key(fields.record())
                check_limits(key.parallelism, key.rate, key.period_s)
                _add(self._flow_keys, key.key, key, "record")
            case "flow-period":
                name = fields.text("key")
                period = name, fields.number("started"), fields.number("since")
                _add(self._periods, name, period, "key")
            case "schedule":
                schedule = records.read_schedule(fields.record(), fields.body("body"))
                check_schedule(schedule)
                _add(self._schedules, schedule.schedule_id, schedule, "record")
            case _:
                raise ValueError(f"type: there is no type {shown(kind)}")

    def finish(self) -> Saved:
        """Return the state. Raises ``InvalidState`` where parts contradict others."""
        for message_id, progress in self._progress.items():
            problem = self._problem_of(message_id, progress)
            if problem:
                raise InvalidState(self._lines[message_id], problem)
        pending = {
            message_id: item
            for message_id, item in self._progress.items()
            if not item.is_final
        }
        sources = {item.message.callback_of for item in pending.values()}
        return self._facts._replace(
            progress=tuple(self._progress.values()),
            sources=tuple(
                item.message
                for message_id, item in self._progress.items()
                if message_id in sources and item.is_final
            ),
            log=self._log,
            dlq=self._dlq,
            windows=sorted(
                self._windows.values(), key=lambda each: (each.until_ms, each.key)
            ),
            queues=tuple(self._queues.values()),
            url_groups=tuple(self._url_groups.values()),
            flow_keys=tuple(self._flow_keys.values()),
            schedules=tuple(self._schedules.values()),
            periods=tuple(self._periods.values()),
        )

    def _problem_of(self, message_id: str, progress: Progress) -> str:
        """Say what of a message doesn't fit the log and the DLQ."""
        said = self._last.get(message_id)
        if said is None:
            if progress.is_final and message_id not in self._unlogged:
                return "it is final, and neither the log nor the DLQ has it"
            return ""
        if said is State.CANCEL_REQUESTED:
            said = State.ACTIVE
        if said is not progress.state:
            return f"state: it is {progress.state.value}, and the log says {said.value}"
        return ""

    def _take_message(self, fields: Fields, line: int) -> None:
        message_id = fields.id("messageId")
        message = records.read_message(
            fields.record(),
            message_id=message_id,
            created_at_ms=fields.number("time"),
            body=fields.body("body"),
        )
        check_number("not_before_ms", message.not_before_ms)
        check_options(message.options)
        state = fields.state()
        if state not in _STATES:
            raise ValueError(f"state: {state.value} is a state of the log alone")
        progress = Progress(
            message,
            state,
            fields.number("due"),
            fields.number("retried"),
            fields.flag("cancelRequested"),
        )
        if progress.cancel_requested and state is not State.ACTIVE:
            raise ValueError("cancelRequested: no delivery is under way")
        _add(self._progress, message_id, progress, "messageId")
        self._lines[message_id] = line

    def _take_log(self, fields: Fields) -> None:
        message = self._message(fields)
        message_id, state = message.message_id, fields.state()
        dlq_id = fields.optional("dlqId")
        if (dlq_id is not None) is not (state is State.FAILED):
            raise ValueError("dlqId: FAILED entries have one, and no others")
        if dlq_id is not None:
            stamp = read_stamp(dlq_id)
            if stamp <= self._last_logged_stamp:
                raise ValueError("dlqId: not above the one before")
            self._last_logged_stamp = stamp
            self._failed[dlq_id] = message_id
        entry = LogEntry(
            time_ms=fields.number("time"),
            state=state,
            message=message,
            retried=fields.number("retried"),
            next_delivery_ms=fields.number_or_none("nextDeliveryTime"),
            outcome=self._outcome(fields, message_id),
            duration_ms=fields.number_or_none("durationMs"),
            dlq_id=dlq_id,
        )
        if (entry.outcome is None) is (state in _WITH_OUTCOME):
            raise ValueError("outcome: ERROR, DELIVERED and FAILED have one, no others")
        if self._last.get(message_id) in FINAL_STATES:
            raise ValueError("state: the log has said how the message ended")
        self._last[message_id] = state
        self._log.append(entry)

    def _take_dlq(self, fields: Fields) -> None:
        message = self._message(fields)
        message_id, dlq_id = message.message_id, fields.text("dlqId")
        stamp = read_stamp(dlq_id)
        if stamp <= self._last_stamp:
            raise ValueError("dlqId: not above the one before")
        self._last_stamp = stamp
        if self._progress[message_id].state is not State.FAILED:
            raise ValueError("messageId: the message hasn't failed")
        outcome = self._outcome(fields, message_id)
        if outcome is None:
            raise ValueError("outcome is missing")
        if self._last.get(message_id) is None:
            # It is older than the log.
            self._unlogged.add(message_id)
            if len(self._unlogged) > self._facts.first_log_sequence:
                raise ValueError("dlqId: the log should tell of it")
            if len(self._unlogged) <= len(self._dlq):
                raise ValueError("dlqId: the log tells of the one before, not of it")
        elif self._failed.get(dlq_id) != message_id:
            raise ValueError("dlqId: the log gives the message another")
        self._dlq.append(
            DlqEntry(
                dlq_id=dlq_id,
                failed_at_ms=fields.number("time"),
                message=message,
                retried=fields.number("retried"),
                outcome=outcome,
            )
        )

    def _message(self, fields: Fields) -> Message:
        message_id = fields.text("messageId")
        progress = self._progress.get(message_id)
        if progress is None:
            raise ValueError(f"messageId: no message {shown(message_id)} comes before")
        return progress.message

    def _outcome(self, fields: Fields, message_id: str) -> Outcome | None:
        record, body = fields.optional("outcome"), fields.body("responseBody")
        if record is None:
            if body:
                raise ValueError("responseBody: there is no outcome")
            return None
        outcome = records.read_outcome(record, body)
        before = self._outcomes.get(message_id)
        if outcome == before and type(outcome) is type(before):
            return before
        self._outcomes[message_id] = outcome
        return outcome


def _read_head(kind: str, fields: Fields) -> int:
    if kind != "qemu-state":
        raise ValueError("the file doesn't begin like an export of qemu's")
    version, time_ms = fields.number("format"), fields.number("time")
    by = fields.text("qemu")
    if version > FORMAT:
        raise ValueError(
            f"written by a newer qemu, {shown(by)} (format {version}, this one knows "
            f"{FORMAT}): use that one"
        )
    if version != FORMAT or not 0 <= time_ms < 2**53:
        raise ValueError(f"format {version} at {time_ms}: never written by any qemu")
    return time_ms


def _add(known: dict[str, Any], name: str, value: Any, field: str) -> None:
    if name in known:
        raise ValueError(f"{field}: {shown(name)} was there before")
    known[name] = value
