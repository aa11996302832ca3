"""Requests to publish, to schedule and to retry: read whole, and checked.

Decides which source of a setting wins; whether the plan allows what is asked for; and
what the header map of the messages will be. Nothing is stored before everything has
been checked (PUB-30).

A header counts before a query parameter of the same name, and that before a default
of the URL group (HDR-3).

Which headers are configuration is decided in ``configuration_headers.py``, what they
mean in ``options.py``, where to publish in ``destination.py``, and when a schedule
fires in ``cron.py``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from emulator.core import cron
from emulator.core.configuration_headers import Given, check_value, read_headers
from emulator.core.destination import parse_destination
from emulator.core.header_map import HeaderMap, pairs
from emulator.core.header_values import (
    parse_boolean,
    parse_deduplication_id,
    parse_duration,
    parse_integer,
)
from emulator.core.limits import Limits
from emulator.core.loopback import refuse_loopback
from emulator.core.model import Destination, DestinationKind, Incoming, Options, Publish
from emulator.core.names import parse_resource_name
from emulator.core.options import (
    Setting,
    check_retries,
    configure,
    merge_header,
    parse_options,
)
from emulator.errors import InvalidHeader, QuotaExceeded

__all__ = [
    "Overrides",
    "ScheduleRequest",
    "has_cron",
    "parse_overrides",
    "parse_publish",
    "parse_schedule",
]

# Accepted of a schedule, whatever they say, and without effect (SCH-14, SCH-15).
_NOT_OF_SCHEDULE = ("Content-Based-Deduplication", "Deduplication-Id", "Not-Before")

_SHARED_CHARACTERS = 128

_LAST_SECOND = 253_402_300_799
"""Of the year 9999: beyond it, somebody mistook milliseconds for seconds."""


def parse_publish(
    incoming: Incoming,
    *,
    limits: Limits,
    now_ms: int,
    defaults: HeaderMap = (),
    queue_name: str | None = None,
) -> Publish:
    """Read what a publisher asks for, whole, or raise ``RequestError``.

    ``now_ms`` (Unix milliseconds) is what ``Upstash-Not-Before`` is measured from;
    ``defaults`` are the default headers of a URL group (UGR-19); ``queue_name`` is
    the queue of an enqueue or a batch entry (ENQ-3). A cron is refused: whether the
    request creates a schedule, ``has_cron`` says. A publish without configuration
    shares one ``Options`` with all of its kind.
    """
    if queue_name is not None:
        parse_resource_name("queueName", queue_name)
    destination, given = _given(incoming, limits, defaults)
    _refuse_cron(given)
    return _publish(incoming, destination, given, queue_name, limits, now_ms)


class ScheduleRequest(NamedTuple):
    """A schedule to create or to replace (SCH-1, SCH-8). It has been checked."""

    publish: Publish
    """What is published whenever it fires: never deduplicated (SCH-15)."""

    cron: str
    """As it is reported (SCH-5)."""

    schedule_id: str | None = None
    """``None``: any that is new (SCH-10)."""


def has_cron(incoming: Incoming) -> bool:
    """Whether a request to publish creates a schedule instead (SCH-3, PUB-44)."""
    for headers in (incoming.headers, incoming.parameters):
        for name, value in headers:
            if name.lower() == "upstash-cron" and value.strip(" \t"):
                return True
    return False


def parse_schedule(
    incoming: Incoming, *, limits: Limits, now_ms: int, defaults: HeaderMap = ()
) -> ScheduleRequest:
    """Read which schedule to create, whole, or raise ``RequestError`` (SCH-1).

    A cron must fire after ``now_ms`` (Unix milliseconds) at some time. ``defaults``
    are those of a URL group, which need not exist (SCH-12).
    """
    destination, given = _given(incoming, limits, defaults)
    settings = given.of_publish
    cron_text = _cron(settings.get("Cron", ""), now_ms)
    schedule_id = settings.get("Schedule-Id")
    if schedule_id is not None:
        parse_resource_name("Upstash-Schedule-Id", schedule_id)
    queue_name = settings.get("Queue-Name")
    if queue_name is not None:
        parse_resource_name("Upstash-Queue-Name", queue_name)
    for name in _NOT_OF_SCHEDULE:
        settings.pop(name, None)
    publish = _publish(incoming, destination, given, queue_name, limits, now_ms)
    return ScheduleRequest(publish=publish, cron=cron_text, schedule_id=schedule_id)


def _given(
    incoming: Incoming, limits: Limits, defaults: HeaderMap
) -> tuple[Destination, Given]:
    destination = parse_destination(incoming.destination)
    if len(incoming.body) > limits.max_message_bytes:
        raise QuotaExceeded("maxMessageSize", limits.max_message_bytes)

    given = read_headers(incoming.headers)
    if incoming.parameters:
        given.fall_back(read_headers(incoming.parameters))
    if defaults:
        given.fall_back(read_headers(pairs(defaults)))
    return destination, given


def _publish(
    incoming: Incoming,
    destination: Destination,
    given: Given,
    queue_name: str | None,
    limits: Limits,
    now_ms: int,
) -> Publish:
    options = parse_options(tuple(given.options))
    check_retries(options, limits.max_retries)
    if destination.kind is DestinationKind.API and options.callback is None:
        reason = f"api/{destination.text} needs one"  # LLM-1
        raise InvalidHeader("Upstash-Callback", "", reason)
    if limits.refuses_loopback:
        refuse_loopback(destination, options)
    of_publish = given.of_publish
    if not of_publish:
        return Publish(
            destination=destination,
            body=incoming.body,
            header=_header(given, forward_all=False),
            options=options,
            queue_name=queue_name,
            caller_ip=incoming.caller_ip,
        )

    delay_ms, not_before_ms = _times(of_publish, limits, now_ms)
    deduplication_id = of_publish.get("Deduplication-Id")
    if deduplication_id is not None:
        parse_deduplication_id("Upstash-Deduplication-Id", deduplication_id)
    return Publish(
        destination=destination,
        body=incoming.body,
        header=_header(given, forward_all=_flag(of_publish, "Header-Forward")),
        options=options,
        delay_ms=delay_ms,
        not_before_ms=not_before_ms,
        deduplication_id=deduplication_id,
        content_based_deduplication=_flag(of_publish, "Content-Based-Deduplication"),
        queue_name=queue_name,
        caller_ip=incoming.caller_ip,
    )


def _cron(value: str, now_ms: int) -> str:
    if not value:
        raise InvalidHeader("Upstash-Cron", "", "must be given, as in */10 * * * *")
    try:
        text = cron.parse(value)
    except ValueError as error:
        raise InvalidHeader("Upstash-Cron", value, str(error)) from None
    if cron.next_fire_ms(text, now_ms) is None:
        raise InvalidHeader("Upstash-Cron", value, "never fires")
    return text


def _refuse_cron(given: Given) -> None:
    if "Cron" in given.of_publish:
        reason = "a schedule is created by /v2/schedules or /v2/publish, not here"
        raise InvalidHeader("Upstash-Cron", given.of_publish["Cron"], reason)


class Overrides(NamedTuple):
    """Configuration for messages that exist already (DLQ-34). It has been checked."""

    settings: tuple[Setting, ...] = ()

    delay_ms: int = 0

    not_before_ms: int | None = None
    """Overrides the delay (HDR-23)."""

    def apply(self, options: Options, header: HeaderMap) -> tuple[Options, HeaderMap]:
        """Return a message's options and header map with what is given changed.

        A setting of a callback changes that, and leaves its other settings alone.
        """
        return configure(self.settings, options, header)


def parse_overrides(incoming: Incoming, *, limits: Limits, now_ms: int) -> Overrides:
    """Read the configuration of a call that retries messages (DLQ-34).

    Its content type and its body are of no concern, and it has no destination.
    Nor is there deduplication (DLQ-35). Raises ``RequestError``.
    """
    given = read_headers(incoming.headers)
    given.fall_back(read_headers(incoming.parameters))
    _refuse_cron(given)

    forwarded = [(f"Forward-{name}", value) for name, value in given.forwarded]
    settings = (*given.options, *forwarded)
    options = configure(settings)[0]
    check_retries(options, limits.max_retries)
    if limits.refuses_loopback:
        refuse_loopback(None, options)
    delay_ms, not_before_ms = _times(given.of_publish, limits, now_ms)
    return Overrides(settings=settings, delay_ms=delay_ms, not_before_ms=not_before_ms)


def _header(given: Given, *, forward_all: bool) -> HeaderMap:
    """Return the header map that the destination will see (FMT-9)."""
    header: HeaderMap = ()
    if given.content_type:
        header = ("Content-Type", given.content_type)
    if forward_all:
        for name, value in given.plain:
            check_value(name, value)
        header = merge_header(header, given.plain)
    elif not given.forwarded and len(given.content_type) <= _SHARED_CHARACTERS:
        # The header map of most messages: one object for all of them.
        return _shared(header)
    return merge_header(header, given.forwarded)


@lru_cache(maxsize=64)
def _shared(header: HeaderMap) -> HeaderMap:
    return header


def _times(
    of_publish: dict[str, str], limits: Limits, now_ms: int
) -> tuple[int, int | None]:
    """Return delay and not-before, each in milliseconds and within LIM-3."""
    delay_ms, not_before_ms = 0, None
    longest_ms = 0
    if "Delay" in of_publish:
        delay_ms = longest_ms = parse_duration("Upstash-Delay", of_publish["Delay"])
    if "Not-Before" in of_publish:
        value = of_publish["Not-Before"]
        not_before_s = parse_integer("Upstash-Not-Before", value)
        if not_before_s > _LAST_SECOND:
            reason = "is later than the year 9999: it counts seconds"
            raise InvalidHeader("Upstash-Not-Before", value, reason)
        not_before_ms = not_before_s * 1000
        longest_ms = not_before_ms - now_ms

    if limits.max_delay_s is not None and longest_ms > limits.max_delay_s * 1000:
        raise QuotaExceeded("maxDelay", limits.max_delay_s)
    return delay_ms, not_before_ms


def _flag(of_publish: dict[str, str], name: str) -> bool:
    value = of_publish.get(name)
    return value is not None and parse_boolean(f"Upstash-{name}", value)
