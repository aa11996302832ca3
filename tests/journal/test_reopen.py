"""Whatever happens, a file gives back the state that there was in memory.

A state machine does all that changes state, in any order, and now and then ends the
emulator and starts another with the same file; or copies the file as a crash would
leave it, and looks at what the copy holds.
"""

import asyncio
import tempfile
from contextlib import suppress
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from emulator.core.filters import parse_dlq_query
from emulator.core.headers import Overrides
from emulator.core.model import (
    Callback,
    Destination,
    DestinationKind,
    FlowControl,
    Options,
    Redaction,
    Responded,
    TimedOut,
    Unreachable,
)
from emulator.core.resources import Endpoint
from emulator.errors import RequestError
from tests.doubles import ScriptedTransport, a_publish, quiet
from tests.journal.states import an_emulator, copied, restored, state_of

OUTCOMES = {
    "ok": Responded(200, ("X-Answer", "yes"), b"done", "OK"),
    "no": Responded(500, ("X-Answer", "no"), b"\x00\xff", "Bad"),
    "down": Unreachable("connection refused"),
    "late": TimedOut(1000),
}


def answer(request):
    return OUTCOMES[request.url.rpartition("/")[2]]


names = st.sampled_from(["a", "b"])
words = st.sampled_from(sorted(OUTCOMES))
flow_controls = st.builds(
    FlowControl,
    key=names,
    parallelism=st.none() | st.integers(1, 2),
    rate=st.none() | st.integers(1, 2),
    period_s=st.sampled_from([1, 60]),
)
callbacks = words.map(
    lambda word: Callback(
        url=f"http://callback.example/{word}", options=Options(retries=0)
    )
)
options = st.builds(
    Options,
    method=st.sampled_from(["POST", "PUT"]),
    retries=st.integers(0, 2),
    callback=st.none() | callbacks,
    failure_callback=st.none() | callbacks,
    labels=st.sampled_from([(), ("one", "two")]),
    flow_control=st.none() | flow_controls,
    redaction=st.sampled_from([None, Redaction(header_names=frozenset({"X-A"}))]),
)
publishes = st.builds(
    a_publish,
    words.map(lambda word: f"http://app.example/{word}"),
    body=st.binary(max_size=5),
    header=st.sampled_from([(), ("X-A", "1", "X-A", "2")]),
    options=options,
    delay_ms=st.sampled_from([0, 0, 1000, 90_000]),
    deduplication_id=st.none() | names,
    queue_name=st.none() | names,
)
to_group = Destination(DestinationKind.URL_GROUP, "group")


class Reopened(RuleBasedStateMachine):
    """One user's state, with a file behind it."""

    settings = {}  # noqa: RUF012 (of the class, for all)

    def __init__(self):
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.db = Path(self.folder.name, "qemu.db")
        self.copies = 0
        self.open()

    def open(self):
        self.emulator = an_emulator(
            self.db, transport=ScriptedTransport([answer]), **self.settings
        )
        self.runner.run(self.emulator.start())
        self.engine = self.emulator.tenants.engines[0]

    def teardown(self):
        self.runner.run(self.emulator.stop(drain_s=0))
        self.runner.close()
        self.folder.cleanup()

    def do(self, verb):
        async def steps():
            with suppress(RequestError):
                verb()
            await quiet()

        self.runner.run(steps())

    @rule(publish=publishes, count=st.integers(1, 3))
    def publish(self, publish, count):
        self.do(lambda: self.engine.publish([publish] * count))

    @rule(delay_ms=st.sampled_from([0, 5000]))
    def publish_to_group(self, delay_ms):
        publish = a_publish(destination=to_group, delay_ms=delay_ms)
        self.do(lambda: self.engine.publish([publish]))

    @rule(by_ms=st.sampled_from([1, 1000, 61_000, 4 * 86_400_000]))
    def advance(self, by_ms):
        self.runner.run(self.emulator.tenants.advance(None, by_ms=by_ms))

    @rule(which=st.integers(0, 9))
    def cancel(self, which):
        ids = [line.split()[0] for line in self.engine.waiting.lines()]
        if ids:
            self.do(lambda: self.engine.cancel(ids[which % len(ids)]))

    @rule(name=names, parallelism=st.integers(1, 2), is_paused=st.booleans())
    def upsert_queue(self, name, parallelism, is_paused):
        self.do(
            lambda: self.engine.queues.upsert(
                name, parallelism=parallelism, is_paused=is_paused
            )
        )

    @rule(name=names)
    def delete_queue(self, name):
        self.do(lambda: self.engine.queues.delete(name))

    @rule(name=names, is_paused=st.booleans())
    def pause_key(self, name, is_paused):
        self.do(lambda: self.engine.flow_control.set_paused(name, is_paused))

    @rule(name=names, rate=st.integers(1, 2), period_s=st.sampled_from([1, 60]))
    def pin(self, name, rate, period_s):
        self.do(
            lambda: self.engine.flow_control.pin(
                name, parallelism=None, rate=rate, period_s=period_s
            )
        )

    @rule(name=names)
    def reset_rate(self, name):
        self.do(lambda: self.engine.flow_control.reset_rate(name))

    @rule(word=words)
    def upsert_endpoint(self, word):
        endpoints = [Endpoint(f"http://member.example/{word}", word)]
        self.do(lambda: self.engine.url_groups.upsert_endpoints("group", endpoints))

    @rule()
    def delete_group(self):
        self.do(lambda: self.engine.url_groups.delete("group"))

    @rule(publish=publishes, name=names)
    def put_schedule(self, publish, name):
        publish = publish._replace(deduplication_id=None)
        self.do(lambda: self.engine.schedules.put(publish, "*/2 * * * *", name))

    @rule(name=names, is_paused=st.booleans())
    def pause_schedule(self, name, is_paused):
        self.do(lambda: self.engine.schedules.set_paused(name, is_paused))

    @rule(name=names)
    def delete_schedule(self, name):
        self.do(lambda: self.engine.schedules.delete(name))

    @rule(retries=st.booleans())
    def take_from_dlq(self, retries):
        entries, _ = self.engine.dlq.list(parse_dlq_query({}))
        if retries:
            self.do(lambda: self.engine.dlq.retry(entries[:1], Overrides()))
        else:
            self.do(lambda: self.engine.dlq.delete(entries[:1]))

    @rule()
    def rotate_keys(self):
        self.do(self.engine.rotate_keys)

    @rule()
    def reset(self):
        self.do(self.engine.reset)

    @rule()
    def reopen(self):
        """The process ends, and another goes on: nobody can tell by the state."""

        async def stop():
            await quiet()
            before = state_of(self.engine)
            await self.emulator.stop(drain_s=0)
            return before

        before = self.runner.run(stop())
        self.open()
        after = state_of(self.engine)

        assert after == before

    @rule()
    def crash(self):
        """What was acknowledged at this instant is in the file at this instant."""

        async def copy():
            await self.emulator.tenants.journal.flushed()
            target = copied(self.db, Path(self.folder.name), self.copies)
            return target, state_of(self.engine, with_lines=False)

        self.copies += 1
        target, before = self.runner.run(copy())

        # The file knows no later instant than that of the last change.
        now_ms = self.engine.now_ms
        with restored(target, start_time_ms=now_ms, **self.settings) as emulator:
            engine = emulator.tenants.engines[0]
            assert state_of(engine, with_lines=False) == before


class ReopenedWithAShortLog(Reopened):
    """Most of the log is forgotten, and tidied away, all the time."""

    settings = {"max_log_entries": 4, "grace_ms": 1000}  # noqa: RUF012


few = settings(max_examples=20, stateful_step_count=25, deadline=None)


TestReopened = Reopened.TestCase
TestReopened.settings = few

TestReopenedWithAShortLog = ReopenedWithAShortLog.TestCase
TestReopenedWithAShortLog.settings = few
