"""How a command ends."""

import asyncio
import errno
import io
import json
import logging
import os
import signal
import socket
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from emulator.cli.exit_codes import (
    CliError,
    ExitCode,
    Stop,
    ask_health,
    call,
    cannot_listen,
    configure_logging,
    give_up_if_broken,
    heed_signals,
)
from emulator.settings import Settings


@pytest.fixture
def answering():
    """Start servers that give one answer to everything; return how to start one."""
    servers = []

    def start(body, status=200):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.server.seen.append((self.requestline, dict(self.headers)))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self):
                self.server.body = self.rfile.read(int(self.headers["Content-Length"]))
                self.do_GET()

            def log_message(self, *args):
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        server.seen = []
        server.url = f"http://127.0.0.1:{server.server_port}"
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def closed_port():
    """Return a port on which nothing listens, as long as the test runs."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))  # bound, so that nobody else gets it
        yield holder.getsockname()[1]


def health(**fields):
    return json.dumps({"version": "0.1.0", "pending": 14} | fields).encode()


def test_the_codes_are_those_of_the_reference():
    assert {code.name: code.value for code in ExitCode} == {
        "OK": 0,
        "FAILURE": 1,
        "USAGE": 2,
        "SETTINGS": 3,
        "ADDRESS_IN_USE": 4,
        "INTERRUPTED": 130,
    }


def test_an_error_says_the_fact_then_what_to_do():
    error = CliError("the fact", "do this", "or that", code=ExitCode.SETTINGS)
    stream = io.StringIO()
    error.show(stream)

    assert stream.getvalue() == "Error: the fact\n  do this\n  or that\n"
    assert error.exit_code == 3


def test_an_error_is_a_failure_unless_told_otherwise():
    assert CliError("the fact").exit_code == 1


# Can't listen


def explained(error, **settings):
    explanation = cannot_listen(error, Settings(**settings), "qemu start")
    assert explanation.exit_code == 4
    return explanation.message.splitlines()


def test_an_address_in_use_by_another_qemu_is_explained(answering):
    port = answering(health()).server_port
    lines = explained(OSError(errno.EADDRINUSE, "in use"), port=port)

    assert lines == [
        f"address already in use: 127.0.0.1:{port}",
        "  Another qemu 0.1.0 is serving there (14 messages pending).",
        f"  Use it (qemu env), or start on another port: qemu start --port {port + 1}",
    ]


def test_an_address_in_use_by_somebody_else_is_explained(closed_port):
    lines = explained(OSError(errno.EADDRINUSE, "in use"), port=closed_port)

    assert lines == [
        f"address already in use: 127.0.0.1:{closed_port}",
        "  Another program is listening there.",
        f"  Stop it, or start on another port: qemu start --port {closed_port + 1}",
    ]


def test_the_address_is_the_one_that_the_error_names(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "emulator.cli.exit_codes.ask_health", lambda url, timeout_s: asked.append(url)
    )
    error = OSError(errno.EADDRINUSE, "in use", "::1:65535")
    lines = explained(error, port=65535)

    assert lines[0] == "address already in use: [::1]:65535"
    assert lines[2].endswith("qemu start --port 0")
    assert asked == ["http://[::1]:65535"]


@pytest.mark.parametrize(
    ("error", "settings", "fact"),
    [
        (
            socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
            {"host": "nowhere\x1b"},
            "unknown host name: nowhere\\x1b",
        ),
        (
            OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address"),
            {"host": "192.0.2.1"},
            "not an address of this machine: 192.0.2.1",
        ),
        (
            OSError(errno.EACCES, "Permission denied"),
            {"port": 80},
            "not allowed to listen on 127.0.0.1:80",
        ),
        (
            OSError(errno.EMFILE, "Too many open files"),
            {},
            "can't listen on 127.0.0.1:8080: Too many open files",
        ),
    ],
)
def test_whatever_keeps_us_from_listening_is_a_fact_with_advice(error, settings, fact):
    lines = explained(error, **settings)

    assert lines[0] == fact
    assert len(lines) == 2


# Asking a server


def test_an_emulator_says_how_it_is(answering):
    server = answering(health(status="ok", pid=4711))

    assert ask_health(server.url, timeout_s=5) == {"version": "0.1.0", "pending": 14}
    assert server.seen[0][0] == "GET /_qemu/health HTTP/1.1"


@pytest.mark.parametrize(
    "body",
    [b"", b"hello", b"[]", b"{}", b'{"version": 1, "pending": 2}', b"[" * 60_000],
)
def test_whoever_answers_otherwise_is_no_emulator(answering, body):
    assert ask_health(answering(body).url, timeout_s=5) is None


def test_a_strangers_version_cannot_write_to_the_terminal(answering):
    server = answering(health(version="\x1b[2J" + "x" * 100))

    assert ask_health(server.url, timeout_s=5)["version"] == "\\x1b[2J" + "x" * 16


def test_nobody_is_no_emulator(closed_port):
    assert ask_health(f"http://127.0.0.1:{closed_port}", timeout_s=5) is None


def test_a_proxy_of_the_environment_is_not_heard(answering, closed_port, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed_port}")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port}")

    assert ask_health(answering(health()).url, timeout_s=5)


def test_a_target_goes_out_to_the_letter(answering):
    server = answering(b"ok")
    target = "/v2/publish/HTTP://a.example//b/../c%2f?q=1&q=%20#f"
    with call(
        server.url, "POST", target, headers=[("X-A", "1"), ("x-a", "é")], body=b"body"
    ) as response:
        assert response.read() == b"ok"

    assert server.seen[0][0] == f"POST {target} HTTP/1.1"
    assert server.body == b"body"


def test_a_server_that_is_not_there_can_be_started(closed_port):
    with pytest.raises(CliError) as raised:
        call(f"http://127.0.0.1:{closed_port}", "GET", "/")

    assert raised.value.message == (
        f"nothing is listening at http://127.0.0.1:{closed_port}\n"
        "  Start it: qemu start"
    )
    assert raised.value.exit_code == 1


@pytest.mark.parametrize(
    ("url", "target", "reason"),
    [
        ("ftp://127.0.0.1", "/", "must start with http:// or https://"),
        ("http://", "/", "must start with http:// or https://"),
        ("http://127.0.0.1:x", "/", "Port could not be cast"),
        ("http://127.0.0.1:1", "/é", "'ascii' codec can't encode"),
        ("http://127.0.0.1:1", "/\r\nX: 1", "control characters"),
    ],
)
def test_what_cannot_be_sent_is_a_failure(url, target, reason):
    with pytest.raises(CliError, match=f"can't call .*{reason}"):
        call(url, "GET", target)


def test_a_refusal_shows_the_servers_reason(answering):
    server = answering(b'{"error":"no \\u001b[2J"}', status=400)

    with pytest.raises(CliError) as raised:
        call(server.url, "GET", "/")
    assert raised.value.message == "the server refused: 400 no \\x1b[2J"


@pytest.mark.parametrize("body", [b"plain", b'"plain"', b"{}", b"[1]"])
def test_a_refusal_in_other_words_is_shown_as_it_is(answering, body):
    server = answering(body, status=500)

    with pytest.raises(CliError) as raised:
        call(server.url, "GET", "/")
    assert raised.value.message == f"the server refused: 500 {body.decode()}"


def test_a_refused_token_can_be_given(answering):
    server = answering(b'{"error":"unable to authenticate"}', status=401)

    with pytest.raises(CliError, match=r"401 unable[^\n]*\n  Give its token: --token"):
        call(server.url, "GET", "/")


# Signals and streams


@pytest.fixture
def restored_signals():
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "stop"),
    [
        (signal.SIGINT, Stop.INTERRUPT),
        (signal.SIGTERM, Stop.TERMINATE),
        (signal.SIGHUP, Stop.HANGUP),
    ],
)
async def test_a_signal_asks_for_a_stop(restored_signals, number, stop):
    asked = asyncio.Queue()
    heed_signals(asked.put_nowait)
    os.kill(os.getpid(), number)

    assert await asyncio.wait_for(asked.get(), 5) is stop


async def test_nohup_is_respected(restored_signals):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    heed_signals(lambda stop: None)

    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


async def test_a_loop_without_signal_handlers_is_asked_from_outside(
    restored_signals, monkeypatch
):
    def missing(*args):
        raise NotImplementedError

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "add_signal_handler", missing)
    monkeypatch.delattr(signal, "SIGHUP")
    asked = asyncio.Queue()
    heed_signals(asked.put_nowait)
    os.kill(os.getpid(), signal.SIGTERM)

    assert await asyncio.wait_for(asked.get(), 5) is Stop.TERMINATE


def test_a_stream_that_nobody_reads_is_given_up():
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w")
    stream.write("lost")
    give_up_if_broken(stream)

    stream.write("into nothing")
    stream.close()


def test_a_good_stream_and_a_missing_one_are_left_alone():
    stream = io.StringIO()
    give_up_if_broken(None)
    give_up_if_broken(stream)

    assert not stream.closed


# Warnings


@pytest.fixture
def root_logger():
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield root
    root.setLevel(level)
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)


def broken():
    try:
        raise RuntimeError("the reason")
    except RuntimeError:
        logging.getLogger("emulator.x").exception("it broke:\x1b %s", "here")


def test_a_warning_is_one_line_without_a_traceback(root_logger, capsys):
    configure_logging(0, quiet=False)
    broken()
    logging.getLogger("emulator.x").warning("beware")
    logging.getLogger("emulator.x").info("not shown")

    assert capsys.readouterr().err == "error: it broke:\\x1b here\nwarning: beware\n"


def test_quiet_shows_errors_alone(root_logger, capsys):
    configure_logging(0, quiet=True)
    logging.getLogger("emulator.x").warning("beware")
    broken()

    assert capsys.readouterr().err == "error: it broke:\\x1b here\n"


def test_very_verbose_shows_everything_with_logger_names(root_logger, capsys):
    configure_logging(2, quiet=False)
    logging.getLogger("emulator.x").debug("detail")
    broken()
    err = capsys.readouterr().err

    assert "DEBUG emulator.x: detail" in err
    assert "RuntimeError: the reason" in err
