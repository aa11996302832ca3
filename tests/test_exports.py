"""What the package shows, and what importing it costs."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import emulator
import emulator.testing
import tunnel

ROOT = Path(__file__).resolve().parents[1]

LAZY = {
    "emulator": {*emulator._HOMES, "__version__"},
    "emulator/testing": set(emulator.testing._HOMES),
    "tunnel": set(tunnel._HOMES),
}
"""Packages whose public names are imported when they are asked for."""

# The reason for the lazy imports: `qemu --version` has to answer at once.
MODULES_AFTER = """
import sys
before = set(sys.modules)
import {module}
{then}
loaded = {{name.partition(".")[0] for name in set(sys.modules) - before}}
print(*sorted(loaded - sys.stdlib_module_names - {{"emulator", "tunnel"}}))
"""


def third_parties_of(module: str, then: str = "") -> list[str]:
    """Return what a fresh interpreter loads, beyond us and the standard library."""
    done = subprocess.run(
        [sys.executable, "-c", MODULES_AFTER.format(module=module, then=then)],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def listed_names(path: Path) -> list[str] | None:
    """Return a module's ``__all__``; ``None`` if it has none."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    return None


def public_names(path: Path) -> set[str]:
    """Return the names without an underscore that a module itself makes.

    A module's logger and its type variables are nobody else's business. One that makes
    nothing shows what it imports.
    """
    names, imported = set(), set()
    for node in ast.parse(path.read_text()).body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                names.add(node.name)
            case ast.Assign(value=ast.Call(func=ast.Name(id="TypeVar"))):
                pass
            case ast.ImportFrom(module=str(module), names=aliases):
                if module != "__future__":
                    imported |= {alias.name for alias in aliases}
            case ast.Assign(targets=[ast.Name(id=name)]):
                names.add(name)
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
    made = {name for name in names if not name.startswith("_")} - {"logger"}
    return made or imported


@pytest.mark.parametrize(
    ("package", "name"),
    [(package, name) for package in (emulator, tunnel) for name in package.__all__],
)
def test_a_public_name_can_be_fetched(package, name):
    assert getattr(package, name) is not None


@pytest.mark.parametrize("package", [emulator, tunnel])
def test_an_unknown_name_is_an_attribute_error(package):
    expected = f"'{package.__name__}' has no attribute 'nonesuch'"

    with pytest.raises(AttributeError, match=expected):
        package.nonesuch  # noqa: B018


def test_the_version_is_that_of_the_distribution():
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())

    assert emulator.__version__ == pyproject["project"]["version"]


@pytest.mark.parametrize("package", ["emulator", "tunnel"])
def test_importing_a_package_loads_no_third_party(package):
    assert third_parties_of(package) == []


def test_a_tunnels_end_loads_neither_the_other_nor_what_only_the_relays_api_needs():
    assert third_parties_of("tunnel", "tunnel.Tunnel") == ["websockets"]


def test_importing_the_command_line_loads_click_alone():
    assert third_parties_of("emulator.cli") == ["click"]


@pytest.mark.parametrize(
    "path",
    [
        path
        for package in ("emulator", "tunnel")
        for path in sorted((ROOT / package).rglob("*.py"))
        if listed_names(path)
    ],
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_all_lists_the_public_names(path):
    listed = listed_names(path)

    assert len(set(listed)) == len(listed)
    package = path.relative_to(ROOT).parent.as_posix()
    if path.name == "__init__.py" and package in LAZY:
        assert set(listed) == LAZY[package]
    else:
        assert set(listed) == public_names(path)
