"""Signatures of what comes through a tunnel: judged, demanded, and made for replays.

The tunnel knows nothing of QStash's keys; here its exchanges meet the rules of
``emulator/core``. A good signature costs a few microseconds, because every delivery
passes here. What is wrong with a bad one takes a thousand times as long to find, and
anybody can send one: so that is done for a bounded number a second only.
"""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emulator.core.model import SigningKeys
    from tunnel.exchange import Exchange, Verdict

__all__ = ["TunnelSignatures", "keys_in_force"]

_MOST_EXPLAINED = 20

_MOST_EXPLAINED_BYTES = 1 << 20
"""How many bad signatures, and how much of bodies, are explained within a second."""

_HEADER = urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=").decode() + "."
"""What QStash's tokens begin with (SIG-2). Any other has to be read."""

_SIGNATURE = "Upstash-Signature"


def keys_in_force(environ: Mapping[str, str]) -> tuple[SigningKeys, bool]:
    """Return the app's keys, and whether they are the published ones.

    Those of the environment, else those of whoever it names, as ``qemu start`` would
    take them. Raises ``SettingsError``.
    """
    from emulator.cli.credentials import users_in_force
    from emulator.settings import DEV_USERS

    keys = users_in_force(environ)[0][0].keys
    return keys, any(keys == user.keys for user in DEV_USERS)


class TunnelSignatures:
    """Judges and makes signatures with the app's keys.

    ``verdict`` is for ``Inspector``, ``refusal`` for ``Tunnel(verify=…)``, ``sign`` for
    replays. ``now_ms`` is this machine's clock.
    """

    def __init__(
        self, keys: SigningKeys, *, now_ms: Callable[[], int] | None = None
    ) -> None:
        from emulator.core.ids import JWT_ID_BYTES, jwt_id
        from emulator.core.signature import sign
        from emulator.engine.clock import real_now_ms
        from emulator.engine.entropy import SystemEntropy
        from tunnel.exchange import Verdict

        entropy = SystemEntropy()
        self._keys = keys
        self._now_ms = now_ms or real_now_ms
        self._make = sign
        self._jwt_id: Callable[[], str] = lambda: jwt_id(
            entropy.token_bytes(JWT_ID_BYTES)
        )
        self._secrets = [key.encode() for key in (keys.current, keys.next)]
        self._good = (
            Verdict(True, "signature ok"),
            Verdict(True, "signature ok, made with the next key"),
        )
        self._second = 0
        self._explained = self._explained_bytes = 0

    def verdict(self, exchange: Exchange) -> Verdict | None:
        """Judge a request as the app's receiver would; ``None``: it isn't signed.

        At the time when it came.
        """
        signature = exchange.request_header(_SIGNATURE)
        if signature is None:
            return None
        if not exchange.is_request_whole:
            from tunnel.exchange import Verdict

            return Verdict(
                None, "signature not checked: only the beginning of the body was kept"
            )
        return self._judge(
            signature,
            exchange.request_body,
            exchange.url,
            exchange.started_ms,
            exchange.request_header("Upstash-Region"),
        )

    def refusal(self, head: bytes, body: bytes, public_url: str) -> str | None:
        """Say why a request may not reach the app; ``None``: QStash has signed it.

        ``public_url`` is the tunnel's. The sentence is for whoever made the request,
        so it gives no hint.
        """
        from tunnel.exchange_head import header_of, target_of

        signature = header_of(head, _SIGNATURE)
        if signature is None:
            return "the request isn't signed by QStash"
        url = public_url + target_of(head)
        if self._good_key(signature, body, url, self._now_ms()) is None:
            return "the signature isn't valid"
        return None

    def sign(self, *, body: bytes, url: str, former: str) -> str:
        """Make a signature that is valid now, for a request that had ``former``."""
        return self._make(
            body=body,
            url=_signed_spelling(former, url),
            key=self._keys.current,
            now_ms=self._now_ms(),
            jwt_id=self._jwt_id(),
        )

    def _judge(
        self, signature: str, body: bytes, url: str, now_ms: int, region: str | None
    ) -> Verdict:
        from tunnel.exchange import Verdict

        good_key = self._good_key(signature, body, url, now_ms)
        if good_key is not None:
            return self._good[good_key]
        if not self._may_explain(len(body), now_ms):
            return Verdict(
                False,
                "signature not valid",
                ("Too much is wrong to explain all of it: try qemu verify.",),
            )

        from emulator.verification import explain

        explanation = explain(
            signature=signature,
            body=body,
            url=_signed_spelling(signature, url),
            current_signing_key=self._keys.current,
            next_signing_key=self._keys.next,
            now_ms=now_ms,
            region=region,
        )
        detail = tuple(
            f"{cause.kind.value}: {cause.sentence} {cause.remedy}"
            for cause in explanation.causes
        )
        if explanation.is_valid:
            return Verdict(True, "signature ok", detail)
        first = next(cause for cause in explanation.causes if cause.is_fatal)
        return Verdict(False, f"signature not valid: {first.sentence}", detail)

    def _good_key(
        self, signature: str, body: bytes, url: str, now_ms: int
    ) -> int | None:
        """Return which key made a signature that every receiver accepts, if one did.

        ``None`` for all that is unusual, too.
        """
        signed, _, code = signature.rpartition(".")
        data = signed.encode("latin-1")
        found = None
        for number, secret in enumerate(self._secrets):
            expected = urlsafe_b64encode(hmac.digest(secret, data, "sha256"))
            if hmac.compare_digest(expected.rstrip(b"="), code.encode("latin-1")):
                found = number
                break
        # Behind this, the token is by somebody who has the key.
        if found is None or not self._secrets[found]:
            return None
        if not signed.startswith(_HEADER):
            header = _part(signature, 0)
            if header.get("alg") != "HS256" or "crit" in header:
                return None
        claims = _part(signature, 1)
        body_hash = urlsafe_b64encode(sha256(body).digest()).decode("ascii")
        try:
            is_good = (
                claims["iss"] == "Upstash"
                and claims["sub"] in _spellings(url)
                and claims["body"].rstrip("=") == body_hash.rstrip("=")
                and claims["exp"] * 1000 > now_ms
                and max(claims["nbf"], claims.get("iat", 0)) * 1000 <= now_ms
                and not claims.get("aud")
            )
        except (KeyError, TypeError, AttributeError):
            return None
        return found if is_good else None

    def _may_explain(self, body_bytes: int, now_ms: int) -> bool:
        if now_ms // 1000 != self._second:
            self._second = now_ms // 1000
            self._explained = self._explained_bytes = 0
        self._explained += 1
        self._explained_bytes += body_bytes
        return (
            self._explained <= _MOST_EXPLAINED
            and self._explained_bytes <= _MOST_EXPLAINED_BYTES
        )


def _part(signature: str, number: int) -> dict[str, Any]:
    """Read a token's header (0) or claims (1), whoever made it; nothing of no token."""
    try:
        part = signature.split(".")[number]
        value = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (IndexError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _spellings(url: str) -> Iterator[str]:
    """Yield how a message may have been published that is delivered to a public URL.

    A request has a path, and a URL without one needs none. And a relay behind a proxy
    that ends TLS may not know how it is called.
    """
    yield url
    scheme, mark, rest = url.partition("://")
    other = ("http" if scheme == "https" else "https") + mark + rest
    yield other
    if rest.count("/") == 1 and rest.endswith("/"):
        yield url[:-1]
        yield other[:-1]


def _signed_spelling(signature: str, url: str) -> str:
    """Return a URL in the spelling that a token was made for, if it is the same."""
    subject = _part(signature, 1).get("sub")
    return next((one for one in _spellings(url) if one == subject), url)
