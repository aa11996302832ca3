"""Lines beside the log: requests, refused calls, headers without effect.

The web layer logs them; here they wait for a terminal that may be slow, and a caller
that repeats its mistake a thousand times a second doesn't drown the log.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from emulator.cli.output import plural
from emulator.lines import cut, printable

if TYPE_CHECKING:
    import logging

__all__ = ["SideLines", "Warnings"]

_MAX_WARNINGS = 10
"""How many are printed each second."""

_COLUMNS = 200
"""A warning says what is wrong: it may be longer than a line of the log."""

_EVERY_MS = 60_000

_TOKEN_REMEDY = "the app's QSTASH_TOKEN isn't one of this server's: see qemu env"


class SideLines:
    """Lines that wait to be printed: the first of them, and how many more there were.

    Iterate over it for lists of lines; a list comes ``pause_s`` after the one before
    at the earliest. ``rest`` says what became of those that it leaves out.
    """

    def __init__(
        self,
        *,
        most: int = 1_000,
        pause_s: float = 0.0,
        rest: tuple[str, str] = ("line", "not shown: the terminal was too slow"),
    ) -> None:
        import asyncio

        self._most = most
        self._pause_s = pause_s
        self._rest = rest
        self._lines: list[str] = []
        self._left_out = 0
        self._is_first = True
        self._closed = asyncio.Event()
        self._arrived = asyncio.Event()

    def put(self, line: str) -> None:
        """Take a line in."""
        if len(self._lines) < self._most:
            self._lines.append(line)
        else:
            self._left_out += 1
        self._arrived.set()

    def close(self) -> None:
        """End the iteration when all has been printed."""
        self._closed.set()
        self._arrived.set()

    def __aiter__(self) -> AsyncIterator[list[str]]:
        return self

    async def __anext__(self) -> list[str]:
        if self._pause_s and not self._is_first:
            await self._pause()
        self._is_first = False
        while not self._lines:
            if self._closed.is_set():
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        lines, self._lines = self._lines, []
        if self._left_out:
            word, rest = self._rest
            lines.append(f"… {plural(self._left_out, word)} {rest}")
            self._left_out = 0
        return lines

    async def _pause(self) -> None:
        import asyncio
        from contextlib import suppress

        with suppress(TimeoutError):
            async with asyncio.timeout(self._pause_s):
                await self._closed.wait()


class Warnings:
    """What a caller may have overlooked: refused calls, and headers without effect.

    ``write`` makes a line of an instant (Unix ms) and a text, ``now_ms`` tells it.
    """

    def __init__(
        self, write: Callable[[int, str], str], now_ms: Callable[[], int]
    ) -> None:
        self.lines = SideLines(
            most=_MAX_WARNINGS, pause_s=1.0, rest=("more warning", "not shown")
        )
        self._write = write
        self._now_ms = now_ms
        self._remedied_ms: int | None = None

    def note(self, record: logging.LogRecord) -> None:
        """Take in what the web layer logged."""
        now_ms = self._now_ms()
        text = cut(printable(record.getMessage()[:2_000]), _COLUMNS)
        line = self._write(now_ms, text)
        if getattr(record, "status", 0) == 401 and self._is_remedy_due(now_ms):
            self._remedied_ms = now_ms
            line += f"\n{'':14}{_TOKEN_REMEDY}"
        self.lines.put(line)

    def _is_remedy_due(self, now_ms: int) -> bool:
        return self._remedied_ms is None or now_ms - self._remedied_ms >= _EVERY_MS
