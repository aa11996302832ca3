"""tunnel/access.py: all of access in one place."""

from importlib import import_module

import pytest

from tunnel import access

HOMES = (
    "basic_auth",
    "forwarded",
    "grant",
    "keys",
    "networks",
    "policy",
    "rate",
    "tokens",
)


@pytest.mark.parametrize("name", access.__all__)
def test_a_name_is_the_one_of_its_own_module(name):
    homes = [
        module
        for home in HOMES
        if name in (module := import_module(f"tunnel.{home}")).__all__
    ]

    assert [getattr(home, name) for home in homes] == [getattr(access, name)]


def test_a_token_opens_what_its_policy_then_narrows():
    secret = bytes(range(16))
    token = access.make_token(
        secret,
        names=["app"],
        expires_s=None,
        issued_s=0,
        jti="j",
        paths=["/api"],
        rate=5,
    )
    grant = access.Verifier(secret=secret).verify(token, 0)
    policy = access.make_policy(rate=9).narrowed(grant.paths, grant.rate)

    assert grant.allows_name("app")
    assert policy.rate == 5
    assert policy.check("203.0.113.7", b"/api/x", None) is None
    assert policy.check("203.0.113.7", b"/admin", None) is not None
