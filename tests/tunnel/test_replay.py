"""tunnel/replay.py: one call to the app, and what the inspector keeps of it."""

import asyncio
import ssl
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from tests.tunnel.apps import OK, serving
from tests.tunnel.exchanges import PUBLIC, T0, a_head, an_exchange
from tunnel import replay
from tunnel.inspector import Inspector
from tunnel.record import read_recording
from tunnel.recording import Recorder
from tunnel.replay import Answer, Replayer, ReplayFailed, send
from tunnel.replay_request import Edits, ReplayRefused, build_request

REQUEST = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


async def answered(answer, method="GET"):
    async with serving(answer) as app:
        return await send(REQUEST, app.url, method=method)


def sign(*, body, url, former):
    return f"anew-for-{url}"


@pytest.fixture
def free_url(closed_port):
    return f"http://127.0.0.1:{closed_port}"


# One call


async def test_a_request_arrives_to_the_byte_and_the_answer_comes_back():
    async with serving() as app:
        answer = await send(REQUEST, app.url, method="GET")

    assert app.requests == [REQUEST]
    assert answer == Answer(200, OK.removesuffix(b"ok"), b"ok", is_whole=True)


@pytest.mark.parametrize(
    ("answer", "method", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "HEAD", b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "GET", b""),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", "GET", b"until the end"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n0\r\n\r\n",
            "GET",
            b"abc",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300_000,
            "GET",
            b"x" * 300_000,
        ),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK, "GET", b"ok"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "GET", b""),
    ],
)
async def test_a_body_ends_where_http_says(answer, method, body):
    got = await answered(answer, method)

    assert got.body == body
    assert got.is_whole


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "closed the connection without an answer"),
        (b"HTTP/1.1 200 OK\r\n", "closed the connection without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", ""),
        (b"220 smtp ready\r\n\r\n", ""),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 101, "interim answers without end"),
        (b"x" * 200_000, "too long"),
    ],
)
async def test_an_answer_that_is_not_http_is_a_failure(answer, reason):
    with pytest.raises(ReplayFailed, match=f"can't call http://.*{reason}"):
        await answered(answer)


async def test_an_answer_without_end_is_read_up_to_a_bound(monkeypatch):
    monkeypatch.setattr(replay, "MAX_ANSWER_BYTES", 1000)

    answer = await answered(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000)

    assert answer.body == b"x" * 1000
    assert not answer.is_whole


@pytest.fixture
def tls(tmp_path):
    """A server's context, with a certificate of its own making for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "app")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2100, 1, 1, tzinfo=UTC))
        .sign(key, SHA256())
    )
    path = tmp_path / "app.pem"
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + certificate.public_bytes(Encoding.PEM)
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path)
    return context


async def test_on_this_machine_any_certificate_will_do(tls):
    async with serving(tls=tls) as app:
        answer = await send(REQUEST, app.url, method="GET")

    assert answer.status == 200
    assert app.requests == [REQUEST]


async def test_elsewhere_it_must_be_one_that_is_trusted(tls, monkeypatch):
    monkeypatch.setattr(replay, "_is_this_machine", lambda host: False)

    async with serving(tls=tls) as app:
        with pytest.raises(ReplayFailed, match="self-signed certificate"):
            await send(REQUEST, app.url, method="GET")

    assert app.requests == []


@pytest.mark.parametrize(
    ("host", "is_here"),
    [("localhost", True), ("127.0.0.9", True), ("::1", True), ("10.0.0.1", False)],
)
def test_this_machine_is_known_by_its_names(host, is_here):
    assert replay._is_this_machine(host) is is_here
    assert replay._is_this_machine("app.example") is False


async def test_an_app_that_is_not_there_is_a_failure(free_url):
    with pytest.raises(ReplayFailed, match="connection refused; is your app running"):
        await send(REQUEST, free_url, method="GET")


@pytest.mark.parametrize("url", ["ftp://h", "http://", "nonsense", "http://h:99999"])
async def test_a_url_that_is_none_is_a_failure(url):
    with pytest.raises(ReplayFailed, match="use a URL such as http://localhost:3000"):
        await send(REQUEST, url, method="GET")


# What is kept


async def test_a_replay_is_an_exchange_that_names_its_original():
    inspector, heard = Inspector(), []
    inspector.subscribe(heard.append)
    original = an_exchange(
        "Host: h", "Upstash-Signature: old", "Content-Length: 2", inspector=inspector
    )
    async with serving() as app:
        replayer = Replayer(inspector, app.url, now_ms=lambda: T0 + 99, sign=sign)
        again = await replayer.replay(original, Edits(target="/b?c"))

    assert f"Upstash-Signature: anew-for-{PUBLIC}/b?c\r\n".encode() in app.requests[0]
    assert app.requests[0].endswith(b"\r\n\r\nhi")
    assert again.to_json(with_bodies=True) | {"request": None} == {
        "id": 2,
        "state": "done",
        "startedAt": T0 + 99,
        "firstByteMs": 0,
        "durationMs": 0,
        "peer": "203.0.113.9",
        "url": f"{PUBLIC}/b?c",
        "request": None,
        "answer": {
            "status": 200,
            "headers": [["Content-Length", "2"]],
            "bytes": 2,
            "body": "ok",
        },
        "replayOf": 1,
    }
    assert heard == [original, again]
    assert inspector.exchange(2) is again


async def test_a_replay_that_fails_is_kept_as_a_failure(free_url):
    inspector = Inspector()
    replayer = Replayer(inspector, free_url, now_ms=lambda: T0)

    with pytest.raises(ReplayFailed):
        await replayer.replay(an_exchange(inspector=inspector))

    assert inspector.exchange(2).state == "failed"
    assert inspector.exchange(2).failed_end == "local"


async def test_a_replay_that_is_given_up_is_kept_as_a_failure():
    inspector = Inspector()
    async with serving(None) as app:
        replayer = Replayer(inspector, app.url, now_ms=lambda: T0)
        replaying = asyncio.create_task(
            replayer.replay(an_exchange("Host: h", inspector=inspector, body=b""))
        )
        await app.called.wait()
        replaying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await replaying

    assert inspector.exchange(2).error == "cancelled"


async def test_an_answer_that_goes_on_is_kept_as_a_failure(monkeypatch):
    monkeypatch.setattr(replay, "MAX_ANSWER_BYTES", 10)
    inspector = Inspector()
    async with serving(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100) as app:
        replayer = Replayer(inspector, app.url, now_ms=lambda: T0)
        again = await replayer.replay(an_exchange(inspector=inspector))

    assert again.error == "its answer goes on: the rest wasn't read"


async def test_what_is_still_under_way_is_not_replayed():
    inspector = Inspector()
    exchange = inspector.begin(b"", b"http", a_head(), PUBLIC, T0)
    replayer = Replayer(inspector, "http://127.0.0.1:9", now_ms=lambda: T0)

    with pytest.raises(ReplayRefused, match="still under way"):
        await replayer.replay(exchange)
    assert len(inspector) == 1


# From one app to another


async def test_what_one_app_was_asked_is_recorded_and_asked_of_another(tmp_path):
    recorder = Recorder(tmp_path / "a.ndjson")
    original = an_exchange("HOST: h", "X-B: 1", "x-a: 2", "Content-Length: 2")
    recorder.add(original)
    recorder.close()

    async with serving() as first, serving(b"HTTP/1.1 500 No\r\n\r\n") as second:
        replayer = Replayer(Inspector(), first.url, now_ms=lambda: T0)
        await replayer.replay(original)
        (record,) = read_recording(recorder.path)
        request = build_request(record)
        answer = await send(request, second.url, method=record.method)

    assert second.requests == first.requests
    assert (record.status, answer.status) == (200, 500)
