"""The screen: what ``qemu start`` prints, for people and for programs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import IO, TYPE_CHECKING, Any

from emulator.cli.notices import SideLines
from emulator.cli.output import Writer, plural
from emulator.cli.remedies import Remedies
from emulator.lines import (
    ONLY_VERBOSE,
    Style,
    format_line,
    format_time,
    line_of_entry,
)

if TYPE_CHECKING:
    from concurrent.futures import Future

    from emulator.engine.feed import FeedItem, Subscription
    from emulator.settings import Settings

__all__ = ["Screen"]


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
    def is_quiet(self) -> bool:
        """Whether people are told nothing."""
        return self._people is None

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

    def line_beside(self, time_ms: int, text: str, *, color: str = "") -> str:
        """Write a line that isn't a log entry's, with its time where theirs is."""
        time = format_time(time_ms, self._style.zone)
        if not self._style.color:
            return f"{time}  {text}"
        import click

        shown = click.style(text, fg=color) if color else text
        return f"{click.style(time, dim=True)}  {shown}"

    async def follow(
        self, subscription: Subscription, stir: Callable[[], None] = lambda: None
    ) -> None:
        """Print log entries until the feed ends; raise ``OSError`` if nobody reads.

        ``stir`` is called whenever there are some.
        """
        import asyncio

        async for items in subscription:
            stir()
            dropped = subscription.take_dropped()
            for stream, render in (
                (self._programs, self._render_json),
                (self._people, self._render_lines),
            ):
                if stream is not None:
                    job = self._writer.write(stream, partial(render, items, dropped))
                    await asyncio.wrap_future(job)

    async def follow_lines(self, lines: SideLines) -> None:
        """Print lines beside the log; raise ``OSError`` if nobody reads."""
        import asyncio

        async for some in lines:
            await asyncio.wrap_future(self.say("\n".join(some)))

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
            is_shown = self._verbose or line.state not in ONLY_VERBOSE
            if is_shown and not self.json_lines:
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
