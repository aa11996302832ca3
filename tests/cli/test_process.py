"""The process around an emulator."""

import asyncio
import errno
import gc
import io
import logging
import os
import signal

import pytest

from emulator.cli.process import (
    Stop,
    cannot_write,
    collector_paused,
    configure_logging,
    give_up_if_broken,
    heed_reader,
    heed_signals,
    is_unwritable,
    say_descriptors_are_out,
    spare_the_collector,
    watch_logger,
)
from emulator.web.request_log import REQUEST_LOGGER

# Signals and streams


@pytest.fixture
def restored_signals():
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "stop"),
    [
        (signal.SIGINT, Stop.INTERRUPT),
        (signal.SIGTERM, Stop.TERMINATE),
        (signal.SIGHUP, Stop.HANGUP),
    ],
)
async def test_a_signal_asks_for_a_stop(restored_signals, number, stop):
    asked = asyncio.Queue()
    heed_signals(asked.put_nowait)
    os.kill(os.getpid(), number)

    assert await asyncio.wait_for(asked.get(), 5) is stop


async def test_nohup_is_respected(restored_signals):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    heed_signals(lambda stop: None)

    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


async def test_a_loop_without_signal_handlers_is_asked_from_outside(
    restored_signals, monkeypatch
):
    def missing(*args):
        raise NotImplementedError

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "add_signal_handler", missing)
    monkeypatch.delattr(signal, "SIGHUP")
    asked = asyncio.Queue()
    heed_signals(asked.put_nowait)
    os.kill(os.getpid(), signal.SIGTERM)

    assert await asyncio.wait_for(asked.get(), 5) is Stop.TERMINATE


async def test_a_pipe_whose_reader_leaves_asks_for_a_stop():
    reading, writing = os.pipe()
    asked = asyncio.Queue()
    with os.fdopen(writing, "w") as stream:
        heed_reader(stream, asked.put_nowait)
        await asyncio.sleep(0)
        assert asked.empty()
        os.close(reading)

        assert await asyncio.wait_for(asked.get(), 5) is Stop.UNREAD


@pytest.mark.parametrize("new_loop", ["asyncio", "uvloop"])
def test_a_pipe_that_is_watched_still_waits_for_its_reader(new_loop):
    loops = pytest.importorskip(new_loop)
    text = "x" * 1_000_000  # far more than a pipe holds
    reading, writing = os.pipe()
    asked = []

    async def write_all():
        with os.fdopen(writing, "w") as stream:
            heed_reader(stream, asked.append)
            await asyncio.to_thread(stream.write, text)

    async def read_all():
        with os.fdopen(reading) as stream:
            return await asyncio.to_thread(stream.read)

    async def both():
        async with asyncio.timeout(20):
            return (await asyncio.gather(read_all(), write_all()))[0]

    with asyncio.Runner(loop_factory=loops.new_event_loop) as runner:
        assert runner.run(both()) == text


async def test_what_is_no_pipe_is_not_watched(tmp_path):
    asked = asyncio.Queue()
    with (tmp_path / "log").open("w") as file:
        for stream in (None, io.StringIO(), file):
            heed_reader(stream, asked.put_nowait)
        await asyncio.sleep(0)

    assert asked.empty()


def test_a_stream_that_nobody_reads_is_given_up():
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w")
    stream.write("lost")
    give_up_if_broken(stream)

    stream.write("into nothing")
    stream.close()


def test_a_good_stream_and_a_missing_one_are_left_alone():
    stream = io.StringIO()
    give_up_if_broken(None)
    give_up_if_broken(stream)

    assert not stream.closed


def test_a_full_disk_is_an_error_and_a_reader_that_leaves_is_none():
    full = OSError(errno.ENOSPC, "No space left on device")

    assert is_unwritable(full)
    assert not is_unwritable(BrokenPipeError(errno.EPIPE, "Broken pipe"))
    assert cannot_write(full).message == (
        "can't write the output: No space left on device"
    )


# Warnings


@pytest.fixture
def root_logger():
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield root
    root.setLevel(level)
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)


def broken():
    try:
        raise RuntimeError("the reason")
    except RuntimeError:
        logging.getLogger("emulator.x").exception("it broke:\x1b %s", "here")


def test_a_warning_is_one_line_without_a_traceback(root_logger, capsys):
    configure_logging(0, quiet=False)
    broken()
    logging.getLogger("emulator.x").warning("beware")
    logging.getLogger("emulator.x").info("not shown")

    assert capsys.readouterr().err == "error: it broke:\\x1b here\nwarning: beware\n"


def test_quiet_shows_errors_alone(root_logger, capsys):
    configure_logging(0, quiet=True)
    logging.getLogger("emulator.x").warning("beware")
    broken()

    assert capsys.readouterr().err == "error: it broke:\\x1b here\n"


def test_very_verbose_shows_everything_with_logger_names(root_logger, capsys):
    configure_logging(2, quiet=False)
    logging.getLogger("emulator.x").debug("detail")
    broken()
    err = capsys.readouterr().err

    assert "DEBUG emulator.x: detail" in err
    assert "RuntimeError: the reason" in err


def test_what_is_noted_is_not_logged_a_second_time(root_logger, capsys):
    requests = logging.getLogger(REQUEST_LOGGER)
    noted = []
    configure_logging(2, quiet=False)
    watch_logger(REQUEST_LOGGER, lambda record: noted.append(record.getMessage()))
    try:
        assert requests.isEnabledFor(logging.INFO)
        requests.info("%s", "GET /v2/keys 200 1 ms")
    finally:
        requests.handlers.clear()
        requests.propagate = True
        requests.setLevel(logging.NOTSET)

    assert noted == ["GET /v2/keys 200 1 ms"]
    assert capsys.readouterr().err == ""


# The collector


@pytest.fixture
def restored_collector():
    threshold = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)


def test_no_garbage_is_collected_in_a_pause_until_it_is_asked_to_be_rare(
    restored_collector,
):
    with collector_paused():
        paused = gc.isenabled()
        spare_the_collector()
        spared = gc.isenabled()

    assert (paused, spared, gc.isenabled()) == (False, True, True)


def test_a_pause_ends_with_an_error():
    with pytest.raises(KeyError), collector_paused():
        raise KeyError

    assert gc.isenabled()


def test_what_has_been_imported_is_not_looked_at_again(restored_collector):
    spare_the_collector()

    assert gc.get_freeze_count() > 0
    assert gc.get_threshold()[0] == 10_000
    assert gc.isenabled()


# Descriptors


async def test_a_lack_of_descriptors_is_said_once_and_what_to_do(caplog):
    loop = asyncio.get_running_loop()
    try:
        say_descriptors_are_out()
        for _ in range(20):
            error = OSError(errno.EMFILE, "Too many open files")
            loop.call_exception_handler({"message": "out", "exception": error})
    finally:
        loop.set_exception_handler(None)

    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("no file descriptor is left (Too many open files): ")
    assert "ulimit -n" in line


async def test_what_else_goes_wrong_in_the_event_loop_is_told_as_ever(caplog):
    loop = asyncio.get_running_loop()
    try:
        say_descriptors_are_out()
        for error in (OSError(errno.EPERM, "no"), None):
            loop.call_exception_handler({"message": "broke", "exception": error})
    finally:
        loop.set_exception_handler(None)

    assert [record.name for record in caplog.records] == ["asyncio"] * 2
