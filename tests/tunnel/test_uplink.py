"""tunnel/uplink.py: the relay's end of a link, seen by clients that speak by hand."""

import asyncio
import time
from contextlib import suppress

import pytest
import websockets

from tests.tunnel.faults import QUICK, Journal
from tests.tunnel.raw import HOST, LIMIT_S, Public, an_app, request
from tests.tunnel.speaking import a_hello, speaking
from tunnel import Relay, RelaySettings
from tunnel.access import make_token
from tunnel.events import TunnelCame, TunnelWent
from tunnel.flow import INITIAL_WINDOW_BYTES, LINK_WINDOW_BYTES
from tunnel.link import Link
from tunnel.settings import LinkTimes
from tunnel.wire import (
    CLOSE_BAD_FRAME,
    CLOSE_GOING_AWAY,
    CLOSE_OVERDRAWN,
    CLOSE_REFUSED,
    CLOSE_REPLACED,
    CLOSE_SILENT,
    CLOSE_UNKNOWN_STREAM,
    FIN,
    MAX_HELLO_BYTES,
    MAX_MESSAGE_BYTES,
    Kind,
    decode_json,
    decode_open,
    encode_frame,
    encode_head,
    encode_json,
    encode_ping,
)

SECRET = b"0123456789abcdef0123456789abcdef"
NOW_S = int(time.time())  # noqa: TID251 - tokens expire by the calendar

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"


def a_relay(*, on_event=None, **changes):
    settings = {"port": 0, "hold_s": 10.0, "link": QUICK} | changes
    return Relay(RelaySettings(**settings), on_event=on_event)


def a_token(**changes):
    wanted = {"names": ["demo"], "expires_s": None, "issued_s": NOW_S, "jti": "t1"}
    return make_token(SECRET, **(wanted | changes))


# HELLO and WELCOME


async def test_welcome_says_what_the_client_has_to_know():
    async with a_relay() as relay, speaking(relay) as client:
        welcome = await client.hello()

        session, sent_ms = welcome.pop("session"), welcome.pop("time")
        assert len(bytes.fromhex(session)) == 16
        assert abs(sent_ms - NOW_S * 1000) < 3_600_000
        assert welcome == {
            "version": 1,
            "resumed": False,
            "seen": 0,
            "name": "demo",
            "url": f"http://demo.localhost:{relay.port}",
            "epoch": 1,
            "window": INITIAL_WINDOW_BYTES,
            "link_window": LINK_WINDOW_BYTES,
            "max_streams": 1024,
            "ping_s": QUICK.ping_s,
            "session_s": QUICK.session_s,
        }


async def test_a_hello_may_leave_out_all_but_the_version():
    async with a_relay() as relay, speaking(relay) as client:
        welcome = await client.hello(name=..., seen=...)

        assert welcome["name"] in welcome["url"]


async def test_a_request_and_its_answer_by_hand():
    async with a_relay() as relay, speaking(relay) as client:
        await client.hello()
        public = Public(relay, None, None)
        visitor = await public.visit()
        await visitor.send(request())
        number, is_last, payload = await client.hear(Kind.OPEN)
        head, body, peer, flags, _ = decode_open(payload)
        await client.say(
            encode_frame(number, Kind.HEAD | FIN, encode_head(ANSWER, b"ok"))
        )

        assert (number, is_last, body, peer, flags) == (1, True, b"", b"127.0.0.1", 0)
        assert head.startswith(b"GET / HTTP/1.1\r\nHost: demo.localhost\r\n")
        assert (await visitor.answer()).body == b"ok"
        public.leave()


async def test_each_session_of_a_name_has_the_next_epoch():
    async with a_relay() as relay:
        epochs = []
        for _ in range(3):
            async with speaking(relay) as client:
                epochs.append((await client.hello())["epoch"])

    assert epochs == [1, 2, 3]


# Refusals


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"version": 2}, "it speaks version 1 of the link, this client another"),
        ({"version": ...}, "it speaks version 1 of the link, this client another"),
        ({"name": "-"}, "no '-' at either end"),
        ({"policy": {"allow": ["nonsense"]}}, "allow"),
        ({"policy": {"ällow": ["ü" * 400]}}, "doesn't know"),
        ({"policy": []}, "policy"),
    ],
)
async def test_what_the_relay_wont_have_is_refused_with_its_reason(changes, reason):
    async with a_relay() as relay, speaking(relay) as client:
        await client.say(a_hello(**changes))
        code, told = await client.closed()

        assert code == CLOSE_REFUSED
        assert reason in told


@pytest.mark.parametrize("token", [..., None, "", 7, ["x"], "nonsense", "a.b.c"])
async def test_a_bad_token_is_refused_whatever_it_is(token):
    async with a_relay(secret=SECRET) as relay, speaking(relay) as client:
        await client.say(a_hello(token=token))

        assert (await client.closed())[0] == CLOSE_REFUSED
        assert len(relay.leases) == 0


@pytest.mark.parametrize(
    "changes",
    [{"name": 7}, {"name": ["demo"]}, {"seen": "x"}, {"seen": True}, {"seen": 1.5}],
)
async def test_a_hello_that_cant_be_read_is_a_bad_frame(changes):
    async with a_relay() as relay, speaking(relay) as client:
        await client.say(a_hello(**changes))

        assert (await client.closed())[0] == CLOSE_BAD_FRAME


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\0",
        encode_frame(0, Kind.PING, encode_ping(1, 1)),
        encode_frame(0, Kind.HELLO, b"not JSON"),
        encode_frame(0, Kind.HELLO, b"[]"),
        encode_frame(0, 0x7F),
        a_hello() + a_hello(),
    ],
)
async def test_a_link_begins_with_one_hello(message):
    async with a_relay() as relay, speaking(relay) as client:
        await client.say(message)

        assert (await client.closed())[0] == CLOSE_BAD_FRAME


async def test_nothing_is_taken_before_the_welcome():
    async with a_relay() as relay, speaking(relay) as client:
        await client.say(a_hello())
        await client.say(encode_frame(0, Kind.PING, encode_ping(1, 1)))
        code, reason = await client.closed()

        assert (code, reason) == (CLOSE_BAD_FRAME, "a message before the WELCOME")


async def test_a_hello_without_end_is_refused_before_it_is_read():
    async with a_relay() as relay, speaking(relay) as client:
        await client.say(a_hello(name="x" * MAX_HELLO_BYTES))

        assert (await client.closed())[0] == 1009


async def test_who_doesnt_say_hello_is_closed():
    times = LinkTimes(hello_s=0.05)
    async with a_relay(hold_s=0.1, link=times) as relay, speaking(relay) as client:
        code, reason = await client.closed()

        assert (code, reason) == (CLOSE_REFUSED, "no HELLO came")


async def test_who_dribbles_a_hello_is_closed_all_the_same():
    times = LinkTimes(hello_s=0.2)
    async with a_relay(hold_s=0.1, link=times) as relay, speaking(relay) as client:
        closing = asyncio.ensure_future(client.socket.wait_closed())
        async with asyncio.timeout(LIMIT_S):
            while not closing.done():
                await asyncio.sleep(0)  # once closed, nothing below waits
                with suppress(websockets.ConnectionClosed):
                    pong = await client.socket.ping()  # bytes that say nothing
                    await asyncio.wait(
                        [closing, pong], return_when=asyncio.FIRST_COMPLETED
                    )

        assert client.socket.close_code in (CLOSE_REFUSED, 1006)


@pytest.mark.parametrize("host", [b"localhost:99999", b"[::1]", b"x:", b"x:0"])
async def test_whatever_host_was_asked_for_the_client_is_welcome(host):
    async with a_relay() as relay:
        public = Public(relay, None, None)
        client = await public.visit()
        await client.send(
            request(
                b"Connection: Upgrade",
                b"Upgrade: websocket",
                b"Sec-WebSocket-Version: 13",
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
                first=b"GET /_qemu/link HTTP/1.1",
                host=host,
            )
        )
        assert b" 101 " in await client.head()
        hello = a_hello()
        await client.send(b"\x82" + bytes([0x80 | len(hello)]) + bytes(4) + hello)

        assert (await client.exactly(2))[:1] == b"\x82"
        assert len(relay.leases) == 1
        public.leave()


async def test_an_upgrade_that_isnt_a_websockets_is_answered_and_closed():
    async with a_relay() as relay:
        public = Public(relay, None, None)
        visitor = await public.visit()
        await visitor.send(
            request(
                b"Connection: Upgrade",
                b"Upgrade: websocket",
                first=b"GET /_qemu/link HTTP/1.1",
                host=b"localhost",
            )
        )
        answer = await visitor.rest()
        public.leave()

        assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 426 "))
        assert not relay.uplinks


# Violations


def head_of(number, raw=ANSWER, body=b""):
    return encode_frame(number, Kind.HEAD, encode_head(raw, body))


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([encode_frame(9, Kind.DATA, b"x")], CLOSE_UNKNOWN_STREAM),
        ([encode_frame(0, Kind.DATA, b"x")], CLOSE_UNKNOWN_STREAM),
        ([head_of(1), *[encode_frame(1, Kind.DATA, bytes(1 << 16))] * 3], None),
        ([encode_frame(1, Kind.DATA, bytes((1 << 16) + 1))], CLOSE_BAD_FRAME),
        ([encode_frame(1, Kind.OPEN)], CLOSE_BAD_FRAME),
        ([encode_frame(0, Kind.GOAWAY, b"{}")], CLOSE_BAD_FRAME),
        ([a_hello()], CLOSE_BAD_FRAME),
        ([b"garbage that is no frame"], CLOSE_BAD_FRAME),
        ([encode_frame(0, Kind.ACK, b"\xff" * 8)], CLOSE_BAD_FRAME),
        ([encode_frame(1, Kind.CREDIT, bytes(8))], CLOSE_BAD_FRAME),
        ([encode_frame(1, Kind.RESET, b"\xff\xff")], CLOSE_BAD_FRAME),
    ],
)
async def test_a_violation_ends_the_link_with_the_code_that_names_it(frames, code):
    async with a_relay() as relay, speaking(relay) as client:
        await client.hello()
        public = Public(relay, None, None)
        visitor = await public.visit()
        await visitor.send(request())
        await client.hear(Kind.OPEN)
        await client.say(*frames)

        if code is None:  # bytes within the window are none
            await client.say(encode_frame(0, Kind.PING, encode_ping(1, 1)))
            await client.hear(Kind.PONG)
        else:
            assert (await client.closed())[0] == code
        public.leave()


async def test_more_than_the_window_ends_the_link():
    """The visitor reads nothing, so that nothing is credited."""
    async with a_relay() as relay, speaking(relay) as client:
        await client.hello()
        public = Public(relay, None, None)
        visitor = await public.visit_slowly()
        await visitor.send(request())
        await client.hear(Kind.OPEN)
        large = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"
        await client.say(head_of(1, large))
        with suppress(websockets.ConnectionClosed):
            for _ in range(4096):
                await client.say(encode_frame(1, Kind.DATA, bytes(1 << 16)))
                await asyncio.sleep(0)

        assert (await client.closed())[0] == CLOSE_OVERDRAWN
        public.leave()


async def test_a_text_message_ends_the_link():
    async with a_relay() as relay, speaking(relay) as client:
        await client.hello()
        await client.socket.send("text")

        assert await client.closed() == (CLOSE_BAD_FRAME, "a text message")


async def test_a_message_that_is_too_large_ends_the_link():
    async with a_relay() as relay, speaking(relay) as client:
        await client.hello()
        await client.say(bytes(MAX_MESSAGE_BYTES + 1))

        assert (await client.closed())[0] == 1009


async def test_who_broke_the_rules_may_come_back_and_others_notice_nothing():
    async with a_relay() as relay, speaking(relay) as other:
        await other.hello(name="other")
        async with speaking(relay) as client:
            await client.hello()
            await client.say(b"garbage that is no frame")
            await client.closed()
        async with speaking(relay) as client:
            welcome = await client.hello()
            await other.say(encode_frame(0, Kind.PING, encode_ping(1, 1)))
            await other.hear(Kind.PONG)

        assert welcome["epoch"] == 2


# Whose name it is


async def test_a_newer_session_has_the_name_and_the_older_hears_so():
    journal = Journal()
    async with a_relay(on_event=journal) as relay, speaking(relay) as older:
        await older.hello()
        async with speaking(relay) as newer:
            await newer.hello()

            assert await older.closed() == (
                CLOSE_REPLACED,
                "a newer session has the name",
            )
            assert len(relay.leases) == 1
        assert [event.epoch for event in journal.of(TunnelCame)] == [1, 2]


async def test_requests_under_way_in_the_older_session_are_answered():
    async with a_relay() as relay, speaking(relay) as older:
        await older.hello()
        public = Public(relay, None, None)
        visitor = await public.visit()
        await visitor.send(request())
        await older.hear(Kind.OPEN)
        async with speaking(relay) as newer:
            await newer.hello()
            answer = await visitor.answer()

        assert (answer.status, answer.values(b"qemu-error")) == (503, [b"link"])
        assert answer.values(b"retry-after") == [b"10"]
        public.leave()


async def test_a_link_whose_token_expires_is_closed():
    token = a_token(expires_s=NOW_S + 3600)
    async with (
        a_relay(secret=SECRET, hold_s=0.2) as relay,
        speaking(relay) as client,
    ):
        await client.hello(token=token)
        (session,) = relay.leases
        expires_s = session.grant.expires_s
        object.__setattr__(session.grant, "expires_s", NOW_S - 1)  # an hour later

        assert expires_s == NOW_S + 3600
        assert await client.closed() == (CLOSE_REFUSED, "the token has expired")


# Signs of life


async def test_a_client_that_has_fallen_silent_is_dropped():
    times = LinkTimes(silence_s=0.1, session_s=60.0)
    journal = Journal()
    async with (
        a_relay(on_event=journal, hold_s=0.2, link=times) as relay,
        speaking(relay, ping_interval=None) as client,
    ):
        await client.hello()
        code, reason = await client.closed()
        went = await journal.wait_for(TunnelWent)

        assert code in (CLOSE_SILENT, 1006)
        assert reason in ("nothing was heard from the client", "")
        assert went.reason == "nothing was heard from the client"
        assert not went.is_final


async def test_a_session_that_doesnt_come_back_is_over():
    journal = Journal()
    times = LinkTimes(session_s=0.1)
    async with a_relay(on_event=journal, hold_s=0.05, link=times) as relay:
        async with speaking(relay) as client:
            await client.hello()
        last = await journal.wait_for(TunnelWent, 2)

        assert (last.reason, last.is_final) == ("it didn't come back", True)
        assert len(relay.leases) == 0


# Coming back


async def test_a_session_goes_on_with_a_new_socket_where_it_was():
    journal = Journal()
    async with a_relay(on_event=journal) as relay:
        public = Public(relay, None, None)
        async with speaking(relay) as client:
            welcome = await client.hello()
            visitor = await public.visit()
            await visitor.send(request())
            await client.hear(Kind.OPEN)
            whole = encode_frame(1, Kind.HEAD, encode_head(ANSWER, b"o"))
            await client.say(whole)
            await client.say(encode_frame(0, Kind.PING, encode_ping(1, 1)))
            await client.hear(Kind.PONG)
        async with speaking(relay) as client:
            again = await client.hello(session=welcome["session"], seen=1)
            await client.say(encode_frame(1, Kind.DATA, b"k"))
            await client.say(encode_frame(1, Kind.DATA | FIN))

            assert (again["resumed"], again["seen"]) == (True, 1)
            assert again["session"] == welcome["session"]
            assert (await visitor.answer()).body == b"ok"
        assert [event.is_resumed for event in journal.of(TunnelCame)] == [False, True]
        public.leave()


async def test_what_a_client_hasnt_seen_is_sent_again():
    async with a_relay() as relay:
        public = Public(relay, None, None)
        async with speaking(relay) as client:
            welcome = await client.hello()
            visitor = await public.visit()
            await visitor.send(request())
            first = await client.hear(Kind.OPEN)
        async with speaking(relay) as client:
            await client.hello(session=welcome["session"], seen=0)

            assert await client.hear(Kind.OPEN) == first
        public.leave()


async def test_a_newer_link_of_the_same_session_takes_its_place():
    async with a_relay() as relay, speaking(relay) as older:
        welcome = await older.hello()
        async with speaking(relay) as newer:
            again = await newer.hello(session=welcome["session"])

            assert again["resumed"]
            assert (await older.closed())[1] == "the session has a newer link"
            public = Public(relay, None, None)
            visitor = await public.visit()
            await visitor.send(request())
            await newer.hear(Kind.OPEN)
            public.leave()


@pytest.mark.parametrize("seen", [-1, 1, 10**30])
async def test_a_session_that_cant_go_on_is_followed_by_a_new_one(seen):
    async with a_relay() as relay:
        async with speaking(relay) as client:
            welcome = await client.hello()
        async with speaking(relay) as client:
            again = await client.hello(session=welcome["session"], seen=seen)

        assert not again["resumed"]
        assert again["session"] != welcome["session"]
        assert again["url"] == welcome["url"]


@pytest.mark.parametrize("session", ["0" * 32, 7, None, ["x"], {}])
async def test_a_session_that_never_was_is_followed_by_a_new_one(session):
    async with a_relay() as relay, speaking(relay) as client:
        welcome = await client.hello(session=session, seen=3)

        assert (welcome["resumed"], welcome["seen"]) == (False, 0)


async def test_nobody_goes_on_with_a_session_of_somebody_else():
    async with a_relay(secret=SECRET) as relay:
        mine, yours = (a_token(names=[name], jti=name) for name in ("mine", "yours"))
        async with speaking(relay) as client:
            welcome = await client.hello(token=mine, name="mine")
        async with speaking(relay) as client:
            again = await client.hello(
                token=yours, name="yours", session=welcome["session"]
            )

        assert not again["resumed"]
        assert again["name"] == "yours"


# Going away


async def test_a_relay_that_stops_asks_its_clients_to_go():
    async with a_relay() as relay, speaking(relay) as client:
        await client.hello()
        await relay.stop()
        _, _, payload = await client.hear(Kind.GOAWAY)

        assert decode_json(payload) == {"why": "the relay stops"}
        assert await client.closed() == (CLOSE_GOING_AWAY, "the relay stops")


async def test_a_link_carries_what_the_links_rules_say():
    """Both ends stand on the same ``Link``: the relay's speaks with one of our own."""
    async with a_relay() as relay, speaking(relay) as client, an_app():
        await client.hello()
        payloads = []
        link = Link(
            now_s=lambda: 1.0,
            on_ready=lambda: None,
            on_open=lambda stream, payload, is_last: payloads.append(stream),
        )
        public = Public(relay, None, None)
        visitor = await public.visit()
        await visitor.send(request(host=HOST))
        while not payloads:
            async with asyncio.timeout(LIMIT_S):
                link.receive(await client.socket.recv())
        payloads[0].send_head(encode_head(ANSWER, b""), is_last=False)
        payloads[0].send_data(b"ok")
        payloads[0].send_end()
        while message := link.take():
            await client.say(message)

        assert (await visitor.answer()).body == b"ok"
        public.leave()


def test_a_hello_is_json():
    frame = a_hello(token=...)

    assert frame.endswith(encode_json({"version": 1, "name": "demo", "seen": 0}))
