"""What the documents say of tunnel and relay: commands, units, nginx in front."""

import asyncio
import configparser
import os
import re
import shlex
import shutil
import socket
import ssl
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from yarl import URL

from emulator.cli import cli
from tunnel import Relay, RelaySettings, Tunnel, TunnelSettings

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "tests" / "examples"
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

PATIENCE_S = 30

DOMAIN = "relay.localhost"
"""Where the documents say relay.example.dev: one that leads to this machine."""


# Commands

ENDS = ("&", "&&", "|", ">", ">>")


def commands() -> Iterator[list[str]]:
    """Yield the documents' command lines for tunnel and relay, up to a pipe or so."""
    for document in DOCUMENTS:
        text = document.read_text()
        for block in re.findall(r"^```\n(.*?)^```$", text, re.M | re.S):
            for line in block.splitlines():
                if not re.match(r"(?:\S*/)?qemu (tunnel|relay)(?= |$)", line):
                    continue
                words = takewhile(lambda word: word not in ENDS, shlex.split(line))
                if "[OPTIONS]" not in line and " is running at " not in line:
                    yield list(words)[1:]


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_a_command_of_the_documents_can_be_given(words, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QEMU_RELAY", "wss://relay.example.dev")
    name, *arguments = words
    command = cli.get_command(cli.make_context("qemu", [name]), name)

    with command.make_context(name, arguments) as ctx:
        assert ctx.command is not None


def arguments_of(unit: str) -> list[str]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str
    parser.read(HERE / unit)
    return shlex.split(parser["Service"]["ExecStart"])


def test_the_service_is_a_relay_for_the_socket_that_nginx_knows():
    program, name, *arguments = arguments_of("qemu-relay.service")
    command = cli.get_command(cli.make_context("qemu", [name]), name)
    socket_unit = (HERE / "qemu-relay.socket").read_text()
    (listens,) = re.findall(r"^ListenStream=(.*)$", socket_unit, re.M)
    nginx = (HERE / "relay.nginx.conf").read_text()

    with command.make_context(name, arguments) as ctx:
        assert ctx.params["domain"] in nginx
        assert list(ctx.params["trust_proxy"]) == ["127.0.0.1"]
    assert program.startswith("/")
    assert f"server {listens};" in nginx
    assert f"reverse_proxy {listens} " in (HERE / "relay.Caddyfile").read_text()


def test_the_image_runs_a_relay_that_the_container_s_port_reaches():
    text = (HERE / "relay.Dockerfile").read_text()
    lines = dict(line.split(" ", 1) for line in text.splitlines())
    variable, _, host = lines["ENV"].partition("=")
    relay = cli.get_command(cli.make_context("qemu", ["relay"]), "relay")
    options = {param.envvar: param for param in relay.params}

    assert list(lines) == ["FROM", "COPY", "RUN", "USER", "ENV", "EXPOSE", "ENTRYPOINT"]
    assert lines["ENTRYPOINT"] == '["qemu", "relay"]'
    assert (options[variable].name, host) == ("host", "0.0.0.0")
    assert int(lines["EXPOSE"]) == options["QEMU_RELAY_PORT"].default


# nginx in front


def certificate(folder: Path) -> Path:
    """Write a certificate for the domain and all names below it; with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, DOMAIN)])
    begin = datetime(2025, 1, 1, tzinfo=UTC)
    names = [x509.DNSName(DOMAIN), x509.DNSName(f"*.{DOMAIN}")]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=36_500))
        .add_extension(x509.SubjectAlternativeName(names), False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "both.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


AROUND = """\
daemon off; worker_processes 1; pid {folder}/pid; error_log stderr error;
{user}
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/relay.conf;
}}
"""


@asynccontextmanager
async def an_nginx(folder: Path, relay_port: int) -> AsyncIterator[int]:
    """Run nginx with the documents' file, but for addresses; yield its port.

    It is given a socket that listens already, as to one that replaces itself: so
    nobody has to wait until it runs.
    """
    text = (HERE / "relay.nginx.conf").read_text()
    pem = folder / "both.pem"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        for pattern, instead in (
            ("relay.example.dev", DOMAIN),
            ("server 127.0.0.1:8000;", f"server 127.0.0.1:{relay_port};"),
            ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
            ("/etc/ssl/relay/fullchain.pem", str(pem)),
            ("/etc/ssl/relay/privkey.pem", str(pem)),
        ):
            assert pattern in text
            text = text.replace(pattern, instead)
        (folder / "relay.conf").write_text(text)
        user = "user root;" if os.geteuid() == 0 else ""
        around = AROUND.format(folder=folder, user=user)
        (folder / "nginx.conf").write_text(around)
        process = await asyncio.create_subprocess_exec(
            *("nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")),
            stderr=PIPE,
            pass_fds=[listener.fileno()],
            env=os.environ | {"NGINX": f"{listener.fileno()};"},
        )
    try:
        yield port
    finally:
        process.terminate()
        _, said = await process.communicate()
        print(said.decode(), file=sys.stderr)


class ThisMachine(AbstractResolver):
    """Resolves every name to this machine."""

    async def resolve(self, host, port=0, family=socket.AF_INET):
        return [
            {
                "hostname": host,
                "host": "127.0.0.1",
                "port": port,
                "family": socket.AF_INET,
                "proto": 0,
                "flags": 0,
            }
        ]

    async def close(self):
        pass


class App:
    """A local server that tells what it was asked."""

    def __init__(self):
        self.asked = []

    async def any(self, request):
        self.asked.append((request.raw_path, request.raw_headers))
        return web.Response(body=await request.read())

    async def pieces(self, request):
        """Say what comes as soon as it does."""
        answer = web.StreamResponse()
        await answer.prepare(request)
        async for piece in request.content.iter_any():
            await answer.write(piece)
        return answer

    async def echo(self, request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_bytes(message.data)
        return socket


@asynccontextmanager
async def an_app(app: App) -> AsyncIterator[int]:
    application = web.Application(client_max_size=1 << 26)
    application.router.add_post("/pieces", app.pieces)
    application.router.add_get("/echo", app.echo)
    application.router.add_route("*", "/{path:.*}", app.any)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@pytest.mark.system
@pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx")
async def test_nginx_in_front_of_a_relay_changes_nothing(tmp_path):
    tls = ssl.create_default_context(cafile=certificate(tmp_path))
    app = App()
    async with (
        asyncio.timeout(PATIENCE_S),
        an_app(app) as app_port,
        Relay(
            RelaySettings(port=0, domain=DOMAIN, trusted_proxies=("127.0.0.1",))
        ) as relay,
        an_nginx(tmp_path, relay.port) as port,
        Tunnel(
            TunnelSettings(app_port, relay=f"wss://{DOMAIN}:{port}", name="a", tls=tls)
        ) as tunnel,
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls, resolver=ThisMachine())
        ) as visitor,
    ):
        assert tunnel.url == f"https://a.{DOMAIN}:{port}"

        # Target, Host, a header's name and a body of some size.
        body = os.urandom(1_000_000)
        answer = await visitor.post(
            URL(f"{tunnel.url}/a//b;c=%28x%29/%2e?d=%zz&e", encoded=True),
            data=body,
            headers={"x_Odd-NAME": "1", "X-Forwarded-For": "203.0.113.9"},
        )
        assert await answer.read() == body
        (path, headers) = app.asked[0]
        assert path == "/a//b;c=%28x%29/%2e?d=%zz&e"
        assert (b"Host", f"a.{DOMAIN}:{port}".encode()) in headers
        assert (b"x_Odd-NAME", b"1") in headers
        assert (b"X-Forwarded-Proto", b"https") in headers
        exchange = next(iter(tunnel.exchanges))
        assert exchange.url.startswith(tunnel.url)
        assert exchange.peer == "127.0.0.1"  # not what the visitor claims

        # Both directions as they come.
        sent = asyncio.Queue()

        async def pieces():
            while piece := await sent.get():
                yield piece

        sent.put_nowait(b"one")
        async with visitor.post(f"{tunnel.url}/pieces", data=pieces()) as answer:
            assert await answer.content.readany() == b"one"
            sent.put_nowait(b"two")
            assert await answer.content.readany() == b"two"
            sent.put_nowait(b"")
            assert await answer.read() == b""

        # Websockets.
        async with visitor.ws_connect(f"{tunnel.url}/echo") as websocket:
            await websocket.send_bytes(b"\0hello")
            assert (await websocket.receive()).data == b"\0hello"
