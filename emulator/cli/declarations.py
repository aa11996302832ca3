"""What a settings file declares: queues, URL groups and schedules.

They are read by the parsers that the API has for them, so a file may say what a request
may say, and no more. The errors are theirs as well; file, line and table are added.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from emulator.cli.settings_file import Table, check_key
from emulator.errors import (
    InvalidBody,
    InvalidHeader,
    InvalidParameter,
    RequestError,
    SettingsError,
    shown,
)

if TYPE_CHECKING:
    from emulator.core.header_map import HeaderMap
    from emulator.core.limits import Limits
    from emulator.core.model import Publish
    from emulator.core.resources import Declared, Endpoint

__all__ = ["declared_in", "undeclared_groups"]

_OWN_KEYS = {
    "upstash-cron": "cron",
    "upstash-schedule-id": "id",
    "upstash-queue-name": "queue",
}
"""Headers of a schedule that are keys in the file."""


def declared_in(
    tables: Mapping[str, Sequence[Table]], *, limits: Limits, now_ms: int
) -> Declared:
    """Read what is declared. Raises ``SettingsError``.

    ``now_ms`` (Unix milliseconds) is when it begins to exist: a cron must fire later.
    """
    from emulator.core.resources import Declared

    return Declared(
        queues=tuple(_queue(table) for table in _unique(tables, "queues", "name")),
        url_groups=tuple(
            _url_group(table, limits, now_ms)
            for table in _unique(tables, "url-groups", "name")
        ),
        schedules=tuple(
            _schedule(table, limits, now_ms)
            for table in _unique(tables, "schedules", "id")
        ),
    )


def _unique(
    tables: Mapping[str, Sequence[Table]], kind: str, key: str
) -> Iterator[Table]:
    """Yield the tables of a kind; refuse a second one of the same name."""
    from emulator.core.names import parse_resource_name

    seen: set[str] = set()
    for table in tables.get(kind, ()):
        with _located(table):
            name = parse_resource_name(key, table.values[key])
        if name in seen:
            raise table.error(key, f"{shown(name)} is declared already")
        seen.add(name)
        yield table


def _queue(table: Table) -> tuple[str, int, bool]:
    from emulator.core.bodies import parse_queue_upsert

    values = table.values
    with _located(table):
        upsert = parse_queue_upsert(
            _json(
                queueName=values["name"],
                parallelism=values.get("parallelism", 1),
                paused=values.get("paused", False),
            )
        )
    assert upsert.parallelism is not None
    assert upsert.is_paused is not None
    return upsert.name, upsert.parallelism, upsert.is_paused


def _url_group(
    table: Table, limits: Limits, now_ms: int
) -> tuple[str, tuple[Endpoint, ...], HeaderMap]:
    from emulator.core.bodies import parse_endpoints_upsert, parse_group_headers

    values = table.values
    _refuse_unknown_headers(table)
    for index, endpoint in enumerate(values["endpoints"]):
        prefix = f"{table.name}.endpoints[{index}]."
        for key in endpoint if isinstance(endpoint, dict) else ():
            check_key(key, ("url", "name"), table.source_of(key), prefix=prefix)
    with _located(table):
        endpoints = parse_endpoints_upsert(_json(endpoints=values["endpoints"]))
        defaults = parse_group_headers(
            _json(headers=values.get("headers", {})), limits=limits, now_ms=now_ms
        )
    return values["name"], endpoints, defaults


def _schedule(table: Table, limits: Limits, now_ms: int) -> tuple[str, str, Publish]:
    from emulator.core.bodies import parse_batch
    from emulator.core.headers import parse_schedule
    from emulator.core.model import Incoming

    values = table.values
    _refuse_unknown_headers(table)
    for name in values.get("headers", {}):
        if name.lower() in _OWN_KEYS:
            reason = f"{name} has a key of its own: {_OWN_KEYS[name.lower()]}"
            raise table.error("headers", reason)
    own = tuple((name, values[key]) for name, key in _OWN_KEYS.items() if key in values)
    keys = ("destination", "headers", "body")
    with _located(table):
        # A batch entry has the same keys.
        (entry,) = parse_batch(
            b"[%b]" % _json(**{key: values[key] for key in keys if key in values})
        )
        incoming = Incoming(
            destination=entry.destination,
            headers=(*own, *entry.headers),
            body=entry.body,
        )
        request = parse_schedule(incoming, limits=limits, now_ms=now_ms)
    return values["id"], request.cron, request.publish


def _refuse_unknown_headers(table: Table) -> None:
    """Refuse what the API accepts without effect (HDR-6): in a file it is a mistake."""
    from emulator.core.configuration_headers import unknown_configuration

    headers = table.values.get("headers", {})
    for name in headers:
        for _, nearest in unknown_configuration([(name, "")]):
            hint = f"; did you mean {nearest}?" if nearest else ""
            raise SettingsError(
                f"{table.name}.headers",
                f"{shown(name)[1:-1]} isn't a header of QStash{hint}",
                source=str(table.source_of(name)),
            )


def undeclared_groups(declared: Declared) -> tuple[tuple[str, str], ...]:
    """Return the schedules for URL groups that the file doesn't declare: id, group."""
    from emulator.core.model import DestinationKind

    groups = {name for name, _, _ in declared.url_groups}
    return tuple(
        (schedule_id, publish.destination.text)
        for schedule_id, _, publish in declared.schedules
        if publish.destination.kind is DestinationKind.URL_GROUP
        and publish.destination.text not in groups
    )


def _json(**values: Any) -> bytes:
    # TOML has dates, which JSON hasn't: there they are texts.
    return json.dumps(values, default=str).encode()


@contextmanager
def _located(table: Table) -> Iterator[None]:
    """Say in which table a parser found a mistake, and name the file's key."""
    try:
        yield
    except InvalidParameter as error:
        key = {"Upstash-Queue-Name": "queue"}.get(error.parameter, error.parameter)
        raise table.error(key, f"{shown(error.value)}: {error.reason}") from error
    except InvalidHeader as error:
        if error.header == "Upstash-Cron":
            raise table.error(
                "cron", f"{shown(error.value)}: {error.reason}"
            ) from error
        raise table.error("", str(error)) from error
    except InvalidBody as error:
        raise table.error("", error.reason.removeprefix("[0].")) from error
    except RequestError as error:
        raise table.error("", str(error).replace(": [0].", ": ")) from error
