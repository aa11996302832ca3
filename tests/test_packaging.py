"""What is installed: the wheel is built and opened, and the lock files are read."""

import ast
import configparser
import json
import re
import subprocess
import sys
import tomllib
from email import message_from_string
from itertools import chain
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from tests.test_layers import imports

ROOT = Path(__file__).resolve().parents[1]

PACKAGES = ("emulator", "tunnel")

NAME = re.compile(r"[\w.-]+")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    # The installed hatchling: no isolation, so no index and no network.
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    (path,) = folder.glob("*.whl")
    with ZipFile(path) as archive:
        yield archive


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def dependencies() -> list[str]:
    """Return what the project file says that the package needs."""
    return project()["dependencies"]


def extras() -> list[str]:
    """Return what it says that parts of the package need besides."""
    return list(chain.from_iterable(project()["optional-dependencies"].values()))


def read(wheel: ZipFile, name: str) -> str:
    """Return a file of the wheel's ``.dist-info``."""
    (path,) = (one for one in wheel.namelist() if one.endswith(f".dist-info/{name}"))
    return wheel.read(path).decode()


def test_the_wheel_is_pure_python(wheel):
    assert Path(wheel.filename).name.endswith("-py3-none-any.whl")


def test_the_wheel_has_both_packages_whole_and_no_tests(wheel):
    files = {name for name in wheel.namelist() if ".dist-info/" not in name}

    assert files == {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert {f"{package}/py.typed" for package in PACKAGES} <= files


def test_the_wheel_installs_the_command_and_the_plugin(wheel):
    entry_points = configparser.ConfigParser()
    entry_points.read_string(read(wheel, "entry_points.txt"))

    assert dict(entry_points["console_scripts"]) == {"qemu": "emulator.__main__:main"}
    assert dict(entry_points["pytest11"]) == {"qemu": "emulator.pytest_plugin"}


def test_the_wheel_carries_the_licence(wheel):
    assert read(wheel, "licenses/LICENSE") == (ROOT / "LICENSE").read_text()


def test_the_wheel_says_what_it_needs(wheel):
    metadata = message_from_string(read(wheel, "METADATA"))

    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "MIT"
    needs = {NAME.match(need)[0] for need in metadata.get_all("Requires-Dist")}
    assert needs == {NAME.match(need)[0] for need in dependencies() + extras()}


def test_all_that_is_imported_is_declared():
    imported = {
        module.partition(".")[0]
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for module in imports(ast.parse(path.read_text()))
    }
    third_parties = imported - sys.stdlib_module_names - set(PACKAGES)
    needs = {NAME.match(need)[0] for need in dependencies() + extras()}
    declared = {"jwt" if need == "pyjwt" else need.replace("-", "_") for need in needs}
    # aiohttp's own types for its headers and URLs; and what httpx stands on.
    declared |= {"multidict", "yarl", "anyio"}

    assert third_parties - declared == set()


def test_dependencies_have_low_floors_and_no_ceilings():
    # It is installed beside the user's app: each pin is a conflict for somebody.
    for need in dependencies() + extras():
        assert re.fullmatch(r"[a-z-]+(>=[0-9.]+)?(; .+)?", need), need


def test_the_javascript_lock_pins_all_and_names_no_registry():
    lock = json.loads((ROOT / "tests/system/javascript/package-lock.json").read_text())
    packages = [entry for name, entry in lock["packages"].items() if name]

    assert packages
    assert all("integrity" in entry for entry in packages)
    assert not any("resolved" in entry for entry in packages)
