"""Ways to a tunnel: host, path and header; IPv4 and IPv6; plain and TLS."""

import asyncio
import ipaddress
import json
import socket
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.tunnel.raw import (
    HOST,
    LIMIT_S,
    BrokenOff,
    a_public,
    a_standing,
    an_app,
    by_hand,
    post,
    request,
)
from tunnel import Relay, Tunnel
from tunnel.settings import RelaySettings, TunnelSettings


@pytest.fixture(scope="module")
def standing():
    """Run relay, tunnel and app for all ways."""
    with a_standing() as standing:
        yield standing


@pytest.mark.parametrize(
    "host",
    [b"demo.localhost", b"demo.localhost:1234", b"DEMO.LocalHost", b"demo.localhost."],
)
def test_a_host_leads_to_its_tunnel_and_stays_as_it_is(standing, host):
    _, arrived = standing.serve(request(host=host))

    assert arrived[0].lines[0] == b"Host: " + host
    assert arrived[0].values(b"x-forwarded-host") == [host]
    assert arrived[0].values(b"x-forwarded-prefix") == []


@pytest.mark.parametrize("host", [b"localhost", b"127.0.0.1:8000", b"[::1]", b"x.dev"])
def test_a_path_leads_to_its_tunnel_and_is_cut(standing, host):
    first = b"POST /t/demo/a/../b;c?d=%zz HTTP/1.1"
    _, arrived = standing.serve(post(b"x", first=first, host=host))

    assert arrived[0].head == (
        b"POST /a/../b;c?d=%%zz HTTP/1.1\r\nHost: %b\r\nContent-Length: 1\r\n"
        b"X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n"
        b"X-Forwarded-Host: %b\r\nX-Forwarded-Prefix: /t/demo\r\n\r\n" % (host, host)
    )


def test_a_prefix_that_was_cut_before_comes_first(standing):
    head = request(
        b"X-Forwarded-Prefix: /api", first=b"GET /t/demo/x HTTP/1.1", host=b"x.dev"
    )
    _, arrived = standing.serve(head)

    assert arrived[0].values(b"x-forwarded-prefix") == [b"/api, /t/demo"]


@pytest.mark.parametrize("line", [b"Qemu-Tunnel: demo", b"qemu-tunnel:\tDEMO "])
def test_a_header_leads_to_its_tunnel_and_nothing_is_cut(standing, line):
    first = b"GET /a?b HTTP/1.1"
    _, arrived = standing.serve(request(line, first=first, host=b"x.dev"))

    assert arrived[0].head.startswith(b"GET /a?b HTTP/1.1\r\n")
    assert arrived[0].values(b"x-forwarded-prefix") == []


def test_requests_for_several_tunnels_may_share_a_connection(standing):
    public, app = standing.public, standing.app
    app.arrived.clear()

    async def act():
        visitor = await public.visit()
        for first, host in (
            (b"GET /1 HTTP/1.1", HOST),
            (b"GET /t/demo/2 HTTP/1.1", b"localhost"),
            (b"GET /x HTTP/1.1", b"other.localhost"),
            (b"GET /3 HTTP/1.1", HOST),
        ):
            await visitor.send(request(first=first, host=host))
            yield (await visitor.answer()).status

    async def statuses():
        return [status async for status in act()]

    assert standing.run(statuses()) == [200, 200, 404, 200]
    assert [one.head[5:6] for one in app.arrived] == [b"1", b"2", b"3"]


@pytest.mark.parametrize(
    ("first", "host"),
    [
        (b"GET / HTTP/1.1", b"other.localhost"),
        (b"GET /t/other/ HTTP/1.1", b"localhost"),
        (b"GET / HTTP/1.1", b"localhost"),
        (b"GET / HTTP/1.1", b"x.dev"),
    ],
)
def test_what_leads_to_no_tunnel_is_answered_with_404(standing, first, host):
    answer, arrived = standing.serve(request(first=first, host=host))

    assert (answer.status, answer.values(b"qemu-error")) == (404, [b"relay"])
    assert "tunnel" in json.loads(answer.body)["error"]
    assert arrived == []


def test_http_1_0_needs_no_host_where_the_path_or_the_header_says_enough(standing):
    for first, lines in (
        (b"GET /t/demo/ HTTP/1.0", []),
        (b"GET / HTTP/1.0", [b"Qemu-Tunnel: demo"]),
    ):
        answer, arrived = standing.serve(request(*lines, first=first, host=None))

        assert answer.body == b"ok"
        assert arrived[0].head.startswith(b"GET / HTTP/1.0\r\n")


async def test_a_body_beyond_the_relays_limit_is_refused():
    async with an_app() as app, a_public(app, relay={"max_body_bytes": 10}) as public:
        counted = await public.ask(post(b"x" * 11))
        chunks = b"6\r\nabcdef\r\n5\r\nghijk\r\n0\r\n\r\n"
        chunked = await public.ask(
            request(
                b"Transfer-Encoding: chunked", first=b"POST / HTTP/1.1", body=chunks
            )
        )

        assert (counted.status, chunked.status) == (413, 413)
        assert counted.values(b"connection") == [b"close"]
        assert app.arrived == []
        assert (await public.ask(post(b"x" * 10))).body == b"ok"


async def test_a_body_that_passes_the_limit_on_its_way_is_cut_off():
    async with by_hand(relay={"max_body_bytes": 10}) as (public, app):
        visitor = await public.visit()
        head = request(b"Transfer-Encoding: chunked", first=b"POST / HTTP/1.1")
        await visitor.send(head + b"6\r\nabcdef\r\n")
        local = await app.called()
        await local.head()
        await local.chunk()
        await visitor.send(b"5\r\nghijk\r\n")

        assert (await visitor.answer()).status == 413
        await local.ended()


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
async def test_relay_and_app_may_be_at_ipv6_addresses_only():
    async with (
        an_app(host="::1", port=0) as app,
        a_public(app, relay={"host": "::1"}) as public,
    ):
        answer = await public.ask(request(), host="::1")

        assert answer.body == b"ok"
        assert app.arrived[0].values(b"x-forwarded-for") == [b"::1"]


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Make a certificate for the relay's domain; return the file, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    begin = datetime(2020, 1, 1, tzinfo=UTC)
    names = [
        x509.DNSName("localhost"),
        x509.DNSName("demo.localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=36500))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "relay.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


def tls_of(certificate):
    """Return the server's context, and one that trusts it."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    return server, ssl.create_default_context(cafile=str(certificate))


async def test_visitors_and_links_may_come_by_tls(certificate):
    server, client = tls_of(certificate)
    secure = {"ssl": client, "server_hostname": "demo.localhost"}

    async with (
        an_app() as app,
        a_public(app, relay={"tls": server}, tunnel={"tls": client}) as public,
    ):
        visitor = await public.visit(**secure)
        for body in (b"", b"x" * 300_000):
            await visitor.send(post(body))
            assert (await visitor.answer()).body == b"ok"

        assert public.relay.link_url.startswith("wss://localhost:")
        assert public.tunnel.url.startswith("https://demo.localhost:")
        assert app.arrived[1].body == b"x" * 300_000
        assert app.arrived[1].values(b"x-forwarded-proto") == [b"https"]


async def test_answers_by_tls_arrive_whole_and_breaks_are_seen(certificate):
    server, client = tls_of(certificate)
    secure = {"ssl": client, "server_hostname": "demo.localhost"}
    body = bytes(1 << 20)

    async with by_hand(relay={"tls": server}, tunnel={"tls": client}) as (public, app):
        visitor = await public.visit(**secure)
        await visitor.send(request(b"Connection: close"))
        local = await app.called()
        await local.request()
        await local.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body)
        local.finish()
        whole = await visitor.answer()

        visitor = await public.visit(**secure)
        await visitor.send(request())
        local = await app.called()
        await local.request()
        await local.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
        await visitor.head()
        local.close()

        assert whole.body == body
        with pytest.raises(BrokenOff):
            await visitor.exactly(9)


async def test_an_early_answer_by_tls_is_read_though_the_body_is_still_being_sent(
    certificate,
):
    server, client = tls_of(certificate)
    secure = {"ssl": client, "server_hostname": "demo.localhost"}
    body = b"x" * (1 << 16)

    async with by_hand(relay={"tls": server}, tunnel={"tls": client}) as (public, app):
        visitor = await public.visit(**secure)
        length = b"Content-Length: %d" % (1 << 30)
        await visitor.send(request(length, first=b"POST /big HTTP/1.1") + body)
        local = await app.called()
        await local.head()
        await local.exactly(len(body))
        await local.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nlarge")
        await local.ended()
        for _ in range(100):
            await visitor.send(body)

        assert (await visitor.answer()).body == b"large"
        (lingering,) = public.relay._public.visitors
        lingering.check(public.relay.now_s() + 10)
        await visitor.ended()


async def test_a_client_that_doesnt_trust_the_relay_says_so_and_sends_no_hello(
    certificate,
):
    server, _ = tls_of(certificate)
    heard = asyncio.Queue()

    async with Relay(RelaySettings(port=0, tls=server)) as relay:
        settings = TunnelSettings(80, relay=relay.link_url)
        starting = asyncio.ensure_future(
            Tunnel(settings, on_event=heard.put_nowait).start()
        )
        async with asyncio.timeout(LIMIT_S):
            trying = await heard.get()
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)

        assert "certificate" in trying.reason
        assert not relay.uplinks


async def test_a_local_server_may_use_tls_with_any_certificate(certificate):
    server, _ = tls_of(certificate)

    async with an_app(host="127.0.0.1", port=0, ssl=server) as app:
        target = f"https://localhost:{app.port}"
        async with a_public(app, tunnel={"target": target}) as public:
            answer = await public.ask(post(b"x" * 100_000))

            assert answer.body == b"ok"
            assert len(app.arrived[0].body) == 100_000
