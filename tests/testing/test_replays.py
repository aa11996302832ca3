"""emulator/testing/replays.py: what a tunnel has recorded, delivered to an app."""

import asyncio
import json

import pytest
from flask import Flask, Response, request

from emulator.core.explain import explain
from emulator.engine.clock import real_now_ms
from tests.testing.calls import publish
from tests.tunnel.exchanges import PUBLIC, an_exchange
from tunnel.inspector import Inspector
from tunnel.recording import Recorder

APP = "https://app.example"


class AnApp:
    """A mounted app: remembers what it was asked, answers as told."""

    def __init__(self, *statuses):
        self.app = Flask("app")
        self.requests = []
        left = list(statuses)

        @self.app.route("/", defaults={"path": ""}, methods=["GET", "POST", "PUT"])
        @self.app.route("/<path:path>", methods=["GET", "POST", "PUT"])
        def serve(path):
            self.requests.append(
                (request.method, request.full_path, dict(request.headers), request.data)
            )
            return Response('{"ok":true}', left.pop(0) if left else 200)


@pytest.fixture
def app(kit):
    app = AnApp()
    kit.mount(APP, app.app)
    return app


@pytest.fixture
def recording(tmp_path):
    """Return a function that records exchanges into a file."""

    def record(*exchanges):
        recorder = Recorder(tmp_path / "a.ndjson")
        for exchange in exchanges:
            recorder.add(exchange)
        recorder.close()
        return recorder.path

    return record


def is_signed_for(kit, url, headers, body):
    return explain(
        signature=headers["Upstash-Signature"],
        body=body,
        url=url,
        current_signing_key=kit.current_signing_key,
        next_signing_key=kit.next_signing_key,
        now_ms=real_now_ms(),
    ).is_valid


def test_what_was_recorded_comes_again_in_order(kit, app, recording):
    path = recording(
        an_exchange("X-A: \xc3\xbc", method="PUT", target="/a?b=c"),
        an_exchange("X-B: 2", target="/b", body=b"\xff"),
    )

    replayed = kit.replay(path, APP)

    assert [(one[0], one[1], one[3]) for one in app.requests] == [
        ("PUT", "/a?b=c", b"hi"),
        ("POST", "/b?", b"\xff"),
    ]
    assert app.requests[0][2]["X-A"].encode("latin-1").decode() == "ü"
    assert [(one.status, one.json(), one.error) for one in replayed] == [
        (200, {"ok": True}, None),
        (200, {"ok": True}, None),
    ]


def test_signatures_are_made_anew_for_the_app(kit, app, recording):
    path = recording(an_exchange("Upstash-Signature: old", "Upstash-Message-Id: msg_1"))

    kit.replay(str(path), APP)

    _, _, headers, body = app.requests[0]
    assert headers["Upstash-Message-Id"] == "msg_1"
    assert is_signed_for(kit, f"{APP}/api/hook", headers, body)


def test_without_an_address_they_are_for_the_recorded_one(kit, recording):
    app = AnApp()
    kit.mount(PUBLIC, app.app)
    path = recording(
        an_exchange("Upstash-Signature: old", "X-Forwarded-Host: brave-otter")
    )

    (replayed,) = kit.replay(path)

    _, _, headers, body = app.requests[0]
    assert replayed.url == f"{PUBLIC}/api/hook"
    assert headers["X-Forwarded-Host"] == "brave-otter"
    assert is_signed_for(kit, f"{PUBLIC}/api/hook", headers, body)


def test_what_says_the_recorded_address_is_left_out_elsewhere(kit, app, recording):
    path = recording(
        an_exchange(
            "Host: brave-otter.relay.example",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Host: brave-otter.relay.example",
            "X-Forwarded-Port: 443",
            "Cookie: a=b",
        )
    )

    kit.replay(path, APP)

    headers = app.requests[0][2]
    assert headers["Host"] == "app.example"
    assert headers["X-Forwarded-Port"] == "443"
    assert "X-Forwarded-Host" not in headers
    assert "X-Forwarded-Proto" not in headers
    assert "Cookie" not in headers


def test_a_request_that_was_not_signed_is_not_signed_now(kit, app, recording):
    kit.replay(recording(an_exchange("Host: h")), APP)

    assert "Upstash-Signature" not in app.requests[0][2]


def test_an_answer_can_be_compared_with_the_recorded_one(kit, recording):
    kit.mount(APP, AnApp(500).app)
    path = recording(an_exchange(answer_body=b"yes"), an_exchange(answer=b""))

    first, second = kit.replay(path, APP)

    assert (first.status, first.recorded_status) == (500, 200)
    assert (first.text, first.recorded_body) == ('{"ok":true}', b"yes")
    assert first.headers["content-type"].startswith("text/html")
    assert (second.recorded_status, second.recorded_body) == (None, None)
    assert repr(first) == '<POST https://app.example/api/hook 500 {"ok":true}>'


def test_a_server_on_loopback_is_called_over_http(kit, recording):
    hook = kit.endpoint("/api/hook")
    path = recording(an_exchange("Upstash-Signature: old"))

    (replayed,) = kit.replay(path, hook.url.removesuffix("/api/hook") + "/")

    assert replayed.status == 200
    (got,) = hook.requests
    assert got.body == b"hi"
    assert got.is_signed


def test_it_is_no_message(kit, app, recording):
    kit.replay(recording(an_exchange()), APP)

    assert kit.log == []
    assert kit.deliveries == []


def test_an_app_may_publish_meanwhile(kit, recording):
    app, hook = Flask("app"), kit.endpoint("/next")

    @app.post("/api/hook")
    def serve():
        return publish(kit, hook.url)

    kit.mount(APP, app)

    (replayed,) = kit.replay(recording(an_exchange()), APP)

    assert replayed.text.startswith("msg_")
    kit.assert_published(hook.url)


def test_an_app_that_never_answers_is_not_waited_for_for_ever(kit, recording):
    async def app(scope, receive, send):
        if scope["type"] == "http":
            await asyncio.Event().wait()

    kit.mount(APP, asgi=app)

    (replayed,) = kit.replay(recording(an_exchange()), APP, within=0.05)

    assert (replayed.status, replayed.error) == (None, "no answer within 0.05 s")


def test_an_app_that_is_not_there_is_said_in_the_answer(kit, recording):
    hook = kit.endpoint(refuse=True)

    (replayed,) = kit.replay(recording(an_exchange()), hook.url)

    assert replayed.status is None
    assert "refused" in replayed.error
    assert "refused" in repr(replayed)


def test_without_an_app_nothing_goes_out_to_the_real_tunnel(kit, recording):
    path = recording(an_exchange())

    with pytest.raises(ValueError, match="no app is mounted for https://brave-otter"):
        kit.replay(path)


def test_a_body_that_was_not_recorded_whole_is_refused(kit, app, recording):
    path = recording(an_exchange(inspector=Inspector(max_body_bytes=1)))

    with pytest.raises(ValueError, match="exchange 1: its body wasn't recorded whole"):
        kit.replay(path, APP)


def a_line(**changes):
    request = {"method": "POST", "target": "/a", "headers": [], "body": ""}
    return json.dumps(
        {"version": 1, "id": 1, "url": f"{PUBLIC}/a", "request": request} | changes
    )


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "Expecting"),
        ("[]", "list indices"),
        ("[" * 100_000, "recursion"),
        (a_line(version=2), "version 2, not 1"),
        (a_line(url=5), "must be texts"),
        (a_line(url="https://h/b"), "url must be one that ends with the target"),
        (a_line(url="ftp://h/a"), "url must be one that ends with the target"),
        (a_line(id="x"), "invalid literal"),
        (a_line(request={}), "'target'"),
        (a_line(answer={"bodyBase64": "#"}), ""),
    ],
)
def test_what_is_no_recording_is_refused_with_its_line(kit, tmp_path, line, reason):
    path = tmp_path / "a.ndjson"
    path.write_text(f"\n{line}\n")

    with pytest.raises(ValueError, match=rf"a\.ndjson, line 2: .*{reason}"):
        kit.replay(path, APP)


def test_a_line_that_is_too_long_is_refused(kit, tmp_path, monkeypatch):
    monkeypatch.setattr("emulator.testing.replays._MAX_LINE_BYTES", 10)
    path = tmp_path / "a.ndjson"
    path.write_text(a_line())

    with pytest.raises(ValueError, match="longer than 10 bytes"):
        kit.replay(path, APP)


def test_a_file_that_is_not_there_is_an_os_error(kit, tmp_path):
    with pytest.raises(FileNotFoundError):
        kit.replay(tmp_path / "none", APP)
