"""emulator/core/destination.py: where a publish goes."""

from contextlib import suppress
from string import ascii_letters

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.core.destination import (
    MAX_DESTINATION_BYTES,
    Target,
    host_of,
    is_resource_name,
    parse_destination,
    path_of,
    split_target,
    token_in_query,
    url_problem,
)
from emulator.core.model import Destination, DestinationKind
from emulator.errors import InvalidDestination, RequestError

few = settings(max_examples=60)

INVALID_SCHEME = (
    "invalid destination url: endpoint has invalid scheme, add http:// or https://"
)

RAW = st.text(max_size=60) | st.text("/:?&=%@[]#.x1upstash-q_token", max_size=60)

KEPT = st.text(ascii_letters + "0123456789=%/?:.", max_size=12).filter(
    lambda part: "%" not in part and not part.lower().startswith(("upstash-", "qs"))
)


def refusal(text):
    with pytest.raises(InvalidDestination) as caught:
        parse_destination(text)
    return str(caught.value)


# The target, taken apart.


def test_a_target_without_configuration_stays_as_it_arrived():
    """BASE-3."""
    raw = "https://ex.com/a%2Fb//c?u=https://z.com/?q=1"

    assert split_target(raw) == Target(raw)


def test_configuration_is_taken_out_and_the_rest_keeps_order_spelling_and_repeats():
    """PUB-3, HDR-2, AUTH-4."""
    target = split_target(
        "https://ex.com/?b=1&upstash-retries=3&A=%2f&b=2&qstash_token=t&&c"
    )

    assert target == Target(
        "https://ex.com/?b=1&A=%2f&b=2&&c", (("upstash-retries", "3"),), "t"
    )


def test_the_question_mark_goes_if_nothing_remains():
    """PUB-3."""
    assert split_target("http://a/p?upstash-retries=3").destination == "http://a/p"
    assert split_target("http://a/p?&qstash_token=t&").destination == "http://a/p"


def test_a_bare_question_mark_stays_if_nothing_was_taken_out():
    """PUB-4."""
    assert split_target("http://a/p?").destination == "http://a/p?"


def test_configuration_inside_another_parameters_value_is_not_ours():
    """BASE-3: only the first question mark begins the query."""
    raw = "https://ex.com/?u=https://z.com/?upstash-retries=3"

    assert split_target(raw) == Target(raw)


def test_a_parameters_name_matches_in_any_case_and_is_decoded():
    """HDR-2."""
    target = split_target("http://a?UPSTASH-Retries=3&upstash%2Ddelay=1s")

    assert target.parameters == (("upstash-retries", "3"), ("upstash-delay", "1s"))


def test_a_parameters_value_is_decoded_once_and_plus_is_a_space():
    """HDR-2."""
    target = split_target("http://a?upstash-label=a+b%2Bc%2525&upstash-x")

    assert target.parameters == (("upstash-label", "a b+c%25"), ("upstash-x", ""))


def test_bytes_that_are_not_text_are_kept_as_headers_keep_them():
    target = split_target("http://a?upstash-forward-x=%FF")

    assert target.parameters == (("upstash-forward-x", "\udcff"),)


def test_a_tokens_plus_and_padding_survive():
    """AUTH-5: base64, perhaps percent-encoded."""
    assert token_in_query("/v2/events?qstash_token=a+b/c==") == "a+b/c=="
    assert token_in_query("/v2/events?count=1&QSTASH_TOKEN=a%2Bb%3D") == "a+b="


def test_the_first_of_several_tokens_counts():
    """AUTH-2."""
    target = split_target("http://a?qstash_token=one&qstash_token=two")

    assert target == Target("http://a", (), "one")


@pytest.mark.parametrize("raw", ["/v2/events", "/v2/events?count=1", "/qstash_token=x"])
def test_a_target_without_token_has_none(raw):
    assert token_in_query(raw) is None


@few
@given(RAW)
def test_any_target_can_be_taken_apart_and_what_is_left_has_nothing_more_to_take(raw):
    left = split_target(raw).destination

    assert split_target(left) == Target(left)


@few
@given(st.lists(KEPT, min_size=1, max_size=5), st.integers(0, 5))
def test_a_parameter_put_in_anywhere_is_taken_out_again(parts, position):
    plain = "http://a/p?" + "&".join(parts)
    parts.insert(position, "upstash-retries=3")
    target = split_target("http://a/p?" + "&".join(parts))

    assert target.parameters == (("upstash-retries", "3"),)
    assert target.destination in (plain, plain.split("?")[0])


# What a text names.


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "https://ex.com/a%2Fb//c?u=https://z.com/?q=1",
        "HTTPS://Example.COM:443/a/../b",
        "http://localhost:3000",
        "http://127.0.0.1:1/",
        "http://[::1]:65535/x",
        "http://[fe80::1%25eth0]/",
        "http://user:p%40ss@host.example/",
        "http://a@b@host/",
        "http://host:/path",
        "http://host:0080/",
        "http://under_score.example",
        "http://a/b#fragment",
        "http://a?q=%zz&x={}|^",
        'http://a/{b}|"<>\\`',
        "http://a/%e4%BA",
    ],
)
def test_a_url_is_taken_exactly_as_it_arrived(url):
    """PUB-1, PUB-4, PUB-6."""
    assert parse_destination(url) == Destination(DestinationKind.URL, url)


@pytest.mark.parametrize("name", ["my-group", "A.b_c-9", "localhost", "ex.com"])
def test_a_name_is_a_url_groups(name):
    """PUB-2, FMT-19."""
    group = Destination(DestinationKind.URL_GROUP, name)

    assert parse_destination(name) == group
    assert parse_destination(name + "?a=1") == group, "PUB-11"


@pytest.mark.parametrize("text", ["api/llm", "api/llm?model=x"])
def test_the_built_in_api_is_known_by_its_name(text):
    """PUB-2, LLM-1."""
    assert parse_destination(text) == Destination(DestinationKind.API, "llm")


@pytest.mark.parametrize("text", ["", "?a=1"])
def test_an_empty_destination_is_refused(text):
    """ERR-4."""
    assert refusal(text) == "a non-empty destination must be provided"


@pytest.mark.parametrize(
    "text",
    [
        "ex.com/a",
        "ftp://x",
        "v2/batch",
        "https%3A%2F%2Fex.com",
        "https:/ex.com",
        "http:ex.com",
        "//ex.com",
        "localhost:3000",
        "my group",
        "gruppé",
        "group/",
        "api/LLM",
        "name\n",
    ],
)
def test_anything_else_has_an_invalid_scheme(text):
    """PUB-8, BASE-5, Q-26."""
    assert refusal(text) == INVALID_SCHEME


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://", "endpoint has no host"),
        ("http:///path", "endpoint has no host"),
        ("http://?q", "endpoint has no host"),
        ("http://user@", "endpoint has no host"),
        ("http://:80", "endpoint has no host"),
        ("http://a b/", "endpoint contains ' ' at position 8, percent-encode it"),
        (
            "http://a/\r\nX: 1",
            "endpoint contains '\\r' at position 9, percent-encode it",
        ),
        ("http://a/\x00", "endpoint contains '\\x00' at position 9, percent-encode it"),
        ("http://é/", "endpoint contains '\\xe9' at position 7, percent-encode it"),
        ("http://a\x7f/", "endpoint contains '\\x7f' at position 8, percent-encode it"),
        ("http://a/%zz", 'endpoint contains the invalid escape "%zz"'),
        ("http://a/%", 'endpoint contains the invalid escape "%"'),
        ("http://a/%2", 'endpoint contains the invalid escape "%2"'),
        ("http://u%4@a/", 'endpoint contains the invalid escape "%4"'),
        ("http://a[b]@c/", "endpoint has invalid user information before the @"),
        ("http://a:b:80/", 'endpoint has an invalid host or port "a:b:80"'),
        ("http://a:8x/", 'endpoint has an invalid host or port "a:8x"'),
        ("http://::1/", 'endpoint has an invalid host or port "::1"'),
        ("http://[::1/", 'endpoint has an invalid host or port "[::1"'),
        ("http://[::1]x/", 'endpoint has an invalid host or port "[::1]x"'),
        ("http://a%41/", 'endpoint has an invalid host "a%41"'),
        ("http://a\\@b\\c/", "endpoint has invalid user information before the @"),
        ("http://a\\b/", 'endpoint has an invalid host "a\\\\b"'),
        ("http://<a>/", 'endpoint has an invalid host "<a>"'),
        ("http://[]/", 'endpoint has an invalid host "[]"'),
        ("http://[::x]/", 'endpoint has an invalid host "[::x]"'),
        ("http://[::1%eth0]/", 'endpoint has an invalid host "[::1%eth0]"'),
        ("http://[::1%25]/", 'endpoint has an invalid host "[::1%25]"'),
        ("http://a:0/", 'endpoint has an invalid port "0", it must be 1 to 65535'),
        (
            "http://a:65536/",
            'endpoint has an invalid port "65536", it must be 1 to 65535',
        ),
        (
            "http://a:123456/",
            'endpoint has an invalid port "123456", it must be 1 to 65535',
        ),
    ],
)
def test_a_url_that_cannot_be_called_is_refused_with_the_reason(url, reason):
    """PUB-7."""
    assert refusal(url) == f"invalid destination url: {reason}"


@pytest.mark.parametrize("text", ["", "group", "ftp://a", "https:/a", " http://a"])
def test_what_is_no_url_cannot_be_called(text):
    """CBK-13: a callback is never a URL group."""
    assert url_problem(text) == ("endpoint has invalid scheme, add http:// or https://")


def test_a_destination_has_a_longest_length():
    too_long = "invalid destination url: endpoint is longer than 16384 bytes"
    longest = "http://a/".ljust(MAX_DESTINATION_BYTES, "x")

    assert parse_destination(longest).text == longest
    assert refusal(longest + "x") == too_long
    assert refusal("x" * (MAX_DESTINATION_BYTES + 1)) == too_long


def test_a_port_of_any_length_is_refused_and_not_quoted_in_full():
    """PUB-7: int() refuses more than 4300 digits in its own words."""
    assert len(refusal("http://a:" + "9" * 5000)) < 200


def test_equal_destinations_share_one_object():
    """Messages wait in great numbers."""
    assert parse_destination("http://a/b" + "c") is parse_destination("http://a/bc")


@few
@given(RAW | RAW.map(lambda text: "http://" + text))
def test_parsing_a_destination_raises_nothing_but_request_errors(text):
    with suppress(RequestError):
        destination = parse_destination(text)
        assert text.startswith(destination.text) or destination.text == "llm"


@few
@given(st.text(max_size=20) | st.text("abAB09._-", min_size=1, max_size=20))
def test_a_resource_name_has_only_letters_digits_hyphens_underscores_and_dots(name):
    """FMT-19."""
    allowed = set(ascii_letters + "0123456789-_.")

    assert is_resource_name(name) == (bool(name) and set(name) <= allowed)


# What filters see.


@pytest.mark.parametrize(
    ("url", "host", "path"),
    [
        ("http://example.com", "example.com", "/"),
        ("http://example.com?q=/x", "example.com", "/"),
        ("https://Ex.com:443/a%2Fb//c?u=1#f", "Ex.com:443", "/a%2Fb//c"),
        ("http://u:p@[::1]:8080/", "[::1]:8080", "/"),
        ("http://host:/x#/y", "host:", "/x"),
    ],
)
def test_host_and_path_are_as_they_are_written(url, host, path):
    """FMT-15, PUB-5."""
    assert host_of(url) == host
    assert path_of(url) == path


def test_what_is_no_url_has_no_host():
    """LOG-12: a log entry of the built-in API has no URL to speak of."""
    assert host_of("llm") == ""
    assert path_of("llm") == "/"


@few
@given(
    st.sampled_from(["http://", "HTTPS://"]),
    st.sampled_from(["", "u@", "u:p@"]),
    st.sampled_from(["a", "a.b:80", "[::1]", "[::1]:1"]),
    st.sampled_from(["", "/", "/a//b", "/%20"]),
    st.sampled_from(["", "?", "?a=1/?b"]),
    st.sampled_from(["", "#", "#/x?y"]),
)
def test_a_url_put_together_has_the_parts_it_was_made_of(
    scheme, userinfo, host, path, query, fragment
):
    url = scheme + userinfo + host + path + query + fragment

    assert url_problem(url) is None
    assert (host_of(url), path_of(url)) == (host, path or "/")
