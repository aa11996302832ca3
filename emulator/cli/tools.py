"""Small commands beside a running emulator: env, publish, logs.

They talk to it over HTTP. Where it runs, and with which token, is what ``qemu start``
would use here, unless ``--url`` and ``--token`` say otherwise.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emulator.cli import (
    HelpfulCommand,
    default_configuration,
    server_url,
    setting_options,
)
from emulator.cli.config import configuration_of
from emulator.cli.exit_codes import CliError, call
from emulator.cli.output import (
    Style,
    format_line,
    line_of_json,
    plural,
    printable,
    wants_color,
)

if TYPE_CHECKING:
    from http.client import HTTPResponse

    from emulator.settings import User

__all__ = [
    "env",
    "format_env",
    "is_wanted",
    "logs",
    "parse_events",
    "publish",
]

_MAX_EVENT_BYTES = 1 << 26
"""A log entry carries its body in base64."""

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


def format_env(url: str, user: User, format: str = "dotenv") -> str:
    """Write the four values that an SDK needs, as a shell or a file takes them.

    ``format`` is dotenv, shell, fish, powershell or json.
    """
    values = {
        "QSTASH_URL": url,
        "QSTASH_TOKEN": user.token,
        "QSTASH_CURRENT_SIGNING_KEY": user.keys.current,
        "QSTASH_NEXT_SIGNING_KEY": user.keys.next,
    }
    if format == "json":
        import json

        return json.dumps(values, indent=2)
    # How a line begins, which characters need what before them, and the quote.
    template, special, escape, quote = {
        "dotenv": ("{}=", r'["$\\`]', r"\\\g<0>", '"'),
        "shell": ("export {}=", "'", r"'\\''", "'"),
        "fish": ("set -gx {} ", r"['\\]", r"\\\g<0>", "'"),
        "powershell": ("$env:{} = ", "'", "''", "'"),
    }[format]
    return "\n".join(
        template.format(name) + quote + re.sub(special, escape, value) + quote
        for name, value in values.items()
    )


@click.pass_context
def _print_env(ctx: click.Context, /, format: str, **settings: Any) -> None:
    chosen = configuration_of(ctx).settings
    if chosen.port == 0:
        raise CliError(
            "port 0 is any that is free: only the running qemu knows which",
            "Use the lines that it printed.",
        )
    click.echo(format_env(server_url(chosen), chosen.users[0], format))


env = HelpfulCommand(
    "env",
    help="Print the four lines that an SDK needs, for the settings in force.",
    examples=(
        "qemu env >> .env",
        'eval "$(qemu env --format shell)"',
        "qemu env --port 8081 --format json",
    ),
    params=[
        click.Option(
            ["--format"],
            type=click.Choice(["dotenv", "shell", "fish", "powershell", "json"]),
            default="dotenv",
            show_default=True,
            help="Who is to read them.",
        ),
        *setting_options(),
    ],
    callback=_print_env,
)


@click.command(
    "publish",
    cls=HelpfulCommand,
    help="Publish one message to URL and print its id.",
    examples=(
        """qemu publish http://localhost:3000/api/hook -d '{"hello":"world"}'""",
        "qemu publish http://localhost:3000/api/hook -d @order.json --delay 10s",
        "qemu publish http://localhost:3000/api/hook -H 'Upstash-Label: test'",
    ),
)
@click.argument("destination", metavar="URL")
@click.option(
    "-d",
    "--data",
    metavar="BODY",
    help="The body: a text, @FILE, or - for standard input.",
)
@click.option(
    "-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="Send it."
)
@click.option(
    "--content-type",
    metavar="TYPE",
    help="The body's type; application/json if not given and the body is JSON.",
)
@click.option("--method", help="How the destination is called; else POST.")
@click.option("--delay", metavar="DURATION", help="Wait so long first: 10s, 1h30m.")
@click.option("--retries", type=int, help="How many deliveries may follow the first.")
@click.option("--callback", metavar="URL", help="Where each delivery is reported.")
@click.option("--failure-callback", metavar="URL", help="Where failure is reported.")
@click.option("--url", "server", metavar="URL", help="The server, else the local one.")
@click.option("--token", help="The token, else the one in force here.")
def publish(
    destination: str,
    data: str | None,
    headers: Sequence[str],
    content_type: str | None,
    server: str | None,
    token: str | None,
    **configuration: object,
) -> None:
    """Publish one message."""
    import json

    if not re.fullmatch("[!-~]+", destination):
        raise click.UsageError("URL must be ASCII without spaces: percent-encode it")
    url, token = _server(server, token)
    body = _body(data)
    pairs = [("Authorization", f"Bearer {token}")]
    if content_type is None and body and _is_json(body):
        content_type = "application/json"
    if content_type is not None:
        pairs.append(("Content-Type", content_type))
    pairs += [
        ("Upstash-" + name.replace("_", "-").title(), str(value))
        for name, value in configuration.items()
        if value is not None
    ]
    for header in headers:
        name, colon, value = header.partition(":")
        if not colon or not name.strip():
            raise click.UsageError(f"a header looks like 'Name: value', not {header!r}")
        pairs.append((name.strip(), value.strip()))
    target = f"/v2/publish/{destination}"
    with call(url, "POST", target, headers=pairs, body=body) as response:
        receipts = json.load(response)
    # A URL group's answer is an array (PUB-41).
    for receipt in receipts if isinstance(receipts, list) else [receipts]:
        click.echo(receipt["messageId"])


def _server(url: str | None, token: str | None) -> tuple[str, str]:
    """Return where to call and with which token: what was given, else what is here."""
    if url is None or token is None:
        settings = default_configuration().settings
        url, token = url or server_url(settings), token or settings.users[0].token
    return url.rstrip("/"), token


def _body(data: str | None) -> bytes:
    if data is None:
        return b""
    if data == "-":
        return sys.stdin.buffer.read()
    if data.startswith("@"):
        try:
            return Path(data[1:]).read_bytes()
        except OSError as error:
            raise CliError(f"can't read {data[1:]}: {error.strerror}") from error
    return data.encode(errors="surrogateescape")


def _is_json(body: bytes) -> bool:
    import json

    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True


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
    type=click.Choice(_STATES, case_sensitive=False),
    help="Only entries with this state. Can be repeated, like the next three.",
)
@click.option("--message-id", "message_ids", multiple=True, help="Only this message.")
@click.option("--label", "labels", multiple=True, help="Only messages with this label.")
@click.option("--url-filter", "urls", multiple=True, help="Only this destination.")
@click.option(
    "--count",
    type=click.IntRange(1, 1000),
    default=100,
    show_default=True,
    help="How many entries to begin with.",
)
@click.option("--json", "json_lines", is_flag=True, help="Print one object per line.")
@click.option("-v", "--verbose", is_flag=True, help="Print ACTIVE entries too.")
@click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    envvar="QEMU_COLOR",
    help="When to use colour.",
)
@click.option("--full-ids", is_flag=True, help="Print message ids whole.")
@click.option("--url", "server", metavar="URL", help="The server, else the local one.")
@click.option("--token", help="The token, else the one in force here.")
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
    server: str | None,
    token: str | None,
) -> None:
    """Print the newest entries, and go on with what is written if asked to."""
    import json

    url, token = _server(server, token)
    style = Style(color=wants_color(color, sys.stdout, os.environ), full_ids=full_ids)
    filters = {"state": states, "messageId": message_ids, "label": labels, "url": urls}
    shows_active = verbose or "ACTIVE" in states

    def show(entry: Mapping[str, Any]) -> None:
        if json_lines:
            click.echo(json.dumps({"type": "log", **entry}))
        elif entry["state"] != "ACTIVE" or shows_active:
            click.echo(format_line(line_of_json(entry), style), color=style.color)

    if not follow:
        for entry in _history(url, token, filters, count):
            show(entry)
        return
    # The feed is opened first: what is written meanwhile comes twice, not never.
    with call(url, "GET", "/_qemu/feed") as feed:
        history = _history(url, token, filters, count)
        for entry in history:
            show(entry)
        try:
            for event, data in parse_events(_lines_of(feed)):
                if event == "gap":
                    missed = plural(json.loads(data)["dropped"], "entry")
                    click.echo(f"… {missed} lost: this reader was too slow", err=True)
                elif event == "log":
                    entry = json.loads(data)
                    is_mine = entry.pop("user") == _user_name(token)
                    if is_mine and entry not in history and is_wanted(entry, filters):
                        show(entry)
        except KeyboardInterrupt:
            return
    click.echo(f"the emulator at {printable(url)} has stopped", err=True)


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
    url: str, token: str, filters: Mapping[str, Sequence[str]], count: int
) -> list[dict[str, Any]]:
    """Return the newest entries that pass the filters, the oldest first."""
    import json
    from urllib.parse import urlencode

    query = urlencode({**filters, "count": count}, doseq=True)
    headers = [("Authorization", f"Bearer {token}")]
    with call(url, "GET", f"/v2/events?{query}", headers=headers) as response:
        events: list[dict[str, Any]] = json.load(response)["events"]
    return events[::-1]


def _user_name(token: str) -> str:
    """Return whose token it is: the feed carries the entries of all users."""
    from emulator.settings import DEV_USERS

    names = (user.name for user in DEV_USERS if user.token == token)
    return next(names, DEV_USERS[0].name)


def parse_events(lines: Iterable[bytes]) -> Iterator[tuple[str, str]]:
    """Read server-sent events: yield the name and the data of each."""
    event = ""
    data: list[str] = []
    for line in lines:
        text = line.decode(errors="replace").rstrip("\r\n")
        field, _, value = text.partition(":")
        value = value.removeprefix(" ")
        if not text and data:
            yield event, "\n".join(data)
        if not text:
            event, data = "", []
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
