"""The client for ``https://``: aiohttp's, which brings TLS.

The only file that uses aiohttp's client. It can speak ``http://`` as well, which is
what our own client is compared with (tests/transport/test_differential.py). Follows no
redirect (DLV-15), retries what aiohttp retries, and waits for a file descriptor where
there is none.
"""

from __future__ import annotations

import asyncio
import io
import ssl
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from emulator.core.gzip_body import GzipBody
from emulator.core.header_map import build
from emulator.core.model import Outcome, Outgoing, Responded, Unreachable
from emulator.transport import descriptors, reasons
from emulator.transport.request import Origin

__all__ = ["TlsClient"]

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


class _NotGzip(ValueError):
    """A body that says it is gzip, and isn't."""


class TlsClient:
    """HTTP/1.1 calls over pooled keep-alive connections, by aiohttp."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def send(self, request: Outgoing, origin: Origin, target: str) -> Outcome:
        """Make one call. Whatever a destination does comes back as a value."""
        while True:
            try:
                return await self._call(request, origin, target)
            except aiohttp.ClientConnectorError as error:
                # The lookup of a name doesn't say that it could open nothing.
                is_lookup = isinstance(error, aiohttp.ClientConnectorDNSError)
                if not (
                    descriptors.is_out_of_descriptors(error.os_error)
                    or (is_lookup and descriptors.are_out())
                ):
                    return _explain(error)
                await asyncio.sleep(descriptors.PAUSE_S)
            except (aiohttp.ClientError, OSError, ValueError) as error:
                return _explain(error)

    async def _call(self, request: Outgoing, origin: Origin, target: str) -> Responded:
        if self._session is None:
            self._session = _session()
        headers = CIMultiDict(request.headers)
        headers["Host"] = request.host or origin.host
        if origin.authorization is not None and "Authorization" not in headers:
            headers["Authorization"] = origin.authorization
        body = request.body
        async with self._session.request(
            request.method,
            _url(origin, target),
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


def _url(origin: Origin, target: str) -> URL:
    """Return what to call, as the publisher wrote it (PUB-4, PUB-5).

    All that follows the host is taken for a path: yarl would drop a ``?`` at the end.
    """
    host, port = origin.place
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return URL.build(
        scheme=origin.scheme, authority=authority, path=target, encoded=True
    )


async def _read(response: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
    """Read a response to its end (DLV-20), and keep what the plan allows (CBK-23)."""
    if response.headers.get("Content-Encoding", "").strip().lower() == "gzip":
        body = GzipBody(limit_bytes)
        async for chunk in _chunks(response):
            try:
                body.feed(chunk)
            except ValueError as error:
                raise _NotGzip(str(error)) from None
        try:
            return body.finish()
        except ValueError as error:
            raise _NotGzip(str(error)) from None
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


def _explain(error: Exception) -> Unreachable:
    """Say in one line what kept a call from being answered (DLV-16)."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return reasons.unresolved(error.host)
        case aiohttp.ClientConnectorCertificateError():
            detail = reasons.first_line(error)
            return Unreachable(
                f"TLS certificate of {error.host} not accepted: {detail}"
            )
        case aiohttp.ClientConnectorSSLError() | ssl.SSLError():
            return Unreachable(f"TLS failed: {reasons.first_line(error)}")
        case aiohttp.ClientConnectorError():
            reason = reasons.os_reason(error.os_error)
            return Unreachable(f"{error.host}:{error.port}: {reason}")
        case aiohttp.ServerDisconnectedError():
            return reasons.unanswered()
        case aiohttp.ClientPayloadError():
            return reasons.broken_off(reasons.first_line(error))
        case aiohttp.ClientResponseError():
            reason = error.message.strip().partition("\n")[0].rstrip(":")
            return reasons.not_http(reason)
        case OSError():
            return Unreachable(reasons.os_reason(error))
        case aiohttp.ClientError():
            return Unreachable(f"{type(error).__name__}: {reasons.first_line(error)}")
        case _NotGzip():
            return reasons.not_readable(str(error))
        case _:
            return reasons.not_sendable(reasons.first_line(error))
