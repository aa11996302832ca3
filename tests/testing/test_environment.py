"""emulator/testing/environment.py: everything leads to the emulator, for a while."""

import asyncio
import os
import socket

import pytest

from emulator.testing.environment import RealServiceRefused, patched_environment

VARIABLES = {
    "QSTASH_URL": "http://127.0.0.1:1",
    "QSTASH_TOKEN": "t",
    "QSTASH_CURRENT_SIGNING_KEY": "c",
    "QSTASH_NEXT_SIGNING_KEY": "n",
}


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    """Whatever a test leaves in the environment goes."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.parametrize(
    "name",
    ["QSTASH_DEV", "QSTASH_DEV_PORT", "QSTASH_REGION", "US_EAST_1_QSTASH_TOKEN"],
)
def test_what_would_lead_elsewhere_is_gone_and_comes_back(name):
    """ENV-2, ENV-3."""
    os.environ[name] = "elsewhere"
    with patched_environment(VARIABLES, print):
        assert name not in os.environ

    assert os.environ[name] == "elsewhere"


def test_the_variables_are_set_and_all_is_as_before_afterwards():
    os.environ["QSTASH_TOKEN"] = "mine"
    os.environ["NO_PROXY"] = "intranet"
    before = dict(os.environ)
    with patched_environment(VARIABLES, print):
        assert {name: os.environ[name] for name in VARIABLES} == VARIABLES
        assert "127.0.0.1" in os.environ["no_proxy"]
        assert os.environ["NO_PROXY"].startswith("intranet,")
    assert dict(os.environ) == before
    with pytest.raises(KeyError), patched_environment(VARIABLES, print):
        raise KeyError

    assert dict(os.environ) == before


def test_what_the_test_sets_itself_stays():
    with patched_environment(VARIABLES, print):
        os.environ["QSTASH_OTHER"] = "mine"

    assert os.environ["QSTASH_OTHER"] == "mine"


@pytest.mark.parametrize(
    "host",
    ["qstash.upstash.io", b"qstash.upstash.io", "QSTASH-us-east-1.upstash.io."],
)
def test_a_call_of_the_real_qstash_is_refused_and_told(host):
    """BASE-1."""
    told = []
    resolve = socket.getaddrinfo
    with (
        patched_environment(VARIABLES, told.append),
        pytest.raises(
            RealServiceRefused, match=r"called the real (?i:qstash)"
        ) as raised,
    ):
        socket.getaddrinfo(host, 443)

    assert told == [raised.value]
    assert VARIABLES["QSTASH_URL"] in str(told[0])
    assert socket.getaddrinfo is resolve


async def test_an_event_loop_refuses_it_as_well():
    loop = asyncio.get_running_loop()
    with patched_environment(VARIABLES, print), pytest.raises(RealServiceRefused):
        await loop.getaddrinfo("qstash.upstash.io", 443)


def test_other_names_are_resolved():
    with patched_environment(VARIABLES, print):
        assert socket.getaddrinfo("127.0.0.1", 443)


def test_no_client_takes_the_refusal_for_a_bad_network():
    assert not issubclass(RealServiceRefused, Exception)
