"""The gate: which due message may start its delivery now.

Due messages line up in the order in which they fell due and are let through as long
as the account's parallelism allows (LIM-8). The gate counts and orders; it starts
nothing, and it doesn't know whether a message in line still wants to start: whoever
takes one finds out, and gives the slot back if not.
"""

from __future__ import annotations

from collections import deque

__all__ = ["Gate"]


class Gate:
    """A line of due messages, and the slots that they hold while under way."""

    def __init__(self, parallelism: int) -> None:
        self._parallelism = parallelism
        self._active = 0
        self._line: deque[str] = deque()

    def arrive(self, message_id: str) -> None:
        """Join the line."""
        self._line.append(message_id)

    def take(self) -> str | None:
        """Let the next one through, into a slot that it holds until ``leave``."""
        if not self._line or self._active >= self._parallelism:
            return None
        self._active += 1
        return self._line.popleft()

    def leave(self) -> None:
        """Give a slot back."""
        self._active -= 1
