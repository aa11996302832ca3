"""The journal that engines are given: it writes in groups, and tells when it can't.

What is committed within one turn of the event loop is one transaction, written at the
turn's end; whoever waits with an answer goes on then. What nobody waits for, such as
the end of a delivery, is written a few milliseconds later, together with what comes.

Where the file can't be written (a full disk), nothing of the group is: those who wait
get ``NotStored``, and so does every change from then on, until a trial succeeds. What
the state in memory has to do with it is up to whoever hears ``on_failure``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from emulator.core import records
from emulator.core.model import SigningKeys
from emulator.core.transition import Transition
from emulator.engine.persistence import Horizon, Saved
from emulator.engine.ports import Journal
from emulator.errors import JournalError, NotStored
from emulator.journal.file import JournalFile, WriteError
from emulator.journal.group import Group, Numbers

__all__ = ["SqliteJournal"]

logger = logging.getLogger(__name__)

_PATIENCE_S = 0.005
"""How long what nobody waits for stays unwritten."""

_MOST_UNHEARD = 1_000
"""Transitions that wait for so long; more are written at once."""

_PROBE_EVERY_S = 1.0

_TIDY_EVERY_ENTRIES = 500
"""Of the log."""


class SqliteJournal(Journal):
    """The journal at ``path``.

    ``on_failure`` is called when a group can't be written, ``on_recovery`` when
    writing works again; what the latter raises is taken for another failure.
    """

    def __init__(
        self,
        path: str,
        *,
        on_failure: Callable[[], None],
        on_recovery: Callable[[], None],
    ) -> None:
        self.path = path
        self._file = JournalFile(path)
        self._on_failure = on_failure
        self._on_recovery = on_recovery
        self._horizons: dict[str, Callable[[], Horizon]] = {}
        self._numbers: dict[str, Numbers] = {}
        self._group = Group(self._file.counter)
        self._unheard = 0
        self._entries = 0
        self._waiting: list[asyncio.Future[None]] = []
        self._failure: str | None = None
        self._soon: asyncio.Handle | None = None
        self._later: asyncio.TimerHandle | None = None
        self._probing: asyncio.TimerHandle | None = None

    # Start and end

    def open(self, url: str) -> None:
        """Open the file for who serves at ``url``. Raises ``JournalError``."""
        self._file.open(url)
        self._failure = None
        try:
            if self._file.is_cut:
                self._tell_of_loss()
            self._numbers = {user: self._file.user(user) for user in self._horizons}
        except JournalError:
            self._file.close(None)
            raise
        except WriteError as error:
            self._file.close(None)
            raise JournalError(self.path, f"can't be used: {error.reason}") from error

    def _tell_of_loss(self) -> None:
        last_ms = self.last_instant_ms()
        lost = "all that was written"
        if last_ms:
            last = datetime.fromtimestamp(last_ms / 1000, UTC)
            lost = f"what was written after {last.isoformat(timespec='milliseconds')}"
        logger.error(
            "%s: the end of its write-ahead log is damaged or missing: %s is lost",
            self.path,
            lost,
        )

    @property
    def run(self) -> int:
        """How often the file had been opened before."""
        return self._file.run

    def last_instant_ms(self) -> int:
        """Return the last instant that the file knows of; 0 for a new one."""
        return self._file.last_instant_ms()

    def close(self, now_ms: int | None = None) -> None:
        """Write what is left, note the instant, and let go of the file."""
        self.flush()
        for handle in (self._soon, self._later, self._probing):
            if handle is not None:
                handle.cancel()
        self._file.close(now_ms)

    # The port

    @property
    def is_written(self) -> bool:
        return self._group.is_empty

    @property
    def failure(self) -> str | None:
        """Why nothing is written at present; ``None``: all is well."""
        return self._failure

    def attach(self, user: str, horizon: Callable[[], Horizon]) -> None:
        self._horizons[user] = horizon

    def append(self, user: str, transition: Transition) -> None:
        if transition.reset and self._failure is None:
            self.flush()
        if self._failure is not None:
            raise self._refusal()
        numbers = self._numbers[user]
        if transition.reset:
            self._group.reset(numbers)
        self._entries += len(transition.log)
        if self._group.add(transition, numbers) or self._unheard >= _MOST_UNHEARD:
            # Before any step of a delivery that begins from now on.
            self._flush_soon()
        else:
            self._unheard += 1
            self._flush_later()

    def note_keys(self, user: str, keys: SigningKeys) -> None:
        if self._failure is None:
            value = records.write_keys(keys)
            self._group.note(self._numbers[user], "keys before", value)
            self._flush_later()

    def note_period(self, user: str, key: str, started: int, since_ms: int) -> None:
        if self._failure is None:
            self._group.note_period(self._numbers[user], key, started, since_ms)
            self._flush_later()

    def note_today(self, user: str, day: int, messages: int) -> None:
        if self._failure is None:
            value = records.write_numbers((day, messages))
            self._group.note(self._numbers[user], "today", value)
            self._flush_later()

    def load(self, user: str) -> Saved:
        return self._file.load(self._numbers[user], self._horizons[user]())

    def replace(self, states: Mapping[str, Saved]) -> None:
        if self._failure is None:
            self.flush()
        if self._failure is not None:
            raise self._refusal()
        group = Group(self._file.counter)
        replaced = {}
        for user, saved in states.items():
            replaced[user] = Numbers(self._numbers[user].user)
            group.replace(saved, replaced[user])
        self._group = group
        self._numbers |= replaced
        self._flush_soon()

    async def flushed(self) -> None:
        if self._group.is_empty:
            return
        written = asyncio.get_running_loop().create_future()
        self._waiting.append(written)
        self._flush_soon()
        await written

    # Writing

    def flush(self) -> None:
        """Write what there is, and let go on who waits for it."""
        self._soon = None
        if self._later is not None:
            self._later.cancel()
            self._later = None
        group, self._group = self._group, Group(self._file.counter)
        waiting, self._waiting = self._waiting, []
        self._unheard = 0
        if group.is_empty:
            return
        try:
            self._file.write(group)
        except WriteError as error:
            self._fail(error, waiting)
            return
        for written in waiting:
            if not written.done():
                written.set_result(None)
        if self._entries >= _TIDY_EVERY_ENTRIES:
            self._entries = 0
            for user, horizon in self._horizons.items():
                self._file.tidy(self._numbers[user], horizon())

    def _flush_soon(self) -> None:
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_soon(self.flush)

    def _flush_later(self) -> None:
        if self._soon is None and self._later is None:
            loop = asyncio.get_running_loop()
            self._later = loop.call_later(_PATIENCE_S, self.flush)

    def _fail(self, error: WriteError, waiting: list[asyncio.Future[None]]) -> None:
        self._failure = error.reason
        logger.warning("%s can't be written: %s", self.path, error.reason)
        for written in waiting:
            if not written.done():
                written.set_exception(self._refusal())
        self._on_failure()
        self._probe_later()

    def _refusal(self) -> NotStored:
        return NotStored(self.path, self._failure or "")

    def _probe_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._probing = loop.call_later(_PROBE_EVERY_S, self.probe)

    def probe(self) -> None:
        """After a failure: go on if writing works again."""
        try:
            self._file.probe()
            self._failure = None
            self._on_recovery()
        except (WriteError, JournalError) as error:
            self._failure = error.reason
            self._probe_later()
        else:
            logger.warning("%s can be written again", self.path)
