"""Where a value was written: a flag, a variable, a line of the file, or nowhere."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["DEFAULT", "Origin", "Source"]


class Origin(StrEnum):
    """The kinds of places, the strongest first."""

    FLAG = "flag"
    ENVIRONMENT = "environment"
    FILE = "file"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Source:
    """A place where a value was written."""

    origin: Origin

    name: str = ""
    """The flag, the variable, or the file's path as it is shown."""

    line: int | None = None
    """Of the file; lines count from 1."""

    def __str__(self) -> str:
        if self.line is not None:
            return f"{self.name}, line {self.line}"
        return self.name or str(self.origin)


DEFAULT = Source(Origin.DEFAULT)
"""Nobody wrote it anywhere."""
