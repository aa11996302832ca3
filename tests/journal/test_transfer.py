"""What is exported can be imported, and is the same: in memory, and in a file.

The state machine of ``test_reopen.py`` does all that changes state; now and then what
there is goes to another emulator, as lines.
"""

import itertools
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from emulator.core.model import Options
from emulator.engine.exporting import export
from emulator.engine.importing import StateReader
from tests.doubles import ScriptedTransport, a_publish, quiet
from tests.journal.states import an_emulator, restored, state_of
from tests.journal.test_reopen import Reopened, answer, publishes


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
