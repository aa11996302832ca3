"""The lock: one process at a time uses a journal, and the next one learns which.

A file beside the journal's, locked by the operating system as long as its process
lives: what a killed process leaves behind locks nobody out. SQLite's own locks would
keep out people who want to read, too.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path

from emulator.errors import JournalError, JournalLocked

__all__ = ["Lock"]

_MAX_BYTES = 1_000
"""Of what a lock file says."""

if sys.platform == "win32":
    import msvcrt

    # Beyond the text: Windows lets nobody read what is locked.
    _FAR = 1 << 30

    def _try(descriptor: int) -> None:
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)

else:
    import fcntl

    def _try(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


class Lock:
    """The lock of the journal at ``path``, which errors call ``shown``."""

    def __init__(self, path: Path, shown: str) -> None:
        self._path = path.with_name(path.name + "-lock")
        self._shown = shown
        self._descriptor: int | None = None

    def acquire(self, url: str) -> None:
        """Take the lock, and say in it who does and where that process serves.

        Raises ``JournalLocked``, or ``JournalError`` where no file can be made.
        """
        while True:
            try:
                descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            except OSError as error:
                reason = f"can't be locked: {error.strerror or error}"
                raise JournalError(self._shown, reason) from error
            try:
                _try(descriptor)
            except OSError as error:
                pid, holder = _read(descriptor)
                os.close(descriptor)
                raise JournalLocked(self._shown, pid, holder) from error
            if self._is_there(descriptor):
                break
            os.close(descriptor)  # the last holder has just removed it
        self._descriptor = descriptor
        text = json.dumps({"pid": os.getpid(), "url": url}).encode()
        # On a full disk the lock holds all the same; it only says less.
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, text)

    def release(self) -> None:
        """Give the lock back, and remove its file."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        with suppress(OSError):
            if sys.platform != "win32":  # there, an open file can't be removed
                self._path.unlink()
        os.close(descriptor)

    def _is_there(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self._path))
        except OSError:
            return False


def _read(descriptor: int) -> tuple[int | None, str]:
    """Return what a lock file says: a process, and where it serves."""
    try:
        found = json.loads(os.read(descriptor, _MAX_BYTES))
        return int(found["pid"]), str(found["url"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None, ""
