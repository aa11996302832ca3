"""Queues, URL groups and batches through the official Python SDK, synchronous and
asynchronous, against the real process."""

import socket
import time

import pytest
from qstash.errors import QStashError
from qstash.message import (
    BatchResponse,
    BatchUrlGroupResponse,
    EnqueueResponse,
    EnqueueUrlGroupResponse,
    PublishUrlGroupResponse,
)
from qstash.queue import Queue
from qstash.url_group import Endpoint, UrlGroup

pytestmark = pytest.mark.system


def now_ms():
    return time.time_ns() // 1_000_000


def changes_of(server, *message_ids):
    """What has happened so far to messages that wait for nothing else, in order."""
    lines = server.lines.wait_for(lambda line: line.get("messageId") in message_ids)
    return [
        (line["messageId"], line["state"])
        for line in lines
        if line["state"] != "CREATED"
    ]


@pytest.fixture
def silent_url():
    """Where every call is taken and none is answered."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"


# Queues


def test_a_queue_is_read_back_with_every_field(client):
    """QUE-1, QUE-2: the SDK resumes a queue with every upsert."""
    before_ms = now_ms()

    client.queue.upsert("emails", parallelism=3, paused=True)

    created = client.queue.get("emails")
    assert before_ms <= created.created_at <= now_ms()
    assert created == Queue(
        name="emails",
        parallelism=3,
        created_at=created.created_at,
        updated_at=created.created_at,
        lag=0,
        paused=True,
    )
    client.queue.upsert("emails")
    updated = client.queue.get("emails")
    assert updated.updated_at >= created.updated_at
    assert updated == Queue(
        name="emails",
        parallelism=1,
        created_at=created.created_at,
        updated_at=updated.updated_at,
        lag=0,
        paused=False,
    )


def test_queues_are_listed_as_they_were_created_and_deleted(client):
    """QUE-2, QUE-5 to QUE-7, QUE-9."""
    assert client.queue.list() == []

    client.queue.upsert("second")
    client.queue.upsert("first", parallelism=2)

    assert client.queue.list() == [
        client.queue.get("second"),
        client.queue.get("first"),
    ]
    client.queue.delete("second")
    client.queue.delete("second")
    assert [queue.name for queue in client.queue.list()] == ["first"]
    for unknown in (client.queue.get, client.queue.pause, client.queue.resume):
        with pytest.raises(QStashError, match="status: 404"):
            unknown("second")
    with pytest.raises(QStashError, match="status: 400"):
        client.queue.upsert("first", parallelism=0)


def test_an_enqueued_message_makes_its_queue_and_is_read_back_with_it(
    client, app, server
):
    """ENQ-1, ENQ-2, ENQ-6, ENQ-7, QUE-21."""
    url = app.new_url()

    enqueued = client.message.enqueue_json(
        queue="emails",
        url=url,
        body={"to": "Zoë"},
        method="PUT",
        headers={"X-Tenant": "blue"},
        retries=1,
        label="mail",
    )

    (delivery,) = app.wait_for(url)
    assert enqueued == EnqueueResponse(delivery.message_id, deduplicated=False)
    assert (delivery.method, delivery.body) == ("PUT", b'{"to": "Zo\\u00eb"}')
    assert delivery.headers["x-tenant"] == "blue"
    assert delivery.headers["content-type"] == "application/json"
    server.wait_for(enqueued.message_id, "DELIVERED")
    message = client.message.get(enqueued.message_id)
    assert (message.queue, message.url_group) == ("emails", None)
    assert (message.max_retries, message.label) == (1, "mail")
    logs = client.log.list(filter={"queue": "emails"}).logs
    assert [(entry.message_id, entry.queue) for entry in logs] == [
        (enqueued.message_id, "emails")
    ] * 3
    queue = client.queue.get("emails")
    assert (queue.parallelism, queue.paused, queue.lag) == (1, False, 0)


def test_a_paused_queue_keeps_its_messages_in_order_until_it_is_resumed(
    client, fastapi_app, server
):
    """ENQ-6, QUE-9, QUE-11, QUE-15, QUE-17, QUE-18, QUE-20, QUE-21."""
    url = fastapi_app.new_url()
    client.queue.upsert("emails")
    client.queue.pause("emails")

    ids = [
        client.message.enqueue(
            queue="emails", url=url, body=body, deduplication_id=body
        ).message_id
        for body in ("one", "two", "three")
    ]
    again = client.message.enqueue(queue="emails", url=url, deduplication_id="one")

    assert again == EnqueueResponse(ids[0], deduplicated=True)
    queue = client.queue.get("emails")
    assert (queue.paused, queue.lag) == (True, 3)
    assert {entry.state.value for entry in client.log.list().logs} == {"CREATED"}
    client.message.cancel(ids[1])
    assert client.queue.get("emails").lag == 2
    client.queue.resume("emails")
    server.wait_for(ids[2], "DELIVERED")
    deliveries = fastapi_app.wait_for(url, 2)
    assert [each.body for each in deliveries] == [b"one", b"three"]
    queue = client.queue.get("emails")
    assert (queue.paused, queue.lag) == (False, 0)


def test_a_queue_waits_for_the_retries_and_callbacks_of_its_head(
    client, fastapi_app, server
):
    """QUE-11 to QUE-13."""
    callback_url = fastapi_app.new_url("callback", answers="500,200")
    client.queue.upsert("jobs", paused=True)
    head = client.message.enqueue(
        queue="jobs", url=fastapi_app.new_url(answers="500,200"), retry_delay="50"
    ).message_id
    second = client.message.enqueue(
        queue="jobs",
        url=fastapi_app.new_url(),
        callback=callback_url,
        callback_headers={"Retry-Delay": "50"},
    ).message_id
    tail = client.message.enqueue(queue="jobs", url=fastapi_app.new_url()).message_id

    client.queue.resume("jobs")

    server.wait_for(tail, "DELIVERED")
    callback = fastapi_app.wait_for(callback_url)[0].message_id
    assert changes_of(server, head, second, callback, tail) == [
        *((head, state) for state in ("ACTIVE", "ERROR", "RETRY")),
        *((head, state) for state in ("ACTIVE", "DELIVERED")),
        *((second, state) for state in ("ACTIVE", "DELIVERED")),
        *((callback, state) for state in ("ACTIVE", "ERROR", "RETRY")),
        *((callback, state) for state in ("ACTIVE", "DELIVERED")),
        *((tail, state) for state in ("ACTIVE", "DELIVERED")),
    ]


def test_a_queue_works_on_as_many_as_its_parallelism(client, silent_url, server):
    """QUE-14, QUE-16, QUE-8: deleting it cancels who waits."""
    client.queue.upsert("wide", parallelism=2)

    one, two, three, four = (
        client.message.enqueue(queue="wide", url=silent_url, retries=0).message_id
        for _ in range(4)
    )

    server.wait_for(two, "ACTIVE")
    assert changes_of(server, one, two, three, four) == [
        (one, "ACTIVE"),
        (two, "ACTIVE"),
    ]
    assert client.queue.get("wide").lag == 4
    client.queue.upsert("wide", parallelism=3)
    server.wait_for(three, "ACTIVE")
    client.queue.delete("wide")
    server.wait_for(four, "CANCELED")
    assert changes_of(server, four) == [(four, "CANCEL_REQUESTED"), (four, "CANCELED")]


# URL groups


def test_a_url_group_is_read_back_with_every_field(client):
    """UGR-1 to UGR-6, UGR-8."""
    before_ms = now_ms()
    client.url_group.upsert_endpoints(
        "news",
        [{"url": "http://a.example/x?a=%2F", "name": "First one"}, {"url": "http://b"}],
    )

    created = client.url_group.get("news")

    assert before_ms <= created.created_at <= now_ms()
    assert created == UrlGroup(
        name="news",
        created_at=created.created_at,
        updated_at=created.created_at,
        endpoints=[
            Endpoint(url="http://a.example/x?a=%2F", name="First one"),
            Endpoint(url="http://b", name=None),
        ],
    )
    client.url_group.upsert_endpoints(
        "news",
        [
            {"url": "http://a2", "name": "First one"},
            {"url": "http://b", "name": "b"},
            {"url": "http://c"},
        ],
    )
    updated = client.url_group.get("news")
    assert updated.created_at == created.created_at
    assert updated.updated_at >= created.updated_at
    assert updated.endpoints == [
        Endpoint(url="http://a2", name="First one"),
        Endpoint(url="http://b", name="b"),
        Endpoint(url="http://c", name=None),
    ]
    client.url_group.remove_endpoints("news", [{"name": "b"}, {"url": "http://a2"}])
    left = client.url_group.get("news")
    assert left.endpoints == [Endpoint(url="http://c", name=None)]
    assert client.url_group.list() == [left]
    for refused in ([], [{"url": "ftp://x"}]):
        with pytest.raises(QStashError, match="status: 400"):
            client.url_group.upsert_endpoints("news", refused)
    assert client.url_group.get("news") == left


def test_a_url_group_without_endpoints_is_gone(client):
    """UGR-7 to UGR-10."""
    client.url_group.upsert_endpoints("news", [{"url": "http://a"}])
    client.url_group.upsert_endpoints("alerts", [{"url": "http://a"}])

    client.url_group.remove_endpoints("news", [{"url": "http://b"}])
    client.url_group.remove_endpoints("news", [{"url": "http://a"}])

    assert [group.name for group in client.url_group.list()] == ["alerts"]
    with pytest.raises(QStashError, match="status: 404"):
        client.url_group.get("news")
    with pytest.raises(QStashError, match="status: 404"):
        client.url_group.remove_endpoints("news", [{"url": "http://a"}])
    client.url_group.delete("alerts")
    client.url_group.delete("alerts")
    assert client.url_group.list() == []


def a_group(client, *urls):
    client.url_group.upsert_endpoints(
        "news", [{"url": url, "name": f"end-{index}"} for index, url in enumerate(urls)]
    )


def test_a_publish_to_a_url_group_goes_to_each_of_its_endpoints(client, app, server):
    """PUB-9, PUB-33, PUB-41, DED-8, DLV-2, MSG-2, LOG-12, SIG-5."""
    urls = [app.new_url("a?x=%2F"), app.new_url("b")]
    a_group(client, *urls)

    published = client.message.publish_json(
        url_group="news", body={"n": 1}, deduplication_id="n-1"
    )

    deliveries = [app.wait_for(url)[0] for url in urls]
    assert published == [
        PublishUrlGroupResponse(delivery.message_id, url, deduplicated=False)
        for delivery, url in zip(deliveries, urls, strict=True)
    ]
    for index, delivery in enumerate(deliveries):
        assert delivery.body == b'{"n": 1}'
        assert delivery.headers["upstash-topic-name"] == "news"
        server.wait_for(delivery.message_id, "DELIVERED")
        message = client.message.get(delivery.message_id)
        assert message.url == urls[index]
        assert (message.url_group, message.endpoint) == ("news", f"end-{index}")
    logs = client.log.list(filter={"url_group": "news"}).logs
    assert len(logs) == 6
    assert {(each.message_id, each.url_group, each.endpoint) for each in logs} == {
        (delivery.message_id, "news", f"end-{index}")
        for index, delivery in enumerate(deliveries)
    }
    again = client.message.publish(url_group="news", deduplication_id="n-1")
    assert [(each.message_id, each.deduplicated) for each in again] == [
        (delivery.message_id, True) for delivery in deliveries
    ]
    with pytest.raises(QStashError, match=r"404.*topic unknown not found"):
        client.message.publish(url_group="unknown")


def test_what_is_enqueued_for_a_url_group_goes_to_its_endpoints_in_order(client, app):
    """ENQ-5, PUB-34, UGR-13: a later change of the group isn't seen."""
    urls = [app.new_url("a"), app.new_url("b")]
    a_group(client, *urls)
    client.queue.upsert("jobs", paused=True)

    enqueued = client.message.enqueue(queue="jobs", url_group="news", body="tea")

    client.url_group.delete("news")
    assert client.queue.get("jobs").lag == 2
    client.queue.resume("jobs")
    deliveries = [app.wait_for(url)[0] for url in urls]
    assert enqueued == [
        EnqueueUrlGroupResponse(delivery.message_id, url, deduplicated=False)
        for delivery, url in zip(deliveries, urls, strict=True)
    ]
    for index, delivery in enumerate(deliveries):
        message = client.message.get(delivery.message_id)
        assert (message.queue, message.body) == ("jobs", "tea")
        assert (message.url_group, message.endpoint) == ("news", f"end-{index}")


# Batches


def test_a_batch_mixes_urls_queues_and_url_groups(client, fastapi_app):
    """BAT-1, BAT-3, BAT-5."""
    url, endpoint_url = fastapi_app.new_url(), fastapi_app.new_url("endpoint")
    a_group(client, endpoint_url)

    published = client.message.batch(
        [
            {"url": url, "body": "one"},
            {"url": url, "body": "two", "queue": "jobs"},
            {"url_group": "news", "body": "three"},
            {"url_group": "news", "body": "four", "queue": "jobs"},
        ]
    )
    one, two, (three,), (four,) = published

    assert [type(each) for each in (one, two)] == [BatchResponse] * 2
    assert [type(each) for each in (three, four)] == [BatchUrlGroupResponse] * 2
    assert {each.url for each in (three, four)} == {endpoint_url}
    deliveries = fastapi_app.wait_for(url, 2) + fastapi_app.wait_for(endpoint_url, 2)
    assert {(each.message_id, each.body) for each in deliveries} == {
        (one.message_id, b"one"),
        (two.message_id, b"two"),
        (three.message_id, b"three"),
        (four.message_id, b"four"),
    }
    messages = [client.message.get(each.message_id) for each in (one, two, three, four)]
    assert [each.queue for each in messages] == [None, "jobs", None, "jobs"]
    assert [each.url_group for each in messages] == [None, None, "news", "news"]


def test_a_batch_of_json_for_a_url_group_is_an_array_of_an_array(client, fastapi_app):
    """BAT-5, BAT-9; BAT-7: an unknown group lets nothing through."""
    url = fastapi_app.new_url()
    a_group(client, url)
    assert client.message.batch([]) == []
    with pytest.raises(QStashError, match=r"404.*topic unknown not found"):
        client.message.batch_json([{"url": url}, {"url_group": "unknown"}])

    ((published,),) = client.message.batch_json(
        [{"url_group": "news", "queue": "jobs", "body": {"n": 1}}]
    )

    (delivery,) = fastapi_app.wait_for(url)
    assert published == BatchUrlGroupResponse(
        delivery.message_id, url, deduplicated=False
    )
    assert delivery.body == b'{"n": 1}'
    assert delivery.headers["content-type"] == "application/json"
