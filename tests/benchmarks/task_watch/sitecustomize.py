"""Imported by Python itself when this folder is on ``PYTHONPATH``.

At each SIGUSR1 writes how many tasks the event loop has to the file that
``TASK_REPORT`` names.
"""

import asyncio
import os
import signal

_report = os.environ["TASK_REPORT"]


def _count(number: int, frame: object) -> None:
    # The main thread runs the loop, and handlers.
    count = len(asyncio.all_tasks())
    with open(f"{_report}.new", "w") as file:
        file.write(str(count))
    os.replace(f"{_report}.new", _report)


signal.signal(signal.SIGUSR1, _count)
