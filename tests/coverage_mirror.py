"""Check that each test module of a pure file covers its own source module, alone.

    python tests/coverage_mirror.py [NAME ...]

For ``emulator/core/X.py`` it runs ``tests/core/test_X.py`` and nothing else, and
requires every line and every branch of the one to be reached by the other: a rule
that is only reached by chance, through some other module's tests, isn't tested. The
same holds for the tunnel's files that do no I/O (``TUNNEL``). NAMEs (``flow``,
``workflow/steps``, ``tunnel/wire``) narrow it down; without any, all are checked.

Which files belong together is decided here; ``test_mirror.py`` checks that none
lacks its counterpart.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "emulator" / "core"
TESTS = ROOT / "tests" / "core"
TUNNEL = (
    *("carriage", "flow", "http*", "leases", "link", "wire"),
    *("access", "basic_auth", "bounds", "forwarded", "grant", "keys", "names"),
    *("networks", "paths", "policy", "rate", "tokens"),
    *("exchange*", "inspector", "replay_request"),
)
"""What relay and tunnel client are built on, who may come in, and what is kept of it;
``*``: all whose names begin so.
"""

_IN_TUNNEL = "tunnel/"


def source_names() -> Iterator[str]:
    """Yield the names of all such modules: ``workflow/steps``, ``tunnel/link``.

    Those of the core stand without their package.
    """
    for path in sorted(SOURCES.rglob("*.py")):
        if path.name != "__init__.py":
            yield path.relative_to(SOURCES).with_suffix("").as_posix()
    for pattern in TUNNEL:
        for path in sorted((ROOT / "tunnel").glob(f"{pattern}.py")):
            yield _IN_TUNNEL + path.stem


def source_of(name: str) -> Path:
    """Return the module of that name."""
    if name.startswith(_IN_TUNNEL):
        return ROOT / f"{name}.py"
    return SOURCES / f"{name}.py"


def mirror_of(name: str) -> Path:
    """Return the test module that has to cover the module of that name."""
    folder, _, stem = name.rpartition("/")
    tests = ROOT / "tests" if name.startswith(_IN_TUNNEL) else TESTS
    return tests / folder / f"test_{stem}.py"


def gaps(name: str, scratch: Path) -> str:
    """Return what is wrong with a module's coverage; nothing if all is reached."""
    source = source_of(name).relative_to(ROOT).as_posix()
    tests = mirror_of(name).relative_to(ROOT).as_posix()
    data = f"--data-file={scratch / name.replace('/', '.')}"
    measure = ["run", data, "--branch", f"--include={source}", "-m", "pytest"]
    report = ["report", data, "--show-missing", "--fail-under=100"]
    for arguments in ([*measure, "-q", "-p", "no:cacheprovider", tests], report):
        done = subprocess.run(
            [sys.executable, "-m", "coverage", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            return done.stdout
    return ""


def main(chosen: list[str]) -> int:
    """Check the chosen modules, or all; return the process's exit code."""
    names = chosen or list(source_names())
    with TemporaryDirectory() as scratch, ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda name: gaps(name, Path(scratch)), names)
        faults = dict(zip(names, found, strict=True))

    for name, fault in faults.items():
        print(f"{'FAIL' if fault else 'ok':4}  {source_of(name).relative_to(ROOT)}")
        if fault:
            print(fault)
    return any(faults.values())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
