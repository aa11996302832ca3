import pytest_asyncio
from aiohttp import ClientSession, web

from tunnel import Relay, RelaySettings, Tunnel, TunnelSettings


async def hook(request):
    order = await request.json()
    return web.json_response({"confirmed": order["item"]})


@pytest_asyncio.fixture
async def port():
    app = web.Application()
    app.router.add_post("/hook", hook)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def test_the_hook_answers_at_its_public_address(port):
    async with (
        Relay(RelaySettings(port=0, wildcard=False)) as relay,
        Tunnel(TunnelSettings(port, relay=relay.link_url)) as tunnel,
        ClientSession() as visitor,
    ):
        answer = await visitor.post(f"{tunnel.url}/hook", json={"item": "tea"})
        said = await answer.json()
        (exchange,) = tunnel.exchanges

    assert said == {"confirmed": "tea"}
    assert exchange.status == 200
