"""A local app of the tests, on a port of its own: records, and answers to the byte."""

import asyncio
from contextlib import asynccontextmanager, suppress

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class App:
    """Answers every connection with what is given, then closes it.

    ``requests`` has what came, heads and bodies as they were. With ``answer=None`` it
    never answers; ``called`` is set when a request has come.
    """

    def __init__(self, answer):
        self._answer = answer
        self.calls = set()
        self.called = asyncio.Event()
        self.requests = []
        self.url = ""

    async def serve(self, reader, writer):
        self.calls.add(asyncio.current_task())
        # A client that has read enough resets the connection.
        with suppress(ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = 0
            for line in head.lower().split(b"\r\n"):
                if line.startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            self.requests.append(head + await reader.readexactly(length))
            self.called.set()
            if self._answer is None:
                await reader.read()
            else:
                writer.write(self._answer)
                await writer.drain()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@asynccontextmanager
async def serving(answer=OK, *, tls=None):
    """Run an app for a ``with`` block."""
    app = App(answer)
    server = await asyncio.start_server(app.serve, "127.0.0.1", 0, ssl=tls)
    app.url = (
        f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    )
    try:
        yield app
    finally:
        server.close()
        await server.wait_closed()
        await asyncio.gather(*app.calls)
