"""emulator/core/explain_url.py: where two URLs differ (SIG-5)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.core.explain_text import CauseKind as Kind
from emulator.core.explain_url import compare_urls

few = settings(max_examples=200, deadline=None)


def compared(given, signed):
    return [(cause.kind, cause.sentence) for cause in compare_urls(given, signed)]


def kinds(given, signed):
    return [kind for kind, _ in compared(given, signed)]


@pytest.mark.parametrize(
    ("given", "signed", "expected"),
    [
        ("https://a.b/c", "http://a.b/c", [Kind.URL_SCHEME]),
        ("HTTP://a.b/c", "http://a.b/c", [Kind.URL_SCHEME]),
        ("//a.b/c", "http://a.b/c", [Kind.URL_SCHEME]),
        ("http://x@a.b/c", "http://a.b/c", [Kind.URL_CREDENTIALS]),
        ("http://@a.b/c", "http://a.b/c", [Kind.URL_CREDENTIALS]),
        ("http://a.b/c", "http://x.y/c", [Kind.URL_HOST]),
        ("http://[::1]:80/c", "http://[::2]:80/c", [Kind.URL_HOST]),
        ("http://[::1/c", "http://[::1]/c", [Kind.URL_HOST, Kind.URL_PORT]),
        ("http://a.b:1/c", "http://a.b:2/c", [Kind.URL_PORT]),
        ("http://a.b:/c", "http://a.b/c", [Kind.URL_PORT]),
        ("http://a.b/c", "http://a.b/d", [Kind.URL_PATH]),
        ("http://a.b", "http://a.b/", [Kind.URL_TRAILING_SLASH]),
        ("http://a.b/c/", "http://a.b/c", [Kind.URL_TRAILING_SLASH]),
        ("http://a.b/c/?x", "http://a.b/c?x", [Kind.URL_TRAILING_SLASH]),
        ("http://a.b/c//", "http://a.b/c", [Kind.URL_TRAILING_SLASH, Kind.URL_PATH]),
        ("http://a.b/%7Ec", "http://a.b/~c", [Kind.URL_ENCODING]),
        ("http://a.b/%2f", "http://a.b/%2F", [Kind.URL_ENCODING]),
        ("http://a.b/ä", "http://a.b/%C3%A4", [Kind.URL_ENCODING]),
        ("http://a.b/?q=a+b", "http://a.b/?q=a%20b", [Kind.URL_ENCODING]),
        ("http://a.b/c?x=1", "http://a.b/c", [Kind.URL_QUERY]),
        ("http://a.b/c?", "http://a.b/c", [Kind.URL_QUERY]),
        ("http://a.b/c?x=1&y=2", "http://a.b/c?y=2&x=1", [Kind.URL_QUERY]),
        ("http://a.b/c#", "http://a.b/c", [Kind.URL_FRAGMENT]),
        ("http://a.b/c#x", "http://a.b/c#y", [Kind.URL_FRAGMENT]),
        (
            "https://a.b/c/?x#1",
            "http://x.y:8/d?y#2",
            [
                Kind.URL_SCHEME,
                Kind.URL_HOST,
                Kind.URL_PORT,
                Kind.URL_TRAILING_SLASH,
                Kind.URL_PATH,
                Kind.URL_QUERY,
                Kind.URL_FRAGMENT,
            ],
        ),
    ],
)
def test_every_difference_has_its_name(given, signed, expected):
    """SIG-5."""
    assert kinds(given, signed) == expected


def test_equal_urls_do_not_differ():
    assert kinds("http://a.b/c?d#e", "http://a.b/c?d#e") == []


@pytest.mark.parametrize(
    ("given", "signed"),
    [
        ("http://localhost:3000/", "http://127.0.0.1:3000/"),
        ("http://127.0.0.1/", "http://[::1]/"),
        ("http://LOCALHOST/", "http://0.0.0.0/"),
    ],
)
def test_names_of_this_machine_are_known_to_mean_the_same(given, signed):
    ((kind, sentence),) = compared(given, signed)
    ((_, other_way),) = compared(signed, given)

    assert kind is Kind.URL_HOST
    assert sentence.endswith("Both mean this machine, but receivers compare the text.")
    assert other_way.endswith("Both mean this machine, but receivers compare the text.")


def test_hosts_that_mean_something_else_are_just_shown():
    assert compared("http://app:3000/", "http://localhost:3000/") == [
        (
            Kind.URL_HOST,
            'You verify with the host "app"; "localhost" was signed.',
        )
    ]


@pytest.mark.parametrize(
    ("given", "signed"),
    [("http://A.b/", "http://a.b/"), ("http://a.b/Hook", "http://a.b/hook")],
)
def test_a_difference_in_case_only_is_said_to_be_one(given, signed):
    ((_, sentence),) = compared(given, signed)
    ((_, other_way),) = compared(signed, given)

    assert sentence.endswith("They differ in case only.")
    assert other_way.endswith("They differ in case only.")


@pytest.mark.parametrize(
    ("given", "signed", "is_default"),
    [
        ("http://a.b:80/", "http://a.b/", True),
        ("https://a.b/", "https://a.b:443/", True),
        ("HTTPS://a.b:/", "HTTPS://a.b:443/", True),
        ("http://a.b:443/", "http://a.b/", False),
        ("https://a.b:80/", "https://a.b/", False),
        ("ftp://a.b:21/", "ftp://a.b/", False),
    ],
)
def test_a_default_port_that_is_written_out_is_recognized(given, signed, is_default):
    ((kind, sentence),) = compared(given, signed)

    assert kind is Kind.URL_PORT
    assert ("default port" in sentence) is is_default


def test_the_slash_is_said_to_be_where_it_is():
    ((_, mine),) = compared("http://a.b/c/", "http://a.b/c")
    ((_, theirs),) = compared("http://a.b/c", "http://a.b/c/")

    assert "has a slash at its end; the one that was signed has none" in mine
    assert "has no slash at its end; the one that was signed has one" in theirs


@pytest.mark.parametrize(
    ("given", "signed", "says"),
    [
        ("/hook", "/api/hook", 'Yours lacks what stands before it: "/api".'),
        ("/api/hook", "/hook", 'Yours has something before it: "/api".'),
        ("/a//b", "/a/b", "They differ in doubled slashes only."),
        ("/a", "/b", '"/b" was signed.'),
    ],
)
def test_it_is_said_how_a_path_differs(given, signed, says):
    ((kind, sentence),) = compared("http://a" + given, "http://a" + signed)

    assert kind is Kind.URL_PATH
    assert sentence.endswith(says)


@pytest.mark.parametrize(
    ("given", "signed", "says"),
    [
        ("?x=1", "", "Only the URL that you verify with has a query."),
        ("", "?x=1", "Only the URL that was signed has a query."),
        ("?b&a", "?a&b", "The query's parameters stand in another order."),
        ("?x=1&y=2&z=3", "?x=1&y=4", 'The query\'s parameters differ: "y, z".'),
        ("?x=1&x=1", "?x=1", 'The query\'s parameters differ: "x".'),
    ],
)
def test_it_is_said_how_a_query_differs_without_its_values(given, signed, says):
    assert compared("http://a/" + given, "http://a/" + signed) == [
        (Kind.URL_QUERY, says)
    ]


@pytest.mark.parametrize("given", ["localhost:3000/hook", "hook", "", "mailto:x"])
def test_what_is_no_whole_url_is_said_to_be_none(given):
    ((kind, sentence),) = compared(given, "http://localhost:3000/hook")

    assert kind is Kind.URL_RELATIVE
    assert "isn't a whole URL" in sentence


def test_a_path_alone_is_compared_as_a_path():
    assert kinds("/hook", "http://a/hook") == [Kind.URL_RELATIVE]
    assert kinds("/hook/", "http://a/hook?x") == [
        Kind.URL_RELATIVE,
        Kind.URL_TRAILING_SLASH,
        Kind.URL_QUERY,
    ]


def test_a_signed_url_that_is_none_differs_in_all_it_lacks():
    assert kinds("http://a:1/b", "b") == [
        Kind.URL_SCHEME,
        Kind.URL_HOST,
        Kind.URL_PORT,
        Kind.URL_PATH,
    ]


@pytest.mark.parametrize("given", ["hook", "http://me:secret@a/c", "http://a/b"])
def test_a_password_is_never_shown(given):
    said = str(compared(given, "http://me:secret@a/b"))

    assert "secret" not in said
    assert said != "[]"


pieces = st.sampled_from(
    [*"/?#@:[]&=+%.aB", "//", "://", "http", "https", "%2F", "%41", "localhost", "é"]
)
urls = st.lists(pieces, max_size=8).map("".join) | st.lists(pieces, max_size=6).map(
    lambda texts: "http://" + "".join(texts)
)


@few
@given(urls, urls)
def test_urls_differ_exactly_if_something_is_said_of_them(given, signed):
    """SIG-5: byte for byte."""
    assert bool(kinds(given, signed)) is (given != signed)


@few
@given(st.text(max_size=30), st.text(max_size=30))
def test_no_texts_make_it_raise_or_go_unnoticed(given, signed):
    assert bool(kinds(given, signed)) is (given != signed)
