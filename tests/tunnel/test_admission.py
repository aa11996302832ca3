"""tunnel/admission.py: who may open a tunnel, under which name."""

import asyncio
import socket
import time

import pytest

from tests.tunnel.raw import LIMIT_S, a_public, an_app, request
from tunnel import Relay, RelaySettings, Tunnel, TunnelSettings
from tunnel.access import make_token
from tunnel.errors import RelayRefused, SettingsRefused
from tunnel.names import is_random_name

SECRET = b"0123456789abcdef0123456789abcdef"
NOW_S = int(time.time())  # noqa: TID251 - tokens expire by the calendar


def a_token(**changes):
    wanted = {"names": ["demo"], "expires_s": None, "issued_s": NOW_S, "jti": "t1"}
    return make_token(SECRET, **(wanted | changes))


def guarded(**changes):
    return Relay(RelaySettings(port=0, secret=SECRET, **changes))


def tunnel_to(relay, **changes):
    return Tunnel(TunnelSettings(9, relay=relay.link_url, **changes))


async def refusal_of(relay, **changes):
    with pytest.raises(RelayRefused) as caught:
        async with asyncio.timeout(LIMIT_S):
            await tunnel_to(relay, **changes).start()
    return caught.value.reason


@pytest.mark.parametrize(
    ("token", "name", "reason"),
    [
        (None, "demo", "set QEMU_RELAY_TOKEN"),
        ("nonsense", "demo", "token"),
        (a_token(), "other", "isn't for the name"),
        (a_token(names=["a", "b"]), None, "say which one"),
        (a_token(names=None), "chosen", "isn't for the name"),
        (a_token(), "no_label", "letters, digits"),
    ],
)
async def test_who_has_no_right_to_a_name_hears_why(token, name, reason):
    async with guarded() as relay:
        assert reason in await refusal_of(relay, token=token, name=name)


async def test_a_token_for_one_name_gets_it_without_asking():
    async with guarded() as relay, tunnel_to(relay, token=a_token()) as tunnel:
        assert tunnel.name == "demo"


async def test_a_token_without_names_gets_one_by_chance():
    async with (
        guarded() as relay,
        tunnel_to(relay, token=a_token(names=None)) as tunnel,
    ):
        assert is_random_name(tunnel.name)


async def test_a_name_by_chance_is_nobody_elses_as_long_as_it_is_held():
    async with guarded() as relay:
        first = a_token(names=None, subject="alice", jti="a")
        other = a_token(names=None, subject="bob", jti="b")
        async with tunnel_to(relay, token=first) as tunnel:
            reason = await refusal_of(relay, token=other, name=tunnel.name)

    assert "somebody else's" in reason


async def test_a_subject_has_so_many_tunnels_at_once():
    async with guarded() as relay:
        token = a_token(names=["*"], max_tunnels=1, subject="alice")
        async with tunnel_to(relay, token=token, name="one"):
            reason = await refusal_of(relay, token=token, name="two")

    assert reason == "the token is for 1 tunnel at once"


async def test_a_relay_has_so_many_tunnels():
    async with (
        Relay(RelaySettings(port=0, max_tunnels=1)) as relay,
        tunnel_to(relay, name="one"),
    ):
        reason = await refusal_of(relay, name="two")

    assert "as many tunnels as it may" in reason


async def test_the_newest_session_has_the_name():
    async with Relay(RelaySettings(port=0)) as relay:
        older = tunnel_to(relay, name="demo")
        await older.start()
        async with tunnel_to(relay, name="demo") as newer:
            with pytest.raises(RelayRefused, match="newer session"):
                await older.run_until_refused()
            await older.stop()
            session = relay.leases.get("demo")

            assert session is not None
            assert (session.epoch, newer.url) == (2, older.url)


async def test_a_tokens_paths_bind_its_tunnel():
    token = a_token(paths=["/api"])
    settings = {"secret": SECRET}
    async with (
        an_app() as app,
        a_public(app, relay=settings, tunnel={"token": token}) as public,
    ):
        inside = await public.ask(request(first=b"GET /api/hook HTTP/1.1"))
        outside = await public.ask(request(first=b"GET /admin HTTP/1.1"))

    assert (inside.status, outside.status) == (200, 403)
    assert outside.values(b"qemu-error") == [b"access"]
    assert len(app.arrived) == 1


async def test_a_tokens_rate_binds_its_tunnel():
    token = a_token(rate=1)
    async with (
        an_app() as app,
        a_public(app, relay={"secret": SECRET}, tunnel={"token": token}) as public,
    ):
        first = await public.ask(request())
        second = await public.ask(request())

    assert (first.status, second.status) == (200, 429)
    assert int(second.values(b"retry-after")[0]) >= 1


async def test_behind_a_proxy_the_public_url_is_as_the_client_reached_it():
    proxies = ("127.0.0.1",)
    async with Relay(
        RelaySettings(port=0, domain="relay.dev", trusted_proxies=proxies)
    ) as relay:
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(
            b"GET /_qemu/link HTTP/1.1\r\nHost: relay.dev\r\n"
            b"X-Forwarded-Proto: https\r\nX-Forwarded-For: 203.0.113.7\r\n"
            b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
        (uplink,) = relay.uplinks

        assert (uplink.peer, uplink.scheme) == ("203.0.113.7", "https")
        writer.close()


@pytest.mark.parametrize(
    ("wildcard", "url"),
    [
        (True, "http://demo.relay.dev:{port}"),
        (False, "http://relay.dev:{port}/t/demo"),
    ],
)
async def test_without_wildcard_dns_addresses_are_told_by_path(wildcard, url):
    settings = RelaySettings(port=0, domain="relay.dev", wildcard=wildcard)
    async with Relay(settings) as relay:
        link = f"ws://127.0.0.1:{relay.port}"
        async with Tunnel(TunnelSettings(9, relay=link, name="demo")) as tunnel:
            assert tunnel.url == url.format(port=relay.port)
            assert relay.pattern.replace("<name>", "demo") == tunnel.url


def test_a_passed_socket_that_others_reach_wants_a_secret():
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))

        with pytest.raises(SettingsRefused, match="give it a secret"):
            Relay(RelaySettings(), listener=listener)


async def test_callers_wait_in_a_passed_socket_while_the_relay_starts_again():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        async with an_app() as app:
            first = Relay(RelaySettings(), listener=listener.dup())
            await first.start()
            tunnel = Tunnel(TunnelSettings(app.port, relay=first.link_url, name="demo"))
            await tunnel.start()
            await first.stop(drain_s=0)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request())
            second = Relay(RelaySettings(), listener=listener.dup())
            await second.start()
            async with asyncio.timeout(LIMIT_S):
                head = await reader.readuntil(b"\r\n\r\n")
            writer.close()
            await tunnel.stop()
            await second.stop(drain_s=0)

    assert head.startswith(b"HTTP/1.1 200 ")
