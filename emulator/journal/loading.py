"""Reading a user's state back from the file's rows.

Everything is checked: that each row is one of those that ``group.py`` writes, that the
log has no gap, that whatever is named is there. What isn't as it was written raises
``ValueError`` with a sentence that says where; the file's own damage, sqlite3's errors.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from emulator.core import records
from emulator.core.lifecycle import created_entry
from emulator.core.model import (
    FINAL_STATES,
    Deduplication,
    DlqEntry,
    LogEntry,
    Message,
    Outcome,
    Progress,
    SigningKeys,
    State,
)
from emulator.engine.persistence import Horizon, Saved
from emulator.journal.group import checksum

__all__ = ["Loading"]

T = TypeVar("T")


class Loading:
    """One user's rows, read once."""

    def __init__(self, db: sqlite3.Connection, user: int, horizon: Horizon) -> None:
        self._db = db
        self._user = user
        self._horizon = horizon
        self._messages: dict[int, Message] = {}
        self._created: list[tuple[int, int]] = []
        """Places in the log, and numbers of messages that stand for their entries."""
        self._progress: dict[int, Progress] = {}
        self.pending_numbers: dict[str, int] = {}
        """Of the messages that aren't final."""
        self.first_sequence = 0
        self.next_sequence = 0

    def read(self) -> Saved:
        """Read everything."""
        facts = self._read_facts()
        self.first_sequence = _read_first(facts.get("log begins"))
        self._read_progress()
        log = self._read_log()
        after_ms = self._horizon.grace_from_ms
        progress = [
            item
            for item in self._progress.values()
            if not item.is_final or item.due_ms > after_ms
        ]
        return Saved(
            progress=progress,
            sources=self._sources(progress),
            log=log,
            first_log_sequence=self.first_sequence,
            dlq=self._read_dlq(log),
            windows=self._read_windows(),
            keys=_read_keys(facts.get("keys")),
            keys_before=_read_keys(facts.get("keys before")),
            queues=self._read_resources("queues", records.read_queue),
            url_groups=self._read_resources("url_groups", records.read_url_group),
            flow_keys=self._read_resources("flow_keys", records.read_flow_key),
            schedules=self._read_resources("schedules", records.read_schedule, "body"),
            periods=self._read_periods(),
            today=_read_today(facts.get("today")),
        )

    def _rows(self, statement: str) -> Iterator[tuple[Any, ...]]:
        return iter(self._db.execute(statement, (self._user,)))

    def _read_facts(self) -> dict[str, Any]:
        facts = {}
        for name, value, check in self._rows(
            "SELECT name, value, checksum FROM facts WHERE user = ?"
        ):
            with _Place(f"the fact {name}"):
                _verify(check, (self._user, name, value))
            facts[name] = value
        return facts

    def _read_progress(self) -> None:
        for row in self._rows(
            "SELECT number, id, created_at_ms, created_sequence, checksum, value, "
            "body, state_checksum, state, due_ms, retried, cancel_requested "
            "FROM messages WHERE user = ? ORDER BY number"
        ):
            number, message_id, created_at_ms, sequence, check, value, body = row[:7]
            with _Place(f"message {number}"):
                message = records.read_message(
                    value, message_id=message_id, created_at_ms=created_at_ms, body=body
                )
                same = number, self._user, message_id, created_at_ms, sequence, value
                _verify(check, same, body)
                progress = _read_state(message, *row[8:])
                _verify(row[7], (number, *row[8:]))
            self._messages[number] = message
            self._progress[number] = progress
            if sequence is not None:
                self._created.append((sequence, number))
            if not progress.is_final:
                self.pending_numbers[message.message_id] = number

    def _sources(self, progress: list[Progress]) -> list[Message]:
        wanted = {
            item.message.callback_of for item in progress if not item.is_final
        } - self.pending_numbers.keys()
        if wanted <= {None}:
            return []
        return [each for each in self._messages.values() if each.message_id in wanted]

    def _read_log(self) -> list[LogEntry]:
        first = self.first_sequence
        entries: dict[int, LogEntry] = {}
        last: dict[int, LogEntry] = {}
        for sequence, number in self._created:
            if not isinstance(sequence, int):
                raise ValueError(f"message {number}: not a place in the log")
            if sequence >= first:
                entries[sequence] = created_entry(self._messages[number])
                last[number] = entries[sequence]
        before: dict[str, Outcome] = {}
        count = len(entries)
        for row in self._rows(
            "SELECT user, sequence, time_ms, state, message, retried, "
            "next_delivery_ms, duration_ms, dlq_id, outcome, response_body, checksum "
            "FROM log WHERE user = ? ORDER BY sequence"
        ):
            sequence, number = row[1], row[4]
            if sequence < first:
                raise ValueError(f"the log begins at {first}, and {sequence} is there")
            with _Place(f"log entry {sequence}"):
                entry = _read_entry(self._message(number), row[2:11], before)
                _verify(row[11], row[:10], row[10])
            entries[sequence] = entry
            last[number] = entry
            count += 1
        if len(entries) != count or (
            entries and (min(entries), max(entries)) != (first, first + count - 1)
        ):
            raise ValueError("the log has gaps")
        for number, logged in last.items():
            with _Place(f"message {number}"):
                self._progress[number] = _compared(self._progress[number], logged)
        self.next_sequence = first + count
        return [entries[sequence] for sequence in range(first, self.next_sequence)]

    def _message(self, number: object) -> Message:
        message = self._messages.get(number) if isinstance(number, int) else None
        if message is None:
            raise ValueError(f"there is no message {number}")
        return message

    def _read_dlq(self, log: list[LogEntry]) -> list[DlqEntry]:
        # An answer's body is in memory once, as it was before.
        known = {entry.dlq_id: entry.outcome for entry in log if entry.dlq_id}
        found = []
        for *row, body, check in self._rows(
            "SELECT user, sequence, id, message, failed_at_ms, retried, outcome, "
            "response_body, checksum FROM dlq WHERE user = ? ORDER BY sequence"
        ):
            dlq_id, number, failed_at_ms, retried, outcome = row[2:]
            with _Place(f"DLQ entry {dlq_id}"):
                message = self._message(number)
                read = records.read_outcome(outcome, body)
                same = known.get(dlq_id)
                entry = DlqEntry(
                    dlq_id=_text(dlq_id),
                    failed_at_ms=_number(failed_at_ms),
                    message=message,
                    retried=_number(retried),
                    outcome=same if same is not None and same == read else read,
                )
                _verify(check, tuple(row), body)
            found.append(entry)
        return found

    def _read_windows(self) -> list[Deduplication]:
        with _Place("a deduplication window"):
            return [
                Deduplication(records.read_name(row[1]), _text(row[2]), _number(row[3]))
                for *row, check in self._rows(
                    "SELECT user, key, message_id, until_ms, checksum FROM windows "
                    "WHERE user = ? ORDER BY until_ms"
                )
                if _verify(check, tuple(row))
            ]

    def _read_periods(self) -> list[tuple[str, int, int]]:
        with _Place("a period of flow control"):
            return [
                (records.read_name(row[1]), _number(row[2]), _number(row[3]))
                for *row, check in self._rows(
                    "SELECT user, key, started, since_ms, checksum FROM periods "
                    "WHERE user = ?"
                )
                if _verify(check, tuple(row))
            ]

    def _read_resources(
        self, table: str, read: Callable[..., T], *beside: str
    ) -> list[T]:
        columns = ", ".join(("checksum", "name", "value", *beside))
        found = []
        for check, name, value, *body in self._rows(
            f"SELECT {columns} FROM {table} WHERE user = ? ORDER BY number"
        ):
            with _Place(f"{name} of {table}"):
                found.append(read(value, *body))
                _verify(check, (self._user, name, value), *body)
        return found


class _Place:
    """Says where a mistake was found."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if isinstance(error, ValueError | TypeError):
            raise ValueError(f"{self._name}: {error}") from None


def _verify(check: Any, values: tuple[Any, ...], body: bytes | None = None) -> bool:
    """Compare a row's checksum. Raises ``ValueError`` unless it fits."""
    if check != checksum(values, body):
        raise ValueError("it isn't what was written")
    return True


def _read_state(
    message: Message, state: Any, due_ms: Any, retried: Any, cancel_requested: Any
) -> Progress:
    if cancel_requested not in (0, 1):
        raise ValueError("cancelled, or not?")
    read = records.read_state(state)
    if read is State.ERROR or read is State.CANCEL_REQUESTED:
        raise ValueError(f"{read} is a state of the log alone")
    return Progress(
        message, read, _number(due_ms), _number(retried), bool(cancel_requested)
    )


def _compared(progress: Progress, logged: LogEntry) -> Progress:
    """Check that the log ends, for a message, where the message stands.

    But for a delivery under way, which the log alone tells.
    """
    state = logged.state
    if state is State.ACTIVE and progress.is_waiting:
        return progress._replace(state=state, due_ms=logged.time_ms)
    if (State.ACTIVE if state is State.CANCEL_REQUESTED else state) is progress.state:
        return progress
    raise ValueError(f"it is {progress.state}, and the log says {state}")


def _read_entry(
    message: Message, values: tuple[Any, ...], before: dict[str, Outcome]
) -> LogEntry:
    """Read an entry; ``before`` has the outcome of each message's last failure."""
    time_ms, state, _, retried, next_ms, duration_ms, dlq_id, record, body = values
    message_id, read = message.message_id, records.read_state(state)
    outcome = None if record is None else records.read_outcome(record, body)
    if outcome is not None:
        last = before.get(message_id)
        if last is not None and last == outcome:
            outcome = last
        before[message_id] = outcome
        if read in FINAL_STATES:
            del before[message_id]
    return LogEntry(
        _number(time_ms),
        read,
        message,
        _number(retried),
        None if next_ms is None else _number(next_ms),
        outcome,
        None if duration_ms is None else _number(duration_ms),
        None if dlq_id is None else _text(dlq_id),
    )


def _text(value: Any) -> str:
    if type(value) is not str:
        raise ValueError("not a text")
    return value


def _number(value: Any) -> int:
    if type(value) is not int:
        raise ValueError("not a number")
    return value


def _read_first(value: Any) -> int:
    if value is None:
        return 0
    if not (isinstance(value, str) and value.isascii() and value.isdigit()):
        raise ValueError("where the log begins: not a number")
    return int(value)


def _read_keys(value: Any) -> SigningKeys | None:
    with _Place("the signing keys"):
        return None if value is None else records.read_keys(value)


def _read_today(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    with _Place("the day's messages"):
        day, messages = records.read_numbers(value, 2)
    return day, messages
