"""A tunnel's policy: which requests of the public reach the app at all.

The tunnel's owner states it, it travels to the relay in HELLO, and the relay asks it
before anything is sent down the link (tunnel.md, section 4). Deny wins over allow;
addresses are looked at before paths, and both before passwords.

Pure. Counting requests and body bytes is the relay's, with ``rate`` and
``max_body_bytes``; reading the passwords' file and its salt is the command line's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from tunnel.basic_auth import BasicAuth
from tunnel.bounds import texts, whole_or_none
from tunnel.errors import SettingsRefused
from tunnel.networks import Network, is_within, parse_address, parse_networks
from tunnel.paths import is_path_below, parse_prefix

__all__ = ["MAX_NETWORKS", "MAX_PATHS", "MAX_RATE", "Policy", "Refusal", "make_policy"]

MAX_NETWORKS = 64
"""In each of the two lists. All bounds together keep HELLO within its own."""

MAX_PATHS = 32

MAX_RATE = 1_000_000
"""Per second; more is as good as no limit."""

_MAX_BODY_BYTES = 2**53
_MAX_VERDICTS = 1024

_CHALLENGE = b'WWW-Authenticate: Basic realm="qemu", charset="UTF-8"\r\n'


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer to a request that may not pass."""

    status: int

    sentence: str

    more: bytes = b""
    """Further header lines, each with its CRLF."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What may pass. Built by ``make_policy`` or ``from_json``, which check it."""

    allow: tuple[Network, ...] = ()
    """Only these addresses. Empty: all."""

    deny: tuple[Network, ...] = ()
    """Never these, even if ``allow`` has them."""

    paths: tuple[str, ...] = ()
    """Only what is below these, as ``parse_prefix`` returns them. Empty: all."""

    basic_auth: BasicAuth | None = None

    rate: int | None = None
    """Requests per second."""

    max_body_bytes: int | None = None
    """Of a request's body."""

    is_open: bool = field(init=False, compare=False, repr=False)
    """Whether ``check`` passes everything: then nobody needs to call it."""

    _beginnings: tuple[bytes, ...] = field(init=False, compare=False, repr=False)
    _verdicts: dict[str, bool] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        by_address = self.allow or self.deny
        is_open = not (by_address or self.paths or self.basic_auth)
        object.__setattr__(self, "is_open", is_open)
        beginnings = tuple(f"{path}/".encode() for path in self.paths)
        object.__setattr__(self, "_beginnings", beginnings)
        object.__setattr__(self, "_verdicts", {})

    def check(
        self, peer_ip: str, path: bytes, authorization: bytes | None
    ) -> Refusal | None:
        """Return why a request may not pass, or ``None`` if it may.

        ``path`` is the target's as the app will see it, without the query;
        ``authorization`` the first field of that name. An address that is none is
        in no list, and passes only where there is no list.
        """
        if self.is_open:
            return None
        if (self.allow or self.deny) and not self._admits(peer_ip):
            return Refusal(403, "this tunnel takes no requests from your address")
        if self._beginnings and not is_path_below(path, self._beginnings):
            return Refusal(403, "this tunnel takes no requests for this path")
        if self.basic_auth is not None and not self.basic_auth.has(authorization):
            return Refusal(401, "this tunnel asks for a name and password", _CHALLENGE)
        return None

    def _admits(self, peer_ip: str) -> bool:
        verdict = self._verdicts.get(peer_ip)
        if verdict is None:
            address = parse_address(peer_ip)
            verdict = (
                address is not None
                and not is_within(address, self.deny)
                and (not self.allow or is_within(address, self.allow))
            )
            if len(self._verdicts) >= _MAX_VERDICTS:
                self._verdicts.clear()
            self._verdicts[peer_ip] = verdict
        return verdict

    def narrowed(self, paths: tuple[str, ...], rate: int | None) -> Policy:
        """Return this policy within a token's: paths in both, the lower rate.

        ``paths`` as in ``Grant``; empty and ``None`` narrow nothing. Raises
        ``SettingsRefused`` if no path is left, since an empty list would mean all.
        """
        kept = self.paths or paths
        if self.paths and paths:
            kept = tuple(
                dict.fromkeys(
                    max(own, other, key=len)
                    for own in self.paths
                    for other in paths
                    if f"{own}/".startswith(f"{other}/")
                    or f"{other}/".startswith(f"{own}/")
                )
            )
            if not kept:
                allowed = ", ".join(path or "/" for path in paths[:5])
                raise SettingsRefused("path", f"the token allows only {allowed}")
        rates = [each for each in (self.rate, rate) if each is not None]
        return replace(self, paths=kept, rate=min(rates, default=None))

    def to_json(self) -> dict[str, Any]:
        """Return what ``from_json`` reads; ``{}`` if nothing is restricted."""
        data: dict[str, Any] = {
            "allow": [str(network) for network in self.allow],
            "deny": [str(network) for network in self.deny],
            "paths": [path or "/" for path in self.paths],
        }
        if self.basic_auth is not None:
            data["basicAuth"] = self.basic_auth.to_json()
        data["rate"] = self.rate
        data["maxBodyBytes"] = self.max_body_bytes
        # No value of 0 is left out: a body of 0 bytes at most is a restriction.
        return {key: value for key, value in data.items() if value not in (None, [])}

    @classmethod
    def from_json(cls, data: object) -> Policy:
        """Read what came in HELLO, from anybody who has a token.

        Raises ``SettingsRefused``, also for a key that isn't known: a restriction
        that were dropped would open what its owner has closed.
        """
        if not isinstance(data, dict):
            raise SettingsRefused("policy", "must be a JSON object")
        for key in data:
            if key not in _KEYS:
                raise SettingsRefused(
                    "policy", f"the relay doesn't know {str(key)[:40]!a}, update it"
                )
        basic_auth = data.get("basicAuth")
        return make_policy(
            allow=_list(data, "allow"),
            deny=_list(data, "deny"),
            paths=_list(data, "paths"),
            basic_auth=None if basic_auth is None else BasicAuth.from_json(basic_auth),
            rate=data.get("rate"),
            max_body_bytes=data.get("maxBodyBytes"),
        )


_KEYS = frozenset({"allow", "deny", "paths", "basicAuth", "rate", "maxBodyBytes"})


def make_policy(
    *,
    allow: Iterable[str] = (),
    deny: Iterable[str] = (),
    paths: Iterable[str] = (),
    basic_auth: BasicAuth | None = None,
    rate: int | None = None,
    max_body_bytes: int | None = None,
) -> Policy:
    """Make a policy of what people write: networks, addresses, path prefixes.

    A prefix of ``/`` means all paths. Raises ``SettingsRefused``.
    """
    prefixes = texts("path", list(paths), most=MAX_PATHS)
    kept = tuple(dict.fromkeys(parse_prefix(each, "path") for each in prefixes))
    return Policy(
        allow=parse_networks(texts("allow", list(allow), most=MAX_NETWORKS), "allow"),
        deny=parse_networks(texts("deny", list(deny), most=MAX_NETWORKS), "deny"),
        paths=() if "" in kept else kept,
        basic_auth=basic_auth,
        rate=whole_or_none("rate", rate, most=MAX_RATE),
        max_body_bytes=whole_or_none(
            "max_body", max_body_bytes, least=0, most=_MAX_BODY_BYTES
        ),
    )


def _list(data: dict[str, Any], key: str) -> list[Any]:
    value = data.get(key, [])
    if not isinstance(value, list):
        raise SettingsRefused("policy", f"{key} must be a list")
    return value
