"""What can be wrong with a signature: the vocabulary of ``explain``, and its report.

Decides how each cause is called, whether the official receivers refuse a request for
it, and what to do about it. What is found, and where, is decided in ``explain.py``.

Claims and URLs come from strangers: whatever is quoted from them has passed
``quoted`` or ``shown_url``, so that it is printable, short, and without a password.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

__all__ = [
    "REMEDIES",
    "Cause",
    "CauseKind",
    "Explanation",
    "explanation_json",
    "plural",
    "quoted",
    "shown_url",
]

_LONGEST_QUOTE = 200


class CauseKind(StrEnum):
    """One thing that is wrong. The words are stable: programs may look at them."""

    SIGNATURE_MISSING = "signature-missing"
    MALFORMED = "malformed"
    ALGORITHM = "algorithm"
    TOKEN_TYPE = "token-type"
    KEY_MISSING = "key-missing"
    KEY_MANGLED = "key-mangled"
    KEY_UNKNOWN = "key-unknown"
    KEY_OF_OTHER_USER = "key-of-other-user"
    KEY_OF_OTHER_REGION = "key-of-other-region"
    KEY_OBSOLETE = "key-obsolete"
    KEY_ROTATED = "key-rotated"
    KEYS_SWAPPED = "keys-swapped"
    NEXT_KEY = "next-key"
    CLAIM_MISSING = "claim-missing"
    CLAIM_INVALID = "claim-invalid"
    ISSUER = "issuer"
    AUDIENCE = "audience"
    EXPIRED = "expired"
    NOT_YET_VALID = "not-yet-valid"
    ISSUED_IN_FUTURE = "issued-in-future"
    URL_RELATIVE = "url-relative"
    URL_SCHEME = "url-scheme"
    URL_CREDENTIALS = "url-credentials"
    URL_HOST = "url-host"
    URL_PORT = "url-port"
    URL_PATH = "url-path"
    URL_TRAILING_SLASH = "url-trailing-slash"
    URL_ENCODING = "url-encoding"
    URL_QUERY = "url-query"
    URL_FRAGMENT = "url-fragment"
    HASH_ENCODING = "hash-encoding"
    BODY_EMPTY = "body-empty"
    BODY_RESERIALIZED = "body-reserialized"
    BODY_ENCODED = "body-encoded"
    BODY_ALTERED = "body-altered"


_HARMLESS = frozenset(
    {CauseKind.NEXT_KEY, CauseKind.KEYS_SWAPPED, CauseKind.TOKEN_TYPE}
)
"""No official receiver refuses a request for these (SIG-14, KEY-4)."""

_RAW_BODY = (
    "Verify the raw body, before anything parses it: await request.text() in Next.js, "
    "await request.body() in FastAPI, request.get_data() in Flask, request.body in "
    "Django."
)
_FIXED_URL = (
    "Pass the URL exactly as it was published: from one constant that both sides use, "
    "not from what the framework says the request's URL is."
)
_MAKER = "QStash never signs so: whatever made the token has to be mended."
_CLOCKS = (
    "Compare the clocks of the two machines, and look for a frozen clock in tests."
)
_THEIR_KEYS = (
    "Use the two keys of the user whose token publishes: qemu env prints those of "
    "the first user, GET /v2/keys those of any."
)

REMEDIES: Mapping[CauseKind, str] = {
    CauseKind.SIGNATURE_MISSING: (
        "Read the header Upstash-Signature. If it isn't there, a proxy or a middleware "
        "drops it, or the request didn't come from QStash."
    ),
    CauseKind.MALFORMED: (
        "Pass the value of the header Upstash-Signature as it arrived, and whole."
    ),
    CauseKind.ALGORITHM: _MAKER,
    CauseKind.TOKEN_TYPE: _MAKER,
    CauseKind.KEY_MISSING: (
        "Set QSTASH_CURRENT_SIGNING_KEY and QSTASH_NEXT_SIGNING_KEY where the app "
        "runs, and restart it: qemu env prints them."
    ),
    CauseKind.KEY_MANGLED: (
        "Take the key over to the letter: sig_ included, without quotes and spaces."
    ),
    CauseKind.KEY_UNKNOWN: (
        "Compare QSTASH_CURRENT_SIGNING_KEY and QSTASH_NEXT_SIGNING_KEY where the app "
        "runs with GET /v2/keys of the server that signed: qemu's keys and those of "
        "the cloud differ."
    ),
    CauseKind.KEY_OF_OTHER_USER: _THEIR_KEYS,
    CauseKind.KEY_OF_OTHER_REGION: (
        "Use the region's keys: <REGION>_QSTASH_CURRENT_SIGNING_KEY and "
        "<REGION>_QSTASH_NEXT_SIGNING_KEY, by the header Upstash-Region."
    ),
    CauseKind.KEY_OBSOLETE: "Use the keys that qemu env prints.",
    CauseKind.KEY_ROTATED: (
        "Wait for the next delivery, which is signed with the new key; if none comes, "
        "compare the app's keys with GET /v2/keys."
    ),
    CauseKind.KEYS_SWAPPED: (
        "Exchange QSTASH_CURRENT_SIGNING_KEY and QSTASH_NEXT_SIGNING_KEY."
    ),
    CauseKind.NEXT_KEY: (
        "Give the app the new pair of GET /v2/keys: after another rotation it would "
        "refuse everything."
    ),
    CauseKind.CLAIM_MISSING: _MAKER,
    CauseKind.CLAIM_INVALID: _MAKER,
    CauseKind.ISSUER: _MAKER,
    CauseKind.AUDIENCE: _MAKER,
    CauseKind.EXPIRED: (
        "A token is valid for 5 minutes and each retry carries a new one: verify it "
        f"when it arrives, and don't keep requests for later. {_CLOCKS}"
    ),
    CauseKind.NOT_YET_VALID: _CLOCKS,
    CauseKind.ISSUED_IN_FUTURE: _CLOCKS,
    CauseKind.URL_RELATIVE: _FIXED_URL,
    CauseKind.URL_SCHEME: (
        "Behind a proxy that ends TLS the app sees http. Build the URL from the app's "
        "public address, or let the framework trust X-Forwarded-Proto: "
        "uvicorn --forwarded-allow-ips for FastAPI, ProxyFix in Flask, "
        "SECURE_PROXY_SSL_HEADER in Django."
    ),
    CauseKind.URL_CREDENTIALS: _FIXED_URL,
    CauseKind.URL_HOST: (
        "Publish to, and verify with, the same name. Build the URL from the app's "
        "public address, as a constant; Flask (ProxyFix with x_host=1) and Django "
        "(USE_X_FORWARDED_HOST) can also trust X-Forwarded-Host."
    ),
    CauseKind.URL_PORT: _FIXED_URL,
    CauseKind.URL_PATH: (
        f"{_FIXED_URL} If a proxy takes off a prefix: root_path in FastAPI, ProxyFix "
        "with x_prefix=1 in Flask, FORCE_SCRIPT_NAME in Django, basePath in Next.js."
    ),
    CauseKind.URL_TRAILING_SLASH: (
        "Publish to the URL that the app serves without a redirect: trailingSlash in "
        "Next.js, redirect_slashes in FastAPI, strict_slashes in Flask, APPEND_SLASH "
        "in Django decide which that is."
    ),
    CauseKind.URL_ENCODING: _FIXED_URL,
    CauseKind.URL_QUERY: _FIXED_URL,
    CauseKind.URL_FRAGMENT: "Publish to a URL without a fragment: no request has one.",
    CauseKind.HASH_ENCODING: (
        "The claim is the SHA-256 of the body in base64url (RFC 4648, section 5). "
        f"{_MAKER}"
    ),
    CauseKind.BODY_EMPTY: (
        f"{_RAW_BODY} A body can be read once: a middleware may have been first."
    ),
    CauseKind.BODY_RESERIALIZED: _RAW_BODY,
    CauseKind.BODY_ENCODED: _RAW_BODY,
    CauseKind.BODY_ALTERED: _RAW_BODY,
}
"""What to do, in a sentence or two. The how-to page has more for each framework."""


@dataclass(frozen=True, slots=True)
class Cause:
    """One reason why a request isn't as QStash makes it."""

    kind: CauseKind

    sentence: str
    """What was found."""

    @property
    def remedy(self) -> str:
        """What to do."""
        return REMEDIES[self.kind]

    @property
    def is_fatal(self) -> bool:
        """Whether an official receiver refuses the request for it (SIG-14)."""
        return self.kind not in _HARMLESS


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What is to be said of a signature. ``str()`` makes a report of it."""

    causes: tuple[Cause, ...]
    """All that is wrong: the token first, then key, times, URL and body."""

    claims: Mapping[str, Any] = field(default_factory=dict)
    """As found, whoever signed them; empty if they can't be read."""

    key: str | None = None
    """``current`` or ``next``: which of the given keys signed."""

    user: str | None = None
    """The known user whose key signed."""

    @property
    def is_valid(self) -> bool:
        """Whether every official receiver accepts the request."""
        return not any(cause.is_fatal for cause in self.causes)

    def __str__(self) -> str:
        lines = [f"The signature is {'valid' if self.is_valid else 'not valid'}."]
        for number, cause in enumerate(self.causes, 1):
            lines += [
                "",
                f"{number}. {cause.kind.value}: {cause.sentence}",
                f"   {cause.remedy}",
            ]
        if self.claims:
            signer = f"your {self.key} key" if self.key else "none of your keys"
            owner = f", the user {quoted(self.user)}'s" if self.user else ""
            lines += ["", f"Signed with {signer}{owner}. The claims:"]
            lines += [
                f"  {quoted(name)}: {_shown_claim(name, value)}"
                for name, value in self.claims.items()
            ]
        return "\n".join(lines)


def explanation_json(explanation: Explanation) -> dict[str, Any]:
    """Render an explanation for programs. What isn't known is left out."""
    rendered: dict[str, Any] = {
        "isValid": explanation.is_valid,
        "causes": [
            {
                "kind": cause.kind.value,
                "isFatal": cause.is_fatal,
                "sentence": cause.sentence,
                "remedy": cause.remedy,
            }
            for cause in explanation.causes
        ],
        "claims": dict(explanation.claims),
    }
    known = {"key": explanation.key, "user": explanation.user}
    return rendered | {name: value for name, value in known.items() if value}


def quoted(value: object) -> str:
    """Quote what somebody else wrote, as JSON: printable ASCII, and not too long."""
    text = json.dumps(value)
    return text if len(text) <= _LONGEST_QUOTE else text[: _LONGEST_QUOTE - 1] + "…"


def shown_url(url: str) -> str:
    """Quote a URL without its name and password."""
    return quoted(re.sub(r"^([^/?#]*//)[^/?#]*@", r"\1***@", url))


def plural(count: int, word: str) -> str:
    """Write ``1 byte`` or ``2 bytes``."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _shown_claim(name: str, value: object) -> str:
    if name == "sub" and isinstance(value, str):
        return shown_url(value)
    shown = quoted(value)
    # 2^35 s is in the year 3058; nbf is 0.
    if name in ("exp", "iat", "nbf") and type(value) is int and 0 < value < 2**35:
        shown += f"  {datetime.fromtimestamp(value, UTC):%Y-%m-%dT%H:%M:%SZ}"
    return shown
