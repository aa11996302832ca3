"""`qemu config`."""

import json
from dataclasses import fields

import pytest
from click.testing import CliRunner

from emulator.cli import cli
from emulator.cli.config import Row, format_rows
from emulator.cli.file_keys import SECTIONS, key_of
from emulator.cli.sources import DEFAULT, Origin, Source
from emulator.settings import DEV_USERS, Settings

FILE = """\
port = 1111
llm-upstream = "http://me:hush@localhost:11434"

[[users]]
name = "alice"
token = "alices"
current-signing-key = "sig_a"
next-signing-key = "sig_b"
read-only-token = "reads"

[[faults]]
kind = "duplicate"
times = 2

[[queues]]
name = "emails"

[[queues]]
name = "reports"
parallelism = 2
paused = true

[[url-groups]]
name = "team"
endpoints = [{ url = "http://a" }, { url = "http://me:hush@b", name = "b" }]
headers = { Upstash-Forward-Authorization = "hush" }

[[schedules]]
id = "nightly"
cron = "0 3 * * *"
destination = "http://localhost:3000/nightly"
headers = { Upstash-Forward-Authorization = "hush" }
"""

PUBLISHED = {
    "name": "defaultUser",
    "token": DEV_USERS[0].token,
    "current-signing-key": DEV_USERS[0].keys.current,
    "next-signing-key": DEV_USERS[0].keys.next,
}

ALICE = {
    "name": "alice",
    "token": "alices",
    "current-signing-key": "sig_a",
    "next-signing-key": "sig_b",
    "read-only-token": "reads",
}


def run(*args, **options):
    result = CliRunner().invoke(cli, ["config", *args], prog_name="qemu", **options)
    assert result.exit_code == 0, result.output
    return result.output


def objects(*args, **options):
    return [json.loads(line) for line in run("--json", *args, **options).splitlines()]


def values(*args, **options):
    return {row["setting"]: row["value"] for row in objects(*args, **options)}


def test_every_setting_has_a_row():
    rows = {row["setting"] for row in objects()}
    names = {field.name for field in fields(Settings)} - {"declared"}
    names |= {"queues", "url_groups", "schedules", "color", "full_ids"}

    assert rows == {key_of(name) for name in names} | {
        "tunnel.token",
        "relay.secret",
        *(f"{section}.{key}" for section in SECTIONS for key in SECTIONS[section]),
    }


def test_each_value_is_shown_with_the_place_where_it_was_written(folder):
    (folder / "qemu.toml").write_text("port = 1111\nquota = 'pro'\nfull-ids = true")
    environ = {"QEMU_PORT": "2222", "QEMU_LLM_UPSTREAM": "http://llm"}
    rows = {
        line.split()[0]: line.split(maxsplit=1)[1]
        for line in run("--seed", "7", env=environ).splitlines()
    }

    assert rows["SETTING"].split() == ["FROM", "VALUE"]
    assert rows["host"].split() == ["default", "127.0.0.1"]
    assert rows["port"].split() == ["QEMU_PORT", "2222"]
    assert rows["quota"].split() == ["qemu.toml,", "line", "2", "pro"]
    assert rows["seed"].split() == ["--seed", "7"]
    assert rows["llm-upstream"].split() == ["QEMU_LLM_UPSTREAM", "http://llm"]
    assert rows["full-ids"].split() == ["qemu.toml,", "line", "3", "true"]


def test_programs_get_one_object_per_setting(folder):
    (folder / "qemu.toml").write_text("\nseed = 7")
    rows = objects(
        "--port", "1", "--route", "http://a=http://b", env={"QEMU_HOST": "a"}
    )

    assert {"setting": "port", "value": 1, "from": "flag", "name": "--port"} in rows
    assert {
        "setting": "host",
        "value": "a",
        "from": "environment",
        "name": "QEMU_HOST",
    } in rows
    assert {
        "setting": "seed",
        "value": 7,
        "from": "file",
        "name": "qemu.toml",
        "line": 2,
    } in rows
    assert {
        "setting": "routes",
        "value": ["http://a=http://b"],
        "from": "flag",
        "name": "--route",
    } in rows
    assert {"setting": "strict", "value": False, "from": "default"} in rows


def test_each_user_has_a_row_and_secrets_are_masked_unless_published(folder):
    (folder / "qemu.toml").write_text(FILE)
    users = [
        (row["value"], row["from"])
        for row in objects(env={"QSTASH_TOKEN": "mine"})
        if row["setting"] == "users"
    ]

    assert users[0] == (
        PUBLISHED | {"name": "environment", "token": "********"},
        "environment",
    )
    assert users[1] == (PUBLISHED, "default")
    assert users[-1] == ({key: "********" for key in ALICE} | {"name": "alice"}, "file")


def test_nothing_secret_is_printed_unless_asked_for(folder):
    (folder / "qemu.toml").write_text(FILE)

    for output in (run(), run("--json")):
        assert "hush" not in output
        assert "alices" not in output
        assert "sig_a" not in output
        assert "reads" not in output


def test_secrets_can_be_shown(folder):
    (folder / "qemu.toml").write_text(FILE)
    shown = values("--show-secrets")

    assert shown["users"] == ALICE
    assert shown["llm-upstream"] == "http://me:hush@localhost:11434"


def test_what_is_declared_is_shown(folder):
    (folder / "qemu.toml").write_text(FILE)
    shown = values()

    assert shown["faults"] == [
        {"kind": "duplicate", "destination": "*", "probability": 1.0, "times": 2}
    ]
    assert shown["queues"] == [
        {"name": "emails", "parallelism": 1, "paused": False},
        {"name": "reports", "parallelism": 2, "paused": True},
    ]
    assert shown["url-groups"] == [
        {"name": "team", "endpoints": ["http://a", "http://********@b"]}
    ]
    assert shown["schedules"] == [
        {
            "id": "nightly",
            "cron": "0 3 * * *",
            "destination": "http://localhost:3000/nightly",
        }
    ]


def test_what_was_given_to_start_can_be_given_here():
    args = ("--port", "1", "-v", "--quiet", "--color", "never", "--full-ids")
    shown = values(*args)

    assert (shown["port"], shown["color"], shown["full-ids"]) == (1, "never", True)


def test_the_tables_of_tunnel_and_relay_are_shown_with_their_places(folder):
    (folder / "qemu.toml").write_text(
        "[tunnel]\ntarget = 3000\nrelay = 'wss://me:secret@relay.test'\n"
        "path = ['/api', '/hook']\ntoken-file = 'token'\n"
        "[relay]\nhold = '2m'\n"
    )
    rows = {row["setting"]: row for row in objects(env={"QEMU_TUNNEL_NAME": "alice"})}

    def shown(setting):
        row = rows[setting]
        return row["value"], row.get("line", row["from"])

    assert shown("tunnel.target") == (3000, 2)
    assert shown("tunnel.relay") == ("wss://********@relay.test", 3)
    assert shown("tunnel.path") == (["/api", "/hook"], 4)
    assert shown("tunnel.token-file") == (str(folder / "token"), 5)
    assert shown("tunnel.name") == ("alice", "environment")
    assert shown("relay.hold") == ("120s", 7)
    assert shown("relay.drain") == ("10s", "default")
    assert shown("tunnel.token") == (None, "default")


def test_token_and_secret_of_a_relay_are_never_shown_only_where_they_are():
    environ = {"QEMU_RELAY_TOKEN": "opens", "QEMU_RELAY_SECRET": "signs"}
    output = run("--show-secrets", env=environ)

    assert "opens" not in output
    assert "signs" not in output
    assert "tunnel.token            QEMU_RELAY_TOKEN   ********\n" in output


def test_a_table_that_its_command_would_refuse_ends_config_as_well(folder):
    (folder / "qemu.toml").write_text("[relay]\nhold = 'soon'")
    result = CliRunner().invoke(cli, ["config"], prog_name="qemu")

    assert result.exit_code == 3
    assert result.stderr.startswith("Error: hold (from qemu.toml, line 2)")


def test_a_bad_setting_ends_as_it_would_end_start(folder):
    (folder / "qemu.toml").write_text("prot = 1")
    result = CliRunner().invoke(cli, ["config"], prog_name="qemu")

    assert result.exit_code == 3
    assert result.stderr.startswith("Error: prot (from qemu.toml, line 1)")


@pytest.mark.parametrize(
    ("setting", "value", "text"),
    [
        ("seed", None, "-"),
        ("routes", [], "-"),
        ("strict", True, "true"),
        ("start-time", 1_806_193_800_000, "2027-03-28 00:30:00 UTC"),
        ("users", {"name": "a", "paused": False}, "name=a  paused=false"),
        ("url-groups", [{"endpoints": ["http://a", "b"]}], "endpoints=http://a,b"),
        ("color", "\x1b[2J", "\\x1b[2J"),
    ],
)
def test_a_value_is_written_as_people_read_it(setting, value, text):
    lines = format_rows([Row(setting, value, DEFAULT)]).splitlines()

    assert lines[1].split(maxsplit=2)[2:] == [text]


def test_rows_are_aligned_and_several_values_have_a_line_each():
    rows = [
        Row("host", "::1", Source(Origin.ENVIRONMENT, "QEMU_HOST")),
        Row("routes", ["http://a=http://b", "http://c=http://d"], DEFAULT),
    ]

    assert format_rows(rows) == (
        "SETTING  FROM       VALUE\n"
        "host     QEMU_HOST  ::1\n"
        "routes   default    http://a=http://b\n"
        "routes   default    http://c=http://d"
    )
