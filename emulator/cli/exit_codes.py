"""How a command ends, and complains: exit codes, errors, warnings, signals.

Every way in which a command of ours can end is a member of ``ExitCode``; the
reference page lists the same ones. Requests to a running emulator are made here,
since whatever keeps one from being answered ends the command. They go directly: no
proxy of the environment is heard, and a target goes out to the letter.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from enum import Enum, IntEnum
from typing import IO, TYPE_CHECKING, Any

import click

from emulator.cli.output import plural, printable

if TYPE_CHECKING:
    from http.client import HTTPResponse

    from emulator.settings import Settings

__all__ = [
    "CliError",
    "ExitCode",
    "Stop",
    "ask_health",
    "call",
    "cannot_listen",
    "configure_logging",
    "give_up_if_broken",
    "heed_signals",
]

_MAX_ANSWER_BYTES = 65_536
"""Of an error's body, or of what a stranger on our port says."""

_TIMEOUT_S = 30.0
"""Longer than the feed's silence: it says at least every 15 s that it is there."""


class ExitCode(IntEnum):
    """What a command's end means to the shell."""

    OK = 0
    """Done, or stopped by the first Ctrl-C or by SIGTERM."""

    FAILURE = 1
    """Anything not listed here; ``qemu doctor`` found a problem."""

    USAGE = 2
    """A bad command line. click's own."""

    SETTINGS = 3
    """A bad value in the settings file or in the environment."""

    ADDRESS_IN_USE = 4
    """Can't listen: the address is taken, forbidden, or not this machine's."""

    INTERRUPTED = 130
    """Stopped at once, by the second Ctrl-C."""


class CliError(click.ClickException):
    """Ends a command: one line of fact, then lines that say what to do."""

    def __init__(
        self, fact: str, *advice: str, code: ExitCode = ExitCode.FAILURE
    ) -> None:
        super().__init__("\n  ".join((fact, *advice)))
        # click declares it for the class; ours differs by error.
        self.exit_code = int(code)  # type: ignore[misc]


class Stop(Enum):
    """Why the emulator stops."""

    INTERRUPT = "Ctrl-C"
    TERMINATE = "SIGTERM"
    HANGUP = "the terminal was closed"
    UNREAD = "nobody reads the output any more"
    ORPHANED = "the parent process has ended"


def configure_logging(verbosity: int, *, quiet: bool) -> None:
    """Print warnings of ours in one line; everything, and in full, with ``-vv``."""
    import logging

    class OneLine(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return f"{record.levelname.lower()}: {printable(record.getMessage())}"

    handler = logging.StreamHandler()
    level = logging.ERROR if quiet else logging.WARNING
    if verbosity >= 2:
        level = logging.DEBUG
        full = "%(asctime)s %(levelname)s %(name)s: %(message)s"
        handler.setFormatter(logging.Formatter(full))
    else:
        handler.setFormatter(OneLine())
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level)


def heed_signals(ask: Callable[[Stop], None]) -> None:
    """Let signals ask for a stop, in the running event loop."""
    import asyncio
    import signal

    loop = asyncio.get_running_loop()
    stops = {"SIGINT": Stop.INTERRUPT, "SIGTERM": Stop.TERMINATE, "SIGHUP": Stop.HANGUP}
    for name, stop in stops.items():
        number = getattr(signal, name, None)
        if number is None:
            continue  # Windows has no SIGHUP
        if stop is Stop.HANGUP and signal.getsignal(number) is signal.SIG_IGN:
            continue  # nohup
        try:
            loop.add_signal_handler(number, ask, stop)
        except NotImplementedError:  # Windows
            signal.signal(
                number, lambda *_, stop=stop: loop.call_soon_threadsafe(ask, stop)
            )


def give_up_if_broken(stream: IO[str] | None) -> None:
    """Keep the interpreter from complaining about a stream that nobody reads."""
    if stream is None:
        return
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def cannot_listen(error: OSError, settings: Settings, command: str) -> CliError:
    """Explain why an address can't be listened on, and say what to do.

    ``command`` is what was typed, such as ``qemu dev``.
    """
    import errno
    import socket

    # The address may be taken on ::1 alone: then the error names it.
    host = str(error.filename or "").rpartition(":")[0] or settings.host
    address = f"{f'[{host}]' if ':' in host else host}:{settings.port}"
    elsewhere = f"start on another port: {command} --port {_next_port(settings.port)}"
    advice = ["Listen on an address of this machine, such as 127.0.0.1."]
    if isinstance(error, socket.gaierror):
        fact = f"unknown host name: {printable(settings.host)}"
    elif error.errno == errno.EADDRINUSE:
        fact = f"address already in use: {address}"
        health = ask_health(f"http://{address}", timeout_s=1.0)
        advice = ["Another program is listening there.", f"Stop it, or {elsewhere}"]
        if health is not None:
            who = f"Another qemu {health['version']} is serving there"
            pending = plural(health["pending"], "message")
            advice = [
                f"{who} ({pending} pending).",
                f"Use it (qemu env), or {elsewhere}",
            ]
    elif error.errno == errno.EADDRNOTAVAIL:
        fact = f"not an address of this machine: {printable(host)}"
    elif error.errno in (errno.EACCES, errno.EPERM):
        fact = f"not allowed to listen on {address}"
        advice = [f"Ports below 1024 need privileges: {command} --port 8080"]
    else:
        fact = f"can't listen on {address}: {error.strerror or error}"
    return CliError(fact, *advice, code=ExitCode.ADDRESS_IN_USE)


def _next_port(port: int) -> int:
    return port + 1 if port < 65535 else 0


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
            return {"version": printable(version[:20]), "pending": pending}
        case _:
            return None


def call(url: str, method: str, target: str, **details: Any) -> HTTPResponse:
    """Call a running emulator's API; ``target`` goes out as it is.

    ``details`` are ``headers``, pairs, and ``body``. Raises ``CliError`` if there is
    no answer or not a good one. The response has to be closed.
    """
    from http.client import HTTPException

    try:
        response = _request(url, method, target, **details)
    except ConnectionRefusedError as error:
        fact = f"nothing is listening at {printable(url)}"
        raise CliError(fact, "Start it: qemu start") from error
    except (OSError, HTTPException, ValueError) as error:
        reason = printable(str(error) or type(error).__name__)
        raise CliError(f"can't call {printable(url)}: {reason}") from error
    if 200 <= response.status < 300:
        return response
    with response:
        reason = _error_text(response.read(_MAX_ANSWER_BYTES))
    advice = ["Give its token: --token"] if response.status == 401 else []
    raise CliError(f"the server refused: {response.status} {reason}", *advice)


def _request(
    url: str,
    method: str,
    target: str,
    *,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
    timeout_s: float = _TIMEOUT_S,
) -> HTTPResponse:
    """Make a request. The response owns its connection, and closes it.

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
        if method == "POST":
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body or None)
        return connection.getresponse()
    except BaseException:
        connection.close()
        raise


def _error_text(body: bytes) -> str:
    import json

    text = body.decode(errors="replace")
    try:
        reason = json.loads(text)["error"]  # ERR-1
    except (ValueError, TypeError, LookupError, RecursionError):
        reason = text
    return printable(str(reason)[:500])
