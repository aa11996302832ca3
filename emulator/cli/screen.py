"""The screen: what ``qemu start`` prints, for people and for programs."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from functools import partial
from typing import IO, TYPE_CHECKING, Any

from emulator.cli.output import Writer, plural
from emulator.cli.remedies import Remedies
from emulator.lines import Style, format_line, line_of_entry

if TYPE_CHECKING:
    from concurrent.futures import Future

    from emulator.engine.feed import FeedItem, Subscription
    from emulator.settings import Settings

__all__ = ["RequestLines", "Screen"]

_MAX_REQUESTS = 1_000
"""How many lines about requests wait for a terminal that doesn't read."""

_INDENT = " " * 14
"""As wide as the time of a log entry: requests have none."""


class RequestLines:
    """Lines about requests that wait to be printed: the newest, if there are many.

    Iterate over it for lists of lines.
    """

    def __init__(self) -> None:
        import asyncio

        self._lines: deque[str] = deque()
        self._dropped = 0
        self._is_closed = False
        self._arrived = asyncio.Event()

    def put(self, line: str) -> None:
        """Take a line in."""
        if len(self._lines) >= _MAX_REQUESTS:
            self._lines.popleft()
            self._dropped += 1
        self._lines.append(line)
        self._arrived.set()

    def close(self) -> None:
        """End the iteration when all has been printed."""
        self._is_closed = True
        self._arrived.set()

    def __aiter__(self) -> AsyncIterator[list[str]]:
        return self

    async def __anext__(self) -> list[str]:
        while not self._lines:
            if self._is_closed:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        lines = [_not_shown(self._dropped)] if self._dropped else []
        lines += self._lines
        self._lines.clear()
        self._dropped = 0
        return lines


class Screen:
    """What ``qemu start`` prints: for people, and with ``--json`` for programs."""

    def __init__(
        self,
        writer: Writer,
        settings: Settings,
        *,
        style: Style,
        stdout: IO[str] | None,
        stderr: IO[str] | None,
        json_lines: bool = False,
        quiet: bool = False,
        verbose: bool = False,
    ) -> None:
        self._writer = writer
        self._style = style
        people = stderr if json_lines else stdout
        self._people = None if quiet else people
        self._programs = stdout if json_lines else None
        self.json_lines = json_lines
        self._verbose = verbose
        self._remedies = Remedies(settings.routes)

    @property
    def main_stream(self) -> IO[str] | None:
        """Where log entries go; ``None``: nowhere."""
        return self._programs or self._people

    @property
    def is_terminal(self) -> bool:
        """Whether people read at a terminal."""
        return self._people is not None and self._people.isatty()

    def say(self, text: str) -> Future[None]:
        """Print a line for people."""
        return self._writer.write(self._people, lambda: text + "\n")

    def tell(self, **event: Any) -> Future[None]:
        """Print a line for programs."""
        return self._writer.write(self._programs, lambda: _json(event))

    async def follow(self, subscription: Subscription) -> None:
        """Print log entries until the feed ends; raise ``OSError`` if nobody reads."""
        import asyncio

        async for items in subscription:
            dropped = subscription.take_dropped()
            for stream, render in (
                (self._programs, self._render_json),
                (self._people, self._render_lines),
            ):
                if stream is not None:
                    job = self._writer.write(stream, partial(render, items, dropped))
                    await asyncio.wrap_future(job)

    async def follow_requests(self, requests: RequestLines) -> None:
        """Print lines about requests; raise ``OSError`` if nobody reads."""
        import asyncio

        async for lines in requests:
            text = "\n".join(_INDENT + line for line in lines)
            await asyncio.wrap_future(self.say(text))

    def _render_json(self, items: list[FeedItem], dropped: int) -> str:
        from emulator.core import wire

        gap = _json({"type": "gap", "dropped": dropped}) if dropped else ""
        return gap + "".join(
            _json({"type": "log", **wire.feed_item(item.user, item.entry)})
            for item in items
        )

    def _render_lines(self, items: list[FeedItem], dropped: int) -> str:
        from emulator.core.hints import hint_for

        lines = []
        if dropped:
            lines.append(_not_shown(dropped))
        for item in items:
            line = line_of_entry(item.entry)
            if not self.json_lines and (line.state != "ACTIVE" or self._verbose):
                lines.append(format_line(line, self._style))
            remedy = self._remedies.remedy(line, hint_for(item.entry))
            if remedy:
                lines.append(remedy)
        return "".join(line + "\n" for line in lines)


def _not_shown(count: int) -> str:
    return f"… {plural(count, 'line')} not shown: the terminal was too slow"


def _json(event: dict[str, Any]) -> str:
    import json

    return json.dumps(event, separators=(",", ":")) + "\n"
