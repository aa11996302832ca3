"""The world around one run of ``qemu tunnel`` or ``qemu relay``.

Stands for whoever stops it, and for the relay or the tunnel itself.
"""

import asyncio
import inspect

from emulator.cli import foreground
from emulator.cli.process import Stop
from tunnel.errors import RelayRefused
from tunnel.events import Connected
from tunnel.relay import Relay

PATTERN = "http://<name>.localhost:8000"


class Backstage:
    """Asks for ``stops`` one by one: when all ``happenings`` have been told, and again
    when an end has begun.

    A happening is an event to tell, or a function of this, which may be a coroutine's.
    """

    def __init__(self):
        self.stops = [Stop.INTERRUPT]
        self.happenings = []
        self.start_error = None
        self.drains = False
        self.drained_s = None
        self.settings = None
        self.ask = None

    def heed_signals(self, ask):
        self.ask = ask

    def ask_next(self):
        if self.stops:
            self.ask(self.stops.pop(0))

    def on_stage(self, monkeypatch):
        monkeypatch.setattr(foreground, "heed_signals", self.heed_signals)
        monkeypatch.setattr(foreground, "heed_reader", lambda *args: None)
        monkeypatch.setattr(foreground, "configure_logging", lambda *args, **kw: None)

    async def perform(self, tell):
        for happening in self.happenings:
            if not callable(happening):
                tell(happening)
            elif inspect.iscoroutinefunction(happening):
                await happening(self)
            else:
                happening(self)
        self.ask_next()

    async def drain(self, drain_s):
        self.drained_s = drain_s
        self.ask_next()
        if self.drains and drain_s:
            await asyncio.Event().wait()


class IdleRelay(Backstage):
    """A relay that nobody connects to."""

    def make(self, settings, *, on_event, listener):
        self.settings, self.listener = settings, listener
        self.tell = on_event
        self._named = Relay(settings)
        return self

    url = property(lambda self: self._named.url)
    link_url = property(lambda self: self._named.link_url)
    pattern = property(lambda self: self._named.pattern)
    port = property(lambda self: self._named.port)

    async def start(self):
        if self.start_error is not None:
            raise self.start_error
        asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self):
        self._performance = asyncio.ensure_future(self.perform(self.tell))

    async def stop(self, *, drain_s):
        await self.drain(drain_s)


class IdleTunnel(Backstage):
    """A tunnel that connects at once, without a network."""

    def __init__(self):
        super().__init__()
        self.connected = Connected(
            "https://brave-otter.relay.example.dev",
            "relay.example.dev",
            41.0,
            is_again=False,
            is_same_address=False,
        )
        self.refusal = None
        self.is_stopped = False

    def make(self, settings, *, inspector, verify, on_event):
        self.settings, self.inspector, self.verify = settings, inspector, verify
        self.tell = on_event
        return self

    async def start(self):
        if self.start_error is not None:
            raise self.start_error
        if self.connected is not None:
            self.tell(self.connected)

    async def run_until_refused(self):
        await self.perform(self.tell)
        if self.refusal is not None:
            raise RelayRefused(self.refusal)
        await asyncio.Event().wait()

    async def stop(self):
        await self.drain(1.0)
        self.is_stopped = True

    def exchange(self, target=b"/api/hook", *, status=200, finishes=True):
        """Let a request come."""
        head = b"POST " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n"
        exchange = self.inspector.begin(b"203.0.113.7", b"https", head, "https://a", 0)
        if finishes:
            exchange.answer_head(b"HTTP/1.1 %d X\r\n\r\n" % status)
            exchange.finish(12)
        return exchange
