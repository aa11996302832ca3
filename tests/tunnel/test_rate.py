"""tunnel/rate.py: the token bucket."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.rate import TokenBucket


def test_a_burst_passes_and_the_next_waits_for_one_token():
    bucket = TokenBucket(rate=10, burst=3)

    assert [bucket.take(0) for _ in range(3)] == [0, 0, 0]
    assert bucket.take(0) == pytest.approx(0.1)


def test_who_is_told_to_wait_has_taken_nothing():
    bucket = TokenBucket(rate=1, burst=1)
    bucket.take(100)

    assert [bucket.take(100.5) for _ in range(5)] == [0.5] * 5
    assert bucket.take(101) == 0


def test_a_bucket_is_never_fuller_than_its_burst():
    bucket = TokenBucket(rate=10, burst=2)
    bucket.take(0)

    assert [bucket.take(1e6) for _ in range(2)] == [0, 0]
    assert bucket.take(1e6) > 0


@pytest.mark.parametrize(
    ("rate", "burst"), [(0, 1), (-1, 1), (1, 0), (float("nan"), 1), (1, float("nan"))]
)
def test_a_bucket_that_nothing_passes_is_refused(rate, burst):
    with pytest.raises(ValueError, match="above 0"):
        TokenBucket(rate=rate, burst=burst)


@given(
    rate=st.integers(1, 1000),
    burst=st.integers(1, 100),
    steps_s=st.lists(st.floats(0, 2), max_size=60),
)
def test_no_more_pass_than_burst_and_rate_allow(rate, burst, steps_s):
    bucket = TokenBucket(rate=rate, burst=burst)
    now_s = 1000.0
    passed = 0
    for step_s in steps_s:
        now_s += step_s
        wait_s = bucket.take(now_s)
        if wait_s:
            assert 0 < wait_s <= 1 / rate + 1e-6
            now_s += wait_s
            assert bucket.take(now_s) == 0
        passed += 1

    assert passed <= burst + rate * (now_s - 1000) + 1e-6
