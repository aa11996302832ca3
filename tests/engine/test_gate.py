"""emulator/engine/gate.py: which due message may start its delivery now."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from emulator.core.flow import NO_USAGE
from emulator.core.model import FlowControl, Message, Options, Progress, State
from emulator.core.resources import FlowKey, Queue
from emulator.engine.gate import Gate
from tests.doubles import T0, a_message

SECOND_MS = 1000


class World:
    """What the gate looks up: queues, flow-control keys, and who waits."""

    def __init__(self, *, parallelism: int = 100) -> None:
        self.queues: dict[str, Queue] = {}
        self.keys: dict[str, FlowKey] = {}
        self.waiting: set[str] = set()
        self.count = 0
        self.gate = Gate(
            parallelism=parallelism,
            queue=self.queues.get,
            flow_key=self.keys.get,
            is_waiting=self.waiting.__contains__,
        )

    def arrive(self, *, queue: str | None = None, key: str | None = None) -> Message:
        """A new message falls due."""
        self.count += 1
        message = a_message(
            message_id=f"msg_{self.count}",
            queue_name=queue,
            options=Options(flow_control=None if key is None else FlowControl(key=key)),
        )
        self.return_(message)
        return message

    def return_(self, message: Message) -> None:
        """A message falls due: for the first time, or after a retry's wait."""
        self.waiting.add(message.message_id)
        self.gate.arrive(message)

    def take(self, now_ms: int = T0) -> Message | None:
        message = self.gate.take(now_ms)
        if message is not None:
            self.waiting.remove(message.message_id)
        return message

    def take_all(self, now_ms: int = T0) -> list[Message]:
        return list(iter(lambda: self.take(now_ms), None))

    def end(self, message: Message, state: State, *callbacks: Message) -> None:
        """A delivery ends; its message moves on, and callbacks are made."""
        self.gate.leave(message)
        self.note(message, state, *callbacks)

    def note(self, message: Message, state: State, *callbacks: Message) -> None:
        self.waiting.discard(message.message_id)
        self.gate.note(
            (
                Progress(message, state, T0),
                *(Progress(callback, State.CREATED, T0) for callback in callbacks),
            )
        )

    def queue(self, name: str, **changes) -> None:
        """Create or change a queue."""
        before = self.queues.get(name) or Queue(
            name=name, created_at_ms=T0, updated_at_ms=T0
        )
        self.queues[name] = replace(before, **changes)
        self.gate.queue_changed(name)

    def key(self, name: str, **changes) -> None:
        """Create or change a flow-control key."""
        self.keys[name] = replace(self.keys.get(name) or FlowKey(key=name), **changes)
        self.gate.key_changed(name)


def a_callback_of(message: Message, number: int = 1) -> Message:
    return a_message(
        message_id=f"{message.message_id}_callback_{number}",
        callback_of=message.message_id,
    )


# The account's parallelism


def test_messages_are_taken_in_the_order_of_their_arrival():
    world = World()
    messages = [world.arrive() for _ in range(5)]

    assert world.take_all() == messages


def test_no_more_are_taken_than_the_account_may_have_under_way():
    """LIM-8: the rest waits."""
    world = World(parallelism=2)
    first, second, third = (world.arrive() for _ in range(3))

    assert world.take_all() == [first, second]
    assert world.gate.active == 2

    world.end(first, State.DELIVERED)
    assert world.take_all() == [third]
    assert world.gate.active == 2


def test_a_cancelled_message_is_passed_over_and_takes_no_slot():
    world = World(parallelism=1)
    first, second = world.arrive(), world.arrive()
    world.note(first, State.CANCELLED)

    assert world.take_all() == [second]
    assert world.gate.active == 1


def test_an_empty_gate_lets_nobody_through_and_opens_never():
    world = World()

    assert world.take() is None
    assert world.gate.next_opening_ms() is None


# Flow-control keys


def test_the_parallelism_of_a_key_holds_its_messages_and_no_others():
    """FLC-5."""
    world = World()
    world.key("k", parallelism=1)
    first, second, other = (
        world.arrive(key="k"),
        world.arrive(key="k"),
        world.arrive(),
    )

    assert world.take_all() == [first, other]
    assert world.gate.waitlist_size("k") == 1

    world.end(other, State.DELIVERED)
    assert world.take() is None

    world.end(first, State.DELIVERED)
    assert world.take_all() == [second]
    assert world.gate.waitlist_size("k") == 0


def test_a_retry_wait_holds_no_slot_of_its_key():
    """FLC-9."""
    world = World()
    world.key("k", parallelism=1)
    first, second = world.arrive(key="k"), world.arrive(key="k")
    world.take()

    world.end(first, State.RETRY)
    assert world.take_all() == [second]

    world.return_(first)
    assert world.take() is None


@pytest.mark.parametrize(("after_ms", "count"), [(0, 0), (9_999, 0), (10_000, 2)])
def test_a_full_rate_window_opens_when_its_period_has_passed(after_ms, count):
    """FLC-6: two within ten seconds of the first."""
    world = World()
    world.key("k", rate=2, period_s=10)
    for _ in range(4):
        world.arrive(key="k")
    assert len(world.take_all()) == 2

    assert world.gate.next_opening_ms() == T0 + 10 * SECOND_MS
    assert len(world.take_all(T0 + after_ms)) == count


def test_a_window_opens_with_its_first_start_not_with_the_clock():
    """FLC-6, Q-24."""
    world = World()
    world.key("k", rate=1, period_s=10)
    world.arrive(key="k")
    world.take(T0 + 7_000)
    world.arrive(key="k")

    assert world.take(T0 + 16_999) is None
    assert world.gate.next_opening_ms() == T0 + 17_000
    assert world.take(T0 + 17_000) is not None


def test_what_is_closed_by_its_parallelism_has_no_opening():
    """It opens when a delivery ends, and nobody knows when."""
    world = World()
    world.key("k", parallelism=1, rate=5, period_s=10)
    world.arrive(key="k")
    world.arrive(key="k")
    world.take_all()

    assert world.gate.next_opening_ms() is None


def test_both_limits_of_a_key_must_allow_a_start():
    """FLC-7."""
    world = World()
    world.key("k", parallelism=1, rate=1, period_s=10)
    first, second = world.arrive(key="k"), world.arrive(key="k")
    world.take()

    world.end(first, State.DELIVERED)
    assert world.take(T0) is None  # the rate

    third = world.arrive(key="k")
    assert world.take(T0 + 10_000) == second
    assert world.take(T0 + 20_000) is None  # the parallelism
    assert world.gate.waitlist_size("k") == 1

    world.end(second, State.DELIVERED)
    assert world.take(T0 + 20_000) == third


def test_of_several_lines_the_one_goes_first_whose_head_came_first():
    """FLC-8: among those that are open."""
    world = World()
    world.key("closed", is_paused=True)
    world.arrive(key="closed")
    messages = [
        world.arrive(key="a"),
        world.arrive(),
        world.arrive(key="b"),
        world.arrive(key="a"),
        world.arrive(),
    ]

    assert world.take_all() == messages


def test_a_paused_key_lets_nobody_start_and_goes_on_in_order():
    """FLC-23."""
    world = World()
    world.key("k", is_paused=True)
    messages = [world.arrive(key="k") for _ in range(3)]

    assert world.take() is None
    assert world.gate.next_opening_ms() is None
    assert world.gate.waitlist_size("k") == 3

    world.key("k", is_paused=False)
    assert world.take_all() == messages


@pytest.mark.parametrize(
    "changes",
    [{"rate": 3}, {"rate": None}, {"period_s": 1}],
    ids=["higher rate", "no rate", "shorter period"],
)
def test_a_change_of_a_key_holds_for_those_that_wait(changes):
    """FLC-4."""
    world = World()
    world.key("k", rate=1, period_s=60)
    world.arrive(key="k")
    world.arrive(key="k")
    world.take_all()
    assert world.take(T0 + 2_000) is None

    world.key("k", **changes)

    assert world.take(T0 + 2_000) is not None


def test_a_new_period_begins_when_it_is_told_to():
    """FLC-27."""
    world = World()
    world.key("k", rate=1, period_s=60)
    for _ in range(3):
        world.arrive(key="k")
    world.take()
    assert world.take(T0 + 5_000) is None

    world.gate.reset_rate("k", T0 + 5_000)

    assert world.gate.usage("k").started == 0
    assert world.gate.usage("k").period_start_ms == T0 + 5_000
    assert world.gate.usage("k").in_flight == 1
    assert len(world.take_all(T0 + 5_000)) == 1
    assert world.gate.next_opening_ms() == T0 + 65_000


def test_a_key_that_nobody_used_has_no_usage():
    world = World()

    assert world.gate.usage("k") == NO_USAGE
    assert world.gate.waitlist_size("k") == 0


def test_the_waitlist_of_a_key_has_no_cancelled_messages():
    world = World()
    world.key("k", is_paused=True)
    first, _ = world.arrive(key="k"), world.arrive(key="k")

    world.note(first, State.CANCELLED)

    assert world.gate.waitlist_size("k") == 1


def test_nothing_opens_for_a_line_in_which_all_were_cancelled():
    world = World()
    world.key("k", rate=1, period_s=60)
    first, second = world.arrive(key="k"), world.arrive(key="k")
    assert world.take_all() == [first]

    world.note(second, State.CANCELLED)

    assert world.gate.next_opening_ms() is None


def test_whoever_stands_behind_a_cancelled_message_is_not_forgotten():
    """Also where the line is due to be asked, and the account is full meanwhile."""
    world = World(parallelism=3)
    world.key("soon", rate=1, period_s=10)
    world.key("later", rate=1, period_s=60)
    for name in ("soon", "soon", "later"):
        world.arrive(key=name)
    head, behind = world.arrive(key="later"), world.arrive(key="later")
    occupant = world.arrive()
    world.take_all()
    assert world.gate.active == 3

    world.gate.reset_rate("later", T0)
    world.note(head, State.CANCELLED)
    assert world.take(T0 + 10_000) is None
    world.gate.next_opening_ms()
    world.end(occupant, State.DELIVERED)
    taken = world.take(T0 + 10_000)
    world.end(taken, State.DELIVERED)

    assert behind in (taken, world.take(T0 + 10_000))


# Queues


def test_one_message_of_a_queue_is_in_work_until_it_is_final():
    """QUE-11, QUE-12: its retry waits included."""
    world = World()
    world.queue("q")
    first, second = world.arrive(queue="q"), world.arrive(queue="q")
    assert world.take_all() == [first]

    world.end(first, State.RETRY)
    assert world.take() is None
    world.return_(first)
    assert world.take_all() == [first]

    world.end(first, State.FAILED)
    assert world.take_all() == [second]


def test_queues_do_not_wait_for_each_other():
    world = World()
    first, _, other = (
        world.arrive(queue="q"),
        world.arrive(queue="q"),
        world.arrive(queue="r"),
    )

    assert world.take_all() == [first, other]


def test_the_next_of_a_queue_waits_for_the_callbacks_of_the_last():
    """QUE-13: in the order of the notes, the callback counts before the final state."""
    world = World()
    world.queue("q")
    first, second = world.arrive(queue="q"), world.arrive(queue="q")
    world.take()
    callbacks = [a_callback_of(first, number) for number in (1, 2)]

    world.end(first, State.DELIVERED, *callbacks)
    assert world.take() is None
    world.note(callbacks[0], State.DELIVERED)
    assert world.take() is None
    world.note(callbacks[1], State.FAILED)

    assert world.take_all() == [second]


def test_with_parallelism_nobody_waits_for_callbacks():
    """QUE-13, QUE-14."""
    world = World()
    world.queue("q", parallelism=2)
    first, _, third = (world.arrive(queue="q") for _ in range(3))
    assert len(world.take_all()) == 2

    world.end(first, State.DELIVERED, a_callback_of(first))

    assert world.take_all() == [third]


def test_a_callback_of_a_message_without_a_queue_holds_nobody_up():
    world = World()
    message = world.arrive()
    world.take()

    world.end(message, State.DELIVERED, a_callback_of(message))
    world.note(a_callback_of(message), State.DELIVERED)

    assert world.gate.active == 0


def test_raising_the_parallelism_lets_more_start_at_once():
    """QUE-16: also past those that only wait for callbacks."""
    world = World()
    world.queue("q")
    messages = [world.arrive(queue="q") for _ in range(4)]
    world.take()
    world.end(messages[0], State.DELIVERED, a_callback_of(messages[0]))
    assert world.take() is None

    world.queue("q", parallelism=2)

    assert world.take_all() == messages[1:3]


def test_lowering_the_parallelism_lets_those_that_run_finish():
    """QUE-16."""
    world = World()
    world.queue("q", parallelism=2)
    messages = [world.arrive(queue="q") for _ in range(3)]
    world.take_all()

    world.queue("q", parallelism=1)
    world.end(messages[0], State.DELIVERED)
    assert world.take() is None

    world.end(messages[1], State.DELIVERED)
    assert world.take_all() == [messages[2]]


def test_lowering_the_parallelism_takes_back_those_that_have_not_started():
    """QUE-16: those that run may finish; others may not start."""
    world = World()
    world.queue("q", parallelism=3)
    world.key("k", is_paused=True)
    messages = [world.arrive(queue="q", key="k") for _ in range(3)]
    assert world.take() is None

    world.queue("q", parallelism=1)
    world.key("k", is_paused=False)

    assert world.take_all() == messages[:1]


def test_a_paused_queue_lets_nobody_start_and_goes_on_in_order():
    """QUE-17: neither new ones, nor the retry of the one in work."""
    world = World()
    world.queue("q", parallelism=2)
    messages = [world.arrive(queue="q") for _ in range(4)]
    world.take_all()
    world.queue("q", is_paused=True)
    world.end(messages[0], State.RETRY)
    world.end(messages[1], State.DELIVERED)
    world.return_(messages[0])
    assert world.take() is None

    world.queue("q", is_paused=False)

    assert world.take_all() == [messages[0], messages[2]]


def test_a_pause_keeps_the_order_of_those_that_were_about_to_start():
    """QUE-11, QUE-14: while the account is full, and another message comes between."""
    world = World(parallelism=1)
    world.queue("q", parallelism=2)
    occupant = world.arrive()
    first, other, second = world.arrive(queue="q"), world.arrive(), None
    second = world.arrive(queue="q")
    assert world.take_all() == [occupant]

    world.queue("q", is_paused=True)
    world.end(occupant, State.DELIVERED)
    assert world.take_all() == [other]
    world.queue("q", is_paused=False)
    world.end(other, State.DELIVERED)

    assert world.take_all() == [first]
    world.end(first, State.DELIVERED)
    assert world.take_all() == [second]


def test_a_cancelled_message_leaves_no_gap_in_its_queue():
    """QUE-18: neither a waiting one nor the head."""
    world = World()
    world.queue("q")
    head, second, third = (world.arrive(queue="q") for _ in range(3))
    world.take()
    world.end(head, State.RETRY)

    world.note(second, State.CANCELLED)
    assert world.take() is None
    world.note(head, State.CANCELLED)

    assert world.take_all() == [third]


def test_a_message_cancelled_in_a_paused_queue_does_not_block_it():
    """QUE-18: it was due for a retry, and held."""
    world = World()
    world.queue("q")
    head, second = world.arrive(queue="q"), world.arrive(queue="q")
    world.take()
    world.end(head, State.RETRY)
    world.queue("q", is_paused=True)
    world.return_(head)
    world.note(head, State.CANCELLED)

    world.queue("q", is_paused=False)

    assert world.take_all() == [second]


def test_a_message_cancelled_while_it_waits_for_its_key_lets_the_next_go():
    """QUE-18, FLC-12: it had its turn, and hadn't started."""
    world = World()
    world.queue("q")
    world.key("k", is_paused=True)
    head, second = world.arrive(queue="q", key="k"), world.arrive(queue="q")
    assert world.take() is None

    world.note(head, State.CANCELLED)

    assert world.take_all() == [second]


def test_a_pause_holds_retries_that_were_about_to_start_and_keeps_their_order():
    """QUE-17: the account was full when they fell due."""
    world = World(parallelism=2)
    world.queue("q", parallelism=2)
    first, second = world.arrive(queue="q"), world.arrive(queue="q")
    world.take_all()
    occupants = [world.arrive(), world.arrive()]
    for message in (first, second):
        world.end(message, State.RETRY)
    assert world.take_all() == occupants
    for message in (first, second):
        world.return_(message)
    assert world.take() is None

    world.queue("q", is_paused=True)
    for message in occupants:
        world.end(message, State.DELIVERED)
    assert world.take() is None
    world.queue("q", is_paused=False)

    assert world.take_all() == [first, second]


def test_a_queued_message_needs_its_turn_and_its_key():
    """FLC-12: it takes the key's slot only when both allow it."""
    world = World()
    world.queue("q")
    world.key("k", parallelism=1)
    holder, first = world.arrive(key="k"), world.arrive(queue="q", key="k")
    second = world.arrive(queue="q", key="k")
    assert world.take_all() == [holder]
    assert world.gate.waitlist_size("k") == 1  # the second waits for its queue

    world.end(holder, State.DELIVERED)
    assert world.take_all() == [first]

    world.end(first, State.RETRY)
    assert world.take() is None
    other = world.arrive(key="k")
    assert world.take_all() == [other]

    world.end(other, State.DELIVERED)
    world.note(first, State.CANCELLED)
    assert world.take_all() == [second]


def test_a_head_that_waits_for_its_key_does_not_count_while_its_queue_is_paused():
    """Nothing happens when the window opens: no reason to wake up."""
    world = World()
    world.queue("q")
    world.key("k", rate=1, period_s=60)
    world.arrive(key="k")
    world.arrive(queue="q", key="k")
    world.take_all()
    assert world.gate.next_opening_ms() == T0 + 60_000

    world.queue("q", is_paused=True)

    assert world.gate.next_opening_ms() is None
    assert world.gate.waitlist_size("k") == 0


def test_an_unknown_queue_takes_one_message_at_a_time():
    """As the one that is made on the fly (ENQ-2)."""
    world = World()
    first, second = world.arrive(queue="q"), world.arrive(queue="q")

    assert world.take_all() == [first]
    world.end(first, State.DELIVERED)
    assert world.take_all() == [second]


def test_changes_of_queues_and_keys_that_nobody_uses_change_nothing():
    world = World()

    world.queue("q", parallelism=5)
    world.key("k", rate=5)

    assert world.take() is None


def test_a_cleared_gate_remembers_nobody():
    world = World()
    world.queue("q", is_paused=True)
    world.key("k", rate=1, period_s=60)
    taken = [world.arrive(), world.arrive(key="k")]
    world.arrive(queue="q")
    world.arrive(key="k")
    world.take_all()
    for message in taken:
        world.end(message, State.DELIVERED)

    world.gate.clear()
    world.queue("q", is_paused=False)

    assert world.take() is None
    assert world.gate.next_opening_ms() is None
    assert world.gate.usage("k") == NO_USAGE
    assert world.gate.waitlist_size("k") == 0
    fresh = world.arrive(key="k")
    assert world.take_all() == [fresh]


# All of it at random, against a model that has nothing but lists


@dataclass
class Modelled:
    """What the model knows of a message."""

    message: Message
    arrival: int
    state: State = State.CREATED
    is_due: bool = True
    has_started: bool = False
    callbacks: int = 0
    is_done: bool = False
    """Final, and of no more concern to its queue."""

    @property
    def is_waiting(self) -> bool:
        return self.is_due and self.state in (State.CREATED, State.RETRY)

    @property
    def is_final(self) -> bool:
        return self.state in (State.DELIVERED, State.CANCELLED)

    @property
    def queue_name(self) -> str | None:
        return self.message.queue_name

    @property
    def key(self) -> str | None:
        flow_control = self.message.options.flow_control
        return None if flow_control is None else flow_control.key


QUEUES = st.sampled_from(["q", "r"])
KEYS = st.sampled_from(["k", "l", "m"])
WHICH = st.integers(0, 9)


class GateMachine(RuleBasedStateMachine):
    """The gate, and a model that looks at every message each time it is asked."""

    PARALLELISM = 3

    def __init__(self) -> None:
        super().__init__()
        self.world = World(parallelism=self.PARALLELISM)
        self.gate = self.world.gate
        self.now_ms = T0
        self.messages: list[Modelled] = []
        self.windows: dict[str, tuple[int, int]] = {}

    # What the model says

    def some(self, which, *states: State) -> Modelled | None:
        """One of the messages in such a state."""
        found = [item for item in self.messages if item.state in states]
        return found[which % len(found)] if found else None

    def active(self, key: str | None = None) -> int:
        return sum(
            item.state is State.ACTIVE and key in (None, item.key)
            for item in self.messages
        )

    def whose_turn_it_is(self) -> list[Modelled]:
        """Who is due, and let through by its queue."""
        turn = []
        room: dict[str, int] = {}
        for item in self.messages:
            name = item.queue_name
            if name is None:
                if item.is_waiting:
                    turn.append(item)
                continue
            queue = self.world.queues.get(name)
            if name not in room:
                in_work = sum(
                    other.queue_name == name and other.has_started and not other.is_done
                    for other in self.messages
                )
                room[name] = (1 if queue is None else queue.parallelism) - in_work
            if not item.is_waiting or (queue is not None and queue.is_paused):
                continue
            if item.has_started:
                turn.append(item)
            elif room[name] > 0:
                room[name] -= 1
                turn.append(item)
        return turn

    def window(self, name: str) -> tuple[int, int]:
        """When the open window began, and the starts in it."""
        start_ms, count = self.windows.get(name, (0, 0))
        key = self.world.keys.get(name)
        end_ms = start_ms + (1 if key is None else key.period_s) * SECOND_MS
        return (start_ms, count) if self.now_ms < end_ms else (self.now_ms, 0)

    def opens_ms(self, item: Modelled) -> int | None:
        """From when its key lets it start; ``None``: nobody knows."""
        key = self.world.keys.get(item.key)
        if key is None:
            return self.now_ms
        full = key.parallelism is not None and self.active(key.key) >= key.parallelism
        if key.is_paused or full:
            return None
        start_ms, count = self.window(key.key)
        if key.rate is None or count < key.rate:
            return self.now_ms
        return start_ms + key.period_s * SECOND_MS

    def startable(self) -> list[Modelled]:
        if self.active() >= self.PARALLELISM:
            return []
        return [
            item
            for item in self.whose_turn_it_is()
            if self.opens_ms(item) == self.now_ms
        ]

    # What happens

    @rule(key=st.none() | KEYS)
    def arrive_in_a_queue(self, key) -> None:
        self.arrive("q", key)

    @rule(queue=st.none() | QUEUES, key=st.none() | KEYS)
    def arrive(self, queue, key) -> None:
        message = self.world.arrive(queue=queue, key=key)
        self.messages.append(Modelled(message, self.world.count))

    @rule()
    def take(self) -> None:
        """One of those that may start; of those in no queue, the first."""
        startable = self.startable()
        message = self.world.take(self.now_ms)
        if message is None:
            assert startable == []
            return
        (item,) = (item for item in startable if item.message is message)
        if item.queue_name is None:
            first = next(other for other in startable if other.queue_name is None)
            assert first is item
        else:
            # Of the new ones in a queue, the first in each line.
            assert item.has_started or item is next(
                other
                for other in startable
                if (other.queue_name, other.key) == (item.queue_name, item.key)
                and not other.has_started
            )
        item.state, item.has_started = State.ACTIVE, True
        if item.key is not None:
            start_ms, count = self.window(item.key)
            self.windows[item.key] = (start_ms, count + 1)

    @rule()
    def take_all(self) -> None:
        while self.startable():
            self.take()
        self.take()
        if self.active() < self.PARALLELISM:
            openings = [self.opens_ms(item) for item in self.whose_turn_it_is()]
            assert self.gate.next_opening_ms() == min(
                (ms for ms in openings if ms is not None), default=None
            )

    @rule()
    def ask_for_the_next_opening(self) -> None:
        """To ask changes nothing, whenever it is done."""
        self.gate.next_opening_ms()

    @rule(which=WHICH, state=st.sampled_from([State.DELIVERED, State.RETRY]))
    def end(self, which, state) -> None:
        item = self.some(which, State.ACTIVE)
        if item is not None:
            item.is_due = False
            self.world.gate.leave(item.message)
            self.move(item, state)

    @rule(which=WHICH, count=st.integers(1, 2))
    def end_with_callbacks(self, which, count) -> None:
        item = self.some(which, State.ACTIVE)
        if item is not None:
            first = len(self.messages)
            callbacks = [a_callback_of(item.message, first + n) for n in range(count)]
            item.callbacks += count
            self.world.gate.leave(item.message)
            self.move(item, State.DELIVERED, *callbacks)
            for callback in callbacks:
                self.world.return_(callback)
                self.messages.append(Modelled(callback, self.world.count))

    @rule(which=WHICH)
    def cancel(self, which) -> None:
        item = self.some(which, State.CREATED, State.RETRY)
        if item is not None:
            self.move(item, State.CANCELLED)

    def move(self, item: Modelled, state: State, *callbacks: Message) -> None:
        item.state = state
        self.look_if_done(item)
        if item.is_final and item.message.callback_of is not None:
            for source in self.messages:
                if source.message.message_id == item.message.callback_of:
                    source.callbacks -= 1
                    self.look_if_done(source)
        self.world.note(item.message, state, *callbacks)

    def look_if_done(self, item: Modelled) -> None:
        """QUE-13: with parallelism 1, not before the callbacks are."""
        queue = self.world.queues.get(item.queue_name)
        waits = queue is None or queue.parallelism == 1
        if item.is_final and not (waits and item.callbacks):
            item.is_done = True

    @rule(which=WHICH)
    def fall_due_again(self, which) -> None:
        resting = [
            item
            for item in self.messages
            if item.state is State.RETRY and not item.is_due
        ]
        if resting:
            item = resting[which % len(resting)]
            item.is_due = True
            # Whoever is in no queue comes after those that are there.
            self.messages.remove(item)
            self.messages.append(item)
            self.world.return_(item.message)

    @rule(
        name=QUEUES,
        parallelism=st.sampled_from([1, 1, 2, 3]),
        is_paused=st.sampled_from([False, False, True]),
    )
    def change_queue(self, name, parallelism, is_paused) -> None:
        self.world.queue(name, parallelism=parallelism, is_paused=is_paused)
        # A change only matters once somebody may start.
        for item in self.messages:
            if item.queue_name == name and not is_paused:
                self.look_if_done(item)

    @rule(
        name=KEYS,
        parallelism=st.none() | st.integers(1, 2),
        rate=st.none() | st.integers(1, 2),
        period_s=st.sampled_from([1, 2, 5]),
        is_paused=st.sampled_from([False, False, True]),
    )
    def change_key(self, name, parallelism, rate, period_s, is_paused) -> None:
        self.world.key(
            name,
            parallelism=parallelism,
            rate=rate,
            period_s=period_s,
            is_paused=is_paused,
        )

    @rule(name=KEYS)
    def reset_rate(self, name) -> None:
        self.gate.reset_rate(name, self.now_ms)
        self.windows[name] = (self.now_ms, 0)

    @rule(by_ms=st.sampled_from([1, 500, 1000, 5000]))
    def pass_time(self, by_ms) -> None:
        self.now_ms += by_ms

    @rule()
    @precondition(lambda self: not self.active())
    def clear(self) -> None:
        self.gate.clear()
        self.messages.clear()
        self.world.waiting.clear()
        self.windows.clear()

    @invariant()
    def usage_and_waitlists_are_those_of_the_model(self) -> None:
        assert self.gate.active == self.active()
        turn = self.whose_turn_it_is()
        for name in ("k", "l", "m"):
            assert self.gate.usage(name).in_flight == self.active(name)
            assert self.gate.waitlist_size(name) == sum(
                item.key == name for item in turn
            )


TestGateMachine = GateMachine.TestCase
TestGateMachine.settings = settings(
    max_examples=200, stateful_step_count=50, deadline=None
)
