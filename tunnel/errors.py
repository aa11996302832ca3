"""Everything that ``tunnel`` raises on purpose.

TunnelError
├── SettingsRefused     a setting that can't be; .setting .reason
├── NameRefused         (names.py) no tunnel can be called so; .name .reason
├── TokenRefused        (tokens.py) a token opens nothing; .reason
│   └── UnknownKey      … because its key isn't known
├── WireError           the other end broke the link's rules; .code .reason
├── RelayUnreachable    .url .reason
└── RelayRefused        the relay said no, and asking again won't help; .reason

Data is in the attributes, the sentence in ``__str__``. Imports nothing.
"""

from __future__ import annotations

__all__ = [
    "RelayRefused",
    "RelayUnreachable",
    "SettingsRefused",
    "TunnelError",
    "WireError",
]


class TunnelError(Exception):
    """The base of all."""


class SettingsRefused(TunnelError):
    """A setting has a value that can't be used."""

    def __init__(self, setting: str, reason: str) -> None:
        super().__init__(setting, reason)
        self.setting = setting
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.setting}: {self.reason}"


class WireError(TunnelError):
    """The other end of the link broke its rules; the link ends with ``code``."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.reason} ({self.code})"


class RelayUnreachable(TunnelError):
    """No link to the relay could be made; it may succeed later."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url = url
        self.reason = reason

    def __str__(self) -> str:
        return f"can't reach the relay at {self.url}: {self.reason}"


class RelayRefused(TunnelError):
    """The relay refuses this tunnel: its token or its name."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the relay refused the tunnel: {self.reason}"
