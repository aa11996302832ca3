"""`qemu start` and `qemu dev`, around an emulator that does nothing."""

import asyncio
import errno
import json
import logging
import os
import re
import socket
import threading

import pytest
from click.testing import CliRunner

import emulator.emulator
from emulator.cli import cli
from emulator.cli import start as start_module
from emulator.cli.process import Stop
from emulator.cli.screen import Screen
from emulator.cli.start import cannot_listen
from emulator.core.model import (
    LogEntry,
    Message,
    Responded,
    SigningKeys,
    State,
    Unreachable,
)
from emulator.engine.feed import FeedItem
from emulator.engine.tenants import Counts
from emulator.errors import JournalTooNew
from emulator.settings import DEV_USERS, Settings
from emulator.web.ignored import IGNORED_LOGGER
from emulator.web.request_log import REFUSED_LOGGER, REQUEST_LOGGER

URL = "http://127.0.0.1:8080"
T0 = 1_700_000_000_123


def an_entry(state=State.CREATED, **changes):
    message = Message(
        message_id="msg_26hZCxZCuWyyTWPmSVBrNB882AH1pVKb9Lp2",
        url="http://localhost:3000/api/hook",
        created_at_ms=T0,
        not_before_ms=T0,
    )
    return LogEntry(T0, state, message, **changes)


class Backstage:
    """Stands for the world around one run: the emulator, its feed, and who stops it.

    The first of ``stops`` is asked for when all entries are printed, or at the start
    already; the second when the emulator has been told to stop.
    """

    def __init__(self):
        self.stops = [Stop.INTERRUPT]
        self.stops_at_start = False
        self.entries = []
        self.logged = []
        self.watched = []
        self.in_flight = 0
        self.pending = 0
        self.start_error = None
        self.drains = False
        self.drained_s = None
        self.is_aborted = False
        self.settings = None
        self.url = URL
        self.keys = DEV_USERS[0].keys
        self.found = None

    def heed_signals(self, ask):
        self.ask = ask

    def watch_logger(self, name, note):
        self.watched.append(name)
        for logger, text, status in self.logged:
            if logger == name:
                record = logging.LogRecord(name, 30, "", 0, text, None, None)
                record.status = status
                note(record)

    def ask_next(self):
        if self.stops:
            self.ask(self.stops.pop(0))

    def make_emulator(self, settings):
        self.settings = settings
        self.feed = self.clock = self.tenants = self
        self.closed = asyncio.Event()
        self.aborted = asyncio.Event()
        return self

    async def start(self):
        if self.start_error is not None:
            raise self.start_error
        if self.stops_at_start:
            self.ask_next()

    def now_ms(self):
        return T0

    async def stop(self, *, drain_s):
        self.drained_s = drain_s
        self.ask_next()
        if self.drains:
            await self.aborted.wait()
        self.closed.set()

    def abort(self):
        self.is_aborted = True
        self.aborted.set()

    def subscribe(self):
        return self

    def take_dropped(self):
        return 0

    async def __aiter__(self):
        if self.entries:
            yield [FeedItem(1, "defaultUser", entry, 0) for entry in self.entries]
        if not self.stops_at_start:
            self.ask_next()
        await self.closed.wait()


@pytest.fixture
def backstage(monkeypatch, tmp_path):
    backstage = Backstage()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(emulator.emulator, "Emulator", backstage.make_emulator)
    monkeypatch.setattr(start_module, "heed_signals", backstage.heed_signals)
    monkeypatch.setattr(start_module, "configure_logging", lambda *args, **kw: None)
    monkeypatch.setattr(start_module, "watch_logger", backstage.watch_logger)
    return backstage


def run(*args, **options):
    return CliRunner().invoke(cli, args, prog_name="qemu", **options)


def events(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


def lines_with(text, output):
    return [line for line in output.splitlines() if text in line]


# What is printed


def test_start_prints_the_banner_the_four_lines_and_that_it_runs(backstage):
    """ENV-8, ENV-10."""
    result = run("start")
    lines = result.stdout.splitlines()

    assert lines[1].startswith("  qemu 0.")
    assert "   a local QStash, ready in " in lines[1]
    assert lines[3:5] == [
        f"  API      {URL}",
        "  State    in memory (--db FILE to keep it)",
    ]
    assert lines[6:12] == [
        f'QSTASH_URL="{URL}"',
        f'QSTASH_TOKEN="{DEV_USERS[0].token}"',
        'QSTASH_CURRENT_SIGNING_KEY="sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r"',
        'QSTASH_NEXT_SIGNING_KEY="sig_5ZB6DVzB1wjE8S6rZ7eenA8Pdnhs"',
        "",
        f"qemu is running at {URL} (Ctrl-C to stop)",
    ]
    assert result.stderr == ""
    assert result.exit_code == 0


def test_start_prints_a_line_for_each_entry_but_active_ones(backstage):
    backstage.entries = [
        an_entry(),
        an_entry(State.ACTIVE),
        an_entry(State.DELIVERED, outcome=Responded(200), duration_ms=11),
    ]
    lines = run("start").stdout.splitlines()[13:]

    assert [line[14:] for line in lines] == [
        "CREATED    msg_26hZ…9Lp2  POST localhost:3000/api/hook",
        "DELIVERED  msg_26hZ…9Lp2  200 in 11 ms",
    ]


def test_verbose_prints_active_entries_too(backstage):
    backstage.entries = [an_entry(State.ACTIVE)]

    assert "ACTIVE" in run("start", "-v").stdout


def test_verbose_prints_requests_too(backstage):
    backstage.logged = [(REQUEST_LOGGER, "GET /v2/keys 200 1 ms", 200)]
    (line,) = lines_with("GET /v2/keys", run("start", "-v").stdout)
    assert re.fullmatch(r"\d\d:\d\d:20\.123  GET /v2/keys 200 1 ms", line)

    backstage.stops = [Stop.INTERRUPT]
    result = run("start", "-v", "--json")
    assert "GET /v2/keys" in result.stderr
    assert "GET /v2/keys" not in result.stdout


def test_requests_are_not_even_noted_unless_asked_for(backstage):
    run("start")

    assert REQUEST_LOGGER not in backstage.watched


@pytest.mark.parametrize("logger", [REFUSED_LOGGER, IGNORED_LOGGER])
def test_what_a_caller_may_overlook_is_printed_for_people(backstage, logger):
    backstage.logged = [(logger, "POST /v2/batch 400 invalid body", 400)]
    result = run("start", "--color", "always")
    assert "\x1b[33mPOST /v2/batch 400 invalid body\x1b[0m" in result.stdout

    backstage.stops = [Stop.INTERRUPT]
    result = run("start", "--json")
    assert lines_with("POST /v2/batch", result.stderr)
    assert not lines_with("POST /v2/batch", result.stdout)


def test_a_token_that_is_nobodys_gets_a_remedy_below_its_line(backstage):
    backstage.logged = [(REFUSED_LOGGER, "GET /v2/keys 401 unable", 401)]
    lines = run("start").stdout.splitlines()
    place = lines.index(lines_with("401", "\n".join(lines))[0])

    assert lines[place + 1].strip().endswith("see qemu env")


def test_quiet_watches_nothing(backstage):
    run("start", "--quiet")

    assert backstage.watched == []


def test_a_destination_that_is_not_there_gets_a_remedy_below_its_line(backstage):
    refused = Unreachable("localhost:3000: connection refused")
    backstage.entries = [an_entry(State.ERROR, outcome=refused, duration_ms=1)] * 2
    lines = run("start").stdout.splitlines()[13:]

    assert len(lines) == 3
    assert lines[1].strip() == "localhost:3000: is your app running?"


def test_quiet_prints_nothing(backstage):
    backstage.entries = [an_entry()]
    backstage.pending = 3
    result = run("start", "--quiet")

    assert result.output == ""
    assert result.exit_code == 0


def test_quiet_and_verbose_exclude_each_other(backstage):
    assert run("start", "-q", "-v").exit_code == 2


def test_colour_is_for_terminals_or_on_demand(backstage):
    backstage.entries = [an_entry()]

    assert "\x1b" not in run("start").stdout
    backstage.stops = [Stop.INTERRUPT]
    assert "\x1b[36mCREATED" in run("start", "--color", "always").stdout
    backstage.stops = [Stop.INTERRUPT]
    assert "\x1b[36mCREATED" in run("start", env={"FORCE_COLOR": "1"}).stdout


def test_ids_can_be_shown_whole_by_flag_or_file(backstage, tmp_path):
    backstage.entries = [an_entry()]
    whole = backstage.entries[0].message.message_id

    assert whole in run("start", "--full-ids").stdout
    (tmp_path / "qemu.toml").write_text("full-ids = true")
    backstage.stops = [Stop.INTERRUPT]
    assert whole in run("start").stdout


# For programs


def test_with_json_stdout_has_json_lines_alone(backstage):
    backstage.entries = [an_entry(), an_entry(State.ACTIVE)]
    backstage.in_flight, backstage.pending = 2, 14
    result = run("start", "--json")
    ready, created, active, stopping, stopped = events(result)

    assert ready == {
        "type": "ready",
        "url": URL,
        "token": DEV_USERS[0].token,
        "currentSigningKey": DEV_USERS[0].keys.current,
        "nextSigningKey": DEV_USERS[0].keys.next,
        "pid": os.getpid(),
    }
    assert {"type": "log", "state": "CREATED", "time": T0}.items() <= created.items()
    assert created["user"] == "defaultUser"
    assert active["state"] == "ACTIVE"
    assert stopping == {"type": "stopping", "inFlight": 2, "pending": 14}
    assert stopped == {"type": "stopped"}


def test_with_json_people_read_stderr(backstage):
    refused = Unreachable("localhost:3000: connection refused")
    backstage.entries = [an_entry(State.ERROR, outcome=refused, duration_ms=1)]
    result = run("start", "--json")

    assert f"qemu is running at {URL}" in result.stderr
    assert "is your app running?" in result.stderr
    assert "ERROR" not in result.stderr


def test_with_json_quiet_silences_people_alone(backstage):
    result = run("start", "--json", "--quiet")

    assert events(result)[0]["type"] == "ready"
    assert result.stderr == ""


# The end


def test_the_first_ctrl_c_drains_and_says_what_remains(backstage):
    backstage.in_flight, backstage.pending = 2, 14
    result = run("start")

    assert result.stdout.splitlines()[-2:] == [
        "stopping: 2 deliveries in flight (Ctrl-C again to stop now)",
        "14 messages pending, discarded",
    ]
    assert backstage.drained_s == 5.0
    assert result.exit_code == 0


def test_one_delivery_and_one_message_are_not_several(backstage):
    backstage.in_flight = backstage.pending = 1
    output = run("start").stdout

    assert "stopping: 1 delivery in flight" in output
    assert "1 message pending, discarded" in output


def test_nothing_is_said_of_nothing(backstage):
    last_line = run("start").stdout.splitlines()[-1]

    assert last_line == ""


def test_a_stop_during_the_start_is_heeded_after_it(backstage):
    backstage.stops_at_start = True
    backstage.pending = 1
    lines = run("start").stdout.splitlines()

    assert lines[-1] == "1 message pending, discarded"
    assert f"qemu is running at {URL} (Ctrl-C to stop)" in lines


def test_the_second_ctrl_c_stops_at_once(backstage):
    backstage.stops = [Stop.INTERRUPT, Stop.INTERRUPT]
    backstage.in_flight = backstage.pending = 1
    backstage.drains = True
    result = run("start")

    assert backstage.is_aborted
    assert result.exit_code == 130
    assert "discarded" not in result.stdout


def test_a_terminal_that_closes_while_draining_stops_at_once_and_well(backstage):
    backstage.stops = [Stop.INTERRUPT, Stop.HANGUP]
    backstage.in_flight = 1
    backstage.drains = True

    assert run("start").exit_code == 0
    assert backstage.is_aborted


@pytest.mark.parametrize(
    ("command", "stop", "drain_s"),
    [
        ("start", Stop.TERMINATE, 5.0),
        ("start", Stop.HANGUP, 0.0),
        ("dev", Stop.INTERRUPT, 5.0),
        ("dev", Stop.TERMINATE, 0.0),
    ],
)
def test_who_stops_it_decides_whether_it_drains(backstage, command, stop, drain_s):
    """ENV-8: `dev` ends on SIGTERM."""
    backstage.stops = [stop]
    backstage.in_flight = 1
    result = run(command)

    assert backstage.drained_s == drain_s
    assert ("stopping:" in result.stdout) is bool(drain_s)
    assert result.exit_code == 0


def test_an_orphan_stops_if_told_to(backstage, monkeypatch):
    parents = iter([4711, 4711, 1])
    monkeypatch.setattr(os, "getppid", lambda: next(parents))
    monkeypatch.setattr(start_module, "_PARENT_POLL_S", 0)
    backstage.stops = []
    result = run("dev", "--stop-with-parent")

    assert backstage.drained_s == 0.0
    assert result.exit_code == 0


def test_a_child_that_is_stopped_otherwise_watches_no_longer(backstage):
    assert run("dev", "--stop-with-parent").exit_code == 0


def test_stopping_with_the_parent_is_refused_on_windows(backstage, monkeypatch):
    monkeypatch.setattr(start_module, "_IS_WINDOWS", True)
    result = run("dev", "--stop-with-parent")

    assert result.exit_code == 2
    assert "POSIX" in result.stderr


def test_start_does_not_offer_to_stop_with_its_parent(backstage):
    assert run("start", "--stop-with-parent").exit_code == 2


def test_when_nobody_reads_it_ends_quietly(backstage, monkeypatch):
    def broken(text, file, **options):
        raise BrokenPipeError

    monkeypatch.setattr("emulator.cli.output.click.echo", broken)
    backstage.stops = []
    backstage.pending = 1
    result = run("start")

    assert result.exit_code == 0
    assert result.output == ""


@pytest.mark.parametrize("args", [("start",), ("start", "--json")])
def test_output_that_cannot_be_written_is_an_error(backstage, monkeypatch, args):
    def full(text, file, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("emulator.cli.output.click.echo", full)
    backstage.stops = []
    backstage.pending = 1
    result = run(*args)

    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == "Error: can't write the output: No space left on device\n"


SCHEDULE = """\
[[schedules]]
id = "nightly"
cron = "0 3 * * *"
destination = "team"
"""

GROUP = '[[url-groups]]\nname = "team"\nendpoints = [{ url = "http://a" }]\n'


def test_a_schedule_for_a_group_that_nobody_declared_is_worth_a_warning(
    backstage, folder
):
    """SCH-12: it need not exist."""
    (folder / "qemu.toml").write_text(SCHEDULE)
    result = run("start")
    assert result.exit_code == 0
    assert result.stderr == (
        "schedule nightly is for the URL group team, which the settings file doesn't "
        "declare: it fails until there is one\n"
    )

    for text, args in ((GROUP + SCHEDULE, ()), (SCHEDULE, ("--quiet",))):
        (folder / "qemu.toml").write_text(text)
        backstage.stops = [Stop.INTERRUPT]
        assert run("start", *args).stderr == ""


def test_a_terminal_that_takes_nothing_does_not_keep_the_process(
    backstage, monkeypatch
):
    release = threading.Event()
    exits = []

    def stuck(text, file, **options):
        release.wait(5)

    def leave(code):
        exits.append(code)
        raise SystemExit(code)

    monkeypatch.setattr("emulator.cli.output.click.echo", stuck)
    monkeypatch.setattr(start_module, "_FLUSH_S", 0.01)
    monkeypatch.setattr(os, "_exit", leave)
    backstage.stops_at_start = True
    run("start")
    release.set()

    assert exits == [0]


def test_an_address_in_use_ends_with_4(backstage, monkeypatch):
    monkeypatch.setattr("emulator.cli.start.ask_health", lambda *a, **k: None)
    backstage.start_error = OSError(errno.EADDRINUSE, "in use")
    result = run("dev", "--port", "1234")

    assert result.exit_code == 4
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "Error: address already in use: 127.0.0.1:1234",
        "  Another program is listening there.",
        "  Stop it, or start on another port: qemu dev --port 1235",
    ]


def test_a_file_that_cannot_keep_the_state_ends_with_5(backstage):
    backstage.start_error = JournalTooNew("qemu.db", 2, 1)
    result = run("start", "--db", "qemu.db")

    assert result.exit_code == 5
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "Error: qemu.db: written by a newer qemu (schema 2, this one knows 1)",
        "  Use that qemu, or keep the state in another file: --db OTHER",
    ]


def test_with_a_file_what_is_found_and_what_is_kept_are_said(backstage):
    """The keys are those in force: rotated ones outlive the process, too."""
    backstage.found = Counts(pending=14, dlq=2, schedules=3)
    backstage.pending = 15
    backstage.keys = SigningKeys("sig_rotated", "sig_following")
    lines = run("start", "--db", "qemu.db").stdout.splitlines()

    state = "14 messages pending, 2 in the DLQ, 3 schedules"
    assert f"  State    qemu.db: {state}" in lines
    assert 'QSTASH_CURRENT_SIGNING_KEY="sig_rotated"' in lines
    assert lines[-1] == "15 messages pending, kept in qemu.db"


# The vendor's options


@pytest.mark.parametrize(
    "args",
    [
        ("-port", "1234", "-quota", "pro"),
        ("-port=1234", "-quota=pro"),
        ("--port", "1234", "--quota=pro"),
    ],
)
def test_dev_understands_the_vendors_options(backstage, args):
    """ENV-10."""
    assert run("dev", *args).exit_code == 0
    assert backstage.settings.port == 1234
    assert backstage.settings.quota == "pro"


def test_dev_understands_the_vendors_variables(backstage):
    """ENV-10."""
    env = {"QSTASH_DEV_PORT": "1234", "QSTASH_DEV_QUOTA": "pro"}

    assert run("dev", env=env).exit_code == 0
    assert backstage.settings.port == 1234
    assert backstage.settings.quota == "pro"


def test_start_does_not_take_single_dashes(backstage):
    assert run("start", "-port", "1234").exit_code == 2


def test_nothing_is_rewritten_behind_a_double_dash(backstage):
    result = run("dev", "--", "-port")

    assert result.exit_code == 2
    assert "(-port)" in result.stderr


@pytest.mark.parametrize(
    ("args", "env"),
    [(("-log-port", "9"), {}), ((), {"QSTASH_DEV_LOG_PORT": "9"})],
)
def test_a_log_port_is_understood_and_said_to_have_no_listener(backstage, args, env):
    result = run("dev", *args, env=env)

    assert result.stderr == (
        "--log-port is understood, but nothing listens on port 9: "
        "the log is on the main port\n"
    )
    assert result.exit_code == 0


def test_nobody_asked_for_a_log_port_so_nothing_is_said(backstage):
    assert run("dev").stderr == ""
    backstage.stops = [Stop.INTERRUPT]
    assert run("dev", "--quiet", "-log-port", "9").stderr == ""


def test_the_line_of_the_terminals_own_ctrl_c_is_ended(backstage, monkeypatch):
    monkeypatch.setattr(Screen, "is_terminal", property(lambda screen: True))
    backstage.in_flight = 1

    assert "\n\nstopping: 1 delivery" in run("start").stdout


# Can't listen


def health(**fields):
    return json.dumps({"version": "0.1.0", "pending": 14} | fields).encode()


def explained(error, **settings):
    explanation = cannot_listen(error, Settings(**settings), "qemu start")
    assert explanation.exit_code == 4
    return explanation.message.splitlines()


def test_an_address_in_use_by_another_qemu_is_explained(answering):
    port = answering(health()).server_port
    lines = explained(OSError(errno.EADDRINUSE, "in use"), port=port)

    assert lines == [
        f"address already in use: 127.0.0.1:{port}",
        "  Another qemu 0.1.0 is serving there (14 messages pending).",
        f"  Use it (qemu env), or start on another port: qemu start --port {port + 1}",
    ]


def test_an_address_in_use_by_somebody_else_is_explained(closed_port):
    lines = explained(OSError(errno.EADDRINUSE, "in use"), port=closed_port)

    assert lines == [
        f"address already in use: 127.0.0.1:{closed_port}",
        "  Another program is listening there.",
        f"  Stop it, or start on another port: qemu start --port {closed_port + 1}",
    ]


def test_the_address_is_the_one_that_the_error_names(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "emulator.cli.start.ask_health", lambda url, timeout_s: asked.append(url)
    )
    error = OSError(errno.EADDRINUSE, "in use", "::1:65535")
    lines = explained(error, port=65535)

    assert lines[0] == "address already in use: [::1]:65535"
    assert lines[2].endswith("qemu start --port 0")
    assert asked == ["http://[::1]:65535"]


@pytest.mark.parametrize(
    ("error", "settings", "fact"),
    [
        (
            socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
            {"host": "nowhere\x1b"},
            "unknown host name: nowhere\\x1b",
        ),
        (
            OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address"),
            {"host": "192.0.2.1"},
            "not an address of this machine: 192.0.2.1",
        ),
        (
            OSError(errno.EACCES, "Permission denied"),
            {"port": 80},
            "not allowed to listen on 127.0.0.1:80",
        ),
        (
            OSError(errno.EMFILE, "Too many open files"),
            {},
            "can't listen on 127.0.0.1:8080: Too many open files",
        ),
    ],
)
def test_whatever_keeps_us_from_listening_is_a_fact_with_advice(error, settings, fact):
    lines = explained(error, **settings)

    assert lines[0] == fact
    assert len(lines) == 2
