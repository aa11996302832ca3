"""``qemu export`` and ``qemu import``: the whole state, as one file.

From a running emulator and into one; or with ``--db`` from and into a file that none
uses. What the lines say isn't known here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace as changed
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from emulator.cli import HelpfulCommand
from emulator.cli.configuration import default_configuration, server_in_force
from emulator.cli.exit_codes import CliError, ExitCode
from emulator.cli.output import plural
from emulator.errors import Conflict, JournalError, NotStored, RequestError
from emulator.lines import printable

if TYPE_CHECKING:
    from emulator import Emulator

__all__ = ["export", "import_"]

_TARGET = "/_qemu/state"

_TIMEOUT_S = 300.0
"""An import is answered when it has been written."""

_PIECE_BYTES = 1 << 16

_END = b'{"type":"end",'

_db = click.option(
    "--db", metavar="FILE", help="The file of a qemu that isn't running, instead."
)
_url = click.option(
    "--url",
    metavar="URL",
    help="The server, else QSTASH_URL if that is on this machine, else where qemu "
    "start would listen.",
)


@click.command(
    "export",
    cls=HelpfulCommand,
    help="Write the whole state of a running emulator to FILE, or to standard output. "
    "It holds messages and signing keys: nobody else may read the file.",
    examples=(
        "qemu export state.jsonl",
        'qemu export --user defaultUser | grep \'"type":"dlq"\'',
        "qemu export --db qemu.db state.jsonl",
    ),
)
@click.argument("file", default="-", metavar="[FILE]")
@click.option("--user", help="Only this user's state.")
@_db
@_url
def export(file: str, user: str | None, db: str | None, url: str | None) -> None:
    """Write all lines; a file is there whole or not at all."""
    _refuse_both(db, url)
    pieces = _of_server(url, user) if db is None else _of_db(db, user)
    if file == "-":
        _check_end(_written(pieces, sys.stdout.buffer))
        sys.stdout.buffer.flush()
        return
    try:
        if Path(file).exists() and not Path(file).is_file():
            # A pipe, say: nothing may take its place.
            with Path(file).open("wb") as opened:
                _check_end(_written(pieces, opened))
        else:
            _replace(Path(os.path.realpath(file)), pieces)
    except OSError as error:
        reason = error.strerror or str(error)
        raise CliError(f"can't write {printable(file)}: {reason}") from error
    click.echo(
        f"wrote {printable(file)}: keep it to yourself, keys are in it", err=True
    )


@click.command(
    "import",
    cls=HelpfulCommand,
    help="Let a running emulator have the state that FILE holds, for each user in it: "
    "all of it, or nothing if anything is wrong with the file.",
    examples=(
        "qemu import state.jsonl",
        "qemu import --replace state.jsonl",
        "qemu import --db new.db state.jsonl",
    ),
)
@click.argument("file", metavar="FILE")
@click.option("--replace", is_flag=True, help="Even if that discards what is there.")
@_db
@_url
def import_(file: str, replace: bool, db: str | None, url: str | None) -> None:
    """Send a file, or read it into another; say what came of it."""
    import asyncio

    _refuse_both(db, url)
    try:
        with _opened(file) as opened:
            if db is None:
                messages, pending = _to_server(opened, url, replace=replace)
            else:
                messages, pending = asyncio.run(_to_db(opened, db, replace=replace))
    except OSError as error:
        reason = error.strerror or str(error)
        raise CliError(f"can't read {printable(file)}: {reason}") from error
    except Conflict as error:
        raise CliError(
            "there is state already, and nothing was changed",
            "Discard it: qemu import --replace FILE",
        ) from error
    except NotStored as error:
        raise CliError(printable(str(error)), code=ExitCode.JOURNAL) from error
    except RequestError as error:
        raise CliError(printable(f"{file}: {error}")) from error
    click.echo(f"imported {plural(messages, 'message')}, {pending:,} pending")


def _refuse_both(db: str | None, url: str | None) -> None:
    if db is not None and url is not None:
        raise click.UsageError(
            "--db is for a file that no server uses: leave out --url"
        )


def _replace(target: Path, pieces: Iterable[bytes]) -> None:
    """Let a file appear whole, readable by nobody else from its first byte on."""
    from tempfile import mkstemp

    handle, name = mkstemp(prefix=f".{target.name}-", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as opened:
            _check_end(_written(pieces, opened))
        Path(name).replace(target)
    finally:
        with suppress(FileNotFoundError):
            Path(name).unlink()


def _opened(file: str) -> BinaryIO:
    if file == "-":
        return BytesIO(sys.stdin.buffer.read())
    opened = Path(file).open("rb")  # noqa: SIM115 (the caller closes it)
    # How long a pipe is shows at its end.
    return opened if opened.seekable() else BytesIO(opened.read())


def _written(pieces: Iterable[bytes], opened: BinaryIO) -> bytes:
    """Write pieces; return the end of what was written."""
    tail = b""
    for piece in pieces:
        opened.write(piece)
        tail = (tail + piece)[-100:]
    return tail


def _check_end(tail: bytes) -> None:
    last = tail.rstrip(b"\n").rpartition(b"\n")[2]
    if not last.startswith(_END):
        raise CliError("the export broke off: it isn't whole", "Try again.")


def _of_server(url: str | None, user: str | None) -> Iterator[bytes]:
    from http.client import HTTPException
    from urllib.parse import urlencode

    from emulator.cli.client import call

    query = "" if user is None else f"?{urlencode({'user': user})}"
    server = server_in_force(url, None)
    with call(server.url, "GET", _TARGET + query, timeout_s=_TIMEOUT_S) as response:
        while True:
            try:
                piece = response.read(_PIECE_BYTES)
            except (OSError, HTTPException):
                return  # the end says that more should have come
            if not piece:
                return
            yield piece


def _to_server(opened: BinaryIO, url: str | None, *, replace: bool) -> tuple[int, int]:
    import json

    from emulator.cli.client import Refused, call

    query = "?replace=true" if replace else ""
    server = server_in_force(url, None)
    try:
        with call(
            server.url, "PUT", _TARGET + query, body=opened, timeout_s=_TIMEOUT_S
        ) as response:
            answer = json.load(response)
    except Refused as error:
        if error.status == Conflict.status:
            raise Conflict(error.reason) from error
        raise
    return answer["messages"], answer["pending"]


def _of_db(db: str, user: str | None) -> Iterator[bytes]:
    import asyncio

    from emulator import __version__
    from emulator.engine.exporting import export as lines_of

    if not Path(db).is_file():
        raise CliError(f"there is no file {printable(db)}")
    emulator = _resting(db)

    async def saved() -> Iterator[bytes]:
        async with emulator.at_rest() as tenants:
            states = tenants.saved()
            if user is not None and user not in states:
                names = ", ".join(states)
                raise CliError(printable(f"there is no user {user}, only {names}"))
            wanted = {name: states[name] for name in states if user in (None, name)}
            now_ms = emulator.clock.now_ms()
            return lines_of(wanted, now_ms=now_ms, version=__version__)

    try:
        yield from asyncio.run(saved())
    except JournalError as error:
        from emulator.cli.state import cannot_keep

        raise cannot_keep(error) from error


async def _to_db(opened: BinaryIO, db: str, *, replace: bool) -> tuple[int, int]:
    from emulator.cli.state import cannot_keep
    from emulator.engine.importing import MAX_LINE_BYTES, StateReader

    emulator = _resting(db)
    reader = StateReader([user.name for user in emulator.settings.users])
    while line := opened.readline(MAX_LINE_BYTES + 1):
        reader.take(line)
    imported = reader.finish()
    try:
        async with emulator.at_rest() as tenants:
            tenants.replace(imported, may_overwrite=replace)
            await tenants.journal.flushed()
    except JournalError as error:
        raise cannot_keep(error) from error
    messages = sum(len(saved.progress) for saved in imported.states.values())
    return messages, emulator.pending


def _resting(db: str) -> Emulator:
    """Make an emulator that only has what a file holds, at the file's instant."""
    from emulator import Emulator

    settings = default_configuration().settings
    return Emulator(
        changed(settings, db=db, clock="virtual", start_time_ms=0, speed=1.0)
    )
