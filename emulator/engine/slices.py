"""Long work in slices: whoever serves others meanwhile lets them run in between.

Such work is a generator that yields after each slice, and returns its result. What is
looked through may change while it pauses: the generator says what that means.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import TypeAlias, TypeVar

__all__ = ["Sliced", "at_once", "with_pauses"]

T = TypeVar("T")

Sliced: TypeAlias = Generator[None, None, T]


def at_once(work: Sliced[T]) -> T:
    """Do all of it now."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: T = end.value
            return result


async def with_pauses(work: Sliced[T]) -> T:
    """Do a slice in each turn of the event loop."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: T = end.value
            return result
        await asyncio.sleep(0)
