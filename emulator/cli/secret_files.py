"""Secrets and other files that options name: read within bounds, blamed on their place.

A secret comes from a file or from a variable, never from the command line, where every
process of the machine could read it, and never from the settings file, which gets into
repositories. What is wrong with one is said without quoting it.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from emulator.cli.options import blamed, source_of
from emulator.cli.sources import Origin, Source
from emulator.errors import SettingsError

__all__ = ["bytes_of_file", "file_refused", "lines_of_file", "secret_in_force"]

_MAX_FILE_BYTES = 1 << 16
"""Of secrets and keys."""

_MAX_LIST_BYTES = 1 << 24
"""Of lists."""


def bytes_of_file(
    ctx: click.Context, name: str, path: str, *, most_bytes: int = _MAX_FILE_BYTES
) -> bytes:
    """Read a file that the option ``name`` names.

    Raises ``SettingsError``, or click's ``BadParameter`` for what was typed.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(most_bytes + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise file_refused(ctx, name, f"can't read the file: {reason}") from error
    if len(data) > most_bytes:
        raise file_refused(ctx, name, f"the file has more than {most_bytes:,} bytes")
    return data


def lines_of_file(ctx: click.Context, name: str, path: str) -> frozenset[str]:
    """Read a list: one entry a line; empty lines and ``#`` comments don't count."""
    data = bytes_of_file(ctx, name, path, most_bytes=_MAX_LIST_BYTES)
    try:
        lines = [line.strip() for line in data.decode().splitlines()]
    except UnicodeDecodeError as error:
        raise file_refused(ctx, name, "the file isn't UTF-8") from error
    return frozenset(line for line in lines if line and not line.startswith("#"))


def secret_in_force(
    ctx: click.Context, name: str, variable: str
) -> tuple[bytes, Source] | None:
    """Return a secret and where it was written; ``None``: there is none.

    A typed option ``name``, which names a file, is stronger than ``variable``, which
    has the secret itself; that is stronger than a file that is named elsewhere.
    """
    path = ctx.params[name]
    source = source_of(ctx, _param(ctx, name))
    given = os.environ.get(variable)
    if given and source.origin is not Origin.FLAG:
        source, secret = Source(Origin.ENVIRONMENT, variable), os.fsencode(given)
    elif path is None:
        return None
    else:
        secret = bytes_of_file(ctx, name, path)
    secret = secret.strip()
    if not secret:
        raise SettingsError(variable, "is empty", source=str(source))
    return secret, source


def file_refused(ctx: click.Context, name: str, reason: str) -> Exception:
    """Make the error about an option's value that belongs to where it was written."""
    return blamed(ctx, _param(ctx, name), reason)


def _param(ctx: click.Context, name: str) -> click.Parameter:
    return next(param for param in ctx.command.params if param.name == name)
