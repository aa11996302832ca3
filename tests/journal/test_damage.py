"""What a kill leaves is damaged: nothing is lost in silence.

A killed process leaves the file, its write-ahead log and the log's index. Whatever
happens to one of them, the next start gives back all that was acknowledged; or a state
that once was, and says up to when; or refuses in one sentence.
"""

import logging
import struct
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from emulator.core.model import Options, Responded
from emulator.errors import JournalCorrupt, JournalError
from emulator.journal import file as journal_file
from emulator.journal.wal import Extent, found_extent, left_extent
from tests.doubles import a_publish
from tests.journal.states import an_emulator, restored, state_of

SUFFIXES = ("", "-wal", "-shm")

STEPS = 8


class Left:
    """What a process left that was killed, and all states that it had acknowledged."""

    def __init__(self, folder, files, states):
        self.folder, self.files, self.states = folder, files, states

    def laid_out(self, damaged=None, data=None):
        """Write it to a folder, with other data in one of the files; ``None``: gone."""
        for path in self.folder.iterdir():
            path.unlink()
        for suffix, whole in self.files.items():
            content = data if suffix == damaged else whole
            if content is not None:
                (self.folder / f"qemu.db{suffix}").write_bytes(content)
        return self.folder / "qemu.db"


async def lived(folder, *, checkpoint_after=None):
    """Acknowledge some of everything, one step after the other, and be killed."""
    source = folder / "source.db"
    emulator = an_emulator(source, Responded(500))
    await emulator.start()
    engine = emulator.tenants.engines[0]
    journal = emulator.tenants.journal
    states = [state_of(engine, with_lines=False)]
    for number in range(STEPS):
        engine.publish(
            [
                a_publish(body=b"x" * 3000, options=Options(retries=0)),
                a_publish(delay_ms=3_600_000, queue_name="emails"),
            ]
        )
        engine.schedules.put(a_publish(body=b"daily"), "0 0 * * *", f"daily-{number}")
        await emulator.tenants.advance(None, by_ms=1)
        await journal.flushed()
        states.append(state_of(engine, with_lines=False))
        if number == checkpoint_after:
            journal._file._execute("PRAGMA wal_checkpoint(PASSIVE)")
    files = {
        suffix: source.with_name(source.name + suffix).read_bytes()
        for suffix in SUFFIXES
    }
    await emulator.stop(drain_s=0)
    target = folder / "left"
    target.mkdir()
    return Left(target, files, states)


@pytest.fixture
async def left(tmp_path):
    return await lived(tmp_path)


class Told(logging.Handler):
    """What people are told meanwhile."""

    def __init__(self):
        super().__init__()
        self.texts = []

    def emit(self, record):
        self.texts.append(record.getMessage())

    def __enter__(self):
        logging.getLogger("emulator.journal").addHandler(self)
        return self

    def __exit__(self, *error):
        logging.getLogger("emulator.journal").removeHandler(self)


def started(db):
    """Start with a file: return the state, what people are told, and the refusal."""
    with Told() as told:
        try:
            with restored(db) as emulator:
                state = state_of(emulator.tenants.engines[0], with_lines=False)
        except JournalError as error:
            return None, told.texts, str(error)
    return state, told.texts, None


def assert_nothing_is_lost_in_silence(left, db):
    state, told, refusal = started(db)

    if refusal is not None:
        assert refusal.startswith(f"{db}: ")
        assert "\n" not in refusal
        return
    whole = state == left.states[-1]
    if not told:
        assert whole
    else:
        (text,) = told
        assert text.startswith(f"{db}: the end of its write-ahead log is damaged")
        assert not whole
        log = left.states[-1]["log"]
        assert state["log"] == log[: len(state["log"])]


def test_what_a_kill_leaves_is_whole(left):
    state, told, refusal = started(left.laid_out())

    assert (told, refusal) == ([], None)
    assert state == left.states[-1]


places = st.floats(0, 1, exclude_max=True)


@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    suffix=st.sampled_from(["", "-wal", "-wal", "-shm"]),
    how=st.sampled_from(["cut", "flip", "zero"]),
    place=places,
    bit=st.integers(0, 7),
)
@example("", "cut", 0.0, 0)
@example("-wal", "cut", 0.0, 0)
@example("-wal", "zero", 0.0, 0)
@example("-wal", "flip", 0.00003, 0)
def test_whatever_is_damaged_nothing_is_lost_in_silence(left, suffix, how, place, bit):
    data = bytearray(left.files[suffix])
    at = int(place * len(data))
    match how:
        case "cut":
            del data[at:]
        case "flip":
            data[at] ^= 1 << bit
        case "zero":
            data[at : at + 512] = bytes(len(data[at : at + 512]))

    assert_nothing_is_lost_in_silence(left, left.laid_out(suffix, bytes(data)))


def test_a_log_that_is_gone_is_missed(left):
    db = left.laid_out("-wal", None)

    state, told, refusal = started(db)

    assert refusal is None
    assert "is lost" in told[0]
    assert told[0].endswith("missing: all that was written is lost")
    assert state["log"] == []  # nothing had been taken over yet


def test_people_learn_up_to_when_it_goes(left):
    data = left.files["-wal"]

    state, told, refusal = started(left.laid_out("-wal", data[: len(data) // 2]))

    assert refusal is None
    last_ms = max(entry.time_ms for entry in state["log"])
    last = datetime.fromtimestamp(last_ms / 1000, UTC).isoformat(
        timespec="milliseconds"
    )
    assert told[0].endswith(f": what was written after {last} is lost")


def test_a_log_whose_index_is_gone_too_is_read_itself(left):
    """Its frames say that there was more than its checksums cover."""
    data = bytearray(left.files["-wal"])
    data[len(data) // 2] ^= 1
    db = left.laid_out("-wal", bytes(data))
    db.with_name("qemu.db-shm").unlink()

    _, told, refusal = started(db)

    assert refusal is None
    assert "is lost" in told[0]


def test_a_log_that_ends_in_the_middle_of_a_change_is_whole(left):
    """The process was killed while it wrote: nobody has been told of that change."""
    frame = left.files["-wal"][32:][: 24 + 4096]
    torn = struct.pack(">II", 1, 0) + frame[8:100]
    db = left.laid_out("-wal", left.files["-wal"] + torn)

    state, told, refusal = started(db)

    assert (told, refusal) == ([], None)
    assert state == left.states[-1]


def test_a_file_that_was_emptied_beside_its_log_is_refused(left):
    db = left.laid_out("", b"")

    error = started(db)[2]

    assert "empty, and its write-ahead log isn't" in error
    assert db.with_name("qemu.db-wal").read_bytes() == left.files["-wal"]


def test_a_file_that_was_removed_begins_anew(left):
    state, told, refusal = started(left.laid_out("", None))

    assert (told, refusal) == ([], None)
    assert state["log"] == []


async def test_a_log_that_the_file_has_taken_over_is_not_missed(tmp_path):
    left = await lived(tmp_path, checkpoint_after=STEPS - 1)

    state, told, refusal = started(left.laid_out("-wal", None))

    assert (told, refusal) == ([], None)
    assert state == left.states[-1]


async def test_a_log_shorter_than_what_the_file_has_taken_over_is_refused(
    tmp_path, monkeypatch
):
    """Its pages are older than those of the file, which they would hide."""
    left = await lived(tmp_path)
    log = left.files["-wal"]
    monkeypatch.setattr(
        journal_file.wal, "left_extent", lambda file: Extent(10_000, 9_000)
    )
    db = left.laid_out("-wal", log)

    with (
        pytest.raises(JournalCorrupt, match="write-ahead log doesn't fit"),
        restored(db),
    ):
        pass


# How far a log goes


def test_the_index_and_the_log_say_the_same(left):
    db = left.laid_out()

    by_index = left_extent(db)
    db.with_name("qemu.db-shm").unlink()
    by_log = left_extent(db)

    assert by_index == by_log
    assert by_index.frames == (len(left.files["-wal"]) - 32) // (24 + 4096)


@pytest.mark.parametrize("places", [(0,), (16,), (47,), (50,), (16, 64)])
def test_a_damaged_index_says_nothing(left, places):
    """It stands there twice, each with a checksum."""
    data = bytearray(left.files["-shm"])
    for place in places:
        data[place] ^= 1
    db = left.laid_out("-shm", bytes(data))

    assert found_extent(db) == Extent(0)
    # The log itself says it.
    assert left_extent(db).frames > 0


def test_the_index_of_another_log_does_not_count(left):
    log = bytearray(left.files["-wal"])
    db = left.laid_out("-wal", bytes(log[: 32 + 24 + 4096]))
    # Another process has begun the log anew.
    head = log[:16] + bytes(8)
    db.with_name("qemu.db-wal").write_bytes(
        head + checksum_of(head, log) + log[32 : 32 + 24 + 4096]
    )

    assert left_extent(db) == Extent(0)


def checksum_of(head, log):
    """SQLite's checksum of a log's head, as it writes it."""
    order = ">" if log[3] & 1 else "<"
    first = second = 0
    words = struct.unpack(f"{order}6I", head)
    for one, other in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) % 2**32
        second = (second + other + first) % 2**32
    return struct.pack(">II", first, second)


def test_where_nothing_lies_nothing_is_missed(tmp_path):
    assert left_extent(tmp_path / "qemu.db") == Extent(0)
    assert found_extent(tmp_path / "qemu.db") == Extent(0)


def test_a_log_without_an_index_that_nobody_can_read_is_missed(tmp_path):
    db = tmp_path / "qemu.db"
    db.with_name("qemu.db-wal").write_bytes(b"?" * 33)

    assert left_extent(db).frames == 1


def test_a_log_that_only_begins_is_not_missed(tmp_path):
    db = tmp_path / "qemu.db"
    db.with_name("qemu.db-wal").write_bytes(b"?" * 32)

    assert left_extent(db) == Extent(0)
