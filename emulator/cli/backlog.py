"""A word about deliveries that don't end: an app that hangs shows nothing else.

Looked at every ten seconds, and only while a delivery is under way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from emulator.cli.output import plural
from emulator.cli.remedies import called_host
from emulator.lines import format_wait

if TYPE_CHECKING:
    from emulator.engine.engine import Engine
    from emulator.engine.tenants import Tenants
    from emulator.settings import Settings

__all__ = ["Backlog"]

_LOOK_EVERY_S = 10.0
_SAY_EVERY_S = 60.0

_LONG_MS = 10_000
"""How long a delivery takes that is worth a word."""


class Backlog:
    """Watches the deliveries under way."""

    def __init__(self, tenants: Tenants, settings: Settings) -> None:
        self._tenants = tenants
        self._settings = settings
        self._stirred = asyncio.Event()
        self._said_s: float | None = None

    def stir(self) -> None:
        """Tell that something happened: a delivery may be under way from now on."""
        self._stirred.set()

    async def watch(self, say: Callable[[str], object]) -> None:
        """Say what there is to say, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            while self._tenants.in_flight:
                await asyncio.sleep(_LOOK_EVERY_S)
                text = self.note(loop.time())
                if text:
                    say(text)

    def note(self, now_s: float) -> str:
        """Return what hangs, or nothing; at most once a minute.

        ``now_s`` is the time of whoever reads, in seconds from any instant.
        """
        if self._said_s is not None and now_s - self._said_s < _SAY_EVERY_S:
            return ""
        text = next(filter(None, map(self._describe, self._tenants.engines)), "")
        if text:
            self._said_s = now_s
        return text

    def _describe(self, engine: Engine) -> str:
        oldest = engine.scheduler.oldest_delivery()
        if oldest is None:
            return ""
        message, since_ms = oldest
        lasts_ms = round((engine.now_ms - since_ms) / self._settings.speed)
        waiting = engine.waiting.for_a_slot()
        if waiting is None and lasts_ms <= _LONG_MS:
            return ""
        in_flight = engine.scheduler.in_flight
        text = f"{plural(in_flight, 'delivery')} under way"
        if waiting is not None:
            text += f", all that plan {self._settings.quota} allows"
        if waiting:
            text += f"; {waiting:,} wait"
        _, host = called_host(message.url, self._settings.routes)
        which = "the oldest" if in_flight > 1 else "it"
        wait = format_wait(lasts_ms)
        return f"{text}; {which} has waited {wait} for {host} to answer"
