"""tunnel/http_response.py: what an answer's head says, and which are refused."""

import pytest

from tests.tunnel.heads import head_of, response, response_refusal
from tunnel.http_grammar import MAX_HEAD_BYTES, MAX_HEADERS, BadMessage
from tunnel.http_response import parse_response_head

OK = b"HTTP/1.1 200 OK"


def test_a_head_says_how_the_answer_goes_on():
    raw = head_of(OK, b"content-length:5", b"A:  b ")

    head = parse_response_head(raw, b"GET")

    assert head.raw is raw
    assert (head.status, head.version) == (200, 11)
    assert (head.length, head.is_chunked, head.until_close) == (5, False, False)
    assert head.keep_alive
    assert not head.is_interim
    assert not head.upgrade
    assert head.headers == [(b"content-length", b"5"), (b"A", b"b")]
    assert head.header(b"a") == b"b"
    assert head.header(b"b") is None


@pytest.mark.parametrize(
    "first",
    [
        b"HTTP/1.1 404 ",
        b"HTTP/1.1 404",
        b"HTTP/1.0 404 Not Found",
        b"HTTP/1.1 404 Nicht da: \xfc\t",
        b"HTTP/1.1 404  two blanks ",
    ],
)
def test_the_phrase_may_be_anything_or_missing(first):
    assert response(first=first).status == 404


@pytest.mark.parametrize("status", [b"100", b"299", b"451", b"599", b"999"])
def test_any_status_of_three_digits_passes(status):
    assert response(first=b"HTTP/1.1 " + status + b" x").status == int(status)


@pytest.mark.parametrize(
    "first",
    [
        *(b"", b"HTTP/1.1", b"HTTP/1.1 20 OK", b"HTTP/1.1 2000", b"HTTP/1.1 099 x"),
        *(b"HTTP/1.1  200 OK", b"http/1.1 200 OK", b"HTTP/2.0 200 OK", b"ICY 200 OK"),
        *(b"HTTP/1.1 200 O\x00K", b"HTTP/1.1\t200 OK", b"HTTP/1.1 -20 OK", b" " + OK),
        *(b"HTTP/1.1 200OK", b"HTTP/1.2 200 OK", b"<html>"),
    ],
)
def test_any_other_first_line_is_refused(first):
    assert response_refusal(head_of(first)) == (
        "the first line must be HTTP/1.1, a status, a phrase"
    )


def test_what_is_wrong_with_the_lines_is_said():
    assert response_refusal(b"HTTP/1.1 200 OK\n\n") == (
        "the head doesn't end with an empty line"
    )
    assert response_refusal(head_of(OK, b"A: b", b" c")) == (
        "a header line begins with a blank"
    )


def test_a_head_has_bounds():
    line = b"A: " + b"a" * (MAX_HEAD_BYTES - len(head_of(OK)) - 5)

    assert len(response(line).raw) == MAX_HEAD_BYTES
    assert response_refusal(head_of(OK, line + b"a")) == (
        "the head is longer than 65536 bytes"
    )
    assert response_refusal(head_of(OK, *[b"A: a"] * (MAX_HEADERS + 1))) == (
        "there are more than 200 header lines"
    )


# Framing


def test_a_chunked_body_has_no_length():
    head = response(b"Transfer-Encoding: chunked")

    assert (head.length, head.is_chunked, head.until_close) == (None, True, False)
    assert head.keep_alive


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_without_framing_a_body_lasts_until_the_connection_ends(version):
    head = response(b"Connection: keep-alive", first=b"HTTP/" + version + b" 200 OK")

    assert (head.length, head.is_chunked, head.until_close) == (None, False, True)
    assert not head.keep_alive


@pytest.mark.parametrize(
    ("first", "method"),
    [
        (b"HTTP/1.1 200 OK", b"HEAD"),
        (b"HTTP/1.1 304 Not Modified", b"GET"),
        (b"HTTP/1.1 204 No Content", b"GET"),
        (b"HTTP/1.1 100 Continue", b"POST"),
        (b"HTTP/1.1 101 Switching Protocols", b"GET"),
    ],
)
def test_some_answers_have_no_body(first, method):
    """RFC 9112, 6.3."""
    head = response(first=first, method=method)

    assert (head.length, head.is_chunked, head.until_close) == (0, False, False)
    assert head.keep_alive


@pytest.mark.parametrize("line", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
def test_they_may_say_how_long_the_body_would_have_been(line):
    for first, method in ((OK, b"HEAD"), (b"HTTP/1.1 304 x", b"GET")):
        head = response(line, first=first, method=method)

        assert (head.length, head.is_chunked) == (0, False)
        assert head.keep_alive


@pytest.mark.parametrize("first", [b"HTTP/1.1 204 x", b"HTTP/1.1 103 x"])
@pytest.mark.parametrize(
    ("line", "keep_alive"),
    [
        (b"Content-Length: 0", True),
        (b"Content-Length: 5", False),
        (b"Transfer-Encoding: chunked", False),
    ],
)
def test_a_connection_is_not_used_again_after_a_body_that_may_not_be(
    first, line, keep_alive
):
    head = response(line, first=first)

    assert (head.length, head.is_chunked) == (0, False)
    assert head.keep_alive is keep_alive


def test_an_interim_answer_is_followed_by_another():
    assert response(first=b"HTTP/1.1 100 Continue").is_interim
    assert response(first=b"HTTP/1.1 103 Early Hints").is_interim
    assert not response().is_interim


def test_101_leaves_http():
    head = response(
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        first=b"HTTP/1.1 101 Switching Protocols",
    )

    assert head.upgrade
    assert not head.is_interim


def test_a_length_may_be_repeated():
    """RFC 9112, 6.3: only differing ones are an error."""
    assert response(b"Content-Length: 5", b"Content-Length: 05").length == 5


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (
            [b"Content-Length: 5", b"Content-Length: 6"],
            "Content-Length is given twice, and differs",
        ),
        (
            [b"Content-Length: 5, 5"],
            "Content-Length must be one number of at most 18 digits",
        ),
        (
            [b"Content-Length: 5", b"Transfer-Encoding: chunked"],
            "Content-Length and Transfer-Encoding exclude each other",
        ),
        (
            [b"Transfer-Encoding: gzip, chunked"],
            "Transfer-Encoding must be chunked, and nothing else",
        ),
        (
            [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"],
            "Transfer-Encoding is given twice",
        ),
    ],
)
def test_ambiguous_framing_is_refused_even_where_no_body_follows(lines, reason):
    head = head_of(OK, *lines)

    assert response_refusal(head) == reason
    assert response_refusal(head, b"HEAD") == reason


def test_http_1_0_has_no_chunks():
    head = head_of(b"HTTP/1.0 200 OK", b"Transfer-Encoding: chunked")

    assert response_refusal(head) == "HTTP/1.0 has no Transfer-Encoding"


@pytest.mark.parametrize(
    ("version", "lines", "expected"),
    [
        (b"1.1", [], True),
        (b"1.1", [b"Connection: Close"], False),
        (b"1.1", [b"Connection: a", b"Connection: close"], False),
        (b"1.0", [], False),
        (b"1.0", [b"Connection: keep-alive"], True),
    ],
)
def test_a_connection_lasts_as_the_answer_says(version, lines, expected):
    head = response(b"Content-Length: 0", *lines, first=b"HTTP/" + version + b" 200 OK")

    assert head.keep_alive is expected


def test_a_head_that_was_read_before_is_found_again_for_its_method_alone():
    raw = head_of(OK, b"Content-Length: 5")
    head = parse_response_head(raw, b"GET")
    again = parse_response_head(bytes(bytearray(raw)), b"GET")

    assert again is head
    assert (head.length, parse_response_head(raw, b"HEAD").length) == (5, 0)


def test_a_head_that_is_refused_is_refused_again():
    raw = head_of(OK, b"Content-Length: five")

    for _ in range(2):
        with pytest.raises(BadMessage, match="Content-Length"):
            parse_response_head(raw, b"GET")
