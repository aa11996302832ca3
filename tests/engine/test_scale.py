"""Ten thousand messages: in queues, with destinations that fail; and in memory."""

from __future__ import annotations

import tracemalloc
from collections import defaultdict
from itertools import groupby

from emulator import Emulator, Settings
from emulator.core.filters import DlqQuery
from emulator.core.model import Options, Outcome, Outgoing, Responded, Unreachable
from emulator.engine.entropy import SeededEntropy
from tests.doubles import T0, ScriptedTransport, a_publish

MESSAGES = 10_000
QUEUES = 100
RETRIES = 2


async def test_ten_thousand_messages_keep_their_order_and_none_is_lost_or_doubled():
    """QUE-11, QUE-12, RTY-1, DLQ-1, QUE-21."""
    chance = SeededEntropy(7)
    succeeded: list[str] = []
    calls: dict[str, list[tuple[str, int]]] = defaultdict(list)

    def answer(request: Outgoing) -> Outcome:
        headers = dict(request.headers)
        number = headers["X-Number"]
        calls[request.url].append((number, int(headers["Upstash-Retried"])))
        luck = chance.token_bytes(1)[0]
        if luck < 64:
            return Responded(500)
        if luck < 80:
            return Unreachable("connection refused")
        succeeded.append(number)
        return Responded(200)

    emulator = Emulator(
        Settings(clock="virtual", start_time_ms=T0, seed=1),
        transport=ScriptedTransport([answer]),
    )
    engine = emulator.tenants.engines[0]
    engine.start()
    options = Options(retries=RETRIES, retry_delay="1000")
    for number in range(MESSAGES):
        queue = number % QUEUES
        engine.publish(
            [
                a_publish(
                    f"http://localhost/{queue}",
                    queue_name=f"q{queue}",
                    header=("X-Number", str(number)),
                    options=options,
                )
            ]
        )

    await emulator.tenants.advance(None)

    entries, _ = engine.dlq.list(DlqQuery(count=None))
    failed = [entry.message.header[1] for entry in entries]
    assert len(succeeded) + len(failed) == MESSAGES
    assert {*succeeded, *failed} == {str(number) for number in range(MESSAGES)}
    assert len(failed) > 100
    assert engine.pending == 0
    assert all(lag == 0 for _, lag in engine.queues.list())
    assert len(calls) == QUEUES
    for queue in range(QUEUES):
        # All deliveries of a message come before the first of the next.
        runs = [
            (number, [retried for _, retried in run])
            for number, run in groupby(
                calls[f"http://localhost/{queue}"], key=lambda call: call[0]
            )
        ]
        assert [number for number, _ in runs] == [
            str(number) for number in range(queue, MESSAGES, QUEUES)
        ]
        for _, retried in runs:
            assert retried == list(range(len(retried)))
            assert len(retried) <= 1 + RETRIES


async def test_a_message_that_waits_takes_less_than_900_bytes():
    """Of 256 bytes, with four forwarded headers of its own: half is what it brings."""
    emulator = Emulator(
        Settings(clock="virtual", start_time_ms=T0, seed=1, quota="pro"),
        transport=ScriptedTransport([Responded(200)]),
    )
    engine = emulator.tenants.engines[0]

    def publish(number: int) -> None:
        value = f"value {number:010}"
        header = ("Content-Type", "application/json", "X-A", value, "X-B", value)
        header += ("X-C", value, "X-D", value)
        body = f"{number:0256}".encode()
        engine.publish([a_publish(body=body, header=header, delay_ms=3_600_000)])

    for number in range(MESSAGES):  # the feed is full then
        publish(number)
    tracemalloc.start()
    for number in range(MESSAGES):
        publish(number)
    used_bytes = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()

    assert engine.pending == 2 * MESSAGES
    assert used_bytes < 900 * MESSAGES
