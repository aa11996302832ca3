"""The settings file: which one applies, and what it may say."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import click
import pytest

from emulator.cli.configuration import default_configuration
from emulator.cli.file_keys import SECTIONS, TABLES, VALUES, key_of, name_of
from emulator.cli.options import setting_options
from emulator.cli.settings_file import find_file, read_file, shown_path
from emulator.core.faults import Fault, FaultKind
from emulator.core.reroute import Route
from emulator.errors import SettingsError
from emulator.settings import Settings


def chosen(*args):
    return default_configuration(*args).settings


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\nprot = 1", "prot (from qemu.toml, line 2): unknown key; did you"),
        ("prot = 1", "did you mean 'port'?"),
        ("tunnel.token = 'x'", "did you mean 'token-file'?"),
        ("start_time = 1", "did you mean 'start-time'?"),
        ("[console]\nx = 1", "console (from qemu.toml, line 1): unknown key"),
        ("port = 'x'", "port (from qemu.toml, line 1): must be an integer"),
        ("port = true", "port (from qemu.toml, line 1): must be an integer"),
        ("strict = 1", "strict (from qemu.toml, line 1): must be true or false"),
        (
            "port = 65536",
            "port (from qemu.toml, line 1): must be a whole number from 0 to 65535, "
            'not "65536"',
        ),
        ("speed = nan", "speed (from qemu.toml, line 1): must be above 0"),
        ("quota = 'gold'", "quota (from qemu.toml, line 1): 'gold' is not one of"),
        ("grace-ms = -1", "grace-ms (from qemu.toml, line 1): must not be negative"),
        ("start-time = 2027-03-28T00:30:00", "start-time (from qemu.toml, line 1): "),
        ("start-time = 2027-03-28", "must be a date with time and zone"),
        ("port =\nx", "TOML (from qemu.toml): Invalid value (at line 1, column 7)"),
        ("a = " + "[" * 9999, "TOML (from qemu.toml)"),
        ("routes = [1]", "routes[0] (from qemu.toml, line 1): must be a table"),
        ("routes = 1", "routes (from qemu.toml, line 1): must be tables: [[routes]]"),
        ("[[routes]]\nform = 'x'", "routes[0].form (from qemu.toml, line 2): unknown"),
        ("[[routes]]\nfrom = 'x'", "routes[0].to (from qemu.toml, line 1): is missing"),
        ("[[routes]]\nfrom = 1", "routes[0].from (from qemu.toml, line 2): must be a"),
        ("allowed-hosts = 'a'", "allowed-hosts (from qemu.toml, line 1): must be str"),
        ("allowed-hosts = [1]", "allowed-hosts (from qemu.toml, line 1): must be str"),
        ("allowed-origins = ['a']", "allowed-origins (from qemu.toml, line 1): must"),
        ("[[faults]]\nkind = 'x'", "faults[0] (from qemu.toml, line 1): kind must be"),
        ("[[faults]]\nkind = 'x'", 'next-key, not "x"'),
        (
            "[tool.qemu]\nport = 1",
            "tool (from qemu.toml, line 1): leave out the prefix tool.qemu: it is for "
            "pyproject.toml",
        ),
        (
            "routes = [{from = 'http://A', to = 'http://b'},\n"
            "{from = 'http://a:80', to = 'http://c'}]",
            "routes (from qemu.toml, line 1): http://a:80 has two routes",
        ),
        ("zebra = 1", "zebra (from qemu.toml, line 1): unknown key"),
        ("[[faults]]\nkind = 1", "faults[0].kind (from qemu.toml, line 2): must be a"),
        ("[[queues]]\nname = 'a'\npause = true", "did you mean 'paused'?"),
        ("relay = 1", "relay (from qemu.toml, line 1): must be a table: [relay]"),
        ("[tunnel]\nrelai = 'x'", "tunnel.relai (from qemu.toml, line 2): unknown key"),
        ("[tunnel]\nallow = 'x'", "tunnel.allow (from qemu.toml, line 2): must be str"),
        ("[relay]\nkey-file = [1]", "relay.key-file (from qemu.toml, line 2): must"),
        ("[relay]\nsecret = 'x'", "relay.secret (from qemu.toml, line 2): unknown key"),
        ("[tunnel]\ntoken = 'x'", "tunnel.token (from qemu.toml, line 2): unknown key"),
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

    assert file.values == {"port": 1111, "routes": (Route("http://a", "http://b"),)}
    assert file.lines == {"port": 3, "routes": 4}
    assert str(file.source("port")) == "qemu.toml, line 3"


@pytest.mark.parametrize("prefix", ["", "tool.qemu."])
def test_a_table_knows_its_line(folder, prefix):
    path = folder / ("pyproject.toml" if prefix else "qemu.toml")
    path.write_text(
        f"""\
[[{prefix}url-groups]]
name = "a"
endpoints = [{{url = "http://a"}}]
[{prefix}url-groups.headers]
Upstash-Retries = "1"

  [[ {prefix}"url-groups" ]]
name = "b"
endpoints = []
"""
    )
    groups = read_file(path).tables["url-groups"]

    assert [table.source.line for table in groups] == [1, 7]
    assert [table.name for table in groups] == ["url-groups[0]", "url-groups[1]"]


def test_the_tables_of_an_inline_array_stand_on_its_line(folder):
    (folder / "qemu.toml").write_text('seed = 1\nqueues = [{name="a"}, {name="b"}]')
    queues = read_file(folder / "qemu.toml").tables["queues"]

    assert [table.source.line for table in queues] == [2, 2]


def test_a_key_of_a_table_knows_its_line(folder):
    (folder / "qemu.toml").write_text(
        """\
[[schedules]]
id = "id"
cron = "* * * * *"

destination = "http://a"
[schedules.headers]
"Content-Type" = "a"

[[schedules]]
  'id' = "b"
cron = "* * * * *"
destination = "http://a"
headers.X-A = "1"
"""
    )
    first, second = read_file(folder / "qemu.toml").tables["schedules"]

    assert first.lines == {
        "id": 2,
        "cron": 3,
        "destination": 5,
        "headers": 6,
        "Content-Type": 7,
    }
    assert second.lines == {
        "id": 10,
        "cron": 11,
        "destination": 12,
        "headers": 13,
        "X-A": 13,
    }
    assert second.source_of("id").line == 10
    assert second.source_of("body").line == 9


# The documented example

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "settings-file.md"


def documented_example():
    (example,) = re.findall(r"^```toml\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    return example


def test_the_documented_example_can_be_used(folder):
    (folder / "qemu.toml").write_text(documented_example())
    settings = chosen()

    assert settings.speed == 60
    assert settings.faults == (
        Fault(
            kind=FaultKind.RATE_LIMIT,
            destination="*/api/hook",
            probability=0.5,
            times=3,
        ),
    )
    assert settings.users[-1].name == "alice"
    assert settings.declared.queues == (("emails", 2, False),)
    assert [endpoint.name for endpoint in settings.declared.url_groups[0][1]] == [
        "one",
        None,
    ]
    assert settings.declared.schedules[0][2].queue_name == "emails"


def test_the_documented_example_has_every_key():
    document = tomllib.loads(documented_example())

    assert set(document) == {*VALUES, *TABLES, *SECTIONS}
    for key, kinds in TABLES.items():
        assert set(document[key][0]) == set(kinds)
    for key, kinds in SECTIONS.items():
        assert set(document[key]) == set(kinds)


def test_every_setting_can_be_in_the_file():
    """Of the fields of `Settings`, `declared` has three keys."""
    keys = {*VALUES, *TABLES} - {"color", "full-ids"}
    declared = {"queues", "url-groups", "schedules"}

    assert keys - declared == {key_of(field.name) for field in fields(Settings)} - {
        "declared"
    }


@pytest.mark.parametrize("key", sorted({*VALUES, *TABLES}))
def test_a_key_and_its_name_in_python_belong_together(key):
    assert key_of(name_of(key)) == key


def test_the_documented_mistake_is_reported_like_that(folder):
    (folder / "qemu.toml").write_text("\n" * 10 + '[[queues]]\nparallelism = "2"')
    with pytest.raises(SettingsError) as raised:
        chosen()

    assert f"Error: {raised.value}\n" in PAGE.read_text()


# The tables of commands


def test_a_commands_table_is_as_a_file_of_its_own(folder):
    (folder / "qemu.toml").write_text(
        """\
port = 1111
[tunnel]
relay = "wss://relay.example.dev"
token-file = "secrets/token"
[relay]
key-file = ["a.pem", "/etc/b.pem"]
port = 2222
"""
    )
    file = read_file(folder / "qemu.toml")
    tunnel, relay = file.sections["tunnel"], file.sections["relay"]

    assert file.values == {"port": 1111}
    assert tunnel.values == {
        "relay": "wss://relay.example.dev",
        "token_file": str(folder / "secrets/token"),
    }
    assert relay.values == {
        "key_file": [str(folder / "a.pem"), "/etc/b.pem"],
        "port": 2222,
    }
    assert str(tunnel.source("relay")) == "qemu.toml, line 3"
    assert str(relay.source("port")) == "qemu.toml, line 7"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("relay.port = 1\n", 1),
        ("relay = {port = 1}\n", 1),
        ("[tunnel]\nrelay = 'ws://a'\n[ 'relay' ]\nport = 1\n", 4),
    ],
)
def test_a_commands_table_is_found_however_it_is_written(folder, text, line):
    (folder / "qemu.toml").write_text(text)
    relay = read_file(folder / "qemu.toml").sections["relay"]

    assert relay.lines == {"port": line}


def test_a_commands_table_can_be_in_the_projects_file(folder):
    (folder / "pyproject.toml").write_text("[tool.qemu.relay]\nport = 1\n")
    relay = read_file(folder / "pyproject.toml").sections["relay"]

    assert str(relay.source("port")) == "pyproject.toml, line 2"


def test_tables_of_other_commands_mean_nothing_to_start(folder):
    (folder / "qemu.toml").write_text("[relay]\nport = 2222")

    assert chosen() == Settings()
