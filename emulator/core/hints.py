"""Hints: what a destination's refusal says about its signature check.

A verifier that refuses a delivery is the commonest reason for a 401 or 403 on a
developer's machine. Which answers give one away was observed with the published SDKs
(JavaScript 2.12.0, Python 3.4.0):

* The JavaScript wrappers answer 400 or 403 with a text of theirs only where the header
  is missing (SIG-18). A signature that doesn't hold makes ``Receiver.verify`` throw,
  and the framework answers 500, with the error's text in development.
* The Python receiver leaves the answer to the app, which often repeats the error.

The hint has nothing of the answer in it.
"""

from __future__ import annotations

import re

from emulator.core.model import LogEntry, Responded, State

__all__ = ["hint_for"]

_MAX_BODY_BYTES = 65_536

_VERIFY = "qemu verify says what is wrong with a signature"

_REFUSALS = (400, 401, 403)

_REDIRECTS = (301, 302, 303, 307, 308)

_REDIRECTED = (
    "the app redirects, and QStash follows no redirect: publish to the URL that it "
    "redirects to (look at the scheme and at a slash at the end)"
)

# The first that is found counts: what an SDK says of itself before what an app might.
_HINTS = (
    (
        re.compile("`?upstash-signature`? header is (missing|not passed)"),
        "the app got no Upstash-Signature: something between drops the header",
    ),
    (
        re.compile("invalid subject: "),
        f"the app verifies with another URL than the one published to: {_VERIFY}",
    ),
    (
        re.compile("invalid body hash: |body hash does not match"),
        f"the app doesn't verify the raw body: {_VERIFY}",
    ),
    (
        re.compile("csrf verification failed"),
        "Django's CSRF check refused it: the view needs @csrf_exempt",
    ),
    (
        re.compile(
            "signatureerror|error while decoding signature"
            "|failed to verify that the workflow request comes from qstash"
            "|invalid compact jws"
        ),
        f"the app refuses the signature: {_VERIFY}",
    ),
)

_LIKELY = re.compile("signature|qstash|upstash")
"""In a refusal, that is a verifier too."""


def hint_for(entry: LogEntry) -> str | None:
    """Say what to look at, if a delivery was redirected, or failed at a verifier."""
    outcome = entry.outcome
    if entry.state is not State.ERROR or not isinstance(outcome, Responded):
        return None
    if outcome.status in _REDIRECTS:
        return _REDIRECTED
    # Case doesn't matter, and any charset has these words in ASCII.
    text = outcome.body[:_MAX_BODY_BYTES].decode("latin-1").lower()
    for pattern, hint in _HINTS:
        if pattern.search(text):
            return hint
    if outcome.status in _REFUSALS and _LIKELY.search(text):
        return f"the app seems to refuse the signature: {_VERIFY}"
    return None
