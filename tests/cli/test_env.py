"""`qemu env`."""

import json
import shlex
import subprocess
from dataclasses import replace

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from emulator.cli import cli
from emulator.cli.env import format_env
from emulator.settings import DEV_USERS

USER = DEV_USERS[0]


def run(*args, **options):
    return CliRunner().invoke(cli, args, prog_name="qemu", **options)


def test_env_prints_the_four_lines_for_a_file():
    """ENV-10, ENV-11."""
    result = run("env")

    assert result.output == (
        'QSTASH_URL="http://127.0.0.1:8080"\n'
        'QSTASH_TOKEN="eyJVc2VySUQiOiJkZWZhdWx0VXNlciIsIlBhc3N3b3JkIjoiZGVmYXVsdFBhc3'
        'N3b3JkIn0="\n'
        'QSTASH_CURRENT_SIGNING_KEY="sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r"\n'
        'QSTASH_NEXT_SIGNING_KEY="sig_5ZB6DVzB1wjE8S6rZ7eenA8Pdnhs"\n'
    )


def test_env_follows_the_settings_in_force(folder):
    (folder / "qemu.toml").write_text("host = '::1'\nport = 1111")
    result = run("env", "--port", "2222", env={"QSTASH_TOKEN": "mine"})

    assert result.output.startswith(
        'QSTASH_URL="http://[::1]:2222"\nQSTASH_TOKEN="mine"\n'
    )


def test_env_cannot_know_a_port_that_is_chosen_at_the_start():
    result = run("env", "--port", "0")

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: port 0 is any that is free")


@pytest.mark.parametrize(
    ("format", "first"),
    [
        ("dotenv", 'QSTASH_URL="http://127.0.0.1:8080"'),
        ("shell", "export QSTASH_URL='http://127.0.0.1:8080'"),
        ("fish", "set -gx QSTASH_URL 'http://127.0.0.1:8080'"),
        ("powershell", "$env:QSTASH_URL = 'http://127.0.0.1:8080'"),
    ],
)
def test_env_speaks_every_shell(format, first):
    lines = run("env", "--format", format).output.splitlines()

    assert lines[0] == first
    assert len(lines) == 4


def test_env_as_json_is_one_object():
    values = json.loads(run("env", "--format", "json").output)

    assert values == {
        "QSTASH_URL": "http://127.0.0.1:8080",
        "QSTASH_TOKEN": USER.token,
        "QSTASH_CURRENT_SIGNING_KEY": USER.keys.current,
        "QSTASH_NEXT_SIGNING_KEY": USER.keys.next,
    }


# What a token may consist of.
tokens = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1)


@given(tokens)
def test_a_shell_reads_back_any_token(token):
    text = format_env("http://x", replace(USER, token=token), "shell")

    assert shlex.split(text.splitlines()[1]) == ["export", f"QSTASH_TOKEN={token}"]


@given(tokens)
def test_a_posix_shell_reads_back_the_dotenv_form_too(token):
    text = format_env("http://x", replace(USER, token=token), "dotenv")

    # In double quotes, shlex leaves the backslash before $ and ` alone; shells don't.
    (read,) = shlex.split(text.splitlines()[1])
    unescaped = read.replace("\\$", "$").replace("\\`", "`")
    assert unescaped.replace("\\", "") == f"QSTASH_TOKEN={token}".replace("\\", "")


def test_a_real_shell_reads_back_the_worst_token():
    token = """a"b'c$d`e\\f!g#h;i&j|k(l)m*n?o~p"""
    for format in ("dotenv", "shell"):
        text = format_env("http://x", replace(USER, token=token), format)
        script = f'{text}\nprintf %s "$QSTASH_TOKEN"'
        done = subprocess.run(
            ["sh", "-c", script], capture_output=True, text=True, check=True
        )

        assert done.stdout == token


def test_other_shells_get_their_own_quotes():
    user = replace(USER, token="a'b\\c")

    assert "'a\\'b\\\\c'" in format_env("http://x", user, "fish")
    assert "'a''b\\c'" in format_env("http://x", user, "powershell")
