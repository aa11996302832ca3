"""emulator/engine/advance.py: turning a virtual clock, to an instant or until idle."""

import asyncio

import pytest

from emulator import Emulator, Settings
from emulator.core.filters import LogQuery
from emulator.core.model import Options, Responded, State
from emulator.engine import advance as advancing
from emulator.errors import Conflict
from tests.doubles import T0, Hang, ScriptedTransport, a_publish, quiet

OK = Responded(200)
ERROR = Responded(500)

HOUR_MS = 3_600_000


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """However busy the machine: destinations that answer are waited for."""
    monkeypatch.setattr(advancing, "GRACE_S", 60)


@pytest.fixture
def impatience(patience, monkeypatch):
    """For destinations that hang for good."""
    monkeypatch.setattr(advancing, "GRACE_S", 0.1)


def an_emulator(*script, transport=None, **settings):
    """An emulator at T0 that calls by a script, and its first user's engine."""
    transport = transport or ScriptedTransport(script or [OK])
    emulator = Emulator(
        Settings(clock="virtual", start_time_ms=T0, seed=1, **settings),
        transport=transport,
    )
    for engine in emulator.tenants.engines:
        engine.scheduler.start()
    return emulator, emulator.tenants.engines[0], transport


def publish(engine, url="http://localhost:3000/", *, delay_ms=0, **options):
    engine.publish([a_publish(url, delay_ms=delay_ms, options=Options(**options))])


def log(engine, *states):
    """What was logged, oldest first: milliseconds after T0, and the state."""
    page, _ = engine.logs(LogQuery(latest_first=False))
    return [
        (entry.time_ms - T0, entry.state)
        for entry in page
        if not states or entry.state in states
    ]


def after_t0(emulator):
    return emulator.clock.now_ms() - T0


# To an instant


async def test_the_clock_stands_where_it_was_told_to():
    emulator, _, _ = an_emulator()

    await emulator.tenants.advance(T0 + HOUR_MS)

    assert after_t0(emulator) == HOUR_MS


async def test_after_a_turn_schedulers_wake_up_by_themselves_again():
    """While the clock is turned they don't: whoever turns it tells them."""
    emulator, engine, _ = an_emulator()
    publish(engine, delay_ms=2000)
    await emulator.tenants.advance(T0 + 1000)

    emulator.clock.set(T0 + 2000)
    await quiet()

    assert log(engine, State.DELIVERED) == [(2000, State.DELIVERED)]


async def test_a_turn_that_fails_leaves_schedulers_that_wake_up():
    emulator, engine, _ = an_emulator()
    for number in range(3):
        publish(engine, delay_ms=1000 * (number + 1))
    with pytest.raises(Conflict):
        await emulator.tenants.advance(None, most_jumps=1)

    emulator.clock.set(T0 + 3000)
    await quiet()

    assert len(log(engine, State.DELIVERED)) == 3


async def test_advancing_to_the_present_lets_what_is_due_settle():
    emulator, engine, _ = an_emulator()
    publish(engine)

    await emulator.tenants.advance(T0)

    assert after_t0(emulator) == 0
    assert log(engine)[-1] == (0, State.DELIVERED)


async def test_what_falls_due_on_the_way_happens_at_its_own_instant():
    emulator, engine, _ = an_emulator()
    for delay_ms in (3000, 1000, 2000):
        publish(engine, delay_ms=delay_ms)

    await emulator.tenants.advance(T0 + 10_000)

    assert log(engine, State.ACTIVE, State.DELIVERED) == [
        (1000, State.ACTIVE),
        (1000, State.DELIVERED),
        (2000, State.ACTIVE),
        (2000, State.DELIVERED),
        (3000, State.ACTIVE),
        (3000, State.DELIVERED),
    ]
    assert after_t0(emulator) == 10_000


async def test_what_falls_due_at_the_target_happens_and_nothing_later():
    emulator, engine, _ = an_emulator()
    publish(engine, delay_ms=1000)
    publish(engine, delay_ms=1001)

    await emulator.tenants.advance(T0 + 1000)

    assert log(engine, State.DELIVERED) == [(1000, State.DELIVERED)]
    assert engine.pending == 1


async def test_what_comes_of_it_on_the_way_happens_too():
    """Retries of a message that failed on the way."""
    emulator, engine, transport = an_emulator(ERROR)
    publish(engine, delay_ms=1000, retries=3, retry_delay="1000 * (1 + retried)")

    await emulator.tenants.advance(T0 + 4000)

    assert log(engine, State.ACTIVE) == [
        (1000, State.ACTIVE),
        (2000, State.ACTIVE),
        (4000, State.ACTIVE),
    ]
    assert len(transport.requests) == 3


async def test_two_steps_are_as_good_as_one():
    emulator, engine, _ = an_emulator(ERROR)
    publish(engine, retries=2)

    await emulator.tenants.advance(T0 + 12_181)
    assert len(log(engine, State.ACTIVE)) == 1
    await emulator.tenants.advance(T0 + 12_182)

    assert len(log(engine, State.ACTIVE)) == 2


async def test_a_message_that_was_just_published_is_not_overlooked():
    """Nobody has slept yet: the event loop hadn't a turn between the two calls."""
    emulator, engine, _ = an_emulator()
    publish(engine, delay_ms=1000)

    await emulator.tenants.advance(T0 + 5000)

    assert log(engine, State.ACTIVE) == [(1000, State.ACTIVE)]


@pytest.mark.usefixtures("impatience")
async def test_due_messages_that_find_no_slot_do_not_hold_the_clock():
    """LIM-8: they start when one becomes free."""
    emulator, engine, transport = an_emulator(*[Hang()] * 10, OK, quota="free")
    for _ in range(10):
        publish(engine, timeout_ms=10_000, retries=0)
    for delay_ms in (1000, 2000, 3000):
        publish(engine, "http://b.example", delay_ms=delay_ms)

    await emulator.tenants.advance(T0 + 5000)
    assert len(transport.requests) == 10
    await emulator.tenants.advance(T0 + 10_000)

    assert log(engine, State.DELIVERED) == [(10_000, State.DELIVERED)] * 3


async def test_every_user_s_messages_fall_due_in_one_order():
    """AUTH-8: one clock for all."""
    emulator, first, transport = an_emulator()
    second = emulator.tenants.engines[1]
    publish(first, "http://a.example/1", delay_ms=1000)
    publish(second, "http://b.example/2", delay_ms=2000)
    publish(first, "http://a.example/3", delay_ms=3000)

    await emulator.tenants.advance(T0 + 5000)

    assert [request.url[-1] for request in transport.requests] == ["1", "2", "3"]
    assert log(second, State.ACTIVE) == [(2000, State.ACTIVE)]


# Until idle


async def test_until_idle_goes_as_far_as_there_is_work_and_no_further():
    """RTY-10: a day and more of retries, in no time."""
    emulator, engine, transport = an_emulator(ERROR)
    publish(engine, retries=5)

    await emulator.tenants.advance(None)

    assert len(transport.requests) == 6
    assert engine.pending == 0
    assert after_t0(emulator) == 12_182 + 148_413 + 1_808_042 + 22_026_465 + 86_400_000


async def test_until_idle_without_work_does_not_move_the_clock():
    emulator, _, _ = an_emulator()

    await emulator.tenants.advance(None)

    assert after_t0(emulator) == 0


async def test_until_idle_includes_what_destinations_publish_in_turn():
    def again(request):
        if len(transport.requests) < 5:
            publish(engine, delay_ms=1000)
        return OK

    emulator, engine, transport = an_emulator(again)
    publish(engine)

    await emulator.tenants.advance(None)

    assert len(transport.requests) == 5
    assert after_t0(emulator) == 4000


async def test_work_without_end_is_refused_in_the_end(monkeypatch):
    monkeypatch.setattr(advancing, "_MOST_JUMPS", 50)

    def again(request):
        publish(engine, delay_ms=1000)
        return OK

    emulator, engine, _ = an_emulator(again)
    publish(engine)

    with pytest.raises(Conflict) as raised:
        await emulator.tenants.advance(None)

    assert raised.value.status == 409
    assert "idle" in str(raised.value)


# Destinations that hang


@pytest.mark.usefixtures("impatience")
async def test_a_destination_that_hangs_is_waited_for_until_its_timeout():
    """DLV-21: what follows from it happens before anything later does."""
    emulator, engine, _ = an_emulator(Hang(), OK)
    publish(engine, timeout_ms=5000, retries=0)
    publish(engine, delay_ms=7000)

    await emulator.tenants.advance(T0 + 10_000)

    assert log(engine)[3:] == [
        (5000, State.ERROR),
        (5000, State.FAILED),
        (7000, State.ACTIVE),
        (7000, State.DELIVERED),
    ]


@pytest.mark.usefixtures("impatience")
async def test_until_idle_a_destination_that_hangs_comes_to_its_timeout():
    """DLV-22: and it has settled when the call returns."""
    emulator, engine, _ = an_emulator(Hang())
    publish(engine, timeout_ms=5000, retries=1, retry_delay="1000")

    await emulator.tenants.advance(None)

    assert log(engine) == [
        (0, State.CREATED),
        (0, State.ACTIVE),
        (5000, State.ERROR),
        (5000, State.RETRY),
        (6000, State.ACTIVE),
        (11_000, State.ERROR),
        (11_000, State.FAILED),
    ]
    assert engine.pending == 0


@pytest.mark.usefixtures("impatience")
async def test_a_destination_that_hangs_does_not_hold_the_others():
    emulator, engine, _ = an_emulator(Hang(), OK)
    publish(engine, timeout_ms=HOUR_MS, retries=0)
    publish(engine, delay_ms=1000)

    await emulator.tenants.advance(T0 + 2000)

    assert log(engine, State.DELIVERED) == [(1000, State.DELIVERED)]
    assert engine.scheduler.in_flight == 1


@pytest.mark.usefixtures("impatience")
async def test_timeouts_at_several_instants_each_settle_at_their_own():
    """DLV-21, RTY-2."""
    emulator, engine, _ = an_emulator(Hang())
    for timeout_ms in (3000, 1000, 2000):
        publish(engine, timeout_ms=timeout_ms, retries=0)

    await emulator.tenants.advance(None)

    assert log(engine, State.FAILED) == [
        (1000, State.FAILED),
        (2000, State.FAILED),
        (3000, State.FAILED),
    ]


class Slow:
    """A destination that takes several turns of the event loop."""

    async def send(self, request):
        for _ in range(20):
            await asyncio.sleep(0)
        return ERROR

    async def close(self):
        pass


async def test_a_destination_that_answers_is_waited_for():
    """RTY-2: no virtual time passes for it."""
    emulator, engine, _ = an_emulator(transport=Slow())
    publish(engine, retries=1, retry_delay="1000")
    publish(engine, delay_ms=500, retries=0)

    await emulator.tenants.advance(T0 + HOUR_MS)

    assert log(engine, State.ERROR) == [
        (0, State.ERROR),
        (500, State.ERROR),
        (1000, State.ERROR),
    ]


async def test_who_waits_for_the_clock_by_himself_is_woken():
    """The clock belongs to whoever sleeps by it, not to the engines alone."""
    emulator, _, _ = an_emulator()
    sleeper = asyncio.ensure_future(emulator.clock.sleep_until(T0 + 1000))
    await asyncio.sleep(0)

    await emulator.tenants.advance(T0 + 1000)
    await asyncio.sleep(0)

    assert sleeper.done()


# Destinations that sleep on the clock


class Asleep:
    """A destination that says that it sleeps on the clock before it answers."""

    def __init__(self, emulator, *delays_ms):
        self.clock = emulator.clock
        self.delays_ms = list(delays_ms)

    async def send(self, request):
        delay_ms = self.delays_ms.pop(0)
        when_ms = None if delay_ms is None else self.clock.now_ms() + delay_ms
        await asyncio.sleep(0)
        await self.clock.sleep_before_answer(asyncio.current_task(), when_ms)
        return OK

    async def close(self):
        pass


def an_emulator_with_sleepers(*delays_ms):
    emulator, engine, _ = an_emulator()
    emulator.transport = Asleep(emulator, *delays_ms)
    return emulator, engine


async def test_a_destination_that_sleeps_answers_at_its_own_instant():
    """And nobody waits for it in real time: the test's patience is a minute."""
    emulator, engine = an_emulator_with_sleepers(3000, 1000)
    publish(engine)
    publish(engine, delay_ms=500)

    await emulator.tenants.advance(T0 + 10_000)

    assert log(engine, State.DELIVERED) == [
        (1500, State.DELIVERED),
        (3000, State.DELIVERED),
    ]


async def test_until_idle_goes_on_to_the_answer_of_a_destination_that_sleeps():
    emulator, engine = an_emulator_with_sleepers(3000)
    publish(engine, timeout_ms=HOUR_MS)

    await emulator.tenants.advance(None)

    assert log(engine, State.DELIVERED) == [(3000, State.DELIVERED)]
    assert after_t0(emulator) == 3000


async def test_a_destination_that_sleeps_for_ever_comes_to_its_timeout():
    """DLV-22."""
    emulator, engine = an_emulator_with_sleepers(None)
    publish(engine, timeout_ms=5000, retries=0)

    await emulator.tenants.advance(None)

    assert log(engine, State.ERROR) == [(5000, State.ERROR)]
    assert after_t0(emulator) == 5000


async def test_a_sleep_beyond_the_timeout_is_no_work():
    emulator, engine = an_emulator_with_sleepers(HOUR_MS)
    publish(engine, timeout_ms=5000, retries=0)

    await emulator.tenants.advance(None)

    assert log(engine, State.ERROR) == [(5000, State.ERROR)]
    assert after_t0(emulator) == 5000


async def test_the_grace_and_the_number_of_jumps_can_be_chosen():
    emulator, engine, _ = an_emulator(Hang(), ERROR)
    publish(engine, timeout_ms=5000, retries=0)
    publish(engine, delay_ms=1, retries=5)

    with pytest.raises(Conflict, match="after 2 steps"):
        await emulator.tenants.advance(None, grace_s=0.05, most_jumps=2)
