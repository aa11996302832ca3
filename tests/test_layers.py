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

ROOT = Path(__file__).resolve().parents[1]

PACKAGES = ("emulator", "tunnel")

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


EMULATOR = (
    Layer(files="emulator/errors.py", may=(), standard=PURE),
    Layer(
        files="emulator/settings.py",
        may=("emulator.errors", "emulator.core"),
        standard=PURE,
    ),
    Layer(
        files="emulator/core/**/*.py",
        may=("emulator.errors", "emulator.core", "cronsim"),
        standard=PURE,
    ),
    Layer(
        files="emulator/engine/**/*.py",
        may=("emulator.errors", "emulator.core", "emulator.engine"),
    ),
    *(
        Layer(
            files=f"emulator/transport/{name}.py",
            may=("emulator.core", "emulator.transport"),
            standard=PURE,
        )
        for name in ("request", "head", "response")
    ),
    *(
        Layer(
            files=f"emulator/transport/{name}.py",
            may=("emulator.core", "emulator.transport"),
        )
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
        files="emulator/transport/connecting.py",
        may=("emulator.core", "emulator.transport", "aiohappyeyeballs"),
    ),
    Layer(
        files="emulator/transport/tls.py",
        may=("emulator.core", "emulator.transport", "aiohttp", "multidict", "yarl"),
    ),
    Layer(
        files="emulator/journal/**/*.py",
        may=(
            "emulator.errors",
            "emulator.core",
            "emulator.engine.persistence",
            "emulator.engine.ports",
            "emulator.journal",
        ),
    ),
    Layer(
        files="emulator/web/**/*.py",
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
        files="emulator/verification.py",
        may=(
            "emulator.settings",
            "emulator.core",
            "emulator.engine.clock",
        ),
    ),
    Layer(
        files="emulator/emulator.py",
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
    Layer(files="emulator/lines.py", may=("emulator.core", "click")),
    Layer(
        files="emulator/testing/**/*.py",
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
    Layer(files="emulator/pytest_plugin.py", may=("pytest",), lazily=True),
    Layer(
        files="emulator/cli/**/*.py",
        may=("emulator.errors", "emulator.lines", "emulator.cli", "click"),
        lazily=True,
    ),
    Layer(files="emulator/__init__.py", may=(), lazily=True),
    Layer(files="emulator/__main__.py", may=("emulator.cli",)),
)

SHARED = (
    *(
        "tunnel.allocation",
        "tunnel.errors",
        "tunnel.bounds",
        "tunnel.wire",
        "tunnel.flow",
        "tunnel.link",
    ),
    *("tunnel.http", "tunnel.http_grammar", "tunnel.http_body", "tunnel.http_forward"),
    *("tunnel.http_request", "tunnel.http_response"),
)
"""Frames, heads, credit: what the tunnel's two ends have in common."""

RULES = (
    *("tunnel.access", "tunnel.basic_auth", "tunnel.forwarded", "tunnel.grant"),
    *("tunnel.keys", "tunnel.names", "tunnel.networks", "tunnel.paths"),
    *("tunnel.policy", "tunnel.rate", "tunnel.tokens", "tunnel.words"),
)
"""Who may come in, and under which name. The client asks, the relay sees to it."""

EXCHANGES = (
    *("tunnel.exchange", "tunnel.exchange_head", "tunnel.exchange_json"),
    "tunnel.inspector",
)
"""What came through, as values."""

BODIES = ("tunnel.reframing", "tunnel.upload")
"""A request's body and an answer's, at the relay."""

RECORDS = ("tunnel.record", "tunnel.replay_request")
"""What came through, from a file."""

BOTH_ENDS = (*SHARED, "tunnel.settings", "tunnel.events", "tunnel.carriage")

RELAY = (
    *("tunnel.admission", "tunnel.counters", "tunnel.jwks", "tunnel.leases"),
    *("tunnel.passage", "tunnel.relay", "tunnel.relay_api", "tunnel.uplink"),
    "tunnel.visitors",
)

CLIENT = (
    *("tunnel.call", "tunnel.client", "tunnel.downlink", "tunnel.inspector_api"),
    "tunnel.inspector_door",
    *("tunnel.local", "tunnel.reasons", "tunnel.recording", "tunnel.replay"),
)

LIBRARIES = {
    "tunnel.carriage": ("websockets",),
    "tunnel.downlink": ("websockets",),
    "tunnel.inspector_api": ("aiohttp",),
    "tunnel.jwks": ("aiohttp",),
    "tunnel.keys": ("jwt", "cryptography"),
    "tunnel.relay_api": ("aiohttp", "prometheus_client"),
    "tunnel.tokens": ("jwt",),
    "tunnel.uplink": ("websockets",),
}
"""The third parties of the tunnel's modules: those of a whole end would be too many."""


def tunnel_layers(
    names: tuple[str, ...], *may: str, standard: tuple[str, ...] | None = PURE
) -> Iterator[Layer]:
    """Make a row for each module; all may import each other."""
    for name in names:
        yield Layer(
            files=f"{name.replace('.', '/')}.py",
            may=(*names, *may, *LIBRARIES.get(name, ())),
            standard=standard,
        )


TUNNEL = (
    Layer(files="tunnel/__init__.py", may=(), lazily=True),
    *tunnel_layers(SHARED),
    *tunnel_layers(RULES, *SHARED),
    *tunnel_layers(EXCHANGES, *SHARED),
    *tunnel_layers(RECORDS, *SHARED, *EXCHANGES, standard=(*PURE, "pathlib")),
    *tunnel_layers(("tunnel.settings",), *SHARED, *RULES, standard=(*PURE, "ssl")),
    *tunnel_layers(("tunnel.events",), "tunnel.exchange"),
    *tunnel_layers(("tunnel.carriage",), *SHARED, standard=(*PURE, "logging")),
    *tunnel_layers(BODIES, *SHARED),
    *tunnel_layers(RELAY, *BOTH_ENDS, *RULES, *BODIES, standard=None),
    *tunnel_layers(CLIENT, *BOTH_ENDS, *EXCHANGES, *RECORDS, standard=None),
)
"""Neither end imports the other's modules, or the emulator's."""

LAYERS = (*EMULATOR, *TUNNEL)

ALONE = {
    "os": (
        "emulator/emulator.py",
        "emulator/engine/entropy.py",
        "emulator/journal/",
        "emulator/web/local.py",
        "emulator/testing/environment.py",
        "emulator/cli/",
        "tunnel/client.py",
        "tunnel/relay.py",
    ),
    "random": ("emulator/engine/entropy.py",),
    "secrets": (),
    "socket": (
        "emulator/emulator.py",
        "emulator/transport/",
        "emulator/testing/endpoints.py",
        "emulator/testing/environment.py",
        "emulator/cli/",
        "tunnel/downlink.py",
        "tunnel/inspector_api.py",
        "tunnel/inspector_door.py",
        "tunnel/relay.py",
        "tunnel/uplink.py",
    ),
    "sqlite3": ("emulator/journal/",),
    "time": (
        "emulator/engine/clock.py",
        "emulator/cli/",
        "tunnel/admission.py",
        "tunnel/client.py",
        "tunnel/relay.py",
    ),
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
    return sorted(ROOT.glob(layer.files))


def faults(path: Path, layer: Layer) -> Iterator[str]:
    """Yield the imports of a module that its layer's row doesn't allow."""
    name = path.relative_to(ROOT).as_posix()
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
        pytest.param(path, layer, id=path.relative_to(ROOT).as_posix())
        for layer in LAYERS
        for path in modules(layer)
    ],
)
def test_a_module_imports_only_what_its_layer_may(path, layer):
    assert list(faults(path, layer)) == []


def test_every_module_belongs_to_exactly_one_layer():
    placed = [path for layer in LAYERS for path in modules(layer)]

    assert sorted(placed) == sorted(
        path for package in PACKAGES for path in (ROOT / package).rglob("*.py")
    )


def test_the_command_line_alone_knows_both_packages():
    knowing = {
        path.relative_to(ROOT).parent.as_posix()
        for path in (ROOT / "emulator").rglob("*.py")
        for module in imports(ast.parse(path.read_text()))
        if is_below(module, ("tunnel",))
    }

    assert knowing == {"emulator/cli"}


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
