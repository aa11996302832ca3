"""Bodies: what the JSON body of a request asks for, read and checked.

Decides the shape of each body: which keys it has, of what type, and what leaving one
out means: an empty text counts as absent, and so does null (BAT-1). Keys that aren't
known are ignored (FMT-20). What is wrong is named by its place, ``[0].headers``
(ERR-3).

What the values are for is decided elsewhere: an entry's headers in ``headers.py``,
a selection's names in ``filters.py``, endpoints in ``url_groups.py``; what the API
answers, in ``wire.py``.

Bodies are hostile: numbers are kept as they are written, and neither depth nor
duplicate keys nor lone surrogates get past ``_parse_json``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple, NoReturn, TypeVar

from emulator.core.destination import url_problem
from emulator.core.header_map import HeaderMap, build
from emulator.core.header_values import MAX_INTEGER
from emulator.core.headers import parse_publish
from emulator.core.limits import Limits
from emulator.core.model import Incoming
from emulator.core.names import parse_resource_name
from emulator.core.resources import Endpoint
from emulator.errors import InvalidBody, InvalidDestination, shown

__all__ = [
    "BatchEntry",
    "EndpointPattern",
    "QueueUpsert",
    "parse_batch",
    "parse_endpoints_removal",
    "parse_endpoints_upsert",
    "parse_group_headers",
    "parse_queue_upsert",
    "parse_selection",
]

_Object = dict[str, Any]

_T = TypeVar("_T")

_SURROGATE = re.compile("[\ud800-\udfff]")


# Batches


class BatchEntry(NamedTuple):
    """One message of a batch: its complete configuration (BAT-1, BAT-2)."""

    destination: str
    """Not empty; otherwise as it arrived."""

    headers: tuple[tuple[str, str], ...] = ()
    """In order, in any case; an array of values is as many pairs."""

    body: bytes = b""

    queue_name: str | None = None
    """``None``: publish, don't enqueue."""


def parse_batch(body: bytes) -> list[BatchEntry]:
    """Read the body of a batch request (BAT-1).

    Raises ``InvalidBody`` or ``InvalidDestination``, naming the entry by its index
    and the key. Anything wrong with any entry refuses the whole batch (BAT-7).
    """
    entries = _check("it", _parse_json(body), list)
    return [_batch_entry(f"[{index}]", entry) for index, entry in enumerate(entries)]


def _batch_entry(place: str, entry: Any) -> BatchEntry:
    _check(place, entry, dict)
    destination = _text(entry, "destination", place + ".")
    if not destination:
        # ERR-4, and where.
        sentence = f"a non-empty destination must be provided: {place}.destination"
        raise InvalidDestination("", "empty", sentence=sentence)
    return BatchEntry(
        destination=destination,
        headers=tuple(_headers(place + ".headers", entry.get("headers"))),
        body=_text(entry, "body", place + ".").encode("utf-8"),
        queue_name=_text(entry, "queue", place + ".") or None,
    )


def _headers(place: str, headers: Any) -> Iterator[tuple[str, str]]:
    if headers is None:
        return
    for name, values in _check(place, headers, dict).items():
        header = f"{place}[{shown(name)}]"
        _string(f"the name of {header}", name)
        for value in values if isinstance(values, list) else (values,):
            yield name, _string(header, value)


# Selections


def parse_selection(body: bytes) -> dict[str, list[str]]:
    """Read the JSON body of a bulk action, as if it were a query (MSG-21, DLQ-21).

    An object of name to string, number, or array of those; numbers are returned as
    they are written. An empty body selects nothing in particular: ``{}``. Raises
    ``InvalidBody`` for anything else.
    """
    if not body.strip():
        return {}
    selection = _check("it", _parse_json(body), dict)
    return {
        name: [
            str(value) if isinstance(value, _Number) else _string(shown(name), value)
            for value in (values if isinstance(values, list) else (values,))
        ]
        for name, values in selection.items()
    }


# Queues


class QueueUpsert(NamedTuple):
    """A queue to create or to change (QUE-2). ``None``: not said."""

    name: str

    parallelism: int | None = None
    """At least 1."""

    is_paused: bool | None = None


def parse_queue_upsert(body: bytes) -> QueueUpsert:
    """Read which queue to create or change, and how (QUE-2, QUE-3).

    Raises ``InvalidBody`` or, for the name, ``InvalidParameter``; both name the key.
    """
    upsert = _check("it", _parse_json(body), dict)
    paused = upsert.get("paused")
    return QueueUpsert(
        name=parse_resource_name("queueName", _text(upsert, "queueName")),
        parallelism=_parallelism(upsert.get("parallelism")),
        is_paused=None if paused is None else _check("paused", paused, bool),
    )


def _parallelism(value: Any) -> int | None:
    if value is None:
        return None
    digits = str(_check("parallelism", value, _Number))
    # JSON's digits are ASCII, and have no zeros in front.
    if not digits.isdigit() or digits == "0":
        raise InvalidBody(
            f"parallelism must be a whole number, at least 1, not {shown(digits)}"
        )
    # No int() of a text whose length a caller decides.
    return int(digits) if len(digits) <= 18 else MAX_INTEGER


# URL groups


class EndpointPattern(NamedTuple):
    """Which endpoints to remove from a URL group: those with all of it (UGR-6).

    At least one of the two is given.
    """

    url: str | None = None

    name: str | None = None


def parse_endpoints_upsert(body: bytes) -> tuple[Endpoint, ...]:
    """Read the endpoints to add to a URL group, or to change (UGR-2, UGR-4).

    At least one; the URLs are kept as they are (UGR-5), and names may have any
    characters. Raises ``InvalidBody``, or ``InvalidDestination`` for a URL that can't
    be called (PUB-8), naming the endpoint by its index and the key.
    """
    return tuple(_endpoint(place, each) for place, each in _endpoints(body))


def parse_endpoints_removal(body: bytes) -> tuple[EndpointPattern, ...]:
    """Read which endpoints to remove from a URL group (UGR-6). At least one pattern.

    Raises ``InvalidBody``, naming the pattern by its index and the key.
    """
    return tuple(_pattern(place, each) for place, each in _endpoints(body))


def _endpoints(body: bytes) -> Iterator[tuple[str, _Object]]:
    request = _check("it", _parse_json(body), dict)
    endpoints = _check("endpoints", request.get("endpoints"), list)
    if not endpoints:
        raise InvalidBody("endpoints must not be empty")
    for index, endpoint in enumerate(endpoints):
        place = f"endpoints[{index}]"
        yield place, _check(place, endpoint, dict)


def _endpoint(place: str, endpoint: _Object) -> Endpoint:
    url = _text(endpoint, "url", place + ".")
    if not url:
        raise InvalidBody(f"{place}.url must be given")
    problem = url_problem(url)
    if problem is not None:
        # QStash's words (ERR-4), and where.
        sentence = f"invalid destination url: {problem}: {place}.url"
        raise InvalidDestination(url, problem, sentence=sentence)
    return Endpoint(url, _text(endpoint, "name", place + ".") or None)


def _pattern(place: str, pattern: _Object) -> EndpointPattern:
    url = _text(pattern, "url", place + ".") or None
    name = _text(pattern, "name", place + ".") or None
    if url is None and name is None:
        raise InvalidBody(f"{place} must have a url or a name")
    return EndpointPattern(url, name)


def parse_group_headers(body: bytes, *, limits: Limits, now_ms: int) -> HeaderMap:
    """Read the default headers of a URL group (UGR-19).

    They must be fit for a publish at ``now_ms`` (Unix milliseconds), or every publish
    to the group would fail. Raises ``RequestError`` as ``parse_publish`` does, and
    ``InvalidBody``, naming the key.
    """
    request = _check("it", _parse_json(body), dict)
    _check("headers", request.get("headers"), dict)
    headers = tuple(_headers("headers", request["headers"]))
    # Before the names are spelled anew: they may have any length yet.
    defaults = tuple(part for header in headers for part in header)
    any_group = Incoming(destination="group")
    parse_publish(any_group, limits=limits, now_ms=now_ms, defaults=defaults)
    return build(headers)


# JSON


class _Number(str):
    """A JSON number as it is written: never converted, so never too large."""

    __slots__ = ()


_KINDS = {
    type(None): "null",
    bool: "a boolean",
    _Number: "a number",
    str: "a string",
    list: "an array",
    dict: "an object",
}


def _refuse_constant(constant: str) -> NoReturn:
    raise InvalidBody(f"not valid JSON: {constant}")


def _unique(pairs: list[tuple[str, Any]]) -> _Object:
    # Readers disagree on which of two counts. A bulk action must not guess.
    result: _Object = {}
    for name, value in pairs:
        if name in result:
            raise InvalidBody(f"{shown(name)} appears twice in one object")
        result[name] = value
    return result


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique,
    parse_int=_Number,
    parse_float=_Number,
    parse_constant=_refuse_constant,
)


def _parse_json(body: bytes) -> Any:
    try:
        return _DECODER.decode(body.decode("utf-8"))
    except UnicodeDecodeError as problem:
        raise InvalidBody(f"not UTF-8 at byte {problem.start}") from None
    except json.JSONDecodeError as problem:
        raise InvalidBody(f"not valid JSON: {problem}") from None
    except RecursionError:
        raise InvalidBody("nested too deeply") from None


def _check(place: str, value: Any, expected: type[_T]) -> _T:
    if type(value) is not expected:  # A _Number is not a str here.
        kinds = f"{_KINDS[expected]}, not {_KINDS[type(value)]}"
        raise InvalidBody(f"{place} must be {kinds}")
    return value


def _string(place: str, value: Any) -> str:
    text = _check(place, value, str)
    if not text.isascii() and _SURROGATE.search(text):
        raise InvalidBody(f"{place} has half of a surrogate pair, which isn't text")
    return text


def _text(container: _Object, name: str, place: str = "") -> str:
    """Return the text of that name; empty if there is none, or null."""
    value = container.get(name)
    return "" if value is None else _string(place + name, value)
