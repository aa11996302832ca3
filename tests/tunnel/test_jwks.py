"""tunnel/jwks.py: keys that are fetched, over loopback."""

import asyncio
import json
import logging

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port
from hypothesis import given
from hypothesis import strategies as st

from tests.tunnel.token_material import NOW_S, a_token, jwk
from tunnel import jwks as jwks_module
from tunnel.errors import SettingsRefused
from tunnel.jwks import (
    FRESH_S,
    MAX_JWKS_BYTES,
    PAUSE_S,
    Jwks,
    check_jwks_url,
)
from tunnel.tokens import TokenRefused, UnknownKey, Verifier

ANY = Verifier()


class Issuer:
    """A server with a set of keys: what it answers can be changed."""

    def __init__(self):
        self.fetches = 0
        self.response = {}
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    def has(self, *members):
        self.response = {"text": json.dumps({"keys": list(members)})}

    async def handle(self, request):
        self.fetches += 1
        self.asked.set()
        await self.gate.wait()
        return web.Response(**self.response)


@pytest.fixture
async def issuer():
    issuer = Issuer()
    issuer.has(jwk("ES256", "a", kid="a"))
    app = web.Application()
    app.router.add_get("/keys", issuer.handle)
    async with TestServer(app) as server:
        issuer.url = str(server.make_url("/keys"))
        yield issuer


def token(which, **changes):
    return a_token("ES256", which, kid=which, exp=NOW_S + 10**6, **changes)


async def test_keys_are_fetched_with_the_first_token_and_kept(issuer):
    jwks = Jwks(issuer.url)

    for _ in range(3):
        assert (await jwks.verify(ANY, token("a"), NOW_S)).subject == "me"
    assert issuer.fetches == 1


async def test_an_unknown_key_is_fetched_once_a_minute_at_most(issuer):
    jwks = Jwks(issuer.url)
    await jwks.verify(ANY, token("a"), NOW_S)
    issuer.has(jwk("ES256", "b", kid="b"))

    with pytest.raises(UnknownKey):
        await jwks.verify(ANY, token("b"), NOW_S + PAUSE_S - 1)
    assert issuer.fetches == 1

    assert await jwks.verify(ANY, token("b"), NOW_S + PAUSE_S)
    assert issuer.fetches == 2

    with pytest.raises(UnknownKey):
        await jwks.verify(ANY, token("a"), NOW_S + PAUSE_S + 1)
    assert issuer.fetches == 2


async def test_a_withdrawn_key_goes_within_the_hour(issuer):
    jwks = Jwks(issuer.url)
    await jwks.verify(ANY, token("a"), NOW_S)
    issuer.has(jwk("ES256", "b", kid="b"))

    assert await jwks.verify(ANY, token("a"), NOW_S + FRESH_S - 1)
    with pytest.raises(UnknownKey):
        await jwks.verify(ANY, token("a"), NOW_S + FRESH_S)


async def test_a_clock_that_is_set_back_keeps_no_old_keys(issuer):
    jwks = Jwks(issuer.url)
    await jwks.verify(ANY, token("a"), NOW_S)
    await jwks.verify(ANY, token("a"), NOW_S - 1)

    assert issuer.fetches == 2


async def test_a_token_that_is_refused_for_itself_costs_no_fetch(issuer):
    jwks = Jwks(issuer.url)
    await jwks.verify(ANY, token("a"), NOW_S)

    with pytest.raises(TokenRefused, match="audience"):
        await jwks.verify(ANY, token("a", aud="other"), NOW_S + PAUSE_S)
    assert issuer.fetches == 1


async def test_the_verifiers_own_keys_and_secret_hold_too(issuer):
    jwks = Jwks(issuer.url)
    verifier = Verifier(revoked=frozenset({"j1"}))

    with pytest.raises(TokenRefused, match="revoked"):
        await jwks.verify(verifier, token("a", jti="j1"), NOW_S)


async def test_all_who_wait_share_one_fetch(issuer):
    jwks = Jwks(issuer.url)
    issuer.gate.clear()
    waiting = [
        asyncio.create_task(jwks.verify(ANY, token("a"), NOW_S)) for _ in range(5)
    ]
    await issuer.asked.wait()
    late = asyncio.create_task(jwks.verify(ANY, token("a"), NOW_S))
    waiting[0].cancel()
    await asyncio.sleep(0)
    issuer.gate.set()

    assert all(await asyncio.gather(late, *waiting[1:]))
    assert waiting[0].cancelled()
    assert issuer.fetches == 1


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ({"status": 500, "text": "{}"}, "answered 500"),
        ({"status": 302, "headers": {"Location": "/keys"}}, "answered 302"),
        ({"text": "<html>"}, "isn't JSON"),
        ({"text": '{"keys": []}'}, "no key for"),
        ({"body": b" " * (MAX_JWKS_BYTES + 1)}, "more than 262144 bytes"),
    ],
)
async def test_a_fetch_that_fails_leaves_the_keys_and_is_logged(
    issuer, caplog, response, reason
):
    jwks = Jwks(issuer.url)
    await jwks.refresh(NOW_S)
    issuer.response = response

    with caplog.at_level(logging.WARNING, "tunnel.jwks"):
        assert await jwks.verify(ANY, token("a"), NOW_S + FRESH_S)
    assert issuer.fetches == 2
    assert reason in caplog.text


async def test_after_a_first_fetch_that_failed_the_next_comes_in_a_minute(issuer):
    jwks = Jwks(issuer.url)
    good, issuer.response = issuer.response, {"status": 500}

    with pytest.raises(UnknownKey):
        await jwks.verify(ANY, token("a"), NOW_S)
    issuer.response = good
    with pytest.raises(UnknownKey):
        await jwks.verify(ANY, token("a"), NOW_S + PAUSE_S - 1)
    assert await jwks.verify(ANY, token("a"), NOW_S + PAUSE_S)


async def test_an_issuer_that_is_away_is_logged(caplog):
    jwks = Jwks(f"http://127.0.0.1:{unused_port()}/")
    await jwks.refresh(NOW_S)

    assert "can't be fetched" in caplog.text
    assert jwks.keys == ()


async def test_an_issuer_that_does_not_answer_is_given_up(issuer, caplog, monkeypatch):
    monkeypatch.setattr(jwks_module, "_TIMEOUT_S", 0.01)
    jwks = Jwks(issuer.url)
    issuer.gate.clear()
    await jwks.refresh(NOW_S)
    issuer.gate.set()

    assert "no answer within" in caplog.text


async def test_closing_ends_a_fetch(issuer):
    jwks = Jwks(issuer.url)
    await jwks.close()
    issuer.gate.clear()
    waiting = asyncio.create_task(jwks.verify(ANY, token("a"), NOW_S))
    await issuer.asked.wait()
    await jwks.close()
    issuer.gate.set()

    with pytest.raises(asyncio.CancelledError):
        await waiting


@pytest.mark.parametrize(
    "url",
    [
        "https://issuer.example/.well-known/jwks.json",
        "http://127.0.0.1:5000/keys",
        "http://[::1]:5000/keys",
        "http://localhost/keys",
    ],
)
def test_keys_may_come_by_https_or_from_this_machine(url):
    check_jwks_url(url)

    assert Jwks(url).url == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "issuer.example/keys",
        "https://",
        "https://me:secret@issuer.example/",
        "https://[::1",
        "https://issuer.example:port/",
        "http://issuer.example/keys",
        "http://10.0.0.1/keys",
        "http://localhost.evil.example/keys",
        "ftp://127.0.0.1/keys",
        "file:///etc/passwd",
    ],
)
def test_a_url_that_keys_cannot_be_trusted_from_is_refused(url):
    with pytest.raises(SettingsRefused) as caught:
        Jwks(url)

    assert caught.value.setting == "jwks_url"
    assert "secret" not in str(caught.value)


@given(st.text(max_size=40) | st.text("htps:/.@[]1%a", max_size=30))
def test_no_url_raises_anything_else(text):
    for url in (text, f"https://{text}"):
        try:
            check_jwks_url(url)
        except SettingsRefused:
            continue
        assert url.partition(":")[0].lower() in ("http", "https")
