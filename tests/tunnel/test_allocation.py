"""tunnel/allocation.py: free memory stays with the process."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
from tunnel.allocation import keep_freed_blocks

keep_freed_blocks()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    blocks = [b"x" * (1 << 18) for _ in range(8)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

PAGES = 8 * (1 << 18) // 4096
"""Of the blocks that live at a time."""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc learns")
def test_blocks_that_are_freed_are_used_again_without_new_pages():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert int(done.stdout) < 3 * PAGES
