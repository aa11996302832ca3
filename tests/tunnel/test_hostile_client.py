"""A tunnel client that lies: the visitor's connection must stay in step, or end.

The client speaks the link by hand. A proxy before the relay may send the requests of
many people, for many tunnels, on one connection: no client may put bytes into the
answer to somebody else's.
"""

import asyncio
from contextlib import asynccontextmanager

import pytest
import websockets

from tests.tunnel.raw import (
    LIMIT_S,
    BrokenOff,
    a_public,
    an_app,
    request,
)
from tunnel.wire import (
    FIN,
    Kind,
    decode_frames,
    decode_json,
    encode_frame,
    encode_head,
    encode_json,
    encode_ping,
    encode_reset,
)

EVIL = b"evil.localhost"
FORGED = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"


class Liar:
    """A client that sends what it is told."""

    def __init__(self, socket):
        self._socket = socket

    async def hello(self):
        hello = {"version": 1, "name": "evil", "policy": None}
        await self.send(encode_frame(0, Kind.HELLO, encode_json(hello)))
        (_, kind, _, payload) = next(decode_frames(await self._socket.recv()))
        assert kind == Kind.WELCOME
        return decode_json(payload)

    async def send(self, *frames):
        await self._socket.send(b"".join(frames))

    async def opened(self):
        """Return the number of the next stream that the relay opens."""
        return await self._heard(Kind.OPEN)

    async def settled(self):
        """Wait until the relay has taken in everything."""
        await self.send(encode_frame(0, Kind.PING, encode_ping(1, 1)))
        await self._heard(Kind.PONG)

    async def _heard(self, wanted):
        async with asyncio.timeout(LIMIT_S):
            while True:
                for number, kind, _, _ in decode_frames(await self._socket.recv()):
                    if kind == wanted:
                        return number


@asynccontextmanager
async def a_liar(**relay):
    """Run a relay with an honest tunnel and a liar's."""
    async with (
        an_app() as app,
        a_public(app, relay=relay) as public,
        websockets.connect(
            f"ws://localhost:{public.relay.port}/_qemu/link",
            compression=None,
            max_queue=None,
        ) as socket,
    ):
        liar = Liar(socket)
        await liar.hello()
        yield liar, public


async def answer_or_none(visitor, method=b"GET"):
    """Return the answer, or ``None`` if the connection ends first."""
    try:
        return await visitor.answer(method)
    except BrokenOff:
        return None


def head(*lines, first=b"HTTP/1.1 200 OK"):
    return b"".join(line + b"\r\n" for line in (first, *lines, b""))


def answers(raw, body=b"", *, is_last=False):
    """A HEAD frame of the stream whose number comes later."""
    kind = Kind.HEAD | FIN if is_last else Kind.HEAD
    return kind, encode_head(raw, body)


def data(payload):
    return Kind.DATA, payload


def end(trailers=b""):
    return Kind.DATA | FIN, trailers


UPGRADED = (Kind.UPGRADED, b"")
COUNTED = head(b"Content-Length: 2")
CHUNKED = head(b"Transfer-Encoding: chunked")
OPEN_ENDED = head()
SWITCHED = head(b"Upgrade: raw", first=b"HTTP/1.1 101 Switching")

LIES = {
    "two heads": [answers(COUNTED), answers(FORGED), data(b"ok"), end()],
    "a head behind a whole body": [
        answers(COUNTED, b"ok"),
        answers(FORGED[:-6], b"forged", is_last=True),
    ],
    "two heads, without bodies": [
        answers(head(b"Content-Length: 0")),
        answers(head(b"Content-Length: 0")),
        end(),
    ],
    "a head in a chunked body": [answers(CHUNKED, b"a"), answers(FORGED), end()],
    "a body before its head": [data(FORGED), answers(COUNTED, b"ok", is_last=True)],
    "a body without a head": [data(FORGED), end()],
    "an end without a head": [end()],
    "an end with trailers and without a head": [end(FORGED)],
    "a body that is too long": [answers(COUNTED, b"ok" + FORGED, is_last=True)],
    "data that are too long": [answers(COUNTED), data(b"ok" + FORGED), end()],
    "more data than there is left": [answers(COUNTED, b"ok"), data(FORGED), end()],
    "a body that is too short": [answers(COUNTED, b"o", is_last=True)],
    "data that are too short": [answers(COUNTED), data(b"o"), end()],
    "no body where one is counted": [answers(COUNTED, is_last=True)],
    "Content-Length and chunks": [
        answers(head(b"Content-Length: 2", b"Transfer-Encoding: chunked"), b"ok"),
        data(FORGED),
        end(),
    ],
    "two lengths": [
        answers(head(b"Content-Length: 2", b"Content-Length: 3"), b"ok", is_last=True)
    ],
    "a negative length": [answers(head(b"Content-Length: -2"), b"ok", is_last=True)],
    "a coding of its own": [
        answers(head(b"Transfer-Encoding: xchunked"), b"ok", is_last=True)
    ],
    "a coding before chunked": [
        answers(head(b"Transfer-Encoding: gzip, chunked"), b"ok", is_last=True)
    ],
    "a forged answer as trailers": [
        answers(CHUNKED, b"a"),
        end(b"\r\n" + FORGED),
    ],
    "a forged answer behind a trailer": [
        answers(CHUNKED, b"a"),
        end(b"A: b\r\n\r\n" + FORGED),
    ],
    "a trailer without an end": [answers(CHUNKED, b"a"), end(b"A: b")],
    "a trailer that frames": [answers(CHUNKED), end(b"Content-Length: 5\r\n")],
    "trailers behind a body that has none": [answers(COUNTED, b"ok"), end(FORGED)],
    "trailers behind an open end": [answers(OPEN_ENDED, b"a"), end(b"\r\n" + FORGED)],
    "two heads in one": [answers(head(b"Content-Length: 0") + FORGED, is_last=True)],
    "a head with a bare LF": [
        answers(b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", is_last=True)
    ],
    "a head with a fold": [answers(head(b"A: b", b" c"), is_last=True)],
    "a head with a NUL": [answers(head(b"A: \x00"), is_last=True)],
    "a head that isn't one": [answers(b"forged\r\n\r\n", is_last=True)],
    "an empty head": [answers(b"", is_last=True)],
    "a body where there can't be one": [
        answers(head(first=b"HTTP/1.1 204 No Content"), FORGED, is_last=True)
    ],
    "data where there can't be any": [
        answers(head(first=b"HTTP/1.1 304 Not Modified")),
        data(FORGED),
        end(),
    ],
    "an unasked 101": [answers(SWITCHED), UPGRADED, data(FORGED)],
    "an unasked 101 that ends": [answers(SWITCHED, is_last=True)],
    "an upgrade without a head": [UPGRADED, data(FORGED)],
    "an upgrade behind a 200": [answers(COUNTED), UPGRADED, data(FORGED)],
    "an interim answer that is the last": [
        answers(head(first=b"HTTP/1.1 103 Early"), is_last=True)
    ],
    "data behind an interim answer": [
        answers(head(first=b"HTTP/1.1 103 Early")),
        data(FORGED),
        end(),
    ],
    "an interim answer inside an answer": [
        answers(COUNTED, b"o"),
        answers(head(first=b"HTTP/1.1 103 Early")),
        data(b"k"),
        end(),
    ],
}


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("lie", LIES)
async def test_no_lie_gets_into_the_answer_to_another_request(lie, method):
    async with a_liar() as (liar, public):
        visitor = await public.visit()
        await visitor.send(request(first=method + b" / HTTP/1.1", host=EVIL))
        number = await liar.opened()
        await liar.send(*(encode_frame(number, *frame) for frame in LIES[lie]))

        # An end that is seen is all right.
        if await answer_or_none(visitor, method):
            await visitor.send(request())
            second = await answer_or_none(visitor)
            assert second is None or (second.status, second.body) == (200, b"ok")


@pytest.mark.parametrize(
    "lie",
    [
        "a body before its head",
        "an end without a head",
        "Content-Length and chunks",
        "a head with a NUL",
        "an empty head",
        "an unasked 101",
        "an upgrade without a head",
        "an interim answer that is the last",
        "data behind an interim answer",
    ],
)
async def test_a_lie_that_nothing_has_been_seen_of_is_answered_with_502(lie):
    async with a_liar() as (liar, public):
        visitor = await public.visit()
        await visitor.send(request(host=EVIL))
        number = await liar.opened()
        await liar.send(*(encode_frame(number, *frame) for frame in LIES[lie]))
        answer = await visitor.answer()

        assert (answer.status, answer.values(b"qemu-error")) == (502, [b"local"])


@pytest.mark.parametrize(
    "lie",
    [
        "a body that is too short",
        "data that are too short",
        "a forged answer as trailers",
        "a trailer without an end",
        "two heads",
        "an interim answer inside an answer",
    ],
)
async def test_an_answer_that_goes_wrong_never_looks_whole(lie):
    async with a_liar() as (liar, public):
        visitor = await public.visit()
        await visitor.send(request(host=EVIL))
        number = await liar.opened()
        await liar.send(*(encode_frame(number, *frame) for frame in LIES[lie]))

        with pytest.raises(BrokenOff):
            await visitor.answer()


@pytest.mark.parametrize(
    "frames",
    [
        [answers(SWITCHED, is_last=True)],
        [answers(SWITCHED), end()],
        [answers(SWITCHED), data(FORGED)],
        [answers(SWITCHED, FORGED), UPGRADED],
        [answers(SWITCHED), answers(FORGED), UPGRADED],
    ],
)
async def test_a_101_that_isnt_followed_up_ends_the_connection(frames):
    async with a_liar() as (liar, public):
        visitor = await public.visit()
        await visitor.send(request(b"Connection: Upgrade", b"Upgrade: raw", host=EVIL))
        number = await liar.opened()
        await liar.send(*(encode_frame(number, *frame) for frame in frames))

        answer = await answer_or_none(visitor)

        if answer is None or answer.status == 101:
            # To the visitor what it sends from now on is anything but HTTP.
            await visitor.ended()
        else:
            assert answer.status == 502


async def test_interim_answers_beyond_what_a_visitor_reads_are_dropped():
    interim = answers(head(b"A: " + b"x" * 3000, first=b"HTTP/1.1 103 Early"))
    flood = 200

    async with a_liar() as (liar, public):
        visitor = await public.visit_slowly()
        await visitor.send(request(host=EVIL))
        number = await liar.opened()
        for _ in range(flood):
            await liar.send(encode_frame(number, *interim))
        await liar.settled()
        await liar.send(encode_frame(number, *answers(COUNTED, b"ok", is_last=True)))
        answer = await visitor.answer()

        assert answer.body == b"ok"
        assert 0 < len(answer.interim) < flood // 2


@pytest.mark.parametrize(
    "frames",
    [
        [answers(COUNTED, b"ok", is_last=True), end(), end()],
        [data(b"x" * 65536)] * 5,
        [(Kind.OPEN, b"")],
        [(Kind.HELLO, b"{}")],
        [(Kind.HEAD, b"\x00")],
        [(Kind.HEAD, b"\xff" * 8)],
        [(Kind.RESET, b"\xff\xff")],
        [(Kind.CREDIT, b"\x00" * 8)],
        [(0x7F, b"")],
    ],
)
async def test_a_broken_rule_of_the_link_ends_the_link_and_no_visitor_hangs(frames):
    async with a_liar() as (liar, public):
        visitor = await public.visit()
        await visitor.send(request(host=EVIL))
        number = await liar.opened()
        await liar.send(*(encode_frame(number, *frame) for frame in frames))

        answer = await answer_or_none(visitor)
        assert answer is None or answer.status in (200, 502, 503)
        assert (await public.ask(request())).body == b"ok"


async def test_a_reset_inside_an_answer_breaks_the_visitors_connection_off():
    async with a_liar() as (liar, public):
        visitor = await public.visit()
        await visitor.send(request(host=EVIL))
        number = await liar.opened()
        await liar.send(
            encode_frame(number, *answers(CHUNKED, b"half")),
            encode_frame(number, Kind.RESET, encode_reset(4, FORGED.decode())),
        )

        with pytest.raises(BrokenOff):
            await visitor.answer()


async def test_the_text_of_a_reset_stays_a_text():
    async with a_liar() as (liar, public):
        visitor = await public.visit()
        await visitor.send(request(host=EVIL))
        number = await liar.opened()
        text = '"}\r\n\r\n' + FORGED.decode()
        await liar.send(encode_frame(number, Kind.RESET, encode_reset(4, text)))
        first = await visitor.answer()
        await visitor.send(request())
        second = await visitor.answer()

        assert first.status == 502
        assert b"\r" not in first.body
        assert second.body == b"ok"
