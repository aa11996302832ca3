"""emulator/core/ids.py: the texts that name things."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.core import ids

few = settings(max_examples=50, deadline=None)

BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

KINDS = [
    (ids.message_id, ids.MESSAGE_ID_BYTES, "msg_", 36),
    (ids.schedule_id, ids.SCHEDULE_ID_BYTES, "scd_", 28),
    (ids.signing_key, ids.SIGNING_KEY_BYTES, "sig_", 28),
    (ids.jwt_id, ids.JWT_ID_BYTES, "jwt_", 28),
]


@pytest.mark.parametrize(("make", "count", "prefix", "length"), KINDS)
@few
@given(data=st.data())
def test_an_id_is_its_prefix_and_base58_characters(make, count, prefix, length, data):
    """FMT-1, FMT-2."""
    random = data.draw(st.binary(min_size=count, max_size=count))

    assert re.fullmatch(f"{prefix}[{BASE58}]{{{length}}}", make(random))


@pytest.mark.parametrize(("make", "count", "prefix", "length"), KINDS)
def test_too_few_or_too_many_random_bytes_make_no_id(make, count, prefix, length):
    with pytest.raises(ValueError, match=f"{count} random bytes are needed, not 3"):
        make(b"abc")

    with pytest.raises(ValueError, match=f"not {count + 1}"):
        make(bytes(count + 1))


def test_every_byte_of_chance_decides_a_character_of_its_own():
    one = ids.message_id(bytes(36))

    others = {
        ids.message_id(bytes(position) + b"\x01" + bytes(35 - position))
        for position in range(36)
    }

    assert len(others - {one}) == 36


def test_each_character_is_nearly_as_likely_as_the_others():
    characters = "".join(
        ids.message_id(bytes(range(start, start + 32)) + bytes(4))[4:36]
        for start in range(0, 256, 32)
    )

    assert {characters.count(each) for each in BASE58} == {4, 5}


def test_a_stamp_is_its_milliseconds_and_its_number():
    """FMT-1, DLQ-1."""
    assert ids.stamp(1_700_000_000_123, 0) == "1700000000123-0"


@few
@given(st.integers(0, 10**16 - 1), st.integers(0, 10**16 - 1))
def test_a_stamp_reads_back_as_what_it_was_made_of(ms, sequence):
    assert ids.parse_stamp(ids.stamp(ms, sequence)) == (ms, sequence)


@few
@given(st.text("0123456789-", max_size=12) | st.text(max_size=40))
def test_what_reads_as_a_stamp_is_written_that_way(text):
    parsed = ids.parse_stamp(text)

    assert parsed is None or ids.stamp(*parsed) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "1",
        "1-",
        "-1",
        "1-2-3",
        "1--2",
        "+1-2",
        "1 -2",
        "01-2",
        "1-2\n",
        "1.0-2",
        "1_0-2",
        "\N{FULLWIDTH DIGIT ONE}-2",
        "1-" + "9" * 17,
        "9" * 100_000 + "-1",
    ],
)
def test_other_texts_are_no_stamps(text):
    assert ids.parse_stamp(text) is None
