"""Two machines that aren't any: network namespaces with a cable between them.

``internet`` has the relay's address, at the cable, and one of its own that nobody else
has a route to: what listens there is out of the laptop's reach. ``laptop`` has the
cable's other end and its loopback, and no way to anywhere else. Names are those of a
hosts file for each.

Everything that runs in them is a process; nothing of this process is.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.system.conftest import PATIENCE_S, clean_environment

__all__ = [
    "EMULATOR_ADDRESS",
    "LAPTOP_ADDRESS",
    "OTHER_ADDRESS",
    "RELAY_ADDRESS",
    "Namespace",
    "two_machines",
]

RELAY_ADDRESS = "10.77.0.1"
LAPTOP_ADDRESS = "10.77.0.2"
OTHER_ADDRESS = "10.77.0.3"
"""The laptop's, when it has been carried to another network."""

EMULATOR_ADDRESS = "10.77.1.1"

_CABLE = "cable"

_HOSTS = Path("/etc/netns")
"""``ip netns exec`` puts what is here, below a namespace's name, over ``/etc``."""

_REACH = """\
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 5).close()
except OSError as error:
    sys.exit(str(error))
"""

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Namespace:
    """A network of its own, and the processes in it."""

    name: str

    @property
    def _enter(self) -> tuple[str, ...]:
        return ("ip", "netns", "exec", self.name)

    @contextmanager
    def run(
        self, *command: str, folder: Path, errors: Path, **variables: str
    ) -> Iterator[subprocess.Popen[str]]:
        """Run a process until it isn't needed any more; it mustn't break by itself.

        ``errors`` is the file of what it writes to standard error.
        """
        with errors.open("wb") as stderr:
            process = subprocess.Popen(
                [*self._enter, *command],
                cwd=folder,
                env=clean_environment(NO_PROXY="*", **variables),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        assert process.stdin is not None
        try:
            with process.stdin:
                yield process
        except BaseException as error:
            error.add_note(errors.read_text())
            raise
        finally:
            process.terminate()
            code = process.wait(PATIENCE_S)
        output = errors.read_text()
        broken = re.search("^(error: |Traceback)", output, re.MULTILINE)
        assert code in (0, -signal.SIGTERM, -signal.SIGKILL), output
        assert broken is None, output

    def reaches(self, host: str, port: int) -> bool:
        """Whether a connection can be made from here."""
        done = subprocess.run(
            [*self._enter, sys.executable, "-c", _REACH, host, str(port)],
            capture_output=True,
            timeout=PATIENCE_S,
        )
        return done.returncode == 0

    def pull_cable(self) -> None:
        """Take the interface down: no packet comes or goes."""
        _ip("-n", self.name, "link", "set", _CABLE, "down")

    def plug_cable(self) -> None:
        """Bring the interface up again, with the address that it had."""
        _ip("-n", self.name, "link", "set", _CABLE, "up")

    def move(self, before: str, after: str) -> None:
        """Give it another address."""
        # In this order: with the first address of a network its others go, too.
        _ip("-n", self.name, "address", "delete", f"{before}/24", "dev", _CABLE)
        _ip("-n", self.name, "address", "add", f"{after}/24", "dev", _CABLE)


def _ip(*arguments: str) -> None:
    subprocess.run(
        ["ip", *arguments], check=True, capture_output=True, timeout=PATIENCE_S
    )


@contextmanager
def _namespace(label: str, hosts: str) -> Iterator[Namespace]:
    """Make a namespace, and take it away again, with all that is in it."""
    name = f"qemu-{os.getpid()}-{next(_numbers)}-{label}"
    folder = _HOSTS / name
    try:
        _ip("netns", "add", name)
        folder.mkdir(parents=True)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", None) or str(error).encode()
        pytest.skip(f"no network namespaces here: {reason.decode().strip()}")
    try:
        (folder / "hosts").write_text(hosts)
        _ip("-n", name, "link", "set", "lo", "up")
        yield Namespace(name)
    finally:
        shutil.rmtree(folder)
        _ip("netns", "delete", name)


@contextmanager
def two_machines(names: Sequence[str]) -> Iterator[tuple[Namespace, Namespace]]:
    """Make ``internet`` and ``laptop``, both of which know the relay by these names.

    Skips the test where that can't be done.
    """
    if shutil.which("ip") is None:
        pytest.skip("needs ip, of iproute2")
    hosts = f"127.0.0.1 localhost\n{RELAY_ADDRESS} {' '.join(names)}\n"
    with ExitStack() as stack:
        internet = stack.enter_context(_namespace("internet", hosts))
        laptop = stack.enter_context(_namespace("laptop", hosts))
        _ip(
            *("-n", internet.name, "link", "add", _CABLE, "type", "veth"),
            *("peer", "name", _CABLE, "netns", laptop.name),
        )
        addresses = (
            (internet, f"{RELAY_ADDRESS}/24", _CABLE),
            (internet, f"{EMULATOR_ADDRESS}/32", "lo"),
            (laptop, f"{LAPTOP_ADDRESS}/24", _CABLE),
        )
        for namespace, address, device in addresses:
            _ip("-n", namespace.name, "address", "add", address, "dev", device)
        internet.plug_cable()
        laptop.plug_cable()
        yield internet, laptop
