"""Deliveries beside a destination that never answers, and one who never listens."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import loads
import rig
from report import Metric, Plan, Rate, rates
from rig import Server

_STUCK = 90
"""Deliveries under way for as long as the benchmark runs: the plan allows 100."""

_STALLING = 5_000
"""Messages after which the socket's buffers are full of events."""


def measure_stuck(plan: Plan) -> Iterator[Metric]:
    """Deliveries per second beside 90 that are never answered, against without."""
    messages = plan.messages(10_000)
    rounds: list[tuple[Rate, Rate]] = []
    with (
        rig.sink() as sink,
        _silence() as nowhere,
        rig.running(plan.subject) as stuck,
        rig.running(plan.subject) as calm,
    ):
        rig.publish(stuck, nowhere, messages=_STUCK, connections=1)
        for server in (stuck, calm):
            loads.deliver(server, sink, messages // 10)
        for _ in range(plan.rounds):
            one = loads.deliver(stuck, sink, messages)
            rounds.append((one, loads.deliver(calm, sink, messages)))
    title = f"delivered messages beside {_STUCK} that hang"
    yield from rates(rounds, title, 0.9, peer="without")


def measure_stalled(plan: Plan) -> Iterator[Metric]:
    """Deliveries per second while a listener to the feed reads nothing."""
    messages = plan.messages(10_000)
    rounds: list[tuple[Rate, Rate]] = []
    with (
        rig.sink() as sink,
        rig.running(plan.subject) as watched,
        rig.running(plan.subject) as calm,
        _stalled_listener(watched),
    ):
        for server in (watched, calm):
            loads.deliver(server, sink, _STALLING)
        for _ in range(plan.rounds):
            one = loads.deliver(watched, sink, messages)
            rounds.append((one, loads.deliver(calm, sink, messages)))
    title = "delivered messages beside a listener that reads nothing"
    yield from rates(rounds, title, 0.9, peer="without")


@contextmanager
def _silence() -> Iterator[str]:
    """Yield the URL of a port where connections are made and nobody answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=4 * _STUCK) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/hook"


@contextmanager
def _stalled_listener(server: Server) -> Iterator[None]:
    with socket.create_connection(("127.0.0.1", server.port)) as listener:
        listener.sendall(b"GET /_qemu/feed HTTP/1.1\r\nHost: localhost\r\n\r\n")
        listener.recv(65_536)  # it listens now
        yield
