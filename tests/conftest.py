"""What all tests share: an environment without settings of the machine's owner."""

import os

_COLOR = ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE")

# At import, so that it also holds for fixtures of any scope and for processes.
for _name in list(os.environ):
    # Regions have variables like US_EAST_1_QSTASH_TOKEN (ENV-3).
    if "QSTASH_" in _name or _name.startswith(("QEMU_", "_QEMU_")) or _name in _COLOR:
        del os.environ[_name]
