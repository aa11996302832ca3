"""What the fixture costs a test: setup and teardown, in a test that does nothing.

Runs ``python tests/benchmarks/bench_fixture.py``. The same test with pytest-httpserver
stands beside it in each round, if that is installed. The goal: below 20 ms each.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

ROUNDS = 5
TESTS = 40

GOAL_MS = 20.0

TEST = """
import pytest

@pytest.mark.parametrize("number", range({tests}))
def test_it({fixture}, number):
    pass
"""

CONFTEST = """
import json
import time

durations = {"setup": [], "teardown": []}

def pytest_runtest_logreport(report):
    if report.when in durations:
        durations[report.when].append(report.duration * 1000)

def pytest_sessionfinish(session):
    with open("durations.json", "w") as file:
        json.dump(durations, file)
"""


def measure(fixture: str) -> tuple[float, float, float]:
    """Return the first setup, and the median setup and teardown, in milliseconds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "conftest.py").write_text(CONFTEST)
        (folder / "test_it.py").write_text(TEST.format(fixture=fixture, tests=TESTS))
        command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        durations = json.loads((folder / "durations.json").read_text())
    first, *setups = durations["setup"]
    return first, median(setups), median(durations["teardown"])


def main() -> int:
    fixtures = ["qemu"]
    if importlib.util.find_spec("pytest_httpserver"):
        fixtures.append("httpserver")
    else:
        print("pytest-httpserver isn't installed: nothing to compare with")
    print(f"{'round':>5}  {'fixture':<10} {'first':>9} {'setup':>9} {'teardown':>9}")
    worst = []
    for number in range(1, ROUNDS + 1):
        for fixture in fixtures:
            first, setup, teardown = measure(fixture)
            print(
                f"{number:>5}  {fixture:<10} {first:6.1f} ms {setup:6.1f} ms "
                f"{teardown:6.1f} ms"
            )
            if fixture == "qemu":
                worst.append(max(setup, teardown))
    verdict = "reached" if median(worst) < GOAL_MS else "missed"
    print(f"median of the slower half: {median(worst):.1f} ms; goal {verdict}")
    return 0 if verdict == "reached" else 1


if __name__ == "__main__":
    sys.exit(main())
