"""A word about deliveries that don't end."""

import asyncio

import pytest

from emulator import Emulator, Settings
from emulator.cli import backlog as backlog_module
from emulator.cli.backlog import Backlog
from emulator.core.model import FlowControl, Options
from emulator.core.reroute import Route
from tests.doubles import T0, Hang, ScriptedTransport, a_publish


def an_emulator(**settings):
    """An emulator at T0 whose destinations never answer."""
    fields = {"clock": "virtual", "start_time_ms": T0, "seed": 1}
    emulator = Emulator(
        Settings(**(fields | settings)), transport=ScriptedTransport([Hang()])
    )
    for engine in emulator.tenants.engines:
        engine.scheduler.start()
    return emulator, Backlog(emulator.tenants, emulator.settings)


def publish(emulator, count=1, user=0, **changes):
    emulator.tenants.engines[user].publish([a_publish(**changes)] * count)


def free_slots(emulator):
    """LIM-8: how many deliveries the plan allows at once."""
    parallelism = emulator.settings.limits.global_parallelism
    assert parallelism is not None
    return parallelism


async def after(emulator, wait_ms):
    """Turn the clock while the deliveries hang."""
    await emulator.tenants.advance(T0 + wait_ms, grace_s=0)


async def test_nothing_under_way_is_nothing_to_say():
    _, backlog = an_emulator()

    assert backlog.note(0) == ""


async def test_a_delivery_that_is_under_way_for_long_is_named():
    emulator, backlog = an_emulator()
    publish(emulator)
    await after(emulator, 10_000)
    assert backlog.note(0) == ""

    await after(emulator, 40_000)
    assert backlog.note(0) == (
        "1 delivery under way; it has waited 40 s for localhost:3000 to answer"
    )


async def test_of_several_the_oldest_is_named_by_where_it_really_goes():
    route = Route("https://app.example", "http://127.0.0.1:3300")
    emulator, backlog = an_emulator(routes=(route,))
    publish(emulator, url="https://me:secret@app.example/hook")
    await after(emulator, 20_000)
    publish(emulator)
    await after(emulator, 40_000)

    assert backlog.note(0) == (
        "2 deliveries under way; the oldest has waited 40 s for 127.0.0.1:3300 to "
        "answer"
    )


async def test_a_plan_that_allows_no_more_is_worth_a_word_at_once():
    """LIM-8."""
    emulator, backlog = an_emulator(quota="free")
    slots = free_slots(emulator)
    publish(emulator, slots + 11)
    publish(emulator, delay_ms=60_000)
    await after(emulator, 5)

    assert backlog.note(0) == (
        f"{slots} deliveries under way, all that plan free allows; 11 wait; the oldest "
        "has waited 5 ms for localhost:3000 to answer"
    )


async def test_a_full_plan_with_nobody_waiting_says_so():
    """LIM-8."""
    emulator, backlog = an_emulator(quota="free")
    publish(emulator, free_slots(emulator))

    assert "all that plan free allows; the oldest" in backlog.note(0)


async def test_whoever_waits_for_a_key_waits_too():
    """LIM-8, FLC-8."""
    emulator, backlog = an_emulator(quota="free")
    publish(emulator, free_slots(emulator))
    key = FlowControl(key="k", parallelism=1)
    publish(emulator, 3, options=Options(flow_control=key))

    assert "; 3 wait;" in backlog.note(0)


async def test_it_is_said_once_a_minute():
    emulator, backlog = an_emulator()
    publish(emulator)
    await after(emulator, 20_000)

    said = [now_s for now_s in (0, 59.9, 60, 100, 120) if backlog.note(now_s)]

    assert said == [0, 60, 120]


async def test_every_users_deliveries_are_watched():
    emulator, backlog = an_emulator()
    publish(emulator, user=2)
    await after(emulator, 20_000)

    assert backlog.note(0)


async def test_a_fast_clocks_wait_is_said_as_whoever_reads_it_has_waited():
    emulator, _ = an_emulator()
    fast = Backlog(emulator.tenants, Settings(speed=60))
    publish(emulator)
    await after(emulator, 600_000)
    assert fast.note(0) == ""

    await after(emulator, 660_000)
    assert "has waited 11 s" in fast.note(0)


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(backlog_module, "_LOOK_EVERY_S", 0)


async def test_it_looks_while_a_delivery_is_under_way(impatient):
    emulator, backlog = an_emulator(quota="free")
    said = asyncio.Queue()
    watching = asyncio.create_task(backlog.watch(said.put_nowait))
    publish(emulator, free_slots(emulator))
    backlog.stir()

    assert "all that plan free allows" in await asyncio.wait_for(said.get(), 5)
    watching.cancel()


async def test_it_does_not_look_while_nothing_is_under_way(impatient, monkeypatch):
    _, backlog = an_emulator()
    looks = []
    monkeypatch.setattr(backlog, "note", looks.append)
    watching = asyncio.create_task(backlog.watch(lambda text: None))
    backlog.stir()
    for _ in range(10):
        await asyncio.sleep(0)

    assert looks == []
    watching.cancel()
