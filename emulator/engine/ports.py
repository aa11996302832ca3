"""What the engine asks of the world. Nothing else is in this file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

from emulator.core.model import Outcome, Outgoing, SigningKeys
from emulator.core.transition import Transition

if TYPE_CHECKING:
    from emulator.engine.persistence import Horizon, Saved

__all__ = ["Clock", "Entropy", "Journal", "Transport"]


class Clock(Protocol):
    """Time, in Unix milliseconds. Absolute: no relative waits, no drift."""

    def now_ms(self) -> int:
        """Return the present instant."""

    def begin(self, at_ms: int) -> None:
        """Show at least this instant from now on, unless it is the machine's time."""

    async def sleep_until(self, when_ms: int) -> None:
        """Return once ``now_ms()`` has reached ``when_ms``."""


class Entropy(Protocol):
    """Chance."""

    def token_bytes(self, count: int) -> bytes:
        """Return ``count`` bytes that nobody can foretell, or that a seed decides."""

    def stir(self, known: Iterable[str]) -> None:
        """Give no bytes that would make these ids again: another had the same seed."""


class Transport(Protocol):
    """The way to destinations."""

    async def send(self, request: Outgoing) -> Outcome:
        """Make one HTTP call. Never raises for what a destination does.

        Doesn't watch the time: the engine cancels a call that takes too long.
        """

    async def close(self) -> None:
        """Close what is open. No call may be under way."""


class Journal(Protocol):
    """Where state outlives the process.

    What it is given is written in groups, each of them whole or not at all. Until
    then ``is_written`` is false, and nobody outside may hear of it.
    """

    @property
    def is_written(self) -> bool:
        """Whether all is written that was given."""

    def attach(self, user: str, horizon: Callable[[], Horizon]) -> None:
        """Learn whom to ask what of a user's state is forgotten by now."""

    def append(self, user: str, transition: Transition) -> None:
        """Take a transition that is about to be applied.

        New messages are written before any delivery that is started after this call
        takes its first step. Raises ``NotStored``: then nothing may be applied.
        """

    def note_keys(self, user: str, keys: SigningKeys) -> None:
        """Take the keys that a user has by configuration, with those of a rotation."""

    def note_period(self, user: str, key: str, started: int, since_ms: int) -> None:
        """Take how many deliveries have started in a flow-control key's period."""

    def note_today(self, user: str, day: int, messages: int) -> None:
        """Take how many messages a user has published on a day since 1970."""

    def load(self, user: str) -> Saved:
        """Return what is kept of a user. Raises ``JournalError``."""

    def replace(self, states: Mapping[str, Saved]) -> None:
        """Take users' whole states, in place of what they have; all or none.

        Every final message among them is in the log or in the DLQ. Raises
        ``NotStored``: then nothing may be replaced.
        """

    async def flushed(self) -> None:
        """Return once all is written that was given. Raises ``NotStored``.

        To be asked in the very turn of the event loop in which it was given.
        """
