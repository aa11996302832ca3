"""emulator/engine/tenants.py: users share a clock and a feed, and nothing else."""

import asyncio

import pytest

from emulator import Emulator, Settings
from emulator.core.filters import DlqQuery, LogQuery, MessageSelection
from emulator.core.model import Options, Responded, SigningKeys
from emulator.errors import Conflict, NotFound
from emulator.settings import DEV_USERS, User
from tests.doubles import T0, Hang, ScriptedTransport, a_publish

OK = Responded(200)

READER = User(
    name="reader",
    token="a token",
    keys=SigningKeys("sig_1", "sig_2"),
    read_only_token="another token",
)


def an_emulator(*script, **settings):
    """An emulator at T0 that calls by a script."""
    fields = {"clock": "virtual", "start_time_ms": T0, "seed": 1}
    emulator = Emulator(
        Settings(**{**fields, **settings}),
        transport=ScriptedTransport(script or [OK]),
    )
    for engine in emulator.tenants.engines:
        engine.scheduler.start()
    return emulator


def publish(engine, **changes):
    ((receipt,),) = engine.publish([a_publish(**changes)])
    return receipt


# Who calls


@pytest.mark.parametrize("number", range(4))
def test_a_token_opens_its_user_s_engine(number):
    """AUTH-10, ENV-11."""
    tenants = an_emulator_at_rest().tenants

    access = tenants.access(DEV_USERS[number].token)

    assert access.engine is tenants.engines[number]
    assert access.engine.user == DEV_USERS[number].name
    assert not access.is_read_only


@pytest.mark.parametrize(
    "token",
    [
        "",
        "unknown",
        DEV_USERS[0].token[:-1],
        DEV_USERS[0].token + " ",
        DEV_USERS[0].token.lower(),
        "tökén",
        "\udcff",
    ],
)
def test_any_other_token_opens_nothing(token):
    """AUTH-5, AUTH-6: compared exactly, whatever bytes a header carried."""
    assert an_emulator_at_rest().tenants.access(token) is None


def test_a_read_only_token_opens_the_same_engine_for_reading():
    """AUTH-9."""
    tenants = an_emulator_at_rest(users=(*DEV_USERS, READER)).tenants

    access = tenants.access(READER.read_only_token)

    assert access.engine is tenants.access(READER.token).engine
    assert access.is_read_only
    assert not tenants.access(READER.token).is_read_only


def an_emulator_at_rest(**settings):
    """An emulator that doesn't deliver: no event loop is needed."""
    return Emulator(Settings(**settings), transport=ScriptedTransport())


# Isolation


async def test_nothing_of_one_user_is_visible_to_another():
    """AUTH-8: messages, log, DLQ, deduplication ids."""
    emulator = an_emulator(Responded(500))
    one, other = emulator.tenants.engines[:2]
    receipt = publish(one, deduplication_id="a", options=Options(retries=0))
    waiting = publish(one, delay_ms=1000)
    await emulator.tenants.advance(T0)
    (entry,) = one.dlq.list(DlqQuery())[0]

    for message_id in (receipt.message_id, waiting.message_id):
        with pytest.raises(NotFound):
            other.message(message_id)
        with pytest.raises(NotFound):
            other.cancel(message_id)
    with pytest.raises(NotFound):
        other.dlq.get(entry.dlq_id)
    assert list(other.logs(LogQuery())[0]) == []
    assert list(other.dlq.list(DlqQuery())[0]) == []
    assert other.cancel_selected(MessageSelection()) == 0
    assert other.pending == 0
    assert not publish(other, deduplication_id="a").deduplicated
    assert one.pending == 1


async def test_a_rotation_concerns_one_user():
    """KEY-3, SIG-16."""
    one, other = an_emulator().tenants.engines[:2]

    one.rotate_keys()

    assert one.keys.current == DEV_USERS[0].keys.next
    assert other.keys == DEV_USERS[1].keys


async def test_one_user_s_deliveries_take_no_slot_of_another_s():
    """LIM-8: the limit is the account's."""
    emulator = an_emulator(Hang(), quota="free")
    one, other = emulator.tenants.engines[:2]
    for _ in range(15):
        publish(one)
    publish(other)
    for _ in range(5):
        await asyncio.sleep(0)

    assert one.scheduler.in_flight == 10
    assert other.scheduler.in_flight == 1
    assert emulator.tenants.in_flight == emulator.in_flight == 11
    assert emulator.tenants.pending == emulator.pending == 16


async def test_message_ids_differ_between_users():
    """FMT-1: they draw from one source of chance."""
    one, other = an_emulator().tenants.engines[:2]

    assert publish(one).message_id != publish(other).message_id


# What they share


async def test_the_feed_announces_every_user_s_entries_in_one_order():
    emulator = an_emulator()
    one, other = emulator.tenants.engines[:2]
    subscription = emulator.tenants.feed.subscribe()
    publish(one, delay_ms=1000)
    publish(other, delay_ms=1000)
    publish(one, delay_ms=1000)

    items = await anext(aiter(subscription))

    assert [(item.sequence, item.user) for item in items] == [
        (1, "defaultUser"),
        (2, "testUser1"),
        (3, "defaultUser"),
    ]


async def test_a_reset_is_every_user_s():
    emulator = an_emulator()
    for engine in emulator.tenants.engines:
        publish(engine, delay_ms=1000)
        engine.rotate_keys()

    emulator.tenants.reset()

    assert emulator.tenants.pending == 0
    for engine, user in zip(emulator.tenants.engines, DEV_USERS, strict=True):
        assert engine.logs(LogQuery()) == ([], None)
        assert engine.keys == user.keys


# The clock


@pytest.mark.parametrize("to_ms", [None, T0 + 1000])
async def test_a_real_clock_cannot_be_advanced(to_ms):
    emulator = an_emulator(clock="real")

    with pytest.raises(Conflict) as raised:
        await emulator.tenants.advance(to_ms)

    assert "virtual" in str(raised.value)


async def test_the_clock_does_not_go_back():
    emulator = an_emulator()

    with pytest.raises(Conflict) as raised:
        await emulator.tenants.advance(T0 - 1)

    assert str(T0) in str(raised.value)
    assert emulator.clock.now_ms() == T0


async def test_two_that_turn_the_clock_take_turns():
    """The second goes on where the first has left it."""
    emulator = an_emulator()
    engine = emulator.tenants.engines[0]
    publish(engine, delay_ms=1000)
    publish(engine, delay_ms=3000)

    await asyncio.gather(
        emulator.tenants.advance(T0 + 2000), emulator.tenants.advance(T0 + 4000)
    )

    assert emulator.clock.now_ms() == T0 + 4000
    assert engine.pending == 0


async def test_the_later_of_two_that_turn_the_clock_cannot_turn_it_back():
    emulator = an_emulator()
    publish(emulator.tenants.engines[0], delay_ms=1000)

    _, refused = await asyncio.gather(
        emulator.tenants.advance(T0 + 4000),
        emulator.tenants.advance(T0 + 2000),
        return_exceptions=True,
    )

    assert isinstance(refused, Conflict)
    assert emulator.clock.now_ms() == T0 + 4000


async def test_two_who_turn_the_clock_on_turn_it_on_by_both():
    """The second counts from where the first has left it."""
    emulator = an_emulator()

    await asyncio.gather(
        emulator.tenants.advance(None, by_ms=7_200_000),
        emulator.tenants.advance(None, by_ms=3_600_000),
    )

    assert emulator.clock.now_ms() == T0 + 10_800_000


async def test_held_engines_deliver_only_while_the_clock_is_turned():
    transport = ScriptedTransport()
    emulator = Emulator(
        Settings(clock="virtual", start_time_ms=T0), transport=transport
    )
    engine = emulator.tenants.engines[0]
    engine.start()
    emulator.tenants.hold()
    engine.publish([a_publish()])
    await asyncio.sleep(0)
    assert transport.requests == []
    await emulator.tenants.advance(T0)
    engine.publish([a_publish()])
    await asyncio.sleep(0)

    assert len(transport.requests) == 1
    assert engine.pending == 1
