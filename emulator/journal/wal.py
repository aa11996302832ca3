"""How much a write-ahead log should hold: so that a loss at its end is noticed.

Where a checksum of the log doesn't fit, SQLite takes that for its end and goes on
without a word. After a kill nothing is missing there, so something is wrong if the
log held more: by its index (``-shm``), which outlives the process, or else by the
heads of its frames. Reads what https://sqlite.org/walformat.html describes, and
writes nothing.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

__all__ = ["NOTHING", "Extent", "found_extent", "left_extent"]

_INDEX = struct.Struct("=IIIBBHII8s8s8s")
"""Version, -, changes, whether it is valid, -, page size, frames, pages, checksum of
the last frame, salts, checksum of what stands before. In the machine's byte order."""

_INDEX_BYTES = 2 * _INDEX.size + 4
"""It stands there twice; then comes how many frames the file has taken over."""

_HEAD = struct.Struct(">IIII8s8s")
"""Of the log: magic, version, page size, number, salts, checksum."""

_FRAME = struct.Struct(">II8s8s")
"""Of a frame: page, pages after a commit or 0, salts, checksum."""

_MAGIC = {0x377F0682: "<", 0x377F0683: ">"}
"""Byte orders of checksums."""


class Extent(NamedTuple):
    """How far a log goes."""

    frames: int
    """Up to the last commit."""

    taken_over: int = 0
    """So many of them are in the file itself, too."""


NOTHING = Extent(0)


def left_extent(file: Path) -> Extent:
    """Return what was left beside a database's file that nobody has opened yet.

    ``NOTHING`` also where the file itself has everything.
    """
    left = _left(file)
    return left if left.frames > left.taken_over else NOTHING


def found_extent(file: Path) -> Extent:
    """Return what SQLite has found of it. It must have read from the file before."""
    index = _read_index(file)
    return NOTHING if index is None else index[0]


def _left(file: Path) -> Extent:
    index = _read_index(file)
    by_index = NOTHING if index is None else index[0]
    try:
        with Path(f"{file}-wal").open("rb") as log:
            head = log.read(_HEAD.size)
            order = "" if len(head) < _HEAD.size else _byte_order(head)
            if not order:
                # None, or none that SQLite can read.
                return by_index if index is not None else Extent(len(log.read(1)))
            _, _, page_bytes, _, salts, _ = _HEAD.unpack(head)
            if index is not None and index[1] == salts:
                return by_index
            # The index is of another log, or damaged.
            frames = number = 0
            while len(start := log.read(_FRAME.size)) == _FRAME.size:
                number += 1
                _, commits, frame_salts, _ = _FRAME.unpack(start)
                if commits and frame_salts == salts:
                    frames = number
                log.seek(page_bytes, 1)
            return Extent(frames)
    except OSError:
        return by_index


def _read_index(file: Path) -> tuple[Extent, bytes] | None:
    """Read the index: how far the log goes, and the log's salts; ``None``: damaged."""
    try:
        with Path(f"{file}-shm").open("rb") as index:
            data = index.read(_INDEX_BYTES)
    except OSError:
        return None
    first, second = data[: _INDEX.size], data[_INDEX.size : 2 * _INDEX.size]
    if len(data) < _INDEX_BYTES or first != second:
        return None
    *_, frames, _, _, salts, check = _INDEX.unpack(first)
    if check != _checksum(first[: -len(check)], "="):
        return None
    (taken_over,) = struct.unpack("=I", data[2 * _INDEX.size :])
    return Extent(frames, taken_over), salts


def _byte_order(head: bytes) -> str:
    """Return the byte order of a log's checksums; empty: its head is damaged."""
    magic, *_, check = _HEAD.unpack(head)
    order = _MAGIC.get(magic, "")
    if not order or _checksum(head[: -len(check)], order, written=">") != check:
        return ""
    return order


def _checksum(data: bytes, order: str, *, written: str | None = None) -> bytes:
    """Return SQLite's checksum of words in a byte order, written in one."""
    first = second = 0
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for one, other in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return struct.pack(f"{written or order}2I", first, second)
