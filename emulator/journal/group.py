"""A group: the transitions that are written together, as rows.

What changes several times within a group is written once, with its last value: a
message that is published, delivered and done in one is a single row. Nothing here
touches a file; ``Numbers`` are what a user's rows are numbered with.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

from emulator.core import records
from emulator.core.model import DlqEntry, LogEntry, Progress, State
from emulator.core.resources import Schedule
from emulator.core.transition import Transition
from emulator.engine.persistence import Saved
from emulator.journal import schema

__all__ = ["Counter", "Group", "Numbers", "checksum", "fact"]

_Row = list[Any]


@dataclass(slots=True)
class Counter:
    """Numbers messages, over all users."""

    next: int = 1


@dataclass(slots=True)
class Numbers:
    """Where a user's rows stand in the file."""

    user: int

    next_sequence: int = 0
    """Of the log."""

    first_sequence: int = 0
    """Where the log begins in the file: older messages may be gone."""

    messages: dict[str, int] = field(default_factory=dict)
    """The numbers of the messages that aren't final."""


def checksum(values: tuple[Any, ...], body: bytes | None = None) -> int:
    """Return what tells whether a row is as it was written: a CRC-32.

    Of numbers, ``None`` and ASCII texts, whose spelling in Python never changes; and
    of a body.
    """
    return crc32(body or b"", crc32(repr(values).encode()))


def fact(user: int, name: str, value: str) -> tuple[Any, ...]:
    """Return the row of what a user has only one of; user 0 stands for none."""
    return user, name, value, checksum((user, name, value))


class Group:
    """Collects what becomes one transaction."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self.resets: list[int] = []
        """Users of whom everything goes first."""
        self.messages: dict[int, _Row] = {}
        """New ones, by number."""
        self.moves: dict[int, tuple[Any, ...]] = {}
        """Of messages that have a row, by number."""
        self.log: list[tuple[Any, ...]] = []
        self.statements: list[tuple[str, tuple[Any, ...]]] = []
        """What is rare, in order."""
        self.periods: dict[tuple[int, str], tuple[Any, ...]] = {}
        self._schedules: dict[tuple[int, str], Schedule] = {}
        """The last of each, behind the statements.

        One that has made a message for each of many endpoints changes with every end.
        """

    @property
    def is_empty(self) -> bool:
        return not (
            self.messages
            or self.log
            or self.moves
            or self.statements
            or self.resets
            or self.periods
            or self._schedules
        )

    @property
    def schedules(self) -> Iterator[tuple[Any, ...]]:
        """Make the rows of the schedules that are new or changed."""
        for (user, schedule_id), schedule in self._schedules.items():
            value, body = records.write_schedule(schedule)
            row = user, records.write_name(schedule_id), value
            yield *row, checksum(row, body), body

    def reset(self, numbers: Numbers) -> None:
        """Forget all of a user. Comes before anything else of that user's."""
        self.resets.append(numbers.user)
        numbers.next_sequence = numbers.first_sequence = 0
        numbers.messages.clear()

    def add(self, transition: Transition, numbers: Numbers) -> bool:
        """Take a transition; return whether it makes new messages."""
        moved: dict[str, int] = {}
        made: list[_Row] = []
        for progress in transition.progress:
            message_id = progress.message.message_id
            number = numbers.messages.get(message_id)
            if number is None:
                number = self._make(progress, numbers)
                made.append(self.messages[number])
            elif progress.state is State.ACTIVE and not progress.cancel_requested:
                pass  # the log tells it
            elif number in self.messages:
                self.messages[number][5:10] = _state(progress, number)
            else:
                self.moves[number] = (*_state(progress, number), number)
            moved[message_id] = number
        for entry in transition.log:
            self._log(entry, moved[entry.message.message_id], numbers)
        _seal(made)
        for failed in transition.dlq_added:
            number = moved[failed.message.message_id]
            # Its log entry is the last that was written of it.
            sequence = next(
                row[1] for row in reversed(self.log) if row[8] == failed.dlq_id
            )
            self._fail(failed, number, sequence, numbers)
        for progress in transition.progress:
            if progress.is_final:
                del numbers.messages[progress.message.message_id]
        # All that follows the log and the DLQ is empty most of the time.
        if transition[_REST] != _NO_REST:
            self._add_rest(transition, numbers)
        return bool(made)

    def replace(self, saved: Saved, numbers: Numbers) -> None:
        """Take a user's whole state, in place of all that the user has.

        Comes before anything else of that user's. DLQ entries that the log doesn't
        tell of any more get the places just before it.
        """
        self.reset(numbers)
        numbers.first_sequence = numbers.next_sequence = saved.first_log_sequence
        self.note(numbers, "log begins", str(saved.first_log_sequence))
        made = {
            progress.message.message_id: self._make(progress, numbers)
            for progress in saved.progress
        }
        for entry in saved.log:
            self._log(entry, made[entry.message.message_id], numbers)
        _seal(self.messages[number] for number in made.values())
        told = {
            entry.dlq_id: sequence
            for sequence, entry in enumerate(saved.log, saved.first_log_sequence)
            if entry.dlq_id is not None
        }
        untold = [failed for failed in saved.dlq if failed.dlq_id not in told]
        before = saved.first_log_sequence - len(untold)
        told |= {failed.dlq_id: before + place for place, failed in enumerate(untold)}
        for failed in saved.dlq:
            number = made[failed.message.message_id]
            self._fail(failed, number, told[failed.dlq_id], numbers)
        for progress in saved.progress:
            if progress.is_final:
                del numbers.messages[progress.message.message_id]
        self._add_rest(
            Transition(
                deduplications=tuple(saved.windows),
                keys=saved.keys,
                queues=tuple(saved.queues),
                url_groups=tuple(saved.url_groups),
                flow_keys=tuple(saved.flow_keys),
                schedules=tuple(saved.schedules),
            ),
            numbers,
        )
        if saved.keys_before is not None:
            self.note(numbers, "keys before", records.write_keys(saved.keys_before))
        if saved.today is not None:
            self.note(numbers, "today", records.write_numbers(saved.today))
        for period in saved.periods:
            self.note_period(numbers, *period)

    def note(self, numbers: Numbers, name: str, value: str) -> None:
        """Take a fact of a user's."""
        self.statements.append((schema.PUT_FACT, fact(numbers.user, name, value)))

    def note_period(
        self, numbers: Numbers, key: str, started: int, since_ms: int
    ) -> None:
        """Take the starts in a flow-control key's period."""
        row = numbers.user, records.write_name(key), started, since_ms
        self.periods[numbers.user, key] = (*row, checksum(row))

    def _make(self, progress: Progress, numbers: Numbers) -> int:
        message = progress.message
        number = self._counter.next
        self._counter.next = number + 1
        value = records.write_message(message)
        self.messages[number] = [
            number,
            numbers.user,
            message.message_id,
            message.created_at_ms,
            None,
            *_state(progress, number),
            value,
            message.body,
            0,
        ]
        numbers.messages[message.message_id] = number
        return number

    def _log(self, entry: LogEntry, number: int, numbers: Numbers) -> None:
        sequence = numbers.next_sequence
        numbers.next_sequence = sequence + 1
        message = entry.message
        if (
            entry.state is State.CREATED
            and entry.time_ms == message.created_at_ms
            and entry.next_delivery_ms == message.not_before_ms
        ):
            # The message itself tells it.
            self.messages[number][4] = sequence
            return
        outcome = body = None
        if entry.outcome is not None:
            outcome, body = records.write_outcome(entry.outcome)
        row = (
            numbers.user,
            sequence,
            entry.time_ms,
            entry.state.value,
            number,
            entry.retried,
            entry.next_delivery_ms,
            entry.duration_ms,
            entry.dlq_id,
            outcome,
        )
        self.log.append((*row, body, checksum(row, body)))

    def _fail(
        self, entry: DlqEntry, number: int, sequence: int, numbers: Numbers
    ) -> None:
        outcome, body = records.write_outcome(entry.outcome)
        row = (
            numbers.user,
            sequence,
            entry.dlq_id,
            number,
            entry.failed_at_ms,
            entry.retried,
            outcome,
        )
        self.statements.append((schema.INSERT_DLQ, (*row, body, checksum(row, body))))

    def _add_rest(self, transition: Transition, numbers: Numbers) -> None:
        user, add = numbers.user, self.statements.append
        for dlq_id in transition.dlq_removed:
            found = user, dlq_id, numbers.first_sequence
            add((schema.DELETE_GARBAGE_OF_DLQ, found))
            add((schema.DELETE_DLQ, (user, dlq_id)))
        for key, message_id, until_ms in transition.deduplications:
            window = user, records.write_name(key), message_id, until_ms
            add((schema.PUT_WINDOW, (*window, checksum(window))))
        if transition.keys is not None:
            self.note(numbers, "keys", records.write_keys(transition.keys))
        for queue in transition.queues:
            self._put(numbers, "queues", queue.name, records.write_queue(queue))
        for name in transition.queues_removed:
            self._delete(numbers, "queues", name)
        for group in transition.url_groups:
            value = records.write_url_group(group)
            self._put(numbers, "url_groups", group.name, value)
        for name in transition.url_groups_removed:
            self._delete(numbers, "url_groups", name)
        for limits in transition.flow_keys:
            value = records.write_flow_key(limits)
            self._put(numbers, "flow_keys", limits.key, value)
        for schedule in transition.schedules:
            self._schedules[user, schedule.schedule_id] = schedule
        for schedule_id in transition.schedules_removed:
            self._schedules.pop((user, schedule_id), None)
            self._delete(numbers, "schedules", schedule_id)

    def _put(self, numbers: Numbers, table: str, name: str, value: str) -> None:
        row = numbers.user, records.write_name(name), value
        self.statements.append((schema.PUT_RESOURCE[table], (*row, checksum(row))))

    def _delete(self, numbers: Numbers, table: str, name: str) -> None:
        row = numbers.user, records.write_name(name)
        self.statements.append((schema.DELETE_RESOURCE[table], row))


_REST = slice(Transition._fields.index("dlq_removed"), -1)
_NO_REST = Transition()[_REST]


def _seal(made: Iterable[_Row]) -> None:
    for row in made:
        row[12] = checksum((*row[:5], row[10]), row[11])


def _state(progress: Progress, number: int) -> tuple[Any, ...]:
    _, state, due_ms, retried, cancel_requested = progress
    row = state.value, due_ms, retried, int(cancel_requested)
    return *row, checksum((number, *row))
