"""What a destination got: one delivery as it arrived."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from multidict import CIMultiDict, CIMultiDictProxy

from emulator.core.explain_text import Explanation

__all__ = ["ReceivedRequest", "headers_of"]


@dataclass(frozen=True, kw_only=True)
class ReceivedRequest:
    """A request that a destination of the test kit received."""

    url: str
    """As published: what a receiver passes to the SDK's ``verify``."""

    method: str

    headers: Mapping[str, str]
    """In any case; of a header that came twice, the first."""

    body: bytes

    time_ms: int
    """When it came, by the emulator's clock."""

    explain: Callable[[], Explanation] = field(repr=False)
    """Says what there is to say of the signature."""

    @property
    def text(self) -> str:
        """The body as UTF-8 text."""
        return self.body.decode()

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)

    @property
    def claims(self) -> Mapping[str, Any]:
        """What the signature says.

        Raises ``AssertionError`` where it doesn't hold, and says why.
        """
        explanation = self.explain()
        if not explanation.is_valid:
            raise AssertionError(f"{self.method} {self.url}: {explanation}")
        return explanation.claims

    @property
    def is_signed(self) -> bool:
        """Whether every official receiver accepts the request."""
        return self.explain().is_valid

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
