"""``python -m emulator`` is ``qemu``."""

from emulator.cli import main

main()
