"""``qemu tunnel replay``: requests that came through a tunnel, sent to the app again.

One by its id, which the running tunnel sends itself, for it has what no recording has;
or those of a recording, from here. Both are signed anew with the app's keys. What the
requests are, and how they may be edited, ``tunnel/replay_request.py`` decides.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emulator.cli import HelpfulCommand
from emulator.cli.exit_codes import CliError, ExitCode
from emulator.cli.option_types import WholeNumber
from emulator.cli.tunnel_replay_file import replay_file, replay_line
from emulator.lines import printable

if TYPE_CHECKING:
    from tunnel.replay_request import Edits

__all__ = ["replay"]

_TIMEOUT_S = 3600.0
"""For the tunnel to answer: the app may be stopped in a debugger meanwhile."""

_MAX_ANSWER_BYTES = 128 << 20
"""An exchange with two bodies of 16 MiB, however they are written."""


class _PortOrUrl(click.ParamType):  # type: ignore[type-arg]
    """A port of this machine, or an ``http://`` or ``https://`` URL; becomes a URL.

    ``any_port`` is what the port 0 becomes, which means any to who listens.
    """

    name = "url"

    def __init__(self, any_port: str | None = None) -> None:
        self._any_port = any_port

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "PORT|URL"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        text = str(value)
        if text == "0" and self._any_port is not None:
            return self._any_port
        if re.fullmatch("[0-9]{1,5}", text) and 0 < int(text) < 65536:
            return f"http://localhost:{text}"
        if not re.fullmatch("https?://[!-~]+", text):
            self.fail(
                f"{text!r} is neither a port nor a URL like http://localhost:3000"
            )
        return text.rstrip("/")


@click.command(
    "replay",
    cls=HelpfulCommand,
    help="Send a request that came through a tunnel to the app again: one by its ID, "
    "while the tunnel runs, or all of a recording. Signatures are made anew. Ends with "
    "1 if one of them can't be sent, or gets no answer.",
    examples=(
        "qemu tunnel replay 17 --inspect 4040",
        "qemu tunnel replay orders.ndjson --to 3000",
        """qemu tunnel replay orders.ndjson --to 3000 --only 4 -d '{"order":8}'""",
    ),
)
@click.argument("what", metavar="ID|FILE")
@click.option(
    "--to", type=_PortOrUrl(), help="The app. Needed for a recording, and only there."
)
@click.option(
    "--inspect",
    # qemu tunnel reads the same variable.
    type=_PortOrUrl(any_port=""),
    envvar="QEMU_INSPECT",
    show_envvar=True,
    help="Where the running tunnel has its inspector, as it prints it. Needed for an "
    "ID.",
)
@click.option(
    "--only",
    "ids",
    type=WholeNumber(min=1),
    multiple=True,
    metavar="ID",
    help="Of a recording, send this one. Can be repeated.",
)
@click.option("-X", "--method", help="Use another method.")
@click.option("--path", help="Ask for another path, with its query.")
@click.option(
    "-H",
    "--header",
    "headers",
    multiple=True,
    metavar="'NAME: VALUE'",
    help="Replace a header, or add it; without a value, leave it out.",
)
@click.option(
    "-d", "--data", metavar="BODY", help="Another body: a text, @FILE, or - for stdin."
)
@click.option(
    "--public-url",
    metavar="URL",
    help="Of a recording: pretend that it came by this public address, and sign for "
    "it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@click.pass_context
def replay(
    ctx: click.Context,
    /,
    what: str,
    to: str | None,
    inspect: str | None,
    ids: Sequence[int],
    public_url: str | None,
    as_json: bool,
    **edits: Any,
) -> None:
    """Replay one exchange, or a recording."""
    if re.fullmatch("[0-9]{1,15}", what):
        if to is not None or ids or public_url is not None:
            raise click.UsageError(
                "--to, --only and --public-url are for recordings: a running tunnel "
                "sends to its own app"
            )
        if not inspect:
            raise click.UsageError(
                "an ID needs --inspect, which qemu tunnel prints as Inspect; "
                f"a recording of that name is ./{what}"
            )
        _replay_one(inspect, int(what), _edits_json(**edits), as_json=as_json)
        return
    if to is None:
        raise click.UsageError("a recording needs --to, the app's port or URL")
    if public_url is not None and not re.fullmatch("https?://[!-~]+", public_url):
        raise click.UsageError("--public-url must be a URL like https://app.example")
    all_sent = replay_file(
        Path(what),
        to,
        ids=ids,
        edits=_parse_edits(**edits),
        public_url=public_url,
        as_json=as_json,
    )
    ctx.exit(ExitCode.OK if all_sent else ExitCode.FAILURE)


# One exchange of a running tunnel


def _replay_one(url: str, id: int, edits: dict[str, Any], *, as_json: bool) -> None:
    import json

    from emulator.cli.client import call

    body = json.dumps(edits).encode("ascii")
    with call(
        url,
        "POST",
        f"/_qemu/exchanges/{id}/replay",
        headers=[("Content-Type", "application/json")],
        body=body,
        timeout_s=_TIMEOUT_S,
        start_command="qemu tunnel",
    ) as response:
        try:
            shown = json.loads(response.read(_MAX_ANSWER_BYTES))
            request, answer = shown["request"], shown.get("answer") or {}
            line = replay_line(
                request["method"],
                request["target"],
                answer.get("status"),
                int(shown.get("durationMs", 0)),
                None,
                str(answer.get("body", "")),
            )
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise CliError(f"what answers at {printable(url)} is no tunnel") from error
    click.echo(json.dumps({"type": "exchange", **shown}) if as_json else line)


def _edits_json(
    method: str | None, path: str | None, headers: Sequence[str], data: str | None
) -> dict[str, Any]:
    """Write edits as the inspector's API takes them."""
    from tunnel.exchange_json import body_json

    written: dict[str, Any] = {"method": method, "path": path}
    edits = {key: value for key, value in written.items() if value is not None}
    if headers:
        edits["headers"] = dict(map(_header, headers))
    if data is not None:
        edits |= body_json(_read(data))
    return edits


# Edits


def _parse_edits(
    method: str | None, path: str | None, headers: Sequence[str], data: str | None
) -> Edits:
    from tunnel.replay_request import Edits, ReplayRefused

    try:
        return Edits(
            method=method,
            target=path,
            headers=tuple(map(_header, headers)),
            body=None if data is None else _read(data),
        )
    except ReplayRefused as error:
        raise click.UsageError(printable(str(error))) from error


def _header(text: str) -> tuple[str, str | None]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise click.UsageError(f"a header looks like 'Name: value', not {text!r}")
    # One character is one byte, as in what was recorded.
    encoded = value.strip().encode(errors="surrogateescape").decode("latin-1")
    return name.strip(), encoded or None


def _read(data: str) -> bytes:
    if data == "-":
        return sys.stdin.buffer.read()
    if not data.startswith("@"):
        return data.encode(errors="surrogateescape")
    try:
        return Path(data[1:]).read_bytes()
    except OSError as error:
        raise CliError(f"can't read {data[1:]}: {error.strerror}") from error
