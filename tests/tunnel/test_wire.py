"""tunnel/wire.py: the link's frames, and what isn't one."""

import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunnel.errors import WireError
from tunnel.wire import (
    CLOSE_BAD_FRAME,
    FIN,
    HEADER_BYTES,
    MAX_OPEN_BYTES,
    MAX_PAYLOAD_BYTES,
    NUMBERED,
    Kind,
    ResetCode,
    decode_frames,
    decode_head,
    decode_json,
    decode_number,
    decode_open,
    decode_ping,
    decode_reset,
    encode_frame,
    encode_head,
    encode_header,
    encode_json,
    encode_number,
    encode_open,
    encode_ping,
    encode_reset,
)

few = settings(max_examples=80, deadline=None)

u8 = st.integers(0, 2**8 - 1)
u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
kinds = st.sampled_from(Kind)
payloads = st.binary(max_size=60)
frames = st.tuples(u32, kinds, st.booleans(), payloads)
decoders = st.sampled_from(
    [
        lambda payload: list(decode_frames(payload)),
        decode_open,
        decode_head,
        decode_reset,
        decode_number,
        decode_ping,
        decode_json,
    ]
)


def encode(stream, kind, is_last, payload):
    return encode_frame(stream, kind | FIN if is_last else kind, payload)


def refusal(decode, payload):
    """Return why a payload is refused; the link must end with a code that says so."""
    with pytest.raises(WireError) as caught:
        decode(payload)
    assert caught.value.code == CLOSE_BAD_FRAME
    return caught.value.reason


# Frames


@few
@given(st.lists(frames, max_size=5))
def test_frames_come_out_of_a_message_as_they_went_in(given_frames):
    message = b"".join(encode(*frame) for frame in given_frames)

    assert list(decode_frames(message)) == given_frames


def test_a_frames_bytes_are_the_ones_that_are_documented():
    frame = encode_frame(258, Kind.DATA | FIN, b"xyz")

    assert frame == bytes([0, 0, 1, 2, 0, 0, 0, 3, 0x85]) + b"xyz"


def test_a_header_alone_begins_a_frame():
    header = encode_header(7, 3, Kind.DATA)

    assert len(header) == HEADER_BYTES
    assert header + b"xyz" == encode_frame(7, Kind.DATA, b"xyz")


@few
@given(st.lists(frames, min_size=1, max_size=3), st.data())
def test_a_message_that_is_cut_short_yields_the_whole_frames_and_is_refused(
    given_frames, data
):
    *whole, last = given_frames
    end = encode(*last)
    cut = data.draw(st.integers(1, len(end) - 1))
    message = b"".join(encode(*frame) for frame in whole) + end[:cut]
    found = []

    reason = refusal(lambda m: found.extend(decode_frames(m)), message)

    assert "cut short" in reason
    assert found == whole


@pytest.mark.parametrize("kind", [0, 13, 14, 127])
def test_a_frame_of_an_unknown_kind_is_refused(kind):
    reason = refusal(lambda m: list(decode_frames(m)), encode_frame(1, kind))

    assert reason == f"no frame is of kind {kind}"


@pytest.mark.parametrize("kind", Kind)
def test_each_kind_has_its_greatest_size(kind):
    most = MAX_OPEN_BYTES if kind in (Kind.OPEN, Kind.HEAD) else MAX_PAYLOAD_BYTES

    assert len(next(decode_frames(encode_frame(1, kind, bytes(most))))[3]) == most
    reason = refusal(
        lambda m: list(decode_frames(m)), encode_frame(1, kind, bytes(most + 1))
    )
    assert reason == f"a frame of {most + 1} bytes is too large"


def test_the_size_is_refused_before_the_bytes_have_come():
    reason = refusal(
        lambda m: list(decode_frames(m)), encode_header(1, 2**32 - 1, Kind.DATA)
    )

    assert "too large" in reason


def test_what_a_resume_sends_again_is_what_concerns_streams():
    assert {Kind.HELLO, Kind.WELCOME, Kind.GOAWAY}.isdisjoint(NUMBERED)
    assert {Kind.PING, Kind.PONG, Kind.ACK}.isdisjoint(NUMBERED)
    assert len(NUMBERED) == len(Kind) - 6


@few
@given(decoders, st.binary(max_size=80))
def test_hostile_bytes_raise_a_wire_error_and_nothing_else(decode, payload):
    with suppress(WireError):
        decode(payload)


# Payloads


@few
@given(payloads, payloads, st.binary(max_size=255), u8, u64)
def test_open_says_where_a_request_came_from_and_what_it_is(
    head, body, peer, flags, received_ms
):
    payload = encode_open(head, body, peer=peer, flags=flags, received_ms=received_ms)

    assert decode_open(payload) == (head, body, peer, flags, received_ms)


@pytest.mark.parametrize("count", [0, 13, 14, 16, 21])
def test_an_open_whose_parts_are_cut_short_is_refused(count):
    payload = encode_open(b"head", b"", peer=b"peer", flags=0, received_ms=1)[:count]

    assert refusal(decode_open, payload) == "an OPEN frame is cut short"


@few
@given(payloads, payloads)
def test_head_carries_a_head_and_the_first_body_bytes(head, body):
    assert decode_head(encode_head(head, body)) == (head, body)


@pytest.mark.parametrize("count", [0, 3, 4, 7])
def test_a_head_that_is_cut_short_is_refused(count):
    payload = encode_head(b"head", b"")[:count]

    assert refusal(decode_head, payload) == "a HEAD frame is cut short"


@few
@given(st.sampled_from(ResetCode), st.text(max_size=100))
def test_reset_says_which_end_failed_and_how(code, text):
    assert decode_reset(encode_reset(code, text)) == (code, text)


def test_the_text_of_a_reset_is_bounded_when_it_goes_and_when_it_comes():
    payload = encode_reset(ResetCode.LINK, "x" * 501)

    assert decode_reset(payload) == (ResetCode.LINK, "x" * 500)
    assert decode_reset(payload + b"y") == (ResetCode.LINK, "x" * 500)


def test_a_character_that_the_bound_cuts_through_is_replaced():
    payload = encode_reset(ResetCode.LINK, "x" * 499 + "é")

    assert decode_reset(payload)[1] == "x" * 499 + "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "a RESET frame is cut short"),
        (b"\0", "a RESET frame is cut short"),
        (b"\0\0", "0 is not a valid ResetCode"),
        (b"\xff\xff?", "65535 is not a valid ResetCode"),
    ],
)
def test_a_reset_without_a_known_code_is_refused(payload, reason):
    assert refusal(decode_reset, payload) == reason


@few
@given(u64)
def test_credit_and_ack_carry_a_number(number):
    assert decode_number(encode_number(number)) == number


@pytest.mark.parametrize("count", [0, 7, 9])
def test_a_number_of_another_length_is_refused(count):
    assert refusal(decode_number, bytes(count)) == "a number has 8 bytes"


@few
@given(u64, u32)
def test_ping_carries_a_time_and_a_round_trip(sent_us, round_trip_us):
    assert decode_ping(encode_ping(sent_us, round_trip_us)) == (sent_us, round_trip_us)


def test_a_round_trip_of_more_than_an_hour_is_told_as_the_longest_there_is():
    assert decode_ping(encode_ping(1, 2**40)) == (1, 2**32 - 1)


@pytest.mark.parametrize("count", [0, 11, 13])
def test_a_ping_of_another_length_is_refused(count):
    assert refusal(decode_ping, bytes(count)) == "a PING or PONG has 12 bytes"


@few
@given(
    st.dictionaries(
        st.text(max_size=5), st.none() | st.booleans() | u64 | st.text(max_size=9)
    )
)
def test_json_comes_back_as_it_was(value):
    assert decode_json(encode_json(value)) == value


def test_json_takes_no_more_room_than_it_needs():
    assert encode_json({"a": [1, 2]}) == b'{"a":[1,2]}'


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"\xff",
        b"[" * 10_000 + b"]" * 10_000,
        b'{"a":' + b"9" * 5_000 + b"}",
    ],
    ids=["nothing", "unfinished", "not UTF-8", "deep", "a number beyond reason"],
)
def test_what_isnt_json_is_refused(payload):
    assert refusal(decode_json, payload) == "a payload isn't JSON"


@pytest.mark.parametrize("value", [[], "x", 1, None, True])
def test_json_that_isnt_an_object_is_refused(value):
    payload = json.dumps(value).encode()

    assert refusal(decode_json, payload) == "a payload isn't a JSON object"
