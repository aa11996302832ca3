"""`qemu relay`, around a relay that does nothing; and its tokens."""

import errno
import json
import os
import socket
import ssl

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

import tunnel.relay
from emulator.cli import cli
from emulator.cli import relay_serving as serving_module
from emulator.cli.event_screen import EventScreen
from emulator.cli.process import Stop
from emulator.engine.clock import real_now_ms
from tests.cli.backstage import IdleRelay
from tunnel.access import Verifier
from tunnel.events import TunnelCame, TunnelWent
from tunnel.settings import RelaySettings

SECRET = "0123456789abcdef0123456789abcdef"

PUBLIC_PEM = (
    ed25519.Ed25519PrivateKey.generate()
    .public_key()
    .public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
)

CAME = TunnelCame(
    "brave-otter", "http://brave-otter.localhost:8000", "203.0.113.7", "alice", 1, False
)


@pytest.fixture
def backstage(monkeypatch):
    backstage = IdleRelay()
    backstage.on_stage(monkeypatch)
    monkeypatch.setattr(tunnel.relay, "Relay", backstage.make)
    return backstage


def run(*args, **options):
    return CliRunner().invoke(cli, ["relay", *args], prog_name="qemu", **options)


def chosen(backstage, *args, **options):
    backstage.stops = [Stop.INTERRUPT]
    result = run(*args, **options)
    assert result.exit_code == 0, result.output
    return backstage.settings


# What is printed


def test_a_relay_prints_its_addresses_and_that_it_runs(backstage):
    result = run()

    assert result.stdout.splitlines() == [
        "",
        "  Public   http://<name>.localhost:8000",
        "  Tunnels  ws://localhost:8000",
        "  Access   anybody on this machine: there is no secret",
        "",
        "qemu relay is running at http://localhost:8000 (Ctrl-C to stop)",
        "",
    ]
    assert result.stderr == ""
    assert result.exit_code == 0


def test_a_relay_that_others_reach_says_so(backstage):
    lines = run("--host", "0.0.0.0", env={"QEMU_RELAY_SECRET": SECRET}).stdout

    assert "\n  Listens  0.0.0.0, port 8000\n" in lines
    assert "\n  Access   with a token: qemu relay token\n" in lines
    assert SECRET not in lines


def test_each_tunnel_that_comes_or_goes_is_a_line(backstage):
    backstage.happenings = [
        CAME,
        TunnelWent("brave-otter", "no sign of life", False),
        TunnelWent("brave-otter", "it didn't come back", True),
    ]
    lines = run().stdout.splitlines()[7:]

    assert [line[14:] for line in lines] == [
        "brave-otter came from 203.0.113.7 (alice)",
        "brave-otter lost its link: no sign of life",
        "brave-otter went: it didn't come back",
    ]


def test_verbose_prints_addresses_too(backstage):
    backstage.happenings = [CAME]

    assert "(alice), http://brave-otter.localhost:8000" in run("-v").stdout


def test_color_is_on_demand(backstage):
    backstage.happenings = [CAME]

    assert "\x1b[32mbrave-otter came" in run("--color", "always").stdout


def test_programs_get_json(backstage):
    backstage.happenings = [CAME]
    result = run("--json")
    ready, came, stopping, stopped = map(json.loads, result.stdout.splitlines())

    assert ready == {
        "type": "ready",
        "url": "http://localhost:8000",
        "linkUrl": "ws://localhost:8000",
        "pattern": "http://<name>.localhost:8000",
        "pid": os.getpid(),
    }
    assert (came["type"], came["name"]) == ("came", "brave-otter")
    assert (stopping, stopped) == ({"type": "stopping"}, {"type": "stopped"})
    assert "qemu relay is running at" in result.stderr


def test_quiet_prints_nothing_and_hears_of_nothing(backstage):
    result = run("--quiet")

    assert result.output == ""
    assert backstage.tell is None


def test_the_settings_file_is_named(backstage, folder):
    (folder / "qemu.toml").write_text("[relay]\nport = 9000")

    assert "\n  Config   qemu.toml\n" in run().stdout


# The end


@pytest.mark.parametrize(
    ("stop", "drain_s"),
    [(Stop.INTERRUPT, 10), (Stop.TERMINATE, 10), (Stop.HANGUP, 0), (Stop.UNREAD, 0)],
)
def test_who_stops_it_decides_whether_it_drains(backstage, stop, drain_s):
    backstage.stops = [stop]
    result = run()

    assert backstage.drained_s == drain_s
    assert result.exit_code == 0


def test_how_long_it_drains_can_be_chosen(backstage):
    run("--drain", "2m")

    assert backstage.drained_s == 120


def test_the_second_ctrl_c_stops_at_once(backstage):
    backstage.stops = [Stop.INTERRUPT, Stop.INTERRUPT]
    backstage.drains = True

    assert run().exit_code == 130


def test_an_end_that_takes_long_is_worth_a_word(backstage, monkeypatch):
    say = EventScreen.say

    def say_and_ask(screen, text):
        if text.startswith("stopping"):
            backstage.ask(Stop.INTERRUPT)
        return say(screen, text)

    monkeypatch.setattr(EventScreen, "say", say_and_ask)
    monkeypatch.setattr("emulator.cli.foreground._PATIENCE_S", 0.001)
    backstage.drains = True
    result = run()

    assert result.stdout.splitlines()[-1] == (
        "stopping: requests are under way (Ctrl-C again to stop now)"
    )
    assert result.exit_code == 130


def test_a_terminal_that_closes_while_draining_stops_at_once_and_well(backstage):
    backstage.stops = [Stop.INTERRUPT, Stop.HANGUP]
    backstage.drains = True

    assert run().exit_code == 0


def test_an_address_in_use_ends_with_4(backstage, monkeypatch):
    monkeypatch.setattr("emulator.cli.start.ask_health", lambda *a, **k: None)
    backstage.start_error = OSError(errno.EADDRINUSE, "in use")
    result = run("--port", "1234")

    assert result.exit_code == 4
    assert result.stderr.splitlines() == [
        "Error: address already in use: 127.0.0.1:1234",
        "  Another program is listening there.",
        "  Stop it, or start on another port: qemu relay --port 1235",
    ]


# The socket of a service manager


def test_a_socket_that_is_passed_is_listened_on(backstage, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        passed = os.dup(server.fileno())
        monkeypatch.setattr(serving_module, "_FIRST_PASSED", passed)
        result = run(env={"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"})

        assert result.exit_code == 0
        assert "  Listens  127.0.0.1, port 8000, as the service manager says\n" in (
            result.stdout
        )
        with backstage.listener as listener:
            assert listener.getsockname() == server.getsockname()


def test_a_socket_that_others_reach_needs_a_secret_too(monkeypatch):
    with socket.create_server(("0.0.0.0", 0)) as server:
        passed = os.dup(server.fileno())
        monkeypatch.setattr(serving_module, "_FIRST_PASSED", passed)
        result = run(env={"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"})

    assert result.exit_code == 3
    assert "without a secret, anybody who reaches 0.0.0.0 could" in result.stderr


def test_a_socket_that_is_passed_to_another_process_is_none_of_ours(backstage):
    run(env={"LISTEN_PID": "1", "LISTEN_FDS": "1"})

    assert backstage.listener is None


@pytest.mark.parametrize(("count", "shown"), [("2", "2"), ("", "no")])
def test_two_sockets_are_one_too_many(backstage, count, shown):
    result = run(env={"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": count})

    assert result.exit_code == 3
    assert f"the service manager passes {shown} sockets, not one" in result.stderr


def test_output_that_cannot_be_written_is_an_error(backstage, monkeypatch):
    def full(text, file, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("emulator.cli.output.click.echo", full)
    backstage.stops = []
    backstage.happenings = [CAME]
    result = run()

    assert result.exit_code == 1
    assert result.stderr == "Error: can't write the output: No space left on device\n"


def test_quiet_and_verbose_exclude_each_other(backstage):
    assert run("-q", "-v").exit_code == 2


# Settings


def test_the_defaults_are_those_of_the_relay(backstage):
    assert chosen(backstage) == RelaySettings()


@pytest.mark.parametrize(
    ("flag", "variable", "text", "toml", "field", "value"),
    [
        ("--host", "QEMU_RELAY_HOST", "::1", "host = '::1'", "host", "::1"),
        ("--port", "QEMU_RELAY_PORT", "1", "port = 1", "port", 1),
        ("--domain", "QEMU_RELAY_DOMAIN", "a.test", "domain = 'a.test'", "domain", ...),
        ("--hold", "QEMU_RELAY_HOLD", "1m", "hold = '1m'", "hold_s", 60),
        ("--drain", "QEMU_RELAY_DRAIN", "1s", "drain = '1s'", "drain_s", 1),
        (
            "--max-body",
            "QEMU_RELAY_MAX_BODY",
            "1KB",
            "max-body = '1KB'",
            "max_body_bytes",
            1024,
        ),
        (
            "--max-connections",
            "QEMU_RELAY_MAX_CONNECTIONS",
            "5",
            "max-connections = 5",
            "max_connections",
            5,
        ),
        (
            "--max-tunnels",
            "QEMU_RELAY_MAX_TUNNELS",
            "5",
            "max-tunnels = 5",
            "max_tunnels",
            5,
        ),
        (
            "--jwks-url",
            "QEMU_RELAY_JWKS_URL",
            "https://a.test/jwks",
            "jwks-url = 'https://a.test/jwks'",
            "jwks_url",
            ...,
        ),
        (
            "--trust-proxy",
            "QEMU_RELAY_TRUST_PROXY",
            "10.0.0.0/8",
            "trust-proxy = ['10.0.0.0/8']",
            "trusted_proxies",
            ("10.0.0.0/8",),
        ),
    ],
)
def test_a_setting_can_be_a_flag_a_variable_or_a_key(
    backstage, folder, flag, variable, text, toml, field, value
):
    value = text if value is ... else value

    assert getattr(chosen(backstage, flag, text), field) == value
    assert getattr(chosen(backstage, env={variable: text}), field) == value
    (folder / "qemu.toml").write_text(f"[relay]\n{toml}")
    assert getattr(chosen(backstage), field) == value


def test_addresses_can_go_by_path(backstage, folder):
    assert not chosen(backstage, "--no-wildcard").wildcard
    (folder / "qemu.toml").write_text("[relay]\nwildcard = false")
    assert not chosen(backstage).wildcard
    assert chosen(backstage, "--wildcard").wildcard


def test_several_proxies_may_stand_in_one_variable(backstage):
    env = {"QEMU_RELAY_TRUST_PROXY": "10.0.0.0/8, ::1"}

    assert chosen(backstage, env=env).trusted_proxies == ("10.0.0.0/8", "::1")


def test_the_secret_is_in_a_file_or_in_a_variable(backstage, folder):
    (folder / "typed").write_text(f"{SECRET}-typed\n")
    (folder / "listed").write_text(f"{SECRET}-listed")
    (folder / "qemu.toml").write_text("[relay]\nsecret-file = 'listed'")
    env = {"QEMU_RELAY_SECRET": f"{SECRET}-variable"}

    typed = chosen(backstage, "--secret-file", "typed", env=env)
    assert typed.secret == f"{SECRET}-typed".encode()
    assert chosen(backstage, env=env).secret == f"{SECRET}-variable".encode()
    assert chosen(backstage).secret == f"{SECRET}-listed".encode()


def test_public_keys_and_revoked_tokens_are_read_from_files(backstage, folder):
    (folder / "key.pem").write_bytes(PUBLIC_PEM)
    (folder / "revoked").write_text("# lost laptops\nabc\n\n def \n")
    settings = chosen(backstage, "--key-file", "key.pem", "--revoked-file", "revoked")

    assert [key.algorithm for key in settings.public_keys] == ["EdDSA"]
    assert settings.revoked == {"abc", "def"}
    assert settings.is_guarded


# Mistakes


def test_without_a_secret_a_relay_listens_on_this_machine_alone(backstage):
    result = run("--host", "0.0.0.0")

    assert result.exit_code == 3
    assert result.stderr.splitlines() == [
        "Error: without a secret, anybody who reaches 0.0.0.0 could open tunnels",
        "  Give the relay a secret: QEMU_RELAY_SECRET, or --secret-file FILE;",
        "  or public keys: --key-file FILE, or --jwks-url URL.",
    ]


@pytest.mark.parametrize(
    ("args", "env", "code", "error"),
    [
        (("--port", "x"), {}, 2, "must be a whole number from 0 to 65535"),
        (("--hold", "x"), {}, 2, "must be numbers with units"),
        (("--max-body", "x"), {}, 2, "isn't a size"),
        (("--trust-proxy", "x"), {}, 2, "is no address"),
        (("--domain", "A.test"), {}, 2, "isn't a host name"),
        ((), {"QEMU_RELAY_DOMAIN": "A."}, 3, "domain (from QEMU_RELAY_DOMAIN): "),
        ((), {"QEMU_RELAY_SECRET": "short"}, 3, "secret (from QEMU_RELAY_SECRET): "),
        ((), {"QEMU_RELAY_SECRET": " "}, 3, "(from QEMU_RELAY_SECRET): is empty"),
        (("--secret-file", "gone"), {}, 2, "can't read the file: No such file"),
        ((), {"QEMU_RELAY_SECRET_FILE": "gone"}, 3, "(from QEMU_RELAY_SECRET_FILE): "),
        (("--key-file", "empty"), {}, 2, "isn't PEM"),
        (("--revoked-file", "binary"), {}, 2, "the file isn't UTF-8"),
        (("--revoked-file", "huge"), {}, 2, "the file has more than"),
        (("--tls-cert", "empty"), {}, 2, "--tls-cert and --tls-key go together"),
        (("--tls-cert", "empty", "--tls-key", "empty"), {}, 2, "both must be PEM"),
        (("--tls-cert", "empty", "--tls-key", "gone"), {}, 2, "'--tls-key'"),
    ],
)
def test_a_mistake_names_the_place_where_it_was_written(
    backstage, folder, monkeypatch, args, env, code, error
):
    monkeypatch.setattr("emulator.cli.secret_files._MAX_LIST_BYTES", 100)
    (folder / "empty").touch()
    (folder / "binary").write_bytes(b"\xff")
    (folder / "huge").write_bytes(b"x" * 101)
    result = run(*args, env=env)

    assert error in result.stderr
    assert result.exit_code == code


@pytest.mark.parametrize(
    ("args", "env", "code", "error"),
    [
        (("--jwks-url", "http://a.test/keys"), {}, 2, "'--jwks-url'"),
        ((), {"QEMU_RELAY_JWKS_URL": "a"}, 3, "jwks-url (from QEMU_RELAY_JWKS_URL): "),
        (("--secret-file", "public"), {}, 3, "secret (from --secret-file): "),
    ],
)
def test_what_only_the_relay_itself_notices_names_the_place_too(
    folder, args, env, code, error
):
    (folder / "public").write_bytes(PUBLIC_PEM)
    result = run(*args, env=env)

    assert error in result.stderr
    assert result.exit_code == code


def test_a_relay_with_a_certificate_speaks_tls(backstage, folder, monkeypatch):
    class Context(ssl.SSLContext):
        def load_cert_chain(self, cert, key, password):
            self.loaded = (cert, key)

    monkeypatch.setattr(
        ssl, "create_default_context", lambda purpose: Context(ssl.PROTOCOL_TLS_SERVER)
    )
    for name in ("c.pem", "k.pem"):
        (folder / name).touch()
    settings = chosen(backstage, "--tls-cert", "c.pem", "--tls-key", "k.pem")

    assert settings.tls.loaded == ("c.pem", "k.pem")


# Tokens


def token_of(*args, **options):
    options = {"env": {"QEMU_RELAY_SECRET": SECRET}} | options
    result = run("token", *args, **options)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout.removesuffix("\n")


def grant_of(*args, **options):
    verifier = Verifier(secret=SECRET.encode())
    return verifier.verify(token_of(*args, **options), real_now_ms() // 1000)


def test_a_token_is_all_that_is_printed():
    token = token_of("--name", "alice")

    assert "\n" not in token
    assert grant_of("--name", "alice").names == ("alice",)


def test_a_token_says_what_it_is_for():
    grant = grant_of(
        *("--name", "team-*", "--name", "alice", "--subject", "ci", "--path", "/api"),
        *("--rate", "5", "--max-tunnels", "2", "--admin", "--expires", "1h"),
    )

    assert grant.names == ("team-*", "alice")
    assert (grant.subject, grant.paths, grant.rate) == ("ci", ("/api",), 5)
    assert (grant.max_tunnels, grant.is_admin) == (2, True)
    assert 3500 < grant.expires_s - real_now_ms() / 1000 <= 3600


def test_a_token_without_a_name_is_for_random_names():
    grant = grant_of()

    assert grant.names is None
    assert not grant.is_admin


def test_a_token_holds_for_90_days_unless_for_ever():
    assert grant_of().expires_s == pytest.approx(
        real_now_ms() / 1000 + 90 * 86_400, abs=60
    )
    assert grant_of("--forever").expires_s is None


def test_two_tokens_have_different_ids():
    assert grant_of().jti != grant_of().jti


def test_the_secret_of_a_token_may_be_in_the_relays_own_file(folder):
    (folder / "secret").write_text(SECRET)
    (folder / "qemu.toml").write_text("[relay]\nsecret-file = 'secret'")

    assert grant_of(env={}).names is None


@pytest.mark.parametrize(
    ("args", "env", "code", "error"),
    [
        ((), {}, 3, "there is no secret to sign a token with"),
        ((), {"QEMU_RELAY_SECRET": "short"}, 3, "secret (from QEMU_RELAY_SECRET): "),
        (("--name", "a.b"), {"QEMU_RELAY_SECRET": SECRET}, 2, "--name"),
        (("--expires", "0s"), {"QEMU_RELAY_SECRET": SECRET}, 2, "--expires"),
        (("--subject", "a\nb"), {"QEMU_RELAY_SECRET": SECRET}, 2, "--subject"),
    ],
)
def test_a_token_that_would_be_refused_is_not_made(args, env, code, error):
    result = run("token", *args, env=env)

    assert error in result.stderr
    assert result.stdout == ""
    assert result.exit_code == code
