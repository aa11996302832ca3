"""The way to destinations: one HTTP call in, one ``Outcome`` out.

The only file that uses aiohttp's client. It follows no redirect (DLV-15), retries
nothing, signs nothing and watches no clock: the engine cancels a call that takes too
long.
"""

from __future__ import annotations

import asyncio
import io
import re
import socket
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from functools import lru_cache
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote_to_bytes

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from emulator.core.gzip_body import GzipBody
from emulator.core.header_map import build
from emulator.core.model import Outcome, Outgoing, Responded, Unreachable

__all__ = ["HttpTransport"]

_KEEP_IDLE_S = 1.0
"""How long a connection is kept for the next delivery.

Shorter than the keep-alive of the usual servers (gunicorn 2 s, Node.js and uvicorn
5 s): a connection that the destination closes just as a delivery starts on it would
be a failed delivery that no production system sees.
"""

_MAX_HEADER_BYTES = 65_536
"""Of a response, a line at a time; the cloud states no limit (Q-33)."""

_LARGE_BYTES = 1_048_576
"""aiohttp warns of larger bodies that are bytes: they are sent as a file."""

_URL = re.compile(r"(https?)://([^/?#]*)([^#]*)", re.IGNORECASE)


class HttpTransport:
    """HTTP/1.1 calls over pooled keep-alive connections."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def send(self, request: Outgoing) -> Outcome:
        """Make one call. Whatever a destination does comes back as a value."""
        if self._session is None:
            self._session = _session()
        headers = CIMultiDict(request.headers)
        if request.host is not None:
            headers["Host"] = request.host
        try:
            url, authorization = _split(request.url)
            if authorization is not None and "Authorization" not in headers:
                headers["Authorization"] = authorization
            body = request.body
            async with self._session.request(
                request.method,
                url,
                headers=headers,
                data=io.BytesIO(body) if len(body) > _LARGE_BYTES else body or None,
                allow_redirects=False,
            ) as response:
                return Responded(
                    status=response.status,
                    header=build(_decoded(response)),
                    body=await _read(response, request.max_response_bytes),
                    reason=response.reason or _phrase(response.status),
                )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Unreachable(_explain(error, request.url))

    async def close(self) -> None:
        """Close the pooled connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0, keepalive_timeout=_KEEP_IDLE_S, ttl_dns_cache=10
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        # Nothing is sent that DLV-2 doesn't list.
        skip_auto_headers=("Accept", "Content-Type", "User-Agent"),
        trust_env=False,
        # What aiohttp decodes depends on what is installed; DLV-7 knows gzip only.
        auto_decompress=False,
        max_line_size=_MAX_HEADER_BYTES,
        max_field_size=_MAX_HEADER_BYTES,
    )


def _decoded(response: aiohttp.ClientResponse) -> list[tuple[str, str]]:
    return [
        (name.decode("latin-1"), value.decode("utf-8", "surrogateescape"))
        for name, value in response.raw_headers
    ]


@lru_cache(maxsize=256)
def _split(text: str) -> tuple[URL, str | None]:
    """Return what to call, and what ``Authorization`` its user information makes.

    All that follows the host is taken for a path: yarl would drop a ``?`` at the end,
    and the target must go out as the publisher wrote it (PUB-4, PUB-5).
    """
    match = _URL.match(text)
    userinfo, mark, host = match[2].rpartition("@") if match else ("", "", "")
    if not match or not host:
        raise aiohttp.InvalidURL(text)
    target = match[3] if match[3].startswith("/") else f"/{match[3]}"
    url = URL.build(scheme=match[1].lower(), authority=host, path=target, encoded=True)
    if not mark:
        return url, None
    user, _, password = userinfo.partition(":")
    credentials = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
    return url, f"Basic {b64encode(credentials).decode('ascii')}"


async def _read(response: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
    """Read a response to its end (DLV-20), and keep what the plan allows (CBK-23)."""
    if response.headers.get("Content-Encoding", "").strip().lower() == "gzip":
        body = GzipBody(limit_bytes)
        async for chunk in _chunks(response):
            body.feed(chunk)
        return body.finish()
    kept = bytearray()
    async for chunk in _chunks(response):
        kept += chunk[: limit_bytes - len(kept)]
    return bytes(kept)


async def _chunks(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Iterate over a body as it arrives; end with an error where it breaks off.

    aiohttp's parser tells nobody when a chunk turns out to be broken after the headers
    were read: it only closes the connection.
    """
    content = response.content
    while True:
        while chunk := content.read_nowait():
            yield chunk
        if content.at_eof():
            return
        connection = response.connection
        more = asyncio.ensure_future(content.readany())
        waited_for: set[asyncio.Future[Any]] = {more}
        if connection is not None and connection.protocol is not None:
            closed = connection.protocol.closed
            if closed is not None:
                waited_for.add(closed)
        try:
            await asyncio.wait(waited_for, return_when=asyncio.FIRST_COMPLETED)
            if not more.done():
                raise aiohttp.ClientPayloadError("it isn't HTTP")
            yield more.result()
        except RuntimeError as error:  # aiohttp's word for a connection that is gone
            raise aiohttp.ClientPayloadError(str(error)) from error
        finally:
            more.cancel()


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _explain(error: Exception, url: str) -> str:
    """Say in one line what kept a call from being answered (DLV-16)."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return f"can't resolve host {error.host}"
        case aiohttp.ClientConnectorCertificateError():
            return f"TLS certificate of {error.host} not accepted: {_first_line(error)}"
        case aiohttp.ClientConnectorSSLError() | ssl.SSLError():
            return f"TLS failed: {_first_line(error)}"
        case aiohttp.ClientConnectorError():
            return f"{error.host}:{error.port}: {_os_reason(error.os_error)}"
        case aiohttp.ServerDisconnectedError():
            return "the destination closed the connection without an answer"
        case aiohttp.ClientPayloadError():
            return f"the destination broke off its answer: {_first_line(error)}"
        case aiohttp.InvalidURL():
            return f"can't call {url}"
        case aiohttp.ClientResponseError():
            reason = error.message.strip().partition("\n")[0].rstrip(":")
            return f"the destination's answer isn't HTTP: {reason}"
        case OSError():
            return _os_reason(error)
        case _:
            return f"{type(error).__name__}: {_first_line(error)}"


def _os_reason(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ConnectionResetError):
        return "connection reset by the destination"
    if isinstance(error, socket.gaierror):
        return "can't resolve the host"
    return error.strerror or _first_line(error)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
