"""The screen: what ``qemu start`` prints, for people and for programs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import IO, TYPE_CHECKING

from emulator.cli.output import Writer, plural
from emulator.cli.remedies import Remedies
from emulator.cli.streams import Streams, json_line
from emulator.lines import ONLY_VERBOSE, Style, format_line, line_of_entry

if TYPE_CHECKING:
    from emulator.engine.feed import FeedItem, Subscription
    from emulator.settings import Settings

__all__ = ["Screen"]


class Screen(Streams):
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
        super().__init__(
            writer,
            style=style,
            stdout=stdout,
            stderr=stderr,
            json_lines=json_lines,
            quiet=quiet,
        )
        self._verbose = verbose
        self._remedies = Remedies(settings.routes)

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

    def _render_json(self, items: list[FeedItem], dropped: int) -> str:
        from emulator.core import wire

        gap = json_line({"type": "gap", "dropped": dropped}) if dropped else ""
        return gap + "".join(
            json_line({"type": "log", **wire.feed_item(item.user, item.entry)})
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
                lines.append(format_line(line, self.style))
            remedy = self._remedies.remedy(line, hint_for(item.entry))
            if remedy:
                lines.append(remedy)
        return "".join(line + "\n" for line in lines)


def _not_shown(count: int) -> str:
    return f"… {plural(count, 'line')} not shown: the terminal was too slow"
