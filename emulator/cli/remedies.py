"""Advice beside the log: what to try when a delivery fails."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from emulator.cli.lines import Line
from emulator.cli.output import cut, plural, printable

if TYPE_CHECKING:
    from emulator.core.reroute import Route

__all__ = ["Remedies"]

_EVERY_MS = 60_000

_MAX_REMEMBERED = 256
"""How many pieces of advice are remembered."""


class Remedies:
    """What to try when a destination can't be reached, or refuses a signature.

    Said once for each origin and minute, by the entries' own time; what fails in
    between is counted.
    """

    def __init__(self, routes: tuple[Route, ...] = ()) -> None:
        self._routes = routes
        self._said: dict[str, tuple[int, int]] = {}

    def remedy(self, line: Line, hint: str | None = None) -> str:
        """Return a line to follow this one, or nothing.

        ``hint`` is what the destination's answer suggests.
        """
        advice = self._advice(line, hint) if line.state == "ERROR" else ""
        if not advice:
            return ""
        said_ms, more = self._said.get(advice, (None, 0))
        if said_ms is not None and line.time_ms - said_ms < _EVERY_MS:
            self._said[advice] = (said_ms, more + 1)
            return ""
        self._said.pop(advice, None)
        while len(self._said) >= _MAX_REMEMBERED:
            del self._said[next(iter(self._said))]
        self._said[advice] = (line.time_ms, 0)
        return f"{'':14}{advice}" + (
            f" ({plural(more, 'more failure')})" if more else ""
        )

    def _advice(self, line: Line, hint: str | None) -> str:
        from emulator.core.reroute import reroute

        url = reroute(line.url, self._routes)
        match = re.match(r"(https?://)(?:[^/?#@]*@)?([^/?#]*)", url, re.IGNORECASE)
        scheme, host = match.groups() if match else ("", url)
        host = cut(printable(host[:200]), 60)
        if line.status is not None:
            return f"{host}: {hint}" if hint else ""
        error = line.error or ""
        if "refused" in error:
            return f"{host}: is your app running?"
        if "resolve" in error:
            route = f"{scheme}{host}=http://127.0.0.1:3000"
            return f"no such host; try --route {route}"
        if "TLS" in error:
            return f"{host}: does it speak TLS? If not, publish to http://"
        return ""
