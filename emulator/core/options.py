"""Options: what configuration headers say about a message, and about its callbacks.

Works on *settings*: pairs of a header's canonical name without ``Upstash-``, and its
value. A callback's settings are a message's with a longer name (CBK-10), so one
function reads both, however deep they are nested::

    Retries                             of the message
    Callback                            its callback's URL (CBK-11)
    Callback-Retries                    of its callback
    Callback-Failure-Callback-Method    of its callback's failure callback

If a setting is given twice, comma lists are joined, forwarded headers are all kept
(HDR-33), and of anything else the first counts. What is wrong is refused even where
it would have no effect: options of a callback without a URL (CBK-14), limits of a
flow control without a key (FLC-3).

Where settings come from, which of two sources wins, and what concerns one publish
only (delay, deduplication) is decided in ``headers.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Any

from emulator.core.header_map import HeaderMap, pairs
from emulator.core.header_values import (
    parse_callback_url,
    parse_flow_control_value,
    parse_integer,
    parse_labels,
    parse_method,
    parse_redaction,
    parse_retry_delay,
    parse_timeout,
)
from emulator.core.model import Callback, FlowControl, Options
from emulator.errors import InvalidHeader, QuotaExceeded

__all__ = [
    "MAX_CALLBACK_DEPTH",
    "Setting",
    "check_retries",
    "configure",
    "is_option",
    "is_protected",
    "merge_header",
    "parse_options",
    "split_callback",
]

Setting = tuple[str, str]
"""A configuration header: canonical name without ``Upstash-``, and value.

The value is neither empty nor surrounded by blanks; a forwarded header's may be.
"""

MAX_CALLBACK_DEPTH = 8
"""How many callbacks of callbacks may be configured: names come from strangers."""

_MEMOIZED_CHARACTERS = 1024

_NO_OPTIONS = Options()

_Parser = Callable[[str, str], object]

_PARSERS: dict[str, tuple[str, _Parser]] = {
    "Label": ("labels", parse_labels),
    "Method": ("method", parse_method),
    "Redact-Fields": ("redaction", parse_redaction),
    "Retries": ("retries", parse_integer),
    "Retry-Delay": ("retry_delay", parse_retry_delay),
    "Timeout": ("timeout_ms", parse_timeout),
}

_LISTS = ("Label", "Redact-Fields")

_FLOW_CONTROL = ("Flow-Control-Key", "Flow-Control-Value")

_CALLBACKS = {"Callback": "callback", "Failure-Callback": "failure_callback"}

# HDR-32. `Expect` isn't in the clause: forwarded, it would make our client wait for
# a word that was meant for the publisher's.
_PROTECTED = frozenset(
    {
        *("Connection", "Expect", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding"),
        *("Content-Length", "Host", "Upgrade", "Upstash-Caller-Ip"),
        *("Upstash-Message-Id", "Upstash-Region", "Upstash-Retried"),
        *("Upstash-Schedule-Id", "Upstash-Signature", "Upstash-Topic-Name"),
    }
)


def is_protected(name: str) -> bool:
    """Whether a header may not be forwarded (HDR-32). The name is canonical."""
    return name in _PROTECTED or name.startswith("Proxy-")


def is_option(name: str) -> bool:
    """Whether a setting by this name configures a message or its callbacks.

    True of everything below a callback, where the unknown has no effect (HDR-6).
    """
    return name in _PARSERS or name in _FLOW_CONTROL or split_callback(name) is not None


def split_callback(name: str) -> tuple[str, str] | None:
    """Return which callback a setting is for, and its name there (CBK-11).

    That name is empty if the value is the callback's URL. ``None``: it is for none.
    """
    for callback in _CALLBACKS:
        if name == callback:
            return callback, ""
        below = name.removeprefix(callback + "-")
        if below and below != name:
            return callback, below
    return None


def parse_options(settings: tuple[Setting, ...]) -> Options:
    """Read the settings of a publish. Raises ``InvalidHeader``.

    Equal settings share one ``Options``: messages wait in great numbers.
    """
    if not settings:
        return _NO_OPTIONS
    if sum(map(len, map("".join, settings))) <= _MEMOIZED_CHARACTERS:
        return _parse_memoized(settings)
    return configure(settings)[0]


@lru_cache(maxsize=1024)
def _parse_memoized(settings: tuple[Setting, ...]) -> Options:
    return configure(settings)[0]


def check_retries(options: Options, max_retries: int) -> None:
    """Raise ``QuotaExceeded`` if a message or a callback asks for too many (LIM-4)."""
    if options.retries is not None and options.retries > max_retries:
        raise QuotaExceeded("maxRetries", max_retries)
    for callback in (options.callback, options.failure_callback):
        if callback is not None:
            check_retries(callback.options, max_retries)


def configure(
    settings: Iterable[Setting],
    options: Options = _NO_OPTIONS,
    header: HeaderMap = (),
    *,
    prefix: str = "Upstash-",
    depth: int = 0,
) -> tuple[Options, HeaderMap]:
    """Apply settings to the options and the header map of a message or a callback.

    What no setting mentions stays as it is. ``prefix`` stands before the names in
    errors; ``depth`` is 0 for a message, 1 for its callbacks. Raises
    ``InvalidHeader``.
    """
    values: dict[str, list[str]] = {}
    callbacks: dict[str, list[Setting]] = {}
    forwarded: list[Setting] = []
    for name, value in settings:
        callback = split_callback(name)
        if callback is not None:
            callbacks.setdefault(callback[0], []).append((callback[1], value))
        elif name.startswith("Forward-"):
            forwarded.append((name.removeprefix("Forward-"), value))
        else:
            values.setdefault(name, []).append(value)

    if depth:
        _refuse_delay(values, prefix)
        if "Content-Type" in values:
            content_type = ("Content-Type", values["Content-Type"][0])
            header = merge_header(header, [content_type])

    changes: dict[str, Any] = {}
    for name, (field, parse) in _PARSERS.items():
        if name in values:
            given = values[name]
            value = ",".join(given) if name in _LISTS else given[0]
            changes[field] = parse(prefix + name, value)
    if any(name in values for name in _FLOW_CONTROL):
        changes["flow_control"] = _flow_control(values, options.flow_control, prefix)
    for name, below in callbacks.items():
        field = _CALLBACKS[name]
        changes[field] = _callback(
            below, getattr(options, field), prefix + name, depth + 1
        )

    changed = replace(options, **changes) if changes else options
    return changed, merge_header(header, forwarded)


def merge_header(header: HeaderMap, given: list[Setting]) -> HeaderMap:
    """Set headers: those given replace those of equal name (HDR-34).

    Names are canonical. Protected ones are dropped (HDR-32).
    """
    if not given:
        return header

    names = {name for name, _ in given}
    flat: list[str] = []
    for name, value in pairs(header):
        if name not in names:
            flat += (name, value)
    for name, value in given:
        # A bare `Upstash-Forward-` forwards nothing.
        if name and not is_protected(name):
            flat += (name, value)
    return tuple(flat)


def _refuse_delay(values: dict[str, list[str]], prefix: str) -> None:
    """CBK-12, in the words of Q-9."""
    for name in ("Delay", "Not-Before"):
        if name in values:
            sentence = "callback delay is not supported"
            raise InvalidHeader(
                prefix + name, values[name][0], sentence, sentence=sentence
            )


def _flow_control(
    values: dict[str, list[str]], base: FlowControl | None, prefix: str
) -> FlowControl | None:
    """Read key and limits: each replaces its own half of what was there."""
    key = values["Flow-Control-Key"][0] if "Flow-Control-Key" in values else ""
    key = key or (base.key if base else "")
    if "Flow-Control-Value" in values:
        header, value = prefix + "Flow-Control-Value", values["Flow-Control-Value"][0]
        limits = parse_flow_control_value(header, value, key=key)
    else:
        limits = replace(base or FlowControl(key=key), key=key)
    return limits if key else None


def _callback(
    settings: list[Setting], base: Callback | None, header: str, depth: int
) -> Callback | None:
    """Read a callback: a URL under the empty name, the rest as of a publish.

    Without a URL it has no effect (CBK-14).
    """
    if depth > MAX_CALLBACK_DEPTH:
        reason = f"callbacks can be nested {MAX_CALLBACK_DEPTH} deep"
        raise InvalidHeader(header, settings[0][1], reason)

    base = base or Callback(url="")
    options, forwarded = configure(
        settings, base.options, base.header, prefix=header + "-", depth=depth
    )
    url = next((value for name, value in settings if not name), None)
    url = base.url if url is None else parse_callback_url(header, url)
    return Callback(url=url, header=forwarded, options=options) if url else None
