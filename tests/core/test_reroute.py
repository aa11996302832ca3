"""emulator/core/reroute.py: where to connect instead."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.core.reroute import (
    Route,
    make_route,
    parse_route,
    repeated_origin,
    reroute,
)

few = settings(max_examples=60)

LOCAL = "http://127.0.0.1:3000"
ROUTE = parse_route(f"https://app.example={LOCAL}")

ORIGINS = st.builds(
    lambda scheme, host, port: f"{scheme}://{host}{port}",
    st.sampled_from(["http", "https", "HTTP"]),
    st.sampled_from(["a", "App.example", "127.0.0.1", "[::1]"]),
    st.sampled_from(["", ":80", ":443", ":3000"]),
)


def test_a_route_is_two_origins():
    assert parse_route(f"https://app.example={LOCAL}") == Route(
        "https://app.example", LOCAL
    )
    assert parse_route(f" https://app.example = {LOCAL} ") == ROUTE


@few
@given(ORIGINS, ORIGINS)
def test_a_route_written_out_is_the_same_route(origin, target):
    assert parse_route(str(Route(origin, target))) == make_route(origin, target)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("https://app.example", '"https://app.example" has no "="'),
        ("", '"" has no "="'),
        ("app.example=http://b", '"app.example" doesn\'t start with http:// or'),
        ("https://a=3000", '"3000" doesn\'t start with http:// or https://'),
        ("https://a=", '"" doesn\'t start with http:// or https://'),
        ("https://a/=http://b", '"https://a/" goes on after the host, remove "/"'),
        ("https://a=http://b/x", '"http://b/x" goes on after the host, remove "/x"'),
        ("https://a?q=http://b", '"https://a?q" goes on after the host, remove "?q"'),
        ("https://a#f=http://b", '"https://a#f" goes on after the host, remove "#f"'),
        ("https://u@a=http://b", '"https://u@a" contains user information'),
        ("https://a=http://b:0", '"http://b:0" has an invalid port "0"'),
        ("https://=http://b", '"https://" has no host'),
        ("https://a=http://b c", "\"http://b c\" contains ' ' at position 8"),
    ],
)
def test_what_is_no_route_is_refused_with_the_reason_and_an_example(text, reason):
    with pytest.raises(ValueError) as caught:
        parse_route(text)

    assert str(caught.value).startswith(reason)
    assert str(caught.value).endswith(
        "a route looks like https://app.example=http://127.0.0.1:3000"
    )


@pytest.mark.parametrize(("origin", "target"), [(None, LOCAL), (LOCAL, 3000)])
def test_a_table_needs_two_texts(origin, target):
    with pytest.raises(ValueError, match='a route has "from" and "to", both texts'):
        make_route(origin, target)


def test_all_that_follows_the_origin_is_kept_to_the_letter():
    """BASE-3."""
    url = "https://app.example/a%2Fb//c?u=https://z.com/?q=1#f"

    assert reroute(url, (ROUTE,)) == LOCAL + "/a%2Fb//c?u=https://z.com/?q=1#f"


@pytest.mark.parametrize(
    "url",
    [
        "https://app.example",
        "https://app.example:443",
        "https://app.example:0443",
        "https://app.example:",
        "HTTPS://APP.example",
    ],
)
def test_an_origin_matches_in_any_case_and_with_its_default_port(url):
    assert reroute(url, (ROUTE,)) == LOCAL


@pytest.mark.parametrize(
    "url",
    [
        "http://app.example/",
        "https://app.example:80/",
        "https://app.example.evil/",
        "https://sub.app.example/",
        "https://app.example@evil/",
        "https://evil/?https://app.example",
        "not a url",
    ],
)
def test_another_origin_is_left_alone(url):
    assert reroute(url, (ROUTE,)) is url


def test_the_address_of_an_ipv6_host_has_colons_of_its_own():
    routes = (parse_route("http://[::1]=http://[::1]:9"),)

    assert reroute("http://[::1]:80/x", routes) == "http://[::1]:9/x"
    assert reroute("http://[::1]:81/x", routes) == "http://[::1]:81/x"


def test_user_information_goes_along():
    assert reroute("https://u:p@app.example/x", (ROUTE,)) == (
        "http://u:p@127.0.0.1:3000/x"
    )


def test_the_first_route_that_matches_decides():
    routes = (
        parse_route("https://other.example=http://127.0.0.1:1"),
        parse_route("https://app.example:443=http://127.0.0.1:2"),
        parse_route("https://app.example=http://127.0.0.1:3"),
    )

    assert reroute("https://app.example/", routes) == "http://127.0.0.1:2/"


def test_without_routes_every_url_is_left_alone():
    url = "https://app.example/"

    assert reroute(url, ()) is url


@few
@given(st.text(max_size=40) | st.text("htps:/@[]?#1a", max_size=40))
def test_any_text_can_be_rerouted(rest):
    for url in (rest, "http://" + rest):
        connect_to = reroute(url, (ROUTE, parse_route("http://1=http://2")))

        assert connect_to == url or connect_to.startswith("http://")


@few
@given(st.text(max_size=40) | st.text("htps:/=@[]?#1a", max_size=40))
def test_parsing_a_route_raises_nothing_but_value_errors(text):
    for candidate in (text, f"http://a=http://{text}"):
        with suppress(ValueError):
            route = parse_route(candidate)
            assert parse_route(str(route)) == route


# Two routes for one origin


@pytest.mark.parametrize("second", ["https://app.example", "HTTPS://App.example:443"])
def test_an_origin_that_has_two_routes_is_found(second):
    other = Route("http://app.example", LOCAL)

    assert repeated_origin((ROUTE, other, Route(second, "http://b"))) == second


def test_different_origins_may_have_one_target():
    assert repeated_origin(()) is None
    assert repeated_origin((ROUTE, Route("https://app.example:8443", LOCAL))) is None
