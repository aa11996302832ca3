"""The answers to too many calls, as the SDKs tell them apart (ERR-8 to ERR-11).

By their headers alone: which names are there decides which error an SDK raises, so a
burst must not carry ``RateLimit-Limit`` (ERR-9).
"""

from __future__ import annotations

from emulator.errors import LimitExceeded

__all__ = ["BURST_LIMIT", "burst", "chat", "daily"]

BURST_LIMIT = 100
"""Calls per second, in a sample account (ERR-12)."""

_CHAT_REQUESTS = 100
_CHAT_TOKENS = 100_000
_DAY_S = 86_400


def daily(limit: int, now_ms: int) -> LimitExceeded:
    """Return the error for too many messages on one day; it ends at 00:00 UTC."""
    midnight_s = (now_ms // 1000 // _DAY_S + 1) * _DAY_S
    return LimitExceeded(
        f"quota maxRequestsPerDay exceeded, current limit: {limit}",
        {
            "RateLimit-Limit": str(limit),
            "RateLimit-Remaining": "0",
            "RateLimit-Reset": str(midnight_s),
        },
    )


def burst(now_ms: int) -> LimitExceeded:
    """Return the error for too many calls within one second."""
    return LimitExceeded(
        f"rate limit exceeded, current limit: {BURST_LIMIT} requests per second",
        {
            "Burst-RateLimit-Limit": str(BURST_LIMIT),
            "Burst-RateLimit-Remaining": "0",
            "Burst-RateLimit-Reset": str(now_ms // 1000 + 1),
        },
    )


def chat(now_ms: int) -> LimitExceeded:
    """Return the error for too many chat completions (ERR-10)."""
    reset_s = str(now_ms // 1000 + 60)
    return LimitExceeded(
        "chat rate limit exceeded",
        {
            "x-ratelimit-limit-requests": str(_CHAT_REQUESTS),
            "x-ratelimit-limit-tokens": str(_CHAT_TOKENS),
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-remaining-tokens": "0",
            "x-ratelimit-reset-requests": reset_s,
            "x-ratelimit-reset-tokens": reset_s,
        },
    )
