"""Heads on their way out: what a proxy must take from one, and may add to it.

A head goes on as the bytes that arrived, in their order and case. Three things change:

* Lines that are for one hop only are cut out: ``Connection`` and what it names,
  ``Keep-Alive``, ``TE`` and the like.
* The first line says HTTP/1.1, the version of whoever sends it (RFC 9110, 2.5), and
  its target is in origin form, without the prefix that led to the tunnel.
* Lines are appended. ``X-Forwarded-*`` lines that were there are gone on with, never
  replaced: whether to believe them is the app's decision, as behind any proxy.

What the relay and the client say themselves, when there is nothing to forward, is
made here, too. Pure; a head that may not pass never gets this far.
"""

from __future__ import annotations

import json

from tunnel.http_grammar import Field
from tunnel.http_request import RequestHead
from tunnel.http_response import ResponseHead

__all__ = ["error_response", "forward_request", "forward_response"]

_REQUEST_HOPS = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authorization",
        b"te",
        b"upgrade",
        b"http2-settings",
    }
)
"""For one hop only, named by ``Connection`` or not. ``Proxy-Authorization`` is a
secret between the sender and a proxy; ``HTTP2-Settings`` belongs to an upgrade that
isn't offered."""

_OWN_OPTIONS = frozenset({b"close", b"keep-alive", b"upgrade", b"te", b""})
"""Options of ``Connection`` that need no look for lines of their name."""

# ``Connection`` may name any field, and a proxy must cut it (RFC 9110, 7.6.1), but
# not what is for all recipients. Else a sender could take out what a proxy before us
# put in: where it came from, who it is, how its body is framed.
_END_TO_END = frozenset(
    {
        b"host",
        b"transfer-encoding",
        b"trailer",
        b"expect",
        b"authorization",
        b"cookie",
        b"set-cookie",
        b"cache-control",
        b"date",
        b"location",
        b"origin",
        b"referer",
        b"forwarded",
        b"via",
    }
)
_END_TO_END_PREFIXES = (
    b"content-",
    b"x-",
    b"upstash-",
    b"cf-",
    b"sec-",
    b"true-client-",
)

_REASONS = {
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    409: b"Conflict",
    413: b"Content Too Large",
    417: b"Expectation Failed",
    426: b"Upgrade Required",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
}


def forward_request(
    head: RequestHead,
    *,
    peer: bytes,
    scheme: bytes,
    host: bytes | None = None,
    cut_prefix: bytes = b"",
    more: bytes = b"",
) -> bytes:
    """Return the head that the local app gets.

    ``peer`` is the address that asked, ``scheme`` what it used, and ``host`` the host
    that it asked for if this isn't the one in the head; all three are for the
    ``X-Forwarded-*`` lines, ``Host`` itself stays. ``cut_prefix`` is taken from the
    target, if it is there as whole segments, and goes into ``X-Forwarded-Prefix``.
    ``more`` is whole lines.

    A request of HTTP/1.0 without ``Host`` stays one: as HTTP/1.1 it would be invalid.
    """
    lines = head.raw[:-2]
    has_host = False
    forwarded: dict[bytes, Field] = {}
    for name, value in head.marks:
        lower = name.lower()
        if lower == b"host":
            has_host = True
        elif lower.startswith(b"x-"):
            forwarded[lower] = (name, value)
        elif lower in _REQUEST_HOPS and not _passes(head, lower, value):
            lines = _cut(lines, name, value)
    if not head.options <= _OWN_OPTIONS:
        lines = _cut_named(lines, head.options)

    prefix = cut_prefix if _is_under(head.path, cut_prefix) else b""
    if prefix or (head.version == 10 and has_host) or head.target[0] != 0x2F:
        rest = lines[lines.index(b"\r\n") :]
        version = b"HTTP/1.1" if has_host else b"HTTP/1.0"
        lines = b"%b %b %b%b" % (head.method, _target(head, prefix), version, rest)

    if head.upgrade is not None:
        more = b"Connection: Upgrade\r\n" + more
    if host is None:
        host = head.host
    if host and not forwarded and not prefix:
        return (
            b"%bX-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\n"
            b"X-Forwarded-Host: %b\r\n%b\r\n" % (lines, peer, scheme, host, more)
        )
    for name, value in (
        (b"X-Forwarded-For", peer),
        (b"X-Forwarded-Proto", scheme),
        (b"X-Forwarded-Host", host),
        (b"X-Forwarded-Prefix", prefix),
    ):
        if value:
            lines = _go_on(lines, forwarded.get(name.lower()), name, value)
    return b"%b%b\r\n" % (lines, more)


def forward_response(
    head: ResponseHead,
    *,
    close: bool,
    version: int,
    chunk: bool = False,
    dechunk: bool = False,
) -> bytes:
    """Return the head that whoever asked gets.

    ``close`` says that the public connection ends with this answer, ``version`` what
    its request was (10 or 11). ``chunk``: the body, which lasts until the local
    connection ends, goes on in chunks. ``dechunk``: the other way round, for HTTP/1.0.
    """
    lines = head.raw[:-2]
    if head.version == 10 or lines[12] == 0x0D:
        # The blank before the phrase isn't optional, but left out by many.
        code = lines[9:12]
        rest = lines[12:] if lines[12] == 0x20 else b" " + lines[12:]
        lines = b"HTTP/1.1 %b%b" % (code, rest)
    is_bodyless = head.status < 200 or head.status == 204
    has_length = has_upgrade = False
    for name, value in head.marks:
        lower = name.lower()
        if lower == b"content-length":
            # Neither here (RFC 9110, 8.6) nor twice, even if equal.
            if is_bodyless or has_length:
                lines = _cut(lines, name, value)
            has_length = True
        elif lower == b"transfer-encoding":
            if is_bodyless or dechunk:
                lines = _cut(lines, name, value)
        elif lower == b"trailer":
            if dechunk:
                lines = _cut(lines, name, value)
        elif lower == b"upgrade" and head.status in (101, 426):
            has_upgrade = True
        else:
            lines = _cut(lines, name, value)
    if not head.options <= _OWN_OPTIONS:
        lines = _cut_named(lines, head.options)

    if chunk:
        lines += b"Transfer-Encoding: chunked\r\n"
    if has_upgrade:
        lines += b"Connection: Upgrade\r\n"
    if head.status >= 200:
        lines += _connection(close, version)
    return lines + b"\r\n"


def error_response(
    status: int,
    *,
    error: bytes,
    sentence: str,
    retry_after_s: int | None = None,
    version: int = 11,
    close: bool,
    head_only: bool = False,
    more: bytes = b"",
) -> bytes:
    """Make an answer of the tunnel's own: a small JSON object with one sentence.

    ``error`` says which part failed: ``relay``, ``link``, ``local`` or ``access``.
    ``head_only`` is for HEAD. ``more`` is whole lines.
    """
    body = json.dumps({"error": sentence}).encode() + b"\n"
    if retry_after_s is not None:
        more = b"Retry-After: %d\r\n%b" % (retry_after_s, more)
    return (
        b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
        b"Cache-Control: no-store\r\nQemu-Error: %b\r\n%b%b\r\n%b"
        % (
            status,
            _REASONS.get(status, b""),
            len(body),
            error,
            more,
            _connection(close, version),
            b"" if head_only else body,
        )
    )


def _connection(close: bool, version: int) -> bytes:
    # RFC 9112, 9.3: each version has its own default, and HTTP/1.0's is to close.
    if close:
        return b"Connection: close\r\n"
    return b"Connection: keep-alive\r\n" if version == 10 else b""


def _passes(head: RequestHead, name: bytes, value: bytes) -> bool:
    """Whether a line that is for one hop goes on all the same."""
    if name == b"te":
        # Trailers do pass, and some servers send them only to those who say so.
        return value.strip(b" \t").lower() == b"trailers"
    return name == b"upgrade" and head.upgrade is not None


def _target(head: RequestHead, prefix: bytes) -> bytes:
    """Return the target in origin form (RFC 9112, 3.2.1), without the prefix."""
    target = head.target
    if target == b"*":
        return target
    if not target.startswith(b"/"):
        target = target[target.index(b"//") + 2 + len(head.host) :]
        if not target and head.method == b"OPTIONS":
            return b"*"  # RFC 9112, 3.2.4
    target = target[len(prefix) :]
    return target if target.startswith(b"/") else b"/" + target


def _is_under(path: bytes, prefix: bytes) -> bool:
    """Whether a path begins with these segments; none aren't any."""
    end = len(prefix)
    return end > 0 and path.startswith(prefix) and path[end : end + 1] in (b"", b"/")


# What follows works on heads that have been checked: between two CR LF stands one
# whole line, so that a line found with both around it can't be part of another.


def _cut(lines: bytes, name: bytes, value: bytes) -> bytes:
    return lines.replace(b"\r\n%b:%b\r\n" % (name, value), b"\r\n", 1)


def _cut_named(lines: bytes, options: frozenset[bytes]) -> bytes:
    """Cut the lines that ``Connection`` names, but for those it may not."""
    named = {
        option
        for option in options - _OWN_OPTIONS - _END_TO_END
        if not option.startswith(_END_TO_END_PREFIXES)
    }
    first, *rest = lines.split(b"\r\n")
    kept = [line for line in rest if line.partition(b":")[0].lower() not in named]
    return b"\r\n".join([first, *kept])


def _go_on(lines: bytes, last: Field | None, name: bytes, value: bytes) -> bytes:
    """Append a value to a list of hops: to its last line, or as a line of its own.

    One line and not two, which mean the same (RFC 9110, 5.3): many servers show their
    app the first line only, or the last. What a hop repeats of the one before isn't
    said again, since apps take such a list for one strange value; addresses are, each
    stands for a hop.
    """
    if last is None:
        return b"%b%b: %b\r\n" % (lines, name, value)
    earlier = last[1].strip(b" \t")
    if name != b"X-Forwarded-For" and earlier.rpartition(b",")[2].strip() == value:
        return lines
    before, _, after = lines.rpartition(b"\r\n%b:%b\r\n" % last)
    values = b"%b, %b" % (earlier, value) if earlier else value
    return b"%b\r\n%b: %b\r\n%b" % (before, last[0], values, after)
