"""emulator/core/explain_text.py: the vocabulary of causes, and the report."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.core.explain_text import (
    REMEDIES,
    Cause,
    CauseKind,
    Explanation,
    explanation_json,
    plural,
    quoted,
    shown_url,
)

few = settings(max_examples=60, deadline=None)

SCHEME = Cause(CauseKind.URL_SCHEME, "The scheme differs.")
NEXT_KEY = Cause(CauseKind.NEXT_KEY, "It is signed with your next key.")

CLAIMS = {
    "aud": "",
    "exp": 1_700_000_300,
    "iat": 1_700_000_000,
    "nbf": 0,
    "sub": "http://me:secret@a.b/c",
}


def test_every_kind_of_cause_has_a_remedy():
    assert set(REMEDIES) == set(CauseKind)
    assert all(remedy.endswith(".") for remedy in REMEDIES.values())


@pytest.mark.parametrize(
    "kind", [kind for kind in CauseKind if kind.value.startswith("body-")]
)
def test_every_remedy_for_a_body_tells_four_frameworks_how_to_read_the_raw_one(kind):
    remedy = Cause(kind, "").remedy

    assert "await request.text() in Next.js" in remedy
    assert "await request.body() in FastAPI" in remedy
    assert "request.get_data() in Flask" in remedy
    assert "request.body in Django" in remedy


def test_three_kinds_of_cause_refuse_nothing():
    """SIG-14, KEY-4."""
    harmless = {kind for kind in CauseKind if not Cause(kind, "").is_fatal}

    assert harmless == {
        CauseKind.NEXT_KEY,
        CauseKind.KEYS_SWAPPED,
        CauseKind.TOKEN_TYPE,
    }


def test_a_signature_is_valid_unless_a_cause_is_fatal():
    assert Explanation(causes=()).is_valid
    assert Explanation(causes=(NEXT_KEY,)).is_valid
    assert not Explanation(causes=(NEXT_KEY, SCHEME)).is_valid


def test_the_report_has_the_causes_the_remedies_and_the_claims():
    explanation = Explanation(
        causes=(SCHEME, NEXT_KEY), claims=CLAIMS, key="next", user="defaultUser"
    )

    assert str(explanation) == (
        "The signature is not valid.\n"
        "\n"
        "1. url-scheme: The scheme differs.\n"
        f"   {SCHEME.remedy}\n"
        "\n"
        "2. next-key: It is signed with your next key.\n"
        f"   {NEXT_KEY.remedy}\n"
        "\n"
        'Signed with your next key, the user "defaultUser"\'s. The claims:\n'
        '  "aud": ""\n'
        '  "exp": 1700000300  2023-11-14T22:18:20Z\n'
        '  "iat": 1700000000  2023-11-14T22:13:20Z\n'
        '  "nbf": 0\n'
        '  "sub": "http://***@a.b/c"'
    )


def test_the_report_of_a_valid_signature_is_short():
    assert str(Explanation(causes=())) == "The signature is valid."


def test_the_report_says_so_if_none_of_the_keys_signed():
    report = str(Explanation(causes=(), claims={"iat": 1e3, "exp": True, "sub": 1}))

    assert "Signed with none of your keys. The claims:" in report
    assert report.endswith('  "iat": 1000.0\n  "exp": true\n  "sub": 1')


def test_programs_get_what_is_known_and_nothing_else():
    assert explanation_json(Explanation(causes=())) == {
        "isValid": True,
        "causes": [],
        "claims": {},
    }
    assert explanation_json(
        Explanation(causes=(SCHEME,), claims=CLAIMS, key="current", user="u")
    ) == {
        "isValid": False,
        "causes": [
            {
                "kind": "url-scheme",
                "isFatal": True,
                "sentence": "The scheme differs.",
                "remedy": SCHEME.remedy,
            }
        ],
        "claims": CLAIMS,
        "key": "current",
        "user": "u",
    }


def test_a_quotation_is_json_and_not_too_long():
    assert quoted("a\x1b[2J\u202e") == '"a\\u001b[2J\\u202e"'
    assert quoted({"a": None}) == '{"a": null}'
    assert quoted("x" * 300) == '"' + "x" * 198 + "…"
    assert quoted("x" * 198) == '"' + "x" * 198 + '"'


@few
@given(st.text())
def test_a_quotation_is_printable_whatever_it_quotes(text):
    quotation = quoted(text)

    assert quotation.isprintable()
    if len(quotation) < 200:
        assert json.loads(quotation) == text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://me:secret@a.b/c", '"http://***@a.b/c"'),
        ("//me:secret@x@a.b", '"//***@a.b"'),
        ("http://a.b/c@d", '"http://a.b/c@d"'),
        ("http://a.b?c@d", '"http://a.b?c@d"'),
        ("me@a.b", '"me@a.b"'),
    ],
)
def test_a_url_is_shown_without_name_and_password(url, shown):
    assert shown_url(url) == shown


def test_a_count_has_its_plural():
    assert [plural(count, "byte") for count in range(3)] == [
        "0 bytes",
        "1 byte",
        "2 bytes",
    ]
