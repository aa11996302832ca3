"""tunnel/flow.py: how many bytes may go, and whose turn it is."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunnel.errors import WireError
from tunnel.flow import (
    GROWTH_BYTES,
    INITIAL_WINDOW_BYTES,
    LINK_CREDIT_BYTES,
    LINK_RESERVE_BYTES,
    LINK_WINDOW_BYTES,
    MAX_WINDOW_BYTES,
    SHORT_BYTES,
    SLICE_BYTES,
    Growth,
    Outflow,
    ReceiveWindow,
    Turns,
)
from tunnel.wire import CLOSE_OVERDRAWN, MAX_MESSAGE_BYTES, MAX_PAYLOAD_BYTES

few = settings(max_examples=80, deadline=None)

LONG_S = 1e6
"""Of a round trip: whatever comes, comes within it."""


def an_outflow(stream=1, *, room=1 << 30, sent=0, data=b""):
    outflow = Outflow(stream, room)
    outflow.sent = sent
    if data:
        outflow.add(data)
    return outflow


def taken(turns, most=1 << 30):
    """Return all turns that there are, as (stream, bytes)."""
    found = []
    while (turn := turns.next(most)) is not None:
        found.append((turn[0].stream, bytes(turn[1])))
    return found


# Windows


def test_a_window_has_room_for_its_size_and_not_a_byte_more():
    window = ReceiveWindow(100, 100)
    window.receive(60)
    window.receive(40)

    with pytest.raises(WireError) as caught:
        window.receive(3)

    assert caught.value.code == CLOSE_OVERDRAWN
    assert caught.value.reason == "3 bytes more than the window had room for"


def test_credit_is_given_once_half_the_window_has_been_accepted():
    window = ReceiveWindow(100, 100)
    window.receive(100)

    assert window.accept(49, 0.0, 0.0) == 0
    assert window.accept(1, 0.0, 0.0) == 50
    assert window.accept(49, 0.0, 0.0) == 0


def test_credit_is_room_for_as_many_bytes():
    window = ReceiveWindow(100, 100)
    window.receive(100)
    credit = window.accept(70, 0.0, 0.0)

    window.receive(credit)
    with pytest.raises(WireError):
        window.receive(1)


def test_a_window_that_is_emptied_within_three_round_trips_doubles():
    window = ReceiveWindow(100, 1000)
    window.receive(100)

    assert window.accept(50, 12.0, 4.0) == 50
    assert window.accept(50, 23.9, 4.0) == 50 + 100
    assert window.size == 200


def test_a_window_that_is_emptied_more_slowly_stays():
    window = ReceiveWindow(100, 1000)
    window.receive(100)
    window.accept(50, 100.0, 4.0)

    assert window.accept(50, 112.0, 4.0) == 50
    assert window.size == 100


def test_a_window_grows_to_its_most_and_no_further():
    window = ReceiveWindow(100, 250)
    sizes = []
    for _ in range(4):
        window.receive(window.size // 2 + 1)
        window.accept(window.size // 2 + 1, 0.0, LONG_S)
        sizes.append(window.size)

    assert sizes == [200, 250, 250, 250]


def test_windows_grow_together_no_further_than_their_link_lets_them():
    growth = Growth(150)
    first, second = (ReceiveWindow(100, 1000, growth) for _ in range(2))
    for window in (first, second):
        window.receive(100)
        window.accept(100, 0.0, LONG_S)

    assert (first.size, second.size, growth.left) == (200, 150, 0)


def test_a_stream_that_is_over_gives_back_what_its_window_has_grown_by():
    growth = Growth(150)
    window = ReceiveWindow(100, 1000, growth)
    window.receive(100)
    window.accept(100, 0.0, LONG_S)
    window.close()
    window.close()

    assert growth.left == 150


def test_credit_in_portions_doesnt_wait_for_half_the_window():
    window = ReceiveWindow(100, 100, portion=10)
    window.receive(100)

    assert window.accept(9, 0.0, 0.0) == 0
    assert window.accept(1, 0.0, 0.0) == 10


def test_windows_grow_by_no_more_than_what_they_may_together():
    growth = Growth(150)
    windows = [ReceiveWindow(100, 1000, growth) for _ in range(2)]
    for window in windows:
        window.receive(100)
        window.accept(100, 0.0, LONG_S)
    sizes = [window.size for window in windows]
    windows[0].close()
    windows[0].close()

    assert sizes == [200, 150]
    assert growth.left == 100


def test_a_window_knows_how_much_is_held():
    window = ReceiveWindow(100, 1000)
    window.receive(90)
    window.accept(20, 0.0, 0.0)
    held = window.held
    window.accept(40, 0.0, LONG_S)

    assert (held, window.held) == (70, 30)


@few
@given(
    size=st.integers(1, 1000),
    growth=st.integers(0, 3000),
    steps=st.lists(
        st.tuples(st.integers(1, 500), st.integers(1, 500), st.sampled_from([0, 1e6]))
    ),
)
def test_every_byte_is_credited_once_and_no_window_is_overdrawn_by_who_keeps_to_it(
    size, growth, steps
):
    window = ReceiveWindow(size, size + growth)
    room, waiting, received, credited = size, 0, 0, 0
    for sent, accepted, round_trip_s in steps:
        sent = min(sent, room)
        window.receive(sent)
        room, waiting, received = room - sent, waiting + sent, received + sent
        accepted = min(accepted, waiting)
        credit = window.accept(accepted, 0.0, round_trip_s)
        room, waiting, credited = room + credit, waiting - accepted, credited + credit

        grown = window.size - size
        assert credited <= received - waiting + grown
        assert room + waiting <= window.size <= size + growth
        # Less than half a window is owed, so that a sender never waits in vain.
        assert (room + waiting) * 2 > window.size
        assert window.held == waiting
    with pytest.raises(WireError):
        window.receive(room + 1)


# What waits


@few
@given(
    chunks=st.lists(st.binary(min_size=1, max_size=40)),
    mosts=st.lists(st.integers(1, 30), min_size=1),
    room=st.integers(0, 400),
)
def test_bytes_come_out_in_order_and_whole_as_far_as_there_is_room(chunks, mosts, room):
    outflow = Outflow(1, room)
    for chunk in chunks:
        outflow.add(chunk)
    given_bytes, out = b"".join(chunks), b""
    turn = 0
    while outflow.buffered and outflow.room:
        most = mosts[turn % len(mosts)]
        piece = outflow.take(most)
        assert 1 <= len(piece) <= most
        out += piece
        turn += 1
        assert outflow.sent == len(out)
        assert outflow.room == room - len(out)
        assert outflow.buffered == len(given_bytes) - len(out)

    assert out == given_bytes[:room]


def test_a_chunk_that_goes_whole_isnt_copied():
    chunk = bytes(100)
    outflow = an_outflow(data=chunk)

    assert outflow.take(100) is chunk


def test_pieces_of_a_chunk_are_views_of_it():
    chunk = b"abcdef"
    outflow = an_outflow(data=chunk)
    pieces = [outflow.take(4), outflow.take(4)]

    assert pieces == [b"abcd", b"ef"]
    assert all(piece.obj is chunk for piece in pieces)


def test_what_is_forgotten_doesnt_come():
    outflow = an_outflow(data=b"abcdef")
    outflow.take(2)
    outflow.clear()
    outflow.add(b"xyz")

    assert outflow.take(10) == b"xyz"
    assert outflow.buffered == 0


# Turns


def test_nobody_has_a_turn_without_bytes_or_without_room():
    turns = Turns()
    turns.join(an_outflow())
    turns.join(an_outflow(room=0, data=b"x"))

    assert not turns
    assert turns.next(100) is None


def test_who_waits_already_isnt_counted_twice():
    turns = Turns()
    outflow = an_outflow(data=b"x")
    turns.join(outflow)
    turns.join(outflow)

    assert turns
    assert taken(turns) == [(1, b"x")]


def test_bulk_goes_in_slices_one_stream_after_the_other():
    turns = Turns()
    for stream in (1, 2):
        turns.join(
            an_outflow(stream, sent=SHORT_BYTES, data=bytes(2 * SLICE_BYTES + 5))
        )
    sizes = [(stream, len(piece)) for stream, piece in taken(turns)]

    assert sizes == [
        (1, SLICE_BYTES),
        (2, SLICE_BYTES),
        (1, SLICE_BYTES),
        (2, SLICE_BYTES),
        (1, 5),
        (2, 5),
    ]


def test_a_stream_that_nobody_waits_behind_has_a_whole_frame():
    turns = Turns()
    for stream in (1, 2):
        data = bytes(SLICE_BYTES + MAX_PAYLOAD_BYTES)
        turns.join(an_outflow(stream, sent=SHORT_BYTES, data=data))
    first, second, *rest = taken(turns)

    assert [len(piece) for _, piece in (first, second)] == [SLICE_BYTES, SLICE_BYTES]
    turns.join(an_outflow(3, sent=SHORT_BYTES, data=bytes(MAX_PAYLOAD_BYTES + 5)))
    assert [len(piece) for _, piece in taken(turns)] == [MAX_PAYLOAD_BYTES, 5]
    assert sum(len(piece) for _, piece in rest) == 2 * MAX_PAYLOAD_BYTES


def test_a_short_stream_overtakes_all_bulk_that_waits():
    turns = Turns()
    for stream in range(1, 5):
        turns.join(an_outflow(stream, sent=SHORT_BYTES, data=b"bulk"))
    turns.join(an_outflow(9, data=b"short"))

    assert [stream for stream, _ in taken(turns)] == [9, 1, 2, 3, 4]


def test_a_stream_is_short_until_it_has_sent_so_much():
    turns = Turns()
    turns.join(an_outflow(1, data=bytes(SHORT_BYTES + SLICE_BYTES)))
    for _ in range(SHORT_BYTES // SLICE_BYTES):
        turns.next(SLICE_BYTES)
    turns.join(an_outflow(2, data=b"x"))

    assert [stream for stream, _ in taken(turns)] == [2, 1]


def test_a_turn_is_bounded_by_what_the_whole_link_has_room_for():
    turns = Turns()
    turns.join(an_outflow(data=b"abcdef"))

    assert bytes(turns.next(4)[1]) == b"abcd"


def test_the_last_of_the_links_room_is_for_short_streams():
    turns = Turns()
    bulk = an_outflow(1, sent=SHORT_BYTES, data=b"bulk")
    short = an_outflow(2, data=b"short")
    turns.join(bulk)
    turns.join(short)

    assert turns.next(100, only_short=True) == (short, b"short")
    assert turns.next(100, only_short=True) is None
    assert turns.next(100) == (bulk, b"bulk")


def test_short_streams_alone_can_be_asked_for():
    turns = Turns()
    turns.join(an_outflow(1, sent=SHORT_BYTES, data=b"bulk"))
    nobody = turns.next(100, only_short=True)
    turns.join(an_outflow(2, data=b"short"))

    assert nobody is None
    assert turns.next(100, only_short=True)[0].stream == 2
    assert taken(turns) == [(1, b"bulk")]


def test_who_has_been_cut_off_meanwhile_loses_its_turn():
    turns = Turns()
    cut = an_outflow(1, data=b"x")
    turns.join(cut)
    turns.join(an_outflow(2, data=b"y"))
    cut.clear()

    assert taken(turns) == [(2, b"y")]


@few
@given(
    streams=st.lists(st.lists(st.integers(1, 3 * SLICE_BYTES), max_size=4), max_size=5),
    mosts=st.lists(st.integers(1, 2 * SLICE_BYTES), min_size=1),
)
def test_whatever_the_turns_each_streams_bytes_come_in_order_and_whole(streams, mosts):
    turns = Turns()
    expected = {}
    for stream, sizes in enumerate(streams):
        outflow = an_outflow(stream)
        chunks = [bytes([n % 251]) * size for n, size in enumerate(sizes)]
        for chunk in chunks:
            outflow.add(chunk)
            turns.join(outflow)
        expected[stream] = b"".join(chunks)
    out = dict.fromkeys(expected, b"")
    count = 0
    while (turn := turns.next(mosts[count % len(mosts)])) is not None:
        outflow, piece = turn
        assert len(piece) <= MAX_PAYLOAD_BYTES
        out[outflow.stream] += piece
        count += 1

    assert out == expected


def test_the_limits_fit_each_other():
    assert SLICE_BYTES <= MAX_PAYLOAD_BYTES < MAX_MESSAGE_BYTES
    assert INITIAL_WINDOW_BYTES <= MAX_WINDOW_BYTES <= LINK_WINDOW_BYTES
    # What all windows may have grown by, what is owed and what is kept for short
    # streams leave room for bulk.
    assert (
        GROWTH_BYTES + 4 * INITIAL_WINDOW_BYTES + LINK_CREDIT_BYTES + LINK_RESERVE_BYTES
        < LINK_WINDOW_BYTES
    )
