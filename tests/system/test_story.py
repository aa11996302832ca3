"""A background job's fate: delivered at last, or given up and taken up again."""

import json
from base64 import b64decode

import pytest
from qstash import QStash

pytestmark = pytest.mark.system


def states(log):
    return [entry["state"] for entry in log]


def instants(log, state):
    return [entry["time"] for entry in log if entry["state"] == state]


def test_a_job_that_fails_twice_is_done_by_the_third_call(client, app, server):
    """RTY-1, RTY-12, DLV-2, LOG-24, SIG-7."""
    url = app.new_url(answers="500,500,200")

    message_id = client.message.publish_json(
        url=url, body={"hello": "world"}, retry_delay="200"
    ).message_id

    log = server.wait_for(message_id, "DELIVERED")
    deliveries = app.wait_for(url, 3)
    assert [each.retried for each in deliveries] == ["0", "1", "2"]
    assert {each.message_id for each in deliveries} == {message_id}
    assert {each.body for each in deliveries} == {b'{"hello": "world"}'}
    assert len({each.headers["upstash-signature"] for each in deliveries}) == 3
    assert states(log) == [
        "CREATED",
        *("ACTIVE", "ERROR", "RETRY"),
        *("ACTIVE", "ERROR", "RETRY"),
        *("ACTIVE", "DELIVERED"),
    ]
    _, second, third = instants(log, "ACTIVE")
    after_first, after_second = instants(log, "ERROR")
    assert second >= after_first + 200
    assert third >= after_second + 200
    assert [
        entry["nextDeliveryTime"] for entry in log if entry["state"] == "RETRY"
    ] == [
        after_first + 200,
        after_second + 200,
    ]
    assert client.dlq.list().messages == []


def test_a_job_that_is_never_done_is_reported_kept_and_taken_up_again(
    client, app, server
):
    """RTY-1, LOG-23, DLV-14, CBK-2, CBK-20 to CBK-22, CBK-25, DLQ-30, DLQ-33."""
    url, failure_url = app.new_url(answers="500,500,200"), app.new_url("failure")

    message_id = client.message.publish_json(
        url=url,
        body={"hello": "world"},
        method="PUT",
        headers={"X-Tenant": "blue"},
        failure_callback=failure_url,
        failure_callback_headers={"Forward-X-Reports": "failures"},
        retries=1,
        retry_delay="20",
    ).message_id

    log = server.wait_for(message_id, "FAILED")
    assert states(log) == [
        "CREATED",
        *("ACTIVE", "ERROR", "RETRY"),
        *("ACTIVE", "ERROR", "FAILED"),
    ]
    assert [each.retried for each in app.wait_for(url, 2)] == ["0", "1"]

    (report,) = app.wait_for(failure_url)
    assert report.method == "POST"
    assert report.headers["content-type"] == "application/json"
    assert report.headers["x-reports"] == "failures"
    assert "x-tenant" not in report.headers
    assert report.message_id != message_id
    payload = json.loads(report.body)
    (entry,) = client.dlq.list().messages
    message = client.message.get(message_id)
    header = payload["header"]
    assert header["X-Answer"] == ["500"]
    assert header["Content-Type"] == ["text/plain; charset=utf-8"]
    assert all(isinstance(values, list) for values in header.values())
    assert b64decode(payload["body"]) == b"answer 500"
    assert b64decode(payload["sourceBody"]) == b'{"hello": "world"}'
    assert payload == {
        "status": 500,
        "header": header,
        "body": payload["body"],
        "retried": 1,
        "maxRetries": 1,
        "dlqId": entry.dlq_id,
        "sourceMessageId": message_id,
        "url": url,
        "method": "PUT",
        "sourceHeader": {
            "Content-Type": ["application/json"],
            "X-Tenant": ["blue"],
        },
        "sourceBody": payload["sourceBody"],
        "notBefore": message.not_before,
        "createdAt": message.created_at,
        "callerIP": "127.0.0.1",
    }
    assert client.dlq.get(payload["dlqId"]).message_id == message_id

    retry = f"/v2/dlq/retry/{entry.dlq_id}"
    new_id = client.http.request(path=retry, method="POST")["messageId"]

    assert new_id != message_id
    assert states(server.wait_for(new_id, "DELIVERED")) == [
        "CREATED",
        "ACTIVE",
        "DELIVERED",
    ]
    revived = app.wait_for(url, 3)[2]
    assert (revived.message_id, revived.retried) == (new_id, "0")
    assert (revived.method, revived.body) == ("PUT", b'{"hello": "world"}')
    assert revived.headers["x-tenant"] == "blue"
    assert client.dlq.list().messages == []


def test_every_call_of_a_job_is_reported_to_its_callback(client, app, server):
    """CBK-1, CBK-3, CBK-7, CBK-8, CBK-26."""
    url, callback_url = app.new_url(answers="503,404"), app.new_url("callback?x=a%2Fb")
    failure_url = app.new_url("failure")

    message_id = client.message.publish(
        url=url,
        callback=callback_url,
        failure_callback=failure_url,
        retries=1,
        retry_delay="100",
    ).message_id

    callbacks = app.wait_for(callback_url, 2)
    (failure,) = app.wait_for(failure_url)
    payloads = [json.loads(each.body) for each in callbacks]
    payloads.sort(key=lambda payload: payload["retried"])  # they may overtake
    assert [payload["status"] for payload in payloads] == [503, 404]
    assert [payload["retried"] for payload in payloads] == [0, 1]
    assert {payload["sourceMessageId"] for payload in payloads} == {message_id}
    assert all("dlqId" not in payload for payload in payloads)
    assert "sourceBody" not in payloads[0]
    assert json.loads(failure.body) == payloads[1] | {
        "dlqId": client.dlq.list().messages[0].dlq_id
    }
    for callback in (*callbacks, failure):
        log = server.wait_for(callback.message_id, "DELIVERED")
        assert states(log) == ["CREATED", "ACTIVE", "DELIVERED"]
        assert client.message.get(callback.message_id).max_retries == 1
    (failed_ms,) = instants(server.wait_for(message_id, "FAILED"), "FAILED")
    assert instants(server.wait_for(failure.message_id, "CREATED"), "CREATED") == [
        failed_ms
    ]


def test_a_job_that_is_done_at_once_is_reported_once(client, app, server):
    """CBK-1, CBK-2."""
    url, callback_url = app.new_url(), app.new_url("callback")
    failure_url = app.new_url("failure")

    client.message.publish(
        url=url, body="tea", callback=callback_url, failure_callback=failure_url
    )

    (callback,) = app.wait_for(callback_url)
    server.wait_for(callback.message_id, "DELIVERED")
    payload = json.loads(callback.body)
    assert (payload["status"], payload["retried"]) == (200, 0)
    assert payload["maxRetries"] == 3
    assert b64decode(payload["body"]) == b"answer 200"
    assert [
        entry.url for entry in client.log.list().logs if entry.url == failure_url
    ] == []


def test_a_job_that_says_it_will_never_work_is_not_tried_again(client, app, server):
    """DLV-13: 489 alone is an ordinary failure; with its header it is final."""
    url = app.new_url(answers="489,489-final")

    message_id = client.message.publish(url=url, retries=5, retry_delay="0").message_id

    log = server.wait_for(message_id, "FAILED")
    assert states(log) == [
        "CREATED",
        *("ACTIVE", "ERROR", "RETRY"),
        *("ACTIVE", "ERROR", "FAILED"),
    ]
    assert [each.retried for each in app.wait_for(url, 2)] == ["0", "1"]
    assert client.dlq.list().messages[0].response_status == 489


def test_without_a_retry_delay_the_waits_are_those_of_the_backoff_table(
    virtual_server, fastapi_app
):
    """RTY-10, under the virtual clock: 30 hours pass in no time."""
    client = QStash(
        virtual_server.environment["QSTASH_TOKEN"], base_url=virtual_server.url
    )
    url = fastapi_app.new_url(answers="500")
    message_id = client.message.publish(url=url, retries=6).message_id

    virtual_server.post("/_qemu/clock/advance", until="idle")

    client.http._client.close()  # the SDK never does
    log = virtual_server.wait_for(message_id, "FAILED")
    starts, ends = instants(log, "ACTIVE"), instants(log, "ERROR")
    waits_ms = [start - end for start, end in zip(starts[1:], ends[:-1], strict=True)]
    assert [round(wait_ms / 1000, 2) for wait_ms in waits_ms] == [
        12.18,
        148.41,
        1808.04,
        22026.47,
        86400,
        86400,
    ]
    deliveries = fastapi_app.wait_for(url, 7)
    assert [each.retried for each in deliveries] == ["0", "1", "2", "3", "4", "5", "6"]
