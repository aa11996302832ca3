"""The verbs of URL groups: what may be done with them (contract section 15)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from emulator.core import url_groups
from emulator.core.bodies import EndpointPattern
from emulator.core.header_map import HeaderMap
from emulator.core.limits import Limits
from emulator.core.loopback import loopback_problem
from emulator.core.resources import Endpoint, UrlGroup
from emulator.core.transition import Transition
from emulator.engine.ports import Clock
from emulator.engine.store import Store
from emulator.errors import InvalidDestination, NotFound, QuotaExceeded

__all__ = ["UrlGroups"]


class UrlGroups:
    """The URL groups of one user."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        commit: Callable[[Transition], None],
        limits: Limits,
    ) -> None:
        self._store = store
        self._clock = clock
        self._commit = commit
        self._limits = limits

    def get(self, name: str) -> UrlGroup:
        """Return a group. Raises ``NotFound`` in QStash's words (PUB-9)."""
        group = self._store.url_groups.get(name)
        if group is None:
            raise NotFound("topic", name)
        return group

    def list(self) -> Sequence[UrlGroup]:
        """Return every group, in order of creation (UGR-8)."""
        return tuple(self._store.url_groups.values())

    def upsert_endpoints(self, name: str, endpoints: Sequence[Endpoint]) -> None:
        """Add or change endpoints; makes the group (UGR-2).

        Raises ``QuotaExceeded`` and ``InvalidDestination``.
        """
        if self._limits.refuses_loopback:
            for endpoint in endpoints:
                problem = loopback_problem(endpoint.url)
                if problem is not None:
                    raise InvalidDestination(endpoint.url, problem)
        before = self._store.url_groups.get(name)
        groups, members = self._limits.max_url_groups, self._limits.max_endpoints
        count = len(self._store.url_groups)
        if before is None and groups is not None and count >= groups:
            raise QuotaExceeded("maxTopics", groups)
        group = url_groups.upsert_endpoints(
            before, name, endpoints, now_ms=self._clock.now_ms()
        )
        if members is not None and len(group.endpoints) > members:
            raise QuotaExceeded("maxEndpointsPerTopic", members)
        self._commit(Transition(url_groups=(group,)))

    def remove_endpoints(self, name: str, patterns: Sequence[EndpointPattern]) -> None:
        """Remove what matches (UGR-6); the last one takes the group along (UGR-10)."""
        group = url_groups.remove_endpoints(
            self.get(name), patterns, now_ms=self._clock.now_ms()
        )
        if group is None:
            self.delete(name)
        else:
            self._commit(Transition(url_groups=(group,)))

    def set_defaults(self, name: str, defaults: HeaderMap) -> None:
        """Replace the default headers of a group (UGR-19)."""
        group = replace(
            self.get(name), defaults=defaults, updated_at_ms=self._clock.now_ms()
        )
        self._commit(Transition(url_groups=(group,)))

    def delete(self, name: str) -> None:
        """Delete a group, if it is there (UGR-9); its messages go on (UGR-13)."""
        if name in self._store.url_groups:
            self._commit(Transition(url_groups_removed=(name,)))
