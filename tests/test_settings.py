"""emulator/settings.py: what can be chosen, and what can't be used."""

import json
from base64 import b64decode
from dataclasses import FrozenInstanceError, replace

import pytest

from emulator import Settings
from emulator.core.limits import limits_of
from emulator.core.model import SigningKeys
from emulator.core.resources import Declared, Endpoint
from emulator.errors import SettingsError
from emulator.settings import CLOCKS, DEV_USERS, REGIONS, User
from tests.doubles import a_publish


def a_user(token, name="somebody", read_only_token=None):
    return User(
        name=name,
        token=token,
        keys=SigningKeys("sig_1", "sig_2"),
        read_only_token=read_only_token,
    )


def test_the_defaults_are_those_of_qemu_start():
    """BASE-1, ENV-10, LIM-1, DLV-4, MSG-8."""
    settings = Settings()

    assert (settings.host, settings.port) == ("127.0.0.1", 8080)
    assert (settings.quota, settings.strict) == ("payg", False)
    assert settings.region == "EU-CENTRAL-1"
    assert (settings.clock, settings.speed) == ("real", 1)
    assert settings.grace_ms == 60_000
    assert settings.users == DEV_USERS
    assert settings.routes == ()
    assert settings.start_time_ms is settings.seed is None


def test_settings_do_not_change():
    with pytest.raises(FrozenInstanceError):
        Settings().port = 1


def test_the_four_dev_users_are_the_public_ones():
    """ENV-11, AUTH-5, AUTH-10."""
    shown = [
        (
            user.name,
            json.loads(b64decode(user.token, validate=True)),
            user.keys.current,
            user.keys.next,
        )
        for user in DEV_USERS
    ]

    assert shown == [
        (
            "defaultUser",
            {"UserID": "defaultUser", "Password": "defaultPassword"},
            "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r",
            "sig_5ZB6DVzB1wjE8S6rZ7eenA8Pdnhs",
        ),
        (
            "testUser1",
            {"UserID": "testUser1", "Password": "testPassword"},
            "sig_7GVPjvuwsfqF65iC8fSrs1dfYruM",
            "sig_5NoELc3EFnZn4DVS5bDs2Nk4b7Ua",
        ),
        (
            "testUser2",
            {"UserID": "testUser2", "Password": "testPassword"},
            "sig_6jWGaWRxHsw4vMSPJprXadyvrybF",
            "sig_7qHbvhmahe5GwfePDiS5Lg3pi6Qx",
        ),
        (
            "testUser3",
            {"UserID": "testUser3", "Password": "testPassword"},
            "sig_5T8FcSsynBjn9mMLBsXhpacRovJf",
            "sig_7GFR4YaDshFcqsxWRZpRB161jguD",
        ),
    ]


def test_the_first_dev_user_s_token_is_spelled_as_the_sdk_has_it():
    """ENV-6, ENV-11: tokens are compared as text."""
    assert DEV_USERS[0].token == (
        "eyJVc2VySUQiOiJkZWZhdWx0VXNlciIsIlBhc3N3b3JkIjoiZGVmYXVsdFBhc3N3b3JkIn0="
    )


def test_secrets_are_not_shown():
    user = a_user("secret-token", read_only_token="secret-reader")

    shown = repr(Settings(users=(user,)))

    assert "somebody" in shown
    assert "secret" not in shown
    assert "sig_" not in shown


@pytest.mark.parametrize(
    "changes",
    [
        {"port": 0},
        {"port": 65535},
        {"host": "0.0.0.0"},
        {"speed": 0.001},
        {"speed": 1_000_000},
        {"start_time_ms": 0},
        {"start_time_ms": 2**53 - 1},
        {"clock": "virtual", "start_time_ms": 1},
        {"grace_ms": 0},
        {"max_log_entries": 1},
        {"users": (a_user("a"), a_user("b", name="other"))},
        {"allowed_hosts": ("qemu.example", "qemu")},
        {"allowed_origins": ()},
        {"allowed_origins": ("http://a:3000", "https://[::1]", "chrome-extension://a")},
        {"llm_upstream": "http://127.0.0.1:11434/v1/chat/completions"},
        {"users": (a_user("a", read_only_token="b"),)},
        *({"region": region} for region in REGIONS),
        *({"clock": clock} for clock in CLOCKS),
        *({"quota": quota} for quota in ("free", "payg", "pro")),
    ],
    ids=str,
)
def test_what_can_be_used_is_accepted(changes):
    settings = Settings(**changes)

    for name, value in changes.items():
        assert getattr(settings, name) == value


@pytest.mark.parametrize(
    ("setting", "changes"),
    [
        ("port", {"port": -1}),
        ("port", {"port": 65536}),
        ("host", {"host": ""}),
        ("quota", {"quota": "enterprise"}),
        ("quota", {"quota": "PAYG"}),
        ("region", {"region": "eu-central-1"}),
        ("clock", {"clock": "fake"}),
        ("speed", {"speed": 0}),
        ("speed", {"speed": -1.0}),
        ("speed", {"speed": 1_000_001}),
        ("speed", {"speed": float("nan")}),
        ("speed", {"speed": float("inf")}),
        ("speed", {"clock": "virtual", "speed": 2}),
        ("start_time", {"start_time_ms": -1}),
        ("start_time", {"start_time_ms": 2**53}),
        ("max_log_entries", {"max_log_entries": 0}),
        ("grace_ms", {"grace_ms": -1}),
        ("users", {"users": ()}),
        ("allowed_hosts", {"allowed_hosts": ("",)}),
        ("allowed_hosts", {"allowed_hosts": ("http://a",)}),
        ("allowed_hosts", {"allowed_hosts": ("a:80",)}),
        ("allowed_hosts", {"allowed_hosts": ("A",)}),
        ("allowed_origins", {"allowed_origins": ("a",)}),
        ("allowed_origins", {"allowed_origins": ("https://a/",)}),
        ("allowed_origins", {"allowed_origins": ("https://A",)}),
        ("allowed_origins", {"allowed_origins": ("*",)}),
        ("llm_upstream", {"llm_upstream": "localhost:11434"}),
        ("llm_upstream", {"llm_upstream": ""}),
        ("users", {"users": (a_user("a"), a_user("a", name="other"))}),
        ("users", {"users": (a_user("a"), a_user("b"))}),
        ("users", {"users": (a_user("a", name=""),)}),
        (
            "users",
            {
                "users": (
                    a_user("a"),
                    a_user("b", name="other", read_only_token="a"),
                )
            },
        ),
        ("users", {"users": (a_user("a", read_only_token="a"),)}),
        ("users", {"users": (a_user(""),)}),
    ],
    ids=str,
)
def test_what_cannot_be_used_is_refused_by_name(setting, changes):
    with pytest.raises(SettingsError) as raised:
        Settings(**changes)

    assert raised.value.setting == setting
    assert str(raised.value).startswith(f"{setting}: ")


def test_a_refusal_names_what_is_allowed():
    with pytest.raises(SettingsError) as raised:
        Settings(quota="gold")

    assert str(raised.value) == "quota: must be one of free, payg, pro, not 'gold'"


@pytest.mark.parametrize("quota", ["free", "payg", "pro"])
@pytest.mark.parametrize("strict", [True, False])
def test_the_limits_are_the_chosen_profile_s(quota, strict):
    """LIM-1, LIM-4, C-22."""
    settings = replace(Settings(), quota=quota, strict=strict)

    assert settings.limits == limits_of(quota, strict=strict)


QUEUES = tuple((f"q{number}", 2, False) for number in range(10))


@pytest.mark.parametrize(
    ("setting", "declared"),
    [
        ("queues", Declared(queues=(*QUEUES, ("more", 1, False)))),
        ("queues", Declared(queues=(("emails", 3, False),))),
        (
            "url_groups",
            Declared(
                url_groups=tuple((name, (Endpoint("http://a"),), ()) for name in "ab")
            ),
        ),
        (
            "url_groups",
            Declared(url_groups=(("a", (Endpoint("http://a"),) * 101, ()),)),
        ),
        (
            "schedules",
            Declared(
                schedules=tuple(
                    (f"s{number}", "@daily", a_publish()) for number in range(11)
                )
            ),
        ),
    ],
)
def test_what_is_declared_must_fit_the_plan(setting, declared):
    """LIM-7, LIM-9, LIM-10: only a strict plan limits it (LIM-13)."""
    assert Settings(quota="free", declared=declared).declared is declared
    with pytest.raises(SettingsError) as raised:
        Settings(quota="free", strict=True, declared=declared)

    assert raised.value.setting == setting
    assert raised.value.reason.startswith("the plan allows ")


def test_what_is_declared_is_not_on_this_machine_if_loopback_is_refused():
    """PUB-6."""
    public, local = Endpoint("https://ex.com/"), Endpoint("http://localhost/")

    with pytest.raises(SettingsError) as raised:
        Settings(
            refuse_loopback=True,
            declared=Declared(url_groups=(("team", (public, local), ()),)),
        )
    assert str(raised.value) == (
        "url_groups: team: endpoint resolves to a loopback address: ::1"
    )
    declared = Declared(url_groups=(("team", (public,), ()),))
    assert Settings(refuse_loopback=True, declared=declared).declared is declared


def test_what_fits_the_plan_is_accepted():
    declared = Declared(queues=QUEUES)

    assert Settings(quota="free", strict=True, declared=declared).declared is declared


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8081"),
        ("localhost", "http://127.0.0.1:8081"),
        ("0.0.0.0", "http://127.0.0.1:8081"),
        ("::", "http://[::1]:8081"),
        ("::1", "http://[::1]:8081"),
        ("box.example", "http://box.example:8081"),
    ],
)
def test_the_url_is_one_that_this_machine_can_call(host, url):
    assert Settings(host=host).url_at(8081) == url
