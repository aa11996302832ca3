"""emulator/engine/slices.py: long work, at once or a slice at a time."""

from __future__ import annotations

import asyncio

from emulator.engine.slices import Sliced, at_once, with_pauses


def work(done: list[int]) -> Sliced[str]:
    for number in range(3):
        done.append(number)
        yield
    return "result"


def test_at_once_there_is_no_pause():
    done: list[int] = []

    assert at_once(work(done)) == "result"
    assert done == [0, 1, 2]


async def test_others_run_between_two_slices():
    done: list[int] = []
    working = asyncio.ensure_future(with_pauses(work(done)))
    seen = []
    while not working.done():
        await asyncio.sleep(0)
        seen.append(len(done))

    assert await working == "result"
    assert seen[:3] == [1, 2, 3]
