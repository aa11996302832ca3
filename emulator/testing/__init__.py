"""The test kit: an emulator inside a test, whose clock the test turns.

Public names, fetched only when asked for: whoever imports this pays for nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emulator.testing.answers import Answer
    from emulator.testing.endpoints import Endpoint
    from emulator.testing.qemu import Qemu
    from emulator.testing.replays import ReplayedRequest

__all__ = ["Answer", "Endpoint", "Qemu", "ReplayedRequest"]

_HOMES = {
    "Answer": "emulator.testing.answers",
    "Endpoint": "emulator.testing.endpoints",
    "Qemu": "emulator.testing.qemu",
    "ReplayedRequest": "emulator.testing.replays",
}


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
