"""A running emulator in a thread, with all that a test hangs on it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from emulator.core.explain import explain
from emulator.core.explain_text import Explanation
from emulator.engine.clock import SystemClock, VirtualClock
from emulator.engine.engine import Engine
from emulator.engine.ports import Clock
from emulator.testing.endpoints import EndpointServer
from emulator.testing.mounts import Mounts
from emulator.testing.recorder import Recorder
from emulator.testing.threads import LoopThread

if TYPE_CHECKING:
    from emulator.emulator import Emulator

__all__ = ["RunningEmulator"]

T = TypeVar("T")


class RunningEmulator:
    """An emulator, its thread, its recorder, its scripted and mounted destinations.

    ``settle`` is what a destination's records wait for before they are read.
    """

    def __init__(self, emulator: Emulator, *, settle: Callable[[], None]) -> None:
        self.emulator = emulator
        self.recorder = Recorder(emulator.feed, self.engine.user)
        self.mounts = Mounts(emulator.transport)
        emulator.transport = self.mounts
        self.endpoints = EndpointServer(
            emulator.clock,
            explain=self._explanation,
            delivery_of=self.mounts.delivery_of,
            settle=settle,
        )
        self._thread: LoopThread | None = None

    @property
    def engine(self) -> Engine:
        """The engine of the user whom the test is about: the first."""
        return self.emulator.tenants.engines[0]

    @property
    def stamp(self) -> Clock:
        """The clock that dates signatures."""
        emulator = self.emulator
        if emulator.settings.signature_clock == "virtual":
            return emulator.clock
        return SystemClock()

    @property
    def is_running(self) -> bool:
        """Whether it has been started, and not stopped."""
        return self._thread is not None

    @property
    def is_own_thread(self) -> bool:
        """Whether the caller is in the emulator's thread, and can't wait for it."""
        return self._thread is not None and self._thread.is_current

    def start(self) -> None:
        """Start the thread and the emulator."""
        if self._thread is not None:
            raise RuntimeError("the emulator is running already")
        self._thread = LoopThread("qemu")
        try:
            self._thread.run(self._start())
        except BaseException:
            self._thread.stop()
            self._thread = None
            raise

    def stop(self) -> None:
        """Stop everything. What was recorded stays."""
        thread = self._thread
        if thread is None:
            return
        thread.call(self._start_nothing_more)
        try:
            # Apps first: one that is calling the emulator gets its answer.
            self.mounts.unmount()
        finally:
            # Whoever hangs lets go once the delivery to it is cut off.
            thread.run(self.emulator.stop(drain_s=0))
            thread.run(self.endpoints.close())
            self._thread = None
            thread.stop()

    def call(self, function: Callable[[], T]) -> T:
        """Call a function between two steps of the emulator."""
        if self._thread is None or self._thread.is_current:
            return function()
        return self._thread.call(function)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the emulator's loop."""
        if self._thread is None:
            coroutine.close()
            raise RuntimeError("the emulator isn't running")
        return self._thread.run(coroutine)

    async def _start(self) -> None:
        await self.emulator.start()
        if isinstance(self.emulator.clock, VirtualClock):
            self.emulator.tenants.hold()

    def _start_nothing_more(self) -> None:
        for engine in self.emulator.tenants.engines:
            engine.scheduler.stop()

    def _explanation(
        self, signature: str, body: bytes, url: str
    ) -> Callable[[], Explanation]:
        keys = self.engine.keys
        return partial(
            explain,
            signature=signature,
            body=body,
            url=url,
            current_signing_key=keys.current,
            next_signing_key=keys.next,
            now_ms=self.stamp.now_ms(),
        )
