"""A recording, sent to an app request by request: what is printed, what is signed.

The other half of ``tunnel_replay.py``. An exchange that can't be sent, or gets no
answer, is told of on stderr, and the next one is sent.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import click

from emulator.cli.exit_codes import CliError
from emulator.lines import cut, format_wait, printable

if TYPE_CHECKING:
    from tunnel.record import Record
    from tunnel.replay import Answer
    from tunnel.replay_request import Edits, Signer

__all__ = ["replay_file", "replay_line"]

_CALL_COLUMNS = 60

_BODY_COLUMNS = 60

_SIGNATURE = "Upstash-Signature"


def replay_file(
    path: Path,
    to: str,
    *,
    ids: Collection[int],
    edits: Edits,
    public_url: str | None,
    as_json: bool,
) -> bool:
    """Send what was recorded, in order; return whether all of it got an answer.

    ``ids`` says which exchanges, if not all. Raises ``CliError`` for what is no
    recording or lacks one of them, and ``SettingsError`` for keys that can't be.
    """
    import asyncio

    from emulator.cli.tunnel_signatures import TunnelSignatures, keys_in_force

    keys, is_published = keys_in_force(os.environ)
    sign = TunnelSignatures(keys).sign
    all_sent, has_said_keys, missing = True, False, set(ids)
    with asyncio.Runner() as runner:
        for record in _records(path):
            if ids and record.id not in ids:
                continue
            missing.discard(record.id)
            if is_published and not has_said_keys and record.header(_SIGNATURE):
                click.echo("signing with the published keys: none are set", err=True)
                has_said_keys = True
            is_sent = runner.run(
                _replay_record(record, to, edits, sign, public_url, as_json=as_json)
            )
            all_sent = all_sent and is_sent
    if missing:
        listed = ", ".join(map(str, sorted(missing)))
        raise CliError(f"{printable(str(path))} has no exchange {listed}")
    return all_sent


def _records(path: Path) -> Iterator[Record]:
    from tunnel.record import RecordRefused, read_recording

    shown = printable(str(path))
    try:
        yield from read_recording(path)
    except OSError as error:
        raise CliError(f"can't read {shown}: {error.strerror}") from error
    except RecordRefused as error:
        raise CliError(f"{shown}, {error}") from error


async def _replay_record(
    record: Record,
    to: str,
    edits: Edits,
    sign: Signer,
    public_url: str | None,
    *,
    as_json: bool,
) -> bool:
    from tunnel.replay import ReplayFailed, send
    from tunnel.replay_request import ReplayRefused, build_request

    given = {name.lower() for name, _ in edits.headers}
    lacking = [name for name in record.redacted if name.lower() not in given]
    if lacking:
        listed = printable(", ".join(dict.fromkeys(lacking)))
        click.echo(
            f"{record.id}: without {listed}, whose value isn't recorded "
            "(give it: -H 'Name: value')",
            err=True,
        )
    method = edits.method or record.method
    started_s = perf_counter()
    try:
        request = build_request(record, edits=edits, sign=sign, public_url=public_url)
        answer = await send(request, to, method=method)
    except (ReplayRefused, ReplayFailed) as error:
        click.echo(f"{record.id}: {printable(str(error))}", err=True)
        return False
    duration_ms = round((perf_counter() - started_s) * 1000)
    target = edits.target or record.target
    if as_json:
        click.echo(_answer_json(record, method, target, answer, duration_ms))
    else:
        body = answer.body[:1000].decode("utf-8", "replace")
        was = record.status
        click.echo(replay_line(method, target, answer.status, duration_ms, was, body))
    return True


def _answer_json(
    record: Record, method: str, target: str, answer: Answer, duration_ms: int
) -> str:
    import json

    from tunnel.exchange_head import fields_of
    from tunnel.exchange_json import body_json, shown_headers

    shown: dict[str, Any] = {
        "type": "replayed",
        "id": record.id,
        "method": method,
        "target": target,
        "recordedStatus": record.status,
        "durationMs": duration_ms,
        "answer": {
            "status": answer.status,
            "headers": shown_headers(fields_of(answer.head)),
            "bytes": len(answer.body),
            **body_json(answer.body),
        },
    }
    return json.dumps({key: value for key, value in shown.items() if value is not None})


def replay_line(
    method: str,
    target: str,
    status: int | None,
    duration_ms: int,
    recorded_status: int | None,
    body: str,
) -> str:
    """Write a replay's line; of an answer that isn't a good one, its body's beginning.

    What was answered then is said where it differs.
    """
    call = cut(printable(f"{method} {target[:400]}"), _CALL_COLUMNS)
    line = f"{call}  {status}  {format_wait(duration_ms)}"
    if recorded_status not in (None, status):
        line += f"  was {recorded_status}"
    if status is None or status >= 400:
        line += f"  {cut(printable(body[:400].strip()), _BODY_COLUMNS)}".rstrip()
    return line
