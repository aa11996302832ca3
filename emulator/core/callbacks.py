"""Callbacks: which messages a delivery's outcome gives rise to (contract section 12).

A callback is an ordinary message (CBK-7): this module makes it, and the life cycle
takes it from there. It says nothing about when it is delivered.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from emulator.core import wire
from emulator.core.header_map import HeaderMap, first
from emulator.core.model import Callback, Message, Outcome

__all__ = ["messages_for"]


def messages_for(
    message: Message,
    outcome: Outcome,
    *,
    retried: int,
    dlq_id: str | None,
    now_ms: int,
    new_message_id: Callable[[], str],
) -> tuple[Message, ...]:
    """
    Return the callback messages that report a delivery.

    ``dlq_id`` is that of the entry which the failure made, or ``None`` unless the
    message has failed for good. The callback comes after each delivery (CBK-1), the
    failure callback once, with the DLQ's id in it (CBK-2, CBK-20); on the final
    failure both (CBK-3).
    """
    reports: list[tuple[Callback, str | None]] = []
    if message.options.callback is not None:
        reports.append((message.options.callback, None))
    if message.options.failure_callback is not None and dlq_id is not None:
        reports.append((message.options.failure_callback, dlq_id))
    return tuple(
        _message(callback, message, outcome, retried, id, now_ms, new_message_id())
        for callback, id in reports
    )


def _message(
    callback: Callback,
    source: Message,
    outcome: Outcome,
    retried: int,
    dlq_id: str | None,
    now_ms: int,
    message_id: str,
) -> Message:
    payload = wire.callback_payload(source, outcome, retried=retried, dlq_id=dlq_id)
    options = callback.options
    if options.retries is None:
        # CBK-8: as many as the source has; none for a source with none.
        options = replace(options, retries=source.options.max_retries)
    return Message(
        message_id=message_id,
        url=callback.url,
        body=json.dumps(payload, separators=(",", ":")).encode(),
        header=_with_content_type(callback.header),
        options=options,
        created_at_ms=now_ms,
        not_before_ms=now_ms,
        # CBK-9: this, and nothing else, is the source's.
        caller_ip=source.caller_ip,
        callback_of=source.message_id,
    )


def _with_content_type(header: HeaderMap) -> HeaderMap:
    if first(header, "Content-Type") is not None:
        return header
    return ("Content-Type", "application/json", *header)
