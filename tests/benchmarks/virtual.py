"""How fast a virtual clock turns, in the form of the other measurements."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import bench_virtual_time
from report import Metric, Plan


def measure_virtual(plan: Plan) -> Iterator[Metric]:
    """Events per second without HTTP, against a heap; with, against a bare loop."""
    without, posts = asyncio.run(_rounds(plan.rounds))
    title = "events of a virtual clock"
    yield Metric(title, "per second", "heap", without, ">= 0.3")
    yield Metric(f"{title}, a POST each", "per second", "bare loop", posts, ">= 1.2")


async def _rounds(
    count: int,
) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    bench = bench_virtual_time
    without: list[tuple[float, float]] = []
    posts: list[tuple[float, float]] = []
    for _ in range(count):
        heap = await bench.heap_rate()
        without.append((await bench.virtual_rate(), heap))
        bare = await bench.posts_rate(bare=True)
        posts.append((await bench.posts_rate(bare=False), bare))
    return without, posts
