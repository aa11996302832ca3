"""Requests' heads: what is asked for, how its body is framed, whether it may pass.

Read once, strictly, and kept as the bytes that arrived. One regular expression checks
a head as a whole, a second one finds the few fields that the tunnel itself has to
know; the others are never taken apart unless somebody asks.

A request is refused as soon as two servers could see its end in two places, or two
hosts in it. What is forwarded of a head is decided in ``http_forward.py``. Pure.
"""

from __future__ import annotations

import re

from tunnel.http_grammar import (
    FIELD_LINES,
    MAX_HEAD_BYTES,
    NO_OPTIONS,
    TOKEN_CHARACTER,
    BadMessage,
    Field,
    check_coding,
    does_last,
    field_problem,
    first_value,
    line_problem,
    parse_content_length,
    parse_options,
    split_fields,
)

__all__ = ["MAX_METHOD_CHARACTERS", "RequestHead", "parse_request_head"]

MAX_METHOD_CHARACTERS = 32
"""A longer method is refused with 501 (RFC 9112, 3)."""

# request-line = method SP request-target SP HTTP-version (RFC 9112, 3)
# Any method passes: it is the app's affair. Visible ASCII but "#" may stand in a
# target, escapes and the characters that a URI had to escape included. Not "#": to
# some servers the path ends there. Nor bytes from 0x80, which many refuse.
_request = re.compile(
    rb"(%b{1,%d}+) "
    % (TOKEN_CHARACTER, MAX_METHOD_CHARACTERS)
    + rb"((/[!\x22\x24-\x3e\x40-\x7e]*+)(?:\?[!\x22\x24-\x7e]*+)?+|[!\x22\x24-\x7e]++) "
    rb"HTTP/1\.([01])\r\n" + FIELD_LINES + rb"\r\n"
).fullmatch

# With an underscore, the names of framing fields are the same to CGI and WSGI.
_request_marks = re.compile(
    rb"\n(host|connection|content[-_]length|transfer[-_]encoding|expect|upgrade|te"
    rb"|keep-alive|proxy-connection|proxy-authorization|http2-settings"
    rb"|x-forwarded-(?:for|proto|host|prefix)):([^\r]*)",
    re.IGNORECASE,
).findall

# Host = uri-host [ ":" port ] (RFC 9110, 7.2), without escapes and sub-delimiters:
# no name in use has them, and what is looked up and passed on must be one name.
_HOST = rb"(?:[0-9A-Za-z._~-]*+|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{0,5})?"
_is_host = re.compile(_HOST).fullmatch

# absolute-form = absolute-URI (RFC 9112, 3.2.2), for http and https, without userinfo
_absolute = re.compile(
    rb"https?://(?=[^:/?])(" + _HOST + rb")(/[^?]*+)?+(?:\?.*+)?+", re.IGNORECASE
).fullmatch

_request_line = re.compile(rb"([^ \r]*) ([^ \r]*) HTTP/([0-9])\.([0-9])\r\n").match
_method_is_token = re.compile(TOKEN_CHARACTER + rb"+").fullmatch
_target_is_clean = re.compile(rb"[!\x22\x24-\x7e]+").fullmatch

# A server that took these up would speak HTTP/2, past everything that is checked
# here (h2c smuggling); a recipient may ignore any Upgrade (RFC 9110, 7.8).
_is_other_http = re.compile(rb"(?:^|[ \t,])(?:h2c?|http/|tls/)").search


class RequestHead:
    """The head of a request that may pass."""

    __slots__ = (
        "expects_continue",
        "host",
        "is_chunked",
        "keep_alive",
        "length",
        "marks",
        "method",
        "options",
        "path",
        "raw",
        "target",
        "upgrade",
        "version",
    )

    raw: bytes
    """As it arrived, with its blank line."""

    method: bytes

    target: bytes
    """Unchanged, escapes and all."""

    path: bytes
    """The target without query; in absolute form what follows the authority.

    ``/`` if nothing follows, ``*`` in asterisk form.
    """

    version: int
    """10 or 11."""

    host: bytes
    """The host asked for, perhaps with a port; empty if none was given."""

    length: int | None
    """The body's, in bytes: 0 if there is none, ``None`` if it is chunked."""

    is_chunked: bool

    keep_alive: bool
    """Whether whoever asked wants the connection to last."""

    expects_continue: bool
    """Whether the body is kept back until a 100 (Continue) comes."""

    upgrade: bytes | None
    """The protocol asked for instead of HTTP, in lower case; never HTTP/2."""

    options: frozenset[bytes]
    """What ``Connection`` lists, in lower case."""

    marks: list[Field]
    """The lines that concern framing, hops and forwarding: the name, and all that
    follows the colon, blanks included, as they arrived."""

    def __init__(
        self,
        raw: bytes,
        method: bytes,
        target: bytes,
        path: bytes,
        version: int,
        host: bytes,
        length: int | None,
        is_chunked: bool,
        keep_alive: bool,
        expects_continue: bool,
        upgrade: bytes | None,
        options: frozenset[bytes],
        marks: list[Field],
    ) -> None:
        self.raw = raw
        self.method = method
        self.target = target
        self.path = path
        self.version = version
        self.host = host
        self.length = length
        self.is_chunked = is_chunked
        self.keep_alive = keep_alive
        self.expects_continue = expects_continue
        self.upgrade = upgrade
        self.options = options
        self.marks = marks

    @property
    def headers(self) -> list[Field]:
        """All fields, in order: name, and value without the blanks around it."""
        return split_fields(self.raw)

    def header(self, name_lower: bytes) -> bytes | None:
        """Return the first field of that name, which is given in lower case."""
        return first_value(self.raw, name_lower)


def parse_request_head(head: bytes) -> RequestHead:
    """Read a request's head, from its first byte to its blank line.

    One empty line before it is skipped, as RFC 9112, 2.2 asks. Raises ``BadMessage``.
    """
    match = _request(head) if len(head) <= MAX_HEAD_BYTES else None
    if match is None:
        if head.startswith(b"\r\n") and not head.startswith(b"\r", 2):
            return parse_request_head(head[2:])
        raise _request_problem(head)

    method, target, path, minor = match.groups()
    version = 11 if minor == b"1" else 10
    host = length = coding = connection = expect = upgrade = None
    marks = _request_marks(head)
    for name, value in marks:
        name = name.lower()
        if name == b"host":
            if host is not None:
                raise BadMessage(400, "Host is given twice")
            host = value.strip(b" \t")
        elif name == b"content-length":
            if length is not None:
                raise BadMessage(400, "Content-Length is given twice")
            length = parse_content_length(value)
        elif name == b"connection":
            connection = value if connection is None else connection + b"," + value
        elif name == b"transfer-encoding":
            check_coding(coding, value, version)
            coding = value
        elif name == b"expect":
            expect = value.strip(b" \t").lower()
        elif name == b"upgrade":
            # Two lines make a list that nobody sends: no upgrade.
            upgrade = value.strip(b" \t").lower() if upgrade is None else b""
        elif b"_" in name:
            raise BadMessage(400, "a framing header's name has an underscore")

    if coding is not None:
        if length is not None:
            raise BadMessage(
                400, "Content-Length and Transfer-Encoding exclude each other"
            )
    elif length is None:
        length = 0
    if host is None:
        if version == 11:
            raise BadMessage(400, "Host is missing")
    elif not _is_host(host):
        raise BadMessage(400, "Host must be a name or an address, and perhaps a port")
    if method == b"CONNECT":
        raise BadMessage(501, "CONNECT isn't offered")
    if path is None:
        path, host = _read_target(method, target, host)

    if connection is None:
        options, keep_alive = NO_OPTIONS, version == 11
    else:
        options = parse_options(connection)
        keep_alive = does_last(options, version)
    if upgrade is not None and (
        not upgrade
        or length != 0
        or version == 10
        or b"upgrade" not in options
        or _is_other_http(upgrade)
    ):
        upgrade = None
    return RequestHead(
        head,
        method,
        target,
        path,
        version,
        host or b"",
        length,
        coding is not None,
        keep_alive,
        # RFC 9110, 10.1.1: to be ignored in HTTP/1.0, and where no body follows.
        expect == b"100-continue" and version == 11 and length != 0,
        upgrade,
        options,
        marks,
    )


def _read_target(
    method: bytes, target: bytes, host: bytes | None
) -> tuple[bytes, bytes | None]:
    """Return path and host of a target that isn't in origin form."""
    if target == b"*":
        if method != b"OPTIONS":
            raise BadMessage(400, "only OPTIONS may have the target *")
        return target, host
    match = _absolute(target)
    if match is None:
        raise BadMessage(400, "the target must begin with / or be an http URL")
    authority, path = match.groups()
    # The target wins (RFC 9112, 3.2.2). Where it would, the app, which is shown Host,
    # and the relay, which finds the tunnel by it, had to see two different hosts.
    if host is not None and host.lower() != authority.lower():
        raise BadMessage(400, "Host differs from the host in the target")
    return path or b"/", authority


def _request_problem(head: bytes) -> BadMessage:
    """Say why this isn't a request's head, once it is known that it isn't."""
    problem = line_problem(head)
    if problem is not None:
        return problem
    match = _request_line(head)
    if match is None:
        return BadMessage(400, "the first line must be METHOD TARGET HTTP/1.1")
    method, target, major, minor = match.groups()
    if not _method_is_token(method):
        return BadMessage(400, "the method must be one word of letters")
    if len(method) > MAX_METHOD_CHARACTERS:
        reason = f"the method has more than {MAX_METHOD_CHARACTERS} characters"
        return BadMessage(501, reason)
    if major != b"1" or minor not in b"01":
        return BadMessage(505, "the version must be HTTP/1.1 or HTTP/1.0")
    if not _target_is_clean(target):
        return BadMessage(400, "the target must be printable ASCII, without # or blank")
    return field_problem(head)
