"""Chance: from the system, or from a seed that makes a run repeatable."""

from __future__ import annotations

import os
import random

from emulator.engine.ports import Entropy

__all__ = ["SeededEntropy", "SystemEntropy"]


class SystemEntropy(Entropy):
    """Bytes that nobody can foretell."""

    def token_bytes(self, count: int) -> bytes:
        return os.urandom(count)


class SeededEntropy(Entropy):
    """The same bytes for the same seed, in the order of asking. Not secret."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def token_bytes(self, count: int) -> bytes:
        return self._random.randbytes(count)
