"""Qemu: an emulator inside a test, from synchronous code, with a clock to turn.

The emulator runs in a thread and a loop of its own; each method here posts to it and
waits. On a virtual clock nothing is delivered but while the test waits: for a turn of
the clock, or for what it reads, which is read once all that is due at the present
instant has happened. So a test and its app's deliveries never happen at once.

Nothing here knows of pytest: the plugin makes one of these for each test.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING

from emulator.core.filters import DlqQuery
from emulator.core.headers import Overrides
from emulator.core.model import DlqEntry, LogEntry, TimedOut
from emulator.core.resources import Schedule, UrlGroup
from emulator.errors import NotFound
from emulator.testing.assertions import Assertions
from emulator.testing.destinations import Destinations
from emulator.testing.environment import RealServiceRefused, patched_environment
from emulator.testing.records import (
    Delivery,
    FailedMessage,
    PendingMessage,
    PublishedMessage,
    QueueView,
    deliveries_of,
    failed_of,
    pending_of,
    published_of,
)
from emulator.testing.running import RunningEmulator
from emulator.testing.timeline import timeline
from emulator.testing.turning import GRACE_S, Turning

if TYPE_CHECKING:
    from emulator.emulator import Emulator

__all__ = ["Qemu"]

_EVERYTHING = DlqQuery(count=None)

_BLOCKED = """

A delivery timed out, and the test's own event loop stood still while it waited.
If the destination lives in that loop: await qemu.aio.advance(…)."""


class Qemu(Assertions, Turning, Destinations):
    """``with Emulator(Settings(port=0, clock="virtual")).in_thread() as qemu: …``.

    ``grace_s`` is how long an app may take in real time to answer a delivery before
    a virtual clock goes on without its answer.
    """

    def __init__(self, emulator: Emulator, *, grace_s: float = GRACE_S) -> None:
        self.emulator = emulator
        self._grace_s = grace_s
        self._running = RunningEmulator(emulator, settle=self.settle)
        self._seen: set[str] = set()
        self._refusals: list[RealServiceRefused] = []

    def __enter__(self) -> Qemu:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> Qemu:
        """Start the emulator. Raises ``OSError`` where it can't listen."""
        self._running.start()
        return self

    def close(self) -> None:
        """Stop the emulator and all apps. What was recorded can still be read."""
        self._running.stop()

    # Where it is, and how to call it

    @property
    def url(self) -> str:
        """What ``QSTASH_URL`` is set to."""
        return self.emulator.url

    @property
    def token(self) -> str:
        """What ``QSTASH_TOKEN`` is set to."""
        return self.emulator.settings.users[0].token

    @property
    def current_signing_key(self) -> str:
        """The key that signs deliveries."""
        return self._running.engine.keys.current

    @property
    def next_signing_key(self) -> str:
        """The key that will sign after a rotation."""
        return self._running.engine.keys.next

    @property
    def env(self) -> dict[str, str]:
        """The four variables that the SDKs read."""
        return {
            "QSTASH_URL": self.url,
            "QSTASH_TOKEN": self.token,
            "QSTASH_CURRENT_SIGNING_KEY": self.current_signing_key,
            "QSTASH_NEXT_SIGNING_KEY": self.next_signing_key,
        }

    def environment(self) -> AbstractContextManager[None]:
        """Set the variables for a ``with`` block, and refuse the real QStash in it."""
        return patched_environment(self.env, self._refusals.append)

    # What happened, and what there is

    @property
    def log(self) -> list[LogEntry]:
        """Every change of every message's state, oldest first."""
        self.settle()
        return self._running.call(lambda: self._running.recorder.entries)

    @property
    def published(self) -> list[PublishedMessage]:
        """What was published, oldest first; callbacks are left out."""
        return published_of(self.log)

    @property
    def deliveries(self) -> list[Delivery]:
        """Every delivery that has ended, in order, callbacks included."""
        return deliveries_of(self.log)

    @property
    def messages(self) -> list[PendingMessage]:
        """The messages that aren't final, oldest first."""
        self.settle()
        return pending_of(self._running.call(lambda: self._running.recorder.pending))

    def why(self, message_id: str) -> str:
        """Say what a message waits for. Raises ``NotFound`` for an unknown one."""
        self.settle()
        return self._running.call(lambda: self._running.engine.waiting.why(message_id))

    @property
    def dlq(self) -> list[FailedMessage]:
        """The dead letter queue, oldest first. Reading it counts as looking at it."""
        self.settle()
        entries = self._dlq_entries()
        self._seen.update(entry.dlq_id for entry in entries)
        return failed_of(entries)

    def retry_dlq(self, dlq_id: str | None = None) -> list[str]:
        """Publish an entry of the DLQ again, or all; return the new messages' ids.

        Raises ``NotFound`` for an unknown entry.
        """
        self.settle()

        def retry() -> list[str]:
            dlq = self._running.engine.dlq
            entries = [
                entry
                for entry in dlq.list(_EVERYTHING)[0]
                if dlq_id in (None, entry.dlq_id)
            ]
            if dlq_id is not None and not entries:
                raise NotFound("dlq entry", dlq_id)
            return [receipt.message_id for receipt in dlq.retry(entries, Overrides())]

        return self._running.call(retry)

    @property
    def schedules(self) -> list[Schedule]:
        """The schedules, in order of creation."""
        return self._running.call(lambda: list(self._running.engine.schedules.list()))

    @property
    def queues(self) -> list[QueueView]:
        """The queues, in order of creation."""
        self.settle()
        queues = self._running.call(lambda: list(self._running.engine.queues.list()))
        return [
            QueueView(queue.name, queue.parallelism, queue.is_paused, lag)
            for queue, lag in queues
        ]

    @property
    def url_groups(self) -> list[UrlGroup]:
        """The URL groups, in order of creation."""
        return self._running.call(lambda: list(self._running.engine.url_groups.list()))

    def reset(self) -> None:
        """Forget everything but endpoints and mounted apps. The clock stays."""

        def forget() -> None:
            self.emulator.tenants.reset()
            self._running.recorder.forget()
            self._running.mounts.errors.clear()
            self._seen.clear()
            self._refusals.clear()

        self._running.call(forget)

    # For whoever reports

    def timeline(self) -> str:
        """Write what happened: a line for each entry of the log, as at the terminal."""
        self.settle()
        recorder, mounts = self._running.recorder, self._running.mounts
        items = self._running.call(lambda: recorder.items)
        text = timeline(items, self.now_ms, mounts.errors)
        timed_out = any(isinstance(item.entry.outcome, TimedOut) for item in items)
        return text + _BLOCKED if timed_out and self._has_blocked_a_loop else text

    def complaints(self) -> list[str]:
        """Say what a careful test shouldn't leave behind.

        Messages in the DLQ that nobody looked at, deliveries that broke by a mistake
        of the emulator's, calls of the real QStash.
        """
        self.settle()
        unseen = [e for e in self._dlq_entries() if e.dlq_id not in self._seen]
        complaints = [
            f"left in the DLQ, and nobody looked: {message!r}"
            for message in failed_of(unseen)
        ]
        broken = self._running.call(lambda: list(self._running.recorder.broken()))
        complaints += [
            f"delivery of {entry.message.message_id} broke inside qemu: "
            f"{entry.outcome.error if entry.outcome else ''}"
            for entry in broken
        ]
        return complaints + [str(refusal) for refusal in self._refusals]

    def _dlq_entries(self) -> list[DlqEntry]:
        dlq = self._running.engine.dlq
        return self._running.call(lambda: list(dlq.list(_EVERYTHING)[0]))
