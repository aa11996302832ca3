"""Where a setting's value comes from."""

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.cli import default_configuration, setting_options
from emulator.cli.config import (
    ConfigFile,
    InstantType,
    RouteType,
    configuration_of,
    credentials,
    find_file,
    read_file,
    shown_path,
)
from emulator.core.model import SigningKeys
from emulator.core.reroute import Route
from emulator.errors import SettingsError
from emulator.settings import DEV_USERS, Settings

ROUTE = Route("https://app.example", "http://127.0.0.1:3000")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Make an empty folder the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


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
    ],
)
def test_a_setting_can_be_a_flag_a_variable_or_a_key(
    folder, monkeypatch, flag, variable, text, key, toml, field, value
):
    flags = (flag,) if flag == "--strict" else (flag, text)

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


def test_a_variable_holds_several_routes():
    split = RouteType().split_envvar_value(" https://a=http://b,\n https://c=http://d ")

    assert split == ["https://a=http://b", "https://c=http://d"]


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\nprot = 1", "prot (from qemu.toml, line 2): unknown key; did you"),
        ("prot = 1", "did you mean 'port'?"),
        ("start_time = 1", "did you mean 'start-time'?"),
        ("[console]\nx = 1", "console (from qemu.toml, line 1): unknown key"),
        ("port = 'x'", "port (from qemu.toml, line 1): must be an integer"),
        ("port = true", "port (from qemu.toml, line 1): must be an integer"),
        ("strict = 1", "strict (from qemu.toml, line 1): must be true or false"),
        ("port = 65536", "port (from qemu.toml, line 1): 65536 is not in the range"),
        ("speed = nan", "speed (from qemu.toml, line 1): must be above 0"),
        ("quota = 'gold'", "quota (from qemu.toml, line 1): 'gold' is not one of"),
        ("grace-ms = -1", "grace-ms (from qemu.toml, line 1): must not be negative"),
        ("start-time = 2027-03-28T00:30:00", "start-time (from qemu.toml, line 1): "),
        ("start-time = 2027-03-28", "must be a date with time and zone"),
        ("port =\nx", "TOML (from qemu.toml): Invalid value (at line 1, column 7)"),
        ("a = " + "[" * 9999, "TOML (from qemu.toml)"),
        ("routes = [1]", "routes[0] (from qemu.toml, line 1): must be a table"),
        ("[[routes]]\nform = 'x'", "routes[0].form (from qemu.toml, line 1): unknown"),
        ("[[routes]]\nfrom = 'x'", "routes[0] (from qemu.toml, line 1): a route has"),
        (
            "port = 1\n[[routes]]\nfrom = 'https://a'\nto = 'b'",
            "routes[0] (from qemu.toml, line 2): ",
        ),
    ],
)
def test_a_mistake_in_the_file_names_file_line_and_key(folder, text, message):
    (folder / "qemu.toml").write_text(text)
    with pytest.raises(SettingsError) as raised:
        chosen()

    assert message in str(raised.value)


def test_a_file_that_is_not_utf_8_is_refused(folder):
    (folder / "qemu.toml").write_bytes(b"host = '\xff'")
    with pytest.raises(SettingsError, match=r"TOML \(from qemu.toml\): 'utf-8' codec"):
        chosen()


def test_a_file_that_cannot_be_read_is_refused(folder):
    (folder / "qemu.toml").mkdir()
    with pytest.raises(SettingsError, match=r"file \(from qemu.toml\): Is a directory"):
        read_file(folder / "qemu.toml")


def test_a_file_that_does_not_exist_is_a_mistake_of_whoever_named_it(
    folder, monkeypatch
):
    with pytest.raises(click.BadParameter, match="does not exist"):
        chosen("--config", "nowhere.toml")

    monkeypatch.setenv("QEMU_CONFIG", "nowhere.toml")
    with pytest.raises(SettingsError) as raised:
        chosen()
    assert raised.value.source == "QEMU_CONFIG"


# Which file


def test_the_named_file_is_the_one_that_is_used(folder, monkeypatch):
    (folder / "qemu.toml").write_text("port = 1111")
    (folder / "other.toml").write_text("port = 2222")

    assert chosen("--config", "other.toml").port == 2222
    monkeypatch.setenv("QEMU_CONFIG", "other.toml")
    assert default_configuration().file.name == "other.toml"


def test_the_file_is_looked_for_up_to_the_repositorys_root(tmp_path):
    root, below = tmp_path / "root", tmp_path / "root" / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / "qemu.toml").touch()
    (root / ".git").mkdir()
    assert find_file(below) is None

    (root / "qemu.toml").touch()
    assert find_file(below) == root / "qemu.toml"
    (root / "a" / "qemu.toml").touch()
    assert find_file(below) == root / "a" / "qemu.toml"


def test_outside_a_repository_only_the_directory_itself_counts(tmp_path):
    (tmp_path / "qemu.toml").touch()
    (tmp_path / "a").mkdir()

    assert find_file(tmp_path / "a") is None
    assert find_file(tmp_path) == tmp_path / "qemu.toml"


def test_the_projects_file_counts_if_it_has_our_table_and_qemu_toml_is_missing(folder):
    (folder / "pyproject.toml").write_text("broken = \n")
    assert chosen() == Settings()

    (folder / "pyproject.toml").write_text("port = 1\n[tool.qemu]\nport = 1111")
    assert chosen().port == 1111
    (folder / "qemu.toml").write_text("seed = 1")
    assert chosen() == Settings(seed=1)


def test_a_mistake_in_the_projects_file_names_the_line_in_our_table(folder):
    (folder / "pyproject.toml").write_text("port = 1\n[tool.qemu]\nport = 'x'")
    with pytest.raises(SettingsError, match=r"pyproject.toml, line 3\)"):
        chosen()


def test_a_key_that_cannot_be_found_again_is_on_the_first_line(folder):
    (folder / "qemu.toml").write_text('"\\u0070rot" = 1')
    with pytest.raises(SettingsError, match=r"qemu\.toml, line 1"):
        chosen()


def test_a_working_directory_that_is_gone_has_no_file(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()

    assert chosen() == Settings()


def test_completion_reads_no_file(folder):
    (folder / "qemu.toml").write_text("port = 'x'")
    command = click.Command("start", params=setting_options())

    assert command.make_context("start", [], resilient_parsing=True)


def test_a_path_below_the_working_directory_is_shown_short(folder):
    assert shown_path(folder / "a" / "qemu.toml") == "a/qemu.toml"
    assert shown_path(folder.parent / "qemu.toml") == str(folder.parent / "qemu.toml")


def test_a_value_of_the_file_knows_its_line(folder):
    (folder / "qemu.toml").write_text("# port = 1\n\nport = 1111\n[[routes]]\n")
    (folder / "qemu.toml").write_text(
        "# port = 1\n\n  'port' = 1111\n[[routes]]\nfrom = 'http://a'\nto = 'http://b'"
    )
    file = read_file(folder / "qemu.toml")

    assert file == ConfigFile(
        path=folder / "qemu.toml",
        values={"port": 1111, "routes": (Route("http://a", "http://b"),)},
        lines={"port": 3, "routes": 4},
    )
    assert file.source("port") == "qemu.toml, line 3"


# Instants


@pytest.mark.parametrize(
    ("text", "time_ms"),
    [
        ("0", 0),
        ("1700000000123", 1_700_000_000_123),
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T02:00:00.001+02:00", 1),
        ("1969-12-31T23:59:59.999Z", -1),
        ("99999-01-01T00:00:00Z", None),
        ("2027-03-28", None),
        ("2027-03-28T00:30:00", None),
        ("yesterday", None),
        ("-1", None),
        ("1e3", None),
        ("", None),
        ("٣", None),
    ],
)
def test_an_instant_is_iso_8601_with_a_zone_or_unix_milliseconds(text, time_ms):
    if time_ms is None:
        with pytest.raises(click.BadParameter):
            InstantType().convert(text, None, None)
    else:
        assert InstantType().convert(text, None, None) == time_ms


@given(st.datetimes(timezones=st.timezones()))
def test_every_instant_that_can_be_written_can_be_read(moment):
    time_ms = InstantType().convert(moment.isoformat(), None, None)

    assert time_ms == InstantType().convert(moment, None, None)
    assert abs(time_ms - moment.timestamp() * 1000) <= 1


@given(st.text(max_size=40))
def test_no_text_makes_an_instant_raise_anything_else(text):
    try:
        time_ms = InstantType().convert(text, None, None)
    except click.BadParameter:
        return
    assert isinstance(time_ms, int)


# Credentials


def keys(current, next):
    return {"QSTASH_CURRENT_SIGNING_KEY": current, "QSTASH_NEXT_SIGNING_KEY": next}


def test_without_variables_the_users_are_the_published_ones():
    """AUTH-10, ENV-11."""
    assert credentials({}) == (DEV_USERS, ())


def test_a_token_of_ones_own_replaces_the_first_users():
    users, own = credentials({"QSTASH_TOKEN": "mine"})

    assert users[0].token == "mine"
    assert users[0].keys == DEV_USERS[0].keys
    assert users[1:] == DEV_USERS[1:]
    assert own == ("QSTASH_TOKEN",)


def test_keys_of_ones_own_replace_the_first_users():
    users, own = credentials(keys("one", "two"))

    assert users[0].token == DEV_USERS[0].token
    assert users[0].keys == SigningKeys("one", "two")
    assert own == ("QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY")


def test_the_published_credentials_are_nobodys_own():
    first = DEV_USERS[0]
    environ = {"QSTASH_TOKEN": first.token} | keys(first.keys.current, first.keys.next)

    assert credentials(environ) == (DEV_USERS, ())


def test_another_published_users_token_puts_that_user_first():
    users, own = credentials({"QSTASH_TOKEN": DEV_USERS[2].token})

    assert users == (DEV_USERS[2], DEV_USERS[0], DEV_USERS[1], DEV_USERS[3])
    assert own == ("QSTASH_TOKEN",)
    assert Settings(users=users).users[0].name == "testUser2"


def test_one_signing_key_alone_is_refused():
    with pytest.raises(SettingsError, match=r"QSTASH_NEXT_SIGNING_KEY .* go together"):
        credentials({"QSTASH_CURRENT_SIGNING_KEY": "one"})


@pytest.mark.parametrize("value", [" ", "a b", "a\n", "é"])
def test_a_credential_that_no_header_can_carry_is_refused_and_not_quoted(value):
    with pytest.raises(SettingsError) as raised:
        credentials({"QSTASH_TOKEN": value})

    assert str(raised.value) == (
        "QSTASH_TOKEN (from environment): must be printable ASCII without spaces"
    )


def test_the_configuration_says_where_it_comes_from(folder, monkeypatch):
    (folder / "qemu.toml").write_text("port = 1111")
    monkeypatch.setenv("QSTASH_TOKEN", "mine")
    configuration = default_configuration()

    assert configuration.file == folder / "qemu.toml"
    assert configuration.own_credentials == ("QSTASH_TOKEN",)
    assert configuration.settings.users[0].token == "mine"


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
