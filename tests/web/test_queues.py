"""emulator/web/queues.py and enqueue: queues over HTTP (contract sections 8 and 14)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from emulator.core.model import Responded
from tests.doubles import T0, Hang
from tests.web.test_client import FAILS, HOOK, NOT_RETRYABLE, Answer, Api, serve

SLOW_RETRY = [("Upstash-Retry-Delay", "60000"), ("Upstash-Retries", "1")]


async def upsert(api: Api, name: str = "q", /, **fields: Any) -> Answer:
    body = json.dumps({"queueName": name} | fields).encode()
    return await api.post("/v2/queues", body=body)


async def read(api: Api, name: str = "q") -> dict[str, Any]:
    answer = await api.get(f"/v2/queues/{name}")
    assert answer.status == 200, answer.body
    queue = answer.json
    assert isinstance(queue, dict)
    return queue


async def enqueue(api: Api, name: str = "q", url: str = HOOK, **options: Any) -> str:
    answer = await api.post(f"/v2/enqueue/{name}/{url}", **options)
    assert answer.status == 200, answer.body
    message_id = answer.json["messageId"]
    assert isinstance(message_id, str)
    return message_id


async def names(api: Api) -> list[str]:
    return [queue["name"] for queue in (await api.get("/v2/queues")).json]


def bodies(api: Api) -> list[bytes]:
    return [request.body for request in api.transport.requests]


# The object


async def test_a_queue_has_six_fields_even_when_they_are_zero_or_false():
    """QUE-1, QUE-2: parallelism is 1 unless said."""
    async with serve() as api:
        answer = await upsert(api)
        queue = await read(api)

    assert (answer.status, answer.body) == (200, b"")
    assert queue == {
        "name": "q",
        "createdAt": T0,
        "updatedAt": T0,
        "parallelism": 1,
        "paused": False,
        "lag": 0,
    }


async def test_an_upsert_changes_parallelism_and_keeps_the_creation_time():
    """QUE-1, QUE-2."""
    async with serve() as api:
        await upsert(api, parallelism=2)
        await api.advance(by="5s")
        await upsert(api, parallelism=7)
        queue = await read(api)

    assert queue["parallelism"] == 7
    assert (queue["createdAt"], queue["updatedAt"]) == (T0, T0 + 5_000)


async def test_an_upsert_without_parallelism_makes_it_1():
    """QUE-2: of a queue that exists, too."""
    async with serve() as api:
        await upsert(api, parallelism=7)
        await upsert(api)

        assert (await read(api))["parallelism"] == 1


@pytest.mark.parametrize("action", ["pause", "resume"])
async def test_pausing_and_resuming_update_a_queue(action):
    """QUE-1, QUE-9."""
    async with serve() as api:
        await upsert(api)
        await api.advance(by="5s")
        await api.post(f"/v2/queues/q/{action}")
        queue = await read(api)

    assert (queue["createdAt"], queue["updatedAt"]) == (T0, T0 + 5_000)


@pytest.mark.parametrize(
    ("fields", "is_paused"),
    [
        ({}, True),
        ({"paused": None}, True),
        ({"paused": True}, True),
        ({"paused": False}, False),
    ],
)
async def test_an_upsert_resumes_a_paused_queue_only_if_it_says_so(fields, is_paused):
    """QUE-2: both SDKs do say so, on every upsert."""
    async with serve() as api:
        await upsert(api, paused=True)
        await upsert(api, **fields)

        assert (await read(api))["paused"] is is_paused


async def test_an_upsert_may_create_a_paused_queue():
    """QUE-2, BASE-15."""
    async with serve() as api:
        await upsert(api, paused=True)
        await enqueue(api)
        await api.settle()

        assert (await read(api))["lag"] == 1
        assert api.transport.requests == []


@pytest.mark.parametrize("field", ["lag", "createdAt", "nonsense", "name"])
async def test_an_upsert_ignores_what_it_does_not_know(field):
    """FMT-20."""
    async with serve() as api:
        answer = await upsert(api, **{field: "x"})

        assert answer.status == 200
        assert (await read(api))["lag"] == 0


@pytest.mark.parametrize(
    "parallelism", [0, -1, 1.5, "2", True, [2], "", 1e300], ids=repr
)
async def test_parallelism_is_a_whole_number_of_at_least_1(parallelism):
    """QUE-2, ERR-3."""
    async with serve() as api:
        answer = await upsert(api, parallelism=parallelism)

        assert answer.status == 400
        assert "parallelism" in answer.error
        assert await names(api) == []


@pytest.mark.parametrize("paused", ["true", 1, 0, [], {}], ids=repr)
async def test_paused_is_a_boolean(paused):
    """QUE-2, ERR-3."""
    async with serve() as api:
        answer = await upsert(api, paused=paused)

        assert answer.status == 400
        assert "paused" in answer.error


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'"q"',
        b"{",
        b'{"name":"q"}',
        b'{"queueName":""}',
        b'{"queueName":null}',
        b'{"queueName":1}',
        b'{"queueName":"a b"}',
        b'{"queueName":"a/b"}',
        b'{"queueName":"\xc3\xa9"}',
    ],
)
async def test_a_queue_without_a_name_that_can_be_one_is_refused(body):
    """QUE-3, FMT-19."""
    async with serve() as api:
        answer = await api.post("/v2/queues", body=body)

        assert answer.status == 400
        assert answer.error
        assert await names(api) == []


@pytest.mark.parametrize("name", ["a", "A-b_c.9", "0", "-", "...", "x" * 512])
async def test_a_name_of_letters_digits_and_three_signs_will_do(name):
    """FMT-19."""
    async with serve() as api:
        answer = await upsert(api, name)

        assert answer.status == 200
        assert (await read(api, name))["name"] == name


async def test_names_differ_by_case():
    """BASE-6."""
    async with serve() as api:
        await upsert(api, "q")

        assert (await api.get("/v2/queues/Q")).status == 404
        assert (await api.get("/v2/QUEUES/q")).status == 200


# Limits


async def test_too_many_queues_are_refused_with_412():
    """QUE-4, ENQ-3, LIM-7, ERR-2, ERR-5."""
    async with serve(quota="free", strict=True) as api:
        for number in range(10):
            assert (await upsert(api, f"q{number}")).status == 200
        upserted = await upsert(api, "q10")
        enqueued = await api.post(f"/v2/enqueue/q10/{HOOK}")

        assert upserted.status == enqueued.status == 412
        assert upserted.error == enqueued.error
        assert upserted.error == "quota maxQueues exceeded, current limit: 10"
        assert len(await names(api)) == 10
        assert await api.is_untouched()


async def test_a_batch_that_would_make_too_many_queues_is_refused_whole():
    """BAT-7, ENQ-3, LIM-7."""
    entries = [{"destination": HOOK, "queue": f"q{number}"} for number in range(11)]
    async with serve(quota="free", strict=True) as api:
        answer = await api.post("/v2/batch", body=json.dumps(entries).encode())

        assert answer.status == 412
        assert answer.error == "quota maxQueues exceeded, current limit: 10"
        assert await names(api) == []
        assert await api.is_untouched()


async def test_a_queue_that_exists_can_be_changed_however_many_there_are():
    """QUE-4."""
    async with serve(quota="free", strict=True) as api:
        for number in range(10):
            await upsert(api, f"q{number}")

        assert (await upsert(api, "q3", parallelism=2)).status == 200
        assert (await api.post(f"/v2/enqueue/q3/{HOOK}")).status == 200


async def test_a_deleted_queue_makes_room_for_another():
    """QUE-4, QUE-7."""
    async with serve(quota="free", strict=True) as api:
        for number in range(10):
            await upsert(api, f"q{number}")
        await api.delete("/v2/queues/q0")

        assert (await upsert(api, "another")).status == 200


async def test_more_parallelism_than_the_plan_has_is_refused_with_412():
    """QUE-4, LIM-7, ERR-5: and changes nothing."""
    async with serve(quota="free", strict=True) as api:
        await upsert(api, parallelism=2)
        answer = await upsert(api, parallelism=3, paused=True)

        assert answer.status == 412
        assert answer.error == "quota maxParallelism exceeded, current limit: 2"
        queue = await read(api)
        assert (queue["parallelism"], queue["paused"]) == (2, False)


async def test_queues_are_not_counted_unless_asked():
    """LIM-13."""
    async with serve(quota="free") as api:
        statuses = [(await upsert(api, f"q{n}", parallelism=50)).status for n in (0, 1)]
        for number in range(12):
            await enqueue(api, f"e{number}")

        assert statuses == [200, 200]
        assert len(await names(api)) == 14


# List, read, delete


async def test_queues_are_listed_in_order_of_creation():
    """QUE-5, QUE-8: an upsert doesn't move one, deleting and making it anew does."""
    async with serve() as api:
        empty = await names(api)
        for name in ("b", "c", "a"):
            await upsert(api, name)
        await enqueue(api, "on-the-fly")
        await upsert(api, "b", parallelism=3)
        listed = await names(api)
        await api.delete("/v2/queues/c")
        await upsert(api, "c")

        assert empty == []
        assert listed == ["b", "c", "a", "on-the-fly"]
        assert await names(api) == ["b", "a", "on-the-fly", "c"]


async def test_a_listed_queue_is_the_same_object():
    """QUE-5, BASE-7."""
    async with serve() as api:
        await upsert(api, parallelism=3, paused=True)
        await enqueue(api)

        assert (await api.get("/v2/queues/")).json == [await read(api)]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/queues/q"),
        ("POST", "/v2/queues/q/pause"),
        ("POST", "/v2/queues/q/resume"),
    ],
)
async def test_an_unknown_queue_is_not_found(method, path):
    """QUE-6, QUE-9: and isn't made by asking."""
    async with serve() as api:
        answer = await api.call(method, path)

        assert answer.status == 404
        assert answer.error == "queue q not found"
        assert await names(api) == []


@pytest.mark.parametrize("name", ["a%20b", "%C3%A9", "a%2Fb", "a,b", "x" * 513])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/queues/{}"),
        ("DELETE", "/v2/queues/{}"),
        ("POST", "/v2/queues/{}/pause"),
        ("POST", "/v2/queues/{}/resume"),
        ("POST", "/v2/enqueue/{}/" + HOOK),
    ],
)
async def test_a_name_that_no_queue_can_have_is_refused(method, path, name):
    """QUE-6, QUE-9, ENQ-3, FMT-19."""
    async with serve() as api:
        answer = await api.call(method, path.format(name))

        assert answer.status == 400
        assert "queueName" in answer.error
        assert await api.is_untouched()


async def test_a_queue_can_be_deleted_whether_it_is_there_or_not():
    """QUE-7."""
    async with serve() as api:
        await upsert(api)
        answers = [await api.delete("/v2/queues/q") for _ in range(2)]

        assert [(each.status, each.body) for each in answers] == [(200, b"")] * 2
        assert (await api.get("/v2/queues/q")).status == 404


async def test_deleting_a_queue_cancels_what_waits_in_it():
    """QUE-8, Q-13: the delivery under way goes on, and isn't repeated."""
    async with serve(Hang(), FAILS) as api:
        running = await enqueue(api, headers=[("Upstash-Timeout", "10s")])
        waiting = await enqueue(api)
        elsewhere = await enqueue(api, "other", headers=[("Upstash-Delay", "1h")])
        await api.settle()
        await api.delete("/v2/queues/q")
        waited = await api.states(waiting)
        await api.advance(by="30s")

        assert waited == ["CREATED", "CANCEL_REQUESTED", "CANCELED"]
        assert (await api.states(running))[-2:] == ["ERROR", "CANCELED"]
        assert len(api.transport.requests) == 1
        assert await api.states(elsewhere) == ["CREATED"]
        assert await api.dlq() == []


async def test_a_queue_that_is_made_anew_starts_empty():
    """QUE-8, QUE-21."""
    async with serve() as api:
        await upsert(api, paused=True, parallelism=4)
        await enqueue(api)
        await api.delete("/v2/queues/q")
        await enqueue(api, body=b"new")
        await api.settle()
        queue = await read(api)

        assert (queue["parallelism"], queue["paused"], queue["lag"]) == (1, False, 0)
        assert bodies(api) == [b"new"]


@pytest.mark.parametrize("action", ["pause", "resume"])
async def test_pausing_and_resuming_may_be_repeated(action):
    """QUE-9, BASE-11."""
    async with serve() as api:
        await upsert(api)
        answers = [await api.post(f"/v2/queues/q/{action}") for _ in range(2)]

        assert [(each.status, each.body) for each in answers] == [(200, b"")] * 2
        assert (await read(api))["paused"] is (action == "pause")


async def test_a_queue_is_invisible_to_other_users():
    """AUTH-8."""
    async with serve() as api:
        await upsert(api)
        others = await api.get("/v2/queues", user=1)
        await api.delete("/v2/queues/q", user=1)

        assert others.json == []
        assert await names(api) == ["q"]


# Enqueue


async def test_enqueueing_makes_the_queue():
    """ENQ-2, ENQ-4, ENQ-7."""
    async with serve() as api:
        message_id = await enqueue(api, headers=[("Upstash-Delay", "1m")])
        queue = await read(api)
        message = (await api.get(f"/v2/messages/{message_id}")).json

    assert (queue["parallelism"], queue["paused"], queue["lag"]) == (1, False, 1)
    assert queue["createdAt"] == T0
    assert message["queueName"] == "q"


async def test_enqueueing_leaves_a_queue_as_it_is():
    """ENQ-2, ENQ-6: a paused one takes messages, too."""
    async with serve() as api:
        await upsert(api, parallelism=5, paused=True)
        before = await read(api)
        await api.advance(by="1s")
        await enqueue(api)
        await api.settle()

        assert await read(api) == before | {"lag": 1}
        assert api.transport.requests == []


@pytest.mark.parametrize("first", ["/v2/enqueue/q%31/", "/v2/Enqueue/q1/"])
async def test_the_name_is_decoded_and_the_destination_is_not(first):
    """ENQ-8, BASE-3, BASE-6, BASE-8."""
    url = "https://ex.com/a%2Fb//c?u=https://z.com/?q=1"
    async with serve() as api:
        await api.post(first + url)
        await api.settle()

        assert await names(api) == ["q1"]
        assert [request.url for request in api.transport.requests] == [url]


async def test_a_queued_message_is_configured_like_any_other():
    """ENQ-1, ENQ-6, PUB-40, HDR-2."""
    async with serve() as api:
        answer = await api.post(
            f"/v2/enqueue/q/{HOOK}?upstash-retries=7&a=1",
            body=b"job",
            headers=[
                ("Content-Type", "text/plain"),
                ("Upstash-Method", "PUT"),
                ("Upstash-Forward-X-A", "1"),
                ("Upstash-Label", "l"),
                ("Upstash-Callback", HOOK),
                ("Upstash-Timeout", "9s"),
            ],
        )
        message_id = answer.json["messageId"]
        message = (await api.get(f"/v2/messages/{message_id}")).json

    assert answer.status == 200
    assert answer.json == {"messageId": message_id}
    assert message == {
        "messageId": message_id,
        "url": f"{HOOK}?a=1",
        "method": "PUT",
        "header": {"Content-Type": ["text/plain"], "X-A": ["1"]},
        "body": "job",
        "maxRetries": 7,
        "notBefore": T0,
        "createdAt": T0,
        "callerIP": "127.0.0.1",
        "queueName": "q",
        "callback": HOOK,
        "timeout": 9_000,
        "label": "l",
        "labels": ["l"],
    }


async def test_a_duplicate_adds_nothing_to_the_queue():
    """ENQ-6, QUE-20, PUB-42, PUB-43, DED-4: not even if it names another queue."""
    once = [("Upstash-Deduplication-Id", "once")]
    async with serve() as api:
        await upsert(api, paused=True)
        first = await enqueue(api, headers=once)
        again = await api.post(f"/v2/enqueue/q/{HOOK}", headers=once)
        elsewhere = await api.post(f"/v2/enqueue/other/{HOOK}", headers=once)

        duplicate = {"messageId": first, "deduplicated": True}
        assert (again.status, again.json) == (202, duplicate)
        assert (elsewhere.status, elsewhere.json) == (202, duplicate)
        assert (await read(api))["lag"] == 1


async def test_a_url_group_is_enqueued_endpoint_by_endpoint():
    """ENQ-5, PUB-41."""
    urls = ["http://localhost/b", "http://localhost/a", "http://localhost/c"]
    endpoints = json.dumps({"endpoints": [{"url": url} for url in urls]}).encode()
    async with serve() as api:
        await api.post("/v2/topics/group/endpoints", body=endpoints)
        await upsert(api, paused=True)
        answer = await api.post("/v2/enqueue/q/group")
        lag = (await read(api))["lag"]
        messages = [
            (await api.get(f"/v2/messages/{each['messageId']}")).json
            for each in answer.json
        ]
        await api.post("/v2/queues/q/resume")
        await api.settle()

        assert answer.status == 200
        assert [each["url"] for each in answer.json] == urls
        assert lag == 3
        assert {each["queueName"] for each in messages} == {"q"}
        assert {each["topicName"] for each in messages} == {"group"}
        assert [request.url for request in api.transport.requests] == urls


@pytest.mark.parametrize(
    ("target", "status", "error"),
    [
        ("/v2/enqueue/q/", 400, "a non-empty destination must be provided"),
        ("/v2/enqueue/q", 400, "a non-empty destination must be provided"),
        ("/v2/enqueue/q/nobody", 404, "topic nobody not found"),
        (
            "/v2/enqueue/q/ex.com/a",
            400,
            "invalid destination url: endpoint has invalid scheme, "
            "add http:// or https://",
        ),
    ],
)
async def test_a_refused_enqueue_makes_no_queue(target, status, error):
    """ENQ-1, PUB-8, PUB-9, PUB-30."""
    async with serve() as api:
        answer = await api.post(target)

        assert (answer.status, answer.error) == (status, error)
        assert await names(api) == []
        assert await api.is_untouched()


@pytest.mark.parametrize(
    "header", [("Upstash-Delay", "1m"), ("Upstash-Not-Before", str(T0 // 1000 + 60))]
)
async def test_a_delayed_message_joins_the_queue_when_it_is_due(header):
    """HDR-24, QUE-30, Q-14: it is accepted, and blocks nobody meanwhile."""
    async with serve() as api:
        await enqueue(api, body=b"late", headers=[header])
        await enqueue(api, body=b"now")
        await api.settle()
        first = bodies(api)
        await api.advance(by="1m")

        assert first == [b"now"]
        assert bodies(api) == [b"now", b"late"]


# Order, as it shows in calls, lag and log


async def test_a_queue_delivers_in_the_order_of_acceptance():
    """QUE-11, BAT-12: entries of a batch in the order of the array."""
    entries = [
        {"destination": HOOK, "queue": "q", "body": str(number)} for number in range(5)
    ]
    async with serve() as api:
        await enqueue(api, body=b"first")
        await api.post("/v2/batch", body=json.dumps(entries).encode())
        await enqueue(api, body=b"last")
        await api.advance(until="idle")

        assert bodies(api) == [b"first", b"0", b"1", b"2", b"3", b"4", b"last"]
        assert api.transport.most_in_flight == 1


async def test_a_failing_head_blocks_those_behind_it_while_it_waits_for_its_retry():
    """QUE-12, QUE-15, QUE-21, LOG-25."""
    async with serve(FAILS, Responded(200)) as api:
        head = await enqueue(api, body=b"head", headers=SLOW_RETRY)
        next_ = await enqueue(api, body=b"next")
        await api.advance(by="59s")
        waited, lag = await api.states(next_), (await read(api))["lag"]
        await api.advance(by="1s")

        assert (waited, lag) == (["CREATED"], 2)
        assert bodies(api) == [b"head", b"head", b"next"]
        assert (await api.states(head))[-1] == "DELIVERED"
        assert (await read(api))["lag"] == 0


async def test_the_next_waits_until_the_callbacks_of_the_head_are_done():
    """QUE-13: their retries included."""
    script = [Responded(200), FAILS, Responded(200)]
    async with serve(*script) as api:
        await enqueue(
            api,
            body=b"head",
            headers=[
                ("Upstash-Callback", "http://localhost/cb"),
                ("Upstash-Callback-Retry-Delay", "60000"),
            ],
        )
        await enqueue(api, body=b"next")
        await api.advance(by="59s")
        urls = [request.url for request in api.transport.requests]
        await api.advance(by="1s")

        assert urls == [HOOK, "http://localhost/cb"]
        assert api.transport.requests[-1].body == b"next"


async def test_as_many_messages_are_in_work_as_the_parallelism_says():
    """QUE-14, QUE-16, QUE-21."""
    async with serve(Hang()) as api:
        await upsert(api, parallelism=2)
        for number in range(5):
            await enqueue(api, body=b"%d" % number)
        await api.settle()
        first = bodies(api)
        await upsert(api, parallelism=4)
        await api.settle()

        assert first == [b"0", b"1"]
        assert bodies(api) == [b"0", b"1", b"2", b"3"]
        assert (await read(api))["lag"] == 5


async def test_a_paused_queue_holds_the_retry_of_its_head():
    """QUE-17."""
    async with serve(FAILS, Responded(200)) as api:
        await enqueue(api, body=b"head", headers=SLOW_RETRY)
        await enqueue(api, body=b"next")
        await api.settle()
        await api.post("/v2/queues/q/pause")
        await api.advance(by="1h")
        paused = bodies(api)
        await api.post("/v2/queues/q/resume")
        await api.settle()

        assert paused == [b"head"]
        assert bodies(api) == [b"head", b"head", b"next"]


async def test_cancelling_the_head_lets_the_next_go_on():
    """QUE-18."""
    async with serve(FAILS, Responded(200)) as api:
        head = await enqueue(api, body=b"head", headers=SLOW_RETRY)
        middle = await enqueue(api, body=b"middle")
        await enqueue(api, body=b"next")
        await api.settle()
        await api.delete(f"/v2/messages/{middle}")
        await api.delete(f"/v2/messages/{head}")
        await api.settle()

        assert bodies(api) == [b"head", b"next"]
        assert (await read(api))["lag"] == 0


async def test_a_retried_dlq_entry_goes_to_the_tail_of_its_queue():
    """QUE-19, DLQ-35: which is made anew if it is gone."""
    async with serve(NOT_RETRYABLE, Responded(200)) as api:
        await enqueue(api, body=b"failed")
        await api.settle()
        (entry,) = await api.dlq()
        await api.delete("/v2/queues/q")
        await upsert(api, paused=True)
        await enqueue(api, body=b"earlier")
        await api.post(f"/v2/dlq/retry/{entry['dlqId']}")
        await api.post("/v2/queues/q/resume")
        await api.settle()

        assert entry["queueName"] == "q"
        assert bodies(api) == [b"failed", b"earlier", b"failed"]


async def test_a_retried_dlq_entry_makes_a_queue_that_is_gone():
    """QUE-19."""
    async with serve(NOT_RETRYABLE, Responded(200)) as api:
        await enqueue(api)
        await api.settle()
        (entry,) = await api.dlq()
        await api.delete("/v2/queues/q")
        await api.post(f"/v2/dlq/retry/{entry['dlqId']}")

        assert await names(api) == ["q"]
