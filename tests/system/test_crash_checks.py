"""The crash test's checks see what they are there to see."""

from dataclasses import replace

import pytest

from tests.system.crash import checks
from tests.system.crash.books import ABSENT, Books, Cancel, Change, Plan
from tests.system.crash.checks import Run
from tests.system.crash.destination import Arrival

RUNS = [
    Run("load", 0.0, 1.0, killed_s=100.0, ended_s=100.1),
    Run("load", 101.0, 102.0, killed_s=200.0, ended_s=200.1),
]


def published(plan=None, *, books=None, message_ids=("m1",), at_s=1.0):
    """Books with an acknowledged publish."""
    books = books or Books()
    sent = books.send(plan or Plan(), at_s)
    if message_ids:
        books.acknowledge(sent, message_ids, at_s)
    return books


def arrived(message_id="m1", *, at_s=2.0, name="1", **fields):
    values = {"run": 0, "kind": "message", "retried": 0, "status": 200}
    values |= {"left_s": at_s + 0.1} | fields
    return Arrival(at_s=at_s, name=name, message_id=message_id, **values)


def complaints(books, *arrivals):
    """What is wrong, but for signatures: nothing here is signed."""
    found = checks.complaints(books, arrivals, RUNS)
    return [text for text in found if "signed" not in text and "fire in" not in text]


def test_a_message_that_came_is_no_complaint():
    assert complaints(published(), arrived()) == []


@pytest.mark.parametrize(
    ("plan", "missing"),
    [
        (Plan(), "message of m1"),
        (Plan(failing=1, retries=1), "retried 1, never arrived"),
        (Plan(calls_back=True), "callback of m1"),
        (Plan(failing=1), "never was in the DLQ"),
        (Plan(failing=1, calls_back=True), "failure of m1"),
        (Plan(is_refused=True), "never was in the DLQ"),
    ],
)
def test_what_is_missing_is_named(plan, missing):
    arrivals = [] if plan == Plan() else [arrived()]

    assert any(missing in text for text in complaints(published(plan), *arrivals))


def test_what_was_cancelled_need_not_come():
    books = published()
    books.cancels["m1"] = Cancel(1.5)

    assert complaints(books) == []


def test_a_delivery_that_a_kill_interrupted_may_come_again():
    first = arrived(at_s=99.9, left_s=None)
    second = arrived(at_s=103.0, run=1)

    assert complaints(published(), first, second) == []
    assert checks.repeats([first, second]) == 1


@pytest.mark.parametrize(
    ("first", "second", "wrong"),
    [
        (arrived(), arrived(at_s=3.0), "from the same process"),
        (arrived(), arrived(at_s=103.0, run=1), "before the end of its run"),
    ],
)
def test_a_delivery_that_nothing_explains_is_named(first, second, wrong):
    (text,) = complaints(published(), first, second)

    assert wrong in text


def test_a_delivery_after_the_log_told_of_the_end_is_named():
    books = published()
    books.finals["m1"] = 99.95
    interrupted = arrived(at_s=99.9, left_s=None)

    (text,) = complaints(books, interrupted, arrived(at_s=103.0, run=1))

    assert "after the log said it ended" in text


def test_two_messages_of_one_publish_are_named():
    (text,) = complaints(published(), arrived(), arrived("m2"))

    assert "also came as ['m2']" in text


def test_a_publish_without_an_answer_may_have_made_a_message():
    assert complaints(published(message_ids=()), arrived("m2")) == []


def test_two_callbacks_of_one_delivery_are_named():
    books = published(Plan(calls_back=True))
    calls = [arrived(each, kind="callback", name="m1") for each in ("c1", "c2")]

    (text,) = complaints(books, arrived(), *calls)

    assert "made more than once" in text


def test_a_delayed_message_that_comes_early_is_named():
    (text,) = complaints(published(Plan(delay_s=5)), arrived(at_s=5.5))

    assert "0.500 s too early" in text


def test_a_message_that_comes_after_its_cancel_is_named():
    books = published(Plan(delay_s=1))
    books.cancels["m1"] = Cancel(1.1, 1.2)

    (text,) = complaints(books, arrived(at_s=3.0))

    assert "1.800 s after its cancel" in text


def test_a_message_that_overtakes_in_a_queue_is_named():
    books = published(Plan(queue="one"))
    published(Plan(queue="one"), books=books, message_ids=["m2"])

    found = complaints(books, arrived("m2", name="2"), arrived(at_s=3.0))

    assert "1 came after 2 in queue one, run 0" in found
    assert "2 came before 1 in queue one" in found


def test_too_many_at_once_are_named():
    books = published(Plan(queue="one"))
    published(Plan(queue="one"), books=books, message_ids=["m2"])

    (text,) = complaints(books, arrived(), arrived("m2", name="2", at_s=2.05))

    assert text == "2 of one were under way at once in run 0, not 1"


def test_a_delivery_while_its_queue_is_paused_is_named():
    """Before the kill it may have been under way; after it there is no excuse."""
    books = published(Plan(queue="one"))
    books.changes += [
        Change("queue", "one", (1, True), 50.0, 50.1),
        Change("queue", "one", (1, False), 150.0, 150.1),
    ]

    (text,) = complaints(books, arrived(at_s=120.0, run=1))

    assert text == "1 came while one was paused"


def test_firings_of_schedules_are_counted():
    tick = arrived("s1", kind="schedule", name="paused", at_s=61.0)
    other = replace(tick, message_id="s2")
    steady = replace(tick, name="steady", message_id="s3")

    found = checks.complaints(Books(), [tick, other, steady], RUNS)

    assert "paused fired 2 times in minute 1" in found
    assert "a paused schedule fired: s1" in found
    assert "a schedule didn't fire in minute 1" not in found
    assert "a schedule didn't fire in minute 2" in found


def test_what_is_signed_with_an_unknown_key_is_named():
    books = published()
    books.seen_keys.add("sig_of_somebody_who_is_known_to_all")

    found = checks.complaints(books, [arrived(signature="x.y.z")], RUNS)

    assert "m1 is signed with an unknown key" in found


# The books


def test_a_state_that_is_not_in_the_books_is_a_complaint():
    books = Books()
    books.put("queue", "one", (1, True))

    books.compare("queue", {"one": (1, False)})

    assert books.complaints == ["queue one is (1, False), not (1, True)"]


def test_what_is_gone_or_nobody_made_is_a_complaint():
    books = Books()
    books.put("queue", "one", (1, True))

    books.compare("queue", {"two": (1, True)})

    assert books.complaints == [
        "queue one is None, not (1, True)",
        "queue two is (1, True), not None",
    ]


def test_without_an_answer_both_states_are_right_until_one_is_seen():
    books = Books()
    books.put("queue", "one", "before")
    books.doubt("queue", "one", ABSENT)

    books.compare("queue", {})
    books.compare("queue", {"one": "before"})

    assert books.complaints == ["queue one is before, not None"]
