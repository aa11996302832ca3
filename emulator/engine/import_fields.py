"""The fields of an import's lines, and what values they may have.

Whatever can't be used raises ``ValueError`` (or ``InvalidExpression``) with a sentence
that names the field. How lines belong together isn't known here (``importing.py``).
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from typing import Any, TypeVar

from emulator.core import cron, expression, ids, records
from emulator.core.model import Options, State
from emulator.core.resources import Schedule
from emulator.errors import shown

__all__ = [
    "Fields",
    "check_limits",
    "check_number",
    "check_options",
    "check_positive",
    "check_schedule",
    "read_line",
    "read_stamp",
    "read_today",
]

T = TypeVar("T")

_MAX_NUMBER = 2**63
"""What a journal's column holds."""

_ID = re.compile("[!-~]{1,200}")


class Fields:
    """The fields of a line. Each is taken out, and none may be left."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = fields

    def optional(self, name: str) -> Any:
        return self._fields.pop(name, None)

    def text(self, name: str) -> str:
        return self._typed(name, str, "a text")

    def id(self, name: str) -> str:
        value = self.text(name)
        if not _ID.fullmatch(value):
            raise ValueError(f"{name}: not an id")
        return value

    def number(self, name: str) -> int:
        return check_number(name, self._typed(name, int, "a number"))

    def number_or_none(self, name: str) -> int | None:
        return self.number(name) if name in self._fields else None

    def flag(self, name: str) -> bool:
        """Read what is there only if it is true."""
        return name in self._fields and self._typed(name, bool, "true or false")

    def state(self) -> State:
        try:
            return records.read_state(self.text("state"))
        except ValueError as error:
            raise ValueError(f"state: {error}") from None

    def record(self) -> dict[str, Any]:
        record: dict[str, Any] = self._typed("record", dict, "an object")
        return record

    def body(self, name: str) -> bytes:
        """Read a body from the field of that name, or from its base64."""
        in_base64 = f"{name}Base64"
        if in_base64 in self._fields:
            try:
                return b64decode(self.text(in_base64), validate=True)
            except ValueError:
                raise ValueError(f"{in_base64}: not base64") from None
        try:
            return self.text(name).encode() if name in self._fields else b""
        except UnicodeEncodeError:
            raise ValueError(f"{name}: not a text that UTF-8 can write") from None

    def finish(self) -> None:
        for name in self._fields:
            raise ValueError(f"no such line has a field {shown(name)}")

    def _typed(self, name: str, kind: type[T], words: str) -> T:
        try:
            value = self._fields.pop(name)
        except KeyError:
            raise ValueError(f"{name} is missing") from None
        if type(value) is not kind:
            raise ValueError(f"{name}: not {words}")
        return value


def read_line(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line.decode())
    except ValueError:
        raise ValueError("it isn't JSON") from None
    if type(value) is not dict:
        raise ValueError("it isn't a JSON object")
    return value


def read_today(value: Any) -> tuple[int, int]:
    if type(value) is not list or len(value) != 2:
        raise ValueError("today: not a day and a count")
    day, messages = value
    if type(day) is not int or type(messages) is not int:
        raise ValueError("today: not a day and a count")
    return check_number("today", day), check_number("today", messages)


def read_stamp(value: Any) -> tuple[int, int]:
    stamp = ids.parse_stamp(value) if type(value) is str else None
    if stamp is None:
        raise ValueError("dlqId: not an id of the DLQ")
    return stamp


def check_number(name: str, value: int) -> int:
    if not -_MAX_NUMBER <= value < _MAX_NUMBER:
        raise ValueError(f"{name}: too large a number")
    return value


def check_positive(name: str, value: int | None) -> None:
    if value is not None and value < 1:
        raise ValueError(f"{name}: must be at least 1")


def check_limits(parallelism: int | None, rate: int | None, period_s: int) -> None:
    check_positive("parallelism", parallelism)
    check_positive("rate", rate)
    check_positive("period_s", period_s)


def check_options(options: Options) -> None:
    """Refuse what would break when the message is delivered."""
    if options.retry_delay is not None:
        expression.parse(options.retry_delay)
    if options.flow_control is not None:
        wanted = options.flow_control
        check_limits(wanted.parallelism, wanted.rate, wanted.period_s)
    for callback in (options.callback, options.failure_callback):
        if callback is not None:
            check_options(callback.options)


def check_schedule(schedule: Schedule) -> None:
    cron.parse(schedule.cron)
    check_options(schedule.publish.options)
