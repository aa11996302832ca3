"""The standard streams of a command in the foreground: who reads what.

People read stdout; with ``--json`` programs do, and people read stderr; with
``--quiet`` people read nothing. What is written in a line is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any

from emulator.cli.output import Writer
from emulator.lines import Style, format_time

if TYPE_CHECKING:
    from concurrent.futures import Future

    from emulator.cli.notices import SideLines

__all__ = ["Streams", "json_line"]


class Streams:
    """Prints for people, and with ``--json`` for programs."""

    def __init__(
        self,
        writer: Writer,
        *,
        style: Style,
        stdout: IO[str] | None,
        stderr: IO[str] | None,
        json_lines: bool = False,
        quiet: bool = False,
    ) -> None:
        self._writer = writer
        self.style = style
        people = stderr if json_lines else stdout
        self._people = None if quiet else people
        self._programs = stdout if json_lines else None
        self.json_lines = json_lines

    @property
    def main_stream(self) -> IO[str] | None:
        """Where what happens is written; ``None``: nowhere."""
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
        return self._writer.write(self._programs, lambda: json_line(event))

    def line_beside(self, time_ms: int, text: str, *, color: str = "") -> str:
        """Write a line that isn't a log entry's, with its time where theirs is."""
        time = format_time(time_ms, self.style.zone)
        if not self.style.color:
            return f"{time}  {text}"
        import click

        shown = click.style(text, fg=color) if color else text
        return f"{click.style(time, dim=True)}  {shown}"

    async def follow_lines(self, lines: SideLines) -> None:
        """Print lines beside the log; raise ``OSError`` if nobody reads."""
        import asyncio

        async for some in lines:
            await asyncio.wrap_future(self.say("\n".join(some)))


def json_line(event: Mapping[str, Any]) -> str:
    """Write an event as a line of JSON."""
    import json

    return json.dumps(event, separators=(",", ":")) + "\n"
