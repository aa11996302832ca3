"""Why a signature doesn't hold: everything that is wrong with it, not the first thing.

The official receivers try the current key, then the next one, and report what the
second try said: that the signature doesn't match, whatever was wrong at first. Here
the token is taken apart without trusting it, and each rule of contract section 13 is
checked by itself, so that several mistakes at once are all named.

Knows no time and no keys but those it is given. No key is ever part of the answer.
"""

from __future__ import annotations

import hmac
import json
import math
import re
from base64 import urlsafe_b64decode
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from emulator.core.duration import format_duration
from emulator.core.explain_body import compare_bodies
from emulator.core.explain_text import Cause, CauseKind, Explanation, plural, quoted
from emulator.core.explain_url import compare_urls
from emulator.core.model import SigningKeys

__all__ = ["OBSOLETE_KEYS", "explain", "signer"]

OBSOLETE_KEYS = SigningKeys(
    "sig_7RvLjqfZBvP5KEUimQCE1pvpLuou", "sig_7W3ZNbfKWk5NWwEs3U4ixuQ7fxwE"
)
"""What an older page of the documentation gives as the default user's (ENV-11)."""

_NOBODY: Mapping[str, SigningKeys] = MappingProxyType({})

_MAX_NESTING = 200
"""Brackets in the JSON of a token; QStash's own has two."""

_MAX_INSTANT_S = 2**53

_REQUIRED = ("iss", "sub", "exp", "nbf", "body")
"""The receivers refuse a token without one of these (SIG-8, SIG-14)."""

_INSTANTS = ("exp", "nbf", "iat")
_TEXTS = ("sub", "jti", "body")

_AROUND = " \t\r\n'\""

_BASE64URL = re.compile("[A-Za-z0-9_-]*={0,2}")


@dataclass(frozen=True, slots=True)
class _Token:
    """What can be read of a token. Nothing of it is trusted."""

    signed: bytes
    """What the code is made of."""

    code: bytes
    """The HMAC; empty where there is none that could be one."""

    claims: Mapping[str, Any] | None
    """``None``: they can't be read."""

    causes: tuple[Cause, ...]
    """What is wrong with how it is written."""

    def fits(self, key: str) -> bool:
        """Whether a key made the code. An empty key makes none."""
        data = key.encode("utf-8", "surrogatepass")
        return bool(data) and hmac.compare_digest(
            hmac.digest(data, self.signed, "sha256"), self.code
        )

    def role(self, keys: SigningKeys) -> str | None:
        """Return which key of a pair made the code, if one did."""
        if self.fits(keys.current):
            return "current"
        return "next" if self.fits(keys.next) else None

    def owner(self, users: Mapping[str, SigningKeys]) -> tuple[str, str] | None:
        """Return whose key made the code, and which of the two."""
        for name, keys in users.items():
            role = self.role(keys)
            if role is not None:
                return name, role
        return None


@dataclass(frozen=True, slots=True)
class _Keys:
    """The keys to verify with, and all others that are known."""

    given: SigningKeys
    users: Mapping[str, SigningKeys]
    regions: Mapping[str, SigningKeys]
    former: Collection[str]
    region: str | None


def explain(
    *,
    signature: str,
    body: bytes | str,
    url: str | None = None,
    current_signing_key: str,
    next_signing_key: str,
    now_ms: int,
    tolerance_s: int = 0,
    known_users: Mapping[str, SigningKeys] = _NOBODY,
    region_keys: Mapping[str, SigningKeys] = _NOBODY,
    former_keys: Collection[str] = (),
    region: str | None = None,
) -> Explanation:
    """Say everything that is wrong with a request's signature.

    ``body`` is what arrived; a text is encoded as UTF-8, as the receivers do
    (SIG-15). Without ``url`` the URL isn't checked. ``now_ms`` is the receiver's idea
    of now. Whose key signed, if it is neither of the two, is looked up among
    ``known_users``, by name, ``region_keys``, by region, and ``former_keys``: those
    that the user had before a rotation. ``region`` is the header ``Upstash-Region``.
    """
    if not signature.strip():
        sentence = "There is no signature: the value of Upstash-Signature is empty."
        return Explanation(causes=(Cause(CauseKind.SIGNATURE_MISSING, sentence),))

    token = _read(signature)
    given = SigningKeys(current_signing_key, next_signing_key)
    causes = [*token.causes]
    if token.code:
        keys = _Keys(given, known_users, region_keys, former_keys, region)
        causes += _check_key(token, keys)
    if token.claims is not None:
        data = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
        causes += _check_claims(token.claims)
        causes += _check_times(token.claims, now_ms, tolerance_s * 1000)
        causes += _check_request(token.claims, data, url)
    owner = token.owner(known_users)
    return Explanation(
        causes=tuple(causes),
        claims=token.claims or {},
        key=token.role(given),
        user=owner[0] if owner else None,
    )


def signer(signature: str, users: Mapping[str, SigningKeys]) -> str | None:
    """Return which of some users has the key that signed a token, if any has."""
    owner = _read(signature).owner(users)
    return owner[0] if owner else None


def _read(signature: str) -> _Token:
    faults: list[str] = []
    text = signature.strip(_AROUND)
    if text != signature:
        faults.append("There is white space, or a quotation mark, around it.")
    parts = text.split(".")
    is_whole = len(parts) == 3
    if not is_whole:
        comma = ", and a comma: were two headers joined?" if "," in text else "."
        faults.append(
            "A token has three parts with dots between them; "
            f"this one has {plural(len(parts), 'part')}{comma}"
        )
    # Of a token that isn't whole, what can be read is read, without more complaints.
    complaints = faults if is_whole else []
    header = _object("header", parts[0], complaints)
    claims = _object("part with the claims", [*parts, ""][1], complaints)
    code = _decoded("code", parts[2], complaints) if is_whole else None
    if code is not None and len(code) != 32 and (header or {}).get("alg") == "HS256":
        faults.append(
            f"Its code has {plural(len(code), 'byte')}, not the 32 of an HMAC-SHA256: "
            "was it cut off?"
        )
    return _Token(
        signed=text.rpartition(".")[0].encode("utf-8", "surrogatepass"),
        code=code if code is not None and len(code) == 32 else b"",
        claims=claims,
        causes=(
            *(Cause(CauseKind.MALFORMED, fault) for fault in faults),
            *(_check_header(header) if header is not None and is_whole else ()),
        ),
    )


def _decoded(name: str, part: str, faults: list[str]) -> bytes | None:
    if _BASE64URL.fullmatch(part) and len(part.rstrip("=")) % 4 != 1:
        return urlsafe_b64decode(part.rstrip("=") + "=" * (-len(part.rstrip("=")) % 4))
    standard = " but standard base64" if re.search("[+/]", part) else ""
    faults.append(f"Its {name} isn't base64url{standard}.")
    return None


def _object(name: str, part: str, faults: list[str]) -> dict[str, Any] | None:
    data = _decoded(name, part, faults)
    if data is None:
        return None
    try:
        text = data.decode("utf-8")
        if text.count("[") + text.count("{") > _MAX_NESTING:
            raise ValueError("nested too deep")
        value = json.loads(text, parse_float=_finite, parse_constant=_finite)
    except ValueError:
        value = None
    if isinstance(value, dict):
        return value
    faults.append(f"Its {name} isn't a JSON object.")
    return None


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("not a number of JSON")
    return number


def _check_header(header: Mapping[str, Any]) -> Iterator[Cause]:
    algorithm = header.get("alg")
    if algorithm != "HS256":
        sentence = f'The token names the algorithm {quoted(algorithm)}, not "HS256".'
        yield Cause(CauseKind.ALGORITHM, sentence)
    if "crit" in header:
        sentence = "Its header demands an extension (crit) that receivers don't know."
        yield Cause(CauseKind.MALFORMED, sentence)
    token_type = header.get("typ", "JWT")
    if token_type != "JWT":
        sentence = f'The token calls itself {quoted(token_type)}, not "JWT".'
        yield Cause(CauseKind.TOKEN_TYPE, sentence)


def _check_key(token: _Token, keys: _Keys) -> Iterator[Cause]:
    """Yield what there is to say of the key that signed."""
    given = keys.given
    role = token.role(given)
    if role is not None:
        swapped = SigningKeys(current=given.next, next=given.current)
        if swapped in keys.users.values():
            yield Cause(
                CauseKind.KEYS_SWAPPED,
                "Your two keys have changed places: the current one is the next.",
            )
        elif role == "next":
            yield Cause(
                CauseKind.NEXT_KEY,
                "It is signed with your next key: the keys were rotated since you "
                "took them, or your two keys have changed places.",
            )
    elif not given.current and not given.next:
        yield Cause(CauseKind.KEY_MISSING, "Both keys that you verify with are empty.")
    else:
        yield _wrong_key(token, keys)


def _wrong_key(token: _Token, keys: _Keys) -> Cause:
    """Say whose key signed, if it is neither of the given ones."""
    given = keys.given
    for name, key in (("current", given.current), ("next", given.next)):
        if any(map(token.fits, _likely_keys(key))):
            return Cause(
                CauseKind.KEY_MANGLED,
                f"Your {name} key would fit, but something stands around it, or the "
                "beginning sig_ is missing.",
            )
    owner = token.owner(keys.users)
    after = [user.next for user in keys.users.values() if token.fits(user.current)]
    if any(map(token.fits, keys.former)) or given.current in after:
        return Cause(
            CauseKind.KEY_ROTATED,
            "It is signed with a key from before a rotation; you verify with keys "
            "from after it.",
        )
    obsolete = (OBSOLETE_KEYS.current, OBSOLETE_KEYS.next)
    if given.current in obsolete or given.next in obsolete:
        return Cause(
            CauseKind.KEY_OBSOLETE,
            "You verify with keys that an old page of the documentation shows; "
            "no server signs with them.",
        )
    if owner is not None:
        name, role = owner
        mine = [user for user, pair in keys.users.items() if pair == given]
        yours = f" Yours are those of {quoted(mine[0])}." if mine else ""
        return Cause(
            CauseKind.KEY_OF_OTHER_USER,
            f"It is signed with the {role} key of the user {quoted(name)}.{yours}",
        )
    owner = token.owner(keys.regions)
    if owner is not None:
        name, role = owner
        return Cause(
            CauseKind.KEY_OF_OTHER_REGION,
            f"It is signed with the {role} key of the region {quoted(name)}.",
        )
    if any(map(token.fits, obsolete)):
        return Cause(
            CauseKind.KEY_OBSOLETE,
            "It is signed with a key that an old page of the documentation shows.",
        )
    region = "" if keys.region is None else f" It comes from {quoted(keys.region)}."
    return Cause(
        CauseKind.KEY_UNKNOWN,
        "No known key fits: it is signed with another one, or was changed after it "
        f"was signed.{region}",
    )


def _likely_keys(key: str) -> Iterator[str]:
    """Yield what was meant by a key that was copied with too much, or too little."""
    bare = key.rpartition("=")[2].strip(_AROUND)
    if bare:
        yield bare
        yield "sig_" + bare


def _check_claims(claims: Mapping[str, Any]) -> Iterator[Cause]:
    missing = [name for name in _REQUIRED if name not in claims]
    if missing:
        sentence = f"The token lacks the claims {', '.join(missing)}."
        yield Cause(CauseKind.CLAIM_MISSING, sentence)
    invalid = [
        *(
            name
            for name in _INSTANTS
            if name in claims and not _is_instant(claims, name)
        ),
        *(name for name in _TEXTS if not isinstance(claims.get(name, ""), str)),
    ]
    for name in invalid:
        what = "a text" if name in _TEXTS else "a Unix time in seconds"
        sentence = f"The claim {name} is {quoted(claims[name])}, which isn't {what}."
        yield Cause(CauseKind.CLAIM_INVALID, sentence)
    issuer = claims.get("iss", "Upstash")
    if issuer != "Upstash":
        sentence = f'The claim iss is {quoted(issuer)}, not "Upstash".'
        yield Cause(CauseKind.ISSUER, sentence)
    audience = claims.get("aud")
    if audience:
        sentence = (
            f"The claim aud is {quoted(audience)}, not empty. The Python receiver "
            "refuses that; JavaScript's doesn't."
        )
        yield Cause(CauseKind.AUDIENCE, sentence)


def _is_instant(claims: Mapping[str, Any], name: str) -> bool:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < _MAX_INSTANT_S


def _check_times(
    claims: Mapping[str, Any], now_ms: int, tolerance_ms: int
) -> Iterator[Cause]:
    """Compare times as the receivers do (SIG-14)."""
    ahead_ms = {
        name: int(claims[name]) * 1000 - now_ms
        for name in _INSTANTS
        if _is_instant(claims, name)
    }
    if ahead_ms.get("exp", 1) <= -tolerance_ms:
        sentence = f"It expired {_span(-ahead_ms['exp'])} ago."
        yield Cause(CauseKind.EXPIRED, sentence)
    if ahead_ms.get("nbf", 0) > tolerance_ms:
        sentence = f"It will be valid in {_span(ahead_ms['nbf'])} (nbf), not yet."
        yield Cause(CauseKind.NOT_YET_VALID, sentence)
    if ahead_ms.get("iat", 0) > tolerance_ms:
        sentence = (
            f"It was issued {_span(ahead_ms['iat'])} in the future (iat). The Python "
            "receiver refuses that; JavaScript's doesn't."
        )
        yield Cause(CauseKind.ISSUED_IN_FUTURE, sentence)


def _span(duration_ms: int) -> str:
    """Write a duration in whole seconds; in milliseconds only below one."""
    whole_ms = duration_ms // 1000 * 1000
    return format_duration(max(0, whole_ms or duration_ms))


def _check_request(
    claims: Mapping[str, Any], body: bytes, url: str | None
) -> Iterator[Cause]:
    subject, body_hash = claims.get("sub"), claims.get("body")
    if url is not None and isinstance(subject, str):
        yield from compare_urls(url, subject)
    if isinstance(body_hash, str):
        yield from compare_bodies(body, body_hash)
