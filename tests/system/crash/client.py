"""The load's way to qemu: a call gets its answer, or nobody knows what became of it."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp

__all__ = ["TOKENS", "Client", "Refused", "Unanswered", "session"]

# The first two of the public dev users (ENV-11).
TOKENS = (
    "eyJVc2VySUQiOiJkZWZhdWx0VXNlciIsIlBhc3N3b3JkIjoiZGVmYXVsdFBhc3N3b3JkIn0=",
    "eyJVc2VySUQiOiJ0ZXN0VXNlcjEiLCJQYXNzd29yZCI6InRlc3RQYXNzd29yZCJ9",
)

_PATIENCE = aiohttp.ClientTimeout(total=30)


class Unanswered(Exception):
    """The process was gone before it answered."""


class Refused(Exception):
    """The answer isn't a 2xx."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status


class Client:
    """Calls whichever process is up; while none is, calls wait for the next."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._url = ""
        self._is_up = asyncio.Event()

    def twin(self) -> Client:
        """Return another that is up and down by itself."""
        return Client(self._session)

    def up(self, url: str) -> None:
        """Say that a process serves at a URL."""
        self._url = url
        self._is_up.set()

    def down(self) -> None:
        """Say that none does."""
        self._is_up.clear()

    async def ready(self) -> None:
        """Wait until a process is up."""
        await self._is_up.wait()

    async def call(
        self,
        method: str,
        path: str,
        *,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        json: Any = None,
        user: int = 0,
    ) -> Any:
        """Return what a 2xx says. Raises ``Refused`` and ``Unanswered``."""
        await self._is_up.wait()
        own = {"Authorization": f"Bearer {TOKENS[user]}"}
        try:
            async with self._session.request(
                method,
                self._url + path,
                headers=own | (headers or {}),
                data=body,
                json=json,
                timeout=_PATIENCE,
            ) as answer:
                text = await answer.text()
                status, content_type = answer.status, answer.content_type
                value = text
                if content_type == "application/json" and text:
                    value = await answer.json()
        except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
            raise Unanswered(f"{method} {path}: {error!r}") from error
        if not 200 <= status < 300:
            raise Refused(status, f"{method} {path}: {text}")
        return value


def session() -> aiohttp.ClientSession:
    """Make a session with as many connections as anybody wants."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
