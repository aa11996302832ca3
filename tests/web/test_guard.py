"""emulator/web/guard.py: which hosts and which web pages may call (BASE-14)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.web.test_client import HOOK, Answer, Api, head, serve

CONSOLE = "https://console.upstash.com"

STRANGER = "https://evil.example"

TARGETS = ["/v2/queues", "/v2/nothing", "/_qemu/health", "/_qemu/nothing", "/"]

WRITES = [
    ("POST", f"/v2/publish/{HOOK}"),
    ("POST", "/v2/batch"),
    ("DELETE", "/v2/messages"),
    ("POST", "/v2/keys/rotate"),
    ("PATCH", "/v2/schedules/s/pause"),
    ("PUT", "/v2/queues"),
    ("POST", "/_qemu/reset"),
    ("POST", "/_qemu/clock/advance"),
    ("POST", "/_qemu/rate-limit"),
]


async def call(
    api: Api, method: str, target: str, *, host: str = "", origin: str | None = None
) -> Answer:
    headers = [("Host", host)] if host else []
    if origin is not None:
        headers.append(("Origin", origin))
    return await api.call(method, target, headers=headers)


async def preflight(api: Api, target: str, origin: str, *asked: Any) -> Answer:
    return await api.call(
        "OPTIONS",
        target,
        user=None,
        headers=[
            ("Origin", origin),
            ("Access-Control-Request-Method", "POST"),
            *asked,
        ],
    )


def cors_in(answer: Answer) -> list[str]:
    return [name for name in answer.headers if name.startswith("Access-Control-")]


# Host: a page that lets its own name point here


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8080",
        "LocalHost:8080",
        "localhost.",
        "app.localhost",
        "127.0.0.1",
        "127.0.0.1:8080",
        "127.1.2.3",
        "[::1]",
        "[::1]:8080",
        "192.168.1.5:8080",
        "[fe80::1]",
        "8.8.8.8",
        "qemu",
        "qemu:8080",
        "host.docker.internal",
        "my-laptop.local:8080",
        "app.test",
        "nas.home.arpa",
    ],
)
async def test_a_name_that_no_stranger_can_own_is_served(host):
    async with serve() as api:
        answers = [
            await call(api, "GET", "/v2/queues", host=host),
            await call(api, "GET", "/_qemu/health", host=host),
        ]

    assert [answer.status for answer in answers] == [200, 200]


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "evil.example.",
        "EVIL.EXAMPLE",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1.nip.io:8080",
        "evil.localhost.com",
        "evillocal.com",
        "notlocalhost.com",
        "a.notlocalhost",
        "shop.contest",
        "1.2.3",
        "1.2.3.4.5",
        "[evil.example]",
    ],
)
@pytest.mark.parametrize("target", TARGETS)
async def test_a_name_that_a_stranger_can_own_is_refused(target, host):
    """DNS rebinding: for everything that is served, with or without a token."""
    async with serve() as api:
        answer = await call(api, "GET", target, host=host)

    assert answer.status == 403
    assert "--allow-host" in answer.error


async def test_a_strange_name_publishes_nothing():
    async with serve() as api:
        answer = await call(api, "POST", f"/v2/publish/{HOOK}", host="evil.example")

        assert answer.status == 403
        assert await api.is_untouched()


async def test_a_strange_name_is_refused_before_a_preflight_is_answered():
    async with serve() as api:
        answer = await api.call(
            "OPTIONS",
            "/v2/queues",
            headers=[("Host", "evil.example"), ("Origin", CONSOLE)],
        )

    assert answer.status == 403


async def test_the_refusal_names_the_host_on_one_line():
    """ERR-1: whatever it looks like."""
    async with serve() as api:
        answer = await call(api, "GET", "/v2/queues", host='ev"il.example')

    assert answer.status in (400, 403)
    assert "\n" not in answer.body.decode()


async def test_a_client_of_http_1_0_needs_no_host():
    async with serve() as api, api.connect() as connection:
        request = head("GET", "/v2/queues").replace(b"HTTP/1.1", b"HTTP/1.0")
        await connection.send(request.replace(b"Host: localhost\r\n", b""))
        answer = await connection.answer()

    assert answer.status == 200


@pytest.mark.parametrize("host", ["app.example", "APP.example:443"])
async def test_a_name_may_be_allowed(host):
    async with serve(allowed_hosts=("app.example",)) as api:
        served = await call(api, "GET", "/v2/queues", host=host)
        refused = await call(api, "GET", "/v2/queues", host="other.app.example")

    assert (served.status, refused.status) == (200, 403)


# Origin: a page elsewhere that writes


@pytest.mark.parametrize(
    "origin",
    [
        STRANGER,
        "http://evil.example:8080",
        "https://console.upstash.com.evil.example",
        "http://console.upstash.com",
        "https://console.upstash.com:444",
        "http://localhost.evil.example",
        "http://evillocalhost",
        "http://127.0.0.1.evil.example",
        "http://192.168.1.5",
        "http://app:3000",
        "null",
        "",
        "file://",
        "chrome-extension://abcdefgh",
        "capacitor://localhost",
        "ftp://127.0.0.1",
        "localhost",
        "http://",
        "http://[",
        "http://[::2]",
    ],
)
@pytest.mark.parametrize(("method", "target"), WRITES)
async def test_a_page_of_a_stranger_changes_nothing(method, target, origin):
    """The dev users' tokens are public, so a page may well send one."""
    async with serve() as api:
        answer = await call(api, method, target, origin=origin)

        assert answer.status == 403
        assert "--allow-origin" in answer.error
        assert cors_in(answer) == []
        assert await api.is_untouched()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("origin", [STRANGER, "null"])
async def test_a_page_of_a_stranger_cannot_read_an_answer(target, origin):
    """A browser keeps from it what doesn't name it."""
    async with serve() as api:
        answer = await call(api, "GET", target, origin=origin)

    assert cors_in(answer) == []
    assert answer.headers["Vary"] == "Origin"


@pytest.mark.parametrize(
    "origin",
    [
        CONSOLE,
        "http://localhost",
        "http://localhost:3000",
        "https://localhost:8443",
        "http://app.localhost:3000",
        "http://127.0.0.1:5173",
        "http://127.9.9.9",
        "http://[::1]:3000",
    ],
)
@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/v2/queues", 200),
        ("GET", "/v2/queues/none", 404),
        ("PUT", "/v2/queues", 405),
        ("POST", "/v2/publish/", 400),
        ("POST", f"/v2/publish/{HOOK}", 200),
        ("POST", "/_qemu/reset", 200),
        ("GET", "/_qemu/clock", 200),
    ],
)
async def test_a_page_of_this_machine_and_the_console_may_call_and_read(
    method, target, status, origin
):
    """BASE-14: errors too, or the page would see nothing but a failed request."""
    async with serve() as api:
        answer = await call(api, method, target, origin=origin)

    assert answer.status == status
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert answer.headers["Access-Control-Expose-Headers"] == "*"
    assert answer.headers["Vary"] == "Origin"


@pytest.mark.parametrize(
    "host", ["192.168.1.5:8080", "[fe80::1]:8080", "qemu:8080", "nas.local"]
)
async def test_a_page_of_our_own_may_call(host):
    """Whatever this server is called: the page comes from it."""
    async with serve() as api:
        own = await call(
            api, "POST", "/_qemu/reset", host=host, origin=f"http://{host}"
        )
        other = await call(
            api, "POST", "/_qemu/reset", host=host, origin=f"http://{host}1"
        )

    assert own.status == 200
    assert own.headers["Access-Control-Allow-Origin"] == f"http://{host}"
    assert other.status == 403


async def test_a_page_may_be_allowed_and_then_it_is_those_that_are_named():
    """The console is a default, not a must."""
    async with serve(allowed_origins=("https://app.example",)) as api:
        statuses = [
            (await call(api, "POST", "/_qemu/reset", origin=origin)).status
            for origin in ("https://app.example", CONSOLE, "http://localhost:3000")
        ]

    assert statuses == [200, 403, 200]


async def test_a_program_names_no_origin_and_may_do_anything():
    async with serve() as api:
        answers = [await call(api, method, target) for method, target in WRITES]

    assert 403 not in {answer.status for answer in answers}
    assert [cors_in(answer) for answer in answers] == [[]] * len(answers)


# Preflights


@pytest.mark.parametrize("target", [*TARGETS, f"/v2/publish/{HOOK}"])
async def test_a_preflight_of_a_page_that_may_call_is_answered(target):
    """BASE-14: it carries no token. The console is a public page that asks for a
    private address, so a browser asks about that as well."""
    asked = "authorization,upstash-retries,x-whatever"
    async with serve() as api:
        answer = await preflight(
            api,
            target,
            CONSOLE,
            ("Access-Control-Request-Headers", asked),
            ("Access-Control-Request-Private-Network", "true"),
        )

    methods = answer.headers["Access-Control-Allow-Methods"].split(", ")
    assert answer.status == 204
    assert answer.body == b""
    assert answer.headers["Access-Control-Allow-Origin"] == CONSOLE
    assert answer.headers["Access-Control-Allow-Headers"] == asked
    assert answer.headers["Access-Control-Allow-Private-Network"] == "true"
    assert set(methods) >= {"GET", "POST", "PATCH", "DELETE"}
    assert "Access-Control-Allow-Credentials" not in answer.headers


async def test_a_preflight_that_asks_for_no_headers_is_told_none():
    """BASE-14."""
    async with serve() as api:
        answer = await preflight(api, "/v2/queues", "http://localhost:3000")

    assert answer.status == 204
    assert "Access-Control-Allow-Headers" not in answer.headers


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("origin", [STRANGER, "null"])
async def test_a_preflight_of_a_stranger_is_refused(target, origin):
    async with serve() as api:
        answer = await preflight(
            api, target, origin, ("Access-Control-Request-Private-Network", "true")
        )

    assert answer.status == 403
    assert cors_in(answer) == []


async def test_a_preflight_publishes_nothing():
    """BASE-14."""
    async with serve() as api:
        answer = await preflight(api, f"/v2/publish/{HOOK}", CONSOLE)

        assert answer.status == 204
        assert await api.is_untouched()
