"""Queues: what an upsert and a pause make of one (contract section 14).

In which order messages are delivered isn't decided here: ``engine/queue_lines.py``.
"""

from __future__ import annotations

from dataclasses import replace

from emulator.core.resources import Queue

__all__ = ["new_queue", "set_paused", "upsert"]


def new_queue(name: str, *, now_ms: int) -> Queue:
    """Make a queue as an enqueue makes it on the fly (ENQ-2)."""
    return Queue(name=name, created_at_ms=now_ms, updated_at_ms=now_ms)


def upsert(
    queue: Queue | None,
    name: str,
    *,
    parallelism: int | None,
    is_paused: bool | None,
    now_ms: int,
) -> Queue:
    """Create or change a queue (QUE-2).

    Without ``parallelism`` it is 1, also for a queue that exists; without
    ``is_paused`` that stays as it is.
    """
    before = queue or new_queue(name, now_ms=now_ms)
    return replace(
        before,
        updated_at_ms=now_ms,
        parallelism=1 if parallelism is None else parallelism,
        is_paused=before.is_paused if is_paused is None else is_paused,
    )


def set_paused(queue: Queue, is_paused: bool, *, now_ms: int) -> Queue:
    """Pause or resume a queue (QUE-9); both count as an update (QUE-1)."""
    return replace(queue, is_paused=is_paused, updated_at_ms=now_ms)
