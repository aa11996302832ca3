"""The doctor's look at a relay."""

import asyncio
import socket
import ssl
from http.client import BadStatusLine
from threading import Thread

import pytest
from click.testing import CliRunner

from emulator.cli import cli, relay_check
from emulator.cli.doctor import Verdict
from emulator.cli.relay_check import check_relay
from tunnel.relay import Relay
from tunnel.settings import RelaySettings

TIMEOUT_S = 20


async def test_a_relay_that_is_there_is_fine():
    async with Relay(RelaySettings(port=0)) as relay:
        check = await asyncio.to_thread(check_relay, relay.link_url, TIMEOUT_S)

    assert check.name == f"relay {relay.link_url}"
    assert check.verdict is Verdict.OK
    assert check.detail.endswith(" ms, websocket upgrade passes")


async def test_a_name_below_localhost_needs_no_resolver():
    async with Relay(RelaySettings(port=0)) as relay:
        url = f"ws://a.localhost:{relay.port}"
        check = await asyncio.to_thread(check_relay, url, TIMEOUT_S)

    assert check.verdict is Verdict.OK


def failed(url):
    check = check_relay(url, TIMEOUT_S)
    assert check.verdict is Verdict.FAIL
    assert check.remedy
    assert check.detail.isprintable()
    return check.detail


def test_nothing_that_listens_is_no_relay(closed_port):
    assert failed(f"ws://127.0.0.1:{closed_port}") == "connection refused"


def test_a_server_that_knows_no_websockets_is_no_relay(answering):
    server = answering(b"", status=404)

    assert failed(server.url.replace("http", "ws")) == (
        "it answers 404 instead of a websocket"
    )


def test_a_server_that_only_says_yes_is_no_relay(answering):
    server = answering(b"", status=101)

    assert failed(server.url.replace("http", "ws")) == (
        "what answers doesn't know websockets"
    )


@pytest.fixture
def greeter():
    """Listen, and greet each caller with a line that isn't HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet():
            with server.accept()[0] as caller:
                caller.recv(65_536)
                caller.sendall(b"220 mail.example.dev\r\n")

        thread = Thread(target=greet)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join(TIMEOUT_S)


def test_what_does_not_speak_http_is_no_relay(greeter):
    assert failed(f"ws://{greeter}") == "what answers isn't HTTP"


def test_what_does_not_speak_tls_is_not_for_wss(greeter):
    assert failed(f"wss://{greeter}") == "it doesn't speak TLS"


@pytest.mark.parametrize(
    "url", ["http://a", "ws://", "x", "ws://a:x", "ws://[", "\x1b"]
)
def test_what_is_no_url_of_a_websocket_is_told_so(url):
    assert failed(url) == "not a URL"
    assert check_relay(url, TIMEOUT_S).name.isprintable()


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (socket.gaierror(-2, "Name or service not known"), "no such host"),
        (TimeoutError(), "no answer in time"),
        (BadStatusLine("\x1b"), "what answers isn't HTTP"),
        (OSError(101, "Network is unreachable"), "Network is unreachable"),
        (OSError("odd\x1b"), "odd\\x1b"),
    ],
)
def test_what_goes_wrong_on_the_way_has_a_name_and_a_remedy(monkeypatch, error, detail):
    def fail(*args):
        raise error

    monkeypatch.setattr(relay_check, "_ask", fail)

    assert failed("ws://relay.example.dev") == detail


def test_a_certificate_that_nobody_vouches_for_is_named(monkeypatch):
    error = ssl.SSLCertVerificationError()
    error.verify_message = "self-signed certificate"

    def fail(*args):
        raise error

    monkeypatch.setattr(relay_check, "_ask", fail)

    assert failed("wss://relay.example.dev") == (
        "its certificate isn't trusted: self-signed certificate"
    )


# In the doctor


def diagnosis(*args, **options):
    result = CliRunner().invoke(cli, ["doctor", *args], prog_name="qemu", **options)
    return [line for line in result.output.splitlines() if line.startswith("• relay")]


def test_the_doctor_looks_at_a_relay_that_is_named(closed_port):
    url = f"ws://127.0.0.1:{closed_port}"

    (line,) = diagnosis("--relay", url)
    assert line.startswith(f"• relay {url} ")
    assert line.endswith("FAIL connection refused")
    assert diagnosis(env={"QEMU_RELAY": url}) == [line]
    assert diagnosis() == []
