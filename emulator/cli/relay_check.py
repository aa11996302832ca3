"""``qemu doctor``'s look at a relay: is it there, and do websockets get through to it?

What stands between a laptop and a relay, a company's proxy or a load balancer, may let
requests pass and websockets not. So one is asked for where tunnels do, and given up
before it would need a token.
"""

from __future__ import annotations

import os
import time
from base64 import b64encode
from hashlib import sha1
from http.client import HTTPException, HTTPResponse
from urllib.parse import urlsplit

from emulator.cli.doctor import Check, Verdict
from emulator.lines import cut, printable

__all__ = ["check_relay"]

_LINK_PATH = "/_qemu/link"

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455, 1.3."""

_SWITCHED = 101


def check_relay(url: str, timeout_s: float) -> Check:
    """Does the relay at a ``ws://`` or ``wss://`` URL take up websockets?"""
    name = f"relay {printable(url[:200])}"
    key = b64encode(os.urandom(16))
    try:
        response, took_ms = _ask(url, key.decode(), timeout_s)
    except (OSError, HTTPException) as error:  # may be a ValueError too
        reason, remedy = _why(error)
        return Check(name, Verdict.FAIL, cut(printable(reason[:400]), 120), remedy)
    except ValueError:
        remedy = "It must start with ws:// or wss:// and name a host."
        return Check(name, Verdict.FAIL, "not a URL", remedy)
    accepted = b64encode(sha1(key + _MAGIC, usedforsecurity=False).digest()).decode()
    if response.status != _SWITCHED:
        detail = f"it answers {response.status} instead of a websocket"
        remedy = "Is it a relay? A proxy before it must let the header Upgrade pass."
        return Check(name, Verdict.FAIL, detail, remedy)
    if response.getheader("Sec-WebSocket-Accept") != accepted:
        detail = "what answers doesn't know websockets"
        return Check(name, Verdict.FAIL, detail, "Ask whoever runs it.")
    detail = f"{took_ms:.0f} ms, websocket upgrade passes"
    return Check(name, Verdict.OK, detail)


def _ask(url: str, key: str, timeout_s: float) -> tuple[HTTPResponse, float]:
    """Ask for a websocket; return the answer, and how long it took to come.

    Raises ``ValueError``, ``OSError`` or ``HTTPException``.
    """
    from http.client import HTTPConnection, HTTPSConnection

    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise ValueError("no ws:// or wss:// with a host")
    # `localhost` below a domain of that name: no resolver knows it.
    is_here = parts.hostname.endswith(".localhost")
    host = "localhost" if is_here else parts.hostname
    kind = HTTPSConnection if parts.scheme == "wss" else HTTPConnection
    connection = kind(host, parts.port, timeout=timeout_s)
    try:
        connection.connect()
        began_s = time.perf_counter()
        connection.putrequest(
            "GET", _LINK_PATH, skip_host=True, skip_accept_encoding=True
        )
        for header in (
            ("Host", parts.netloc.rpartition("@")[2]),
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", key),
        ):
            connection.putheader(*header)
        connection.endheaders()
        response = connection.getresponse()
        return response, (time.perf_counter() - began_s) * 1000
    finally:
        connection.close()


def _why(error: OSError | HTTPException) -> tuple[str, str]:
    """Return what went wrong, and what to do."""
    import socket
    import ssl

    if isinstance(error, ConnectionRefusedError):
        return "connection refused", "Start it (qemu relay), or look at its address."
    if isinstance(error, socket.gaierror):
        return "no such host", "Look at the name, and at the network."
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = f"its certificate isn't trusted: {error.verify_message}"
        return reason, "Ask whoever runs it."
    if isinstance(error, ssl.SSLError):
        return "it doesn't speak TLS", "Use ws:// for a relay without a certificate."
    if isinstance(error, TimeoutError):
        return "no answer in time", "Look at the network, or at a firewall's rules."
    if isinstance(error, HTTPException):
        return "what answers isn't HTTP", "Look at the address: is it a relay?"
    return error.strerror or str(error), "Look at the network."
