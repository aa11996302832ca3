"""Destinations: what follows ``/v2/publish/`` in a request, read and checked.

Decides which query parameters are configuration and which belong to the
destination, what kind of destination a text names, and whether a URL can be
called. A URL is never changed: what arrives is stored, reported, compared and
signed as it arrived (PUB-4). It must be ASCII without spaces, as clients
percent-encode before they send (BASE-4).

Doesn't decide whether a URL group exists, resolves no host (PUB-6), and leaves
what the parameters mean to ``headers.py``.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv6Address
from typing import NamedTuple
from urllib.parse import unquote, unquote_plus

from emulator.core.model import Destination, DestinationKind
from emulator.errors import InvalidDestination, shown

__all__ = [
    "MAX_DESTINATION_BYTES",
    "Target",
    "host_of",
    "is_resource_name",
    "parse_destination",
    "path_of",
    "split_target",
    "token_in_query",
    "url_problem",
]

MAX_DESTINATION_BYTES = 16_384
"""Longer ones are refused: a batch entry's has no other bound."""

_INVALID_SCHEME = "endpoint has invalid scheme, add http:// or https://"
_TOO_LONG = f"endpoint is longer than {MAX_DESTINATION_BYTES} bytes"

# Equal short destinations share one object: messages wait in great numbers.
_MEMOIZED_CHARACTERS = 512

_RESOURCE_NAME = re.compile(r"[A-Za-z0-9._-]+")
_SCHEME = re.compile(r"https?://", re.IGNORECASE)
_URL = re.compile(r"[A-Za-z]+://([^/?#]*)([^?#]*)")
_UNSENDABLE = re.compile(r"[^\x21-\x7e]")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2}).{0,2}")
_USERINFO = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%-]*")
_HOST_AND_PORT = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::([0-9]*))?")
_HOST = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=-]+")
_ZONE = re.compile(r"[A-Za-z0-9._~-]+")


class Target(NamedTuple):
    """A raw request target, taken apart."""

    destination: str
    """The text without the consumed parameters, otherwise as it arrived (PUB-3)."""

    parameters: tuple[tuple[str, str], ...] = ()
    """The ``upstash-*`` parameters in order: lower-case name, decoded value (HDR-2)."""

    token: str | None = None
    """The value of ``qstash_token``, decoded (AUTH-2)."""


def split_target(raw: str) -> Target:
    """Take ``qstash_token`` and the ``upstash-*`` parameters out of a raw target.

    The query starts at the first ``?``. A parameter's name is percent-decoded and
    matches in any case; its value is decoded once, as forms encode it: ``+`` is a
    space. Not so in a token, which is base64 (AUTH-5): there ``+`` stays. Bytes
    that aren't UTF-8 become lone surrogates, as in headers. The first of several
    tokens counts. The ``?`` goes if the last parameter was taken out (PUB-3).
    """
    path, mark, query = raw.partition("?")
    if not mark:
        return Target(raw)

    kept: list[str] = []
    parameters: list[tuple[str, str]] = []
    tokens: list[str] = []
    for part in query.split("&"):
        encoded_name, _, encoded_value = part.partition("=")
        name = unquote_plus(encoded_name, errors="surrogateescape").lower()
        if name == "qstash_token":
            tokens.append(unquote(encoded_value, errors="surrogateescape"))
        elif name.startswith("upstash-"):
            value = unquote_plus(encoded_value, errors="surrogateescape")
            parameters.append((name, value))
        else:
            kept.append(part)

    if not parameters and not tokens:
        return Target(raw)
    return Target(
        f"{path}?{'&'.join(kept)}" if any(kept) else path,
        tuple(parameters),
        tokens[0] if tokens else None,
    )


def token_in_query(raw_target: str) -> str | None:
    """Return the ``qstash_token`` of any request target, or ``None`` (AUTH-2)."""
    return split_target(raw_target).token


def parse_destination(text: str) -> Destination:
    """Say what a destination's text names (PUB-1, PUB-2).

    The query of a URL group or of ``api/llm`` is dropped (PUB-11). The built-in
    API's name is ``llm``. Raises ``InvalidDestination`` with QStash's words
    (ERR-4, PUB-7, PUB-8).
    """
    if len(text) <= _MEMOIZED_CHARACTERS:
        return _parse_memoized(text)
    return _parse(text)


def _parse(text: str) -> Destination:
    if _SCHEME.match(text):
        problem = url_problem(text)
        if problem is not None:
            raise InvalidDestination(text, problem)
        return Destination(DestinationKind.URL, text)

    name = text.partition("?")[0]
    if not name:
        raise InvalidDestination(
            text, "empty", sentence="a non-empty destination must be provided"
        )
    if name == "api/llm":
        return Destination(DestinationKind.API, "llm")
    if not is_resource_name(name):
        raise InvalidDestination(text, _INVALID_SCHEME)
    if len(name) > MAX_DESTINATION_BYTES:
        raise InvalidDestination(text, _TOO_LONG)
    return Destination(DestinationKind.URL_GROUP, name)


_parse_memoized = lru_cache(maxsize=1024)(_parse)


def is_resource_name(name: str) -> bool:
    """Whether a name consists of letters, digits, ``-``, ``_`` and ``.`` (FMT-19)."""
    return _RESOURCE_NAME.fullmatch(name) is not None


def url_problem(text: str) -> str | None:
    """Say why a URL can't be called, or ``None`` if it can.

    It needs a scheme of http or https in any case, and a host: a name, an IPv4 or
    a bracketed IPv6 address; the port, if one is written, is 1 to 65535. User
    information and a fragment are allowed. Escapes must be valid in the path; in
    the query they are the destination's affair.
    """
    if not _SCHEME.match(text):
        return _INVALID_SCHEME
    if len(text) > MAX_DESTINATION_BYTES:
        return _TOO_LONG
    unsendable = _UNSENDABLE.search(text)
    if unsendable:
        return (
            f"endpoint contains {unsendable[0]!a} at position "
            f"{unsendable.start()}, percent-encode it"
        )

    authority, path = _split_url(text)
    userinfo, _, host_and_port = authority.rpartition("@")
    if not _USERINFO.fullmatch(userinfo):
        return "endpoint has invalid user information before the @"
    bad_escape = _BAD_ESCAPE.search(userinfo) or _BAD_ESCAPE.search(path)
    if bad_escape:
        return f'endpoint contains the invalid escape "{bad_escape[0]}"'
    return _host_problem(host_and_port)


def _split_url(url: str) -> tuple[str, str]:
    """Return authority and path of a URL whose scheme has been checked."""
    match = _URL.match(url)
    return (match[1], match[2]) if match else ("", "")


def _host_problem(host_and_port: str) -> str | None:
    match = _HOST_AND_PORT.fullmatch(host_and_port)
    if not match:
        return f"endpoint has an invalid host or port {shown(host_and_port)}"

    host, port = match[1], match[2]
    if not host:
        return "endpoint has no host"
    if host.startswith("["):
        valid = _is_ipv6(host[1:-1])
    else:
        valid = _HOST.fullmatch(host) is not None
    if not valid:
        return f"endpoint has an invalid host {shown(host)}"
    # An empty port means the default one (RFC 3986, 3.2.3).
    if port and not _is_port(port):
        return f"endpoint has an invalid port {shown(port)}, it must be 1 to 65535"
    return None


def _is_ipv6(text: str) -> bool:
    """Whether this is an IPv6 address, perhaps with a zone after ``%25`` (RFC 6874)."""
    address, mark, zone = text.partition("%25")
    if mark and not _ZONE.fullmatch(zone):
        return False
    try:
        IPv6Address(address)
    except ValueError:
        return False
    return "%" not in address


def _is_port(digits: str) -> bool:
    # No int() of a text whose length a caller decides.
    significant = digits.lstrip("0")
    return 1 <= len(significant) <= 5 and int(significant) <= 65535


def host_of(url: str) -> str:
    """Return the host of a URL as it is written, with the port if one is (FMT-15)."""
    return _split_url(url)[0].rpartition("@")[2]


def path_of(url: str) -> str:
    """Return the path of a URL without its query (FMT-15).

    ``/`` where none is written: that is what the destination is asked for (PUB-5).
    """
    return _split_url(url)[1] or "/"
