"""tunnel/grant.py: what a token allows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.errors import SettingsRefused
from tunnel.grant import ANYTHING, MAX_PATTERNS, Grant, grant_of, parse_patterns
from tunnel.names import NameRefused, parse_name

RANDOM = "brave-otter-k7m2qx"


def test_claims_that_are_left_out_allow_random_names_and_restrict_nothing_else():
    grant = grant_of({})

    assert grant == Grant()
    assert grant.allows_name(RANDOM)
    assert not grant.allows_name("app")
    assert not grant.is_admin


def test_all_claims_are_read():
    claims = {
        "sub": "me",
        "names": ["App", "team-*"],
        "paths": ["/api/"],
        "rate": 5,
        "max_tunnels": 2,
        "exp": 1_700_000_000.9,
        "jti": "j1",
        "admin": True,
        "scope": "made by another issuer",
    }

    assert grant_of(claims) == Grant(
        subject="me",
        names=("app", "team-*"),
        paths=("/api",),
        rate=5,
        max_tunnels=2,
        expires_s=1_700_000_000,
        jti="j1",
        is_admin=True,
    )


@pytest.mark.parametrize(
    ("names", "name", "expected"),
    [
        (["app"], "app", True),
        (["app"], "app2", False),
        (["app"], RANDOM, False),
        (["team-*"], "team-a", True),
        (["team-*"], "team", False),
        (["team-*"], "teams-a", False),
        (["a", "b-*"], "b-c", True),
        (["*"], "app", True),
        (["*"], RANDOM, True),
        ([], RANDOM, False),
    ],
)
def test_a_name_is_allowed_exactly_or_by_its_prefix(names, name, expected):
    assert grant_of({"names": names}).allows_name(name) is expected


def test_without_tokens_everything_is_allowed():
    assert ANYTHING.allows_name("app")
    assert ANYTHING.is_admin


@pytest.mark.parametrize(
    ("names", "own_name"),
    [
        (None, None),
        (("app",), "app"),
        (("app", "web"), None),
        (("app-*",), None),
        (("*",), None),
        ((), None),
    ],
)
def test_the_only_name_is_for_who_asks_for_none(names, own_name):
    assert Grant(names=names).own_name == own_name


@pytest.mark.parametrize("paths", [["/"], ["/api", "/"], []])
def test_the_root_among_the_paths_restricts_nothing(paths):
    assert grant_of({"paths": paths}).paths == ()


@pytest.mark.parametrize("admin", [1, "true", [True], None, False])
def test_only_true_makes_an_admin(admin):
    assert not grant_of({"admin": admin}).is_admin


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        ("sub", 1),
        ("sub", "a\nb"),
        ("names", "app"),
        ("names", [1]),
        ("names", ["a_b"]),
        ("names", ["a*"]),
        ("names", ["*-a"]),
        ("names", ["-*"]),
        ("names", ["*-*"]),
        ("names", ["www"]),
        ("names", ["a"] * (MAX_PATTERNS + 1)),
        ("paths", None),
        ("paths", ["api"]),
        ("paths", ["/../x"]),
        ("rate", 0),
        ("rate", 1.5),
        ("max_tunnels", 0),
        ("exp", "tomorrow"),
        ("exp", True),
        ("exp", -1),
        ("exp", 1e300),
        ("exp", float("nan")),
        ("exp", float("inf")),
        ("jti", ["a"]),
        ("jti", "a" * 257),
    ],
)
def test_a_claim_that_cannot_be_is_refused_by_its_name(claim, value):
    with pytest.raises(SettingsRefused) as caught:
        grant_of({claim: value})

    assert caught.value.setting == claim


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)
claims = st.sampled_from(["sub", "names", "paths", "rate", "max_tunnels", "exp", "jti"])


@given(st.dictionaries(claims, json_values))
def test_nothing_else_than_a_refusal_is_raised_for_claims(values):
    try:
        grant = grant_of(values)
    except SettingsRefused:
        return

    assert grant.expires_s is None or grant.expires_s >= 0


@given(st.lists(st.text("ab*-", min_size=1, max_size=6), max_size=4))
def test_a_pattern_that_is_accepted_allows_what_it_says(patterns):
    try:
        names = parse_patterns(patterns)
    except SettingsRefused:
        return

    for pattern in names:
        name = pattern.replace("*", "x")
        try:
            parse_name(name)
        except NameRefused:
            continue
        assert Grant(names=names).allows_name(name)
    assert parse_patterns(names) == names
