"""emulator/transport/pool.py: who gets a connection, who waits, and what is left."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.core.model import Unreachable
from emulator.transport import pool as pool_module
from emulator.transport.connection import Connection
from emulator.transport.pool import Pool
from emulator.transport.request import Place
from tests.transport.bare import LONGEST_S, destination, let_others_read

Waiting = asyncio.Task[Connection | Unreachable]


@asynccontextmanager
async def a_pool(most: int = 4, most_each: int = 2) -> AsyncIterator[Pool]:
    pool = Pool(most=most, most_each=most_each)
    try:
        yield pool
    finally:
        async with asyncio.timeout(LONGEST_S):
            await pool.close()
        assert pool.open == 0
        assert pool.idle == 0


async def taken(pool: Pool, place: Place) -> Connection:
    async with asyncio.timeout(LONGEST_S):
        connection = await pool.take(place)
    assert isinstance(connection, Connection)
    return connection


async def waiting(pool: Pool, place: Place) -> Waiting:
    """A call that waits for a connection."""
    task = asyncio.create_task(pool.take(place))
    await let_others_read()
    assert not task.done()
    return task


async def result_of(task: Waiting) -> Connection:
    async with asyncio.timeout(LONGEST_S):
        connection = await task
    assert isinstance(connection, Connection)
    return connection


async def cancel(task: Waiting) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_the_connection_that_was_used_last_is_used_next():
    async with destination() as bare, a_pool() as pool:
        place = Place("127.0.0.1", bare.port)
        first, second = [await taken(pool, place) for _ in range(2)]
        pool.give_back(second)
        pool.give_back(first)

        assert await taken(pool, place) is first
        assert await taken(pool, place) is second


async def test_a_fresh_connection_is_none_of_the_idle_ones():
    async with destination() as bare, a_pool() as pool:
        place = Place("127.0.0.1", bare.port)
        used = await taken(pool, place)
        pool.give_back(used)

        assert await pool.take(place, is_fresh=True) is not used


async def test_a_place_gets_no_more_connections_than_its_share():
    """A destination that never answers leaves the others theirs."""
    async with destination() as stuck, destination() as other, a_pool() as pool:
        place = Place("127.0.0.1", stuck.port)
        first, _ = [await taken(pool, place) for _ in range(2)]
        third = await waiting(pool, place)

        await taken(pool, Place("127.0.0.1", other.port))
        pool.give_back(first)

        assert await result_of(third) is first


async def test_a_connection_that_is_closed_lets_the_next_have_another():
    async with destination() as bare, a_pool(most_each=1) as pool:
        place = Place("127.0.0.1", bare.port)
        first = await taken(pool, place)
        second = await waiting(pool, place)
        first.abort()

        assert await result_of(second) is not first
        assert pool.open == 1


async def test_an_idle_connection_makes_room_for_another_place():
    async with destination() as one, destination() as two, a_pool(most=1) as pool:
        pool.give_back(await taken(pool, Place("127.0.0.1", one.port)))

        connection = await taken(pool, Place("127.0.0.1", two.port))

        assert connection.place.port == two.port
        assert (pool.open, pool.idle) == (1, 0)


async def test_a_connection_that_is_given_back_makes_room_for_another_place():
    async with destination() as one, destination() as two, a_pool(most=1) as pool:
        first = await taken(pool, Place("127.0.0.1", one.port))
        second = await waiting(pool, Place("127.0.0.1", two.port))
        pool.give_back(first)

        assert (await result_of(second)).place.port == two.port


async def test_places_that_wait_take_turns():
    async with destination() as one, destination() as two, a_pool(most=1) as pool:
        places = [Place("127.0.0.1", bare.port) for bare in (one, two)]
        connection = await taken(pool, places[0])
        calls = [
            await waiting(pool, place) for place in (places[1], places[1], places[0])
        ]
        ports = []
        for index in (0, 2, 1):
            connection.abort()
            connection = await result_of(calls[index])
            ports.append(connection.place.port)

        assert ports == [two.port, one.port, two.port]


async def test_whoever_stops_waiting_leaves_its_place_to_the_next():
    async with destination() as bare, a_pool(most_each=1) as pool:
        place = Place("127.0.0.1", bare.port)
        first = await taken(pool, place)
        calls = [await waiting(pool, place) for _ in range(3)]
        await cancel(calls[0])
        pool.give_back(first)
        calls[1].cancel()  # it has been given the connection already
        connection = await result_of(calls[2])

        assert connection is first
        assert pool.open == 1


async def test_a_slot_given_to_one_that_stops_waiting_is_not_lost():
    async with destination() as bare, a_pool(most_each=1) as pool:
        place = Place("127.0.0.1", bare.port)
        first = await taken(pool, place)
        calls = [await waiting(pool, place) for _ in range(2)]
        first.abort()
        await asyncio.sleep(0)
        await cancel(calls[0])

        assert await result_of(calls[1]) is not first


async def test_a_connection_that_its_server_closed_meanwhile_is_not_used(monkeypatch):
    """Nor one on which bytes wait that nobody asked for."""
    monkeypatch.setattr(pool_module, "_TRUSTED_S", 0)
    async with destination() as bare, a_pool() as pool:
        place = Place("127.0.0.1", bare.port)
        closed, spoken = [await taken(pool, place) for _ in range(2)]
        while len(bare.open) < 2:
            await let_others_read()
        pool.give_back(closed)
        pool.give_back(spoken)
        # Nothing lets our side of the loop run between these and the call.
        for writer in bare.open:
            peer = writer.get_extra_info("peername")[1]
            if peer == port_of(closed):
                writer.close()
                writer.get_extra_info("socket").shutdown(2)
            else:
                writer.write(b"hello")

        assert await taken(pool, place) not in (closed, spoken)


def port_of(connection: Connection) -> int:
    port = connection._socket.getsockname()[1]
    assert isinstance(port, int)
    return port


async def test_idle_connections_are_closed_after_a_while(monkeypatch):
    monkeypatch.setattr(pool_module, "_KEEP_IDLE_S", 0.02)
    async with destination() as bare, a_pool() as pool:
        place = Place("127.0.0.1", bare.port)
        first, second = [await taken(pool, place) for _ in range(2)]
        pool.give_back(first)
        pool.give_back(second)
        async with asyncio.timeout(LONGEST_S):
            while pool.open:
                await let_others_read()

        assert pool.idle == 0


async def test_each_idle_connection_has_its_own_while(monkeypatch):
    monkeypatch.setattr(pool_module, "_KEEP_IDLE_S", 0.02)
    loop = asyncio.get_running_loop()
    async with destination() as bare, a_pool() as pool, asyncio.timeout(LONGEST_S):
        place = Place("127.0.0.1", bare.port)
        first, second = [await taken(pool, place) for _ in range(2)]
        begin_s = loop.time()
        pool.give_back(first)
        while loop.time() < begin_s + 0.01:
            await let_others_read()
        pool.give_back(second)
        while pool.idle == 2:
            await let_others_read()

        assert not first.is_open
        assert second.is_open
        while pool.idle:
            await let_others_read()
        assert loop.time() >= begin_s + 0.03


async def test_a_connection_on_which_all_was_quiet_is_used_again(monkeypatch):
    monkeypatch.setattr(pool_module, "_TRUSTED_S", 0)
    async with destination() as bare, a_pool() as pool:
        place = Place("127.0.0.1", bare.port)
        first = await taken(pool, place)
        pool.give_back(first)

        assert await taken(pool, place) is first


async def test_a_place_that_refuses_takes_no_slot():
    """DLV-16."""
    async with destination() as bare:
        place = Place("127.0.0.1", bare.port)
    async with a_pool() as pool:
        outcome = await pool.take(place)

        assert outcome == Unreachable(f"127.0.0.1:{place.port}: connection refused")
        assert pool.open == 0


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        pytest.param(
            "::1", marks=pytest.mark.skipif(not has_ipv6(), reason="has no IPv6")
        ),
    ],
)
async def test_localhost_is_both_of_its_addresses(host):
    """PUB-6: an app listens on either, and nobody knows which."""
    async with destination(host=host) as bare, a_pool() as pool:
        connection = await taken(pool, Place("localhost", bare.port))

        assert connection.is_open


@pytest.mark.parametrize("host", ["alice.localhost", "a.b.LocalHost."])
async def test_names_below_localhost_are_on_this_machine(host):
    async with destination() as bare, a_pool() as pool:
        connection = await taken(pool, Place(host, bare.port))

        assert connection.is_open


async def test_localhost_without_an_app_refuses():
    """DLV-16."""
    async with destination() as bare:
        port = bare.port
    async with a_pool() as pool:
        outcome = await pool.take(Place("localhost", port))

    assert outcome == Unreachable(f"localhost:{port}: connection refused")


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.none() | st.integers(0, 40)),
        min_size=1,
        max_size=12,
    )
)
async def test_whenever_calls_are_cancelled_no_slot_is_lost(calls):
    """A call is to one of two places, and cancelled after a number of turns."""
    async with destination() as bare, a_pool(most=3, most_each=2) as pool:
        places = [Place("127.0.0.1", bare.port), Place("localhost", bare.port)]

        async def call(place: Place) -> None:
            connection = await pool.take(place)
            assert isinstance(connection, Connection)
            try:
                await let_others_read()
            except BaseException:
                connection.abort()
                raise
            pool.give_back(connection)

        tasks = [asyncio.create_task(call(places[index])) for index, _ in calls]
        for task, (_, turns) in zip(tasks, calls, strict=True):
            if turns is not None:
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
        await asyncio.wait(tasks, timeout=LONGEST_S)
        assert all(task.cancelled() or not task.exception() for task in tasks)

        for _ in range(2):
            await taken(pool, places[0])
        assert pool.open <= 3
