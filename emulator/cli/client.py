"""Calls to a running emulator, and what becomes of those that fail.

They go directly: no proxy of the environment is heard, and a target goes out to the
letter.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from emulator.cli.exit_codes import CliError
from emulator.lines import printable

if TYPE_CHECKING:
    from http.client import HTTPResponse

__all__ = ["Refused", "Server", "ask_health", "call"]

_MAX_ANSWER_BYTES = 65_536
"""Of an error's body, or of what a stranger on our port says."""

_TIMEOUT_S = 30.0
"""Longer than the feed's silence: it says at least every 15 s that it is there."""


class Refused(CliError):
    """The server has answered, and it wasn't a good answer."""

    def __init__(self, status: int, reason: str, *advice: str) -> None:
        super().__init__(f"the server refused: {status} {reason}", *advice)
        self.status = status
        self.reason = reason


class Server(NamedTuple):
    """Whom to call, and as whom."""

    url: str

    token: str

    token_source: str
    """Where the token was written."""

    def call(
        self,
        method: str,
        target: str,
        *,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> HTTPResponse:
        """Call with the token. Raises ``CliError``, as ``call`` does."""
        headers = [("Authorization", f"Bearer {self.token}"), *headers]
        try:
            return call(self.url, method, target, headers=headers, body=body)
        except Refused as error:
            if error.status != 401:
                raise
            advice = f"The token is {self.token_source}. Give another: --token"
            raise Refused(error.status, error.reason, advice) from error


def ask_health(url: str, *, timeout_s: float) -> dict[str, Any] | None:
    """Return what an emulator says of itself; ``None`` unless one answers."""
    import json
    from http.client import HTTPException

    try:
        with _request(url, "GET", "/_qemu/health", timeout_s=timeout_s) as response:
            answer = json.loads(response.read(_MAX_ANSWER_BYTES))
    except (OSError, HTTPException, ValueError, RecursionError):
        return None
    match answer:
        case {"version": str(version), "pending": int(pending)}:
            return {
                "version": printable(version[:20]),
                "pending": pending,
                "startedAt": answer.get("startedAt"),
            }
        case _:
            return None


def call(
    url: str,
    method: str,
    target: str,
    *,
    start_command: str = "qemu start",
    **details: Any,
) -> HTTPResponse:
    """Call a running emulator's API, or a tunnel's; ``target`` goes out as it is.

    ``details`` are ``headers``, pairs, ``body``, bytes or a file, and ``timeout_s``.
    Raises ``Refused`` for an answer that isn't a good one, and ``CliError`` if there is
    none: then ``start_command`` is the advice. The response has to be closed.
    """
    from http.client import HTTPException

    try:
        response = _request(url, method, target, **details)
    except ConnectionRefusedError as error:
        fact = f"nothing is listening at {printable(url)}"
        raise CliError(fact, f"Start it: {start_command}") from error
    except (OSError, HTTPException, ValueError) as error:
        reason = printable(str(error) or type(error).__name__)
        raise CliError(f"can't call {printable(url)}: {reason}") from error
    if 200 <= response.status < 300:
        return response
    with response:
        reason = _error_text(response.read(_MAX_ANSWER_BYTES))
    raise Refused(response.status, reason)


def _request(
    url: str,
    method: str,
    target: str,
    *,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes | BinaryIO = b"",
    timeout_s: float = _TIMEOUT_S,
) -> HTTPResponse:
    """Make a request; a body may be a file. The response owns its connection, and
    closes it.

    Raises ``OSError``, ``HTTPException``, or ``ValueError`` for what can't be sent.
    """
    from http.client import HTTPConnection, HTTPSConnection
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("the server's URL must start with http:// or https://")
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=timeout_s)
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        connection.putheader("Connection", "close")
        for name, value in headers:
            connection.putheader(name, value.encode())
        if method in ("POST", "PUT"):
            connection.putheader("Content-Length", str(_length_of(body)))
        connection.endheaders(body or None)
        return connection.getresponse()
    except BaseException:
        connection.close()
        raise


def _length_of(body: bytes | BinaryIO) -> int:
    if isinstance(body, bytes):
        return len(body)
    length = body.seek(0, os.SEEK_END)
    body.seek(0)
    return length


def _error_text(body: bytes) -> str:
    import json

    text = body.decode(errors="replace")
    try:
        reason = json.loads(text)["error"]  # ERR-1
    except (ValueError, TypeError, LookupError, RecursionError):
        reason = text
    return printable(str(reason)[:500])
