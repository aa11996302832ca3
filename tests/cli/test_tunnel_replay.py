"""`qemu tunnel replay`: tunnel_replay.py and tunnel_replay_file.py."""

import json
from contextlib import contextmanager

import pytest
from click.testing import CliRunner

from emulator.cli.exit_codes import CliError
from emulator.cli.tunnel_replay import replay
from emulator.cli.tunnel_signatures import TunnelSignatures
from emulator.core.explain import explain
from emulator.core.signature import sign
from emulator.engine.clock import real_now_ms
from emulator.settings import DEV_USERS
from emulator.testing.threads import LoopThread
from tests.tunnel.apps import serving
from tests.tunnel.exchanges import PUBLIC, T0, an_exchange
from tunnel.inspector import Inspector
from tunnel.inspector_api import InspectorApi
from tunnel.recording import Recorder
from tunnel.replay import Replayer

KEYS = DEV_USERS[0].keys
URL = f"{PUBLIC}/api/hook"
OLD = sign(body=b"hi", url=URL, key=KEYS.current, now_ms=T0, jwt_id="jwt_1")
SIGNED = f"Upstash-Signature: {OLD}"


def run(*args, **options):
    result = CliRunner().invoke(replay, args, prog_name="replay", **options)
    assert not isinstance(result.exception, CliError)  # click's own main shows it
    return result


@contextmanager
def running(context):
    """Run an asynchronous context in a thread of its own."""
    thread = LoopThread("test")
    try:
        entered = thread.run(context.__aenter__())
        yield entered
        thread.run(context.__aexit__(None, None, None))
    finally:
        thread.stop()


@pytest.fixture
def app():
    """An app that answers 200 ok."""
    with running(serving()) as app:
        yield app


def recorded(path, *exchanges):
    recorder = Recorder(path)
    for exchange in exchanges:
        recorder.add(exchange)
    recorder.close()
    return str(path)


def signature_in(request):
    head = request.partition(b"\r\n\r\n")[0].decode()
    return next(
        line.partition(": ")[2]
        for line in head.split("\r\n")
        if line.lower().startswith("upstash-signature:")
    )


def is_valid(signature, *, body=b"hi", url=URL, keys=KEYS):
    return explain(
        signature=signature,
        body=body,
        url=url,
        current_signing_key=keys.current,
        next_signing_key=keys.next,
        now_ms=real_now_ms(),
    ).is_valid


# A recording


def test_a_recording_is_sent_in_order_and_signed_anew(app, folder):
    path = recorded(
        folder / "a.ndjson",
        an_exchange(
            "Host: h", f"Upstash-Signature: {OLD}", "Upstash-Message-Id: msg_1"
        ),
        an_exchange("Host: h", method="PUT", target="/b?c", body=b""),
    )

    result = run(path, "--to", app.url)

    assert result.exit_code == 0
    assert [line.split("  ")[:2] for line in result.stdout.splitlines()] == [
        ["POST /api/hook", "200"],
        ["PUT /b?c", "200"],
    ]
    assert result.stderr == "signing with the published keys: none are set\n"
    assert b"\r\nUpstash-Message-Id: msg_1\r\n" in app.requests[0]
    assert not is_valid(OLD)
    assert is_valid(signature_in(app.requests[0]))
    assert app.requests[1].startswith(b"PUT /b?c HTTP/1.1\r\nHost: h\r\n")


def test_the_keys_are_the_apps(app, folder):
    path = recorded(folder / "a.ndjson", an_exchange(SIGNED))
    keys = DEV_USERS[1].keys
    environ = {
        "QSTASH_CURRENT_SIGNING_KEY": keys.current,
        "QSTASH_NEXT_SIGNING_KEY": keys.next,
    }

    run(path, "--to", app.url, env=environ)

    assert is_valid(signature_in(app.requests[0]), keys=keys)


def test_keys_of_ones_own_are_not_mentioned(app, folder):
    path = recorded(folder / "a.ndjson", an_exchange(SIGNED))
    environ = {
        "QSTASH_CURRENT_SIGNING_KEY": "sig_a",
        "QSTASH_NEXT_SIGNING_KEY": "sig_b",
    }

    assert run(path, "--to", app.url, env=environ).stderr == ""


def test_it_can_be_sent_as_if_it_had_come_by_another_address(app, folder):
    path = recorded(folder / "a.ndjson", an_exchange(SIGNED))

    run(path, "--to", app.url, "--public-url", "https://new.example")

    assert b"\r\nHost: new.example\r\n" in app.requests[0]
    assert is_valid(signature_in(app.requests[0]), url="https://new.example/api/hook")


def test_some_exchanges_of_a_recording_can_be_chosen(app, folder):
    inspector = Inspector()
    path = recorded(
        folder / "a.ndjson",
        *[an_exchange(inspector=inspector, target=f"/{i}") for i in (1, 2, 3)],
    )

    run(path, "--to", app.url, "--only", "3", "--only", "1")

    assert [request.split(b" ")[1] for request in app.requests] == [b"/1", b"/3"]


def test_an_exchange_that_a_recording_lacks_is_an_error(app, folder):
    path = recorded(folder / "a.ndjson", an_exchange())

    result = run(path, "--to", app.url, "--only", "9", "--only", "8")

    assert result.exit_code == 1
    assert "a.ndjson has no exchange 8, 9" in result.stderr


def test_requests_can_be_edited(app, folder):
    path = recorded(
        folder / "a.ndjson",
        an_exchange("X-A: 1", "X-B: 2", f"Upstash-Signature: {OLD}"),
    )

    run(
        *(path, "--to", app.url, "-X", "PATCH", "--path", "/b?c", "-d", "new"),
        *("-H", "x-a: 9\xfc", "-H", "X-B:", "-H", "X-C: 3"),
    )

    (request,) = app.requests
    assert request.startswith(b"PATCH /b?c HTTP/1.1\r\nX-A: 9\xc3\xbc\r\n")
    assert b"X-B" not in request
    assert b"\r\nX-C: 3\r\n" in request
    assert request.endswith(b"\r\n\r\nnew")
    signature = signature_in(request)
    assert is_valid(signature, body=b"new", url=f"{PUBLIC}/b?c")


def test_a_body_can_come_from_a_file_or_from_standard_input(app, folder):
    path = recorded(folder / "a.ndjson", an_exchange())
    (folder / "body").write_bytes(b"\xff")

    run(path, "--to", app.url, "-d", "@body")
    run(path, "--to", app.url, "-d", "-", input=b"stdin")

    assert [request.rpartition(b"\r\n")[2] for request in app.requests] == [
        b"\xff",
        b"stdin",
    ]


def test_what_was_not_recorded_is_named_and_can_be_given(app, folder):
    path = recorded(folder / "a.ndjson", an_exchange("Cookie: a=b", "Host: h"))

    without = run(path, "--to", app.url)
    given = run(path, "--to", app.url, "-H", "cookie: a=b")

    assert without.stderr == (
        "1: without Cookie, whose value isn't recorded (give it: -H 'Name: value')\n"
    )
    assert given.stderr == ""
    assert b"Cookie" not in app.requests[0]
    assert (
        b"\r\nCookie: a=b\r\n" in app.requests[1] or b"cookie: a=b" in app.requests[1]
    )


def test_an_answer_that_is_not_what_it_was_says_so(folder):
    path = recorded(folder / "a.ndjson", an_exchange())

    with running(serving(b"HTTP/1.1 500 No\r\n\r\nstripe is\x1b[2J down")) as app:
        result = run(path, "--to", app.url)

    assert result.exit_code == 0
    assert "  500  " in result.stdout
    assert result.stdout.endswith(r"was 200  stripe is\x1b[2J down" + "\n")


def test_json_has_the_answer(app, folder):
    path = recorded(folder / "a.ndjson", an_exchange())

    shown = json.loads(run(path, "--to", app.url, "--json").stdout)

    assert shown.pop("durationMs") >= 0
    assert shown == {
        "type": "replayed",
        "id": 1,
        "method": "POST",
        "target": "/api/hook",
        "recordedStatus": 200,
        "answer": {
            "status": 200,
            "headers": [["Content-Length", "2"]],
            "bytes": 2,
            "body": "ok",
        },
    }


def test_what_cannot_be_sent_is_told_and_the_next_is_sent(app, folder):
    inspector = Inspector(max_body_bytes=3)
    path = recorded(
        folder / "a.ndjson",
        an_exchange(inspector=inspector, body=b"1234"),
        an_exchange(inspector=inspector, target="/b"),
    )

    result = run(path, "--to", app.url)

    assert result.exit_code == 1
    assert "1: its body wasn't recorded whole: give another one" in result.stderr
    assert len(app.requests) == 1


def test_an_app_that_is_not_there_is_a_failure(folder, closed_port):
    path = recorded(folder / "a.ndjson", an_exchange())

    result = run(path, "--to", f"http://127.0.0.1:{closed_port}")

    assert result.exit_code == 1
    assert "is your app running?" in result.stderr


def test_a_port_is_one_of_this_machine(app, folder):
    path = recorded(folder / "a.ndjson", an_exchange())

    assert run(path, "--to", app.url.rpartition(":")[2]).exit_code == 0
    assert len(app.requests) == 1


def test_a_file_that_is_not_there_is_an_error(app):
    result = run("none.ndjson", "--to", app.url)

    assert result.exit_code == 1
    assert "can't read none.ndjson: No such file or directory" in result.stderr


def test_a_file_that_is_no_recording_is_an_error_with_its_line(app, folder):
    (folder / "a.ndjson").write_text("\n{}\n")

    result = run("a.ndjson", "--to", app.url)

    assert result.exit_code == 1
    assert "a.ndjson, line 2: it isn't a record" in result.stderr


def test_one_key_without_the_other_is_refused_before_anything_is_sent(app, folder):
    path = recorded(folder / "a.ndjson", an_exchange())

    result = run(path, "--to", app.url, env={"QSTASH_NEXT_SIGNING_KEY": "sig_b"})

    assert "QSTASH_CURRENT_SIGNING_KEY" in str(result.exception)
    assert app.requests == []


@pytest.mark.parametrize(
    ("args", "error"),
    [
        (("a.ndjson",), "a recording needs --to"),
        (("17",), "an ID needs --inspect"),
        (("17", "--inspect", "1", "--to", "3000"), "--to, --only and --public-url are"),
        (("17", "--inspect", "1", "--only", "1"), "--to, --only and --public-url are"),
        (("a", "--to", "0"), "neither a port nor a URL"),
        (("a", "--to", "99999"), "neither a port nor a URL"),
        (("a", "--to", "ftp://h"), "neither a port nor a URL"),
        (("a", "--to", "1", "--public-url", "h"), "--public-url must be a URL"),
        (("a", "--to", "1", "-H", "x"), "a header looks like 'Name: value'"),
        (("a", "--to", "1", "-X", "A B"), "method: "),
        (("a", "--to", "1", "--path", "b"), "path: begin it with /"),
        (("a", "--to", "1", "-H", "Content-Length: 1"), "Content-Length follows"),
        (("a", "--to", "1", "--only", "0"), "whole number"),
    ],
)
def test_a_command_line_that_cannot_be_is_refused(args, error):
    result = run(*args)

    assert result.exit_code == 2
    assert error in " ".join(result.stderr.split())


def test_a_body_file_that_is_not_there_is_an_error(folder):
    result = run("a", "--to", "1", "-d", "@none")

    assert result.exit_code == 1
    assert "can't read none" in result.stderr


# A running tunnel


class InspectedTunnel:
    """What a running tunnel has for a replay: an inspector with its API."""

    def __init__(self, to):
        self.inspector = Inspector()
        sign = TunnelSignatures(KEYS).sign
        replayer = Replayer(self.inspector, to, now_ms=lambda: T0, sign=sign)
        self._api = InspectorApi(self.inspector, replayer=replayer)

    async def __aenter__(self):
        await self._api.start()
        self.url = self._api.url
        return self

    async def __aexit__(self, *_):
        await self._api.stop()


@pytest.fixture
def tunnel(app):
    with running(InspectedTunnel(app.url)) as tunnel:
        an_exchange(
            "Authorization: Bearer t0ken",
            SIGNED,
            inspector=tunnel.inspector,
        )
        yield tunnel


def test_a_running_tunnel_sends_again_with_what_no_recording_has(app, tunnel):
    result = run("1", "--inspect", tunnel.url)

    assert result.exit_code == 0
    assert result.stdout == "POST /api/hook  200  0 ms\n"
    assert b"\r\nAuthorization: Bearer t0ken\r\n" in app.requests[0]
    assert is_valid(signature_in(app.requests[0]))


def test_where_it_is_may_stand_in_the_environment(tunnel):
    port = tunnel.url.rpartition(":")[2]

    assert run("1", env={"QEMU_INSPECT": port}).exit_code == 0


def test_a_variable_that_lets_the_tunnel_choose_says_not_where_it_is(app, folder):
    path = recorded(folder / "a.ndjson", an_exchange())
    environ = {"QEMU_INSPECT": "0"}

    assert "an ID needs --inspect" in run("1", env=environ).stderr
    assert run(path, "--to", app.url, env=environ).exit_code == 0


def test_it_sends_what_was_edited(app, tunnel):
    run("1", "--inspect", tunnel.url, "-d", "new", "-H", "X-A: 1", "--path", "/b")

    assert app.requests[0].startswith(b"POST /b HTTP/1.1\r\n")
    assert b"\r\nX-A: 1\r\n" in app.requests[0]
    assert app.requests[0].endswith(b"\r\n\r\nnew")


def test_json_has_the_new_exchange(tunnel):
    shown = json.loads(run("1", "--inspect", tunnel.url, "--json").stdout)

    assert (shown["type"], shown["id"], shown["replayOf"]) == ("exchange", 2, 1)


def test_what_the_tunnel_refuses_is_an_error(tunnel):
    missing = run("9", "--inspect", tunnel.url)
    bad = run("1", "--inspect", tunnel.url, "--path", "b")

    assert missing.exit_code == bad.exit_code == 1
    assert "404 exchange 9 isn't kept" in missing.stderr
    assert "400 path: begin it with /" in bad.stderr


def test_without_a_tunnel_it_says_how_to_start_one(closed_port):
    result = run("1", "--inspect", f"http://127.0.0.1:{closed_port}")

    assert result.exit_code == 1
    assert "nothing is listening" in result.stderr
    assert "Start it: qemu tunnel" in result.stderr


@pytest.mark.parametrize("answer", [b"hello", b"[]", b'{"request":{}}', b"[" * 50_000])
def test_what_is_no_tunnel_is_said_to_be_none(answering, answer):
    result = run("1", "--inspect", answering(answer).url)

    assert result.exit_code == 1
    assert "is no tunnel" in result.stderr
