"""tunnel/keys.py: public keys of PEM files and JSON Web Key Sets."""

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tunnel.token_material import jwk, private_key, private_pem, public_pem
from tunnel.errors import SettingsRefused
from tunnel.keys import ALGORITHMS, MAX_KEYS, parse_jwks, parse_public_key


def a_set(*members):
    return json.dumps({"keys": list(members)}).encode()


# PEM


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_pem_key_is_for_the_algorithm_of_its_kind(algorithm):
    key = parse_public_key(public_pem(algorithm))

    assert key.algorithm == algorithm
    assert key.kid is None
    assert key.key == private_key(algorithm).public_key()


@pytest.mark.parametrize(
    ("pem", "reason"),
    [
        (b"", "isn't PEM"),
        (b"ssh-rsa AAAA", "isn't PEM"),
        (public_pem("ES256")[:80], "isn't PEM"),
        (b"A" * 20_000, "longer than"),
        (private_pem("ES256"), "give the relay the public one"),
        (public_pem("RSA 1024"), "2048"),
        (public_pem("P-384"), "P-256"),
    ],
    # Keys are made by chance: as names they would differ between two processes.
    ids=["empty", "ssh", "cut short", "long", "private", "too few bits", "P-384"],
)
def test_a_file_without_a_fitting_key_is_refused_with_a_remedy(pem, reason):
    with pytest.raises(SettingsRefused) as caught:
        parse_public_key(pem)

    assert caught.value.setting == "public_keys"
    assert reason in str(caught.value)


def test_a_private_key_is_not_shown():
    with pytest.raises(SettingsRefused) as caught:
        parse_public_key(private_pem("ES256"))

    assert "BEGIN" not in str(caught.value)
    assert "key=" not in repr(parse_public_key(public_pem("ES256")))


@pytest.mark.parametrize(
    ("module", "parse", "data"),
    [
        (
            "cryptography.hazmat.primitives.serialization",
            parse_public_key,
            public_pem("ES256"),
        ),
        ("jwt.algorithms", parse_jwks, a_set(jwk("ES256"))),
    ],
    ids=["pem", "jwks"],
)
def test_without_cryptography_the_extra_is_named(monkeypatch, module, parse, data):
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(SettingsRefused, match=r"qstash-qemu\[relay\]"):
        parse(data)


# JWKS


def test_a_set_has_its_keys_in_order_with_their_ids():
    keys = parse_jwks(
        a_set(
            jwk("RS256", kid="a", use="sig", alg="RS256"),
            jwk("ES256", kid="b", x5c=["…"]),
            jwk("EdDSA"),
        )
    )

    assert [(key.kid, key.algorithm) for key in keys] == [
        ("a", "RS256"),
        ("b", "ES256"),
        (None, "EdDSA"),
    ]
    assert keys[1].key == private_key("ES256").public_key()


@pytest.mark.parametrize(
    "member",
    [
        None,
        [],
        {},
        {"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQ"},
        {"kty": ["RSA"]},
        {"kty": "RSA"},
        {"kty": "RSA", "n": 5, "e": None},
        {"kty": "RSA", "n": "AQ", "e": "AQ"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 43},
        {"kty": "EC", "crv": ["P-256"], "x": "A" * 43, "y": "A" * 43},
        {"kty": "OKP", "crv": "Ed25519", "x": "é"},
        {"kty": "OKP", "crv": "X25519", "x": "A" * 43},
        jwk("RS256", "other", use="enc"),
        jwk("RS256", "other", alg="RS512"),
        jwk("RS256", "other", alg="HS256"),
        jwk("RS256", "other", kid=5),
    ],
)
def test_a_member_that_is_no_key_for_tokens_is_passed_over(member):
    assert [key.kid for key in parse_jwks(a_set(member, jwk("ES256", kid="b")))] == [
        "b"
    ]


def test_a_private_key_in_a_set_gives_its_public_half():
    member = jwk("EdDSA", d="A" * 43)

    assert parse_jwks(a_set(member))[0].key == private_key("EdDSA").public_key()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "isn't JSON"),
        (b"<html>", "isn't JSON"),
        (b"\xff", "isn't JSON"),
        (b"[" * 100_000, "isn't JSON"),
        (b"[]", "no list"),
        (b"{}", "no list"),
        (b'{"keys": {}}', "no list"),
        (a_set(), "no key for RS256, ES256, EdDSA"),
        (a_set({"kty": "oct", "k": "AAAA"}), "no key for"),
        (a_set(*[{}] * (MAX_KEYS + 1)), "more than 64"),
    ],
)
def test_what_is_no_set_with_keys_is_refused(data, reason):
    with pytest.raises(SettingsRefused) as caught:
        parse_jwks(data)

    assert caught.value.setting == "jwks_url"
    assert reason in str(caught.value)


@given(st.binary(max_size=80))
def test_no_file_and_no_answer_raises_anything_else(data):
    pem = b"-----BEGIN PUBLIC KEY-----\n" + data + b"\n-----END PUBLIC KEY-----"
    with pytest.raises(SettingsRefused):
        parse_public_key(pem)
    with pytest.raises(SettingsRefused):
        parse_jwks(data)


values = st.none() | st.integers() | st.text(max_size=50) | st.lists(st.text())
members = st.fixed_dictionaries(
    {"kty": st.sampled_from(["RSA", "EC", "OKP", "oct"]) | values},
    optional={
        "crv": st.sampled_from(["P-256", "P-384", "Ed25519", "X25519"]) | values,
        "n": values | st.text("AQab_-", max_size=90),
        "e": values | st.just("AQAB"),
        "x": values | st.text("AQab_-", min_size=43, max_size=43),
        "y": values | st.text("AQab_-", min_size=43, max_size=43),
        "d": values,
    },
)


@given(st.lists(members, max_size=4))
def test_no_member_of_a_set_raises(strangers):
    keys = parse_jwks(a_set(*strangers, jwk("ES256", kid="ours")))

    assert keys[-1].kid == "ours"
