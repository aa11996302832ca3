"""A local server that is away, breaks off, or answers what isn't HTTP.

What a visitor sees then: the answer in the end, a 502 that says what is wrong, or a
connection that breaks; never an answer that looks whole and isn't.
"""

import asyncio
import json
import socket

import pytest

from tests.tunnel.raw import (
    OK,
    App,
    BrokenOff,
    a_public,
    an_app,
    by_hand,
    post,
    request,
    until,
)

FORGED = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"


def error_of(answer):
    """Return status, the part that failed, and the sentence."""
    (part,) = answer.values(b"qemu-error")
    return answer.status, part, json.loads(answer.body)["error"]


async def a_kept_connection(public, app):
    """Let a first request pass; return the visitor and the connection at the app."""
    visitor = await public.visit()
    await visitor.send(request())
    local = await app.called()
    await local.request()
    await local.send(OK)
    await visitor.answer()
    return visitor, local


# Kept connections


@pytest.mark.parametrize("method", [b"GET", b"PUT", b"DELETE", b"HEAD", b"OPTIONS"])
@pytest.mark.parametrize("how", ["close", "reset", "finish"])
async def test_what_meets_a_closing_connection_is_sent_again_if_that_is_safe(
    method, how
):
    async with by_hand() as (public, app):
        visitor, local = await a_kept_connection(public, app)
        first = method + b" /again HTTP/1.1"
        await visitor.send(post(b"body", first=first))
        await local.request()
        getattr(local, how)()
        other = await app.called()
        again = await other.request()
        await other.send(OK)

        assert again.head.startswith(first)
        assert again.body == b"body"
        assert (await visitor.answer(method)).status == 200


@pytest.mark.parametrize("how", ["close", "reset", "finish"])
async def test_a_post_that_meets_a_closing_connection_isnt_sent_twice(how):
    async with by_hand() as (public, app):
        visitor, local = await a_kept_connection(public, app)
        await visitor.send(post(b"pay"))
        await local.request()
        getattr(local, how)()

        assert error_of(await visitor.answer()) == (
            502,
            b"local",
            "local broke off: it closed the connection before it answered",
        )


@pytest.mark.parametrize("how", ["close", "reset", "finish"])
async def test_a_connection_that_was_closed_while_idle_isnt_used(how):
    async with by_hand() as (public, app):
        visitor, local = await a_kept_connection(public, app)
        getattr(local, how)()
        await until_none(public)
        await visitor.send(post(b"pay"))
        other = await app.called()
        await other.request()
        await other.send(OK)

        assert (await visitor.answer()).status == 200


async def test_a_second_break_in_a_row_is_told():
    async with by_hand() as (public, app):
        visitor, local = await a_kept_connection(public, app)
        await visitor.send(request())
        await local.request()
        local.reset()
        other = await app.called()
        await other.request()
        other.reset()

        assert (await visitor.answer()).status == 502


async def until_none(public):
    """Wait until the tunnel has no connection to the app."""
    await until(lambda: not public.tunnel._calls.server.connections)


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"]
)
async def test_a_server_that_ends_too_early_leaves_no_connection_behind(answer):
    async with by_hand() as (public, app):
        visitor = await public.visit()
        await visitor.send(post(b"x"))
        local = await app.called()
        await local.request()
        await local.send(answer)
        local.finish()  # and keeps its side open

        await local.ended()
        await until_none(public)


# Away


async def test_a_server_that_was_never_there_is_told_at_once():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        settings = {"target": f"http://127.0.0.1:{port}"}
        async with an_app() as app, a_public(app, tunnel=settings) as public:
            answer = await public.ask(post(b"x"))

        assert error_of(answer) == (
            502,
            b"local",
            f"local refused: is anything on port {port}?",
        )


async def test_a_server_that_doesnt_speak_tls_is_told_to():
    async def answer(reader, writer):
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    plain = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = plain.sockets[0].getsockname()[1]
    settings = {"target": f"https://127.0.0.1:{port}"}
    async with plain, an_app() as app, a_public(app, tunnel=settings) as public:
        status, part, sentence = error_of(await public.ask(request()))

    assert (status, part) == (502, b"local")
    assert sentence.startswith("local can't be reached: no TLS with it (")


async def test_requests_wait_for_a_server_that_starts_again_and_keep_their_order():
    async with an_app() as app, a_public(app) as public:
        await public.ask(request())
        await app.stop()
        waiting = []
        for number in range(3):
            visitor = await public.visit()
            await visitor.send(post(b"%d" % number))
            waiting.append(visitor)
        again = App()
        await again.start(host="127.0.0.1", port=app.port)

        for visitor in waiting:
            assert (await visitor.answer()).body == b"ok"
        assert sorted(one.body for one in again.arrived) == [b"0", b"1", b"2"]
        await again.stop()


async def test_requests_dont_wait_for_ever():
    async with an_app() as app, a_public(app, tunnel={"local_hold_s": 0.05}) as public:
        await public.ask(request())
        await app.stop()
        first = await public.ask(request())
        second = await public.ask(request())

        assert error_of(first)[:2] == error_of(second)[:2] == (502, b"local")


async def test_a_visitor_who_leaves_while_it_waits_isnt_called_for():
    async with an_app() as app, a_public(app) as public:
        await public.ask(request())
        await app.stop()
        leaving, staying = await public.visit(), await public.visit()
        await leaving.send(post(b"leaves"))
        await staying.send(post(b"stays"))
        await until(lambda: len(public.tunnel._calls.server._waiting) == 2)
        leaving.reset()
        await until(lambda: len(public.tunnel._calls.server._waiting) == 1)
        again = App()
        await again.start(host="127.0.0.1", port=app.port)

        assert (await staying.answer()).body == b"ok"
        assert [one.body for one in again.arrived] == [b"stays"]
        await again.stop()


# Breaks off


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 99_999,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\nx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\nb",
    ],
    ids=lambda answer: repr(answer[17:80]),
)
@pytest.mark.parametrize("how", ["close", "reset"])
async def test_an_answer_that_breaks_off_breaks_the_visitors_connection(answer, how):
    async with by_hand() as (public, app):
        visitor = await public.visit()
        await visitor.send(request())
        local = await app.called()
        await local.request()
        await local.send(answer[:-2])
        await visitor.head()
        await local.send(answer[-2:])
        getattr(local, how)()

        with pytest.raises(BrokenOff):
            await visitor.exactly(1 << 20)


async def test_an_answer_without_a_length_that_is_reset_never_looks_whole():
    async with by_hand() as (public, app):
        visitor = await public.visit()
        await visitor.send(request())
        local = await app.called()
        await local.request()
        await local.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        await visitor.head()
        assert await visitor.chunk() == b"half"
        local.reset()

        with pytest.raises(BrokenOff):
            await visitor.chunk()


# Isn't HTTP


@pytest.mark.parametrize(
    "answer",
    [
        b"garbage\r\n\r\n",
        b"\x00\x01\x02\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\rC: d\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: \x00\r\n\r\n",
        b"HTTP/1.1 200 O\x00K\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\na\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 103 Early\r\nA: b\nC: d\r\n\r\n" + OK,
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 201 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * 66_000 + b"\r\n\r\n",
        b"x" * 70_000,
    ],
    ids=lambda answer: repr(answer[:60]),
)
async def test_what_isnt_http_is_answered_with_502(answer):
    async with an_app() as app, a_public(app) as public:
        app.answer, app.closes = answer, True
        visitor = await public.visit()
        await visitor.send(request())
        status, part, sentence = error_of(await visitor.answer())

        assert (status, part) == (502, b"local")
        assert "local" in sentence
        app.answer, app.closes = OK, False
        await visitor.send(request())
        assert (await visitor.answer()).body == b"ok"


async def test_a_length_that_is_repeated_equally_is_said_once():
    async with an_app() as app, a_public(app) as public:
        lines = b"Content-Length: 2\r\nA: b\r\nContent-Length: 2\r\n"
        app.answer = b"HTTP/1.1 200 OK\r\n" + lines + b"\r\nok"
        answer = await public.ask(request())

        assert answer.values(b"content-length") == [b"2"]
        assert answer.body == b"ok"


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        (b"GET", OK),
        (b"GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 45\r\n\r\n"),
        (b"GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 45\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 45\r\n\r\n"),
    ],
)
async def test_what_follows_an_answer_becomes_nobodys_answer(method, answer):
    async with by_hand() as (public, app):
        visitor = await public.visit()
        await visitor.send(request(first=method + b" / HTTP/1.1"))
        local = await app.called()
        await local.request()
        await local.send(answer + FORGED)
        await visitor.answer(method)
        await visitor.send(request())
        other = await app.called()
        await other.request()
        await other.send(OK)

        assert (await visitor.answer()).body == b"ok"
        await local.ended()


async def test_what_is_sent_unasked_on_a_kept_connection_becomes_nobodys_answer():
    async with by_hand() as (public, app):
        visitor, local = await a_kept_connection(public, app)
        await local.send(FORGED)
        await local.ended()
        await visitor.send(request())
        other = await app.called()
        await other.request()
        await other.send(OK)

        assert (await visitor.answer()).body == b"ok"


async def test_interim_answers_without_end_dont_hold_up_other_requests():
    async with by_hand() as (public, app):
        visitor = await public.visit()
        await visitor.send(request())
        local = await app.called()
        await local.request()
        for _ in range(1000):
            await local.send(b"HTTP/1.1 102 Processing\r\n\r\n")
        other = await public.visit()
        await other.send(request())
        second = await app.called()
        await second.request()
        await second.send(OK)

        assert (await other.answer()).body == b"ok"
        await local.send(OK)
        answer = await visitor.answer()
        assert answer.body == b"ok"
        assert len(answer.interim) == 1000
