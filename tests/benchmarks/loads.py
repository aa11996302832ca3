"""Loads that keep a server busy, and what they cost it."""

from __future__ import annotations

import time

import rig
from report import Rate
from rig import BenchmarkError, Server

NOWHERE = "http://destination.test/hook"
"""For messages that are never delivered."""


def publish(server: Server, messages: int) -> Rate:
    """Publish messages that are delayed: none is delivered meanwhile."""
    before_us = server.cpu_us()
    load = rig.publish(server, NOWHERE, messages=messages, headers=rig.HOUR)
    return Rate(load.answered, load.took_s, server.cpu_us() - before_us)


def deliver(server: Server, sink: rig.Sink, messages: int) -> Rate:
    """Publish, and wait until all is delivered."""
    pending = server.pending()
    before, before_us = sink.count(), server.cpu_us()
    begin_s = last_s = time.perf_counter()
    load = rig.publish(server, sink.url, messages=messages)
    asked = delivered = 0
    # wrk leaves while some of its publishes are under way: these are delivered too.
    while time.perf_counter() - last_s < 0.3 or delivered < load.answered:
        asked += 1
        count = sink.count() - before - asked
        if count > delivered:
            delivered, last_s = count, time.perf_counter()
        if time.perf_counter() - last_s > 10:
            raise BenchmarkError(f"{load.answered - delivered} messages are lost")
        time.sleep(0.01)
    used_us = server.cpu_us() - before_us
    if server.pending() != pending:
        raise BenchmarkError("delivered, yet pending")
    return Rate(delivered, last_s - begin_s, used_us)
