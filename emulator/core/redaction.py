"""Redaction: what the API shows of a message that asked not to be shown.

Decides the shown form of a body and a header map, a message's own or those that a
schedule publishes, for every listing and look-up (RED-6). Deliveries, DLQ retries,
firings and callbacks carry the originals (RED-6, CBK-24), and what came back from a
destination is never redacted (RED-9), nor are a callback's headers: none of that
passes through here. Which tokens ``Upstash-Redact-Fields`` may have,
``header_values.py`` says.
"""

from __future__ import annotations

from hashlib import sha256

from emulator.core.header_map import grouped
from emulator.core.model import Message, Publish

__all__ = ["redact_value", "shown_body", "shown_header"]


def redact_value(value: bytes | str) -> str:
    """Return the text that stands for a value: equal for equal values (RED-3).

    A header's value counts as the bytes that it arrived in, be they UTF-8 or not.
    """
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogateescape")
    return "REDACTED:" + sha256(value).hexdigest()


def shown_body(message: Message | Publish) -> bytes:
    """Return the body as the API may show it (RED-4).

    A redacted one is text, whatever the original was. An empty body stays empty:
    there is nothing to hide, and nothing is shown of it (FMT-10).
    """
    redaction = message.options.redaction
    if redaction is None or not redaction.body or not message.body:
        return message.body
    return redact_value(message.body).encode("ascii")


def shown_header(message: Message | Publish) -> dict[str, list[str]]:
    """Return the header map as the API may show it, name to values (FMT-8, RED-5).

    Redacted headers keep their names and the number of their values. All headers
    means all: the content type too (Q-27).
    """
    shown = grouped(message.header)
    redaction = message.options.redaction
    if redaction is None:
        return shown
    return {
        name: [redact_value(value) for value in values]
        if redaction.all_headers or name in redaction.header_names
        else values
        for name, values in shown.items()
    }
