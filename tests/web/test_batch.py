"""emulator/web/publish.py: a batch (contract section 9)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.doubles import T0
from tests.web.test_client import HOOK, Answer, Api, head, serve

few = settings(max_examples=60, deadline=None)

OTHER = "http://localhost:3000/other?a=1"


def an_entry(destination: Any = HOOK, **fields: Any) -> dict[str, Any]:
    return {"destination": destination, **fields}


async def send(api: Api, *entries: Any, **options: Any) -> Answer:
    body = json.dumps(list(entries)).encode()
    return await api.post("/v2/batch", body=body, **options)


async def messages_of(api: Api, answer: Answer) -> list[dict[str, Any]]:
    """Read the messages that a batch has made."""
    assert answer.status == 200, answer.body
    return [
        (await api.get(f"/v2/messages/{receipt['messageId']}")).json
        for receipt in answer.json
    ]


async def test_the_answer_has_one_element_for_each_entry_in_order():
    """BAT-5, BAT-11."""
    urls = [HOOK, OTHER, "http://a//b/%2F?c=http://d/?e"]
    async with serve() as api:
        answer = await send(api, *map(an_entry, urls))
        messages = await messages_of(api, answer)

    assert answer.status == 200
    assert [list(receipt) for receipt in answer.json] == [["messageId"]] * 3
    assert [message["url"] for message in messages] == urls


async def test_one_entry_makes_an_array_of_one():
    """BAT-5."""
    async with serve() as api:
        answer = await send(api, an_entry())

    assert isinstance(answer.json, list)
    assert len(answer.json) == 1


async def test_an_empty_array_makes_an_empty_array():
    """BAT-9."""
    async with serve() as api:
        answer = await send(api)

    assert answer.status == 200
    assert answer.body == b"[]"


async def test_an_entrys_headers_configure_its_message_in_any_case():
    """BAT-1, BAT-2, FMT-7: JavaScript sends lower case, Go sends arrays."""
    async with serve() as api:
        answer = await send(
            api,
            an_entry(headers={"upstash-retries": "7", "content-type": "text/plain"}),
            an_entry(
                headers={
                    "Upstash-Delay": ["1m"],
                    "UPSTASH-forward-x-api-key": ["a", "b"],
                }
            ),
            an_entry(headers={}),
            an_entry(headers=None),
        )
        first, second, third, fourth = await messages_of(api, answer)

    assert first["maxRetries"] == 7
    assert first["header"] == {"Content-Type": ["text/plain"]}
    assert second["notBefore"] == T0 + 60_000
    assert second["header"] == {"X-Api-Key": ["a", "b"]}
    assert "header" not in third
    assert "header" not in fourth


async def test_headers_of_the_request_do_not_apply_to_entries():
    """BAT-2."""
    async with serve() as api:
        answer = await send(
            api,
            an_entry(),
            headers=[
                ("Content-Type", "application/json"),
                ("Upstash-Retries", "9"),
                ("Upstash-Forward-X", "1"),
                ("Upstash-Header-Forward", "true"),
            ],
        )
        (message,) = await messages_of(api, answer)

    assert message["maxRetries"] == 3
    assert "header" not in message


async def test_parameters_of_the_request_do_not_apply_to_entries():
    """BAT-2."""
    async with serve() as api:
        body = json.dumps([an_entry()]).encode()
        answer = await api.post("/v2/batch?upstash-retries=9&a=1", body=body)
        (message,) = await messages_of(api, answer)

    assert message["maxRetries"] == 3
    assert message["url"] == HOOK


async def test_an_entrys_query_is_its_destinations():
    """BAT-4."""
    url = "http://a/?upstash-retries=9&qstash_token=x&b"
    async with serve() as api:
        answer = await send(api, an_entry(url))
        (message,) = await messages_of(api, answer)

    assert message["url"] == url
    assert message["maxRetries"] == 3


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ({"body": "plain"}, b"plain"),
        ({"body": "é\u20ac\U0001f600"}, "é€😀".encode()),
        ({"body": '{"a":1}'}, b'{"a":1}'),
        ({"body": ""}, b""),
        ({"body": None}, b""),
        ({}, b""),
    ],
)
async def test_an_entrys_body_is_the_bytes_of_its_text(fields, body):
    """BAT-1."""
    async with serve() as api:
        await send(api, an_entry(**fields))
        await api.settle()
        (request,) = api.transport.requests

    assert request.body == body


@pytest.mark.parametrize("fields", [{"queue": ""}, {"queue": None}, {}])
async def test_an_entry_without_a_queue_is_published(fields):
    """BAT-1."""
    async with serve() as api:
        answer = await send(api, an_entry(**fields))
        (message,) = await messages_of(api, answer)

    assert "queueName" not in message


async def test_unknown_keys_are_ignored():
    """FMT-20."""
    async with serve() as api:
        answer = await send(api, an_entry(callback=HOOK, retries=9, x={"y": None}))
        (message,) = await messages_of(api, answer)

    assert message["maxRetries"] == 3
    assert "callback" not in message


async def test_the_second_of_two_equal_entries_is_a_duplicate():
    """BAT-6, BAT-11, PUB-42: and the status stays 200."""
    once = {"Upstash-Deduplication-Id": "once"}
    async with serve() as api:
        answer = await send(api, an_entry(headers=once), an_entry(OTHER, headers=once))
        again = await send(api, an_entry(headers=once))
        await api.settle()

        first = answer.json[0]["messageId"]
        duplicate = {"messageId": first, "deduplicated": True}
        assert answer.json == [{"messageId": first}, duplicate]
        assert (again.status, again.json) == (200, [duplicate])
        assert len(api.transport.requests) == 1


async def test_deduplication_ids_of_publish_and_batch_are_the_same():
    """DED-4."""
    async with serve() as api:
        first = await api.publish(headers=[("Upstash-Deduplication-Id", "once")])
        answer = await send(api, an_entry(headers={"Upstash-Deduplication-Id": "once"}))

    assert answer.json == [{"messageId": first, "deduplicated": True}]


async def test_the_largest_body_is_each_entrys_not_the_requests():
    """BAT-10, LIM-2."""
    entries = [an_entry(body="x" * 1_000_000) for _ in range(3)]
    async with serve(quota="free") as api:
        answer = await send(api, *entries)

    assert answer.status == 200
    assert len(answer.json) == 3


async def test_a_request_beyond_100_mb_is_refused_before_it_has_been_sent():
    """BAT-10."""
    async with serve() as api, api.connect() as connection:
        length = "Content-Length: 104857601"
        await connection.send(head("POST", "/v2/batch", length) + b"[")
        answer = await connection.answer()

    assert answer.status == 413
    assert answer.error == "request body is larger than 104857600 bytes"


def with_header(name: str, value: Any) -> bytes:
    return json.dumps([an_entry(), an_entry(headers={name: value})]).encode()


def with_entry(entry: Any) -> bytes:
    return json.dumps([an_entry(), entry]).encode()


REFUSED = {
    "nothing": (b"", 400),
    "no JSON": (b"[{", 400),
    "no UTF-8": (b'[{"destination":"http://a/","body":"\xff"}]', 400),
    "trailing garbage": (b"[]]", 400),
    "an object": (json.dumps(an_entry()).encode(), 400),
    "a string": (b'"http://a/"', 400),
    "null": (b"null", 400),
    "too deep": (b"[" * 100_000, 400),
    "a string as an entry": (with_entry("http://a/"), 400),
    "null as an entry": (with_entry(None), 400),
    "an array as an entry": (with_entry([]), 400),
    "no destination": (with_entry({"body": "x"}), 400),
    "an empty destination": (with_entry(an_entry("")), 400),
    "null as a destination": (with_entry(an_entry(None)), 400),
    "a number as a destination": (with_entry(an_entry(1)), 400),
    "no scheme": (with_entry(an_entry("ex.com/a")), 400),
    "an unknown group": (with_entry(an_entry("no-such-group")), 404),
    "a number as a body": (with_entry(an_entry(body=1)), 400),
    "an object as a body": (with_entry(an_entry(body={})), 400),
    "half a character": (with_entry(an_entry(body="\ud800")), 400),
    "a number as a queue": (with_entry(an_entry(queue=1)), 400),
    "a string as headers": (with_entry(an_entry(headers="x")), 400),
    "a number as a header": (with_header("Upstash-Retries", 3), 400),
    "null as a header": (with_header("Upstash-Retries", None), 400),
    "no header's name": (with_header("a b", "x"), 400),
    "a header that ends early": (with_header("Upstash-Forward-X", "a\r\nB: c"), 400),
    "broken retries": (with_header("Upstash-Retries", "x"), 400),
    "too many retries": (with_header("Upstash-Retries", "1000"), 400),
    "too long a delay": (with_header("Upstash-Delay", "8d"), 400),
    "a colon in an id": (with_header("Upstash-Deduplication-Id", "a:b"), 400),
    "a delayed callback": (with_header("Upstash-Callback-Delay", "1s"), 400),
    "too large a body": (with_entry(an_entry(body="x" * 1_048_577)), 400),
}


@pytest.mark.parametrize(("body", "status"), REFUSED.values(), ids=REFUSED)
async def test_one_bad_entry_refuses_the_whole_batch(body, status):
    """BAT-7, DED-9: the good entries before it leave nothing behind either."""
    async with serve(quota="free") as api:
        answer = await api.post("/v2/batch", body=body)

        assert answer.status == status
        assert answer.error
        assert await api.is_untouched()


async def test_a_refused_batch_opens_no_deduplication_window():
    """BAT-7, DED-9."""
    once = {"Upstash-Deduplication-Id": "once"}
    async with serve() as api:
        refused = await send(api, an_entry(headers=once), an_entry("ftp://x"))
        accepted = await send(api, an_entry(headers=once))

    assert refused.status == 400
    assert list(accepted.json[0]) == ["messageId"]


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        (
            an_entry("ex.com/a"),
            "invalid destination url: endpoint has invalid scheme, "
            "add http:// or https://",
        ),
        (
            an_entry(body="x" * 1_048_577),
            "quota maxMessageSize exceeded, current limit: 1048576",
        ),
        (
            an_entry(headers={"Upstash-Retries": "1000"}),
            "quota maxRetries exceeded, current limit: 999",
        ),
        (
            an_entry(headers={"Upstash-Deduplication-Id": "a:b"}),
            "DeduplicationId cannot contain ':'",
        ),
        (an_entry("no-such-group"), "topic no-such-group not found"),
    ],
)
async def test_an_error_has_the_words_that_publish_would_have(entry, text):
    """ERR-4."""
    async with serve(quota="free") as api:
        answer = await send(api, entry)

    assert answer.error == text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)

ENTRIES = st.fixed_dictionaries(
    {"destination": st.sampled_from([HOOK, OTHER, "x", ""]) | JSON},
    optional={
        "headers": st.dictionaries(
            st.sampled_from(["upstash-retries", "Upstash-Delay", "X"])
            | st.text(max_size=8),
            st.sampled_from(["1", "1s"]) | JSON,
            max_size=3,
        )
        | JSON,
        "body": JSON,
        "queue": st.sampled_from(["", None]),
    },
)


@few
@given(st.lists(ENTRIES | JSON, max_size=3) | JSON)
async def test_any_json_is_accepted_whole_or_refused_whole(value):
    """BAT-7."""
    async with serve() as api:
        answer = await api.post("/v2/batch", body=json.dumps(value).encode())

        if answer.status == 200:
            assert len(answer.json) == len(value)
        else:
            assert answer.status in (400, 404)
            assert answer.error
            assert await api.is_untouched()
