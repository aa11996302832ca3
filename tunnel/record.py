"""A record: an exchange as a recording has it, read from a file that may be hostile.

The format is described in docs/reference/exchanges.md. What is read here is sent to an
app, so each part is checked for being what HTTP allows. ``recording.py`` writes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunnel.errors import TunnelError
from tunnel.exchange import Exchange
from tunnel.exchange_json import REDACTED, parse_body

__all__ = [
    "MAX_LINE_BYTES",
    "VERSION",
    "Record",
    "RecordRefused",
    "parse_record",
    "read_recording",
    "record_of",
]

VERSION = 1
"""Of the format. A newer one is refused."""

MAX_LINE_BYTES = 64 << 20
"""Of a line of a recording: room for two bodies of 16 MiB in base64."""

_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_TARGET = re.compile(r"(?:/[!-~\x80-\xff]{0,65535}|\*)")
_URL = re.compile(r"https?://[!-~\x80-\xff]{1,65535}")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
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
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise RecordRefused(f"it is longer than {MAX_LINE_BYTES} bytes", number)
            if line.isspace():
                continue
            try:
                record = parse_record(line)
            except RecordRefused as error:
                raise RecordRefused(error.reason, number) from error
            yield record


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
