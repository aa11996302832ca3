"""The API with a file behind it: an answer means that what it says is written."""

import sqlite3

import pytest

from emulator.cli.client import ask_health
from emulator.errors import JournalError
from tests.journal.states import NOWHERE, an_emulator
from tests.journal.test_journal import fill, make_room
from tests.web.test_client import serve


@pytest.fixture
def db(tmp_path):
    return tmp_path / "qemu.db"


DELAYED = [("Upstash-Delay", "1m")]


def messages_in(db):
    connection = sqlite3.connect(db)
    ((count,),) = connection.execute("SELECT count(*) FROM messages")
    connection.close()
    return count


async def test_a_publish_is_answered_when_it_is_written(db):
    async with serve(db=str(db)) as api:
        await api.publish(headers=DELAYED)

        assert messages_in(db) == 1


async def test_what_cannot_be_written_is_answered_503_and_not_there(db):
    async with serve(db=str(db)) as api:
        fill(api.emulator)

        answer = await api.post(
            "/v2/publish/http://a.example", headers=DELAYED, body=b"x" * 100_000
        )
        at_once = await api.post("/v2/publish/http://a.example", headers=DELAYED)
        reading = await api.get("/v2/logs")

        assert (answer.status, at_once.status) == (503, 503)
        assert answer.json["error"].startswith("nothing was changed: ")
        assert "database or disk is full" in at_once.json["error"]
        assert reading.status == 200

        make_room(api.emulator)
        api.emulator.tenants.journal.probe()
        await api.publish(headers=DELAYED)

        assert messages_in(db) == 1


async def test_a_file_in_use_ends_the_start_and_frees_the_address(db):
    async with serve(db=str(db)):
        other = an_emulator(db)
        with pytest.raises(JournalError):
            await other.start()

        # Nobody listens where it would have served.
        assert ask_health(other.url, timeout_s=1.0) is None
        assert other.url != NOWHERE
