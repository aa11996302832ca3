"""What is exported can be imported, and is the same: in memory, and in a file.

The state machine of ``test_reopen.py`` does all that changes state; now and then what
there is goes to another emulator, as lines.
"""

import asyncio
import itertools
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from emulator.core.filters import parse_dlq_query
from emulator.core.model import Options, Responded
from emulator.engine.exporting import export
from emulator.engine.importing import StateReader
from tests.doubles import ScriptedTransport, a_publish, quiet
from tests.journal.states import an_emulator, restored, state_of
from tests.journal.test_journal import fill, make_room, publish, rows
from tests.journal.test_reopen import Reopened, answer, publishes
from tests.web.test_client import serve


def exported(emulator):
    """All lines of an emulator's state at this instant."""
    tenants = emulator.tenants
    now_ms = emulator.clock.now_ms()
    return b"".join(export(tenants.saved(), now_ms=now_ms, version="0.1.0"))


def read(text, users):
    """What the lines of a file hold."""
    reader = StateReader(users)
    for line in text.splitlines(keepends=True):
        reader.take(line)
    return reader.finish()


def imported(emulator, text, *, may_overwrite=False):
    """Let an emulator have what a file holds."""
    users = [engine.user for engine in emulator.tenants.engines]
    emulator.tenants.replace(read(text, users), may_overwrite=may_overwrite)


class Carried(Reopened):
    """One user's state, and now and then another emulator that gets it."""

    def __init__(self):
        super().__init__()
        self.targets = (
            Path(self.folder.name, f"target-{number}.db")
            for number in itertools.count()
        )

    @initialize(
        several=st.lists(publishes, min_size=2, max_size=8),
        fails=st.integers(0, 6),
        by_ms=st.sampled_from([1000, 61_000]),
    )
    def begin(self, several, fails, by_ms):
        """There is something from the start: chance alone rarely fills a log."""
        gone = a_publish("http://app.example/no", options=Options(retries=0))
        self.do(lambda: self.engine.publish([*several, *[gone] * fails]))
        self.runner.run(self.emulator.tenants.advance(None, by_ms=by_ms))
        self.upsert_endpoint("ok")
        self.put_schedule(several[0], "a")

    def teardown(self):
        try:
            self.carry()
        finally:
            super().teardown()

    @rule()
    def carry(self):
        async def steps():
            await quiet()
            text, before = exported(self.emulator), state_of(self.engine)
            target = next(self.targets)
            other = an_emulator(
                target,
                transport=ScriptedTransport([answer]),
                **self.settings | {"start_time_ms": self.engine.now_ms},
            )
            await other.start()
            try:
                imported(other, text)
                engine = other.tenants.engines[0]
                assert exported(other) == text
                assert state_of(engine) == before
                await other.tenants.journal.flushed()
            finally:
                await other.stop(drain_s=0)
            return target, text, before

        target, text, before = self.runner.run(steps())

        now_ms = self.engine.now_ms
        with restored(target, start_time_ms=now_ms, **self.settings) as emulator:
            engine = emulator.tenants.engines[0]
            before["lines"] = None  # nobody has been let to a line yet
            assert state_of(engine, with_lines=False) == before
            assert exported(emulator) == text


class CarriedWithAShortLog(Carried):
    """Most of the log is forgotten: the DLQ has what the log hasn't."""

    settings = {"max_log_entries": 4, "grace_ms": 0}  # noqa: RUF012


few = settings(max_examples=15, stateful_step_count=12, deadline=None)


TestCarried = Carried.TestCase
TestCarried.settings = few

TestCarriedWithAShortLog = CarriedWithAShortLog.TestCase
TestCarriedWithAShortLog.settings = few


# The file


@pytest.fixture
def db(tmp_path):
    return tmp_path / "qemu.db"


async def a_text(**changes):
    """The export of an emulator with some delayed messages."""
    async with an_emulator(None) as emulator:
        publish(emulator.tenants.engines[0], delay_ms=1000, count=3, **changes)
        return exported(emulator)


async def test_an_import_is_one_transaction_over_all_users(db):
    text = await a_text()
    async with an_emulator(db) as emulator:
        for engine in emulator.tenants.engines[:2]:
            publish(engine, delay_ms=1)
        await emulator.tenants.journal.flushed()
        imported(emulator, text, may_overwrite=True)
        before = rows(db, "SELECT user, count(*) FROM messages GROUP BY user")
        await asyncio.sleep(0)
        after = rows(db, "SELECT user, count(*) FROM messages GROUP BY user")

    assert before == [(1, 1), (2, 1)]
    assert after == [(1, 3)]


async def test_an_import_that_cannot_be_written_changes_nothing(db):
    text = await a_text(body=b"x" * 100_000)
    async with serve(db=str(db)) as api:
        await api.publish(headers=[("Upstash-Delay", "1h")])
        before = state_of(api.emulator.tenants.engines[0])
        fill(api.emulator)
        target = "/_qemu/state?replace=true"
        answer = await api.call("PUT", target, user=None, body=text)
        at_once = await api.call("PUT", target, user=None, body=text)

        assert (answer.status, at_once.status) == (503, 503)
        assert state_of(api.emulator.tenants.engines[0]) == before

        make_room(api.emulator)
        api.emulator.tenants.journal.probe()
        later = await api.call("PUT", target, user=None, body=text)

        assert later.json["messages"] == 3


async def test_what_is_tidied_away_after_an_import_leaves_nothing_behind(db):
    """DLQ entries older than the log go with their messages, like all others."""
    no = Responded(500)
    async with an_emulator(None, no, max_log_entries=4) as emulator:
        engine = emulator.tenants.engines[0]
        publish(engine, count=3, options=Options(retries=0))
        await quiet()
        text = exported(emulator)
    async with an_emulator(db, max_log_entries=4) as emulator:
        imported(emulator, text)
        engine = emulator.tenants.engines[0]
        entries, _ = engine.dlq.list(parse_dlq_query({}))
        engine.dlq.delete(entries)
        publish(engine, count=200)
        await quiet()
        await emulator.tenants.journal.flushed()

        shown = rows(db, "SELECT count(DISTINCT message) FROM log")
        assert len(entries) == 3
        assert rows(db, "SELECT count(*) FROM messages") == shown
        assert rows(db, "SELECT count(*) FROM dlq") == [(0,)]


async def test_an_export_waits_for_the_file(db):
    """Nobody may hear of what a crash could undo."""
    async with serve(db=str(db)) as api:
        engine = api.emulator.tenants.engines[0]
        seen = []
        original = api.emulator.tenants.saved

        def saved():
            publish(engine, delay_ms=1000)  # not written yet, and part of it
            seen.append(rows(db, "SELECT count(*) FROM messages"))
            return original()

        api.emulator.tenants.saved = saved
        answer = await api.get("/_qemu/state", user=None)

        assert seen == [[(0,)]]
        assert answer.body.count(b'"type":"message"') == 1
        assert rows(db, "SELECT count(*) FROM messages") == [(1,)]
