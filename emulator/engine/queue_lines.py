"""The lines of the queues: who waits, and who is in work.

A message is in work from its first delivery until it is final, its retry waits
included (QUE-12); with parallelism 1 until its callbacks are final, too (QUE-13).
Until that delivery starts it only *stands* in a line of the gate, and can be taken
back: when its queue is paused (QUE-17), or takes fewer at once (QUE-16).

A data structure: it says who may go on to be delivered, and starts nothing. How a
queue is configured is looked up each time, so a change holds at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from emulator.core.model import Message
from emulator.core.resources import Queue

__all__ = ["QueueLines"]


@dataclass(slots=True)
class _Place:
    """Held by a message that is in work."""

    queue_name: str
    is_final: bool = False
    callbacks: int = 0
    """Its callback messages that aren't final yet."""


@dataclass(slots=True)
class _Line:
    waiting: deque[Message] = field(default_factory=deque)
    """Not in work, and not standing at the gate."""
    returning: deque[Message] = field(default_factory=deque)
    """In work, due for a retry, and not standing at the gate."""
    standing: dict[str, tuple[int, Message]] = field(default_factory=dict)
    """At the gate, in order, each with the number that the gate gave it."""
    in_work: dict[str, None] = field(default_factory=dict)
    """In the order in which they started."""


class QueueLines:
    """The messages of every queue, in the order in which they joined (QUE-11).

    ``stand`` lets a message stand at the gate, and returns its number there.
    """

    def __init__(
        self,
        *,
        queue: Callable[[str], Queue | None],
        is_waiting: Callable[[str], bool],
        stand: Callable[[Message], int],
    ) -> None:
        self._queue = queue
        self._is_waiting = is_waiting
        self._stand = stand
        self._lines: dict[str, _Line] = {}
        self._places: dict[str, _Place] = {}

    def arrive(self, message: Message, queue_name: str) -> None:
        """Take in a message that fell due: at the end, or back to its own place."""
        line = self._lines.setdefault(queue_name, _Line())
        if message.message_id in self._places:
            line.returning.append(message)
        else:
            line.waiting.append(message)
        self.move_on(queue_name)

    def restore(self, message: Message, queue_name: str, *, is_final: bool) -> None:
        """Put in work who was so before: not final, or with callbacks that aren't."""
        line = self._lines.setdefault(queue_name, _Line())
        line.in_work[message.message_id] = None
        self._places[message.message_id] = _Place(queue_name, is_final=is_final)

    def is_standing(self, message: Message, queue_name: str, number: int) -> bool:
        """Whether a message still stands at the gate under a number."""
        line = self._lines.get(queue_name)
        standing = None if line is None else line.standing.get(message.message_id)
        return standing is not None and standing[0] == number

    def start(self, message: Message, queue_name: str) -> None:
        """Note that a standing message starts: it is in work now."""
        line = self._lines[queue_name]
        del line.standing[message.message_id]
        if message.message_id not in self._places:
            line.in_work[message.message_id] = None
            self._places[message.message_id] = _Place(queue_name)

    def note_callback(self, source_id: str) -> None:
        """Note a new callback message of a message that may be in work."""
        place = self._places.get(source_id)
        if place is not None:
            place.callbacks += 1

    def note_final(self, message: Message) -> None:
        """Note that a message is final: its place, or its source's, may be free."""
        if message.queue_name is not None:
            line = self._lines.get(message.queue_name)
            if line is not None and message.message_id in line.standing:
                del line.standing[message.message_id]
                self.move_on(message.queue_name)
        place = self._places.get(message.message_id)
        if place is not None:
            place.is_final = True
            self._release(message.message_id, place)
        source_id = message.callback_of
        source_place = None if source_id is None else self._places.get(source_id)
        if source_id is not None and source_place is not None:
            source_place.callbacks -= 1
            self._release(source_id, source_place)

    def move_on(self, queue_name: str) -> None:
        """Let those stand at the gate who may start now, in order, and no others."""
        line = self._lines.get(queue_name)
        if line is None:
            return
        queue = self._queue(queue_name)
        parallelism = 1 if queue is None else queue.parallelism
        if queue is not None and queue.is_paused:
            self._take_back(line, room=0, keeps_returning=False)
            return
        if parallelism > 1:
            # Whoever waits for callbacks only no longer has to (QUE-14, QUE-16).
            for message_id in tuple(line.in_work):
                if self._places[message_id].is_final:
                    self._give_back(message_id, line)
        room = max(0, parallelism - len(line.in_work))
        self._take_back(line, room=room, keeps_returning=True)
        while line.returning:
            message = line.returning.popleft()
            if self._is_waiting(message.message_id):
                self._let_stand(message, line)
        room -= sum(id not in self._places for id in line.standing)
        while line.waiting and room > 0:
            message = line.waiting.popleft()
            # One that was cancelled in the meantime leaves no gap (QUE-18).
            if self._is_waiting(message.message_id):
                self._let_stand(message, line)
                room -= 1

    def ahead_of(self, message: Message, queue_name: str) -> list[str]:
        """Return whom a waiting message waits for, in order; empty: it doesn't wait."""
        line = self._lines.get(queue_name)
        if line is None:
            return []
        ahead = [*line.in_work, *(id for id in line.standing if id not in line.in_work)]
        for other in line.waiting:
            if other.message_id == message.message_id:
                return ahead
            if self._is_waiting(other.message_id):
                ahead.append(other.message_id)
        return []

    def clear(self) -> None:
        """Forget everybody."""
        self._lines.clear()
        self._places.clear()

    def _let_stand(self, message: Message, line: _Line) -> None:
        line.standing[message.message_id] = (self._stand(message), message)

    def _take_back(self, line: _Line, *, room: int, keeps_returning: bool) -> None:
        """Take back from the gate, last first, all new ones beyond the room."""
        new = [id for id in line.standing if id not in self._places]
        for message_id in reversed(new[room:]):
            line.waiting.appendleft(line.standing.pop(message_id)[1])
        if not keeps_returning:
            for message_id in reversed(tuple(line.standing)):
                line.returning.appendleft(line.standing.pop(message_id)[1])

    def _release(self, message_id: str, place: _Place) -> None:
        queue = self._queue(place.queue_name)
        waits_for_callbacks = queue is None or queue.parallelism == 1
        if place.is_final and not (waits_for_callbacks and place.callbacks > 0):
            self._give_back(message_id, self._lines[place.queue_name])
            self.move_on(place.queue_name)

    def _give_back(self, message_id: str, line: _Line) -> None:
        line.in_work.pop(message_id, None)
        del self._places[message_id]
