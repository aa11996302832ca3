"""``qemu publish``: one message, from the shell."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from emulator.cli import HelpfulCommand
from emulator.cli.configuration import server_in_force
from emulator.cli.exit_codes import CliError
from emulator.cli.option_types import WholeNumber
from emulator.cli.options import server_options

__all__ = ["publish"]


@click.command(
    "publish",
    cls=HelpfulCommand,
    help="Publish one message to URL, or to a URL group, and print its id.",
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
@click.option(
    "--retries",
    type=WholeNumber(min=0),
    help="How many deliveries may follow the first.",
)
@click.option("--callback", metavar="URL", help="Where each delivery is reported.")
@click.option("--failure-callback", metavar="URL", help="Where failure is reported.")
@server_options
def publish(
    destination: str,
    data: str | None,
    headers: Sequence[str],
    content_type: str | None,
    url: str | None,
    token: str | None,
    **configuration: object,
) -> None:
    """Publish one message."""
    import json

    if not re.fullmatch("[!-~]+", destination):
        raise click.UsageError("URL must be ASCII without spaces: percent-encode it")
    server = server_in_force(url, token)
    body = _body(data)
    pairs = []
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
    with server.call("POST", target, headers=pairs, body=body) as response:
        receipts = json.load(response)
    # A URL group's answer is an array (PUB-41).
    for receipt in receipts if isinstance(receipts, list) else [receipts]:
        # With Upstash-Cron it is a schedule that was made (SCH-1).
        click.echo(receipt.get("messageId") or receipt["scheduleId"])


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
