"""tunnel/upload.py: a request's body on its way to the tunnel."""

import pytest

from tunnel.flow import FIRST_BYTES
from tunnel.http import BadMessage, parse_request_head
from tunnel.upload import Upload


def an_upload(*lines):
    head = b"".join(line + b"\r\n" for line in (b"Host: demo", *lines, b""))
    return Upload(parse_request_head(b"POST / HTTP/1.1\r\n" + head))


def counted(length):
    return an_upload(b"Content-Length: %d" % length)


def chunked():
    return an_upload(b"Transfer-Encoding: chunked", b"Trailer: X-Sum")


def test_the_body_ends_where_its_length_says():
    upload = counted(5)

    assert (upload.feed(b"ab"), upload.is_whole) == (b"ab", False)
    assert (upload.feed(b"cdeGET /"), upload.is_whole) == (b"cde", True)
    assert (upload.rest, upload.trailers) == (b"GET /", b"")


def test_a_chunks_length_alone_is_no_body_yet():
    assert chunked().feed(b"3\r\n") == b""


def test_chunks_are_taken_apart_and_trailers_kept():
    upload = chunked()
    body = upload.feed(b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n")

    assert (body, upload.is_whole, upload.trailers) == (b"abc", True, b"X-Sum: 1\r\n")


def test_what_comes_too_early_goes_with_the_head_as_far_as_there_is_room():
    upload = counted(3 * FIRST_BYTES)
    upload.keep(b"a" * 10)
    upload.keep(b"b" * (FIRST_BYTES - 10))
    upload.keep(b"c")
    upload.keep(b"d")

    assert upload.first == b"a" * 10 + b"b" * (FIRST_BYTES - 10)
    assert upload.more == [b"c", b"d"]


def test_a_length_above_the_bound_is_refused_at_once():
    with pytest.raises(BadMessage, match="10 bytes at most") as caught:
        counted(11).bound(10)

    assert caught.value.status == 413


def test_what_passes_the_bound_on_its_way_is_refused():
    upload = chunked()
    upload.bound(10)
    upload.feed(b"6\r\nabcdef\r\n")

    with pytest.raises(BadMessage, match="10 bytes at most"):
        upload.feed(b"5\r\nghijk\r\n")


def test_what_has_come_already_counts_for_a_bound_that_comes_later():
    upload = chunked()
    upload.feed(b"6\r\nabcdef\r\n")

    with pytest.raises(BadMessage, match="5 bytes at most"):
        upload.bound(5)


@pytest.mark.parametrize("bounds", [(10, 20), (20, 10), (10, None), (None, 10)])
def test_the_least_bound_counts(bounds):
    upload = chunked()
    for most in bounds:
        upload.bound(most)

    with pytest.raises(BadMessage, match="10 bytes at most"):
        upload.feed(b"b\r\nabcdefghijk\r\n")


def test_without_a_bound_a_body_is_as_long_as_it_is():
    upload = counted(1 << 20)
    upload.bound(None)

    assert len(upload.feed(bytes(1 << 20))) == 1 << 20
