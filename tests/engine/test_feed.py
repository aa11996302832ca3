"""emulator/engine/feed.py: log entries to whoever listens."""

import asyncio

from emulator.core.model import LogEntry, State
from emulator.engine.feed import Feed
from tests.doubles import T0, a_message

MESSAGE = a_message()


def entries(*times):
    return [LogEntry(T0 + time, State.CREATED, MESSAGE) for time in times]


def shown(items):
    return [(item.sequence, item.user, item.entry.time_ms - T0) for item in items]


async def batch(subscription):
    """What has arrived, at once."""
    async with asyncio.timeout(1):
        return shown(await anext(aiter(subscription)))


async def rest(subscription):
    """What can still be read of a closed subscription."""
    return shown(await rest_of(subscription))


async def rest_of(subscription):
    return [item async for items in subscription for item in items]


async def test_a_listener_hears_what_is_written_from_now_on():
    feed = Feed()
    feed.emit("a", entries(1))
    subscription = feed.subscribe()

    feed.emit("a", entries(2, 3))
    feed.emit("b", entries(4))

    assert await batch(subscription) == [(2, "a", 2), (3, "a", 3), (4, "b", 4)]


async def test_every_listener_hears_everything():
    feed = Feed()
    one, other = feed.subscribe(), feed.subscribe()

    feed.emit("a", entries(1))

    assert await batch(one) == await batch(other) == [(1, "a", 1)]


async def test_a_listener_waits_for_what_comes():
    feed = Feed()
    subscription = feed.subscribe()
    listening = asyncio.ensure_future(anext(aiter(subscription)))
    await asyncio.sleep(0)
    assert not listening.done()

    feed.emit("a", entries(1))

    assert shown(await listening) == [(1, "a", 1)]


async def test_a_listener_that_has_read_waits_again():
    feed = Feed()
    subscription = feed.subscribe()
    feed.emit("a", entries(1))
    await batch(subscription)

    listening = asyncio.ensure_future(anext(aiter(subscription)))
    await asyncio.sleep(0)
    assert not listening.done()

    feed.emit("a", entries(2))
    assert shown(await listening) == [(2, "a", 2)]


async def test_nothing_comes_twice():
    feed = Feed()
    subscription = feed.subscribe()
    feed.emit("a", entries(1))
    await batch(subscription)

    feed.emit("a", entries(2))

    assert await batch(subscription) == [(2, "a", 2)]


async def test_a_wait_that_was_given_up_loses_nothing():
    """The page's heartbeat interrupts the wait."""
    feed = Feed()
    subscription = feed.subscribe()
    listening = asyncio.ensure_future(anext(aiter(subscription)))
    await asyncio.sleep(0)
    feed.emit("a", entries(1))

    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)

    assert await batch(subscription) == [(1, "a", 1)]


async def test_a_listener_that_comes_back_goes_on_where_it_was():
    feed = Feed()
    feed.emit("a", entries(1, 2, 3))

    subscription = feed.subscribe(after=1)
    feed.emit("a", entries(4))

    assert [item[0] for item in await batch(subscription)] == [2, 3, 4]
    assert subscription.take_dropped() == 0


async def test_a_listener_that_missed_nothing_gets_nothing_again():
    feed = Feed()
    feed.emit("a", entries(1, 2))

    subscription = feed.subscribe(after=2)
    feed.emit("a", entries(3))

    assert [item[0] for item in await batch(subscription)] == [3]


async def test_from_the_beginning_means_all_that_is_kept():
    feed = Feed()
    feed.emit("a", entries(1, 2))

    subscription = feed.subscribe(after=0)

    assert [item[0] for item in await batch(subscription)] == [1, 2]
    assert subscription.take_dropped() == 0


async def test_what_is_no_longer_kept_is_counted():
    feed = Feed()
    feed.emit("a", entries(*range(6000)))

    subscription = feed.subscribe(after=10)
    subscription.close()

    items = await rest(subscription)
    dropped = subscription.take_dropped()
    assert dropped > 0
    assert items[0][0] == 10 + dropped + 1
    assert items[-1][0] == 6000


async def test_after_a_number_from_another_life_all_that_is_kept_is_heard():
    feed = Feed()
    feed.emit("a", entries(1))

    subscription = feed.subscribe(after=1000)
    feed.emit("a", entries(2))

    assert [item[0] for item in await batch(subscription)] == [1, 2]
    assert subscription.take_dropped() == 0


async def test_a_slow_listener_loses_the_oldest_and_hears_how_many():
    """It never blocks, and it never grows."""
    feed = Feed()
    slow = feed.subscribe()

    feed.emit("a", entries(*range(25_000)))
    slow.close()

    items = await rest(slow)
    dropped = slow.take_dropped()
    assert dropped > 0
    assert len(items) + dropped == 25_000
    assert items[0][0] == dropped + 1
    assert slow.take_dropped() == 0


async def test_who_has_left_hears_no_more():
    feed = Feed()
    async with feed.subscribe() as subscription:
        feed.emit("a", entries(1))
    feed.emit("a", entries(2))

    assert await rest(subscription) == [(1, "a", 1)]


async def test_closing_wakes_a_listener_that_waits():
    feed = Feed()
    subscription = feed.subscribe()
    listening = asyncio.ensure_future(rest(subscription))
    await asyncio.sleep(0)

    subscription.close()

    assert await listening == []


async def test_closing_the_feed_ends_every_subscription():
    feed = Feed()
    one, other = feed.subscribe(), feed.subscribe()
    feed.emit("a", entries(1))

    feed.close()
    feed.emit("a", entries(2))

    assert await rest(one) == await rest(other) == [(1, "a", 1)]


async def test_leaving_twice_is_harmless():
    feed = Feed()
    subscription = feed.subscribe()

    subscription.close()
    subscription.close()

    assert await rest(subscription) == []


# How long the bodies are


def entries_of(*body_bytes):
    return [
        LogEntry(T0, State.CREATED, a_message(body=bytes(count)))
        for count in body_bytes
    ]


async def test_a_slow_listener_holds_no_more_bodies_than_it_may():
    feed = Feed()
    listener = feed.subscribe()

    feed.emit("user", entries_of(*[10_000_000] * 10))
    listener.close()
    items = await rest_of(listener)

    assert len(items) < 10
    assert listener.take_dropped() == 10 - len(items)
    assert sum(item.entry.size_bytes for item in items) <= 1 << 26


async def test_what_is_kept_for_who_comes_back_holds_no_more_either():
    feed = Feed()
    feed.emit("user", entries_of(*[10_000_000] * 10))

    returning = feed.subscribe(0)
    returning.close()
    items = await rest_of(returning)

    assert [item.sequence for item in items] == list(range(11 - len(items), 11))
    assert returning.take_dropped() == 10 - len(items)
    assert sum(item.entry.size_bytes for item in items) <= 1 << 26


async def test_what_was_forgotten_is_counted_for_who_comes_back():
    feed = Feed()
    feed.emit("user", entries(1, 2))

    feed.forget()
    returning = feed.subscribe(0)
    feed.emit("user", entries(3))
    items = await anext(aiter(returning))

    assert [item.sequence for item in items] == [3]
    assert returning.take_dropped() == 2


# How much at a time


async def test_many_items_come_in_batches():
    feed = Feed()
    listener = feed.subscribe()
    feed.emit("user", entries(*range(500)))

    batches = [await batch(listener) for _ in range(3)]

    assert [len(items) for items in batches] == [200, 200, 100]
    assert [item for items in batches for item in items] == [
        (n + 1, "user", n) for n in range(500)
    ]


async def test_long_items_come_in_smaller_batches():
    feed = Feed()
    listener = feed.subscribe()
    feed.emit("user", entries_of(*[600_000] * 5))

    assert [len(await batch(listener)) for _ in range(3)] == [2, 2, 1]


async def test_what_a_listener_has_not_asked_for_still_makes_room():
    feed = Feed()
    slow = feed.subscribe()
    feed.emit("user", entries_of(*[10_000_000] * 6))

    (first,) = await batch(slow)
    feed.emit("user", entries_of(*[10_000_000] * 6))
    (second,) = await batch(slow)

    assert first[0] == 1
    assert slow.take_dropped() == second[0] - first[0] - 1 > 0
