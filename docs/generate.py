"""Generate the reference pages that code and tests determine.

::

    python docs/generate.py            write the pages
    python docs/generate.py --check    exit with 1 if a page isn't what would be written
    python docs/generate.py --contract ../shared/contract/qstash.md
                                       take over the contract's clauses first

``reference/compatibility.md`` comes from the route table, from the table of
configuration headers, and from what the tests cite of ``reference/clauses.txt``;
``reference/cli.md`` from the commands themselves. Nothing here judges: that every
clause is proven is a matter of ``tests/test_compatibility.py``.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from emulator.cli import cli
from emulator.core.configuration_headers import CONFIGURATION_HEADERS
from emulator.web.routes import ROUTES

DOCS = Path(__file__).resolve().parent
TESTS = DOCS.parent / "tests"
REFERENCE = DOCS / "reference"
CLAUSES = REFERENCE / "clauses.txt"
DEVIATIONS = REFERENCE / "deviations.md"

_CITATION = re.compile(
    r"\b([A-Z]{3,4})-(\d+)"  # MSG-20
    r"(?:\s*(?:to|\.\.)\s*(?:[A-Z]{3,4}-|-)?(\d+))?"  # to MSG-29; ..29; to -29
)

# Clauses


@dataclass(frozen=True)
class Area:
    """A section of the contract."""

    name: str
    """As in its clauses' ids."""

    title: str

    clauses: tuple[str, ...]

    @property
    def heading(self) -> str:
        return f"{self.title} ({self.name})"

    @property
    def link(self) -> str:
        return f"[{self.name}](#{anchor(self.heading)})"


def read_areas(text: str) -> list[Area]:
    """Read ``clauses.txt``: ``# AREA Title``, and below it an id on each line."""
    blocks = text.strip().split("\n\n")
    areas = []
    for block in blocks:
        heading, *clauses = block.splitlines()
        name, _, title = heading.removeprefix("# ").partition(" ")
        areas.append(Area(name, title, tuple(clauses)))
    return areas


def read_contract(text: str) -> list[Area]:
    """Collect the ids of the contract: bold, where a clause or a row begins."""
    areas = []
    for section in re.split(r"^## ", text, flags=re.M):
        heading = re.match(r"\d+\. (.*) \(([A-Z]{3,4})\)\n", section)
        if heading is not None:
            title, name = heading.groups()
            clauses = re.findall(rf"^(?:- |\| )\*\*({name}-\d+)\*\*", section, re.M)
            areas.append(Area(name, title, tuple(clauses)))
    return areas


def format_areas(areas: Iterable[Area]) -> str:
    """Write what ``read_areas`` reads."""
    return "\n".join(
        "\n".join([f"# {area.name} {area.title}", *area.clauses]) + "\n"
        for area in areas
    )


def cited_in(text: str, known: frozenset[str]) -> set[str]:
    """Return the clauses that a text cites, those between the ends of a range too.

    An id that no clause has is returned as well, unless its area is none: ``C-2`` and
    ``Q-7`` are other lists of the contract.
    """
    areas = {clause.partition("-")[0] for clause in known}
    cited = set()
    for area, first, last in _CITATION.findall(text):
        if area in areas:
            cited |= {f"{area}-{first}"}
            for number in range(int(first) + 1, int(last or 0) + 1):
                cited |= {f"{area}-{number}"} & known
    return cited


def citations(known: frozenset[str]) -> dict[str, set[str]]:
    """Return the test files that cite each clause.

    What counts is a test's name, a docstring below the module's own, or a comment.
    """
    files = defaultdict(set)
    for path in sorted(TESTS.rglob("test_*.py")):
        prose = "\0".join(_prose(path.read_text()))
        for clause in cited_in(prose, known):
            files[clause].add(path.relative_to(TESTS).as_posix())
    return files


def _prose(source: str) -> Iterator[str]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield ast.get_docstring(node) or ""
            yield re.sub(r"([a-z]{3,4})_(\d+)", _as_clause, node.name)


def _as_clause(match: re.Match[str]) -> str:
    return f" {match[1].upper()}-{match[2]} "


def deviations(known: frozenset[str]) -> dict[str, list[str]]:
    """Return the headings of deviations.md below which each clause is cited."""
    headings = defaultdict(list)
    for section in DEVIATIONS.read_text().split("\n## ")[1:]:
        heading, _, text = section.partition("\n")
        for clause in cited_in(text, known):
            headings[clause].append(heading)
    return headings


# Pages


def compatibility(areas: list[Area]) -> str:
    """Write compatibility.md."""
    return "\n".join(
        [
            "# Compatibility",
            "",
            "What of QStash qemu does, and which test shows it.",
            "Where it knowingly differs: [deviations](deviations.md).",
            "",
            "This page is generated from the code and the tests by "
            "`python docs/generate.py`.",
            "",
            *_endpoints(areas),
            *_headers(areas),
            *_clauses(areas),
        ]
    )


def _endpoints(areas: list[Area]) -> Iterator[str]:
    yield from (
        "## Endpoints",
        "",
        "`…` stands for the rest of the address. What isn't done answers 501.",
        "",
    )
    methods: dict[tuple[str, object], list[str]] = {}
    for method, path, handler in ROUTES:
        methods.setdefault((path, handler), []).append(method)
    rows = []
    for (path, handler), names in methods.items():
        path = path.replace("{destination}", "…")
        if isinstance(handler, str):
            status, rule = "not yet", handler
        else:
            text = handler.__doc__ or ""
            cited = re.findall(r"\(([A-Z]{3,4})\b", text)
            status = "done"
            rule = ", ".join(area.link for area in areas if area.name in cited)
        rows.append([", ".join(names), f"`{path}`", status, rule])
    yield from table(["method", "path", "status", "clauses"], rows)


def _headers(areas: list[Area]) -> Iterator[str]:
    yield from (
        "## Configuration headers",
        "",
        "Each is also taken as a query parameter, in lower case.",
        "",
    )
    links = {area.name: area.link for area in areas}
    rows = []
    for header in CONFIGURATION_HEADERS:
        scopes = ["yes" if letter in header.scope else "" for letter in "PEBS"]
        status = "done" if header.is_supported else "not yet"
        area, _, number = header.clause.partition("-")
        clause = links[area].replace(f"[{area}]", f"[{area}-{number}]")
        rows.append([f"`{header.name}`", header.value, *scopes, status, clause])
    names = ["publish", "enqueue", "batch", "schedule"]
    yield from table(["header", "value", *names, "status", "clause"], rows)


def _clauses(areas: list[Area]) -> Iterator[str]:
    yield from (
        "## Clauses",
        "",
        "QStash's behavior, as far as it is documented or observed, is written down in "
        "numbered clauses.",
        "The code and the tests cite them.",
        "For each clause, the tests that prove it; or the deviation that concerns it.",
        "",
    )
    known = frozenset(clause for area in areas for clause in area.clauses)
    files, headings = citations(known), deviations(known)
    for area in areas:
        yield from (f"### {area.heading}", "")
        rows = []
        for clause in area.clauses:
            proofs = [
                f"[{file.removesuffix('.py')}](../../tests/{file})"
                for file in sorted(files.get(clause, ()))
            ]
            proofs += [
                f"[deviation](deviations.md#{anchor(heading)})"
                for heading in headings.get(clause, ())
            ]
            rows.append([clause, ", ".join(proofs) or "not yet"])
        yield from table(["clause", "proof"], rows)


def command_line() -> str:
    """Write cli.md."""
    lines = [
        "# Command line",
        "",
        "What `qemu --help` and `qemu COMMAND --help` say.",
        "Where options, environment and file disagree: [settings](settings.md).",
        "With which code a command ends: [exit codes](exit-codes.md).",
        "",
        "This page is generated from the commands by `python docs/generate.py`.",
        "",
    ]
    with cli.make_context("qemu", [], resilient_parsing=True) as ctx:
        lines += _command(cli, ctx)
        for name in cli.list_commands(ctx):
            command = cli.get_command(ctx, name)
            assert command is not None
            with command.make_context(
                name, [], parent=ctx, resilient_parsing=True
            ) as command_ctx:
                lines += _command(command, command_ctx)
            for part in getattr(command, "parts", ()):
                with command.make_context(
                    name, [part], parent=ctx, resilient_parsing=True
                ) as part_ctx:
                    lines += _command(part_ctx.command, part_ctx)
    return "\n".join(lines)


def _command(command: click.Command, ctx: click.Context) -> Iterator[str]:
    usage = " ".join([ctx.command_path, *command.collect_usage_pieces(ctx)])
    yield from (f"## {ctx.command_path}", "", command.help or "", "")
    yield from ("```", usage, "```", "")
    examples: tuple[str, ...] = getattr(command, "examples", ())
    if examples:
        yield from ("```", *examples, "```", "")
    records = [
        param.get_help_record(ctx)
        for param in command.get_params(ctx)
        if isinstance(param, click.Option)
    ]
    rows = [[f"`{name}`", help] for name, help in filter(None, records)]
    yield from table(["option", "meaning"], rows)
    if isinstance(command, click.Group):
        names = command.list_commands(ctx)
        commands = [command.get_command(ctx, name) for name in names]
        yield from table(
            ["command", "what it does"],
            [
                [f"[{name}](#{anchor(f'{ctx.command_path} {name}')})", each.help or ""]
                for name, each in zip(names, commands, strict=True)
                if each is not None
            ],
        )


def table(names: list[str], rows: list[list[str]]) -> Iterator[str]:
    """Write a table, and an empty line."""
    for cells in (names, ["---"] * len(names), *rows):
        escaped = (" ".join(cell.split()).replace("|", r"\|") for cell in cells)
        yield f"| {' | '.join(escaped)} |"
    yield ""


def anchor(heading: str) -> str:
    """Return the anchor that forges make of a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def pages() -> dict[Path, str]:
    """Return what every generated page has to be."""
    areas = read_areas(CLAUSES.read_text())
    return {
        REFERENCE / "compatibility.md": compatibility(areas),
        REFERENCE / "cli.md": command_line(),
    }


def main() -> int:
    """Write the pages, or check them; return the exit code."""
    parser = argparse.ArgumentParser(description="Generate pages of the reference.")
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--contract", type=Path, help="where to take clauses from")
    arguments = parser.parse_args()

    if arguments.contract is not None:
        areas = read_contract(arguments.contract.read_text())
        CLAUSES.write_text(format_areas(areas))
    is_right = True
    for path, text in pages().items():
        if path.exists() and path.read_text() == text:
            continue
        if arguments.check:
            is_right = False
            print(f"{path.relative_to(DOCS.parent)} is out of date", file=sys.stderr)
        else:
            path.write_text(text)
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
