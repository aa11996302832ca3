"""What a destination got: one delivery as it arrived."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from multidict import CIMultiDict, CIMultiDictProxy

__all__ = ["ReceivedRequest", "headers_of"]


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request that a destination of the test kit received."""

    url: str
    """As published: what a receiver passes to the SDK's ``verify``."""

    method: str

    headers: Mapping[str, str]
    """In any case; of a header that came twice, the first."""

    body: bytes

    claims: Mapping[str, Any] = field(default_factory=dict)
    """What the signature says; it has been verified."""

    @property
    def text(self) -> str:
        """The body as UTF-8 text."""
        return self.body.decode()

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)

    @property
    def retried(self) -> int:
        """How many retries were made before this delivery."""
        return int(self.headers.get("Upstash-Retried", "0"))

    @property
    def message_id(self) -> str:
        """The id of the message that was delivered."""
        return self.headers.get("Upstash-Message-Id", "")


def headers_of(items: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    """Make a mapping of headers that is read in any case."""
    return CIMultiDictProxy(CIMultiDict(items))
