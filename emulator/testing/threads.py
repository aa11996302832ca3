"""An event loop in a thread of its own, for callers who have none, or theirs.

A test may be synchronous, or run under any plugin's loop; what it starts here runs
apart from it, so that neither blocks the other.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

__all__ = ["LoopThread"]

T = TypeVar("T")


class LoopThread:
    """A running event loop. Start it, give it work, stop it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop, for ``run_coroutine_threadsafe`` from another one."""
        return self._loop

    @property
    def is_current(self) -> bool:
        """Whether the caller is in this very thread."""
        return threading.current_thread() is self._thread

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop, and wait for what it returns or raises."""
        if self.is_current:
            coroutine.close()
        self._refuse_own_thread()
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def call(self, function: Callable[[], T]) -> T:
        """Call a function between two steps of the loop, and wait for the result."""
        self._refuse_own_thread()
        future: Future[T] = Future()

        def call() -> None:
            try:
                future.set_result(function())
            except BaseException as error:  # handed to whoever waits
                future.set_exception(error)

        self._loop.call_soon_threadsafe(call)
        return future.result()

    def stop(self) -> None:
        """End the loop. Tasks that are left are cancelled."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(
                asyncio.gather(*tasks, return_exceptions=True)
            )
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._loop.close()

    def _refuse_own_thread(self) -> None:
        if self.is_current:
            raise RuntimeError(
                f"called from the thread {self._name} itself: it would wait for ever"
            )
