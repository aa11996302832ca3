"""emulator/transport/request.py: a URL's parts, and the bytes of a head."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.transport.request import Origin, Place, build_head, split_url
from tests.transport.bare import a_request


def head_of(**changes: object) -> bytes:
    request = a_request("http://app.test/hook", **changes)
    return build_head(request, *split_url(request.url))


@pytest.mark.parametrize(
    ("url", "place", "host"),
    [
        ("http://app.test/", Place("app.test", 80), "app.test"),
        ("https://app.test/", Place("app.test", 443), "app.test"),
        ("http://app.test:80/", Place("app.test", 80), "app.test"),
        ("http://app.test:/", Place("app.test", 80), "app.test"),
        ("http://app.test:3000/", Place("app.test", 3000), "app.test:3000"),
        ("http://[::1]:3000/", Place("::1", 3000), "[::1]:3000"),
        ("http://app.test./", Place("app.test.", 80), "app.test"),
        ("http://app.test.../", Place("app.test.", 80), "app.test"),
        ("http://App.test:080/", Place("App.test", 80), "App.test"),
        ("https://[fe80::1%25eth0]/", Place("fe80::1%25eth0", 443), "[fe80::1%25eth0]"),
    ],
)
def test_a_url_says_where_to_connect_and_which_host_to_name(url, place, host):
    """BASE-3."""
    origin, target = split_url(url)

    assert (origin.place, origin.host, target) == (place, host, "/")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "ftp://app.test/",
        "http:///",
        "http://user@/",
        "http://:80/",
        "http://app.test:70000/",
        "http://app.test:x/",
        "http://[::1/",
        "http://::1/",
        "http://[::1]x/",
        "http://.../",
        "http://a\\b/",
        "http://app.test/a b",
        "http://app.test/a\r\nX: 1",
        "http://app.test/\N{EURO SIGN}",
        "http://\N{EURO SIGN}/",
        "http://\udcff/",
    ],
)
def test_a_url_that_cannot_be_called_is_refused(url):
    """PUB-6."""
    with pytest.raises(ValueError):
        split_url(url)


@given(st.text(max_size=40))
def test_any_text_is_a_url_or_refused(text):
    for url in (text, f"http://{text}", f"http://app.test{text}"):
        try:
            origin, target = split_url(url)
        except ValueError:
            continue
        assert isinstance(origin, Origin)
        assert target.startswith("/")
        assert target.isascii()
        assert not set(target) & set(" \r\n#")


def test_a_head_is_what_is_given_and_no_more():
    """DLV-2, DLV-3."""
    assert head_of(headers=(("x-B", "2"), ("X-a", ""))) == (
        b"POST /hook HTTP/1.1\r\n"
        b"Host: app.test\r\n"
        b"x-B: 2\r\n"
        b"X-a: \r\n"
        b"Content-Length: 2\r\n"
        b"\r\n"
    )


@pytest.mark.parametrize("bad", ["a\r\nX: 1", "a\n", "\ra", "a\0b", "\ud800"])
@pytest.mark.parametrize("where", ["name", "value", "method", "host"])
def test_nothing_that_is_no_header_gets_into_a_head(bad, where):
    changes: dict[str, object] = {
        "name": {"headers": ((bad, "1"),)},
        "value": {"headers": (("X", bad),)},
        "method": {"method": bad},
        "host": {"host": bad},
    }[where]

    with pytest.raises(ValueError):
        head_of(**changes)


def test_bytes_that_are_no_text_go_out_as_they_came():
    value = b"\xff\xe9".decode("utf-8", "surrogateescape")

    assert b"\r\nX: \xff\xe9\r\n" in head_of(headers=(("X", value),))
