import pytest

from emulator import Settings


@pytest.fixture(scope="session")
def qemu_settings():
    return Settings(port=0, clock="virtual", quota="pro", region="US-EAST-1")
