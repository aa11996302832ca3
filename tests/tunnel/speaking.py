"""A tunnel client by hand: says what a test tells it, and hears what the relay says."""

import asyncio
from contextlib import asynccontextmanager

import websockets
from websockets.exceptions import ConnectionClosed

from tests.tunnel.raw import LIMIT_S, NAME
from tunnel.wire import Kind, decode_frames, decode_json, encode_frame, encode_json


class Speaker:
    """A client's websocket."""

    def __init__(self, socket):
        self.socket = socket
        self._heard = []

    async def say(self, *frames):
        """Send frames, in one message."""
        await self.socket.send(b"".join(frames))

    async def hello(self, **changes):
        """Introduce itself; return what WELCOME says."""
        await self.say(a_hello(**changes))
        _, _, payload = await self.hear(Kind.WELCOME)
        return decode_json(payload)

    async def hear(self, kind):
        """Return stream, FIN and payload of the next frame of a kind."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                while self._heard:
                    stream, found, is_last, payload = self._heard.pop(0)
                    if found == kind:
                        return stream, is_last, payload
                self._heard += decode_frames(await self.socket.recv())

    async def closed(self):
        """Return the code and reason with which the relay closes."""
        async with asyncio.timeout(LIMIT_S):
            try:
                while True:
                    await self.socket.recv()
            except ConnectionClosed as error:
                return (
                    (error.rcvd.code, error.rcvd.reason) if error.rcvd else (1006, "")
                )


def a_hello(**changes):
    """Make a HELLO frame; a value of ``None`` stays, ``...`` leaves a field out."""
    hello = {"version": 1, "name": NAME, "seen": 0} | changes
    told = {key: value for key, value in hello.items() if value is not ...}
    return encode_frame(0, Kind.HELLO, encode_json(told))


@asynccontextmanager
async def speaking(relay, **options):
    """Open a websocket to a relay's link for a ``with`` block."""
    options = {"compression": None, "max_queue": None} | options
    url = f"ws://localhost:{relay.port}/_qemu/link"
    async with websockets.connect(url, **options) as socket:
        yield Speaker(socket)
