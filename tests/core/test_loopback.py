"""emulator/core/loopback.py: destinations on this machine."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.core.destination import url_problem
from emulator.core.loopback import loopback_problem, refuse_loopback
from emulator.core.model import Callback, Destination, DestinationKind, Options
from emulator.errors import InvalidDestination, InvalidHeader

few = settings(max_examples=60)

PUBLIC = "https://ex.com/hook"
LOCAL = "http://localhost:3000/hook"


def to(url):
    return Destination(DestinationKind.URL, url)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("localhost", "::1"),
        ("LocalHost:3000", "::1"),
        ("localhost.", "::1"),
        ("app.localhost", "::1"),
        ("user:password@localhost", "::1"),
        ("[::1]:3000", "::1"),
        ("[0:0::0:1]", "::1"),
        ("[::ffff:127.0.0.1]", "127.0.0.1"),
        ("[::]", "::"),
        ("127.0.0.1", "127.0.0.1"),
        ("127.255.255.255:3000", "127.255.255.255"),
        ("127.0.0.1.", "127.0.0.1"),
        ("0.0.0.0", "0.0.0.0"),
        ("0", "0.0.0.0"),
        ("127.1", "127.0.0.1"),
        ("127.0.257", "127.0.1.1"),
        ("2130706433", "127.0.0.1"),
        ("0x7F000001", "127.0.0.1"),
        ("0x7f.0.0.1", "127.0.0.1"),
        ("0177.0.0.01", "127.0.0.1"),
    ],
)
def test_loopback_is_known_in_whatever_notation(host, address):
    """PUB-6, ERR-4."""
    assert loopback_problem(f"http://{host}/hook") == (
        f"endpoint resolves to a loopback address: {address}"
    )


@pytest.mark.parametrize(
    "host",
    [
        "ex.com",
        "localhost.ex.com",
        "notlocalhost",
        "localhost@ex.com",
        "127.0.0.1.ex.com",
        "127.0.0.1@ex.com",
        "10.0.0.1",
        "192.168.0.7:3000",
        "126.255.255.255",
        "128.1",
        "1.2.3.4.127",
        "127.0.0.256",
        "127.0.65536",
        "256.1",
        "08.1",
        "127.",
        "127..1",
        "4294967296",
        "[2001:db8::1]",
        "[fe80::1%25lo]",
        "[::ffff:10.0.0.1]",
    ],
)
def test_anything_else_is_not_loopback(host):
    """PUB-6: private addresses are fine, and no name is looked up."""
    assert loopback_problem(f"http://{host}/127.0.0.1?localhost") is None


@few
@given(st.integers(0, 2**32 - 1))
def test_an_address_is_loopback_in_all_notations_or_in_none(number):
    address = IPv4Address(number)
    first, rest = number >> 24, number & 0xFF_FF_FF
    spellings = (f"{address}", f"{number}", f"{number:#x}", f"{first}.{rest}")

    problems = {loopback_problem(f"http://{each}/") for each in spellings}

    assert len(problems) == 1
    assert (problems == {None}) != (address.is_loopback or address.is_unspecified)


@few
@given(st.text("0123456789.x:[]af%@localhost-", max_size=24))
def test_no_url_that_can_be_called_is_too_much(host):
    url = f"http://{host}/"

    if url_problem(url) is None:
        assert loopback_problem(url) is None or "loopback" in loopback_problem(url)


def test_a_message_for_this_machine_is_refused():
    """PUB-6."""
    with pytest.raises(InvalidDestination) as caught:
        refuse_loopback(to(LOCAL), Options())

    assert str(caught.value) == (
        "invalid destination url: endpoint resolves to a loopback address: ::1"
    )


@pytest.mark.parametrize("destination", [to(PUBLIC), None])
@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("callback", "Upstash-Callback"),
        ("failure_callback", "Upstash-Failure-Callback"),
    ],
)
def test_a_callback_to_this_machine_is_refused(destination, name, header):
    """PUB-6, CBK-13."""
    with pytest.raises(InvalidHeader) as caught:
        refuse_loopback(destination, Options(**{name: Callback(url=LOCAL)}))

    assert caught.value.header == header
    assert caught.value.reason == "endpoint resolves to a loopback address: ::1"


@pytest.mark.parametrize(
    "destination",
    [
        to(PUBLIC),
        Destination(DestinationKind.URL_GROUP, "localhost"),
        Destination(DestinationKind.API, "llm"),
        None,
    ],
)
def test_what_goes_elsewhere_is_let_through(destination):
    elsewhere = Callback(url=PUBLIC)
    options = Options(callback=elsewhere, failure_callback=elsewhere)

    assert refuse_loopback(destination, options) is None
