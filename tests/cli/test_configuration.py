"""The configuration as a whole."""

import click
import pytest

from emulator.cli.client import Server
from emulator.cli.configuration import default_configuration, server_in_force
from emulator.cli.sources import DEFAULT, Origin, Source
from emulator.core.resources import NOTHING_DECLARED
from emulator.errors import SettingsError
from emulator.settings import DEV_USERS, Settings


def test_the_default_configuration_takes_arguments():
    assert default_configuration("--port=1").settings == Settings(port=1)


def test_the_configuration_says_where_each_value_was_written(folder, monkeypatch):
    (folder / "qemu.toml").write_text("grace-ms = 5\nseed = 7\n[[queues]]\nname = 'a'")
    monkeypatch.setenv("QEMU_HOST", "::1")
    configuration = default_configuration("--port", "1111")

    assert configuration.file == folder / "qemu.toml"
    assert {
        name: source
        for name, source in configuration.sources.items()
        if source is not DEFAULT
    } == {
        "host": Source(Origin.ENVIRONMENT, "QEMU_HOST"),
        "port": Source(Origin.FLAG, "--port"),
        "seed": Source(Origin.FILE, "qemu.toml", 2),
        "grace_ms": Source(Origin.FILE, "qemu.toml", 1),
        "queues": Source(Origin.FILE, "qemu.toml", 3),
    }


def test_without_a_file_there_is_none():
    configuration = default_configuration()

    assert configuration.file is None
    assert set(configuration.sources.values()) == {DEFAULT}
    assert configuration.user_sources == (DEFAULT,) * len(DEV_USERS)
    assert configuration.settings.declared == NOTHING_DECLARED


def test_the_variable_of_the_llm_upstream_beats_the_file(folder, monkeypatch):
    """LLM-1."""
    (folder / "qemu.toml").write_text("llm-upstream = 'http://file'")
    assert default_configuration().settings.llm_upstream == "http://file"

    monkeypatch.setenv("QEMU_LLM_UPSTREAM", "http://variable")
    assert default_configuration().settings.llm_upstream == "http://variable"


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("localhost", "llm-upstream (from QEMU_LLM_UPSTREAM): can't be called"),
        ("", "llm-upstream (from qemu.toml, line 1): can't be called"),
    ],
)
def test_an_llm_upstream_that_cannot_be_called_is_refused(
    folder, monkeypatch, variable, message
):
    (folder / "qemu.toml").write_text("llm-upstream = 'ftp://a'")
    monkeypatch.setenv("QEMU_LLM_UPSTREAM", variable)
    with pytest.raises(SettingsError) as raised:
        default_configuration()

    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    ("environ", "is_found"),
    [
        ({}, True),
        ({"QSTASH_TOKEN": "mine"}, True),
        ({"QSTASH_TOKEN": DEV_USERS[1].token}, True),
        (
            {"QSTASH_CURRENT_SIGNING_KEY": "a", "QSTASH_NEXT_SIGNING_KEY": "b"},
            False,
        ),
    ],
)
def test_dev_mode_finds_us_unless_the_first_published_users_keys_are_replaced(
    monkeypatch, environ, is_found
):
    """ENV-7."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    assert default_configuration().is_found_by_dev_mode is is_found


def test_what_is_declared_must_fit_the_plan(folder):
    """LIM-7, LIM-13."""
    queues = "".join(f"[[queues]]\nname = 'q{number}'\n" for number in range(11))
    (folder / "qemu.toml").write_text("quota = 'free'\n" + queues)

    assert len(default_configuration().settings.declared.queues) == 11
    with pytest.raises(SettingsError) as raised:
        default_configuration("--strict")
    assert str(raised.value) == (
        "queues (from qemu.toml, line 2): the plan allows 10, not 11"
    )


def test_a_flag_that_settings_refuse_is_a_usage_error():
    with pytest.raises(click.BadParameter) as raised:
        default_configuration("--allow-host", "http://a")

    assert raised.value.param.name == "allowed_hosts"
    assert raised.value.message == (
        "must be names in lower case, without scheme and port"
    )


def test_a_running_server_is_called_where_it_would_be_started(folder, monkeypatch):
    (folder / "qemu.toml").write_text("port = 1111")
    monkeypatch.setenv("QSTASH_TOKEN", "mine")

    here = "http://127.0.0.1:1111"
    assert server_in_force(None, None) == Server(here, "mine", "from QSTASH_TOKEN")
    assert server_in_force("http://a/", None).url == "http://a"
    assert server_in_force(None, "theirs") == Server(here, "theirs", "from --token")


def test_without_any_token_the_published_one_is_used(folder):
    server = server_in_force(None, None)

    assert (server.token, server.token_source) == (
        DEV_USERS[0].token,
        "the published first user's",
    )


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://localhost:1234/", "http://localhost:1234"),
        ("http://127.0.0.2:1234/v2/publish", "http://127.0.0.2:1234"),
        (" http://[::1]:1234 ", "http://[::1]:1234"),
        ("https://qstash.upstash.io", "http://127.0.0.1:8080"),
        ("http://10.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://[", "http://127.0.0.1:8080"),
        ("nonsense", "http://127.0.0.1:8080"),
        ("", "http://127.0.0.1:8080"),
    ],
)
def test_the_environments_server_is_called_if_it_is_on_this_machine(
    monkeypatch, given, url
):
    """ENV-5: a path is no part of it."""
    monkeypatch.setenv("QSTASH_URL", given)

    assert server_in_force(None, None).url == url
    assert server_in_force("http://a", None).url == "http://a"


def test_whoever_names_server_and_token_needs_no_settings(folder):
    (folder / "qemu.toml").write_text("nonsense")

    assert server_in_force("http://a", "theirs").token == "theirs"
