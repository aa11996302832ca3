"""emulator/web/state.py: the whole state, taken out as a file and put in."""

from __future__ import annotations

import asyncio
import json

import pytest

from emulator.core.resources import Declared
from emulator.engine import importing
from emulator.settings import DEV_USERS
from tests.doubles import T0, Hang, turn
from tests.web.test_client import FAILS, NOT_RETRYABLE, Answer, Api, serve

STATE = "/_qemu/state"
USER = DEV_USERS[0].name
HEAD = b'{"type":"qemu-state","format":1,"qemu":"0.1.0","time":%d}\n' % T0


async def export(api: Api, query: str = "") -> bytes:
    answer = await api.get(STATE + query, user=None)
    assert answer.status == 200, answer.body
    return answer.body


async def put(api: Api, text: bytes, query: str = "") -> Answer:
    return await api.call("PUT", STATE + query, user=None, body=text)


def lines(text: bytes, kind: str | None = None) -> list[dict]:
    found = [json.loads(line) for line in text.splitlines()]
    return [line for line in found if kind in (None, line["type"])]


async def fill(api: Api) -> None:
    """Make something of each kind."""
    await api.fail("http://localhost/fails", body=b"\x00\xff")
    await api.publish(
        headers=[
            ("Upstash-Delay", "1h"),
            ("Upstash-Deduplication-Id", "once"),
            ("Upstash-Flow-Control-Key", "key"),
            ("Upstash-Flow-Control-Value", "rate=1"),
            ("Upstash-Forward-X-Name", "é"),
        ],
        body='{"text":"é"}'.encode(),
    )
    await api.post("/v2/enqueue/line/http://a.example", user=1)
    await api.post(
        "/v2/topics/group/endpoints", body=b'{"endpoints":[{"url":"http://a"}]}'
    )
    await api.post(
        "/v2/schedules/http://a.example", headers=[("Upstash-Cron", "0 0 * * *")]
    )
    await api.post("/v2/keys/rotate")
    await api.settle()


# Out


async def test_an_export_begins_with_what_it_is_and_ends_with_how_long_it_is():
    async with serve() as api:
        answer = await api.get(STATE, user=None)
    first, *users, last = lines(answer.body)

    assert answer.headers["Content-Type"] == "application/x-ndjson"
    assert (first["type"], first["format"], first["time"]) == ("qemu-state", 1, T0)
    assert [line["user"] for line in users] == [user.name for user in DEV_USERS]
    assert last == {"type": "end", "lines": 1 + len(DEV_USERS)}


async def test_an_export_holds_all_kinds_in_an_order_to_read_back():
    async with serve(NOT_RETRYABLE) as api:
        await fill(api)
        text = await export(api, f"?user={USER}")
    kinds = [line["type"] for line in lines(text)]

    assert list(dict.fromkeys(kinds)) == [
        *("qemu-state", "user", "url-group", "flow-key", "schedule", "message"),
        *("log", "dlq", "deduplication", "end"),
    ]


async def test_a_log_entry_has_the_names_and_values_of_the_feed():
    async with serve(FAILS) as api:
        subscription = api.emulator.feed.subscribe()
        await api.publish(headers=[("Upstash-Retries", "0")])
        await api.settle()
        subscription.close()
        text = await export(api)
        async with api.session.get(
            api.url("/_qemu/feed"), headers={"Last-Event-ID": "0"}
        ) as feed:
            await feed.content.readuntil(b"\n\n")
            fed = [await feed.content.readuntil(b"\n\n") for _ in range(4)]
    entries = lines(text, "log")
    shared = ("user", "time", "messageId", "state", "retried", "nextDeliveryTime")

    assert [entry["state"] for entry in entries] == [
        *("CREATED", "ACTIVE", "ERROR", "FAILED"),
    ]
    for entry, event in zip(entries, fed, strict=True):
        live = json.loads(event.split(b"data: ")[1])
        for name in (*shared, "durationMs", "dlqId"):
            assert entry.get(name) == live.get(name)


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"", {}),
        ("é\n".encode(), {"body": "é\n"}),
        (b"\xff", {"bodyBase64": "/w=="}),
        (b"a\x00", {"bodyBase64": "YQA="}),
    ],
)
async def test_a_body_is_a_text_where_it_is_one_else_base64(body, fields):
    async with serve() as api:
        await api.publish(body=body, headers=[("Upstash-Delay", "1h")])
        (message,) = lines(await export(api), "message")

    assert {name: message[name] for name in message if "body" in name} == fields


async def test_an_export_is_of_one_instant_whatever_happens_while_it_is_sent():
    async with serve() as api:
        for _ in range(3):
            await api.publish(body=b"x" * 600_000, headers=[("Upstash-Delay", "1h")])
        async with api.session.get(api.url(STATE)) as response:
            begun = await response.content.readany()
            await api.post("/_qemu/reset", user=None)
            text = begun + await response.read()

    assert len(lines(text, "message")) == 3
    assert lines(text)[-1]["type"] == "end"


async def test_a_page_elsewhere_may_neither_read_the_state_nor_replace_it():
    origin = [("Origin", "https://evil.example")]
    async with serve() as api:
        read = await api.get(STATE, user=None, headers=origin)
        written = await api.call("PUT", STATE, user=None, headers=origin, body=HEAD)

    assert "Access-Control-Allow-Origin" not in read.headers
    assert written.status == 403


async def test_an_unknown_user_is_refused_by_name():
    async with serve() as api:
        answer = await api.get(f"{STATE}?user=nobody", user=None)

    assert answer.status == 400
    assert USER in answer.error


@pytest.mark.parametrize("query", ["?users=a", "?user=a&user=b", "?replace=true"])
async def test_a_parameter_that_there_is_not_is_refused(query):
    async with serve() as api:
        answer = await api.get(STATE + query, user=None)

    assert answer.status == 400


async def test_head_says_that_it_is_there():
    async with serve() as api:
        answer = await api.call("HEAD", STATE, user=None)

    assert (answer.status, answer.body) == (200, b"")


# In


@pytest.mark.parametrize("with_file", [False, True])
async def test_what_was_exported_is_there_after_an_import(tmp_path, with_file):
    settings = {"db": str(tmp_path / "qemu.db")} if with_file else {}
    async with serve(NOT_RETRYABLE) as api:
        await fill(api)
        text = await export(api)
        before = [await api.events(), await api.dlq(), (await api.get("/v2/keys")).body]
    async with serve(**settings) as api:
        answer = await put(api, text)
        after = [await api.events(), await api.dlq(), (await api.get("/v2/keys")).body]
        again = await export(api)
    assert answer.json["messages"] == 3
    assert answer.json["pending"] == 1
    assert after == before
    assert again == text
    if with_file:
        async with serve(**settings) as api:
            assert await export(api) == text


async def test_an_imported_message_is_delivered_when_it_is_due():
    async with serve() as api:
        await api.publish("http://a/later", headers=[("Upstash-Delay", "1h")])
        text = await export(api)
    async with serve() as api:
        await put(api, text)
        await turn(api.emulator, 3_599_999)
        early = list(api.transport.requests)
        await turn(api.emulator, 3_600_000)

        assert early == []
        assert [request.url for request in api.transport.requests] == ["http://a/later"]


async def test_what_fell_due_before_the_import_is_delivered_at_once():
    async with serve() as api:
        await api.publish("http://a/later", headers=[("Upstash-Delay", "1h")])
        text = await export(api)
    async with serve(start_time_ms=T0 + 7_200_000) as api:
        await put(api, text)
        await api.settle()

        assert [request.url for request in api.transport.requests] == ["http://a/later"]


async def test_a_delivery_under_way_is_made_again_after_an_import():
    async with serve(Hang()) as api:
        message_id = await api.publish("http://a/again")
        await turn(api.emulator, 0)
        text = await export(api)
    async with serve() as api:
        await put(api, text)
        await api.settle()

        assert await api.states(message_id) == [
            *("CREATED", "ACTIVE", "ERROR", "RETRY", "ACTIVE", "DELIVERED"),
        ]


async def test_deliveries_of_what_is_replaced_settle_nothing():
    async with serve() as api:
        empty = await export(api)
    async with serve(Hang()) as api:
        await api.publish()
        await turn(api.emulator, 0)
        await put(api, empty, "?replace=true")
        await api.settle()

        assert await api.events() == []
        assert api.emulator.in_flight == 0


async def test_a_seed_makes_no_id_again_that_was_imported():
    async with serve(seed=1) as api:
        first = await api.publish(headers=[("Upstash-Delay", "1h")])
        text = await export(api)
    async with serve(seed=1) as api:
        await put(api, text)
        second = await api.publish(headers=[("Upstash-Delay", "1h")])

    assert second != first


async def test_a_virtual_clock_is_not_behind_what_was_imported():
    async with serve(start_time_ms=T0 + 5_000) as api:
        text = await export(api)
    async with serve() as api:
        await put(api, text)

        assert api.emulator.clock.now_ms() == T0 + 5_000


async def test_an_import_is_no_news_to_who_follows_the_feed():
    async with serve() as api:
        await api.publish(headers=[("Upstash-Delay", "1h")])
        text = await export(api)
    async with serve() as api:
        await put(api, text)
        subscription = api.emulator.feed.subscribe(after=0)
        subscription.close()

        assert [items async for items in subscription] == []


async def test_state_is_replaced_only_if_that_is_asked_for():
    async with serve() as api:
        empty = await export(api)
        await api.publish(headers=[("Upstash-Delay", "1h")])
        before = await export(api)
        refused = await put(api, empty)
        unchanged = await export(api)
        await put(api, empty, "?replace=true")

        assert refused.status == 409
        assert "replace=true" in refused.error
        assert unchanged == before
        assert await export(api) == empty


async def test_what_is_declared_is_nothing_that_an_import_would_discard():
    queue = ("declared", 1, False)
    async with serve() as api:
        empty = await export(api)
    async with serve(declared=Declared(queues=(queue,))) as api:
        answer = await put(api, empty)

    assert answer.status == 200


async def test_users_that_a_file_does_not_name_keep_their_state():
    async with serve() as api:
        mine = await export(api, f"?user={USER}")
        await api.publish(user=1, headers=[("Upstash-Delay", "1h")])
        answer = await put(api, mine)

        assert answer.json == {"users": [USER], "messages": 0, "pending": 0}
        assert len(await api.events(user=1)) == 1


async def test_a_file_with_a_broken_line_changes_nothing_and_the_line_is_named():
    async with serve() as api:
        await api.publish(headers=[("Upstash-Delay", "1h")])
        before = await export(api)
        broken = before.splitlines(keepends=True)
        broken[2] = b"{\n"
        answer = await put(api, b"".join(broken), "?replace=true")

        assert answer.status == 400
        assert answer.error.startswith("line 3 of the state: it isn't JSON")
        assert await export(api) == before


@pytest.mark.parametrize("value", ["yes", ""])
async def test_replace_is_true_or_false(value):
    async with serve() as api:
        answer = await put(api, HEAD, f"?replace={value}")

    assert (answer.status, "replace" in answer.error) == (400, True)


async def test_a_file_that_arrives_in_bits_is_read_like_any_other():
    async with serve(NOT_RETRYABLE) as api:
        await fill(api)
        text = await export(api)

        async def bits():
            for at in range(0, len(text), 7):
                yield text[at : at + 7]

        answer = await api.call("PUT", f"{STATE}?replace=true", user=None, body=bits())
        again = await export(api)

    assert answer.status == 200
    assert again == text


async def test_a_last_line_needs_no_end():
    async with serve() as api:
        text = await export(api)
        answer = await put(api, text.rstrip(b"\n"))

    assert answer.status == 200


async def test_a_line_without_an_end_is_given_up(monkeypatch):
    monkeypatch.setattr(importing, "MAX_LINE_BYTES", 1_000)
    async with serve() as api:
        answer = await put(api, b"x" * 1_000_000)

    assert answer.status == 400
    assert answer.error.startswith("line 1 of the state: it has more than 1,000 bytes")


async def test_a_file_that_is_too_long_is_given_up(monkeypatch):
    monkeypatch.setattr("emulator.web.state._MAX_BYTES", 100)
    async with serve() as api:
        answer = await put(api, await export(api))

    assert answer.status == 413


async def test_others_are_served_while_a_file_arrives():
    async with serve() as api:
        text = await export(api)
        gate = asyncio.Event()

        async def slowly():
            yield text[:10]
            await gate.wait()
            yield text[10:]

        importing_ = asyncio.ensure_future(
            api.call("PUT", STATE, user=None, body=slowly())
        )
        health = await api.get("/_qemu/health", user=None)
        gate.set()
        answer = await importing_

    assert (health.status, answer.status) == (200, 200)


async def test_what_is_left_of_a_finished_message_is_state_too():
    async with serve() as api:
        empty = await export(api)
        await api.publish()
        await api.settle()
        answer = await put(api, empty)

    assert answer.status == 409
