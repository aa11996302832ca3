"""emulator/engine/delivery.py: the request that a destination sees (DLV-1 to DLV-6)."""

import asyncio
from base64 import urlsafe_b64encode
from hashlib import sha256

import jwt
import pytest

from emulator import Emulator, Settings
from emulator.core.model import Callback, FlowControl, Options, Redaction, Responded
from emulator.core.reroute import parse_route
from emulator.engine.clock import real_now_ms
from emulator.settings import DEV_USERS
from tests.doubles import T0, ScriptedTransport, a_publish

URL = "http://localhost:3000/api/hook"


def an_emulator(*script, user=0, **settings):
    """An emulator at T0 that calls by a script, and one user's engine."""
    transport = ScriptedTransport(script or [Responded(200)])
    emulator = Emulator(
        Settings(clock="virtual", start_time_ms=T0, seed=1, **settings),
        transport=transport,
    )
    engine = emulator.tenants.engines[user]
    engine.scheduler.start()
    return emulator, engine, transport


async def delivered(*publishes, script=(), user=0, **settings):
    """The requests that publishes lead to."""
    emulator, engine, transport = an_emulator(*script, user=user, **settings)
    engine.publish(publishes)
    await emulator.tenants.advance(None)
    return transport.requests


async def one_delivered(publish, **settings):
    (request,) = await delivered(publish, **settings)
    return request


def value(request, name):
    """The value of a header that is there once."""
    (found,) = (value for known, value in request.headers if known == name)
    return found


def names(request):
    return [name for name, _ in request.headers]


def claims(request, key):
    token = value(request, "Upstash-Signature")
    return jwt.decode(
        token, key, algorithms=["HS256"], options={"verify_aud": False}, leeway=5
    )


async def test_a_destination_is_called_as_published():
    """DLV-1, PUB-20."""
    body = bytes(range(256))

    request = await one_delivered(
        a_publish(URL + "?a=1&a=%2F", body=body, options=Options(method="PATCH"))
    )

    assert (request.method, request.url) == ("PATCH", URL + "?a=1&a=%2F")
    assert request.body == body
    assert request.host is None


async def test_a_delivery_carries_these_headers_and_no_more():
    """DLV-2, DLV-3: no label, no flow control, no redaction, no telemetry."""
    options = Options(
        labels=("a",),
        flow_control=FlowControl(key="k", rate=1),
        redaction=Redaction(body=True),
        failure_callback=Callback(url=URL),
        retry_delay="1000",
        timeout_ms=1000,
    )

    request = await one_delivered(
        a_publish(header=("Content-Type", "text/plain", "X-A", "1"), options=options)
    )

    assert sorted(names(request)) == [
        "Accept-Encoding",
        "Content-Type",
        "Upstash-Caller-Ip",
        "Upstash-Message-Id",
        "Upstash-Region",
        "Upstash-Retried",
        "Upstash-Signature",
        "User-Agent",
        "X-A",
    ]


async def test_a_delivery_s_own_headers_say_what_it_is():
    """DLV-2, DLV-4."""
    emulator, engine, transport = an_emulator()
    publish = a_publish(caller_ip="10.1.2.3")
    ((receipt,),) = engine.publish([publish])
    await emulator.tenants.advance(None)

    (request,) = transport.requests
    assert value(request, "Upstash-Message-Id") == receipt.message_id
    assert value(request, "Upstash-Retried") == "0"
    assert value(request, "Upstash-Caller-Ip") == "10.1.2.3"
    assert value(request, "Upstash-Region") == "EU-CENTRAL-1"
    assert value(request, "User-Agent") == "Upstash-QStash"
    assert value(request, "Accept-Encoding") == "gzip"


async def test_the_region_is_a_setting():
    """DLV-4."""
    request = await one_delivered(a_publish(), region="US-EAST-1")

    assert value(request, "Upstash-Region") == "US-EAST-1"


async def test_no_content_type_is_added():
    """HDR-20, DLV-2."""
    request = await one_delivered(a_publish(body=b"{}"))

    assert "Content-Type" not in names(request)


async def test_forwarded_headers_arrive_in_order_and_repeated():
    """HDR-30, HDR-33."""
    header = ("X-B", "1", "X-A", "2", "X-B", "3", "Upstash-Label", "a")

    request = await one_delivered(a_publish(header=header))

    own = [pair for pair in request.headers if pair[0] in header]
    assert own == [("X-B", "1"), ("X-A", "2"), ("X-B", "3"), ("Upstash-Label", "a")]


@pytest.mark.parametrize("name", ["User-Agent", "Accept-Encoding"])
async def test_two_defaults_may_be_overridden(name):
    """HDR-32."""
    request = await one_delivered(a_publish(header=(name, "mine")))

    assert value(request, name) == "mine"


async def test_redaction_does_not_affect_a_delivery():
    """DLV-6, RED-6."""
    options = Options(redaction=Redaction(body=True, all_headers=True))

    request = await one_delivered(
        a_publish(body=b"secret", header=("X-Key", "secret"), options=options)
    )

    assert request.body == b"secret"
    assert value(request, "X-Key") == "secret"


async def test_each_attempt_counts_on_and_keeps_the_message_s_id():
    """DLV-2, RTY-1."""
    requests = await delivered(
        a_publish(options=Options(retries=2)), script=[Responded(500)]
    )

    assert [value(request, "Upstash-Retried") for request in requests] == [
        "0",
        "1",
        "2",
    ]
    assert len({value(request, "Upstash-Message-Id") for request in requests}) == 1


async def test_a_signature_is_the_user_s_and_of_this_delivery():
    """SIG-4 to SIG-11, SIG-16: verified by an independent library."""
    url, body = URL + "?x=%2F", b'{"hello":"world"}'
    before_s = real_now_ms() // 1000

    request = await one_delivered(a_publish(url, body=body))

    found = claims(request, DEV_USERS[0].keys.current)
    assert (found["iss"], found["sub"], found["aud"]) == ("Upstash", url, "")
    assert found["body"] == urlsafe_b64encode(sha256(body).digest()).decode()
    assert found["exp"] - found["iat"] == 300
    assert found["nbf"] == 0
    # The machine's time, whatever clock schedules: an app verifies with its own.
    assert before_s <= found["iat"] <= real_now_ms() // 1000


@pytest.mark.parametrize("user", range(4))
async def test_each_user_s_deliveries_are_signed_with_that_user_s_key(user):
    """SIG-16, AUTH-8."""
    request = await one_delivered(a_publish(), user=user)

    assert claims(request, DEV_USERS[user].keys.current)["iss"] == "Upstash"


async def test_every_attempt_has_a_fresh_signature():
    """SIG-1, SIG-7, SIG-9."""
    requests = await delivered(
        a_publish(options=Options(retries=2)), script=[Responded(500)]
    )

    key = DEV_USERS[0].keys.current
    ids = {claims(request, key)["jti"] for request in requests}
    assert len(ids) == 3
    assert all(id.startswith("jwt_") and len(id) == 32 for id in ids)


async def test_a_retry_after_a_rotation_is_signed_with_the_new_key():
    """SIG-17, KEY-3, KEY-4."""
    emulator, engine, transport = an_emulator(Responded(500), Responded(200))
    engine.publish([a_publish()])
    await emulator.tenants.advance(T0)
    new = engine.rotate_keys().current
    await emulator.tenants.advance(None)

    first, retry = transport.requests
    assert new == DEV_USERS[0].keys.next
    assert claims(first, DEV_USERS[0].keys.current)
    assert claims(retry, new)


async def test_a_callback_is_signed_for_its_own_url():
    """CBK-7, SIG-5."""
    callback = Callback(url="https://app.example/done?order=1")

    _, request = await delivered(a_publish(options=Options(callback=callback)))

    assert request.url == callback.url
    assert claims(request, DEV_USERS[0].keys.current)["sub"] == callback.url


async def test_a_rerouted_message_keeps_url_host_and_signature():
    """PUB-4, DLV-2, SIG-5: only the connection goes elsewhere."""
    url = "https://app.example:8443/hook?x=1"

    request = await one_delivered(
        a_publish(url),
        routes=(parse_route("https://app.example:8443=http://127.0.0.1:3000"),),
    )

    assert request.url == "http://127.0.0.1:3000/hook?x=1"
    assert request.host == "app.example:8443"
    assert claims(request, DEV_USERS[0].keys.current)["sub"] == url


@pytest.mark.parametrize(("quota", "megabytes"), [("free", 1), ("payg", 10)])
async def test_a_response_s_body_is_kept_up_to_the_message_size(quota, megabytes):
    """CBK-23."""
    request = await one_delivered(a_publish(), quota=quota)

    assert request.max_response_bytes == megabytes * 1_048_576


async def test_attempts_of_one_message_never_overlap():
    """DLV-32."""
    _, engine, transport = an_emulator(Responded(500))
    engine.publish([a_publish(options=Options(retries=3, retry_delay="0"))])
    for _ in range(100):
        await asyncio.sleep(0)

    assert len(transport.requests) == 4
    assert transport.most_in_flight == 1
