"""The official Python SDK in a process of its own, wherever that runs.

    python -m tests.system.publisher

Each line of standard input is a call in JSON: ``{"sdk": "message.publish", "with":
{…}}``, or a plain request, ``{"post": "http://…", "with": {…}}``, as httpx takes it.
For each there is a line with the ``result`` or the ``error``.
"""

from __future__ import annotations

import json
import operator
import os
import sys
from typing import Any

import httpx
from qstash import QStash
from qstash.errors import QStashError


def answer(client: QStash, call: dict[str, Any]) -> dict[str, Any]:
    """Make a call, and say what came of it."""
    if "post" in call:
        response = httpx.post(call["post"], **call["with"], trust_env=False)
        return {
            "result": {
                "status": response.status_code,
                "headers": dict(response.headers),
                "body": response.text,
            }
        }
    try:
        return {"result": operator.attrgetter(call["sdk"])(client)(**call["with"])}
    except QStashError as error:
        return {"error": str(error)}


def main() -> None:
    """Make calls until there are no more."""
    client = QStash(os.environ["QSTASH_TOKEN"])
    for line in sys.stdin:
        print(json.dumps(answer(client, json.loads(line)), default=vars), flush=True)


if __name__ == "__main__":
    main()
