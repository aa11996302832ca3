"""Text for the terminal: instants, numbers, colour or not; the thread that writes it.

What others wrote is hostile: it passes ``lines.printable`` on its way out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import IO, TYPE_CHECKING

import click

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = [
    "Writer",
    "format_instant",
    "plural",
    "wants_color",
]


def format_instant(time_ms: int) -> str:
    """Write an instant as ``2027-03-28 00:30:00 UTC``; as ms what no calendar knows."""
    try:
        moment = datetime.fromtimestamp(time_ms // 1000, tz=UTC)
    except (ValueError, OverflowError, OSError):
        return f"{time_ms} ms"
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def plural(count: int, word: str) -> str:
    """Write ``1 message`` or ``1,234 messages``, ``2 deliveries``."""
    if count != 1:
        word = word[:-1] + "ies" if word.endswith("y") else word + "s"
    return f"{count:,} {word}"


def wants_color(
    choice: str, stream: IO[str] | None, environ: Mapping[str, str]
) -> bool:
    """Decide whether to write colour to a stream.

    ``choice`` is ``always``, ``never`` or ``auto``: then ``NO_COLOR``,
    ``FORCE_COLOR`` and ``CLICOLOR_FORCE``, ``TERM=dumb`` are heard in this order,
    and at last whether the stream is a terminal.
    """
    if choice != "auto":
        return choice == "always"
    if environ.get("NO_COLOR"):
        return False
    forced = (environ.get(name, "") for name in ("FORCE_COLOR", "CLICOLOR_FORCE"))
    if any(value not in ("", "0") for value in forced):
        return True
    return environ.get("TERM") != "dumb" and stream is not None and stream.isatty()


class Writer:
    """Writes to the standard streams from a thread of its own, in order."""

    def __init__(self) -> None:
        from queue import SimpleQueue
        from threading import Thread

        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        # A daemon: a write that never ends must not keep the process alive.
        self._thread = Thread(target=self._run, name="terminal", daemon=True)
        self._thread.start()

    def write(self, stream: IO[str] | None, render: Callable[[], str]) -> Future[None]:
        """Write a text, which the thread makes; nowhere if the stream is ``None``.

        The future ends with ``OSError`` when nobody reads the stream any more.
        """
        from concurrent.futures import Future

        future: Future[None] = Future()
        self._jobs.put(partial(_write, stream, render, future))
        return future

    def close(self, timeout_s: float) -> bool:
        """Write what is left; return whether that was possible in time."""
        self._jobs.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


def _write(
    stream: IO[str] | None, render: Callable[[], str], future: Future[None]
) -> None:
    if not future.set_running_or_notify_cancel():
        return  # whoever waited has gone
    try:
        text = render()
        if stream is not None:
            # Colour was decided before: click needn't strip it.
            click.echo(text, file=stream, nl=False, color=True)
    except Exception as error:  # handed on to whoever waits
        future.set_exception(error)
    else:
        future.set_result(None)
