"""emulator/engine/scheduler.py, through the engine: what starts when, and what ends."""

import asyncio
from contextvars import ContextVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator import Emulator, Settings
from emulator.core.filters import LogQuery
from emulator.core.model import FlowControl, Options, Responded, State, Unreachable
from tests.doubles import T0, Hang, ScriptedTransport, a_publish, quiet, turn

few = settings(max_examples=25, deadline=None)

OK = Responded(200)
ERROR = Responded(500, reason="Internal Server Error")

HOUR_MS = 3_600_000


def an_emulator(*script, transport=None, **settings):
    """An emulator at T0 that calls by a script, and its first user's engine."""
    transport = transport or ScriptedTransport(script or [OK])
    emulator = Emulator(
        Settings(clock="virtual", start_time_ms=T0, seed=1, **settings),
        transport=transport,
    )
    engine = emulator.tenants.engines[0]
    engine.scheduler.start()
    return emulator, engine, transport


def publish(engine, *urls, **options):
    """Publish to each URL, or once; return the ids."""
    publishes = [
        a_publish(url, options=Options(**options))
        for url in urls or ["http://localhost:3000/"]
    ]
    return [
        receipt.message_id
        for receipts in engine.publish(publishes)
        for receipt in receipts
    ]


def log(engine, *states):
    """What was logged, oldest first: milliseconds after T0, and the state."""
    page, _ = engine.logs(LogQuery(latest_first=False))
    return [
        (entry.time_ms - T0, entry.state)
        for entry in page
        if not states or entry.state in states
    ]


def starts(engine):
    return [time for time, _ in log(engine, State.ACTIVE)]


def errors(engine):
    page, _ = engine.logs(LogQuery(latest_first=False))
    return [entry.outcome.error for entry in page if entry.state is State.ERROR]


# What starts when


async def test_a_due_message_is_delivered_without_waiting():
    """PUB-31."""
    _, engine, transport = an_emulator()

    publish(engine)
    await quiet()

    assert len(transport.requests) == 1
    assert log(engine) == [
        (0, State.CREATED),
        (0, State.ACTIVE),
        (0, State.DELIVERED),
    ]


async def test_a_delayed_message_is_delivered_at_its_instant():
    """HDR-22: not a millisecond before."""
    emulator, engine, transport = an_emulator()
    engine.publish([a_publish(delay_ms=5000)])

    await turn(emulator, 4999)
    assert transport.requests == []

    await turn(emulator, 5000)
    assert starts(engine) == [5000]


async def test_a_message_that_comes_for_an_earlier_instant_is_not_slept_through():
    emulator, engine, _ = an_emulator()
    engine.publish([a_publish(delay_ms=HOUR_MS)])
    await quiet()
    engine.publish([a_publish(delay_ms=1000)])
    await quiet()

    await turn(emulator, 1000)

    assert starts(engine) == [1000]


async def test_a_message_for_later_makes_its_queue_and_configures_its_key():
    """What comes with it is noted as well."""
    emulator, engine, _ = an_emulator()
    flow_control = FlowControl(key="k", parallelism=1)
    engine.publish(
        [
            a_publish(
                queue_name="q",
                delay_ms=1000,
                options=Options(flow_control=flow_control),
            )
        ]
    )

    await emulator.tenants.advance(None)

    assert starts(engine) == [1000]


async def test_messages_fall_due_in_the_order_of_their_instants():
    """DLV-31."""
    emulator, engine, transport = an_emulator()
    for delay_ms in (3000, 1000, 2000):
        engine.publish([a_publish(f"http://localhost/{delay_ms}", delay_ms=delay_ms)])

    await emulator.tenants.advance(None)

    assert starts(engine) == [1000, 2000, 3000]
    assert [request.url[-4:] for request in transport.requests] == [
        "1000",
        "2000",
        "3000",
    ]


async def test_an_earlier_message_that_comes_later_is_not_kept_waiting():
    emulator, engine, _ = an_emulator()
    engine.publish([a_publish(delay_ms=HOUR_MS)])
    await quiet()

    engine.publish([a_publish(delay_ms=1000)])
    await turn(emulator, 1000)

    assert starts(engine) == [1000]


async def test_unrelated_messages_are_delivered_in_parallel():
    """PUB-31, DLV-31."""
    _, engine, transport = an_emulator(Hang())

    publish(engine, "http://a.example", "http://b.example", "http://c.example")
    await quiet()

    assert transport.in_flight == engine.scheduler.in_flight == 3


# Retries


async def test_without_a_retry_delay_the_waits_are_those_of_the_table():
    """RTY-10, RTY-1: 12.18 s, 148.41 s, 1808.04 s, 22026.47 s, then a day each."""
    emulator, engine, transport = an_emulator(ERROR)
    publish(engine, retries=6)

    await emulator.tenants.advance(None)

    due = [0, 12_182, 148_413, 1_808_042, 22_026_465, 86_400_000, 86_400_000]
    assert starts(engine) == [sum(due[: n + 1]) for n in range(7)]
    assert len(transport.requests) == 7


async def test_retries_stop_with_the_first_success():
    """LOG-24, DLV-11."""
    emulator, engine, transport = an_emulator(ERROR, ERROR, OK)
    publish(engine, retries=5, retry_delay="200")

    await emulator.tenants.advance(None)

    assert log(engine) == [
        (0, State.CREATED),
        (0, State.ACTIVE),
        (0, State.ERROR),
        (0, State.RETRY),
        (200, State.ACTIVE),
        (200, State.ERROR),
        (200, State.RETRY),
        (400, State.ACTIVE),
        (400, State.DELIVERED),
    ]
    assert len(transport.requests) == 3


@pytest.mark.parametrize(
    ("expression", "waits"),
    [
        ("1000", [1000, 1000, 1000]),
        ("pow(2, retried) * 1000", [1000, 2000, 4000]),
        ("7000 * retried", [0, 7000, 14_000]),
    ],
)
async def test_an_expression_sets_the_waits(expression, waits):
    """RTY-13, RTY-19."""
    emulator, engine, _ = an_emulator(ERROR)
    publish(engine, retries=3, retry_delay=expression)

    await emulator.tenants.advance(None)

    assert starts(engine) == [sum(waits[:n]) for n in range(4)]


async def test_a_reset_header_sets_the_next_wait():
    """RTY-3, RTY-20."""
    limited = Responded(429, header=("Retry-After", "90"))
    emulator, engine, _ = an_emulator(limited, ERROR, OK)
    publish(engine, retry_delay="1000")

    await emulator.tenants.advance(None)

    assert starts(engine) == [0, 90_000, 91_000]


async def test_the_wait_starts_when_the_failed_delivery_ends():
    """RTY-2: here, with its timeout."""
    emulator, engine, _ = an_emulator(Hang(), OK)
    publish(engine, timeout_ms=5000)

    await turn(emulator, 5000)
    await turn(emulator, 5000 + 12_181)
    assert starts(engine) == [0]

    await turn(emulator, 5000 + 12_182)
    assert starts(engine) == [0, 17_182]


# Timeouts


async def test_a_destination_that_takes_too_long_has_failed():
    """DLV-21, DLV-22: the connection is dropped."""
    emulator, engine, transport = an_emulator(Hang())
    publish(engine, timeout_ms=5000, retries=0)

    await turn(emulator, 4999)
    assert transport.in_flight == 1

    await turn(emulator, 5000)
    assert transport.in_flight == engine.scheduler.in_flight == 0
    assert log(engine)[-2:] == [(5000, State.ERROR), (5000, State.FAILED)]
    assert "context deadline exceeded" in errors(engine)[0]


@pytest.mark.parametrize(
    ("quota", "longest_ms"), [("free", 15 * 60_000), ("payg", 2 * HOUR_MS)]
)
@pytest.mark.parametrize("timeout_ms", [None, 48 * HOUR_MS])
async def test_the_plan_has_the_longest_timeout(quota, longest_ms, timeout_ms):
    """DLV-20, DLV-21 (clamped), LIM-5, Q-6."""
    emulator, engine, transport = an_emulator(Hang(), quota=quota)
    publish(engine, timeout_ms=timeout_ms, retries=0)

    await turn(emulator, longest_ms - 1)
    assert transport.in_flight == 1

    await turn(emulator, longest_ms)
    assert log(engine, State.ERROR) == [(longest_ms, State.ERROR)]


async def test_each_delivery_has_its_own_timeout():
    """DLV-21."""
    emulator, engine, _ = an_emulator(Hang())
    for timeout_ms in (3000, 1000, 2000):
        publish(engine, timeout_ms=timeout_ms, retries=0)

    for after_ms in (1000, 2000, 3000):
        await turn(emulator, after_ms)

    assert [time for time, _ in log(engine, State.ERROR)] == [1000, 2000, 3000]


async def test_a_timeout_counts_from_the_start_of_its_delivery():
    """DLV-20: not from the publish, nor from the first attempt."""
    emulator, engine, transport = an_emulator(Hang())
    publish(engine, timeout_ms=5000, retries=1, retry_delay="60000")

    await turn(emulator, 5000)
    await turn(emulator, 65_000)
    await turn(emulator, 69_999)
    assert transport.in_flight == 1

    await turn(emulator, 70_000)
    assert [time for time, _ in log(engine, State.ERROR)] == [5000, 70_000]


async def test_an_answer_in_time_is_an_answer():
    """DLV-22: the deadline of a delivery that has ended means nothing."""
    emulator, engine, _ = an_emulator()
    publish(engine, timeout_ms=5000)
    await quiet()

    await turn(emulator, 5000)

    assert log(engine)[-1] == (0, State.DELIVERED)


async def test_a_delivery_that_is_late_before_it_began_has_failed():
    """DLV-22: the event loop may be busy for longer than a timeout."""
    emulator, engine, _ = an_emulator()
    publish(engine, timeout_ms=1000, retries=0)
    emulator.clock.set(T0 + 2000)
    publish(engine)
    await quiet()

    assert log(engine, State.FAILED, State.DELIVERED) == [
        (2000, State.FAILED),
        (2000, State.DELIVERED),
    ]
    assert engine.scheduler.in_flight == 0


# Global parallelism


async def test_no_more_than_the_plan_allows_are_under_way():
    """LIM-8, DLV-31: the rest waits, in the order in which it fell due."""
    emulator, engine, transport = an_emulator(Hang(), quota="free")
    urls = [f"http://localhost/{number}" for number in range(25)]

    publish(engine, *urls, timeout_ms=1000, retries=0)
    await quiet()
    assert [request.url for request in transport.requests] == urls[:10]

    await turn(emulator, 1000)
    assert [request.url for request in transport.requests] == urls[:20]

    await turn(emulator, 2000)
    assert [request.url for request in transport.requests] == urls
    assert transport.most_in_flight == 10


async def test_a_destination_that_never_answers_holds_its_own_slots_only():
    """LIM-8: one slot of a hundred is left, and nobody waits for the clock."""
    emulator, engine, transport = an_emulator(*[Hang()] * 99, OK)
    publish(engine, *["http://stuck.example"] * 99)
    others = publish(engine, *["http://other.example"] * 300)
    queued = a_publish("http://other.example", queue_name="q")
    engine.publish([queued] * 50)
    while engine.pending > 99:
        before = len(transport.requests)
        await quiet()
        assert len(transport.requests) > before

    assert emulator.clock.now_ms() == T0
    assert engine.pending == transport.in_flight == 99
    assert len(transport.requests) == 99 + len(others) + 50


async def test_a_queue_that_is_stuck_holds_up_no_other():
    """QUE-11."""
    _, engine, transport = an_emulator(Hang(), OK)
    engine.publish([a_publish("http://stuck.example", queue_name="a")] * 20)
    engine.publish([a_publish("http://other.example", queue_name="b")] * 20)
    while engine.pending > 20:
        before = len(transport.requests)
        await quiet()
        assert len(transport.requests) > before

    urls = [request.url for request in transport.requests]
    assert urls == ["http://stuck.example"] + ["http://other.example"] * 20


async def test_a_slot_that_becomes_free_is_taken_at_once():
    """LIM-8."""
    emulator, engine, transport = an_emulator(
        *[Hang()] * 10, OK, OK, Hang(), quota="free"
    )
    publish(engine, timeout_ms=1000, retries=0)
    publish(engine, *["http://b.example"] * 9, timeout_ms=HOUR_MS, retries=0)
    publish(engine, *["http://c.example"] * 3)
    await quiet()
    assert len(transport.requests) == 10

    await turn(emulator, 1000)

    # One slot, two quick ones after each other, and one that keeps it.
    assert len(transport.requests) == 13
    assert transport.in_flight == 10
    assert transport.most_in_flight == 10


async def test_a_retry_wait_holds_no_slot():
    """LIM-8."""
    _, engine, transport = an_emulator(*[ERROR] * 10, OK, quota="free")

    publish(engine, *["http://a.example"] * 10)
    publish(engine, "http://b.example")
    await quiet()

    assert transport.requests[-1].url == "http://b.example"
    assert log(engine)[-1] == (0, State.DELIVERED)


async def test_a_message_cancelled_in_line_takes_no_slot():
    """LIM-8, MSG-11."""
    emulator, engine, transport = an_emulator(*[Hang()] * 10, OK, quota="free")
    publish(engine, *["http://a.example"] * 10, timeout_ms=1000, retries=0)
    in_line = publish(engine, "http://b.example", "http://c.example")
    await quiet()

    engine.cancel(in_line[0])
    await turn(emulator, 1000)

    assert [request.url for request in transport.requests[10:]] == ["http://c.example"]


destinations = st.lists(
    st.tuples(
        st.integers(0, 3000),  # delay
        st.sampled_from([OK, ERROR, Unreachable("refused")]),
        st.integers(0, 2),  # retries
    ),
    min_size=11,
    max_size=60,
)


@few
@given(destinations)
def test_however_it_comes_the_limit_is_never_exceeded_and_nothing_is_lost(plan):
    """LIM-8, RTY-1."""
    outcomes = {
        f"http://localhost/{number}": outcome
        for number, (_, outcome, _) in enumerate(plan)
    }

    async def run():
        emulator, engine, transport = an_emulator(
            lambda request: outcomes[request.url], quota="free"
        )
        engine.publish(
            [
                a_publish(
                    f"http://localhost/{number}",
                    delay_ms=delay_ms - delay_ms % 500,
                    options=Options(retries=retries, retry_delay="500"),
                )
                for number, (delay_ms, _, retries) in enumerate(plan)
            ]
        )
        await emulator.tenants.advance(None)
        return engine, transport

    engine, transport = asyncio.run(run())

    assert transport.most_in_flight <= 10
    assert engine.pending == 0
    assert len(transport.requests) == sum(
        1 if outcome is OK else 1 + retries for _, outcome, retries in plan
    )


# A mistake of ours


class Broken:
    """A transport that breaks its promise, once, and then keeps it."""

    def __init__(self):
        self.calls = 0

    async def send(self, request):
        self.calls += 1
        if self.calls == 1:
            raise ZeroDivisionError("a bug")
        return OK

    async def close(self):
        pass


async def test_a_bug_is_a_failed_delivery_and_the_loop_goes_on(caplog):
    """DLV-16: nothing is lost, nobody else suffers, and somebody hears of it."""
    emulator, engine, transport = an_emulator(transport=Broken())

    broken, other = publish(engine, "http://a.example", "http://b.example")
    await emulator.tenants.advance(None)

    assert log(engine, State.DELIVERED) == [
        (0, State.DELIVERED),
        (12_182, State.DELIVERED),
    ]
    assert "a bug" in errors(engine)[0]
    assert transport.calls == 3
    assert "ZeroDivisionError" in caplog.text
    assert broken in caplog.text
    assert other not in caplog.text


async def test_a_bug_holds_no_slot():
    """LIM-8."""
    _, engine, transport = an_emulator(*[lambda request: 1 // 0] * 10, OK, quota="free")

    publish(engine, *["http://a.example"] * 10, retries=0)
    publish(engine, "http://b.example")
    await quiet()

    assert engine.scheduler.in_flight == 0
    assert log(engine)[-1] == (0, State.DELIVERED)
    assert len(transport.requests) == 11


# Stopping, and cutting off


async def test_a_call_that_is_cancelled_from_within_is_a_failed_delivery():
    """DLV-16: an app in this process may do so. It must not be under way for ever."""

    def give_up(request):
        raise asyncio.CancelledError

    emulator, engine, _ = an_emulator(give_up, OK)
    publish(engine, retries=1)

    async with asyncio.timeout(10):
        await emulator.tenants.advance(None)

    assert errors(engine) == ["the call was cancelled"]
    assert log(engine)[-1][1] is State.DELIVERED
    assert engine.scheduler.in_flight == 0


async def test_nothing_starts_before_the_start():
    transport = ScriptedTransport()
    emulator = Emulator(
        Settings(clock="virtual", start_time_ms=T0), transport=transport
    )
    engine = emulator.tenants.engines[0]
    publish(engine)
    await quiet()
    assert transport.requests == []

    engine.scheduler.start()
    await quiet()
    assert len(transport.requests) == 1


async def test_a_stopped_scheduler_starts_nothing_more():
    emulator, engine, transport = an_emulator()
    engine.publish([a_publish(delay_ms=1000)])
    await quiet()

    engine.scheduler.stop()
    publish(engine)
    await turn(emulator, 2000)
    assert transport.requests == []

    engine.scheduler.start()
    await quiet()
    assert len(transport.requests) == 2


async def test_deliveries_under_way_outlast_a_stop():
    """DLV-30: what a destination answers counts."""
    answer = asyncio.Event()

    class Slow(ScriptedTransport):
        async def send(self, request):
            await answer.wait()
            return OK

    _, engine, _ = an_emulator(transport=Slow())
    publish(engine)
    await quiet()

    engine.scheduler.stop()
    answer.set()
    await quiet()

    assert log(engine)[-1] == (0, State.DELIVERED)


async def test_a_stop_that_never_started_is_harmless():
    emulator = Emulator(Settings(clock="virtual"), transport=ScriptedTransport())

    emulator.tenants.engines[0].scheduler.stop()

    assert emulator.in_flight == 0


async def test_deliveries_that_are_cut_off_settle_nothing():
    """Q-34."""
    emulator, engine, transport = an_emulator(Hang())
    publish(engine, timeout_ms=1000, retries=0)
    await quiet()

    engine.scheduler.cut_off()
    await turn(emulator, 1000)

    assert transport.in_flight == engine.scheduler.in_flight == 0
    assert log(engine) == [(0, State.CREATED), (0, State.ACTIVE)]


async def test_a_reset_forgets_deliveries_under_way():
    emulator, engine, transport = an_emulator(Hang())
    publish(engine, timeout_ms=1000)
    await quiet()

    engine.reset()
    await turn(emulator, 1000)

    assert transport.in_flight == engine.scheduler.in_flight == 0
    assert engine.pending == 0
    assert log(engine) == []


async def test_a_reset_gives_every_slot_back():
    """LIM-8: at once, and also of deliveries that hadn't begun."""
    _, engine, transport = an_emulator(*[Hang()] * 10, OK, quota="free")
    publish(engine, *["http://a.example"] * 20)
    await quiet()
    engine.reset()
    publish(engine, *["http://b.example"] * 10)
    engine.reset()

    publish(engine, *["http://c.example"] * 10)
    await quiet()

    assert [time for time, _ in log(engine, State.DELIVERED)] == [0] * 10
    assert {request.url for request in transport.requests[10:]} == {"http://c.example"}
    assert transport.most_in_flight <= 10


async def test_a_reset_forgets_who_stood_in_line():
    emulator, engine, transport = an_emulator(Hang(), quota="free")
    publish(engine, *["http://a.example"] * 15, timeout_ms=1000)
    engine.publish([a_publish("http://b.example", delay_ms=500)])
    await quiet()

    engine.reset()
    await turn(emulator, HOUR_MS)

    assert len(transport.requests) == 10
    assert engine.pending == 0


class Stubborn:
    """A transport that answers when it is told to give up."""

    def __init__(self, answer):
        self.answer = answer

    async def send(self, request):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return self.answer()

    async def close(self):
        pass


@pytest.mark.parametrize(
    "answer", [lambda: OK, lambda: 1 // 0], ids=["an outcome", "an exception"]
)
async def test_what_a_cut_off_delivery_still_says_is_ignored(answer):
    """Q-34."""
    _, engine, _ = an_emulator(transport=Stubborn(answer))
    publish(engine)
    await quiet()
    tasks = engine.scheduler.tasks

    engine.reset()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    publish(engine)
    await quiet()

    assert [state for _, state in log(engine)] == [State.CREATED, State.ACTIVE]
    assert engine.scheduler.in_flight == 1
    assert not any(isinstance(result, KeyError) for result in results)


class Patient:
    """A transport that answers when a future has the answer."""

    def __init__(self):
        self.answer = asyncio.get_running_loop().create_future()

    async def send(self, request):
        return await self.answer

    async def close(self):
        pass


async def test_a_delivery_is_settled_in_the_turn_in_which_its_answer_has_come():
    transport = Patient()
    _, engine, _ = an_emulator(transport=transport)
    publish(engine)
    await quiet()

    transport.answer.set_result(OK)
    await asyncio.sleep(0)

    assert engine.scheduler.in_flight == engine.pending == 0


async def test_a_delivery_sees_nothing_of_the_context_of_the_one_before():
    """An app in this process may leave anything there."""
    seen = []

    def answer(request):
        seen.append(whose.get())
        whose.set("the delivery before")
        return Responded(500)

    _, engine, _ = an_emulator(answer, quota="free")
    whose = ContextVar("whose", default="nobody")
    whose.set("the publisher")
    publish(engine, *["http://localhost:3000/"] * 12, retries=0)
    await quiet()

    assert seen == ["the publisher"] * 12


@pytest.mark.parametrize(
    "begin",
    [
        lambda engine: publish(engine),
        lambda engine: engine.publish([a_publish(delay_ms=HOUR_MS)]),
        lambda engine: engine.schedules.put(a_publish(), "* * * * *", "s"),
    ],
    ids=["a delivery", "a delayed message", "a schedule"],
)
async def test_a_scheduler_is_idle_until_something_is_to_happen(begin):
    _, engine, _ = an_emulator(Hang())
    is_idle_before = engine.scheduler.is_idle

    begin(engine)

    assert is_idle_before
    assert not engine.scheduler.is_idle


async def test_the_delivery_that_is_under_way_longest_is_known():
    emulator, engine, _ = an_emulator(Hang(), Hang(), OK)
    assert engine.scheduler.oldest_delivery() is None

    (first,) = publish(engine, timeout_ms=5_000)
    await turn(emulator, 1_000)
    (second,) = publish(engine)
    await turn(emulator, 2_000)
    message, since_ms = engine.scheduler.oldest_delivery()
    assert (message.message_id, since_ms) == (first, T0)

    await turn(emulator, 5_000)
    message, since_ms = engine.scheduler.oldest_delivery()
    assert (message.message_id, since_ms) == (second, T0 + 1_000)
