"""emulator/web/ignored.py: headers that have no effect, and who is told."""

from __future__ import annotations

import json

import pytest

from emulator.core.model import Incoming
from emulator.web.ignored import IGNORED_LOGGER, IgnoredHeaders
from tests.web.test_client import HOOK, serve

RETIRES = (
    "Upstash-Retires isn't a header of QStash and has no effect; did you mean "
    "Upstash-Retries?"
)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == IGNORED_LOGGER
    ]


@pytest.mark.parametrize(
    "target",
    [f"/v2/publish/{HOOK}", f"/v2/enqueue/q/{HOOK}", f"/v2/schedules/{HOOK}"],
)
async def test_a_header_that_has_no_effect_is_accepted_and_told_of_once(caplog, target):
    """HDR-6."""
    headers = [("upstash-RETIRES", "1"), ("Upstash-Cron", "* * * * *")]
    if "enqueue" in target:
        headers.pop()
    async with serve() as api:
        for _ in range(2):
            answer = await api.post(target, headers=headers)
            assert answer.status == 200

    assert told(caplog) == [RETIRES]


async def test_parameters_and_batch_entries_are_looked_at_too(caplog):
    """HDR-6, HDR-2."""
    entry = {"destination": HOOK, "headers": {"Upstash-Zebra": "1"}}
    async with serve() as api:
        await api.post(f"/v2/publish/{HOOK}?upstash-retires=1")
        await api.post("/v2/batch", body=json.dumps([entry]).encode())

    zebra = "Upstash-Zebra isn't a header of QStash and has no effect"
    assert told(caplog) == [RETIRES, zebra]


async def test_what_an_sdk_sends_is_not_told_of(caplog):
    """ENV-13."""
    headers = [("Upstash-Telemetry-Sdk", "x"), ("Upstash-Retries", "1"), ("X-A", "1")]
    async with serve() as api:
        await api.post(f"/v2/publish/{HOOK}", headers=headers)

    assert told(caplog) == []


async def test_a_request_that_is_refused_is_told_of_by_its_answer_alone(caplog):
    """HDR-6, PUB-30."""
    headers = [("Upstash-Retires", "1"), ("Upstash-Delay", "x")]
    async with serve() as api:
        answer = await api.post(f"/v2/publish/{HOOK}", headers=headers)

    assert answer.status == 400
    assert told(caplog) == []


def test_strangers_cannot_fill_memory_or_log_with_names(caplog):
    ignored = IgnoredHeaders()
    for number in range(300):
        header = (f"Upstash-Zebra-{number}" + "x" * 200, "1")
        ignored.look_at(Incoming(destination=HOOK, headers=(header,)))

    assert len(told(caplog)) == 256
    assert all(len(text) < 200 for text in told(caplog))
