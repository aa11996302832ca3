"""What holds whatever happens: random verbs, outcomes and clocks against the engine.

A state machine publishes, enqueues, schedules, pauses, cancels, retries, turns the
clock and lets destinations answer, in any order. A ``Watch`` reads the log entry by
entry and keeps books of its own, as plainly as it can; whatever the engine does has to
be right by these books, and whatever it leaves undone has to have a reason in them.
"""

import asyncio
import sys
from collections import Counter
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from emulator import Emulator, Settings
from emulator.core import limits
from emulator.core.filters import DlqQuery, Filter, LogQuery, MessageSelection
from emulator.core.headers import Overrides
from emulator.core.lifecycle import MOVES
from emulator.core.model import (
    FINAL_STATES,
    Callback,
    Destination,
    DestinationKind,
    FlowControl,
    LogEntry,
    Message,
    Options,
    Outcome,
    Outgoing,
    Publish,
    Responded,
    State,
    Unreachable,
)
from emulator.core.resources import Endpoint
from emulator.errors import NotFound
from tests.doubles import T0, a_publish

MINUTE_MS = 60_000
WINDOW_MS = 10 * MINUTE_MS  # of deduplication
GRACE_MS = 60_000

ACCOUNT_PARALLELISM = 4

# So few deliveries at once that the account's limit matters, and nothing forgotten.
NARROW = replace(
    limits.PROFILES["free"],
    global_parallelism=ACCOUNT_PARALLELISM,
    log_retention_s=10**9,
    dlq_retention_s=10**9,
)

OUTCOMES = {
    "ok": Responded(200),
    "no": Responded(500),
    "never": Responded(489, header=("Upstash-Nonretryable-Error", "true")),
    "down": Unreachable("connection refused"),
    "busy": Responded(429, header=("Retry-After", "3")),
}


class UrlScriptedTransport:
    """Answers as the path of each URL says, delivery by delivery.

    ``/no-hold-ok`` fails, then answers when it is told to, then succeeds; the last word
    holds for all that follow.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []
        self.under_way: list[str] = []
        self.succeeded: list[str] = []
        self.held: dict[str, asyncio.Future[Outcome]] = {}
        self.holds = True

    async def send(self, request: Outgoing) -> Outcome:
        headers = dict(request.headers)
        message_id = headers["Upstash-Message-Id"]
        retried = int(headers["Upstash-Retried"])
        words = request.url.rpartition("/")[2].split("-")
        word = words[min(retried, len(words) - 1)]
        self.calls.append((message_id, retried))
        self.under_way.append(message_id)
        try:
            await asyncio.sleep(0)
            if word != "hold":
                outcome = OUTCOMES[word]
            elif self.holds:
                outcome = await self.hold(message_id)
            else:
                outcome = OUTCOMES["no"]
            if outcome is OUTCOMES["ok"]:
                self.succeeded.append(message_id)
            return outcome
        finally:
            self.under_way.remove(message_id)

    async def hold(self, message_id: str) -> Outcome:
        self.held[message_id] = asyncio.get_running_loop().create_future()
        try:
            return await self.held[message_id]
        finally:
            del self.held[message_id]

    def forget(self) -> None:
        """After a reset: what was under way has been cut off."""
        self.calls.clear()
        self.succeeded.clear()

    async def close(self) -> None:
        pass


@dataclass
class Tracked:
    """What the log has said of a message."""

    message: Message
    place: tuple[int, int]
    """When it fell due first, and its number: its place in its queue (QUE-30)."""
    due_ms: int
    state: State = State.CREATED
    was_cancelled: bool = False
    starts: int = 0
    final_ms: int = 0
    callbacks: set[str] = field(default_factory=set)
    """Its callback messages that aren't final."""
    blocks: bool = False
    """It is final, and the next of its queue waits for its callbacks (QUE-13)."""

    @property
    def is_final(self) -> bool:
        return self.state in FINAL_STATES

    @property
    def is_waiting(self) -> bool:
        return self.state in (State.CREATED, State.RETRY)

    @property
    def is_active(self) -> bool:
        return not self.is_final and not self.is_waiting


@dataclass
class WatchedQueue:
    parallelism: int = 1
    is_paused: bool = False


@dataclass
class WatchedKey:
    parallelism: int | None = None
    rate: int | None = None
    period_s: int = 1
    is_paused: bool = False
    pins_parallelism: bool = False
    pins_rate: bool = False
    windows: set[tuple[int | None, int]] = field(default_factory=lambda: {(None, 0)})
    """When a window opened, and the starts in it. Two, where both would do (FLC-27)."""

    def configure(self, wanted: FlowControl) -> None:
        """FLC-4, FLC-24."""
        if not self.pins_parallelism:
            self.parallelism = wanted.parallelism
        if not self.pins_rate:
            self.rate, self.period_s = wanted.rate, wanted.period_s

    def restart(self, now_ms: int) -> None:
        """FLC-27. Whether the new window opens now or with the next start is open."""
        self.windows = {(None, 0), (now_ms, 0)}

    def room(self, now_ms: int) -> list[bool]:
        """Whether one more may start now, in each of the windows."""
        return [
            self.rate is None or count < self.rate
            for _, count in self.open_windows(now_ms)
        ]

    def start(self, now_ms: int) -> None:
        self.windows = {
            (now_ms if start_ms is None else start_ms, count + 1)
            for start_ms, count in self.open_windows(now_ms)
            if self.rate is None or count < self.rate
        }

    def open_windows(self, now_ms: int) -> set[tuple[int | None, int]]:
        """FLC-6: one that has passed counts for nothing, the next start opens one."""
        return {
            (start_ms, count)
            if start_ms is not None and now_ms < start_ms + self.period_s * 1000
            else (None, 0)
            for start_ms, count in self.windows
        }


class Watch:
    """Reads the log, and keeps books."""

    def __init__(self, engine) -> None:
        self.engine = engine
        self.forget()

    def forget(self) -> None:
        self.read = 0
        self.messages: dict[str, Tracked] = {}
        self.queues: dict[str, WatchedQueue] = {}
        self.keys: dict[str, WatchedKey] = {}
        self.dlq: dict[str, str] = {}
        self.activations: list[tuple[str, int]] = []
        self.last_ms = 0

    def catch_up(self) -> None:
        """Read what was logged since, and check each entry against the books."""
        query = LogQuery(count=10**6, cursor=(0, self.read - 1), latest_first=False)
        entries, _ = self.engine.logs(query)
        for entry in entries:
            self.read += 1
            self.enter(entry)
        for tracked in self.messages.values():
            # Once they are final they block no more, even if one is retried from the
            # DLQ. The callbacks of a final delivery are there by now.
            tracked.blocks = tracked.blocks and bool(tracked.callbacks)

    def enter(self, entry: LogEntry) -> None:
        assert entry.time_ms >= self.last_ms, "the log goes back in time"
        self.last_ms = entry.time_ms
        message_id = entry.message.message_id
        if entry.state is State.CREATED:
            assert message_id not in self.messages, "an id was used twice"
            self.create(entry)
            return
        tracked = self.messages[message_id]
        assert entry.state in MOVES[tracked.state], f"{tracked.state}, {entry.state}"
        if tracked.state is State.ERROR:
            # MSG-12: whoever was cancelled isn't tried again, and doesn't fail.
            assert (entry.state is State.CANCELLED) is tracked.was_cancelled
        match entry.state:
            case State.ACTIVE:
                assert entry.retried == tracked.starts, "a retry was skipped"
                self.check_start(tracked, entry.time_ms)
                tracked.starts += 1
                self.activations.append((message_id, entry.retried))
            case State.RETRY:
                assert tracked.starts <= tracked.message.options.max_retries
                tracked.due_ms = entry.next_delivery_ms
            case State.CANCEL_REQUESTED:
                assert not tracked.was_cancelled, "cancelled twice"
                tracked.was_cancelled = True
            case State.FAILED:
                is_last = tracked.starts == 1 + tracked.message.options.max_retries
                assert is_last or not entry.outcome.is_retryable, "given up early"
                assert entry.dlq_id not in self.dlq
                self.dlq[entry.dlq_id] = message_id
        tracked.state = entry.state
        if tracked.is_final:
            self.finish(tracked, entry.time_ms)

    def create(self, entry: LogEntry) -> None:
        message = entry.message
        self.messages[message.message_id] = Tracked(
            message,
            (entry.next_delivery_ms, len(self.messages)),
            entry.next_delivery_ms,
        )
        if message.callback_of in self.messages:
            self.messages[message.callback_of].callbacks.add(message.message_id)
        if message.queue_name is not None:
            self.queues.setdefault(message.queue_name, WatchedQueue())
        if message.options.flow_control is not None:
            wanted = message.options.flow_control
            self.keys.setdefault(wanted.key, WatchedKey()).configure(wanted)

    def finish(self, tracked: Tracked, now_ms: int) -> None:
        message = tracked.message
        tracked.final_ms = now_ms
        if message.callback_of in self.messages:
            self.messages[message.callback_of].callbacks.discard(message.message_id)
        queue = self.queues.get(message.queue_name)
        tracked.blocks = queue is None or queue.parallelism == 1

    def configure(
        self, name: str, parallelism: int | None, is_paused: bool | None
    ) -> None:
        """A queue is created or changed."""
        queue = self.queues.setdefault(name, WatchedQueue())
        if parallelism is not None:
            queue.parallelism = parallelism
        if is_paused is not None:
            queue.is_paused = is_paused
        if queue.parallelism > 1 and not queue.is_paused:
            # Nobody waits for callbacks any more (QUE-16).
            for tracked in self.messages.values():
                if tracked.message.queue_name == name:
                    tracked.blocks = False

    def check_start(self, tracked: Tracked, now_ms: int) -> None:
        """A delivery starts: nothing may forbid it."""
        assert now_ms >= tracked.due_ms, "too early"
        assert len(self.active()) < ACCOUNT_PARALLELISM, "LIM-8"
        name = tracked.message.queue_name
        if name is not None:
            self.check_turn(tracked, self.queues[name])
        flow_control = tracked.message.options.flow_control
        if flow_control is not None:
            key = self.keys[flow_control.key]
            assert not key.is_paused, "FLC-23"
            assert not self.is_parallelism_used(flow_control.key), "FLC-5"
            assert any(key.room(now_ms)), "FLC-6"
            key.start(now_ms)
            # FLC-8. Which of those in a queue became due first is the queue's affair.
            assert name is not None or not any(
                other.due_ms < tracked.due_ms
                for other in self.waiting(now_ms)
                if other.message.queue_name is None
                and key_of(other) == flow_control.key
            ), "FLC-8"

    def check_turn(self, tracked: Tracked, queue: WatchedQueue) -> None:
        assert not queue.is_paused, "QUE-17"
        if tracked.starts:
            return
        in_work = [other for other in self.others(tracked) if is_in_work(other)]
        assert len(in_work) < queue.parallelism, "QUE-12, QUE-14, QUE-16"
        overtaken = [
            other
            for other in self.others(tracked)
            if other.state is State.CREATED and other.place < tracked.place
        ]
        if queue.parallelism > 1:
            # Whoever has its turn in the queue may still wait for its key (FLC-12),
            # and the others needn't: there is no clause about that.
            overtaken = [other for other in overtaken if key_of(other) is None]
        else:
            assert not self.callbacks_before(tracked), "QUE-13"
        assert not overtaken, "QUE-11"

    def callbacks_before(self, tracked: Tracked) -> list[Tracked]:
        """Whose callbacks the message has to wait for, in a queue of parallelism 1.

        Those of a cancelled message don't count: QUE-13 would have the next one wait
        for them, and QUE-18 wouldn't.
        """
        return [
            other
            for other in self.others(tracked)
            if other.blocks and other.callbacks and not other.was_cancelled
        ]

    def others(self, tracked: Tracked) -> list[Tracked]:
        """The other messages of a queue."""
        return [
            other
            for other in self.messages.values()
            if other is not tracked
            and other.message.queue_name == tracked.message.queue_name
        ]

    def active(self) -> list[Tracked]:
        return [tracked for tracked in self.messages.values() if tracked.is_active]

    def pending(self) -> list[Tracked]:
        return [tracked for tracked in self.messages.values() if not tracked.is_final]

    def waiting(self, now_ms: int) -> list[Tracked]:
        """Who is due and hasn't started."""
        return [
            tracked
            for tracked in self.messages.values()
            if tracked.is_waiting and tracked.due_ms <= now_ms
        ]

    def is_parallelism_used(self, name: str) -> bool:
        limit = self.keys[name].parallelism
        used = sum(key_of(tracked) == name for tracked in self.active())
        return limit is not None and used >= limit

    def has_reason(self, tracked: Tracked, now_ms: int) -> bool:
        """Whether something keeps a message that is due from being delivered."""
        name = tracked.message.queue_name
        if name is not None:
            queue = self.queues[name]
            if queue.is_paused:
                return True
            others = self.others(tracked)
            if not tracked.starts:
                ahead = [
                    other
                    for other in others
                    if is_in_work(other)
                    or (
                        other.is_waiting
                        and other.due_ms <= now_ms
                        and other.place < tracked.place
                    )
                ]
                if len(ahead) >= queue.parallelism or (
                    queue.parallelism == 1
                    and any(other.blocks and other.callbacks for other in others)
                ):
                    return True
        key = key_of(tracked)
        return key is not None and (
            self.keys[key].is_paused
            or self.is_parallelism_used(key)
            or not all(self.keys[key].room(now_ms))
        )


def key_of(tracked: Tracked) -> str | None:
    flow_control = tracked.message.options.flow_control
    return None if flow_control is None else flow_control.key


def is_in_work(tracked: Tracked) -> bool:
    """QUE-12: from the first delivery until it is final."""
    return tracked.starts > 0 and not tracked.is_final


@dataclass(frozen=True)
class WatchedSchedule:
    """An every-minute schedule, and what its firings have to come to."""

    publish: Publish
    is_paused: bool


WORDS = st.lists(st.sampled_from([*OUTCOMES, "hold"]), min_size=1, max_size=3).map(
    "-".join
)
"""How a destination answers, delivery by delivery: the path of a URL."""


def rarely(strategy):
    """Mostly nothing: what is set everywhere hides what happens without it."""
    return st.none() | st.none() | st.none() | strategy


FLOW_CONTROLS = st.builds(
    FlowControl,
    key=st.sampled_from(["k1", "k2"]),
    parallelism=st.none() | st.integers(1, 2),
    rate=st.none() | st.integers(1, 2),
    period_s=st.sampled_from([1, 60]),
)

CALLBACKS = st.builds(
    Callback,
    url=WORDS.map("http://callback.example/{}".format),
    options=st.builds(
        Options,
        retries=st.none() | st.integers(0, 1),
        retry_delay=st.just("700"),
        flow_control=rarely(FLOW_CONTROLS),
    ),
)

OPTIONS = st.builds(
    Options,
    retries=st.integers(0, 3),
    retry_delay=st.sampled_from(["1000", "1000 * retried", "90000"]),
    timeout_ms=rarely(st.sampled_from([500, 30_000])),
    callback=rarely(CALLBACKS),
    failure_callback=rarely(CALLBACKS),
    flow_control=st.none() | FLOW_CONTROLS,
)

QUEUES = st.sampled_from(["q1", "q2"])
KEYS = st.sampled_from(["k1", "k2"])
GROUPS = st.sampled_from(["g1", "g2"])
SCHEDULES = st.sampled_from(["s1", "s2"])

DESTINATIONS = WORDS.map(
    lambda path: Destination(DestinationKind.URL, f"http://app.example/{path}")
) | GROUPS.map(lambda name: Destination(DestinationKind.URL_GROUP, name))

ENQUEUES = st.builds(
    a_publish,
    WORDS.map("http://app.example/{}".format),
    options=st.builds(
        Options,
        retries=st.integers(0, 1),
        retry_delay=st.just("1000"),
        callback=rarely(CALLBACKS),
        flow_control=st.none() | FLOW_CONTROLS,
    ),
    queue_name=st.just("q1"),
    delay_ms=st.sampled_from([0, 0, 0, 1000]),
)

PUBLISHES = st.builds(
    lambda **fields: Publish(**fields),  # its defaults: not what Hypothesis makes up
    destination=DESTINATIONS,
    options=OPTIONS,
    delay_ms=st.sampled_from([0, 0, 0, 1000, 60_000]),
    queue_name=st.none() | QUEUES | QUEUES,
    deduplication_id=rarely(st.sampled_from(["a", "b"])),
    caller_ip=st.just("127.0.0.1"),
)

WHICH = st.integers(0, 7)


def one_of(things, which):
    """One of what there is."""
    things = list(things)
    return things[which % len(things)]


STEPS_MS = st.sampled_from([1, 499, 500, 1000, 2000, 3000, 60_000, 3_600_000])


class QueuesAndKeys(RuleBasedStateMachine):
    """One user's messages, queues and flow-control keys, driven at random."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setitem(limits.PROFILES, "narrow", NARROW)
        self.runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self.transport = UrlScriptedTransport()
        self.emulator = Emulator(
            Settings(
                quota="narrow",
                clock="virtual",
                start_time_ms=T0,
                seed=1,
                grace_ms=GRACE_MS,
                max_log_entries=10**6,
                max_dlq_entries=10**6,
                max_pending_bytes=10**9,
            ),
            transport=self.transport,
        )
        self.clock = self.emulator.clock
        self.engine = self.emulator.tenants.engines[0]
        self.watch = Watch(self.engine)
        self.schedules: dict[str, WatchedSchedule] = {}
        self.groups: dict[str, dict[str, None]] = {}
        self.windows: dict[str, int] = {}
        self.run(self.start())

    async def start(self) -> None:
        self.engine.start()

    def run(self, steps) -> None:
        self.runner.get_loop().run_until_complete(steps)

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:  # else that is the failure to see
                self.become_idle()
        finally:
            self.runner.close()
            self.patch.undo()

    async def settle(self) -> None:
        """Let everything run that waits neither for the clock nor for an answer."""
        quiet_turns = 0
        while quiet_turns < 3:
            await asyncio.sleep(0)
            busy = self.engine.scheduler.in_flight - len(self.transport.held)
            quiet_turns = 0 if self.clock.waking or busy else quiet_turns + 1
        self.watch.catch_up()

    def do(self, verb=lambda: None, note=lambda: None):
        """Do something, note it in the books, and see what comes of it."""

        async def steps() -> None:
            nonlocal result
            result = verb()
            note()
            await self.settle()

        result = None
        self.run(steps())
        return result

    # Publishing

    @rule(publish=PUBLISHES, count=st.sampled_from([1, 1, 2, 5]))
    def publish(self, publish, count) -> None:
        self.do(lambda: self.publish_now(publish, count))

    @rule(publish=ENQUEUES, count=st.sampled_from([1, 1, 2, 5]))
    def enqueue(self, publish, count) -> None:
        self.do(lambda: self.publish_now(publish, count))

    def publish_now(self, publish, count) -> None:
        before = self.engine.pending
        group = publish.destination
        urls = [group.text]
        if group.kind is DestinationKind.URL_GROUP:
            urls = list(self.groups.get(group.text, ()))
            if not urls:
                with pytest.raises(NotFound):
                    self.engine.publish([publish] * count)
                assert self.engine.pending == before
                return
        now_ms = self.clock.now_ms()
        receipts = self.engine.publish([publish] * count)
        assert [[receipt.url for receipt in own] for own in receipts] == [urls] * count
        if publish.deduplication_id is None:
            assert not any(receipt.deduplicated for own in receipts for receipt in own)
            return
        for own in receipts:
            for receipt in own:
                name = publish.deduplication_id
                if group.kind is DestinationKind.URL_GROUP:
                    name += receipt.url
                assert receipt.deduplicated is (now_ms < self.windows.get(name, 0))
                if not receipt.deduplicated:
                    self.windows[name] = now_ms + WINDOW_MS

    @rule(which=WHICH, word=st.sampled_from(["ok", "no"]))
    @precondition(lambda self: self.transport.held)
    def answer(self, which, word) -> None:
        """A destination that was waited for answers."""
        future = one_of(self.transport.held.values(), which)
        self.do(lambda: future.set_result(OUTCOMES[word]))

    # Messages

    @rule(which=WHICH)
    @precondition(lambda self: self.watch.pending())
    def cancel(self, which) -> None:
        """MSG-11, MSG-12; MSG-15."""
        tracked = one_of(self.watch.pending(), which)
        message_id = tracked.message.message_id
        if not tracked.was_cancelled:
            self.do(lambda: self.engine.cancel(message_id))
        assert tracked.was_cancelled
        with pytest.raises(NotFound):
            self.engine.cancel(message_id)

    # Queues

    @rule(
        queue=QUEUES,
        parallelism=st.integers(1, 3),
        is_paused=st.none() | st.booleans(),
    )
    def upsert_queue(self, queue, parallelism, is_paused) -> None:
        self.do(
            lambda: self.engine.queues.upsert(
                queue, parallelism=parallelism, is_paused=is_paused
            ),
            lambda: self.watch.configure(queue, parallelism, is_paused),
        )

    @rule(queue=QUEUES, is_paused=st.booleans())
    def pause_queue(self, queue, is_paused) -> None:
        if queue not in self.watch.queues:
            with pytest.raises(NotFound):
                self.engine.queues.set_paused(queue, is_paused)
            return
        self.do(
            lambda: self.engine.queues.set_paused(queue, is_paused),
            lambda: self.watch.configure(queue, None, is_paused),
        )

    # Flow control

    @rule(key=KEYS, is_paused=st.booleans())
    def pause_key(self, key, is_paused) -> None:
        def note() -> None:
            if is_paused:
                self.watch.keys.setdefault(key, WatchedKey())
            if key in self.watch.keys:
                self.watch.keys[key].is_paused = is_paused

        self.do(lambda: self.engine.flow_control.set_paused(key, is_paused), note)

    @rule(
        key=KEYS,
        parallelism=st.none() | st.integers(1, 3),
        rate=st.none() | st.integers(1, 3),
        period_s=st.none() | st.sampled_from([1, 60]),
    )
    def pin(self, key, parallelism, rate, period_s) -> None:
        def note() -> None:
            watched = self.watch.keys.setdefault(key, WatchedKey())
            if parallelism is not None:
                watched.parallelism, watched.pins_parallelism = parallelism, True
            if rate is not None:
                watched.rate, watched.pins_rate = rate, True
            if period_s is not None:
                watched.period_s, watched.pins_rate = period_s, True
            watched.restart(self.clock.now_ms())

        self.do(
            lambda: self.engine.flow_control.pin(
                key, parallelism=parallelism, rate=rate, period_s=period_s
            ),
            note,
        )

    @rule(key=KEYS)
    def reset_rate(self, key) -> None:
        def note() -> None:
            if key in self.watch.keys:
                self.watch.keys[key].restart(self.clock.now_ms())

        self.do(lambda: self.engine.flow_control.reset_rate(key), note)

    # Time

    @rule(by_ms=STEPS_MS)
    def turn(self, by_ms) -> None:
        """Turn the clock, and stop wherever something falls due."""
        from_ms = self.clock.now_ms()
        to_ms = from_ms + by_ms

        async def steps() -> None:
            await self.settle()
            while True:
                due_ms = self.engine.scheduler.next_due_ms()
                if due_ms is None or due_ms > to_ms:
                    break
                assert due_ms > self.clock.now_ms(), "something is due and isn't done"
                self.clock.set(due_ms)
                await self.settle()
            self.clock.set(to_ms)
            await self.settle()

        self.run(steps())
        minutes_ms = [
            minute * MINUTE_MS
            for minute in range(from_ms // MINUTE_MS + 1, to_ms // MINUTE_MS + 1)
        ]
        assert self.scheduled(from_ms) == self.expected_firings(minutes_ms)

    @rule(by_ms=STEPS_MS, publish=st.none() | PUBLISHES)
    def leap(self, by_ms, publish) -> None:
        """Wake up late, as after a laptop's sleep; a request may come in first."""
        from_ms = self.clock.now_ms()
        to_ms = from_ms + by_ms

        async def steps() -> None:
            await self.settle()
            self.clock.set(to_ms)
            if publish is not None:
                self.publish_now(publish, 1)
            await self.settle()

        self.run(steps())
        # SCH-35: what was missed isn't made up.
        late_ms = [to_ms] if from_ms // MINUTE_MS < to_ms // MINUTE_MS else []
        assert self.scheduled(from_ms) == self.expected_firings(late_ms)

    @rule()
    def become_idle(self) -> None:
        """Unless something is paused, nothing is ever stuck."""
        for name in list(self.watch.queues):
            self.pause_queue(name, False)
        for key in list(self.watch.keys):
            self.pause_key(key, False)
        for name in list(self.schedules):
            self.pause_schedule(name, True)
        self.transport.holds = False
        for future in self.transport.held.values():
            future.set_result(OUTCOMES["no"])

        async def steps() -> None:
            await self.emulator.tenants.advance(None)
            await self.settle()

        self.run(steps())
        self.transport.holds = True
        assert self.engine.pending == 0
        assert not self.watch.pending()

    def expected_firings(self, instants_ms) -> Counter[tuple[str, int]]:
        """How many messages each schedule has to make at each instant (SCH-32)."""
        expected: Counter[tuple[str, int]] = Counter()
        for name, schedule in self.schedules.items():
            destination = schedule.publish.destination
            messages = 1
            if destination.kind is DestinationKind.URL_GROUP:
                messages = len(self.groups.get(destination.text, ()))
            if messages and not schedule.is_paused:
                expected.update({(name, ms): messages for ms in instants_ms})
        return expected

    def scheduled(self, after_ms) -> Counter[tuple[str, int]]:
        """How many messages each schedule has made, and when, since an instant."""
        return Counter(
            (tracked.message.schedule_id, tracked.message.created_at_ms)
            for tracked in self.watch.messages.values()
            if tracked.message.schedule_id is not None
            and tracked.message.created_at_ms > after_ms
        )

    # What always holds

    @invariant()
    def what_waits_has_a_reason(self) -> None:
        """Nothing that may start waits (FLC-27, QUE-16, QUE-18)."""
        now_ms = self.clock.now_ms()
        if len(self.watch.active()) < ACCOUNT_PARALLELISM:
            for tracked in self.watch.waiting(now_ms):
                assert self.watch.has_reason(tracked, now_ms), tracked

    @invariant()
    def each_start_is_one_call(self) -> None:
        """Nothing is delivered that the log doesn't show, in the same order."""
        assert self.transport.calls == self.watch.activations
        active = [tracked.message.message_id for tracked in self.watch.active()]
        assert sorted(self.transport.under_way) == sorted(active)  # DLV-32
        assert self.engine.flow_control.active == len(active)  # FLC-29

    @invariant()
    def whoever_had_a_success_is_delivered_and_only_once(self) -> None:
        """DLV-10, DLV-11, DLV-30."""
        assert sorted(self.transport.succeeded) == sorted(
            message_id
            for message_id, tracked in self.watch.messages.items()
            if tracked.state is State.DELIVERED
        )

    @invariant()
    def the_store_agrees_with_the_log(self) -> None:
        now_ms = self.clock.now_ms()
        assert self.engine.pending == len(self.watch.pending())
        for message_id, tracked in self.watch.messages.items():
            if tracked.is_final and tracked.final_ms + GRACE_MS <= now_ms:  # MSG-9
                with pytest.raises(NotFound):
                    self.engine.message(message_id)
            else:
                assert self.engine.message(message_id) == tracked.message

    @invariant()
    def the_dlq_has_what_failed(self) -> None:
        entries, _ = self.engine.dlq.list(DlqQuery(count=None))
        assert {
            entry.dlq_id: entry.message.message_id for entry in entries
        } == self.watch.dlq

    @invariant()
    def queues_are_as_configured_and_their_lag_is_what_is_unfinished(self) -> None:
        """QUE-21."""
        assert {
            queue.name: (queue.parallelism, queue.is_paused, lag)
            for queue, lag in self.engine.queues.list()
        } == {
            name: (
                queue.parallelism,
                queue.is_paused,
                sum(
                    tracked.message.queue_name == name
                    for tracked in self.watch.pending()
                ),
            )
            for name, queue in self.watch.queues.items()
        }

    @invariant()
    def flow_keys_are_as_configured_and_count_what_is_under_way(self) -> None:
        """FLC-20."""
        now_ms = self.clock.now_ms()
        views = {view.key.key: view for view in self.engine.flow_control.list()}
        assert views.keys() == self.watch.keys.keys()
        for name, watched in self.watch.keys.items():
            key, usage = views[name].key, views[name].usage
            assert (key.parallelism, key.rate, key.period_s, key.is_paused) == (
                watched.parallelism,
                watched.rate,
                watched.period_s,
                watched.is_paused,
            )
            assert usage.in_flight == sum(
                key_of(tracked) == name for tracked in self.watch.active()
            )
            waiting = [
                tracked
                for tracked in self.watch.waiting(now_ms)
                if key_of(tracked) == name
            ]
            # Those in a queue wait for the key only when it is their turn there.
            in_queue = sum(t.message.queue_name is not None for t in waiting)
            assert len(waiting) - in_queue <= views[name].waitlist_size <= len(waiting)

    @invariant()
    def schedules_remember_their_last_firing(self) -> None:
        """SCH-27, SCH-33."""
        schedules = self.engine.schedules.list()
        assert {schedule.schedule_id for schedule in schedules} == set(self.schedules)
        for schedule in schedules:
            assert schedule.next_fire_ms > self.clock.now_ms()
            assert schedule.next_fire_ms % MINUTE_MS == 0
            assert not (schedule.error and schedule.last_states)
            for message_id, state in schedule.last_states:
                tracked = self.watch.messages[message_id]
                assert tracked.message.schedule_id == schedule.schedule_id
                assert state == (tracked.state if tracked.is_final else None)


class Everything(QueuesAndKeys):
    """With URL groups, schedules, the DLQ, and all else that a user may do."""

    @rule(queue=QUEUES, count=st.none() | st.integers(1, 3))
    def cancel_of_queue(self, queue, count) -> None:
        reads_queue = (lambda message: (message.queue_name,), frozenset({queue}))
        selection = MessageSelection(filter=Filter((reads_queue,)), count=count)
        expected = [
            tracked
            for tracked in self.watch.pending()
            if tracked.message.queue_name == queue and not tracked.was_cancelled
        ][:count]
        cancelled = self.do(lambda: self.engine.cancel_selected(selection))
        assert cancelled == len(expected)
        assert all(tracked.was_cancelled for tracked in expected)

    # The dead letter queue

    @rule(
        count=st.integers(1, 3),
        retries=st.booleans(),
        delay_ms=st.sampled_from([0, 0, 1000]),
    )
    @precondition(lambda self: self.watch.dlq)
    def empty_dlq(self, count, retries, delay_ms) -> None:
        """Retry the latest entries, or delete them."""
        chosen = list(self.watch.dlq)[-count:]
        entries = [self.engine.dlq.get(dlq_id) for dlq_id in chosen]
        if retries:
            overrides = Overrides(delay_ms=delay_ms)
            receipts = self.do(lambda: self.engine.dlq.retry(entries, overrides))
            assert len(receipts) == len(chosen)
            assert all(
                receipt.message_id in self.watch.messages for receipt in receipts
            )
        else:
            self.do(lambda: self.engine.dlq.delete(entries))
        for dlq_id in chosen:
            del self.watch.dlq[dlq_id]

    @rule(queue=QUEUES)
    def delete_queue(self, queue) -> None:
        self.do(
            lambda: self.engine.queues.delete(queue),
            lambda: self.watch.queues.pop(queue, None),
        )
        # QUE-8.
        assert all(
            tracked.was_cancelled
            for tracked in self.watch.pending()
            if tracked.message.queue_name == queue
        )

    @rule(key=KEYS, parallelism=st.booleans(), rate=st.booleans())
    def unpin(self, key, parallelism, rate) -> None:
        def note() -> None:
            watched = self.watch.keys.get(key, WatchedKey())
            watched.pins_parallelism &= not parallelism
            watched.pins_rate &= not rate

        self.do(
            lambda: self.engine.flow_control.unpin(
                key, parallelism=parallelism, rate=rate
            ),
            note,
        )

    # URL groups

    @rule(group=GROUPS, paths=st.lists(WORDS, min_size=1, max_size=3))
    def upsert_endpoints(self, group, paths) -> None:
        urls = [f"http://member.example/{path}" for path in paths]
        endpoints = [Endpoint(url) for url in urls]
        self.engine.url_groups.upsert_endpoints(group, endpoints)
        self.groups.setdefault(group, {}).update(dict.fromkeys(urls))

    @rule(group=GROUPS)
    def delete_group(self, group) -> None:
        before = self.engine.pending
        self.engine.url_groups.delete(group)
        self.groups.pop(group, None)
        assert self.engine.pending == before  # UGR-13

    # Schedules

    @rule(name=SCHEDULES, publish=PUBLISHES)
    def put_schedule(self, name, publish) -> None:
        publish = publish._replace(deduplication_id=None)  # SCH-15
        is_paused = name in self.schedules and self.schedules[name].is_paused
        self.schedules[name] = WatchedSchedule(publish, is_paused)
        self.do(lambda: self.engine.schedules.put(publish, "* * * * *", name))

    @rule(name=SCHEDULES, is_paused=st.booleans())
    def pause_schedule(self, name, is_paused) -> None:
        if name not in self.schedules:
            with pytest.raises(NotFound):
                self.engine.schedules.set_paused(name, is_paused)
            return
        self.schedules[name] = replace(self.schedules[name], is_paused=is_paused)
        self.do(lambda: self.engine.schedules.set_paused(name, is_paused))

    @rule(name=SCHEDULES)
    def delete_schedule(self, name) -> None:
        self.schedules.pop(name, None)
        self.do(lambda: self.engine.schedules.delete(name))

    @rule()
    def reset(self) -> None:
        def note() -> None:
            self.watch.forget()
            self.transport.forget()
            self.schedules.clear()
            self.groups.clear()
            self.windows.clear()

        self.do(self.engine.reset, note)
        assert self.engine.pending == 0


TestQueuesAndKeys = QueuesAndKeys.TestCase
TestQueuesAndKeys.settings = settings(
    max_examples=60, stateful_step_count=50, deadline=None
)

TestEverything = Everything.TestCase
TestEverything.settings = settings(
    max_examples=60, stateful_step_count=50, deadline=None
)
