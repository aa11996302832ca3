"""How often: a bucket that fills steadily and from which each request takes a token.

Pure: the caller says what time it is, waits or refuses.
"""

from __future__ import annotations

__all__ = ["TokenBucket"]


class TokenBucket:
    """Lets ``burst`` requests pass at once and ``rate`` per second in the long run.

    Kept as one number, the time at which the bucket is full again, so that it costs
    the same however long nobody asked, and nothing has to be filled up.
    """

    __slots__ = ("_depth_s", "_full_at_s", "_step_s")

    def __init__(self, rate: float, burst: float) -> None:
        """``rate`` above 0, in tokens per second; ``burst`` at least 1."""
        if not rate > 0 or not burst >= 1:
            raise ValueError("rate must be above 0 and burst at least 1")
        self._step_s = 1 / rate
        self._depth_s = (burst - 1) / rate
        self._full_at_s = float("-inf")

    def take(self, now_s: float) -> float:
        """Take a token and return 0, or take none and return the seconds until one is.

        ``now_s`` is of any clock that doesn't go back.
        """
        full_at_s = self._full_at_s
        if full_at_s < now_s:
            full_at_s = now_s
        wait_s = full_at_s - now_s - self._depth_s
        # Sums of floats: a nanosecond is no reason to wait.
        if wait_s > 1e-9:
            return wait_s
        self._full_at_s = full_at_s + self._step_s
        return 0.0
