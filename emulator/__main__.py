"""``python -m emulator`` is ``qemu``, and so is the installed command.

The first thing that it does is to let Ctrl-C end it without a word: while the rest is
imported there is nothing that could end otherwise.
"""

from __future__ import annotations

import gc
import signal
import sys
from typing import NoReturn

__all__ = ["main"]

_INTERRUPTED = 130
"""As ``emulator/cli/exit_codes.py`` has it."""


def main() -> NoReturn:
    """Run the command line and end the process."""
    is_heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_heeded:
        signal.signal(signal.SIGINT, lambda *_: sys.exit(_INTERRUPTED))
    gc.disable()  # what imports make stays: a twentieth of the time till then
    from emulator import cli

    gc.enable()
    if is_heeded:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    cli.main()


if __name__ == "__main__":
    main()
