"""What the package shows, and what importing it costs."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import emulator
import emulator.testing

PACKAGE = Path(__file__).resolve().parents[1] / "emulator"

# The reason for the lazy imports: `qemu --version` has to answer at once.
MODULES_AFTER = """
import sys
before = set(sys.modules)
import {module}
{then}
loaded = {{name.partition(".")[0] for name in set(sys.modules) - before}}
print(*sorted(loaded - sys.stdlib_module_names - {{"emulator"}}))
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

    A module's logger and its type variables are nobody else's business.
    """
    names = set()
    for node in ast.parse(path.read_text()).body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                names.add(node.name)
            case ast.Assign(value=ast.Call(func=ast.Name(id="TypeVar"))):
                pass
            case ast.Assign(targets=[ast.Name(id=name)]):
                names.add(name)
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
    return {name for name in names if not name.startswith("_")} - {"logger"}


@pytest.mark.parametrize("name", emulator.__all__)
def test_a_public_name_can_be_fetched(name):
    assert getattr(emulator, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'emulator' has no attribute 'nonesuch'"):
        emulator.nonesuch  # noqa: B018


def test_the_version_is_that_of_the_distribution():
    pyproject = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())

    assert emulator.__version__ == pyproject["project"]["version"]


def test_importing_the_package_loads_no_third_party():
    assert third_parties_of("emulator") == []


def test_importing_the_command_line_loads_click_alone():
    assert third_parties_of("emulator.cli") == ["click"]


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(PACKAGE.rglob("*.py")) if listed_names(path)],
    ids=lambda path: path.relative_to(PACKAGE).as_posix(),
)
def test_all_lists_the_public_names(path):
    listed = listed_names(path)

    assert len(set(listed)) == len(listed)
    if path == PACKAGE / "__init__.py":
        assert set(listed) == {*emulator._HOMES, "__version__"}
    elif path == PACKAGE / "testing" / "__init__.py":
        assert set(listed) == set(emulator.testing._HOMES)
    else:
        assert set(listed) == public_names(path)
