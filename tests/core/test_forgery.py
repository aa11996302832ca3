"""emulator/core/forgery.py: tokens that are wrong in exactly one way."""

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.core.explain import explain
from emulator.core.explain_text import CauseKind as Kind
from emulator.core.forgery import Variant, forge, sign_variant
from emulator.core.signature import sign
from emulator.settings import DEV_USERS
from tests.doubles import T0

few = settings(max_examples=60, deadline=None)

KEYS = DEV_USERS[0].keys
URL = "http://localhost:3000/api/hook"

EXPECTED = {
    Variant.VALID: None,
    Variant.NEXT_KEY: Kind.NEXT_KEY,
    Variant.WRONG_KEY: Kind.KEY_UNKNOWN,
    Variant.EXPIRED: Kind.EXPIRED,
    Variant.NOT_YET_VALID: Kind.NOT_YET_VALID,
    Variant.WRONG_BODY: Kind.BODY_ALTERED,
    Variant.WRONG_URL: Kind.URL_PATH,
    Variant.WRONG_ISSUER: Kind.ISSUER,
    Variant.MALFORMED: Kind.MALFORMED,
}


def a_token(kind, *, body=b"{}", url=URL, now_ms=T0):
    return sign_variant(
        kind, body=body, url=url, keys=KEYS, now_ms=now_ms, jwt_id="jwt_1"
    )


def causes(token, *, body=b"{}", url=URL, now_ms=T0):
    explanation = explain(
        signature=token,
        body=body,
        url=url,
        current_signing_key=KEYS.current,
        next_signing_key=KEYS.next,
        now_ms=now_ms,
        known_users={user.name: user.keys for user in DEV_USERS},
    )
    return [cause.kind for cause in explanation.causes]


def test_every_variant_is_tested():
    assert set(EXPECTED) == set(Variant)


@pytest.mark.parametrize(("variant", "kind"), EXPECTED.items())
def test_a_variant_is_wrong_in_exactly_one_way(variant, kind):
    assert causes(a_token(variant)) == ([] if kind is None else [kind])


@few
@given(
    variant=st.sampled_from(list(Variant)),
    body=st.binary(max_size=60),
    path=st.text("ab/?#%&=.", max_size=12),
    now_ms=st.integers(10**9, 2**50),
)
def test_a_variant_is_wrong_in_that_way_whatever_is_signed(variant, body, path, now_ms):
    request = {"body": body, "url": f"http://a.b/{path}", "now_ms": now_ms}
    expected = EXPECTED[variant]
    if variant is Variant.WRONG_BODY and not body:
        expected = Kind.BODY_EMPTY

    found = causes(a_token(variant, **request), **request)

    assert found == ([] if expected is None else [expected])


def test_a_url_without_a_path_gets_another_one():
    request = {"url": "http://a.b"}

    assert causes(a_token(Variant.WRONG_URL, **request), **request) == [Kind.URL_PATH]


def test_the_valid_variant_is_what_qstash_signs():
    """SIG-12, SIG-13."""
    token = sign(body=b"{}", url=URL, key=KEYS.current, now_ms=T0, jwt_id="jwt_1")

    assert a_token("valid") == token


def test_an_unknown_kind_of_variant_is_an_error():
    with pytest.raises(ValueError, match="'nonesuch' is not a valid Variant"):
        a_token("nonesuch")


def test_any_claims_can_be_signed_under_any_header():
    token = forge({"a": "é", "b": [1]}, key=KEYS.next)
    other = forge({}, key=KEYS.next, header={"alg": "none"})

    assert jwt.decode(token, KEYS.next, algorithms=["HS256"]) == {"a": "é", "b": [1]}
    assert jwt.get_unverified_header(other) == {"alg": "none"}
