"""`qemu tunnel`, around a tunnel that does nothing."""

import asyncio
import errno
import json
import os
import re
import urllib.request

import pytest
from click.testing import CliRunner

import tunnel.client
import tunnel.recording
from emulator.cli import cli
from emulator.cli.process import Stop
from emulator.core.signature import sign
from emulator.settings import DEV_USERS
from tests.cli.backstage import IdleTunnel
from tunnel.events import Connected, Exchanged, LocalAway, LocalBack, Lost, Trying
from tunnel.inspector_door import InspectorDoor
from tunnel.settings import TunnelSettings

RELAY = "wss://relay.example.dev"

FACTS = """
  Public   https://brave-otter.relay.example.dev
  Local    http://localhost:3000
  Relay    relay.example.dev, 41 ms
"""


@pytest.fixture
def backstage(monkeypatch):
    backstage = IdleTunnel()
    backstage.on_stage(monkeypatch)
    monkeypatch.setattr(tunnel.client, "Tunnel", backstage.make)
    return backstage


def run(*args, relay=RELAY, **options):
    args = (*args, "--relay", relay) if relay else args
    return CliRunner().invoke(cli, ["tunnel", *args], prog_name="qemu", **options)


def chosen(backstage, *args, **options):
    backstage.stops = [Stop.INTERRUPT]
    result = run("3000", *args, **options)
    assert result.exit_code == 0, result.output
    return backstage.settings


def lines_of(backstage, *args):
    """Return the lines below the facts, without their times."""
    lines = run("3000", *args).stdout.partition("Inspect ")[2].splitlines()[2:]
    return [line[14:] for line in lines]


# What is printed


def test_a_tunnel_prints_its_facts(backstage):
    result = run("3000")

    assert result.stdout.startswith(FACTS)
    inspect = result.stdout.removeprefix(FACTS)
    assert re.fullmatch(r"  Inspect  http://127\.0\.0\.1:\d+\n\n", inspect)
    assert result.stderr == ""
    assert result.exit_code == 0


def test_each_request_is_a_line(backstage):
    backstage.happenings = [
        lambda stage: stage.exchange(),
        lambda stage: stage.exchange(b"/missing", status=404),
    ]

    assert lines_of(backstage) == [
        "POST /api/hook   200   12 ms",
        "POST /missing   404   12 ms",
    ]


def test_a_request_is_printed_once_whoever_tells_it(backstage):
    backstage.happenings = [lambda stage: stage.tell(Exchanged(stage.exchange()))]

    assert lines_of(backstage) == ["POST /api/hook   200   12 ms"]


def test_verbose_prints_who_asked(backstage):
    backstage.happenings = [lambda stage: stage.exchange()]
    backstage.stops = [Stop.INTERRUPT]

    assert "from 203.0.113.7, 0 B in, 0 B out" in run("3000", "-v").stdout


def test_ids_can_be_shown_whole(backstage):
    message_id = "msg_26hZCxZCuWyyTWPmSVBrNB882AH1pVKb9Lp2"

    def deliver(stage):
        head = b"POST / HTTP/1.1\r\nUpstash-Message-Id: %b\r\n\r\n"
        head %= message_id.encode()
        exchange = stage.inspector.begin(b"::1", b"https", head, "https://a", 0)
        exchange.finish(1)

    backstage.happenings = [deliver]
    assert message_id in run("3000", "--full-ids").stdout
    backstage.stops = [Stop.INTERRUPT]
    assert "msg_26hZ…9Lp2" in run("3000").stdout


def test_what_happens_to_the_link_is_a_line(backstage):
    again = Connected(backstage.connected.url, "relay.example.dev", 40.0, True, True)
    backstage.happenings = [Lost(1006, "", 3.0), again]

    assert lines_of(backstage) == [
        "connection lost (1006), reconnecting in 3 s",
        "connected again, same address",
    ]


def test_an_app_that_is_started_again_is_a_line_each_time(backstage):
    backstage.happenings = [LocalAway("local refused.", 30), LocalBack()]

    assert lines_of(backstage) == [
        "local refused. Requests wait for 30 s",
        "local is back",
    ]


def test_a_relay_that_cannot_be_reached_is_not_a_line_each_time(backstage, monkeypatch):
    instants = iter([0, 1_000, 59_999, 60_000, 60_001, 60_002, 60_003])
    monkeypatch.setattr("emulator.cli.tunnel_display.now_ms", lambda: next(instants))
    again = Connected(backstage.connected.url, "relay.example.dev", 40.0, True, True)
    refused, unknown = Trying("connection refused", 1), Trying("no such host", 1)
    backstage.happenings = [*[refused] * 4, unknown, again, unknown]

    said = [line.partition(";")[0] for line in lines_of(backstage)]
    assert said == [
        "can't reach the relay: connection refused",
        "can't reach the relay: connection refused",
        "can't reach the relay: no such host",
        "connected again, same address",
        "can't reach the relay: no such host",
    ]


def test_before_the_first_connection_it_says_why_there_is_none(backstage):
    backstage.connected = None
    backstage.happenings = [Trying("connection refused", 1)]
    lines = run("3000").stdout.splitlines()

    assert len(lines) == 1
    assert lines[0].endswith(
        "can't reach the relay: connection refused; trying again until it answers"
    )


def test_color_is_on_demand(backstage):
    backstage.happenings = [lambda stage: stage.exchange(), Lost(1006, "", 3.0)]
    output = run("3000", "--color", "always").stdout

    assert "\x1b[32m\x1b[1m200\x1b[0m" in output
    assert "\x1b[33mconnection lost" in output


def test_programs_get_json(backstage):
    backstage.happenings = [lambda stage: stage.exchange(), Lost(1006, "", 3.0)]
    result = run("3000", "--json")
    ready, exchange, lost, stopping, stopped = map(
        json.loads, result.stdout.splitlines()
    )

    assert ready.pop("inspect").startswith("http://127.0.0.1:")
    assert ready == {
        "type": "ready",
        "url": "https://brave-otter.relay.example.dev",
        "local": "http://localhost:3000",
        "relay": RELAY,
        "pid": os.getpid(),
    }
    assert (exchange["type"], exchange["id"]) == ("exchange", 1)
    assert exchange["answer"]["status"] == 200
    assert lost["type"] == "lost"
    assert (stopping, stopped) == ({"type": "stopping"}, {"type": "stopped"})


def test_with_json_people_read_of_the_link_alone(backstage):
    backstage.happenings = [lambda stage: stage.exchange(), Lost(1006, "", 3.0)]
    result = run("3000", "--json")

    assert result.stderr.startswith(FACTS)
    assert "connection lost (1006)" in result.stderr
    assert "/api/hook" not in result.stderr


def test_quiet_prints_nothing_and_hears_of_no_request(backstage):
    subscribers = []
    backstage.happenings = [
        lambda stage: subscribers.extend(stage.inspector.subscribers),
        lambda stage: stage.exchange(),
    ]
    result = run("3000", "--quiet")

    assert result.output == ""
    assert subscribers == []


def test_a_settings_file_is_named(backstage, folder):
    (folder / "qemu.toml").write_text("[tunnel]\ninspect = 0")

    assert "\n  Config   qemu.toml\n" in run("3000").stdout


@pytest.mark.parametrize(
    ("relay", "is_told"),
    [
        ("ws://relay.example.dev", True),
        ("ws://203.0.113.9:8000", True),
        ("ws://localhost:8000", False),
        ("ws://a.localhost:8000", False),
        ("ws://127.0.0.1:8000", False),
        ("wss://relay.example.dev", False),
    ],
)
def test_a_token_that_anybody_could_read_on_its_way_is_warned_of(
    backstage, relay, is_told
):
    output = run("3000", relay=relay, env={"QEMU_RELAY_TOKEN": "tok"}).stdout

    assert ("  Beware   the token travels unencrypted" in output) is is_told
    assert "tok\n" not in output


# The inspector and the recording


def test_the_inspector_answers_where_it_says(backstage, monkeypatch):
    start = InspectorDoor.start

    async def start_and_tell(api):
        await start(api)
        backstage.inspect_url = api.url

    monkeypatch.setattr(InspectorDoor, "start", start_and_tell)
    answers = []

    def fetch(url):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=20) as response:
            answers.append(json.load(response))

    async def ask(stage):
        stage.exchange()
        await asyncio.to_thread(fetch, stage.inspect_url + "/_qemu/exchanges")

    backstage.happenings = [ask]
    result = run("3000")

    assert result.exit_code == 0
    assert f"  Inspect  {backstage.inspect_url}\n" in result.stdout
    assert [each["id"] for each in answers[0]["exchanges"]] == [1]


def test_a_port_that_the_inspector_cannot_have_ends_with_4(backstage, monkeypatch):
    async def taken(api):
        raise OSError(errno.EADDRINUSE, "address already in use")

    monkeypatch.setattr(InspectorDoor, "start", taken)
    result = run("3000", "--inspect", "4040")

    assert result.exit_code == 4
    assert result.stderr.splitlines() == [
        "Error: can't serve the inspector on port 4040: address already in use",
        "  Choose another, or any that is free: qemu tunnel --inspect 0",
    ]


def test_what_comes_can_be_recorded(backstage, folder):
    backstage.happenings = [lambda stage: stage.exchange()]
    result = run("3000", "--record", "deliveries.ndjson")

    assert "\n  Record   deliveries.ndjson\n" in result.stdout
    (record,) = (folder / "deliveries.ndjson").read_text().splitlines()
    assert json.loads(record)["request"]["target"] == "/api/hook"
    assert backstage.inspector.max_body_bytes == tunnel.recording.MAX_RECORDED_BYTES


def test_a_recording_that_cannot_be_written_is_a_mistake(backstage, folder):
    result = run("3000", "--record", "gone/deliveries.ndjson")

    assert result.exit_code == 2
    assert "can't write the file: No such file or directory" in result.stderr


def test_a_recording_that_stops_is_said_to(backstage, monkeypatch):
    def full(exchange):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tunnel.recording.record_line", full)
    backstage.happenings = [lambda stage: stage.exchange()]
    output = run("3000", "--record", "deliveries.ndjson").stdout

    assert "recording has stopped: No space left on device" in output


# Signatures


def test_signatures_are_demanded_if_asked_for(backstage):
    result = run("3000", "--verify-qstash")

    assert (
        "  Verify   only what QStash has signed, with the published development "
        in (result.stdout)
    )
    assert backstage.verify(b"POST / HTTP/1.1\r\n\r\n", b"", "https://a") == (
        "the request isn't signed by QStash"
    )


def test_whose_keys_they_are_is_said(backstage):
    env = {"QSTASH_CURRENT_SIGNING_KEY": "sig_a", "QSTASH_NEXT_SIGNING_KEY": "sig_b"}
    output = run("3000", "--verify-qstash", env=env).stdout

    assert "  Verify   only what QStash has signed, with your keys\n" in output
    assert "sig_a" not in output


def test_signatures_are_judged_in_any_case(backstage):
    def deliver(stage):
        signature = sign(
            body=b"",
            url="https://a/",
            key=DEV_USERS[0].keys.current,
            now_ms=1_000,
            jwt_id="jwt_1",
        )
        head = f"POST / HTTP/1.1\r\nUpstash-Signature: {signature}\r\n\r\n".encode()
        stage.inspector.begin(b"::1", b"https", head, "https://a", 1_000).finish(1_012)

    backstage.happenings = [deliver]

    assert lines_of(backstage) == ["POST /   12 ms  signature ok"]
    assert backstage.verify is None


# The end


@pytest.mark.parametrize("stop", [Stop.INTERRUPT, Stop.TERMINATE, Stop.HANGUP])
def test_a_stop_closes_the_tunnel(backstage, stop):
    backstage.stops = [stop]

    assert run("3000").exit_code == 0
    assert backstage.is_stopped


def test_a_stop_waits_for_what_is_under_way(backstage):
    """A websocket isn't waited for: it may have no end."""
    seen = []

    def begin(stage):
        upgraded = stage.exchange(finishes=False)
        upgraded.answer_head(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        under_way = stage.exchange(finishes=False)
        asyncio.get_running_loop().call_later(0.01, under_way.finish, 12)
        seen.append(under_way)

    backstage.happenings = [begin]
    result = run("3000")

    assert seen[0].state == "done"
    assert "POST /api/hook   12 ms" in result.stdout
    assert result.exit_code == 0


def test_a_stop_does_not_wait_for_ever(backstage, monkeypatch):
    monkeypatch.setattr("emulator.cli.tunnel_serving._DRAIN_S", 0.01)
    backstage.happenings = [lambda stage: stage.exchange(finishes=False)]

    assert run("3000").exit_code == 0
    assert backstage.is_stopped


def test_the_second_ctrl_c_stops_at_once(backstage):
    backstage.stops = [Stop.INTERRUPT, Stop.INTERRUPT]
    backstage.happenings = [
        lambda stage: stage.exchange(finishes=False),
        lambda stage: stage.ask_next(),
    ]

    assert run("3000").exit_code == 130


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        (
            "it wants a token: set QEMU_RELAY_TOKEN",
            [
                "  A token comes from whoever runs the relay: qemu relay token",
                "  Give it in QEMU_RELAY_TOKEN, or by --token-file FILE.",
            ],
        ),
        (
            "a newer session has the name",
            ["  Another qemu tunnel may have it. Ask for another: --name NAME"],
        ),
        (
            "the token isn't for the name 'bob'",
            [
                "  Ask for one that it is for, by --name NAME, or for another token:",
                "  whoever runs the relay makes one, by qemu relay token --name NAME",
            ],
        ),
        ("it is full\x1b", []),
    ],
)
def test_a_refusal_ends_with_6(backstage, reason, advice):
    backstage.refusal, backstage.stops = reason, []
    result = run("3000")
    fact, *rest = result.stderr.splitlines()

    shown = reason.replace("\x1b", "\\x1b")
    assert fact == f"Error: {RELAY} refused: {shown}"
    assert rest == advice
    assert result.exit_code == 6


def test_lines_are_printed_before_a_refusal(backstage):
    backstage.refusal, backstage.stops = "it is full", []
    backstage.happenings = [lambda stage: stage.exchange()]

    assert "POST /api/hook   200" in run("3000").stdout


# Settings


def test_the_defaults_are_those_of_the_tunnel(backstage):
    assert chosen(backstage) == TunnelSettings(3000, relay=RELAY)


@pytest.mark.parametrize(
    ("target", "local_url"),
    [
        ("3000", "http://localhost:3000"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
    ],
)
def test_the_target_is_a_port_or_a_url(backstage, target, local_url):
    result = run(target)

    assert f"\n  Local    {local_url}\n" in result.stdout
    assert backstage.settings.local_url == local_url


def test_target_and_relay_can_be_in_the_file(backstage, folder):
    (folder / "qemu.toml").write_text(f"[tunnel]\ntarget = 3000\nrelay = '{RELAY}'")

    assert run(relay=None).exit_code == 0
    assert backstage.settings == TunnelSettings(3000, relay=RELAY)


def test_a_flag_beats_the_environment_and_the_file(backstage, folder):
    (folder / "qemu.toml").write_text("[tunnel]\nrelay = 'ws://file'")
    env = {"QEMU_RELAY": "ws://variable"}

    assert chosen(backstage, relay="ws://typed", env=env).relay == "ws://typed"
    assert chosen(backstage, relay=None, env=env).relay == "ws://variable"
    assert chosen(backstage, relay=None).relay == "ws://file"


@pytest.mark.parametrize(
    ("flag", "variable", "text", "toml", "field", "value"),
    [
        (
            "--allow",
            "QEMU_TUNNEL_ALLOW",
            "10.0.0.0/8",
            "allow = ['10.0.0.0/8']",
            "allow",
            ["10.0.0.0/8"],
        ),
        ("--deny", "QEMU_TUNNEL_DENY", "::1", "deny = ['::1']", "deny", ["::1"]),
        ("--path", "QEMU_TUNNEL_PATH", "/api", "path = ['/api']", "paths", ["/api"]),
        ("--rate", "QEMU_TUNNEL_RATE", "5", "rate = 5", "rate", 5),
    ],
)
def test_who_may_come_in_can_be_a_flag_a_variable_or_a_key(
    backstage, folder, flag, variable, text, toml, field, value
):
    def policy(*args, **options):
        return chosen(backstage, *args, **options).policy.to_json()[field]

    shown = ["::1/128"] if value == ["::1"] else value
    assert policy(flag, text) == shown
    assert policy(env={variable: text}) == shown
    (folder / "qemu.toml").write_text(f"[tunnel]\n{toml}")
    assert policy() == shown


def test_a_name_can_be_asked_for(backstage):
    assert chosen(backstage, "--name", "alice").name == "alice"
    assert chosen(backstage, env={"QEMU_TUNNEL_NAME": "bob"}).name == "bob"


def test_the_token_is_in_a_file_or_in_a_variable(backstage, folder):
    (folder / "typed").write_text("typed\n")
    (folder / "listed").write_text("listed")
    (folder / "qemu.toml").write_text("[tunnel]\ntoken-file = 'listed'")
    env = {"QEMU_RELAY_TOKEN": "variable"}

    assert chosen(backstage, "--token-file", "typed", env=env).token == "typed"
    assert chosen(backstage, env=env).token == "variable"
    assert chosen(backstage).token == "listed"


def test_passwords_are_read_from_a_file_and_leave_as_hashes(backstage, folder):
    (folder / "visitors").write_text("alice:open sesame\n")
    policy = chosen(backstage, "--basic-auth-file", "visitors").policy

    assert policy.basic_auth.has(b"Basic YWxpY2U6b3BlbiBzZXNhbWU=")
    assert "sesame" not in json.dumps(policy.to_json())


# Mistakes


@pytest.mark.parametrize(
    ("args", "env", "code", "error"),
    [
        (("x",), {}, 2, '"x" is neither a port nor a URL like http://app.test'),
        (("0",), {}, 2, "isn't a port"),
        (("99999",), {}, 2, "isn't a port"),
        (("ftp://a",), {}, 2, "use a port, or http://"),
        ((), {}, 2, "Missing argument 'PORT|URL'"),
        (("3000", "--relay", "http://a"), {}, 2, "use ws://"),
        (("3000", "--relay", "a.test"), {}, 2, "use ws://"),
        (("3000", "--name", "a_b"), {}, 2, "'--name'"),
        (("3000",), {"QEMU_TUNNEL_NAME": "www"}, 3, "name (from QEMU_TUNNEL_NAME): "),
        (("3000", "--allow", "x"), {}, 2, "is no address"),
        (("3000", "--path", "api"), {}, 2, "--path"),
        (("3000", "--rate", "0"), {}, 2, "of at least 1"),
        (("3000", "--token-file", "gone"), {}, 2, "can't read the file"),
        (("3000", "--basic-auth-file", "bad"), {}, 2, "line 1 isn't user:password"),
        (("3000", "--basic-auth-file", "binary"), {}, 2, "isn't UTF-8"),
        (("3000",), {"QEMU_RELAY_TOKEN": "a b"}, 3, "token (from QEMU_RELAY_TOKEN): "),
        (("3000",), {"QEMU_RELAY_TOKEN": "ä"}, 3, "token (from QEMU_RELAY_TOKEN): "),
        (("3000",), {"QEMU_TUNNEL_RATE": "x"}, 3, "rate (from QEMU_TUNNEL_RATE): "),
        (("3000",), {"QSTASH_NEXT_SIGNING_KEY": "x"}, 3, "QSTASH_CURRENT_SIGNING_KEY"),
    ],
)
def test_a_mistake_names_the_place_where_it_was_written(
    backstage, folder, args, env, code, error
):
    (folder / "bad").write_text("secret-password\n")
    (folder / "binary").write_bytes(b"\xff")
    result = run(*args, relay=None if "--relay" in args else RELAY, env=env)

    assert error in result.stderr
    assert "secret-password" not in result.stderr
    assert result.exit_code == code


def test_without_a_relay_it_says_where_one_comes_from(backstage):
    result = run("3000", relay=None)

    assert result.exit_code == 2
    assert "Give --relay wss://…, or set QEMU_RELAY. To host one: qemu relay" in (
        result.stderr
    )


def test_no_option_takes_a_secret():
    for command in ("tunnel", "relay"):
        options = CliRunner().invoke(cli, [command, "--help"]).output

        for word in ("--token ", "--secret ", "--basic-auth ", "--password "):
            assert word not in options
