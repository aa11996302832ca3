"""What somebody may have meant: the nearest of the names that there are."""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["did_you_mean"]

_NEAR = 0.7
"""How alike two names must be: below it a guess confuses more than it helps."""

_FEW = 8


def did_you_mean(name: str, known: Collection[str]) -> str:
    """Return ``did you mean 'port'?``; else the names if they are few, or nothing."""
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=1, cutoff=_NEAR)
    near = near or [each for each in known if each.startswith(f"{name}-")]
    if near:
        return f"did you mean {near[0]!r}?"
    return f"there are {', '.join(known)}" if len(known) <= _FEW else ""
