"""A switch that makes the API answer as if there had been too many calls (ERR-12).

Off unless somebody turns it, so that clients can be tested against the three kinds
of 429 that the SDKs know. What the answers look like stands in
``core/rate_limit.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

from emulator.core import rate_limit
from emulator.errors import InvalidParameter

__all__ = ["KINDS", "RateLimitSwitch"]

KINDS = ("off", "daily", "burst", "chat")

_DAILY_LIMIT = 1000

_PUBLISHING = ("/v2/publish/", "/v2/enqueue/", "/v2/batch")
_CHAT = "/llm/"


@dataclass(slots=True)
class RateLimitSwitch:
    """Which limit is exceeded, as far as callers can tell."""

    kind: str = "off"

    def turn(self, kind: str) -> None:
        """Choose one of ``KINDS``."""
        if kind not in KINDS:
            raise InvalidParameter("kind", kind, f"must be one of {', '.join(KINDS)}")
        self.kind = kind

    def check(self, target: str, now_ms: int) -> None:
        """Raise ``LimitExceeded`` if the limit concerns a request's target.

        The daily one concerns messages, the burst one everything else, and the chat
        one chat completions.
        """
        if self.kind == "off":
            return
        path = target.lower()
        if self.kind == "daily" and path.startswith(_PUBLISHING):
            raise rate_limit.daily(_DAILY_LIMIT, now_ms)
        if self.kind == "burst" and not path.startswith((*_PUBLISHING, _CHAT)):
            raise rate_limit.burst(now_ms)
        if self.kind == "chat" and path.startswith(_CHAT):
            raise rate_limit.chat(now_ms)
