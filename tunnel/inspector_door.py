"""The inspector's port, open from the start, and its API, loaded when somebody calls.

What serves the API takes longer to load than all the rest of a tunnel, and most tunnels
are never asked. So the port listens at once, its number is known, and the first caller
waits for a fraction of a second. What is served is ``inspector_api.py``'s.
"""

from __future__ import annotations

import asyncio
import socket
from importlib import import_module
from typing import TYPE_CHECKING

from tunnel.inspector import Inspector
from tunnel.replay import Replayer

if TYPE_CHECKING:
    from tunnel.inspector_api import InspectorApi

__all__ = ["InspectorDoor"]

_BACKLOG = 128


class InspectorDoor:
    """Serves an inspector on ``host`` and ``port`` (0: any that is free).

    ``replayer`` sends exchanges to the app again; without one that is refused.
    """

    def __init__(
        self,
        inspector: Inspector,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        replayer: Replayer | None = None,
    ) -> None:
        self._inspector = inspector
        self._host = host
        self._port = port
        self._replayer = replayer
        self._socket: socket.socket | None = None
        self._opening: asyncio.Task[None] | None = None
        self._api: InspectorApi | None = None

    @property
    def url(self) -> str:
        """Where it is served, once it listens."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    async def start(self) -> None:
        """Listen. Raises ``OSError`` where that can't be."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        self._socket = listener = socket.create_server(
            (self._host, self._port), family=family, backlog=_BACKLOG
        )
        listener.setblocking(False)
        self._port = listener.getsockname()[1]
        try:
            asyncio.get_running_loop().add_reader(listener.fileno(), self._called)
        except NotImplementedError:  # on Windows: then at once
            await self._open(listener)

    async def stop(self) -> None:
        """Listen no more. Replays under way are given up."""
        listener, self._socket = self._socket, None
        opening, self._opening = self._opening, None
        if opening is not None:
            # Not cancelled: a server that is half begun can't be closed.
            await asyncio.gather(opening, return_exceptions=True)
        elif listener is not None and self._api is None:
            asyncio.get_running_loop().remove_reader(listener.fileno())
        if self._api is not None:
            await self._api.stop()
        if listener is not None:
            listener.close()

    def _called(self) -> None:
        """Somebody calls for the first time."""
        listener = self._socket
        assert listener is not None
        asyncio.get_running_loop().remove_reader(listener.fileno())
        self._opening = asyncio.ensure_future(self._open(listener))

    async def _open(self, listener: socket.socket) -> None:
        # In a thread: the requests that come through the tunnel go on meanwhile.
        module = await asyncio.to_thread(import_module, "tunnel.inspector_api")
        api: InspectorApi = module.InspectorApi(
            self._inspector, replayer=self._replayer, listener=listener
        )
        self._api = api
        await api.start()
