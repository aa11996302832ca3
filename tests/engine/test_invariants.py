"""What holds whatever happens: random verbs, outcomes and clocks against the engine.

A state machine publishes, enqueues, schedules, pauses, cancels, retries, turns the
clock and lets destinations answer, in any order. A ``Watch`` reads the log entry by
entry and keeps books of its own, as plainly as it can; whatever the engine does has to
be right by these books, and whatever it leaves undone has to have a reason in them.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
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
    Endpoint,
    FlowControl,
    LogEntry,
    Message,
    Options,
    Publish,
    Responded,
    State,
    TimedOut,
    Unreachable,
)
from emulator.errors import NotFound
from tests.doubles import T0

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


class Destinations:
    """A transport that answers as the path of each URL says, delivery by delivery.

    ``/no-hold-ok`` fails, then answers when it is told to, then succeeds; the last word
    holds for all that follow.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []
        self.held: dict[str, asyncio.Future[Responded]] = {}
        self.holds = True
        self.under_way: set[str] = set()

    async def send(self, request):
        headers = dict(request.headers)
        message_id = headers["Upstash-Message-Id"]
        retried = int(headers["Upstash-Retried"])
        assert message_id not in self.under_way, "two deliveries at once (DLV-32)"
        self.calls.append((message_id, retried))
        self.under_way.add(message_id)
        try:
            await asyncio.sleep(0)
            words = request.url.rpartition("/")[2].split("-")
            word = words[min(retried, len(words) - 1)]
            if word != "hold":
                return OUTCOMES[word]
            if not self.holds:
                return OUTCOMES["no"]
            self.held[message_id] = asyncio.get_running_loop().create_future()
            try:
                return await self.held[message_id]
            finally:
                del self.held[message_id]
        finally:
            self.under_way.discard(message_id)

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
    """Final; the next of its queue waits for its callbacks (QUE-13)."""

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

    def room(self, now_ms: int) -> set[tuple[int | None, int]]:
        """The windows in which one more may start now."""
        current = {
            (start_ms, count)
            if start_ms is not None and now_ms < start_ms + self.period_s * 1000
            else (None, 0)
            for start_ms, count in self.windows
        }
        return {
            (start_ms, count)
            for start_ms, count in current
            if self.rate is None or count < self.rate
        }

    def start(self, now_ms: int) -> None:
        self.windows = {
            (now_ms if start_ms is None else start_ms, count + 1)
            for start_ms, count in self.room(now_ms)
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

    def catch_up(self) -> list[LogEntry]:
        """Read what was logged since, and check each entry against the books."""
        query = LogQuery(
            count=10**6, cursor=(0, self.read - 1), latest_first=False
        )
        entries, _ = self.engine.logs(query)
        for entry in entries:
            self.read += 1
            self.enter(entry)
        return entries

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
        tracked.blocks = queue is not None and queue.parallelism == 1

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
            assert key.room(now_ms), "FLC-6"
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
            if other.blocks and other.callbacks and other.state is not State.CANCELLED
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
            or self.keys[key].room(now_ms) != self.keys[key].windows_now(now_ms)
        )


def key_of(tracked: Tracked) -> str | None:
    flow_control = tracked.message.options.flow_control
    return None if flow_control is None else flow_control.key


def is_in_work(tracked: Tracked) -> bool:
    """QUE-12: from the first delivery until it is final."""
    return tracked.starts > 0 and not tracked.is_final
