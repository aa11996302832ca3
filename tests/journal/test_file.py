"""The journal's file: who may open it, and what a damaged one says."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emulator.core.model import FlowControl, Options, Responded
from emulator.errors import (
    JournalCorrupt,
    JournalError,
    JournalLocked,
    JournalTooNew,
)
from emulator.journal import schema
from emulator.journal.file import JournalFile
from emulator.journal.lock import Lock
from tests.doubles import T0, a_publish, quiet
from tests.journal.states import NOWHERE, an_emulator, copied, restored, state_of


@pytest.fixture
def db(tmp_path):
    return tmp_path / "qemu.db"


async def filled(db, **settings):
    """Fill a file with some of everything; return the state that is in it."""
    async with an_emulator(db, Responded(500), **settings) as emulator:
        engine = emulator.tenants.engines[0]
        engine.publish(
            [
                a_publish(body=b"x" * 3000, options=Options(retries=0)),
                a_publish(delay_ms=3_600_000, deduplication_id="once"),
                a_publish(queue_name="emails", header=("X-A", "1")),
                a_publish(options=Options(flow_control=FlowControl(key="k", rate=1))),
            ]
        )
        engine.schedules.put(a_publish(body=b"daily"), "0 0 * * *", "daily")
        engine.rotate_keys()
        await emulator.tenants.advance(T0 + 1)
        return state_of(engine)


def changed(db, *statements):
    """Change a file as somebody with SQLite could."""
    connection = sqlite3.connect(db)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def refusal(db):
    """What a start with a file says."""
    with pytest.raises(JournalError) as caught, restored(db):
        pass
    return caught.value


def count(db, table):
    """How many rows a table has at this moment."""
    connection = sqlite3.connect(db)
    ((rows,),) = connection.execute(f"SELECT count(*) FROM {table}")
    connection.close()
    return rows


# Opening


async def test_a_new_file_is_made_for_its_owner_alone(db):
    with restored(db) as emulator:
        assert emulator.tenants.counts() == (0, 0, 0)

    assert db.stat().st_mode & 0o077 == 0


def test_a_file_says_whose_it_is_before_anything_else_is_in_it(db):
    with restored(db):
        header = db.read_bytes()[:100]

    assert header[68:72] == b"qemu"
    assert header[60:64] == bytes([0, 0, 0, schema.VERSION])


def test_nothing_lies_beside_a_file_that_was_closed(db):
    with restored(db):
        pass

    assert list(db.parent.iterdir()) == [db]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (".", "can't be opened: it is a folder"),
        ("nowhere/qemu.db", "can't be opened: it is in a folder that isn't there"),
    ],
)
def test_what_cannot_be_a_file_is_refused(tmp_path, name, reason):
    assert refusal(tmp_path / name).reason == reason


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    tmp_path.chmod(0o500)
    # Root may write there all the same; but not even root makes a file in /proc.
    folder = tmp_path if os.geteuid() else Path("/proc/self")

    assert refusal(folder / "qemu.db").reason.startswith("can't be locked")


async def test_a_file_of_a_newer_qemu_is_refused_and_left_alone(db):
    await filled(db)
    changed(db, f"PRAGMA user_version = {schema.VERSION + 1}")
    before = db.read_bytes()

    error = refusal(db)

    assert isinstance(error, JournalTooNew)
    assert (error.found, error.supported) == (schema.VERSION + 1, schema.VERSION)
    assert db.read_bytes() == before


def test_a_database_of_another_program_is_refused_and_left_alone(db):
    changed(db, "CREATE TABLE theirs (x)")
    before = db.read_bytes()

    error = refusal(db)

    assert isinstance(error, JournalCorrupt)
    assert error.found == "the SQLite database of another program"
    assert db.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_left_alone(db):
    db.write_text("Dear diary, " * 100)
    before = db.read_bytes()

    assert isinstance(refusal(db), JournalCorrupt)
    assert db.read_bytes() == before


def test_a_schema_that_never_was_is_refused(db):
    with restored(db):
        pass
    changed(db, "PRAGMA user_version = 0")

    assert "schema 0 never was" in str(refusal(db))


# The lock


def test_the_second_user_learns_who_is_the_first(db):
    with restored(db):
        error = refusal(db)

    assert isinstance(error, JournalLocked)
    assert (error.pid, error.url) == (os.getpid(), NOWHERE)
    assert str(error) == f"{db}: in use by process {os.getpid()} ({NOWHERE})"


HOLDER = """
import sys
from pathlib import Path
from emulator.journal.lock import Lock
Lock(Path(sys.argv[1]), "qemu.db").acquire("http://127.0.0.1:8080")
print("locked", flush=True)
sys.stdin.read()
"""


def test_what_a_killed_process_leaves_behind_locks_nobody_out(db):
    command = [sys.executable, "-c", HOLDER, str(db)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as holder:
        assert holder.stdout.readline() == "locked\n"
        error = refusal(db)
        holder.kill()

    assert isinstance(error, JournalLocked)
    assert (error.pid, error.url) == (holder.pid, "http://127.0.0.1:8080")
    with restored(db):
        pass


@pytest.mark.parametrize("text", [b"", b"[" * 999, b"[1]", b'{"pid":"x","url":1}'])
def test_a_lock_that_does_not_say_whose_it_is_locks_all_the_same(db, text):
    lock = Lock(db, "qemu.db")
    lock.acquire(NOWHERE)
    db.with_name("qemu.db-lock").write_bytes(text)

    with pytest.raises(JournalLocked, match="in use by another process") as caught:
        Lock(db, "qemu.db").acquire(NOWHERE)

    assert caught.value.pid is None
    lock.release()


def test_a_lock_is_given_back(db):
    for _ in range(2):
        lock = Lock(db, "qemu.db")
        lock.acquire(NOWHERE)
        lock.release()

    lock.release()  # once more: there is nothing to give back
    assert not db.with_name("qemu.db-lock").exists()


# Damage


async def test_a_torn_write_ahead_log_gives_what_was_written_before(db, tmp_path):
    """Whatever end of it is missing: there is a state that once was."""
    emulator = an_emulator(db)
    await emulator.start()
    engine = emulator.tenants.engines[0]
    messages = []
    for number in range(20):
        (((receipt),),) = engine.publish([a_publish(delay_ms=1000 + number)])
        messages.append(receipt.message_id)
        await emulator.tenants.journal.flushed()
    whole = copied(db, tmp_path / "copies")
    await emulator.stop(drain_s=0)
    log = whole.with_name(whole.name + "-wal").read_bytes()

    found = []
    for length in range(0, len(log), len(log) // 30):
        torn = tmp_path / f"torn-{length}.db"
        shutil.copy(whole, torn)
        torn.with_name(torn.name + "-wal").write_bytes(log[:length])
        with restored(torn) as again:
            lines = again.tenants.engines[0].waiting.lines()
        assert [line.split()[0] for line in lines] == messages[: len(lines)]
        found.append(len(lines))

    assert found == sorted(found)
    assert found[0] == 0
    assert found[-1] > 15


places = st.floats(0, 1, exclude_max=True)


class Source:
    """A file with some of everything, and the state in it."""

    def __init__(self, db, state):
        self.db, self.state = db, state


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    cut=st.none() | st.none() | places,
    bytes_changed=st.lists(st.tuples(places, st.integers(0, 255)), max_size=20),
)
def test_random_damage_gives_a_clear_error_or_a_whole_state(source, cut, bytes_changed):
    """Never a traceback, and nothing is lost in silence."""
    data = bytearray(source.db.read_bytes())
    for place, byte in bytes_changed:
        data[int(place * len(data))] = byte
    data = data[: None if cut is None else int(cut * len(data))]
    target = source.db.with_name("damaged.db")
    target.write_bytes(data)

    error, after = None, None
    try:
        with restored(target) as emulator:
            after = state_of(emulator.tenants.engines[0])
    except JournalError as caught:
        error = str(caught)

    if error is not None:
        assert str(target) in error
        assert "\n" not in error
    elif data:  # an empty file is a new one
        assert after == source.state


@pytest.fixture
async def source(tmp_path):
    db = tmp_path / "source.db"
    return Source(db, await filled(db))


DAMAGES = {
    "UPDATE messages SET body = 'x'": "message 1: a body is not bytes",
    "UPDATE messages SET body = x'00'": "message 1: it isn't what was written",
    "UPDATE messages SET value = x'00'": "message 1: a record is not a text",
    "UPDATE messages SET state = 'LOST'": "message 1: not a state",
    "DELETE FROM log WHERE sequence > 11": "and the log says",
    "UPDATE messages SET state = 'ERROR'": "ERROR is a state of the log alone",
    "UPDATE messages SET due_ms = 'soon'": "message 1: not a number",
    "UPDATE messages SET cancel_requested = 7": "cancelled, or not?",
    "UPDATE messages SET created_sequence = 99": "it isn't what was written",
    "DELETE FROM messages WHERE number = 1": "there is no message 1",
    "DELETE FROM log WHERE state = 'ERROR'": "the log has gaps",
    "UPDATE log SET outcome = '{'": "a record is not JSON",
    "UPDATE log SET message = 'x'": "there is no message x",
    "UPDATE dlq SET id = x'00'": "DLQ entry b'\\x00': not a text",
    "UPDATE dlq SET message = 77": "there is no message 77",
    "UPDATE schedules SET value = '{}'": "daily of schedules: publish is missing",
    "UPDATE queues SET value = '[]'": "emails of queues: a record is not an object",
    "UPDATE windows SET until_ms = 1": "a deduplication window: it isn't what",
    "UPDATE periods SET started = 7": "a period of flow control: it isn't what",
    "UPDATE facts SET value = '[]' WHERE name = 'keys'": "the fact keys: it isn't",
    "UPDATE facts SET value = 'x' WHERE name = 'runs'": "how often it was opened",
    "UPDATE users SET name = 'nobody' WHERE number = 1": "user 1: it isn't what",
    "UPDATE users SET number = 99 WHERE number = 1": "user 99: it isn't what",
    "UPDATE dlq SET user = 0": "dlq of user 0, who isn't there",
    "UPDATE schedules SET user = 9": "schedules of user 9, who isn't there",
    "UPDATE facts SET value = '1' WHERE name = 'clock'": "the fact clock: it isn't",
    "UPDATE facts SET user = 9 WHERE name = 'clock'": "the fact clock: it isn't",
    "INSERT INTO facts VALUES (1, 'log begins', '9', 0)": "the fact log begins: it",
    "UPDATE log SET time_ms = time_ms - 1": "log entry 4: it isn't what was written",
    "UPDATE dlq SET failed_at_ms = 1": "it isn't what was written",
    "UPDATE messages SET due_ms = due_ms + 1": "message 1: it isn't what was written",
    "UPDATE messages SET created_at_ms = 1": "message 1: it isn't what was written",
    "DROP TABLE windows": "no such table: windows",
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_each_damage_is_named(db, damage):
    await filled(db)
    changed(db, damage)

    error = refusal(db)

    assert isinstance(error, JournalCorrupt)
    assert DAMAGES[damage] in error.found


async def test_a_damaged_index_is_noticed(db):
    """SQLite's quick check doesn't hold it against its table."""
    await filled(db)
    data = db.read_bytes()
    indexed = rb"defaultUser|(?<=\x04\t\x19\t)emails|(?<=\x04\t\x17\t)daily"
    places = [match.start() for match in re.finditer(indexed, data)]

    for place in places:
        db.write_bytes(data[:place] + b"x" + data[place + 1 :])
        assert isinstance(refusal(db), JournalCorrupt)
    assert len(places) == 4


# What is forgotten


async def test_what_the_log_has_forgotten_leaves_the_file(db):
    async with an_emulator(db, max_log_entries=10, grace_ms=0) as emulator:
        engine = emulator.tenants.engines[0]
        for _ in range(400):
            engine.publish([a_publish()])
            await quiet()
        (waiting,) = engine.publish([a_publish(delay_ms=1000)])
        await emulator.tenants.advance(None, by_ms=1)
    connection = sqlite3.connect(db)
    ((messages,),) = connection.execute("SELECT count(*) FROM messages")
    ((entries,),) = connection.execute("SELECT count(*) FROM log")
    connection.close()

    assert messages < 300
    assert entries < 600
    with restored(db, max_log_entries=10) as again:
        engine = again.tenants.engines[0]
        assert engine.message(waiting[0].message_id)
        assert len(state_of(engine)["log"]) == 10


async def test_a_deleted_dlq_entry_that_the_log_has_forgotten_takes_its_message(db):
    async with an_emulator(db, Responded(500), max_log_entries=1) as emulator:
        engine = emulator.tenants.engines[0]
        for _ in range(3):  # so that what the first ones logged is tidied away
            engine.publish([a_publish(options=Options(retries=0))] * 300)
            await emulator.tenants.advance(None, by_ms=3_600_000)
        await emulator.tenants.journal.flushed()
        before = count(db, "messages")
        entries = state_of(engine)["dlq"]
        engine.dlq.delete(entries)
        await emulator.tenants.journal.flushed()
        after = count(db, "messages")

    assert before - after == len(entries) > 0


async def test_a_file_that_is_mostly_empty_is_made_smaller_at_the_start(db):
    async with an_emulator(db) as emulator:
        engine = emulator.tenants.engines[0]
        engine.publish([a_publish(body=b"x" * 40_000_000, delay_ms=1000)])
        await emulator.tenants.journal.flushed()
        emulator.tenants.reset()
    large_bytes = db.stat().st_size

    with restored(db):
        pass

    assert large_bytes > 40_000_000
    assert db.stat().st_size < 1_000_000


async def test_a_write_ahead_log_that_was_large_is_made_small_again(db):
    log = db.with_name("qemu.db-wal")
    async with an_emulator(db) as emulator:
        engine = emulator.tenants.engines[0]
        engine.publish([a_publish(body=b"x" * 20_000_000, delay_ms=1000)])
        await emulator.tenants.journal.flushed()
        large_bytes = log.stat().st_size
        engine.publish([a_publish()])
        await emulator.tenants.journal.flushed()
        small_bytes = log.stat().st_size

    assert large_bytes > 20_000_000
    assert small_bytes < 17_000_000


def test_the_history_is_for_people(db):
    file = JournalFile(str(db))
    file.open(NOWHERE)
    file.close(None)
    connection = sqlite3.connect(db)
    cursor = connection.execute("SELECT * FROM history")
    columns = [column[0] for column in cursor.description]
    connection.close()

    assert columns[:6] == ["user", "sequence", "time_ms", "state", "message_id", "url"]
