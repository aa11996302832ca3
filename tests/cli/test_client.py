"""Calls to a running emulator."""

import json

import pytest

from emulator.cli.client import Refused, Server, ask_health, call
from emulator.cli.exit_codes import CliError


def health(**fields):
    return json.dumps({"version": "0.1.0", "pending": 14} | fields).encode()


def test_an_emulator_says_how_it_is(answering):
    server = answering(health(status="ok", startedAt=1_700_000_000_000))

    assert ask_health(server.url, timeout_s=5) == {
        "version": "0.1.0",
        "pending": 14,
        "startedAt": 1_700_000_000_000,
    }
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


def test_a_server_is_called_with_its_token(answering):
    stub = answering(b"ok")
    server = Server(stub.url, "mine", "from --token")
    server.call("GET", "/", headers=[("X-A", "1")]).close()

    headers = stub.seen[0][1]
    assert (headers["Authorization"], headers["X-A"]) == ("Bearer mine", "1")


def test_a_refused_token_says_where_it_came_from(answering):
    stub = answering(b'{"error":"unable to authenticate"}', status=401)

    with pytest.raises(Refused) as raised:
        Server(stub.url, "mine", "from QSTASH_TOKEN").call("GET", "/")
    assert raised.value.message == (
        "the server refused: 401 unable to authenticate\n"
        "  The token is from QSTASH_TOKEN. Give another: --token"
    )


def test_another_refusal_has_nothing_to_do_with_the_token(answering):
    stub = answering(b"no", status=403)

    with pytest.raises(Refused) as raised:
        Server(stub.url, "mine", "from --token").call("GET", "/")
    assert raised.value.message == "the server refused: 403 no"
