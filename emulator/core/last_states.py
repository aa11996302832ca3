"""What became of the messages of a schedule's last firing (SCH-27).

A value like all others: it never changes, and a change makes another one. A firing for
a URL group makes a message for each endpoint, and each is remembered by itself when it
is final, so that must not cost as much as there are: the states stand in chunks, and a
change copies one of them, and which chunks there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import isqrt

from emulator.core.model import State

__all__ = ["LastStates"]


class LastStates:
    """Message ids, in order, and their final states; ``None``: it isn't final yet."""

    __slots__ = ("_chunks", "_places", "_width")

    def __init__(self, pairs: Iterable[tuple[str, State | None]] = ()) -> None:
        states = dict(pairs)
        self._places = {message_id: place for place, message_id in enumerate(states)}
        self._width = isqrt(len(states)) + 1
        values = tuple(states.values())
        self._chunks = tuple(
            values[start : start + self._width]
            for start in range(0, len(values), self._width)
        )

    def __iter__(self) -> Iterator[tuple[str, State | None]]:
        states = (state for chunk in self._chunks for state in chunk)
        return zip(self._places, states, strict=True)

    def __len__(self) -> int:
        return len(self._places)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LastStates) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"LastStates({tuple(self)!r})"

    def is_open(self, message_id: str) -> bool:
        """Whether a message is among them, and isn't final yet."""
        place = self._places.get(message_id)
        if place is None:
            return False
        return self._chunks[place // self._width][place % self._width] is None

    def with_final(self, message_id: str, state: State) -> LastStates:
        """Return the same with a message's final state. Raises ``KeyError``."""
        number, place = divmod(self._places[message_id], self._width)
        chunk = self._chunks[number]
        chunk = (*chunk[:place], state, *chunk[place + 1 :])
        changed = LastStates.__new__(LastStates)
        changed._places, changed._width = self._places, self._width
        changed._chunks = (*self._chunks[:number], chunk, *self._chunks[number + 1 :])
        return changed
