"""Advice beside the log: what to try when a delivery fails."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from emulator.cli.output import plural
from emulator.lines import Line, cut, printable

if TYPE_CHECKING:
    from emulator.core.reroute import Route

__all__ = ["Remedies", "called_host"]

_EVERY_MS = 60_000

_MAX_REMEMBERED = 256
"""How many pieces of advice are remembered."""


def called_host(url: str, routes: tuple[Route, ...]) -> tuple[str, str]:
    """Return where a message's delivery goes: ``http://``, and host with port."""
    from emulator.core.reroute import reroute

    url = reroute(url, routes)
    match = re.match(r"(https?://)(?:[^/?#@]*@)?([^/?#]*)", url, re.IGNORECASE)
    scheme, host = match.groups() if match else ("", url)
    return scheme, cut(printable(host[:200]), 60)


class Remedies:
    """What to try when a destination can't be reached, or refuses a signature.

    Said once for each origin and minute, by the entries' own time; what fails in
    between is counted.
    """

    def __init__(self, routes: tuple[Route, ...] = ()) -> None:
        self._routes = routes
        self._said: dict[tuple[str, str], tuple[int, int]] = {}

    def remedy(self, line: Line, hint: str | None = None) -> str:
        """Return a line to follow this one, or nothing.

        ``hint`` is what the destination's answer suggests.
        """
        if line.state != "ERROR":
            return ""
        host, advice = self._advice(line, hint)
        if not advice:
            return ""
        key = host, advice
        said_ms, more = self._said.get(key, (None, 0))
        if said_ms is not None and line.time_ms - said_ms < _EVERY_MS:
            self._said[key] = (said_ms, more + 1)
            return ""
        self._said.pop(key, None)
        while len(self._said) >= _MAX_REMEMBERED:
            del self._said[next(iter(self._said))]
        self._said[key] = (line.time_ms, 0)
        return f"{'':14}{advice}" + (
            f" ({plural(more, 'more failure')})" if more else ""
        )

    def _advice(self, line: Line, hint: str | None) -> tuple[str, str]:
        """Return the host that a delivery went to, and what to try there."""
        scheme, host = called_host(line.url, self._routes)
        error = line.error or ""
        advice = ""
        if line.status is not None:
            advice = hint or ""
        elif "refused" in error:
            advice = f"{host}: is your app running?"
        elif "resolve" in error:
            route = f"{scheme}{host}=http://127.0.0.1:3000"
            advice = f"no such host; try --route {route}"
        elif "TLS" in error:
            advice = f"{host}: does it speak TLS? If not, publish to http://"
        return host, advice
