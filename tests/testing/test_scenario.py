"""One story three times: in process, against ``qemu start``, and on the real clock.

The story uses the API and scripted destinations; each stage knows how time passes on
it, and how short a wait has to be.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.testing.calls import Api, a_qemu, call, publish

TOKEN = "eyJVc2VySUQiOiJkZWZhdWx0VXNlciIsIlBhc3N3b3JkIjoiZGVmYXVsdFBhc3N3b3JkIn0="


@dataclass
class Server:
    """An emulator in a process of its own."""

    url: str
    token: str = TOKEN


class Stage:
    """Where the story is played: an API, destinations, and time that passes."""

    def __init__(self, api: Api, destinations: Any, retry_delay_ms: int) -> None:
        self.api = api
        self.endpoint = destinations.endpoint
        self.retry_delay_ms = retry_delay_ms

    def run_until_idle(self) -> None:
        self.api.run_until_idle()


class ProcessStage(Stage):
    def run_until_idle(self) -> None:
        call(self.api, "POST", "/_qemu/clock/advance", b'{"until": "idle"}')


@contextmanager
def in_process() -> Iterator[Stage]:
    with a_qemu() as qemu:
        yield Stage(qemu, qemu, 86_400_000)


@contextmanager
def against_a_process() -> Iterator[Stage]:
    command = (sys.executable, "-m", "emulator", "start", "--clock", "virtual")
    with (
        a_qemu(clock="real", start_time_ms=None) as destinations,
        subprocess.Popen(
            (*command, "--port", "0", "--json"), stdout=subprocess.PIPE, text=True
        ) as process,
    ):
        assert process.stdout is not None
        try:
            ready = json.loads(process.stdout.readline())
            yield ProcessStage(Server(ready["url"]), destinations, 86_400_000)
        finally:
            process.kill()


@contextmanager
def on_the_real_clock() -> Iterator[Stage]:
    with a_qemu(clock="real", start_time_ms=None) as qemu:
        yield Stage(qemu, qemu, 20)


@pytest.fixture(
    params=[
        in_process,
        pytest.param(against_a_process, marks=pytest.mark.system),
        on_the_real_clock,
    ]
)
def stage(request):
    with request.param() as stage:
        yield stage


def test_a_message_is_retried_until_it_is_delivered_and_reported(stage):
    """RTY-1, CBK-1, LOG-20."""
    hook = stage.endpoint("/hook", status=[500, 500, 200], json={"done": True})
    report = stage.endpoint("/report")
    message_id = publish(
        stage.api,
        hook.url,
        {"order": 1},
        retry_delay=str(stage.retry_delay_ms),
        callback=report.url,
    )
    stage.run_until_idle()

    assert [(request.retried, request.json()) for request in hook.requests] == [
        (number, {"order": 1}) for number in range(3)
    ]
    assert report.last.json()["sourceMessageId"] == message_id
    assert report.last.json()["status"] == 200
    entries = call(stage.api, "GET", f"/v2/events?messageId={message_id}")["events"]
    failure = ["ACTIVE", "ERROR", "RETRY"]
    assert [entry["state"] for entry in reversed(entries)] == [
        *["CREATED", *failure * 2],
        *["ACTIVE", "DELIVERED"],
    ]


def test_a_message_that_always_fails_is_retried_from_the_dlq(stage):
    """DLQ-1, DLQ-33, CBK-20."""
    hook = stage.endpoint("/hook", status=[500, 500, 200])
    failure = stage.endpoint("/failure")
    publish(
        stage.api,
        hook.url,
        retries="1",
        retry_delay=str(stage.retry_delay_ms),
        failure_callback=failure.url,
    )
    stage.run_until_idle()
    (entry,) = call(stage.api, "GET", "/v2/dlq")["messages"]
    assert failure.last.json()["dlqId"] == entry["dlqId"]
    call(stage.api, "POST", f"/v2/dlq/retry/{entry['dlqId']}")
    stage.run_until_idle()

    assert [request.retried for request in hook.requests] == [0, 1, 0]
    assert call(stage.api, "GET", "/v2/dlq")["messages"] == []


def test_a_queue_keeps_its_order_through_a_retry(stage):
    """QUE-11, QUE-12."""
    hook = stage.endpoint("/hook", status=[500, 200])
    for number in range(3):
        path = f"/v2/enqueue/orders/{hook.url}"
        delay = str(stage.retry_delay_ms)
        call(stage.api, "POST", path, str(number).encode(), retry_delay=delay)
    stage.run_until_idle()

    assert [request.json() for request in hook.requests] == [0, 0, 1, 2]
