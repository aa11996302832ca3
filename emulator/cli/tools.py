"""Small commands beside a running emulator: env, publish, logs, completion.

They talk to it over HTTP, directly: no proxy of the environment is heard, and a
destination goes out to the letter. Where it runs and with which token is what
``qemu start`` would use here, unless ``--url`` and ``--token`` say otherwise.
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
from emulator.cli.config import Configuration, configuration_of, shown_path
from emulator.cli.exit_codes import CliError
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
    "ask_health",
    "banner",
    "completion",
    "env",
    "format_env",
    "is_wanted",
    "logs",
    "parse_events",
    "publish",
]

_MAX_HEALTH_BYTES = 65_536

_MAX_EVENT_BYTES = 1 << 26
"""A log entry carries its body in base64."""

_TIMEOUT_S = 30.0
"""Longer than the feed's silence: it says at least every 15 s that it is there."""

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


def banner(configuration: Configuration, url: str, *, ready_ms: int) -> str:
    """Write what stands above the log: what runs, where, how, and the env lines."""
    from emulator import __version__
    from emulator.cli.tools import format_env

    settings = configuration.settings
    facts = [("API", url), ("State", "in memory")]
    if configuration.file is not None:
        facts.append(("Config", printable(shown_path(configuration.file))))
    if configuration.own_credentials:
        facts += [
            ("Keys", f"from {', '.join(configuration.own_credentials)}"),
            ("", "QSTASH_DEV=true finds only a server with the published ones"),
        ]
    clock = "virtual: it stands still until it is advanced"
    if settings.clock == "real":
        clock = "" if settings.speed == 1 else f"{settings.speed:g} x real time"
    if settings.start_time_ms is not None:
        clock = f"{clock or 'real'}; started at {_instant(settings.start_time_ms)}"
    if clock:
        facts.append(("Clock", clock))
    for index, route in enumerate(settings.routes):
        facts.append(("" if index else "Routes", f"{route.origin} -> {route.target}"))
    lines = [
        "",
        f"  qemu {__version__}   a local QStash, ready in {ready_ms} ms",
        "",
        *(f"  {label:<8} {value}" for label, value in facts),
        "",
        format_env(url, settings.users[0]),
        "",
        f"qemu is running at {url} (Ctrl-C to stop)",
        "",
    ]
    return "\n".join(lines)


def _instant(time_ms: int) -> str:
    from datetime import UTC, datetime

    try:
        moment = datetime.fromtimestamp(time_ms // 1000, tz=UTC)
    except (ValueError, OverflowError, OSError):
        return f"{time_ms} ms"
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def ask_health(url: str, *, timeout_s: float) -> Mapping[str, Any] | None:
    """Return what an emulator says of itself; ``None`` unless one answers."""
    import json
    from http.client import HTTPException

    try:
        with _request(url, "GET", "/_qemu/health", timeout_s=timeout_s) as response:
            health = json.loads(response.read(_MAX_HEALTH_BYTES))
    except (OSError, HTTPException, ValueError, RecursionError):
        return None
    match health:
        case {"version": str(), "pending": int()}:
            health["version"] = printable(health["version"][:20])
            return health
        case _:
            return None


def _request(
    url: str,
    method: str,
    target: str,
    *,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
    timeout_s: float = _TIMEOUT_S,
) -> HTTPResponse:
    """Make a request. The response owns its connection, and closes it.

    Raises ``OSError``, ``HTTPException``, or ``ValueError`` for what can't be sent.
    """
    from http.client import HTTPConnection, HTTPSConnection
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("the server's URL must start with http:// or https://")
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=timeout_s)
    connection.putrequest(method, target, skip_accept_encoding=True)
    connection.putheader("Connection", "close")
    for name, value in headers:
        connection.putheader(name, value.encode())
    if body or method == "POST":
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body or None)
    return connection.getresponse()


def _call(url: str, method: str, target: str, **details: Any) -> HTTPResponse:
    """Make a request of the API; end the command if it isn't answered with 2xx."""
    from http.client import HTTPException

    try:
        response = _request(url, method, target, **details)
    except ConnectionRefusedError as error:
        fact = f"nothing is listening at {printable(url)}"
        raise CliError(fact, "Start it: qemu start") from error
    except (OSError, HTTPException, ValueError) as error:
        reason = printable(str(error) or type(error).__name__)
        raise CliError(f"can't call {printable(url)}: {reason}") from error
    if 200 <= response.status < 300:
        return response
    reason = _error_text(response.read(_MAX_HEALTH_BYTES))
    advice = ["Give its token: --token"] if response.status == 401 else []
    raise CliError(f"the server refused: {response.status} {reason}", *advice)


def _error_text(body: bytes) -> str:
    import json

    text = body.decode(errors="replace")
    try:
        text = str(json.loads(text)["error"])  # ERR-1
    except (ValueError, TypeError, LookupError, RecursionError):
        pass
    return printable(text[:500])


@click.pass_context
def _print_env(ctx: click.Context, format: str, **settings: Any) -> None:
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
    with _call(url, "POST", target, headers=pairs, body=body) as response:
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
        return click.get_binary_stream("stdin").read()
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
    with _call(url, "GET", "/_qemu/feed") as feed:
        history = _history(url, token, filters, count)
        for entry in history:
            show(entry)
        try:
            lines = iter(lambda: feed.readline(_MAX_EVENT_BYTES), b"")
            for event, data in parse_events(lines):
                if event == "gap":
                    missed = plural(json.loads(data)["dropped"], "entry")
                    click.echo(f"… {missed} lost: this reader was too slow", err=True)
                    continue
                entry = json.loads(data)
                if entry.pop("user") != _user_name(token) or entry in history:
                    continue
                if is_wanted(entry, filters):
                    show(entry)
        except KeyboardInterrupt:
            return
    click.echo(f"the emulator at {printable(url)} has stopped", err=True)


def _history(
    url: str, token: str, filters: Mapping[str, Sequence[str]], count: int
) -> list[dict[str, Any]]:
    """Return the newest entries that pass the filters, the oldest first."""
    import json
    from urllib.parse import urlencode

    query = urlencode({**filters, "count": count}, doseq=True)
    headers = [("Authorization", f"Bearer {token}")]
    with _call(url, "GET", f"/v2/events?{query}", headers=headers) as response:
        events: list[dict[str, Any]] = json.load(response)["events"]
    return events[::-1]


def _user_name(token: str) -> str:
    """Return whose token it is: the feed carries the entries of all users."""
    from emulator.settings import DEV_USERS

    names = (user.name for user in DEV_USERS if user.token == token)
    return next(names, DEV_USERS[0].name)


def parse_events(lines: Iterable[bytes]) -> Iterator[tuple[str, str]]:
    """Read server-sent events: yield the name and the data of each."""
    event, data = "", []
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


@click.command(
    "completion",
    cls=HelpfulCommand,
    help="Print the script that makes a shell complete qemu's commands.",
    examples=(
        'eval "$(qemu completion bash)"',
        'eval "$(qemu completion zsh)"',
        "qemu completion fish | source",
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print click's script."""
    from click.shell_completion import get_completion_class

    from emulator.cli import cli

    complete = get_completion_class(shell)
    assert complete is not None
    click.echo(complete(cli, {}, "qemu", "_QEMU_COMPLETE").source())
