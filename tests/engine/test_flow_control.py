"""emulator/engine/flow_control.py and gate.py, through the engine: rates and limits."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator import Emulator, Settings
from emulator.core.filters import DlqQuery, LogQuery
from emulator.core.flow import started_in_period
from emulator.core.headers import Overrides
from emulator.core.model import (
    Callback,
    FlowControl,
    Options,
    Responded,
    State,
    Unreachable,
)
from emulator.errors import NotFound
from tests.doubles import T0, Hang, ScriptedTransport, a_publish, quiet, turn

few = settings(max_examples=40, deadline=None)

OK = Responded(200)
ERROR = Responded(500)

SECOND_MS = 1000
MINUTE_MS = 60_000
WEEK_S = 7 * 86_400
# The first full minute after T0, which is 20 seconds past one.
FIRST_MINUTE_MS = 40_000


def an_emulator(*script, transport=None, **changes):
    """An emulator at T0 that calls by a script, and its first user's engine."""
    transport = transport or ScriptedTransport(script or [OK])
    emulator = Emulator(
        Settings(clock="virtual", start_time_ms=T0, seed=1, **changes),
        transport=transport,
    )
    engine = emulator.tenants.engines[0]
    engine.start()
    return emulator, engine, transport


def publish(engine, *names, key="k", delay_ms=0, queue=None, **options):
    """Publish for each name, or once, under a key; return the ids.

    Of the options, ``parallelism``, ``rate`` and ``period_s`` are the key's.
    """
    limits = {
        name: options.pop(name)
        for name in ("parallelism", "rate", "period_s")
        if name in options
    }
    options.setdefault("retries", 0)
    publishes = [
        a_publish(
            f"http://localhost/{name}",
            delay_ms=delay_ms,
            queue_name=queue,
            options=Options(flow_control=FlowControl(key=key, **limits), **options),
        )
        for name in names or ["x"]
    ]
    return [
        receipt.message_id
        for receipts in engine.publish(publishes)
        for receipt in receipts
    ]


def starts(engine):
    """Each start: milliseconds after T0, and the name of who started."""
    page, _ = engine.logs(LogQuery(latest_first=False))
    return [
        (entry.time_ms - T0, entry.message.url.rpartition("/")[2])
        for entry in page
        if entry.state is State.ACTIVE
    ]


def start_times(engine):
    return [time for time, _ in starts(engine)]


def view(engine, key="k"):
    return engine.flow_control.get(key)


def count(engine, key="k"):
    """The starts of the open window, as the API shows them."""
    seen = view(engine, key)
    return started_in_period(seen.key, seen.usage, engine.now_ms)


# Rate


async def test_at_most_rate_start_in_a_window_and_the_next_at_its_end():
    """FLC-6: two in ten seconds, to the millisecond."""
    emulator, engine, _ = an_emulator()

    publish(engine, *"abcde", rate=2, period_s=10)
    await emulator.tenants.advance(None)

    assert starts(engine) == [
        (0, "a"),
        (0, "b"),
        (10_000, "c"),
        (10_000, "d"),
        (20_000, "e"),
    ]


async def test_a_window_opens_with_its_first_start():
    """FLC-6, Q-24: not with the clock's minute, nor with the first publish."""
    emulator, engine, _ = an_emulator()
    publish(engine, "first", rate=1, period_s=60, delay_ms=7_000)
    await turn(emulator, 7_000)

    publish(engine, "second", rate=1, period_s=60)
    await emulator.tenants.advance(None)

    assert start_times(engine) == [7_000, 67_000]


async def test_the_start_after_a_pause_opens_a_window_of_its_own():
    """FLC-6: the windows aren't a grid."""
    emulator, engine, _ = an_emulator()
    publish(engine, "a", rate=1, period_s=10)
    await turn(emulator, 15_000)

    publish(engine, "b", "c", rate=1, period_s=10)
    await emulator.tenants.advance(None)

    assert start_times(engine) == [0, 15_000, 25_000]


async def test_a_burst_across_two_windows_is_possible():
    """FLC-6, Q-24: windows are fixed, they don't slide."""
    emulator, engine, _ = an_emulator()
    publish(engine, "a", rate=3, period_s=10)
    await turn(emulator, 9_999)
    publish(engine, "b", "c", "d", "e", rate=3, period_s=10)

    await emulator.tenants.advance(None)

    assert start_times(engine) == [0, 9_999, 9_999, 10_000, 10_000]


async def test_the_period_is_a_second_unless_it_is_given():
    """FLC-2."""
    emulator, engine, _ = an_emulator()

    publish(engine, "a", "b", "c", rate=1)
    await emulator.tenants.advance(None)

    assert start_times(engine) == [0, 1000, 2000]


async def test_a_period_may_be_a_week():
    """FLC-2, FLC-11: nothing is rejected, however long it waits."""
    emulator, engine, _ = an_emulator()

    publish(engine, "a", "b", rate=1, period_s=WEEK_S)
    await emulator.tenants.advance(T0 + WEEK_S * 1000 - 1)
    assert start_times(engine) == [0]
    await emulator.tenants.advance(None)

    assert emulator.clock.now_ms() == T0 + WEEK_S * 1000
    assert engine.pending == 0


@few
@given(
    st.integers(1, 4),
    st.integers(1, 20),
    st.lists(st.integers(0, 30_000), min_size=1, max_size=12),
)
def test_never_more_than_rate_start_in_a_window(rate, period_s, delays_ms):
    """FLC-6: whenever they fall due; and nobody waits while there is room."""

    async def scenario():
        emulator, engine, _ = an_emulator()
        for delay_ms in delays_ms:
            publish(engine, rate=rate, period_s=period_s, delay_ms=delay_ms)
        await emulator.tenants.advance(None)
        return start_times(engine)

    expected = []
    window_ms, started = None, 0
    now_ms = 0
    for due_ms in sorted(delays_ms):
        now_ms = max(now_ms, due_ms)
        if window_ms is not None and now_ms < window_ms + period_s * 1000:
            if started == rate:
                now_ms = window_ms + period_s * 1000
                window_ms, started = now_ms, 0
        else:
            window_ms, started = now_ms, 0
        started += 1
        expected.append(now_ms)

    assert asyncio.run(scenario()) == expected


# Parallelism


async def test_at_most_parallelism_are_under_way():
    """FLC-5: until the response has come."""
    emulator, engine, transport = an_emulator(Hang())

    publish(engine, *"abc", parallelism=2, timeout_ms=5000)
    await quiet()
    assert transport.in_flight == 2
    assert view(engine).usage.in_flight == 2
    assert view(engine).waitlist_size == 1

    await turn(emulator, 5000)
    assert starts(engine) == [(0, "a"), (0, "b"), (5000, "c")]
    assert view(engine).usage.in_flight == 1


@pytest.mark.parametrize("outcome", [OK, ERROR, Unreachable("refused")])
async def test_a_delivery_that_ends_gives_its_slot_back(outcome):
    """FLC-5: however it ended."""
    emulator, engine, transport = an_emulator(outcome)

    publish(engine, *"abcd", parallelism=1)
    await emulator.tenants.advance(None)

    assert len(starts(engine)) == 4
    assert transport.most_in_flight == 1
    assert view(engine).usage.in_flight == 0


async def test_a_retry_wait_holds_no_slot_and_the_retry_needs_one():
    """FLC-9."""
    emulator, engine, _ = an_emulator(ERROR, Hang())
    publish(engine, "a", parallelism=1, retries=1, retry_delay="1000")
    publish(engine, "b", parallelism=1, timeout_ms=5000)
    await quiet()
    assert starts(engine) == [(0, "a"), (0, "b")]

    await turn(emulator, 1000)
    assert view(engine).waitlist_size == 1
    await turn(emulator, 5000)

    assert starts(engine)[2:] == [(5000, "a")]


async def test_retries_count_for_the_rate():
    """FLC-9."""
    emulator, engine, _ = an_emulator(ERROR, OK)

    publish(engine, "a", rate=1, period_s=10, retries=1, retry_delay="3000")
    await emulator.tenants.advance(None)

    assert starts(engine) == [(0, "a"), (10_000, "a")]


async def test_a_cancelled_delivery_keeps_its_slot_until_it_has_ended():
    """FLC-5, MSG-12."""
    emulator, engine, transport = an_emulator(Hang())
    (first,) = publish(engine, "a", parallelism=1, timeout_ms=5000)
    publish(engine, "b", parallelism=1)
    await quiet()

    engine.cancel(first)
    await quiet()
    assert transport.in_flight == 1
    await turn(emulator, 5000)

    assert starts(engine) == [(0, "a"), (5000, "b")]


async def test_both_limits_must_allow_a_start():
    """FLC-7."""
    emulator, engine, _ = an_emulator(Hang())

    publish(engine, *"abcd", parallelism=1, rate=2, period_s=60, timeout_ms=5000)
    for after_ms in (5000, 10_000, 59_999, 60_000, 65_000):
        await turn(emulator, after_ms)

    assert starts(engine) == [(0, "a"), (5000, "b"), (60_000, "c"), (65_000, "d")]


# Keys


async def test_limits_belong_to_the_key_whatever_the_url():
    """FLC-1."""
    emulator, engine, _ = an_emulator()

    publish(engine, "a", "b", key="k", rate=1, period_s=10)
    publish(engine, "c", "d", key="l", rate=1, period_s=20)
    await emulator.tenants.advance(None)

    assert starts(engine) == [(0, "a"), (0, "c"), (10_000, "b"), (20_000, "d")]


async def test_a_message_without_a_key_is_not_held():
    """FLC-1, FLC-3."""
    _, engine, _ = an_emulator()
    publish(engine, "a", "b", rate=1, period_s=10)

    engine.publish([a_publish("http://localhost/free")])
    await quiet()

    assert starts(engine) == [(0, "a"), (0, "free")]


async def test_a_key_without_limits_holds_nobody():
    """FLC-3, HDR-7."""
    _, engine, transport = an_emulator(Hang())

    publish(engine, *"abcde")
    await quiet()

    assert transport.in_flight == 5
    key = view(engine).key
    assert (key.parallelism, key.rate, key.period_s) == (None, None, 1)


@pytest.mark.parametrize("delay_ms", [0, MINUTE_MS])
async def test_a_key_exists_once_a_publish_with_it_is_accepted(delay_ms):
    """FLC-21: delayed or not."""
    _, engine, _ = an_emulator()

    publish(engine, delay_ms=delay_ms, rate=5, period_s=60, parallelism=2)

    key = view(engine).key
    assert (key.rate, key.period_s, key.parallelism) == (5, 60, 2)
    assert not any((key.is_paused, key.is_pinned_rate, key.is_pinned_parallelism))


async def test_an_unknown_key_is_not_found():
    """FLC-22."""
    _, engine, _ = an_emulator()

    with pytest.raises(NotFound):
        view(engine)


@pytest.mark.parametrize(
    ("search", "names"),
    [("", ["user-1", "user-2", "other"]), ("user", ["user-1", "user-2"]), ("z", [])],
)
async def test_keys_are_listed_and_searched_by_a_part_of_their_name(search, names):
    """FLC-22."""
    _, engine, _ = an_emulator()
    for name in ("user-1", "user-2", "other"):
        publish(engine, key=name)

    assert [seen.key.key for seen in engine.flow_control.list(search)] == names


async def test_a_key_goes_on_to_exist_when_nobody_uses_it():
    """Q-22."""
    emulator, engine, _ = an_emulator()
    publish(engine, rate=1)
    await emulator.tenants.advance(T0 + 365 * 86_400_000)

    assert view(engine).key.rate == 1


# The latest configuration wins


async def test_the_latest_message_configures_the_key_for_those_that_wait_too():
    """FLC-4."""
    emulator, engine, _ = an_emulator()
    publish(engine, *"abc", rate=1, period_s=60)
    await turn(emulator, 1000)
    assert start_times(engine) == [0]

    publish(engine, "d", rate=3, period_s=60)
    await quiet()
    assert starts(engine) == [(0, "a"), (1000, "b"), (1000, "c")]
    await emulator.tenants.advance(None)

    assert starts(engine)[3:] == [(60_000, "d")]


async def test_a_setting_that_the_latest_message_lacks_is_unset():
    """FLC-4: and whoever it held may start."""
    _, engine, transport = an_emulator(Hang())
    publish(engine, *"abc", parallelism=1)
    await quiet()
    assert transport.in_flight == 1

    publish(engine, "d", rate=10, period_s=60)
    await quiet()

    key = view(engine).key
    assert (key.parallelism, key.rate, key.period_s) == (None, 10, 60)
    assert transport.in_flight == 4


async def test_lowering_the_parallelism_lets_those_under_way_finish():
    """FLC-4, FLC-5."""
    emulator, engine, transport = an_emulator(Hang())
    publish(engine, *"abc", parallelism=3, timeout_ms=5000)
    await quiet()

    publish(engine, "d", parallelism=1)
    await quiet()
    assert transport.in_flight == 3
    await turn(emulator, 5000)

    assert starts(engine)[3:] == [(5000, "d")]
    assert transport.in_flight == 1


async def test_a_message_that_is_not_due_yet_configures_its_key_at_once():
    """FLC-4: the latest accepted one."""
    _, engine, _ = an_emulator()
    publish(engine, rate=1, period_s=60)

    publish(engine, rate=7, period_s=70, delay_ms=MINUTE_MS)

    assert (view(engine).key.rate, view(engine).key.period_s) == (7, 70)


async def test_of_several_in_one_batch_the_last_one_counts():
    """FLC-4, BAT-12."""
    _, engine, _ = an_emulator()

    engine.publish(
        [
            a_publish(options=Options(flow_control=FlowControl(key="k", rate=rate)))
            for rate in (5, 9, 2)
        ]
    )

    assert view(engine).key.rate == 2


async def test_a_duplicate_configures_nothing():
    """FLC-4, DED-1: it isn't accepted, it produces nothing."""
    _, engine, _ = an_emulator()
    for rate in (5, 9):
        flow_control = FlowControl(key="k", rate=rate)
        engine.publish(
            [
                a_publish(
                    deduplication_id="x", options=Options(flow_control=flow_control)
                )
            ]
        )

    assert view(engine).key.rate == 5


# Wait list


async def test_those_that_wait_are_served_in_the_order_in_which_they_became_due():
    """FLC-8, FLC-10: a delayed one joins when it is due."""
    emulator, engine, _ = an_emulator()
    publish(engine, "a", rate=1, period_s=10)
    publish(engine, "late", rate=1, period_s=10, delay_ms=5000)
    publish(engine, "b", rate=1, period_s=10)
    await turn(emulator, 4999)
    assert view(engine).waitlist_size == 1
    await turn(emulator, 5000)
    assert view(engine).waitlist_size == 2
    publish(engine, "c", rate=1, period_s=10)

    await emulator.tenants.advance(None)

    assert [name for _, name in starts(engine)] == ["a", "b", "late", "c"]


async def test_what_falls_due_late_is_not_overtaken():
    """FLC-8: the clock has run on before anybody woke, and a request comes first."""
    emulator, engine, _ = an_emulator()
    publish(engine, "late", delay_ms=1000, rate=1, period_s=10)
    await quiet()

    emulator.clock.set(T0 + 2000)
    publish(engine, "now", rate=1, period_s=10)
    await emulator.tenants.advance(None)

    assert starts(engine) == [(2000, "late"), (12_000, "now")]


async def test_a_retry_joins_the_wait_list_when_it_is_due():
    """FLC-8, FLC-9: behind those that became due before."""
    emulator, engine, _ = an_emulator(ERROR, OK)
    publish(engine, "a", rate=1, period_s=10, retries=1, retry_delay="5000")
    publish(engine, "b", rate=1, period_s=10)
    await turn(emulator, 6000)
    publish(engine, "c", rate=1, period_s=10)

    await emulator.tenants.advance(None)

    assert [name for _, name in starts(engine)] == ["a", "b", "a", "c"]


@pytest.mark.parametrize("which", [1, 2])
async def test_a_cancelled_message_leaves_the_wait_list(which):
    """FLC-8, FLC-20."""
    emulator, engine, _ = an_emulator()
    ids = publish(engine, *"abc", rate=1, period_s=10)
    await quiet()
    assert view(engine).waitlist_size == 2

    engine.cancel(ids[which])
    assert view(engine).waitlist_size == 1
    await emulator.tenants.advance(None)

    assert starts(engine) == [(0, "a"), (10_000, "c" if which == 1 else "b")]


async def test_when_all_that_waited_is_cancelled_the_emulator_is_idle():
    """FLC-8: no reason to turn the clock to the end of the window."""
    emulator, engine, _ = an_emulator()
    _, second = publish(engine, "a", "b", rate=1, period_s=WEEK_S)
    await quiet()

    engine.cancel(second)
    await emulator.tenants.advance(None)

    assert emulator.clock.now_ms() == T0


async def test_a_message_behind_a_cancelled_one_is_not_forgotten():
    """FLC-8, FLC-27, LIM-8: though the account was full when its turn came."""
    emulator, engine, transport = an_emulator(OK, OK, Hang(), quota="free")
    publish(engine, "j0", "j1", key="j", rate=1, period_s=30)
    _, second, _ = publish(engine, "k0", "k1", "k2", rate=1, period_s=60)
    for number in range(10):
        publish(engine, f"busy{number}", key=f"busy{number}", timeout_ms=40_000)
    await quiet()

    engine.flow_control.reset_rate("k")
    engine.cancel(second)
    await turn(emulator, 30_000)
    transport.script = [OK]
    await turn(emulator, 40_000)

    assert {name for _, name in starts(engine)[-2:]} == {"k2", "j1"}
    assert engine.pending == 0


# Pause


async def test_a_paused_key_starts_nobody_and_takes_everybody():
    """FLC-23."""
    emulator, engine, _ = an_emulator()
    engine.flow_control.set_paused("k", True)

    publish(engine, "a", "b")
    await turn(emulator, MINUTE_MS)
    assert starts(engine) == []
    assert view(engine).waitlist_size == 2
    assert view(engine).key.is_paused

    engine.flow_control.set_paused("k", False)
    await quiet()
    assert starts(engine) == [(MINUTE_MS, "a"), (MINUTE_MS, "b")]


async def test_a_pause_lets_the_delivery_under_way_complete():
    """FLC-23: and holds its retry."""
    emulator, engine, _ = an_emulator(ERROR, OK)
    publish(engine, "a", retries=1, retry_delay="1000")
    engine.flow_control.set_paused("k", True)

    await turn(emulator, 5000)
    assert start_times(engine) == [0]
    engine.flow_control.set_paused("k", False)
    await quiet()

    assert start_times(engine) == [0, 5000]


async def test_the_period_elapses_and_the_count_is_kept_while_paused():
    """FLC-23."""
    emulator, engine, _ = an_emulator()
    publish(engine, *"abcd", rate=2, period_s=10)
    await quiet()

    engine.flow_control.set_paused("k", True)
    await turn(emulator, 5000)
    assert count(engine) == 2
    engine.flow_control.set_paused("k", False)
    await quiet()
    assert start_times(engine) == [0, 0]

    engine.flow_control.set_paused("k", True)
    await turn(emulator, 12_000)
    assert count(engine) == 0
    engine.flow_control.set_paused("k", False)
    await quiet()
    assert start_times(engine) == [0, 0, 12_000, 12_000]


async def test_a_message_does_not_resume_a_paused_key():
    """FLC-4, FLC-23: a pause isn't configuration."""
    _, engine, _ = an_emulator()
    engine.flow_control.set_paused("k", True)

    publish(engine, "a", rate=5)
    await quiet()

    assert view(engine).key.is_paused
    assert starts(engine) == []


@pytest.mark.parametrize("is_paused", [True, False])
async def test_repeating_a_pause_or_a_resume_is_harmless(is_paused):
    """FLC-23."""
    _, engine, _ = an_emulator()
    publish(engine, "a")

    for _ in range(3):
        engine.flow_control.set_paused("k", is_paused)

    assert view(engine).key.is_paused is is_paused


# Pin, unpin


async def test_a_pinned_limit_is_in_force_whatever_messages_say():
    """FLC-24."""
    emulator, engine, _ = an_emulator()
    publish(engine, rate=100, period_s=1, delay_ms=1)
    engine.flow_control.pin("k", parallelism=3, rate=1, period_s=10)

    publish(engine, *"abc", parallelism=50, rate=100, period_s=1)
    await emulator.tenants.advance(None)

    key = view(engine).key
    assert (key.parallelism, key.rate, key.period_s) == (3, 1, 10)
    assert key.is_pinned_parallelism
    assert key.is_pinned_rate
    assert start_times(engine) == [0, 10_000, 20_000, 30_000]


async def test_pinning_one_aspect_leaves_the_other_to_messages():
    """FLC-24."""
    _, engine, _ = an_emulator()
    engine.flow_control.pin("k", parallelism=3, rate=None, period_s=None)

    publish(engine, parallelism=9, rate=5, period_s=50)

    key = view(engine).key
    assert (key.parallelism, key.rate, key.period_s) == (3, 5, 50)
    assert key.is_pinned_parallelism
    assert not key.is_pinned_rate


async def test_a_pinned_period_belongs_to_the_rate():
    """FLC-24."""
    _, engine, _ = an_emulator()
    publish(engine, rate=5, period_s=50)
    engine.flow_control.pin("k", parallelism=None, rate=None, period_s=120)

    publish(engine, rate=9, period_s=1)

    key = view(engine).key
    assert (key.rate, key.period_s, key.is_pinned_rate) == (5, 120, True)


async def test_pinning_resets_the_count_and_the_period():
    """FLC-24."""
    emulator, engine, _ = an_emulator()
    publish(engine, *"abcd", rate=1, period_s=60)
    await turn(emulator, 5000)
    assert count(engine) == 1

    engine.flow_control.pin("k", parallelism=None, rate=2, period_s=60)
    await quiet()

    assert view(engine).usage.period_start_ms == T0 + 5000
    assert starts(engine) == [(0, "a"), (5000, "b"), (5000, "c")]
    await emulator.tenants.advance(None)
    assert starts(engine)[3:] == [(65_000, "d")]


async def test_a_higher_pinned_parallelism_starts_more_at_once():
    """FLC-24."""
    _, engine, transport = an_emulator(Hang())
    publish(engine, *"abcd", parallelism=1)
    await quiet()

    engine.flow_control.pin("k", parallelism=3, rate=None, period_s=None)
    await quiet()

    assert transport.in_flight == 3


@pytest.mark.parametrize(
    ("parallelism", "rate", "expected"),
    [
        (True, True, (9, 90, 900)),
        (True, False, (9, 2, 20)),
        (False, True, (1, 90, 900)),
        (False, False, (1, 2, 20)),
    ],
)
async def test_aspects_are_unpinned_independently(parallelism, rate, expected):
    """FLC-25: what is pinned stays in force until another configuration arrives."""
    _, engine, _ = an_emulator()
    engine.flow_control.pin("k", parallelism=1, rate=2, period_s=20)

    engine.flow_control.unpin("k", parallelism=parallelism, rate=rate)

    key = view(engine).key
    assert (key.parallelism, key.rate, key.period_s) == (1, 2, 20)
    assert (key.is_pinned_parallelism, key.is_pinned_rate) == (
        not parallelism,
        not rate,
    )
    publish(engine, parallelism=9, rate=90, period_s=900)
    key = view(engine).key
    assert (key.parallelism, key.rate, key.period_s) == expected


# Reset


async def test_a_reset_begins_a_new_period_and_lets_those_that_wait_start():
    """FLC-27: and changes no configuration."""
    emulator, engine, _ = an_emulator()
    publish(engine, *"abcd", rate=2, period_s=60)
    await turn(emulator, 5000)
    before = view(engine).key

    engine.flow_control.reset_rate("k")
    await quiet()

    assert view(engine).key == before
    assert view(engine).usage.period_start_ms == T0 + 5000
    assert starts(engine)[2:] == [(5000, "c"), (5000, "d")]
    assert count(engine) == 2


async def test_after_a_reset_without_starts_the_count_is_0():
    """FLC-27."""
    emulator, engine, _ = an_emulator()
    publish(engine, "a", rate=2, period_s=60)
    await turn(emulator, 5000)
    assert count(engine) == 1

    engine.flow_control.reset_rate("k")

    assert count(engine) == 0
    assert view(engine).usage.period_start_ms == T0 + 5000


async def test_a_reset_frees_no_slot():
    """FLC-27 is about the rate."""
    _, engine, transport = an_emulator(Hang())
    publish(engine, "a", "b", parallelism=1, rate=1, period_s=60)
    await quiet()

    engine.flow_control.reset_rate("k")
    await quiet()

    assert transport.in_flight == view(engine).usage.in_flight == 1


# Unknown keys


async def test_pausing_an_unknown_key_makes_it():
    """FLC-28, Q-21."""
    _, engine, _ = an_emulator()

    engine.flow_control.set_paused("k", True)

    assert view(engine).key.is_paused


async def test_pinning_an_unknown_key_makes_it():
    """FLC-28, Q-21."""
    _, engine, _ = an_emulator()

    engine.flow_control.pin("k", parallelism=3, rate=None, period_s=None)

    assert view(engine).key.parallelism == 3


@pytest.mark.parametrize(
    "verb",
    [
        lambda flow_control: flow_control.set_paused("k", False),
        lambda flow_control: flow_control.unpin("k", parallelism=True, rate=True),
        lambda flow_control: flow_control.reset_rate("k"),
    ],
    ids=["resume", "unpin", "reset"],
)
async def test_other_actions_on_an_unknown_key_do_nothing(verb):
    """FLC-28, Q-21."""
    _, engine, _ = an_emulator()

    verb(engine.flow_control)

    assert engine.flow_control.list() == []


# What is shown


async def test_a_key_shows_its_counts():
    """FLC-20, FLC-5, FLC-30."""
    emulator, engine, _ = an_emulator(Hang())
    publish(engine, *"abc", parallelism=2, rate=5, period_s=60)
    await turn(emulator, 1000)

    seen = view(engine)
    assert seen.usage.in_flight == 2
    assert seen.waitlist_size == 1
    assert seen.usage.period_start_ms == T0
    assert count(engine) == 2


async def test_the_count_is_0_once_the_window_has_passed():
    """FLC-30."""
    emulator, engine, _ = an_emulator()
    publish(engine, "a", "b", rate=5, period_s=60)

    await turn(emulator, MINUTE_MS - 1)
    assert count(engine) == 2
    await turn(emulator, MINUTE_MS)
    assert count(engine) == 0


# Whatever else has a key


async def test_callbacks_obey_their_own_key():
    """CBK-10, FLC-1: and not that of their source (CBK-9)."""
    emulator, engine, _ = an_emulator()
    callback = Callback(
        url="http://localhost/callback",
        options=Options(flow_control=FlowControl(key="c", rate=1, period_s=10)),
    )

    publish(engine, *"abc", key="k", callback=callback)
    await emulator.tenants.advance(None)

    assert [time for time, name in starts(engine) if name == "callback"] == [
        0,
        10_000,
        20_000,
    ]
    assert view(engine, "c").key.rate == 1
    assert count(engine, "c") == 1


async def test_a_callback_without_a_key_is_not_held_by_that_of_its_source():
    """CBK-9."""
    _, engine, _ = an_emulator()
    callback = Callback(url="http://localhost/callback")

    publish(engine, "a", "b", rate=1, period_s=10, callback=callback)
    await quiet()

    assert starts(engine) == [(0, "a"), (0, "callback")]


async def test_what_a_schedule_produces_obeys_its_key():
    """FLC-1: it fires every 60 seconds, and one may start every 90."""
    emulator, engine, _ = an_emulator()
    flow_control = FlowControl(key="k", rate=1, period_s=90)
    engine.schedules.put(
        a_publish("http://localhost/s", options=Options(flow_control=flow_control)),
        "* * * * *",
        "s",
    )

    await emulator.tenants.advance(T0 + FIRST_MINUTE_MS + 3 * MINUTE_MS)

    assert [time - FIRST_MINUTE_MS for time in start_times(engine)] == [
        0,
        90_000,
        180_000,
    ]
    assert view(engine).waitlist_size == 1


async def test_a_schedule_configures_its_key_when_it_fires():
    """FLC-4, FLC-21: nothing is accepted before."""
    emulator, engine, _ = an_emulator()
    flow_control = FlowControl(key="k", rate=7)
    engine.schedules.put(
        a_publish(options=Options(flow_control=flow_control)), "* * * * *", "s"
    )
    assert engine.flow_control.list() == []

    await turn(emulator, FIRST_MINUTE_MS)

    assert view(engine).key.rate == 7


async def test_a_retry_from_the_dlq_keeps_its_key_and_configures_it():
    """DLQ-35, FLC-4."""
    emulator, engine, _ = an_emulator(ERROR, OK)
    publish(engine, "a", rate=1, period_s=10)
    await turn(emulator, 1000)
    publish(engine, "b", rate=5, period_s=50)
    entries, _ = engine.dlq.list(DlqQuery())

    engine.dlq.retry(entries, Overrides())
    await emulator.tenants.advance(None)

    assert (view(engine).key.rate, view(engine).key.period_s) == (1, 10)
    assert starts(engine) == [(0, "a"), (1000, "b"), (10_000, "a")]


# The account's parallelism


async def test_no_more_deliveries_are_under_way_than_the_plan_allows():
    """LIM-8, FLC-29: the rest waits, whether they have keys or not."""
    emulator, engine, transport = an_emulator(Hang(), quota="free")
    publish(engine, *"abcdefgh", timeout_ms=5000)
    for _ in range(8):
        engine.publish([a_publish(options=Options(timeout_ms=5000, retries=0))])
    await quiet()
    assert transport.in_flight == 10
    assert engine.flow_control.active == 10

    await turn(emulator, 5000)
    assert transport.in_flight == 6
    assert engine.flow_control.active == 6

    await turn(emulator, 10_000)
    assert engine.flow_control.active == 0
    assert transport.most_in_flight == 10


async def test_a_slot_goes_to_whoever_became_due_first():
    """FLC-8, LIM-8: across keys, queues, and those without."""
    emulator, engine, _ = an_emulator(Hang(), quota="free")
    publish(engine, *(f"busy{number}" for number in range(10)), timeout_ms=5000)
    await quiet()
    publish(engine, "a", key="a")
    engine.publish([a_publish("http://localhost/b")])
    publish(engine, "c", key="c", queue="q")
    publish(engine, "d", key="a")

    await turn(emulator, 5000)

    assert [name for _, name in starts(engine)][10:] == ["a", "b", "c", "d"]


async def test_a_closed_key_keeps_no_slot_from_the_others():
    """LIM-8, FLC-6."""
    _, engine, _ = an_emulator(quota="free")
    publish(engine, *"abcdefghijkl", rate=1, period_s=60)

    engine.publish([a_publish("http://localhost/free")])
    await quiet()

    assert starts(engine) == [(0, "a"), (0, "free")]
