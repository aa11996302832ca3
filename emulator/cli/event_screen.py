"""The screen of ``qemu tunnel`` and ``qemu relay``: what happens, as it happens.

Whoever carries the traffic only ``put``s: no text is made then, and nothing waits. The
texts are made in batches, one a turn of the event loop at most, and written by a thread
while the loop goes on. What comes faster than it can be written, or read, is counted
instead: a line says how many, where they are missing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import IO, Any

from emulator.cli.output import Writer, plural
from emulator.cli.streams import Streams, json_line
from emulator.lines import Style

__all__ = ["EventScreen"]

_BATCH = 250
"""Made into text at once: some milliseconds."""

_MOST_FOR_PEOPLE = 250
_MOST_FOR_PROGRAMS = 10_000

_PAUSE_S = 0.05
"""Between two batches for people. Nobody reads 5,000 lines a second."""


class _Gap:
    """Stands where something wasn't kept."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 1


class EventScreen(Streams):
    """Prints whatever is ``put``: as a ``line`` for people, as an ``event`` in JSON.

    A line that is empty isn't printed. ``what`` is what is put, in one word.
    """

    def __init__(
        self,
        writer: Writer,
        *,
        line: Callable[[Any], str],
        event: Callable[[Any], Mapping[str, Any]],
        what: str,
        style: Style,
        stdout: IO[str] | None,
        stderr: IO[str] | None,
        json_lines: bool = False,
        quiet: bool = False,
    ) -> None:
        super().__init__(
            writer,
            style=style,
            stdout=stdout,
            stderr=stderr,
            json_lines=json_lines,
            quiet=quiet,
        )
        self._line = line
        self._event = event
        self._what = what
        self._most = _MOST_FOR_PROGRAMS if json_lines else _MOST_FOR_PEOPLE
        self._pause_s = 0.0 if json_lines else _PAUSE_S
        self._waiting: deque[Any] = deque()
        self._arrived = asyncio.Event()
        self._closed = asyncio.Event()

    def put(self, item: object) -> None:
        """Take in what happened, or count it. Costs next to nothing."""
        waiting = self._waiting
        if len(waiting) < self._most:
            waiting.append(item)
        elif type(waiting[-1]) is _Gap:
            waiting[-1].count += 1
        else:
            waiting.append(_Gap())
        if len(waiting) == 1:
            self._arrived.set()

    def close(self) -> None:
        """End ``follow`` when all has been printed."""
        self._closed.set()
        self._arrived.set()

    async def follow(self) -> None:
        """Print what is put until ``close``; raise ``OSError`` if nobody reads."""
        while True:
            await self._arrived.wait()
            while self._waiting:
                await self._print(self._batch())
                await self._pause()
            if self._closed.is_set():
                return
            self._arrived.clear()

    def _batch(self) -> list[Any]:
        waiting = self._waiting
        return [waiting.popleft() for _ in range(min(len(waiting), _BATCH))]

    async def _print(self, items: list[Any]) -> None:
        for stream, render in (
            (self._programs, self._json_of),
            (self._people, self._line_of),
        ):
            text = "" if stream is None else "".join(map(render, items))
            if text:
                job = self._writer.write(stream, text.__str__)
                await asyncio.wrap_future(job)

    async def _pause(self) -> None:
        if not self._pause_s:
            await asyncio.sleep(0)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(self._pause_s):
                await self._closed.wait()

    def _line_of(self, item: Any) -> str:
        if type(item) is _Gap:
            many = plural(item.count, self._what)
            return f"… {many} not shown: more than the terminal can take\n"
        line = self._line(item)
        return f"{line}\n" if line else ""

    def _json_of(self, item: Any) -> str:
        if type(item) is _Gap:
            return json_line({"type": "gap", "dropped": item.count})
        return json_line(self._event(item))
