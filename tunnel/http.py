"""HTTP/1.1 as both ends of the tunnel need it: all names in one place.

``http_grammar.py`` says what is allowed and where a head ends, ``http_request.py`` and
``http_response.py`` read heads and decide framing, ``http_body.py`` finds where a body
ends, and ``http_forward.py`` writes what goes on. All pure; none of them touches a
header that isn't the tunnel's own affair.
"""

from __future__ import annotations

from tunnel.http_body import (
    MAX_CHUNK_LINE_BYTES,
    MAX_TRAILER_BYTES,
    BodyReader,
    check_trailers,
    encode_chunk,
    last_chunk,
)
from tunnel.http_forward import error_response, forward_request, forward_response
from tunnel.http_grammar import (
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    BadMessage,
    check_unfinished_head,
    find_head_end,
)
from tunnel.http_request import RequestHead, parse_request_head
from tunnel.http_response import ResponseHead, parse_response_head

__all__ = [
    "MAX_CHUNK_LINE_BYTES",
    "MAX_HEADERS",
    "MAX_HEAD_BYTES",
    "MAX_TRAILER_BYTES",
    "BadMessage",
    "BodyReader",
    "RequestHead",
    "ResponseHead",
    "check_trailers",
    "check_unfinished_head",
    "encode_chunk",
    "error_response",
    "find_head_end",
    "forward_request",
    "forward_response",
    "last_chunk",
    "parse_request_head",
    "parse_response_head",
]
