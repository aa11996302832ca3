"""Builders of heads, for the tests of the HTTP files."""

import pytest

from tunnel.http import (
    BadMessage,
    RequestHead,
    ResponseHead,
    parse_request_head,
    parse_response_head,
)


def head_of(first: bytes, *lines: bytes) -> bytes:
    """Put a head together, with its blank line."""
    return b"".join(line + b"\r\n" for line in (first, *lines, b""))


def request(
    *lines: bytes, first: bytes = b"POST /a HTTP/1.1", host: bytes | None = b"a.dev"
) -> RequestHead:
    """Parse a request with these header lines behind its Host."""
    own = () if host is None else (b"Host: " + host,)
    return parse_request_head(head_of(first, *own, *lines))


def response(
    *lines: bytes, first: bytes = b"HTTP/1.1 200 OK", method: bytes = b"GET"
) -> ResponseHead:
    """Parse an answer with these header lines."""
    return parse_response_head(head_of(first, *lines), method)


def refusal(head: bytes) -> tuple[int, str]:
    """Return status and reason with which a request's head is refused."""
    with pytest.raises(BadMessage) as caught:
        parse_request_head(head)
    return caught.value.status, caught.value.reason


def response_refusal(head: bytes, method: bytes = b"GET") -> str:
    """Return the reason for which an answer's head is refused."""
    with pytest.raises(BadMessage) as caught:
        parse_response_head(head, method)
    return caught.value.reason
