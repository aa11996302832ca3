"""The keys behind a JWKS URL: fetched, kept, and asked for anew when one is missing.

The edge beside ``tokens.py``: only this file fetches. A set is read within bounds of
time and size, from ``https``, or ``http`` on loopback, and without following
redirects: whoever can answer for the URL can open every tunnel. A fetch that fails
leaves the keys that were there.

Who asks says what time it is.
"""

from __future__ import annotations

import asyncio
import logging
from urllib.parse import urlsplit

import aiohttp

from tunnel.errors import SettingsRefused
from tunnel.grant import Grant
from tunnel.keys import PublicKey, parse_jwks
from tunnel.networks import parse_address
from tunnel.tokens import UnknownKey, Verifier

__all__ = ["FRESH_S", "MAX_JWKS_BYTES", "PAUSE_S", "Jwks", "check_jwks_url"]

MAX_JWKS_BYTES = 1 << 18

PAUSE_S = 60
"""Between two fetches at least: tokens with made-up keys come as often as they like."""

FRESH_S = 3600
"""After which the set is fetched again, so that a key that was withdrawn goes."""

_TIMEOUT_S = 10.0

_log = logging.getLogger("tunnel.jwks")


class Jwks:
    """The keys of one URL."""

    def __init__(self, url: str) -> None:
        """Raises ``SettingsRefused`` for a URL that keys can't be trusted from."""
        check_jwks_url(url)
        self.url = url

        self.keys: tuple[PublicKey, ...] = ()
        """Those of the last fetch that succeeded."""

        self._tried_s: int | None = None  # The last fetch, also one that failed.
        self._fetch: asyncio.Task[None] | None = None  # Shared by all who wait.

    async def verify(self, verifier: Verifier, token: str, now_s: int) -> Grant:
        """Verify a token by the verifier's keys and these, fetching them if need be.

        ``now_s`` is the Unix time. Raises ``TokenRefused``.
        """
        if self._is_older_than(FRESH_S, now_s):
            await self.refresh(now_s)
        try:
            return verifier.with_keys(self.keys).verify(token, now_s)
        except UnknownKey:
            if not self._is_older_than(PAUSE_S, now_s) and self._fetch is None:
                raise
        await self.refresh(now_s)
        return verifier.with_keys(self.keys).verify(token, now_s)

    async def refresh(self, now_s: int) -> None:
        """Fetch the keys, or wait for the fetch that is under way. Raises nothing.

        What went wrong is logged: the relay goes on with the keys that it has.
        """
        if self._fetch is None:
            self._tried_s = now_s
            self._fetch = asyncio.create_task(self._replace_keys())
        # One who gives up waiting doesn't end the fetch for the others.
        await asyncio.shield(self._fetch)

    async def close(self) -> None:
        """End a fetch that is under way."""
        if self._fetch is not None:
            self._fetch.cancel()
            await asyncio.gather(self._fetch, return_exceptions=True)

    def _is_older_than(self, age_s: int, now_s: int) -> bool:
        if self._tried_s is None:
            return True
        # A clock that was set back would otherwise keep old keys for long.
        return not 0 <= now_s - self._tried_s < age_s

    async def _replace_keys(self) -> None:
        try:
            self.keys = parse_jwks(await _read(self.url))
        except SettingsRefused as error:
            _log.warning("keys not fetched from %s: %s", self.url, error.reason)
        finally:
            self._fetch = None


def check_jwks_url(url: str) -> None:
    """Raise ``SettingsRefused`` unless keys from this URL can be trusted."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        is_plain = bool(host) and parts.username is None and parts.port != 0
    except ValueError:
        is_plain = False
    if not is_plain:
        raise SettingsRefused("jwks_url", "isn't a URL with a host")
    address = parse_address(host)
    is_loopback = host == "localhost" or (address is not None and address.is_loopback)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback):
        raise SettingsRefused("jwks_url", "must be https: keys must come unaltered")


async def _read(url: str) -> bytes:
    """Return the answer's body. Raises ``SettingsRefused`` with what went wrong."""
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    body = bytearray()
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise SettingsRefused("jwks_url", f"answered {response.status}")
            async for piece in response.content.iter_chunked(1 << 14):
                body += piece
                if len(body) > MAX_JWKS_BYTES:
                    raise SettingsRefused(
                        "jwks_url", f"answered more than {MAX_JWKS_BYTES} bytes"
                    )
    except TimeoutError:
        raise SettingsRefused(
            "jwks_url", f"no answer within {_TIMEOUT_S:.0f} s"
        ) from None
    except (aiohttp.ClientError, ValueError) as error:
        raise SettingsRefused("jwks_url", f"can't be fetched: {error}") from error
    return bytes(body)
