"""docs/reference/wire-format.md says what tunnel/wire.py does."""

import re
from pathlib import Path

from tunnel import wire

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "wire-format.md"


def rows_of(heading):
    """The tables' rows below a heading, each as its cells."""
    text = PAGE.read_text(encoding="utf-8")
    section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [
        line.strip("| ").split(" | ") for line in section.split("\n") if "|" in line
    ]
    return [[cell.strip("` ") for cell in row] for row in rows]


def test_every_kind_of_frame_has_its_row():
    rows = {(row[0], row[1]) for row in rows_of("Frames") if row[0].isdigit()}

    assert {(str(kind.value), kind.name) for kind in wire.Kind} <= rows


def test_every_reset_code_has_its_row():
    codes = [row[0] for row in rows_of("A request") if len(row) == 2]

    assert [code for code in codes if code.isdigit()][-len(wire.ResetCode) :] == [
        str(code.value) for code in wire.ResetCode
    ]


def test_every_close_code_has_its_row():
    codes = {row[0] for row in rows_of("Close codes")}
    ours = {value for name, value in vars(wire).items() if name.startswith("CLOSE_")}

    assert {str(code) for code in ours} <= codes


def test_the_bounds_are_those_of_the_code():
    text = PAGE.read_text(encoding="utf-8")

    assert f"A payload has {wire.MAX_PAYLOAD_BYTES:,} bytes at most" in text
    assert f"has up to {wire.MAX_OPEN_BYTES:,}" in text
    assert f"has {wire.MAX_MESSAGE_BYTES >> 10} KiB at most" in text
    assert f"`WELCOME`, {wire.MAX_HELLO_BYTES >> 10} KiB" in text
    assert re.search(r"This is version (\d+)\.", text)[1] == str(wire.PROTOCOL_VERSION)
