"""The options, and where their values come from."""

import click
import pytest

from emulator.cli.configuration import configuration_of, default_configuration
from emulator.cli.options import setting_options, source_of, start_options
from emulator.core.reroute import Route
from emulator.errors import SettingsError
from emulator.settings import Settings

ROUTE = Route("https://app.example", "http://127.0.0.1:3000")


def chosen(*args):
    return default_configuration(*args).settings


def test_without_anything_the_defaults_hold(folder):
    assert chosen() == Settings()


def test_a_flag_beats_the_environment_the_file_and_the_default(folder, monkeypatch):
    (folder / "qemu.toml").write_text("port = 1111")
    monkeypatch.setenv("QEMU_PORT", "2222")

    assert chosen("--port", "3333").port == 3333
    assert chosen().port == 2222
    monkeypatch.delenv("QEMU_PORT")
    assert chosen().port == 1111
    (folder / "qemu.toml").unlink()
    assert chosen().port == 8080


@pytest.mark.parametrize(
    ("flag", "variable", "text", "key", "toml", "field", "value"),
    [
        ("--host", "QEMU_HOST", "::1", "host", "'::1'", "host", "::1"),
        ("--port", "QEMU_PORT", "0", "port", "0", "port", 0),
        ("--quota", "QEMU_QUOTA", "pro", "quota", "'pro'", "quota", "pro"),
        ("--strict", "QEMU_STRICT", "1", "strict", "true", "strict", True),
        (
            "--refuse-loopback",
            "QEMU_REFUSE_LOOPBACK",
            "1",
            "refuse-loopback",
            "true",
            "refuse_loopback",
            True,
        ),
        (
            "--region",
            "QEMU_REGION",
            "US-EAST-1",
            "region",
            "'US-EAST-1'",
            "region",
            "US-EAST-1",
        ),
        ("--clock", "QEMU_CLOCK", "virtual", "clock", "'virtual'", "clock", "virtual"),
        ("--speed", "QEMU_SPEED", "2.5", "speed", "2.5", "speed", 2.5),
        (
            "--start-time",
            "QEMU_START_TIME",
            "2027-03-28T00:30:00Z",
            "start-time",
            "2027-03-28T00:30:00Z",
            "start_time_ms",
            1_806_193_800_000,
        ),
        ("--start-time", "QEMU_START_TIME", "5", "start-time", "5", "start_time_ms", 5),
        ("--seed", "QEMU_SEED", "7", "seed", "7", "seed", 7),
        (
            "--route",
            "QEMU_ROUTE",
            str(ROUTE),
            "routes",
            f"[{{from = '{ROUTE.origin}', to = '{ROUTE.target}'}}]",
            "routes",
            (ROUTE,),
        ),
        (
            "--allow-host",
            "QEMU_ALLOW_HOST",
            "qemu.example",
            "allowed-hosts",
            "['qemu.example']",
            "allowed_hosts",
            ("qemu.example",),
        ),
        (
            "--allow-origin",
            "QEMU_ALLOW_ORIGIN",
            "https://app.example:8443",
            "allowed-origins",
            "['https://app.example:8443']",
            "allowed_origins",
            ("https://app.example:8443",),
        ),
    ],
)
def test_a_setting_can_be_a_flag_a_variable_or_a_key(
    folder, monkeypatch, flag, variable, text, key, toml, field, value
):
    flags = (flag,) if value is True else (flag, text)

    assert getattr(chosen(*flags), field) == value
    (folder / "qemu.toml").write_text(f"{key} = {toml}")
    assert getattr(chosen(), field) == value
    (folder / "qemu.toml").unlink()
    monkeypatch.setenv(variable, text)
    assert getattr(chosen(), field) == value


def test_the_choices_of_the_options_are_those_of_the_settings():
    from emulator.core.limits import PROFILES
    from emulator.settings import CLOCKS, REGIONS

    choices = {
        option.name: list(option.type.choices)
        for option in setting_options()
        if isinstance(option.type, click.Choice)
    }

    assert choices == {
        "quota": list(PROFILES),
        "region": list(REGIONS),
        "clock": list(CLOCKS),
    }


def test_the_defaults_of_the_options_are_those_of_the_settings():
    names = {"host", "port", "quota", "strict", "region", "clock", "speed"}
    defaults = {
        option.name: option.default
        for option in setting_options()
        if option.name in names
    }

    assert defaults == {name: getattr(Settings(), name) for name in names}
    assert chosen() == Settings()


def test_an_origin_that_is_allowed_by_default_can_be_shut_out(folder):
    """BASE-14."""
    (folder / "qemu.toml").write_text("allowed-origins = []")

    assert chosen().allowed_origins == ()
    assert chosen("--allow-origin", "http://a").allowed_origins == ("http://a",)


def test_start_and_dev_have_the_options_that_make_settings():
    names = {option.name for option in setting_options()}

    assert names < {option.name for option in start_options()}
    assert {option.name for option in start_options(is_dev=True)} - {
        option.name for option in start_options()
    } == {"log_port", "stop_with_parent"}


@pytest.mark.parametrize(
    ("args", "environ", "text", "source"),
    [
        (["--port", "1"], {"QEMU_PORT": "2"}, "port = 3", "--port"),
        ([], {"QEMU_PORT": "2"}, "port = 3", "QEMU_PORT"),
        ([], {"QSTASH_DEV_PORT": "2", "QEMU_PORT": ""}, "", "QSTASH_DEV_PORT"),
        ([], {}, "port = 3", "qemu.toml, line 1"),
        ([], {}, "", "default"),
    ],
)
def test_a_value_knows_where_it_was_written(
    folder, monkeypatch, args, environ, text, source
):
    (folder / "qemu.toml").write_text(text)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    command = click.Command("start", params=setting_options())
    with command.make_context("start", args) as ctx:
        (port,) = (param for param in command.params if param.name == "port")

        assert str(source_of(ctx, port)) == source


def test_settings_without_a_flag_can_be_in_the_file(folder):
    (folder / "qemu.toml").write_text("max-log-entries = 10\ngrace-ms = 5")

    assert chosen().max_log_entries == 10
    assert chosen().grace_ms == 5


def test_the_vendors_port_counts_below_ours(folder, monkeypatch):
    """ENV-10."""
    monkeypatch.setenv("QSTASH_DEV_PORT", "2222")
    assert chosen().port == 2222

    monkeypatch.setenv("QEMU_PORT", "3333")
    assert chosen().port == 3333


def test_an_empty_variable_counts_as_one_that_is_not_set(folder, monkeypatch):
    monkeypatch.setenv("QEMU_PORT", "")
    monkeypatch.setenv("QEMU_CONFIG", "")
    monkeypatch.setenv("QSTASH_TOKEN", "")

    assert chosen() == Settings()


# Mistakes


def test_a_mistake_on_the_command_line_is_a_usage_error(folder):
    for args in (("--port", "x"), ("--speed", "0"), ("--route", "nonsense")):
        with pytest.raises(click.BadParameter):
            chosen(*args)


def test_a_mistake_in_a_variable_names_the_variable(folder, monkeypatch):
    monkeypatch.setenv("QSTASH_DEV_PORT", "x")
    with pytest.raises(SettingsError) as raised:
        chosen()

    assert raised.value.setting == "port"
    assert raised.value.source == "QSTASH_DEV_PORT"


@pytest.mark.parametrize(
    ("variable", "text", "setting"),
    [("QEMU_SPEED", "-1", "speed"), ("QEMU_START_TIME", "9" * 17, "start-time")],
)
def test_a_value_that_settings_refuse_names_its_variable(
    folder, monkeypatch, variable, text, setting
):
    monkeypatch.setenv(variable, text)
    with pytest.raises(SettingsError) as raised:
        chosen()

    assert raised.value.source == variable
    assert raised.value.setting == setting


def test_a_command_with_other_options_can_be_asked_too(folder):
    command = click.Command(
        "other", params=[*setting_options(is_dev=True), click.Option(["--x"])]
    )
    with command.make_context("other", ["--x", "1", "--port", "1111"]) as ctx:
        assert configuration_of(ctx).settings == Settings(port=1111)


def test_the_vendors_quota_counts_for_dev_alone(folder, monkeypatch):
    """ENV-10."""
    monkeypatch.setenv("QSTASH_DEV_QUOTA", "pro")
    command = click.Command("dev", params=setting_options(is_dev=True))
    with command.make_context("dev", []) as ctx:
        assert configuration_of(ctx).settings.quota == "pro"

    assert chosen().quota == "payg"
