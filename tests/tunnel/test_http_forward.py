"""tunnel/http_forward.py: what is cut from a head on its way, and what is added."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tunnel.heads import head_of, request, response
from tunnel.http_forward import error_response, forward_request, forward_response
from tunnel.http_grammar import split_fields
from tunnel.http_request import parse_request_head
from tunnel.http_response import parse_response_head

few = settings(max_examples=60)

ADDED = (
    b"X-Forwarded-For: 9.9.9.9",
    b"X-Forwarded-Proto: https",
    b"X-Forwarded-Host: a.dev",
)


def sent(head, **options):
    """Return the lines that a local app gets of a request."""
    out = forward_request(head, peer=b"9.9.9.9", scheme=b"https", **options)
    return tuple(_lines(out))


def answered(head, *, close=False, version=11, **options):
    """Return the lines that whoever asked gets of an answer."""
    return tuple(
        _lines(forward_response(head, close=close, version=version, **options))
    )


def _lines(out):
    *lines, last, end = out.split(b"\r\n")
    assert (last, end) == (b"", b"")
    return lines


# Requests


def test_a_request_goes_on_as_it_arrived_with_three_lines_more():
    raw = head_of(
        b"POST /a%28?b;c=%zz HTTP/1.1",
        b"hOST:a.dev",
        b"UPSTASH-Retried:  0\t",
        b"a: \xff",
        b"A: 2",
        b"Content-length: 5",
    )

    out = forward_request(parse_request_head(raw), peer=b"::1", scheme=b"http")

    assert out == raw[:-2] + (
        b"X-Forwarded-For: ::1\r\nX-Forwarded-Proto: http\r\n"
        b"X-Forwarded-Host: a.dev\r\n\r\n"
    )


@pytest.mark.parametrize(
    "line",
    [
        *(b"Connection: keep-alive", b"connection:close", b"CONNECTION: X-None "),
        *(b"Keep-Alive: timeout=5", b"Proxy-Connection: keep-alive", b"TE: gzip"),
        *(b"Proxy-Authorization: Basic eA==", b"Upgrade: h2c", b"HTTP2-Settings: AA"),
    ],
)
def test_lines_for_one_hop_are_cut(line):
    head = request(b"A: b", line, b"C: d", line)

    assert sent(head) == (
        b"POST /a HTTP/1.1",
        b"Host: a.dev",
        b"A: b",
        b"C: d",
        *ADDED,
    )


@pytest.mark.parametrize(
    "line",
    [
        *(b"Transfer-Encoding: chunked", b"TE: trailers", b"te:\tTrailers "),
        *(b"Expect: 100-continue", b"Trailer: A", b"Connections: close"),
        *(b"X-Connection: close", b"A: Connection: close", b"Authorization: B x"),
    ],
)
def test_lines_for_the_app_are_not(line):
    assert line in sent(request(line, b"Connection: close"))


def test_a_cut_line_is_never_part_of_another():
    head = request(b"X-Connection: a", b"Connection: ab", b"Connection: a", b"Y: b")

    assert sent(head) == (
        b"POST /a HTTP/1.1",
        b"Host: a.dev",
        b"X-Connection: a",
        b"Y: b",
        *ADDED,
    )


def test_lines_that_connection_names_are_cut():
    head = request(b"Foo: 1", b"Connection: close, fOO", b"Food: 2", b"foo: 3")

    assert sent(head) == (b"POST /a HTTP/1.1", b"Host: a.dev", b"Food: 2", *ADDED)


@pytest.mark.parametrize(
    "line",
    [
        *(b"Host: a.dev", b"Content-Length: 5", b"Authorization: x", b"Cookie: a=b"),
        *(b"Content-Type: a/b", b"X-Real-IP: 1.2.3.4", b"Cf-Connecting-IP: 1.2.3.4"),
        *(b"Upstash-Signature: x", b"Forwarded: for=1.2.3.4", b"Cache-Control: x"),
        *(b"Expect: 100-continue", b"Trailer: A", b"Via: 1.1 a", b"Sec-Fetch-Site: x"),
        *(b"True-Client-IP: 1.2.3.4", b"Origin: null", b"TE: trailers"),
    ],
)
def test_connection_can_not_take_out_what_is_for_the_app(line):
    """Else a sender could hide from the app what a proxy in front has put in."""
    name = line.partition(b":")[0]
    is_host = name == b"Host"

    head = request(line, b"Connection: " + name, host=None if is_host else b"a.dev")

    assert line in sent(head)


def test_connection_can_not_take_out_how_a_body_is_framed():
    head = request(b"Transfer-Encoding: chunked", b"Connection: Transfer-Encoding")

    assert b"Transfer-Encoding: chunked" in sent(head)


def test_an_upgrade_goes_on_as_one():
    head = request(
        b"Connection: keep-alive, Upgrade",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Key: x",
        first=b"GET / HTTP/1.1",
    )

    assert sent(head, more=b"A: b\r\n") == (
        b"GET / HTTP/1.1",
        b"Host: a.dev",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Key: x",
        *ADDED,
        b"Connection: Upgrade",
        b"A: b",
    )


# The first line


def test_http_1_0_goes_on_as_our_own_version():
    """RFC 9110, 2.5."""
    assert sent(request(first=b"GET /a HTTP/1.0"))[0] == b"GET /a HTTP/1.1"


def test_but_not_without_a_host():
    head = request(first=b"GET /a HTTP/1.0", host=None)

    assert sent(head) == (b"GET /a HTTP/1.0", *ADDED[:2])


@pytest.mark.parametrize(
    ("target", "forwarded"),
    [
        (b"http://a.dev/b%28?c", b"/b%28?c"),
        (b"http://A.DEV", b"/"),
        (b"http://a.dev?b", b"/?b"),
    ],
)
def test_a_url_goes_on_in_origin_form(target, forwarded):
    """RFC 9112, 3.2.1."""
    head = request(first=b"GET " + target + b" HTTP/1.1")

    assert sent(head)[0] == b"GET " + forwarded + b" HTTP/1.1"


@pytest.mark.parametrize("target", [b"*", b"http://a.dev"])
def test_options_for_the_whole_server_goes_on_as_such(target):
    """RFC 9112, 3.2.4."""
    head = request(first=b"OPTIONS " + target + b" HTTP/1.1")

    assert sent(head)[0] == b"OPTIONS * HTTP/1.1"


@pytest.mark.parametrize(
    ("target", "forwarded"),
    [
        (b"/t/otter/a?b", b"/a?b"),
        (b"/t/otter", b"/"),
        (b"/t/otter?b", b"/?b"),
        (b"/t/otter//a", b"//a"),
        (b"http://a.dev/t/otter/a", b"/a"),
        (b"http://a.dev/t/otter?b", b"/?b"),
    ],
)
def test_the_prefix_of_a_tunnel_is_cut_and_told(target, forwarded):
    head = request(first=b"GET " + target + b" HTTP/1.1")

    lines = sent(head, cut_prefix=b"/t/otter")

    assert lines[0] == b"GET " + forwarded + b" HTTP/1.1"
    assert lines[-4:] == (*ADDED, b"X-Forwarded-Prefix: /t/otter")


@pytest.mark.parametrize("target", [b"/t/otters", b"/a/t/otter/", b"/?/t/otter/"])
def test_a_prefix_is_whole_segments_at_the_beginning(target):
    head = request(first=b"GET " + target + b" HTTP/1.1")

    assert sent(head, cut_prefix=b"/t/otter") == (
        b"GET " + target + b" HTTP/1.1",
        b"Host: a.dev",
        *ADDED,
    )


# X-Forwarded-*


def test_a_list_of_hops_is_gone_on_with_in_its_own_line():
    head = request(b"x-forwarded-for:1.1.1.1, 2.2.2.2 ", b"A: b")

    assert sent(head) == (
        b"POST /a HTTP/1.1",
        b"Host: a.dev",
        b"x-forwarded-for: 1.1.1.1, 2.2.2.2, 9.9.9.9",
        b"A: b",
        *ADDED[1:],
    )


def test_of_several_lines_the_last_is_gone_on_with():
    head = request(*[b"X-Forwarded-For: 1.1.1.1"] * 2)

    assert sent(head)[2:4] == (
        b"X-Forwarded-For: 1.1.1.1",
        b"X-Forwarded-For: 1.1.1.1, 9.9.9.9",
    )


def test_an_empty_list_of_hops_begins_anew():
    assert sent(request(b"X-Forwarded-For: "))[2] == b"X-Forwarded-For: 9.9.9.9"


def test_each_hop_has_its_address_even_if_it_is_the_same():
    head = request(b"X-Forwarded-For: 9.9.9.9")

    assert sent(head)[2] == b"X-Forwarded-For: 9.9.9.9, 9.9.9.9"


def test_scheme_host_and_prefix_are_not_repeated():
    lines = (
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-Host: b.dev, a.dev",
        b"X-Forwarded-Prefix: /t",
    )

    head = request(*lines, first=b"GET /t/a HTTP/1.1")

    assert sent(head, cut_prefix=b"/t")[2:] == (*lines, ADDED[0])


def test_another_scheme_or_host_is_appended_never_replaced():
    head = request(b"X-Forwarded-Proto: http", b"X-Forwarded-Host: b.dev")

    assert sent(head)[2:] == (
        b"X-Forwarded-Proto: http, https",
        b"X-Forwarded-Host: b.dev, a.dev",
        ADDED[0],
    )


def test_the_host_that_was_asked_for_may_be_another_than_host():
    assert sent(request(), host=b"public.dev") == (
        b"POST /a HTTP/1.1",
        b"Host: a.dev",
        *ADDED[:2],
        b"X-Forwarded-Host: public.dev",
    )


NAMES = st.sampled_from(
    [b"Connection", b"TE", b"Upgrade", b"A", b"X-Forwarded-For", b"X-Connection", b"b"]
)
VALUES = st.sampled_from(
    [
        b"",
        b" close",
        b" a, B",
        b" trailers",
        b" 1.1.1.1",
        b"\tupgrade ",
        b" h2c",
        b"a:b",
    ]
)


@few
@given(st.lists(st.tuples(NAMES, VALUES), max_size=8))
def test_what_goes_on_is_a_head_and_what_was_for_the_app_is_in_it_in_order(fields):
    head = request(*[name + b":" + value for name, value in fields])

    out = forward_request(head, peer=b"9.9.9.9", scheme=b"https")

    again = parse_request_head(out)
    kept = [each for each in split_fields(out) if each[0] in (b"A", b"X-Connection")]
    meant = [
        (name, value.strip(b" \t"))
        for name, value in fields
        if name == b"X-Connection" or (name == b"A" and b"a" not in head.options)
    ]
    assert kept == meant
    assert (again.method, again.target, again.length) == (b"POST", b"/a", 0)
    assert again.upgrade == head.upgrade
    assert again.header(b"x-forwarded-proto") == b"https"


# Answers


def test_an_answer_goes_on_as_it_arrived():
    raw = head_of(
        b"HTTP/1.1 201 Made \xfc",
        b"content-LENGTH:5",
        b"Set-Cookie: a",
        b"set-cookie:b",
    )

    out = forward_response(parse_response_head(raw, b"GET"), close=False, version=11)

    assert out == raw


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (b"HTTP/1.0 200 OK", b"HTTP/1.1 200 OK"),
        (b"HTTP/1.0 200", b"HTTP/1.1 200 "),
        (b"HTTP/1.1 200", b"HTTP/1.1 200 "),
        (b"HTTP/1.1 200 ", b"HTTP/1.1 200 "),
    ],
)
def test_the_first_line_is_made_right(first, expected):
    """RFC 9110, 2.5, and RFC 9112, 4."""
    assert answered(response(first=first)) == (expected,)


@pytest.mark.parametrize(
    "line",
    [
        *(b"Connection: close", b"connection:Keep-Alive", b"Keep-Alive: timeout=5"),
        *(b"Proxy-Connection: close", b"Proxy-Authenticate: Basic", b"Upgrade: h2c"),
    ],
)
def test_lines_for_one_hop_are_cut_from_answers_too(line):
    head = response(b"A: b", line, b"Content-Length: 0", line)

    assert answered(head) == (b"HTTP/1.1 200 OK", b"A: b", b"Content-Length: 0")


def test_lines_that_connection_names_are_cut_from_answers_too():
    head = response(b"A: b", b"Set-Cookie: c", b"Connection: a, set-cookie")

    assert answered(head) == (b"HTTP/1.1 200 OK", b"Set-Cookie: c")


@pytest.mark.parametrize(
    ("close", "version", "lines"),
    [
        (False, 11, ()),
        (True, 11, (b"Connection: close",)),
        (False, 10, (b"Connection: keep-alive",)),
        (True, 10, (b"Connection: close",)),
    ],
)
def test_the_public_connection_has_its_own_end(close, version, lines):
    head = response(b"Connection: close")

    assert answered(head, close=close, version=version) == (b"HTTP/1.1 200 OK", *lines)


def test_a_body_without_framing_can_go_on_in_chunks():
    assert answered(response(), chunk=True) == (
        b"HTTP/1.1 200 OK",
        b"Transfer-Encoding: chunked",
    )


def test_a_chunked_body_can_go_on_without_chunks():
    head = response(b"transfer-encoding: Chunked", b"A: b", b"Trailer: C")

    assert answered(head) == (
        b"HTTP/1.1 200 OK",
        b"transfer-encoding: Chunked",
        b"A: b",
        b"Trailer: C",
    )
    assert answered(head, close=True, version=10, dechunk=True) == (
        b"HTTP/1.1 200 OK",
        b"A: b",
        b"Connection: close",
    )


@pytest.mark.parametrize("other", [b"Content-Length: 5", b"content-length:05"])
def test_a_repeated_length_goes_on_once(other):
    """RFC 9112, 6.3."""
    head = response(b"Content-Length: 5", b"A: b", other)

    lines = answered(head)

    assert len(lines) == 3
    assert parse_response_head(head_of(*lines), b"GET").length == 5


@pytest.mark.parametrize("first", [b"HTTP/1.1 204 x", b"HTTP/1.1 103 x"])
@pytest.mark.parametrize("line", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
def test_framing_is_cut_where_no_body_may_be(first, line):
    """RFC 9110, 8.6, and RFC 9112, 6.1."""
    assert answered(response(b"A: b", line, first=first)) == (first, b"A: b")


def test_interim_answers_say_nothing_about_the_connection():
    head = response(b"Connection: close", first=b"HTTP/1.1 103 Early Hints")

    assert answered(head, close=True) == (b"HTTP/1.1 103 Early Hints",)


@pytest.mark.parametrize("close", [False, True])
def test_101_goes_on_as_an_upgrade(close):
    head = response(
        b"Upgrade: websocket",
        b"Connection: upgrade, keep-alive",
        b"Sec-WebSocket-Accept: x",
        first=b"HTTP/1.1 101 Switching Protocols",
    )

    assert answered(head, close=close) == (
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Accept: x",
        b"Connection: Upgrade",
    )


def test_426_says_what_to_upgrade_to():
    """RFC 9110, 15.5.22."""
    head = response(b"Upgrade: websocket", first=b"HTTP/1.1 426 Upgrade Required")

    assert answered(head, close=True) == (
        b"HTTP/1.1 426 Upgrade Required",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Connection: close",
    )


# Our own answers


def test_an_error_is_small_json_that_says_who_failed():
    out = error_response(502, error=b"local", sentence='no "app"', close=False)

    head, _, body = out.partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"HTTP/1.1 502 Bad Gateway",
        b"Content-Type: application/json",
        b"Content-Length: %d" % len(body),
        b"Cache-Control: no-store",
        b"Qemu-Error: local",
    ]
    assert json.loads(body) == {"error": 'no "app"'}


def test_an_error_can_say_more():
    out = error_response(
        503,
        error=b"link",
        sentence="away",
        retry_after_s=30,
        version=10,
        close=True,
        more=b"A: b\r\n",
    )

    head = parse_response_head(out[: out.index(b"\r\n\r\n") + 4], b"GET")
    assert head.header(b"retry-after") == b"30"
    assert head.header(b"a") == b"b"
    assert not head.keep_alive


def test_an_error_keeps_an_old_client_s_connection():
    out = error_response(404, error=b"relay", sentence="", version=10, close=False)

    assert b"\r\nConnection: keep-alive\r\n" in out


def test_an_error_for_head_has_no_body_but_its_length():
    full = error_response(404, error=b"relay", sentence="none", close=False)

    head_only = error_response(
        404, error=b"relay", sentence="none", close=False, head_only=True
    )

    assert full.startswith(head_only)
    assert head_only.endswith(b"\r\n\r\n")


def test_an_error_of_an_unknown_status_has_no_phrase():
    assert error_response(499, error=b"relay", sentence="", close=True).startswith(
        b"HTTP/1.1 499 \r\n"
    )


@few
@given(st.text(max_size=50))
def test_no_sentence_can_leave_the_body(sentence):
    out = error_response(400, error=b"relay", sentence=sentence, close=True)

    end = out.index(b"\r\n\r\n") + 4
    head = parse_response_head(out[:end], b"GET")
    assert head.length == len(out) - end
    assert json.loads(out[end:])["error"] == sentence
