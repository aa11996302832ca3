"""An app that QStash delivers to, as a process: ``destination.mjs`` in Python.

    python -m tests.system.destination

It prints a line of JSON when it is ready, and one for each call. ``APP_URL`` is the
address that it is called by.
"""

from __future__ import annotations

import dataclasses
import json
import os
import socket
from base64 import b64encode
from typing import Any

from tests.system.conftest import App, Arrivals, Delivery, fastapi_server


def report(kind: str, **values: Any) -> None:
    """Print a line."""
    print(json.dumps({"type": kind, **values}), flush=True)


class Reported(Arrivals[Delivery]):
    """Calls, which are printed."""

    def put(self, item: Delivery) -> None:
        values = dataclasses.asdict(item)
        report("delivery", **values | {"body": b64encode(item.body).decode()})


def main() -> None:
    """Serve until somebody asks to stop."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = fastapi_server(App(os.environ["APP_URL"], Reported()))
    report("ready", url=f"http://127.0.0.1:{listener.getsockname()[1]}")
    server.run(sockets=[listener])


if __name__ == "__main__":
    main()
