"""The documents say what the code does: each name has its row, each link its page."""

import inspect
import re
from dataclasses import fields
from pathlib import Path

import jwt
import pytest

import tunnel.errors
from emulator import errors
from emulator.cli import cli
from emulator.cli.exit_codes import ExitCode
from emulator.cli.file_keys import SECTIONS, name_of
from emulator.cli.options import setting_options
from emulator.core.lifecycle import MOVES
from emulator.core.limits import PROFILES
from emulator.core.model import State
from emulator.settings import Settings
from emulator.web.routes import LOCAL_ROUTES
from tunnel import Relay, RelaySettings, TunnelSettings
from tunnel.relay_api import Metrics, RelayApi
from tunnel.tokens import make_token
from tunnel.wire import LINK_PATH

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
DOCUMENTS = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def rows(page: str) -> dict[str, list[str]]:
    """Return the rows of a page's tables: the first cell's name to the cells."""
    cells = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in (REFERENCE / page).read_text().splitlines()
        if line.startswith("|")
    ]
    return {row[0].strip("`*"): row for row in cells}


def state_diagram() -> str:
    """Draw the table of legal moves."""
    lines = ["stateDiagram-v2"]
    for before in (None, *State):
        moves = MOVES[before]
        name = before or "[*]"
        lines += [f"    {name} --> {after}" for after in State if after in moves]
        if not moves:
            lines.append(f"    {name} --> [*]")
    return "\n".join(lines)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as forges make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in headings
    }


def test_the_state_diagram_is_drawn_from_the_table_of_moves():
    page = (DOCS / "explanation" / "architecture.md").read_text()

    assert f"```mermaid\n{state_diagram()}\n```\n" in page


LONG_DEFAULTS = {"declared": "nothing", "users": "the four dev users"}


def test_every_setting_has_its_row_and_default():
    described = rows("settings.md")

    for setting in fields(Settings):
        default = described[setting.name][1]
        if setting.name in LONG_DEFAULTS:
            assert default == LONG_DEFAULTS[setting.name]
        else:
            assert default == f"`{setting.default!r}`"


def test_every_setting_names_its_option_and_its_variables():
    described = rows("settings.md")
    options = {option.name: option for option in setting_options()}

    for setting in fields(Settings):
        _, _, option_name, variables, _ = described[setting.name]
        option = options.get(setting.name)
        if option is not None:
            assert option_name == f"`{option.opts[0]}`"
            assert variables == ", ".join(f"`{name}`" for name in option.envvar)
        else:
            assert option_name == ""


UNITS = {
    "MB": 1_048_576,
    "minutes": 60,
    "hours": 3_600,
    "days": 86_400,
    "year": 365 * 86_400,
}


def amount(text: str) -> int | None:
    """Read ``10 MB`` as bytes, ``7 days`` as seconds, ``unlimited`` as ``None``."""
    if text == "unlimited":
        return None
    number, _, unit = text.partition(" ")
    return int(number) * UNITS.get(unit, 1)


def test_every_quota_profile_has_its_limits():
    described = rows("settings.md")

    for name, limits in PROFILES.items():
        *cells, retention = described[name][1:]
        assert [amount(cell) for cell in (*cells, *retention.split(", "))] == [
            limits.max_message_bytes,
            limits.max_delay_s,
            limits.max_response_s,
            limits.global_parallelism,
            limits.log_retention_s,
            limits.dlq_retention_s,
        ]


def test_every_exit_code_has_its_row():
    described = rows("exit-codes.md")

    for code in ExitCode:
        assert described[str(code.value)][1] == f"`{code.name}`"


def test_every_error_has_its_row_and_status():
    described = rows("errors.md")

    for name, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, errors.RequestError) and kind is not errors.RequestError:
            assert described[name][1] == str(kind.status)
        else:
            assert name in described


def test_every_local_path_has_its_heading():
    page = (REFERENCE / "local-api.md").read_text()
    headings = re.findall(r"^## ([A-Z]+ /_qemu/.*)$", page, re.M)

    assert headings == [f"{method} {path}" for method, path, _ in LOCAL_ROUTES]


def test_every_exception_of_the_tunnel_has_its_row():
    described = rows("errors.md")

    for name in tunnel.errors.__all__:
        assert name in described


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_of_a_commands_table_names_default_option_and_variable(section):
    described = rows("settings.md")
    command = cli.get_command(cli.make_context("qemu", [section]), section)
    params = {param.name: param for param in command.params}
    kind = {"tunnel": TunnelSettings, "relay": RelaySettings}[section]

    for key in SECTIONS[section]:
        param = params[name_of(key)]
        _, default, option, variable, field = described[f"{section}.{key}"]
        shown = param.default if type(param.default) in (str, int, bool) else ""
        assert default.strip("`") == str(shown).lower()
        assert option.strip("`") in (*param.opts, "the argument")
        assert variable.strip("`") == (param.envvar or "")
        assert field.strip("`") in ("", *kind.__dataclass_fields__)


@pytest.mark.parametrize("kind", [TunnelSettings, RelaySettings])
def test_every_setting_of_the_tunnel_is_described(kind):
    page = (REFERENCE / "settings.md").read_text()
    described = rows("settings.md")
    by_key = {row[4].strip("`") for row in described.values() if len(row) == 5}

    for setting in fields(kind):
        name = f"{kind.__name__}.{setting.name}"
        assert setting.name in by_key or f"`{name}`" in page
        if name in described:
            assert described[name][1] == f"`{setting.default!r}`"


def test_every_path_of_a_relay_has_its_heading():
    page = (REFERENCE / "relay-api.md").read_text()
    headings = re.findall(r"^## ([A-Z]+ /_qemu/.*)$", page, re.M)
    routes = [
        f"{route.method} {route.resource.canonical}"
        for route in RelayApi(Relay()).app.router.routes()
        if route.method != "HEAD"
    ]

    assert headings == [*routes, f"GET {LINK_PATH.decode()}"]


def test_every_metric_of_a_relay_has_its_row():
    described = rows("relay-api.md")

    for metric in Metrics(Relay()).collect():
        name = metric.name + ("_total" if metric.type == "counter" else "")
        assert described[name][1] == metric.type


def test_every_claim_of_a_token_has_its_row():
    described = rows("relay-api.md")
    token = make_token(
        b"0123456789abcdef",
        names=["a"],
        paths=["/a"],
        rate=1,
        max_tunnels=1,
        subject="a",
        is_admin=True,
        issued_s=1,
        expires_s=2,
        jti="a",
    )
    claims = jwt.decode(token, options={"verify_signature": False})

    assert claims.keys() - {"iat"} <= described.keys()


def test_every_deviation_has_a_test_of_its_name():
    page = (REFERENCE / "deviations.md").read_text()
    headings = [
        re.sub(r"[^\w ]", "", heading.lower()).replace(" ", "_")
        for heading in re.findall(r"^## (.+)$", page, re.M)
    ]
    tests = re.findall(
        r"^async def test_(\w+)\(",
        (ROOT / "tests" / "test_deviations.py").read_text(),
        re.M,
    )

    assert headings == [*tests, "what_nobody_knows"]


@pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_every_link_leads_somewhere(document):
    for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        target, _, heading = link.partition("#")
        if "://" in target:
            continue  # the tests need no network
        page = (document.parent / target).resolve() if target else document
        assert page.exists(), link
        if heading:
            assert heading in anchors(page), link


def test_the_index_links_every_page():
    index = DOCS / "index.md"
    links = re.findall(r"\]\(([^)#\s]+)", index.read_text())
    linked = {(DOCS / link).resolve() for link in links if "://" not in link}

    assert linked | {index} >= set(DOCUMENTS)


def test_readme_and_ci_run_use_the_same_commands():
    readme = (ROOT / "README.md").read_text()
    script = (ROOT / ".ci" / "run").read_text()
    line = next(line for line in readme.splitlines() if "--group dev" in line)
    install, _, test = line.rpartition(" && ")

    assert test.startswith(".venv/bin/pytest")
    assert install in script
    assert test in script
