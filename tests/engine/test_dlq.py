"""emulator/engine/dlq.py: what a retry may make (contract section 18)."""

from __future__ import annotations

import pytest

from emulator import Emulator, Settings
from emulator.core.filters import DlqQuery
from emulator.core.headers import Overrides
from emulator.core.model import Options, Responded
from emulator.errors import Overloaded, QuotaExceeded
from tests.doubles import T0, ScriptedTransport, a_publish


async def test_a_retry_that_would_make_one_queue_too_many_changes_nothing():
    """QUE-19, LIM-7, QUE-4."""
    emulator = Emulator(
        Settings(clock="virtual", start_time_ms=T0, quota="free", strict=True),
        transport=ScriptedTransport([Responded(500)]),
    )
    engine = emulator.tenants.engines[0]
    engine.scheduler.start()
    engine.publish([a_publish(queue_name="gone", options=Options(retries=0))])
    await emulator.tenants.advance(None)
    engine.queues.delete("gone")
    for number in range(10):
        engine.queues.upsert(f"q{number}", parallelism=1, is_paused=False)
    entries, _ = engine.dlq.list(DlqQuery())

    with pytest.raises(QuotaExceeded) as raised:
        engine.dlq.retry(entries, Overrides())

    assert (raised.value.status, raised.value.quota) == (412, "maxQueues")
    assert list(engine.dlq.list(DlqQuery())[0]) == list(entries)
    assert len(engine.queues.list()) == 10


async def test_a_retry_for_which_there_is_no_room_changes_nothing():
    emulator = Emulator(
        Settings(clock="virtual", start_time_ms=T0, max_pending_bytes=1_000),
        transport=ScriptedTransport([Responded(500)]),
    )
    engine = emulator.tenants.engines[0]
    engine.scheduler.start()
    for _ in range(2):
        engine.publish([a_publish(options=Options(retries=0))])
        await emulator.tenants.advance(None)
    entries, _ = engine.dlq.list(DlqQuery())

    with pytest.raises(Overloaded):
        engine.dlq.retry(entries, Overrides())

    assert list(engine.dlq.list(DlqQuery())[0]) == list(entries)
    assert engine.pending == 0
    assert len(engine.dlq.retry(entries[:1], Overrides())) == 1
