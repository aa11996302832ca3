"""Imported by Python itself when this folder is on ``PYTHONPATH``.

Writes the longest pause of the garbage collector, in milliseconds, to the file that
``GC_REPORT`` names.
"""

import gc
import os
import time
from typing import Any

_report = os.environ["GC_REPORT"]
_began_s = 0.0
_longest_ms = 0.0


def _watch(phase: str, info: dict[str, Any]) -> None:
    global _began_s, _longest_ms
    if phase == "start":
        _began_s = time.perf_counter()
        return
    took_ms = (time.perf_counter() - _began_s) * 1000
    if took_ms > _longest_ms:
        _longest_ms = took_ms
        with open(_report, "w") as file:
            file.write(f"{took_ms:.3f}")


gc.callbacks.append(_watch)
