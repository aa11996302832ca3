"""The lifespan of a mounted ASGI app: started before its first request, ended after.

As servers do it: an app that doesn't know the protocol runs without, one that reports
a failed start-up isn't served.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

__all__ = ["Lifespan"]

_PATIENCE_S = 30.0
"""For an app that neither answers nor refuses: it would be waited for for ever."""


class Lifespan:
    """Runs an app's start-up and shutdown. Use it in one loop."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.state: dict[str, Any] = {}
        """What the start-up left for the requests."""
        self._incoming: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self._told: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Run the start-up. Raises ``RuntimeError`` if the app says that it failed."""
        self._task = asyncio.create_task(self._run())
        await self._tell("lifespan.startup")

    async def stop(self) -> None:
        """Run the shutdown, if the app is still there for it."""
        if self._task is not None and not self._task.done():
            await self._tell("lifespan.shutdown")
            await asyncio.wait({self._task}, timeout=_PATIENCE_S)

    async def _tell(self, event: str) -> None:
        assert self._task is not None
        self._incoming.put_nowait({"type": event})
        answer = asyncio.ensure_future(self._told.get())
        try:
            done, _ = await asyncio.wait(
                {answer, self._task},
                timeout=_PATIENCE_S,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not done:
                raise RuntimeError(
                    f"the app hasn't answered {event} for {_PATIENCE_S:g} s: one that "
                    "doesn't know the protocol has to raise"
                )
            if answer.done() and answer.result()["type"] == f"{event}.failed":
                raise RuntimeError(
                    f"the app's {event} failed: {answer.result().get('message', '')}"
                )
        finally:
            answer.cancel()

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        try:
            await self._app(scope, self._incoming.get, self._told.put)
        except Exception:
            # It doesn't know the protocol; or it failed, and has told so before.
            return
