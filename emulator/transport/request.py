"""Requests, as they go out: a URL's parts, and the bytes of a head.

Decides what is asked of whom, to the letter (PUB-4): the target goes out as the
publisher wrote it, names and values of headers as they are given (DLV-2), and nothing
is added but ``Host`` and ``Content-Length``. Opens no connection.
"""

from __future__ import annotations

import re
from base64 import b64encode
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from emulator.core.model import Outgoing

__all__ = ["Origin", "Place", "build_head", "split_url"]

_URL = re.compile(
    r"(https?://[!-\"$-.0->@-~]+)"  # whom to ask
    r"([!-\"$-~]*)"  # for what: no blank, no control character, nothing beyond ASCII
    r"(?:#.*)?",  # a fragment is the reader's (BASE-4)
    re.IGNORECASE | re.DOTALL,
)

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+(?:%[^\]]*)?\]|[^\[\]:\\]+)(?::([0-9]{0,9}))?")

_PORTS = {"http": 80, "https": 443}

_BODILESS_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Of an empty body these say nothing; others say that its length is 0 (DLV-2)."""


class Place(NamedTuple):
    """Where to connect."""

    host: str
    """A name in ASCII, or an address without brackets."""

    port: int


class Origin(NamedTuple):
    """What stands before a URL's path."""

    scheme: str

    place: Place

    host: str
    """The ``Host`` to name."""

    authorization: str | None
    """The ``Authorization`` that its user information makes."""


def split_url(url: str) -> tuple[Origin, str]:
    """Return whom to ask, and the target to ask for.

    Raises ``ValueError`` for a URL that can't be called.
    """
    match = _URL.fullmatch(url)
    if match is None:
        raise ValueError("it isn't the URL of an HTTP destination")
    target = match[2]
    if not target.startswith("/"):
        target = f"/{target}"  # PUB-5
    return _origin(match[1]), target


@lru_cache(maxsize=256)
def _origin(text: str) -> Origin:
    scheme, _, authority = text.partition("://")
    scheme = scheme.lower()
    userinfo, mark, host_and_port = authority.rpartition("@")
    match = _HOST.fullmatch(host_and_port)
    if match is None:
        raise ValueError("it names no host")
    default_port = _PORTS[scheme]
    port = int(match[2]) if match[2] else default_port
    if port > 65_535:
        raise ValueError("its port is beyond 65535")
    # One dot at the end makes a name absolute; a server is named without it.
    host = match[1].rstrip(".")
    if not host:
        raise ValueError("it names no host")
    name = host.strip("[]") + match[1][len(host) : len(host) + 1]
    authorization = None
    if mark:
        user, _, password = userinfo.partition(":")
        credentials = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
        authorization = f"Basic {b64encode(credentials).decode('ascii')}"
    return Origin(
        scheme,
        Place(name, port),
        host if port == default_port else f"{host}:{port}",
        authorization,
    )


def build_head(request: Outgoing, origin: Origin, target: str) -> bytes:
    """Return the request's head, with the blank line that ends it.

    Raises ``ValueError`` if a header would begin another line, or isn't text.
    """
    lines = [
        f"{request.method} {target} HTTP/1.1",
        f"Host: {request.host or origin.host}",
    ]
    lines += [f"{name}: {value}" for name, value in request.headers]
    if origin.authorization is not None and not any(
        name.lower() == "authorization" for name, _ in request.headers
    ):
        lines.append(f"Authorization: {origin.authorization}")
    if request.body or request.method not in _BODILESS_METHODS:
        lines.append(f"Content-Length: {len(request.body)}")
    text = "\r\n".join((*lines, "", ""))
    # Nothing is smuggled in: the only line ends are ours.
    ends = len(lines) + 1
    if text.count("\n") != ends or text.count("\r") != ends or "\0" in text:
        raise ValueError("a header has a line end or a zero byte in it")
    return text.encode("utf-8", "surrogateescape")
