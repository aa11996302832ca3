"""What the tests of the kit share."""

import pytest

from tests.testing.calls import a_qemu


@pytest.fixture
def kit():
    """A running emulator at T0; not the plugin's fixture, which has its own tests."""
    with a_qemu() as qemu:
        yield qemu
