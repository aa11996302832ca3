"""Routes: where to connect for a message, when that isn't where its URL points.

``https://app.example=http://127.0.0.1:3000`` lets an app be published to under
its public address and reached on this machine. Only the connection changes: the
message keeps its URL, in the log, in filters and in the signature (PUB-4).

An origin is scheme, host and port. Two are equal as RFC 6454 has it: in any case,
a default port written or not. Nothing else is normalized.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from emulator.core.destination import url_problem
from emulator.errors import shown

__all__ = ["Route", "make_route", "parse_route", "repeated_origin", "reroute"]

_EXAMPLE = "https://app.example=http://127.0.0.1:3000"

_DEFAULT_PORTS = {"http": "80", "https": "443"}

# Scheme, user information, host with port, and the rest.
_URL = re.compile(
    r"(https?)://((?:[^/?#]*@)?)([^/?#@]*)(.*)", re.IGNORECASE | re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Route:
    """Messages for one origin are delivered to another.

    Raises ``ValueError`` if one of the two isn't an origin.
    """

    origin: str
    """What messages' URLs start with, such as ``https://app.example``."""

    target: str
    """Where to connect instead, such as ``http://127.0.0.1:3000``."""

    def __post_init__(self) -> None:
        _check_origin(self.origin)
        _check_origin(self.target)

    def __str__(self) -> str:
        return f"{self.origin}={self.target}"


def parse_route(text: str) -> Route:
    """Read ``https://app.example=http://127.0.0.1:3000``.

    Raises ``ValueError`` with a sentence for the user.
    """
    origin, mark, target = text.strip().partition("=")
    if not mark:
        raise ValueError(f'{shown(text)} has no "=": a route looks like {_EXAMPLE}')
    return Route(origin.strip(), target.strip())


def make_route(origin: object, target: object) -> Route:
    """Make a route of the ``from`` and ``to`` of a ``[[routes]]`` table.

    Raises ``ValueError`` with a sentence for the user.
    """
    if not isinstance(origin, str) or not isinstance(target, str):
        raise ValueError(
            'a route has "from" and "to", both texts, '
            'such as "https://app.example" and "http://127.0.0.1:3000"'
        )
    return Route(origin.strip(), target.strip())


def reroute(url: str, routes: tuple[Route, ...]) -> str:
    """Return where to connect for a message's URL.

    The first route whose origin is the URL's decides; without one the URL is
    returned as it is. User information and all that follows the origin are kept
    to the letter.
    """
    if not routes:
        return url

    match = _URL.fullmatch(url)
    if not match:
        return url

    scheme, userinfo, host, rest = match.groups()
    key = _origin_key(f"{scheme}://{host}")
    for route in routes:
        if _origin_key(route.origin) == key:
            scheme, _, host = route.target.partition("://")
            return f"{scheme}://{userinfo}{host}{rest}"
    return url


def repeated_origin(routes: tuple[Route, ...]) -> str | None:
    """Return an origin that has two routes, of which the second would do nothing."""
    seen = set()
    for route in routes:
        key = _origin_key(route.origin)
        if key in seen:
            return route.origin
        seen.add(key)
    return None


@lru_cache(maxsize=256)
def _origin_key(origin: str) -> tuple[str, str, str]:
    """Return scheme, host and port, so that equal origins have equal keys."""
    scheme, _, host_and_port = origin.lower().partition("://")
    host, colon, port = host_and_port.rpartition(":")
    if not colon or port.endswith("]"):
        # No port: the colons, if there are any, are an IPv6 address's own.
        host, port = host_and_port, ""
    return scheme, host, port.lstrip("0") or _DEFAULT_PORTS[scheme]


def _check_origin(text: str) -> None:
    problem = _origin_problem(text)
    if problem is not None:
        raise ValueError(f"{shown(text)} {problem}: a route looks like {_EXAMPLE}")


def _origin_problem(text: str) -> str | None:
    match = _URL.fullmatch(text)
    if not match:
        return "doesn't start with http:// or https://"

    _, userinfo, _, rest = match.groups()
    if userinfo:
        return "contains user information"
    if rest:
        return f"goes on after the host, remove {shown(rest)}"

    problem = url_problem(text)
    return None if problem is None else problem.removeprefix("endpoint ")
