"""tunnel/names.py and tunnel/words.py: names, and which one a request is meant for."""

from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.names import (
    RANDOM_BYTES,
    RESERVED,
    Address,
    NameRefused,
    address_of,
    is_random_name,
    parse_name,
    public_url,
    random_name,
)
from tunnel.words import ADJECTIVES, ANIMALS

LONGEST = "a" * 63

names = st.from_regex(r"\A[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z").filter(
    lambda name: name[2:4] != "--" and name not in RESERVED
)


# Names


@pytest.mark.parametrize("name", ["a", "7", "brave-otter", "a--b", LONGEST])
def test_a_dns_label_is_a_name(name):
    assert parse_name(name) == name


def test_a_name_is_kept_in_lower_case():
    assert parse_name("Brave-Otter") == "brave-otter"


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("", "1 to 63"),
        (LONGEST + "a", "1 to 63"),
        ("-a", "at either end"),
        ("a-", "at either end"),
        ("a.b", "letters, digits"),
        ("a_b", "letters, digits"),
        ("a b", "letters, digits"),
        ("a\n", "letters, digits"),
        ("été", "letters, digits"),
        ("xn--80ak6aa92e", "kept for encoded names"),
        ("www", "choose another"),
        ("API", "choose another"),
    ],
)
def test_what_is_no_name_is_refused_with_a_remedy(name, remedy):
    with pytest.raises(NameRefused) as caught:
        parse_name(name)

    assert caught.value.name == name
    assert remedy in str(caught.value)


def test_a_refused_name_is_shown_cut_and_escaped():
    with pytest.raises(NameRefused) as caught:
        parse_name("\x1b[2J" + "a" * 1000)

    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


@given(st.text(max_size=70))
def test_parsing_a_name_returns_a_name_or_refuses_it(text):
    try:
        name = parse_name(text)
    except NameRefused:
        return

    assert parse_name(name) == name
    assert name.isascii()


# Random names


def test_the_words_are_short_plain_and_all_different():
    words = ADJECTIVES + ANIMALS

    assert len(set(words)) == len(words)
    assert all(w.isascii() and w.isalpha() and w.islower() for w in words)
    assert all(3 <= len(word) <= 8 for word in words)
    assert list(ADJECTIVES) == sorted(ADJECTIVES)
    assert list(ANIMALS) == sorted(ANIMALS)


def test_a_random_name_has_at_least_forty_bits():
    assert 64 <= len(ADJECTIVES) <= 128
    assert 64 <= len(ANIMALS) <= 128
    assert log2(len(ADJECTIVES) * len(ANIMALS) * 28**6) >= 40


def test_a_random_name_is_two_words_and_a_suffix():
    assert random_name(bytes(16)) == f"{ADJECTIVES[0]}-{ANIMALS[0]}-222222"


def test_every_random_byte_counts():
    made = {random_name(bytes(i) + b"\x01" + bytes(15 - i)) for i in range(16)}

    assert len(made) == 16


def test_too_little_chance_makes_no_random_name():
    with pytest.raises(ValueError, match="16 random bytes"):
        random_name(b"\x00" * (RANDOM_BYTES - 1))


@given(st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES))
def test_a_random_name_is_a_name_and_is_recognized(token_bytes):
    name = random_name(token_bytes)

    assert parse_name(name) == name
    assert is_random_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "otter",
        "brave-otter",
        "brave-otter-",
        "brave-otter-k7m2q",
        "brave-otter-k7m2qxx",
        "brave-otter-k7m2qa",
        "brave-otter-k7m2qx-x",
        "otter-brave-k7m2qx",
        "brave-brave-k7m2qx",
        "brave-otter-k7m2qx\n",
    ],
)
def test_a_chosen_name_does_not_pass_as_random(name):
    assert is_random_name("brave-otter-k7m2qx")
    assert not is_random_name(name)


# Addresses


@pytest.mark.parametrize(
    "host",
    [
        b"app.relay.dev",
        b"APP.Relay.DEV",
        b"app.relay.dev:8443",
        b"app.relay.dev:",
        b"app.relay.dev.",
        b"app.relay.dev.:80",
    ],
)
def test_a_host_below_the_domain_names_a_tunnel(host):
    assert address_of(host, b"/", None, "relay.dev") == Address("app", b"", "host")


def test_the_host_wins_over_path_and_header():
    address = address_of(b"app.relay.dev", b"/t/other/", b"third", "relay.dev")

    assert address == Address("app")


@pytest.mark.parametrize(
    "host", [b"a.b.relay.dev", b".relay.dev", b"a_b.relay.dev", b"www.relay.dev"]
)
def test_a_host_below_the_domain_that_is_no_name_is_no_tunnels(host):
    assert address_of(host, b"/t/app/", b"app", "relay.dev") is None


@pytest.mark.parametrize(
    "host",
    [
        b"relay.dev",
        b"relay.dev:443",
        b"127.0.0.1:8000",
        b"[::1]:8000",
        b"inner.proxy",
        b"apprelay.dev",
        b"relay.dev.evil",
        b"\xff",
        b"",
    ],
)
@pytest.mark.parametrize(
    ("path", "prefix"),
    [
        (b"/t/app/a/b", b"/t/app"),
        (b"/t/app/", b"/t/app"),
        (b"/t/app", b"/t/app"),
        (b"/t/app?a=/b", b"/t/app"),
        (b"/t/APP/x", b"/t/APP"),
    ],
)
def test_elsewhere_the_path_names_a_tunnel(host, path, prefix):
    address = address_of(host, path, b"other", "relay.dev")

    assert address == Address("app", prefix, "path")


def test_the_longest_name_fits_into_a_path():
    path = f"/t/{LONGEST}".encode()

    assert address_of(b"relay.dev", path, None, "relay.dev") == Address(
        LONGEST, path, "path"
    )
    assert address_of(b"relay.dev", path + b"/x", None, "relay.dev") == Address(
        LONGEST, path, "path"
    )
    assert address_of(b"relay.dev", path + b"a/x", None, "relay.dev") is None


@pytest.mark.parametrize(
    "path", [b"/", b"/t", b"/t/", b"/t//a", b"/t/a%20b/", b"/T/app", b"/x/t/app", b"*"]
)
def test_a_path_without_a_name_leaves_it_to_the_header(path):
    assert address_of(b"relay.dev", path, None, "relay.dev") is None
    assert address_of(b"relay.dev", path, b" App\t", "relay.dev") == Address(
        "app", b"", "header"
    )


@pytest.mark.parametrize("header", [b"", b"a b", b"\xff", b"a" * 300])
def test_a_header_that_is_no_name_names_no_tunnel(header):
    assert address_of(b"relay.dev", b"/", header, "relay.dev") is None


def test_a_host_longer_than_any_is_not_looked_at():
    host = b"a" * 300 + b".relay.dev"

    assert address_of(host, b"/t/app/", None, "relay.dev") is None


@given(
    host=st.binary(max_size=300),
    path=st.binary(max_size=100).map(lambda rest: b"/t/" + rest) | st.binary(),
    header=st.none() | st.binary(max_size=300),
)
def test_whatever_a_request_says_the_address_has_a_valid_name(host, path, header):
    address = address_of(host, path, header, "localhost")

    if address is not None:
        assert parse_name(address.name) == address.name
        assert path.startswith(address.prefix)
        assert path[len(address.prefix) :][:1] in (b"", b"/", b"?") or not (
            address.prefix
        )


# Public URLs


@pytest.mark.parametrize(
    ("scheme", "domain", "port", "wildcard", "url"),
    [
        ("https", "relay.dev", None, True, "https://app.relay.dev"),
        ("https", "relay.dev", 443, True, "https://app.relay.dev"),
        ("https", "relay.dev", 8443, True, "https://app.relay.dev:8443"),
        ("http", "localhost", 8000, True, "http://app.localhost:8000"),
        ("http", "localhost", 80, True, "http://app.localhost"),
        ("https", "relay.dev", None, False, "https://relay.dev/t/app"),
        ("http", "127.0.0.1", 8000, False, "http://127.0.0.1:8000/t/app"),
    ],
)
def test_the_public_url_is_as_short_as_can_be(scheme, domain, port, wildcard, url):
    assert url == public_url(
        "app", scheme=scheme, domain=domain, port=port, wildcard=wildcard
    )


@given(name=names, wildcard=st.booleans())
def test_a_public_url_leads_to_its_tunnel(name, wildcard):
    url = public_url(
        name, scheme="http", domain="localhost", port=8000, wildcard=wildcard
    )
    host, slash, path = url.removeprefix("http://").partition("/")
    address = address_of(host.encode(), (slash + path).encode(), None, "localhost")

    assert address is not None
    assert address.name == name
