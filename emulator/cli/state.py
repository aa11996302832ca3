"""Where the state is kept, in words: for the banner, for errors, for ``qemu doctor``.

Reads a journal's file no further than its header, and never opens it as a database.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from emulator.cli.client import ask_health
from emulator.cli.exit_codes import CliError, ExitCode
from emulator.cli.output import plural
from emulator.errors import (
    JournalCorrupt,
    JournalError,
    JournalLocked,
    JournalTooNew,
)
from emulator.lines import printable

if TYPE_CHECKING:
    from emulator.engine.tenants import Counts

__all__ = ["cannot_keep", "describe_file", "describe_state"]

_MAGIC = b"SQLite format 3\0"

_HEADER_BYTES = 100

_HEALTH_TIMEOUT_S = 1.0


def describe_state(path: str | None, counts: Counts | None) -> str:
    """Say where the state is, and what was found there at the start."""
    if path is None:
        return "in memory (--db FILE to keep it)"
    found = []
    if counts is not None and counts.pending:
        found.append(f"{plural(counts.pending, 'message')} pending")
    if counts is not None and counts.dlq:
        found.append(f"{counts.dlq:,} in the DLQ")
    if counts is not None and counts.schedules:
        found.append(plural(counts.schedules, "schedule"))
    return f"{printable(path)}: {', '.join(found) or 'nothing pending'}"


def cannot_keep(error: JournalError) -> CliError:
    """Explain why a journal's file can't be used, and say what to do."""
    path = printable(error.path)
    match error:
        case JournalLocked(url=url) if url:
            advice = [
                f"Use the qemu that runs (qemu env --port {url.rpartition(':')[2]}), "
                "stop it, or keep the state in another file."
            ]
        case JournalLocked():
            advice = ["Stop it, or keep the state in another file: --db OTHER"]
        case JournalTooNew():
            advice = ["Use that qemu, or keep the state in another file: --db OTHER"]
        case JournalCorrupt():
            advice = [
                "The file is left as it is. Move it away to start anew, "
                f"or restore a copy: mv {path} {path}.damaged"
            ]
        case _:
            advice = ["Make it writable, or keep the state elsewhere: --db OTHER"]
    return CliError(printable(str(error)), *advice, code=ExitCode.JOURNAL)


def describe_file(path: str) -> tuple[str, str]:
    """Return what is to be said of a journal's file, and of that what is wrong."""
    file = Path(path)
    try:
        size_bytes = file.stat().st_size
        with file.open("rb") as opened:
            header = opened.read(_HEADER_BYTES)
    except FileNotFoundError:
        if not file.absolute().parent.is_dir():
            return "", "its folder isn't there"
        if not os.access(file.absolute().parent, os.W_OK):
            return "", "its folder isn't writable"
        return "none yet", ""
    except OSError as error:
        return "", error.strerror or str(error)
    if header and not _is_ours(header):
        return "", "not a file of qemu's"
    from emulator.journal.schema import VERSION

    version = int.from_bytes(header[60:64], "big")
    facts = [f"schema {version}"] if header else []
    facts.append(f"{size_bytes / 1e6:.1f} MB")
    if version > VERSION:
        return ", ".join(facts), f"a newer qemu's: this one knows schema {VERSION}"
    if not os.access(file, os.W_OK):
        return ", ".join(facts), "not writable"
    user = _user_of(file)
    facts.append(f"in use by {user}" if user else "writable")
    return ", ".join(facts), ""


def _is_ours(header: bytes) -> bool:
    from emulator.journal.schema import APPLICATION_ID

    application = int.from_bytes(header[68:72], "big")
    return header.startswith(_MAGIC) and application in (0, APPLICATION_ID)


def _user_of(file: Path) -> str:
    """Return the process that uses a file, if it says so and answers."""
    try:
        with Path(f"{file}-lock").open("rb") as lock:
            said = json.loads(lock.read(1_000))
        pid, url = int(said["pid"]), str(said["url"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return ""
    health = ask_health(url, timeout_s=_HEALTH_TIMEOUT_S)
    return f"process {pid} ({printable(url)})" if health is not None else ""
