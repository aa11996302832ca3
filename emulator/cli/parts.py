"""Commands that run by themselves and have parts: ``qemu relay``, ``qemu relay token``.

click's own groups take the first word for a sub-command always; here it is one only
if it is a part's name, and otherwise belongs to the command.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from emulator.cli import HelpfulCommand

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["CommandWithParts"]


class CommandWithParts(HelpfulCommand):
    """A command with parts.

    ``parts`` are their names, and where each is: ``emulator.cli.relay_token:token``.
    """

    def __init__(self, *args: Any, parts: Mapping[str, str], **attrs: Any) -> None:
        super().__init__(*args, **attrs)
        self._homes = dict(parts)

    @property
    def parts(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self._homes)

    def part(self, name: str) -> click.Command:
        """Import a part."""
        module, _, attribute = self._homes[name].partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Make the part's context if the first word is its name, else one's own."""
        if args and args[0] in self._homes:
            name, *rest = args
            full_name = f"{info_name} {name}"
            return self.part(name).make_context(full_name, rest, parent, **extra)
        return super().make_context(info_name, args, parent, **extra)

    def format_options(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """Write the options and the parts."""
        super().format_options(ctx, formatter)
        rows = [(name, self.part(name).get_short_help_str()) for name in self._homes]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def shell_complete(
        self, ctx: click.Context, incomplete: str
    ) -> list[CompletionItem]:
        """Complete a part's name, or an option."""
        from click.shell_completion import CompletionItem

        names = (name for name in self._homes if name.startswith(incomplete))
        parts = [CompletionItem(name) for name in names]
        return parts + super().shell_complete(ctx, incomplete)
