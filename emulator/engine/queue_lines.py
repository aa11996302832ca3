"""The lines of the queues: who waits, and who is in work.

A message is in work from its first delivery until it is final, its retry waits
included (QUE-12); with parallelism 1 until its callbacks are final, too (QUE-13).

A data structure: it says who may go on to be delivered, and starts nothing. How a
queue is configured is looked up each time, so a change holds at once (QUE-16).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from emulator.core.model import Message, Queue

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
    held: list[Message] = field(default_factory=list)
    """In work, and stopped before a delivery because the queue is paused."""
    in_work: set[str] = field(default_factory=set)


class QueueLines:
    """The messages of every queue, in the order in which they joined (QUE-11)."""

    def __init__(
        self,
        *,
        queue: Callable[[str], Queue | None],
        is_waiting: Callable[[str], bool],
        let_through: Callable[[Message], None],
    ) -> None:
        self._queue = queue
        self._is_waiting = is_waiting
        self._let_through = let_through
        self._lines: dict[str, _Line] = {}
        self._places: dict[str, _Place] = {}

    def arrive(self, message: Message, queue_name: str) -> None:
        """Take in a message that fell due: at the end, or back to its own place."""
        line = self._lines.setdefault(queue_name, _Line())
        if message.message_id in self._places:
            line.held.append(message)
        else:
            line.waiting.append(message)
        self.move_on(queue_name)

    def stop(self, message: Message, queue_name: str) -> bool:
        """Hold a message in work that is about to start, if its queue is paused."""
        queue = self._queue(queue_name)
        if queue is None or not queue.is_paused:
            return False
        self._lines[queue_name].held.append(message)
        return True

    def note_callback(self, source_id: str) -> None:
        """Note a new callback message of a message that may be in work."""
        place = self._places.get(source_id)
        if place is not None:
            place.callbacks += 1

    def note_final(self, message: Message) -> None:
        """Note that a message is final: its place, or its source's, may be free."""
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
        """Let through whoever may go on now, in order."""
        line = self._lines.get(queue_name)
        if line is None:
            return
        queue = self._queue(queue_name)
        if queue is not None and queue.is_paused:
            return
        parallelism = 1 if queue is None else queue.parallelism
        if parallelism > 1:
            # Whoever waits for callbacks only no longer has to (QUE-14, QUE-16).
            for message_id in tuple(line.in_work):
                if self._places[message_id].is_final:
                    self._give_back(message_id, line)
        held, line.held = line.held, []
        for message in held:
            self._let_through(message)
        while line.waiting and len(line.in_work) < parallelism:
            message = line.waiting.popleft()
            # One that was cancelled in the meantime leaves no gap (QUE-18).
            if self._is_waiting(message.message_id):
                line.in_work.add(message.message_id)
                self._places[message.message_id] = _Place(queue_name)
                self._let_through(message)

    def clear(self) -> None:
        """Forget everybody."""
        self._lines.clear()
        self._places.clear()

    def _release(self, message_id: str, place: _Place) -> None:
        queue = self._queue(place.queue_name)
        waits_for_callbacks = queue is None or queue.parallelism == 1
        if place.is_final and not (waits_for_callbacks and place.callbacks > 0):
            self._give_back(message_id, self._lines[place.queue_name])
            self.move_on(place.queue_name)

    def _give_back(self, message_id: str, line: _Line) -> None:
        line.in_work.discard(message_id)
        del self._places[message_id]
