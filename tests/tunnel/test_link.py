"""tunnel/link.py: streams, credit, turns and resume, between two links in memory."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tunnel.linked import Pair, head
from tunnel.errors import WireError
from tunnel.flow import (
    INITIAL_WINDOW_BYTES,
    LINK_RESERVE_BYTES,
    LINK_WINDOW_BYTES,
    MAX_UNACKED_BYTES,
    MAX_WINDOW_BYTES,
    SHORT_BYTES,
)
from tunnel.wire import (
    CLOSE_BAD_FRAME,
    CLOSE_OVERDRAWN,
    CLOSE_UNKNOWN_STREAM,
    FIN,
    MAX_MESSAGE_BYTES,
    MAX_PAYLOAD_BYTES,
    Kind,
    ResetCode,
    decode_frames,
    decode_number,
    encode_frame,
    encode_number,
    encode_ping,
    encode_reset,
)

WINDOW = INITIAL_WINDOW_BYTES


def frames_of(messages):
    """Return (stream, kind) of all frames of messages, in order."""
    return [frame[:2] for message in messages for frame in decode_frames(message)]


def violation(link, *frames):
    """Let a link receive frames it mustn't; return the close code and the reason."""
    with pytest.raises(WireError) as caught:
        link.receive(b"".join(frames))
    return caught.value.code, caught.value.reason


def slices(count, stream=1):
    """Make DATA frames of so many bytes in all."""
    return b"".join(
        encode_frame(stream, Kind.DATA, bytes(min(MAX_PAYLOAD_BYTES, count - start)))
        for start in range(0, count, MAX_PAYLOAD_BYTES)
    )


# A request and its answer


def test_a_request_and_its_answer_without_bodies_are_a_frame_each():
    pair = Pair()
    visitor = pair.open(b"request", is_last=True)
    pair.to_client()
    app = pair.client.sinks[1]
    app.stream.send_head(head(b"answer"), is_last=True)
    pair.client.take()

    assert pair.client.payloads[1] == (b"request", True)
    assert frames_of(pair.client.on_its_way) == [(0, Kind.ACK), (1, Kind.HEAD)]
    pair.to_relay()
    assert visitor.heads == [(head(b"answer"), True)]
    assert visitor.stream.is_over
    assert app.stream.is_over
    assert pair.relay.link.open_streams == pair.client.link.open_streams == 0


def test_bodies_and_trailers_pass_both_ways():
    pair = Pair()
    visitor, app = pair.opened()
    visitor.stream.send_data(b"ab")
    visitor.stream.send_data(b"cd")
    visitor.stream.send_end(b"X: 1\r\n")
    app.stream.send_head(head(), is_last=False)
    app.stream.send_data(b"xyz")
    app.stream.send_end()
    pair.settle()

    assert (app.data, app.trailers) == (b"abcd", b"X: 1\r\n")
    assert (visitor.data, visitor.trailers) == (b"xyz", b"")
    assert visitor.stream.is_over
    assert app.stream.is_over


def test_an_answer_may_end_before_its_request():
    pair = Pair()
    visitor, app = pair.opened()
    app.stream.send_head(head(), is_last=True)
    pair.settle()

    assert not visitor.stream.is_over
    visitor.stream.send_data(b"more")
    visitor.stream.send_end()
    pair.settle()
    assert app.data == b"more"
    assert app.stream.is_over
    assert visitor.stream.is_over


def test_a_switch_of_protocols_is_told_before_what_follows_it():
    pair = Pair()
    visitor, app = pair.opened()
    app.stream.send_head(head(), is_last=False)
    app.stream.send_upgraded()
    app.stream.send_data(b"raw")
    pair.settle()

    assert visitor.upgraded == 1
    assert visitor.data == b"raw"


def test_a_reset_ends_a_stream_at_both_ends_and_says_why():
    pair = Pair()
    visitor, app = pair.opened()
    app.stream.send_data(b"lost")
    app.stream.reset(ResetCode.LOCAL_BROKE, "it broke off")
    app.stream.reset(ResetCode.LOCAL_BROKE, "once is enough")
    app.stream.send_data(b"too late")
    pair.settle()

    assert visitor.reset == (ResetCode.LOCAL_BROKE, "it broke off")
    assert visitor.data == b""
    assert app.reset is None  # who cuts off knows
    assert pair.relay.link.open_streams == pair.client.link.open_streams == 0


def test_frames_without_anybody_to_take_them_are_counted_all_the_same():
    pair = Pair(accepts=False)
    visitor, app = pair.opened()
    for stream in (visitor.stream, app.stream):
        stream.sink = None
    sent = bytes(WINDOW)
    app.stream.send_head(head(), is_last=False)
    app.stream.send_upgraded()
    app.stream.send_data(sent + sent)
    visitor.stream.send_data(b"x")
    app.stream.send_end()
    visitor.stream.send_end()
    pair.settle()

    assert visitor.stream.is_over
    assert app.stream.is_over


@pytest.mark.parametrize("is_last", [True, False])
def test_a_stream_that_nobody_takes_can_be_answered_or_cut_off(is_last):
    pair = Pair()
    visitor, app = pair.opened(is_last=is_last)
    visitor.stream.sink = None
    if is_last:
        app.stream.send_head(head(), is_last=True)
    else:
        app.stream.reset(ResetCode.LOCAL_BROKE, "")
    pair.settle()

    assert visitor.stream.is_over


# Whose turn it is


def test_the_link_says_once_that_it_has_something_to_send():
    pair = Pair()
    pair.open()
    pair.open()

    assert pair.relay.ready == 1
    assert pair.relay.take() == 1
    pair.open()
    assert pair.relay.ready == 2


def test_nothing_to_send_is_an_empty_message():
    assert Pair().relay.link.take() == b""


def test_what_was_said_within_a_turn_goes_in_one_message():
    pair = Pair()
    for _ in range(20):
        pair.open(b"x" * 100, is_last=True)

    assert pair.relay.take() == 1


def test_control_goes_first_then_heads_then_bodies():
    pair = Pair()
    visitor, _ = pair.opened()
    visitor.stream.send_data(b"body")
    pair.open()
    pair.relay.link.ping()
    pair.relay.take()

    assert frames_of(pair.relay.on_its_way) == [
        (0, Kind.PING),
        (2, Kind.OPEN),
        (1, Kind.DATA),
    ]


@pytest.mark.parametrize("earlier", range(0, MAX_PAYLOAD_BYTES, 9_973))
def test_no_message_is_larger_than_the_bound(earlier):
    pair = Pair()
    visitor, _ = pair.opened()
    pair.open(bytes(earlier), is_last=True)
    visitor.stream.send_data(bytes(WINDOW))
    pair.relay.take()
    sizes = [len(message) for message in pair.relay.on_its_way]

    assert max(sizes) <= MAX_MESSAGE_BYTES
    assert max(sizes) > MAX_MESSAGE_BYTES - MAX_PAYLOAD_BYTES


def test_an_end_stands_behind_the_bytes_it_ends():
    pair = Pair()
    visitor, _ = pair.opened()
    visitor.stream.send_data(bytes(MAX_PAYLOAD_BYTES + 1))
    visitor.stream.send_end()
    pair.relay.take()

    assert frames_of(pair.relay.on_its_way) == [(1, Kind.DATA)] * 3


def test_a_short_answer_overtakes_the_bulk_that_waits():
    pair = Pair()
    _, bulk = pair.opened()
    _, short = pair.opened()
    bulk.stream.send_head(head(), is_last=False)
    bulk.stream.send_data(bytes(WINDOW))
    pair.client.on_its_way.append(pair.client.link.take())
    short.stream.send_head(head(), is_last=False)
    short.stream.send_data(b"webhook")
    short.stream.send_end()
    pair.client.take()
    kinds = frames_of(pair.client.on_its_way)

    assert kinds.index((2, Kind.DATA)) < len(kinds) - kinds[::-1].index((1, Kind.DATA))
    pair.to_relay(2)
    assert pair.relay.sinks[2].data == b"webhook"
    assert len(pair.relay.sinks[1].data) < WINDOW


def test_no_message_is_larger_than_the_other_end_reads():
    pair = Pair()
    for _ in range(40):
        sink = pair.open(bytes(50_000))
        sink.stream.send_data(bytes(WINDOW))
        sink.stream.send_end()
    pair.relay.take()
    sizes = [len(message) for message in pair.relay.on_its_way]

    assert max(sizes) <= MAX_MESSAGE_BYTES
    assert len(sizes) > 5


def test_a_frame_larger_than_the_rest_of_a_message_goes_in_the_next():
    pair = Pair()
    pair.open(bytes(130_000))
    pair.open(bytes(130_000))
    pair.open(bytes(130_000))
    pair.relay.take()
    per_message = [frames_of([message]) for message in pair.relay.on_its_way]

    assert per_message == [[(1, Kind.OPEN), (2, Kind.OPEN)], [(3, Kind.OPEN)]]


# Windows


def test_a_sender_stops_at_the_window_and_its_source_is_told_to():
    pair = Pair(accepts=False)
    visitor, app = pair.opened()
    app.stream.send_data(bytes(WINDOW + 1))
    is_full_at_once = app.stream.is_full
    pair.settle()

    assert is_full_at_once
    assert app.stream.is_full is False or app.stream.outflow.room == 0
    assert len(visitor.data) == WINDOW
    assert app.stream.outflow.buffered == 1


def test_bytes_that_the_far_socket_has_taken_give_room_again():
    pair = Pair(accepts=False)
    visitor, app = pair.opened()
    app.stream.send_data(bytes(2 * WINDOW))
    pair.settle()
    rooms = app.rooms
    visitor.accept(WINDOW // 2 - 1)
    pair.settle()
    before = len(visitor.data)
    visitor.accept(1)
    pair.settle()

    assert before == WINDOW
    assert len(visitor.data) == WINDOW + WINDOW // 2
    visitor.accept()
    pair.settle()
    assert len(visitor.data) == 2 * WINDOW
    assert app.rooms > rooms
    assert not app.stream.is_full


def test_a_source_hears_of_room_by_credit_when_nothing_of_it_waits():
    pair = Pair(accepts=False)
    visitor, app = pair.opened()
    app.stream.send_data(bytes(WINDOW))
    pair.settle()
    before = (app.stream.is_full, app.rooms)
    visitor.accept()
    pair.settle()

    assert before == (True, 0)
    assert not app.stream.is_full
    assert app.rooms == 1


def test_a_stream_without_anybody_to_hear_of_room_gets_it_all_the_same():
    pair = Pair(accepts=False)
    visitor, app = pair.opened()
    app.stream.sink = None
    app.stream.send_data(bytes(WINDOW + 5))
    pair.settle()
    visitor.accept()
    pair.settle()

    assert len(visitor.data) == WINDOW + 5


def test_windows_grow_on_a_long_way():
    pair = Pair(accepts=False)
    visitor, app = pair.opened()
    pair.relay.link.round_trip_s = 10.0
    app.stream.send_data(bytes(4 * WINDOW))
    pair.settle()
    visitor.accept()
    pair.settle()

    assert len(visitor.data) == 3 * WINDOW


def test_bulk_stops_where_the_links_window_is_kept_for_short_streams():
    pair = Pair(accepts=False)
    bulk = LINK_WINDOW_BYTES - LINK_RESERVE_BYTES
    for _ in range(LINK_WINDOW_BYTES // WINDOW):
        _, app = pair.opened()
        app.stream.send_data(bytes(WINDOW))
    pair.settle()
    visitors = list(pair.relay.sinks.values())
    stopped = sum(len(each.data) for each in visitors)
    _, app = pair.opened()
    app.stream.send_data(b"webhook")
    pair.settle()

    assert bulk <= stopped <= LINK_WINDOW_BYTES
    assert len(visitors[-1].data) < WINDOW
    assert pair.relay.sinks[app.stream.id].data == b"webhook"
    for each in visitors[:32]:
        each.accept()
    pair.settle()
    assert len(visitors[-1].data) == WINDOW


def test_all_streams_together_stop_at_the_links_window():
    pair = Pair(accepts=False)
    count = LINK_WINDOW_BYTES // SHORT_BYTES
    for _ in range(count + 1):
        _, app = pair.opened()
        app.stream.send_data(bytes(SHORT_BYTES))
    pair.settle()
    visitors = list(pair.relay.sinks.values())

    assert sum(len(each.data) for each in visitors) == LINK_WINDOW_BYTES
    for each in visitors:
        each.accept()
    pair.settle()
    assert sum(len(each.data) for each in visitors) == (count + 1) * SHORT_BYTES


def test_readers_that_have_stalled_leave_the_others_room():
    """Four downloads with windows that have grown, then nobody reads them."""
    pair = Pair(accepts=False)
    pair.relay.link.round_trip_s = 1e6
    for _ in range(4):
        stalled, app = pair.opened(is_last=True)
        for _ in range(6):
            stalled.accept()
            app.stream.send_data(bytes(MAX_WINDOW_BYTES))
            pair.settle()
    held = sum(each.unaccepted for each in pair.relay.sinks.values())
    visitor, app = pair.opened(is_last=True)
    app.stream.send_data(bytes(2 * LINK_WINDOW_BYTES))
    pair.settle()
    while visitor.unaccepted:
        visitor.accept()
        pair.settle()

    assert held > LINK_WINDOW_BYTES // 4
    assert len(visitor.data) == 2 * LINK_WINDOW_BYTES


def test_windows_that_have_grown_give_it_back_when_their_streams_end():
    pair = Pair(accepts=False)
    pair.relay.link.round_trip_s = 1e6
    sizes = []
    for _ in range(4):
        visitor, app = pair.opened(is_last=True)
        app.stream.send_data(bytes(2 * MAX_WINDOW_BYTES))
        pair.settle()
        largest = 0
        while visitor.unaccepted:
            largest = max(largest, visitor.unaccepted)
            visitor.accept()
            pair.settle()
        app.stream.send_end()
        pair.settle()
        sizes.append(largest)

    assert sizes == [MAX_WINDOW_BYTES] * 4


@pytest.mark.parametrize("how", ["reset", "reset by the other end", "ended"])
def test_what_nobody_will_take_any_more_gives_the_link_its_room_back(how):
    """Without it, every visitor that leaves in mid-answer would narrow the link."""
    pair = Pair(accepts=False)
    rounds = 3 * LINK_WINDOW_BYTES // WINDOW
    for _ in range(rounds):
        visitor, app = pair.opened(is_last=True)
        app.stream.send_head(head(), is_last=False)
        app.stream.send_data(bytes(WINDOW))
        if how == "ended":
            app.stream.send_end()
        pair.settle()
        assert visitor.unaccepted == WINDOW
        if how == "reset":
            visitor.stream.reset(ResetCode.VISITOR, "the visitor is gone")
        elif how == "reset by the other end":
            app.stream.reset(ResetCode.LOCAL_BROKE, "broke off")
        pair.settle()
        visitor.accept()  # once too often, where all has been given back
        pair.settle()

    assert pair.relay.link.open_streams == pair.client.link.open_streams == 0


def test_bytes_for_a_stream_that_is_over_give_the_link_its_room_back():
    pair = Pair()
    rounds = 3 * LINK_WINDOW_BYTES // WINDOW
    for _ in range(rounds):
        visitor, app = pair.opened(is_last=True)
        app.stream.send_head(head(), is_last=False)
        app.stream.send_data(bytes(WINDOW))
        visitor.stream.reset(ResetCode.VISITOR, "the visitor is gone")
        pair.to_relay()  # crosses the RESET
        assert visitor.data == b""
        pair.settle()

    visitor, app = pair.opened()
    app.stream.send_data(bytes(WINDOW))
    pair.settle()
    assert len(visitor.data) == WINDOW


def test_bodies_wait_while_too_much_is_unacknowledged():
    pair = Pair(accepts=False)
    for _ in range(2 * MAX_UNACKED_BYTES // WINDOW):
        _, app = pair.opened()
        app.stream.send_data(bytes(WINDOW))
    pair.client.take()
    taken = sum(map(len, pair.client.on_its_way))

    assert taken <= MAX_UNACKED_BYTES + MAX_MESSAGE_BYTES
    app.stream.send_head(head(), is_last=False)
    assert pair.client.take() == 1  # heads never wait for bodies
    pair.settle()
    data = [len(each.data) for each in pair.relay.sinks.values()]
    assert data == [WINDOW] * len(data)


# Signs of life


def test_an_answer_to_a_ping_measures_the_way():
    pair = Pair()
    pair.client.link.ping()
    pair.to_relay()
    pair.client.now_s += 0.25
    pair.to_client()

    assert pair.client.link.round_trip_s == pytest.approx(0.25)
    assert pair.relay.link.round_trip_s == 0.0


def test_the_other_end_learns_the_way_with_the_next_ping():
    pair = Pair()
    pair.client.link.round_trip_s = 0.5
    pair.client.link.ping()
    pair.settle()

    assert pair.relay.link.round_trip_s == 0.5


def test_who_measures_itself_believes_its_own_measure():
    pair = Pair()
    pair.relay.link.ping()
    pair.settle()
    pair.client.link.round_trip_s = 0.5
    pair.client.link.ping()
    pair.settle()

    assert pair.relay.link.round_trip_s == 0.0


def test_an_answer_to_an_older_ping_measures_nothing():
    pair = Pair()
    pair.client.link.receive(encode_frame(0, Kind.PONG, encode_ping(17, 0)))

    assert pair.client.link.round_trip_s == 0.0


# A new socket


def test_what_is_lost_with_a_socket_is_sent_again():
    pair = Pair()
    visitor, app = pair.opened(is_last=True)
    app.stream.send_head(head(b"answer"), is_last=False)
    app.stream.send_data(b"half")
    pair.settle()
    app.stream.send_data(b"and half")
    app.stream.send_end()
    pair.client.take()
    pair.cut()
    pair.settle()

    assert visitor.heads == [(head(b"answer"), False)]
    assert (visitor.data, visitor.trailers) == (b"halfand half", b"")


def test_what_arrived_before_the_socket_broke_isnt_sent_again():
    pair = Pair()
    visitor, app = pair.opened()
    for number in range(5):
        app.stream.send_data(b"%d" % number)
        pair.client.take()
    pair.to_relay(3)
    pair.cut()
    pair.client.take()

    assert frames_of(pair.client.on_its_way)[:2] == [(1, Kind.DATA)] * 2
    pair.settle()
    assert visitor.data == b"01234"


def test_what_came_up_meanwhile_goes_behind_what_was_lost():
    pair = Pair()
    visitor, app = pair.opened()
    app.stream.send_data(b"lost,")
    pair.client.take()
    app.stream.send_data(b"later")
    pair.cut()
    pair.settle()

    assert visitor.data == b"lost,later"


def test_a_socket_that_breaks_while_things_are_sent_again_loses_nothing():
    pair = Pair()
    visitor, app = pair.opened()
    for number in range(6):
        app.stream.send_data(b"%d" % number)
        pair.client.take()
    pair.cut()
    pair.client.on_its_way.append(pair.client.link.take())
    pair.client.on_its_way.append(pair.client.link.take())
    pair.to_relay(1)
    pair.cut()
    pair.settle()

    assert visitor.data == b"012345"


def test_what_was_acknowledged_isnt_kept():
    pair = Pair()
    _, app = pair.opened()
    app.stream.send_data(b"x")
    pair.settle()
    pair.relay.link.ping()  # whatever is said carries an ACK
    pair.settle()
    pair.cut()

    assert frames_of([pair.client.link.take()]) == []


def test_bulk_in_one_direction_is_acknowledged_without_being_asked():
    pair = Pair()
    _, app = pair.opened()
    app.stream.send_data(bytes(100_000))
    pair.client.take()
    ready = pair.relay.ready
    pair.to_relay()
    pair.relay.take()

    assert pair.relay.ready > ready
    acks = [
        frame
        for message in pair.relay.on_its_way
        for frame in decode_frames(message)
        if frame[1] == Kind.ACK
    ]
    assert decode_number(acks[-1][3]) == pair.relay.link.seen


@pytest.mark.parametrize("seen", [-1, 0, 2, 99])
def test_a_resume_must_fit_what_was_sent_and_acknowledged(seen):
    pair = Pair()
    pair.opened()
    pair.client.link.ping()
    pair.settle()  # the first frame is acknowledged
    sink = pair.open()
    sink.stream.send_data(b"the same message")
    pair.relay.take()

    assert not pair.relay.link.can_resume(seen)
    with pytest.raises(WireError) as caught:
        pair.relay.link.resume(seen)
    assert caught.value.code == CLOSE_BAD_FRAME
    assert pair.relay.link.can_resume(1)
    assert pair.relay.link.can_resume(3)


def test_what_was_under_way_can_be_given_up_while_the_session_goes_on():
    pair = Pair()
    visitor, app = pair.opened()
    pair.open(is_last=True).stream.sink = None
    pair.relay.link.cut(ResetCode.LINK, "away too long")

    assert visitor.reset == (ResetCode.LINK, "away too long")
    pair.cut()
    pair.settle()
    assert app.reset == (ResetCode.LINK, "away too long")
    later, _ = pair.opened()
    assert not later.stream.is_over


def test_the_end_of_a_session_ends_its_streams_and_says_nothing_more():
    pair = Pair()
    visitor, _ = pair.opened()
    pair.open(is_last=True).stream.sink = None
    visitor.stream.send_data(b"x")
    pair.relay.link.end(ResetCode.LINK, "over")

    assert visitor.reset == (ResetCode.LINK, "over")
    assert visitor.stream.is_over
    assert pair.relay.take() == 0


def test_a_session_whose_numbers_are_used_up_says_so():
    pair = Pair()
    pair.relay.link._last_stream = 0xFFFFFFFE  # four thousand million requests
    assert not pair.relay.link.is_spent

    pair.open()
    assert pair.relay.link.is_spent
    assert not pair.relay.link.can_resume(0)


# Violations


def test_a_stream_that_never_was_is_a_violation():
    pair = Pair()
    pair.opened()

    for kind in (Kind.DATA, Kind.CREDIT, Kind.RESET, Kind.HEAD, Kind.UPGRADED):
        code, reason = violation(pair.relay.link, encode_frame(2, kind, bytes(8)))
        assert (code, reason) == (CLOSE_UNKNOWN_STREAM, "there is no stream 2")


@pytest.mark.parametrize("kind", [Kind.DATA, Kind.HEAD, Kind.RESET, Kind.UPGRADED])
def test_stream_0_carries_nothing_but_what_concerns_the_link(kind):
    code, _ = violation(Pair().relay.link, encode_frame(0, kind, bytes(8)))

    assert code == CLOSE_UNKNOWN_STREAM


@pytest.mark.parametrize("kind", [Kind.HEAD, Kind.CREDIT, Kind.UPGRADED, Kind.RESET])
def test_late_frames_of_a_stream_that_is_over_are_dropped(kind):
    pair = Pair()
    visitor, _ = pair.opened()
    visitor.stream.reset(ResetCode.VISITOR, "gone")

    pair.relay.link.receive(encode_frame(1, kind, bytes(8)))
    pair.relay.link.receive(encode_frame(1, Kind.DATA | FIN, b"trailers"))
    assert visitor.heads == []


def test_more_than_a_streams_window_is_a_violation():
    pair = Pair(accepts=False)
    pair.opened()
    pair.relay.link.receive(slices(WINDOW))

    code, reason = violation(pair.relay.link, encode_frame(1, Kind.DATA, b"xy"))
    assert (code, reason) == (
        CLOSE_OVERDRAWN,
        "2 bytes more than the window had room for",
    )


def test_more_than_the_links_window_is_a_violation():
    pair = Pair(accepts=False)
    count = LINK_WINDOW_BYTES // WINDOW
    for number in range(1, count + 2):
        pair.open()
        if number <= count:
            pair.relay.link.receive(slices(WINDOW, number))

    code, _ = violation(pair.relay.link, encode_frame(count + 1, Kind.DATA, b"x"))
    assert code == CLOSE_OVERDRAWN


def test_late_bytes_count_for_the_links_window_too():
    pair = Pair(accepts=False)
    count = LINK_WINDOW_BYTES // WINDOW
    for number in range(1, count + 2):
        sink = pair.open()
        if number <= count:
            pair.relay.link.receive(slices(WINDOW, number))
    sink.stream.reset(ResetCode.VISITOR, "")

    code, _ = violation(pair.relay.link, encode_frame(sink.stream.id, Kind.DATA, b"x"))
    assert code == CLOSE_OVERDRAWN


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (encode_frame(3, Kind.OPEN), "an OPEN frame for stream 3"),
        (encode_frame(1, Kind.OPEN), "an OPEN frame for stream 1"),
        (encode_frame(1, Kind.HEAD), "a HEAD frame out of turn"),
        (encode_frame(1, Kind.UPGRADED), "an UPGRADED frame from the relay"),
        (encode_frame(1, Kind.CREDIT, bytes(8)), "credit for what wasn't sent"),
        (encode_frame(0, Kind.ACK, encode_number(1)), "an ACK of what wasn't sent"),
        (encode_frame(0, Kind.HELLO, b"{}"), "a HELLO frame out of turn"),
        (encode_frame(0, Kind.WELCOME, b"{}"), "a WELCOME frame out of turn"),
        (encode_frame(0, Kind.GOAWAY, b"{}"), "a GOAWAY frame out of turn"),
        (b"\0" * 5, "a frame's header is cut short"),
    ],
)
def test_a_frame_that_the_relay_mustnt_send_is_a_violation(frame, reason):
    pair = Pair()
    pair.opened()

    assert violation(pair.client.link, frame) == (CLOSE_BAD_FRAME, reason)


def test_a_client_opens_no_streams():
    code, reason = violation(Pair().relay.link, encode_frame(1, Kind.OPEN))

    assert (code, reason) == (CLOSE_BAD_FRAME, "an OPEN frame for stream 1")


@pytest.mark.parametrize("kind", [Kind.DATA, Kind.DATA | FIN])
def test_nothing_comes_behind_the_end(kind):
    pair = Pair()
    pair.opened()
    pair.relay.link.receive(encode_frame(1, Kind.DATA | FIN))

    code, reason = violation(pair.relay.link, encode_frame(1, kind))
    assert (code, reason) == (CLOSE_BAD_FRAME, "a DATA frame after the last")


def test_no_head_comes_behind_the_end():
    pair = Pair()
    pair.opened()
    pair.relay.link.receive(encode_frame(1, Kind.DATA | FIN))

    code, reason = violation(pair.relay.link, encode_frame(1, Kind.HEAD, head()))
    assert (code, reason) == (CLOSE_BAD_FRAME, "a HEAD frame out of turn")


@pytest.mark.parametrize(
    "frame",
    [
        encode_frame(1, Kind.RESET, b"?"),
        encode_frame(1, Kind.RESET, encode_reset(99, "")),
        encode_frame(0, Kind.CREDIT, b"?"),
        encode_frame(0, Kind.ACK, b"?"),
        encode_frame(0, Kind.PING, b"?"),
        encode_frame(0, Kind.PONG, b"?"),
    ],
)
def test_a_payload_that_cant_be_read_is_a_violation(frame):
    pair = Pair()
    pair.opened()

    assert violation(pair.relay.link, frame)[0] == CLOSE_BAD_FRAME


# Whatever happens on the way

PATTERN = b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(1 << 14))
"""Half a megabyte in which no place looks like another."""

PATTERNS = PATTERN * 11


class Body:
    """What was sent on a stream in one direction, to compare with what came."""

    def __init__(self, number):
        self._start = number * 7_919 % len(PATTERN)
        self.sent = 0
        self.trailers = None
        """``None`` until the end has been sent."""

    def next(self, count):
        self.sent += count
        return self.first(self.sent)[self.sent - count :]

    def first(self, count):
        """Return the first bytes that were sent."""
        return PATTERNS[self._start : self._start + count]


class Traffic:
    """Random traffic on two links whose socket breaks at any moment."""

    def __init__(self, chance):
        self.chance = chance
        self.pair = Pair(accepts=False)
        self.ends = {"relay": self.pair.relay, "client": self.pair.client}
        self.bodies = {"relay": {}, "client": {}}
        self.heads = {}
        self.cut_off = {"relay": set(), "client": set()}

    def go_on(self):
        """Let something happen."""
        name = self.chance.choice(["relay", "client"])
        moves = {
            self.open: 2,
            self.send_bytes: 8,
            self.send_head: 4,
            self.send_end: 4,
            self.reset: 1,
            self.accept: 6,
            self.ping: 1,
            self.put_on_its_way: 12,
            self.deliver: 6,
            self.lose_the_socket: 1,
        }
        (move,) = self.chance.choices(list(moves), list(moves.values()))
        move(name)

    def usable(self, name):
        """Pick some of the streams on which an end may still send."""
        sinks = self.ends[name].sinks
        numbers = [
            number
            for number, body in self.bodies[name].items()
            if number in sinks
            and not sinks[number].stream.is_over
            and body.trailers is None
        ]
        return self.chance.sample(
            numbers, min(len(numbers), self.chance.choice([1, 9]))
        )

    def open(self, name):
        is_last = self.chance.random() < 0.5
        for _ in range(self.chance.choice([1, 1, 20])):
            number = self.pair.open(b"open", is_last=is_last).stream.id
            self.bodies["relay"][number] = Body(number)
            self.bodies["client"][number] = Body(1_000 + number)
            self.heads[number] = []
            if is_last:
                self.bodies["relay"][number].trailers = b""

    def send_bytes(self, name):
        for number in self.usable(name):
            body = self.bodies[name][number]
            count = int(10 ** self.chance.uniform(0, 5.6))
            if body.sent + count < 10 * len(PATTERN):
                self.ends[name].sinks[number].stream.send_data(body.next(count))

    def send_head(self, name):
        for number in self.usable("client"):
            payload = head(b"%d" % len(self.heads[number]))
            self.heads[number].append((payload, False))
            self.pair.client.sinks[number].stream.send_head(payload, is_last=False)

    def send_end(self, name):
        for number in self.usable(name)[:2]:
            trailers = self.chance.choice([b"", b"X: 1\r\n"])
            self.bodies[name][number].trailers = trailers
            self.ends[name].sinks[number].stream.send_end(trailers)

    def reset(self, name):
        for number in self.usable(name)[:1]:
            self.ends[name].sinks[number].stream.reset(ResetCode.VISITOR, name)
            self.cut_off[name].add(number)

    def accept(self, name):
        most = int(10 ** self.chance.uniform(3, 6))
        for sink in self.ends[name].sinks.values():
            sink.accept(most)

    def ping(self, name):
        self.ends[name].now_s += 0.01
        self.ends[name].link.ping()

    def put_on_its_way(self, name):
        end = self.ends[name]
        if message := end.link.take():
            end.on_its_way.append(message)

    def deliver(self, name):
        end = self.ends[name]
        other = self.ends["client" if name == "relay" else "relay"]
        for _ in range(min(self.chance.randint(1, 4), len(end.on_its_way))):
            other.link.receive(end.on_its_way.popleft())

    def lose_the_socket(self, name):
        self.pair.cut()

    def come_to_rest(self):
        """Let all arrive that can, and be accepted."""
        self.pair.cut()
        self.pair.settle()
        sinks = [sink for end in self.ends.values() for sink in end.sinks.values()]
        while unaccepted := [sink for sink in sinks if sink.unaccepted]:
            for sink in unaccepted:
                sink.accept()
            self.pair.settle()

    def check(self):
        """Compare what has come with what was sent."""
        for name, other in (("relay", "client"), ("client", "relay")):
            assert self.ends[name].sinks.keys() == self.heads.keys()
            for number, sink in self.ends[name].sinks.items():
                self._check(number, sink, name, other)

    def _check(self, number, sink, name, other):
        sent = self.bodies[other][number]
        assert sink.data == sent.first(len(sink.data))
        if number in self.cut_off[other] and sink.reset is not None:
            assert sink.reset == (ResetCode.VISITOR, other)
            assert sink.stream.is_over
        elif number not in self.cut_off[name] | self.cut_off[other]:
            assert sink.reset is None
            assert len(sink.data) == sent.sent
            if name == "relay" or not self.pair.client.payloads[number][1]:
                assert sink.trailers == sent.trailers
            assert sink.stream.is_over == all(
                self.bodies[each][number].trailers is not None for each in self.ends
            )
            if name == "relay":
                assert sink.heads == self.heads[number]


@settings(max_examples=30, deadline=None)
@given(st.randoms(use_true_random=True))
def test_whatever_is_lost_on_the_way_all_streams_bytes_come_once_and_in_order(chance):
    traffic = Traffic(chance)
    for _ in range(300):
        traffic.go_on()
    traffic.come_to_rest()

    traffic.check()


@settings(max_examples=5, deadline=None)
@given(st.randoms(use_true_random=True))
def test_more_than_is_kept_for_a_resume_comes_all_the_same(chance):
    traffic = Traffic(chance)
    for _ in range(3):
        traffic.open("relay")
    traffic.pair.settle()
    for number in traffic.bodies["client"]:
        stream = traffic.pair.client.sinks[number].stream
        for _ in range(8):
            stream.send_data(traffic.bodies["client"][number].next(WINDOW))
    for _ in range(200):
        traffic.put_on_its_way("client")
        traffic.chance.choice([traffic.go_on] * 9 + [traffic.pair.cut])()
    traffic.come_to_rest()

    traffic.check()
