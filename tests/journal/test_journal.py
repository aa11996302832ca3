"""The journal at work: what is written when, and what happens if it can't be."""

import asyncio
import sqlite3
from dataclasses import replace

import pytest

from emulator.core.model import Callback, Options, Responded, SigningKeys, State
from emulator.core.resources import Declared, Endpoint, Schedule
from emulator.core.transition import Transition
from emulator.errors import JournalError, LimitExceeded, NotStored
from emulator.journal.group import Counter, Group, Numbers
from emulator.settings import DEV_USERS
from tests.doubles import T0, Hang, ScriptedTransport, a_publish, quiet
from tests.journal.states import (
    an_emulator,
    copied,
    restored,
    state_of,
    states_of,
)


@pytest.fixture
def db(tmp_path):
    return tmp_path / "qemu.db"


def rows(db, query):
    """What is in a file at this moment, for everybody to see."""
    connection = sqlite3.connect(db)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def publish(engine, *, count=1, **changes):
    receipts = engine.publish([a_publish(**changes)] * count)
    return [receipt.message_id for own in receipts for receipt in own]


# Groups


async def test_what_is_committed_in_one_turn_of_the_loop_is_one_transaction(db):
    async with an_emulator(db) as emulator:
        journal, engine = emulator.tenants.journal, emulator.tenants.engines[0]
        first = publish(engine, delay_ms=1000)
        second = publish(engine, delay_ms=1000)

        before = rows(db, "SELECT id FROM messages")
        is_written_before = journal.is_written
        await asyncio.sleep(0)

        assert (before, is_written_before) == ([], False)
        assert journal.is_written
        ids = [id for (id,) in rows(db, "SELECT id FROM messages")]
        assert ids == first + second


async def test_a_message_is_in_the_file_before_its_first_delivery_starts(db):
    seen = []

    def look(request):
        seen.append(rows(db, "SELECT id FROM messages"))
        return Responded(200)

    async with an_emulator(db, look) as emulator:
        (message_id,) = publish(emulator.tenants.engines[0])
        await quiet()

    assert seen == [[(message_id,)]]


async def test_a_callback_is_in_the_file_before_its_delivery_starts(db):
    seen = []

    def look(request):
        seen.append(rows(db, "SELECT count(*) FROM messages"))
        return Responded(200)

    async with an_emulator(db, look) as emulator:
        options = Options(callback=Callback(url="http://callback.example"))
        publish(emulator.tenants.engines[0], options=options)
        await quiet()

    assert seen == [[(1,)], [(2,)]]


async def test_a_message_done_within_a_group_is_one_row(db):
    async with an_emulator(db) as emulator:
        engine = emulator.tenants.engines[0]
        (message_id,) = publish(engine, delay_ms=1000)
        engine.cancel(message_id)
        await emulator.tenants.journal.flushed()

        assert rows(db, "SELECT id, state FROM messages") == [(message_id, "CANCELED")]


async def test_what_nobody_waits_for_is_written_soon_all_the_same(db):
    async with an_emulator(db) as emulator:
        engine = emulator.tenants.engines[0]
        (message_id,) = publish(engine)
        query = "SELECT state FROM messages"
        while rows(db, query) != [("DELIVERED",)]:  # noqa: ASYNC110 (no event tells)
            await asyncio.sleep(0)

        assert states_of(engine, message_id)[-1] is State.DELIVERED


async def test_whoever_waits_is_let_go_by_one_write(db):
    async with an_emulator(db) as emulator:
        journal = emulator.tenants.journal
        publish(emulator.tenants.engines[0], delay_ms=1)

        await asyncio.gather(*(journal.flushed() for _ in range(10)))

        assert journal.is_written
        await journal.flushed()  # nothing to wait for


async def test_a_waiter_that_gave_up_harms_nobody(db):
    async with an_emulator(db) as emulator:
        journal = emulator.tenants.journal
        publish(emulator.tenants.engines[0], delay_ms=1)
        quitter, patient = (asyncio.ensure_future(journal.flushed()) for _ in "ab")
        await asyncio.sleep(0)
        quitter.cancel()

        await patient

        assert journal.is_written


# A new start


async def test_a_delivery_under_way_at_the_end_is_made_again(db, tmp_path):
    async with an_emulator(db, transport=ScriptedTransport([Hang()])) as emulator:
        (message_id,) = publish(emulator.tenants.engines[0])
        await quiet()
        await emulator.tenants.journal.flushed()
        copy = copied(db, tmp_path / "copies")

    for file in (db, copy):  # stopped, and killed
        async with an_emulator(file) as again:
            await quiet()
            engine = again.tenants.engines[0]

            assert states_of(engine, message_id) == [
                State.CREATED,
                State.ACTIVE,
                State.ERROR,
                State.RETRY,
                State.ACTIVE,
                State.DELIVERED,
            ]
            (request,) = again.transport.requests
            assert dict(request.headers)["Upstash-Retried"] == "0"


async def test_an_interrupted_message_keeps_its_place_in_its_queue(db):
    async with an_emulator(db, transport=ScriptedTransport([Hang()])) as emulator:
        ids = publish(emulator.tenants.engines[0], count=3, queue_name="q")
        await quiet()

    async with an_emulator(db) as again:
        await quiet()
        calls = again.transport.requests

    assert [dict(call.headers)["Upstash-Message-Id"] for call in calls] == ids


async def test_a_queue_goes_on_waiting_for_callbacks(db):
    """QUE-13."""

    def answer(request):
        return Responded(500 if "callback" in request.url else 200)

    options = Options(callback=Callback(url="http://callback.example"))
    async with an_emulator(db, answer) as emulator:
        engine = emulator.tenants.engines[0]
        publish(engine, options=options, queue_name="q")
        (second,) = publish(engine, queue_name="q")
        await quiet()

    async with an_emulator(db) as again:
        engine = again.tenants.engines[0]
        before = states_of(engine, second)
        await again.tenants.advance(None)

        assert before == [State.CREATED]
        assert states_of(engine, second)[-1] is State.DELIVERED


async def test_missed_firings_are_not_made_up(db):
    """SCH-35."""
    async with an_emulator(db) as emulator:
        engine = emulator.tenants.engines[0]
        engine.schedules.put(a_publish(), "* * * * *", "s")
        engine.schedules.put(a_publish(), "* * * * *", "paused")
        engine.schedules.set_paused("paused", True)

    hour_later_ms = T0 + 3_600_000
    async with an_emulator(db, start_time_ms=hour_later_ms) as again:
        await quiet()
        engine = again.tenants.engines[0]

        assert again.transport.requests == []
        assert engine.schedules.get("s").next_fire_ms > hour_later_ms
        assert engine.schedules.get("s").last_fire_ms is None


async def test_what_fell_due_meanwhile_is_delivered_in_order(db):
    async with an_emulator(db) as emulator:
        engine = emulator.tenants.engines[0]
        late = publish(engine, delay_ms=2000)
        early = publish(engine, delay_ms=1000)

    async with an_emulator(db, start_time_ms=T0 + 5000) as again:
        await quiet()
        calls = again.transport.requests

    ids = [dict(call.headers)["Upstash-Message-Id"] for call in calls]
    assert ids == early + late


async def test_a_virtual_clock_goes_on_where_it_was(db):
    async with an_emulator(db) as emulator:
        await emulator.tenants.advance(None, by_ms=90_000)

    async with an_emulator(db) as again:
        assert again.clock.now_ms() == T0 + 90_000


async def test_a_fast_clock_goes_on_where_it_was(db):
    changes = {"clock": "real", "speed": 1000.0}
    async with an_emulator(db, **changes, start_time_ms=T0 + 10**9):
        pass

    async with an_emulator(db, **changes) as again:
        assert again.clock.now_ms() >= T0 + 10**9


async def test_seeded_ids_go_on_instead_of_repeating(db):
    ids = []
    for _ in range(3):
        async with an_emulator(db) as emulator:
            ids += publish(emulator.tenants.engines[0], delay_ms=1)

    assert len(set(ids)) == 3


async def test_every_user_finds_what_was_left(db):
    async with an_emulator(db) as emulator:
        left = [publish(engine, delay_ms=1) for engine in emulator.tenants.engines]

    users = tuple(reversed(DEV_USERS))  # they are known by name, not by place
    with restored(db, users=users) as again:
        assert again.tenants.counts().pending == len(DEV_USERS)
        for engine, (message_id,) in zip(
            again.tenants.engines, left[::-1], strict=True
        ):
            assert engine.message(message_id)


async def test_rotated_keys_are_kept_until_others_are_configured(db):
    """KEY-3."""
    async with an_emulator(db) as emulator:
        rotated = emulator.tenants.engines[0].rotate_keys()

    with restored(db) as again:
        assert again.keys == rotated
    mine = replace(DEV_USERS[0], keys=SigningKeys("sig_a", "sig_b"))
    with restored(db, users=(mine,)) as again:
        assert again.keys == mine.keys


async def test_the_days_messages_are_counted_over_a_restart(db):
    """LIM-11."""
    limits = {"quota": "free", "strict": True}
    async with an_emulator(db, **limits) as emulator:
        publish(emulator.tenants.engines[0], count=999)

    async with an_emulator(db, **limits) as again:
        publish(again.tenants.engines[0])
        with pytest.raises(LimitExceeded):
            publish(again.tenants.engines[0])


async def test_one_emulator_can_be_started_again(db):
    emulator = an_emulator(db)
    await emulator.start()
    publish(emulator.tenants.engines[0], delay_ms=1000)
    await emulator.stop(drain_s=0)

    await emulator.start()

    assert emulator.found.pending == 1
    await emulator.stop(drain_s=0)


async def test_a_reset_empties_the_file(db):
    async with an_emulator(db) as emulator:
        publish(emulator.tenants.engines[0], delay_ms=1000)
        await emulator.tenants.journal.flushed()
        emulator.tenants.reset()
        (after,) = publish(emulator.tenants.engines[0], delay_ms=1000)

    with restored(db) as again:
        engine = again.tenants.engines[0]
        assert [line.split()[0] for line in engine.waiting.lines()] == [after]
        assert len(state_of(engine)["log"]) == 1


async def test_what_is_declared_does_not_undo_what_calls_changed(db):
    declared = Declared(
        queues=(("q", 2, False),),
        url_groups=(("g", (Endpoint("http://a.example", "a"),), ()),),
        schedules=(("s", "0 0 * * *", a_publish()),),
    )
    async with an_emulator(db, declared=declared) as emulator:
        engine = emulator.tenants.engines[0]
        engine.queues.set_paused("q", True)
        engine.url_groups.upsert_endpoints("g", [Endpoint("http://b.example", "b")])
        engine.schedules.set_paused("s", True)
        before = state_of(engine)

    async with an_emulator(db, declared=declared) as again:
        assert state_of(again.tenants.engines[0]) == before


async def test_what_is_declared_differently_takes_effect(db):
    first = Declared(
        queues=(("q", 2, False),), schedules=(("s", "0 0 * * *", a_publish()),)
    )
    second = Declared(
        queues=(("q", 3, False),), schedules=(("s", "0 1 * * *", a_publish()),)
    )
    async with an_emulator(db, declared=first):
        pass

    async with an_emulator(db, declared=second) as again:
        engine = again.tenants.engines[0]
        assert engine.queues.get("q")[0].parallelism == 3
        assert engine.schedules.get("s").cron == "0 1 * * *"


# Failures


def fill(emulator):
    """Leave no room in an emulator's file, as a full disk does."""
    connection = emulator.tenants.journal._file._db
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")


def make_room(emulator):
    connection = emulator.tenants.journal._file._db
    connection.execute("PRAGMA max_page_count = 1000000")


async def refused(emulator, **changes):
    """Publish too much for the file; return what whoever waits is told."""
    publish(emulator.tenants.engines[0], body=b"x" * 100_000, **changes)
    with pytest.raises(NotStored) as caught:
        await emulator.tenants.journal.flushed()
    return caught.value


async def test_a_full_disk_refuses_and_leaves_nothing_half_written(db):
    async with an_emulator(db) as emulator:
        engine = emulator.tenants.engines[0]
        publish(engine, delay_ms=1000)
        await emulator.tenants.journal.flushed()
        before = state_of(engine)
        fill(emulator)

        error = await refused(emulator)

        assert error.status == 503
        assert str(error) == (
            f"nothing was changed: {db} can't be written (database or disk is full); "
            "make room or make it writable, then try again"
        )
        assert state_of(engine) == before
        assert emulator.transport.requests == []
    with restored(db) as again:
        assert state_of(again.tenants.engines[0]) == before


async def test_while_nothing_can_be_written_changes_are_refused_at_once(db):
    async with an_emulator(db) as emulator:
        engine = emulator.tenants.engines[0]
        fill(emulator)
        await refused(emulator)

        for verb in (
            lambda: publish(engine),
            lambda: engine.queues.upsert("q", parallelism=1, is_paused=None),
            engine.rotate_keys,
            engine.reset,
        ):
            with pytest.raises(NotStored):
                verb()
        assert engine.queues.list() == []
        assert emulator.tenants.journal.failure == "database or disk is full"


async def test_while_nothing_can_be_written_nothing_is_delivered(db):
    async with an_emulator(db) as emulator:
        engine = emulator.tenants.engines[0]
        publish(engine, delay_ms=1000)
        engine.schedules.put(a_publish(), "* * * * *", "s")
        await emulator.tenants.journal.flushed()
        fill(emulator)
        await refused(emulator)

        await emulator.tenants.advance(None, by_ms=120_000)

        assert emulator.transport.requests == []
        assert engine.pending == 1


async def test_all_goes_on_when_there_is_room_again(db):
    async with an_emulator(
        db, transport=ScriptedTransport([Hang(), Responded(200)])
    ) as (emulator):
        engine, journal = emulator.tenants.engines[0], emulator.tenants.journal
        (cut_off,) = publish(engine)
        await quiet()
        await journal.flushed()
        fill(emulator)
        await refused(emulator)

        journal.probe()
        still_failing = journal.failure
        make_room(emulator)
        journal.probe()
        (later,) = publish(engine)
        await quiet()

        assert still_failing == "database or disk is full"
        assert journal.failure is None
        assert states_of(engine, later)[-1] is State.DELIVERED
        assert states_of(engine, cut_off)[-3:] == [
            State.RETRY,
            State.ACTIVE,
            State.DELIVERED,
        ]


async def test_a_file_that_cannot_even_be_read_is_read_when_it_can(db, monkeypatch):
    async with an_emulator(db) as emulator:
        engine, journal = emulator.tenants.engines[0], emulator.tenants.journal
        fill(emulator)

        def broken(user):
            raise JournalError(str(db), "can't be used: disk I/O error")

        with monkeypatch.context() as patch:
            patch.setattr(journal, "load", broken)
            await refused(emulator, delay_ms=1000)
            make_room(emulator)
            journal.probe()
            assert journal.failure == "can't be used: disk I/O error"
        journal.probe()

        assert journal.failure is None
        assert engine.pending == 0


async def test_a_last_group_that_cannot_be_written_ends_the_emulator_all_the_same(db):
    async with an_emulator(db) as emulator:
        publish(emulator.tenants.engines[0], delay_ms=1)
        await emulator.tenants.journal.flushed()
        fill(emulator)
        publish(emulator.tenants.engines[0], body=b"x" * 100_000, delay_ms=1)

    with restored(db) as again:
        assert again.tenants.counts().pending == 1


async def test_another_program_that_holds_the_file_is_a_failure_that_passes(db):
    async with an_emulator(db) as emulator:
        other = sqlite3.connect(db, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")

        error = await refused(emulator)
        other.execute("ROLLBACK")
        other.close()
        emulator.tenants.journal.probe()

        assert error.reason == "database is locked"
        assert publish(emulator.tenants.engines[0])


async def test_what_had_to_leave_the_dlq_is_not_in_the_file_either(db):
    fails = ScriptedTransport([Responded(500)])
    async with an_emulator(db, transport=fails, max_dlq_entries=2) as emulator:
        engine = emulator.tenants.engines[0]
        for _ in range(4):
            publish(engine, options=Options(retries=0))
        await quiet()
        left = state_of(engine)["dlq"]

    with restored(db) as again:
        assert len(left) == 2
        assert state_of(again.tenants.engines[0])["dlq"] == left


async def test_a_schedule_is_written_once_for_all_that_changes_together(db):
    """SCH-27: a firing for many endpoints changes it with the end of each."""
    async with an_emulator(db) as emulator:
        engine, journal = emulator.tenants.engines[0], emulator.tenants.journal
        for cron in ("0 0 * * *", "0 1 * * *"):
            engine.schedules.put(a_publish(), cron, "kept")
        engine.schedules.put(a_publish(), "0 0 * * *", "gone")
        engine.schedules.delete("gone")
        engine.schedules.put(a_publish(), "0 0 * * *", "back")
        engine.schedules.delete("back")
        engine.schedules.put(a_publish(), "0 2 * * *", "back")
        await journal.flushed()

        assert rows(db, "SELECT count(*) FROM schedules") == [(2,)]
    with restored(db) as again:
        schedules = again.tenants.engines[0].schedules.list()
        assert [(each.schedule_id, each.cron) for each in schedules] == [
            *(("kept", "0 1 * * *"), ("back", "0 2 * * *")),
        ]


def test_a_group_holds_the_last_of_each_schedule():
    group = Group(Counter())
    numbers = Numbers(1)
    for cron in ("0 0 * * *", "0 1 * * *"):
        schedule = Schedule(
            schedule_id="s",
            cron=cron,
            publish=a_publish(),
            created_at_ms=T0,
            next_fire_ms=T0,
        )
        group.add(Transition(schedules=(schedule,)), numbers)

    (row,) = group.schedules
    assert "0 1 * * *" in row[2]
    assert not group.is_empty
