"""What ``qemu tunnel`` prints: the facts, then a line for each request.

Requests are printed as the inspector hears of them, those that are sent again too; what
happens to the link, as the tunnel tells it. Neither ever waits for a terminal.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from emulator.cli.settings_file import file_of, shown_path
from emulator.cli.tunnel_lines import (
    event_json,
    exchange_line,
    exchange_lines,
    format_connected,
    format_facts,
    format_local_away,
    format_lost,
    format_round_trip,
    format_trying,
)
from emulator.lines import printable

if TYPE_CHECKING:
    from emulator.cli.event_screen import EventScreen
    from tunnel.events import Connected, TunnelEvent
    from tunnel.exchange import Exchange
    from tunnel.settings import TunnelSettings

__all__ = ["TunnelDisplay", "now_ms"]

_REMIND_MS = 60_000
"""How often a relay that can't be reached, for the same reason, is worth a line."""


class TunnelDisplay:
    """What is printed of a tunnel.

    ``facts`` stand above the lines, below the public address.
    """

    def __init__(
        self,
        ctx: click.Context,
        make_screen: Callable[..., EventScreen],
        settings: TunnelSettings,
        facts: dict[str, str],
        options: Mapping[str, Any],
    ) -> None:
        from tunnel.events import Exchanged

        self._exchanged = Exchanged  # asked for with every request
        self.facts = facts
        self.inspect_url = ""
        self.screen = make_screen(line=self._line, event=self._event, what="request")
        self._write = exchange_lines if options["verbose"] else exchange_line
        self._file = file_of(ctx)
        self._settings = settings
        self._reason = ""
        self._said_ms = 0

    def note(self, event: TunnelEvent) -> None:
        """Take in what happens to the link."""
        if type(event) is self._exchanged:
            return  # the inspector has told it
        from tunnel.events import Connected

        if isinstance(event, Connected) and not event.is_again:
            self._announce(event)
        else:
            self.screen.put((now_ms(), event))

    def record_failed(self, error: OSError) -> None:
        """Say that nothing is recorded any more."""
        reason = error.strerror or str(error)
        text = f"recording has stopped: {reason}"
        self.screen.say(self.screen.line_beside(now_ms(), text, color="red"))

    def _announce(self, event: Connected) -> None:
        settings = self._settings
        facts = [("Public", printable(event.url)), ("Local", self.facts.pop("Local"))]
        round_trip = format_round_trip(event.round_trip_ms)
        facts.append(("Relay", f"{printable(event.relay)}, {round_trip}"))
        facts += self.facts.items()
        if self._file is not None:
            facts.append(("Config", printable(shown_path(self._file.path))))
        if _is_token_in_clear(settings):
            reason = "the token travels unencrypted: use wss:// if the relay has it"
            facts.append(("Beware", reason))
        self.screen.say(f"\n{format_facts(facts)}\n")
        self.screen.tell(
            type="ready",
            url=event.url,
            local=settings.local_url,
            relay=settings.relay,
            inspect=self.inspect_url,
            pid=os.getpid(),
        )

    def _event(self, item: Exchange | tuple[int, TunnelEvent]) -> dict[str, Any]:
        if isinstance(item, tuple):
            return event_json(item[1])
        return {"type": "exchange", **item.to_json()}

    def _line(self, item: Exchange | tuple[int, TunnelEvent]) -> str:
        screen = self.screen
        if not isinstance(item, tuple):
            if screen.json_lines:
                return ""
            return self._write(item, screen.style)
        from tunnel.events import Connected, LocalAway, LocalBack, Lost, Trying

        time_ms, event = item
        if isinstance(event, Connected):
            self._reason = ""
            text, color = format_connected(event), "green"
        elif isinstance(event, Lost):
            text, color = format_lost(event), "yellow"
        elif isinstance(event, LocalAway):
            text, color = format_local_away(event), "yellow"
        elif isinstance(event, LocalBack):
            text, color = "local is back", "green"
        else:
            assert isinstance(event, Trying)
            is_known = event.reason == self._reason
            if is_known and time_ms - self._said_ms < _REMIND_MS:
                return ""
            self._reason, self._said_ms = event.reason, time_ms
            text, color = format_trying(event), "yellow"
        return screen.line_beside(time_ms, text, color=color)


def _is_token_in_clear(settings: TunnelSettings) -> bool:
    from ipaddress import ip_address

    parts = urlsplit(settings.relay)
    host = parts.hostname or ""
    if settings.token is None or parts.scheme == "wss":
        return False
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return host != "localhost" and not host.endswith(".localhost")


def now_ms() -> int:
    """Return the present instant in Unix milliseconds."""
    return time.time_ns() // 1_000_000
