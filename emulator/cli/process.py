"""The process around an emulator: its signals, its warnings, its broken streams."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import IO, TYPE_CHECKING, Any

from emulator.cli.exit_codes import CliError
from emulator.lines import printable

if TYPE_CHECKING:
    import logging

__all__ = [
    "Stop",
    "cannot_write",
    "collector_paused",
    "configure_logging",
    "give_up_if_broken",
    "heed_reader",
    "heed_signals",
    "is_unwritable",
    "say_descriptors_are_out",
    "spare_the_collector",
    "watch_logger",
]

_NO_ROOM = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)

_NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)

_SAID_EVERY_S = 60.0


class Stop(Enum):
    """Why the emulator stops."""

    INTERRUPT = "Ctrl-C"
    TERMINATE = "SIGTERM"
    HANGUP = "the terminal was closed"
    UNREAD = "nobody reads the output any more"
    ORPHANED = "the parent process has ended"


def configure_logging(verbosity: int, *, quiet: bool) -> None:
    """Print warnings of ours in one line; everything, and in full, with ``-vv``."""
    import logging

    class OneLine(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return f"{record.levelname.lower()}: {printable(record.getMessage())}"

    handler = logging.StreamHandler()
    level = logging.ERROR if quiet else logging.WARNING
    if verbosity >= 2:
        level = logging.DEBUG
        full = "%(asctime)s %(levelname)s %(name)s: %(message)s"
        handler.setFormatter(logging.Formatter(full))
    else:
        handler.setFormatter(OneLine())
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level)


def watch_logger(name: str, note: Callable[[logging.LogRecord], None]) -> None:
    """Have noted what a logger is told from now on, and nobody else told."""
    import logging

    class Noting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            note(record)

    logger = logging.getLogger(name)
    logger.addHandler(Noting())
    logger.setLevel(logging.INFO)
    logger.propagate = False


def heed_signals(ask: Callable[[Stop], None]) -> None:
    """Let signals ask for a stop, in the running event loop."""
    import asyncio
    import signal

    loop = asyncio.get_running_loop()
    stops = {"SIGINT": Stop.INTERRUPT, "SIGTERM": Stop.TERMINATE, "SIGHUP": Stop.HANGUP}
    for name, stop in stops.items():
        number = getattr(signal, name, None)
        if number is None:
            continue  # Windows has no SIGHUP
        if stop is Stop.HANGUP and signal.getsignal(number) is signal.SIG_IGN:
            continue  # nohup
        try:
            loop.add_signal_handler(number, ask, stop)
        except NotImplementedError:  # Windows
            signal.signal(
                number, lambda *_, stop=stop: loop.call_soon_threadsafe(ask, stop)
            )


def heed_reader(stream: IO[str] | None, ask: Callable[[Stop], None]) -> None:
    """Let the end of whoever reads a pipe ask for a stop, in the running event loop.

    Otherwise the next line would, and there may be none for long.
    """
    import asyncio
    import stat

    try:
        number = -1 if stream is None else stream.fileno()
        is_pipe = number >= 0 and stat.S_ISFIFO(os.fstat(number).st_mode)
    except (OSError, ValueError):
        return  # not a file
    if not is_pipe or os.name == "nt":
        return
    loop = asyncio.get_running_loop()

    def gone() -> None:
        loop.remove_reader(number)
        ask(Stop.UNREAD)

    # As in asyncio's own pipes: the writing end gets readable when the other closes.
    is_blocking = os.get_blocking(number)
    loop.add_reader(number, gone)
    # uvloop changes that: what a full pipe doesn't take would be lost, not waited for.
    os.set_blocking(number, is_blocking)


def say_descriptors_are_out() -> None:
    """Let the running event loop say it in our words, and not at every connection.

    It tries again each second to accept those that wait.
    """
    import asyncio
    import logging

    loop = asyncio.get_running_loop()
    said_s: float | None = None

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        nonlocal said_s
        error = context.get("exception")
        if not (isinstance(error, OSError) and error.errno in _NO_DESCRIPTOR):
            loop.default_exception_handler(context)
        elif said_s is None or loop.time() - said_s >= _SAID_EVERY_S:
            said_s = loop.time()
            logging.getLogger(__name__).warning(
                "no file descriptor is left (%s): new connections wait; "
                "close some, or start with a higher limit (ulimit -n)",
                error.strerror,
            )

    loop.set_exception_handler(handle)


@contextmanager
def collector_paused() -> Iterator[None]:
    """Collect no garbage in the block, unless ``spare_the_collector`` ends that.

    To start makes none: what imports make stays.
    """
    import gc

    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def spare_the_collector() -> None:
    """Make garbage collections rare: this process serves, and messages wait in it.

    What has been imported is never looked at again, and the young are looked at when
    there are many. Measured: a quarter of a delivery's processor time, and the longest
    pause with 100,000 messages pending falls from 0.2 s to 0.05 s.
    """
    import gc

    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
    gc.enable()


def is_unwritable(error: OSError) -> bool:
    """Whether a stream takes no more, although somebody may want to read it."""
    return error.errno in _NO_ROOM


def cannot_write(error: OSError) -> CliError:
    """Explain that the output can't be written."""
    return CliError(f"can't write the output: {error.strerror}")


def give_up_if_broken(stream: IO[str] | None) -> None:
    """Keep the interpreter from complaining about a stream that nobody reads."""
    if stream is None:
        return
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
