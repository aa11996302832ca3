"""Recordings: exchanges in a file, to be sent again later or in a test.

One JSON object a line, one line for each exchange that has ended, appended as it ends.
The format is described in docs/reference/exchanges.md; ``record.py`` reads it.
Recordings end up in repositories: credentials and the visitor's address are left out
(``exchange_json.py`` says which fields are credentials).

A record is whole, or says that it isn't: bodies beyond ``MAX_RECORDED_BYTES`` are left
out, and what lacks its request's body can't be sent again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache
from io import SEEK_END
from pathlib import Path
from typing import Any

from tunnel.exchange import Exchange
from tunnel.exchange_json import answer_json, request_json
from tunnel.record import MAX_LINE_BYTES, VERSION

__all__ = ["MAX_RECORDED_BYTES", "Recorder", "record_line"]

MAX_RECORDED_BYTES = 16 << 20
"""Of a body. An inspector that records keeps so much of each."""

_ADDRESS = re.compile(
    r"x-forwarded-for|forwarded|x-real-ip|.*(?:client|connecting)-ip", re.IGNORECASE
)
"""Names of fields that say who made the request."""

_encode = json.JSONEncoder(separators=(",", ":")).encode


def record_line(exchange: Exchange) -> bytes:
    """Write an exchange as a line of a recording, its line break included."""
    line = _line(exchange, with_bodies=True)
    if len(line) > MAX_LINE_BYTES:
        line = _line(exchange, with_bodies=False)
    return line


class Recorder:
    """Appends exchanges to a file. Raises ``OSError`` where that can't be opened.

    ``add`` is for ``Inspector.subscribe``. When the disk is full, or anything else is
    wrong with the file, it stops and tells ``on_error``, once.
    """

    def __init__(
        self, path: Path, *, on_error: Callable[[OSError], None] | None = None
    ) -> None:
        self.path = path
        self.count = 0
        """How many exchanges were recorded by this one."""
        self._on_error = on_error
        # Bodies of requests are nobody else's business.
        path.touch(mode=0o600, exist_ok=True)
        is_cut_off = _is_cut_off(path)
        self._file = path.open("ab")
        if is_cut_off:
            # Somebody was stopped in the middle of a line: it stays alone.
            self._file.write(b"\n")

    def add(self, exchange: Exchange) -> None:
        """Record an exchange that has ended, unless it was a replay."""
        if self._file.closed or exchange.replay_of is not None:
            return
        try:
            self._file.write(record_line(exchange))
            # What was recorded survives whatever ends the process.
            self._file.flush()
        except OSError as error:
            self._abandon()
            if self._on_error is not None:
                self._on_error(error)
        else:
            self.count += 1

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _abandon(self) -> None:
        try:
            self._file.close()
        except OSError:
            # The same trouble again, with what was left to write.
            return


def _is_cut_off(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, SEEK_END) == 0:
            return False
        file.seek(-1, SEEK_END)
        return file.read(1) != b"\n"


def _line(exchange: Exchange, *, with_bodies: bool) -> bytes:
    written: dict[str, Any] = {
        "version": VERSION,
        "id": exchange.id,
        "startedAt": exchange.started_ms,
        "durationMs": exchange.duration_ms,
        "url": exchange.url,
        "request": _whole(
            _without_addresses(request_json(exchange, with_body=with_bodies))
        ),
    }
    answer = answer_json(exchange, with_body=with_bodies)
    if answer is not None:
        written["answer"] = _whole(answer)
    if exchange.error is not None:
        written |= {"error": exchange.error, "failedEnd": exchange.failed_end}
    return _encode(written).encode("ascii") + b"\n"


def _without_addresses(request: dict[str, Any]) -> dict[str, Any]:
    fields = [field for field in request["headers"] if not _is_address(field[0])]
    return {**request, "headers": fields}


@lru_cache(maxsize=1024)
def _is_address(name: str) -> bool:
    return _ADDRESS.fullmatch(name) is not None


def _whole(part: dict[str, Any]) -> dict[str, Any]:
    """Leave out what isn't a whole body."""
    if "isTruncated" not in part and ("body" in part or "bodyBase64" in part):
        return part
    kept = {key: part[key] for key in part if key not in ("body", "bodyBase64")}
    return {**kept, "isTruncated": True}
