"""emulator/engine/engine.py: the verbs, and what holds whatever happens."""

import asyncio
import json
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from emulator import Emulator, Settings
from emulator.core.filters import (
    parse_dlq_query,
    parse_dlq_selection,
    parse_log_query,
    parse_message_selection,
)
from emulator.core.headers import Overrides, parse_overrides
from emulator.core.lifecycle import MOVES
from emulator.core.limits import PROFILES
from emulator.core.model import (
    Callback,
    Destination,
    DestinationKind,
    Incoming,
    Options,
    Redaction,
    Responded,
    State,
    Unreachable,
)
from emulator.errors import NotFound
from emulator.settings import DEV_USERS
from tests.doubles import T0, Hang, ScriptedTransport, a_publish, quiet, turn

few = settings(max_examples=25, deadline=None)

OK = Responded(200)
ERROR = Responded(500, reason="Internal Server Error")

MINUTE_MS = 60_000
DAY_MS = 86_400_000

FINAL = {State.DELIVERED, State.FAILED, State.CANCELLED}


def an_emulator(*script, transport=None, seed=1, **settings):
    """An emulator at T0 that calls by a script, and its first user's engine."""
    transport = transport or ScriptedTransport(script or [OK])
    emulator = Emulator(
        Settings(clock="virtual", start_time_ms=T0, seed=seed, **settings),
        transport=transport,
    )
    engine = emulator.tenants.engines[0]
    engine.scheduler.start()
    return emulator, engine, transport


def accept(engine, *publishes):
    """Publish, and return a receipt for each message."""
    return [receipt for receipts in engine.publish(publishes) for receipt in receipts]


def publish(engine, url="http://localhost:3000/", *, delay_ms=0, **options):
    """Publish one message, and return its id."""
    (receipt,) = accept(
        engine, a_publish(url, delay_ms=delay_ms, options=Options(**options))
    )
    return receipt.message_id


async def failed(emulator, engine, *urls, **options):
    """Let messages fail, one after the other, and return their DLQ entries."""
    for url in urls or ("http://localhost:3000/",):
        publish(engine, url, retries=0, **options)
        await emulator.tenants.advance(emulator.clock.now_ms() + 1)
    return dlq(engine)


def logs(engine, **parameters):
    """A page of the log, and its cursor."""
    return engine.logs(parse_log_query(_lists(parameters)))


def states(engine, message_id):
    """What was logged of a message, oldest first."""
    entries, _ = logs(engine, messageId=message_id, order="earliestFirst")
    return [entry.state for entry in entries]


def dlq_page(engine, **parameters):
    return engine.dlq.list(parse_dlq_query(_lists(parameters)))


def dlq(engine, **parameters):
    """The entries of the DLQ."""
    return list(dlq_page(engine, **parameters)[0])


def cancel(engine, **parameters):
    """Cancel by selection, and return how many."""
    return engine.cancel_selected(parse_message_selection(_lists(parameters)))


def overrides(engine, **headers):
    """What a retry call with such configuration headers overrides."""
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return parse_overrides(
        Incoming(destination="", headers=named),
        limits=engine.limits,
        now_ms=engine.now_ms,
    )


def _lists(parameters):
    return {
        name: value if isinstance(value, list) else [str(value)]
        for name, value in parameters.items()
    }


# Publishing


async def test_each_message_has_a_receipt_in_order():
    """PUB-31, BAT-5, FMT-1."""
    _, engine, _ = an_emulator()

    receipts = accept(
        engine, a_publish("http://a.example"), a_publish("http://b.example")
    )

    assert [receipt.url for receipt in receipts] == [
        "http://a.example",
        "http://b.example",
    ]
    assert len({receipt.message_id for receipt in receipts}) == 2
    assert all(receipt.message_id.startswith("msg_") for receipt in receipts)
    assert not any(receipt.deduplicated for receipt in receipts)


async def test_nothing_published_is_nothing_done():
    """BAT-9."""
    _, engine, _ = an_emulator()

    assert accept(engine) == []
    assert logs(engine) == ([], None)


async def test_a_message_can_be_read_from_the_moment_of_its_receipt():
    """MSG-6, BASE-15."""
    _, engine, _ = an_emulator()

    message_id = publish(engine, "http://a.example/x?y=1", labels=("a",))

    message = engine.message(message_id)
    assert message.url == "http://a.example/x?y=1"
    assert message.options.labels == ("a",)
    assert (message.created_at_ms, message.not_before_ms) == (T0, T0)
    assert engine.pending == 1


async def test_a_batch_is_accepted_whole_or_not_at_all():
    """BAT-7, PUB-9, PUB-30, DED-9: a rejected one leaves nothing behind."""
    _, engine, transport = an_emulator()
    good = a_publish(deduplication_id="order-1")
    unknown = a_publish(
        destination=Destination(DestinationKind.URL_GROUP, "unknown-group")
    )

    with pytest.raises(NotFound) as raised:
        accept(engine, good, unknown)
    await quiet()

    assert str(raised.value) == "topic unknown-group not found"
    assert (engine.pending, logs(engine), transport.requests) == (0, ([], None), [])
    assert not accept(engine, good)[0].deduplicated


async def test_a_message_that_does_not_exist_is_not_found():
    """MSG-1."""
    _, engine, _ = an_emulator()

    with pytest.raises(NotFound) as raised:
        engine.message("msg_x")

    assert str(raised.value) == "message msg_x not found"


@pytest.mark.parametrize(
    ("script", "state"), [([OK], State.DELIVERED), ([ERROR], State.FAILED)]
)
async def test_a_finished_message_can_be_read_for_a_minute_unchanged(script, state):
    """MSG-8, MSG-9."""
    emulator, engine, _ = an_emulator(*script)
    message_id = publish(engine, retries=0, labels=("a",))
    message = engine.message(message_id)
    await quiet()
    assert states(engine, message_id)[-1] is state

    await turn(emulator, MINUTE_MS - 1)
    assert engine.message(message_id) == message

    await turn(emulator, MINUTE_MS)
    with pytest.raises(NotFound):
        engine.message(message_id)


async def test_the_grace_of_a_finished_message_is_a_setting():
    """MSG-8."""
    emulator, engine, _ = an_emulator(grace_ms=5000)
    message_id = publish(engine)

    await turn(emulator, 4999)
    assert engine.message(message_id).message_id == message_id

    await turn(emulator, 5000)
    with pytest.raises(NotFound):
        engine.message(message_id)


async def test_the_grace_begins_with_the_end():
    """MSG-8: not with the publish."""
    emulator, engine, _ = an_emulator()
    message_id = publish(engine, delay_ms=10 * MINUTE_MS)

    await turn(emulator, 10 * MINUTE_MS)
    await turn(emulator, 11 * MINUTE_MS - 1)

    assert engine.message(message_id).message_id == message_id


# Deduplication


async def test_a_duplicate_gets_the_first_message_s_id_and_produces_nothing():
    """DED-1, LOG-27, PUB-42."""
    emulator, engine, transport = an_emulator()
    (first,) = accept(engine, a_publish(deduplication_id="order-1"))

    (second,) = accept(engine, a_publish(deduplication_id="order-1"))
    await emulator.tenants.advance(None)

    assert second == first._replace(deduplicated=True)
    assert len(transport.requests) == 1
    assert len(logs(engine)[0]) == 3


async def test_the_window_ends_ten_minutes_after_the_first_message():
    """DED-2: duplicates do not extend it."""
    emulator, engine, _ = an_emulator()
    (first,) = accept(engine, a_publish(deduplication_id="order-1"))

    for after_ms in (5 * MINUTE_MS, 10 * MINUTE_MS - 1):
        await turn(emulator, after_ms)
        (again,) = accept(engine, a_publish(deduplication_id="order-1"))
        assert (again.message_id, again.deduplicated) == (first.message_id, True)

    await turn(emulator, 10 * MINUTE_MS)
    (fresh,) = accept(engine, a_publish(deduplication_id="order-1"))
    assert fresh.message_id != first.message_id
    assert not fresh.deduplicated


async def test_a_new_window_is_as_long_as_the_first():
    """DED-2."""
    emulator, engine, _ = an_emulator()
    accept(engine, a_publish(deduplication_id="order-1"))
    await turn(emulator, 10 * MINUTE_MS)
    (second,) = accept(engine, a_publish(deduplication_id="order-1"))

    await turn(emulator, 20 * MINUTE_MS - 1)
    (again,) = accept(engine, a_publish(deduplication_id="order-1"))

    assert again == second._replace(deduplicated=True)


@pytest.mark.parametrize("script", [[OK], [ERROR]], ids=["delivered", "failed"])
async def test_the_end_of_the_first_message_does_not_end_the_window(script):
    """DED-3, Q-31."""
    emulator, engine, _ = an_emulator(*script)
    same = a_publish(deduplication_id="order-1", options=Options(retries=0))
    accept(engine, same)

    await turn(emulator, 5 * MINUTE_MS)

    assert engine.pending == 0
    assert accept(engine, same)[0].deduplicated


async def test_cancelling_the_first_message_does_not_end_the_window():
    """DED-3, Q-31."""
    _, engine, _ = an_emulator()
    same = a_publish(deduplication_id="order-1", delay_ms=1000)
    (first,) = accept(engine, same)

    engine.cancel(first.message_id)

    assert accept(engine, same)[0].deduplicated


async def test_an_id_counts_whatever_destination_and_body():
    """DED-4."""
    _, engine, _ = an_emulator()
    accept(engine, a_publish("http://a.example", deduplication_id="order-1"))

    (second,) = accept(
        engine, a_publish("http://b.example", deduplication_id="order-1", body=b"x")
    )

    assert second.deduplicated


async def test_equal_contents_are_duplicates_and_different_ones_are_not():
    """DED-6."""
    _, engine, _ = an_emulator()
    bodies = [b"a", b"b", b"a"]

    receipts = accept(
        engine,
        *(a_publish(body=body, content_based_deduplication=True) for body in bodies),
    )

    assert [receipt.deduplicated for receipt in receipts] == [False, False, True]
    assert receipts[2].message_id == receipts[0].message_id


async def test_of_two_equal_entries_of_a_batch_the_second_is_the_duplicate():
    """BAT-6."""
    emulator, engine, transport = an_emulator()
    same = a_publish(deduplication_id="order-1")

    first, second = accept(engine, same, same)
    await emulator.tenants.advance(None)

    assert second == first._replace(deduplicated=True)
    assert len(transport.requests) == 1


async def test_callbacks_and_dlq_retries_are_not_deduplicated():
    """DED-11, DLQ-35."""
    emulator, engine, transport = an_emulator(ERROR)
    options = Options(
        retries=0, failure_callback=Callback(url="http://localhost/failed")
    )
    same = a_publish(deduplication_id="order-1", options=options)
    (first,) = accept(engine, same)
    await emulator.tenants.advance(None)
    (entry, _) = dlq(engine)

    (retried,) = engine.dlq.retry([entry], Overrides())
    await emulator.tenants.advance(None)

    assert not retried.deduplicated
    assert retried.message_id != first.message_id
    assert [request.url for request in transport.requests] == [
        "http://localhost:3000/api/hook",
        "http://localhost/failed",
    ] * 2
    # The window is still the first message's.
    assert accept(engine, same)[0].message_id == first.message_id


# Cancelling one


async def test_a_delayed_message_is_cancelled_at_once():
    """MSG-11, LOG-26."""
    emulator, engine, transport = an_emulator()
    message_id = publish(engine, delay_ms=1000)

    engine.cancel(message_id)
    await turn(emulator, DAY_MS)

    assert states(engine, message_id) == [
        State.CREATED,
        State.CANCEL_REQUESTED,
        State.CANCELLED,
    ]
    assert (transport.requests, engine.pending) == ([], 0)


async def test_a_message_between_retries_is_cancelled_at_once():
    """MSG-11, MSG-13."""
    emulator, engine, transport = an_emulator(ERROR)
    callback = Callback(url="http://localhost/failed")
    message_id = publish(engine, failure_callback=callback)
    await quiet()

    engine.cancel(message_id)
    await turn(emulator, DAY_MS)

    assert states(engine, message_id)[-3:] == [
        State.RETRY,
        State.CANCEL_REQUESTED,
        State.CANCELLED,
    ]
    assert (len(transport.requests), dlq(engine), engine.pending) == (1, [], 0)


class Answering:
    """A transport whose destinations answer when the test says so."""

    def __init__(self):
        self.answer = asyncio.Event()
        self.outcome = OK
        self.urls = []

    async def send(self, request):
        self.urls.append(request.url)
        await self.answer.wait()
        return self.outcome

    async def close(self):
        pass


@pytest.mark.parametrize(
    ("outcome", "ending"),
    [
        (OK, [State.DELIVERED]),
        (ERROR, [State.ERROR, State.CANCELLED]),
        (Unreachable("refused"), [State.ERROR, State.CANCELLED]),
    ],
)
async def test_a_delivery_that_is_cancelled_goes_on_and_is_the_last(outcome, ending):
    """MSG-12, MSG-13, CBK-5."""
    transport = Answering()
    emulator, engine, _ = an_emulator(transport=transport)
    callback = Callback(url="http://localhost/failed")
    message_id = publish(engine, failure_callback=callback)
    await quiet()

    engine.cancel(message_id)
    transport.outcome = outcome
    transport.answer.set()
    await turn(emulator, DAY_MS)

    assert states(engine, message_id) == [
        State.CREATED,
        State.ACTIVE,
        State.CANCEL_REQUESTED,
        *ending,
    ]
    assert (len(transport.urls), dlq(engine), engine.pending) == (1, [], 0)


async def test_a_cancelled_delivery_that_times_out_is_cancelled():
    """MSG-12, DLV-22."""
    emulator, engine, _ = an_emulator(Hang())
    message_id = publish(engine, timeout_ms=1000)
    await quiet()

    engine.cancel(message_id)
    await turn(emulator, 1000)

    assert states(engine, message_id)[-2:] == [State.ERROR, State.CANCELLED]


@pytest.mark.parametrize("script", [[OK], [ERROR]], ids=["delivered", "failed"])
async def test_a_finished_message_cannot_be_cancelled(script):
    """MSG-15: not even within its grace."""
    _, engine, _ = an_emulator(*script)
    message_id = publish(engine, retries=0)
    await quiet()
    before = states(engine, message_id)

    with pytest.raises(NotFound) as raised:
        engine.cancel(message_id)

    assert str(raised.value) == f"message {message_id} not found"
    assert states(engine, message_id) == before


@pytest.mark.parametrize("script", [[Hang()], [ERROR]], ids=["under way", "waiting"])
async def test_a_message_is_cancelled_once(script):
    """MSG-15."""
    _, engine, _ = an_emulator(*script)
    message_id = publish(engine)
    await quiet()
    engine.cancel(message_id)
    before = states(engine, message_id)

    with pytest.raises(NotFound):
        engine.cancel(message_id)
    assert states(engine, message_id) == before


async def test_a_message_that_never_was_cannot_be_cancelled():
    """MSG-15."""
    _, engine, _ = an_emulator()

    with pytest.raises(NotFound):
        engine.cancel("msg_x")


# Cancelling many


async def test_ids_select_those_messages_and_only_what_can_be_cancelled_counts():
    """MSG-22, MSG-24: unknown, finished and cancelled ones are skipped."""
    _, engine, _ = an_emulator()
    finished = publish(engine)
    await quiet()
    delayed = [publish(engine, delay_ms=1000) for _ in range(3)]
    engine.cancel(delayed[0])

    cancelled = cancel(
        engine, messageIds=["msg_x", finished, *delayed[:2], delayed[1]], label="b"
    )

    assert cancelled == 1
    assert states(engine, delayed[1])[-1] is State.CANCELLED
    assert states(engine, delayed[2]) == [State.CREATED]


async def test_cancelling_all_after_two_of_three_cancels_one():
    """MSG-23, MSG-24: what a live test of the SDK requires."""
    _, engine, _ = an_emulator()
    delayed = [publish(engine, delay_ms=1000) for _ in range(3)]

    assert cancel(engine, messageIds=delayed[:2]) == 2
    assert cancel(engine) == 1
    assert cancel(engine) == 0
    assert engine.pending == 0


async def test_a_delivery_under_way_is_cancelled_with_the_others_and_once():
    """MSG-12, MSG-24."""
    emulator, engine, _ = an_emulator(Hang())
    message_id = publish(engine, timeout_ms=1000)
    publish(engine, delay_ms=5000)
    await quiet()

    assert cancel(engine) == 2
    assert cancel(engine) == 0
    await turn(emulator, 1000)
    assert states(engine, message_id)[-1] is State.CANCELLED


async def test_a_message_in_its_grace_is_not_counted():
    """MSG-24."""
    _, engine, _ = an_emulator()
    publish(engine)
    await quiet()

    assert cancel(engine) == 0


@pytest.mark.parametrize(
    ("selection", "chosen"),
    [
        ({"url": "http://b.example/x?y=1"}, [1]),
        ({"host": "a.example"}, [0, 3]),
        ({"path": "/x"}, [1, 2]),
        ({"label": "red"}, [0, 1]),
        ({"label": ["red", "blue"]}, [0, 1, 2]),
        ({"label": "red", "host": "b.example"}, [1]),
        ({"callerIp": "127.0.0.1"}, [0, 1, 2, 3]),
        ({"callerIp": "10.0.0.1"}, []),
        ({"queueName": "q"}, []),
        ({"fromDate": T0 + 2}, [2, 3]),
        ({"toDate": T0 + 1}, [0, 1]),
        ({"fromDate": T0 + 1, "toDate": T0 + 2}, [1, 2]),
        ({"count": 2}, [0, 1]),
        ({"label": ["red", "blue"], "count": 2}, [0, 1]),
        ({"count": 500}, [0, 1, 2, 3]),
    ],
    ids=repr,
)
async def test_filters_select_the_oldest_that_match(selection, chosen):
    """MSG-25, MSG-27, MSG-28."""
    emulator, engine, _ = an_emulator()
    message_ids = []
    for url, labels in [
        ("http://a.example", ("red",)),
        ("http://b.example/x?y=1", ("red", "green")),
        ("http://c.example/x", ("blue",)),
        ("http://a.example/y", ()),
    ]:
        message_ids.append(publish(engine, url, labels=labels, delay_ms=DAY_MS))
        await turn(emulator, len(message_ids))

    count = cancel(engine, **selection)

    assert count == len(chosen)
    assert [
        number
        for number, message_id in enumerate(message_ids)
        if states(engine, message_id)[-1] is State.CANCELLED
    ] == chosen


async def test_with_a_count_the_oldest_of_the_given_ids_go_first():
    """MSG-28: in whatever order the ids are given."""
    _, engine, _ = an_emulator()
    first, second = (publish(engine, delay_ms=1000) for _ in range(2))

    assert cancel(engine, messageIds=[second, first], count=1) == 1
    assert states(engine, first)[-1] is State.CANCELLED
    assert states(engine, second) == [State.CREATED]


async def test_callback_messages_are_pending_messages_like_others():
    """MSG-29, CBK-7."""
    _, engine, transport = an_emulator(OK, Hang())
    callback = Callback(url="http://localhost/done")
    publish(engine, callback=callback)
    await quiet()

    assert transport.requests[-1].url == "http://localhost/done"
    assert cancel(engine, url="http://localhost/done") == 1


# Callbacks


async def test_a_callback_reports_the_delivery_under_its_own_id():
    """CBK-1, CBK-7, CBK-26, LOG-30."""
    emulator, engine, transport = an_emulator(ERROR, OK)
    callback = Callback(url="http://localhost/done")
    message_id = publish(engine, callback=callback, retries=0)

    await emulator.tenants.advance(None)

    payload = json.loads(transport.requests[1].body)
    assert (payload["sourceMessageId"], payload["status"]) == (message_id, 500)
    entries, _ = logs(engine, order="earliestFirst")
    assert [entry.state for entry in entries] == [
        State.CREATED,
        State.ACTIVE,
        State.ERROR,
        State.FAILED,
        State.CREATED,
        State.ACTIVE,
        State.DELIVERED,
    ]
    assert {entry.message.message_id for entry in entries[:4]} == {message_id}
    assert {entry.message.callback_of for entry in entries[4:]} == {message_id}


async def test_the_dlq_entry_is_there_when_the_failure_callback_arrives():
    """CBK-25."""
    found = []

    def look_up(request):
        found.append(engine.dlq.get(json.loads(request.body)["dlqId"]))
        return OK

    emulator, engine, _ = an_emulator(ERROR, look_up)
    message_id = publish(
        engine, retries=0, failure_callback=Callback(url="http://localhost/failed")
    )

    await emulator.tenants.advance(None)

    (entry,) = found
    assert entry.message.message_id == message_id


async def test_a_callback_that_fails_is_retried_and_ends_in_the_dlq():
    """CBK-7, CBK-8: as often as its source."""
    emulator, engine, transport = an_emulator(ERROR)
    publish(engine, retries=1, failure_callback=Callback(url="http://localhost/failed"))

    await emulator.tenants.advance(None)

    assert Counter(request.url for request in transport.requests) == {
        "http://localhost:3000/": 2,
        "http://localhost/failed": 2,
    }
    assert [entry.message.url for entry in dlq(engine)] == [
        "http://localhost:3000/",
        "http://localhost/failed",
    ]


# The log


async def test_the_log_comes_newest_first_unless_told_otherwise():
    """LOG-3, LOG-22: the order within a millisecond is causal."""
    _, engine, _ = an_emulator()
    publish(engine)
    await quiet()
    told = [State.CREATED, State.ACTIVE, State.DELIVERED]

    assert [entry.state for entry in logs(engine)[0]] == told[::-1]
    assert [entry.state for entry in logs(engine, order="earliestFirst")[0]] == told


async def test_filters_select_entries_not_messages():
    """LOG-8, LOG-13."""
    _, engine, _ = an_emulator()
    message_id = publish(engine, labels=("a",))
    publish(engine)
    await quiet()

    delivered, _ = logs(engine, messageId=message_id, state="DELIVERED")
    labelled, _ = logs(engine, label="a")

    assert [entry.message.message_id for entry in delivered] == [message_id]
    assert len(labelled) == 3


@pytest.mark.parametrize("order", ["latestFirst", "earliestFirst"])
async def test_a_cursor_is_stable_while_new_entries_come(order):
    """FMT-17, LOG-2: nothing twice, nothing missing, and no cursor at the end."""
    _, engine, _ = an_emulator()
    for _ in range(4):
        publish(engine)
    await quiet()
    expected = list(logs(engine, order=order)[0])

    pages, cursor = [], {}
    while True:
        page, next_cursor = logs(engine, order=order, count=5, **cursor)
        pages.append(page)
        publish(engine)
        await quiet()
        if next_cursor is None or len(pages) == 10:
            break
        cursor = {"cursor": next_cursor}

    seen = [entry for page in pages for entry in page]
    if order == "latestFirst":
        assert [len(page) for page in pages] == [5, 5, 2]
        assert seen == expected
    else:
        # What is written meanwhile comes after all that was there.
        assert seen[: len(expected)] == expected
        assert seen == list(logs(engine, order=order)[0])[: len(seen)]


async def test_a_full_last_page_has_no_cursor():
    """FMT-17, LOG-2."""
    _, engine, _ = an_emulator()
    publish(engine)
    await quiet()

    page, cursor = logs(engine, count=3)

    assert (len(page), cursor) == (3, None)


async def test_a_cursor_counts_only_what_its_filter_selects():
    """FMT-17: no empty page at the end."""
    _, engine, _ = an_emulator()
    for _ in range(3):
        publish(engine)
    await quiet()

    first, cursor = logs(engine, state="DELIVERED", count=2)
    second, end = logs(engine, state="DELIVERED", count=2, cursor=cursor)

    assert (len(first), len(second), end) == (2, 1, None)


@few
@given(
    st.integers(1, 7),
    st.sampled_from(["latestFirst", "earliestFirst"]),
    st.sampled_from([{}, {"state": "DELIVERED"}, {"label": "a"}]),
)
def test_pages_put_together_are_the_whole_listing(count, order, selection):
    """FMT-17, LOG-4."""

    async def run():
        _, engine, _ = an_emulator()
        for number in range(6):
            publish(engine, labels=("a",) if number % 2 else ())
        await quiet()
        whole, end = logs(engine, order=order, **selection)
        assert end is None
        seen, cursor = [], {}
        for _ in range(20):
            page, next_cursor = logs(
                engine, order=order, count=count, **selection, **cursor
            )
            seen += page
            if next_cursor is None:
                break
            assert len(page) == count
            cursor = {"cursor": next_cursor}
        assert seen == list(whole)

    asyncio.run(run())


async def test_entries_older_than_the_retention_are_forgotten():
    """LIM-6, LOG-11: at that instant, without a further change."""
    emulator, engine, _ = an_emulator(quota="free")
    publish(engine)
    await quiet()

    await turn(emulator, 3 * DAY_MS)
    assert len(logs(engine)[0]) == 3

    await turn(emulator, 3 * DAY_MS + 1)
    assert logs(engine) == ([], None)


async def test_the_log_has_a_largest_size():
    """LOG-11."""
    _, engine, _ = an_emulator(max_log_entries=4)
    publish(engine)
    last = publish(engine)
    await quiet()

    entries, _ = logs(engine)

    assert len(entries) == 4
    assert entries[0].message.message_id == last


# The DLQ


async def test_a_message_that_fails_for_good_is_in_the_dlq():
    """DLV-14, DLQ-1, DLQ-11, DLQ-12."""
    outcome = Responded(404, header=("Content-Type", "text/plain"), body=b"no")
    emulator, engine, _ = an_emulator(outcome)
    message_id = publish(engine, retries=1, labels=("a",), retry_delay="1000")
    message = engine.message(message_id)

    await emulator.tenants.advance(None)

    (entry,) = dlq(engine)
    assert engine.dlq.get(entry.dlq_id) == entry
    assert (entry.message, entry.outcome) == (message, outcome)
    assert (entry.retried, entry.failed_at_ms) == (1, T0 + 1000)


async def test_an_entry_that_does_not_exist_is_not_found():
    """DLQ-12."""
    _, engine, _ = an_emulator()

    with pytest.raises(NotFound):
        engine.dlq.get("1-0")


async def test_dlq_ids_rise_within_a_millisecond():
    """DLQ-1, DLQ-6."""
    emulator, engine, _ = an_emulator(ERROR)
    for _ in range(12):
        publish(engine, retries=0)

    await emulator.tenants.advance(None)

    stamps = [tuple(map(int, entry.dlq_id.split("-"))) for entry in dlq(engine)]
    assert stamps == sorted(set(stamps))
    assert {ms for ms, _ in stamps} == {T0}


@pytest.mark.parametrize("order", ["earliestFirst", "latestFirst"])
async def test_dlq_pages_are_stable_while_entries_come_and_go(order):
    """DLQ-6, DLQ-7, FMT-17."""
    emulator, engine, _ = an_emulator(ERROR)
    urls = [f"http://localhost/{number}" for number in range(5)]
    await failed(emulator, engine, *urls)
    if order == "latestFirst":
        urls.reverse()

    first, cursor = dlq_page(engine, order=order, count=2)
    engine.dlq.delete(first)
    await failed(emulator, engine, "http://localhost/new")
    second, cursor = dlq_page(engine, order=order, count=2, cursor=cursor)
    third, end = dlq_page(engine, order=order, count=2, cursor=cursor)

    seen = [entry.message.url for entry in (*first, *second, *third)]
    assert seen[:5] == urls
    assert seen[5:] == (["http://localhost/new"] if order == "earliestFirst" else [])
    assert end is None


async def test_the_last_dlq_page_has_no_cursor():
    """DLQ-5, FMT-17."""
    emulator, engine, _ = an_emulator(ERROR)
    await failed(emulator, engine, "http://a.example", "http://b.example")

    page, cursor = dlq_page(engine, count=2)

    assert (len(page), cursor) == (2, None)


@pytest.mark.parametrize(
    ("selection", "chosen"),
    [
        ({"url": "http://b.example"}, [1]),
        ({"responseStatus": 500}, [0, 1]),
        ({"responseStatus": 0}, [2]),
        ({"label": "red"}, [0, 1, 2]),
        ({"fromDate": T0 + 1}, [1, 2]),
        ({"toDate": T0}, [0]),
        ({"label": "blue"}, []),
    ],
    ids=repr,
)
async def test_filters_select_dlq_entries(selection, chosen):
    """DLQ-8, DLQ-9."""
    emulator, engine, _ = an_emulator(ERROR, ERROR, Unreachable("refused"))
    entries = await failed(
        emulator,
        engine,
        "http://a.example",
        "http://b.example",
        "http://c.example",
        labels=("red",),
    )

    assert dlq(engine, **selection) == [entries[number] for number in chosen]


async def test_a_deleted_entry_is_gone():
    """DLQ-20, DLQ-22."""
    emulator, engine, _ = an_emulator(ERROR)
    first, second = await failed(
        emulator, engine, "http://a.example", "http://b.example"
    )

    engine.dlq.delete([first])
    engine.dlq.delete([])

    assert dlq(engine) == [second]
    with pytest.raises(NotFound):
        engine.dlq.get(first.dlq_id)


async def test_a_selection_by_ids_takes_those_that_exist():
    """DLQ-22."""
    emulator, engine, _ = an_emulator(ERROR)
    first, _ = await failed(emulator, engine, "http://a.example", "http://b.example")

    query = parse_dlq_selection({"dlqIds": [f"{first.dlq_id},1-0"]})
    entries, cursor = engine.dlq.list(query)

    assert (list(entries), cursor) == ([first], None)


async def test_entries_expire_after_the_plan_s_retention():
    """DLQ-39, LIM-6."""
    emulator, engine, _ = an_emulator(ERROR, quota="free")
    publish(engine, retries=0)
    await quiet()
    (entry,) = dlq(engine)

    await turn(emulator, 3 * DAY_MS - 1)
    assert dlq(engine) == [entry]

    await turn(emulator, 3 * DAY_MS)
    assert dlq(engine) == []
    with pytest.raises(NotFound):
        engine.dlq.get(entry.dlq_id)


async def test_a_failed_message_lives_on_in_the_dlq_after_its_grace():
    """MSG-9."""
    emulator, engine, _ = an_emulator(ERROR)
    message_id = publish(engine, retries=0)

    await turn(emulator, DAY_MS)

    assert dlq(engine)[0].message.message_id == message_id
    with pytest.raises(NotFound):
        engine.message(message_id)


async def test_a_retried_entry_is_delivered_as_a_new_message():
    """DLQ-33, DLQ-35, DLQ-36, LOG-29: full retries, counted from 0."""
    emulator, engine, transport = an_emulator(ERROR, ERROR, ERROR, OK)
    publish_ = a_publish(
        body=b"hello",
        header=("X-A", "1"),
        options=Options(
            retries=1, redaction=Redaction(body=True), labels=("a",), retry_delay="0"
        ),
    )
    (first,) = accept(engine, publish_)
    await emulator.tenants.advance(None)
    (entry,) = dlq(engine)

    (receipt,) = engine.dlq.retry([entry], Overrides())
    await emulator.tenants.advance(None)

    retried = [
        dict(request.headers)["Upstash-Retried"] for request in transport.requests
    ]
    assert retried == ["0", "1", "0", "1"]
    assert {request.body for request in transport.requests} == {b"hello"}
    assert receipt.message_id != first.message_id
    assert states(engine, receipt.message_id)[0] is State.CREATED
    assert states(engine, receipt.message_id)[-1] is State.DELIVERED
    message = engine.message(receipt.message_id)
    assert (message.header, message.options) == (publish_.header, publish_.options)
    assert dlq(engine) == []


async def test_a_retried_entry_cannot_be_retried_again():
    """DLQ-33."""
    emulator, engine, _ = an_emulator(ERROR, Hang())
    (entry,) = await failed(emulator, engine)

    engine.dlq.retry([entry], Overrides())

    with pytest.raises(NotFound):
        engine.dlq.get(entry.dlq_id)


async def test_an_entry_that_fails_again_makes_a_new_entry():
    """DLQ-1: one entry for each failure."""
    emulator, engine, _ = an_emulator(ERROR)
    (entry,) = await failed(emulator, engine)

    (receipt,) = engine.dlq.retry([entry], Overrides())
    await emulator.tenants.advance(None)

    (again,) = dlq(engine)
    assert again.dlq_id != entry.dlq_id
    assert again.message.message_id == receipt.message_id


async def test_a_retry_call_s_headers_override_every_message_s_own():
    """DLQ-34: what isn't mentioned stays."""
    emulator, engine, transport = an_emulator(ERROR)
    entries = await failed(
        emulator, engine, "http://a.example", "http://b.example", labels=("a",)
    )
    now_ms = engine.now_ms

    receipts = engine.dlq.retry(
        entries,
        overrides(
            engine,
            Upstash_Retries="2",
            Upstash_Retry_Delay="1000",
            Upstash_Method="PUT",
            Upstash_Forward_X_B="2",
            Upstash_Delay="10s",
        ),
    )

    for receipt in receipts:
        message = engine.message(receipt.message_id)
        assert message.options == Options(
            retries=2, retry_delay="1000", method="PUT", labels=("a",)
        )
        assert message.header == ("X-B", "2")
        assert message.created_at_ms == now_ms
        assert message.not_before_ms == now_ms + 10_000
    await emulator.tenants.advance(None)
    assert len(transport.requests) == 2 + 2 * 3
    assert len(dlq(engine)) == 2


async def test_a_retry_call_may_put_off_until_an_instant():
    """DLQ-34, HDR-23."""
    emulator, engine, _ = an_emulator(ERROR)
    (entry,) = await failed(emulator, engine)
    at_s = T0 // 1000 + 60

    (receipt,) = engine.dlq.retry(
        [entry],
        overrides(engine, Upstash_Not_Before=str(at_s), Upstash_Delay="1h"),
    )

    assert engine.message(receipt.message_id).not_before_ms == at_s * 1000


async def test_retrying_nothing_does_nothing():
    """DLQ-32."""
    _, engine, _ = an_emulator()

    assert list(engine.dlq.retry([], Overrides())) == []
    assert logs(engine) == ([], None)


# Keys, reset, chance


async def test_a_rotation_makes_the_next_key_the_current_one():
    """KEY-1, KEY-2, KEY-3."""
    _, engine, _ = an_emulator()
    configured = DEV_USERS[0].keys
    assert engine.keys == configured

    rotated = engine.rotate_keys()

    assert rotated == engine.keys
    assert rotated.current == configured.next
    assert rotated.next.startswith("sig_")
    assert len(rotated.next) == 32
    assert rotated.next not in (configured.current, configured.next)


async def test_a_reset_makes_everything_as_at_the_start():
    emulator, engine, transport = an_emulator(ERROR)
    accept(engine, a_publish(deduplication_id="order-1", options=Options(retries=0)))
    publish(engine, delay_ms=1000)
    await quiet()
    engine.rotate_keys()

    engine.reset()
    await turn(emulator, DAY_MS)

    assert (engine.pending, logs(engine), dlq(engine)) == (0, ([], None), [])
    assert engine.keys == DEV_USERS[0].keys
    assert len(transport.requests) == 1
    assert not accept(engine, a_publish(deduplication_id="order-1"))[0].deduplicated


async def test_after_a_reset_there_is_a_log_with_pages_again():
    _, engine, _ = an_emulator()
    publish(engine)
    await quiet()
    engine.reset()

    publish(engine)
    await quiet()
    first, cursor = logs(engine, count=2)
    second, end = logs(engine, count=2, cursor=cursor)

    assert (len(first), len(second), end) == (2, 1, None)


def story(seed):
    """The ids and requests of a run with failures, callbacks and retries."""

    async def run():
        emulator, engine, transport = an_emulator(ERROR, OK, seed=seed)
        publish(engine, callback=Callback(url="http://localhost/done"), retries=1)
        publish(engine, "http://b.example", delay_ms=500)
        await emulator.tenants.advance(None)
        keys = engine.rotate_keys()
        entries, _ = logs(engine)
        return (
            [entry.message.message_id for entry in entries],
            [
                {**dict(request.headers), "Upstash-Signature": ""}
                for request in transport.requests
            ],
            keys,
        )

    return asyncio.run(run())


def test_a_seeded_run_repeats_to_the_last_id():
    assert story(seed=7) == story(seed=7)


def test_another_seed_gives_other_ids():
    assert set(story(seed=7)[0]).isdisjoint(story(seed=8)[0])


# Whatever happens


class Destinations:
    """Destinations that answer one by one, when told to."""

    def __init__(self):
        self.waiting = []

    async def send(self, request):
        answer = asyncio.get_running_loop().create_future()
        call = (dict(request.headers)["Upstash-Message-Id"], answer)
        self.waiting.append(call)
        try:
            return await answer
        finally:
            self.waiting.remove(call)

    async def close(self):
        pass


OUTCOMES = st.sampled_from(
    [
        OK,
        ERROR,
        Responded(429, header=("Retry-After", "30")),
        Responded(489, header=("Upstash-Nonretryable-Error", "true")),
        Unreachable("refused"),
    ]
)

CALLBACKS = st.sampled_from([None, Callback(url="http://localhost/report")])

PUBLISHES = st.builds(
    a_publish,
    delay_ms=st.sampled_from([0, 0, 1000, 90_000]),
    deduplication_id=st.sampled_from([None, None, None, "a", "b"]),
    options=st.builds(
        Options,
        retries=st.integers(0, 2),
        timeout_ms=st.sampled_from([None, 1000, 20_000]),
        callback=CALLBACKS,
        failure_callback=CALLBACKS,
    ),
)


class AnyStory(RuleBasedStateMachine):
    """Publishes, outcomes, cancels and jumps of the clock, in any order.

    The machine reads what happens from the feed, and compares it with what the
    engine says.
    """

    @initialize()
    def begin(self):
        self.loop = asyncio.new_event_loop()
        self.destinations = Destinations()
        self.loop.run_until_complete(self._begin())
        self.retention_ms = PROFILES["free"].dlq_retention_s * 1000

    async def _begin(self):
        self.emulator, self.engine, _ = an_emulator(
            transport=self.destinations, quota="free"
        )
        self.subscription = self.emulator.feed.subscribe()
        self._forget()

    def _forget(self):
        self.told = {}  # message id: its log entries
        self.entries = {}  # dlq id: when it was made
        self.windows = {}  # deduplication id: message id, end
        self.taken = set()

    @property
    def now_ms(self):
        return self.emulator.clock.now_ms()

    def settle(self):
        """Let everything run, and hear what happened."""
        self.loop.run_until_complete(self._settle())

    async def _settle(self):
        await quiet()
        listening = asyncio.ensure_future(anext(aiter(self.subscription)))
        await asyncio.sleep(0)
        if not listening.done():
            listening.cancel()
            return
        for item in listening.result():
            entry = item.entry
            self.told.setdefault(entry.message.message_id, []).append(entry)
            if entry.dlq_id is not None:
                self.entries[entry.dlq_id] = entry.time_ms

    def last_state(self, message_id):
        return self.told[message_id][-1].state

    def dlq_now(self):
        return [
            dlq_id
            for dlq_id, made_ms in self.entries.items()
            if dlq_id not in self.taken and made_ms + self.retention_ms > self.now_ms
        ]

    # What may happen

    @rule(publishes=st.lists(PUBLISHES, min_size=1, max_size=8))
    def publish(self, publishes):
        async def run():
            return accept(self.engine, *publishes)

        receipts = self.loop.run_until_complete(run())
        for each, receipt in zip(publishes, receipts, strict=True):
            key = each.deduplication_id
            known, until_ms = self.windows.get(key, (None, 0))
            is_duplicate = key is not None and self.now_ms < until_ms
            assert receipt.deduplicated == is_duplicate
            if is_duplicate:
                assert receipt.message_id == known
            elif key is not None:
                self.windows[key] = (receipt.message_id, self.now_ms + 600_000)
        self.settle()

    @precondition(lambda self: self.destinations.waiting)
    @rule(number=st.integers(0, 100), outcome=OUTCOMES)
    def answer(self, number, outcome):
        waiting = self.destinations.waiting
        _, answer = waiting[number % len(waiting)]
        answer.set_result(outcome)
        self.settle()

    @precondition(lambda self: self.destinations.waiting)
    @rule(outcome=OUTCOMES)
    def answer_all(self, outcome):
        for _, answer in tuple(self.destinations.waiting):
            answer.set_result(outcome)
        self.settle()

    @rule(passed_ms=st.sampled_from([1, 999, 1000, 12_182, 60_000, 600_000, DAY_MS]))
    def time_passes(self, passed_ms):
        self.emulator.clock.set(self.now_ms + passed_ms)
        self.settle()

    @precondition(lambda self: self.told)
    @rule(number=st.integers(0, 1000))
    def cancel(self, number):
        message_id = list(self.told)[number % len(self.told)]
        states = {entry.state for entry in self.told[message_id]}
        can_be = not states & (FINAL | {State.CANCEL_REQUESTED})

        async def run():
            self.engine.cancel(message_id)

        if can_be:
            self.loop.run_until_complete(run())
        else:
            with pytest.raises(NotFound):
                self.loop.run_until_complete(run())
        self.settle()

    @rule(count=st.integers(1, 3))
    def cancel_some(self, count):
        open_ones = [
            message_id
            for message_id, entries in self.told.items()
            if not {entry.state for entry in entries}
            & (FINAL | {State.CANCEL_REQUESTED})
        ]

        async def run():
            return cancel(self.engine, count=count)

        cancelled = self.loop.run_until_complete(run())
        self.settle()

        assert cancelled == min(count, len(open_ones))
        for message_id in open_ones[:cancelled]:  # the oldest first
            assert State.CANCEL_REQUESTED in {
                entry.state for entry in self.told[message_id]
            }

    @precondition(lambda self: self.dlq_now())
    @rule(number=st.integers(0, 100), is_retry=st.booleans())
    def take_from_dlq(self, number, is_retry):
        left = self.dlq_now()
        dlq_id = left[number % len(left)]

        async def run():
            entry = self.engine.dlq.get(dlq_id)
            if is_retry:
                self.engine.dlq.retry([entry], Overrides())
            else:
                self.engine.dlq.delete([entry])

        self.loop.run_until_complete(run())
        self.taken.add(dlq_id)
        self.settle()

    @precondition(lambda self: len(self.told) > 5)
    @rule()
    def reset(self):
        async def run():
            self.engine.reset()

        self.loop.run_until_complete(run())
        self.settle()
        self._forget()
        assert logs(self.engine) == ([], None)
        assert self.destinations.waiting == []

    # What always holds

    @invariant()
    def every_message_s_log_keeps_to_the_table(self):
        for entries in self.told.values():
            states = [None, *(entry.state for entry in entries)]
            assert all(after in MOVES[before] for before, after in pairwise(states))
            assert sum(state in FINAL for state in states) <= 1

    @invariant()
    def the_engine_counts_what_the_log_tells(self):
        open_ones = [id for id in self.told if self.last_state(id) not in FINAL]
        assert self.engine.pending == len(open_ones)

    @invariant()
    def deliveries_under_way_are_those_that_the_log_calls_active(self):
        active = [
            id
            for id, entries in self.told.items()
            if entries[-1].state is State.ACTIVE
            or (
                entries[-1].state is State.CANCEL_REQUESTED
                and entries[-2].state is State.ACTIVE
            )
        ]
        waiting = [id for id, _ in self.destinations.waiting]
        # Attempts of one message never overlap (DLV-32), and none is lost.
        assert sorted(waiting) == sorted(active)
        assert self.engine.scheduler.in_flight == len(waiting)
        assert len(waiting) <= PROFILES["free"].global_parallelism

    @invariant()
    def nothing_that_is_due_waits_while_there_is_room(self):
        if len(self.destinations.waiting) < PROFILES["free"].global_parallelism:
            for id in self.told:
                last = self.told[id][-1]
                if last.state in (State.CREATED, State.RETRY):
                    assert last.next_delivery_ms > self.now_ms

    @invariant()
    def the_dlq_holds_what_failed_and_was_not_taken(self):
        assert [entry.dlq_id for entry in dlq(self.engine)] == self.dlq_now()

    @invariant()
    def the_listing_shows_what_was_announced(self):
        horizon_ms = self.now_ms - PROFILES["free"].log_retention_s * 1000
        told = [
            (entry.time_ms, message_id, entry.state)
            for message_id, entries in self.told.items()
            for entry in entries
            if entry.time_ms >= horizon_ms
        ]
        listed = [
            (entry.time_ms, entry.message.message_id, entry.state)
            for entry in logs(self.engine)[0]
        ]
        assert Counter(listed) == Counter(told)
        assert [time for time, _, _ in listed] == sorted(
            (time for time, _, _ in told), reverse=True
        )

    def teardown(self):
        """Play to the end: every message comes to exactly one of three ends."""
        if not hasattr(self, "loop"):
            return
        try:
            for _ in range(500):
                for _, answer in tuple(self.destinations.waiting):
                    answer.set_result(ERROR)
                self.settle()
                due_ms = self.engine.scheduler.next_due_ms()
                if due_ms is None and not self.destinations.waiting:
                    break
                if due_ms is not None and not self.destinations.waiting:
                    self.emulator.clock.set(max(due_ms, self.now_ms))
                    self.settle()
            assert self.engine.pending == 0
            for message_id, entries in self.told.items():
                ends = [entry.state for entry in entries if entry.state in FINAL]
                assert len(ends) == 1, message_id
                assert (ends == [State.FAILED]) == any(e.dlq_id for e in entries)
            self.every_message_s_log_keeps_to_the_table()
        finally:
            self.loop.run_until_complete(self._end())
            self.loop.close()

    async def _end(self):
        self.engine.scheduler.stop()
        self.engine.reset()
        await quiet()


TestAnyStory = AnyStory.TestCase
TestAnyStory.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
