"""emulator/core/hints.py: what a refused delivery says about a signature check.

The answers are those that the published SDKs gave when they were tried.
"""

import pytest

from emulator.core.hints import hint_for
from emulator.core.model import LogEntry, Responded, State, TimedOut, Unreachable
from tests.doubles import T0, a_message

LOST = "the app got no Upstash-Signature: something between drops the header"
REFUSED = "the app refuses the signature: qemu verify says what is wrong with a"
LIKELY = "the app seems to refuse the signature: qemu verify says what is wrong"
URL = "the app verifies with another URL than the one published to"
BODY = "the app doesn't verify the raw body"


def hint(status, body, state=State.ERROR):
    outcome = Responded(status, body=body.encode())
    return hint_for(LogEntry(T0, state, a_message(), outcome=outcome))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        # verifySignature of Next.js' pages router; its app router and edge, Svelte,
        # Solid; H3 and Nuxt, if what they return is answered as it is.
        (400, "`Upstash-Signature` header is missing"),
        (403, "`Upstash-Signature` header is missing"),
        (403, '{"status":403,"body":"`Upstash-Signature` header is missing"}'),
        # serve() of Workflow
        (
            500,
            '{"error":"QstashError","message":"Failed to verify that the Workflow '
            "request comes from QStash: Error: `Upstash-Signature` header is not "
            'passed."}',
        ),
        (401, '{"detail":"Upstash-Signature header is missing"}'),
    ],
)
def test_an_app_that_got_no_signature_is_recognized(status, body):
    """SIG-18."""
    assert hint(status, body) == LOST


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (401, "Invalid subject: http://a/b, want: https://a/b", URL),
        (500, "SignatureError: invalid subject: http://a/, want: http://b/", URL),
        (400, '{"error":"Invalid body hash: 47DE, want: LXEW"}', BODY),
        (500, "SignatureError: body hash does not match, want: AV, got: Pc", BODY),
        (401, "Error while decoding signature: Signature verification failed", REFUSED),
        (500, "<title>SignatureError at /hook</title>", REFUSED),
        (500, "qstash.errors.SignatureError: Signature has expired", REFUSED),
        (500, "SignatureError: Invalid Compact JWS", REFUSED),
        (
            500,
            "Failed to verify that the Workflow request comes from QStash: x",
            REFUSED,
        ),
    ],
)
def test_the_errors_of_the_official_receivers_are_recognized_at_any_status(
    status, body, expected
):
    """SIG-14."""
    found = hint(status, body)

    assert found is not None
    assert found.startswith(expected)


@pytest.mark.parametrize("status", [400, 401, 403])
@pytest.mark.parametrize(
    "body",
    ["Invalid signature", "invalid signature", '{"detail":"Not from QStash"}'],
)
def test_a_refusal_that_speaks_of_signatures_is_likely_a_verifiers(status, body):
    """SIG-18: the wrappers' own words, and an app's."""
    found = hint(status, body)

    assert found is not None
    assert found.startswith(LIKELY)


def test_djangos_check_of_forms_is_not_taken_for_a_verifier():
    body = "<p>CSRF verification failed. Request aborted.</p><p>signature</p>"

    assert hint(403, body) == (
        "Django's CSRF check refused it: the view needs @csrf_exempt"
    )


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_said_to_be_one(status):
    """DLV-15."""
    for body in ("", "Invalid signature"):
        found = hint(status, body)
        assert found is not None
        assert found.startswith("the app redirects, and QStash follows no redirect")


@pytest.mark.parametrize("status", [300, 304, 305, 404])
def test_what_sends_nobody_elsewhere_is_no_redirect(status):
    assert hint(status, "") is None


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, ""),
        (401, '{"detail":"Not authenticated"}'),
        (403, "Forbidden"),
        (500, "Internal Server Error"),
        (500, "invalid signature"),
        (422, "the signature of the contract is missing"),
        (404, "no QStash here"),
    ],
)
def test_other_failures_get_no_hint(status, body):
    assert hint(status, body) is None


@pytest.mark.parametrize("state", [state for state in State if state != State.ERROR])
def test_one_entry_of_a_failed_delivery_has_the_hint(state):
    assert hint(403, "invalid signature", state) is None


@pytest.mark.parametrize("outcome", [None, TimedOut(1), Unreachable("refused")])
def test_without_an_answer_there_is_no_hint(outcome):
    entry = LogEntry(T0, State.ERROR, a_message(), outcome=outcome)

    assert hint_for(entry) is None


def test_a_hint_repeats_nothing_of_the_answer():
    """RED-3: it is shown for redacted messages too."""
    found = hint(401, "Invalid signature of secret")

    assert found is not None
    assert "secret" not in found


def test_the_end_of_a_long_answer_is_not_read():
    assert hint(403, " " * 65_536 + "invalid signature") is None
    assert hint(403, " " * 65_000 + "invalid signature") is not None
