"""emulator/engine/waiting.py: what messages wait for, in a line each."""

from __future__ import annotations

import asyncio

from emulator import Emulator, Settings
from emulator.engine.engine import Engine
from tests.doubles import T0, Hang, ScriptedTransport, a_publish


def an_engine() -> Engine:
    """The first user's engine of an emulator whose destinations never answer."""
    emulator = Emulator(
        Settings(clock="virtual", start_time_ms=T0, seed=1),
        transport=ScriptedTransport([Hang()]),
    )
    engine = emulator.tenants.engines[0]
    engine.scheduler.start()
    return engine


async def test_each_message_that_waits_has_a_line_the_oldest_first():
    engine = an_engine()
    ids = [
        receipt.message_id
        for (receipt,) in engine.publish([a_publish(), a_publish(delay_ms=60_000)])
    ]
    await asyncio.sleep(0)

    under_way, delayed = engine.waiting.lines()

    url = "http://localhost:3000/api/hook"
    assert under_way == f"{ids[0]} to {url}: its delivery is under way for 0s"
    assert delayed == f"{ids[1]} to {url}: its delivery is due in 1m"


async def test_whoever_is_in_work_is_named_in_the_order_of_their_starts():
    """QUE-14, QUE-11."""
    engine = an_engine()
    engine.queues.upsert("q", parallelism=5, is_paused=False)
    ids = [
        receipt.message_id
        for (receipt,) in engine.publish([a_publish(queue_name="q")] * 6)
    ]
    await asyncio.sleep(0)

    *_, last = engine.waiting.lines()

    assert last.endswith(f"number 6 in queue q, behind {ids[4]}")


async def test_beyond_a_thousand_lines_it_says_how_many_more_there_are():
    engine = an_engine()
    engine.publish([a_publish(delay_ms=1_000)] * 1_500)

    lines = engine.waiting.lines()

    assert len(lines) == 1_001
    assert lines[-1] == "and 500 more"


async def test_whoever_waits_for_a_slot_is_counted_while_all_are_taken():
    """LIM-8: a delayed message doesn't wait for one, nor does a canceled one."""
    engine = an_engine()
    slots = engine.limits.global_parallelism
    assert slots is not None
    engine.publish([a_publish()] * (slots - 1))
    assert engine.waiting.for_a_slot() is None

    receipts = engine.publish([a_publish()] * 4 + [a_publish(delay_ms=60_000)])
    assert engine.waiting.for_a_slot() == 3
    ((last,),) = receipts[3:4]
    engine.cancel(last.message_id)
    assert engine.waiting.for_a_slot() == 2
