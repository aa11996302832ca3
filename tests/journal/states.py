"""All that can be asked of an emulator's state, and ways to look at it twice."""

from __future__ import annotations

import shutil
from contextlib import contextmanager

from emulator import Emulator, Settings
from emulator.core.filters import LogQuery, parse_dlq_query
from emulator.core.flow import started_in_period
from emulator.core.model import State
from emulator.errors import NotFound
from tests.doubles import T0, ScriptedTransport

NOWHERE = "http://127.0.0.1:1"
"""Where a journal's user says that it serves."""


def an_emulator(db, *script, transport=None, **settings):
    """An emulator at T0 that keeps its state in a file; with ``None``, in memory."""
    fields = {"clock": "virtual", "start_time_ms": T0, "seed": 1, "port": 0}
    return Emulator(
        Settings(db=db and str(db), **{**fields, **settings}),
        transport=transport or ScriptedTransport(*([script] if script else [])),
    )


def state_of(engine, *, with_lines=True):
    """Everything that the engine's verbs show, in order.

    With ``with_lines`` also what each message waits for: its place in every line.
    """
    now_ms = engine.now_ms
    entries, _ = engine.logs(LogQuery(count=10**6, latest_first=False))
    ids = dict.fromkeys(entry.message.message_id for entry in entries)
    return {
        "log": entries,
        # It holds the sequence number of the first entry.
        "cursor": engine.logs(LogQuery(count=1, latest_first=False))[1],
        "messages": [message_of(engine, message_id) for message_id in ids],
        "pending": engine.pending,
        "dlq": list(engine.dlq.list(parse_dlq_query({}))[0]),
        "queues": engine.queues.list(),
        "url groups": engine.url_groups.list(),
        "schedules": engine.schedules.list(),
        "flow control": [
            (view.key, started_in_period(view.key, view.usage, now_ms))
            for view in engine.flow_control.list()
        ],
        "keys": engine.keys,
        "lines": engine.waiting.lines() if with_lines else None,
    }


def message_of(engine, message_id):
    try:
        return engine.message(message_id)
    except NotFound:
        return None


def copied(db, folder, number=0):
    """Copy a file as a crash at this moment would leave it."""
    folder.mkdir(exist_ok=True)
    target = folder / f"copy-{number}.db"
    for suffix in ("", "-wal"):
        if db.with_name(db.name + suffix).exists():
            shutil.copy(f"{db}{suffix}", f"{target}{suffix}")
    return target


@contextmanager
def restored(db, **settings):
    """An emulator that has read a file, and does nothing with what it found."""
    emulator = an_emulator(db, **settings)
    emulator.tenants.journal.open(NOWHERE)
    try:
        emulator.clock.begin(emulator.tenants.journal.last_instant_ms())
        emulator.tenants.restore()
        yield emulator
    finally:
        emulator.tenants.journal.close()


def states_of(engine, message_id):
    """What the log says of a message, oldest first."""
    entries, _ = engine.logs(LogQuery(count=10**6, latest_first=False))
    return [entry.state for entry in entries if entry.message.message_id == message_id]


def final_states(engine):
    """How each message ended."""
    entries, _ = engine.logs(LogQuery(count=10**6, latest_first=False))
    return {
        entry.message.message_id: entry.state
        for entry in entries
        if entry.state in (State.DELIVERED, State.FAILED, State.CANCELLED)
    }
