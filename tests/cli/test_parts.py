"""Commands that run by themselves and have parts."""

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from emulator.cli import cli
from emulator.cli.parts import CommandWithParts

PARTS = [("relay", "token"), ("tunnel", "replay")]


def run(*args):
    return CliRunner().invoke(cli, args, prog_name="qemu")


def completed(*words):
    *typed, incomplete = words
    shell = ShellComplete(cli, {}, "qemu", "_QEMU_COMPLETE")
    return [item.value for item in shell.get_completions(typed, incomplete)]


@pytest.mark.parametrize(("command", "part"), PARTS)
def test_a_part_has_help_like_any_command(command, part):
    output = run(command, part, "--help").output
    usage, _, rest = output.partition("\n\n")
    examples = rest.partition("\n\nExamples:\n")[2].partition("\n\n")[0]

    assert usage.startswith(f"Usage: qemu {command} {part} [OPTIONS]")
    assert len(examples.splitlines()) == 3
    assert "Options:\n" in output


@pytest.mark.parametrize(("command", "part"), PARTS)
def test_every_option_of_a_part_says_what_it_is_for(command, part):
    whole = cli.get_command(click.Context(cli), command)
    options = [
        param for param in whole.part(part).params if isinstance(param, click.Option)
    ]

    assert all(option.help.endswith(".") for option in options)


@pytest.mark.parametrize(("command", "part"), PARTS)
def test_a_commands_help_lists_its_parts(command, part):
    assert f"\nCommands:\n  {part}  " in run(command, "--help").output


def test_another_first_word_belongs_to_the_command():
    whole = cli.get_command(click.Context(cli), "tunnel")
    context = whole.make_context("tunnel", ["3000", "--name", "replay"])

    assert isinstance(whole, CommandWithParts)
    assert context.params["target"] == 3000
    assert context.params["name"] == "replay"


@pytest.mark.parametrize(("command", "part"), PARTS)
def test_parts_and_their_options_complete(command, part):
    assert completed(command, part[:2]) == [part]
    assert part in completed(command, "")
    assert completed(command, "x") == []
    assert "--help" in completed(command, part, "--h")


def test_options_of_a_command_with_parts_complete():
    assert completed("relay", "--dom") == ["--domain"]
    assert completed("tunnel", "3000", "--verify") == ["--verify-qstash"]
