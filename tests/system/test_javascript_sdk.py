"""The official JavaScript SDK against the real process: as a client, as a receiver,
and as the parent that looks for a dev server or starts one."""

import json
import socket
import sys
import time
from contextlib import closing
from urllib.parse import urlsplit

import pytest
from qstash import QStash, Receiver

pytestmark = [pytest.mark.system, pytest.mark.javascript]

HOUR_MS = 3_600_000

PATIENCE_S = 20

# By name, as in publish.mjs: the body and the content type that arrive.
BODIES = {
    "json": ('{"to":"Zoë","items":[1,2.5,null]}'.encode(), "application/json"),
    "text": ("größer 🎈\r\n".encode(), "text/plain; charset=utf-8"),
    "bytes": (b"\x00plain", None),
    "bytes that are no text": (bytes(range(256)), "application/octet-stream"),
    "nothing": (b"", None),
    "no JSON": (b"", "application/json"),
}


def by_name(reports):
    return {report.pop("name"): report for report in reports}


def test_every_body_arrives_byte_for_byte_and_verified(scenario, app):
    """PUB-20, PUB-21, HDR-20, SIG-5, SIG-10, SIG-15."""
    urls = {name: app.new_url("hook?a=%2F//b") for name in BODIES}

    reports = by_name(scenario("publish.mjs", urls))

    for name, (body, content_type) in BODIES.items():
        (delivery,) = app.wait_for(urls[name])
        assert delivery.message_id == reports[name]["messageId"]
        assert (name, delivery.method, delivery.body) == (name, "POST", body)
        assert delivery.headers.get("content-type") == content_type
        # ENV-13
        assert [key for key in delivery.headers if "telemetry" in key] == []


@pytest.fixture
def every_delivery(server, app):
    """Deliveries of each kind: messages, retries, callbacks, failure callbacks."""
    client = QStash(server.environment["QSTASH_TOKEN"], base_url=server.url)
    hook, empty = app.new_url(answers="500,500"), app.new_url("a//b%2Fc?d=%20&d=")
    callback, failure = app.new_url("callback"), app.new_url("failure")
    client.message.publish_json(
        url=hook,
        body={"to": "Zoë"},
        callback=callback,
        failure_callback=failure,
        retries=1,
        retry_delay="0",
    )
    client.message.publish(url=empty)
    client.http._client.close()  # the SDK never does
    return [
        delivery
        for url, count in ((hook, 2), (empty, 1), (callback, 2), (failure, 1))
        for delivery in app.wait_for(url, count)
    ]


def lines_of(deliveries, **changes):
    return "".join(
        json.dumps(
            {
                "signature": delivery.headers["upstash-signature"],
                "body": delivery.body.decode(),
                "url": delivery.url,
                **changes,
            }
        )
        + "\n"
        for delivery in deliveries
    )


def test_its_receiver_accepts_every_delivery(scenario, every_delivery):
    """SIG-1 to SIG-11; that the Python SDK's does is seen by the Python apps."""
    reports = scenario("verify.mjs", stdin=lines_of(every_delivery))

    assert reports == [{"verified": True}] * 6


@pytest.mark.parametrize("changes", [{"url": "http://localhost/x"}, {"body": "x"}])
def test_its_receiver_refuses_another_url_or_body(scenario, every_delivery, changes):
    """SIG-5, SIG-10."""
    reports = scenario("verify.mjs", stdin=lines_of(every_delivery, **changes))

    assert [report["verified"] for report in reports] == [False] * 6


def test_the_python_receiver_accepts_every_delivery(every_delivery, server):
    """SIG-1 to SIG-11, deliveries to the Node.js app included."""
    receiver = Receiver(
        server.environment["QSTASH_CURRENT_SIGNING_KEY"],
        server.environment["QSTASH_NEXT_SIGNING_KEY"],
    )

    for delivery in every_delivery:
        receiver.verify(
            signature=delivery.headers["upstash-signature"],
            body=delivery.body.decode(),
            url=delivery.url,
        )


def test_messages_are_read_and_cancelled(scenario, fastapi_app, server):
    """MSG-2, MSG-8, MSG-14, MSG-15, MSG-20 to MSG-27, SDK-3, SDK-6."""
    url, other_url = fastapi_app.new_url(), fastapi_app.new_url()

    reports = by_name(scenario("messages.mjs", url, other_url))

    message = reports["get"]["answer"]
    message_id = reports["get"]["messageId"]
    assert message == {
        "messageId": message_id,
        "url": url,
        "method": "PUT",
        "maxRetries": 7,
        "notBefore": message["createdAt"] + HOUR_MS,
        "createdAt": message["createdAt"],
        "callerIP": "127.0.0.1",
        "header": {
            "Content-Type": ["text/plain"],
            "X-Api-Key": ["k"],
            "X-Client": ["scenario"],
        },
        "body": "tea",
        "callback": "http://localhost:1/callback?a=1",
        "callbackHeader": {"X-From": ["callback"]},
        "failureCallback": "http://localhost:1/failed",
        "failureCallbackHeader": {"X-From": ["failure"]},
        "retryDelayExpression": "1000 * (1 + retried)",
        "timeout": 30_000,
        "label": "first",
        "labels": ["first", "second"],
    }
    delivered = reports["get, delivered"]["answer"]
    assert delivered == {
        "messageId": reports["get, delivered"]["messageId"],
        "url": other_url,
        "method": "POST",
        "maxRetries": 3,
        "notBefore": delivered["createdAt"],
        "createdAt": delivered["createdAt"],
        "callerIP": "127.0.0.1",
        "header": {"X-Client": ["scenario"]},
        "bodyBase64": "/w==",
    }
    assert reports["cancel(id)"]["answer"] == {"cancelled": 1}
    again = reports["cancel(id), again"]["answer"]
    assert (again["name"], again["status"]) == ("QstashError", 404)
    assert json.loads(again["message"]) == {"error": f"message {message_id} not found"}
    assert reports["get(unknown)"]["answer"]["status"] == 404
    assert reports["delete(id)"]["answer"] == "nothing"
    assert reports["cancel(ids)"]["answer"] == {"cancelled": 2}
    assert reports["cancel([])"]["answer"] == {"cancelled": 0}
    assert reports["deleteMany"]["answer"] == 1
    assert reports["cancel({filter})"]["answer"] == {"cancelled": 1}
    assert reports["cancel({all})"]["answer"] == {"cancelled": 2}
    assert reports["cancel({all}), again"]["answer"] == {"cancelled": 0}
    assert reports["deleteAll"]["answer"] == 1


def test_logs_are_read_with_every_field_and_filter(scenario, fastapi_app):
    """LOG-1 to LOG-8, LOG-12 to LOG-15, LOG-24, FMT-11 to FMT-13, FMT-17."""
    flaky_url, url = fastapi_app.new_url(answers="503,200"), fastapi_app.new_url()

    reports = by_name(scenario("logs.mjs", flaky_url, url))

    logs = reports["logs"]["logs"]
    common = {
        "messageId": reports["logs"]["messageId"],
        "url": flaky_url,
        "method": "POST",
        "maxRetries": 2,
        "header": {"Content-Type": ["application/json"]},
        "body": "eyJoZWxsbyI6IndvcmxkIn0=",
        "callback": "http://localhost:1/callback",
        "callbackHeaders": {"X-From": ["callback"]},
        "failureCallback": "http://localhost:1/failed",
        "failureCallbackHeaders": {"X-From": ["failure"]},
        "retryDelayExpression": "50",
        "retryDelayExpr": "50",
        "timeout": 30_000,
        "label": "flaky",
        "labels": ["flaky", "job"],
    }
    delivered, active_again, retry, error, active, created = logs
    response_headers = error["responseHeaders"]
    assert response_headers["X-Answer"] == ["503"]
    assert error["error"].startswith("503")
    assert delivered == common | {"time": delivered["time"], "state": "DELIVERED"}
    assert active_again == common | {"time": active_again["time"], "state": "ACTIVE"}
    assert retry == common | {
        "time": retry["time"],
        "state": "RETRY",
        "nextDeliveryTime": retry["time"] + 50,
    }
    assert error == common | {
        "time": error["time"],
        "state": "ERROR",
        "error": error["error"],
        "responseStatus": 503,
        "responseHeader": response_headers,
        "responseHeaders": response_headers,
        "responseBody": "YW5zd2VyIDUwMw==",
    }
    assert active == common | {"time": active["time"], "state": "ACTIVE"}
    assert created == common | {
        "time": created["time"],
        "state": "CREATED",
        "nextDeliveryTime": created["time"],
    }
    assert "cursor" not in reports["logs"]
    assert reports["events"]["events"] >= 9

    plain = ["plain DELIVERED", "plain ACTIVE", "plain CREATED"]
    assert reports["messageId"]["states"] == plain
    assert reports["messageIds"]["states"] == plain
    assert reports["url"]["states"] == plain
    assert reports["path"]["states"] == plain
    assert reports["host and label"]["states"] == plain
    assert sorted(reports["state"]["states"]) == ["flaky DELIVERED", "plain DELIVERED"]
    assert reports["state of two"]["states"] == ["flaky RETRY", "flaky CREATED"]
    assert reports["label, the second"]["states"] == ["flaky ERROR"]
    assert reports["fromDate"]["states"] == reports["toDate"]["states"] == []
    assert reports["pages"]["pages"] == [["DELIVERED", "ACTIVE"], ["CREATED"]]


def test_the_dlq_is_listed_deleted_and_retried(scenario, fastapi_app):
    """DLQ-2 to DLQ-12, DLQ-20 to DLQ-26, DLQ-31 to DLQ-33, SDK-3."""
    url = fastapi_app.new_url(answers="503")
    recovering_url = fastapi_app.new_url(answers="503,503,503,503,503,200")
    callback_url = fastapi_app.new_url("callback")

    reports = by_name(scenario("dlq.mjs", url, recovering_url, callback_url))

    listed = reports["listMessages"]["answer"]
    (entry,) = listed["messages"]
    assert "cursor" not in listed
    assert entry["dlqId"]
    assert entry["responseHeader"]["X-Answer"] == ["503"]
    assert entry == {
        "dlqId": entry["dlqId"],
        "messageId": reports["listMessages"]["messageId"],
        "url": url,
        "method": "PATCH",
        "maxRetries": 0,
        "notBefore": entry["createdAt"],
        "createdAt": entry["createdAt"],
        "callerIP": "127.0.0.1",
        "header": {"Content-Type": ["text/plain"], "X-Trace": ["t"]},
        "body": "tea",
        "callback": callback_url,
        "failureCallback": callback_url,
        "retryDelayExpression": "50",
        "label": "red",
        "labels": ["red", "job"],
        "responseStatus": 503,
        "responseHeader": entry["responseHeader"],
        "responseBody": "answer 503",
    }
    assert reports["by nothing"]["found"] == [0, 1, 2]
    assert reports["by label"]["found"] == [0, 1]
    assert reports["by label or label"]["found"] == [0, 2]
    assert reports["by status"]["found"] == [0, 1, 2]
    assert reports["by another status"]["found"] == []
    assert reports["by ids"]["found"] == [0, 2]
    assert reports["pages"] == {"sizes": [2, 1], "ends": True}

    assert reports["delete(id)"]["answer"] == {"deleted": 1}
    assert reports["delete(id), again"]["status"] == 404
    assert reports["delete(ids)"]["answer"] == {"deleted": 1}
    assert reports["deleteMany"]["answer"] == {"deleted": 1}
    assert reports["delete(none)"]["answer"] == {"deleted": 0}
    assert reports["delete(misspelled)"]["status"] == 400
    assert reports["delete({filter})"]["answer"] == {"deleted": 1}
    assert reports["delete({all})"]["answer"] == {"deleted": 1}
    assert reports["delete({all}), again"]["answer"] == {"deleted": 0}

    for name, count in {
        "retry(id)": 1,
        "retry(ids)": 1,
        "retry({filter})": 2,
        "retry({all})": 1,
        "retry({all}), again": 0,
    }.items():
        assert (name, reports[name]) == (
            name,
            {"retried": count, "areNew": True, "ends": True},
        )
    assert reports["retry(id), again"]["status"] == 404
    assert reports["what is left"]["left"] == []
    revived = fastapi_app.wait_for(recovering_url, 10)[5:]
    assert [delivery.retried for delivery in revived] == ["0"] * 5


def test_batches_are_answered_and_delivered_entry_by_entry(scenario, app):
    """BAT-1 to BAT-6, DED-1, DED-6, PUB-42, SDK-6, ERR-6."""
    urls = {name: app.new_url(name) for name in ("text", "empty", "json", "twice")}

    reports = by_name(scenario("batch.mjs", urls))

    text, third = app.wait_for(urls["text"], 2)
    if text.body == b"":
        text, third = third, text
    (empty,) = app.wait_for(urls["empty"])
    (one,) = app.wait_for(urls["json"])
    (twice,) = app.wait_for(urls["twice"])
    assert reports["batch"]["answer"] == [
        {"messageId": text.message_id},
        {"messageId": empty.message_id},
        {"messageId": third.message_id},
        {"messageId": third.message_id, "deduplicated": True},
    ]
    assert reports["batchJSON"]["answer"] == [{"messageId": one.message_id}]
    assert reports["the same twice"]["answer"] == [
        {"messageId": twice.message_id},
        {"messageId": twice.message_id, "deduplicated": True},
    ]
    assert (text.body, text.headers["content-type"]) == (b"one", "text/plain")
    assert (empty.method, empty.body) == ("PUT", b"")
    assert (one.body, one.headers["content-type"]) == (b'{"n":1}', "application/json")
    assert {each.headers["x-client"] for each in (text, empty, one)} == {"scenario"}
    assert text.headers["x-which"] == "the client's"
    assert empty.headers["x-which"] == "the request's"
    assert reports["refused"]["status"] == 400
    assert json.loads(reports["refused"]["message"])["error"].startswith(
        "invalid destination url: endpoint has invalid scheme"
    )


# Dev mode. Without a network, and with a home directory of its own: there the SDK
# keeps, and first of all makes a directory for, the dev server that it downloads.


@pytest.fixture
def home(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    return home


OF_THE_CLOUD = {
    "QSTASH_URL": "http://127.0.0.1:1",
    "QSTASH_TOKEN": "eyJVc2VySUQiOiJtZSIsIlBhc3N3b3JkIjoic2VjcmV0In0=",
    "QSTASH_CURRENT_SIGNING_KEY": "sig_" + 28 * "c",
    "QSTASH_NEXT_SIGNING_KEY": "sig_" + 28 * "n",
}
"""What an app's environment may hold. In dev mode the SDK ignores it (ENV-6)."""


def dev_mode(home, port):
    return {
        "HOME": str(home),
        "USERPROFILE": str(home),
        "LOCALAPPDATA": str(home),
        "NODE_OPTIONS": "--import ./offline.mjs",
        "QSTASH_DEV": "true",
        "QSTASH_DEV_PORT": str(port),
    }


def port_of(url):
    return urlsplit(url).port


def test_dev_mode_uses_the_running_server_and_downloads_nothing(
    scenario, server, node_app, home
):
    """ENV-6 to ENV-8."""
    url = node_app.new_url()
    variables = dev_mode(home, port_of(server.url)) | OF_THE_CLOUD

    (report,) = scenario("dev_mode.mjs", url, **variables)

    (delivery,) = node_app.wait_for(url)
    assert report == {"messageId": delivery.message_id}
    assert delivery.body == b'{"hello":"world"}'
    assert scenario("verify.mjs", stdin=lines_of([delivery]), **variables) == [
        {"verified": True}
    ]
    assert list(home.iterdir()) == []


@pytest.fixture
def home_with_dev_server(home):
    """A home directory where the SDK finds ``qemu`` as the dev server it once got."""
    cached = home / ".cache" / "upstash" / "qstash-dev" / "qstash"
    cached.parent.mkdir(parents=True)
    cached.write_text(f'#!/bin/sh\nexec {sys.executable} -m emulator "$@"\n')
    cached.chmod(0o755)
    return home


needs_cache_directory = pytest.mark.skipif(
    sys.platform != "linux", reason="the SDK's cache directory is that of Linux here"
)


@needs_cache_directory
@pytest.mark.parametrize(
    "credentials", [{}, OF_THE_CLOUD], ids=["the dev server's", "the cloud's"]
)
def test_dev_mode_starts_qemu_as_a_child_and_ends_it(
    scenario, fastapi_app, home_with_dev_server, credentials
):
    """ENV-6, ENV-8, ENV-10: its ready line is understood, it takes the dev token
    whatever credentials it inherits, and SIGTERM ends it."""
    url = fastapi_app.new_url()
    with closing(socket.create_server(("127.0.0.1", 0))) as unused:
        port = unused.getsockname()[1]
    variables = dev_mode(home_with_dev_server, port) | credentials

    (report,) = scenario("dev_mode.mjs", url, **variables)

    assert "error" not in report
    (delivery,) = fastapi_app.wait_for(url)
    assert report == {"messageId": delivery.message_id}
    assert stops_listening(port)


def stops_listening(port):
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            return True
        time.sleep(0.02)
    return False


@needs_cache_directory
def test_dev_mode_is_told_that_the_port_is_taken(
    scenario, fastapi_app, flask_app, home_with_dev_server
):
    """ENV-8: the Flask app has the port."""
    url = fastapi_app.new_url()
    port = port_of(flask_app.new_url())

    (report,) = scenario("dev_mode.mjs", url, **dev_mode(home_with_dev_server, port))

    assert "Port already in use" in report["error"]
