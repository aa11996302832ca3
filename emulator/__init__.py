"""qemu: a local QStash. Public names, fetched only when asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emulator.emulator import Emulator
    from emulator.engine.clock import VirtualClock
    from emulator.settings import Settings
    from emulator.verification import explain

__all__ = ["Emulator", "Settings", "VirtualClock", "__version__", "explain"]

__version__ = "0.1.0"
"""Also in ``pyproject.toml``: asking the installed distribution takes 6 ms."""

_HOMES = {
    "Emulator": "emulator.emulator",
    "Settings": "emulator.settings",
    "VirtualClock": "emulator.engine.clock",
    "explain": "emulator.verification",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
