"""The tunnel: a local port's way to its public address, kept up for ever.

Keeps one link to the relay. When it is lost the session waits, and goes on with the
next link: the name, the address and the requests under way stay. A refusal ends it;
anything else is tried again, sooner at first, every ten seconds in the long run, and at
once when the machine wakes from sleep.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from types import TracebackType
from urllib.parse import urlsplit

from tunnel.allocation import keep_freed_blocks
from tunnel.call import Call, Calls, Verify
from tunnel.downlink import Downlink
from tunnel.errors import RelayRefused, RelayUnreachable, WireError
from tunnel.events import (
    Connected,
    Exchanged,
    LocalAway,
    LocalBack,
    Lost,
    Trying,
    TunnelEvent,
)
from tunnel.exchange import Exchange
from tunnel.inspector import Inspector
from tunnel.link import Link, Stream
from tunnel.local import LocalServer
from tunnel.settings import TunnelSettings
from tunnel.wire import (
    CLOSE_BAD_FRAME,
    CLOSE_REFUSED,
    CLOSE_REPLACED,
    PROTOCOL_VERSION,
    SECURE,
    ResetCode,
    decode_open,
)

__all__ = ["Tunnel"]

_WATCH_S = 1.0

_CLOCK_JUMP_S = 5.0
"""By so much more than it waited, the wall clock must have moved: it was asleep."""

_NORMAL_CLOSE = 1000

_LEAVING_S = 0.05
"""How often a link that is to be closed is looked at, whether nothing needs it."""


class Tunnel:
    """A running tunnel.

    ``inspector`` keeps the exchanges (one of its own if not given); ``verify`` decides
    by head, body and public URL which requests reach the app; ``on_event`` hears what
    happens; ``token_bytes`` is chance.
    """

    def __init__(
        self,
        settings: TunnelSettings,
        *,
        inspector: Inspector | None = None,
        verify: Verify | None = None,
        on_event: Callable[[TunnelEvent], None] | None = None,
        token_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.settings = settings
        self.inspector = Inspector() if inspector is None else inspector
        self.url = ""
        """The public URL, once connected. It stays the same."""
        self.name = settings.name
        self._verify = verify
        self._on_event = on_event
        self._token_bytes = token_bytes
        self._link: Link | None = None
        self._downlink: Downlink | None = None
        self._session: str | None = None
        self._calls: Calls | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._first: asyncio.Future[None] | None = None
        self._wake = asyncio.Event()
        self._watcher: asyncio.TimerHandle | None = None
        self._pinged_s = 0.0

    @property
    def exchanges(self) -> Inspector:
        """The latest exchanges."""
        return self.inspector

    # Its life

    async def __aenter__(self) -> Tunnel:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Connect; return once the public URL is known.

        An unreachable relay is tried again for ever (``on_event`` hears of it). Raises
        ``RelayRefused``.
        """
        keep_freed_blocks()
        settings = self.settings
        loop = asyncio.get_running_loop()
        server = LocalServer(
            settings.local_url,
            hold_s=settings.local_hold_s,
            on_away=self._local_away,
        )
        self._calls = Calls(
            server=server,
            now_ms=_wall_ms,
            finished=self._finished,
            verify=self._verify,
            max_verified_bytes=settings.max_body_bytes,
        )
        self._first = loop.create_future()
        self._keeper = asyncio.ensure_future(self._keep_up())
        self._watch(time.time(), loop.time())
        try:
            await asyncio.shield(self._first)
        except BaseException:
            await self.stop()
            raise

    async def run_until_refused(self) -> None:
        """Wait until the relay refuses the tunnel: raises ``RelayRefused``."""
        assert self._keeper is not None
        await asyncio.shield(self._keeper)

    async def stop(self) -> None:
        """Close the link; requests under way are cut off."""
        keeper, self._keeper = self._keeper, None
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None
        if keeper is not None:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
        if self._downlink is not None:
            self._downlink.close(_NORMAL_CLOSE, "the tunnel is closed")
            self._downlink = None
        if self._link is not None:
            self._link.end(ResetCode.LINK, "the tunnel is closed")
            self._link = None
        if self._calls is not None:
            await self._calls.server.close()

    # The link

    async def _keep_up(self) -> None:
        """Connect, and connect again. Raises ``RelayRefused``."""
        assert self._first is not None
        times = self.settings.link
        loop = asyncio.get_running_loop()
        wait_s = times.first_wait_s
        is_steady = True
        try:
            while True:
                began_s = loop.time()
                try:
                    downlink = await self._connect()
                except RelayUnreachable as error:
                    pause_s = self._with_jitter(wait_s)
                    wait_s = min(wait_s * 2, times.longest_wait_s)
                    self._tell(Trying(error.reason, pause_s))
                    await self._pause(pause_s)
                    continue
                if not self._first.done():
                    self._first.set_result(None)
                code, reason = await downlink.lost
                if code in (CLOSE_REFUSED, CLOSE_REPLACED):
                    raise RelayRefused(reason)
                # At once, unless the link before this one didn't last either.
                pause_s = 0.0
                if loop.time() - began_s >= times.longest_wait_s:
                    is_steady, wait_s = True, times.first_wait_s
                elif is_steady:
                    is_steady = False
                else:
                    pause_s = self._with_jitter(wait_s)
                    wait_s = min(wait_s * 2, times.longest_wait_s)
                self._tell(Lost(code, reason, pause_s))
                if pause_s:
                    await self._pause(pause_s)
        except RelayRefused as error:
            if not self._first.done():
                self._first.set_exception(error)
                return
            raise

    def _with_jitter(self, wait_s: float) -> float:
        """Return half a wait to a whole one: not all tunnels come at once."""
        chance = int.from_bytes(self._token_bytes(2)) / 0xFFFF
        return wait_s * (0.5 + chance / 2)

    async def _pause(self, pause_s: float) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(pause_s):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _connect(self) -> Downlink:
        loop = asyncio.get_running_loop()
        downlink = Downlink(
            self.settings.relay,
            on_goodbye=self._goodbye,
            token_bytes=self._token_bytes,
        )
        link = self._link
        began_s = loop.time()
        welcome = await downlink.open(
            {
                "version": PROTOCOL_VERSION,
                "token": self.settings.token,
                "name": self.name,
                "session": self._session,
                "seen": 0 if link is None else link.seen,
                "policy": self.settings.policy.to_json(),
            },
            tls=self.settings.tls,
        )
        round_trip_ms = (loop.time() - began_s) * 1000
        before, self._downlink = self._downlink, downlink
        if before is not None:
            before.abort()
        is_again, url_before = self._session is not None, self.url
        try:
            self._session = str(welcome["session"])
            self.name = str(welcome["name"])
            self.url = str(welcome["url"])
            seen = int(welcome["seen"])
            is_resumed = bool(welcome["resumed"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            downlink.abort()
            raise RelayUnreachable(
                self.settings.relay, f"its WELCOME can't be read: {error}"
            ) from error
        if link is None or not is_resumed:
            if link is not None:
                link.end(ResetCode.LINK, "the relay has forgotten the session")
            link = self._link = Link(
                now_s=loop.time, on_ready=self._ready, on_open=self._open
            )
        else:
            try:
                link.resume(seen)
            except WireError as error:
                # Neither side can know what the other has seen: begin anew.
                self._session = None
                link.end(ResetCode.LINK, "the session can't go on")
                downlink.abort()
                raise RelayUnreachable(self.settings.relay, str(error)) from error
        downlink.attach(link)
        self._tell(
            Connected(
                self.url,
                urlsplit(self.settings.relay).netloc,
                round_trip_ms,
                is_again=is_again,
                is_same_address=self.url == url_before,
            )
        )
        self._pinged_s = loop.time()
        link.ping()
        return downlink

    def _goodbye(self, why: str) -> None:
        """The relay stops, or wants the link elsewhere: look for it there."""
        downlink, link = self._downlink, self._link
        if downlink is not None and link is not None:
            # Requests may be on their way, sent before the relay said so.
            delay_s = max(_LEAVING_S, 2 * link.round_trip_s)
            why = why or "the relay asked for another link"
            asyncio.get_running_loop().call_later(delay_s, self._leave, downlink, why)

    def _leave(self, downlink: Downlink, why: str) -> None:
        """Close a link when the requests under way have been answered; else look again.

        They have no other way back. A relay that won't wait closes it itself.
        """
        if downlink is not self._downlink or downlink.lost.done():
            return
        is_needed = self._link is not None and self._link.open_streams > 0
        if is_needed or not downlink.flush():
            loop = asyncio.get_running_loop()
            loop.call_later(_LEAVING_S, self._leave, downlink, why)
            return
        downlink.close(_NORMAL_CLOSE, why)

    def _ready(self) -> None:
        if self._downlink is not None:
            self._downlink.flush_soon()

    def _watch(self, wall_s: float, monotonic_s: float) -> None:
        """Each second: is the relay alive, and has this machine been asleep?"""
        loop = asyncio.get_running_loop()
        now_wall_s, now_s = time.time(), loop.time()
        downlink, times = self._downlink, self.settings.link
        if now_wall_s - wall_s > max(now_s - monotonic_s, 0.0) + _CLOCK_JUMP_S or (
            now_s - monotonic_s > _WATCH_S + _CLOCK_JUMP_S
        ):
            self._wake.set()
            if downlink is not None:
                downlink.abort()
        elif downlink is not None and not downlink.lost.done():
            if now_s - downlink.heard_s >= times.silence_s:
                downlink.abort()
            elif now_s - self._pinged_s >= times.ping_s and self._link is not None:
                self._pinged_s = now_s
                self._link.ping()
        self._watcher = loop.call_later(
            min(_WATCH_S, times.ping_s), self._watch, now_wall_s, now_s
        )

    # Requests

    def _open(self, stream: Stream, payload: bytes, is_last: bool) -> None:
        """A request has come."""
        head, body, peer, flags, _ = decode_open(payload)
        assert self._calls is not None
        exchange = self.inspector.begin(
            peer,
            b"https" if flags & SECURE else b"http",
            head,
            self.url,
            _wall_ms(),
        )
        try:
            call = Call(self._calls, stream, head, flags, exchange)
        except ValueError as error:
            raise WireError(CLOSE_BAD_FRAME, "an OPEN frame without a head") from error
        stream.sink = call
        call.begin(body, is_last=is_last, url=self.url)

    def _local_away(self, reason: str | None) -> None:
        if reason is None:
            self._tell(LocalBack())
        else:
            self._tell(LocalAway(reason, self.settings.local_hold_s))

    def _finished(self, exchange: Exchange) -> None:
        self._tell(Exchanged(exchange))

    def _tell(self, event: TunnelEvent) -> None:
        if self._on_event is not None:
            self._on_event(event)


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
