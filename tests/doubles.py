"""Test doubles and builders that several test folders share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from emulator.core.model import (
    Destination,
    DestinationKind,
    Message,
    Outcome,
    Outgoing,
    Publish,
    Responded,
)

if TYPE_CHECKING:
    from emulator import Emulator  # core tests import this file: nothing heavy

T0 = 1_700_000_000_000  # any instant will do

Script = Outcome | Callable[[Outgoing], Outcome]


class Hang:
    """In a script: this call is never answered."""


class ScriptedTransport:
    """Answers from a script, call by call; the last entry answers all that follow.

    Records the requests. ``Hang()`` in the script never answers; a callable is given
    the request.
    """

    def __init__(self, script: Iterable[Script | Hang] = (Responded(200),)) -> None:
        self.script = list(script)
        self.requests: list[Outgoing] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.is_closed = False

    async def send(self, request: Outgoing) -> Outcome:
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        self.requests.append(request)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            # As over a network, the answer comes in a later turn of the loop.
            await asyncio.sleep(0)
            if isinstance(step, Hang):
                await asyncio.Event().wait()
                raise AssertionError("unreachable")
            return step(request) if callable(step) else step
        finally:
            self.in_flight -= 1

    async def close(self) -> None:
        self.is_closed = True


def a_message(**changes: Any) -> Message:
    """A message to a local app, accepted at T0."""
    fields: dict[str, Any] = {
        "message_id": "msg_1",
        "url": "http://localhost:3000/api/hook",
        "created_at_ms": T0,
        "not_before_ms": T0,
        "caller_ip": "127.0.0.1",
    }
    return Message(**{**fields, **changes})


def a_publish(url: str = "http://localhost:3000/api/hook", **changes: Any) -> Publish:
    """A publish to a local app."""
    fields: dict[str, Any] = {
        "destination": Destination(DestinationKind.URL, url),
        "caller_ip": "127.0.0.1",
    }
    return Publish(**{**fields, **changes})


async def quiet() -> None:
    """Let everything run that doesn't wait for the clock or for a destination."""
    for _ in range(50):
        await asyncio.sleep(0)


async def turn(emulator: Emulator, after_ms: int) -> None:
    """Set the clock to an instant after T0. Destinations that hang stay so."""
    await quiet()
    emulator.clock.set(T0 + after_ms)
    await quiet()
