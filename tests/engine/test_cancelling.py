"""emulator/engine/cancelling.py: many messages are cancelled in slices."""

from __future__ import annotations

import pytest

from emulator import Emulator, Settings
from emulator.core.filters import MessageSelection, parse_message_selection
from emulator.engine import cancelling
from emulator.engine.engine import Engine
from emulator.engine.slices import at_once
from tests.doubles import T0, ScriptedTransport, a_publish


@pytest.fixture(autouse=True)
def slices_of_ten(monkeypatch):
    monkeypatch.setattr(cancelling, "_SLICE", 10)


def an_engine(pending: int) -> tuple[Engine, list[str]]:
    emulator = Emulator(
        Settings(clock="virtual", start_time_ms=T0, seed=1),
        transport=ScriptedTransport(),
    )
    engine = emulator.tenants.engines[0]
    receipts = engine.publish([a_publish(delay_ms=1000)] * pending)
    return engine, [own[0].message_id for own in receipts]


def pending(engine: Engine) -> list[str]:
    return [line.split()[0] for line in engine.waiting.lines()]


def test_all_are_cancelled_however_many_slices_it_takes():
    """MSG-23."""
    engine, _ = an_engine(35)

    assert engine.cancel_selected(MessageSelection()) == 35
    assert engine.pending == 0


@pytest.mark.parametrize("count", [1, 9, 10, 11, 35, 40])
def test_the_oldest_are_cancelled_up_to_a_count(count):
    """MSG-27, MSG-28."""
    engine, message_ids = an_engine(35)

    assert engine.cancel_selected(MessageSelection(count=count)) == min(count, 35)
    assert pending(engine) == message_ids[count:]


def test_those_with_the_ids_are_cancelled_once_each():
    """MSG-22."""
    engine, message_ids = an_engine(35)
    chosen = message_ids[::2] * 2
    selection = parse_message_selection({"messageIds": chosen})

    assert engine.cancel_selected(selection) == 18
    assert pending(engine) == message_ids[1::2]


def test_what_comes_or_goes_meanwhile_is_left_alone():
    engine, message_ids = an_engine(25)
    work = engine.cancel_in_slices(MessageSelection())

    next(work)
    engine.cancel(message_ids[20])
    ((receipt,),) = engine.publish([a_publish(delay_ms=1000)])

    assert at_once(work) == 24
    assert pending(engine) == [receipt.message_id]
