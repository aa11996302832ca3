"""emulator/core/signature.py: the JWT of a delivery (contract section 13)."""

from base64 import urlsafe_b64decode
from hashlib import sha256

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.core.signature import LIFETIME_S, sign

few = settings(max_examples=50, deadline=None)

KEY = "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r"
JWT_ID = "jwt_67kxXD6UBAk7DqU6hzuHMDdXFXfP"


def a_token(**changes):
    facts = {
        "body": b'{"hello":"world"}',
        "url": "http://127.0.0.1:3000/api/hook?x=1",
        "key": KEY,
        "now_ms": 1_700_000_000_000,
        "jwt_id": JWT_ID,
    }
    return sign(**facts | changes)


def claims_of(token, key=KEY):
    """Verify with PyJWT, but for what depends on its clock."""
    return jwt.decode(
        token,
        key,
        algorithms=["HS256"],
        issuer="Upstash",
        options={
            "require": ["iss", "sub", "exp", "nbf", "iat", "jti"],
            "verify_exp": False,
            "verify_iat": False,
        },
    )


def test_the_test_vector_is_met_to_the_last_character():
    """SIG-13, and with it SIG-2, SIG-3, SIG-4 and SIG-12."""
    assert a_token() == (
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."
        "eyJhdWQiOiIiLCJib2R5IjoiazZJNWNha1U1ZXJMOEtqU1VWVE5vd25Ed2NjdnU1a1UxSHhnODh0"
        "b0ZZZz0iLCJleHAiOjE3MDAwMDAzMDAsImlhdCI6MTcwMDAwMDAwMCwiaXNzIjoiVXBzdGFzaCIs"
        "Imp0aSI6Imp3dF82N2t4WEQ2VUJBazdEcVU2aHp1SE1EZFhGWGZQIiwibmJmIjowLCJzdWIiOiJo"
        "dHRwOi8vMTI3LjAuMC4xOjMwMDAvYXBpL2hvb2s_eD0xIn0."
        "bRdFll49569uOpX8UfmdnLlSiuYwN0QPjB15ahl7rgE"
    )


def test_the_claims_stand_in_alphabetical_order():
    """SIG-12."""
    assert list(claims_of(a_token())) == [
        "aud",
        "body",
        "exp",
        "iat",
        "iss",
        "jti",
        "nbf",
        "sub",
    ]


@few
@given(
    body=st.binary(max_size=200),
    url=st.text(max_size=60).map(lambda rest: "http://example.com/" + rest),
    key=st.text(st.characters(codec="utf-8"), min_size=32, max_size=60),
    now_ms=st.integers(0, 2**53),
)
def test_every_token_is_verified_and_says_what_it_was_told(body, url, key, now_ms):
    """SIG-4 to SIG-11."""
    claims = claims_of(a_token(body=body, url=url, key=key, now_ms=now_ms), key)

    assert claims == {
        "aud": "",
        "body": claims["body"],
        "exp": now_ms // 1000 + LIFETIME_S,
        "iat": now_ms // 1000,
        "iss": "Upstash",
        "jti": JWT_ID,
        "nbf": 0,
        "sub": url,
    }
    assert urlsafe_b64decode(claims["body"]) == sha256(body).digest()


def test_an_empty_body_has_the_padded_hash_of_no_bytes():
    """SIG-10."""
    claims = claims_of(a_token(body=b""))

    assert claims["body"] == "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU="


def test_the_time_of_issue_is_rounded_down():
    """SIG-6: rounded up it would lie in the future, which Python refuses."""
    assert claims_of(a_token(now_ms=1_700_000_000_999))["iat"] == 1_700_000_000


@pytest.mark.parametrize(
    "url",
    [
        'http://example.com/?q="\\',
        "http://example.com/\x00\x1f\u2028",
        "http://example.com/\N{SNOWMAN}\N{GRINNING FACE}",
        "HTTP://Example.com:80",
    ],
)
def test_an_odd_url_is_signed_as_it_is(url):
    """SIG-5."""
    assert claims_of(a_token(url=url))["sub"] == url


def test_another_key_does_not_verify_it():
    other = "sig_5ZB6DVzB1wjE8S6rZ7eenA8Pdnhs"

    with pytest.raises(jwt.InvalidSignatureError):
        claims_of(a_token(), other)

    assert claims_of(a_token(key=other), other)["iss"] == "Upstash"


def test_signing_twice_with_one_key_leaves_no_trace_in_the_second_token():
    first = a_token()

    a_token(body=b"something else")

    assert a_token() == first
