"""tunnel/forwarded.py: who the visitor is, behind proxies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.forwarded import (
    MAX_ELEMENTS,
    UNKNOWN,
    Origin,
    TrustedProxies,
    forwarded,
)
from tunnel.networks import parse_address, parse_networks

OURS = parse_networks(["10.0.0.0/8", "fd00::/8"], "trusted_proxies")
PROXY = "10.0.0.1"
VISITOR = "203.0.113.7"


def origin(*fields, peer=PROXY, trusted=OURS):
    pairs = [
        (name.encode(), value.encode())
        for name, _, value in (field.partition(": ") for field in fields)
    ]
    return forwarded(pairs, peer, trusted)


# Whom to believe


@pytest.mark.parametrize(
    ("peer", "trusted"),
    [(VISITOR, OURS), (PROXY, ()), ("no address", OURS), ("", OURS)],
)
def test_a_peer_that_is_not_trusted_is_the_visitor_whatever_it_says(peer, trusted):
    found = origin(
        "X-Forwarded-For: 1.1.1.1",
        "X-Forwarded-Proto: https",
        "Forwarded: for=1.1.1.1",
        peer=peer,
        trusted=trusted,
    )

    assert found == Origin(peer)


def test_a_trusted_peer_that_says_nothing_is_the_visitor():
    assert origin("Host: a") == Origin(PROXY)


def test_a_trusted_peer_in_ipv6s_clothes_is_believed():
    assert origin(f"X-Forwarded-For: {VISITOR}", peer=f"::ffff:{PROXY}") == Origin(
        VISITOR
    )


# X-Forwarded-*


def test_what_a_trusted_proxy_says_is_believed():
    found = origin(
        f"x-forwarded-for: {VISITOR}",
        "X-FORWARDED-PROTO: HTTPS",
        "X-Forwarded-Host: App.example:8443",
    )

    assert found == Origin(VISITOR, "https", b"App.example:8443")


@pytest.mark.parametrize(
    ("value", "client"),
    [
        (f"1.1.1.1, {VISITOR}", VISITOR),
        (f"1.1.1.1, {VISITOR}, 10.0.0.2", VISITOR),
        (f"10.9.9.9, {VISITOR},10.0.0.2 , fd00::1", VISITOR),
        (f"<script>, {VISITOR}", VISITOR),
        ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("203.0.113.7:5000", VISITOR),
        ("[2001:db8::1]:5000", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("::ffff:203.0.113.7", VISITOR),
        (f",, {VISITOR},", VISITOR),
        ("", PROXY),
        (" , ", PROXY),
    ],
)
def test_the_visitor_is_the_last_that_is_not_ours(value, client):
    assert origin(f"X-Forwarded-For: {value}").client == client


def test_several_lines_are_one_list():
    fields = [f"X-Forwarded-For: 1.1.1.1, {VISITOR}", "X-Forwarded-For: 10.0.0.2"]

    assert origin(*fields).client == VISITOR


@pytest.mark.parametrize(
    "value",
    ["unknown", "_hidden", "evil", "1.1.1.1, unknown, 10.0.0.2", "é", "[::1", "[]:1"],
)
def test_a_visitor_that_cannot_be_read_is_unknown(value):
    assert origin(f"X-Forwarded-For: {value}").client == UNKNOWN
    assert parse_address(UNKNOWN) is None


def test_a_list_without_end_is_not_walked():
    fine = ", ".join([VISITOR] + ["10.0.0.2"] * (MAX_ELEMENTS - 1))

    assert origin(f"X-Forwarded-For: {fine}").client == VISITOR
    assert origin(f"X-Forwarded-For: {VISITOR}, {fine}").client == UNKNOWN


@pytest.mark.parametrize(
    ("protos", "scheme"),
    [
        ("https", "https"),
        ("wss", "https"),
        ("ws", "http"),
        ("gopher", None),
        ("", None),
        ("gopher, https, http", "https"),
        ("https, http", "https"),
    ],
)
def test_the_scheme_is_said_by_the_proxy_that_saw_the_visitor(protos, scheme):
    found = origin(
        f"X-Forwarded-For: 1.1.1.1, {VISITOR}, 10.0.0.2", f"X-Forwarded-Proto: {protos}"
    )

    assert found == Origin(VISITOR, scheme)


@pytest.mark.parametrize(
    ("value", "host"),
    [
        ("app.example", b"app.example"),
        ("app.example.:80", b"app.example.:80"),
        ("[2001:db8::1]:80", b"[2001:db8::1]:80"),
        ("made-up, app.example", b"app.example"),
        ("a b", None),
        ("a/b", None),
        ("me@app.example", None),
        ("app.example:port", None),
        ("..", None),
        ("a" * 300, None),
    ],
)
def test_a_host_is_believed_if_it_is_one(value, host):
    found = origin(f"X-Forwarded-For: {VISITOR}", f"X-Forwarded-Host: {value}")

    assert found == Origin(VISITOR, None, host)


# Forwarded


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (f"for={VISITOR};proto=https;host=app.dev", (VISITOR, "https", b"app.dev")),
        (f"For={VISITOR} ; PROTO=http", (VISITOR, "http", None)),
        ('for="[2001:db8::1]:80";by=_us', ("2001:db8::1", None, None)),
        ('for="203.0.113.7:80";host="app.dev:81"', (VISITOR, None, b"app.dev:81")),
        ('for="203.0.\\113.7"', (VISITOR, None, None)),
        (f"for=1.1.1.1;proto=http, for={VISITOR}", (VISITOR, None, None)),
        (
            f"for={VISITOR};proto=https,for=10.0.0.2;proto=http",
            (VISITOR, "https", None),
        ),
        ("for=10.0.0.3,for=10.0.0.2;proto=http", ("10.0.0.3", None, None)),
        (f'for="1,2;3",, ,for={VISITOR},', (VISITOR, None, None)),
        ("", (PROXY, None, None)),
        ("for=unknown;proto=https", (UNKNOWN, "https", None)),
        ("proto=https", (UNKNOWN, "https", None)),
        ('for="<b>";host="a b"', (UNKNOWN, None, None)),
    ],
)
def test_forwarded_is_read_as_rfc_7239_says(value, expected):
    assert origin(f"Forwarded: {value}") == Origin(*expected)


@pytest.mark.parametrize(
    "value",
    [
        f'for="evil, for={VISITOR}',
        f'for=1.1.1.1;x=", for="{VISITOR}"',
        f"for={VISITOR};for=1.1.1.1",
        f"for ={VISITOR}",
        f"for= {VISITOR}",
        f"for:{VISITOR}",
        f"{VISITOR}",
        f'for="{VISITOR}"x',
        f"for={VISITOR} proto=https",
        f"for={VISITOR}" + ",for=10.0.0.2" * MAX_ELEMENTS,
    ],
)
def test_a_malformed_forwarded_makes_the_visitor_unknown(value):
    assert origin(f"Forwarded: {value}") == Origin(UNKNOWN)


def test_spaces_without_end_are_read_once():
    for spaces in (8000, 60_000):
        value = "for=1.1.1.1" + " " * spaces + "x"

        assert origin(f"Forwarded: {value}") == Origin(UNKNOWN)


def test_a_forwarded_longer_than_any_is_not_read():
    assert origin(f"Forwarded: for={VISITOR};" + " " * 9000) == Origin(UNKNOWN)


# Both


def test_both_may_say_the_same():
    found = origin(
        f"X-Forwarded-For: {VISITOR}",
        "X-Forwarded-Proto: https",
        f"Forwarded: for={VISITOR};proto=https;host=made.up",
    )

    assert found == Origin(VISITOR, "https", None)


def test_two_different_visitors_are_none():
    found = origin(
        f"X-Forwarded-For: {VISITOR}",
        "X-Forwarded-Proto: https",
        "Forwarded: for=10.0.0.9;proto=https",
    )

    assert found == Origin(UNKNOWN)


values = st.text(st.characters(max_codepoint=255), max_size=60) | st.lists(
    st.sampled_from(
        [
            "for=",
            "proto=",
            "host=",
            '"',
            "\\",
            ",",
            ";",
            " ",
            "1.2.3.4",
            "10.0.0.2",
            "[",
            "]",
        ]
    ),
    max_size=12,
).map("".join)
names = st.sampled_from(
    ["Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Host"]
)


@given(st.lists(st.tuples(names, values), max_size=6))
def test_whatever_the_fields_say_the_origin_is_clean(fields):
    found = forwarded(
        [(name.encode(), value.encode("latin-1")) for name, value in fields],
        PROXY,
        OURS,
    )

    assert found.client == UNKNOWN or parse_address(found.client) is not None
    assert found.scheme in (None, "http", "https")
    assert found.host is None or not set(found.host) & set(b" \r\n\t,;/@\"'<>\\")


# Of whole heads


def a_head(*fields):
    return "\r\n".join(["GET / HTTP/1.1", "Host: a", *fields, "", ""]).encode("latin-1")


def test_a_head_is_searched_for_what_proxies_say():
    proxies = TrustedProxies(OURS)
    head = a_head("x-forwarded-FOR:203.0.113.7 \t", "X-Forwarded-Proto:  https")

    for _ in range(2):  # the second time from memory
        assert proxies.origin(head, PROXY) == Origin(VISITOR, "https")
        assert proxies.origin(head, "192.0.2.1") == Origin("192.0.2.1")
    assert proxies.origin(a_head(), PROXY) == Origin(PROXY)


def test_a_proxy_is_known_by_its_address():
    proxies = TrustedProxies(OURS)

    assert [proxies.trusts(peer) for peer in (PROXY, PROXY, "203.0.113.9", "")] == [
        True,
        True,
        False,
        False,
    ]


def test_only_whole_field_names_count():
    head = a_head(
        "X-X-Forwarded-For: 1.1.1.1",
        "X-Forwarded-For2: 1.1.1.1",
        "Referer: X-Forwarded-For: 1.1.1.1",
        "Not-Forwarded: for=1.1.1.1",
    )

    assert TrustedProxies(OURS).origin(head, PROXY) == Origin(PROXY)


def test_what_is_remembered_is_bounded_in_number_and_bytes():
    proxies = TrustedProxies(OURS)
    for number in range(5000):
        visitor = f"198.18.{number // 256}.{number % 256}"
        head = a_head(f"X-Forwarded-For: {visitor}")
        assert proxies.origin(head, PROXY).client == visitor
        proxies.origin(head, visitor)
    long = a_head("X-Forwarded-For: " + " " * 1000 + VISITOR)
    before = len(proxies._origins)

    assert proxies.origin(long, PROXY).client == VISITOR
    assert len(proxies._origins) == before < 5000
    assert len(proxies._trusted) < 5000


@given(st.lists(st.tuples(names, values), max_size=4))
def test_a_head_is_read_like_its_fields(fields):
    clean = [
        (name, "".join(c for c in value if c not in "\r\n")) for name, value in fields
    ]
    head = a_head(*(f"{name}: {value}" for name, value in clean))
    pairs = [(name.encode(), value.encode("latin-1")) for name, value in clean]

    assert TrustedProxies(OURS).origin(head, PROXY) == forwarded(pairs, PROXY, OURS)


@given(values)
def test_whatever_a_visitor_writes_the_proxys_word_counts(value):
    written = value.encode("latin-1")
    found = forwarded(
        [(b"X-Forwarded-For", written + b", " + VISITOR.encode())], PROXY, OURS
    )
    other = forwarded(
        [(b"Forwarded", written + b", for=" + VISITOR.encode())], PROXY, OURS
    )

    assert found.client in (VISITOR, UNKNOWN)
    assert other.client in (VISITOR, UNKNOWN)
