"""Recordings of ``qemu tunnel --record``, delivered to an app in a test.

What came through a tunnel once comes again: method, path, headers and body, signed
anew with this emulator's keys. It is a call of the app and no message: nothing of it
is in the log, and nothing is retried.

The format is docs/reference/exchanges.md's. It is read here without the tunnel, of
which a test needs nothing else.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from emulator.core import ids
from emulator.core.header_map import pairs
from emulator.core.model import Outgoing, Responded
from emulator.core.signature import sign
from emulator.engine.entropy import SystemEntropy
from emulator.testing.records import excerpt
from emulator.testing.requests import headers_of

if TYPE_CHECKING:
    from emulator.testing.running import RunningEmulator

__all__ = ["Recorded", "ReplayedRequest", "read_recording", "replay_recording"]

_VERSION = 1

_MAX_LINE_BYTES = 64 << 20

_MAX_ANSWER_BYTES = 16 << 20

_REDACTED = "REDACTED"

_OF_CONNECTION = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

_OF_TUNNEL = frozenset({"x-forwarded-host", "x-forwarded-prefix", "x-forwarded-proto"})
"""They say the public URL by which the request came then."""

_SIGNATURE = "upstash-signature"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """An exchange of a recording."""

    id: int

    method: str

    url: str
    """The public URL."""

    target: str
    """Path and query: the end of ``url``."""

    headers: tuple[tuple[str, str], ...]

    body: bytes | None
    """``None``: it wasn't recorded whole."""

    status: int | None
    """What the app answered; ``None``: nothing."""

    answer_body: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedRequest:
    """A request of a recording, sent again, and what was answered."""

    id: int
    """The exchange's number in its tunnel."""

    method: str

    url: str
    """Whom it was sent to and signed for."""

    status: int | None
    """``None``: there was no answer."""

    headers: Mapping[str, str]
    """Of the answer; read in any case."""

    body: bytes = field(repr=False)
    """Of the answer."""

    error: str | None
    """Why there was no answer."""

    recorded_status: int | None
    """What was answered when it was recorded; ``None``: nothing was."""

    recorded_body: bytes | None = field(repr=False)
    """``None``: it wasn't recorded, or not whole."""

    @property
    def text(self) -> str:
        """The answer's body as UTF-8 text."""
        return self.body.decode()

    def json(self) -> Any:
        """Return the answer's body as JSON."""
        return json.loads(self.body)

    def __repr__(self) -> str:
        answer = self.error if self.status is None else self.status
        return f"<{self.method} {self.url} {answer} {excerpt(self.body)}>"


def read_recording(path: str | Path) -> Iterator[Recorded]:
    """Yield what a file has recorded.

    Raises ``OSError``, or ``ValueError``, which names the line.
    """
    with Path(path).open("rb") as file:
        number = 0
        while line := file.readline(_MAX_LINE_BYTES + 1):
            number += 1
            if line.isspace():
                continue
            try:
                recorded = _parse(line)
            except (ValueError, TypeError, LookupError, RecursionError) as error:
                raise ValueError(
                    f"{path}, line {number}: not an exchange that was recorded by "
                    f"qemu tunnel ({error})"
                ) from error
            yield recorded


async def replay_recording(
    running: RunningEmulator,
    path: str | Path,
    to: str | None,
    *,
    timeout_s: float,
) -> list[ReplayedRequest]:
    """Send what a file has recorded, in order, in the emulator's loop.

    Raises what ``read_recording`` raises, and ``ValueError`` for what can't be sent.
    """
    return [
        await _replay(running, recorded, to, timeout_s=timeout_s)
        for recorded in read_recording(path)
    ]


async def _replay(
    running: RunningEmulator, recorded: Recorded, to: str | None, *, timeout_s: float
) -> ReplayedRequest:
    if recorded.body is None:
        raise ValueError(f"exchange {recorded.id}: its body wasn't recorded whole")
    if to is None and not running.mounts.is_mounted(recorded.url):
        # It would go out to the real tunnel.
        raise ValueError(
            f"no app is mounted for {recorded.url}: say whom to send it to, to=…"
        )
    url = recorded.url if to is None else to.rstrip("/") + recorded.target
    request = Outgoing(
        method=recorded.method,
        url=url,
        headers=tuple(_headers(running, recorded, url)),
        body=recorded.body,
        max_response_bytes=_MAX_ANSWER_BYTES,
    )
    outcome = None
    try:
        async with asyncio.timeout(timeout_s):
            outcome = await running.mounts.send(request)
    except TimeoutError:
        error: str | None = f"no answer within {timeout_s:g} s"
    else:
        error = None if isinstance(outcome, Responded) else outcome.error
    response = outcome if isinstance(outcome, Responded) else None
    return ReplayedRequest(
        id=recorded.id,
        method=recorded.method,
        url=url,
        status=None if response is None else response.status,
        headers=headers_of([] if response is None else pairs(response.header)),
        body=b"" if response is None else response.body,
        error=error,
        recorded_status=recorded.status,
        recorded_body=recorded.answer_body,
    )


def _headers(
    running: RunningEmulator, recorded: Recorded, url: str
) -> Iterator[tuple[str, str]]:
    """Yield what goes out: in order, without what belongs to the way it came."""
    is_elsewhere = url != recorded.url
    for name, value in recorded.headers:
        lower = name.lower()
        if lower in _OF_CONNECTION or value == _REDACTED:
            continue
        if is_elsewhere and lower in _OF_TUNNEL:
            continue
        if lower == _SIGNATURE:
            value = sign(
                body=recorded.body or b"",
                url=url,
                key=running.engine.keys.current,
                now_ms=running.stamp.now_ms(),
                jwt_id=ids.jwt_id(SystemEntropy().token_bytes(ids.JWT_ID_BYTES)),
            )
        # One character of a recording is one byte.
        yield name, value.encode("latin-1").decode("utf-8", "surrogateescape")


def _parse(line: bytes) -> Recorded:
    """Read a line. Raises all that can be wrong with one."""
    if len(line) > _MAX_LINE_BYTES:
        raise ValueError(f"longer than {_MAX_LINE_BYTES} bytes")
    written = json.loads(line)
    if written["version"] != _VERSION:
        raise ValueError(f"version {written['version']}, not {_VERSION}")
    request, answer = written["request"], written.get("answer", {})
    url, target, method = written["url"], request["target"], request["method"]
    if not all(isinstance(one, str) for one in (url, target, method)):
        raise TypeError("url, target and method must be texts")
    if urlsplit(url).scheme not in ("http", "https") or not url.endswith(target):
        raise ValueError("url must be one that ends with the target")
    return Recorded(
        id=int(written["id"]),
        method=method,
        url=url,
        target=target,
        headers=tuple((str(name), str(value)) for name, value in request["headers"]),
        body=_body(request),
        status=answer.get("status"),
        answer_body=_body(answer),
    )


def _body(part: Mapping[str, Any]) -> bytes | None:
    if part.get("isTruncated"):
        return None
    if "bodyBase64" in part:
        return b64decode(part["bodyBase64"], validate=True)
    body = part.get("body")
    return None if body is None else body.encode()
