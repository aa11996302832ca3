"""tunnel/reframing.py: an answer as its visitor gets it."""

import pytest

from tunnel.http import BadMessage, parse_response_head
from tunnel.reframing import Reframing


def an_answer(*lines, first=b"HTTP/1.1 200 OK", version=11, method=b"GET"):
    head = b"".join(line + b"\r\n" for line in (first, *lines, b""))
    return Reframing(parse_response_head(head, method), version)


def test_a_body_with_a_length_goes_on_as_it_is():
    answer = an_answer(b"Content-Length: 5")

    assert answer.status == 200
    assert not answer.closes
    assert b"Content-Length: 5\r\n" in answer.head(close=False)
    assert answer.body(b"abc") + answer.body(b"de") + answer.end(b"") == b"abcde"


def test_a_body_longer_than_its_length_isnt_passed_on():
    answer = an_answer(b"Content-Length: 5")
    answer.body(b"abc")

    with pytest.raises(BadMessage, match="longer than its Content-Length"):
        answer.body(b"def")


def test_a_body_shorter_than_its_length_isnt_taken_for_whole():
    answer = an_answer(b"Content-Length: 5")
    answer.body(b"abc")

    with pytest.raises(BadMessage, match="shorter"):
        answer.end(b"")


def test_what_is_said_to_have_no_body_has_none():
    with pytest.raises(BadMessage, match="longer"):
        an_answer(first=b"HTTP/1.1 204 No Content").body(b"x")
    with pytest.raises(BadMessage, match="longer"):
        an_answer(b"Content-Length: 5", method=b"HEAD").body(b"x")


@pytest.mark.parametrize("line", [b"Transfer-Encoding: chunked", b"X-No: length"])
def test_a_body_without_a_length_goes_on_in_chunks(line):
    answer = an_answer(line)

    assert answer.head(close=False).lower().count(b"transfer-encoding: chunked") == 1
    assert answer.body(b"abc") == b"3\r\nabc\r\n"
    assert answer.end(b"X-Sum: 1\r\n") == b"0\r\nX-Sum: 1\r\n\r\n"
    assert an_answer(line).end(b"") == b"0\r\n\r\n"


def test_forged_trailers_arent_passed_on():
    answer = an_answer(b"Transfer-Encoding: chunked")

    with pytest.raises(BadMessage):
        answer.end(b"X: 1\r\n\r\nHTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("line", [b"Transfer-Encoding: chunked", b"X-No: length"])
def test_for_http_1_0_the_connections_end_is_the_bodys(line):
    answer = an_answer(line, version=10)

    assert answer.closes
    assert b"ransfer-" not in answer.head(close=True)
    assert answer.body(b"abc") + answer.end(b"X-Sum: 1\r\n") == b"abc"


def test_an_upgrade_lets_raw_bytes_through_once_it_is_made():
    answer = an_answer(
        b"Connection: Upgrade", b"Upgrade: raw", first=b"HTTP/1.1 101 Switching"
    )

    assert answer.is_upgrade
    with pytest.raises(BadMessage):
        answer.body(b"too early")
    answer.lift()
    assert answer.body(b"raw") == b"raw"
