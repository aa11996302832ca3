"""The process's environment while a test runs: everything leads to the emulator.

The variables that the SDKs read are set, those that would lead them elsewhere are
gone, and the names of the real QStash aren't resolved. All is as before afterwards.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

__all__ = ["RealServiceRefused", "patched_environment"]

_MISLEADING = re.compile(
    r"QSTASH_(DEV|DEV_PORT|REGION)|"
    r"([A-Z0-9]+_)+QSTASH_(URL|TOKEN|CURRENT_SIGNING_KEY|NEXT_SIGNING_KEY)"
)
"""What makes an SDK use another server, or another region's variables (ENV-3)."""

_PROXIES = ("NO_PROXY", "no_proxy")

_REAL = re.compile(r"qstash[a-z0-9-]*\.upstash\.io\.?", re.IGNORECASE)


class RealServiceRefused(BaseException):
    """Something in this process called the real QStash while a test forbids it.

    No ``Exception``: clients take those for a bad network, and try again for long.
    """

    def __init__(self, host: str, url: str) -> None:
        super().__init__(host, url)
        self.host = host
        self.url = url

    def __str__(self) -> str:
        return (
            f"a test with qemu called the real {self.host}: its QSTASH_URL is "
            f"{self.url}. Make the client after the fixture has set it, and without a "
            "base URL of its own"
        )


@contextmanager
def patched_environment(
    variables: Mapping[str, str], refuse: Callable[[RealServiceRefused], None]
) -> Iterator[None]:
    """Set the variables, refuse the real hosts; ``refuse`` is told of each attempt."""
    before = dict(os.environ)
    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **options: Any) -> Any:
        name = host.decode("latin-1") if isinstance(host, bytes) else host
        if isinstance(name, str) and _REAL.fullmatch(name):
            refusal = RealServiceRefused(name, variables["QSTASH_URL"])
            refuse(refusal)
            raise refusal
        return resolve(host, *args, **options)

    touched = {name for name in before if _MISLEADING.fullmatch(name)}
    touched |= {*variables, *_PROXIES}
    for name in touched:
        os.environ.pop(name, None)
    os.environ.update(variables)
    # A proxy would be asked for loopback, and would resolve the names itself.
    direct = [value for name in _PROXIES if (value := before.get(name))][:1]
    for name in _PROXIES:
        os.environ[name] = ",".join([*direct, "127.0.0.1", "localhost", "upstash.io"])
    socket.getaddrinfo = getaddrinfo
    try:
        yield
    finally:
        if socket.getaddrinfo is getaddrinfo:
            socket.getaddrinfo = resolve
        for name in touched:
            os.environ.pop(name, None)
            if name in before:
                os.environ[name] = before[name]
