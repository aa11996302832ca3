"""The commands beside a running emulator."""

import json
import shlex
import subprocess
from base64 import b64encode
from contextlib import nullcontext
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from emulator.cli import cli
from emulator.cli.tools import format_env, is_wanted, parse_events
from emulator.settings import DEV_USERS

USER = DEV_USERS[0]
ID = "msg_26hZCxZCuWyyTWPmSVBrNB882AH1pVKb9Lp2"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Make an empty folder the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


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


def run(*args, **options):
    return CliRunner().invoke(cli, args, prog_name="qemu", **options)


# env


def test_env_prints_the_four_lines_for_a_file():
    """ENV-10, ENV-11."""
    result = run("env")

    assert result.output == (
        'QSTASH_URL="http://127.0.0.1:8080"\n'
        'QSTASH_TOKEN="eyJVc2VySUQiOiJkZWZhdWx0VXNlciIsIlBhc3N3b3JkIjoiZGVmYXVsdFBhc3'
        'N3b3JkIn0="\n'
        'QSTASH_CURRENT_SIGNING_KEY="sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r"\n'
        'QSTASH_NEXT_SIGNING_KEY="sig_5ZB6DVzB1wjE8S6rZ7eenA8Pdnhs"\n'
    )


def test_env_follows_the_settings_in_force(folder):
    (folder / "qemu.toml").write_text("host = '::1'\nport = 1111")
    result = run("env", "--port", "2222", env={"QSTASH_TOKEN": "mine"})

    assert result.output.startswith(
        'QSTASH_URL="http://[::1]:2222"\nQSTASH_TOKEN="mine"\n'
    )


def test_env_cannot_know_a_port_that_is_chosen_at_the_start():
    result = run("env", "--port", "0")

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: port 0 is any that is free")


@pytest.mark.parametrize(
    ("format", "first"),
    [
        ("dotenv", 'QSTASH_URL="http://127.0.0.1:8080"'),
        ("shell", "export QSTASH_URL='http://127.0.0.1:8080'"),
        ("fish", "set -gx QSTASH_URL 'http://127.0.0.1:8080'"),
        ("powershell", "$env:QSTASH_URL = 'http://127.0.0.1:8080'"),
    ],
)
def test_env_speaks_every_shell(format, first):
    lines = run("env", "--format", format).output.splitlines()

    assert lines[0] == first
    assert len(lines) == 4


def test_env_as_json_is_one_object():
    values = json.loads(run("env", "--format", "json").output)

    assert values == {
        "QSTASH_URL": "http://127.0.0.1:8080",
        "QSTASH_TOKEN": USER.token,
        "QSTASH_CURRENT_SIGNING_KEY": USER.keys.current,
        "QSTASH_NEXT_SIGNING_KEY": USER.keys.next,
    }


# What a token may consist of.
tokens = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1)


@given(tokens)
def test_a_shell_reads_back_any_token(token):
    text = format_env("http://x", replace(USER, token=token), "shell")

    assert shlex.split(text.splitlines()[1]) == ["export", f"QSTASH_TOKEN={token}"]


@given(tokens)
def test_a_posix_shell_reads_back_the_dotenv_form_too(token):
    text = format_env("http://x", replace(USER, token=token), "dotenv")

    # In double quotes, shlex leaves the backslash before $ and ` alone; shells don't.
    (read,) = shlex.split(text.splitlines()[1])
    unescaped = read.replace("\\$", "$").replace("\\`", "`")
    assert unescaped.replace("\\", "") == f"QSTASH_TOKEN={token}".replace("\\", "")


def test_a_real_shell_reads_back_the_worst_token():
    token = """a"b'c$d`e\\f!g#h;i&j|k(l)m*n?o~p"""
    for format in ("dotenv", "shell"):
        text = format_env("http://x", replace(USER, token=token), format)
        script = f'{text}\nprintf %s "$QSTASH_TOKEN"'
        done = subprocess.run(
            ["sh", "-c", script], capture_output=True, text=True, check=True
        )

        assert done.stdout == token


def test_other_shells_get_their_own_quotes():
    user = replace(USER, token="a'b\\c")

    assert "'a\\'b\\\\c'" in format_env("http://x", user, "fish")
    assert "'a''b\\c'" in format_env("http://x", user, "powershell")


# publish


def publish(stub, *args, **options):
    stub.answers.setdefault("publish", b'{"messageId":"msg_1"}')
    return run("publish", "--url", stub.url, *args, **options)


def sent(stub):
    """Return the target, the headers and the body of the only request."""
    ((method, target, headers, body),) = stub.requests
    assert method == "POST"
    return target, {k: v for k, v in headers if k not in ("Host", "Connection")}, body


def test_publish_prints_the_id_alone(stub):
    result = publish(stub, "http://localhost:3000/api/hook")
    target, headers, body = sent(stub)

    assert result.output == "msg_1\n"
    assert target == "/v2/publish/http://localhost:3000/api/hook"
    assert headers == {"Authorization": f"Bearer {USER.token}", "Content-Length": "0"}
    assert body == b""


def test_publish_leaves_the_destination_as_it_is(stub):
    """BASE-3."""
    publish(stub, "HTTPS://A.example//b/../c%2f?x=1&x=%20")

    assert sent(stub)[0] == "/v2/publish/HTTPS://A.example//b/../c%2f?x=1&x=%20"


def test_publish_sends_what_is_asked_for_as_headers(stub):
    publish(
        stub,
        "http://a",
        *("--method", "PUT", "--delay", "10s", "--retries", "0"),
        *("--callback", "http://b", "--failure-callback", "http://c"),
        *("-H", "Upstash-Label: one", "-H", "X-Empty:", "--token", "mine"),
    )

    assert sent(stub)[1] == {
        "Authorization": "Bearer mine",
        "Upstash-Method": "PUT",
        "Upstash-Delay": "10s",
        "Upstash-Retries": "0",
        "Upstash-Callback": "http://b",
        "Upstash-Failure-Callback": "http://c",
        "Upstash-Label": "one",
        "X-Empty": "",
        "Content-Length": "0",
    }


@pytest.mark.parametrize(
    ("data", "content_type"),
    [('{"a":1}', "application/json"), ("hello", None), ("[" * 99_999, None)],
)
def test_publish_calls_a_json_body_json(stub, data, content_type):
    publish(stub, "http://a", "-d", data)
    _, headers, body = sent(stub)

    assert headers.get("Content-Type") == content_type
    assert body == data.encode()


def test_publish_takes_the_content_type_that_is_given(stub):
    publish(stub, "http://a", "-d", "{}", "--content-type", "text/plain")

    assert sent(stub)[1]["Content-Type"] == "text/plain"


def test_publish_takes_a_body_from_a_file_or_from_standard_input(stub):
    Path("body.bin").write_bytes(b"\x00\xff")
    publish(stub, "http://a", "-d", "@body.bin")
    assert sent(stub)[2] == b"\x00\xff"

    stub.requests.clear()
    publish(stub, "http://a", "-d", "-", input=b"\xfe")
    assert sent(stub)[2] == b"\xfe"


def test_publish_prints_every_id_of_a_url_group(stub):
    """PUB-41."""
    stub.answers["publish"] = b'[{"messageId":"msg_1"},{"messageId":"msg_2"}]'

    assert publish(stub, "group").output == "msg_1\nmsg_2\n"


@pytest.mark.parametrize(
    ("args", "code", "error"),
    [
        (("http://a/é",), 2, "URL must be ASCII without spaces"),
        (("http://a", "-H", "nonsense"), 2, "a header looks like 'Name: value'"),
        (("http://a", "-H", ": x"), 2, "a header looks like 'Name: value'"),
        (("http://a", "-d", "@nowhere"), 1, "can't read nowhere: No such file"),
        (("http://a", "-H", "X: a\r\nY: b"), 1, "Invalid header value"),
    ],
)
def test_publish_says_what_cannot_be_sent(stub, args, code, error):
    result = publish(stub, *args)

    assert result.exit_code == code
    assert error in result.stderr
    assert stub.requests == []


def test_publish_without_a_server_says_how_to_start_one(stub):
    stub.shutdown()
    stub.server_close()
    result = run("publish", "http://a", env={"QEMU_PORT": str(stub.server_port)})

    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: nothing is listening at {stub.url}\n  Start it: qemu start\n"
    )


# logs


def an_entry(number, state="CREATED", **fields):
    return {
        "time": 1_700_000_000_000 + number,
        "messageId": ID,
        "state": state,
        "url": "http://localhost:3000/api/hook",
        "method": "POST",
        "maxRetries": 3,
    } | fields


def scripted(stub, events, feed=()):
    stub.answers["events"] = json.dumps({"events": events}).encode()
    stub.answers["feed"] = b": listening\n\n" + b"".join(
        f"id: {number}\nevent: {event}\ndata: {json.dumps(data)}\n\n".encode()
        for number, (event, data) in enumerate(feed)
    )


def logs(stub, *args):
    return run("logs", "--url", stub.url, *args)


def test_logs_prints_the_oldest_first_in_the_terminals_form(stub):
    """LOG-3: the API has the newest first."""
    error = an_entry(
        3, "ERROR", responseStatus=500, responseBody=b64encode(b"down").decode()
    )
    scripted(stub, [error, an_entry(2, "ACTIVE"), an_entry(1)])
    lines = logs(stub).output.splitlines()

    assert [line[14:] for line in lines] == [
        "CREATED    msg_26hZ…9Lp2  POST localhost:3000/api/hook",
        'ERROR      msg_26hZ…9Lp2  500: "down"',
    ]


def test_logs_asks_for_what_is_wanted(stub):
    scripted(stub, [])
    logs(
        stub,
        *("--state", "failed", "--state", "IN_PROGRESS", "--message-id", "msg_1"),
        *("--label", "a b", "--url-filter", "http://a?b", "--count", "5"),
    )
    _, target, headers, _ = stub.requests[0]

    assert target == (
        "/v2/events?state=FAILED&state=IN_PROGRESS&messageId=msg_1&label=a+b"
        "&url=http%3A%2F%2Fa%3Fb&count=5"
    )
    assert ("Authorization", f"Bearer {USER.token}") in headers


@pytest.mark.parametrize("args", [("-v",), ("--state", "ACTIVE")])
def test_logs_shows_active_entries_if_asked(stub, args):
    scripted(stub, [an_entry(1, "ACTIVE")])

    assert "ACTIVE" in logs(stub, *args).output


def test_logs_can_show_whole_ids_and_colour(stub):
    scripted(stub, [an_entry(1)])

    assert ID in logs(stub, "--full-ids").output
    assert "\x1b[36mCREATED\x1b[0m" in logs(stub, "--color", "always").output
    assert "\x1b" not in logs(stub).output


def test_logs_for_programs_are_the_apis_entries(stub):
    scripted(stub, [an_entry(2, "ACTIVE"), an_entry(1)])
    lines = logs(stub, "--json").output.splitlines()

    assert [json.loads(line) for line in lines] == [
        {"type": "log", **an_entry(1)},
        {"type": "log", **an_entry(2, "ACTIVE")},
    ]


def test_following_goes_on_with_what_is_written_once_and_wanted(stub):
    mine, theirs = {"user": USER.name}, {"user": "testUser1"}
    scripted(
        stub,
        events=[an_entry(1, "FAILED")],
        feed=[
            ("log", an_entry(1, "FAILED") | mine),
            ("log", an_entry(2, "FAILED") | mine),
            ("log", an_entry(3, "FAILED") | theirs),
            ("log", an_entry(4, "DELIVERED") | mine),
            ("other", {}),
            ("gap", {"dropped": 12}),
            ("log", an_entry(5, "FAILED") | mine),
        ],
    )
    result = logs(stub, "--follow", "--state", "FAILED", "--json")
    times = [json.loads(line)["time"] for line in result.stdout.splitlines()]

    assert times == [1_700_000_000_000 + number for number in (1, 2, 5)]
    assert result.stderr == (
        "… 12 entries lost: this reader was too slow\n"
        f"the emulator at {stub.url} has stopped\n"
    )
    assert result.exit_code == 0


def test_following_is_for_the_user_whose_token_it_is(stub):
    scripted(stub, [], [("log", an_entry(1) | {"user": "testUser1"})])
    result = logs(stub, "--follow", "--token", DEV_USERS[1].token)

    assert "CREATED" in result.stdout


def test_the_first_ctrl_c_ends_following_well(stub, monkeypatch):
    def interrupted(lines):
        raise KeyboardInterrupt

    monkeypatch.setattr("emulator.cli.tools.parse_events", interrupted)
    scripted(stub, [an_entry(1)])
    result = logs(stub, "--follow")

    assert result.exit_code == 0
    assert "CREATED" in result.stdout
    assert result.stderr == ""


def test_a_feed_that_breaks_off_has_stopped(stub, monkeypatch):
    def broken(limit):
        raise TimeoutError

    scripted(stub, [])
    feed = nullcontext(SimpleNamespace(readline=broken))
    monkeypatch.setattr("emulator.cli.tools._history", lambda *args: [])
    monkeypatch.setattr("emulator.cli.tools.call", lambda *args: feed)
    result = logs(stub, "--follow")

    assert result.stderr.endswith("has stopped\n")
    assert result.exit_code == 0


def test_events_are_read_from_the_stream():
    stream = (
        b": hello\r\n\r\nid: 1\nevent: log\ndata: a\ndata: b\n\n"
        b"data:c\nretry: 5\n\nevent: gap\n\nevent: cut off\ndata: d\n"
    )

    assert list(parse_events(stream.splitlines(keepends=True))) == [
        ("log", "a\nb"),
        ("", "c"),
    ]


@given(st.lists(st.binary(max_size=20)))
def test_no_stream_makes_reading_it_raise(lines):
    assert all(data is not None for _, data in parse_events(lines))


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({}, True),
        ({"state": ["ERROR"]}, True),
        ({"state": ["FAILED"]}, False),
        ({"state": ["IN_PROGRESS"]}, True),
        ({"label": ["b", "c"]}, True),
        ({"label": ["c"]}, False),
        ({"messageId": [ID]}, True),
        ({"messageId": ["msg_2"]}, False),
        ({"url": ["http://localhost:3000/api/hook"]}, True),
        ({"url": ["http://localhost:3000"]}, False),
        ({"state": ["ERROR"], "label": ["c"]}, False),
    ],
)
def test_a_live_entry_is_filtered_as_the_api_does(filters, wanted):
    """LOG-5, LOG-7."""
    entry = an_entry(1, "ERROR", labels=["a", "b"])
    nothing = {"state": [], "label": [], "messageId": [], "url": []}

    assert is_wanted(entry, nothing | filters) is wanted


def test_an_entry_without_labels_has_none_that_is_wanted():
    filters = {"state": [], "label": ["a"], "messageId": [], "url": []}

    assert not is_wanted(an_entry(1), filters)
