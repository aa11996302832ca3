"""The official Python SDK, synchronous and asynchronous, against the real process."""

import json
import time
from hashlib import sha256

import jwt
import pytest
from qstash import QStash, Receiver
from qstash.dlq import DlqMessage
from qstash.errors import QStashError, SignatureError
from qstash.log import Log, LogState
from qstash.message import Message

pytestmark = pytest.mark.system

BINARY = bytes(range(256))

HOUR_MS = 3_600_000

# By name: the method that publishes it, its arguments; the body and the content type
# that arrive.
BODIES = {
    "json": (
        "publish_json",
        {"body": {"to": "Zoë", "items": [1, 2.5, None]}},
        b'{"to": "Zo\\u00eb", "items": [1, 2.5, null]}',
        "application/json",
    ),
    "text": (
        "publish",
        {"body": "größer 🎈\r\n", "content_type": "text/plain; charset=utf-8"},
        "größer 🎈\r\n".encode(),
        "text/plain; charset=utf-8",
    ),
    "bytes": ("publish", {"body": b"\x00plain\n"}, b"\x00plain\n", None),
    "bytes that are no text": (
        "publish",
        {"body": BINARY, "content_type": "application/octet-stream"},
        BINARY,
        "application/octet-stream",
    ),
    "nothing": ("publish", {}, b"", None),
    "no JSON": ("publish_json", {}, b"null", "application/json"),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_arrives_byte_for_byte_and_verified(client, app, name):
    """PUB-20, PUB-21, HDR-20, SIG-5, SIG-10, SIG-15."""
    method, arguments, body, content_type = BODIES[name]
    url = app.new_url()

    published = getattr(client.message, method)(url=url, **arguments)

    (delivery,) = app.wait_for(url)
    assert delivery.message_id == published.message_id
    assert not published.deduplicated
    assert delivery.method == "POST"
    assert delivery.body == body
    assert delivery.headers.get("content-type") == content_type
    assert delivery.headers["content-length"] == str(len(body))


@pytest.mark.parametrize(
    "path", ["a%2Fb//c;d=1?u=https://z.com/?q=1&u=2&empty=", "%C3%BC/a+b%20c?x=%26%3D"]
)
def test_a_url_arrives_as_it_was_published(client, app, path):
    """BASE-3, PUB-3, PUB-4, SDK-7."""
    url = app.new_url(path)

    message_id = client.message.publish(url=url).message_id

    (delivery,) = app.wait_for(url)
    assert delivery.message_id == message_id
    assert client.message.get(message_id).url == url


def test_a_delivery_carries_the_documented_headers_and_no_other(client, app):
    """DLV-2, DLV-3, HDR-30, HDR-31."""
    url = app.new_url()

    message_id = client.message.publish(
        url=url,
        headers={"X-Tenant": "blue", "Upstash-Custom": "kept"},
        label="job",
        timeout=5,
        retries=1,
    ).message_id

    (delivery,) = app.wait_for(url)
    headers = delivery.headers
    assert headers.pop("upstash-signature")
    assert headers.pop("connection", "keep-alive") == "keep-alive"
    assert headers == {
        "host": url.split("/")[2],
        "user-agent": "Upstash-QStash",
        "content-length": "0",
        "accept-encoding": "gzip",
        "upstash-message-id": message_id,
        "upstash-retried": "0",
        "upstash-caller-ip": "127.0.0.1",
        "upstash-region": "EU-CENTRAL-1",
        "x-tenant": "blue",
        "upstash-custom": "kept",
    }


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_every_method_is_delivered_with_its_body(client, app, method):
    """HDR-21."""
    url = app.new_url()

    client.message.publish_json(url=url, method=method, body={"n": 1})

    (delivery,) = app.wait_for(url)
    assert (delivery.method, delivery.body) == (method, b'{"n": 1}')


def test_a_signature_holds_for_one_url_and_one_body(client, fastapi_app):
    """SIG-4 to SIG-11, as the SDK's receiver checks them."""
    url = fastapi_app.new_url()
    key = client.signing_key.get().current
    # What the receiver raises is about its second key.
    receiver = Receiver(key, key)

    client.message.publish(url=url, body="1 coin")

    (delivery,) = fastapi_app.wait_for(url)
    signature = delivery.headers["upstash-signature"]
    receiver.verify(signature=signature, body="1 coin", url=url)
    with pytest.raises(SignatureError, match="Invalid subject"):
        receiver.verify(signature=signature, body="1 coin", url=url + "&x=1")
    with pytest.raises(SignatureError, match="Invalid body hash"):
        receiver.verify(signature=signature, body="9 coins", url=url)
    other_key = "sig_" + 28 * "x"
    stranger = Receiver(other_key, other_key)
    with pytest.raises(SignatureError, match="Signature verification failed"):
        stranger.verify(signature=signature, body="1 coin", url=url)


def test_a_batch_is_answered_and_delivered_entry_by_entry(client, app):
    """BAT-1, BAT-2, BAT-5, BAT-6."""
    first, second, third = (app.new_url() for _ in range(3))

    published = client.message.batch(
        [
            {"url": first, "body": "one", "content_type": "text/plain"},
            {"url": second, "method": "PUT", "headers": {"X-N": "2"}, "retries": 0},
            {"url": third, "body": "three", "deduplication_id": "batch-3"},
            {"url": third, "body": "four", "deduplication_id": "batch-3"},
        ]
    )

    deliveries = [app.wait_for(url)[0] for url in (first, second, third)]
    ids = [delivery.message_id for delivery in deliveries]
    assert [each.message_id for each in published] == [*ids, ids[2]]
    assert [each.deduplicated for each in published] == [False, False, False, True]
    assert [each.body for each in deliveries] == [b"one", b"", b"three"]
    assert [each.method for each in deliveries] == ["POST", "PUT", "POST"]
    assert [each.headers.get("content-type") for each in deliveries] == [
        "text/plain",
        None,
        None,
    ]
    assert deliveries[1].headers["x-n"] == "2"


def test_a_batch_of_json_is_an_array_even_of_one(client, app):
    """BAT-5."""
    url = app.new_url()

    (published,) = client.message.batch_json([{"url": url, "body": {"n": 1}}])

    (delivery,) = app.wait_for(url)
    assert delivery.message_id == published.message_id
    assert delivery.body == b'{"n": 1}'
    assert delivery.headers["content-type"] == "application/json"


def test_a_batch_with_one_bad_entry_publishes_nothing(client, app):
    """BAT-7."""
    with pytest.raises(QStashError, match=r"400.*maxRetries exceeded"):
        client.message.batch(
            [{"url": app.new_url()}, {"url": "http://x", "retries": 1000}]
        )

    assert client.log.list().logs == []


def test_the_same_deduplication_id_publishes_once(client, app):
    """DED-1, DED-4, PUB-42."""
    url, other_url = app.new_url(), app.new_url()

    first = client.message.publish(url=url, deduplication_id="order-7")
    second = client.message.publish(url=other_url, deduplication_id="order-7")

    assert not first.deduplicated
    assert (second.message_id, second.deduplicated) == (first.message_id, True)
    app.wait_for(url)
    assert {entry.message_id for entry in client.log.list().logs} == {first.message_id}


def test_the_same_content_publishes_once_only_when_asked(client, app):
    """DED-6; the SDK writes True and False with a capital (FMT-5)."""
    url = app.new_url()

    def publish(body, content_based_deduplication):
        return client.message.publish_json(
            url=url,
            body=body,
            content_based_deduplication=content_based_deduplication,
        )

    first = publish({"n": 1}, True)
    assert publish({"n": 1}, True).message_id == first.message_id
    assert not publish({"n": 2}, True).deduplicated
    assert not publish({"n": 1}, False).deduplicated
    assert len(app.wait_for(url, 3)) == 3


def test_a_message_is_read_back_with_every_field(client, fastapi_app):
    """MSG-2, FMT-7, FMT-9, FMT-12, CBK-16, RTY-18."""
    url = fastapi_app.new_url()
    before_ms = time.time_ns() // 1_000_000

    message_id = client.message.publish_json(
        url=url,
        body={"hello": "world"},
        method="PUT",
        headers={"x-api-key": "k", "X-Trace": "t"},
        callback="http://localhost:1/callback?a=1",
        callback_headers={"Forward-X-From": "callback", "Retries": "0"},
        failure_callback="http://localhost:1/failed",
        failure_callback_headers={"Forward-X-From": "failure"},
        retries=7,
        retry_delay="1000 * (1 + retried)",
        delay="1h",
        timeout=30,
        label="first,second",
    ).message_id

    message = client.message.get(message_id)
    assert before_ms <= message.created_at <= time.time_ns() // 1_000_000
    assert message == Message(
        message_id=message_id,
        url=url,
        url_group=None,
        endpoint=None,
        queue=None,
        body='{"hello": "world"}',
        body_base64=None,
        method="PUT",
        headers={
            "Content-Type": ["application/json"],
            "X-Api-Key": ["k"],
            "X-Trace": ["t"],
        },
        callback_headers={"X-From": ["callback"]},
        failure_callback_headers={"X-From": ["failure"]},
        max_retries=7,
        retry_delay_expression="1000 * (1 + retried)",
        not_before=message.created_at + HOUR_MS,
        created_at=message.created_at,
        callback="http://localhost:1/callback?a=1",
        failure_callback="http://localhost:1/failed",
        schedule_id=None,
        caller_ip="127.0.0.1",
        flow_control=None,
        label="first",
    )


def test_a_plain_message_is_read_back_with_the_defaults(client, fastapi_app, server):
    """MSG-2, MSG-3; and for a while after its delivery too (MSG-8)."""
    url = fastapi_app.new_url()

    message_id = client.message.publish(url=url, body=BINARY).message_id

    server.wait_for(message_id, "DELIVERED")
    message = client.message.get(message_id)
    assert message == Message(
        message_id=message_id,
        url=url,
        url_group=None,
        endpoint=None,
        queue=None,
        body=None,
        body_base64="AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEy"
        "MzQ1Njc4OTo7PD0+P0BBQkNERUZHSElKS0xNTk9QUVJTVFVWV1hZWltcXV5fYGFiY2RlZmdoaWpr"
        "bG1ub3BxcnN0dXZ3eHl6e3x9fn+AgYKDhIWGh4iJiouMjY6PkJGSk5SVlpeYmZqbnJ2en6ChoqOk"
        "paanqKmqq6ytrq+wsbKztLW2t7i5uru8vb6/wMHCw8TFxsfIycrLzM3Oz9DR0tPU1dbX2Nna29zd"
        "3t/g4eLj5OXm5+jp6uvs7e7v8PHy8/T19vf4+fr7/P3+/w==",
        method="POST",
        headers=None,
        callback_headers=None,
        failure_callback_headers=None,
        max_retries=3,
        retry_delay_expression=None,
        not_before=message.created_at,
        created_at=message.created_at,
        callback=None,
        failure_callback=None,
        schedule_id=None,
        caller_ip="127.0.0.1",
        flow_control=None,
        label=None,
    )


def test_not_before_is_an_instant_in_seconds(client, fastapi_app):
    """HDR-23."""
    in_an_hour_s = int(time.time()) + 3600

    message_id = client.message.publish(
        url=fastapi_app.new_url(), not_before=in_an_hour_s, delay=5
    ).message_id

    assert client.message.get(message_id).not_before == in_an_hour_s * 1000


def test_cancelled_messages_are_not_delivered_and_counted_once(
    client, fastapi_app, server
):
    """MSG-10, MSG-11, MSG-15, MSG-22 to MSG-24, LOG-21."""
    url = fastapi_app.new_url()

    def publish():
        return client.message.publish(url=url, delay="1h").message_id

    one, two, three, four = (publish() for _ in range(4))

    client.message.cancel(one)
    assert client.message.cancel_many([one, two, "msg_unknown"]) == 1
    assert client.message.cancel_all() == 2
    assert client.message.cancel_all() == 0
    with pytest.raises(QStashError, match=f"404.*message {one} not found"):
        client.message.cancel(one)
    for message_id in (one, two, three, four):
        states = [entry["state"] for entry in server.wait_for(message_id, "CANCELED")]
        assert states == ["CREATED", "CANCEL_REQUESTED", "CANCELED"]
    logs = client.log.list(filter={"state": LogState.CANCELED}).logs
    assert {entry.message_id for entry in logs} == {one, two, three, four}


def test_an_unknown_message_is_an_error(client):
    """MSG-1, ERR-4."""
    with pytest.raises(QStashError, match=r"404.*message msg_unknown not found"):
        client.message.get("msg_unknown")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"url": "ftp://example.com"}, "endpoint has invalid scheme, add http:// or"),
        ({"url": "http://x", "retry_delay": "2 * tries"}, "Upstash-Retry-Delay"),
        ({"url": "http://x", "delay": "soon"}, "Upstash-Delay"),
        ({"url": "http://x", "deduplication_id": "a:b"}, "cannot contain ':'"),
        ({"url": "http://x", "callback": "nowhere"}, "Upstash-Callback"),
    ],
)
def test_a_bad_publish_is_refused_and_leaves_nothing_behind(client, arguments, text):
    """ERR-3, ERR-4, PUB-8, PUB-30."""
    with pytest.raises(QStashError, match="status: 400") as caught:
        client.message.publish(**arguments)

    assert text in str(caught.value)
    assert client.log.list().logs == []


def test_a_wrong_token_is_refused(server):
    """AUTH-6."""
    client = QStash("wrong", base_url=server.url)

    with pytest.raises(
        QStashError, match=r"401.*unable to authenticate: invalid token"
    ):
        client.message.publish(url="http://localhost:1")

    client.http._client.close()


def test_every_log_entry_is_read_back_with_every_field(client, fastapi_app, server):
    """LOG-3, LOG-12 to LOG-15, LOG-24, FMT-11."""
    url = fastapi_app.new_url(answers="503,200")

    message_id = client.message.publish(
        url=url,
        body="tea",
        content_type="text/plain",
        headers={"X-Trace": "t"},
        callback="http://localhost:1/callback",
        callback_headers={"Forward-X-From": "callback", "Retries": "0"},
        failure_callback="http://localhost:1/failed",
        failure_callback_headers={"Forward-X-From": "failure"},
        retries=2,
        retry_delay="50",
        timeout="30s",
        label="job",
    ).message_id

    server.wait_for(message_id, "DELIVERED")
    logs = client.log.list(filter={"message_id": message_id}).logs
    delivered, active_again, retry, error, active, created = logs

    def entry(log, **changes):
        common = {
            "time": log.time,
            "message_id": message_id,
            "state": None,
            "error": None,
            "next_delivery_time": None,
            "url": url,
            "url_group": None,
            "endpoint": None,
            "queue": None,
            "schedule_id": None,
            "body_base64": "dGVh",
            "headers": {"Content-Type": ["text/plain"], "X-Trace": ["t"]},
            "callback_headers": {"X-From": ["callback"]},
            "failure_callback_headers": {"X-From": ["failure"]},
            "response_status": None,
            "response_headers": None,
            "response_body": None,
            "timeout": 30_000,
            "method": "POST",
            "callback": "http://localhost:1/callback",
            "failure_callback": "http://localhost:1/failed",
            "max_retries": 2,
            "retry_delay_expression": "50",
            "flow_control": None,
            "label": "job",
        }
        return Log(**(common | changes))

    message = client.message.get(message_id)
    assert created == entry(
        created, state=LogState.CREATED, next_delivery_time=message.not_before
    )
    assert created.time == message.created_at
    assert active == entry(active, state=LogState.ACTIVE)
    assert error.error.startswith("503")
    assert error.response_headers["X-Answer"] == ["503"]
    assert error.response_headers["Content-Type"] == ["text/plain; charset=utf-8"]
    assert error == entry(
        error,
        state=LogState.ERROR,
        error=error.error,
        response_status=503,
        response_headers=error.response_headers,
        response_body="YW5zd2VyIDUwMw==",
    )
    assert retry == entry(
        retry, state=LogState.RETRY, next_delivery_time=retry.time + 50
    )
    assert active_again == entry(active_again, state=LogState.ACTIVE)
    assert active_again.time >= retry.next_delivery_time
    assert delivered == entry(delivered, state=LogState.DELIVERED)


def test_logs_are_selected_by_every_filter(client, fastapi_app, server):
    """LOG-5 to LOG-8, FMT-16."""
    red_url, blue_url = fastapi_app.new_url("red"), fastapi_app.new_url("blue")
    red = client.message.publish(url=red_url, label="warm").message_id
    blue = client.message.publish(url=blue_url, label="cold").message_id
    later = client.message.publish(url=blue_url, delay="1h").message_id
    server.wait_for(red, "DELIVERED")
    server.wait_for(blue, "DELIVERED")

    def select(**filter):
        logs = client.log.list(filter=filter).logs
        return {(entry.message_id, entry.state.value) for entry in logs}

    reds, blues = (
        {(message_id, state) for state in ("CREATED", "ACTIVE", "DELIVERED")}
        for message_id in (red, blue)
    )
    laters = {(later, "CREATED")}
    times = sorted(entry.time for entry in client.log.list().logs)
    assert select() == reds | blues | laters
    assert select(message_id=red) == reds
    assert select(message_ids=[red, later]) == reds | laters
    assert select(url=blue_url) == blues | laters
    assert select(label="cold") == blues
    assert select(state=LogState.DELIVERED) == {(red, "DELIVERED"), (blue, "DELIVERED")}
    assert select(state=LogState.IN_PROGRESS) == {(red, "ACTIVE"), (blue, "ACTIVE")}
    assert select(message_id=blue, state=LogState.CREATED) == {(blue, "CREATED")}
    assert select(from_time=times[0], to_time=times[-1]) == reds | blues | laters
    assert select(from_time=times[-1] + 1) == set()
    assert select(to_time=times[0] - 1) == set()
    assert select(label="tepid") == set()
    assert (
        select(queue="q") == select(url_group="g") == select(schedule_id="s") == set()
    )


def test_logs_are_read_page_by_page(client, fastapi_app, server):
    """FMT-17, LOG-2, LOG-4."""
    message_id = client.message.publish(url=fastapi_app.new_url()).message_id
    server.wait_for(message_id, "DELIVERED")

    pages = [client.log.list(count=1)]
    while pages[-1].cursor is not None:
        pages.append(client.log.list(count=1, cursor=pages[-1].cursor))

    assert [entry.state.value for page in pages for entry in page.logs] == [
        "DELIVERED",
        "ACTIVE",
        "CREATED",
    ]


def test_a_dlq_entry_is_read_back_with_every_field(client, fastapi_app, server):
    """DLQ-2 to DLQ-4, DLQ-12."""
    url = fastapi_app.new_url(answers="404")

    message_id = client.message.publish(
        url=url,
        body="tea",
        content_type="text/plain",
        method="PATCH",
        headers={"X-Trace": "t"},
        callback="http://localhost:1/callback",
        callback_headers={"Forward-X-From": "callback"},
        failure_callback="http://localhost:1/failed",
        failure_callback_headers={"Forward-X-From": "failure"},
        retries=0,
        retry_delay="50",
        label="job",
    ).message_id

    server.wait_for(message_id, "FAILED")
    (entry,) = client.dlq.list(filter={"message_id": message_id}).messages
    message = client.message.get(message_id)
    assert entry.dlq_id
    assert entry.response_headers["X-Answer"] == ["404"]
    assert entry.response_headers["Content-Type"] == ["text/plain; charset=utf-8"]
    assert entry == DlqMessage(
        message_id=message_id,
        url=url,
        url_group=None,
        endpoint=None,
        queue=None,
        body="tea",
        body_base64=None,
        method="PATCH",
        headers={"Content-Type": ["text/plain"], "X-Trace": ["t"]},
        callback_headers={"X-From": ["callback"]},
        failure_callback_headers={"X-From": ["failure"]},
        max_retries=0,
        not_before=message.created_at,
        created_at=message.created_at,
        callback="http://localhost:1/callback",
        failure_callback="http://localhost:1/failed",
        schedule_id=None,
        caller_ip="127.0.0.1",
        flow_control=None,
        label="job",
        dlq_id=entry.dlq_id,
        response_status=404,
        response_headers=entry.response_headers,
        response_body="answer 404",
        response_body_base64=None,
        retry_delay_expression="50",
    )
    assert client.dlq.get(entry.dlq_id) == entry


def test_a_message_without_an_answer_is_in_the_dlq_with_status_0(client, server):
    """DLV-16, Q-5. Nothing listens on port 1."""
    message_id = client.message.publish(url="http://127.0.0.1:1/", retries=0).message_id

    server.wait_for(message_id, "FAILED")
    (entry,) = client.dlq.list().messages
    assert (entry.response_status, entry.response_headers) == (0, None)
    assert (entry.response_body, entry.response_body_base64) == (None, None)
    (error,) = client.log.list(filter={"state": LogState.ERROR}).logs
    assert "refused" in error.error
    assert error.response_status is None


def test_dlq_entries_are_selected_paged_and_deleted(client, fastapi_app, server):
    """DLQ-5 to DLQ-9, DLQ-20 to DLQ-22, FMT-17."""
    busy_url = fastapi_app.new_url(answers="503")
    gone_url = fastapi_app.new_url(answers="410")

    def fail(url, label):
        message_id = client.message.publish(url=url, label=label, retries=0).message_id
        server.wait_for(message_id, "FAILED")
        return message_id

    busy, gone, gone_again = (
        fail(busy_url, "a"),
        fail(gone_url, "a"),
        fail(gone_url, "b"),
    )

    def select(**filter):
        return [each.message_id for each in client.dlq.list(filter=filter).messages]

    assert select() == [busy, gone, gone_again]
    assert select(message_id=gone) == [gone]
    assert select(url=gone_url) == [gone, gone_again]
    assert select(label="a") == [busy, gone]
    assert select(label="a", url=gone_url) == [gone]
    assert select(response_status=503) == [busy]
    assert select(caller_ip="127.0.0.1") == [busy, gone, gone_again]
    assert select(caller_ip="10.0.0.1") == select(queue="q") == []
    assert select(url_group="g") == select(schedule_id="s") == []
    assert select(from_time=0, to_time=2**52) == [busy, gone, gone_again]
    assert select(to_time=0) == []

    page = client.dlq.list(count=2)
    rest = client.dlq.list(count=2, cursor=page.cursor)
    ids = [each.dlq_id for each in page.messages + rest.messages]
    assert [len(page.messages), len(rest.messages), rest.cursor] == [2, 1, None]

    client.dlq.delete(ids[0])
    with pytest.raises(QStashError, match="404"):
        client.dlq.delete(ids[0])
    assert client.dlq.delete_many(ids) == 2
    assert client.dlq.list().messages == []
    with pytest.raises(QStashError, match="404"):
        client.dlq.get(ids[1])


def test_rotated_keys_sign_from_the_next_delivery_on(client, fastapi_app):
    """KEY-1 to KEY-4, SIG-17."""
    old = client.signing_key.get()
    url = fastapi_app.new_url()

    new = client.signing_key.rotate()

    assert new.current == old.next
    assert new.next.startswith("sig_")
    assert new.next not in (old.current, old.next)
    assert client.signing_key.get() == new
    client.message.publish(url=url)
    (delivery,) = fastapi_app.wait_for(url)
    signature = delivery.headers["upstash-signature"]
    assert jwt.decode(signature, new.current, ["HS256"])["sub"] == url
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(signature, old.current, ["HS256"])


def test_redacted_fields_are_hidden_from_the_api_and_delivered(
    client, fastapi_app, server
):
    """RED-2 to RED-6, MSG-5, LOG-16."""
    url = fastapi_app.new_url(answers="500")

    message_id = client.message.publish_json(
        url=url,
        body={"card": 42},
        headers={"Authorization": "secret", "X-Open": "1"},
        redact={"body": True, "header": ["authorization"]},
        retries=0,
    ).message_id

    (delivery,) = fastapi_app.wait_for(url)
    assert delivery.body == b'{"card": 42}'
    assert delivery.headers["authorization"] == "secret"
    server.wait_for(message_id, "FAILED")
    (entry,) = client.dlq.list().messages
    for shown in (client.message.get(message_id), entry):
        assert shown.body == "REDACTED:" + sha256(b'{"card": 42}').hexdigest()
        assert shown.headers == {
            "Content-Type": ["application/json"],
            "Authorization": ["REDACTED:" + sha256(b"secret").hexdigest()],
            "X-Open": ["1"],
        }
    everything = json.dumps(
        [vars(each) for each in client.log.list().logs], default=str
    )
    assert "secret" not in everything
    assert "eyJjYXJkIjogNDJ9" not in everything
