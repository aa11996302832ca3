"""The way to destinations: one HTTP call in, one ``Outcome`` out.

The only file that uses aiohttp's client. It follows no redirect (DLV-15), retries
nothing, signs nothing and watches no clock: the engine cancels a call that takes too
long.
"""

from __future__ import annotations

import socket
import ssl
from http import HTTPStatus

import aiohttp
from multidict import CIMultiDict
from yarl import URL

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

_CHUNK_BYTES = 65_536


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
            # `encoded`: the target goes out as the publisher wrote it (PUB-4).
            url = URL(request.url, encoded=True)
            if "Authorization" in headers and url.raw_user is not None:
                url = url.with_user(None)
            async with self._session.request(
                request.method,
                url,
                headers=headers,
                data=request.body or None,
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
        max_line_size=_MAX_HEADER_BYTES,
        max_field_size=_MAX_HEADER_BYTES,
    )


def _decoded(response: aiohttp.ClientResponse) -> list[tuple[str, str]]:
    return [
        (name.decode("latin-1"), value.decode("utf-8", "surrogateescape"))
        for name, value in response.raw_headers
    ]


async def _read(response: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
    """Read a response to its end (DLV-20), and keep what the plan allows (CBK-23)."""
    kept = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        if len(kept) < limit_bytes:
            kept += chunk[: limit_bytes - len(kept)]
    return bytes(kept)


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
            return f"the destination's answer isn't HTTP: {_first_line(error)}"
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
