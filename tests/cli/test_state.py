"""Where the state is kept, in words."""

import json
import os
import sqlite3

import pytest

from emulator.cli import state
from emulator.cli.doctor import Verdict, check_database
from emulator.cli.exit_codes import ExitCode
from emulator.cli.state import cannot_keep, describe_file, describe_state
from emulator.engine.tenants import Counts
from emulator.errors import (
    JournalCorrupt,
    JournalError,
    JournalLocked,
    JournalTooNew,
)
from emulator.journal.file import JournalFile

URL = "http://127.0.0.1:8080"


@pytest.fixture
def db(tmp_path):
    """A file that was used and closed."""
    path = tmp_path / "qemu.db"
    file = JournalFile(str(path))
    file.open(URL)
    file.close(None)
    return path


@pytest.mark.parametrize(
    ("path", "counts", "text"),
    [
        (None, None, "in memory (--db FILE to keep it)"),
        ("qemu.db", Counts(0, 0, 0), "qemu.db: nothing pending"),
        ("qemu.db", None, "qemu.db: nothing pending"),
        ("qemu.db", Counts(1, 0, 1), "qemu.db: 1 message pending, 1 schedule"),
        (
            "qemu.db",
            Counts(1400, 2, 3),
            "qemu.db: 1,400 messages pending, 2 in the DLQ, 3 schedules",
        ),
    ],
)
def test_the_banner_says_where_the_state_is_and_what_was_found(path, counts, text):
    assert describe_state(path, counts) == text


@pytest.mark.parametrize(
    ("error", "fact", "advice"),
    [
        (
            JournalLocked("q.db", 4711, URL),
            f"q.db: in use by process 4711 ({URL})",
            "qemu env --port 8080",
        ),
        (JournalLocked("q.db", None, ""), "q.db: in use by another process", "Stop it"),
        (JournalTooNew("q.db", 9, 1), "q.db: written by a newer qemu", "--db OTHER"),
        (
            JournalCorrupt("q.db", "the log has gaps"),
            "the log has gaps",
            "Move it away",
        ),
        (JournalError("q.db", "can't be opened"), "q.db: can't be opened", "writable"),
    ],
)
def test_an_error_says_what_is_wrong_with_the_file_and_what_to_do(error, fact, advice):
    explained = cannot_keep(error)

    first, rest = explained.message.split("\n", 1)
    assert fact in first
    assert advice in rest
    assert explained.exit_code == ExitCode.JOURNAL


def test_the_doctor_knows_a_file_by_its_header(db):
    check = check_database(str(db))

    assert check.name == f"database {db}"
    assert check.verdict is Verdict.OK
    assert check.detail == "schema 1, 0.1 MB, writable"


def test_the_doctor_changes_nothing(tmp_path):
    assert describe_file(str(tmp_path / "qemu.db")) == ("none yet", "")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_can_be_used(tmp_path):
    (tmp_path / "qemu.db").touch()

    assert describe_file(str(tmp_path / "qemu.db")) == ("0.0 MB, writable", "")


def test_the_doctor_names_who_uses_a_file(db, monkeypatch):
    monkeypatch.setattr(state, "ask_health", lambda url, timeout_s: {"pending": 1})
    lock = db.with_name("qemu.db-lock")
    lock.write_text(json.dumps({"pid": 4711, "url": URL}))

    assert describe_file(str(db))[0].endswith(f"in use by process 4711 ({URL})")


@pytest.mark.parametrize("text", ["", "[" * 2000, "[]", '{"pid":4711}'])
def test_a_lock_that_says_nothing_is_nobodys(db, text):
    db.with_name("qemu.db-lock").write_text(text)

    assert describe_file(str(db)) == ("schema 1, 0.1 MB, writable", "")


def test_a_lock_of_a_process_that_is_gone_is_nobodys(db, monkeypatch):
    monkeypatch.setattr(state, "ask_health", lambda url, timeout_s: None)
    db.with_name("qemu.db-lock").write_text(json.dumps({"pid": 4711, "url": URL}))

    assert describe_file(str(db)) == ("schema 1, 0.1 MB, writable", "")


def theirs(path):
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA application_id = 77")
    connection.close()


def newer(path):
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 7")
    connection.close()


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda path: path.mkdir(), "Is a directory"),
        (lambda path: path.write_bytes(b"x" * 200), "not a file of qemu's"),
        (theirs, "not a file of qemu's"),
        (newer, "a newer qemu's: this one knows schema 1"),
    ],
)
def test_the_doctor_says_what_is_wrong_with_a_file(tmp_path, make, problem):
    path = tmp_path / "qemu.db"
    make(path)

    check = check_database(str(path))

    assert check.verdict is Verdict.FAIL
    assert problem in check.detail
    assert check.remedy


def test_a_folder_that_is_not_there_is_a_problem(tmp_path):
    assert describe_file(str(tmp_path / "no" / "qemu.db")) == (
        "",
        "its folder isn't there",
    )


@pytest.mark.parametrize("exists", [True, False])
def test_what_may_not_be_written_is_a_problem(db, monkeypatch, exists):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    path = db if exists else db.with_name("other.db")

    assert describe_file(str(path))[1].endswith("writable")
