"""The answers to too many calls (ERR-8 to ERR-11)."""

from hypothesis import given
from hypothesis import strategies as st

from emulator.core.rate_limit import BURST_LIMIT, burst, chat, daily

T0 = 1_700_000_000_000  # 2023-11-14 22:13:20 UTC
MIDNIGHT_S = 1_700_006_400


def test_the_daily_limit_ends_at_the_next_midnight_utc():
    """ERR-8, ERR-11."""
    error = daily(1000, T0)

    assert error.status == 429
    assert error.headers == {
        "RateLimit-Limit": "1000",
        "RateLimit-Remaining": "0",
        "RateLimit-Reset": str(MIDNIGHT_S),
    }


def test_the_daily_limit_is_named_like_a_quota():
    """ERR-5."""
    text = "quota maxRequestsPerDay exceeded, current limit: 1000"

    assert str(daily(1000, T0)) == text


def test_at_midnight_a_whole_day_begins():
    """ERR-11."""
    at_midnight = daily(1, MIDNIGHT_S * 1000)

    assert at_midnight.headers["RateLimit-Reset"] == str(MIDNIGHT_S + 86_400)


def test_a_burst_carries_no_header_of_the_daily_limit():
    """ERR-9: its mere presence turns the error into the daily one."""
    error = burst(T0)

    assert error.headers == {
        "Burst-RateLimit-Limit": str(BURST_LIMIT),
        "Burst-RateLimit-Remaining": "0",
        "Burst-RateLimit-Reset": str(T0 // 1000 + 1),
    }
    assert str(error) == "rate limit exceeded, current limit: 100 requests per second"


def test_the_chat_limit_counts_requests_and_tokens():
    """ERR-10."""
    headers = chat(T0).headers

    assert set(headers) == {
        f"x-ratelimit-{what}-{unit}"
        for what in ("limit", "remaining", "reset")
        for unit in ("requests", "tokens")
    }
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert headers["x-ratelimit-reset-requests"] == str(T0 // 1000 + 60)


@given(st.integers(0, 2**53))
def test_every_reset_lies_ahead(now_ms):
    """ERR-11."""
    resets_s = [
        int(daily(1, now_ms).headers["RateLimit-Reset"]),
        int(burst(now_ms).headers["Burst-RateLimit-Reset"]),
        int(chat(now_ms).headers["x-ratelimit-reset-tokens"]),
    ]

    assert all(reset_s * 1000 > now_ms for reset_s in resets_s)
