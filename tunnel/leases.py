"""Who holds which name, and who waits for whom to come back.

A name belongs to the newest authenticated session (its epoch is one more): the older
one ends. A session outlives its socket for a while, and a request for a name whose
tunnel is away is held meanwhile: bounded in time and number, by whoever sweeps.

``Directory`` is the port to what several nodes share; with ``MemoryDirectory`` this
node is alone. Nothing here reads a clock or a socket.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import InitVar, dataclass, field
from typing import Protocol

from tunnel.access import Grant, Policy, TokenBucket
from tunnel.http import RequestHead
from tunnel.link import Link
from tunnel.wire import CLOSE_GOING_AWAY, ResetCode

__all__ = [
    "Directory",
    "Held",
    "Leases",
    "MemoryDirectory",
    "Refused",
    "Session",
    "SessionSocket",
    "cut_silent",
]

_MAX_REMEMBERED = 10_000
"""Names whose tunnel has gone."""


class Directory(Protocol):
    """Which epoch of a name is the newest, among all nodes."""

    async def claim(self, name: str) -> int:
        """Take a name for this node; return the new epoch."""

    async def release(self, name: str, epoch: int) -> None:
        """Let a name go, unless somebody has claimed it since."""


class MemoryDirectory:
    """The directory of a relay that is one node."""

    def __init__(self) -> None:
        self._epochs: OrderedDict[str, int] = OrderedDict()

    async def claim(self, name: str) -> int:
        """Take a name; return the new epoch."""
        epoch = self._epochs.pop(name, 0) + 1
        self._epochs[name] = epoch
        while len(self._epochs) > _MAX_REMEMBERED:
            self._epochs.popitem(last=False)
        return epoch

    async def release(self, name: str, epoch: int) -> None:
        """Let a name go. Its epoch is remembered: the next one is higher."""


class SessionSocket(Protocol):
    """The websocket that a session has at present."""

    def close(self, code: int, reason: str) -> None:
        """Close it, and say why."""

    def flush_soon(self) -> None:
        """Send what the link has to say."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The answer to a request that isn't let into its tunnel."""

    status: int
    end: bytes
    """That refuses: ``access`` or ``relay``."""
    sentence: str
    retry_after_s: int | None = None
    more: bytes = b""
    """Further header lines."""


@dataclass(slots=True, eq=False)
class Session:
    """A tunnel, seen from the relay."""

    id: str
    name: str
    url: str
    owner: str
    epoch: int
    peer: str
    grant: Grant
    policy: Policy
    bucket: TokenBucket | None
    max_streams: int
    """Requests under way."""
    now_s: InitVar[Callable[[], float]]
    link: Link = field(init=False)
    socket: SessionSocket | None = None
    gone_s: float = 0.0
    """Since when there is no socket."""
    is_cut: bool = False
    """Whether what was under way when the socket went has been given up."""

    def __post_init__(self, now_s: Callable[[], float]) -> None:
        self.link = Link(now_s=now_s, on_ready=self.ready)

    def refusal(
        self, head: RequestHead, prefix: bytes, client: str, *, now_s: float
    ) -> Refused | None:
        """Return why a request may not pass now, or ``None`` if it may.

        ``prefix`` is what the app doesn't see of the target, ``client`` the visitor.
        """
        policy, bucket = self.policy, self.bucket
        if not policy.is_open:
            path = head.path[len(prefix) :] or b"/"
            refusal = policy.check(client, path, head.header(b"authorization"))
            if refusal is not None:
                return Refused(
                    refusal.status, b"access", refusal.sentence, more=refusal.more
                )
        if bucket is not None:
            wait_s = bucket.take(now_s)
            if wait_s > 0:
                return Refused(
                    429,
                    b"access",
                    "the tunnel's rate is used up",
                    retry_after_s=max(1, round(wait_s + 0.5)),
                )
        if self.link.is_spent:
            # Its stream numbers are used up: the client comes back to a new session.
            if self.socket is not None:
                self.socket.close(CLOSE_GOING_AWAY, "the session must begin anew")
            sentence = "the tunnel begins a new session"
            return Refused(503, b"relay", sentence, retry_after_s=1)
        if self.link.open_streams >= self.max_streams:
            sentence = "too many requests are under way in this tunnel"
            return Refused(503, b"relay", sentence, retry_after_s=1)
        return None

    def ready(self) -> None:
        """Its link has something to send: see to it, if there is a socket."""
        if self.socket is not None:
            self.socket.flush_soon()


class Held(Protocol):
    """A request that waits for its tunnel."""

    until_s: float

    @property
    def name(self) -> str:
        """Of the tunnel."""

    def start(self, session: Session) -> None:
        """The tunnel is there."""

    def give_up(self, away_s: float | None) -> None:
        """It didn't come in time; it has been away so long, if ever it was there."""


class Leases:
    """The names of this node."""

    def __init__(self, directory: Directory, *, max_held: int) -> None:
        self.directory = directory
        self.by_id: dict[str, Session] = {}
        self._by_name: dict[str, Session] = {}
        self._max_held = max_held
        self._held: dict[str, deque[Held]] = {}
        self.held = 0
        """How many requests wait."""
        self._gone: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Session]:
        return iter(tuple(self._by_name.values()))

    def get(self, name: str) -> Session | None:
        """Return who holds a name; its socket may be away."""
        return self._by_name.get(name)

    def is_known(self, name: str) -> bool:
        """Whether a name is held, or was."""
        return name in self._by_name or name in self._gone

    def count_of(self, owner: str) -> int:
        """Return how many tunnels somebody has."""
        return sum(item.owner == owner for item in self._by_name.values())

    def put(self, session: Session) -> Session | None:
        """Give a session its name; return the one that had it."""
        before = self._by_name.get(session.name)
        if before is not None:
            del self.by_id[before.id]
        self._by_name[session.name] = session
        self.by_id[session.id] = session
        self._gone.pop(session.name, None)
        return before

    def drop(self, session: Session, now_s: float) -> None:
        """Forget a session that is over, but not that there was one."""
        self.by_id.pop(session.id, None)
        if self._by_name.get(session.name) is session:
            del self._by_name[session.name]
            self._gone[session.name] = session.gone_s or now_s
            self._gone.move_to_end(session.name)
            while len(self._gone) > _MAX_REMEMBERED:
                self._gone.popitem(last=False)

    def away_s(self, name: str, now_s: float) -> float | None:
        """Return how long a name's tunnel has been away; ``None``: it never was."""
        session = self._by_name.get(name)
        if session is not None:
            return now_s - session.gone_s if session.socket is None else 0.0
        gone_s = self._gone.get(name)
        return None if gone_s is None else now_s - gone_s

    # Requests that wait

    def hold(self, held: Held) -> bool:
        """Let a request wait for its tunnel; false if too many do."""
        if self.held >= self._max_held:
            return False
        self._held.setdefault(held.name, deque()).append(held)
        self.held += 1
        return True

    def let_go(self, held: Held) -> None:
        """Whoever made the request no longer waits."""
        line = self._held.get(held.name)
        if line is not None and held in line:
            line.remove(held)
            self.held -= 1
            if not line:
                del self._held[held.name]

    def arrived(self, session: Session) -> None:
        """Start what has waited for a session, in the order of arrival."""
        line = self._held.pop(session.name, ())
        self.held -= len(line)
        for held in line:
            held.start(session)

    def give_up(self, now_s: float) -> None:
        """Answer what has waited long enough."""
        for name in tuple(self._held):
            line = self._held[name]
            while line and line[0].until_s <= now_s:
                self.held -= 1
                line.popleft().give_up(self.away_s(name, now_s))
            if not line:
                del self._held[name]

    def give_up_all(self, now_s: float) -> None:
        """Answer all that waits: the relay stops."""
        for name, line in self._held.items():
            for held in line:
                held.give_up(self.away_s(name, now_s))
        self._held.clear()
        self.held = 0


def cut_silent(
    leases: Leases, now_s: float, *, hold_s: float, session_s: float
) -> list[Session]:
    """Give up what waits in sessions whose socket is away; return those that are over.

    What was under way is cut off after ``hold_s``, so that nobody waits longer than
    that; the session goes after ``session_s``.
    """
    over: list[Session] = []
    for session in leases:
        if session.socket is not None:
            continue
        away_s = now_s - session.gone_s
        if away_s >= hold_s and not session.is_cut:
            session.is_cut = True
            session.link.cut(
                ResetCode.LINK, f"the tunnel has been away for {away_s:.0f} s"
            )
        if away_s >= session_s:
            over.append(session)
    return over
