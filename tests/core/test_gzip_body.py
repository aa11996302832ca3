"""Gzip-encoded response bodies (DLV-7, CBK-23)."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.core.gzip_body import GzipBody


def decoded(chunks, limit_bytes=1_000_000):
    body = GzipBody(limit_bytes)
    for chunk in chunks:
        body.feed(chunk)
    return body.finish()


@given(st.binary(max_size=2_000), st.integers(1, 50))
def test_whatever_was_encoded_comes_out_however_it_is_cut(data, size):
    encoded = gzip.compress(data)

    chunks = [encoded[at : at + size] for at in range(0, len(encoded), size)]

    assert decoded(chunks) == data


def test_members_that_follow_each_other_are_one_body():
    assert decoded([gzip.compress(b"one ") + gzip.compress(b"two")]) == b"one two"


def test_no_bytes_are_an_empty_body():
    assert decoded([]) == b""


def test_the_plan_cuts_the_decoded_body():
    assert decoded([gzip.compress(b"x" * 100_000)], limit_bytes=10) == b"x" * 10


def test_what_lies_beyond_the_cut_is_not_looked_at():
    body = GzipBody(10)
    body.feed(gzip.compress(b"x" * 100_000)[:-20])

    body.feed(b"no gzip at all")

    assert body.finish() == b"x" * 10


def test_a_body_that_grows_without_bound_costs_no_more_than_the_plan():
    bomb = gzip.compress(bytes(50_000_000))

    assert len(decoded([bomb], limit_bytes=1_000)) == 1_000


def test_a_body_whose_end_is_missing_is_refused():
    """DLV-16."""
    with pytest.raises(ValueError, match="cut off"):
        decoded([gzip.compress(b"hello")[:-1]])


@pytest.mark.parametrize("data", [b"plain text", zlib.compress(b"deflate")])
def test_what_is_not_gzip_is_refused(data):
    """DLV-16."""
    with pytest.raises(ValueError, match="not gzip"):
        decoded([data])


@given(st.binary(max_size=200))
def test_any_bytes_are_a_body_or_a_value_error(data):
    try:
        body = decoded([data], limit_bytes=1_000)
    except ValueError:
        body = b""

    assert len(body) <= 1_000
