"""URL groups: what becomes of one when endpoints are added or removed.

Decides which endpoint a new one changes (UGR-3), which endpoints a removal means
(UGR-6), and when a group ceases to be (UGR-10). Endpoints keep their order of
insertion (UGR-1). How many there may be isn't decided here, nor what a publish to a
group makes of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from emulator.core.bodies import EndpointPattern
from emulator.core.resources import Endpoint, UrlGroup

__all__ = ["remove_endpoints", "upsert_endpoints"]


def upsert_endpoints(
    group: UrlGroup | None, name: str, endpoints: Iterable[Endpoint], *, now_ms: int
) -> UrlGroup:
    """Return a group with endpoints added or changed; a new one for ``None`` (UGR-2).

    ``endpoints`` has at least one. Each in turn: with the name of a member, it gives
    that its URL; else with the URL of a member, it gives that its name, if it has one;
    else it is appended (UGR-3). Names stay unique, URLs may not: of several members
    with a URL, the one counts that has had it longest.
    """
    members = _Members(() if group is None else group.endpoints)
    for endpoint in endpoints:
        members.upsert(endpoint)
    if group is None:
        group = UrlGroup(
            name=name, created_at_ms=now_ms, updated_at_ms=now_ms, endpoints=()
        )
    return replace(group, endpoints=tuple(members.endpoints), updated_at_ms=now_ms)


def remove_endpoints(
    group: UrlGroup, patterns: Iterable[EndpointPattern], *, now_ms: int
) -> UrlGroup | None:
    """Return a group without the endpoints that match any of the patterns (UGR-6).

    If none does, the group is as it was (UGR-7). ``None``: no endpoint is left, and so
    no group (UGR-10).
    """
    wanted = frozenset(patterns)
    kept = tuple(
        endpoint
        for endpoint in group.endpoints
        if wanted.isdisjoint(_patterns_of(endpoint))
    )
    if len(kept) == len(group.endpoints):
        return group
    return replace(group, endpoints=kept, updated_at_ms=now_ms) if kept else None


def _patterns_of(endpoint: Endpoint) -> Iterable[EndpointPattern]:
    """Return every pattern that an endpoint matches."""
    yield EndpointPattern(url=endpoint.url)
    if endpoint.name is not None:
        yield EndpointPattern(name=endpoint.name)
        yield EndpointPattern(url=endpoint.url, name=endpoint.name)


class _Members:
    """Endpoints that are found by name and by URL: a request may have many."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self.endpoints: list[Endpoint] = []
        self._of_name: dict[str, int] = {}
        # Positions of members that have, or had, a URL.
        self._of_url: dict[str, deque[int]] = {}
        for endpoint in endpoints:
            self._append(endpoint)

    def upsert(self, endpoint: Endpoint) -> None:
        if endpoint.name in self._of_name:
            self._set(self._of_name[endpoint.name], endpoint)
            return
        position = self._with_url(endpoint.url)
        if position is None:
            self._append(endpoint)
        elif endpoint.name is not None:
            self._of_name.pop(self.endpoints[position].name or "", None)
            self._set(position, endpoint)

    def _append(self, endpoint: Endpoint) -> None:
        self.endpoints.append(endpoint)
        self._set(len(self.endpoints) - 1, endpoint)

    def _set(self, position: int, endpoint: Endpoint) -> None:
        self.endpoints[position] = endpoint
        self._of_url.setdefault(endpoint.url, deque()).append(position)
        if endpoint.name is not None:
            self._of_name[endpoint.name] = position

    def _with_url(self, url: str) -> int | None:
        positions = self._of_url.get(url, deque())
        while positions:
            if self.endpoints[positions[0]].url == url:
                return positions[0]
            positions.popleft()
        return None
