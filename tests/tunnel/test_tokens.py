"""tunnel/tokens.py: which tokens are genuine, and how they are made."""

import json
import subprocess
import sys
from base64 import urlsafe_b64encode

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tunnel.token_material import (
    NOW_S,
    a_token,
    jwk,
    public_pem,
)
from tunnel.errors import SettingsRefused
from tunnel.grant import Grant
from tunnel.keys import ALGORITHMS, parse_jwks, parse_public_key
from tunnel.tokens import (
    AUDIENCE,
    MAX_TOKEN_BYTES,
    TokenRefused,
    UnknownKey,
    Verifier,
    make_token,
)

SECRET = b"0123456789abcdef"


def a_verifier(*kinds, secret=SECRET, **changes):
    keys = tuple(parse_public_key(public_pem(kind)) for kind in kinds)
    return Verifier(secret=secret, keys=keys, **changes)


def made(**changes):
    arguments = {
        "names": ["app"],
        "expires_s": NOW_S + 60,
        "issued_s": NOW_S,
        "jti": "j1",
    }
    return make_token(SECRET, **(arguments | changes))


def forged(header, claims=None, signature="AAAA"):
    """Put a token together that nobody has signed."""
    segments = [
        part if isinstance(part, bytes) else json.dumps(part).encode()
        for part in (header, {"aud": AUDIENCE} if claims is None else claims)
    ]
    encoded = [urlsafe_b64encode(part).rstrip(b"=").decode() for part in segments]
    return ".".join([*encoded, signature])


def by_secret(claims, secret=SECRET):
    return jwt.encode(claims, secret.ljust(32, b"\0"), "HS256")


def refusal(token, verifier=None, now_s=NOW_S):
    with pytest.raises(TokenRefused) as caught:
        (verifier or a_verifier()).verify(token, now_s)
    return str(caught.value)


# Genuine tokens


def test_a_token_made_here_allows_what_it_was_made_for():
    token = made(
        names=["App", "team-*"],
        paths=["/api/"],
        rate=5,
        max_tunnels=2,
        subject="me",
        is_admin=True,
    )

    assert a_verifier().verify(token, NOW_S) == Grant(
        subject="me",
        names=("app", "team-*"),
        paths=("/api",),
        rate=5,
        max_tunnels=2,
        expires_s=NOW_S + 60,
        jti="j1",
        is_admin=True,
    )


def test_a_token_without_names_allows_random_ones_for_ever():
    grant = a_verifier().verify(made(names=None, expires_s=None), NOW_S + 10**9)

    assert grant == Grant(jti="j1")


def test_a_token_is_an_ordinary_jwt():
    claims = jwt.decode(
        made(),
        SECRET.ljust(32, b"\0"),
        algorithms=["HS256"],
        audience=AUDIENCE,
        options={"verify_exp": False},
    )

    assert claims == {
        "aud": AUDIENCE,
        "iat": NOW_S,
        "exp": NOW_S + 60,
        "jti": "j1",
        "names": ["app"],
    }


@pytest.mark.parametrize("secret", [b"x" * 16, b"x" * 32, b"x" * 100, bytes(16)])
def test_a_secret_may_be_of_any_length_from_sixteen_bytes_on(secret):
    token = make_token(secret, names=[], expires_s=None, issued_s=0, jti="j")

    assert Verifier(secret=secret).verify(token, NOW_S).jti == "j"
    assert "another secret" in refusal(token, Verifier(secret=secret[1:] + b"y"))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_public_keys_check_what_their_private_half_signed(algorithm):
    token = a_token(algorithm)

    assert a_verifier(*ALGORITHMS).verify(token, NOW_S).subject == "me"
    assert "key that the relay doesn't know" in refusal(
        a_token(algorithm, "other"), a_verifier(*ALGORITHMS)
    )


def test_the_key_that_a_token_names_checks_it():
    keys = parse_jwks(
        json.dumps({"keys": [jwk("RS256", "a", kid="a"), jwk("RS256", "b", kid="b")]})
    )
    verifier = a_verifier("ES256").with_keys(keys)

    assert verifier.verify(a_token("RS256", "b", kid="b"), NOW_S)
    assert verifier.verify(a_token("RS256", "b"), NOW_S)
    assert verifier.verify(a_token("ES256", kid="of another"), NOW_S)
    assert "signature is wrong" in refusal(a_token("RS256", "b", kid="a"), verifier)
    assert "signature is wrong" in refusal(a_token("ES256", kid="a"), verifier)


@pytest.mark.parametrize("kid", [None, "new"])
def test_a_key_that_is_missing_is_told_apart(kid):
    token = a_token("RS256", kid=kid)
    others = parse_jwks(json.dumps({"keys": [jwk("RS256", "other", kid="old")]}))

    for verifier in (Verifier(), Verifier(keys=others), a_verifier("ES256")):
        with pytest.raises(UnknownKey):
            verifier.verify(token, NOW_S)


def test_one_of_several_audiences_is_enough():
    verifier = a_verifier("RS256", audience="https://relay.dev")
    token = a_token("RS256", aud=["other", "https://relay.dev"])

    assert verifier.verify(token, NOW_S)


# Refusals


def test_an_expired_token_is_refused_with_its_time():
    verifier = a_verifier()

    assert verifier.verify(made(), NOW_S + 59)
    assert refusal(made(), verifier, NOW_S + 60) == (
        "the token has expired, it was valid until 2023-11-14 22:14:20 UTC"
    )


def test_a_token_that_is_not_valid_yet_is_refused_but_for_a_minute():
    token = by_secret({"aud": AUDIENCE, "nbf": NOW_S})

    assert a_verifier().verify(token, NOW_S - 60)
    assert refusal(token, now_s=NOW_S - 61) == (
        "the token isn't valid yet, it will be from 2023-11-14 22:13:20 UTC on"
    )


def test_a_revoked_token_is_refused():
    verifier = a_verifier(revoked=frozenset({"j1"}))

    assert refusal(made(), verifier) == "the token has been revoked"
    assert verifier.verify(made(jti="j2"), NOW_S)
    assert verifier.verify(by_secret({"aud": AUDIENCE}), NOW_S)


@pytest.mark.parametrize("aud", [None, "", "other", [], ["other"], {AUDIENCE: 1}, 5])
def test_a_token_for_somebody_else_is_refused(aud):
    payload = json.dumps({"aud": aud}).encode()
    token = jwt.PyJWS().encode(payload, SECRET.ljust(32, b"\0"), "HS256")

    assert "lacks the audience qemu-relay" in refusal(token)


def test_a_changed_token_is_refused():
    head, payload, signature = made().split(".")
    other = made(names=["*"]).split(".")[1]

    assert "another secret" in refusal(f"{head}.{other}.{signature}")
    assert "another secret" in refusal(f"{head}.{payload}.A{signature[1:]}")
    assert "another secret" in refusal(f"{head}.{payload}.")


@pytest.mark.parametrize(
    "claims", [{"exp": "now"}, {"nbf": -1}, {"names": "app"}, {"rate": 0}]
)
def test_a_claim_that_cannot_be_is_refused_by_its_name(claims):
    (claim,) = claims
    payload = json.dumps({"aud": AUDIENCE} | claims).encode()
    token = jwt.PyJWS().encode(payload, SECRET.ljust(32, b"\0"), "HS256")

    assert f"claim {claim} can't be used" in refusal(token)


# Forgeries


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", None, 5, []])
def test_a_token_without_a_signature_is_refused(algorithm):
    verifier = a_verifier("RS256")

    for signature in ("", "AAAA"):
        assert "isn't one of HS256" in refusal(
            forged({"alg": algorithm}, signature=signature), verifier
        )


@pytest.mark.parametrize("algorithm", ["HS384", "HS512", "RS512", "PS256", "ES384"])
def test_only_four_algorithms_are_known(algorithm):
    assert "isn't one of HS256" in refusal(forged({"alg": algorithm}))


def test_a_public_key_is_no_secret():
    """The confusion of algorithms: HS256 by the text of the RSA key."""
    pem = public_pem("RS256")
    head = urlsafe_b64encode(b'{"alg":"HS256"}').rstrip(b"=")
    body = urlsafe_b64encode(json.dumps({"aud": AUDIENCE}).encode()).rstrip(b"=")
    algorithm = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    signature = urlsafe_b64encode(algorithm.sign(head + b"." + body, pem)).rstrip(b"=")
    token = b".".join([head, body, signature]).decode()

    assert "the relay has no secret" in refusal(token, a_verifier("RS256", secret=None))
    assert "another secret" in refusal(token, a_verifier("RS256"))


def test_a_key_checks_its_own_algorithm_only():
    head = urlsafe_b64encode(b'{"alg":"ES256"}').decode()
    rest = a_token("RS256").partition(".")[2]

    assert "doesn't know" in refusal(f"{head}.{rest}", a_verifier("RS256"))


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "é.é.é",
        "\x00",
        "\ud800",
        forged(b"[]"),
        forged(b"["),
        forged(b"[" * 3000),
        forged({}),
        forged({"alg": "HS256", "kid": 5}),
        forged({"alg": "HS256", "crit": ["exp"], "exp": 1}),
        forged({"alg": "HS256", "b64": False, "crit": ["b64"]}),
        forged({"alg": "HS256"}, signature="!"),
    ],
)
def test_what_is_no_token_is_refused(token):
    assert "token" in refusal(token)


@pytest.mark.parametrize("payload", [b"[]", b'"a"', b"5", b"null"])
def test_a_payload_that_is_no_object_has_no_claims(payload):
    token = jwt.PyJWS().encode(payload, SECRET.ljust(32, b"\0"), "HS256")

    assert refusal(token) == "the token has no claims"


@pytest.mark.parametrize("payload", [b"", b"{", b"[" * 3000, b"\xff"])
def test_a_payload_that_is_no_json_makes_no_token(payload):
    token = jwt.PyJWS().encode(payload, SECRET.ljust(32, b"\0"), "HS256")

    assert "isn't a token" in refusal(token)


def test_a_token_longer_than_any_is_not_looked_at():
    assert f"longer than {MAX_TOKEN_BYTES}" in refusal("a" * (MAX_TOKEN_BYTES + 1))


@settings(max_examples=50)
@given(st.text(max_size=60) | st.text("eyJhbGciOiI.", max_size=60))
def test_no_text_is_a_token_or_raises_anything_else(text):
    assert refusal(text, a_verifier("RS256"))


@settings(max_examples=50)
@given(position=st.integers(0, 400), character=st.sampled_from("AZaz09-_.="))
def test_no_changed_character_passes_as_another_grant(position, character):
    token = made()
    position %= len(token)
    changed = token[:position] + character + token[position + 1 :]

    try:
        grant = a_verifier().verify(changed, NOW_S)
    except TokenRefused:
        return
    assert grant == a_verifier().verify(token, NOW_S)


# Secrets


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        (b"", "at least 16 bytes"),
        (b"x" * 15, "at least 16 bytes"),
        (public_pem("RS256"), "is a public key"),
    ],
)
def test_a_secret_that_others_know_or_guess_is_refused(secret, reason):
    with pytest.raises(SettingsRefused, match=reason) as caught:
        Verifier(secret=secret)
    assert caught.value.setting == "secret"

    with pytest.raises(SettingsRefused, match=reason):
        make_token(secret, names=None, expires_s=None, issued_s=0, jti="j")


def test_the_secret_is_not_shown():
    assert "0123" not in repr(a_verifier())


# Making


@pytest.mark.parametrize(
    ("changes", "setting"),
    [
        ({"names": ["a_b"]}, "names"),
        ({"names": [f"{'a' * 61}-{i}" for i in range(9)] * 20}, "names"),
        ({"names": ["www"]}, "names"),
        ({"paths": ["api"]}, "paths"),
        ({"rate": 0}, "rate"),
        ({"max_tunnels": -1}, "max_tunnels"),
        ({"subject": "\n"}, "sub"),
        ({"jti": "\x1b"}, "jti"),
        ({"expires_s": NOW_S}, "exp"),
        ({"expires_s": 10**15}, "exp"),
    ],
)
def test_a_token_that_a_relay_would_refuse_is_not_made(changes, setting):
    with pytest.raises(SettingsRefused) as caught:
        made(**changes)

    assert caught.value.setting == setting


def test_a_token_longer_than_a_relay_takes_is_not_made():
    paths = [f"/{'a' * 250}{number}" for number in range(32)]

    with pytest.raises(SettingsRefused, match="too long"):
        made(paths=paths)


def test_no_dependency_is_imported_before_a_token_is_checked():
    code = (
        "import sys, tunnel.access, tunnel.tokens, tunnel.keys\n"
        "print({'jwt', 'cryptography', 'aiohttp'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert done.stdout == "set()\n"


@given(
    names=st.none() | st.lists(st.sampled_from(["app", "web", "t-*", "*"]), max_size=3),
    expires_s=st.none() | st.integers(NOW_S + 1, NOW_S + 10**8),
    rate=st.none() | st.integers(1, 1000),
    subject=st.none() | st.text("aé", min_size=1, max_size=5),
)
@settings(max_examples=50)
def test_what_is_made_is_what_is_verified(names, expires_s, rate, subject):
    token = made(names=names, expires_s=expires_s, rate=rate, subject=subject)
    grant = a_verifier().verify(token, NOW_S)

    assert grant == Grant(
        subject=subject or "",
        names=None if names is None else tuple(dict.fromkeys(names)),
        expires_s=expires_s,
        rate=rate,
        jti="j1",
    )
