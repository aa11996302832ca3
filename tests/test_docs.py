"""The documents say what the code does: each name has its row, each link its page."""

import ast
import re
import tomllib
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from emulator import errors
from emulator.cli.exit_codes import ExitCode
from emulator.core.lifecycle import MOVES
from emulator.core.model import State
from emulator.settings import Settings

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


def test_the_state_diagram_is_drawn_from_the_table_of_moves():
    page = (DOCS / "explanation" / "architecture.md").read_text()

    assert f"```mermaid\n{state_diagram()}\n```\n" in page
