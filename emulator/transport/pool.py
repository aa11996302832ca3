"""The pool: which connection a call gets, and what becomes of it afterwards.

Decides how many connections are open, in all and to one place, and who waits: a place
that never answers keeps its own share busy and no more, and a process without
descriptors waits for one instead of failing deliveries. Knows nothing of HTTP.

A slot is counted from before a connection is made until it is closed. Whoever waits is
handed a connection or a slot directly, so nobody who comes later overtakes.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import TypeAlias

from emulator.core.model import Unreachable
from emulator.transport.connecting import OutOfDescriptors, connect
from emulator.transport.connection import Connection
from emulator.transport.descriptors import PAUSE_S
from emulator.transport.request import Place

__all__ = ["Pool"]

_KEEP_IDLE_S = 1.0
"""How long a connection is kept for the next delivery.

Shorter than the keep-alive of the usual servers (gunicorn 2 s, Node.js and uvicorn
5 s): a connection that the destination closes just as a delivery starts on it would
be a failed delivery that no production system sees.
"""

_TRUSTED_S = 0.02
"""Idle for longer, a connection is looked at before it is used.

The event loop tells a closed connection in its next turn, and a turn may take long.
"""

_Grant: TypeAlias = "asyncio.Future[Connection | None]"
"""What a waiting call gets: a connection, or ``None``: a slot to make one."""


class Pool:
    """Connections to many places, at most ``most`` in all and ``most_each`` to one."""

    def __init__(self, *, most: int, most_each: int) -> None:
        self._most = most
        self._most_each = most_each
        self._slots: Counter[Place] = Counter()
        self._total = 0
        self._connections: set[Connection] = set()
        self._idle: dict[Place, dict[Connection, None]] = {}
        self._idle_since_s: dict[Connection, float] = {}  # the longest idle is first
        self._waiting: dict[Place, deque[_Grant]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._all_closed: asyncio.Future[None] | None = None

    @property
    def open(self) -> int:
        """How many connections are open or being made."""
        return self._total

    @property
    def idle(self) -> int:
        """How many of them wait for the next call."""
        return len(self._idle_since_s)

    async def take(
        self, place: Place, *, is_fresh: bool = False
    ) -> Connection | Unreachable:
        """Return a connection to a place; a new one if it has to be fresh.

        It has to be given back, or aborted.
        """
        while not is_fresh and (popped := self._pop_idle(place)) is not None:
            connection, idle_s = popped
            if connection.is_open and (idle_s < _TRUSTED_S or connection.is_quiet()):
                return connection
            connection.abort()
        if self._has_room(place):  # whoever waits couldn't use it
            self._reserve(place)
        else:
            granted = await self._wait(place)
            if granted is not None:
                return granted
        try:
            made = await self._connect(place)
        except BaseException:
            self._free(place)
            raise
        if isinstance(made, Connection) and made.is_open:
            self._connections.add(made)
        else:
            self._free(place)
        return made

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for the next call, or close it if it isn't good for one."""
        place = connection.place
        if not connection.is_idle:
            connection.abort()
        elif (grant := self._next_in_line(place)) is not None:
            grant.set_result(connection)
        elif self._waiting and self._total >= self._most:
            connection.abort()  # others wait for its slot
        else:
            now_s = asyncio.get_running_loop().time()
            self._idle.setdefault(place, {})[connection] = None
            self._idle_since_s[connection] = now_s
            if self._timer is None:
                self._arm(now_s + _KEEP_IDLE_S)

    async def close(self) -> None:
        """Close the connections, and return once they are. No call is under way."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for connection in self._connections:
            connection.abort()
        if self._total:
            if self._all_closed is None:
                self._all_closed = asyncio.get_running_loop().create_future()
            await self._all_closed

    def _has_room(self, place: Place) -> bool:
        return self._total < self._most and self._slots[place] < self._most_each

    def _reserve(self, place: Place) -> None:
        self._total += 1
        self._slots[place] += 1

    def _free(self, place: Place) -> None:
        """Take back a slot, and give it to whoever may have one."""
        self._total -= 1
        self._slots[place] -= 1
        if not self._slots[place]:
            del self._slots[place]
        for candidate in tuple(self._waiting):
            if not self._has_room(candidate):
                continue
            if (grant := self._next_in_line(candidate)) is not None:
                self._reserve(candidate)
                grant.set_result(None)
                break
        if not self._total and self._all_closed is not None:
            if not self._all_closed.done():  # whoever waited may have given up
                self._all_closed.set_result(None)
            self._all_closed = None

    async def _wait(self, place: Place) -> Connection | None:
        """Wait in line for a connection or a slot."""
        grant: _Grant = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(place, deque()).append(grant)
        if self._slots[place] < self._most_each:
            self._abort_idlest()  # its slot comes free for whoever is first
        try:
            return await grant
        except BaseException:
            if not grant.done() or grant.cancelled():
                self._leave_line(place, grant)
            elif (connection := grant.result()) is not None:
                self.give_back(connection)
            else:
                self._free(place)
            raise

    def _next_in_line(self, place: Place) -> _Grant | None:
        """Take the first who still waits for a place, which is last in turn then."""
        waiting = self._waiting.pop(place, None)
        while waiting:
            grant = waiting.popleft()
            if not grant.done():  # else its call is cancelled, and hasn't seen it yet
                if waiting:
                    self._waiting[place] = waiting
                return grant
        return None

    def _leave_line(self, place: Place, grant: _Grant) -> None:
        waiting = self._waiting.get(place)
        if waiting is not None and grant in waiting:
            waiting.remove(grant)
            if not waiting:
                del self._waiting[place]

    async def _connect(self, place: Place) -> Connection | Unreachable:
        while True:
            try:
                return await connect(place, self._lost)
            except OutOfDescriptors:
                self._abort_idlest()
                await asyncio.sleep(PAUSE_S)

    def _lost(self, connection: Connection) -> None:
        """Take note that a connection is closed."""
        if connection in self._connections:  # it may never have got that far
            self._connections.remove(connection)
            self._forget_idle(connection)
            self._free(connection.place)

    def _pop_idle(self, place: Place) -> tuple[Connection, float] | None:
        """Take the connection that was used last; say how long ago, in seconds."""
        idle = self._idle.get(place)
        if not idle:
            return None
        connection, _ = idle.popitem()
        if not idle:
            del self._idle[place]
        since_s = self._idle_since_s.pop(connection)
        return connection, asyncio.get_running_loop().time() - since_s

    def _forget_idle(self, connection: Connection) -> None:
        if self._idle_since_s.pop(connection, None) is not None:
            idle = self._idle[connection.place]
            del idle[connection]
            if not idle:
                del self._idle[connection.place]

    def _abort_idlest(self) -> None:
        """Close the connection that is idle longest, if there is one."""
        for connection in self._idle_since_s:
            self._forget_idle(connection)
            connection.abort()
            break

    def _arm(self, when_s: float) -> None:
        self._timer = asyncio.get_running_loop().call_at(when_s, self._expire)

    def _expire(self) -> None:
        self._timer = None
        now_s = asyncio.get_running_loop().time()
        for since_s in tuple(self._idle_since_s.values()):
            if since_s + _KEEP_IDLE_S > now_s:
                self._arm(since_s + _KEEP_IDLE_S)
                break
            self._abort_idlest()
