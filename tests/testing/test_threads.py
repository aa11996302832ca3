"""emulator/testing/threads.py: a loop of its own."""

import asyncio
import threading

import pytest

from emulator.testing.threads import LoopThread


@pytest.fixture
def thread():
    started = LoopThread("test")
    yield started
    started.stop()


async def name_of_thread():
    return threading.current_thread().name


def test_a_coroutine_runs_in_the_thread_and_its_result_comes_back(thread):
    assert thread.run(name_of_thread()) == "test"
    assert threading.current_thread().name != "test"


def test_an_exception_comes_back_too(thread):
    async def fail():
        raise KeyError("a")

    with pytest.raises(KeyError):
        thread.run(fail())
    with pytest.raises(ZeroDivisionError):
        thread.call(lambda: 1 // 0)


def test_a_function_is_called_between_two_steps_of_the_loop(thread):
    assert thread.call(lambda: thread.is_current)
    assert not thread.is_current


def test_the_thread_does_not_wait_for_itself(thread):
    async def wait():
        return thread.run(name_of_thread())

    with pytest.raises(RuntimeError, match="wait for ever"):
        thread.run(wait())
    with pytest.raises(RuntimeError, match="wait for ever"):
        thread.call(lambda: thread.call(print))


def test_what_is_left_is_cancelled_at_the_end():
    cancelled = threading.Event()
    thread = LoopThread("test")

    async def wait():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    thread.call(lambda: asyncio.ensure_future(wait()))
    thread.call(lambda: None)
    thread.stop()

    assert cancelled.is_set()
