"""emulator/web/url_groups.py: URL groups over HTTP (contract section 15)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from emulator.core.model import Responded
from emulator.settings import DEV_USERS
from tests.doubles import T0
from tests.web.test_client import HOOK, NOT_RETRYABLE, Answer, Api, serve

A, B, C = (f"http://localhost:3000/{name}" for name in "abc")


async def add(api: Api, *endpoints: Any, group: str = "g", **options: Any) -> Answer:
    """Add endpoints: URLs, pairs of name and URL, or anything for an object."""
    body = json.dumps({"endpoints": [_endpoint(each) for each in endpoints]}).encode()
    return await api.post(f"/v2/topics/{group}/endpoints", body=body, **options)


async def remove(api: Api, *patterns: Any, group: str = "g") -> Answer:
    body = json.dumps({"endpoints": list(patterns)}).encode()
    return await api.delete(f"/v2/topics/{group}/endpoints", body=body)


async def set_headers(api: Api, headers: Any, *, group: str = "g") -> Answer:
    body = json.dumps({"headers": headers}).encode()
    return await api.call("PATCH", f"/v2/topics/{group}", body=body)


async def read(api: Api, group: str = "g") -> dict[str, Any]:
    answer = await api.get(f"/v2/topics/{group}")
    assert answer.status == 200, answer.body
    value = answer.json
    assert isinstance(value, dict)
    return value


async def endpoints(api: Api, group: str = "g") -> list[dict[str, str]]:
    value = (await read(api, group))["endpoints"]
    assert isinstance(value, list)
    return value


async def publish(api: Api, query: str = "", **options: Any) -> list[dict[str, Any]]:
    answer = await api.post(f"/v2/publish/g{query}", **options)
    assert answer.status == 200, answer.body
    value = answer.json
    assert isinstance(value, list)
    return value


async def message(api: Api, receipt: dict[str, Any]) -> dict[str, Any]:
    answer = await api.get(f"/v2/messages/{receipt['messageId']}")
    assert answer.status == 200, answer.body
    value = answer.json
    assert isinstance(value, dict)
    return value


def urls(api: Api) -> list[str]:
    return [request.url for request in api.transport.requests]


def _endpoint(each: Any) -> Any:
    if isinstance(each, tuple):
        return dict(zip(("name", "url"), each, strict=True))
    return {"url": each} if isinstance(each, str) else each


# Make and change


async def test_a_group_has_its_four_fields_and_endpoints_have_no_more_than_theirs():
    """UGR-1, UGR-2, BASE-11: a name only where one was given."""
    async with serve() as api:
        answer = await add(api, ("first", A), B)
        group = await read(api)

    assert (answer.status, answer.body) == (200, b"")
    assert group == {
        "name": "g",
        "createdAt": T0,
        "updatedAt": T0,
        "endpoints": [{"name": "first", "url": A}, {"url": B}],
    }


async def test_a_change_of_endpoints_keeps_the_creation_time():
    """UGR-1."""
    async with serve() as api:
        await add(api, A)
        await api.advance(by="1s")
        await add(api, B)
        added = await read(api)
        await api.advance(by="1s")
        await remove(api, {"url": B})
        removed = await read(api)

    assert (added["createdAt"], added["updatedAt"]) == (T0, T0 + 1_000)
    assert (removed["createdAt"], removed["updatedAt"]) == (T0, T0 + 2_000)


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        pytest.param(("x", C), [("x", C), ("y", B)], id="a known name: another url"),
        pytest.param(("z", A), [("z", A), ("y", B)], id="a known url: another name"),
        pytest.param(A, [("x", A), ("y", B)], id="a known url: nothing to change"),
        pytest.param(
            ("y", A), [("x", A), ("y", A)], id="the name counts before the url"
        ),
        pytest.param(C, [("x", A), ("y", B), C], id="neither known: appended"),
        pytest.param(
            ("z", C), [("x", A), ("y", B), ("z", C)], id="neither known, with a name"
        ),
    ],
)
async def test_an_endpoint_that_is_known_is_changed_where_it_stands(second, expected):
    """UGR-3."""
    async with serve() as api:
        await add(api, ("x", A), ("y", B))
        await add(api, second)

        assert await endpoints(api) == [_endpoint(each) for each in expected]


async def test_endpoints_of_one_call_are_taken_one_after_another():
    """UGR-3: an endpoint may change one that came before it."""
    async with serve() as api:
        await add(api, A, ("x", A), ("x", B))

        assert await endpoints(api) == [{"name": "x", "url": B}]


@pytest.mark.parametrize("name", ["First endpoint", "é/?", "a:b", "x" * 300])
async def test_an_endpoint_may_have_any_name(name):
    """UGR-4."""
    async with serve() as api:
        await add(api, (name, A))

        assert await endpoints(api) == [{"name": name, "url": A}]


@pytest.mark.parametrize("name", ["", None])
async def test_an_endpoint_with_an_empty_name_has_none(name):
    """UGR-1, UGR-4."""
    async with serve() as api:
        answer = await add(api, {"url": A, "name": name})

        assert answer.status == 200
        assert await endpoints(api) == [{"url": A}]


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "HTTPS://Ex.com:443/a%2Fb//c?u=https://z.com/?q=1&a=%20",
        "http://[::1]:3000/",
    ],
)
async def test_an_endpoints_url_is_kept_and_called_as_it_is(url):
    """UGR-5, PUB-4, PUB-11."""
    async with serve() as api:
        await add(api, url)
        (receipt,) = await publish(api)
        await api.settle()

        assert await endpoints(api) == [{"url": url}]
        assert receipt["url"] == url
        assert urls(api) == [url]


@pytest.mark.parametrize("url", ["ex.com/a", "ftp://x", "https%3A%2F%2Fex.com", "api"])
async def test_an_endpoint_that_cannot_be_called_is_refused(url):
    """UGR-4, PUB-8: and so are the others of the call."""
    async with serve() as api:
        answer = await add(api, A, url)

        assert answer.status == 400
        assert answer.error.startswith(
            "invalid destination url: endpoint has invalid scheme, "
            "add http:// or https://"
        )
        assert (await api.get("/v2/topics/g")).status == 404


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"{",
        b'{"endpoints":[]}',
        b'{"endpoints":{}}',
        b'{"endpoints":null}',
        b'{"endpoints":["http://localhost/a"]}',
        b'{"endpoints":[{}]}',
        b'{"endpoints":[{"url":""}]}',
        b'{"endpoints":[{"url":null}]}',
        b'{"endpoints":[{"url":1}]}',
        b'{"endpoints":[{"name":"x"}]}',
        b'{"endpoints":[{"url":"http://localhost/a","name":1}]}',
        b'{"endpoints":[{"url":"http://localhost/a"},{"url":""}]}',
    ],
)
async def test_what_is_no_list_of_endpoints_is_refused(body):
    """UGR-4, ERR-3."""
    async with serve() as api:
        answer = await api.post("/v2/topics/g/endpoints", body=body)

        assert answer.status == 400
        assert answer.error
        assert (await api.get("/v2/topics")).json == []


async def test_unknown_keys_of_an_endpoint_are_ignored():
    """FMT-20."""
    async with serve() as api:
        answer = await add(api, {"url": A, "id": 1, "weight": None})

        assert answer.status == 200
        assert await endpoints(api) == [{"url": A}]


@pytest.mark.parametrize("group", ["a%20b", "%C3%A9", "a%2Fb", "a:b", "x" * 513])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/topics/{}"),
        ("DELETE", "/v2/topics/{}"),
        ("PATCH", "/v2/topics/{}"),
        ("POST", "/v2/topics/{}/endpoints"),
        ("DELETE", "/v2/topics/{}/endpoints"),
    ],
)
async def test_a_name_that_no_group_can_have_is_refused(method, path, group):
    """UGR-11, FMT-19."""
    bodies = {
        "GET": b"",
        "PATCH": b'{"headers":{}}',
        "POST": b'{"endpoints":[{"url":"http://localhost/a"}]}',
        "DELETE": b'{"endpoints":[{"url":"http://localhost/a"}]}',
    }
    async with serve() as api:
        answer = await api.call(method, path.format(group), body=bodies[method])

        assert answer.status == 400
        assert "topicName" in answer.error


# Limits


async def test_too_many_groups_are_refused():
    """UGR-12, LIM-9, ERR-5: but one that exists can be changed."""
    async with serve(quota="free", strict=True) as api:
        await add(api, A)
        refused = await add(api, A, group="another")
        changed = await add(api, B)

        assert refused.status == 400
        assert refused.error == "quota maxTopics exceeded, current limit: 1"
        assert changed.status == 200
        assert (await api.get("/v2/topics/another")).status == 404


async def test_too_many_endpoints_are_refused():
    """UGR-12, LIM-9, ERR-5: all of the call."""
    hundred = [f"{HOOK}/{number}" for number in range(100)]
    async with serve(strict=True) as api:
        full = await add(api, *hundred)
        again = await add(api, hundred[0])
        refused = await add(api, ("x", hundred[1]), B)

        assert (full.status, again.status, refused.status) == (200, 200, 400)
        assert (
            refused.error == "quota maxEndpointsPerTopic exceeded, current limit: 100"
        )
        assert await endpoints(api) == [{"url": url} for url in hundred]


# Remove


@pytest.mark.parametrize(
    ("patterns", "kept"),
    [
        ([{"name": "x"}], [("y", B), C]),
        ([{"url": C}], [("x", A), ("y", B)]),
        ([{"name": "y", "url": B}], [("x", A), C]),
        ([{"name": "y", "url": A}], [("x", A), ("y", B), C]),
        ([{"name": "X"}], [("x", A), ("y", B), C]),
        ([{"url": A + "/"}], [("x", A), ("y", B), C]),
        ([{"name": "nobody"}, {"url": B}], [("x", A), C]),
        ([{"name": "x"}, {"url": C}], [("y", B)]),
        ([{"name": "", "url": A}], [("y", B), C]),
        ([{"name": None, "url": A}], [("y", B), C]),
    ],
)
async def test_an_endpoint_is_removed_if_it_matches_all_that_is_given(patterns, kept):
    """UGR-6, UGR-7, BASE-18: one that isn't there is no error."""
    async with serve() as api:
        await add(api, ("x", A), ("y", B), C)
        answer = await remove(api, *patterns)

        assert (answer.status, answer.body) == (200, b"")
        assert await endpoints(api) == [_endpoint(each) for each in kept]


async def test_every_endpoint_of_a_url_is_removed():
    """UGR-6."""
    async with serve() as api:
        await add(api, ("x", A), ("y", B), C)
        await add(api, ("y", A))
        await remove(api, {"url": A})

        assert await endpoints(api) == [{"url": C}]


async def test_nothing_can_be_removed_from_an_unknown_group():
    """UGR-7."""
    async with serve() as api:
        answer = await remove(api, {"url": A})

        assert answer.status == 404
        assert answer.error == "topic g not found"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"endpoints":[]}',
        b'{"endpoints":[{}]}',
        b'{"endpoints":[{"url":"","name":""}]}',
        b'{"endpoints":[{"url":"http://localhost:3000/a"},{}]}',
    ],
)
async def test_a_removal_that_names_nothing_removes_nothing(body):
    """UGR-6."""
    async with serve() as api:
        await add(api, A, B)
        answer = await api.delete("/v2/topics/g/endpoints", body=body)

        assert answer.status == 400
        assert len(await endpoints(api)) == 2


async def test_the_last_endpoint_takes_the_group_along():
    """UGR-10, PUB-10: so there is no group that publishes nothing."""
    async with serve() as api:
        await add(api, A, B)
        await remove(api, {"url": A})
        still = await api.get("/v2/topics/g")
        await remove(api, {"url": B})
        published = await api.post("/v2/publish/g")

        assert still.status == 200
        assert (await api.get("/v2/topics/g")).status == 404
        assert (await api.get("/v2/topics")).json == []
        assert (published.status, published.error) == (404, "topic g not found")


async def test_a_group_that_comes_back_is_a_new_one():
    """UGR-10, UGR-19: its default headers are gone with the old one."""
    async with serve() as api:
        await add(api, A)
        await set_headers(api, {"Upstash-Retries": "7"})
        await remove(api, {"url": A})
        await api.advance(by="1s")
        await add(api, A)
        (receipt,) = await publish(api)

        assert (await read(api))["createdAt"] == T0 + 1_000
        assert (await message(api, receipt))["maxRetries"] == 3


# List, read, delete


async def test_groups_are_listed_whole_in_order_of_creation():
    """UGR-8, BASE-7."""
    async with serve() as api:
        empty = await api.get("/v2/topics")
        for group in ("b", "a"):
            await add(api, A, group=group)
        await add(api, B, group="b")
        listed = await api.get("/v2/topics/")

        assert empty.json == []
        assert listed.json == [await read(api, "b"), await read(api, "a")]


@pytest.mark.parametrize("method", ["GET", "PATCH"])
async def test_an_unknown_group_is_not_found(method):
    """UGR-8, UGR-19."""
    async with serve() as api:
        answer = await api.call(method, "/v2/topics/g", body=b'{"headers":{}}')

        assert answer.status == 404
        assert answer.error == "topic g not found"


async def test_a_group_can_be_deleted_whether_it_is_there_or_not():
    """UGR-9."""
    async with serve() as api:
        await add(api, A)
        answers = [await api.delete("/v2/topics/g") for _ in range(2)]

        assert [(each.status, each.body) for each in answers] == [(200, b"")] * 2
        assert (await api.get("/v2/topics/g")).status == 404


async def test_messages_outlive_their_group():
    """UGR-13, PUB-34."""
    async with serve() as api:
        await add(api, A)
        (receipt,) = await publish(api, headers=[("Upstash-Delay", "1m")])
        await add(api, B)
        await api.delete("/v2/topics/g")
        await api.advance(by="1m")

        assert urls(api) == [A]
        assert (await message(api, receipt))["topicName"] == "g"


async def test_a_schedule_outlives_its_group_and_says_what_is_missing():
    """UGR-13, SCH-33."""
    async with serve() as api:
        await add(api, A)
        created = await api.post(
            "/v2/schedules/g", headers=[("Upstash-Cron", "* * * * *")]
        )
        await api.delete("/v2/topics/g")
        await api.advance(by="1m")
        schedule = (await api.get(f"/v2/schedules/{created.json['scheduleId']}")).json

        assert schedule["error"] == "topic g not found"
        assert urls(api) == []


async def test_a_group_is_invisible_to_other_users():
    """AUTH-8."""
    async with serve() as api:
        await add(api, A)
        listed = await api.get("/v2/topics", user=1)
        published = await api.post("/v2/publish/g", user=1)
        await api.delete("/v2/topics/g", user=1)

        assert listed.json == []
        assert published.status == 404
        assert (await api.get("/v2/topics/g")).status == 200


# Publish


async def test_a_publish_makes_a_message_for_each_endpoint():
    """PUB-33, PUB-41, FMT-9: with an id, retries and a DLQ entry of its own."""
    script = [NOT_RETRYABLE, Responded(200)]
    async with serve(*script) as api:
        await add(api, ("first", A), B)
        receipts = await publish(api, body=b"x", headers=[("Upstash-Retries", "2")])
        messages = [await message(api, each) for each in receipts]
        await api.settle()
        states = [(await api.states(each["messageId"]))[-1] for each in receipts]
        (entry,) = await api.dlq()

        assert [each["url"] for each in receipts] == [A, B]
        assert [set(each) for each in receipts] == [{"messageId", "url"}] * 2
        assert len({each["messageId"] for each in receipts}) == 2
        assert messages[0] == {
            "messageId": receipts[0]["messageId"],
            "url": A,
            "method": "POST",
            "maxRetries": 2,
            "notBefore": T0,
            "createdAt": T0,
            "callerIP": "127.0.0.1",
            "body": "x",
            "topicName": "g",
            "endpointName": "first",
        }
        assert messages[1]["topicName"] == "g"
        assert "endpointName" not in messages[1]
        assert states == ["FAILED", "DELIVERED"]
        assert (entry["url"], entry["topicName"]) == (A, "g")
        assert entry["endpointName"] == "first"


async def test_a_delivery_names_its_group():
    """DLV-2."""
    async with serve() as api:
        await add(api, A)
        await publish(api)
        await api.settle()
        (request,) = api.transport.requests

    assert ("Upstash-Topic-Name", "g") in request.headers


async def test_a_group_of_one_is_answered_with_an_array():
    """PUB-41."""
    async with serve() as api:
        await add(api, A)
        (receipt,) = await publish(api)

    assert receipt == {"messageId": receipt["messageId"], "url": A}


async def test_a_group_of_many_in_a_batch_is_an_array_in_the_array():
    """BAT-3, BAT-5: in a queue, too."""
    entries = [
        {"destination": "g"},
        {"destination": HOOK},
        {"destination": "g", "queue": "q"},
    ]
    async with serve() as api:
        await add(api, A, B)
        answer = await api.post("/v2/batch", body=json.dumps(entries).encode())
        group, single, queued = answer.json

        assert answer.status == 200
        assert [each["url"] for each in group] == [A, B]
        assert list(single) == ["messageId"]
        assert [each["url"] for each in queued] == [A, B]
        assert (await message(api, queued[1]))["queueName"] == "q"


async def test_only_the_configuration_of_the_query_counts():
    """PUB-11, Q-12, HDR-2."""
    async with serve() as api:
        await add(api, f"{A}?x=1")
        (receipt,) = await publish(api, "?a=1&upstash-retries=1&b")
        await api.settle()

        assert (await message(api, receipt))["maxRetries"] == 1
        assert urls(api) == [f"{A}?x=1"]


async def test_a_group_is_found_by_its_name_only():
    """PUB-12, BASE-6: its name's case counts."""
    async with serve() as api:
        await add(api, A)

        for destination in ("top_123", "G", "g/", "topics/g"):
            assert (await api.post(f"/v2/publish/{destination}")).status in (400, 404)
        assert await api.is_untouched()


async def test_endpoints_are_deduplicated_one_by_one():
    """DED-8, PUB-42, PUB-43: 202 only if every message is a duplicate."""
    once = [("Upstash-Deduplication-Id", "once")]
    async with serve() as api:
        await add(api, A)
        (first,) = await publish(api, headers=once)
        await add(api, B)
        some = await api.post("/v2/publish/g", headers=once)
        all_ = await api.post("/v2/publish/g", headers=once)
        await api.settle()

        assert some.status == 200
        assert some.json[0] == first | {"deduplicated": True}
        assert set(some.json[1]) == {"messageId", "url"}
        assert all_.status == 202
        assert [each["deduplicated"] for each in all_.json] == [True, True]
        assert urls(api) == [A, B]


# Default headers


async def test_default_headers_configure_every_publish_to_the_group():
    """UGR-19, UGR-20, BASE-11."""
    async with serve() as api:
        await add(api, A, B)
        answer = await set_headers(
            api,
            {
                "Upstash-Retries": "7",
                "upstash-forward-x-a": ["1", "2"],
                "Upstash-Label": "l",
                "Upstash-Method": "put",
                "Upstash-Delay": "1m",
                "Content-Type": "text/plain",
            },
        )
        receipts = await publish(api)
        messages = [await message(api, each) for each in receipts]

    assert (answer.status, answer.body) == (200, b"")
    assert [each["url"] for each in messages] == [A, B]
    for each in messages:
        assert each["maxRetries"] == 7
        assert each["method"] == "PUT"
        assert each["label"] == "l"
        assert each["notBefore"] == T0 + 60_000
        assert each["header"] == {"Content-Type": ["text/plain"], "X-A": ["1", "2"]}


async def test_default_headers_come_after_what_the_request_says():
    """UGR-19, HDR-3, Q-28: its headers, then its query, then the group's."""
    async with serve() as api:
        await add(api, A)
        await set_headers(api, {"Upstash-Retries": "7"})
        counts = []
        for query, headers in (
            ("", []),
            ("?upstash-retries=5", []),
            ("?upstash-retries=5", [("Upstash-Retries", "4")]),
        ):
            (receipt,) = await publish(api, query, headers=headers)
            counts.append((await message(api, receipt))["maxRetries"])

    assert counts == [7, 5, 4]


async def test_default_headers_are_replaced_as_a_whole():
    """UGR-19."""
    async with serve() as api:
        await add(api, A)
        await set_headers(api, {"Upstash-Retries": "7", "Upstash-Label": "l"})
        await set_headers(api, {"Upstash-Method": "PUT"})
        (receipt,) = await publish(api)
        shown = await message(api, receipt)
        await set_headers(api, {})
        (plain,) = await publish(api)

        assert (shown["method"], shown["maxRetries"]) == ("PUT", 3)
        assert "label" not in shown
        assert (await message(api, plain))["method"] == "POST"


async def test_default_headers_are_not_part_of_the_group():
    """UGR-1, UGR-20."""
    async with serve() as api:
        await add(api, A)
        before = await read(api)
        await set_headers(api, {"Upstash-Retries": "7"})

        assert await read(api) == before


async def test_default_headers_survive_a_change_of_endpoints():
    """UGR-19."""
    async with serve() as api:
        await add(api, A)
        await set_headers(api, {"Upstash-Retries": "7"})
        await add(api, B)
        receipts = await publish(api)

        assert [(await message(api, each))["maxRetries"] for each in receipts] == [7, 7]


async def test_default_headers_hold_for_batches_and_queues():
    """UGR-19, ENQ-1."""
    entries = json.dumps([{"destination": "g"}]).encode()
    async with serve() as api:
        await add(api, A)
        await set_headers(api, {"Upstash-Retries": "7"})
        (batched,) = (await api.post("/v2/batch", body=entries)).json[0]
        (queued,) = (await api.post("/v2/enqueue/q/g")).json

        assert (await message(api, batched))["maxRetries"] == 7
        assert (await message(api, queued))["maxRetries"] == 7


async def test_default_headers_hold_for_schedules_when_they_fire():
    """UGR-19, SCH-12."""
    async with serve() as api:
        await add(api, A)
        await set_headers(api, {"Upstash-Forward-X-A": "1"})
        await api.post("/v2/schedules/g", headers=[("Upstash-Cron", "* * * * *")])
        await api.advance(by="1m")
        (request,) = api.transport.requests

    assert ("X-A", "1") in request.headers


async def test_a_webhook_sender_needs_no_configuration_of_its_own():
    """UGR-19, HDR-34, AUTH-2: everything it sends is forwarded."""
    async with serve() as api:
        await add(api, A)
        await set_headers(api, {"Upstash-Header-Forward": ["true"]})
        answer = await api.post(
            f"/v2/publish/g?qstash_token={DEV_USERS[0].token}",
            user=None,
            body=b"{}",
            headers=[("Content-Type", "application/json"), ("X-Event", "push")],
        )
        await api.settle()
        (request,) = api.transport.requests

    assert answer.status == 200
    assert ("X-Event", "push") in request.headers
    assert ("Content-Type", "application/json") in request.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"Upstash-Retries": "x"},
        {"Upstash-Retries": "1000"},
        {"Upstash-Delay": "2y"},
        {"Upstash-Callback": "g"},
        {"Upstash-Retries": 3},
        {"Upstash-Retries": None},
        {"a b": "x"},
        {"Upstash-Forward-X": "a\nb"},
        ["Upstash-Retries"],
        "Upstash-Retries: 3",
        None,
    ],
    ids=repr,
)
async def test_default_headers_that_would_spoil_every_publish_are_refused(headers):
    """UGR-19, ERR-3."""
    async with serve() as api:
        await add(api, A)
        await set_headers(api, {"Upstash-Label": "kept"})
        answer = await set_headers(api, headers)
        (receipt,) = await publish(api)

        assert answer.status == 400
        assert answer.error
        assert (await message(api, receipt))["label"] == "kept"
