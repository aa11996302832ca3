"""Calls of an emulator's API from a test without a loop, with the standard library."""

from __future__ import annotations

import contextlib
import json
from typing import Any, Protocol
from urllib.request import Request, urlopen

from emulator import Emulator, Settings
from tests.doubles import T0


class Api(Protocol):
    """Where an API is, and what opens it."""

    url: str
    token: str


def call(api: Api, method: str, path: str, body: bytes = b"", /, **headers: str) -> Any:
    """Call the API and return the answer's JSON; ``retry_delay`` is Retry-Delay."""
    request = Request(api.url + path, data=body, method=method)
    request.add_header("Authorization", f"Bearer {api.token}")
    request.add_header("Content-Type", "application/json")
    for name, value in headers.items():
        request.add_header("Upstash-" + name.replace("_", "-").title(), value)
    with contextlib.closing(urlopen(request, timeout=10)) as response:
        text = response.read()
    return json.loads(text) if text else None


def publish(api: Api, url: str, value: Any = None, /, **headers: str) -> str:
    """Publish JSON, and return the message's id."""
    body = json.dumps(value).encode()
    return call(api, "POST", f"/v2/publish/{url}", body, **headers)["messageId"]


def a_qemu(**settings: Any) -> Any:
    """An emulator in a thread, at T0 on a virtual clock; to be entered."""
    fields = {"port": 0, "clock": "virtual", "start_time_ms": T0, "seed": 1}
    return Emulator(Settings(**{**fields, **settings})).in_thread()
