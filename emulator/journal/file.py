"""The journal's file: opened, checked, written in whole groups, read at the start.

The only file that imports sqlite3, whose errors don't leave it. Write-ahead log,
``synchronous=NORMAL``: the end of a process loses nothing that was written, that of the
machine may lose the last moments, and neither leaves anything half-written.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from emulator.core import records
from emulator.engine.persistence import Horizon, Saved
from emulator.errors import JournalCorrupt, JournalError, JournalTooNew
from emulator.journal import schema, wal
from emulator.journal.group import Counter, Group, Numbers, checksum, fact
from emulator.journal.loading import Loading
from emulator.journal.lock import Lock

__all__ = ["JournalFile", "WriteError"]

_BUSY_S = 0.25
"""How long another program may hold the file: the event loop stands still meanwhile."""

_CHECKPOINT_PAGES = 4_000
"""How long the write-ahead log gets before it is taken over: 16 MB."""

_WORTH_VACUUMING_PAGES = 4_000
"""Free pages; and at least as many as used ones."""

_TIDIED_ROWS = 2_000
"""Of the log, at a time."""

_DAMAGES = (sqlite3.Error, UnicodeDecodeError)
"""What reading a file raises; the latter where an error quotes a damaged name."""

_OF_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)

_FINAL_STATES = "('DELIVERED', 'FAILED', 'CANCELED')"


class WriteError(Exception):
    """A group couldn't be written, and nothing of it was. ``reason`` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class JournalFile:
    """One file. ``path`` is as errors name it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._file = Path(path).absolute()
        self._lock = Lock(self._file, path)
        self._connection: sqlite3.Connection | None = None
        self.counter = Counter()
        self.run = 0
        """How often the file had been opened before."""
        self._users: dict[str, int] = {}
        self.is_cut = False
        """Whether the end of what was written is missing."""

    def open(self, url: str) -> None:
        """Lock the file for who serves at ``url``, check it, make it if there is none.

        Raises ``JournalError``: then the file is as it was.
        """
        if self._file.is_dir() or not self._file.parent.is_dir():
            what = "a folder" if self._file.is_dir() else "in a folder that isn't there"
            raise JournalError(self.path, f"can't be opened: it is {what}")
        self._lock.acquire(url)
        try:
            left = self._left()
            self._connect()
            self._prepare(left)
        except _DAMAGES as error:
            self._let_go()
            raise self._translated(error) from error
        except BaseException:
            self._let_go()
            raise

    def _left(self) -> wal.Extent:
        """Return what a killed process left in the write-ahead log."""
        if not self._file.exists():
            return wal.NOTHING  # it was removed, to begin anew
        left = wal.left_extent(self._file)
        if left.frames and not self._file.stat().st_size:
            raise JournalCorrupt(self.path, "empty, and its write-ahead log isn't")
        return left

    def _connect(self) -> None:
        try:
            # Messages are nobody else's business.
            os.close(os.open(self._file, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            reason = f"can't be opened: {error.strerror or error}"
            raise JournalError(self.path, reason) from error
        self._connection = sqlite3.connect(
            self._file, timeout=_BUSY_S, isolation_level=None, cached_statements=256
        )

    def _prepare(self, left: wal.Extent) -> None:
        (application,) = self._row("PRAGMA application_id")
        (version,) = self._row("PRAGMA user_version")
        (tables,) = self._row("SELECT count(*) FROM sqlite_master")
        is_new = application == version == tables == 0
        if not is_new and application != schema.APPLICATION_ID:
            raise JournalCorrupt(self.path, "the SQLite database of another program")
        if version > schema.VERSION:
            raise JournalTooNew(self.path, version, schema.VERSION)
        if not is_new and version < schema.VERSION:
            raise JournalCorrupt(self.path, f"schema {version} never was")
        if not is_new:
            # Not the quick one: it doesn't hold an index against its table. Those
            # that may be long have none.
            (verdict,) = self._row("PRAGMA integrity_check(1)")
            if verdict != "ok":
                raise JournalCorrupt(self.path, str(verdict).replace("\n", ": "))
        found = wal.found_extent(self._file)
        self.is_cut = found.frames < left.frames
        if 0 < found.frames < left.taken_over:
            # Its pages are older than those of the file.
            raise JournalCorrupt(self.path, "its write-ahead log doesn't fit it")
        if is_new:
            self._create()  # not in the write-ahead log: the file says whose it is
        self._execute("PRAGMA journal_mode = WAL")
        self._execute("PRAGMA synchronous = NORMAL")
        self._execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        # Or it stays as large as one body, or a smaller file, has made it.
        self._execute(f"PRAGMA journal_size_limit = {_CHECKPOINT_PAGES * 4096}")
        self._compact()
        (last,) = self._row("SELECT max(number) FROM messages")
        self.counter.next = (last or 0) + 1
        (runs,) = self._row("SELECT value FROM facts WHERE user = 0 AND name = 'runs'")
        if not re.fullmatch("[0-9]{1,15}", str(runs or 0)):
            raise JournalCorrupt(self.path, "how often it was opened isn't a number")
        self.run = int(runs or 0)
        self._verify_facts()
        self._read_users()
        self._execute(schema.PUT_FACT, *fact(0, "runs", str(self.run + 1)))

    def _verify_facts(self) -> None:
        """Check all facts: those of no user are read by nobody who does."""
        for row in self._db.execute("SELECT user, name, value, checksum FROM facts"):
            if row != fact(*row[:3]):
                what = f"the fact {row[1]}: it isn't what was written"
                raise JournalCorrupt(self.path, what)

    def _read_users(self) -> None:
        """Read who has a number: who lost it would begin with nothing."""
        for row in self._db.execute("SELECT number, name, checksum FROM users"):
            number, name, _ = row
            if not isinstance(name, str) or row != _user(number, name):
                what = f"user {number}: it isn't what was written"
                raise JournalCorrupt(self.path, what)
            self._users[name] = number
        for table in schema.OF_USERS:
            # Nobody would read it, and so nobody check it.
            (strange,) = self._row(
                f"SELECT user FROM {table} WHERE user NOT IN "
                "(SELECT number FROM users) AND (user <> 0 OR ?) LIMIT 1",
                table != "facts",
            )
            if strange is not None:
                what = f"{table} of user {strange}, who isn't there"
                raise JournalCorrupt(self.path, what)

    def _create(self) -> None:
        script = (
            f"BEGIN IMMEDIATE; {schema.TABLES}"
            f"PRAGMA application_id = {schema.APPLICATION_ID};"
            f"PRAGMA user_version = {schema.VERSION}; COMMIT;"
        )
        self._db.executescript(script)

    def _compact(self) -> None:
        """Give back to the disk what is mostly empty."""
        (pages,) = self._row("PRAGMA page_count")
        (free,) = self._row("PRAGMA freelist_count")
        if free >= _WORTH_VACUUMING_PAGES and free * 2 >= pages:
            with suppress(sqlite3.OperationalError):  # no room for a copy: no matter
                self._execute("VACUUM")

    def user(self, name: str) -> Numbers:
        """Return how the rows of a user are numbered. Raises ``WriteError``."""
        try:
            if name not in self._users:
                number = max(self._users.values(), default=0) + 1
                self._execute(schema.INSERT_USER, *_user(number, name))
                self._users[name] = number
        except _DAMAGES as error:
            raise WriteError(str(error)) from error
        return Numbers(self._users[name])

    def last_instant_ms(self) -> int:
        """Return the last instant that the file knows of; 0 for a new one.

        Raises ``JournalError``.
        """
        query = (
            "SELECT max(at) FROM (SELECT max(time_ms) AS at FROM log "
            "UNION ALL SELECT max(created_at_ms) FROM messages "
            "UNION ALL SELECT CAST(max(value) AS INTEGER) FROM facts "
            "WHERE name = 'clock')"
        )
        try:
            (last_ms,) = self._row(query)
        except _DAMAGES as error:
            raise self._translated(error) from error
        return last_ms if isinstance(last_ms, int) and 0 <= last_ms < 2**53 else 0

    def load(self, numbers: Numbers, horizon: Horizon) -> Saved:
        """Read what is kept of a user, and number on from there.

        Raises ``JournalError``.
        """
        try:
            self._execute("BEGIN")
            try:
                loading = Loading(self._db, numbers.user, horizon)
                saved = loading.read()
            finally:
                self._execute("ROLLBACK")
        except _DAMAGES as error:
            raise self._translated(error) from error
        except ValueError as error:
            raise JournalCorrupt(self.path, str(error)) from error
        numbers.messages = loading.pending_numbers
        numbers.first_sequence = loading.first_sequence
        numbers.next_sequence = loading.next_sequence
        return saved

    def write(self, group: Group) -> None:
        """Write a group, whole. Raises ``WriteError``: then nothing was written."""
        db = self._db
        try:
            db.execute("BEGIN IMMEDIATE")
            for user in group.resets:
                for statement in schema.RESET:
                    db.execute(statement, (user,))
            if group.messages:
                db.executemany(schema.INSERT_MESSAGE, group.messages.values())
            if group.moves:
                db.executemany(schema.MOVE_MESSAGE, group.moves.values())
            if group.log:
                db.executemany(schema.INSERT_LOG, group.log)
            for statement, row in group.statements:
                db.execute(statement, row)
            db.executemany(schema.PUT_RESOURCE["schedules"], group.schedules)
            if group.periods:
                db.executemany(schema.PUT_PERIOD, group.periods.values())
            db.execute("COMMIT")
        except (sqlite3.Error, OverflowError, UnicodeError) as error:
            self._roll_back()
            raise WriteError(str(error)) from error

    def probe(self) -> None:
        """Try whether writing works. Raises ``WriteError``."""
        try:
            self._execute("BEGIN IMMEDIATE")
            # As large as a group usually is.
            self._execute(schema.PUT_FACT, *fact(0, "probe", "x" * 65_536))
            self._execute("COMMIT")
            self._execute("DELETE FROM facts WHERE user = 0 AND name = 'probe'")
        except sqlite3.Error as error:
            self._roll_back()
            raise WriteError(str(error)) from error

    def tidy(self, numbers: Numbers, horizon: Horizon) -> None:
        """Remove a bounded part of what is forgotten. Nothing is lost if it fails."""
        try:
            self._execute("BEGIN IMMEDIATE")
            first = self._tidy(numbers, horizon)
            self._execute("COMMIT")
        except sqlite3.Error:
            self._roll_back()
        else:
            numbers.first_sequence = first

    def _tidy(self, numbers: Numbers, horizon: Horizon) -> int:
        user, first = numbers.user, numbers.first_sequence
        until = max(first, min(horizon.first_log_sequence, first + _TIDIED_ROWS))
        # A message that can still be read is still shown by the log.
        (graced,) = self._row(
            "SELECT min(sequence) FROM log WHERE user = ? AND sequence >= ? "
            f"AND sequence < ? AND time_ms > ? AND state IN {_FINAL_STATES}",
            *(user, first, until, horizon.grace_from_ms),
        )
        until = until if graced is None else graced
        if until > first:
            self._execute(
                "DELETE FROM messages WHERE number IN (SELECT message FROM log "
                "WHERE user = ? AND sequence >= ? AND sequence < ? "
                f"AND state IN {_FINAL_STATES}) "
                "AND NOT EXISTS (SELECT 1 FROM dlq WHERE message = messages.number)",
                *(user, first, until),
            )
            self._execute(
                "DELETE FROM log WHERE user = ? AND sequence < ?", user, until
            )
            self._execute(schema.PUT_FACT, *fact(user, "log begins", str(until)))
        oldest = self._db.execute(
            "SELECT id, failed_at_ms FROM dlq WHERE user = ? ORDER BY sequence LIMIT ?",
            (user, _TIDIED_ROWS),
        ).fetchall()
        for dlq_id, failed_at_ms in oldest:
            if failed_at_ms > horizon.dlq_from_ms:
                break
            self._execute(schema.DELETE_GARBAGE_OF_DLQ, user, dlq_id, until)
            self._execute(schema.DELETE_DLQ, user, dlq_id)
        self._execute(
            "DELETE FROM windows WHERE user = ? AND until_ms <= ?", user, horizon.now_ms
        )
        return until

    def close(self, now_ms: int | None) -> None:
        """Note the instant, take over the write-ahead log, and let go of the file."""
        if self._connection is not None and now_ms is not None:
            with suppress(sqlite3.Error):
                self._execute(schema.PUT_FACT, *fact(0, "clock", str(now_ms)))
        self._let_go()

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()
        self._lock.release()

    @property
    def _db(self) -> sqlite3.Connection:
        if self._connection is None:
            raise sqlite3.ProgrammingError("the file isn't open")
        return self._connection

    def _execute(self, statement: str, *values: Any) -> None:
        self._db.execute(statement, values)

    def _row(self, statement: str, *values: Any) -> tuple[Any, ...]:
        rows: Iterable[tuple[Any, ...]] = self._db.execute(statement, values)
        return next(iter(rows), (None,))

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):
            if self._db.in_transaction:
                self._execute("ROLLBACK")

    def _translated(self, error: Exception) -> JournalError:
        """Say whether the file is damaged, or can't be used for another reason."""
        text = " ".join(str(error).split())
        # Texts that aren't UTF-8 come without a code.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        if code in _OF_DAMAGE:
            return JournalCorrupt(self.path, text)
        return JournalError(self.path, f"can't be used: {text}")


def _user(number: int, name: str) -> tuple[int, str, int]:
    """Return the row of a user."""
    return number, name, checksum((number, records.write_name(name)))
