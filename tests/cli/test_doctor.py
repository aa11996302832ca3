"""What the doctor finds."""

import json
import os
import socket
import sys
import threading
import zoneinfo

import pytest
from click.testing import CliRunner

from emulator.cli import cli, doctor
from emulator.cli.configuration import default_configuration
from emulator.cli.doctor import (
    Check,
    Verdict,
    check_destination,
    check_environment,
    check_keys,
    check_loopback,
    check_port,
    check_proxies,
    check_python,
    check_time_zones,
    check_token,
    format_check,
    in_time,
)
from emulator.settings import DEV_USERS, Settings


@pytest.fixture
def listener():
    """Listen on a port and answer nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def port_of(server):
    return server.getsockname()[1]


def test_an_old_python_is_a_problem():
    assert check_python((3, 11, 0)) == Check("python 3.11.0", Verdict.OK)
    assert check_python((3, 10, 9)).verdict is Verdict.FAIL


# The port


def without_health(monkeypatch, health=None):
    monkeypatch.setattr(doctor, "ask_health", lambda url, timeout_s: health)


def test_a_free_port_is_fine(monkeypatch, listener):
    port = port_of(listener)
    listener.close()

    assert check_port(Settings(port=port)) == Check(f"port {port}", Verdict.OK, "free")


def test_any_port_is_fine():
    assert check_port(Settings(port=0)).detail == "any that is free"


def test_a_port_that_a_qemu_has_is_fine(monkeypatch):
    without_health(monkeypatch, {"version": "0.1.0", "pending": 1})
    check = check_port(Settings())

    assert check.verdict is Verdict.OK
    assert check.detail == "a qemu 0.1.0 is serving there (1 message pending)"


def test_a_port_that_somebody_else_has_is_a_problem(monkeypatch, listener):
    without_health(monkeypatch)
    check = check_port(Settings(port=port_of(listener)))

    assert check.verdict is Verdict.FAIL
    assert check.detail == "another program has it"
    assert "--port" in check.remedy


def test_an_address_that_is_not_ours_is_a_problem(monkeypatch):
    without_health(monkeypatch)
    check = check_port(Settings(host="192.0.2.1"))

    assert check.verdict is Verdict.FAIL
    assert check.detail.startswith("192.0.2.1: ")


# Loopback


def resolve(monkeypatch, *addresses):
    def getaddrinfo(*args, **options):
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(0, 0, 0, "", (address, 0)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize(
    ("addresses", "verdict", "detail"),
    [
        (("::1", "127.0.0.1"), Verdict.OK, "localhost is 127.0.0.1 and ::1"),
        (("127.0.0.1",), Verdict.OK, "localhost is 127.0.0.1"),
        (("::1",), Verdict.WARN, "localhost is ::1"),
        (("10.0.0.1",), Verdict.FAIL, "localhost is 10.0.0.1"),
        (("127.0.0.1", "10.0.0.1"), Verdict.FAIL, "localhost is 10.0.0.1 and 127.0.0"),
        ((), Verdict.FAIL, "localhost can't be resolved: Name or service not known"),
    ],
)
def test_localhost_must_mean_this_machine(monkeypatch, addresses, verdict, detail):
    resolve(monkeypatch, *addresses)
    check = check_loopback()

    assert check.verdict is verdict
    assert check.detail.startswith(detail)
    assert bool(check.remedy) is (verdict is not Verdict.OK)


# The environment


@pytest.mark.parametrize(
    ("environ", "verdict"),
    [
        ({}, Verdict.OK),
        ({"HTTP_PROXY": ""}, Verdict.OK),
        ({"HTTPS_PROXY": "http://p"}, Verdict.OK),
        ({"HTTP_PROXY": "http://p"}, Verdict.WARN),
        ({"all_proxy": "http://p", "NO_PROXY": "localhost"}, Verdict.WARN),
        ({"HTTP_PROXY": "http://p", "NO_PROXY": "localhost, 127.0.0.1"}, Verdict.OK),
        ({"HTTP_PROXY": "http://p", "no_proxy": "*"}, Verdict.OK),
    ],
)
def test_a_proxy_that_an_sdk_would_use_is_worth_a_warning(environ, verdict):
    check = check_proxies(environ)

    assert check.verdict is verdict
    assert bool(check.remedy) is (verdict is Verdict.WARN)


def test_a_missing_time_zone_database_is_worth_a_warning(monkeypatch):
    def missing(key):
        raise zoneinfo.ZoneInfoNotFoundError(key)

    monkeypatch.setattr(zoneinfo, "ZoneInfo", missing)

    assert check_time_zones().verdict is Verdict.WARN


def test_the_time_zone_database_says_its_version(monkeypatch, tmp_path):
    (tmp_path / "tzdata.zi").write_text("# version 2026f\nmore")
    monkeypatch.setattr(zoneinfo, "ZoneInfo", lambda key: None)
    monkeypatch.setattr(zoneinfo, "TZPATH", (str(tmp_path / "no"), str(tmp_path)))

    assert check_time_zones() == Check("time zone data", Verdict.OK, "2026f")


@pytest.mark.parametrize(("spec", "detail"), [(object(), "tzdata"), (None, "")])
def test_a_database_without_a_version_is_fine(monkeypatch, spec, detail):
    monkeypatch.setattr(zoneinfo, "ZoneInfo", lambda key: None)
    monkeypatch.setattr(zoneinfo, "TZPATH", ())
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)

    assert check_time_zones() == Check("time zone data", Verdict.OK, detail)


def test_keys_of_ones_own_are_worth_a_warning(monkeypatch):
    """ENV-7."""
    assert check_keys(default_configuration()).verdict is Verdict.OK

    monkeypatch.setenv("QSTASH_TOKEN", "mine")
    assert check_keys(default_configuration()).verdict is Verdict.OK
    monkeypatch.delenv("QSTASH_TOKEN")
    monkeypatch.setenv("QSTASH_CURRENT_SIGNING_KEY", "one")
    monkeypatch.setenv("QSTASH_NEXT_SIGNING_KEY", "two")
    check = check_keys(default_configuration())
    assert check.verdict is Verdict.WARN
    assert "QSTASH_CURRENT_SIGNING_KEY, QSTASH_NEXT_SIGNING_KEY" in check.detail


# Whom an SDK would call


@pytest.mark.parametrize(
    ("url", "verdict", "detail"),
    [
        ("", Verdict.OK, "not set here"),
        ("http://127.0.0.1:8080", Verdict.OK, "http://127.0.0.1:8080"),
        (" http://localhost:8080/ ", Verdict.OK, "http://localhost:8080/"),
        ("http://[::1]:8080", Verdict.OK, "http://[::1]:8080"),
        ("http://127.0.0.1:8081", Verdict.WARN, "is not this qemu"),
        ("https://127.0.0.1:8080", Verdict.WARN, "is not this qemu"),
        ("https://qstash.upstash.io", Verdict.WARN, "is not this qemu"),
        ("http://127.0.0.1:8080/v2", Verdict.FAIL, "has a path"),
        ("127.0.0.1:8080", Verdict.FAIL, "is not a URL"),
        ("http://", Verdict.FAIL, "is not a URL"),
        ("http://a:x", Verdict.FAIL, "is not a URL"),
        ("http://\x1b[2J", Verdict.FAIL, "is not a URL"),
    ],
)
def test_the_environments_url_should_be_ours(url, verdict, detail):
    """ENV-5."""
    check = check_environment(Settings(), {"QSTASH_URL": url})

    assert check.verdict is verdict
    assert check.detail.endswith(detail) or detail in check.detail
    assert check.detail.isprintable()
    assert bool(check.remedy) is (verdict is not Verdict.OK)
    assert check_environment(Settings(), {}).detail == "not set here"


def test_another_address_of_ours_has_one_name():
    here = Settings(host="192.0.2.1")

    for url, verdict in (
        ("http://192.0.2.1:8080", Verdict.OK),
        ("http://localhost:8080", Verdict.WARN),
    ):
        assert check_environment(here, {"QSTASH_URL": url}).verdict is verdict


@pytest.mark.parametrize(
    ("status", "verdict"), [(200, Verdict.OK), (401, Verdict.FAIL), (500, None)]
)
def test_a_qemu_that_runs_should_know_the_token(
    monkeypatch, answering, status, verdict
):
    """AUTH-6."""
    without_health(monkeypatch, {"version": "0.1.0", "pending": 0})
    server = answering(b'{"error":"x"}', status=status)
    check = check_token(Settings(port=server.server_port))

    assert (None if check is None else check.verdict) is verdict
    request, headers = server.seen[0]
    assert request.startswith("GET /v2/keys ")
    assert headers["Authorization"] == f"Bearer {DEV_USERS[0].token}"


def test_where_no_qemu_runs_no_token_is_tried(monkeypatch, closed_port):
    without_health(monkeypatch)
    assert check_token(Settings(port=closed_port)) is None
    assert check_token(Settings(port=0)) is None

    without_health(monkeypatch, {"version": "0.1.0", "pending": 0})
    assert check_token(Settings(port=closed_port)) is None


def test_the_token_is_one_of_the_checks(sound, monkeypatch):
    monkeypatch.setattr(
        doctor, "check_token", lambda settings: Check("token", Verdict.FAIL)
    )

    assert "• token .." in run().output


# The destination


def test_a_destination_that_listens_is_fine(listener):
    check = check_destination(f"http://127.0.0.1:{port_of(listener)}/api/hook")

    assert check.verdict is Verdict.OK


def test_a_destination_that_refuses_is_a_problem(listener):
    port = port_of(listener)
    listener.close()
    check = check_destination(f"http://127.0.0.1:{port}")

    assert check.verdict is Verdict.FAIL
    assert check.detail == "connection refused"
    assert "Start your app" in check.remedy


@pytest.mark.parametrize(
    "url", ["localhost:3000", "ftp://a", "http://", "http://a:x", "http://[", "\x1b"]
)
def test_what_is_no_url_is_a_problem(url):
    check = check_destination(url)

    assert check.verdict is Verdict.FAIL
    assert check.detail == "not a URL"
    assert check.name.isprintable()


@pytest.mark.parametrize(
    "error", [OSError("no route"), socket.gaierror(8, "unknown"), UnicodeError("idna")]
)
def test_whatever_keeps_a_destination_from_being_reached_is_said(monkeypatch, error):
    def fail(*args, **options):
        raise error

    monkeypatch.setattr(socket, "create_connection", fail)

    assert check_destination("https://a").detail in ("no route", "unknown", "idna")


# All together


def test_a_check_is_given_up_when_its_time_is_over():
    release = threading.Event()

    def slow():
        release.wait(5)
        return Check("slow", Verdict.OK)

    check = in_time("slow", slow, 0.01)
    release.set()

    assert check.verdict is Verdict.FAIL
    assert check.detail == "no answer within 0.01 s"
    assert in_time("quick", lambda: Check("quick", Verdict.OK), 5).detail == ""


def test_a_check_is_a_line_and_its_remedy_another():
    check = Check("loopback", Verdict.FAIL, "localhost is 10.0.0.1", "Correct it.")

    assert format_check(check) == (
        f"• loopback {'.' * 27} FAIL localhost is 10.0.0.1\n    Correct it."
    )
    assert format_check(Check("a" * 50, Verdict.OK)) == f"• {'a' * 50} .. ok"


@pytest.fixture
def sound(monkeypatch, tmp_path):
    """Make the machine a sound one."""
    monkeypatch.chdir(tmp_path)
    resolve(monkeypatch, "127.0.0.1", "::1")
    without_health(monkeypatch, {"version": "0.1.0", "pending": 0})
    monkeypatch.setattr(doctor, "check_proxies", lambda environ: Check("p", Verdict.OK))
    return tmp_path


def run(*args):
    return CliRunner().invoke(cli, ["doctor", *args], prog_name="qemu")


def test_a_sound_machine_has_no_problems(sound):
    (sound / "qemu.toml").write_text("port = 1234")
    result = run()
    names = [line.split(" ..")[0] for line in result.output.splitlines()]
    version = ".".join(map(str, sys.version_info[:3]))

    assert names == [
        f"• python {version}",
        "• settings (qemu.toml)",
        "• port 1234",
        "• loopback",
        "• p",
        "• time zone data",
        "• signing keys",
        "• QSTASH_URL",
        "no problems",
    ]
    assert result.exit_code == 0


def test_problems_are_counted_and_decide_the_exit_code(sound):
    result = run("--destination", "nonsense", "--port", "1234")

    assert result.output.splitlines()[-1] == "1 problem"
    assert "• port 1234" in result.output
    assert result.exit_code == 1


def test_bad_settings_are_a_problem_that_leaves_the_other_checks_alone(sound):
    (sound / "qemu.toml").write_text("port = 'x'")
    result = run()

    assert "FAIL port (from qemu.toml, line 1): must be an integer" in result.output
    assert "• loopback" in result.output
    assert result.exit_code == 1


def test_programs_get_one_object_per_check(sound):
    result = run("--json")
    checks = [json.loads(line) for line in result.output.splitlines()]

    assert {key: value for key, value in checks[2].items() if key != "detail"} == {
        "name": "port 8080",
        "verdict": "ok",
        "remedy": "",
    }


def test_a_bad_argument_is_a_usage_error(sound):
    assert run("--port", "x").exit_code == 2
    assert run("--config", os.devnull + "x").exit_code == 2
