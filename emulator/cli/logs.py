"""``qemu logs``: what a running emulator has logged, and what it logs from now on."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from emulator.cli import HelpfulCommand
from emulator.cli.client import Refused, Server, ask_health
from emulator.cli.configuration import server_in_force
from emulator.cli.exit_codes import CliError
from emulator.cli.option_types import StateType, WholeNumber
from emulator.cli.options import server_options
from emulator.cli.output import plural, wants_color
from emulator.lines import (
    ONLY_VERBOSE,
    Style,
    format_line,
    line_of_json,
    printable,
)

if TYPE_CHECKING:
    from http.client import HTTPResponse

__all__ = ["is_wanted", "logs", "parse_events", "wait_for"]

_MAX_EVENT_BYTES = 1 << 26
"""A log entry carries its body in base64."""

_FEED = "/_qemu/feed"

_HEALTH_TIMEOUT_S = 2.0
_RETRY_S = 1.0

_FEED_KEYS = ("user", "retried", "status", "durationMs", "dlqId", "callbackOf")
"""What entries of the feed have and those of ``/v2/events`` haven't."""

_STATES = (
    "CREATED",
    "ACTIVE",
    "RETRY",
    "ERROR",
    "DELIVERED",
    "FAILED",
    "CANCEL_REQUESTED",
    "CANCELED",
    "IN_PROGRESS",
)
"""What can be filtered by: LOG-20, LOG-7."""


@click.command(
    "logs",
    cls=HelpfulCommand,
    help="Print the log of a running emulator, the oldest entry first.",
    examples=(
        "qemu logs --follow",
        "qemu logs --state FAILED --count 20",
        "qemu logs --message-id msg_26hZ… --json",
    ),
)
@click.option("-f", "--follow", is_flag=True, help="Go on as entries are written.")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=StateType(_STATES),
    help=f"Only entries with this state: {', '.join(_STATES)}. Can be repeated, like "
    "the next three.",
)
@click.option("--message-id", "message_ids", multiple=True, help="Only this message.")
@click.option("--label", "labels", multiple=True, help="Only messages with this label.")
@click.option("--url-filter", "urls", multiple=True, help="Only this destination.")
@click.option(
    "--count",
    type=WholeNumber(1, 1000),
    default=100,
    show_default=True,
    help="How many entries to begin with.",
)
@click.option("--json", "json_lines", is_flag=True, help="Print one object per line.")
@click.option(
    "-v", "--verbose", is_flag=True, help="Print ACTIVE and CANCEL_REQUESTED too."
)
@click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    envvar="QEMU_COLOR",
    help="When to use colour.",
)
@click.option("--full-ids", is_flag=True, help="Print message ids whole.")
@server_options
def logs(
    follow: bool,
    states: Sequence[str],
    message_ids: Sequence[str],
    labels: Sequence[str],
    urls: Sequence[str],
    count: int,
    json_lines: bool,
    verbose: bool,
    color: str,
    full_ids: bool,
    url: str | None,
    token: str | None,
) -> None:
    """Print the newest entries, and go on with what is written if asked to."""
    import json

    server = server_in_force(url, token)
    style = Style(color=wants_color(color, sys.stdout, os.environ), full_ids=full_ids)
    filters = {"state": states, "messageId": message_ids, "label": labels, "url": urls}

    def show(entry: Mapping[str, Any]) -> None:
        state = entry["state"]
        if json_lines:
            click.echo(json.dumps({"type": "log", **entry}))
        elif verbose or state in states or state not in ONLY_VERBOSE:
            click.echo(format_line(line_of_json(entry), style), color=style.color)

    if not follow:
        for entry in _history(server, filters, count):
            show(entry)
        return
    try:
        _follow(server, filters, count, show)
    except KeyboardInterrupt:
        return


def _follow(
    server: Server,
    filters: Mapping[str, Sequence[str]],
    count: int,
    show: Callable[[Mapping[str, Any]], None],
) -> None:
    """Show the newest entries and those that follow, over restarts, until Ctrl-C."""
    health = ask_health(server.url, timeout_s=_HEALTH_TIMEOUT_S) or {}
    # The feed is opened first: what is written meanwhile comes twice, not never.
    with server.call("GET", _FEED) as feed:
        history = _history(server, filters, count)
        for entry in history:
            show(entry)
        last_id = _show_feed(feed, filters, history, show)
    started_at = health.get("startedAt")
    who = f"the emulator at {printable(server.url)}"
    while True:
        click.echo(f"{who} has stopped: waiting for it", err=True)
        feed, started_at = _resume(server, started_at, last_id)
        click.echo(f"{who} is back", err=True)
        with feed:
            last_id = _show_feed(feed, filters, [], show) or last_id


def _resume(server: Server, started_at: Any, last_id: str) -> tuple[HTTPResponse, Any]:
    """Return the feed of the emulator that is back, and when that was started."""
    while True:
        health = wait_for(server)
        if health.get("startedAt") != started_at:
            # Another one: all that it has logged is new.
            started_at, last_id = health.get("startedAt"), "0"
        try:
            feed = server.call("GET", _FEED, headers=[("Last-Event-ID", last_id)])
        except Refused:
            raise
        except CliError:
            continue  # gone again
        return feed, started_at


def wait_for(server: Server) -> dict[str, Any]:
    """Return what an emulator says of itself, as soon as one answers."""
    while True:
        health = ask_health(server.url, timeout_s=_HEALTH_TIMEOUT_S)
        if health is not None:
            return health
        time.sleep(_RETRY_S)


def _show_feed(
    feed: HTTPResponse,
    filters: Mapping[str, Sequence[str]],
    history: list[dict[str, Any]],
    show: Callable[[Mapping[str, Any]], None],
) -> str:
    """Show what a feed has until it ends; return the id of its last event."""
    import json

    last_id = ""
    for id, event, data in parse_events(_lines_of(feed)):
        if event == "gap":
            missed = plural(json.loads(data)["dropped"], "entry")
            click.echo(f"… {missed} lost: this reader was too slow", err=True)
        elif event == "log":
            entry = json.loads(data)
            if not _was_shown(entry, history) and is_wanted(entry, filters):
                show(entry)
        last_id = id or last_id
    return last_id


def _lines_of(feed: HTTPResponse) -> Iterator[bytes]:
    """Read a feed until it ends, in whatever way."""
    from http.client import HTTPException

    while True:
        try:
            line = feed.readline(_MAX_EVENT_BYTES)
        except (OSError, HTTPException):
            return
        if not line:
            return
        yield line


def _history(
    server: Server, filters: Mapping[str, Sequence[str]], count: int
) -> list[dict[str, Any]]:
    """Return the newest entries that pass the filters, the oldest first."""
    import json
    from urllib.parse import urlencode

    query = urlencode({**filters, "count": count}, doseq=True)
    with server.call("GET", f"/v2/events?{query}") as response:
        events: list[dict[str, Any]] = json.load(response)["events"]
    return events[::-1]


def _was_shown(entry: Mapping[str, Any], history: list[dict[str, Any]]) -> bool:
    """Whether an entry of the feed, which knows more, is one of the history's."""
    plain = {name: entry[name] for name in entry if name not in _FEED_KEYS}
    if plain not in history:
        return False
    history.remove(plain)
    return True


def parse_events(lines: Iterable[bytes]) -> Iterator[tuple[str, str, str]]:
    """Read server-sent events: yield the id, the name and the data of each."""
    id = event = ""
    data: list[str] = []
    for line in lines:
        text = line.decode(errors="replace").rstrip("\r\n")
        field, _, value = text.partition(":")
        value = value.removeprefix(" ")
        if not text and data:
            yield id, event, "\n".join(data)
        if not text:
            event, data = "", []
        elif field == "id":
            id = value
        elif field == "event":
            event = value
        elif field == "data":
            data.append(value)


def is_wanted(entry: Mapping[str, Any], filters: Mapping[str, Sequence[str]]) -> bool:
    """Apply the filters to a live entry as ``/v2/events`` does (LOG-5, LOG-7)."""
    states = set(filters["state"])
    if "IN_PROGRESS" in states:
        states |= {"ACTIVE", "RETRY", "ERROR"}
    if states and entry["state"] not in states:
        return False
    labels = filters["label"]
    if labels and not set(labels) & set(entry.get("labels", ())):
        return False
    return all(
        not filters[name] or entry[name] in filters[name]
        for name in ("messageId", "url")
    )
