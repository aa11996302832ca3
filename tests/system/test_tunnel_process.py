"""Relay, tunnel and app as processes, over loopback: what they print, how they end."""

import http.client
import json
import os
import queue
import signal
import socket
import subprocess
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest

from emulator.core.signature import sign
from emulator.engine.clock import real_now_ms
from emulator.settings import DEV_USERS
from tests.system.commands import PATIENCE_S, QEMU, qemu

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.name == "nt", reason="POSIX signals"),
]

SECRET = "0123456789abcdef0123456789abcdef"

TIME = r"^[\d:]{8}\.\d{3}  "


@contextmanager
def relay(*args, port=0, **options):
    """Run a relay; yield it, and where tunnels find it."""
    with qemu("relay", "--port", str(port), *args, **options) as command:
        url = command.line(r"^  Tunnels  (ws://\S+)$")[1]
        command.line(r"^qemu relay is running at http://\S+ \(Ctrl-C to stop\)$")
        yield command, url


@contextmanager
def tunnel(target, url, *args, **options):
    """Run a tunnel; yield it, and the host of its public address."""
    with qemu("tunnel", str(target), "--relay", url, *args, **options) as command:
        yield command, command.line(r"^  Public   http://(\S+)$")[1]


def call(host, target="/", body=b"", **headers):
    """Call a public address, which no name server knows; return status and body."""
    port = int(host.rpartition(":")[2])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request("POST", target, body, {"Host": host, **headers})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


class App(ThreadingHTTPServer):
    """Answers with what it was sent; ``/wait`` when it is let go."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), AppHandler)
        self.waiting = Event()
        self.go_on = Event()


class AppHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/wait":
            self.server.waiting.set()
            self.server.go_on.wait(PATIENCE_S)
        with suppress(BrokenPipeError):  # whoever asked may be gone
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def app():
    server = App()
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.go_on.set()
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Start everything in an empty folder: no settings file is near."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def no_app():
    """Return a port on which nothing listens, as long as the test runs."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))  # bound, so that nobody else gets it
        yield holder.getsockname()[1]


def in_background(*args, **options):
    """Call a public address; return a queue that will have the answer, or the error."""
    answers = queue.SimpleQueue()

    def work():
        try:
            answers.put(call(*args, **options))
        except OSError as error:
            answers.put(error)

    Thread(target=work, daemon=True).start()
    return answers


def test_a_request_goes_from_the_public_address_to_the_app_and_back(app):
    with relay() as (_, url), tunnel(app.server_port, url) as (client, host):
        client.line(rf"^  Local    http://localhost:{app.server_port}$")
        client.line(r"^  Relay    localhost:\d+, [\d.]+ ms$")
        client.line(r"^  Inspect  http://127\.0\.0\.1:\d+$")

        assert call(host, "/api/hook?a=%28", b"hello") == (200, b"hello")
        client.line(TIME + r"POST /api/hook\?a=%28   200   \d+ ms$")


def test_a_relay_says_who_comes_and_goes(app):
    with relay() as (server, url):
        with tunnel(app.server_port, url, "--name", "alice") as (client, host):
            assert host.startswith("alice.localhost:")
            server.line(TIME + r"alice came from 127\.0\.0\.1")
            client.send(signal.SIGINT)
            assert client.code() == 0
        server.line(TIME + "alice (lost its link|went): the tunnel is closed$")
        server.send(signal.SIGTERM)

        assert server.code() == 0
        assert server.all_errors() == []


def test_an_app_that_is_not_there_is_told_to_both_ends(no_app):
    with relay() as (_, url), tunnel(no_app, url) as (client, host):
        status, body = call(host, "/api/hook")

        assert status == 502
        assert f"is anything on port {no_app}?" in json.loads(body)["error"]
        client.line(
            TIME
            + rf"POST /api/hook   502   local refused: is anything on port {no_app}"
        )


def test_json_lines_are_all_that_stdout_has(app):
    with qemu("relay", "--port", "0", "--json", "-q") as server:
        url = json.loads(server.line("ready").string)["linkUrl"]
        args = ("tunnel", str(app.server_port), "--relay", url, "--json")
        with qemu(*args) as client:
            ready = json.loads(client.line("ready").string)
            call(ready["url"].removeprefix("http://"), "/api/hook", b"hello")
            exchange = json.loads(client.line("exchange").string)
            client.send(signal.SIGINT)

            assert ready["pid"] == client.process.pid
            assert exchange["request"]["target"] == "/api/hook"
            assert [json.loads(line)["type"] for line in client.rest()] == [
                "stopping",
                "stopped",
            ]
            assert any("  Public   " in line for line in client.all_errors())
        came, went = (json.loads(server.line('"name"').string) for _ in range(2))
        assert (came["type"], went["type"]) == ("came", "went")
        assert came["name"] == went["name"]


def test_a_delivery_of_qstash_shows_its_signature(app):
    with relay() as (_, url), tunnel(app.server_port, url) as (client, host):
        signature = sign(
            body=b"{}",
            url=f"http://{host}/api/hook",
            key=DEV_USERS[0].keys.current,
            now_ms=real_now_ms(),
            jwt_id="jwt_1",
        )
        headers = {"Upstash-Signature": signature, "Upstash-Message-Id": "msg_1"}
        call(host, "/api/hook", b"{}", **headers)

        client.line(r"   200   \d+ ms  msg_1  signature ok$")


def test_only_what_qstash_has_signed_reaches_the_app_if_so_wished(app):
    with (
        relay() as (_, url),
        tunnel(app.server_port, url, "--verify-qstash") as (client, host),
    ):
        assert call(host)[0] == 401
        client.line(TIME + r"POST /   401   access: the request isn't signed by QStash")


# The relay goes, and comes back


def test_a_restart_of_the_relay_keeps_the_address(app):
    with relay() as (server, url), tunnel(app.server_port, url) as (client, host):
        server.send(signal.SIGTERM)
        assert server.code() == 0
        client.line(TIME + r"connection lost \(\d+.*\), reconnecting")
        with relay(port=url.rpartition(":")[2]):
            client.line(TIME + "connected again, same address$")

            assert call(host, "/", b"again") == (200, b"again")


def test_a_tunnel_whose_relay_has_gone_can_be_stopped(app):
    with relay() as (server, url), tunnel(app.server_port, url) as (client, _):
        server.send(signal.SIGKILL)
        client.line(TIME + r"connection lost \(1006\), reconnecting$")
        client.line(TIME + "can't reach the relay: ")
        client.send(signal.SIGINT)

        assert client.code() == 0
        assert client.all_errors() == []


def test_a_tunnel_waits_for_its_relay(app, no_app):
    url = f"ws://127.0.0.1:{no_app}"
    with qemu("tunnel", str(app.server_port), "--relay", url) as client:
        client.line(
            TIME + "can't reach the relay: connection refused; trying again until"
        )
        client.send(signal.SIGINT)

        assert client.code() == 0
        assert client.all_errors() == []


# Refusals


def test_a_refusal_ends_with_6(app):
    environment = {**os.environ, "QEMU_RELAY_SECRET": SECRET}
    with (
        relay(env=environment) as (_, url),
        qemu("tunnel", str(app.server_port), "--relay", url) as client,
    ):
        assert client.code() == 6
        fact, *advice = client.all_errors()
        assert fact.startswith(f"Error: {url} refused: ")
        assert any("QEMU_RELAY_TOKEN" in line for line in advice)


def test_a_token_opens_what_it_is_for(app):
    environment = {**os.environ, "QEMU_RELAY_SECRET": SECRET}
    made = subprocess.run(
        [*QEMU, "relay", "token", "--name", "alice"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
        env=environment,
    )
    with relay(env=environment) as (_, url):
        allowed = {**os.environ, "QEMU_RELAY_TOKEN": made.stdout.strip()}
        args = (app.server_port, url, "--name", "alice")
        with tunnel(*args, env=allowed) as (_, host):
            assert call(host, "/", b"x") == (200, b"x")
        args = ("tunnel", str(app.server_port), "--relay", url, "--name", "bob")
        with qemu(*args, env=allowed) as client:
            assert client.code() == 6


def test_the_newest_tunnel_has_the_name_and_the_other_ends(app):
    with relay() as (_, url):
        args = (app.server_port, url, "--name", "alice")
        with tunnel(*args) as (first, _), tunnel(*args) as (second, host):
            assert first.code() == 6
            assert "newer session" in first.all_errors()[0]
            assert call(host, "/", b"x") == (200, b"x")
            second.send(signal.SIGTERM)
            assert second.code() == 0


# The end


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_relay_lets_what_is_under_way_finish(app, number):
    with relay() as (server, url), tunnel(app.server_port, url) as (_, host):
        answers = in_background(host, "/wait", b"slow")
        assert app.waiting.wait(PATIENCE_S)
        server.send(number)
        server.line(r"^stopping: requests are under way \(Ctrl-C again to stop now\)$")
        app.go_on.set()

        assert answers.get(timeout=PATIENCE_S) == (200, b"slow")
        assert server.code() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_tunnel_lets_what_is_under_way_finish(app, number):
    with relay() as (_, url), tunnel(app.server_port, url) as (client, host):
        answers = in_background(host, "/wait", b"slow")
        assert app.waiting.wait(PATIENCE_S)
        client.send(number)
        client.line(r"^stopping: requests are under way \(Ctrl-C again to stop now\)$")
        app.go_on.set()

        assert answers.get(timeout=PATIENCE_S) == (200, b"slow")
        assert client.code() == 0


def test_the_second_ctrl_c_stops_either_at_once(app):
    with relay() as (server, url), tunnel(app.server_port, url) as (client, host):
        in_background(host, "/wait")
        assert app.waiting.wait(PATIENCE_S)
        for command in (server, client):
            command.send(signal.SIGINT)
            command.line("^stopping: ")
            command.send(signal.SIGINT)

            assert command.code() == 130
            assert command.all_errors() == []


def test_a_closed_terminal_ends_either_quietly(app):
    with relay() as (server, url), tunnel(app.server_port, url) as (client, _):
        for command in (client, server):
            command.send(signal.SIGHUP)

            assert command.code() == 0
            assert command.all_errors() == []


def test_a_reader_that_leaves_ends_it_although_nothing_happens(app):
    with relay() as (_, url):
        reading, writing = os.pipe()
        process = subprocess.Popen(
            [*QEMU, "tunnel", str(app.server_port), "--relay", url],
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(writing)
        text = b""
        while b"Inspect" not in text:
            text += os.read(reading, 1)
        os.close(reading)
        _, errors = process.communicate(timeout=PATIENCE_S)

        assert process.returncode == 0
        assert errors == ""
