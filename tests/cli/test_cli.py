"""What all commands have in common."""

import errno
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

import emulator
from emulator.cli import cli, main

COMMANDS = [
    "start",
    "dev",
    "tunnel",
    "relay",
    "env",
    "publish",
    "logs",
    "verify",
    "export",
    "import",
    "doctor",
    "config",
    "completion",
]


def run(*args, **options):
    return CliRunner().invoke(cli, args, prog_name="qemu", **options)


def test_the_version_is_one_line():
    result = run("--version")

    assert result.output == f"qemu {emulator.__version__}\n"
    assert result.exit_code == 0


def test_without_arguments_there_is_help_and_a_usage_error():
    result = run()

    assert result.stderr.startswith("Usage: qemu [OPTIONS] COMMAND [ARGS]...")
    assert result.stdout == ""
    assert result.exit_code == 2


def test_the_commands_are_listed_in_the_order_of_their_use():
    result = run("--help")
    listed = result.output.partition("Commands:")[2].splitlines()

    assert [row.split()[0] for row in listed if row[2:3].strip()] == COMMANDS


@pytest.mark.parametrize("name", [*COMMANDS, None])
def test_help_is_one_sentence_three_examples_and_the_options(name):
    result = run(*([name] if name else []), "--help")
    _, _, rest = result.output.partition("\n\n")
    sentence, _, rest = rest.partition("\n\nExamples:\n")
    examples, _, rest = rest.partition("\n\n")

    assert sentence.strip().endswith(".")
    assert len(examples.splitlines()) == 3
    assert "qemu" in examples
    assert "Options:\n" in rest
    assert result.exit_code == 0


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_is_for(name):
    command = cli.get_command(click.Context(cli), name)
    options = [param for param in command.params if isinstance(param, click.Option)]

    assert all(option.help.endswith(".") for option in options)


def test_rare_options_stand_under_advanced():
    common, _, advanced = run("start", "--help").output.partition("Advanced:")

    assert "--port" in common
    assert "--json" in common
    assert "--seed" in advanced
    assert "--seed" not in common


def test_what_is_not_built_is_not_offered():
    output = run("start", "--help").output

    assert "--open" not in output


def test_a_mistyped_option_is_a_usage_error_with_the_nearest_one():
    result = run("start", "--prot", "1")

    assert result.exit_code == 2
    assert "--port" in result.stderr


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("strat", "no such command: 'strat'; did you mean 'start'?"),
        ("log", "no such command: 'log'; did you mean 'logs'?"),
        ("zebra", "no such command: 'zebra'"),
    ],
)
def test_an_unknown_command_is_a_usage_error_with_the_nearest_one(name, error):
    result = run(name)

    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == f"Error: {error}"


def test_a_bad_setting_is_one_line_and_exit_code_3():
    result = run("env", env={"QEMU_PORT": "x\x1b"})

    assert result.exit_code == 3
    assert result.stderr == (
        "Error: port (from QEMU_PORT): must be a whole number from 0 to 65535, not "
        '"x\\x1b"\n'
    )


def test_an_interrupt_ends_quietly(monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("emulator.cli.env.format_env", interrupted)
    result = run("env")

    assert result.exit_code == 130
    assert result.output == ""


@pytest.mark.parametrize("name", ["env", "config"])
def test_options_without_effect_on_a_command_are_taken_and_not_shown(name):
    assert "--speed" not in run(name, "--help").output
    assert run(name, "--speed", "2").exit_code == 0


def test_output_that_cannot_be_written_is_one_line(monkeypatch, capsys):
    def full(*args, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("emulator.cli.cli.main", full)
    with pytest.raises(SystemExit) as ending:
        main()

    assert ending.value.code == 1
    assert capsys.readouterr().err == (
        "Error: can't write the output: No space left on device\n"
    )


def test_another_error_of_the_system_is_not_hidden(monkeypatch):
    def broken(*args, **options):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("emulator.cli.cli.main", broken)
    with pytest.raises(OSError, match="Too many open files"):
        main()


def test_an_interrupt_outside_of_any_command_ends_quietly(monkeypatch, capsys):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("emulator.cli.cli.main", interrupted)
    with pytest.raises(SystemExit) as ending:
        main()

    assert ending.value.code == 130
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("args", [["--version"], ["--help"], ["start", "--help"]])
def test_quick_answers_import_nothing_heavy(args):
    code = (
        "import sys\n"
        "from emulator.cli import cli\n"
        f"cli.main({args!r}, prog_name='qemu', standalone_mode=False)\n"
        "heavy = {'aiohttp', 'asyncio', 'jwt', 'yarl', 'http.client', 'logging'}\n"
        "print('loaded:', *sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert done.stdout.splitlines()[-1] == "loaded:"


def test_completion_imports_nothing_heavy():
    code = (
        "import os, sys\n"
        "os.environ |= {'COMP_WORDS': 'qemu start --po', 'COMP_CWORD': '2'}\n"
        "os.environ['_QEMU_COMPLETE'] = 'bash_complete'\n"
        "from emulator.cli import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit:\n"
        "    pass\n"
        "heavy = {'aiohttp', 'asyncio', 'jwt', 'yarl', 'http.client'}\n"
        "print('loaded:', *sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert done.stdout.splitlines() == ["plain,--port", "loaded:"]


def test_python_m_emulator_is_qemu():
    done = subprocess.run(
        [sys.executable, "-m", "emulator", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == f"qemu {emulator.__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_shells_script(shell):
    result = run("completion", shell)

    assert f"_QEMU_COMPLETE={shell}_complete" in result.output
    assert result.exit_code == 0


def test_completion_knows_three_shells():
    assert run("completion", "csh").exit_code == 2
