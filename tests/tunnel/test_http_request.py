"""tunnel/http_request.py: what a request's head says, and which are refused."""

import pytest

from tests.tunnel.heads import head_of, refusal, request
from tunnel.http_grammar import MAX_HEAD_BYTES, MAX_HEADERS
from tunnel.http_request import MAX_METHOD_CHARACTERS, parse_request_head

HOST = b"Host: a.dev"
LONG_METHOD = b"G" * (MAX_METHOD_CHARACTERS + 1)


def test_a_head_says_what_is_asked_for():
    raw = head_of(
        b"POST /api/hook?x=1 HTTP/1.1", b"Host: a.dev:80", b"content-LENGTH: 12"
    )

    head = parse_request_head(raw)

    assert head.raw is raw
    assert head.method == b"POST"
    assert head.target == b"/api/hook?x=1"
    assert head.path == b"/api/hook"
    assert head.version == 11
    assert head.host == b"a.dev:80"
    assert head.length == 12
    assert not head.is_chunked
    assert head.keep_alive
    assert not head.expects_continue
    assert head.upgrade is None


def test_headers_are_there_for_whoever_asks():
    head = request(b"Upstash-Retried: 0", b"A:  b ")

    assert head.headers == [
        (b"Host", b"a.dev"),
        (b"Upstash-Retried", b"0"),
        (b"A", b"b"),
    ]
    assert head.header(b"upstash-retried") == b"0"
    assert head.header(b"retried") is None


def test_the_lines_that_matter_on_the_way_are_kept_as_they_arrived():
    head = request(b"TE:\ttrailers ", b"x-Forwarded-FOR:1", b"A: b")

    assert head.marks == [
        (b"Host", b" a.dev"),
        (b"TE", b"\ttrailers "),
        (b"x-Forwarded-FOR", b"1"),
    ]


# The first line


@pytest.mark.parametrize("method", [b"GET", b"M-SEARCH", b"PURGE", b"x", b"~" * 32])
def test_any_token_is_a_method(method):
    assert request(first=method + b" / HTTP/1.1").method == method


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/", b"/"),
        (b"/a%28%29/../b", b"/a%28%29/../b"),
        (b"//b//", b"//b//"),
        (b"/a;b=c?d;e=%zz&f?g", b"/a;b=c"),
        (b"/?", b"/"),
        (b"/%", b"/%"),
        (b"/\"<>\\^`{|}~!$&'()*+,:@[]", b"/\"<>\\^`{|}~!$&'()*+,:@[]"),
    ],
)
def test_a_target_passes_unchanged(target, path):
    head = request(first=b"GET " + target + b" HTTP/1.1")

    assert (head.target, head.path) == (target, path)


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"http://a.dev/b?c", b"/b"),
        (b"HTTPS://A.dev/b", b"/b"),
        (b"http://a.dev", b"/"),
        (b"http://a.dev?b/c", b"/"),
    ],
)
def test_a_target_may_be_a_url_with_the_same_host(target, path):
    head = request(first=b"GET " + target + b" HTTP/1.1")

    assert head.path == path
    assert head.host.lower() == b"a.dev"


def test_the_host_of_a_url_is_the_host_where_http_1_0_names_none():
    head = request(first=b"GET http://[::1]:80/b HTTP/1.0", host=None)

    assert head.host == b"[::1]:80"


@pytest.mark.parametrize(
    "line", [b"Host: b.dev", b"Host: a.dev:80", b"Host:", b"Host: b.dev:a"]
)
def test_a_url_with_another_host_than_host_is_refused(line):
    """The app would see the one, and the relay go by the other."""
    assert refusal(head_of(b"GET http://a.dev/ HTTP/1.1", line))[0] == 400


@pytest.mark.parametrize(
    "target",
    [
        *(b"a", b"a.dev:80", b"?", b"ftp://a.dev/", b"http:/a.dev", b"http://"),
        *(b"http:///b", b"http://u@a.dev/", b"http://a.dev:x/", b"http://?b"),
        *(b"http://:80/", b"http://a.dev\\b/", b"**", b"http://[a.dev/"),
    ],
)
def test_any_other_target_is_refused(target):
    assert refusal(head_of(b"GET " + target + b" HTTP/1.1", HOST)) == (
        400,
        "the target must begin with / or be an http URL",
    )


def test_a_star_is_for_options_only():
    assert request(first=b"OPTIONS * HTTP/1.1").path == b"*"
    assert refusal(head_of(b"GET * HTTP/1.1", HOST)) == (
        400,
        "only OPTIONS may have the target *",
    )


@pytest.mark.parametrize("target", [b"a.dev:443", b"/", b"http://a.dev/"])
def test_connect_is_not_offered(target):
    assert refusal(head_of(b"CONNECT " + target + b" HTTP/1.1", HOST)) == (
        501,
        "CONNECT isn't offered",
    )


@pytest.mark.parametrize(
    ("first", "status", "reason"),
    [
        (b"GET /", 400, "the first line must be METHOD TARGET HTTP/1.1"),
        (b"", 400, "the first line must be METHOD TARGET HTTP/1.1"),
        (b"GET / http/1.1", 400, "the first line must be METHOD TARGET HTTP/1.1"),
        (b"GET / HTTP/1.1 ", 400, "the first line must be METHOD TARGET HTTP/1.1"),
        (b"GET / HTTP/11", 400, "the first line must be METHOD TARGET HTTP/1.1"),
        (b"GET /a b HTTP/1.1", 400, "the first line must be METHOD TARGET HTTP/1.1"),
        (b"GET  / HTTP/1.1", 400, "the first line must be METHOD TARGET HTTP/1.1"),
        (b" GET / HTTP/1.1", 400, "the first line must be METHOD TARGET HTTP/1.1"),
        (b"GET\t/ HTTP/1.1", 400, "the first line must be METHOD TARGET HTTP/1.1"),
        (b"G(T / HTTP/1.1", 400, "the method must be one word of letters"),
        (b" / HTTP/1.1", 400, "the method must be one word of letters"),
        (LONG_METHOD + b" / HTTP/1.1", 501, "the method has more than 32 characters"),
        (b"PRI * HTTP/2.0", 505, "the version must be HTTP/1.1 or HTTP/1.0"),
        (b"GET / HTTP/1.2", 505, "the version must be HTTP/1.1 or HTTP/1.0"),
        (b"GET / HTTP/0.9", 505, "the version must be HTTP/1.1 or HTTP/1.0"),
    ],
)
def test_a_wrong_first_line_is_refused(first, status, reason):
    assert refusal(head_of(first, HOST)) == (status, reason)


@pytest.mark.parametrize(
    "target", [b"", b"/\x00", b"/\x01", b"/\x7f", b"/\t", b"/#f", b"/?#", b"/\xc3\xbc"]
)
def test_a_target_is_visible_ascii_without_a_fragment(target):
    assert refusal(head_of(b"GET " + target + b" HTTP/1.1", HOST)) == (
        400,
        "the target must be printable ASCII, without # or blank",
    )


def test_one_empty_line_before_a_request_is_skipped():
    """RFC 9112, 2.2."""
    raw = head_of(b"GET / HTTP/1.1", HOST)

    assert parse_request_head(b"\r\n" + raw).raw == raw


def test_two_empty_lines_are_not():
    raw = head_of(b"GET / HTTP/1.1", HOST)

    assert refusal(b"\r\n\r\n" + raw)[0] == 400
    assert refusal(b"\r\n\r\n")[0] == 400


def test_a_head_has_bounds():
    line = b"A: " + b"a" * (MAX_HEAD_BYTES - len(head_of(b"GET / HTTP/1.1", HOST)) - 5)
    longest = head_of(b"GET / HTTP/1.1", HOST, line)

    assert len(parse_request_head(longest).raw) == MAX_HEAD_BYTES
    assert refusal(longest.replace(b"A: ", b"A:  "))[0] == 431
    assert refusal(head_of(b"GET / HTTP/1.1", HOST, *[b"A: a"] * MAX_HEADERS))[0] == 431
    most = head_of(b"GET / HTTP/1.1", HOST, *[b"A: a"] * (MAX_HEADERS - 1))
    assert len(parse_request_head(most).headers) == MAX_HEADERS


# Host


@pytest.mark.parametrize(
    "host",
    [b"a", b"a.b-c_d.dev", b"1.2.3.4:5", b"[::1]", b"[::1]:80", b"", b"a:", b":1"],
)
def test_a_host_is_a_name_or_an_address(host):
    assert request(host=host).host == host


@pytest.mark.parametrize(
    "host",
    [
        *(
            b"a b",
            b"a,b",
            b"a/b",
            b"a@b",
            b"a:b",
            b"a:123456",
            b"::1",
            b"[::1",
            b"a\xff",
        ),
        *(b"http://a", b"a%2e", b"a?", b"a#", b"[::1]a", b"a\tb", b"*", b"a;b", b"a'"),
    ],
)
def test_any_other_host_is_refused(host):
    assert refusal(head_of(b"GET / HTTP/1.1", b"Host: " + host)) == (
        400,
        "Host must be a name or an address, and perhaps a port",
    )


def test_http_1_1_has_exactly_one_host():
    """RFC 9112, 3.2."""
    assert refusal(head_of(b"GET / HTTP/1.1")) == (400, "Host is missing")
    assert refusal(head_of(b"GET / HTTP/1.1", HOST, b"hOST: a.dev")) == (
        400,
        "Host is given twice",
    )


def test_http_1_0_needs_no_host():
    head = request(first=b"GET / HTTP/1.0", host=None)

    assert (head.version, head.host) == (10, b"")
    assert refusal(head_of(b"GET / HTTP/1.0", HOST, HOST))[0] == 400


# Framing


def test_without_length_there_is_no_body():
    head = request()

    assert (head.length, head.is_chunked) == (0, False)


def test_a_chunked_body_has_no_length():
    head = request(b"Transfer-Encoding: Chunked")

    assert (head.length, head.is_chunked) == (None, True)


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"DELETE", b"OPTIONS"])
def test_any_method_may_have_a_body(method):
    assert request(b"Content-Length: 5", first=method + b" / HTTP/1.1").length == 5


@pytest.mark.parametrize(
    ("lines", "status", "reason"),
    [
        (
            [b"Content-Length: 5", b"Content-Length: 5"],
            400,
            "Content-Length is given twice",
        ),
        (
            [b"Content-Length: 5", b"Transfer-Encoding: chunked"],
            400,
            "Content-Length and Transfer-Encoding exclude each other",
        ),
        (
            [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"],
            400,
            "Transfer-Encoding is given twice",
        ),
        (
            [b"Transfer-Encoding: gzip, chunked"],
            501,
            "Transfer-Encoding must be chunked, and nothing else",
        ),
        (
            [b"Content_Length: 5"],
            400,
            "a framing header's name has an underscore",
        ),
        (
            [b"transfer_encoding: chunked"],
            400,
            "a framing header's name has an underscore",
        ),
    ],
)
def test_ambiguous_framing_is_refused(lines, status, reason):
    assert refusal(head_of(b"POST / HTTP/1.1", HOST, *lines)) == (status, reason)


def test_a_wrong_header_line_is_refused():
    assert refusal(head_of(b"GET / HTTP/1.1", HOST, b"A : b")) == (
        400,
        "a header line must be a name, a colon, a value",
    )


def test_a_head_without_its_end_is_refused():
    assert refusal(b"GET / HTTP/1.1\r\n") == (
        400,
        "the head doesn't end with an empty line",
    )


# The connection


@pytest.mark.parametrize(
    ("version", "lines", "expected"),
    [
        (b"1.1", [], True),
        (b"1.1", [b"Connection: close"], False),
        (b"1.1", [b"Connection: x", b"connection:\tCLOSE ,y"], False),
        (b"1.0", [], False),
        (b"1.0", [b"Connection: Keep-Alive"], True),
    ],
)
def test_a_connection_lasts_as_the_request_wants(version, lines, expected):
    head = request(*lines, first=b"GET / HTTP/" + version)

    assert head.keep_alive is expected


def test_an_upgrade_is_asked_for_with_both_lines():
    head = request(b"Upgrade: WebSocket", b"Connection: keep-alive, Upgrade")

    assert head.upgrade == b"websocket"


@pytest.mark.parametrize(
    ("first", "lines"),
    [
        (b"GET / HTTP/1.1", [b"Upgrade: websocket"]),
        (b"GET / HTTP/1.1", [b"Connection: upgrade"]),
        (b"GET / HTTP/1.0", [b"Upgrade: websocket", b"Connection: upgrade"]),
        (b"GET / HTTP/1.1", [b"Upgrade:", b"Connection: upgrade"]),
        (b"GET / HTTP/1.1", [b"Upgrade: h2c", b"Connection: upgrade, HTTP2-Settings"]),
        (b"GET / HTTP/1.1", [b"Upgrade: websocket, H2C", b"Connection: upgrade"]),
        (b"GET / HTTP/1.1", [b"Upgrade: TLS/1.0, HTTP/1.1", b"Connection: upgrade"]),
        (b"GET / HTTP/1.1", [b"Upgrade: a", b"Upgrade: a", b"Connection: upgrade"]),
        (
            b"POST / HTTP/1.1",
            [b"Upgrade: websocket", b"Connection: upgrade", b"Content-Length: 5"],
        ),
        (
            b"POST / HTTP/1.1",
            [
                b"Upgrade: websocket",
                b"Connection: upgrade",
                b"Transfer-Encoding: chunked",
            ],
        ),
    ],
)
def test_any_other_upgrade_is_ignored(first, lines):
    """RFC 9110, 7.8: a server may; and another HTTP would get past every check."""
    assert request(*lines, first=first).upgrade is None


@pytest.mark.parametrize(
    ("version", "lines", "expected"),
    [
        (b"1.1", [b"Expect: 100-Continue", b"Content-Length: 5"], True),
        (b"1.1", [b"Expect: 100-continue", b"Transfer-Encoding: chunked"], True),
        (b"1.1", [b"Expect: 100-continue"], False),
        (b"1.0", [b"Expect: 100-continue", b"Content-Length: 5"], False),
        (b"1.1", [b"Expect: more", b"Content-Length: 5"], False),
    ],
)
def test_a_body_is_kept_back_until_100_if_the_request_says_so(version, lines, expected):
    """RFC 9110, 10.1.1."""
    head = request(*lines, first=b"POST / HTTP/" + version)

    assert head.expects_continue is expected
