"""tunnel/relay_api.py: the relay's own API, on connections that visitors opened."""

import json

import aiohttp
import pytest

from tests.tunnel.raw import OK, a_public, an_app, request
from tunnel import Relay, RelaySettings, Tunnel, TunnelSettings
from tunnel.access import make_token
from tunnel.errors import RelayRefused

SECRET = b"0123456789abcdef0123456789abcdef"
NOW_S = 1_700_000_000


def a_token(**changes):
    wanted = {"names": ["demo"], "expires_s": None, "issued_s": NOW_S, "jti": "t1"}
    return make_token(SECRET, **(wanted | changes))


async def answer_of(relay, path, *, method="GET", token=None):
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    url = f"http://127.0.0.1:{relay.port}/_qemu/{path}"
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, headers=headers) as answer,
    ):
        return answer.status, await answer.text()


async def test_health_is_for_everybody():
    async with Relay(RelaySettings(port=0, secret=SECRET)) as relay:
        status, text = await answer_of(relay, "health")

    assert status == 200
    assert json.loads(text)["status"] == "ok"


@pytest.mark.parametrize("path", ["metrics", "tunnels"])
async def test_the_rest_wants_an_admins_token(path):
    async with Relay(RelaySettings(port=0, secret=SECRET)) as relay:
        without, asked = await answer_of(relay, path)
        wrong, _ = await answer_of(relay, path, token="nonsense")
        plain, text = await answer_of(relay, path, token=a_token())
        admin, _ = await answer_of(relay, path, token=a_token(is_admin=True))

    assert (without, wrong, plain, admin) == (401, 401, 403, 200)
    assert json.loads(asked) == {"error": "it wants a token: set QEMU_RELAY_TOKEN"}
    assert "admin" in text


async def test_tunnels_are_listed_as_they_are():
    async with an_app() as app, a_public(app) as public:
        _, text = await answer_of(public.relay, "tunnels")

    (tunnel,) = json.loads(text)
    assert tunnel["name"] == "demo"
    assert tunnel["url"] == public.tunnel.url
    assert tunnel["isConnected"] is True
    assert tunnel["underWay"] == 0


async def test_metrics_count_what_passed_and_what_failed():
    async with an_app() as app, a_public(app) as public:
        await public.ask(request())
        await public.ask(request(host=b"nobody.localhost"))
        status, text = await answer_of(public.relay, "metrics")

    lines = text.splitlines()
    assert status == 200
    assert "qemu_relay_tunnels 1.0" in lines
    assert "qemu_relay_requests_total 1.0" in lines
    assert 'qemu_relay_answers_total{status="2xx"} 1.0' in lines
    assert any(line.startswith('qemu_relay_failures_total{end="') for line in lines)


async def test_the_owner_closes_a_tunnel_for_good():
    async with Relay(RelaySettings(port=0)) as relay:
        tunnel = Tunnel(TunnelSettings(9, relay=relay.link_url, name="demo"))
        await tunnel.start()
        status, _ = await answer_of(relay, "tunnels/demo", method="DELETE")
        with pytest.raises(RelayRefused, match="owner closed"):
            await tunnel.run_until_refused()
        _, left = await answer_of(relay, "tunnels")
        again, _ = await answer_of(relay, "tunnels/demo", method="DELETE")
        await tunnel.stop()

    assert (status, json.loads(left), again) == (204, [], 404)


async def test_a_tunnels_host_never_reaches_the_relays_own_api():
    async with an_app() as app, a_public(app) as public:
        app.answer = OK
        answer = await public.ask(request(first=b"GET /_qemu/health HTTP/1.1"))

    assert answer.body == b"ok"
    assert app.arrived[0].head.startswith(b"GET /_qemu/health ")
