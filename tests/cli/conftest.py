"""Fixtures: an empty folder, servers that give one answer, a port without any."""

import socket
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from threading import Thread

import pytest


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Make an empty folder the working directory: no settings file is near."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("QSTASH_URL", raising=False)
    return tmp_path


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


class Stub(ThreadingHTTPServer):
    """Answers each path with what is scripted for it, and records what was asked."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), StubHandler)
        self.answers = {}
        self.requests = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class StubHandler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append(
            (self.command, self.path, self.headers.items(), body)
        )
        answer = self.server.answers[self.path.partition("?")[0].split("/")[2]]
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_GET

    def log_message(self, *args):
        pass


@pytest.fixture
def stub():
    server = Stub()
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()
