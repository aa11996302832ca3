"""emulator/engine/schedules.py: when schedules fire, and what they remember."""

from __future__ import annotations

from typing import Any

from emulator import Emulator, Settings
from emulator.core.model import Destination, DestinationKind, Endpoint, Options, State
from emulator.engine.engine import Engine
from tests.doubles import T0, ScriptedTransport, a_publish

LAST_MINUTE_MS = 253_402_300_740_000  # 9999-12-31T23:59Z


def an_emulator(start_ms: int = T0, **settings: Any) -> tuple[Emulator, Engine]:
    """An emulator whose clock stands still, and its first user's engine."""
    emulator = Emulator(
        Settings(clock="virtual", start_time_ms=start_ms, seed=1, **settings),
        transport=ScriptedTransport(),
    )
    engine = emulator.tenants.engines[0]
    engine.scheduler.start()
    return emulator, engine


async def test_a_schedule_that_fires_at_the_end_of_the_calendar_fires_once():
    """SCH-30, SCH-31: there is no later match, and it doesn't fire for ever."""
    emulator, engine = an_emulator(LAST_MINUTE_MS - 60_000)
    engine.schedules.put(a_publish(), "59 23 * * *", "s")

    await emulator.tenants.advance(LAST_MINUTE_MS + 600_000)

    schedule = engine.schedules.get("s")
    assert schedule.last_fire_ms == LAST_MINUTE_MS
    assert len(schedule.last_states) == 1
    assert schedule.next_fire_ms > LAST_MINUTE_MS


async def test_a_schedule_remembers_the_messages_of_its_last_firing_only():
    """SCH-27: one that an earlier firing made ends later, and changes nothing."""
    emulator, engine = an_emulator()
    engine.schedules.put(a_publish(delay_ms=90_000), "* * * * *", "s")
    fired_ms = engine.schedules.get("s").next_fire_ms

    await emulator.tenants.advance(fired_ms + 60_000)
    states = engine.schedules.get("s").last_states
    await emulator.tenants.advance(fired_ms + 90_000)

    assert [state for _, state in states] == [None]
    assert engine.schedules.get("s").last_states == states
    await emulator.tenants.advance(fired_ms + 119_999)
    assert engine.pending == 1


async def test_each_message_of_a_firing_has_its_own_final_state():
    """SCH-27, PUB-33."""
    emulator, engine = an_emulator()
    engine.url_groups.upsert_endpoints(
        "g", [Endpoint("http://a.example"), Endpoint("http://b.example")]
    )
    to_group = a_publish(
        destination=Destination(DestinationKind.URL_GROUP, "g"),
        delay_ms=10_000,
        options=Options(),
    )
    engine.schedules.put(to_group, "* * * * *", "s")
    fired_ms = engine.schedules.get("s").next_fire_ms
    await emulator.tenants.advance(fired_ms)
    (first, _), _ = engine.schedules.get("s").last_states

    engine.cancel(first)
    await emulator.tenants.advance(fired_ms + 10_000)

    states = [state for _, state in engine.schedules.get("s").last_states]
    assert states == [State.CANCELLED, State.DELIVERED]
