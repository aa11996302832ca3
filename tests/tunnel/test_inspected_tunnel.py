"""A running tunnel with an inspector: what came, recorded, judged, and sent again."""

from urllib.parse import urlsplit

import pytest

from emulator.cli.tunnel_signatures import TunnelSignatures
from emulator.core.signature import sign
from emulator.engine.clock import real_now_ms
from emulator.settings import DEV_USERS
from tests.tunnel.apps import OK, serving
from tunnel import Relay, RelaySettings, Tunnel, TunnelSettings
from tunnel.inspector import Inspector
from tunnel.record import read_recording
from tunnel.recording import Recorder
from tunnel.replay import Replayer, send
from tunnel.replay_request import build_request

KEYS = DEV_USERS[0].keys


@pytest.fixture
async def relay():
    async with Relay(RelaySettings(port=0)) as relay:
        yield relay


def a_tunnel(app, relay, inspector):
    settings = TunnelSettings(app.url, relay=relay.link_url)
    return Tunnel(settings, inspector=inspector)


def a_request(tunnel, *lines, body=b"hi"):
    head = [
        "POST /a%28?b HTTP/1.1",
        f"hOST: {urlsplit(tunnel.url).netloc}",
        f"Content-Length: {len(body)}",
        *lines,
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


async def test_the_inspector_has_what_the_app_was_asked_and_what_it_answered(relay):
    inspector = Inspector()
    async with serving() as app, a_tunnel(app, relay, inspector) as tunnel:
        await send(a_request(tunnel, "X-a: 1"), relay.url, method="POST")

    (exchange,) = inspector
    assert app.requests == [exchange.head + exchange.request_body]
    assert exchange.answer_body == b"ok"
    assert exchange.state == "done"
    assert 0 <= exchange.first_byte_ms <= exchange.duration_ms
    assert exchange.url == f"{tunnel.url}/a%28?b"


async def test_an_app_that_is_not_there_is_a_failure_of_the_local_end(relay):
    inspector = Inspector()
    async with serving() as app:
        pass
    settings = TunnelSettings(app.url, relay=relay.link_url, local_hold_s=0)
    async with Tunnel(settings, inspector=inspector) as tunnel:
        answer = await send(a_request(tunnel), relay.url, method="POST")

    (exchange,) = inspector
    assert answer.status == 502
    assert exchange.state == "failed"
    assert exchange.failed_end == "local"


async def test_a_delivery_of_qstashs_is_judged_by_its_public_url(relay):
    inspector = Inspector(verdict=TunnelSignatures(KEYS).verdict)
    async with serving() as app, a_tunnel(app, relay, inspector) as tunnel:
        for url in (f"{tunnel.url}/a%28?b", f"{tunnel.url}/else"):
            token = sign(
                body=b"hi",
                url=url,
                key=KEYS.current,
                now_ms=real_now_ms(),
                jwt_id="jwt_1",
            )
            line = f"Upstash-Signature: {token}"
            await send(a_request(tunnel, line), relay.url, method="POST")

    good, bad = inspector
    assert good.verdict.is_valid
    assert bad.verdict.detail[0].startswith("url-path: ")


async def test_what_was_recorded_is_sent_to_another_app_to_the_byte(relay, tmp_path):
    inspector, recorder = Inspector(), Recorder(tmp_path / "a.ndjson")
    inspector.subscribe(recorder.add)
    async with serving() as first, a_tunnel(first, relay, inspector) as tunnel:
        await send(a_request(tunnel, "X-a: 1", "x-A: 2"), relay.url, method="POST")
    recorder.close()

    (record,) = read_recording(recorder.path)
    async with serving() as second:
        await send(build_request(record), second.url, method=record.method)

    # But for who made the request, which isn't recorded, and the one connection.
    (came,), (replayed,) = first.requests, second.requests
    lines = [one for one in came.split(b"\r\n") if b"X-Forwarded-For" not in one]
    assert replayed.split(b"\r\n") == [*lines[:-2], b"Connection: close", b"", b"hi"]


async def test_a_replay_by_the_running_tunnel_has_everything(relay):
    inspector = Inspector()
    async with serving(OK) as app, a_tunnel(app, relay, inspector) as tunnel:
        line = "Authorization: Bearer s3cret"
        await send(a_request(tunnel, line), relay.url, method="POST")
        replayer = Replayer(inspector, app.url, now_ms=real_now_ms)
        await replayer.replay(inspector.exchange(1))

    came, replayed = app.requests
    assert replayed == came.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
