"""Kill qemu again and again under load, and check that nothing is lost.

    python tests/benchmarks/soak_crash.py [--kills 50] [--minutes M] [--seed N]

The load, the destination, the books and the checks are those of the crash test
(tests/system/crash). Ends with 1 if anything was wrong, and says what. The seed chooses
how and when it is killed and what the load does; the machine's timing is its own.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from random import Random, SystemRandom

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.system.crash.checks import repeats
from tests.system.crash.life import HOWS, Story, story

_HEAD = (
    "   run  how         load s  start ms  "
    "acknowledged  delivered  again  db MB  wal MB"
)

_LOAD_S = (0.1, 2.5)
"""The shortest and the longest life."""


async def soak(folder: Path, *, seed: int, kills: int, minutes: float) -> list[str]:
    """Kill so often, and for so long; return what was wrong."""
    chance = Random(f"{seed} lives")
    begin_s = time.time()
    print(_HEAD)
    async with story(folder, seed) as told:
        await told.live_on("load", _LOAD_S)
        while _kills(told) < kills or time.time() - begin_s < minutes * 60:
            how = chance.choices(list(HOWS), list(HOWS.values()))[0]
            await told.live(how, _LOAD_S)
            _show(told)
        print("letting everything come to its end …", flush=True)
        wrong = await told.finish()
        _show(told)
        books = told.books
        print(
            f"{_kills(told)} kills of {len(told.runs)} runs in "
            f"{time.time() - begin_s:.0f} s; {books.calls} calls, "
            f"{books.unanswered} unanswered; {len(books.owners)} messages "
            f"acknowledged, {len(books.cancels)} cancelled, "
            f"{len(books.failed)} in the DLQ; {len(told.target.arrivals)} deliveries, "
            f"{repeats(told.target.arrivals)} of them made again"
        )
    return wrong


def _kills(told: Story) -> int:
    return sum(run.how not in ("stop", "finish") for run in told.runs)


def _show(told: Story) -> None:
    run = told.runs[-1]
    ready_s = run.ready_s or run.killed_s
    db_mb, wal_mb = told.sizes_mb()
    start_ms = "-" if run.ready_s is None else f"{(ready_s - run.started_s) * 1e3:.0f}"
    print(
        f"{len(told.runs) - 1:6}  {run.how:<10}  {run.killed_s - ready_s:6.2f}  "
        f"{start_ms:>8}  {len(told.books.owners):12}  {len(told.target.arrivals):9}  "
        f"{repeats(told.target.arrivals):5}  {db_mb:5.1f}  {wal_mb:6.1f}",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50, help="at least so many; 50")
    parser.add_argument("--minutes", type=float, default=0, help="and for so long")
    parser.add_argument("--seed", type=int, help="of a run that is to be repeated")
    arguments = parser.parse_args()
    seed = arguments.seed
    if seed is None:
        seed = SystemRandom().randrange(2**32)
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        wrong = asyncio.run(
            soak(
                Path(folder),
                seed=seed,
                kills=arguments.kills,
                minutes=arguments.minutes,
            )
        )
    for line in wrong[:50]:
        print(f"WRONG: {line}")
    print(f"{len(wrong)} complaints" if wrong else "nothing was lost")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
