"""Faults at work: what they do to deliveries, without sockets."""

import jwt
import pytest

from emulator import Emulator, Settings
from emulator.core.faults import Fault, FaultKind
from emulator.core.filters import LogQuery
from emulator.core.model import Options, Responded, State
from emulator.settings import DEV_USERS
from tests.doubles import T0, ScriptedTransport, a_publish

HOOK = "http://localhost:3000/api/hook"


def an_emulator(*faults, **settings):
    transport = ScriptedTransport()
    emulator = Emulator(
        Settings(port=0, clock="virtual", start_time_ms=T0, faults=faults, **settings),
        transport=transport,
    )
    return emulator, transport


async def settle(emulator):
    for engine in emulator.tenants.engines:
        engine.scheduler.start()
    await emulator.tenants.advance(None)


def log_of(emulator):
    entries, _ = emulator.tenants.engines[0].logs(LogQuery(latest_first=False))
    return [(entry.state, entry.time_ms - T0) for entry in entries]


async def test_a_lost_acknowledgement_brings_the_message_again():
    emulator, transport = an_emulator(
        Fault(kind=FaultKind.LOST_ACKNOWLEDGEMENT, times=1)
    )
    emulator.tenants.engines[0].publish([a_publish(options=Options(retry_delay="1"))])

    await settle(emulator)

    sent = [dict(request.headers) for request in transport.requests]
    assert [headers["Upstash-Retried"] for headers in sent] == ["0", "1"]
    assert sent[0]["Upstash-Message-Id"] == sent[1]["Upstash-Message-Id"]
    assert [state for state, _ in log_of(emulator)] == [
        State.CREATED,
        State.ACTIVE,
        State.ERROR,
        State.RETRY,
        State.ACTIVE,
        State.DELIVERED,
    ]


async def test_a_duplicate_is_the_same_delivery_twice():
    emulator, transport = an_emulator(Fault(kind=FaultKind.DUPLICATE))
    emulator.tenants.engines[0].publish([a_publish(body=b"once")])

    await settle(emulator)

    first, second = transport.requests
    assert (first.body, first.url) == (second.body, second.url) == (b"once", HOOK)
    assert dict(first.headers)["Upstash-Retried"] == "0"
    assert dict(second.headers)["Upstash-Retried"] == "0"
    assert log_of(emulator)[-1][0] is State.DELIVERED


async def test_a_slow_start_takes_its_time_on_the_clock():
    emulator, transport = an_emulator(
        Fault(kind=FaultKind.SLOW_START, delay_ms=60_000, times=1)
    )
    emulator.tenants.engines[0].publish([a_publish()])

    await settle(emulator)

    assert len(transport.requests) == 1
    assert log_of(emulator)[-1] == (State.DELIVERED, 60_000)


async def test_a_rate_limit_is_an_answer_that_tells_when_to_come_again():
    emulator, transport = an_emulator(
        Fault(kind=FaultKind.RATE_LIMIT, times=1, retry_after_s=7)
    )
    emulator.tenants.engines[0].publish([a_publish()])

    await settle(emulator)

    assert log_of(emulator) == [
        (State.CREATED, 0),
        (State.ACTIVE, 0),
        (State.ERROR, 0),
        (State.RETRY, 0),
        (State.ACTIVE, 7_000),
        (State.DELIVERED, 7_000),
    ]
    assert len(transport.requests) == 1


async def order_of_arrival(seed):
    emulator, transport = an_emulator(Fault(kind=FaultKind.REORDER), seed=seed)
    emulator.tenants.engines[0].publish(
        [a_publish(body=str(number).encode()) for number in range(10)]
    )
    await settle(emulator)
    return [int(request.body) for request in transport.requests]


async def test_a_seed_decides_the_order_of_what_is_reordered():
    first, again, other = [await order_of_arrival(seed) for seed in (1, 1, 2)]

    assert sorted(first) == list(range(10))
    assert first != sorted(first)
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        (FaultKind.NEXT_KEY, DEV_USERS[0].keys.next),
        (FaultKind.EXPIRED_SIGNATURE, DEV_USERS[0].keys.current),
    ],
)
async def test_a_signature_fault_signs_with_the_key_it_is_named_for(kind, key):
    emulator, transport = an_emulator(Fault(kind=kind))
    emulator.tenants.engines[0].publish([a_publish()])

    await settle(emulator)

    token = dict(transport.requests[0].headers)["Upstash-Signature"]
    claims = jwt.decode(token, key, algorithms=["HS256"], options={"verify_exp": False})
    assert claims["sub"] == HOOK


async def test_a_wrong_signature_fits_none_of_the_keys():
    emulator, transport = an_emulator(Fault(kind=FaultKind.WRONG_SIGNATURE))
    emulator.tenants.engines[0].publish([a_publish()])

    await settle(emulator)

    token = dict(transport.requests[0].headers)["Upstash-Signature"]
    keys = DEV_USERS[0].keys
    for key in (keys.current, keys.next):
        with pytest.raises(jwt.InvalidSignatureError):
            jwt.decode(token, key, algorithms=["HS256"])


async def test_a_fault_meets_only_what_its_pattern_fits():
    emulator, transport = an_emulator(
        Fault(kind=FaultKind.DUPLICATE, destination="*/twice")
    )
    emulator.tenants.engines[0].publish(
        [a_publish("http://a.test/twice"), a_publish("http://a.test/once")]
    )

    await settle(emulator)

    urls = sorted(request.url for request in transport.requests)
    assert urls == ["http://a.test/once", *["http://a.test/twice"] * 2]


async def test_a_probability_of_zero_meets_nothing():
    emulator, transport = an_emulator(Fault(kind=FaultKind.DUPLICATE, probability=0.0))
    emulator.tenants.engines[0].publish([a_publish()])

    await settle(emulator)

    assert len(transport.requests) == 1


async def test_a_probability_between_meets_some():
    emulator, transport = an_emulator(
        Fault(kind=FaultKind.DUPLICATE, probability=0.5), seed=7
    )
    emulator.tenants.engines[0].publish([a_publish() for _ in range(100)])

    await settle(emulator)

    assert 120 < len(transport.requests) < 180


async def test_the_first_fault_that_fits_counts_and_ends_after_its_times():
    emulator, transport = an_emulator(
        Fault(kind=FaultKind.RATE_LIMIT, times=2, retry_after_s=1),
        Fault(kind=FaultKind.DUPLICATE, times=1),
    )
    emulator.tenants.engines[0].publish([a_publish()])

    await settle(emulator)

    assert len(transport.requests) == 2
    assert emulator.tenants.faults.faults == ()


async def test_a_reset_brings_the_configured_faults_back():
    configured = Fault(kind=FaultKind.DUPLICATE, times=1)
    emulator, _ = an_emulator(configured)
    emulator.tenants.engines[0].publish([a_publish()])
    await settle(emulator)
    emulator.tenants.faults.add(Fault(kind=FaultKind.RATE_LIMIT))

    emulator.tenants.reset()

    assert emulator.tenants.faults.faults == (configured,)


async def test_without_faults_deliveries_are_as_ever():
    emulator, transport = an_emulator()
    transport.script = [Responded(204)]
    emulator.tenants.engines[0].publish([a_publish()])

    await settle(emulator)

    assert log_of(emulator)[-1] == (State.DELIVERED, 0)
