"""Visitors that send slowly, read slowly or come in crowds: bounded, alone in it."""

import asyncio
import socket
import sys

import pytest

from tests.tunnel.raw import (
    NAME,
    OK,
    a_public,
    an_app,
    post,
    request,
    until,
)
from tunnel.flow import LINK_WINDOW_BYTES

SHORT = {"head_s": 0.05, "idle_s": 0.05}

UNKNOWN = request(host=b"other.localhost")
"""What the relay answers itself."""


def counted(body):
    """Make an answer with this body."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def at_relay(public):
    """Return the visitors that the relay has."""
    return tuple(public.relay._public.visitors)


def check_later(public, seconds):
    """Let the relay look after its visitors as it will in so many seconds."""
    for visitor in at_relay(public):
        visitor.check(public.relay.now_s() + seconds)


async def time_out(public, *, times=3):
    """Wait until a connection that was made now has been idle for too long."""
    for _ in range(times):
        await (await public.visit()).ended()


# Heads


async def test_a_head_that_comes_byte_by_byte_is_given_up():
    async with an_app() as app, a_public(app, relay=SHORT) as public:
        visitor = await public.visit()
        for byte in request(b"X: " + b"slow" * 15_000):
            if visitor.reader._buffer:
                break
            visitor.writer.write(b"%c" % byte)
            await asyncio.sleep(0)
        answer = await visitor.answer()

        assert (answer.status, answer.values(b"connection")) == (408, [b"close"])
        assert app.arrived == []
        await visitor.ended()


async def test_the_second_head_on_a_connection_has_no_more_time_than_the_first():
    relay = {"head_s": 0.05, "idle_s": 60.0}

    async with an_app() as app, a_public(app, relay=relay) as public:
        visitor = await public.visit()
        await visitor.send(request())
        await visitor.answer()
        await visitor.send(request()[:-1])
        answer = await visitor.answer()

        assert answer.status == 408
        assert len(app.arrived) == 1


async def test_a_head_may_begin_at_the_last_moment_of_an_idle_connection():
    relay = {"head_s": 60.0, "idle_s": 0.05}

    async with an_app() as app, a_public(app, relay=relay) as public:
        visitor = await public.visit()
        await visitor.send(request())
        await visitor.answer()
        await visitor.send(request()[:-1])
        await until(lambda: at_relay(public)[0]._buffer)
        check_later(public, 30)
        await visitor.send(b"\n")

        assert (await visitor.answer()).body == b"ok"


async def test_a_connection_without_a_request_is_closed_without_an_answer():
    async with an_app() as app, a_public(app, relay=SHORT) as public:
        visitor = await public.visit()

        assert await visitor.rest() == b""


async def test_a_kept_connection_is_closed_when_it_has_been_idle():
    relay = {"head_s": 60.0, "idle_s": 0.05}

    async with an_app() as app, a_public(app, relay=relay) as public:
        visitor = await public.visit()
        await visitor.send(request())
        await visitor.answer()

        await visitor.ended()


# Bodies


async def test_a_body_that_trickles_is_given_up():
    async with an_app(by_hand=True) as app, a_public(app) as public:
        visitor = await public.visit()
        await visitor.send(post(b"x" * 5000)[:-4000])
        local = await app.called()
        await local.head()
        await local.exactly(1000)
        check_later(public, 31)
        answer = await visitor.answer()

        assert (answer.status, answer.values(b"connection")) == (408, [b"close"])
        await local.ended()


async def test_a_body_that_comes_fast_enough_goes_on():
    async with an_app(by_hand=True) as app, a_public(app) as public:
        visitor = await public.visit()
        await visitor.send(post(b"x" * 10_000)[:-5000])
        local = await app.called()
        await local.head()
        await local.exactly(5000)
        check_later(public, 31)
        await visitor.send(b"x" * 5000)
        await local.exactly(5000)
        await local.send(OK)

        assert (await visitor.answer()).body == b"ok"


async def test_a_body_that_is_expected_to_wait_for_the_app_isnt_slow():
    async with an_app(by_hand=True) as app, a_public(app) as public:
        visitor = await public.visit()
        await visitor.send(post(b"four", b"Expect: 100-continue")[:-4])
        local = await app.called()
        await local.head()
        check_later(public, 31)
        await local.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await visitor.head()
        check_later(public, 31 + 29)  # its time has begun only now
        await visitor.send(b"four")
        await local.exactly(4)
        await local.send(OK)

        assert (await visitor.answer()).body == b"ok"


async def test_a_body_that_was_waited_for_may_not_trickle_either():
    async with an_app(by_hand=True) as app, a_public(app) as public:
        visitor = await public.visit()
        await visitor.send(post(b"four", b"Expect: 100-continue")[:-4])
        local = await app.called()
        await local.head()
        await local.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await visitor.head()
        check_later(public, 31)

        assert (await visitor.answer()).status == 408


async def test_a_body_that_waits_for_the_app_isnt_slow():
    async with an_app(by_hand=True) as app, a_public(app) as public:
        visitor = await public.visit()
        size = 1 << 25
        visitor.writer.write(post(b"x" * size))
        local = await app.called()
        await local.head()
        await until(lambda: not at_relay(public)[0].is_reading)
        check_later(public, 3600)

        await local.exactly(size)
        await local.send(OK)
        assert (await visitor.answer()).body == b"ok"


# Answers that aren't read


async def test_the_rest_of_an_answer_isnt_cut_off_while_the_visitor_reads_it_slowly():
    for closing in ((), (b"Connection: close",)):
        async with an_app() as app, a_public(app, relay=SHORT) as public:
            app.answer = counted(bytes(200_000))
            visitor = await public.visit_slowly()
            await visitor.send(request(*closing))
            await visitor.head()
            for _ in range(4):
                await visitor.exactly(20_000)
                await time_out(public, times=1)

            assert len(await visitor.exactly(120_000)) == 120_000


async def test_an_answer_that_nobody_reads_is_given_up_in_the_end():
    async with an_app() as app, a_public(app, relay=SHORT) as public:
        app.answer = counted(bytes(200_000))
        visitor = await public.visit_slowly()
        await visitor.send(request(b"Connection: close"))
        await until(lambda: app.arrived and at_relay(public)[0]._passage is None)
        await time_out(public)

        await until(lambda: not at_relay(public))


async def test_a_visitor_that_never_reads_holds_its_own_memory_only():
    async with an_app() as app, a_public(app) as public:
        app.answer = counted(bytes(1 << 23))
        stuck = [await public.visit_slowly() for _ in range(4)]
        for visitor in stuck:
            await visitor.send(request())
        await until(lambda: sum(not one.is_writable for one in at_relay(public)) == 4)
        app.answer = counted(b"x" * 1000)

        for _ in range(50):
            assert (await public.ask(request())).status == 200
        for one in at_relay(public):
            assert one.transport.get_write_buffer_size() <= 1 << 19


async def test_answers_that_arent_read_hold_up_what_was_asked_behind_them():
    asked = 600

    async with an_app() as app, a_public(app) as public:
        app.answer = counted(bytes(16_000))
        visitor = await public.visit_slowly()
        await visitor.send(request(first=b"GET /slow HTTP/1.1") * asked)
        await until(lambda: not all(one.is_writable for one in at_relay(public)))
        for _ in range(20):
            await public.ask(request())
        waited = sum(b"/slow" in one.head for one in app.arrived)
        for _ in range(50):
            await public.ask(request())

        assert sum(b"/slow" in one.head for one in app.arrived) == waited < asked
        for _ in range(asked):
            assert len((await visitor.answer()).body) == 16_000


def all_is_accepted(link):
    """Whether the other end may send as much as at the start, or nearly so."""
    received = link._received
    return received._room + received._accepted == LINK_WINDOW_BYTES


def relay_link(public):
    return public.relay.leases.get(NAME).link


async def test_what_is_unread_at_an_answers_end_is_given_back_to_the_link():
    async with an_app() as app, a_public(app) as public:
        app.answer = counted(bytes(200_000))
        visitor = await public.visit_slowly()
        await visitor.send(request())
        await until(lambda: not all(one.is_writable for one in at_relay(public)))
        await until(lambda: at_relay(public)[0]._passage is None)

        assert all_is_accepted(relay_link(public))
        assert len((await visitor.answer()).body) == 200_000


async def test_what_a_visitor_leaves_unread_is_given_back_to_the_link():
    async with an_app() as app, a_public(app) as public:
        app.answer = counted(bytes(1 << 22))
        visitor = await public.visit_slowly()
        await visitor.send(request())
        await until(lambda: not all(one.is_writable for one in at_relay(public)))
        assert not all_is_accepted(relay_link(public))
        visitor.reset()

        await until(lambda: not relay_link(public).open_streams)
        await until(lambda: all_is_accepted(relay_link(public)))


async def test_what_a_refusing_app_leaves_of_an_upload_is_given_back_to_the_link():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        target = f"http://127.0.0.1:{holder.getsockname()[1]}"
        async with an_app() as app, a_public(app, tunnel={"target": target}) as public:
            answer = await public.ask(post(bytes(1 << 22)))

            assert answer.status == 502
            await until(lambda: all_is_accepted(public.tunnel._link))


async def test_what_an_app_leaves_of_an_upload_is_given_back_to_the_link():
    async with an_app(by_hand=True) as app, a_public(app) as public:
        visitor = await public.visit()
        visitor.writer.write(post(bytes(1 << 25)))
        local = await app.called()
        await until(lambda: not at_relay(public)[0].is_reading)
        assert not all_is_accepted(public.tunnel._link)
        local.reset()

        assert (await visitor.answer()).status == 502
        await until(lambda: all_is_accepted(public.tunnel._link))


async def test_what_an_app_hasnt_taken_when_it_answers_is_given_back_to_the_link():
    async with an_app(by_hand=True) as app, a_public(app) as public:
        visitor = await public.visit()
        chunked = b"Transfer-Encoding: chunked"
        await visitor.send(request(chunked, first=b"POST / HTTP/1.1"))
        local = await app.called()
        await local.head()
        (stream,) = public.tunnel._link._streams.values()
        local.writer.transport.pause_reading()
        while not stream.sink._unaccepted:
            await visitor.send(b"4000\r\n" + bytes(0x4000) + b"\r\n")
            await public.ask(UNKNOWN)
        await visitor.send(b"0\r\n\r\n")
        await until(lambda: stream.got_end)
        await local.send(OK)

        assert (await visitor.answer()).body == b"ok"
        assert all_is_accepted(public.tunnel._link)


async def test_refusals_that_arent_read_hold_up_what_was_asked_behind_them():
    asked = 5000

    async with an_app() as app, a_public(app) as public:
        await public.ask(UNKNOWN)  # held: the relay is new, tunnels may come back
        visitor = await public.visit_slowly()
        visitor.writer.write(UNKNOWN * asked)
        (one,) = at_relay(public)
        await until(lambda: not one.is_writable)
        await public.ask(UNKNOWN)

        assert one.transport.get_write_buffer_size() < 100_000
        for _ in range(asked):
            assert (await visitor.answer()).status == 404


# Crowds


async def test_too_many_connections_of_one_address_are_refused_until_one_leaves():
    relay = {"max_connections_per_address": 2}

    async with an_app() as app, a_public(app, relay=relay) as public:
        first, second, third = [await public.visit() for _ in range(3)]
        refusal = await third.answer()

        assert (refusal.status, refusal.values(b"retry-after")) == (503, [b"5"])
        await third.ended()
        third.close()
        for visitor in (first, second):
            await visitor.send(request())
            assert (await visitor.answer()).body == b"ok"
        first.close()
        await until(lambda: len(at_relay(public)) == 1)
        assert (await public.ask(request())).body == b"ok"


@pytest.mark.skipif(sys.platform != "linux", reason="needs all of 127.0.0.0/8")
async def test_one_address_that_has_too_many_doesnt_keep_another_one_out():
    relay = {"max_connections_per_address": 1}

    async with an_app() as app, a_public(app, relay=relay) as public:
        await public.visit()
        other = await public.ask(request(), local_addr=("127.0.0.2", 0))

        assert other.body == b"ok"


async def test_a_trusted_proxy_has_everybodys_connections():
    relay = {"max_connections_per_address": 1, "trusted_proxies": ("127.0.0.1",)}

    async with an_app() as app, a_public(app, relay=relay) as public:
        await public.visit()

        assert (await public.ask(request())).body == b"ok"


@pytest.mark.skipif(sys.platform != "linux", reason="needs all of 127.0.0.0/8")
async def test_too_many_connections_in_all_are_refused():
    async with an_app() as app, a_public(app, relay={"max_connections": 2}) as public:
        await public.visit()
        await public.visit(local_addr=("127.0.0.2", 0))
        third = await public.visit(local_addr=("127.0.0.3", 0))

        assert (await third.answer()).status == 503


async def test_a_tunnels_link_doesnt_count_as_a_visitor():
    async with an_app() as app, a_public(app, relay={"max_connections": 1}) as public:
        assert (await public.ask(request())).body == b"ok"


@pytest.mark.parametrize(
    "head",
    [
        request(first=b"GET /_qemu/health HTTP/1.1", host=b"localhost"),
        request(
            b"Connection: Upgrade",
            b"Upgrade: websocket",
            b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
            first=b"GET /_qemu/link HTTP/1.1",
        ),
    ],
    ids=["the API", "a link without a HELLO"],
)
async def test_what_the_relay_answers_itself_counts_as_a_visitor(head):
    relay = {"max_connections": 2, "max_connections_per_address": 1}

    async with an_app() as app, a_public(app, relay=relay) as public:
        first = await public.visit()
        await first.send(head)
        assert b" 503 " not in await first.head()
        second = await public.visit()
        assert (await second.answer()).status == 503
        second.close()
        first.close()
        await until(lambda: public.relay._public.connections == 0)

        assert (await public.ask(request())).body == b"ok"
