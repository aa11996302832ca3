"""emulator/pytest_plugin.py, from outside: each run is a process of its own."""

import pytest

pytest_plugins = "pytester"

INI = """
[pytest]
filterwarnings = error
addopts = --strict-markers --strict-config
"""

HEAD = """
import json
import os
import pytest
from urllib.request import Request, urlopen

def publish(url, value=None, **headers):
    request = Request(f"{os.environ['QSTASH_URL']}/v2/publish/{url}")
    request.data = json.dumps(value).encode()
    request.method = "POST"
    request.add_header("Authorization", f"Bearer {os.environ['QSTASH_TOKEN']}")
    for name, value in headers.items():
        request.add_header("Upstash-" + name.replace("_", "-"), value)
    with urlopen(request, timeout=10) as response:
        return json.load(response)["messageId"]
"""


@pytest.fixture
def run(pytester, monkeypatch):
    """Run the tests of a module as pytest's own process, without our settings."""
    monkeypatch.setenv("NO_COLOR", "1")
    # Starting all the plugins of this environment takes longer than the tests.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(tests, *options, ini="", conftest=""):
        pytester.makeini(INI + ini)
        pytester.makeconftest(conftest)
        pytester.makepyfile(HEAD + tests)
        return pytester.runpytest_subprocess("-p", "emulator.pytest_plugin", *options)

    return run


def text(result):
    return result.stdout.str()


def test_the_fixture_is_ready_to_use_and_all_is_as_before_afterwards(run, monkeypatch):
    """ENV-1: the variables that the SDKs read; QSTASH_DEV would lead them elsewhere."""
    monkeypatch.setenv("QSTASH_URL", "http://mine")
    monkeypatch.setenv("QSTASH_DEV", "true")
    result = run(
        """
        def test_order_is_confirmed(qemu):
            hook = qemu.endpoint("/hook", status=[500, 500, 200])
            publish(hook.url, {"order": 1})
            qemu.advance("10m")

            assert [request.json() for request in hook.requests] == [{"order": 1}] * 3
            assert not qemu.dlq

        def test_it_is_set_and_fresh(qemu):
            assert "QSTASH_DEV" not in os.environ
            assert {name: os.environ[name] for name in qemu.env} == qemu.env
            assert qemu.published == []
            assert qemu.is_virtual
            assert qemu.emulator.settings.port == 0

        def test_without_the_fixture_nothing_is_touched():
            assert os.environ["QSTASH_URL"] == "http://mine"
            assert os.environ["QSTASH_DEV"] == "true"
        """.replace("\n        ", "\n")
    )

    result.assert_outcomes(passed=3)


def test_a_failure_s_report_has_the_message_timeline_and_the_app_s_traceback(run):
    result = run(
        """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    raise KeyError("no such order")

def test_fails(qemu):
    qemu.mount("http://app.test", app)
    publish("http://app.test/hook", retries="1")
    qemu.run_until_idle()
    qemu.assert_delivered("http://app.test/hook")

def test_passes(qemu):
    publish(qemu.endpoint().url)
""",
        ini="qemu_start_time = 2027-03-28T00:30Z",
    )

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "E*expected a delivery with url='http://app.test/hook', success; nearest*",
            "E*<http://app.test/hook 500, retried 0>*",
            "*- qemu -*",
            "2027-03-28 UTC",
            "00:30:00.000  CREATED    msg_*POST app.test/hook",
            '00:30:00.000  ERROR      msg_*  500 in 0 ms: "Internal Server Error"',
            "00:30:00.000  RETRY      msg_*  delivery 2 of 2 in 12 s",
            "00:30:12.182  ERROR      msg_*",
            "00:30:12.182  FAILED     msg_*  in the DLQ as *",
            "now: 2027-03-28T00:30:12.182+00:00",
            "POST http://app.test/hook raised:",
            "KeyError: 'no such order'",
        ]
    )
    assert text(result).count("- qemu -") == 1
    assert "emulator/testing/assertions.py" not in text(result)


def test_a_message_left_in_the_dlq_unseen_fails_the_test_at_teardown(run):
    result = run(
        """
def fail(qemu):
    publish(qemu.endpoint("/hook", status=500).url, retries="0")

def test_unseen(qemu):
    fail(qemu)

def test_seen(qemu):
    fail(qemu)
    assert len(qemu.dlq) == 1

@pytest.mark.qemu(strict=False)
def test_not_strict(qemu):
    fail(qemu)

def test_that_fails_anyway(qemu):
    fail(qemu)
    assert False
"""
    )

    result.assert_outcomes(passed=3, failed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*ERROR at teardown of test_unseen*",
            "qemu, strict:",
            "  left in the DLQ, and nobody looked: <POST http://*/hook: 500*",
            "Look at qemu.dlq in the test*",
            "*- qemu -*",
            "*FAILED     msg_*  in the DLQ as *",
        ]
    )


def test_strictness_is_turned_off_for_all(run):
    result = run(
        """
def test_unseen(qemu):
    publish(qemu.endpoint("/hook", status=500).url, retries="0")

@pytest.mark.qemu(strict=True)
def test_strict(qemu):
    publish(qemu.endpoint("/hook", status=500).url, retries="0")
""",
        ini="qemu_strict = false",
    )

    result.assert_outcomes(passed=2, errors=1)


def test_a_call_of_the_real_qstash_fails_even_if_the_app_swallows_it(run):
    result = run(
        """
def call():
    urlopen("https://qstash.upstash.io/v2/keys", timeout=1)

def test_called(qemu):
    call()

def test_swallowed(qemu):
    try:
        call()
    except BaseException:
        pass
"""
    )

    result.assert_outcomes(passed=1, failed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*a test with qemu called the real qstash.upstash.io*",
            "E*RealServiceRefused: a test with qemu called the real*",
        ]
    )


def test_the_marker_chooses_clock_time_quota_seed_and_signatures(run):
    result = run(
        """
pytestmark = pytest.mark.qemu(quota="free", seed=7)
ids = []

@pytest.mark.parametrize("turn", [1, 2])
def test_seeded(qemu, turn):
    ids.append(publish(qemu.endpoint().url))
    assert len(set(ids)) == 1

@pytest.mark.qemu(clock="real", quota="pro")
def test_the_nearest_marker_goes_before(qemu):
    assert not qemu.is_virtual
    assert qemu.emulator.settings.quota == "pro"
    assert qemu.emulator.settings.seed == 7

@pytest.mark.qemu(start_time="2027-03-28T00:30Z", signatures="virtual")
def test_frozen(qemu):
    hook = qemu.endpoint()
    publish(hook.url)
    assert qemu.now.isoformat() == "2027-03-28T00:30:00+00:00"
    assert hook.last.claims["iat"] == qemu.now_ms // 1000

@pytest.mark.qemu(clok="real")
def test_misspelled(qemu):
    pass

@pytest.mark.qemu(quota="gold")
def test_wrong(qemu):
    pass
"""
    )

    result.assert_outcomes(passed=4, errors=2)
    result.stdout.fnmatch_lines(
        ["*the marker qemu takes clock, *not clok*", "*quota: must be one of *'gold'*"]
    )


def test_options_and_ini_file_choose_for_the_whole_run(run):
    tests = """
def test_it(qemu):
    print(qemu.is_virtual, qemu.emulator.settings.seed)
    assert False

@pytest.mark.qemu(clock="virtual")
def test_marked(qemu):
    assert qemu.is_virtual
"""
    ini = "qemu_clock = real\nqemu_seed = 5"
    assert "False 5" in text(run(tests, ini=ini))
    assert "True 5" in text(run(tests, "--qemu-clock=virtual", ini=ini))
    result = run(tests, "--qemu-clock=real")

    assert "False None" in text(result)
    result.assert_outcomes(passed=1, failed=1)


def test_the_log_is_shown_for_all_tests_or_for_none(run):
    tests = """
def test_passes(qemu):
    publish(qemu.endpoint().url)

def test_fails(qemu):
    assert False
"""
    everything = text(run(tests, "--qemu-log=all"))
    assert "qemu: test_the_log_is_shown_for_all_tests_or_for_none.py::test_passes" in (
        everything
    )
    assert "DELIVERED" in everything

    assert "- qemu -" not in text(run(tests, "--qemu-log=off"))


def test_settings_are_overridden_by_a_fixture(run):
    result = run(
        """
def test_it(qemu, make_qemu):
    assert qemu.emulator.settings.region == "US-EAST-1"
    assert make_qemu(quota="pro").emulator.settings.quota == "pro"
""",
        conftest="""
import pytest
from emulator import Settings

@pytest.fixture(scope="session")
def qemu_settings():
    return Settings(port=0, clock="virtual", region="US-EAST-1")
""",
    )

    result.assert_outcomes(passed=1)


def test_several_emulators_live_beside_each_other(run):
    result = run(
        """
def test_it(qemu, make_qemu):
    other = make_qemu(clock="real")
    third = make_qemu()
    assert os.environ["QSTASH_URL"] == qemu.url != other.url != third.url
    publish(qemu.endpoint().url)
    assert len(qemu.published) == 1
    assert other.published == third.published == []
    assert False
"""
    )

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*- qemu 1 -*", "*- qemu 2 -*", "*- qemu 3 -*"])


def test_a_server_lives_as_long_as_the_session(run):
    result = run(
        """
urls = []

def test_first(qemu_server):
    urls.append(os.environ["QSTASH_URL"])
    publish(qemu_server.endpoint().url)

def test_own(qemu):
    urls.append(os.environ["QSTASH_URL"])

def test_second(qemu_server):
    assert os.environ["QSTASH_URL"] == qemu_server.url == urls[0] != urls[1]
    assert len(qemu_server.published) == 1
    qemu_server.reset()
    assert qemu_server.published == []
"""
    )

    result.assert_outcomes(passed=3)


ASYNC_TESTS = """
import asyncio

{mark}
async def test_it(qemu):
    served = []

    async def answer(reader, writer):
        served.append(await reader.readuntil(b"\\r\\n\\r\\n"))
        status = b"500 No" if len(served) < 2 else b"200 OK"
        writer.write(b"HTTP/1.1 " + status + b"\\r\\nContent-Length: 0\\r\\n")
        writer.write(b"Connection: close\\r\\n\\r\\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await asyncio.to_thread(publish, f"http://127.0.0.1:{{port}}/hook")
        await qemu.aio.run_until_idle()
    assert len(served) == 2
    hook = qemu.endpoint("/hook")
    await asyncio.to_thread(publish, hook.url, delay="1h")
    qemu.advance("1h")
    assert len(hook.requests) == 1
"""


def test_an_asynchronous_test_has_a_loop_of_its_own_under_pytest_asyncio(run):
    result = run(
        ASYNC_TESTS.format(mark="@pytest.mark.asyncio"),
        *("-p", "pytest_asyncio.plugin"),
        ini="asyncio_default_fixture_loop_scope = function",
    )

    result.assert_outcomes(passed=1)


def test_an_asynchronous_test_has_a_loop_of_its_own_under_anyio(run):
    tests = ASYNC_TESTS.format(mark="@pytest.mark.anyio")
    fixture = """
@pytest.fixture
def anyio_backend():
    return "asyncio"
"""
    result = run(fixture + tests, "-p", "anyio.pytest_plugin")

    result.assert_outcomes(passed=1)


def test_parallel_runs_share_nothing(run):
    """Under xdist each worker has its emulators; reports keep their section."""
    result = run(
        """
@pytest.mark.parametrize("number", range(8))
def test_it(qemu, qemu_server, number):
    hook = qemu.endpoint("/hook")
    publish(hook.url, number, delay="1d")
    qemu.run_until_idle()
    assert [request.json() for request in hook.requests] == [number]
    assert qemu_server.published == []
    assert number != 5
""",
        *("-p", "xdist", "-n", "2"),
    )

    result.assert_outcomes(passed=7, failed=1)
    result.stdout.fnmatch_lines(["*- qemu 1 -*", "*DELIVERED*"])


def test_whoever_does_not_use_it_pays_nothing(pytester):
    """The plugin is there for all tests of a project: its imports wait."""
    pytester.makepyfile(
        """
        import sys

        def test_it():
            ours = {name for name in sys.modules if name.startswith("emulator")}
            assert ours == {"emulator", "emulator.pytest_plugin"}
            assert not {"aiohttp", "cronsim", "click", "yarl"} & set(sys.modules)
        """
    )
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function")
    result = pytester.runpytest_subprocess()

    result.assert_outcomes(passed=1)
