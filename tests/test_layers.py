"""Who may import whom: the table of docs/explanation/architecture.md, enforced.

Imports are read from the source, so an import inside a function counts like any
other, unless its layer's row says that only those made at import time do.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "emulator"

PURE = (
    "__future__",
    "base64",
    "binascii",
    "bisect",
    "collections",
    "dataclasses",
    "datetime",
    "difflib",
    "fnmatch",
    "enum",
    "functools",
    "hashlib",
    "hmac",
    "http.HTTPStatus",
    "ipaddress",
    "itertools",
    "json",
    "math",
    "operator",
    "re",
    "string",
    "struct",
    "sys.intern",
    "types",
    "typing",
    "urllib.parse",
    "zlib",
    "zoneinfo",
)
"""The part of the standard library that neither waits, nor chooses, nor does I/O."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A row of the table. A module's name stands for all below it, too."""

    files: str

    may: tuple[str, ...]
    """What it may import of us and of third parties."""

    standard: tuple[str, ...] | None = None
    """What it may import of the standard library; ``None``: see ``ALONE``."""

    lazily: bool = False
    """Inside functions it may import anything."""


LAYERS = (
    Layer(files="errors.py", may=(), standard=PURE),
    Layer(files="settings.py", may=("emulator.errors", "emulator.core"), standard=PURE),
    Layer(
        files="core/**/*.py",
        may=("emulator.errors", "emulator.core", "cronsim"),
        standard=PURE,
    ),
    Layer(
        files="engine/**/*.py",
        may=("emulator.errors", "emulator.core", "emulator.engine"),
    ),
    *(
        Layer(
            files=f"transport/{name}.py",
            may=("emulator.core", "emulator.transport"),
            standard=PURE,
        )
        for name in ("request", "head", "response")
    ),
    *(
        Layer(files=f"transport/{name}.py", may=("emulator.core", "emulator.transport"))
        for name in (
            "__init__",
            "http_transport",
            "plain",
            "pool",
            "connection",
            "reasons",
            "descriptors",
        )
    ),
    Layer(
        files="transport/connecting.py",
        may=("emulator.core", "emulator.transport", "aiohappyeyeballs"),
    ),
    Layer(
        files="transport/tls.py",
        may=("emulator.core", "emulator.transport", "aiohttp", "multidict", "yarl"),
    ),
    Layer(
        files="journal/**/*.py",
        may=(
            "emulator.errors",
            "emulator.core",
            "emulator.engine.persistence",
            "emulator.engine.ports",
            "emulator.journal",
        ),
    ),
    Layer(
        files="web/**/*.py",
        may=(
            "emulator.errors",
            "emulator.settings",
            "emulator.core",
            "emulator.engine",
            "emulator.web",
            "emulator.__version__",
            "aiohttp",
        ),
    ),
    Layer(
        files="verification.py",
        may=(
            "emulator.settings",
            "emulator.core",
            "emulator.engine.clock",
        ),
    ),
    Layer(
        files="emulator.py",
        may=(
            "emulator.errors",
            "emulator.settings",
            "emulator.core",
            "emulator.engine",
            "emulator.journal",
            "emulator.transport",
            "emulator.web",
            "emulator.testing",  # in_thread() alone, lazily
            "aiohttp",
        ),
    ),
    Layer(files="lines.py", may=("emulator.core", "click")),
    Layer(
        files="testing/**/*.py",
        may=(
            "emulator.errors",
            "emulator.settings",
            "emulator.core",
            "emulator.engine",
            "emulator.emulator",
            "emulator.lines",
            "emulator.testing",
            "aiohttp",
            "anyio",
            "httpx",
            "multidict",
        ),
    ),
    Layer(files="pytest_plugin.py", may=("pytest",), lazily=True),
    Layer(
        files="cli/**/*.py",
        may=("emulator.errors", "emulator.lines", "emulator.cli", "click"),
        lazily=True,
    ),
    Layer(files="__init__.py", may=(), lazily=True),
    Layer(files="__main__.py", may=("emulator.cli",)),
)

ALONE = {
    "os": (
        "emulator.py",
        "engine/entropy.py",
        "journal/",
        "web/local.py",
        "testing/environment.py",
        "cli/",
    ),
    "random": ("engine/entropy.py",),
    "secrets": (),
    "socket": (
        "emulator.py",
        "transport/",
        "testing/endpoints.py",
        "testing/environment.py",
        "cli/",
    ),
    "sqlite3": ("journal/",),
    "time": ("engine/clock.py", "cli/"),
}
"""The only files that may import these modules of the standard library."""


def is_below(module: str, names: tuple[str, ...]) -> bool:
    return any(f"{module}.".startswith(f"{name}.") for name in names)


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imports(node: ast.AST, *, lazily: bool = False) -> Iterator[str]:
    """Yield all that a module imports: ``from a import b`` is ``a.b``."""
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names, level=0):
                yield from (f"{module}.{alias.name}" for alias in names)
            case ast.ImportFrom():
                yield "a relative import"
            case ast.FunctionDef() | ast.AsyncFunctionDef() if lazily:
                pass
            case _ if lazily and is_type_checking(child):
                pass
            case _:
                yield from imports(child, lazily=lazily)


def modules(layer: Layer) -> list[Path]:
    return sorted(PACKAGE.glob(layer.files))


def faults(path: Path, layer: Layer) -> Iterator[str]:
    """Yield the imports of a module that its layer's row doesn't allow."""
    name = path.relative_to(PACKAGE).as_posix()
    tree = ast.parse(path.read_text())
    for module in imports(tree, lazily=layer.lazily):
        root = module.partition(".")[0]
        if root not in sys.stdlib_module_names:
            allowed = is_below(module, layer.may)
        elif layer.standard is not None:
            allowed = is_below(module, layer.standard)
        else:
            allowed = root not in ALONE or name.startswith(ALONE[root])
        if not allowed:
            yield module


@pytest.mark.parametrize(
    ("path", "layer"),
    [
        pytest.param(path, layer, id=path.relative_to(PACKAGE).as_posix())
        for layer in LAYERS
        for path in modules(layer)
    ],
)
def test_a_module_imports_only_what_its_layer_may(path, layer):
    assert list(faults(path, layer)) == []


def test_every_module_belongs_to_exactly_one_layer():
    placed = [path for layer in LAYERS for path in modules(layer)]

    assert sorted(placed) == sorted(PACKAGE.rglob("*.py"))


def test_imports_are_seen_wherever_they_stand():
    tree = ast.parse(
        "import a.b\n"
        "from c import d\n"
        "def f():\n"
        "    if x:\n"
        "        from e import f\n"
        "class C:\n"
        "    import g\n"
    )

    assert set(imports(tree)) == {"a.b", "c.d", "e.f", "g"}
    assert set(imports(tree, lazily=True)) == {"a.b", "c.d", "g"}


def test_a_name_covers_what_is_below_it_and_nothing_that_begins_like_it():
    assert is_below("emulator.core.flow", ("emulator.core",))
    assert is_below("emulator.core", ("emulator.core",))
    assert not is_below("emulator.core_extra", ("emulator.core",))
    assert not is_below("emulator", ("emulator.core",))
