"""What a bound has pushed out: counted, and said once.

Which entries go is decided where they are kept (``log.py``, ``store.py``).
"""

from __future__ import annotations

import logging

__all__ = ["Dropped"]

logger = logging.getLogger(__name__)


class Dropped:
    """Counts what one bound has pushed out; ``sentence`` tells it the first time."""

    def __init__(self, sentence: str) -> None:
        self._sentence = sentence
        self.count = 0
        """How many there were so far."""

    def note(self, count: int) -> None:
        """Count so many more."""
        if count and not self.count:
            logger.warning("%s", self._sentence)
        self.count += count
