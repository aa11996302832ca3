"""Filters: which entries a listing shows, and which messages a bulk action takes.

Reads query parameters (decoded, repeated values in order), or a JSON body that
``bodies.parse_selection`` has turned into the same shape, and answers for one entry
at a time. It doesn't list, page or act: the engine does, and it makes the cursors
that are read here.

A parameter may be repeated, and each value may be a comma-separated list: all its
values form an OR set; different parameters are AND-ed (FMT-13). A value with a
comma counts as a whole and by its parts (FMT-14, Q-23). Matching is exact and
case-sensitive (FMT-15).

Listings take an empty value for an absent one, as forms send it. Bulk actions
refuse it, as they refuse unknown names (DLQ-24, MSG-26): a variable that wasn't
set, or a typo, must not cancel or delete everything.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from emulator.core.destination import host_of, path_of
from emulator.core.ids import parse_stamp
from emulator.core.model import DlqEntry, LogEntry, Message, Responded, State
from emulator.errors import InvalidParameter

__all__ = [
    "DlqQuery",
    "Filter",
    "LogQuery",
    "MessageSelection",
    "Parameters",
    "parse_dlq_query",
    "parse_dlq_selection",
    "parse_log_query",
    "parse_message_selection",
]

Parameters = Mapping[str, list[str]]
"""Parameters by name, each with its values in order."""

_MAX_LOG_COUNT = 1000  # LOG-4, C-10
_MAX_DLQ_COUNT = 100  # DLQ-7, DLQ-23, DLQ-37
_MAX_CANCEL_COUNT = 500  # MSG-27

_FOREVER = 10**18
"""Above every instant, count and status; larger numbers are taken for it."""

_Reader = Callable[[Message], Iterable[str | None]]


@dataclass(frozen=True, slots=True)
class Filter:
    """What is asked of any entry. Only what was given is looked at."""

    criteria: tuple[tuple[_Reader, frozenset[str]], ...] = ()

    from_ms: int = 0

    to_ms: int = _FOREVER
    """Both inclusive (FMT-16)."""

    def matches(self, message: Message, time_ms: int) -> bool:
        """Whether the time fits, and each criterion shares a value with the message."""
        if not self.from_ms <= time_ms <= self.to_ms:
            return False
        for read, wanted in self.criteria:
            if wanted.isdisjoint(read(message)):
                return False
        return True


_READERS: dict[str, _Reader] = {
    "messageId": lambda message: (message.message_id,),
    "url": lambda message: (message.url,),
    "host": lambda message: (host_of(message.url),),
    "path": lambda message: (path_of(message.url),),
    "topicName": lambda message: (message.url_group_name,),
    "queueName": lambda message: (message.queue_name,),
    "scheduleId": lambda message: (message.schedule_id,),
    "label": lambda message: message.options.labels,
    "callerIp": lambda message: (message.caller_ip,),
    "flowControlKey": lambda message: (
        (message.options.flow_control.key,) if message.options.flow_control else ()
    ),
}

_ALIASES = {"messageIds": "messageId", "callerIP": "callerIp"}
"""Other names of criteria; where both are given, their values are one OR set."""

_COMMON = frozenset(
    {"url", "topicName", "queueName", "scheduleId", "label", "callerIp", "callerIP"}
    | {"flowControlKey", "fromDate", "toDate"}
)
_PAGING = frozenset({"cursor", "count", "qstash_token"})
_DLQ_NAMES = _COMMON | _PAGING | {"messageId", "dlqIds", "responseStatus", "api"}
_MESSAGE_NAMES = _COMMON | _PAGING | {"messageIds", "host", "path"}
_EMPTY_IS_ABSENT = frozenset({"cursor", "qstash_token", "api"})

_STATES: dict[str, frozenset[State]] = {
    **{state.value: frozenset({state}) for state in State},
    "CANCELLED": frozenset({State.CANCELLED}),  # LOG-21
    "IN_PROGRESS": frozenset({State.ACTIVE, State.RETRY, State.ERROR}),  # LOG-7
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """A page of the log (LOG-3 to LOG-8)."""

    filter: Filter = Filter()

    states: frozenset[State] | None = None
    """``None``: all."""

    count: int = _MAX_LOG_COUNT
    """How many entries at most."""

    cursor: tuple[int, int] | None = None
    """The last entry of the page before: its time in milliseconds, and its number."""

    latest_first: bool = True

    def matches(self, entry: LogEntry) -> bool:
        """Whether the entry is selected; the cursor isn't looked at."""
        # LOG-6: dates compare with the entry's time.
        return (
            self.states is None or entry.state in self.states
        ) and self.filter.matches(entry.message, entry.time_ms)


def parse_log_query(parameters: Parameters) -> LogQuery:
    """Read the parameters of a log listing; unknown ones are ignored (LOG-9).

    Raises ``InvalidParameter`` for a value that can't be used.
    """
    given = _without_empty(parameters)
    return LogQuery(
        filter=_filter(given, _READERS),
        states=_states(given),
        count=_count(given, _MAX_LOG_COUNT) or _MAX_LOG_COUNT,
        cursor=_cursor(given),
        latest_first=_latest_first(given, default=True),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DlqQuery:
    """A page of the DLQ, or the entries that a bulk action takes (DLQ-6 to DLQ-9)."""

    dlq_ids: Collection[str] = ()
    """If there are any, nothing else counts (DLQ-8). In order, quick to look up."""

    filter: Filter = Filter()

    statuses: frozenset[int] | None = None
    """HTTP statuses of the last response, 0 without one. ``None``: all."""

    count: int | None = _MAX_DLQ_COUNT
    """How many entries at most. ``None``: no limit."""

    cursor: tuple[int, int] | None = None
    """The last entry of the page before: what its id is made of."""

    latest_first: bool = False

    def matches(self, entry: DlqEntry) -> bool:
        """Whether the entry is selected; the cursor isn't looked at."""
        if self.dlq_ids:
            return entry.dlq_id in self.dlq_ids
        # DLQ-9: dates compare with when the entry was created.
        return (
            self.statuses is None or _status(entry) in self.statuses
        ) and self.filter.matches(entry.message, entry.failed_at_ms)

    def is_beyond_cursor(self, entry: DlqEntry) -> bool:
        """Whether the entry belongs to a page after the cursor, in the query's order.

        Decided by the ids, so that entries which appear or go don't shift anything
        (FMT-17).
        """
        if self.cursor is None:
            return True
        stamp = parse_stamp(entry.dlq_id)
        return stamp is not None and (
            stamp < self.cursor if self.latest_first else stamp > self.cursor
        )


def parse_dlq_query(parameters: Parameters) -> DlqQuery:
    """Read the parameters of a DLQ listing (DLQ-6 to DLQ-10).

    Raises ``InvalidParameter`` for an unknown name or a value that can't be used.
    """
    _refuse_unknown(parameters, _DLQ_NAMES | {"order"})
    given = _without_empty(parameters)
    latest_first = _latest_first(given, default=False)
    return _dlq_query(given, default_count=_MAX_DLQ_COUNT, latest_first=latest_first)


def parse_dlq_selection(
    parameters: Parameters, *, with_configuration: bool = False
) -> DlqQuery:
    """Say which entries a bulk delete or retry takes, oldest first (DLQ-21 to DLQ-37).

    By ids: all of them, however many. Otherwise at most ``count``, 100 unless said.
    ``with_configuration`` passes over the ``upstash-*`` parameters of a retry (HDR-2,
    DLQ-34). Raises ``InvalidParameter`` for an unknown name (DLQ-24), a value that
    can't be used, and an empty one; an empty list of ids is none at all (DLQ-26).
    """
    if with_configuration:
        parameters = {
            name: values
            for name, values in parameters.items()
            if not name.lower().startswith("upstash-")
        }
    _refuse_unknown(parameters, _DLQ_NAMES)
    given = _refuse_empty(parameters, "dlqIds")
    default_count = None if "dlqIds" in given else _MAX_DLQ_COUNT
    return _dlq_query(given, default_count=default_count, latest_first=False)


def _dlq_query(
    given: Parameters, *, default_count: int | None, latest_first: bool
) -> DlqQuery:
    dlq_ids = _ids(given, "dlqIds")
    criteria = {} if dlq_ids else given
    return DlqQuery(
        dlq_ids=dlq_ids,
        filter=_filter(criteria, _DLQ_NAMES),
        statuses=_statuses(criteria),
        count=_count(given, _MAX_DLQ_COUNT) or default_count,
        cursor=_cursor(given),
        latest_first=latest_first,
    )


def _status(entry: DlqEntry) -> int:
    return entry.outcome.status if isinstance(entry.outcome, Responded) else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageSelection:
    """The pending messages that a bulk cancel takes, oldest first (MSG-20 to MSG-28).

    Without any criterion: all of them (MSG-23).
    """

    message_ids: Collection[str] = ()
    """If there are any, no filter counts (MSG-22). In order, quick to look up."""

    filter: Filter = Filter()

    count: int | None = None
    """How many messages at most. ``None``: no limit (MSG-27)."""

    def matches(self, message: Message) -> bool:
        """Whether the message is selected; whether it is pending isn't looked at."""
        if self.message_ids:
            return message.message_id in self.message_ids
        return self.filter.matches(message, message.created_at_ms)  # MSG-25


def parse_message_selection(parameters: Parameters) -> MessageSelection:
    """Say which messages a bulk cancel takes. A cursor is accepted and ignored.

    Raises ``InvalidParameter`` for an unknown name (MSG-26), a value that can't be
    used, and an empty one; an empty list of ids is none at all (MSG-23).
    """
    _refuse_unknown(parameters, _MESSAGE_NAMES)
    given = _refuse_empty(parameters, "messageIds")
    message_ids = _ids(given, "messageIds")
    return MessageSelection(
        message_ids=message_ids,
        filter=_filter({} if message_ids else given, _MESSAGE_NAMES),
        count=_count(given, _MAX_CANCEL_COUNT),
    )


def _without_empty(parameters: Parameters) -> dict[str, list[str]]:
    return {
        name: given
        for name, values in parameters.items()
        if (given := [value for value in values if value])
    }


def _refuse_empty(parameters: Parameters, ids_name: str) -> dict[str, list[str]]:
    for name, values in parameters.items():
        if name in _EMPTY_IS_ABSENT or (name == ids_name and not values):
            continue
        if not values or "" in values:
            raise InvalidParameter(name, "", "must not be empty here: leave it out")
    return _without_empty(parameters)


def _refuse_unknown(parameters: Parameters, known: frozenset[str]) -> None:
    for name in parameters:
        if name not in known:
            # A name may be as long as a body: no need to compare all of it.
            spellings = {candidate.lower(): candidate for candidate in sorted(known)}
            from difflib import get_close_matches

            near = get_close_matches(name[:40].lower(), spellings, n=1)
            hint = f", did you mean {spellings[near[0]]}?" if near else ""
            raise InvalidParameter("parameter", name, "unknown" + hint)


def _filter(given: Parameters, names: Collection[str]) -> Filter:
    """Read the dates, and those of ``_READERS`` that are among ``names``."""
    wanted: dict[str, set[str]] = {}
    for name, values in given.items():
        criterion = _ALIASES.get(name, name)
        if criterion in names and criterion in _READERS:
            wanted.setdefault(criterion, set()).update(values, _parts(values))
    to_ms = _number(given, "toDate")
    return Filter(
        tuple((_READERS[name], frozenset(values)) for name, values in wanted.items()),
        from_ms=_number(given, "fromDate") or 0,
        to_ms=_FOREVER if to_ms is None else to_ms,
    )


def _parts(values: Iterable[str]) -> list[str]:
    parts = [part.strip() for value in values for part in value.split(",")]
    return [part for part in parts if part]


def _ids(given: Parameters, name: str) -> dict[str, None]:
    values = given.get(name, [])
    ids = dict.fromkeys(_parts(values))
    if values and not ids:
        raise InvalidParameter(name, values[0], "there is no id in it")
    return ids


def _states(given: Parameters) -> frozenset[State] | None:
    if "state" not in given:
        return None
    states: set[State] = set()
    for name in _parts(given["state"]):
        if name not in _STATES:
            known = ", ".join(_STATES)
            raise InvalidParameter("state", name, f"must be one of {known}")
        states |= _STATES[name]
    return frozenset(states)


def _statuses(given: Parameters) -> frozenset[int] | None:
    if "responseStatus" not in given:
        return None
    parts = _parts(given["responseStatus"])
    return frozenset(_integer("responseStatus", part) for part in parts)


def _single(given: Parameters, name: str) -> str | None:
    values = given.get(name, [])
    if len(values) > 1:
        raise InvalidParameter(name, values[1], "given more than once")
    return values[0] if values else None


def _integer(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise InvalidParameter(name, text, "must be a whole number, not negative")
    # No int() of a text whose length a caller decides.
    return int(text) if len(text) <= 18 else _FOREVER


def _number(given: Parameters, name: str) -> int | None:
    text = _single(given, name)
    return None if text is None else _integer(name, text)


def _count(given: Parameters, maximum: int) -> int | None:
    """FMT-18: too small is refused, too large is clamped. ``None``: not said."""
    count = _number(given, "count")
    if count == 0:
        raise InvalidParameter("count", "0", "must be at least 1")
    return None if count is None else min(count, maximum)


def _cursor(given: Parameters) -> tuple[int, int] | None:
    text = _single(given, "cursor")
    cursor = parse_stamp(text or "")
    if text is not None and cursor is None:
        raise InvalidParameter("cursor", text, "must be one that a listing returned")
    return cursor


def _latest_first(given: Parameters, *, default: bool) -> bool:
    order = _single(given, "order")
    if order not in (None, "earliestFirst", "latestFirst"):
        raise InvalidParameter("order", order, "must be earliestFirst or latestFirst")
    return default if order is None else order == "latestFirst"
