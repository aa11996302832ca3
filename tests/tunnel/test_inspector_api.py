"""tunnel/inspector_api.py: exchanges over HTTP, on loopback, and for no web page."""

import asyncio
import json
import socket
from contextlib import asynccontextmanager

import aiohttp
import pytest

from tests.tunnel.apps import serving
from tests.tunnel.exchanges import PUBLIC, T0, a_head, an_exchange
from tunnel import inspector_api
from tunnel.inspector import Inspector
from tunnel.inspector_api import InspectorApi
from tunnel.replay import Replayer


class Client:
    """Asks an API; answers are status, parsed JSON or bytes, and headers."""

    def __init__(self, session, url):
        self._session = session
        self.url = url

    async def ask(self, method, path, *, headers=None, data=None):
        async with self._session.request(
            method, f"{self.url}/_qemu/exchanges{path}", headers=headers, data=data
        ) as response:
            body = await response.read()
            is_json = response.content_type == "application/json"
            return response.status, json.loads(body) if is_json else body, response

    async def get(self, path="", **details):
        status, body, _ = await self.ask("GET", path, **details)
        return status, body

    async def replay(self, id, edits=None, **details):
        data = json.dumps(edits).encode() if isinstance(edits, dict) else edits
        status, body, _ = await self.ask("POST", f"/{id}/replay", data=data, **details)
        return status, body


@asynccontextmanager
async def serving_api(inspector, to=None):
    """Run an API for a ``with`` block; it replays to the URL ``to``."""
    replayer = to and Replayer(inspector, to, now_ms=lambda: T0)
    api = InspectorApi(inspector, replayer=replayer)
    await api.start()
    try:
        async with aiohttp.ClientSession() as session:
            yield Client(session, api.url)
    finally:
        await api.stop()


@pytest.fixture
def inspector():
    """Three exchanges: 1 done, 2 failed, 3 open."""
    inspector = Inspector()
    an_exchange("Authorization: Bearer s3cret", inspector=inspector)
    an_exchange(inspector=inspector, answer=b"", error="refused", failed_end="local")
    inspector.begin(b"::1", b"http", a_head(), PUBLIC, T0)
    return inspector


async def test_the_listing_has_every_exchange_without_bodies(inspector):
    async with serving_api(inspector) as client:
        status, body = await client.get()

    assert status == 200
    assert body == {"exchanges": [exchange.to_json() for exchange in inspector]}
    assert "s3cret" not in json.dumps(body)


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("?state=done", [1]),
        ("?state=failed", [2]),
        ("?state=open", [3]),
        ("?count=2", [2, 3]),
        ("?count=0", []),
        ("?after=1", [2, 3]),
        ("?after=0&count=2", [1, 2]),
        ("?after=3", []),
        ("?count=999999999", [1, 2, 3]),
    ],
)
async def test_a_listing_can_be_narrowed(inspector, query, ids):
    async with serving_api(inspector) as client:
        _, body = await client.get(query)

    assert [exchange["id"] for exchange in body["exchanges"]] == ids


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("?state=none", "state: use one of open, done, failed"),
        ("?count=-1", "count: use a whole number"),
        ("?count=", "count: use a whole number"),
        ("?after=x", "after: use a whole number"),
        ("?after=1111111111111111", "after: use a whole number"),
    ],
)
async def test_a_query_that_cannot_be_is_refused_by_name(inspector, query, error):
    async with serving_api(inspector) as client:
        assert await client.get(query) == (400, {"error": error})


async def test_one_exchange_is_shown_with_its_bodies(inspector):
    async with serving_api(inspector) as client:
        status, body = await client.get("/1")

    assert status == 200
    assert body["request"]["body"] == "hi"
    assert body["answer"]["body"] == "ok"


@pytest.mark.parametrize("path", ["/9", "/0", "/9/body"])
async def test_an_exchange_that_is_not_kept_is_not_found(inspector, path):
    async with serving_api(inspector) as client:
        status, body = await client.get(path)

    assert status == 404
    assert "isn't kept, or never was" in body["error"]


async def test_an_id_that_is_none_is_refused(inspector):
    async with serving_api(inspector) as client:
        assert await client.get("/x") == (400, {"error": "the id: use a whole number"})


async def test_bodies_are_had_as_they_were_and_never_as_a_page(inspector):
    async with serving_api(inspector) as client:
        request = await client.ask("GET", "/1/body")
        answer = await client.ask("GET", "/1/body?of=answer")

    assert (request[1], answer[1]) == (b"hi", b"ok")
    headers = request[2].headers
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in headers["Content-Security-Policy"]


async def test_a_body_is_of_the_request_or_the_answer(inspector):
    async with serving_api(inspector) as client:
        status, body = await client.get("/1/body?of=both")

    assert (status, body) == (400, {"error": "of: use request or answer"})


async def test_a_body_that_was_not_kept_whole_is_gone():
    inspector = Inspector(max_body_bytes=1)
    an_exchange(inspector=inspector, body=b"12")

    async with serving_api(inspector) as client:
        status, body = await client.get("/1/body")

    assert (status, body) == (410, {"error": "the body wasn't kept whole"})


# Replay


async def test_a_replay_answers_with_the_new_exchange(inspector):
    async with serving() as app, serving_api(inspector, app.url) as client:
        status, body = await client.replay(1)

    assert status == 200
    assert (body["id"], body["replayOf"], body["state"]) == (4, 1, "done")
    assert body["answer"]["body"] == "ok"
    assert b"\r\nAuthorization: Bearer s3cret\r\n" in app.requests[0]


async def test_a_replay_can_be_edited(inspector):
    edits = {
        "method": "PUT",
        "path": "/b?c",
        "headers": {"X-New": "1", "Authorization": None},
        "bodyBase64": "/w==",
    }
    async with serving() as app, serving_api(inspector, app.url) as client:
        await client.replay(1, edits)

    assert app.requests[0].startswith(b"PUT /b?c HTTP/1.1\r\n")
    assert b"\r\nX-New: 1\r\n" in app.requests[0]
    assert b"Authorization" not in app.requests[0]
    assert app.requests[0].endswith(b"\r\n\r\n\xff")


@pytest.mark.parametrize(
    ("edits", "error"),
    [
        (b"{", "the edits aren't JSON"),
        (b"[" * 100_000, "the edits aren't JSON"),
        (b"[]", "the edits aren't a JSON object"),
        ({"url": "http://h"}, "'url' is no edit: use method, path, headers"),
        ({"method": 5}, "method: use a text"),
        ({"path": "b"}, "path: begin it with /"),
        ({"path": None}, "path: use a text"),
        ({"headers": []}, "headers: use an object of texts"),
        ({"headers": {"X": 5}}, "headers: use an object of texts"),
        ({"headers": {"Content-Length": "5"}}, "headers: Content-Length follows"),
        ({"body": 5}, "a body is a text"),
        ({"bodyBase64": "#"}, ""),
    ],
)
async def test_edits_that_cannot_be_are_refused_by_name(inspector, edits, error):
    async with serving() as app, serving_api(inspector, app.url) as client:
        status, body = await client.replay(1, edits)

    assert status == 400
    assert body["error"].startswith(error)
    assert app.requests == []


async def test_an_app_that_is_not_there_is_a_bad_gateway(inspector, closed_port):
    async with serving_api(inspector, f"http://127.0.0.1:{closed_port}") as client:
        status, body = await client.replay(1)

    assert status == 502
    assert "is your app running" in body["error"]


async def test_what_is_under_way_cannot_be_replayed(inspector):
    async with serving_api(inspector, "http://127.0.0.1:9") as client:
        status, body = await client.replay(3)

    assert (status, body["error"]) == (
        400,
        "it is still under way: wait for its end",
    )


async def test_without_an_app_nothing_is_replayed(inspector):
    async with serving_api(inspector) as client:
        status, _ = await client.replay(1)

    assert status == 501


async def test_edits_beyond_the_bound_are_too_large(inspector, monkeypatch):
    monkeypatch.setattr(inspector_api, "_MAX_REQUEST_BYTES", 100)

    async with serving_api(inspector, "http://127.0.0.1:9") as client:
        status, body = await client.replay(1, {"body": "x" * 200})

    assert status == 413
    assert "error" in body


# Who may ask


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:4040", "localhost", "LOCALHOST.:1", "a.localhost:1", "[::1]:1", "::"],
)
async def test_names_that_no_stranger_owns_are_served(inspector, host):
    async with serving_api(inspector) as client:
        status, _ = await client.get(headers={"Host": host})

    assert status == (403 if host == "::" else 200)


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "", "[::1", "localhost.evil"]
)
async def test_a_name_that_a_stranger_could_point_here_is_not(inspector, host):
    async with serving_api(inspector) as client:
        status, body = await client.get(headers={"Host": host})

    assert (status, body) == (
        403,
        {"error": "this host name isn't served: use 127.0.0.1"},
    )


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://[", ""]
)
async def test_a_page_of_another_origin_may_not_replay(inspector, origin):
    async with serving() as app, serving_api(inspector, app.url) as client:
        status, _ = await client.replay(1, headers={"Origin": origin})

    assert status == 403
    assert app.requests == []


async def test_a_page_of_another_origin_cannot_read_what_it_asked_for(inspector):
    headers = {"Origin": "https://evil.example"}
    async with serving_api(inspector) as client:
        _, _, got = await client.ask("GET", "", headers=headers)
        status, _, _ = await client.ask("OPTIONS", "", headers=headers)

    assert "Access-Control-Allow-Origin" not in got.headers
    assert status == 403


async def test_a_page_of_its_own_origin_may_replay(inspector):
    async with serving() as app, serving_api(inspector, app.url) as client:
        status, _ = await client.replay(1, headers={"Origin": client.url})

    assert status == 200


# The server


async def test_what_is_not_there_is_said_in_json(inspector):
    async with serving_api(inspector) as client:
        missing = await client.get("/1/nothing")
        status, body, response = await client.ask("DELETE", "/1")

    assert missing == (404, {"error": "Not Found"})
    assert (status, body) == (405, {"error": "Method Not Allowed"})
    assert response.headers["Allow"] == "GET,HEAD"


async def test_a_port_that_is_taken_is_an_os_error(inspector):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        api = InspectorApi(inspector, port=taken.getsockname()[1])

        with pytest.raises(OSError):
            await api.start()


async def test_an_ipv6_address_stands_in_brackets():
    assert InspectorApi(Inspector(), host="::1", port=5).url == "http://[::1]:5"


async def test_stopping_gives_up_a_replay_that_has_no_answer(inspector):
    async with serving(None) as app, asyncio.timeout(5):
        async with serving_api(inspector, app.url) as client:
            replaying = asyncio.create_task(client.replay(1))
            await app.called.wait()
        with pytest.raises(aiohttp.ClientError):
            await replaying

    assert inspector.exchange(4).state == "failed"


async def test_stopping_what_was_never_started_does_nothing():
    api = InspectorApi(Inspector())

    await api.stop()

    assert api.url == "http://127.0.0.1:0"
