"""emulator/engine/queues.py and queue_lines.py, through the engine: who goes when."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator import Emulator, Settings
from emulator.core.filters import DlqQuery, Filter, LogQuery, MessageSelection
from emulator.core.headers import Overrides
from emulator.core.model import (
    Callback,
    Destination,
    DestinationKind,
    FlowControl,
    Options,
    Responded,
    State,
)
from emulator.core.resources import Endpoint
from emulator.errors import NotFound, QuotaExceeded
from tests.doubles import T0, ScriptedTransport, a_publish, quiet, turn

OK = Responded(200)
ERROR = Responded(500)
NEVER_AGAIN = Responded(489, header=("Upstash-Nonretryable-Error", "true"))

SECOND_MS = 1000
MINUTE_MS = 60_000
# The first full minute after T0, which is 20 seconds past one.
FIRST_MINUTE_MS = 40_000

CALLBACK = Callback(url="http://localhost/callback")


class Desk:
    """A transport at which every call waits until the test answers it."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self._unanswered: dict[str, list[asyncio.Future[Responded]]] = {}

    async def send(self, request):
        name = request.url.rpartition("/")[2]
        future = asyncio.get_running_loop().create_future()
        self.calls.append(name)
        self._unanswered.setdefault(name, []).append(future)
        try:
            return await future
        finally:
            self._unanswered[name].remove(future)

    @property
    def waiting(self) -> list[str]:
        """Whose call is under way, sorted by name."""
        return sorted(
            name for name, futures in self._unanswered.items() for _ in futures
        )

    async def answer(self, name, outcome=OK) -> None:
        """Answer the oldest call of that name."""
        self._unanswered[name][0].set_result(outcome)
        await quiet()

    async def close(self) -> None:
        pass


def an_emulator(transport=None, **changes):
    """An emulator at T0, its first user's engine, and how it calls."""
    transport = transport or Desk()
    emulator = Emulator(
        Settings(clock="virtual", start_time_ms=T0, seed=1, **changes),
        transport=transport,
    )
    engine = emulator.tenants.engines[0]
    engine.start()
    return emulator, engine, transport


def enqueue(engine, *names, queue="q", retries=0, delay_ms=0, **options):
    """Enqueue a message for each name; return the ids."""
    options = Options(retries=retries, retry_delay="1000", **options)
    receipts = engine.publish(
        [
            a_publish(
                f"http://localhost/{name}",
                queue_name=queue,
                delay_ms=delay_ms,
                options=options,
            )
            for name in names
        ]
    )
    return [receipt.message_id for own in receipts for receipt in own]


def upsert(engine, name="q", parallelism=None, is_paused=None):
    return engine.queues.upsert(name, parallelism=parallelism, is_paused=is_paused)


def lag(engine, name="q"):
    return engine.queues.get(name)[1]


def states(engine, message_id):
    """What was logged of a message, oldest first."""
    page, _ = engine.logs(LogQuery(latest_first=False))
    return [entry.state for entry in page if entry.message.message_id == message_id]


def dlq(engine):
    entries, _ = engine.dlq.list(DlqQuery())
    return entries


# What a queue is


async def test_a_queue_is_created_with_parallelism_1_and_not_paused():
    """QUE-1, QUE-2."""
    _, engine, _ = an_emulator()

    upsert(engine)

    queue, queue_lag = engine.queues.get("q")
    assert (queue.name, queue.parallelism, queue.is_paused) == ("q", 1, False)
    assert queue.created_at_ms == queue.updated_at_ms == T0
    assert queue_lag == 0


async def test_an_upsert_keeps_the_creation_time_and_moves_the_update_time():
    """QUE-1."""
    emulator, engine, _ = an_emulator()
    upsert(engine)
    await turn(emulator, 5000)

    upsert(engine, parallelism=3)

    queue, _ = engine.queues.get("q")
    assert queue.created_at_ms == T0
    assert queue.updated_at_ms == T0 + 5000
    assert queue.parallelism == 3


@pytest.mark.parametrize("is_paused", [True, False])
async def test_pausing_and_resuming_move_the_update_time(is_paused):
    """QUE-1."""
    emulator, engine, _ = an_emulator()
    upsert(engine)
    await turn(emulator, 5000)

    engine.queues.set_paused("q", is_paused)

    assert engine.queues.get("q")[0].updated_at_ms == T0 + 5000


@pytest.mark.parametrize(
    ("given_pause", "expected"), [(None, True), (False, False), (True, True)]
)
async def test_an_upsert_resumes_a_paused_queue_unless_it_says_nothing(
    given_pause, expected
):
    """QUE-2: both SDKs send `paused: false` with every upsert."""
    _, engine, _ = an_emulator()
    upsert(engine, is_paused=True)

    upsert(engine, is_paused=given_pause)

    assert engine.queues.get("q")[0].is_paused is expected


async def test_queues_are_listed_in_the_order_of_their_creation():
    """QUE-5."""
    _, engine, _ = an_emulator()
    for name in ("c", "a", "b"):
        upsert(engine, name)
    upsert(engine, "a", parallelism=2)

    assert [queue.name for queue, _ in engine.queues.list()] == ["c", "a", "b"]


@pytest.mark.parametrize(
    "verb",
    [
        lambda queues: queues.get("q"),
        lambda queues: queues.set_paused("q", True),
        lambda queues: queues.set_paused("q", False),
    ],
    ids=["get", "pause", "resume"],
)
async def test_an_unknown_queue_is_not_found(verb):
    """QUE-6, QUE-9: and isn't made."""
    _, engine, _ = an_emulator()

    with pytest.raises(NotFound):
        verb(engine.queues)
    assert engine.queues.list() == []


async def test_deleting_an_unknown_queue_is_harmless():
    """QUE-7."""
    _, engine, _ = an_emulator()

    engine.queues.delete("q")

    assert engine.queues.list() == []


async def test_a_queue_too_many_is_refused_and_changing_one_never_is():
    """QUE-4, LIM-7."""
    _, engine, _ = an_emulator(quota="free", strict=True)
    for number in range(10):
        upsert(engine, f"q{number}")

    with pytest.raises(QuotaExceeded) as error:
        upsert(engine, "q10")
    upsert(engine, "q9", parallelism=2)

    assert error.value.status == 412
    assert len(engine.queues.list()) == 10


async def test_more_parallelism_than_the_plan_has_is_refused():
    """QUE-4, LIM-7: and nothing is changed."""
    _, engine, _ = an_emulator(quota="free", strict=True)
    upsert(engine, parallelism=2)

    for name in ("q", "new"):
        with pytest.raises(QuotaExceeded) as error:
            upsert(engine, name, parallelism=3)
        assert error.value.status == 412

    assert [queue.parallelism for queue, _ in engine.queues.list()] == [2]


# Enqueueing


async def test_an_unknown_queue_is_made_by_the_first_enqueue():
    """ENQ-2, ENQ-4, ENQ-7: with parallelism 1, and not paused."""
    _, engine, _ = an_emulator()

    (message_id,) = enqueue(engine, "a")

    queue, queue_lag = engine.queues.get("q")
    assert (queue.parallelism, queue.is_paused, queue_lag) == (1, False, 1)
    assert engine.message(message_id).queue_name == "q"


async def test_an_enqueue_leaves_the_queue_as_it_is():
    """ENQ-2, ENQ-6."""
    _, engine, desk = an_emulator()
    upsert(engine, parallelism=4, is_paused=True)

    enqueue(engine, "a")
    await quiet()

    queue, queue_lag = engine.queues.get("q")
    assert (queue.parallelism, queue.is_paused, queue_lag) == (4, True, 1)
    assert desk.calls == []


async def test_an_enqueue_that_needs_a_queue_too_many_leaves_nothing_behind():
    """ENQ-3, LIM-7, BAT-7."""
    _, engine, _ = an_emulator(quota="free", strict=True)
    for number in range(9):
        upsert(engine, f"q{number}")
    known, new, other = (
        a_publish(queue_name=name) for name in ("q0", "new", "another")
    )

    with pytest.raises(QuotaExceeded) as error:
        engine.publish([known, new, other])
    assert error.value.status == 412
    assert engine.pending == 0
    assert len(engine.queues.list()) == 9

    engine.publish([known, new, new])
    assert engine.pending == 3


async def test_an_enqueue_to_a_url_group_queues_its_endpoints_in_their_order():
    """ENQ-5."""
    _, engine, desk = an_emulator()
    urls = [f"http://localhost/{name}" for name in ("c", "a", "b")]
    engine.url_groups.upsert_endpoints("g", [Endpoint(url) for url in urls])

    (receipts,) = engine.publish(
        [
            a_publish(
                destination=Destination(DestinationKind.URL_GROUP, "g"),
                queue_name="q",
            )
        ]
    )
    await quiet()

    assert [receipt.url for receipt in receipts] == urls
    assert lag(engine) == 3
    for name in ("c", "a", "b"):
        assert desk.waiting == [name]
        await desk.answer(name)
    assert lag(engine) == 0


async def test_a_message_without_a_queue_passes_by():
    """ENQ-1: an enqueue is a publish, and nobody else waits for it."""
    _, engine, desk = an_emulator()

    enqueue(engine, "a", "b")
    engine.publish([a_publish("http://localhost/free")])
    await quiet()

    assert desk.waiting == ["a", "free"]


# Order


async def test_messages_start_in_the_order_of_acceptance_one_at_a_time():
    """QUE-11."""
    _, engine, desk = an_emulator()
    enqueue(engine, "a")
    enqueue(engine, "b", "c")
    await quiet()

    for name in ("a", "b", "c"):
        assert desk.waiting == [name]
        await desk.answer(name)
    assert desk.calls == ["a", "b", "c"]


async def test_queues_go_on_side_by_side():
    """QUE-11 is a rule of one queue."""
    _, engine, desk = an_emulator()

    enqueue(engine, "a1", "a2", queue="a")
    enqueue(engine, "b1", "b2", queue="b")
    await quiet()

    assert desk.waiting == ["a1", "b1"]


async def test_a_waiting_message_has_nothing_but_created_in_its_log():
    """QUE-15, LOG-25."""
    emulator, engine, desk = an_emulator()
    _, second = enqueue(engine, "a", "b")
    await turn(emulator, 5000)
    assert states(engine, second) == [State.CREATED]

    await desk.answer("a")

    assert states(engine, second) == [State.CREATED, State.ACTIVE]


async def test_a_failing_head_blocks_its_queue_during_its_retry_waits():
    """QUE-12."""
    emulator, engine, desk = an_emulator()
    enqueue(engine, "a", retries=2)
    enqueue(engine, "b")
    await quiet()

    await desk.answer("a", ERROR)
    assert desk.waiting == []
    await turn(emulator, 999)
    assert desk.waiting == []

    await turn(emulator, 1000)
    assert desk.waiting == ["a"]
    await desk.answer("a", ERROR)
    await turn(emulator, 2000)
    await desk.answer("a", ERROR)

    assert desk.calls == ["a", "a", "a", "b"]


async def test_a_head_that_is_not_retried_lets_the_next_one_go_at_once():
    """QUE-12, DLV-13."""
    _, engine, desk = an_emulator()
    enqueue(engine, "a", retries=5)
    enqueue(engine, "b")
    await quiet()

    await desk.answer("a", NEVER_AGAIN)

    assert desk.waiting == ["b"]


async def test_a_head_that_times_out_for_good_lets_the_next_one_go():
    """QUE-12, DLV-22."""
    emulator, engine, desk = an_emulator()
    enqueue(engine, "a", timeout_ms=3000)
    enqueue(engine, "b")

    await turn(emulator, 2999)
    assert desk.waiting == ["a"]
    await turn(emulator, 3000)

    assert desk.waiting == ["b"]


async def test_the_next_message_waits_for_the_callback_of_the_head():
    """QUE-13."""
    _, engine, desk = an_emulator()
    enqueue(engine, "a", callback=CALLBACK)
    enqueue(engine, "b")
    await quiet()

    await desk.answer("a")
    assert desk.waiting == ["callback"]
    assert lag(engine) == 1  # the head itself is finished (QUE-21)
    await desk.answer("callback")

    assert desk.waiting == ["b"]


async def test_the_next_message_waits_for_the_retries_of_the_callback():
    """QUE-13: until it is delivered."""
    emulator, engine, desk = an_emulator()
    callback = replace(CALLBACK, options=Options(retries=1, retry_delay="5000"))
    enqueue(engine, "a", callback=callback)
    enqueue(engine, "b")
    await quiet()

    await desk.answer("a")
    await desk.answer("callback", ERROR)
    await turn(emulator, 4999)
    assert desk.waiting == []
    await turn(emulator, 5000)
    assert desk.waiting == ["callback"]
    await desk.answer("callback")

    assert desk.waiting == ["b"]


async def test_the_next_message_waits_for_both_callbacks_of_a_failure():
    """QUE-13: for the last of them, and a callback that fails for good is finished."""
    _, engine, desk = an_emulator()
    failure = Callback(url="http://localhost/failure")
    enqueue(engine, "a", callback=CALLBACK, failure_callback=failure)
    enqueue(engine, "b")
    await quiet()

    await desk.answer("a", ERROR)
    assert desk.waiting == ["callback", "failure"]
    await desk.answer("callback")
    assert desk.waiting == ["failure"]
    await desk.answer("failure", ERROR)

    assert desk.waiting == ["b"]


async def test_the_next_message_waits_for_the_callback_of_an_earlier_delivery():
    """QUE-13, CBK-1: each delivery has its own, and they aren't ordered."""
    emulator, engine, desk = an_emulator()
    enqueue(engine, "a", retries=1, callback=CALLBACK)
    enqueue(engine, "b")
    await quiet()

    await desk.answer("a", ERROR)
    await turn(emulator, 1000)
    assert desk.waiting == ["a", "callback"]
    await desk.answer("a")
    assert desk.waiting == ["callback", "callback"]
    await desk.answer("callback")
    assert desk.waiting == ["callback"]
    await desk.answer("callback")

    assert desk.waiting == ["b"]


async def test_a_cancelled_callback_is_finished():
    """QUE-13, MSG-29."""
    _, engine, desk = an_emulator()
    callback = replace(CALLBACK, options=Options(retries=3, retry_delay="5000"))
    enqueue(engine, "a", callback=callback)
    enqueue(engine, "b")
    await quiet()
    await desk.answer("a")
    await desk.answer("callback", ERROR)
    reads_url = (lambda message: (message.url,), frozenset({CALLBACK.url}))

    engine.cancel_selected(MessageSelection(filter=Filter((reads_url,))))
    await quiet()

    assert desk.waiting == ["b"]


async def test_the_callback_of_a_callback_holds_nobody_up():
    """QUE-13 speaks of the callbacks of the current message."""
    _, engine, desk = an_emulator()
    nested = Callback(url="http://localhost/nested")
    callback = replace(CALLBACK, options=Options(callback=nested))
    enqueue(engine, "a", callback=callback)
    enqueue(engine, "b")
    await quiet()

    await desk.answer("a")
    await desk.answer("callback")

    assert desk.waiting == ["b", "nested"]


async def test_a_callback_retried_from_the_dlq_holds_nobody_up():
    """QUE-13: its source has been finished for long."""
    _, engine, desk = an_emulator()
    enqueue(engine, "a", callback=CALLBACK)
    await quiet()
    await desk.answer("a")
    await desk.answer("callback", ERROR)

    engine.dlq.retry(dlq(engine), Overrides())
    enqueue(engine, "b")
    await quiet()

    assert desk.waiting == ["b", "callback"]


# Parallelism


async def test_with_parallelism_n_that_many_are_in_work_in_order():
    """QUE-14: retry waits count."""
    emulator, engine, desk = an_emulator()
    upsert(engine, parallelism=2)
    enqueue(engine, "a", "b", "c", "d", retries=1)
    await quiet()
    assert desk.waiting == ["a", "b"]

    await desk.answer("a", ERROR)
    assert desk.waiting == ["b"]
    await desk.answer("b")
    assert desk.waiting == ["c"]

    await turn(emulator, 1000)
    await desk.answer("a")
    assert desk.waiting == ["c", "d"]
    assert desk.calls == ["a", "b", "c", "a", "d"]


async def test_with_parallelism_n_nobody_waits_for_callbacks():
    """QUE-13, QUE-14."""
    _, engine, desk = an_emulator()
    upsert(engine, parallelism=2)
    enqueue(engine, "a", "b", "c", callback=CALLBACK)
    await quiet()

    await desk.answer("a")

    assert desk.waiting == ["b", "c", "callback"]


async def test_raising_the_parallelism_starts_more_at_once():
    """QUE-16."""
    _, engine, desk = an_emulator()
    enqueue(engine, "a", "b", "c", "d")
    await quiet()

    upsert(engine, parallelism=3)
    await quiet()

    assert desk.waiting == ["a", "b", "c"]
    assert desk.calls == ["a", "b", "c"]


async def test_raising_the_parallelism_ends_the_wait_for_callbacks():
    """QUE-13, QUE-16."""
    _, engine, desk = an_emulator()
    enqueue(engine, "a", callback=CALLBACK)
    enqueue(engine, "b", "c")
    await quiet()
    await desk.answer("a")
    assert desk.waiting == ["callback"]

    upsert(engine, parallelism=2)
    await quiet()

    assert desk.waiting == ["b", "c", "callback"]
    assert desk.calls == ["a", "callback", "b", "c"]


async def test_lowering_the_parallelism_lets_the_running_ones_finish():
    """QUE-16: their retries, too."""
    emulator, engine, desk = an_emulator()
    upsert(engine, parallelism=3)
    enqueue(engine, "a", "b", "c", "d", "e", retries=1)
    await quiet()

    upsert(engine, parallelism=1)
    await desk.answer("a")
    await desk.answer("b", ERROR)
    await turn(emulator, 1000)
    assert desk.waiting == ["b", "c"]
    await desk.answer("b")
    assert desk.waiting == ["c"]
    await desk.answer("c")
    assert desk.waiting == ["d"]

    assert desk.calls == ["a", "b", "c", "b", "d"]


@pytest.mark.parametrize("hindrance", ["account", "key"])
async def test_lowering_the_parallelism_holds_those_that_have_not_started(hindrance):
    """QUE-16: whether the account's parallelism kept them, or their key."""
    _, engine, desk = an_emulator(quota="free")
    flow_control = None
    if hindrance == "key":
        flow_control = FlowControl(key="k")
        engine.flow_control.set_paused("k", True)
    else:
        for number in range(10):
            engine.publish([a_publish(f"http://localhost/busy{number}")])
    upsert(engine, parallelism=3)
    enqueue(engine, "a", "b", "c", flow_control=flow_control)
    await quiet()

    upsert(engine, parallelism=1)
    engine.flow_control.set_paused("k", False)
    for name in [name for name in desk.waiting if name.startswith("busy")]:
        await desk.answer(name)
    await quiet()

    assert desk.waiting == ["a"]


@settings(max_examples=30, deadline=None)
@given(
    parallelism=st.integers(1, 5),
    count=st.integers(1, 12),
    choices=st.lists(st.integers(0, 9), min_size=12, max_size=12),
)
def test_never_more_than_parallelism_and_always_in_order(parallelism, count, choices):
    """QUE-11, QUE-14: whoever is answered first."""

    async def scenario():
        _, engine, desk = an_emulator()
        upsert(engine, parallelism=parallelism)
        names = [f"m{number}" for number in range(count)]
        enqueue(engine, *names)
        await quiet()
        for answered, choice in enumerate(choices[:count]):
            assert len(desk.waiting) == min(parallelism, count - answered)
            await desk.answer(desk.waiting[choice % len(desk.waiting)])
        assert desk.calls == names

    asyncio.run(scenario())


# Pausing


async def test_a_pause_stops_new_starts_and_lets_the_delivery_under_way_complete():
    """QUE-17."""
    _, engine, desk = an_emulator()
    first, second = enqueue(engine, "a", "b")
    await quiet()

    engine.queues.set_paused("q", True)
    await desk.answer("a")

    assert states(engine, first)[-1] is State.DELIVERED
    assert states(engine, second) == [State.CREATED]
    assert desk.waiting == []

    engine.queues.set_paused("q", False)
    await quiet()
    assert desk.waiting == ["b"]


async def test_a_retry_that_falls_due_while_paused_is_held_until_the_resume():
    """QUE-17: it goes on with the earliest unfinished message."""
    emulator, engine, desk = an_emulator()
    enqueue(engine, "a", retries=1)
    enqueue(engine, "b")
    await quiet()
    await desk.answer("a", ERROR)
    engine.queues.set_paused("q", True)

    await turn(emulator, 10 * MINUTE_MS)
    assert desk.waiting == []

    engine.queues.set_paused("q", False)
    await quiet()
    assert desk.waiting == ["a"]
    await desk.answer("a")
    assert desk.calls == ["a", "a", "b"]


async def test_a_retry_that_is_not_due_yet_at_the_resume_still_blocks():
    """QUE-12, QUE-17."""
    emulator, engine, desk = an_emulator()
    enqueue(engine, "a", retries=1)
    enqueue(engine, "b")
    await quiet()
    await desk.answer("a", ERROR)

    engine.queues.set_paused("q", True)
    engine.queues.set_paused("q", False)
    await turn(emulator, 999)
    assert desk.waiting == []

    await turn(emulator, 1000)
    assert desk.waiting == ["a"]


async def test_a_pause_does_not_stop_callbacks():
    """QUE-17: they aren't in the queue (CBK-9)."""
    _, engine, desk = an_emulator()
    enqueue(engine, "a", callback=CALLBACK)
    await quiet()

    engine.queues.set_paused("q", True)
    await desk.answer("a")

    assert desk.waiting == ["callback"]


@pytest.mark.parametrize("is_paused", [True, False])
async def test_repeating_a_pause_or_a_resume_is_harmless(is_paused):
    """QUE-9."""
    _, engine, desk = an_emulator()
    upsert(engine, is_paused=True)
    enqueue(engine, "a", "b")

    for _ in range(3):
        engine.queues.set_paused("q", is_paused)
        await quiet()

    assert desk.waiting == ([] if is_paused else ["a"])


async def test_an_upsert_that_resumes_starts_the_queue_again():
    """QUE-2, QUE-17."""
    _, engine, desk = an_emulator()
    upsert(engine, is_paused=True)
    enqueue(engine, "a", "b", "c")

    upsert(engine, parallelism=2, is_paused=False)
    await quiet()

    assert desk.waiting == ["a", "b"]


async def test_a_pause_while_the_account_is_full_keeps_the_order():
    """QUE-11, QUE-14, QUE-17, LIM-8: of those that were about to start."""
    _, engine, desk = an_emulator(quota="free")
    upsert(engine, parallelism=2)
    for number in range(10):
        engine.publish([a_publish(f"http://localhost/busy{number}")])
    enqueue(engine, "a")
    engine.publish([a_publish("http://localhost/other")])
    enqueue(engine, "b")
    await quiet()

    engine.queues.set_paused("q", True)
    await desk.answer("busy0")
    assert "other" in desk.waiting
    engine.queues.set_paused("q", False)
    for number in range(1, 10):
        await desk.answer(f"busy{number}")

    assert desk.calls[-2:] == ["a", "b"]


# Cancelling


async def test_a_cancelled_waiting_message_leaves_the_order():
    """QUE-18, QUE-21."""
    _, engine, desk = an_emulator()
    _, second, third = enqueue(engine, "a", "b", "c")
    await quiet()

    engine.cancel(second)
    assert lag(engine) == 2
    await desk.answer("a")

    assert desk.waiting == ["c"]
    assert states(engine, third)[-1] is State.ACTIVE


async def test_cancelling_a_head_that_waits_for_its_retry_unblocks_the_next():
    """QUE-18."""
    _, engine, desk = an_emulator()
    (head,) = enqueue(engine, "a", retries=3)
    enqueue(engine, "b")
    await quiet()
    await desk.answer("a", ERROR)
    assert desk.waiting == []

    engine.cancel(head)
    await quiet()

    assert desk.waiting == ["b"]


async def test_cancelling_a_head_under_way_unblocks_the_next_when_it_has_ended():
    """QUE-18, MSG-12."""
    _, engine, desk = an_emulator()
    (head,) = enqueue(engine, "a", retries=3)
    enqueue(engine, "b")
    await quiet()

    engine.cancel(head)
    await quiet()
    assert desk.waiting == ["a"]
    await desk.answer("a", ERROR)

    assert states(engine, head)[-1] is State.CANCELLED
    assert desk.waiting == ["b"]


async def test_a_head_cancelled_while_paused_does_not_block_after_the_resume():
    """QUE-17, QUE-18: its retry had fallen due, and was held."""
    emulator, engine, desk = an_emulator()
    (head,) = enqueue(engine, "a", retries=1)
    enqueue(engine, "b")
    await quiet()
    await desk.answer("a", ERROR)
    engine.queues.set_paused("q", True)
    await turn(emulator, 1000)

    engine.cancel(head)
    engine.queues.set_paused("q", False)
    await quiet()

    assert desk.waiting == ["b"]


async def test_a_whole_queue_can_be_cancelled_and_used_again():
    """QUE-18, MSG-25."""
    _, engine, desk = an_emulator()
    upsert(engine, is_paused=True)
    enqueue(engine, *"abcdefgh")

    assert engine.cancel_selected(MessageSelection()) == 8
    enqueue(engine, "z")
    engine.queues.set_paused("q", False)
    await quiet()

    assert desk.waiting == ["z"]
    assert lag(engine) == 1


# The dead letter queue


async def test_a_retry_from_the_dlq_joins_at_the_tail():
    """QUE-19, DLQ-35."""
    _, engine, desk = an_emulator()
    enqueue(engine, "a", "b", "c")
    await quiet()
    await desk.answer("a", ERROR)

    engine.dlq.retry(dlq(engine), Overrides())
    assert lag(engine) == 3
    for name in ("b", "c", "a"):
        assert desk.waiting == [name]
        await desk.answer(name)

    assert desk.calls == ["a", "b", "c", "a"]


async def test_a_retry_from_the_dlq_makes_its_queue_if_that_is_gone():
    """QUE-19, ENQ-2."""
    _, engine, desk = an_emulator()
    upsert(engine, parallelism=3)
    enqueue(engine, "a")
    await quiet()
    await desk.answer("a", ERROR)
    engine.queues.delete("q")

    engine.dlq.retry(dlq(engine), Overrides())
    await quiet()

    queue, queue_lag = engine.queues.get("q")
    assert (queue.parallelism, queue_lag) == (1, 1)
    assert desk.waiting == ["a"]


async def test_a_failed_message_leaves_its_queue_though_it_is_in_the_dlq():
    """QUE-12, QUE-21."""
    _, engine, desk = an_emulator()
    enqueue(engine, "a")
    await quiet()

    await desk.answer("a", ERROR)

    assert lag(engine) == 0
    assert len(dlq(engine)) == 1


# Deduplication, lag, delay


async def test_a_duplicate_adds_nothing_to_the_queue():
    """QUE-20, ENQ-6."""
    _, engine, desk = an_emulator()
    publish = a_publish("http://localhost/a", queue_name="q", deduplication_id="x")

    (first,), (second,) = engine.publish([publish, publish])
    (third,) = engine.publish([publish])[0]
    await quiet()

    assert [first.deduplicated, second.deduplicated] == [False, True]
    assert third.message_id == first.message_id
    assert lag(engine) == 1
    await desk.answer("a")
    assert desk.calls == ["a"]


async def test_a_duplicate_alone_makes_no_queue():
    """QUE-20: it is a duplicate of a publish without one (DED-4)."""
    _, engine, _ = an_emulator()
    engine.publish([a_publish(deduplication_id="x")])

    engine.publish([a_publish(queue_name="q", deduplication_id="x")])

    assert engine.queues.list() == []


async def test_the_lag_counts_who_waits_and_who_runs():
    """QUE-21: delayed and retried ones too; a finished one leaves at once."""
    _, engine, desk = an_emulator()
    enqueue(engine, "a", retries=1)
    enqueue(engine, "b", "c")
    enqueue(engine, "d", delay_ms=5000)
    await quiet()
    assert lag(engine) == 4

    await desk.answer("a", ERROR)
    assert lag(engine) == 4


async def test_the_lag_of_a_queue_is_its_own():
    """QUE-21."""
    _, engine, desk = an_emulator()
    enqueue(engine, "a", "b", queue="q")
    enqueue(engine, "c", queue="r")
    await quiet()

    await desk.answer("a")

    assert (lag(engine, "q"), lag(engine, "r")) == (1, 1)


async def test_a_delayed_message_takes_its_place_when_it_is_due():
    """QUE-30: it blocks nobody meanwhile, and comes after those that came before."""
    emulator, engine, desk = an_emulator()
    enqueue(engine, "late", delay_ms=5000)
    enqueue(engine, "a", "b", "c")
    await quiet()
    await desk.answer("a")
    assert desk.waiting == ["b"]

    await turn(emulator, 5000)
    enqueue(engine, "d")
    for name in ("b", "c", "late", "d"):
        assert desk.waiting == [name]
        await desk.answer(name)


async def test_delayed_messages_join_in_the_order_of_their_instants():
    """QUE-30: of equal ones, in the order of acceptance."""
    emulator, engine, desk = an_emulator()
    upsert(engine, is_paused=True)
    for name, delay_ms in (("a", 3000), ("b", 1000), ("c", 3000), ("d", 2000)):
        enqueue(engine, name, delay_ms=delay_ms)
    await turn(emulator, 3000)

    engine.queues.set_paused("q", False)
    await quiet()

    for name in ("b", "d", "a", "c"):
        assert desk.waiting == [name]
        await desk.answer(name)


async def test_what_falls_due_late_is_not_overtaken():
    """QUE-30: the clock has run on before anybody woke, and a request comes first."""
    emulator, engine, desk = an_emulator()
    enqueue(engine, "late", delay_ms=1000)
    await quiet()

    emulator.clock.set(T0 + 2000)
    enqueue(engine, "now")
    await quiet()

    assert desk.waiting == ["late"]


# Deleting


async def test_deleting_a_queue_cancels_what_waits():
    """QUE-8: delayed ones, and the one between its deliveries."""
    emulator, engine, desk = an_emulator()
    ids = enqueue(engine, "a", retries=3)
    ids += enqueue(engine, "b")
    ids += enqueue(engine, "c", delay_ms=5000)
    await quiet()
    await desk.answer("a", ERROR)

    engine.queues.delete("q")
    await turn(emulator, MINUTE_MS)

    assert desk.calls == ["a"]
    assert engine.pending == 0
    assert engine.queues.list() == []
    for message_id in ids:
        assert states(engine, message_id)[-2:] == [
            State.CANCEL_REQUESTED,
            State.CANCELLED,
        ]


@pytest.mark.parametrize(
    ("outcome", "state"), [(OK, State.DELIVERED), (ERROR, State.CANCELLED)]
)
async def test_a_delivery_under_way_outlives_its_queue_and_is_not_retried(
    outcome, state
):
    """QUE-8."""
    emulator, engine, desk = an_emulator()
    (message_id,) = enqueue(engine, "a", retries=3)
    await quiet()

    engine.queues.delete("q")
    await quiet()
    assert desk.waiting == ["a"]
    await desk.answer("a", outcome)
    await turn(emulator, MINUTE_MS)

    assert states(engine, message_id)[-1] is state
    assert desk.calls == ["a"]
    assert dlq(engine) == []
    assert engine.pending == 0


async def test_deleting_a_queue_leaves_others_alone():
    """QUE-8."""
    _, engine, desk = an_emulator()
    enqueue(engine, "a", "b", queue="q")
    enqueue(engine, "c", queue="r")
    engine.publish([a_publish("http://localhost/free")])
    await quiet()

    engine.queues.delete("q")
    await desk.answer("a")

    assert desk.waiting == ["c", "free"]


async def test_a_queue_made_anew_starts_afresh():
    """QUE-8, ENQ-2: neither paused, nor with the old parallelism or messages."""
    _, engine, desk = an_emulator()
    upsert(engine, parallelism=5, is_paused=True)
    enqueue(engine, "a", "b")

    engine.queues.delete("q")
    enqueue(engine, "c", "d")
    await quiet()

    queue, queue_lag = engine.queues.get("q")
    assert (queue.parallelism, queue.is_paused, queue_lag) == (1, False, 2)
    assert desk.waiting == ["c"]


# Queues and schedules


async def test_a_queue_of_a_schedule_is_made_when_it_first_fires():
    """QUE-10."""
    emulator, engine, desk = an_emulator()
    publish = a_publish("http://localhost/a", queue_name="q")
    engine.schedules.put(publish, "* * * * *", "s")
    assert engine.queues.list() == []

    await turn(emulator, FIRST_MINUTE_MS)

    assert engine.queues.get("q")[0].parallelism == 1
    assert desk.waiting == ["a"]


async def test_a_firing_does_not_reset_the_parallelism_nor_the_pause():
    """QUE-10."""
    emulator, engine, desk = an_emulator()
    upsert(engine, parallelism=7, is_paused=True)
    publish = a_publish("http://localhost/a", queue_name="q")
    engine.schedules.put(publish, "* * * * *", "s")

    await turn(emulator, FIRST_MINUTE_MS)

    queue, queue_lag = engine.queues.get("q")
    assert (queue.parallelism, queue.is_paused, queue_lag) == (7, True, 1)
    assert desk.waiting == []


# Queues and flow control


async def test_a_queued_message_must_be_at_the_head_and_allowed_by_its_key():
    """FLC-12, Q-20."""
    _, engine, desk = an_emulator()
    flow_control = FlowControl(key="k", parallelism=1)
    engine.publish(
        [a_publish("http://localhost/x", options=Options(flow_control=flow_control))]
    )
    enqueue(engine, "a", flow_control=flow_control)
    enqueue(engine, "b")
    await quiet()
    assert desk.waiting == ["x"]  # a waits for its key, b for a

    await desk.answer("x")
    assert desk.waiting == ["a"]
    await desk.answer("a")
    assert desk.waiting == ["b"]


async def test_a_head_cancelled_while_it_waits_for_its_key_lets_the_next_go():
    """FLC-12, QUE-18."""
    _, engine, desk = an_emulator()
    engine.flow_control.set_paused("k", True)
    (head,) = enqueue(engine, "a", flow_control=FlowControl(key="k"))
    enqueue(engine, "b")
    await quiet()
    assert desk.waiting == []

    engine.cancel(head)
    await quiet()

    assert desk.waiting == ["b"]


async def test_a_pause_holds_a_retry_that_waits_for_its_key():
    """FLC-12, QUE-17: it is due, and hasn't started."""
    emulator, engine, desk = an_emulator()
    enqueue(engine, "a", retries=1, flow_control=FlowControl(key="k"))
    await quiet()
    engine.flow_control.set_paused("k", True)
    await desk.answer("a", ERROR)
    await turn(emulator, 1000)

    engine.queues.set_paused("q", True)
    engine.flow_control.set_paused("k", False)
    await quiet()
    assert desk.waiting == []
    engine.queues.set_paused("q", False)
    await quiet()

    assert desk.waiting == ["a"]


async def test_a_message_that_waits_in_its_queue_takes_nothing_of_its_key():
    """FLC-12: it isn't even in the key's wait list."""
    _, engine, desk = an_emulator()
    flow_control = FlowControl(key="k", parallelism=1)
    enqueue(engine, "head")
    enqueue(engine, "a", flow_control=flow_control)
    engine.publish(
        [a_publish("http://localhost/x", options=Options(flow_control=flow_control))]
    )
    await quiet()

    assert desk.waiting == ["head", "x"]
    assert engine.flow_control.get("k").waitlist_size == 0


async def test_a_rate_holds_for_a_queue_as_for_anybody():
    """FLC-12, FLC-6: one per minute, in the queue's order."""
    starts = []
    transport = ScriptedTransport(
        [lambda request: (starts.append(request.url[-1]), OK)[1]]
    )
    emulator, engine, _ = an_emulator(transport)
    enqueue(engine, *"abc", flow_control=FlowControl(key="k", rate=1, period_s=60))

    await turn(emulator, MINUTE_MS - 1)
    assert starts == ["a"]
    await turn(emulator, MINUTE_MS)
    assert starts == ["a", "b"]
    await turn(emulator, 2 * MINUTE_MS)

    assert starts == ["a", "b", "c"]
    assert lag(engine) == 0
