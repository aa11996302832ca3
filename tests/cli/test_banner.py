"""What stands above the log."""

from dataclasses import replace

import pytest

from emulator.cli.banner import banner
from emulator.cli.configuration import Configuration
from emulator.cli.sources import DEFAULT, Origin, Source
from emulator.core.model import SigningKeys
from emulator.core.reroute import Route
from emulator.core.resources import Declared, Endpoint
from emulator.settings import DEV_USERS, Settings, User

URL = "http://127.0.0.1:8080"


def a_banner(*, file=None, source=DEFAULT, **settings):
    settings = Settings(**settings)
    configuration = Configuration(
        settings=settings,
        file=file,
        user_sources=(source, *[DEFAULT] * (len(settings.users) - 1)),
    )
    return banner(configuration, URL, ready_ms=190).splitlines()[3:]


def test_the_banner_names_the_file_that_is_used(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert "  Config   qemu.toml" in a_banner(file=tmp_path / "qemu.toml")


MINE = User(name="environment", token="mine", keys=SigningKeys("one", "two"))

VARIABLES = Source(Origin.ENVIRONMENT, "QSTASH_TOKEN, QSTASH_CURRENT_SIGNING_KEY")


def test_the_banner_says_whose_the_four_lines_are_if_not_the_usual_ones():
    lines = a_banner(users=(MINE, *DEV_USERS), source=VARIABLES)

    assert lines[2:4] == [
        f"  User     environment, from {VARIABLES}",
        "           the published users are accepted, too",
    ]
    assert 'QSTASH_TOKEN="mine"' in lines


def test_the_banner_names_a_published_user_that_is_not_the_first():
    lines = a_banner(users=(DEV_USERS[1], DEV_USERS[0]))

    assert lines[2:4] == ["  User     testUser1", ""]


def test_the_banner_says_when_dev_mode_will_not_find_us():
    """ENV-7."""
    first = replace(DEV_USERS[0], keys=SigningKeys("one", "two"))
    lines = a_banner(users=(first, *DEV_USERS[1:]), source=VARIABLES)

    assert lines[2:4] == [
        f"  User     defaultUser, from {VARIABLES}",
        "           QSTASH_DEV=true finds only a server with the published keys",
    ]


def test_the_banner_counts_what_is_declared():
    queues = (("a", 1, False), ("b", 1, False))
    group = ("g", (Endpoint("http://a"),), ())

    lines = a_banner(declared=Declared(queues=queues, url_groups=(group,)))
    assert lines[2] == "  Declared 2 queues, 1 URL group"


@pytest.mark.parametrize(
    ("settings", "clock"),
    [
        ({"clock": "virtual"}, "virtual: it stands still until it is advanced"),
        ({"speed": 60}, "60 x real time"),
        ({"speed": 0.5}, "0.5 x real time"),
        ({"start_time_ms": 0}, "real; started at 1970-01-01 00:00:00 UTC"),
        ({"start_time_ms": 2**53 - 1}, "real; started at 9007199254740991 ms"),
        ({"speed": 2, "start_time_ms": 0}, "2 x real time; started at 1970-01-01 0"),
    ],
)
def test_the_banner_says_what_is_unusual_about_the_clock(settings, clock):
    assert a_banner(**settings)[2].startswith(f"  Clock    {clock}")


def test_the_banner_lists_the_routes():
    routes = (Route("https://a", "http://b"), Route("https://c", "http://d"))

    assert a_banner(routes=routes)[2:4] == [
        "  Routes   https://a -> http://b",
        "           https://c -> http://d",
    ]


@pytest.mark.parametrize(
    ("host", "is_open"),
    [("127.0.0.1", False), ("::1", False), ("localhost", False), ("0.0.0.0", True)],
)
def test_the_banner_warns_of_an_address_that_others_can_reach(host, is_open):
    assert any("Beware" in line for line in a_banner(host=host)) is is_open
