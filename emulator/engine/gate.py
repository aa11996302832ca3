"""The gate: which due message may start its delivery now.

A message that falls due passes, in this order, the line of its queue
(``queue_lines.py``), the limits of its flow-control key (``core/flow.py``), and the
account's parallelism (LIM-8). Whoever has passed its queue stands in one of the
lines here: one for each flow-control key, and one for all without. Of the lines that
are open, the one whose first message came first goes first (FLC-8, FLC-12).

The gate counts and orders; it starts nothing, and nothing polls: a line that a limit
has closed opens at a known instant, or when something about it changes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush

from emulator.core.flow import NO_USAGE, Admitted, FlowUsage, admit, count_start
from emulator.core.model import Message, Progress, State
from emulator.core.resources import FlowKey, Queue
from emulator.engine.queue_lines import QueueLines

__all__ = ["Gate"]


@dataclass(slots=True)
class _Line:
    """Messages in the order of arrival, each with its number."""

    messages: deque[tuple[int, Message]] = field(default_factory=deque)
    usage: FlowUsage = NO_USAGE
    opens_ms: int | None = None
    """When the closed line opens by itself."""


class Gate:
    """Where due messages wait for their start.

    ``queue`` and ``flow_key`` look up configuration; ``is_waiting`` says whether a
    message still wants to start. ``note_period`` hears of the starts in the period of
    a flow-control key, and when it began.
    """

    def __init__(
        self,
        *,
        parallelism: int,
        queue: Callable[[str], Queue | None],
        flow_key: Callable[[str], FlowKey | None],
        is_waiting: Callable[[str], bool],
        note_period: Callable[[str, int, int], None] | None = None,
    ) -> None:
        self._parallelism = parallelism
        self._note_period = note_period
        self._queue = queue
        self._flow_key = flow_key
        self._is_waiting = is_waiting
        self._queues = QueueLines(
            queue=queue, is_waiting=is_waiting, stand=self._line_up
        )
        self._active = 0
        self._arrivals = 0
        self._free = _Line()
        self._lines: dict[str, _Line] = {}
        # Lines by the number of their first message, and closed ones by the instant
        # at which they open. Entries that no longer hold are passed over.
        self._open: list[tuple[int, str]] = []
        self._openings: list[tuple[int, str]] = []

    @property
    def active(self) -> int:
        """How many deliveries hold a slot."""
        return self._active

    def arrive(self, message: Message) -> None:
        """Take in a message that fell due."""
        if message.queue_name is None:
            self._line_up(message)
        else:
            self._queues.arrive(message, message.queue_name)

    def note(self, progress: tuple[Progress, ...]) -> None:
        """Take note of messages that moved: places in queues may be free."""
        # A callback counts before the message that it reports is taken for done.
        for item in progress:
            if item.message.callback_of is not None and item.state is State.CREATED:
                self._queues.note_callback(item.message.callback_of)
        for item in progress:
            if item.is_final:
                self._queues.note_final(item.message)

    def queue_changed(self, queue_name: str) -> None:
        """Look again at a queue whose configuration changed."""
        self._queues.move_on(queue_name)

    def key_changed(self, key: str) -> None:
        """Look again at a flow-control key whose limits changed."""
        self._reopen(key)

    def take(self, now_ms: int) -> Message | None:
        """Let the next one through, into a slot that it holds until ``leave``."""
        while self._openings and self._openings[0][0] <= now_ms:
            opens_ms, opening = heappop(self._openings)
            if self._lines[opening].opens_ms == opens_ms:
                self._reopen(opening)
        while self._active < self._parallelism:
            key = self._next_line(now_ms)
            line = self._free if key is None else self._lines[key]
            if not line.messages:
                return None
            number, message = line.messages.popleft()
            starts = self._is_live(number, message)
            if starts:
                self._active += 1
                if message.queue_name is not None:
                    self._queues.start(message, message.queue_name)
            if key is not None:
                if starts:
                    line.usage = count_start(self._limits(key), line.usage, now_ms)
                    self._tell(key, line.usage)
                self._reopen(key)
            if starts:
                return message
        return None

    def leave(self, message: Message) -> None:
        """Give back the slot of a delivery that has ended."""
        self._active -= 1
        flow_control = message.options.flow_control
        if flow_control is not None:
            key = flow_control.key
            line = self._lines[key]
            line.usage = line.usage._replace(in_flight=line.usage.in_flight - 1)
            self._reopen(key)

    @property
    def has_openings(self) -> bool:
        """Whether there may be a next opening. Cheap."""
        return bool(self._openings)

    def next_opening_ms(self) -> int | None:
        """Return when the next closed line opens by itself."""
        while self._openings:
            opens_ms, key = self._openings[0]
            line = self._lines[key]
            if line.opens_ms == opens_ms:
                # Nobody waits for a line in which nobody stands. Only a closed one's
                # first may change without the line being asked again.
                while line.messages and not self._is_live(*line.messages[0]):
                    line.messages.popleft()
                if line.messages:
                    return opens_ms
            heappop(self._openings)
        return None

    def usage(self, key: str) -> FlowUsage:
        """Return what of a flow-control key's limits is used."""
        line = self._lines.get(key)
        return NO_USAGE if line is None else line.usage

    def reset_rate(self, key: str, now_ms: int) -> None:
        """Begin a new period for a flow-control key (FLC-27)."""
        line = self._lines.setdefault(key, _Line())
        line.usage = line.usage._replace(started=0, period_start_ms=now_ms)
        self._tell(key, line.usage)
        self._reopen(key)

    def periods(self) -> list[tuple[str, int, int]]:
        """Return what ``note_period`` has heard last of each key, by name."""
        return sorted(
            (key, line.usage.started, line.usage.period_start_ms)
            for key, line in self._lines.items()
            if line.usage.period_start_ms is not None
        )

    def restore(
        self,
        pending: Iterable[Progress],
        sources: Iterable[Message],
        periods: Iterable[tuple[str, int, int]],
    ) -> None:
        """Begin with what was kept, before anybody arrives.

        ``pending`` are the messages that aren't final, oldest first; ``sources`` final
        ones whose callbacks aren't; ``periods`` as ``note_period`` heard of them.
        """
        pending = tuple(pending)
        for source in sources:
            name = source.queue_name
            # Only then does a queue wait for callbacks (QUE-13).
            queue = None if name is None else self._queue(name)
            if name is not None and (queue is None or queue.parallelism == 1):
                self._queues.restore(source, name, is_final=True)
        for item in pending:
            name = item.message.queue_name
            if name is not None and item.state is not State.CREATED:
                self._queues.restore(item.message, name, is_final=False)
        for item in pending:
            if item.message.callback_of is not None:
                self._queues.note_callback(item.message.callback_of)
        for key, started, since_ms in periods:
            usage = FlowUsage(started=started, period_start_ms=since_ms)
            self._lines[key] = _Line(usage=usage)

    def waitlist_size(self, key: str) -> int:
        """Return how many messages wait for a flow-control key."""
        line = self._lines.get(key)
        if line is None:
            return 0
        return sum(self._is_live(*entry) for entry in line.messages)

    @property
    def standing(self) -> int:
        """How many messages stand in a line: due, and not let through yet."""
        return sum(
            self._is_live(*entry)
            for line in (self._free, *self._lines.values())
            for entry in line.messages
        )

    @property
    def is_full(self) -> bool:
        """Whether every slot of the account is taken (LIM-8)."""
        return self._active >= self._parallelism

    def ahead_in_queue(self, message: Message) -> list[str]:
        """Return whom a message's queue lets go first, if it waits there."""
        name = message.queue_name
        return [] if name is None else self._queues.ahead_of(message, name)

    def ahead_at_key(self, message: Message) -> list[str]:
        """Return who stands before a message in the line of its flow-control key."""
        flow_control = message.options.flow_control
        line = None if flow_control is None else self._lines.get(flow_control.key)
        ahead: list[str] = []
        for number, other in () if line is None else line.messages:
            if other.message_id == message.message_id:
                return ahead
            if self._is_live(number, other):
                ahead.append(other.message_id)
        return []

    def clear(self) -> None:
        """Forget everybody. Nobody may hold a slot."""
        self._queues.clear()
        self._free = _Line()
        self._lines.clear()
        self._open.clear()
        self._openings.clear()

    def _is_live(self, number: int, message: Message) -> bool:
        """Whether an entry of a line still holds: not cancelled, nor taken back."""
        return self._is_waiting(message.message_id) and (
            message.queue_name is None
            or self._queues.is_standing(message, message.queue_name, number)
        )

    def _line_up(self, message: Message) -> int:
        self._arrivals += 1
        flow_control = message.options.flow_control
        if flow_control is None:
            self._free.messages.append((self._arrivals, message))
            return self._arrivals
        line = self._lines.setdefault(flow_control.key, _Line())
        line.messages.append((self._arrivals, message))
        if len(line.messages) == 1:
            self._reopen(flow_control.key)
        return self._arrivals

    def _reopen(self, key: str) -> None:
        """Let a line be asked again whether its first message may start."""
        line = self._lines.get(key)
        if line is not None and line.messages:
            line.opens_ms = None
            heappush(self._open, (line.messages[0][0], key))

    def _next_line(self, now_ms: int) -> str | None:
        """Return the key of the line to take from; ``None``: the one without a key."""
        free = self._free.messages
        while self._open:
            number, key = self._open[0]
            line = self._lines[key]
            if not line.messages or line.messages[0][0] != number:
                heappop(self._open)
                continue
            if free and free[0][0] < number:
                return None
            heappop(self._open)
            verdict = admit(self._limits(key), line.usage, now_ms)
            if isinstance(verdict, Admitted):
                return key
            line.opens_ms = verdict.until_ms
            if verdict.until_ms is not None:
                heappush(self._openings, (verdict.until_ms, key))
        return None

    def _tell(self, key: str, usage: FlowUsage) -> None:
        if self._note_period is not None and usage.period_start_ms is not None:
            self._note_period(key, usage.started, usage.period_start_ms)

    def _limits(self, key: str) -> FlowKey:
        return self._flow_key(key) or FlowKey(key=key)
