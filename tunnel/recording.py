"""Recordings: exchanges in a file, to be sent again later or in a test.

One JSON object a line, one line for each exchange that has ended, appended as it ends.
The format is described in docs/reference/exchanges.md, so that others can read it.
Recordings end up in repositories: credentials and the visitor's address are left out
(``exchange_json.py`` says which fields are credentials).

A record is whole, or says that it isn't: bodies beyond ``MAX_RECORDED_BYTES`` are left
out, and what lacks its request's body can't be sent again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from io import SEEK_END
from pathlib import Path
from typing import Any

from tunnel.errors import TunnelError
from tunnel.exchange import Exchange
from tunnel.exchange_json import REDACTED, answer_json, parse_body, request_json

__all__ = [
    "MAX_RECORDED_BYTES",
    "VERSION",
    "Record",
    "RecordRefused",
    "Recorder",
    "parse_record",
    "read_recording",
    "record_line",
    "record_of",
]

VERSION = 1
"""Of the format. Readers refuse a newer one."""

MAX_RECORDED_BYTES = 16 << 20
"""Of a body. An inspector that records keeps so much of each."""

_MAX_LINE_BYTES = 64 << 20
"""Room for two bodies in base64."""

_encode = json.JSONEncoder(separators=(",", ":")).encode

_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_TARGET = re.compile(r"(?:/[!-~\x80-\xff]{0,65535}|\*)")
_URL = re.compile(r"https?://[!-~\x80-\xff]{1,65535}")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_ADDRESS = re.compile(
    r"x-forwarded-for|forwarded|x-real-ip|.*(?:client|connecting)-ip", re.IGNORECASE
)
"""Names of fields that say who made the request."""

_VALUE = re.compile(r"[\t -~\x80-\xff]*")


class RecordRefused(TunnelError):
    """What should be a record isn't one; ``line`` counts from 1, 0 if unknown."""

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(reason, line)
        self.reason = reason
        self.line = line

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}" if self.line else self.reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """An exchange that can be sent again, and what was answered then."""

    id: int

    started_ms: int

    url: str
    """The public URL."""

    method: str

    target: str
    """Path and query, to the letter: the end of ``url``."""

    headers: tuple[tuple[str, str], ...]
    """In order, with their case; one character is one byte."""

    body: bytes | None
    """``None``: it wasn't recorded whole."""

    status: int | None
    """What was answered; ``None``: nothing was."""

    answer_headers: tuple[tuple[str, str], ...] = ()

    answer_body: bytes | None = None
    """``None``: there was no answer, or it wasn't recorded whole."""

    @property
    def public_url_prefix(self) -> str:
        """What stands before the target in the public URL."""
        return self.url.removesuffix(self.target)

    def header(self, name: str) -> str | None:
        """Return the first field of a name, in any case."""
        wanted = name.lower()
        return next(
            (value for name, value in self.headers if name.lower() == wanted), None
        )

    @property
    def redacted(self) -> tuple[str, ...]:
        """The fields of the request whose values weren't recorded."""
        return tuple(name for name, value in self.headers if value == REDACTED)


def record_of(exchange: Exchange) -> Record:
    """Return an exchange as a record, with its credentials: not for a file."""
    return Record(
        id=exchange.id,
        started_ms=exchange.started_ms,
        url=exchange.url,
        method=exchange.method,
        target=exchange.target,
        headers=tuple(exchange.request_headers),
        body=exchange.request_body if exchange.is_request_whole else None,
        status=exchange.status,
        answer_headers=tuple(exchange.answer_headers),
        answer_body=exchange.answer_body if exchange.is_answer_whole else None,
    )


def record_line(exchange: Exchange) -> bytes:
    """Write an exchange as a line of a recording, its line break included."""
    line = _line(exchange, with_bodies=True)
    if len(line) > _MAX_LINE_BYTES:
        line = _line(exchange, with_bodies=False)
    return line


def parse_record(line: bytes) -> Record:
    """Read a line of a recording. Raises ``RecordRefused``."""
    try:
        written = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RecordRefused("it isn't JSON") from error
    match written:
        case {"version": 1, "url": str(url), "request": dict(request)}:
            return _record(written, url, request)
        case {"version": int(version)} if version > VERSION:
            raise RecordRefused(
                f"its format is version {version}, and this qemu reads {VERSION}: "
                "use a newer one"
            )
    raise RecordRefused("it isn't a record: version, url or request is missing")


def read_recording(path: Path) -> Iterator[Record]:
    """Yield the records of a file. Raises ``OSError``, or ``RecordRefused``."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(_MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > _MAX_LINE_BYTES:
                raise RecordRefused(
                    f"it is longer than {_MAX_LINE_BYTES} bytes", number
                )
            if line.isspace():
                continue
            try:
                record = parse_record(line)
            except RecordRefused as error:
                raise RecordRefused(error.reason, number) from error
            yield record


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
        return file.seek(0, SEEK_END) > 0 and (
            file.seek(-1, SEEK_END) >= 0 and file.read(1) != b"\n"
        )


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


def _record(written: Mapping[str, Any], url: str, request: Mapping[str, Any]) -> Record:
    method, target = request.get("method"), request.get("target")
    if not isinstance(method, str) or not _METHOD.fullmatch(method):
        raise RecordRefused("request.method isn't a method of HTTP")
    if not isinstance(target, str) or not _TARGET.fullmatch(target):
        raise RecordRefused("request.target isn't a path")
    if not _URL.fullmatch(url) or not url.endswith(target):
        raise RecordRefused("url isn't one that ends with request.target")
    answer = written.get("answer", {})
    if not isinstance(answer, dict):
        raise RecordRefused("answer isn't an object")
    status = answer.get("status")
    if status is not None and not (type(status) is int and 100 <= status <= 999):
        raise RecordRefused("answer.status isn't a status of HTTP")
    return Record(
        id=_whole_number(written, "id"),
        started_ms=_whole_number(written, "startedAt"),
        url=url,
        method=method,
        target=target,
        headers=_headers(request, "request"),
        body=_body(request, "request"),
        status=status,
        answer_headers=_headers(answer, "answer"),
        answer_body=_body(answer, "answer"),
    )


def _whole_number(written: Mapping[str, Any], key: str) -> int:
    value = written.get(key, 0)
    if type(value) is not int or not 0 <= value < 2**53:
        raise RecordRefused(f"{key} isn't a whole number")
    return value


def _headers(part: Mapping[str, Any], name: str) -> tuple[tuple[str, str], ...]:
    fields = part.get("headers", [])
    if not isinstance(fields, list):
        raise RecordRefused(f"{name}.headers isn't a list")
    for field in fields:
        match field:
            case [str(key), str(value)] if _NAME.fullmatch(key) and _VALUE.fullmatch(
                value
            ):
                pass
            case _:
                raise RecordRefused(f"{name}.headers has what is no [name, value]")
    return tuple((key, value) for key, value in fields)


def _body(part: Mapping[str, Any], name: str) -> bytes | None:
    if part.get("isTruncated"):
        return None
    try:
        return parse_body(part)
    except ValueError as error:
        raise RecordRefused(f"{name}: {error}") from error
