"""A public address for a local port: ``Relay`` is the public end, ``Tunnel`` the other.

Both are asynchronous context managers::

    async with Relay(RelaySettings(port=0)) as relay:
        async with Tunnel(TunnelSettings(3000, relay=relay.link_url)) as tunnel:
            print(tunnel.url)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunnel.client import Tunnel
    from tunnel.relay import Relay
    from tunnel.settings import RelaySettings, TunnelSettings

__all__ = ["Relay", "RelaySettings", "Tunnel", "TunnelSettings"]

_HOMES = {
    "Relay": "tunnel.relay",
    "RelaySettings": "tunnel.settings",
    "Tunnel": "tunnel.client",
    "TunnelSettings": "tunnel.settings",
}


def __getattr__(name: str) -> Any:
    # Lazy: whoever wants one end doesn't load the other.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
