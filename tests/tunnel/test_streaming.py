"""What passes a tunnel while it is still going on: raw sockets at both ends.

The app's side is played by hand, so that each test decides what is seen when.
"""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest
import websockets

from tests.tunnel.raw import HOST, OK, a_public, an_app, by_hand, post, request

CHUNKED = b"Transfer-Encoding: chunked"


async def test_events_arrive_one_by_one_while_the_answer_goes_on():
    async with by_hand() as (public, app):
        visitor = await public.visit()
        await visitor.send(request(b"Accept: text/event-stream"))
        local = await app.called()
        await local.request()
        await local.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        head = await visitor.head()

        assert b"\r\nTransfer-Encoding: chunked\r\n" in head
        for number in range(5):
            await local.send(b"data: %d\n\n" % number)
            assert await visitor.chunk() == b"data: %d\n\n" % number
        local.close()


async def test_chunks_of_an_answer_arrive_one_by_one_and_then_its_trailers():
    async with by_hand() as (public, app):
        visitor = await public.visit()
        await visitor.send(request())
        local = await app.called()
        await local.request()
        await local.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await visitor.head()

        await local.send(b"3;x=y\r\nabc\r\n")
        assert await visitor.chunk() == b"abc"
        await local.send(b"0\r\nX-Sum: 1\r\n\r\n")
        assert await visitor.chunk() == b""
        assert await visitor.line() == b"X-Sum: 1"


async def test_an_upload_arrives_piece_by_piece_and_is_answered_before_its_end():
    async with by_hand() as (public, app):
        visitor = await public.visit()
        await visitor.send(request(CHUNKED, first=b"POST /up HTTP/1.1"))
        local = await app.called()
        await local.head()
        await local.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await visitor.head()

        for number in range(4):
            await visitor.send(b"2\r\n%02d\r\n" % number)
            assert await local.chunk() == b"%02d" % number
            await local.send(b"4\r\n-%02d-\r\n" % number)
            assert await visitor.chunk() == b"-%02d-" % number
        await visitor.send(b"0\r\n\r\n")
        assert await local.chunk() == b""
        await local.line()
        await local.send(b"0\r\n\r\n")
        assert await visitor.chunk() == b""
        await visitor.line()

        await visitor.send(request())
        await local.request()
        await local.send(OK)
        assert (await visitor.answer()).body == b"ok"


async def test_the_apps_100_reaches_the_visitor_before_it_sends_the_body():
    async with by_hand() as (public, app):
        visitor = await public.visit()
        await visitor.send(post(b"four", b"Expect: 100-continue")[:-4])
        local = await app.called()
        assert b"\r\nExpect: 100-continue\r\n" in await local.head()

        await local.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await visitor.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await visitor.send(b"four")
        assert await local.exactly(4) == b"four"
        await local.send(OK)
        assert (await visitor.answer()).body == b"ok"


@pytest.mark.parametrize("status", [b"417 Expectation Failed", b"401 Unauthorized"])
async def test_an_app_that_refuses_what_is_expected_is_heard_at_once(status):
    async with by_hand() as (public, app):
        visitor = await public.visit()
        await visitor.send(post(b"four", b"Expect: 100-continue")[:-4])
        local = await app.called()
        await local.head()
        await local.send(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\nno")
        answer = await visitor.answer()

        assert (answer.status, answer.body) == (int(status[:3]), b"no")
        # Whether the body still comes nobody can know: the connection isn't reused.
        assert answer.values(b"connection") == [b"close"]
        await visitor.ended()
        await local.ended()


async def test_an_early_answer_is_read_whole_though_the_body_is_still_being_sent():
    body = b"x" * (1 << 16)

    async with by_hand() as (public, app):
        visitor = await public.visit()
        head = request(b"Content-Length: %d" % (1 << 30), first=b"POST /big HTTP/1.1")
        await visitor.send(head)
        local = await app.called()
        await local.head()
        await visitor.send(body)
        await local.exactly(len(body))
        await local.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nlarge")
        await local.ended()
        # It hasn't looked for an answer yet, and goes on: no reset may meet it.
        for _ in range(100):
            await visitor.send(body)

        answer = await visitor.answer()
        assert (answer.status, answer.body) == (413, b"large")


async def test_an_answer_may_take_longer_than_every_timer_of_the_relay():
    async with by_hand(relay={"head_s": 0.05, "idle_s": 0.05}) as (public, app):
        waiting = await public.visit()
        await waiting.send(request(b"Long: yes"))
        local = await app.called()
        await local.request()
        for _ in range(3):  # each of them is closed when its time is up
            await (await public.visit()).ended()

        await local.send(OK)
        assert (await waiting.answer()).body == b"ok"
        await waiting.ended()


async def test_a_pause_in_an_answer_may_take_longer_than_every_timer_of_the_relay():
    async with by_hand(relay={"head_s": 0.05, "idle_s": 0.05}) as (public, app):
        waiting = await public.visit()
        await waiting.send(request())
        local = await app.called()
        await local.request()
        await local.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        await waiting.head()
        for _ in range(3):
            await (await public.visit()).ended()

        await local.send(b"cd")
        assert await waiting.exactly(4) == b"abcd"


async def test_pipelined_requests_are_answered_in_order_one_after_the_other():
    async with by_hand() as (public, app):
        visitor = await public.visit()
        await visitor.send(
            post(b"1", first=b"POST /1 HTTP/1.1")
            + request(first=b"GET /2 HTTP/1.1")
            + request(CHUNKED, first=b"PUT /3 HTTP/1.1", body=b"1\r\n3\r\n0\r\n\r\n")
            + request(first=b"GET /4 HTTP/1.1")
        )
        local = await app.called()

        for number in b"1234":
            asked = await local.request()
            assert asked.head.split(b" ")[1] == b"/%c" % number
            assert not local.reader._buffer  # the next one isn't there yet
            await local.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%c" % number)
            assert (await visitor.answer()).body == b"%c" % number


async def test_both_connections_are_kept_and_used_again():
    async with by_hand() as (public, app):
        visitor = await public.visit()
        await visitor.send(request())
        local = await app.called()
        await local.request()
        await local.send(OK)
        await visitor.answer()

        other = await public.visit()
        for end in (other, visitor, other):
            await end.send(request())
            await local.request()
            await local.send(OK)
            assert (await end.answer()).body == b"ok"


@pytest.mark.parametrize(
    "closing",
    [
        request(b"Connection: close"),
        request(b"CONNECTION: Keep-Alive, CLOSE"),
        request(first=b"GET / HTTP/1.0"),
    ],
)
async def test_a_connection_that_is_to_be_closed_serves_nothing_more(closing):
    async with by_hand() as (public, app):
        visitor = await public.visit()
        await visitor.send(closing + request(first=b"GET /second HTTP/1.1"))
        local = await app.called()
        await local.request()
        await local.send(OK)

        answer = await visitor.answer()
        assert answer.values(b"connection") == [b"close"]
        await visitor.ended()
        other = await public.visit()
        await other.send(request(first=b"GET /third HTTP/1.1"))
        assert (await local.request()).head.startswith(b"GET /third ")


async def test_a_local_connection_that_the_app_wants_closed_isnt_used_again():
    async with by_hand() as (public, app):
        visitor = await public.visit()
        await visitor.send(request())
        first = await app.called()
        await first.request()
        await first.send(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
        )
        answer = await visitor.answer()

        assert answer.values(b"connection") == []  # that's between app and tunnel
        await visitor.send(request())
        second = await app.called()
        await second.request()
        await second.send(OK)
        assert (await visitor.answer()).body == b"ok"


async def test_a_visitor_that_half_closes_gets_its_answer():
    async with by_hand() as (public, app):
        visitor = await public.visit()
        await visitor.send(post(b"all"))
        visitor.finish()
        local = await app.called()
        await local.request()
        await local.send(OK)

        assert (await visitor.answer()).body == b"ok"
        await visitor.ended()


async def test_a_visitor_that_resets_its_connection_ends_the_call_of_the_app():
    async with by_hand() as (public, app):
        visitor = await public.visit()
        await visitor.send(request())
        local = await app.called()
        await local.request()
        visitor.reset()

        await local.ended()


async def test_an_app_that_streams_to_a_visitor_who_has_left_hears_of_it():
    async with by_hand() as (public, app):
        visitor = await public.visit()
        await visitor.send(request())
        local = await app.called()
        await local.request()
        await local.send(b"HTTP/1.1 200 OK\r\n\r\nbegun")
        await visitor.head()
        visitor.close()

        with suppress(ConnectionError):
            while not local.is_over():
                await local.send(b"x")
                await asyncio.sleep(0)
        await local.ended()


# Websockets


@asynccontextmanager
async def a_websocket_app(handle):
    """Run a tunnel to a websocket server, and say where it is."""
    async with (
        websockets.serve(handle, "127.0.0.1", 0, max_size=1 << 24) as server,
        an_app() as app,
    ):
        port = server.sockets[0].getsockname()[1]
        async with a_public(app, tunnel={"target": port}) as public:
            yield f"ws://{HOST.decode()}:{public.relay.port}/ws?x=;%zz", public


def connect(url, public):
    return websockets.connect(
        url, host="127.0.0.1", port=public.relay.port, max_size=1 << 24
    )


async def test_a_websocket_carries_messages_of_all_sizes_both_ways():
    async def echo(server):
        assert server.request.path == "/ws?x=;%zz"
        async for message in server:
            await server.send(message)

    async with (
        asyncio.timeout(20),
        a_websocket_app(echo) as (url, public),
        connect(url, public) as visitor,
    ):
        for message in ("ä", b"", b"\x00" * 200_000, b"y" * 5_000_000):
            await visitor.send(message)
            assert await visitor.recv() == message


async def test_a_websockets_ping_subprotocol_and_close_code_pass():
    codes = asyncio.Queue()

    async def serve(server):
        await server.send(server.subprotocol or "none")
        await (await server.ping(b"from the app"))
        try:
            await server.recv()
        except websockets.ConnectionClosed as closed:
            codes.put_nowait((closed.rcvd.code, closed.rcvd.reason))

    async with asyncio.timeout(20), a_websocket_app(serve) as (url, public):
        async with connect(url, public) as visitor:
            await visitor.recv()
            await (await visitor.ping(b"from the visitor"))
            await visitor.close(4321, "enough")

        assert await codes.get() == (4321, "enough")


async def test_the_apps_close_code_reaches_the_visitor():
    async def refuse(server):
        await server.close(4000, "go away")

    async with asyncio.timeout(20), a_websocket_app(refuse) as (url, public):
        async with connect(url, public) as visitor:
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await visitor.recv()

        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4000, "go away")


UPGRADE = (b"Connection: Upgrade", b"Upgrade: raw/1")
SWITCHED = b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: raw/1\r\n\r\n"


async def test_what_comes_in_one_packet_with_a_101_is_passed_on():
    async with by_hand() as (public, app):
        visitor = await public.visit()
        await visitor.send(request(*UPGRADE))
        local = await app.called()
        asked = await local.head()
        await local.send(SWITCHED + b"first")

        assert b"\r\nUpgrade: raw/1\r\n" in asked
        assert b"\r\nConnection: Upgrade\r\n" in asked
        assert (await visitor.answer()).status == 101
        assert await visitor.exactly(5) == b"first"
        await visitor.send(b"GET / HTTP/1.1\r\n\r\n\x00\xff")
        assert await local.exactly(20) == b"GET / HTTP/1.1\r\n\r\n\x00\xff"


async def test_each_side_of_an_upgraded_connection_ends_by_itself():
    async with by_hand() as (public, app):
        visitor = await public.visit()
        await visitor.send(request(*UPGRADE))
        local = await app.called()
        await local.head()
        await local.send(SWITCHED)
        await visitor.answer()
        await visitor.send(b"last words")
        visitor.finish()

        assert await local.rest() == b"last words"
        await local.send(b"and mine")
        local.finish()
        assert await visitor.rest() == b"and mine"


async def test_an_upgrade_that_the_app_refuses_is_an_answer_like_any_other():
    async with by_hand() as (public, app):
        visitor = await public.visit()
        await visitor.send(request(*UPGRADE))
        local = await app.called()
        await local.head()
        await local.send(
            b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: raw/2\r\n"
            b"Content-Length: 0\r\n\r\n"
        )
        answer = await visitor.answer()

        assert (answer.status, answer.values(b"upgrade")) == (426, [b"raw/2"])
        await visitor.send(request())
        await local.request()
        await local.send(OK)
        assert (await visitor.answer()).body == b"ok"
