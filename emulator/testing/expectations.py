"""What a test expects of a record, and how to say that none fits.

A failed expectation names the nearest candidates and how each differs, so that the
report answers the question which the assertion raises.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, TypeVar

from emulator.testing.answers import UNSET
from emulator.testing.records import Delivery, PublishedMessage, excerpt

__all__ = ["Expectation", "describe", "of_delivery", "of_published", "select"]

R = TypeVar("R", PublishedMessage, Delivery)

_SHOWN_CANDIDATES = 3


@dataclass(frozen=True, slots=True)
class Expectation:
    """One thing that is expected; ``difference`` says how a record fails it."""

    text: str
    difference: Callable[[Any], str | None]


def of_published(
    *,
    body: bytes | str | None = None,
    json_body: Any = UNSET,
    headers: Mapping[str, str] | None = None,
    labels: Sequence[str] | None = None,
    **fields: Any,
) -> list[Expectation]:
    """Make the expectations of a published message; ``None`` expects nothing.

    The message may have more headers and labels than those.
    """
    expectations = _fields(fields)
    if body is not None:
        wanted = body.encode() if isinstance(body, str) else body
        expectations.append(_equal("body", wanted, lambda record: record.body, excerpt))
    if json_body is not UNSET:
        expectations.append(
            _equal("json", json_body, lambda record: _json(record.body), repr)
        )
    for name, value in (headers or {}).items():
        expectations.append(_header(name, value))
    for label in labels or ():
        expectations.append(_label(label))
    return expectations


def of_delivery(*, status: int | None = None, **fields: Any) -> list[Expectation]:
    """Make the expectations of a delivery; ``None`` expects nothing.

    Without a status it must have succeeded.
    """
    expectations = _fields({**fields, "status": status})
    if status is None:
        expectations.append(
            Expectation("success", lambda record: record.error and "it failed")
        )
    return expectations


def select(records: Sequence[R], expectations: Sequence[Expectation]) -> list[R]:
    """Return the records that are as expected."""
    return [record for record in records if not _differences(record, expectations)]


def describe(
    what: str,
    records: Sequence[PublishedMessage] | Sequence[Delivery],
    expectations: Sequence[Expectation],
) -> str:
    """Say what was expected, and what comes nearest to it."""
    wanted = ", ".join(expectation.text for expectation in expectations)
    sentence = f"{what} with {wanted}" if wanted else what
    if not records:
        return f"{sentence}; there is none at all"
    # Python's sort is stable: of equally near ones the first goes first.
    nearest = sorted(
        records, key=lambda record: len(_differences(record, expectations))
    )
    lines = [f"{sentence}; nearest of {len(records)}:"]
    for record in nearest[:_SHOWN_CANDIDATES]:
        lines.append(f"  {record!r}")
        lines += [f"    {item}" for item in _differences(record, expectations)]
    return "\n".join(lines)


def _fields(fields: Mapping[str, Any]) -> list[Expectation]:
    return [
        _equal(name, value, attrgetter(name), repr)
        for name, value in fields.items()
        if value is not None
    ]


def _equal(
    name: str, wanted: Any, read: Callable[[Any], Any], show: Callable[[Any], str]
) -> Expectation:
    def difference(record: Any) -> str | None:
        found = read(record)
        if found == wanted:
            return None
        shown = found if isinstance(found, _NoJson) else show(found)
        return f"{name}: {shown} instead of {show(wanted)}"

    return Expectation(f"{name}={show(wanted)}", difference)


def _header(name: str, value: str) -> Expectation:
    return _equal(
        f"header {name}", value, lambda record: record.headers.get(name), repr
    )


def _label(label: str) -> Expectation:
    def difference(record: Any) -> str | None:
        if label in record.labels:
            return None
        return f"labels: {list(record.labels)!r} without {label!r}"

    return Expectation(f"label {label!r}", difference)


def _differences(record: Any, expectations: Sequence[Expectation]) -> list[str]:
    found = (expectation.difference(record) for expectation in expectations)
    return [difference for difference in found if difference]


class _NoJson(str):
    """What is shown of a body that isn't JSON; equal to nothing that is."""

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = str.__hash__


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return _NoJson(f"no JSON ({excerpt(body)})")
