"""The compatibility table says what is true: every clause is proven, or deviated from.

``docs/generate.py`` makes the pages. A clause is proven by a test that cites its id,
in its name, its docstring or a comment.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]

CONTRACT = ROOT.parent / "shared" / "contract" / "qstash.md"

OPEN_QUESTIONS = 34


def generator() -> ModuleType:
    """Import ``docs/generate.py``, which is no part of a package."""
    module = ModuleType("generate")
    path = ROOT / "docs" / "generate.py"
    module.__file__ = str(path)
    sys.modules["generate"] = module  # where dataclasses look for their module
    exec(compile(path.read_text(), str(path), "exec"), module.__dict__)
    return module


generate = generator()

AREAS = generate.read_areas(generate.CLAUSES.read_text())

KNOWN = frozenset(clause for area in AREAS for clause in area.clauses)

CITED = generate.citations(KNOWN).keys() | generate.deviations(KNOWN).keys()


def test_the_generated_pages_are_up_to_date():
    """If this fails, run ``python docs/generate.py``."""
    check = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert (check.returncode, check.stderr) == (0, "")


def test_every_clause_has_a_test_that_cites_it_or_a_deviation():
    assert sorted(KNOWN - CITED) == []


def test_every_citation_is_of_a_clause_that_there_is():
    assert sorted(CITED - KNOWN) == []


def test_every_configuration_header_names_a_clause_that_there_is():
    assert {header.clause for header in generate.CONFIGURATION_HEADERS} <= KNOWN


def test_every_choice_of_an_open_question_has_a_test():
    """Section 28 of the contract."""
    texts = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
    cited = {number for text in texts for number in re.findall(r"\bQ-(\d+)\b", text)}
    cited |= {number for text in texts for number in re.findall(r"_q_(\d+)_", text)}

    assert {str(number) for number in range(1, OPEN_QUESTIONS + 1)} - cited == set()


def test_every_item_of_the_checklist_has_its_test():
    """Section 27 of the contract."""
    checklist = (ROOT / "tests" / "web" / "test_checklist.py").read_text()
    items = re.findall(r"^async def test_(\d\d)_", checklist, re.M)

    assert items == [f"{number:02}" for number in range(1, 31)]


@pytest.mark.parametrize(
    ("text", "clauses"),
    [
        ("QUE-1", {"QUE-1"}),
        ("QUE-1, QUE-3: and Q-13, C-3", {"QUE-1", "QUE-3"}),
        ("QUE-1 to QUE-3", {"QUE-1", "QUE-2", "QUE-3"}),
        ("QUE-1 to\n    -3", {"QUE-1", "QUE-2", "QUE-3"}),
        ("QUE-1..3", {"QUE-1", "QUE-2", "QUE-3"}),
        ("QUE-20..30", {"QUE-20", "QUE-21", "QUE-30"}),
        ("QUE-99", {"QUE-99"}),
        ("QUE-1 to 3 queues? No: QUE-12", {"QUE-1", "QUE-2", "QUE-3", "QUE-12"}),
        ("QUEUE-1, UTF-8, ISO-8601", set()),
    ],
)
def test_a_citation_may_be_a_range(text, clauses):
    assert generate.cited_in(text, KNOWN) == clauses


def test_the_list_of_clauses_is_read_as_it_is_written():
    assert generate.format_areas(AREAS) == generate.CLAUSES.read_text()


def test_the_list_of_clauses_is_taken_from_the_contract():
    text = "\n".join(
        [
            "## 1. One thing (ONE)",
            "- **ONE-1** A rule, see **TWO-9**.",
            "- **ONE-7** Another.",
            "| **ONE-8** | a row |",
            "## 2. Prose (not an area)",
            "## 3. And another (TWO)",
            "- **TWO-1** A rule.",
        ]
    )

    assert [(area.name, area.clauses) for area in generate.read_contract(text)] == [
        ("ONE", ("ONE-1", "ONE-7", "ONE-8")),
        ("TWO", ("TWO-1",)),
    ]


def test_no_clause_of_the_contract_is_missing():
    """Where the contract is at hand, beside the repository."""
    in_contract = AREAS
    if CONTRACT.exists():
        in_contract = generate.read_contract(CONTRACT.read_text())

    assert in_contract == AREAS
