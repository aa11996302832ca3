"""The test kit: an emulator inside a test, whose clock the test turns."""

from __future__ import annotations

from emulator.testing.qemu import Qemu

__all__ = ["Qemu"]
