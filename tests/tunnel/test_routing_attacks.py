"""Whom a request is meant for: nobody may make relay and app see two different hosts.

Hosts, targets, upgrades and paths as raw bytes against a running relay; what is about
where a request ends is in ``test_smuggling.py``.
"""

import pytest

from tests.tunnel.raw import OK, a_standing, post, request

SMUGGLED = request(first=b"GET /smuggled HTTP/1.1")


@pytest.fixture(scope="module")
def standing():
    """Run relay, tunnel and app for all attacks."""
    with a_standing() as standing:
        yield standing


# Hosts


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [b"Host: demo.localhost", b"Host: demo.localhost"],
        [b"Host: demo.localhost", b"host: other.localhost"],
        [b"Host: demo.localhost", b"Host:"],
        [b"Host: demo.localhost, other.localhost"],
        [b"Host: demo.localhost other.localhost"],
        [b"Host: user@demo.localhost"],
        [b"Host: demo.localhost/x"],
        [b"Host: demo.localhost?x"],
        [b"Host: demo.localhost#x"],
        [b"Host: demo.localhost\\x"],
        [b"Host: demo.localhost:80:80"],
        [b"Host: demo.localhost:http"],
        [b"Host: demo.localhost:-1"],
        [b"Host: demo.localhost:123456"],
        [b"Host: http://demo.localhost"],
        [b"Host: demo%2elocalhost"],
        [b"Host: demo.localhost\x00.evil"],
        [b"Host: d\xc3\xa9mo.localhost"],
        [b"Host: [::1"],
        [b"Host: [demo.localhost]"],
        [b"Host : demo.localhost"],
        [b" Host: demo.localhost"],
        [b"X: y\nHost: demo.localhost"],
    ],
)
def test_more_or_less_than_one_plain_host_is_refused(standing, lines):
    data = request(*lines, host=None)

    assert standing.attack(data + SMUGGLED) == (400, [])


@pytest.mark.parametrize(
    "target",
    [
        b"http://other.localhost/",
        b"http://demo.localhost:81/",
        b"http://demo.localhost@other.localhost/",
        b"http://user:pw@demo.localhost/",
        b"http:///",
        b"http://",
        b"http:/demo.localhost/",
        b"http:demo.localhost",
        b"ftp://demo.localhost/",
        b"ws://demo.localhost/",
        b"file:///etc/passwd",
        b"javascript:x",
        b"demo.localhost:80",
        b"http://demo.localhost\\@other.localhost/",
    ],
)
def test_a_target_with_another_host_than_the_host_is_refused(standing, target):
    first = b"GET " + target + b" HTTP/1.1"

    assert standing.attack(request(first=first) + SMUGGLED) == (400, [])


def test_a_target_with_the_same_host_reaches_the_app_in_origin_form(standing):
    first = b"GET HTTP://DEMO.localhost/a;b?c=%zz HTTP/1.1"
    _, arrived = standing.serve(request(first=first))

    assert arrived[0].head.startswith(b"GET /a;b?c=%zz HTTP/1.1\r\n")


# Upgrades


@pytest.mark.parametrize(
    "lines",
    [
        [b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: x"],
        [b"Connection: Upgrade", b"Upgrade: h2c"],
        [b"Connection: upgrade", b"Upgrade: H2C"],
        [b"Connection: Upgrade", b"Upgrade: websocket, h2c"],
        [b"Connection: Upgrade", b"Upgrade: h2c", b"Upgrade: websocket"],
        [b"Connection: Upgrade", b"Upgrade: TLS/1.2, HTTP/1.1"],
        [b"Connection: Upgrade", b"Upgrade: h2"],
        [b"Upgrade: websocket"],
        [b"Connection: close", b"Upgrade: websocket"],
        [b"HTTP2-Settings: x", b"Upgrade: h2c"],
    ],
)
def test_no_other_version_of_http_is_ever_asked_for(standing, lines):
    _, arrived = standing.serve(request(*lines))

    assert len(arrived) == 1
    for name in (b"upgrade", b"http2-settings", b"connection"):
        assert arrived[0].values(name) == []


def test_an_upgrade_with_a_body_is_no_upgrade(standing):
    lines = (b"Connection: Upgrade", b"Upgrade: websocket")
    answer, arrived = standing.serve(post(SMUGGLED, *lines))

    assert answer.body == b"ok"
    assert [one.body for one in arrived] == [SMUGGLED]
    assert arrived[0].values(b"upgrade") == []


def test_what_an_upgrade_sends_too_early_is_the_next_request_if_it_fails(standing):
    data = request(b"Connection: Upgrade", b"Upgrade: raw")
    app, public = standing.app, standing.public
    app.arrived.clear()

    async def act():
        visitor = await public.visit()
        await visitor.send(data + request(first=b"GET /next HTTP/1.1"))
        await visitor.answer()
        await visitor.answer()

    standing.run(act())
    assert [one.head.split(b" ")[1] for one in app.arrived] == [b"/", b"/next"]


def test_connection_cant_take_out_what_others_have_put_in(standing):
    named = (
        b"host, content-length, transfer-encoding, x-forwarded-for, x-real-ip,"
        b" authorization, upstash-signature, cookie, forwarded, via, expect"
    )
    lines = (
        b"X-Forwarded-For: 203.0.113.1",
        b"X-Real-IP: 203.0.113.1",
        b"Authorization: Bearer x",
        b"Upstash-Signature: x",
        b"Cookie: a",
        b"Forwarded: for=203.0.113.1",
        b"Via: 1.1 x",
    )
    _, arrived = standing.serve(post(b"four", b"Connection: close, " + named, *lines))

    assert arrived[0].body == b"four"
    for line in lines[1:]:
        assert line in arrived[0].lines
    assert b"X-Forwarded-For: 203.0.113.1, 127.0.0.1" in arrived[0].lines


# Paths


UPGRADE = (
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
)


@pytest.mark.parametrize(
    "target",
    [b"//_qemu/link", b"/./_qemu/link", b"/x/../_qemu/link", b"/%5fqemu/link",
     b"/_qemu%2flink", b"/_QEMU/link", b"/\\_qemu/link",
     b"/t/", b"/t//demo/", b"/t/-/", b"/T/demo/", b"/t%2fdemo/", b"/%74/demo/",
     b"/t/demo%2f..%2fother", b"/t/demo;x/", b"/t/d%65mo/", b"/./t/demo/",
     b"//t/demo/", b"/t/../t/demo/"],
)  # fmt: skip
def test_paths_that_almost_lead_somewhere_lead_nowhere(standing, target):
    for more in ((), UPGRADE):
        data = request(*more, first=b"GET " + target + b" HTTP/1.1", host=b"localhost")

        assert standing.attack(data) == (404, [])


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        (b"/t/demo", b"/"),
        (b"/t/demo?a=b", b"/?a=b"),
        (b"/t/demo/", b"/"),
        (b"/t/DEMO//", b"//"),
        (b"/t/demo/../../_qemu/health", b"/../../_qemu/health"),
        (b"/t/demo/../other/x", b"/../other/x"),
        (b"/t/demo/%2e%2e%2fother", b"/%2e%2e%2fother"),
        (b"/t/demo/_qemu/tunnels", b"/_qemu/tunnels"),
        (b"/t/demo/t/demo/", b"/t/demo/"),
        (b"http://localhost/t/demo/x", b"/x"),
    ],
)
def test_what_follows_a_name_in_a_path_is_the_apps_affair(standing, target, shown):
    data = request(first=b"GET " + target + b" HTTP/1.1", host=b"localhost")
    _, arrived = standing.serve(data)

    assert [one.head.split(b" ")[1] for one in arrived] == [shown]


def test_only_the_links_own_path_makes_a_link(standing):
    """A websocket of the app at the same path below its name is the app's."""
    standing.app.answer = b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n"
    first = b"GET /t/demo/_qemu/link HTTP/1.1"
    answer, arrived = standing.serve(request(*UPGRADE, first=first, host=b"localhost"))
    standing.app.answer = OK

    assert answer.status == 426
    assert [one.head.split(b" ")[1] for one in arrived] == [b"/_qemu/link"]


def test_an_app_is_never_asked_for_what_is_the_relays_own(standing):
    answer, arrived = standing.serve(
        request(first=b"GET /_qemu/health HTTP/1.1", host=b"localhost")
    )

    assert b'"role": "relay"' in answer.body
    assert arrived == []


def test_a_host_below_the_domain_decides_alone(standing):
    for host in (b"other.localhost", b"a.demo.localhost", b"-.localhost"):
        data = request(b"Qemu-Tunnel: demo", first=b"GET /t/demo/ HTTP/1.1", host=host)
        standing.app.arrived.clear()
        answer = standing.run(standing.public.ask(data))

        assert answer.status == 404
        assert standing.app.arrived == []
