"""emulator/engine/clock.py: the machine's time, and one that only a test turns."""

import asyncio

import pytest

from emulator.engine.clock import SystemClock, VirtualClock, real_now_ms
from tests.doubles import T0

FAST = 1_000_000.0  # an hour passes in 3.6 ms


async def sleeper(clock, when_ms, woken, name):
    await clock.sleep_until(when_ms)
    woken.append(name)


async def asleep(clock, *naps):
    """Let several sleep, and return who has woken, and their tasks."""
    woken = []
    tasks = [
        asyncio.create_task(sleeper(clock, when_ms, woken, name))
        for name, when_ms in naps
    ]
    await asyncio.sleep(0)
    return woken, tasks


# The virtual clock


def test_a_virtual_clock_stands_still():
    clock = VirtualClock(T0)

    assert (clock.now_ms(), clock.now_ms()) == (T0, T0)


def test_a_virtual_clock_starts_at_the_machine_s_time_unless_told_otherwise():
    before_ms = real_now_ms()
    clock = VirtualClock()

    assert before_ms <= clock.now_ms() <= real_now_ms()


def test_a_virtual_clock_shows_what_it_was_set_to():
    clock = VirtualClock(T0)

    clock.set(T0 + 86_400_000)
    clock.set(T0 + 86_400_000)

    assert clock.now_ms() == T0 + 86_400_000


def test_a_virtual_clock_does_not_run_backwards():
    clock = VirtualClock(T0)

    with pytest.raises(ValueError):
        clock.set(T0 - 1)
    assert clock.now_ms() == T0


@pytest.mark.parametrize("when_ms", [T0, T0 - 1, 0])
async def test_an_instant_that_has_come_is_not_waited_for(when_ms):
    clock = VirtualClock(T0)

    sleeper = asyncio.create_task(clock.sleep_until(when_ms))
    await asyncio.sleep(0)

    assert sleeper.done()


async def test_sleepers_wake_in_the_order_of_their_instants():
    clock = VirtualClock(T0)
    woken, tasks = await asleep(clock, ("b", T0 + 2), ("c", T0 + 3), ("a", T0 + 1))

    clock.set(T0 + 3)
    await asyncio.gather(*tasks)

    assert woken == ["a", "b", "c"]


async def test_equal_instants_wake_in_the_order_of_falling_asleep():
    clock = VirtualClock(T0)
    naps = [(name, T0 + 5) for name in "fedcba"]
    woken, tasks = await asleep(clock, *naps)

    clock.set(T0 + 5)
    await asyncio.gather(*tasks)

    assert woken == list("fedcba")


async def test_a_sleeper_does_not_wake_early():
    clock = VirtualClock(T0)
    woken, tasks = await asleep(clock, ("a", T0 + 10), ("b", T0 + 11))

    clock.set(T0 + 9)
    await asyncio.sleep(0)
    assert woken == []

    clock.set(T0 + 10)
    await tasks[0]
    assert woken == ["a"]


async def test_who_was_woken_counts_until_it_has_run():
    clock = VirtualClock(T0)
    woken, tasks = await asleep(clock, ("a", T0 + 1), ("b", T0 + 1), ("c", T0 + 2))

    clock.set(T0 + 1)
    assert (clock.waking, woken) == (2, [])

    await asyncio.gather(*tasks[:2])
    assert (clock.waking, woken) == (0, ["a", "b"])


async def test_who_was_woken_and_then_cancelled_no_longer_counts():
    clock = VirtualClock(T0)
    woken, tasks = await asleep(clock, ("a", T0 + 1))

    clock.set(T0 + 1)
    tasks[0].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert (clock.waking, woken) == (0, [])


async def test_who_was_cancelled_is_not_woken():
    clock = VirtualClock(T0)
    woken, tasks = await asleep(clock, ("a", T0 + 1))

    tasks[0].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    clock.set(T0 + 1)

    assert (clock.waking, woken) == (0, [])


# The system clock


def test_the_system_clock_shows_the_machine_s_time():
    clock = SystemClock()

    before_ms = real_now_ms()
    now_ms = clock.now_ms()

    assert before_ms <= now_ms <= real_now_ms()


def test_a_shifted_clock_starts_where_it_is_told():
    before_ms = real_now_ms()
    clock = SystemClock(start_ms=T0)

    now_ms = clock.now_ms()

    assert T0 <= now_ms <= T0 + real_now_ms() - before_ms


@pytest.mark.parametrize("speed", [0.5, 60.0, FAST])
def test_a_scaled_clock_runs_as_fast_as_it_is_told(speed):
    before_ms = real_now_ms()
    clock = SystemClock(speed=speed, start_ms=T0)
    after_ms = real_now_ms()

    while (earliest_ms := real_now_ms()) < after_ms + 2:
        pass  # two real milliseconds, or hardly more
    now_ms = clock.now_ms()
    latest_ms = real_now_ms()

    assert T0 + int((earliest_ms - after_ms) * speed) <= now_ms
    assert now_ms <= T0 + (latest_ms - before_ms) * speed


async def test_a_scaled_clock_sleeps_in_its_own_time():
    clock = SystemClock(speed=FAST, start_ms=T0)

    await clock.sleep_until(T0 + 3_600_000)

    assert clock.now_ms() >= T0 + 3_600_000


async def test_the_system_clock_does_not_wait_for_the_past():
    clock = SystemClock()
    task = asyncio.ensure_future(clock.sleep_until(clock.now_ms() - 1))

    await asyncio.sleep(0)

    assert task.done()


async def test_a_long_sleep_looks_at_the_calendar_again(monkeypatch):
    """A laptop that was shut stops the event loop's clock, not the calendar."""
    naps = []

    class Calendar(SystemClock):
        shown_ms = T0

        def now_ms(self):
            return self.shown_ms

    clock = Calendar()

    async def nap(seconds):
        naps.append(seconds)
        # Shut after the first nap: on waking, a day has passed.
        clock.shown_ms += 86_400_000 if len(naps) == 2 else int(seconds * 1000)

    monkeypatch.setattr(asyncio, "sleep", nap)
    await clock.sleep_until(T0 + 86_400_000)

    assert naps == [30.0, 30.0]
