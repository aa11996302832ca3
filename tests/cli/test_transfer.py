"""`qemu export` and `qemu import`."""

import json
import os
import stat
import sys

import pytest
from click.testing import CliRunner

from emulator import Emulator, Settings
from emulator.cli import cli
from emulator.errors import NotStored
from emulator.settings import DEV_USERS
from tests.doubles import ScriptedTransport

USER = DEV_USERS[0].name
DELAYED = ("--delay", "1h", "-d", "hello")


def run(*args, **options):
    return CliRunner().invoke(cli, args, prog_name="qemu", **options)


def an_emulator(**settings):
    """An emulator that runs in a thread."""
    return Emulator(
        Settings(port=0, **settings), transport=ScriptedTransport()
    ).in_thread()


def publish(qemu):
    result = run("publish", "--url", qemu.url, "http://a.example", *DELAYED)
    assert result.exit_code == 0, result.output
    return result.output.strip()


def kinds(text):
    return [json.loads(line)["type"] for line in text.splitlines()]


@pytest.fixture
def state(folder):
    """A file with a message in it."""
    with an_emulator() as qemu:
        publish(qemu)
        run("export", "--url", qemu.url, "state.jsonl")
    return folder / "state.jsonl"


# Out


def test_an_export_goes_to_standard_output():
    with an_emulator() as qemu:
        publish(qemu)
        result = run("export", "--url", qemu.url, "--user", USER)

    assert result.exit_code == 0
    assert kinds(result.stdout) == ["qemu-state", "user", "message", "log", "end"]


@pytest.mark.skipif(sys.platform == "win32", reason="has no modes")
def test_an_exported_file_is_for_nobody_else(state):
    assert stat.S_IMODE(state.stat().st_mode) == 0o600


def test_an_export_replaces_a_file_and_leaves_nothing_beside_it(state):
    with an_emulator() as qemu:
        result = run("export", "--url", qemu.url, "state.jsonl")

    assert "message" not in kinds(state.read_text())
    assert "keep it to yourself" in result.stderr
    assert [path.name for path in state.parent.iterdir()] == ["state.jsonl"]


@pytest.mark.skipif(sys.platform == "win32", reason="has no such pipes")
def test_an_export_takes_the_place_of_no_pipe(folder):
    os.mkfifo(folder / "pipe")
    reader = os.open(folder / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with an_emulator() as qemu, os.fdopen(reader, "rb") as pipe:
        result = run("export", "--url", qemu.url, "pipe")
        text = pipe.read()

    assert result.exit_code == 0, result.output
    assert kinds(text)[-1] == "end"
    assert (folder / "pipe").is_fifo()


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege")
def test_an_export_to_a_link_replaces_what_it_leads_to(state):
    link = state.with_name("link")
    link.symlink_to(state)
    before = state.read_text()
    with an_emulator() as qemu:
        run("export", "--url", qemu.url, "link")

    assert link.is_symlink()
    assert state.read_text() != before


def test_an_export_into_a_folder_is_refused(folder):
    (folder / "state").mkdir()
    with an_emulator() as qemu:
        result = run("export", "--url", qemu.url, "state")

    assert result.exit_code == 1
    assert "can't write state: Is a directory" in result.stderr


def test_an_export_that_breaks_off_leaves_the_file_as_it_was(state, stub):
    before = state.read_bytes()
    stub.answers["state"] = before[: len(before) // 2]
    result = run("export", "--url", stub.url, "state.jsonl")

    assert result.exit_code == 1
    assert "isn't whole" in result.stderr
    assert state.read_bytes() == before
    assert [path.name for path in state.parent.iterdir()] == ["state.jsonl"]


def test_a_server_that_dies_while_it_sends_leaves_no_file(folder, answering):
    server = answering(b"")
    server.RequestHandlerClass.do_GET = lambda handler: (
        handler.send_response(200),
        handler.send_header("Content-Length", "100"),
        handler.end_headers(),
        handler.wfile.write(b"{}\n"),
    )
    result = run("export", "--url", server.url, "state.jsonl")

    assert result.exit_code == 1
    assert "isn't whole" in result.stderr
    assert list(folder.iterdir()) == []


def test_an_export_into_a_folder_that_is_not_there_says_so():
    with an_emulator() as qemu:
        result = run("export", "--url", qemu.url, "nowhere/state.jsonl")

    assert result.exit_code == 1
    assert "can't write nowhere/state.jsonl: No such file" in result.stderr


@pytest.mark.parametrize("command", ["export", "import"])
def test_without_an_emulator_the_advice_is_to_start_one(state, closed_port, command):
    result = run(command, "--url", f"http://127.0.0.1:{closed_port}", str(state))

    assert result.exit_code == 1
    assert "qemu start" in result.stderr


@pytest.mark.parametrize("command", ["export", "import"])
def test_a_file_and_a_server_are_not_asked_for_at_once(command):
    result = run(command, "--db", "a.db", "--url", "http://localhost:1", "f")

    assert result.exit_code == 2


def test_an_unknown_user_is_named_with_those_that_there_are(state):
    run("import", "--db", "qemu.db", str(state))
    with an_emulator() as qemu:
        online = run("export", "--url", qemu.url, "--user", "nobody")
    offline = run("export", "--db", "qemu.db", "--user", "nobody")

    for result in (online, offline):
        assert result.exit_code == 1
        assert "nobody" in result.stderr
        assert USER in result.stderr


def test_an_export_of_a_file_that_is_not_there_makes_none(folder):
    result = run("export", "--db", "qemu.db")

    assert result.exit_code == 1
    assert "there is no file qemu.db" in result.stderr
    assert list(folder.iterdir()) == []


# In


def test_an_import_says_what_it_brought(state):
    with an_emulator() as qemu:
        result = run("import", "--url", qemu.url, str(state))
        again = run("export", "--url", qemu.url)

    assert result.output == "imported 1 message, 1 pending\n"
    # The first line has the instant.
    assert again.stdout.splitlines()[1:] == state.read_text().splitlines()[1:]


def test_state_is_discarded_only_if_asked_to(state):
    with an_emulator() as qemu:
        publish(qemu)
        refused = run("import", "--url", qemu.url, str(state))
        done = run("import", "--replace", "--url", qemu.url, str(state))

    assert refused.exit_code == 1
    assert "--replace" in refused.stderr
    assert done.exit_code == 0


def test_an_import_reads_standard_input_too(state):
    with an_emulator() as qemu:
        result = run("import", "--url", qemu.url, "-", input=state.read_bytes())

    assert result.exit_code == 0, result.output


def test_a_broken_line_is_named_however_long_the_file_is(state):
    lines = state.read_bytes().splitlines(keepends=True)
    state.write_bytes(lines[0] + b"{}\n" + b"x" * 20_000_000 + b"\n")
    with an_emulator() as qemu:
        online = run("import", "--url", qemu.url, str(state))
    offline = run("import", "--db", "qemu.db", str(state))

    for result in (online, offline):
        assert result.exit_code == 1
        assert "line 2 of the state: type is missing" in result.stderr


def test_a_file_of_a_newer_qemu_is_refused(state):
    state.write_text(state.read_text().replace('"format":1', '"format":2'))
    result = run("import", "--db", "qemu.db", str(state))

    assert result.exit_code == 1
    assert "written by a newer qemu" in result.stderr


def test_a_file_that_is_not_there_cannot_be_imported():
    result = run("import", "--db", "qemu.db", "state.jsonl")

    assert result.exit_code == 1
    assert "can't read state.jsonl: No such file" in result.stderr


# Files that no server uses


def test_a_file_gives_back_what_was_imported_into_it(state, folder):
    into = run("import", "--db", "qemu.db", str(state))
    out = run("export", "--db", "qemu.db")

    assert into.output == "imported 1 message, 1 pending\n"
    assert out.stdout == state.read_text()
    names = {path.name for path in folder.iterdir()}
    assert names == {"qemu.db", "state.jsonl"}


def test_a_server_goes_on_with_what_was_imported_into_its_file(state):
    run("import", "--db", "qemu.db", str(state))
    with an_emulator(db="qemu.db") as qemu:
        result = run("export", "--url", qemu.url)

    assert result.stdout.splitlines()[1:] == state.read_text().splitlines()[1:]


def test_an_old_state_is_exported_as_it_was(folder):
    """Nothing of it expires because nobody has looked for years."""
    settings = {"db": "qemu.db", "clock": "virtual", "start_time_ms": 1_000_000}
    with an_emulator(**settings) as qemu:
        publish(qemu)
    result = run("export", "--db", "qemu.db")

    assert kinds(result.stdout).count("log") == 1


def test_a_file_with_state_is_overwritten_only_if_asked_to(state):
    run("import", "--db", "qemu.db", str(state))
    refused = run("import", "--db", "qemu.db", str(state))
    done = run("import", "--replace", "--db", "qemu.db", str(state))

    assert refused.exit_code == 1
    assert "--replace" in refused.stderr
    assert done.exit_code == 0


@pytest.mark.parametrize("command", ["export", "import"])
def test_a_file_in_use_is_left_alone(state, command):
    with an_emulator(db="qemu.db"):
        result = run(command, "--db", "qemu.db", str(state))

    assert result.exit_code == 5
    assert "in use by process" in result.stderr


def test_a_file_that_is_not_a_database_is_left_alone(state, folder):
    (folder / "qemu.db").write_text("important")
    result = run("import", "--db", "qemu.db", str(state))

    assert result.exit_code == 5
    assert (folder / "qemu.db").read_text() == "important"


def test_a_file_that_cannot_be_written_is_told(state, monkeypatch):
    def refuse(self, states):
        raise NotStored("qemu.db", "database or disk is full")

    monkeypatch.setattr("emulator.journal.journal.SqliteJournal.replace", refuse)
    result = run("import", "--db", "qemu.db", str(state))

    assert result.exit_code == 5
    assert "nothing was changed: qemu.db can't be written" in result.stderr


def test_a_full_disk_is_told_and_leaves_nothing(folder, monkeypatch):
    """Whatever else goes wrong while writing does the same."""

    def full(*args):
        raise OSError(28, "No space left on device")

    with an_emulator() as qemu:
        monkeypatch.setattr("emulator.cli.transfer._written", full)
        result = run("export", "--url", qemu.url, "state.jsonl")

    assert result.exit_code == 1
    assert "No space left on device" in result.stderr
    assert list(folder.iterdir()) == []
