"""The engine of one user: the verbs of QStash, and the one door for every change.

Each verb reads state, asks the rules in ``core/`` what follows, and commits the
answer; there is no ``await`` between reading and committing, so nothing can come in
between. ``commit`` is the only caller of ``store.apply``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from emulator.core import dedup, ids, lifecycle
from emulator.core.filters import DlqQuery, LogQuery, MessageSelection
from emulator.core.headers import Overrides
from emulator.core.limits import Limits
from emulator.core.model import (
    Destination,
    DestinationKind,
    DlqEntry,
    LogEntry,
    Message,
    Options,
    Outcome,
    Progress,
    Publish,
    Receipt,
    SigningKeys,
    Transition,
)
from emulator.core.reroute import Route
from emulator.engine.delivery import Delivery
from emulator.engine.feed import Feed
from emulator.engine.gate import Gate
from emulator.engine.ports import Clock, Entropy, Transport
from emulator.engine.scheduler import Scheduler
from emulator.engine.store import Store
from emulator.errors import NotFound, NotSupported

__all__ = ["Engine"]


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
        grace_ms: int,
        max_log_entries: int,
    ) -> None:
        self.user = user
        self.limits = limits
        self._first_keys = keys
        self._clock = clock
        self._entropy = entropy
        self._feed = feed
        self._stamps = _Stamps()
        self._store = Store(
            keys=keys,
            limits=limits,
            grace_ms=grace_ms,
            max_log_entries=max_log_entries,
        )
        delivery = Delivery(
            transport=transport,
            entropy=entropy,
            stamp=stamp,
            keys=lambda: self._store.keys,
            region=region,
            routes=routes,
            max_response_bytes=limits.max_message_bytes,
        )
        self.scheduler = Scheduler(
            clock=clock,
            store=self._store,
            gate=Gate(limits.global_parallelism),
            deliver=delivery.deliver,
            settle=self._settle,
            commit=self._commit,
            max_response_ms=limits.max_response_s * 1000,
        )

    # The one door

    def _commit(self, transition: Transition) -> None:
        """Apply a transition: first the store, then what falls due, then the feed."""
        self._store.apply(transition, self._clock.now_ms())
        self._feed.emit(self.user, transition.log)
        self.scheduler.note(transition.progress)

    # Publishing

    @property
    def now_ms(self) -> int:
        """The present instant, by the clock that schedules."""
        return self._clock.now_ms()

    @property
    def pending(self) -> int:
        """How many messages aren't final."""
        return self._store.pending

    def publish(self, publishes: Sequence[Publish]) -> list[Receipt]:
        """Accept publishes, all or none, and return a receipt for each, in order.

        A duplicate makes no message (DED-1); of two equal publishes here the second is
        one (BAT-6). Raises ``NotFound`` for an unknown URL group (PUB-9).
        """
        now_ms = self._clock.now_ms()
        receipts: list[Receipt] = []
        transitions: list[Transition] = []
        opened: dict[str, str] = {}
        for publish in publishes:
            _refuse_what_is_missing(publish)
            url = publish.destination.text
            key = dedup.key(publish)
            if key is not None:
                known = opened.get(key) or self._store.duplicate_of(key, now_ms)
                if known is not None:
                    receipts.append(Receipt(known, url, deduplicated=True))
                    continue
            message_id = self._new_message_id()
            if key is not None:
                opened[key] = message_id
            receipts.append(Receipt(message_id, url))
            transitions.append(
                lifecycle.accept(publish, message_id=message_id, now_ms=now_ms)
            )
        if transitions:
            self._commit(Transition.merge(transitions))
        return receipts

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
        if progress is None or not _can_be_cancelled(progress):
            raise NotFound("message", message_id)
        self._commit(lifecycle.cancel(progress, now_ms=now_ms))

    def cancel_selected(self, selection: MessageSelection) -> int:
        """Cancel the selected messages, oldest first, and return how many (MSG-20)."""
        now_ms = self._clock.now_ms()
        candidates: Iterable[Progress]
        if selection.message_ids:
            found = (
                self._store.progress(message_id, now_ms)
                for message_id in dict.fromkeys(selection.message_ids)
            )
            candidates = (progress for progress in found if progress is not None)
        else:
            candidates = self._store.pending_messages()
        transitions: list[Transition] = []
        for progress in candidates:
            if len(transitions) == selection.count:
                break
            if _can_be_cancelled(progress) and selection.matches(progress.message):
                transitions.append(lifecycle.cancel(progress, now_ms=now_ms))
        if transitions:
            self._commit(Transition.merge(transitions))
        return len(transitions)

    # Log

    def logs(self, query: LogQuery) -> tuple[list[LogEntry], str | None]:
        """Return the entries that a query selects, and the cursor if more follow."""
        log = self._store.log
        from_sequence = None if query.cursor is None else query.cursor[1]
        entries = (
            log.newest_first(from_sequence)
            if query.latest_first
            else log.oldest_first(from_sequence)
        )
        horizon_ms = self._store.log_horizon_ms(self._clock.now_ms())
        page: list[LogEntry] = []
        last = ""
        for sequence, entry in entries:
            if entry.time_ms < horizon_ms or not query.matches(entry):
                continue
            if len(page) == query.count:
                return page, last
            page.append(entry)
            last = ids.stamp(entry.time_ms, sequence)
        return page, None

    # Dead letter queue

    def dlq(self, query: DlqQuery) -> tuple[list[DlqEntry], str | None]:
        """Return the entries that a query selects, and the cursor if more follow."""
        entries: Iterable[DlqEntry] = self._store.dlq_entries(self._clock.now_ms())
        if query.latest_first:
            entries = reversed(list(entries))
        page: list[DlqEntry] = []
        for entry in entries:
            if not query.is_beyond_cursor(entry) or not query.matches(entry):
                continue
            if len(page) == query.count:
                return page, page[-1].dlq_id
            page.append(entry)
        return page, None

    def dlq_entry(self, dlq_id: str) -> DlqEntry:
        """Return one entry (DLQ-12)."""
        entry = self._store.dlq_entry(dlq_id, self._clock.now_ms())
        if entry is None:
            raise NotFound("dlq entry", dlq_id)
        return entry

    def delete_from_dlq(self, entries: Sequence[DlqEntry]) -> None:
        """Take entries out of the DLQ (DLQ-20 to DLQ-26)."""
        if entries:
            self._commit(
                Transition(dlq_removed=tuple(entry.dlq_id for entry in entries))
            )

    def retry_from_dlq(
        self, entries: Sequence[DlqEntry], overrides: Overrides
    ) -> list[Receipt]:
        """Make a new message of each entry, and take it out of the DLQ (DLQ-33)."""
        now_ms = self._clock.now_ms()
        not_before_ms = overrides.not_before_ms
        if not_before_ms is None:
            not_before_ms = now_ms + overrides.delay_ms
        transitions = []
        for entry in entries:
            options, header = overrides.apply(
                entry.message.options, entry.message.header
            )
            _refuse_missing_options(options)
            transitions.append(
                lifecycle.revive(
                    entry,
                    message_id=self._new_message_id(),
                    now_ms=now_ms,
                    options=options,
                    header=header,
                    not_before_ms=not_before_ms,
                )
            )
        if transitions:
            self._commit(Transition.merge(transitions))
        return [
            Receipt(progress.message.message_id, progress.message.url)
            for transition in transitions
            for progress in transition.progress
        ]

    # Signing keys

    @property
    def keys(self) -> SigningKeys:
        """The signing keys in force (KEY-1)."""
        return self._store.keys

    def rotate_keys(self) -> SigningKeys:
        """Make the next key the current one, and a new next one (KEY-3)."""
        fresh = ids.signing_key(self._entropy.token_bytes(ids.SIGNING_KEY_BYTES))
        self._commit(Transition(keys=SigningKeys(self._store.keys.next, fresh)))
        return self._store.keys

    # Ours

    def reset(self) -> None:
        """Forget everything, deliveries under way included; keys are as configured."""
        self.scheduler.cut_off()
        self._commit(Transition(reset=True, keys=self._first_keys))

    # What deliveries come to

    def _settle(self, progress: Progress, outcome: Outcome) -> None:
        now_ms = self._clock.now_ms()
        self._commit(
            lifecycle.settle(
                progress,
                outcome,
                now_ms=now_ms,
                dlq_id=self._stamps.next(now_ms),
                new_message_id=self._new_message_id,
            )
        )

    def _new_message_id(self) -> str:
        return ids.message_id(self._entropy.token_bytes(ids.MESSAGE_ID_BYTES))


class _Stamps:
    """DLQ ids: unique and rising, also when the clock steps back (DLQ-1)."""

    def __init__(self) -> None:
        self._last_ms = 0
        self._count = 0

    def next(self, now_ms: int) -> str:
        if now_ms > self._last_ms:
            self._last_ms = now_ms
            self._count = 0
        else:
            self._count += 1
        return ids.stamp(self._last_ms, self._count)


def _can_be_cancelled(progress: Progress) -> bool:
    """MSG-15, MSG-24: not when final, nor when cancelled already."""
    return not progress.is_final and not progress.cancel_requested


def _refuse_what_is_missing(publish: Publish) -> None:
    destination: Destination = publish.destination
    match destination.kind:
        case DestinationKind.URL_GROUP:
            raise NotFound("topic", destination.text)
        case DestinationKind.API:
            raise NotSupported(f"api/{destination.text}")
        case DestinationKind.URL:
            _refuse_missing_options(publish.options)


def _refuse_missing_options(options: Options) -> None:
    if options.flow_control is not None:
        raise NotSupported("Upstash-Flow-Control-Key")
    for callback in (options.callback, options.failure_callback):
        if callback is not None:
            _refuse_missing_options(callback.options)
