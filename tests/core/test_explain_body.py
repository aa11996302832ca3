"""emulator/core/explain_body.py: what happened to a body on its way."""

import json
from base64 import b64encode, urlsafe_b64encode
from hashlib import md5, sha1, sha256, sha512

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.core.explain_body import compare_bodies
from emulator.core.explain_text import CauseKind as Kind

few = settings(max_examples=60, deadline=None)

BODY = b'{"b":"<\xc3\xa9>/","a":[1,2]}'


def claim_of(body):
    """The claim as QStash writes it (SIG-10)."""
    return urlsafe_b64encode(sha256(body).digest()).decode()


def compared(body, signed):
    """Compare a body with one that was signed."""
    return list(compare_bodies(body, claim_of(signed)))


def only(body, signed):
    (cause,) = compared(body, signed)
    return cause.kind, cause.sentence


@pytest.mark.parametrize("body", [b"", b"x", b"\xff\x00", BODY, b"[" * 100_000])
def test_the_body_that_was_signed_has_nothing_wrong(body):
    """SIG-10, SIG-15."""
    assert compared(body, body) == []


def test_padding_does_not_matter():
    """SIG-10."""
    claim = claim_of(BODY)

    assert list(compare_bodies(BODY, claim.rstrip("="))) == []
    assert list(compare_bodies(BODY, claim + "==")) == []


# The hash


def standard_base64(body):
    return b64encode(sha256(body).digest()).decode()


# Its hash has a + and a / in standard base64.
ODD = next(
    body
    for body in (b"%d" % number for number in range(1000))
    if {"+", "/"} <= set(standard_base64(body))
)


@pytest.mark.parametrize(
    ("encode", "says"),
    [
        (lambda body: sha256(body).hexdigest(), "hexadecimal, not base64url"),
        (lambda body: sha256(body).hexdigest().upper(), "hexadecimal, not base64url"),
        (standard_base64, "base64 of the standard alphabet, not base64url"),
        (
            lambda body: b64encode(sha256(body).hexdigest().encode()).decode(),
            "base64 of the hexadecimal hash",
        ),
        (
            lambda body: urlsafe_b64encode(sha256(body).hexdigest().encode()).decode(),
            "base64 of the hexadecimal hash",
        ),
    ],
)
def test_a_hash_in_another_encoding_is_recognized_whatever_the_body(encode, says):
    """SIG-10."""
    (cause,) = compare_bodies(ODD, encode(ODD))
    first, second = compare_bodies(b"", encode(ODD))

    assert cause == first
    assert cause.kind is Kind.HASH_ENCODING
    assert cause.sentence == f"The claim with the body's hash is {says}."
    assert second.kind is Kind.BODY_EMPTY


@pytest.mark.parametrize("character", "+/")
def test_one_character_of_standard_base64_gives_it_away(character):
    body = next(
        body
        for body in (b"%d" % number for number in range(1000))
        if {"+", "/"} & set(standard_base64(body)) == {character}
    )
    (cause,) = compare_bodies(body, standard_base64(body))

    assert cause.kind is Kind.HASH_ENCODING


def test_standard_base64_without_its_own_characters_is_base64url():
    body = next(
        body
        for body in (b"%d" % number for number in range(1000))
        if not {"+", "/"} & set(standard_base64(body))
    )

    assert list(compare_bodies(body, standard_base64(body))) == []


def test_a_hash_whose_last_bits_are_not_zero_is_another_text():
    """Receivers compare the text, not the bytes."""
    claim = claim_of(b"x").rstrip("=")
    sloppy = claim[:-1] + chr(ord(claim[-1]) + 1)
    (cause,) = compare_bodies(b"x", sloppy)

    assert cause.kind is Kind.HASH_ENCODING
    assert "its last character differs" in cause.sentence


@pytest.mark.parametrize(
    ("claim", "says"),
    [
        ("", "0 bytes long, not the 32 of a SHA-256"),
        ("AA==", "1 byte long"),
        (urlsafe_b64encode(md5(BODY).digest()).decode(), "16 bytes long"),
        (urlsafe_b64encode(sha1(BODY).digest()).decode(), "20 bytes long"),
        (urlsafe_b64encode(sha512(BODY).digest()).decode(), "64 bytes long"),
        ("a b", 'not base64url: "a b"'),
        ("A", 'not base64url: "A"'),
        ("é", 'not base64url: "\\u00e9"'),
    ],
)
def test_what_is_no_hash_is_said_to_be_none_and_the_body_is_let_be(claim, says):
    """SIG-10."""
    (cause,) = compare_bodies(BODY, claim)

    assert cause.kind is Kind.HASH_ENCODING
    assert says in cause.sentence


# Empty bodies


def test_an_empty_body_is_named():
    assert only(b"", BODY) == (
        Kind.BODY_EMPTY,
        "The body that you verify is empty; the one that was signed isn't.",
    )


def test_a_body_where_none_was_signed_is_named():
    """SIG-10."""
    assert only(b"{}", b"") == (
        Kind.BODY_EMPTY,
        "The body that was signed is empty; yours has 2 bytes.",
    )


# JSON that was written anew

VALUE = {"b": "<é>/", "a": [1, {}], "c": None}


@pytest.mark.parametrize(
    ("signed", "mine", "says"),
    [
        (
            {"separators": (",", ":")},
            {},
            "What was signed is the same JSON, written compactly; "
            "yours is written with a space behind commas and colons.",
        ),
        (
            {},
            {"separators": (",", ":")},
            "written with a space behind commas and colons; "
            "yours is written compactly.",
        ),
        ({"indent": 2}, {}, "written indented by 2 spaces; yours"),
        ({"indent": 4}, {}, "written indented by 4 spaces; yours"),
        ({"indent": "\t"}, {}, "written indented by a tab; yours"),
        (
            {"sort_keys": True},
            {},
            "written with sorted keys; yours is written with unsorted keys.",
        ),
        (
            {"ensure_ascii": False},
            {},
            "written with characters beyond ASCII as they are; "
            r"yours is written with \u escapes for characters beyond ASCII.",
        ),
        (
            {},
            {"ensure_ascii": False, "indent": 2},
            "written with a space behind commas and colons, "
            r"with \u escapes for characters beyond ASCII; "
            "yours is written indented by 2 spaces, "
            "with characters beyond ASCII as they are.",
        ),
    ],
)
def test_it_is_said_how_json_was_written_anew(signed, mine, says):
    kind, sentence = only(
        json.dumps(VALUE, **mine).encode(), json.dumps(VALUE, **signed).encode()
    )

    assert kind is Kind.BODY_RESERIALIZED
    assert says in sentence


@pytest.mark.parametrize(
    ("replacements", "says"),
    [
        ([("/", r"\/")], r"written with slashes written \/; yours"),
        (
            [("<", r"\u003c"), (">", r"\u003e")],
            r"written with <, > and & written as \u escapes; yours",
        ),
    ],
)
def test_the_escapes_of_php_and_go_are_known(replacements, says):
    mine = signed = json.dumps(VALUE)
    for character, escape in replacements:
        signed = signed.replace(character, escape)
    kind, sentence = only(mine.encode(), signed.encode())

    assert kind is Kind.BODY_RESERIALIZED
    assert says in sentence


@pytest.mark.parametrize(
    ("ending", "says"),
    [
        ("\n", "with a line break at the end; yours"),
        ("\r\n", "with CR and LF at the end; yours"),
    ],
)
def test_a_line_break_at_the_end_is_part_of_how_json_is_written(ending, says):
    mine = json.dumps(VALUE).encode()
    signed = json.dumps(VALUE, separators=(",", ":")) + ending
    _, sentence = only(mine, signed.encode())

    assert says in sentence


def test_a_style_of_ones_own_is_not_described():
    mine = b'{ "b":"<\xc3\xa9>/" , "a":[1,2]}'

    assert only(mine, BODY) == (
        Kind.BODY_RESERIALIZED,
        "What was signed is the same JSON, written compactly, with unsorted keys, "
        "with characters beyond ASCII as they are; yours isn't.",
    )


def test_of_a_long_body_the_usual_layouts_are_tried():
    value = ["x" * 10] * 10_000
    mine = json.dumps(value).encode()
    indented = json.dumps(value, indent=2).encode()

    kind, _ = only(mine, json.dumps(value, separators=(",", ":")).encode())
    assert kind is Kind.BODY_RESERIALIZED
    kind, _ = only(mine, indented)
    assert kind is Kind.BODY_ALTERED


@pytest.mark.parametrize("depth", [*range(100, 1000, 50), 5_000, 100_000])
def test_no_depth_of_nesting_makes_it_raise(depth):
    body = b"[" * depth + b"]" * depth

    assert only(body, b"something else")[0] is Kind.BODY_ALTERED


@pytest.mark.parametrize(
    "body", [b'["\\ud800"]', b"[NaN]", b"[1e999]", b'{"a":1,"a":2}']
)
def test_odd_json_does_not_make_it_raise(body):
    assert only(body, b"something else")[0] is Kind.BODY_ALTERED


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=8,
)
styles = st.fixed_dictionaries(
    {
        "ensure_ascii": st.booleans(),
        "layout": st.sampled_from(
            [
                {"separators": (",", ":")},
                {},
                {"indent": 2},
                {"indent": 4},
                {"indent": "\t"},
            ]
        ),
        "ending": st.sampled_from(["", "\n", "\r\n"]),
    }
)


def written(value, style, **options):
    text = json.dumps(
        value, ensure_ascii=style["ensure_ascii"], **style["layout"], **options
    )
    return (text + style["ending"]).encode()


@few
@given(json_values, styles, styles, st.booleans())
def test_json_in_any_two_usual_styles_is_recognized(value, mine, theirs, is_sorted):
    body = written(value, mine)
    signed = written(value, theirs, sort_keys=is_sorted)

    expected = [] if body == signed else [Kind.BODY_RESERIALIZED]
    assert [cause.kind for cause in compared(body, signed)] == expected


# What else happens to bodies


WHITE_SPACE = [
    (b"hello\n", b"hello", "White space was added at the end of the body."),
    (b" hello\n", b"hello", "White space was added around the body."),
    (b"hello", b"hello\n", "A line break was taken off the end of the body."),
    (b"hello", b"hello\r\n", "CR and LF were taken off the end of the body."),
    (b"[\r\n]", b"[\n]", "The body's line breaks were changed from LF to CR and LF."),
    (b"[\n]", b"[\r\n]", "The body's line breaks were changed from CR and LF to LF."),
    (b"\xef\xbb\xbfhello", b"hello", "A byte order mark was added before the body."),
    (b"hello", b"\xef\xbb\xbfhello", "A byte order mark was taken off the body."),
]


@pytest.mark.parametrize(("mine", "signed", "says"), WHITE_SPACE)
def test_a_change_of_white_space_in_json_is_a_new_way_to_write_it(mine, signed, says):
    mine, signed = mine.replace(b"hello", b"{}"), signed.replace(b"hello", b"{}")

    assert only(mine, signed) == (Kind.BODY_RESERIALIZED, says)


@pytest.mark.parametrize(("mine", "signed", "says"), WHITE_SPACE)
def test_a_change_of_white_space_in_a_text_alters_it(mine, signed, says):
    mine, signed = mine.replace(b"]", b"x"), signed.replace(b"]", b"x")

    assert only(mine, signed) == (Kind.BODY_ALTERED, says)


@pytest.mark.parametrize(
    ("mine", "says"),
    [
        (b64encode(BODY), "still encoded in base64"),
        (json.dumps(BODY.decode()).encode(), "encoded once more, as a JSON string"),
        (
            json.dumps(BODY.decode(), ensure_ascii=False).encode(),
            "encoded once more, as a JSON string",
        ),
        (str(BODY).encode(), "made a text by str(bytes)"),
        (BODY.decode("latin-1").encode(), "UTF-8 that was read as Latin-1"),
    ],
)
def test_an_encoding_of_what_was_signed_is_recognized(mine, says):
    kind, sentence = only(mine, BODY)

    assert kind is Kind.BODY_ENCODED
    assert says in sentence


@pytest.mark.parametrize("body", [b"it's", b'"', b'it\'s "so"', bytes(range(256))])
def test_bytes_made_a_text_are_recognized_whatever_they_hold(body):
    assert "str(bytes)" in only(str(body).encode(), body)[1]


@pytest.mark.parametrize("mine", [rb"b'\q'", rb"b'\N{DIGIT ONE}'", b"b'\\'", b"b''x'"])
def test_what_only_looks_like_bytes_made_a_text_is_let_be(mine):
    assert only(mine, b"1")[0] is Kind.BODY_ALTERED


@pytest.mark.parametrize("ensure_ascii", [True, False])
def test_a_json_string_whose_content_alone_is_verified_is_recognized(ensure_ascii):
    signed = json.dumps("grüße", ensure_ascii=ensure_ascii).encode()

    kind, sentence = only("grüße".encode(), signed)
    assert kind is Kind.BODY_ENCODED
    assert "its quotes and escapes were taken off" in sentence


def test_content_that_was_decoded_from_base64_is_recognized():
    assert "was decoded from base64" in only(BODY, b64encode(BODY))[1]


def test_of_a_very_long_body_only_white_space_is_looked_at():
    body = b'{"a":"' + b"x" * 2_097_152 + b'"}'

    assert only(body + b"\n", body)[0] is Kind.BODY_RESERIALIZED
    kind, sentence = only(body.replace(b":", b": "), body)
    assert kind is Kind.BODY_ALTERED
    assert "too many to find out how they were changed" in sentence


# What can't be undone


def test_a_body_with_other_content_is_altered():
    assert only(b"hello", b"world") == (
        Kind.BODY_ALTERED,
        "The 5 bytes that you verify aren't what was signed.",
    )


def test_json_with_another_value_is_altered():
    kind, sentence = only(b'{"a":1}', b'{"a":2}')

    assert kind is Kind.BODY_ALTERED
    assert "no usual way of writing it" in sentence


def test_a_body_that_was_decoded_with_losses_is_said_to_be_lost():
    """SIG-15."""
    mine = b"\xff\xfe".decode(errors="replace").encode()

    kind, sentence = only(mine, b"\xff\xfe")
    assert kind is Kind.BODY_ALTERED
    assert "U+FFFD" in sentence


@pytest.mark.parametrize(
    "mine", [b"{'a': 1}", b"['a']", b"[{'a': 1}]", b"[object Object]"]
)
def test_an_object_that_was_made_a_text_is_recognized_as_one(mine):
    kind, sentence = only(mine, b'{"a":1}')

    assert kind is Kind.BODY_ALTERED
    assert "an object that was made a text" in sentence


@few
@given(st.binary(max_size=40), st.text(max_size=50) | st.binary().map(claim_of))
def test_no_body_and_no_claim_make_it_raise(body, claim):
    is_right = claim.rstrip("=") == claim_of(body).rstrip("=")

    assert bool(list(compare_bodies(body, claim))) is not is_right


@few
@given(st.binary(max_size=60), st.binary(max_size=60))
def test_bodies_differ_exactly_if_something_is_said_of_them(body, signed):
    assert bool(compared(body, signed)) is (body != signed)
