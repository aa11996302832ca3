"""emulator/core/explain.py: everything that is wrong with a signature, named."""

from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.core.explain import OBSOLETE_KEYS, explain, signer
from emulator.core.explain_text import CauseKind as Kind
from emulator.core.forgery import forge
from emulator.core.model import SigningKeys
from emulator.core.signature import sign
from emulator.settings import DEV_USERS
from tests.doubles import T0

few = settings(max_examples=100, deadline=None)

USERS = {user.name: user.keys for user in DEV_USERS}
KEYS = USERS["defaultUser"]
OTHER_KEYS = USERS["testUser1"]
NOBODYS = SigningKeys("sig_nobodys_current_key", "sig_nobodys_next_key")
REGION_KEYS = SigningKeys("sig_region_current", "sig_region_next")

BODY = b'{"hello":"world"}'
NOW_S = T0 // 1000


@dataclass
class Case:
    """A request that is all right, until a fault is put into it."""

    claims: dict[str, Any] = field(
        default_factory=lambda: {
            "aud": "",
            "body": urlsafe_b64encode(sha256(BODY).digest()).decode(),
            "exp": NOW_S + 300,
            "iat": NOW_S,
            "iss": "Upstash",
            "jti": "jwt_1",
            "nbf": 0,
            "sub": "https://app.example:3000/api/hook?x=1&y=2",
        }
    )
    header: dict[str, Any] = field(
        default_factory=lambda: {"alg": "HS256", "typ": "JWT"}
    )
    signing_key: str = KEYS.current
    keys: SigningKeys = KEYS
    body: bytes | str = BODY
    scheme: str = "https"
    host: str = "app.example"
    port: str = ":3000"
    path: str = "/api/hook"
    query: str = "?x=1&y=2"
    former_keys: tuple[str, ...] = ()
    before: str = ""
    """What stands before the token."""

    @property
    def url(self):
        return f"{self.scheme}://{self.host}{self.port}{self.path}{self.query}"

    def explained(self, **changes):
        facts = {
            "signature": self.before
            + forge(self.claims, key=self.signing_key, header=self.header),
            "body": self.body,
            "url": self.url,
            "current_signing_key": self.keys.current,
            "next_signing_key": self.keys.next,
            "now_ms": T0,
            "known_users": USERS,
            "region_keys": {"US-EAST-1": REGION_KEYS},
            "former_keys": self.former_keys,
        }
        return explain(**facts | changes)


def kinds(explanation):
    return [cause.kind for cause in explanation.causes]


def reserialize(case):
    case.body = b'{"hello": "world"}'


def http_for_https(case):
    case.scheme = "http"


def localhost_for_an_address(case):
    case.host = "localhost"
    case.claims["sub"] = case.claims["sub"].replace("app.example", "127.0.0.1")


def slash(case):
    case.path += "/"


def expire(case):
    case.claims["exp"] = NOW_S - 10


def begin_later(case):
    case.claims["nbf"] = NOW_S + 30


def hash_in_hexadecimal(case):
    case.claims["body"] = sha256(BODY).hexdigest()


SEVEN = {
    Kind.BODY_RESERIALIZED: reserialize,
    Kind.URL_SCHEME: http_for_https,
    Kind.URL_HOST: localhost_for_an_address,
    Kind.URL_TRAILING_SLASH: slash,
    Kind.EXPIRED: expire,
    Kind.NOT_YET_VALID: begin_later,
    Kind.HASH_ENCODING: hash_in_hexadecimal,
}
"""What the official Python receiver reports in one and the same sentence."""


def change(**changes):
    def make(case):
        for name, value in changes.items():
            setattr(case, name, value)

    return make


def claim(**changes):
    return lambda case: case.claims.update(changes)


def drop(name):
    return lambda case: case.claims.pop(name)


# The slot says which faults can't be had together. Two of one slot overwrite each
# other, or hide each other.
FAULTS = [
    (Kind.MALFORMED, "token", change(before=" ")),
    (Kind.MALFORMED, "header", lambda case: case.header.update(crit=["x"])),
    (Kind.ALGORITHM, "header", lambda case: case.header.update(alg="RS256")),
    (Kind.ALGORITHM, "header", lambda case: case.header.update(alg="none")),
    (Kind.TOKEN_TYPE, "type", lambda case: case.header.update(typ="at+jwt")),
    (Kind.KEY_MISSING, "key", change(keys=SigningKeys("", ""))),
    (
        Kind.KEY_MANGLED,
        "key",
        change(keys=SigningKeys(f'"{KEYS.current}"', KEYS.next)),
    ),
    (Kind.KEY_UNKNOWN, "key", change(signing_key=NOBODYS.current)),
    (Kind.KEY_OF_OTHER_USER, "key", change(signing_key=OTHER_KEYS.current)),
    (Kind.KEY_OF_OTHER_REGION, "key", change(signing_key=REGION_KEYS.next)),
    (Kind.KEY_OBSOLETE, "key", change(keys=OBSOLETE_KEYS)),
    (Kind.KEY_ROTATED, "key", change(keys=SigningKeys(KEYS.next, NOBODYS.next))),
    (Kind.KEYS_SWAPPED, "key", change(keys=SigningKeys(KEYS.next, KEYS.current))),
    (Kind.NEXT_KEY, "key", change(signing_key=KEYS.next)),
    (Kind.CLAIM_INVALID, "jti", claim(jti=7)),
    (Kind.ISSUER, "iss", claim(iss="Downstash")),
    (Kind.CLAIM_MISSING, "iss", drop("iss")),
    (Kind.AUDIENCE, "aud", claim(aud="x")),
    (Kind.EXPIRED, "exp", expire),
    (Kind.NOT_YET_VALID, "nbf", begin_later),
    (Kind.ISSUED_IN_FUTURE, "iat", claim(iat=NOW_S + 30)),
    (Kind.URL_SCHEME, "scheme", http_for_https),
    (Kind.URL_HOST, "host", localhost_for_an_address),
    (Kind.URL_PORT, "port", change(port="")),
    (Kind.URL_PATH, "path", change(path="/hook")),
    (Kind.URL_TRAILING_SLASH, "path", slash),
    (Kind.URL_ENCODING, "path", change(path="/api/h%6Fok")),
    (Kind.URL_QUERY, "query", change(query="")),
    (Kind.BODY_RESERIALIZED, "body", reserialize),
    (Kind.BODY_EMPTY, "body", change(body=b"")),
    (Kind.BODY_ENCODED, "body", change(body=b'"{\\"hello\\":\\"world\\"}"')),
    (Kind.BODY_ALTERED, "body", change(body=b'{"hello":"mars"}')),
    (Kind.HASH_ENCODING, "hash", hash_in_hexadecimal),
]


def test_a_request_as_qstash_makes_it_has_nothing_wrong():
    explanation = Case().explained()

    assert explanation.is_valid
    assert explanation.causes == ()
    assert explanation.key == "current"
    assert explanation.user == "defaultUser"
    assert explanation.claims == Case().claims


def test_the_test_vector_is_valid_in_its_time():
    """SIG-13."""
    explanation = explain(
        signature=(
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."
            "eyJhdWQiOiIiLCJib2R5IjoiazZJNWNha1U1ZXJMOEtqU1VWVE5vd25Ed2NjdnU1a1UxSHhnOD"
            "h0b0ZZZz0iLCJleHAiOjE3MDAwMDAzMDAsImlhdCI6MTcwMDAwMDAwMCwiaXNzIjoiVXBzdGFz"
            "aCIsImp0aSI6Imp3dF82N2t4WEQ2VUJBazdEcVU2aHp1SE1EZFhGWGZQIiwibmJmIjowLCJzdW"
            "IiOiJodHRwOi8vMTI3LjAuMC4xOjMwMDAvYXBpL2hvb2s_eD0xIn0."
            "bRdFll49569uOpX8UfmdnLlSiuYwN0QPjB15ahl7rgE"
        ),
        body='{"hello":"world"}',
        url="http://127.0.0.1:3000/api/hook?x=1",
        current_signing_key=KEYS.current,
        next_signing_key=KEYS.next,
        now_ms=1_700_000_000_000,
    )

    assert explanation.is_valid
    assert explanation.causes == ()


@pytest.mark.parametrize(("kind", "fault"), SEVEN.items())
def test_each_of_the_seven_causes_is_named(kind, fault):
    """SIG-5, SIG-7, SIG-8, SIG-10, SIG-14."""
    case = Case()
    fault(case)

    assert kinds(case.explained()) == [kind]


@pytest.mark.parametrize(
    ("one", "other"), [*combinations(SEVEN, 2)], ids=lambda kind: kind.value
)
def test_two_of_the_seven_causes_at_once_are_both_named(one, other):
    """SIG-5, SIG-7, SIG-8, SIG-10, SIG-14."""
    case = Case()
    SEVEN[one](case)
    SEVEN[other](case)

    explanation = case.explained()

    assert sorted(kinds(explanation)) == sorted([one, other])
    assert not explanation.is_valid
    assert explanation.key == "current"


def test_all_seven_causes_at_once_are_named():
    case = Case()
    for fault in SEVEN.values():
        fault(case)

    assert sorted(kinds(case.explained())) == sorted(SEVEN)


def test_any_two_faults_are_both_named_and_nothing_else_is():
    for (one, slot, fault), (other, other_slot, another) in combinations(FAULTS, 2):
        if slot == other_slot:
            continue
        case = Case()
        fault(case)
        another(case)

        assert sorted(kinds(case.explained())) == sorted([one, other])


@pytest.mark.parametrize(("kind", "slot", "fault"), FAULTS)
def test_a_fault_alone_is_named_and_makes_the_signature_invalid(kind, slot, fault):
    """SIG-14; next key, swapped keys and token type are no reason to refuse."""
    case = Case()
    fault(case)
    explanation = case.explained()

    assert kinds(explanation) == [kind]
    assert explanation.is_valid is (
        kind in (Kind.NEXT_KEY, Kind.KEYS_SWAPPED, Kind.TOKEN_TYPE)
    )


# The token


@pytest.mark.parametrize("signature", ["", " ", "\n"])
def test_a_missing_signature_is_the_only_thing_to_say(signature):
    explanation = Case().explained(signature=signature, body=b"x", url="nonsense")

    assert kinds(explanation) == [Kind.SIGNATURE_MISSING]
    assert explanation.claims == {}
    assert explanation.key is None


GOOD = forge(Case().claims, key=KEYS.current)
HEADER, CLAIMS, CODE = GOOD.split(".")


@pytest.mark.parametrize(
    ("signature", "says"),
    [
        (f" {GOOD}", "white space, or a quotation mark"),
        (f'"{GOOD}"', "white space, or a quotation mark"),
        (f"{HEADER}.{CLAIMS}", "this one has 2 parts."),
        (HEADER, "this one has 1 part."),
        ("nonsense", "this one has 1 part."),
        (f"{GOOD}, {GOOD}", "5 parts, and a comma: were two headers joined?"),
        (f"{HEADER}.{CLAIMS}.", "Its code has 0 bytes, not the 32"),
        (GOOD[:-4], "Its code has 29 bytes, not the 32"),
        (f"{HEADER}.{CLAIMS}.A", "Its code isn't base64url."),
        (f"{HEADER}.{CLAIMS}.{'+/' * 20}", "code isn't base64url but standard base64."),
        (f"ö.{CLAIMS}.{CODE}", "Its header isn't base64url."),
        (f"{HEADER}.{CLAIMS[:-1]}?.{CODE}", "Its part with the claims isn't base64url"),
        (f"AAAA.{CLAIMS}.{CODE}", "Its header isn't a JSON object."),
        (f"W10.{CLAIMS}.{CODE}", "Its header isn't a JSON object."),
        (f"{HEADER}.bnVsbA.{CODE}", "Its part with the claims isn't a JSON object."),
    ],
)
def test_what_is_malformed_is_said_exactly(signature, says):
    explanation = Case().explained(signature=signature)
    said = [
        cause.sentence
        for cause in explanation.causes
        if cause.kind is not Kind.KEY_UNKNOWN
    ]

    assert len(said) == 1
    assert says in said[0]
    assert not explanation.is_valid


def test_the_claims_of_a_token_that_is_cut_off_are_read_and_checked():
    explanation = Case().explained(signature=f"{HEADER}.{CLAIMS}", body=b"")

    assert kinds(explanation) == [Kind.MALFORMED, Kind.BODY_EMPTY]
    assert explanation.claims == Case().claims
    assert explanation.key is None


def test_padding_is_no_fault():
    """The Python receiver takes it."""
    assert Case().explained(signature=f"{GOOD}=").is_valid


@pytest.mark.parametrize(
    "claims",
    [
        '{"exp":1e999}',
        '{"exp":NaN}',
        '{"exp":-Infinity}',
        '{"aud":' + "[" * 300 + "]" * 300 + "}",
        '{"aud":' + '{"a":' * 300 + "0" + "}" * 300 + "}",
        '{"exp":' + "9" * 5000 + "}",
        '{"a":1',
        "\xff",
    ],
    ids=str.__len__,
)
def test_claims_that_are_no_decent_json_are_malformed(claims):
    part = urlsafe_b64encode(claims.encode("latin-1")).rstrip(b"=").decode()

    assert Kind.MALFORMED in kinds(
        Case().explained(signature=f"{HEADER}.{part}.{CODE}")
    )


def test_a_float_is_a_number():
    case = Case()
    case.claims |= {"exp": NOW_S + 0.5, "nbf": 1e3}

    # Receivers drop the fraction, and then it has expired.
    assert kinds(case.explained()) == [Kind.EXPIRED]


@pytest.mark.parametrize("algorithm", ["none", "RS256", "HS512", None, ["HS256"]])
def test_an_algorithm_that_is_not_qstashs_is_named(algorithm):
    """SIG-2."""
    case = Case(header={"alg": algorithm, "typ": "JWT"})

    assert kinds(case.explained()) == [Kind.ALGORITHM]


def test_a_token_that_says_nothing_of_its_algorithm_is_refused():
    """SIG-2."""
    assert kinds(Case(header={}).explained()) == [Kind.ALGORITHM]


def test_an_unsigned_token_is_not_called_cut_off():
    unsigned = forge(Case().claims, key="x", header={"alg": "none"})
    explanation = Case().explained(signature=unsigned.rpartition(".")[0] + ".")

    assert kinds(explanation) == [Kind.ALGORITHM]


# The key


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("role", ["current", "next"])
def test_it_is_said_which_key_signed_and_whose_it_is(user, role):
    """SIG-3, SIG-16, ENV-11."""
    keys = USERS[user]
    case = Case(signing_key=getattr(keys, role), keys=keys)
    explanation = case.explained()

    assert explanation.is_valid
    assert explanation.key == role
    assert explanation.user == user


def test_a_key_of_another_user_is_named_with_its_owner():
    """ENV-11, AUTH-8."""
    (cause,) = Case(signing_key=OTHER_KEYS.next).explained().causes

    assert cause.sentence == (
        'It is signed with the next key of the user "testUser1". '
        'Yours are those of "defaultUser".'
    )


def test_whose_ones_own_keys_are_is_said_only_if_it_is_known():
    case = Case(keys=NOBODYS)
    explanation = case.explained()

    assert kinds(explanation) == [Kind.KEY_OF_OTHER_USER]
    assert "Yours" not in explanation.causes[0].sentence
    assert explanation.user == "defaultUser"
    assert explanation.key is None


@pytest.mark.parametrize("keys", [OBSOLETE_KEYS, SigningKeys("", OBSOLETE_KEYS.next)])
def test_keys_of_the_old_page_are_recognized(keys):
    """ENV-11."""
    assert kinds(Case(keys=keys).explained()) == [Kind.KEY_OBSOLETE]


@pytest.mark.parametrize("key", [OBSOLETE_KEYS.current, OBSOLETE_KEYS.next])
def test_a_token_signed_with_a_key_of_the_old_page_is_recognized(key):
    """ENV-11."""
    assert kinds(Case(signing_key=key).explained()) == [Kind.KEY_OBSOLETE]


def test_keys_of_the_old_page_that_do_fit_are_no_fault():
    case = Case(keys=OBSOLETE_KEYS, signing_key=OBSOLETE_KEYS.current)

    assert case.explained().is_valid


@pytest.mark.parametrize(
    "mangled",
    [
        '"{}"',
        "'{}'",
        " {}",
        "{}\n",
        "QSTASH_CURRENT_SIGNING_KEY={}",
        'export QSTASH_CURRENT_SIGNING_KEY="{}"',
    ],
)
def test_a_key_that_was_copied_with_too_much_is_recognized(mangled):
    case = Case(keys=SigningKeys(mangled.format(KEYS.current), KEYS.next))

    assert kinds(case.explained()) == [Kind.KEY_MANGLED]


def test_a_key_that_was_copied_without_its_prefix_is_recognized():
    """SIG-3."""
    case = Case(keys=SigningKeys("", KEYS.current.removeprefix("sig_")))
    (cause,) = case.explained().causes

    assert cause.kind is Kind.KEY_MANGLED
    assert "Your next key" in cause.sentence


def test_a_key_from_before_the_rotation_is_recognized_by_the_pair_after_it():
    """SIG-17, KEY-4."""
    rotated = SigningKeys(KEYS.next, NOBODYS.next)

    assert kinds(Case(keys=rotated).explained()) == [Kind.KEY_ROTATED]


def test_a_key_from_before_several_rotations_is_recognized_if_it_is_given():
    """SIG-17, KEY-4."""
    case = Case(keys=NOBODYS, former_keys=(KEYS.next, KEYS.current))

    assert kinds(case.explained()) == [Kind.KEY_ROTATED]


def test_the_next_key_is_valid_and_worth_a_word():
    """KEY-4."""
    explanation = Case(signing_key=KEYS.next).explained()

    assert explanation.is_valid
    assert kinds(explanation) == [Kind.NEXT_KEY]
    assert explanation.key == "next"


@pytest.mark.parametrize(
    ("signing_key", "role"), [(KEYS.current, "next"), (KEYS.next, "current")]
)
def test_keys_that_changed_places_are_recognized_whichever_signed(signing_key, role):
    """KEY-4."""
    swapped = SigningKeys(KEYS.next, KEYS.current)
    explanation = Case(keys=swapped, signing_key=signing_key).explained()

    assert kinds(explanation) == [Kind.KEYS_SWAPPED]
    assert explanation.is_valid
    assert explanation.key == role


def test_an_empty_key_fits_no_token():
    token = forge(Case().claims, key="")
    explanation = Case(keys=SigningKeys("", KEYS.next)).explained(signature=token)

    assert kinds(explanation) == [Kind.KEY_UNKNOWN]


def test_a_token_that_was_changed_fits_no_key():
    altered = f"{HEADER}.{CLAIMS.replace('A', 'B', 1)}.{CODE}"
    explanation = Case().explained(signature=altered)

    assert Kind.KEY_UNKNOWN in kinds(explanation)


def test_the_region_of_an_unknown_key_is_mentioned():
    """ENV-4."""
    case = Case(signing_key=NOBODYS.current)
    (cause,) = case.explained(region="US-EAST-1").causes

    assert cause.sentence.endswith('It comes from "US-EAST-1".')
    assert cause.kind is Kind.KEY_UNKNOWN


def test_a_key_of_another_region_is_named_with_it():
    """ENV-3, ENV-4."""
    (cause,) = Case(signing_key=REGION_KEYS.next).explained().causes

    assert cause.sentence == (
        'It is signed with the next key of the region "US-EAST-1".'
    )


def test_the_signer_is_found_among_several_users():
    """SIG-16."""
    assert signer(GOOD, USERS) == "defaultUser"
    assert signer(forge({}, key=OTHER_KEYS.next), USERS) == "testUser1"
    assert signer(forge({}, key=NOBODYS.next), USERS) is None
    assert signer("nonsense", USERS) is None


# Claims and times


@pytest.mark.parametrize("name", ["iss", "sub", "exp", "nbf", "body"])
def test_a_claim_that_receivers_demand_is_missed(name):
    """SIG-8, SIG-14."""
    case = Case()
    del case.claims[name]
    (cause,) = case.explained().causes

    assert cause.kind is Kind.CLAIM_MISSING
    assert cause.sentence == f"The token lacks the claims {name}."


@pytest.mark.parametrize("name", ["aud", "iat", "jti"])
def test_a_claim_that_receivers_do_not_demand_is_not_missed(name):
    """SIG-14."""
    case = Case()
    del case.claims[name]

    assert case.explained().causes == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("exp", value) for value in ("1800000000", None, True, [], 2**53)),
        *(("nbf", value) for value in ("0", None, False, {}, -(2**53))),
        *(("iat", value) for value in ("0", None, 10**400)),
        *(("sub", value) for value in (1, None, ["x"])),
        *(("jti", value) for value in (1, None)),
        *(("body", value) for value in (1, None, {"a": "b"})),
    ],
    ids=lambda value: str(value)[:12],
)
def test_a_claim_of_the_wrong_type_is_named(name, value):
    """SIG-9."""
    case = Case()
    case.claims[name] = value
    (cause,) = case.explained().causes

    assert cause.kind is Kind.CLAIM_INVALID
    assert f"The claim {name} is " in cause.sentence


@pytest.mark.parametrize("issuer", ["upstash", "", None, ["Upstash"]])
def test_another_issuer_is_named(issuer):
    """SIG-4."""
    case = Case()
    case.claims["iss"] = issuer

    assert kinds(case.explained()) == [Kind.ISSUER]


@pytest.mark.parametrize("audience", ["", None, []])
def test_an_empty_audience_is_none(audience):
    """SIG-11."""
    case = Case()
    case.claims["aud"] = audience

    assert case.explained().causes == ()


@pytest.mark.parametrize("audience", ["x", ["x"], {"x": 1}, 7])
def test_an_audience_is_named(audience):
    """SIG-11."""
    case = Case()
    case.claims["aud"] = audience

    assert kinds(case.explained()) == [Kind.AUDIENCE]


def times(**changes):
    """Explain a token with these times, in seconds from now, at now."""
    case = Case()
    case.claims |= {name: NOW_S + seconds for name, seconds in changes.items()}
    return case.explained()


def test_a_token_expires_in_the_second_that_it_names():
    """SIG-7, SIG-14: as both receivers have it."""
    assert kinds(times(exp=1)) == []
    assert kinds(times(exp=0)) == [Kind.EXPIRED]
    assert kinds(times(exp=-1)) == [Kind.EXPIRED]


def test_a_token_is_valid_from_the_second_that_it_names():
    """SIG-8, SIG-14."""
    assert kinds(times(nbf=0)) == []
    assert kinds(times(nbf=1)) == [Kind.NOT_YET_VALID]


def test_the_time_of_issue_must_not_lie_ahead():
    """SIG-6: the Python receiver refuses it."""
    assert kinds(times(iat=0)) == []
    assert kinds(times(iat=1)) == [Kind.ISSUED_IN_FUTURE]


@pytest.mark.parametrize(
    ("late_ms", "says"),
    [
        (0, "It expired 0s ago."),
        (400, "It expired 0.4s ago."),
        (2_400, "It expired 2s ago."),
        (7_384_000, "It expired 2h3m4s ago."),
    ],
)
def test_it_is_said_how_long_ago_a_token_expired(late_ms, says):
    (cause,) = Case().explained(now_ms=T0 + 300_000 + late_ms).causes

    assert cause.sentence == says


def test_it_is_said_how_far_ahead_a_token_is():
    first, second = times(nbf=90, iat=3600).causes

    assert "in 1m30s" in first.sentence
    assert "1h in the future" in second.sentence


def test_a_tolerance_widens_the_time_on_both_sides():
    case = Case()
    case.claims |= {"exp": NOW_S - 10, "nbf": NOW_S + 10, "iat": NOW_S + 10}

    assert case.explained(tolerance_s=11).causes == ()
    assert kinds(case.explained(tolerance_s=10)) == [Kind.EXPIRED]
    assert len(case.explained(tolerance_s=9).causes) == 3


# The request


def test_without_a_url_the_url_is_not_checked():
    assert Case(host="elsewhere").explained(url=None).is_valid


def test_a_body_that_is_a_text_is_taken_as_utf_8():
    """SIG-15."""
    body = '{"name":"Zoë"}'
    token = sign(
        body=body.encode(),
        url=Case().url,
        key=KEYS.current,
        now_ms=T0,
        jwt_id="jwt_1",
    )

    assert Case().explained(signature=token, body=body).is_valid
    assert not Case().explained(signature=token, body="\ud800").is_valid


def test_no_key_is_ever_part_of_the_answer():
    secrets = [
        key
        for keys in (*USERS.values(), OBSOLETE_KEYS, REGION_KEYS, NOBODYS)
        for key in (keys.current, keys.next)
    ]
    for _, _, fault in FAULTS:
        case = Case()
        fault(case)
        explanation = case.explained(region="x")

        answer = f"{explanation} {explanation!r}"
        assert [secret for secret in secrets if secret in answer] == []


parts = st.one_of(
    st.text(max_size=20),
    st.binary(max_size=60).map(lambda data: urlsafe_b64encode(data).decode()),
    st.sampled_from([HEADER, CLAIMS, CODE, "", "e30", "W10"]),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@few
@given(
    signature=st.lists(parts, max_size=4).map(".".join),
    body=st.binary(max_size=60) | st.text(max_size=60),
    url=st.none() | st.text(max_size=60),
    now_ms=st.integers(-(2**60), 2**60),
)
def test_no_input_makes_it_raise(signature, body, url, now_ms):
    explanation = Case().explained(
        signature=signature, body=body, url=url, now_ms=now_ms
    )

    assert str(explanation)


@few
@given(
    st.dictionaries(st.sampled_from(list(Case().claims)), json_values),
    st.dictionaries(st.sampled_from(["alg", "typ", "crit"]), json_values),
)
def test_no_claims_and_no_header_make_it_raise(claims, header):
    case = Case(header=Case().header | header)
    case.claims |= claims

    assert str(case.explained())
