"""Chance: from the system, or from a seed that makes a run repeatable."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from hashlib import sha256

from emulator.engine.ports import Entropy

__all__ = ["SeededEntropy", "SystemEntropy"]


_POOL_BYTES = 4096


class SystemEntropy(Entropy):
    """Bytes that nobody can foretell.

    The system is asked for many at once, as each asking costs more than an id's making.
    None is given out twice, unless a process that has one is forked.
    """

    def __init__(self) -> None:
        self._pool = b""
        self._used = 0

    def token_bytes(self, count: int) -> bytes:
        start = self._used
        end = start + count
        if end > len(self._pool):
            self._pool = os.urandom(max(_POOL_BYTES, count))
            start, end = 0, count
        self._used = end
        return self._pool[start:end]

    def stir(self, known: Iterable[str]) -> None:
        pass  # nobody else has these bytes


class SeededEntropy(Entropy):
    """The same bytes for the same seed, in the order of asking. Not secret."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._random = random.Random(seed)

    def begin(self, run: int) -> None:
        """Give other bytes than in the runs before, counted from 0."""
        if run:
            self._random = random.Random(f"{self._seed} {run}")

    def stir(self, known: Iterable[str]) -> None:
        text = "\n".join(known).encode(errors="surrogatepass")
        digest = sha256(text).hexdigest()
        self._random = random.Random(f"{self._random.random()} {digest}")

    def token_bytes(self, count: int) -> bytes:
        return self._random.randbytes(count)
