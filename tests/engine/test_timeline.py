"""emulator/engine/timeline.py: what falls due, and when."""

from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.engine.timeline import Timeline, earliest

few = settings(max_examples=60, deadline=None)


def a_timeline(*entries, stale=()):
    """A timeline of keys and instants; ``stale`` keys no longer hold."""
    timeline = Timeline(lambda key, due_ms: key not in stale)
    for key, due_ms in entries:
        timeline.push(key, due_ms)
    return timeline


def drained(timeline, now_ms):
    keys = []
    while (key := timeline.pop_due(now_ms)) is not None:
        keys.append(key)
    return keys


def test_an_empty_timeline_has_nothing_due():
    timeline = a_timeline()

    assert timeline.next_due_ms() is None
    assert timeline.pop_due(10**15) is None


def test_keys_fall_due_in_the_order_of_their_instants():
    timeline = a_timeline(("b", 20), ("c", 30), ("a", 10))

    assert timeline.next_due_ms() == 10
    assert drained(timeline, 30) == ["a", "b", "c"]


def test_equal_instants_come_out_in_the_order_they_went_in():
    timeline = a_timeline(*((key, 10) for key in "zyxabc"))

    assert drained(timeline, 10) == list("zyxabc")


def test_nothing_falls_due_before_its_time():
    timeline = a_timeline(("a", 10))

    assert timeline.pop_due(9) is None
    assert timeline.pop_due(10) == "a"
    assert timeline.pop_due(11) is None


def test_a_key_may_fall_due_more_than_once():
    timeline = a_timeline(("a", 10), ("a", 20))

    assert drained(timeline, 20) == ["a", "a"]


def test_what_no_longer_holds_is_passed_over():
    timeline = a_timeline(("a", 10), ("b", 20), ("c", 30), stale={"a", "c"})

    assert timeline.next_due_ms() == 20
    assert drained(timeline, 30) == ["b"]
    assert timeline.next_due_ms() is None


def test_whether_an_entry_holds_is_asked_for_its_own_instant():
    """A message that was put off is due once, at its new instant."""
    timeline = Timeline(lambda key, due_ms: due_ms == 20)
    timeline.push("a", 10)
    timeline.push("a", 20)

    assert timeline.next_due_ms() == 20
    assert drained(timeline, 30) == ["a"]


def test_stale_entries_do_not_pile_up():
    """Far-off messages that are cancelled must not fill the memory."""
    stale = set()
    timeline = a_timeline(("kept", 10**9), stale=stale)
    most = 0

    for number in range(2000):
        key = f"cancelled {number}"
        timeline.push(key, 10**9 + number)
        stale.add(key)
        timeline.note_stale()
        most = max(most, len(timeline))

    assert most < 200
    assert drained(timeline, 2 * 10**9) == ["kept"]


def test_clearing_out_keeps_the_order_of_what_holds():
    stale = set()
    timeline = a_timeline(stale=stale)
    for number in range(300):
        timeline.push(f"{number}", 1000 - number % 10)

    for number in range(300):
        if number % 3:
            stale.add(f"{number}")
            timeline.note_stale()

    kept = [number for number in range(300) if number % 3 == 0]
    assert len(timeline) < 300
    assert drained(timeline, 1000) == [
        f"{number}" for number in sorted(kept, key=lambda n: (1000 - n % 10, n))
    ]


def test_what_arrives_for_an_earlier_instant_overtakes_what_has_come_up():
    timeline = a_timeline(("b", 20), ("c", 20))
    timeline.next_due_ms()
    timeline.push("a", 10)
    timeline.push("d", 20)

    assert timeline.next_due_ms() == 10
    assert drained(timeline, 20) == ["a", "b", "c", "d"]


def test_great_numbers_for_one_instant_are_taken_out_one_at_a_time():
    """Each in the same time, however many there are."""
    timeline = a_timeline(*((str(number), 10) for number in range(100_000)))

    assert drained(timeline, 10) == [str(number) for number in range(100_000)]


instants = st.integers(0, 20)
actions = st.lists(
    st.one_of(
        st.tuples(st.just("push"), instants),
        st.tuples(st.just("pop"), instants),
        st.tuples(st.just("drop"), st.integers(0, 30)),
    ),
    max_size=60,
)


@few
@given(actions)
def test_a_timeline_answers_as_a_sorted_list_would(steps):
    live = {}
    timeline = Timeline(lambda key, due_ms: key in live)
    pushed = 0

    for action, value in steps:
        if action == "push":
            pushed += 1
            live[str(pushed)] = (value, pushed)
            timeline.push(str(pushed), value)
        elif action == "drop":
            if live.pop(str(value), None) is not None:
                timeline.note_stale()
        else:
            expected = min(live.values(), default=None)
            assert timeline.next_due_ms() == (expected and expected[0])
            if expected is None or expected[0] > value:
                assert timeline.pop_due(value) is None
            else:
                key = timeline.pop_due(value)
                assert live.pop(key) == expected


def test_the_earliest_is_the_first_of_those_that_there_are():
    assert earliest(None, 3, 2, None) == 2
    assert earliest(None, None) is None
    assert earliest() is None
