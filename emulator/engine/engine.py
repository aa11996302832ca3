"""The engine of one user: the verbs of QStash, and the one door for every change.

Each verb reads state, asks the rules in ``core/`` what follows, and commits the
answer; there is no ``await`` between reading and committing, so nothing can come in
between. ``commit`` is the only caller of ``store.apply``.

The verbs of the DLQ, queues, URL groups, schedules and flow control have files of
their own; they commit through the same door.
"""

from __future__ import annotations

from collections.abc import Sequence

from emulator.core import dedup, ids, lifecycle, rate_limit, recovery
from emulator.core.consequences import with_consequences
from emulator.core.filters import LogQuery, MessageSelection
from emulator.core.header_map import HeaderMap
from emulator.core.limits import Limits
from emulator.core.model import (
    Destination,
    DestinationKind,
    LogEntry,
    Message,
    Outcome,
    Progress,
    Publish,
    Receipt,
    SigningKeys,
    State,
)
from emulator.core.reroute import Route
from emulator.core.resources import Declared, Endpoint
from emulator.core.transition import Transition
from emulator.engine.cancelling import can_be_cancelled, cancel_selected
from emulator.engine.declaration import declare
from emulator.engine.delivery import Delivery
from emulator.engine.dlq import Dlq
from emulator.engine.faults import FaultScript, FaultyDelivery
from emulator.engine.feed import Feed
from emulator.engine.flow_control import FlowControl
from emulator.engine.gate import Gate
from emulator.engine.log_pages import look_through
from emulator.engine.persistence import NO_JOURNAL, Saved
from emulator.engine.ports import Clock, Entropy, Journal, Transport
from emulator.engine.queues import Queues
from emulator.engine.scheduler import Scheduler
from emulator.engine.schedules import Schedules
from emulator.engine.slices import Sliced, at_once
from emulator.engine.store import Store
from emulator.engine.url_groups import UrlGroups
from emulator.engine.waiting import Waiting
from emulator.errors import NotFound

__all__ = ["Engine"]

_DAY_MS = 86_400_000


class Engine:
    """QStash for one user. Shares clock, chance, transport and feed with the others."""

    def __init__(
        self,
        *,
        user: str,
        keys: SigningKeys,
        limits: Limits,
        clock: Clock,
        stamp: Clock,
        entropy: Entropy,
        transport: Transport,
        feed: Feed,
        region: str,
        routes: tuple[Route, ...],
        llm_upstream: str | None,
        declared: Declared,
        faults: FaultScript,
        grace_ms: int,
        max_log_entries: int,
        max_dlq_entries: int,
        max_pending_bytes: int,
        journal: Journal = NO_JOURNAL,
    ) -> None:
        self.user = user
        self.limits = limits
        self._first_keys = keys
        self._declared = declared
        self._journal = journal
        self._clock = clock
        self._entropy = entropy
        self._feed = feed
        self._today = 0
        self._messages_today = 0
        self._store = Store(
            keys=keys,
            limits=limits,
            grace_ms=grace_ms,
            max_log_entries=max_log_entries,
            max_dlq_entries=max_dlq_entries,
            max_pending_bytes=max_pending_bytes,
        )
        journal.attach(user, lambda: self._store.horizon(clock.now_ms()))
        delivery = Delivery(
            transport=transport,
            entropy=entropy,
            stamp=stamp,
            keys=lambda: self._store.keys,
            region=region,
            routes=routes,
            llm_upstream=llm_upstream,
            max_response_bytes=limits.max_message_bytes,
        )
        store = self._store
        gate = self._gate = Gate(
            parallelism=limits.global_parallelism,
            queue=lambda name: store.queues.get(name),
            flow_key=lambda key: store.flow_keys.get(key),
            is_waiting=store.is_waiting,
            note_period=None if journal is NO_JOURNAL else self._note_period,
        )
        self.queues = Queues(
            store=store, clock=clock, commit=self._commit, limits=limits
        )
        self.url_groups = UrlGroups(
            store=store, clock=clock, commit=self._commit, limits=limits
        )
        self.dlq = Dlq(
            store=store,
            clock=clock,
            commit=self._commit,
            new_message_id=self._new_message_id,
            check_room_for=self.queues.check_room_for,
        )
        self.schedules = Schedules(
            store=store,
            clock=clock,
            commit=self._commit,
            limits=limits,
            produce=self._produce,
            new_id=self._new_schedule_id,
        )
        self.scheduler = Scheduler(
            clock=clock,
            store=store,
            gate=gate,
            deliver=FaultyDelivery(delivery, faults, clock).deliver,
            settle=self._settle,
            commit=self._commit,
            fire=self.schedules.fire,
            max_response_ms=limits.max_response_s * 1000,
        )
        self.flow_control = FlowControl(
            store=store,
            clock=clock,
            commit=self._commit,
            gate=gate,
            scheduler=self.scheduler,
        )
        self.waiting = Waiting(store=store, gate=gate, clock=clock)

    # The one door

    def _commit(self, transition: Transition) -> None:
        """Apply a transition, with what it brings about; then announce it.

        The journal comes first: where it refuses, nothing has changed.
        """
        now_ms = self._clock.now_ms()
        transition = with_consequences(
            transition,
            queues_now=self._store.queues,
            flow_keys_now=self._store.flow_keys,
            schedules_now=self._store.schedules,
            now_ms=now_ms,
        )
        too_many: tuple[str, ...] = ()
        if transition.dlq_added:
            too_many = self._store.dlq_overflow(transition.dlq_added)
            removed = (*transition.dlq_removed, *too_many)
            transition = transition._replace(dlq_removed=removed)
        self._journal.append(self.user, transition)
        self._store.apply(transition, now_ms)
        self._store.dlq_dropped.note(len(too_many))
        self._feed.emit(self.user, transition.log)
        self.scheduler.note(transition)

    # Publishing

    @property
    def now_ms(self) -> int:
        """The present instant, by the clock that schedules."""
        return self._clock.now_ms()

    @property
    def pending(self) -> int:
        """How many messages aren't final."""
        return self._store.pending

    @property
    def pending_bytes(self) -> int:
        """About how much memory they take."""
        return self._store.pending_bytes

    @property
    def log_dropped(self) -> int:
        """How many log entries had to go for others since the start."""
        return self._store.log_dropped.count

    @property
    def dlq_dropped(self) -> int:
        """How many entries of the DLQ had to."""
        return self._store.dlq_dropped.count

    def defaults_of(self, destination: Destination) -> HeaderMap:
        """Return the default headers for publishes to a destination (UGR-19)."""
        if destination.kind is not DestinationKind.URL_GROUP:
            return ()
        group = self._store.url_groups.get(destination.text)
        return () if group is None else group.defaults

    def publish(self, publishes: Sequence[Publish]) -> list[tuple[Receipt, ...]]:
        """Accept publishes, all or none; return the receipts of each, in order.

        There is a receipt for each endpoint of a URL group (PUB-33), resolved now
        (PUB-34). A duplicate makes no message (DED-1); of two equal publishes here the
        second is one (BAT-6). Raises ``NotFound`` for an unknown group (PUB-9), and
        ``Overloaded`` where the memory is used up.
        """
        now_ms = self._clock.now_ms()
        self.queues.check_room_for(
            {item.queue_name for item in publishes if item.queue_name is not None}
        )
        receipts: list[tuple[Receipt, ...]] = []
        transitions: list[Transition] = []
        opened: dict[str, str] = {}
        for publish in publishes:
            own: list[Receipt] = []
            # Two endpoints with one URL aren't duplicates of each other.
            opened_here: dict[str, str] = {}
            for endpoint in self._endpoints_of(publish):
                url = publish.destination.text if endpoint is None else endpoint.url
                key = dedup.key(publish, endpoint)
                known = None
                if key is not None:
                    known = opened.get(key) or self._store.duplicate_of(key, now_ms)
                if known is not None:
                    own.append(Receipt(known, url, deduplicated=True))
                    continue
                message_id = self._new_message_id()
                if key is not None:
                    opened_here[key] = message_id
                own.append(Receipt(message_id, url))
                transitions.append(
                    lifecycle.accept(
                        publish, message_id=message_id, now_ms=now_ms, endpoint=endpoint
                    )
                )
            opened |= opened_here
            receipts.append(tuple(own))
        if transitions:
            self._store.check_room_for(transitions)
            self._count_today(len(transitions), now_ms)
            self._commit(Transition.merge(transitions))
        return receipts

    def _count_today(self, count: int, now_ms: int) -> None:
        """Raise ``LimitExceeded`` if the day's messages are too many (LIM-11)."""
        limit = self.limits.max_messages_per_day
        if limit is not None:
            day = now_ms // _DAY_MS
            before = self._messages_today if day == self._today else 0
            if before + count > limit:
                raise rate_limit.daily(limit, now_ms)
            self._today, self._messages_today = day, before + count
            self._journal.note_today(self.user, day, self._messages_today)

    def _endpoints_of(self, publish: Publish) -> Sequence[Endpoint | None]:
        """Return where a publish goes; ``None`` stands for its own destination."""
        if publish.destination.kind is DestinationKind.URL_GROUP:
            return self.url_groups.get(publish.destination.text).endpoints
        return (None,)

    def _produce(self, publish: Publish, schedule_id: str) -> Transition:
        """Make the messages of a schedule's firing (SCH-12, SCH-32)."""
        now_ms = self._clock.now_ms()
        if publish.queue_name is not None:
            self.queues.check_room_for({publish.queue_name})
        produced = Transition.merge(
            [
                lifecycle.accept(
                    publish,
                    message_id=self._new_message_id(),
                    now_ms=now_ms,
                    endpoint=endpoint,
                    schedule_id=schedule_id,
                )
                for endpoint in self._endpoints_of(publish)
            ]
        )
        self._store.check_room_for([produced])
        return produced

    # Messages

    def message(self, message_id: str) -> Message:
        """Return a message, pending or lately finished (MSG-1, MSG-8)."""
        progress = self._store.progress(message_id, self._clock.now_ms())
        if progress is None:
            raise NotFound("message", message_id)
        return progress.message

    def cancel(self, message_id: str) -> None:
        """Cancel a message that is neither final nor cancelled (MSG-10 to MSG-15)."""
        now_ms = self._clock.now_ms()
        progress = self._store.progress(message_id, now_ms)
        if progress is None or not can_be_cancelled(progress):
            raise NotFound("message", message_id)
        self._commit(lifecycle.cancel(progress, now_ms=now_ms))

    def cancel_selected(self, selection: MessageSelection) -> int:
        """Cancel the selected messages, oldest first, and return how many (MSG-20)."""
        return at_once(self.cancel_in_slices(selection))

    def cancel_in_slices(self, selection: MessageSelection) -> Sliced[int]:
        """Do the same, each slice a change of its own."""
        return cancel_selected(
            selection, store=self._store, clock=self._clock, commit=self._commit
        )

    # Log

    def logs(self, query: LogQuery) -> tuple[list[LogEntry], str | None]:
        """Return the entries that a query selects, and the cursor if more follow."""
        return at_once(self.look_through_log(query))

    def look_through_log(
        self, query: LogQuery
    ) -> Sliced[tuple[list[LogEntry], str | None]]:
        """Do the same in slices; what is dropped meanwhile may be missing."""
        horizon_ms = self._store.log_horizon_ms(self._clock.now_ms())
        return look_through(lambda: self._store.log, query, horizon_ms)

    # Signing keys

    @property
    def keys(self) -> SigningKeys:
        """The signing keys in force (KEY-1)."""
        return self._store.keys

    def rotate_keys(self) -> SigningKeys:
        """Make the next key the current one, and a new next one (KEY-3)."""
        fresh = ids.signing_key(self._entropy.token_bytes(ids.SIGNING_KEY_BYTES))
        self._commit(Transition(keys=SigningKeys(self._store.keys.next, fresh)))
        self._journal.note_keys(self.user, self._first_keys)
        return self._store.keys

    # Ours

    def restore(self) -> None:
        """Have what the journal kept, and nothing else. No delivery may be under way.

        Raises ``JournalError``: then nothing has changed.
        """
        self._have(self._journal.load(self.user))

    def _have(self, saved: Saved) -> None:
        self._store.load(saved)
        self._store.keys = self._first_keys
        # Other keys by configuration than then: somebody has changed them since.
        if saved.keys is not None and saved.keys_before == self._first_keys:
            self._store.keys = saved.keys
        self._today, self._messages_today = saved.today or (0, 0)
        self.dlq.restore(saved.dlq, saved.log)
        self.scheduler.restore(saved)

    def saved(self) -> Saved:
        """Return the whole state of this instant, to be kept elsewhere.

        Nothing that happens later changes it. Takes some milliseconds for 100,000
        messages.
        """
        saved = self._store.saved(self._clock.now_ms())
        is_rotated = self._store.keys != self._first_keys
        return saved._replace(
            keys=self._store.keys if is_rotated else None,
            keys_before=self._first_keys if is_rotated else None,
            periods=self._gate.periods(),
            today=(self._today, self._messages_today) if self._messages_today else None,
        )

    @property
    def is_new(self) -> bool:
        """Whether it has nothing but what is declared."""
        store, declared = self._store, self._declared
        return (
            not len(store.log)
            and not self.pending
            and not self.dlq.count()
            and store.keys == self._first_keys
            and store.queues.keys() <= {name for name, _, _ in declared.queues}
            and store.url_groups.keys() <= {name for name, _, _ in declared.url_groups}
            and store.schedules.keys() <= {name for name, _, _ in declared.schedules}
            and not store.flow_keys
        )

    def replace(self, saved: Saved) -> None:
        """Have another state, and nothing else, once the journal has taken it.

        Deliveries under way are dropped. ``recover`` belongs behind it.
        """
        self.scheduler.cut_off()
        self._have(saved)
        self._entropy.stir(item.message.message_id for item in saved.progress)
        self._entropy.stir(schedule.schedule_id for schedule in saved.schedules)

    def recover(self) -> None:
        """Settle what was under way in a state that was read; look ahead (SCH-35)."""
        pending = self._store.pending_messages()
        after = recovery.recover(
            (item for item in pending if item.state is State.ACTIVE),
            self._store.schedules.values(),
            now_ms=self._clock.now_ms(),
        )
        if after.progress or after.schedules:
            self._commit(after)

    def start(self) -> None:
        """Make what is declared, and begin to deliver."""
        self._declare()
        self.scheduler.start()

    def reset(self) -> None:
        """Forget everything, deliveries under way included; be as at the start."""
        self.scheduler.cut_off()
        self._messages_today = 0
        self._commit(Transition(reset=True, keys=self._first_keys))
        self._declare()

    def _declare(self) -> None:
        declare(
            self._declared,
            store=self._store,
            queues=self.queues,
            url_groups=self.url_groups,
            schedules=self.schedules,
        )

    # What deliveries come to

    def _note_period(self, key: str, started: int, since_ms: int) -> None:
        self._journal.note_period(self.user, key, started, since_ms)

    def _settle(self, progress: Progress, outcome: Outcome) -> None:
        now_ms = self._clock.now_ms()
        self._commit(
            lifecycle.settle(
                progress,
                outcome,
                now_ms=now_ms,
                dlq_id=self.dlq.next_id(now_ms),
                new_message_id=self._new_message_id,
            )
        )

    def _new_schedule_id(self) -> str:
        return ids.schedule_id(self._entropy.token_bytes(ids.SCHEDULE_ID_BYTES))

    def _new_message_id(self) -> str:
        return ids.message_id(self._entropy.token_bytes(ids.MESSAGE_ID_BYTES))
