"""Relays that can't be reached: the tunnel says why, and tries again."""

import asyncio
import socket
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tunnel import Tunnel, TunnelSettings
from tunnel.events import Trying

LIMIT_S = 20


async def reason_of(relay, **settings):
    """Return why a tunnel has no link to a relay, by its own word."""
    said = asyncio.get_running_loop().create_future()

    def hear(event):
        assert isinstance(event, Trying)
        if not said.done():
            said.set_result(event.reason)

    start = asyncio.ensure_future(
        Tunnel(TunnelSettings(3000, relay=relay, **settings), on_event=hear).start()
    )
    try:
        async with asyncio.timeout(LIMIT_S):
            return await said
    finally:
        start.cancel()
        await asyncio.gather(start, return_exceptions=True)


async def serve(
    tls=None, answer=b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
):
    """Start a server that gives one answer, none of a relay's, and hangs up."""

    async def meet(reader, writer):
        try:
            await reader.read(1)
            writer.write(answer)
            await writer.drain()
        except OSError:
            pass  # the tunnel has seen enough
        writer.close()

    server = await asyncio.start_server(meet, "127.0.0.1", 0, ssl=tls)
    return server, server.sockets[0].getsockname()[1]


def own_certificate(folder):
    """Make a server's context with a certificate that nobody has signed but itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    today = datetime(2025, 1, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(today)
        .not_valid_after(today + timedelta(days=36_500))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "both.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path)
    return context


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "relay.localhost"])
async def test_nobody_listens(host):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))

        reason = await reason_of(f"ws://{host}:{holder.getsockname()[1]}")

    assert reason == "connection refused"


async def test_there_is_no_such_host():
    assert "known" in await reason_of("ws://nobody.invalid")


async def test_what_answers_is_no_relay():
    server, port = await serve()
    async with server:
        assert "404" in await reason_of(f"ws://localhost:{port}")


async def test_a_relay_without_tls_is_asked_by_ws():
    server, port = await serve()
    async with server:
        reason = await reason_of(f"wss://localhost:{port}")

    assert reason.startswith("no TLS with it (")
    assert reason.endswith("does it speak http:// or ws://?")


@pytest.mark.parametrize(
    ("scheme", "asks"), [("ws", "wss://"), ("wss", "a relay's language")]
)
async def test_who_hangs_up_at_once(scheme, asks, tmp_path):
    tls = own_certificate(tmp_path)
    server, port = await serve(tls, answer=b"")
    trusted = ssl.create_default_context(cafile=tmp_path / "both.pem")
    async with server:
        reason = await reason_of(f"{scheme}://localhost:{port}", tls=trusted)

    assert reason == f"it hung up at once: does it speak {asks}?"


async def test_a_certificate_that_nobody_trusts(tmp_path):
    server, port = await serve(own_certificate(tmp_path))
    async with server:
        reason = await reason_of(f"wss://localhost:{port}")

    assert reason == "its certificate isn't trusted: self-signed certificate"
