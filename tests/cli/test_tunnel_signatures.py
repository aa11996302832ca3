"""emulator/cli/tunnel_signatures.py: what the app's receiver would say."""

import base64
import hmac
import json
from time import perf_counter

import jwt
import pytest

from emulator.cli import tunnel_signatures
from emulator.cli.tunnel_signatures import TunnelSignatures, keys_in_force
from emulator.core.forgery import Variant, sign_variant
from emulator.core.model import SigningKeys
from emulator.core.signature import sign
from emulator.errors import SettingsError
from emulator.settings import DEV_USERS
from tests.tunnel.exchanges import PUBLIC, T0, an_exchange
from tunnel.inspector import Inspector

KEYS = SigningKeys(
    "sig_current0000000000000000000000", "sig_next0000000000000000000000000"
)
URL = f"{PUBLIC}/api/hook"


def signed(url=URL, *, body=b"hi", key=KEYS.current, now_ms=T0):
    return sign(body=body, url=url, key=key, now_ms=now_ms, jwt_id="jwt_1")


def claimed(claims, *, header=None, key=KEYS.current):
    """Make a token of any claims."""
    parts = [json.dumps(part).encode() for part in (header, claims)]
    if header is None:
        parts[0] = b'{"alg":"HS256","typ":"JWT"}'
    data = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    code = base64.urlsafe_b64encode(hmac.digest(key.encode(), data, "sha256"))
    return (data + b"." + code.rstrip(b"=")).decode()


def verdict_of(signature, *, keys=KEYS, body=b"hi", **details):
    signatures = TunnelSignatures(keys)
    inspector = Inspector(max_body_bytes=1000, verdict=signatures.verdict)
    exchange = an_exchange(
        f"Upstash-Signature: {signature}", body=body, inspector=inspector, **details
    )
    return exchange.verdict


# Whose keys


def test_the_keys_are_those_of_the_environment():
    environ = {
        "QSTASH_CURRENT_SIGNING_KEY": KEYS.current,
        "QSTASH_NEXT_SIGNING_KEY": KEYS.next,
    }

    assert keys_in_force(environ) == (KEYS, False)


def test_else_they_are_the_published_ones():
    assert keys_in_force({}) == (DEV_USERS[0].keys, True)


def test_one_key_without_the_other_is_a_settings_error():
    with pytest.raises(SettingsError, match="QSTASH_NEXT_SIGNING_KEY"):
        keys_in_force({"QSTASH_CURRENT_SIGNING_KEY": KEYS.current})


# Verdicts


def test_a_good_signature_is_ok():
    verdict = verdict_of(signed())

    assert verdict.is_valid
    assert verdict.sentence == "signature ok"
    assert verdict.detail == ()


def test_one_made_with_the_next_key_is_ok_and_says_so():
    verdict = verdict_of(signed(key=KEYS.next))

    assert verdict.is_valid
    assert "next key" in verdict.sentence


def test_a_request_without_a_signature_gets_no_verdict():
    inspector = Inspector(verdict=TunnelSignatures(KEYS).verdict)

    assert an_exchange(inspector=inspector).verdict is None


def test_a_body_that_was_not_kept_whole_cannot_be_judged():
    verdict = verdict_of(signed(body=b"x" * 1001), body=b"x" * 1001)

    assert verdict.is_valid is None
    assert "only the beginning of the body was kept" in verdict.sentence


@pytest.mark.parametrize(
    "variant", [one for one in Variant if one not in ("valid", "next-key")]
)
def test_every_wrong_signature_is_explained(variant):
    token = sign_variant(
        variant, body=b"hi", url=URL, keys=KEYS, now_ms=T0, jwt_id="jwt_1"
    )

    verdict = verdict_of(token)

    assert verdict.is_valid is False
    assert verdict.sentence.startswith("signature not valid: ")
    assert verdict.detail


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"exp": T0 // 1000}, "expired"),
        ({"nbf": T0 // 1000 + 5}, "not-yet-valid"),
        ({"iat": T0 // 1000 + 5}, "issued-in-future"),
        ({"iss": "Else"}, "issuer"),
        ({"aud": "x"}, "audience"),
        ({"sub": "https://else.example/"}, "url-host"),
        ({"body": 5}, "claim-invalid"),
        ({"exp": "soon"}, "claim-invalid"),
        ({"sub": []}, "claim-invalid"),
    ],
)
def test_what_a_key_has_signed_must_still_be_right(changes, kind):
    claims = jwt.decode(signed(), options={"verify_signature": False})

    verdict = verdict_of(claimed(claims | changes))

    assert verdict.is_valid is False
    assert verdict.detail[0].startswith(f"{kind}: ")


@pytest.mark.parametrize("claims", [[], {}, 5])
def test_claims_that_are_none_are_not_valid(claims):
    assert verdict_of(claimed(claims)).is_valid is False


def test_a_key_that_is_empty_signs_nothing():
    keys = SigningKeys(KEYS.current, "")

    assert verdict_of(signed(key=""), keys=keys).is_valid is False


def test_a_header_may_be_written_in_another_way():
    claims = jwt.decode(signed(), options={"verify_signature": False})
    token = claimed(claims, header={"typ": "JWT", "alg": "HS256"})

    assert verdict_of(token) == verdict_of(signed())
    assert refusal_of(f"Upstash-Signature: {token}") is None


def test_what_the_slow_way_finds_valid_is_ok():
    assert verdict_of(signed() + "=").is_valid


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        ({"alg": "none"}, "algorithm"),
        ({"alg": "HS512"}, "algorithm"),
        ({"alg": "HS256", "crit": ["x"]}, "malformed"),
        ([], "malformed"),
    ],
)
def test_a_header_that_says_something_else_is_refused(header, kind):
    claims = jwt.decode(signed(), options={"verify_signature": False})
    token = claimed(claims, header=header)

    assert verdict_of(token).detail[0].startswith(f"{kind}: ")
    assert refusal_of(f"Upstash-Signature: {token}") == "the signature isn't valid"


@pytest.mark.parametrize("signature", ["", ".", "a.b", "\xff.\xff.\xff", "e30.e30."])
def test_what_is_no_token_is_not_valid(signature):
    assert verdict_of(signature).is_valid is False


def test_a_request_is_judged_as_of_its_arrival():
    assert verdict_of(signed(now_ms=T0 - 299_000)).is_valid
    assert not verdict_of(signed(now_ms=T0 - 301_000)).is_valid


@pytest.mark.parametrize(
    ("published", "target"),
    [
        (PUBLIC, "/"),
        (f"{PUBLIC}/", "/"),
        (PUBLIC.replace("https", "http"), "/"),
        (PUBLIC.replace("https", "http") + "/a?b", "/a?b"),
    ],
)
def test_a_url_may_be_spelled_as_it_was_published(published, target):
    assert verdict_of(signed(published), target=target).is_valid


@pytest.mark.parametrize(
    ("published", "target"),
    [(f"{PUBLIC}/a", "/a/"), (PUBLIC, "/?a"), (f"{PUBLIC}:443/", "/")],
)
def test_any_other_difference_of_the_url_counts(published, target):
    assert not verdict_of(signed(published), target=target).is_valid


def test_only_so_many_bad_signatures_a_second_are_explained():
    signatures = TunnelSignatures(KEYS)
    inspector = Inspector(verdict=signatures.verdict)
    lines = (f"Upstash-Signature: {signed(key='sig_other')}",)

    verdicts = [
        an_exchange(*lines, inspector=inspector).verdict
        for _ in range(tunnel_signatures._MOST_EXPLAINED + 1)
    ]

    assert all(verdict.is_valid is False for verdict in verdicts)
    assert "key-unknown" in verdicts[-2].detail[0]
    assert "key-unknown" not in verdicts[-1].detail[0]


def test_in_the_next_second_they_are_explained_again(monkeypatch):
    monkeypatch.setattr(tunnel_signatures, "_MOST_EXPLAINED", 1)
    signatures = TunnelSignatures(KEYS)
    inspector = Inspector(verdict=signatures.verdict)
    line = f"Upstash-Signature: {signed(key='sig_other')}"

    details = []
    for started_ms in (T0, T0, T0 + 1000):
        exchange = inspector.begin(
            b"",
            b"https",
            f"GET / HTTP/1.1\r\n{line}\r\n\r\n".encode(),
            PUBLIC,
            started_ms,
        )
        details.append("key-unknown" in exchange.verdict.detail[0])

    assert details == [True, False, True]


def test_so_much_of_bodies_is_looked_at_and_no_more():
    signatures = TunnelSignatures(KEYS)
    inspector = Inspector(
        max_bytes=1 << 24, max_body_bytes=1 << 22, verdict=signatures.verdict
    )
    line = f"Upstash-Signature: {signed(key='sig_other')}"

    verdict = an_exchange(line, inspector=inspector, body=b"1" * (1 << 21)).verdict

    assert verdict.sentence == "signature not valid"


def test_a_good_signature_is_judged_in_microseconds():
    judge = TunnelSignatures(KEYS).verdict
    exchange = an_exchange(f"Upstash-Signature: {signed()}")
    fastest = float("inf")

    for _ in range(200):
        started = perf_counter()
        judge(exchange)
        fastest = min(fastest, perf_counter() - started)

    assert fastest < 150e-6  # ten times the goal: this guards against the slow way


# Demanded


def refusal_of(*lines, body=b"hi", target="/api/hook"):
    signatures = TunnelSignatures(KEYS, now_ms=lambda: T0)
    head = an_exchange(*lines, target=target).head
    return signatures.refusal(head, body, PUBLIC)


def test_what_qstash_has_signed_may_reach_the_app():
    assert refusal_of(f"upstash-signature: {signed()}") is None
    assert refusal_of(f"upstash-signature: {signed(key=KEYS.next)}") is None


@pytest.mark.parametrize(
    ("signature", "body", "target"),
    [
        (signed(key="sig_other"), b"hi", "/api/hook"),
        (signed(), b"ho", "/api/hook"),
        (signed(), b"hi", "/api/admin"),
        (signed(now_ms=T0 - 301_000), b"hi", "/api/hook"),
        ("", b"hi", "/api/hook"),
    ],
)
def test_anything_else_may_not_and_is_told_nothing_more(signature, body, target):
    line = f"Upstash-Signature: {signature}"

    refusal = refusal_of(line, body=body, target=target)

    assert refusal == "the signature isn't valid"


def test_what_is_not_signed_may_not():
    assert refusal_of("Host: h") == "the request isn't signed by QStash"


# Made


def test_a_signature_that_was_made_anew_is_valid_now():
    signatures = TunnelSignatures(KEYS, now_ms=lambda: T0)

    token = signatures.sign(body=b"hi", url=URL, former=signed(now_ms=0))

    assert verdict_of(token).is_valid


def test_each_has_an_id_of_its_own():
    signatures = TunnelSignatures(KEYS, now_ms=lambda: T0)

    ids = {
        jwt.decode(
            signatures.sign(body=b"", url=URL, former=""),
            options={"verify_signature": False},
        )["jti"]
        for _ in range(3)
    }

    assert len(ids) == 3


@pytest.mark.parametrize(
    ("former", "url", "subject"),
    [
        (signed(PUBLIC), f"{PUBLIC}/", PUBLIC),
        (signed(f"{PUBLIC}/"), f"{PUBLIC}/", f"{PUBLIC}/"),
        (signed("https://else.example"), f"{PUBLIC}/", f"{PUBLIC}/"),
        ("no token", URL, URL),
    ],
)
def test_it_is_for_the_url_as_it_was_published(former, url, subject):
    token = TunnelSignatures(KEYS).sign(body=b"", url=url, former=former)

    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["sub"] == subject
