"""tunnel/client.py and downlink.py: the link is kept up, whatever happens to it."""

import asyncio
import http
from contextlib import asynccontextmanager

import pytest
import websockets

from tests.tunnel.faults import QUICK, Journal, a_fragile_public, a_wire
from tests.tunnel.raw import (
    LIMIT_S,
    NAME,
    BrokenOff,
    End,
    Public,
    an_app,
    post,
    request,
    until,
)
from tunnel import Relay, Tunnel
from tunnel.errors import RelayRefused
from tunnel.events import Connected, Lost, Trying, TunnelCame, TunnelWent
from tunnel.settings import LinkTimes, RelaySettings, TunnelSettings
from tunnel.visitors import Visitor
from tunnel.wire import (
    CLOSE_BAD_FRAME,
    CLOSE_GOING_AWAY,
    CLOSE_REFUSED,
    CLOSE_REPLACED,
    CLOSE_SILENT,
    FIN,
    Kind,
    decode_frames,
    encode_frame,
    encode_json,
    encode_open,
)

HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf"

WELCOME = {
    "session": "s1",
    "resumed": False,
    "seen": 0,
    "name": NAME,
    "url": "http://demo.localhost",
}


def error_of(answer):
    """Return status and failed end, and whether QStash is told when to come again."""
    return (
        answer.status,
        answer.values(b"qemu-error"),
        bool(answer.values(b"retry-after")),
    )


def a_tunnel(url, *, on_event=None, **changes):
    settings = {"relay": url, "name": NAME, "link": QUICK} | changes
    return Tunnel(TunnelSettings(9, **settings), on_event=on_event)


# The first link


async def test_a_relay_that_isnt_there_yet_is_tried_until_it_is():
    told = Journal()
    async with Relay(RelaySettings(port=0)) as relay, a_wire(relay.port) as wire:
        wire.down()
        tunnel = a_tunnel(f"ws://localhost:{wire.port}", on_event=told)
        starting = asyncio.ensure_future(tunnel.start())
        await told.wait_for(Trying, 3)
        assert not starting.done()
        await wire.up()
        async with asyncio.timeout(LIMIT_S):
            await starting

        assert tunnel.url == f"http://demo.localhost:{wire.port}"
        await tunnel.stop()


async def test_who_gives_up_waiting_for_a_relay_leaves_nothing_behind():
    async with a_wire(9) as wire:
        tunnel = a_tunnel(f"ws://localhost:{wire.port}")
        starting = asyncio.ensure_future(tunnel.start())
        await until(lambda: wire.accepted > 2)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        tries = wire.accepted
        for _ in range(100):
            await asyncio.sleep(0)

        assert starting.cancelled()
        assert wire.accepted == tries


async def test_waits_grow_up_to_the_longest():
    told = Journal()
    times = LinkTimes(first_wait_s=0.001, longest_wait_s=0.004)
    async with a_wire(9) as wire:
        tunnel = Tunnel(
            TunnelSettings(9, relay=f"ws://localhost:{wire.port}", link=times),
            on_event=told,
            token_bytes=lambda count: b"\xff" * count,
        )
        starting = asyncio.ensure_future(tunnel.start())
        await told.wait_for(Trying, 5)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)

    waits = [event.retry_in_s for event in told.of(Trying)[:5]]
    assert waits == [0.001, 0.002, 0.004, 0.004, 0.004]


# A relay that isn't one


@asynccontextmanager
async def a_false_relay(handle=None, **options):
    """Run a websocket server that plays a relay."""
    options = {"compression": None, "max_size": None} | options

    async def serve(socket):
        await socket.recv()  # HELLO
        await handle(socket)

    async with websockets.serve(serve, "127.0.0.1", 0, **options) as server:
        yield f"ws://localhost:{server.sockets[0].getsockname()[1]}"


async def reasons_of(url, count=2):
    """Let a tunnel try a relay; return why it couldn't, the first few times."""
    told = Journal()
    tunnel = a_tunnel(url, on_event=told)
    starting = asyncio.ensure_future(tunnel.start())
    waiting = asyncio.ensure_future(told.wait_for(Trying, count))
    await asyncio.wait([starting, waiting], return_when=asyncio.FIRST_COMPLETED)
    ended = starting.done()
    starting.cancel()
    waiting.cancel()
    (outcome, _) = await asyncio.gather(starting, waiting, return_exceptions=True)
    assert not ended, outcome
    return [event.reason for event in told.of(Trying)]


def saying(*messages):
    """Make a relay that answers HELLO with messages, and then waits."""

    async def handle(socket):
        for message in messages:
            await socket.send(message)
        await socket.wait_closed()

    return handle


def a_welcome(**changes):
    welcome = {key: v for key, v in (WELCOME | changes).items() if v is not ...}
    return encode_frame(0, Kind.WELCOME, encode_json(welcome))


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\0",
        b"garbage that is no frame",
        "text",
        encode_frame(0, Kind.WELCOME, b"not JSON"),
        encode_frame(0, Kind.WELCOME, b"[]"),
        encode_frame(0, Kind.GOAWAY, b"{}"),
        a_welcome() + a_welcome(),
        bytes(1 << 20),
        a_welcome(session=...),
        a_welcome(url=...),
        a_welcome(resumed=...),
        a_welcome(seen=...),
        a_welcome(seen=None),
        a_welcome(seen="x"),
        a_welcome(seen=[]),
        encode_frame(0, Kind.WELCOME, encode_json(WELCOME).replace(b"0,", b"1e999,")),
    ],
)
async def test_a_welcome_that_cant_be_read_is_no_reason_to_give_up(message):
    async with a_false_relay(saying(message)) as url:
        assert len(await reasons_of(url)) >= 2


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\0",
        b"garbage that is no frame",
        encode_frame(7, Kind.DATA, b"x"),
        encode_frame(1, Kind.HEAD),
        encode_frame(1, Kind.OPEN, b"cut short"),
        encode_frame(
            1, Kind.OPEN, encode_open(b"x", b"", peer=b"", flags=0, received_ms=0)
        ),
        encode_frame(0, Kind.GOAWAY, b"[]"),
    ],
)
@pytest.mark.parametrize("is_early", [True, False])
async def test_a_relay_that_breaks_the_rules_is_left_and_tried_again(message, is_early):
    told = Journal()
    came = 0

    async def handle(socket):
        nonlocal came
        came += 1
        await socket.send(a_welcome())
        if not is_early:
            await socket.recv()  # the first PING: the link stands
        await socket.send(message)
        await socket.wait_closed()

    async with (
        a_false_relay(handle) as url,
        a_tunnel(url, on_event=told, link=LinkTimes(first_wait_s=0.01)) as tunnel,
    ):
        if message == b"":  # no frame at all: nothing that could be wrong
            await told.wait_for(Connected)
        else:
            lost = await told.wait_for(Lost)
            await told.wait_for(Connected, 2)
            assert lost.code >= CLOSE_BAD_FRAME
            assert came >= 2
        assert tunnel.url == WELCOME["url"]


async def test_a_relay_that_closes_again_and_again_is_tried_less_and_less():
    told = Journal()

    async def handle(socket):
        await socket.send(a_welcome())
        await socket.close(CLOSE_GOING_AWAY, "not today")

    async with a_false_relay(handle) as url:
        # Longest: no link here stands for so long, however busy the machine is.
        times = LinkTimes(first_wait_s=0.0001, longest_wait_s=60.0)
        async with a_tunnel(url, on_event=told, link=times):
            await told.wait_for(Lost, 4)

    waits = [event.retry_in_s for event in told.of(Lost)[:4]]
    assert waits[0] == 0.0
    assert all(wait_s > 0 for wait_s in waits[1:])


@pytest.mark.parametrize("status", [400, 404, 426, 500, 502, 301])
async def test_another_status_than_101_is_told_and_tried_again(status):
    def answer(connection, request):
        return connection.respond(http.HTTPStatus(status), "no")

    async with a_false_relay(process_request=answer) as url:
        reasons = await reasons_of(url)

        assert reasons[0] == f"it answered with status {status}"


@pytest.mark.parametrize("status", [401, 403])
async def test_a_status_that_forbids_is_a_refusal(status):
    def answer(connection, request):
        return connection.respond(http.HTTPStatus(status), "no")

    async with a_false_relay(process_request=answer) as url:
        with pytest.raises(RelayRefused) as caught:
            await a_tunnel(url).start()

    assert caught.value.reason == f"it answered with status {status}"


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"",
        b"\0" * 100_000,
    ],
)
async def test_a_port_with_something_else_on_it_is_told_and_tried_again(said):
    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        url = f"ws://localhost:{server.sockets[0].getsockname()[1]}"
        assert all(await reasons_of(url))


# Refusals while it runs


@pytest.mark.parametrize("code", [CLOSE_REFUSED, CLOSE_REPLACED])
async def test_a_refusal_ends_the_tunnel_with_its_reason(code):
    async def handle(socket):
        await socket.send(a_welcome())
        await socket.close(code, "the token has expired")

    async with a_false_relay(handle) as url, a_tunnel(url) as tunnel:
        with pytest.raises(RelayRefused) as caught:
            async with asyncio.timeout(LIMIT_S):
                await tunnel.run_until_refused()

    assert caught.value.reason == "the token has expired"


async def test_the_older_of_two_tunnels_with_a_name_ends_and_the_newer_serves():
    async with an_app() as app, a_fragile_public(app) as public:
        newer = Tunnel(TunnelSettings(app.port, relay=public.relay.link_url, name=NAME))
        async with newer:
            with pytest.raises(RelayRefused):
                async with asyncio.timeout(LIMIT_S):
                    await public.tunnel.run_until_refused()

            assert (await public.ask(request())).body == b"ok"
        assert public.wire.accepted == 1  # the older doesn't take it back


# The link breaks


async def test_an_answer_half_of_which_was_sent_goes_on_after_the_break():
    async with (
        an_app(by_hand=True) as app,
        a_fragile_public(app) as public,
    ):
        visitor = await public.visit()
        await visitor.send(request())
        local = await app.called()
        await local.request()
        await local.send(HALF)
        await visitor.head()
        assert await visitor.exactly(4) == b"half"
        public.wire.cut()
        await local.send(b"rest")

        assert await visitor.exactly(4) == b"rest"
        await public.told.wait_for(Connected, 2)
        assert public.came.of(TunnelCame)[-1].is_resumed


async def test_a_body_half_of_which_was_sent_goes_on_after_the_break():
    async with an_app(by_hand=True) as app, a_fragile_public(app) as public:
        visitor = await public.visit()
        await visitor.send(post(b"x" * 8)[:-4])
        local = await app.called()
        await local.head()
        assert await local.exactly(4) == b"xxxx"
        public.wire.cut()
        await visitor.send(b"yyyy")

        assert await local.exactly(4) == b"yyyy"


async def test_a_large_answer_survives_many_breaks_without_loss_or_repetition():
    body = b"".join(b"%07d\n" % number for number in range(250_000))
    async with an_app() as app, a_fragile_public(app) as public:
        app.answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        visitor = await public.visit()
        public.wire.cut_after(150_000)
        await visitor.send(request())
        await visitor.head()
        arrived = b""
        while len(arrived) < len(body):
            arrived += await visitor.exactly(min(200_000, len(body) - len(arrived)))
            public.wire.cut_after(100_000)

        assert arrived == body
        assert public.wire.cuts >= 5


async def test_bytes_one_by_one_are_as_good_as_any():
    async with an_app() as app, a_fragile_public(app) as public:
        public.wire.piece_bytes = 1
        body = bytes(range(256)) * 3
        answer = await public.ask(post(body))

        assert answer.body == b"ok"
        assert app.arrived[0].body == body


async def test_a_relay_that_has_fallen_silent_is_left_and_found_again():
    times = LinkTimes(ping_s=0.02, silence_s=0.2, first_wait_s=0.01)
    async with an_app() as app, a_fragile_public(app, tunnel={"link": times}) as public:
        public.wire.stall()
        lost = await public.told.wait_for(Lost)
        public.wire.go_on()
        await public.told.wait_for(Connected, 2)

        assert lost.code == CLOSE_SILENT
        assert (await public.ask(request())).body == b"ok"
        assert public.tunnel.url == public.told.of(Connected)[0].url


async def test_a_link_that_is_merely_idle_is_kept():
    times = LinkTimes(ping_s=0.01, silence_s=0.5)
    async with an_app() as app, a_fragile_public(app, tunnel={"link": times}) as public:
        passed = public.wire.passed
        await until(lambda: public.wire.passed > passed + 1000)  # pings, and answers

        assert public.wire.accepted == 1
        assert public.told.of(Lost) == []


async def test_requests_that_come_meanwhile_are_delivered_afterwards_in_order():
    async with an_app() as app, a_fragile_public(app) as public:
        public.wire.down()
        await public.came.wait_for(TunnelWent)
        visitors = []
        for number in range(8):
            visitor = await public.visit()
            await visitor.send(post(b"%d" % number))
            visitors.append(visitor)
            await until(lambda number=number: public.relay.leases.held == number + 1)
        await public.wire.up()
        answers = [await visitor.answer() for visitor in visitors]

        assert [answer.status for answer in answers] == [200] * 8
        bodies = [exchange.request_body for exchange in public.tunnel.exchanges]
        assert bodies == [b"%d" % number for number in range(8)]


async def test_who_has_waited_long_enough_hears_that_the_tunnel_is_away():
    async with an_app() as app, a_fragile_public(app, relay={"hold_s": 0.1}) as public:
        public.wire.down()
        await public.came.wait_for(TunnelWent)
        answer = await public.ask(request())

        assert error_of(answer) == (503, [b"link"], True)
        assert b"is away" in answer.body


async def test_what_is_under_way_is_given_up_after_the_hold():
    async with (
        an_app(by_hand=True) as app,
        a_fragile_public(app, relay={"hold_s": 0.1}) as public,
    ):
        visitor = await public.visit()
        await visitor.send(request())
        local = await app.called()
        await local.request()
        public.wire.down()

        assert error_of(await visitor.answer()) == (503, [b"link"], True)
        await public.wire.up()
        await local.ended()  # nobody waits for the app's answer any more


async def test_an_answer_that_has_begun_breaks_off_after_the_hold():
    async with (
        an_app(by_hand=True) as app,
        a_fragile_public(app, relay={"hold_s": 0.1}) as public,
    ):
        visitor = await public.visit()
        await visitor.send(request())
        local = await app.called()
        await local.request()
        await local.send(HALF)
        await visitor.head()
        await visitor.exactly(4)
        public.wire.down()

        with pytest.raises(BrokenOff):
            await visitor.exactly(4)


async def test_a_tunnel_that_comes_back_after_its_session_has_its_address():
    relay = {"hold_s": 0.05, "link": LinkTimes(session_s=0.1)}
    async with an_app() as app, a_fragile_public(app, relay=relay) as public:
        public.wire.down()
        await public.came.wait_for(TunnelWent, 2)
        await public.wire.up()
        await public.told.wait_for(Connected, 2)
        again = public.told.of(Connected)[1]

        assert again.is_same_address
        assert not public.came.of(TunnelCame)[1].is_resumed
        assert (await public.ask(request())).body == b"ok"


async def test_a_laptop_that_wakes_up_comes_back_at_once(monkeypatch):
    class Wall:
        """A wall clock that can be set."""

        ahead_s = 0.0

        def time(self):
            return asyncio.get_running_loop().time() + self.ahead_s

        def time_ns(self):
            return int(self.time() * 1e9)

    wall = Wall()
    monkeypatch.setattr("tunnel.client.time", wall)
    times = LinkTimes(ping_s=0.02, first_wait_s=600.0, longest_wait_s=600.0)
    async with an_app() as app, a_fragile_public(app, tunnel={"link": times}) as public:
        wall.ahead_s = 3600.0  # asleep: the loop's clock stood still
        await public.told.wait_for(Lost)
        await public.told.wait_for(Connected, 2)
        assert public.told.of(Trying) == []
        public.wire.cut()
        lost = await public.told.wait_for(Lost, 2)
        assert lost.retry_in_s >= 300
        wall.ahead_s = 7200.0
        await public.told.wait_for(Connected, 3)

        assert (await public.ask(request())).body == b"ok"


# The relay stops, or starts again


async def test_a_relay_that_stops_lets_requests_under_way_end():
    async with an_app(by_hand=True) as app, a_fragile_public(app) as public:
        visitor = await public.visit()
        await visitor.send(request())
        local = await app.called()
        await local.request()
        await local.send(HALF)
        await visitor.head()
        stopping = asyncio.ensure_future(public.relay.stop(drain_s=LIMIT_S))
        await until(lambda: public.relay._server is None)
        await local.send(b"rest")

        assert await visitor.exactly(8) == b"halfrest"
        await visitor.ended()
        async with asyncio.timeout(LIMIT_S):
            await stopping
        assert app.ends


async def test_a_request_that_crosses_with_a_goodbye_is_answered():
    loop = asyncio.get_running_loop()
    answered = loop.create_future()

    async def handle(socket):
        await socket.send(a_welcome())
        await socket.recv()  # the first PING: the link stands
        await socket.send(encode_frame(0, Kind.GOAWAY, b"{}"))
        asked = encode_open(request(), b"", peer=b"::1", flags=0, received_ms=0)
        await socket.send(encode_frame(1, Kind.OPEN | FIN, asked))
        async for message in socket:
            kinds = [kind for _, kind, _, _ in decode_frames(message)]
            if Kind.HEAD in kinds and not answered.done():
                answered.set_result(kinds)

    async with an_app() as app, a_false_relay(handle) as url:
        settings = TunnelSettings(app.port, relay=url, name=NAME, link=QUICK)
        async with Tunnel(settings), asyncio.timeout(LIMIT_S):
            assert Kind.HEAD in await answered


async def test_a_relay_that_stops_takes_nothing_new():
    async with an_app(by_hand=True) as app, a_fragile_public(app) as public:
        visitor, idle = await public.visit(), await public.visit()
        await visitor.send(request())
        local = await app.called()
        stopping = asyncio.ensure_future(public.relay.stop(drain_s=LIMIT_S))
        await idle.ended()

        with pytest.raises(OSError):
            await public.visit()
        await local.send(HALF + b"rest")
        assert (await visitor.answer()).body == b"halfrest"
        await stopping


async def test_a_relay_that_stops_waits_no_longer_than_it_may():
    async with an_app(by_hand=True) as app, a_fragile_public(app) as public:
        visitor = await public.visit()
        await visitor.send(request())
        local = await app.called()
        await local.request()
        async with asyncio.timeout(LIMIT_S):
            await public.relay.stop(drain_s=0.05)

        assert error_of(await visitor.answer()) == (503, [b"relay"], True)
        await visitor.ended()


async def test_a_relay_that_stops_waits_for_no_link_that_is_lost_meanwhile():
    async with an_app(by_hand=True) as app, a_fragile_public(app) as public:
        visitor = await public.visit()
        await visitor.send(request())
        local = await app.called()
        await local.request()
        stopping = asyncio.ensure_future(public.relay.stop(drain_s=600.0))
        await until(lambda: public.relay._server is None)
        public.wire.cut()

        assert error_of(await visitor.answer()) == (503, [b"relay"], True)
        async with asyncio.timeout(LIMIT_S):
            await stopping


async def test_a_relay_that_stops_waits_for_no_link_that_was_lost_before():
    async with an_app(by_hand=True) as app, a_fragile_public(app) as public:
        visitor = await public.visit()
        await visitor.send(request())
        local = await app.called()
        await local.request()
        public.wire.down()
        public.wire.cut()
        await public.came.wait_for(TunnelWent)
        async with asyncio.timeout(LIMIT_S):
            await public.relay.stop(drain_s=600.0)

        assert error_of(await visitor.answer()) == (503, [b"relay"], True)


async def test_who_was_accepted_just_before_the_relay_stopped_isnt_left_waiting():
    async with an_app() as app, a_fragile_public(app) as public:
        late = Visitor(public.relay._public)
        await public.relay.stop(drain_s=0.0)
        loop = asyncio.get_running_loop()
        async with await loop.create_server(lambda: late, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            end = End(*await asyncio.open_connection("127.0.0.1", port))

            await end.ended()
            end.close()


async def test_held_requests_are_answered_when_the_relay_stops():
    async with an_app() as app, a_fragile_public(app) as public:
        public.wire.down()
        await public.came.wait_for(TunnelWent)
        visitor = await public.visit()
        await visitor.send(request())
        await until(lambda: public.relay.leases.held == 1)
        await public.relay.stop(drain_s=1.0)

        assert error_of(await visitor.answer()) == (503, [b"link"], True)


@pytest.mark.parametrize("name", [NAME, None])
async def test_a_relay_that_starts_again_finds_its_tunnels_where_they_were(name):
    async with an_app() as app, a_fragile_public(app, tunnel={"name": name}) as public:
        url, name = public.tunnel.url, public.tunnel.name
        host = f"{name}.localhost".encode()
        settings = public.relay.settings
        await public.relay.stop(drain_s=0.0)
        public.wire.cut()
        async with Relay(settings) as again:
            public.wire.to_port = again.port
            other = Public(again, public.tunnel, app)
            visitor = await other.visit()
            await visitor.send(request(host=host))  # before the tunnel is back
            answer = await visitor.answer()
            other.leave()

        assert answer.body == b"ok"
        assert public.tunnel.url == url


async def test_a_tunnel_that_stops_closes_its_link_and_says_so():
    async with an_app() as app, a_fragile_public(app) as public:
        await public.tunnel.stop()
        went = await public.came.wait_for(TunnelWent)

        assert went.reason == "the tunnel is closed"


async def test_a_tunnel_that_stops_lets_nobody_hang():
    async with (
        an_app(by_hand=True) as app,
        a_fragile_public(app, relay={"hold_s": 0.1}) as public,
    ):
        visitor = await public.visit()
        await visitor.send(request())
        local = await app.called()
        await local.request()
        await public.tunnel.stop()

        assert error_of(await visitor.answer()) == (503, [b"link"], True)
        await local.ended()
